// The sheet of one rollout: its stages, the evidence for and against it, who failed or turned bad,
// what came of each variant, and what became of it so far.

import { failureList } from "./deployments.js";
import { h } from "./dom.js";
import { evidenceChart } from "./evidence.js";
import { choicesOf, ordersOf } from "./orders.js";
import { choices, standing, wayBack, whatOf } from "./rollouts.js";
import { figure, gateTable, percent, stageTable, stateOf } from "./stages.js";
import { currentStages } from "./standing.js";
import { dateOf, number, plain, plural, timeOf } from "./words.js";

const UNTOLD = ["stages", "artifact", "variants", "gates"]; // of a plan: told elsewhere, or too deep

/** `why`: what explains it; `report`: its variants, if it has any. */
export function rolloutSheet(one, why, report, detail) {
  const link = (id) => h("button", { type: "button", class: "plain inline", onclick: () => detail.device(id) }, id);
  const now = detail.picture.now;
  const current = currentStages(one);
  const others = one.stages.filter((stage) => stage.since_s !== null && !current.includes(stage));
  return [
    h("p", { class: "role" }, stateOf(one.state), ` ${whatOf(one)}`),
    standing(one, 0), choices(one, detail.actions), wayBack(one.rollback),
    orders(one, detail.actions),
    h("h3", null, "Its stages"), stageTable(one.stages),
    current.map((stage) => h("section", { key: stage.name, "data-stage": stage.name }, h("h3", null, `Stage ${stage.name}: ${plain(stage.state)}`), ofStage(stage, now, link, detail))),
    others.map((stage) => h("details", { key: stage.name, "data-stage": stage.name }, h("summary", null, `Stage ${stage.name}: ${plain(stage.state)}`), ofStage(stage, now, link, detail))),
    report && variants(report),
    h("h3", null, "Why it is where it is"), h("ul", { class: "why" }, why.summary.map((line) => h("li", null, line))),
    h("h3", null, "What became of it"), timeline(one.timeline),
  ];
}

/** Every order that is no choice already; what is not possible now says why. */
function orders(one, actions) {
  const { parts } = actions.picture;
  const chosen = choicesOf(one, parts).map(({ order }) => order);
  const others = ordersOf(one, parts.blocked?.items ?? [], parts.me?.actor ?? "").filter(({ order }) => !chosen.includes(order));
  const not = others.filter(({ why }) => why !== "");
  return [
    h("div", { class: "orders" }, others.map(({ text, why, press }) => actions.button(text, () => press(actions), why)), actions.barred()),
    h("details", { class: "quiet" }, h("summary", null, `Why ${plural(not.length, "order")} cannot be given now`),
      h("ul", null, not.map(({ order, text, why }) => h("li", { key: order }, `${text.replace(" …", "")}: ${why}`)))),
  ];
}

function ofStage(stage, now, link, detail) {
  const needed = stage.gates.find((gate) => gate.name === "health")?.needed;
  const ended = ["passed", "failed", "stopped"].includes(stage.state);
  return [
    gateTable(stage),
    twins(stage.twins),
    needed && stage.series.length > 0 && h("p", { class: "quiet" }, "Evidence that it does harm, over its checks:"),
    needed && evidenceChart(stage.series, needed, ended ? 0 : now, now),
    stage.turned_bad.length > 0 && [h("h3", null, "Who turned bad"), h("ul", { class: "why" }, stage.turned_bad.map(({ device, ring }) =>
      h("li", { key: device }, link(device), ring ? `, in ring ${ring} now` : ", removed since")))],
    failureList(stage.failures, link),
    stage.deployment && h("p", null, h("button", { type: "button", class: "plain inline", onclick: () => detail.deployment(stage.deployment) }, `Its ${plural(stage.members, "task")} (deployment ${stage.deployment})`)),
  ];
}

function twins(found) {
  if (!found?.updated) return null;
  const others = `${number(found.bad_twins)} of their ${plural(found.twins, "twin")}`;
  return h("p", null, `${number(found.bad)} of ${plural(found.updated, "updated device")} turned bad, against ${others}`,
    h("span", { class: "quiet" }, ` (devices like them that have not got it yet). ${number(found.whole)} were watched for the whole soak.`));
}

// -- variants ---------------------------------------------------------------------------------------

const ARMS = [
  ["version", (arm) => arm.version], ["share", (arm) => percent(arm.share)], ["assigned", (arm) => number(arm.assigned)], ["reached", (arm) => number(arm.reached)],
  ["succeeded", (arm) => number(arm.succeeded)], ["failed", (arm) => number(arm.failed)], ["turned bad, of those watched", (arm) => `${number(arm.turned_bad)} of ${number(arm.watched)}`],
  ["odds of success against the first", (arm) => interval(arm.odds)], ["odds of turning bad against the first", (arm) => interval(arm.bad_odds)], ["hazard against their twins", (arm) => interval(arm.hazard)], ["device-hours", (arm) => figure(arm.device_hours)],
];

function variants(report) {
  return [
    h("h3", null, "Its variants side by side"),
    h("table", { class: "arms" }, h("thead", null, h("tr", null, h("td", null), report.variants.map((arm) => h("th", { scope: "col" }, arm.name)))),
      h("tbody", null, [...ARMS, ...figuresOf(report.variants)].map(([name, value]) => h("tr", null, h("th", { scope: "row" }, name), report.variants.map((arm) => h("td", null, value(arm))))))),
    report.controls.length > 0 && h("p", { class: "quiet" }, `Without the version, for comparison: ${report.controls.join(", ")}.`),
    report.withheld && h("p", { class: "problem" }, `Nothing is concluded: ${report.withheld}.`),
    h("ul", { class: "why" }, report.conclusions.map((line) => h("li", null, line))),
  ];
}

/** Of what devices report: the median, and between what half of them are. */
function figuresOf(arms) {
  const names = [...new Set(arms.flatMap(({ metrics }) => metrics.map(({ metric }) => metric)))];
  return names.map((name) => [name, ({ metrics }) => {
    const found = metrics.find(({ metric }) => metric === name);
    return found ? `${figure(found.median)}, ${figure(found.low)} to ${figure(found.high)}` : "–";
  }]);
}

function interval(found) {
  if (!found) return "–";
  const ends = [found.low, found.high].map((end) => (end === null ? "?" : figure(end)));
  return `${found.ratio === null ? "" : `${figure(found.ratio)}, `}${ends.join(" to ")}`;
}

// -- what became of it ------------------------------------------------------------------------------

function timeline(moments) {
  return h("ol", { class: "moves" }, moments.map((one, n) =>
    h("li", { key: n }, h("time", { title: dateOf(one.wall_ms) }, timeOf(one.wall_ms)), ` ${one.sentence}`,
      one.decision === null && one.actor && h("span", { class: "quiet" }, ` · ${one.actor}`))).reverse());
}

/** What was asked for: name and value of each. */
export function planOf(one) {
  const plan = Object.entries(one.plan).filter(([name]) => !UNTOLD.includes(name));
  const granted = one.approvals.map(({ actor, stage }) => actor + (stage ? ` (${stage})` : ""));
  return [["laid down by", `${one.author || "nobody named"}, ${dateOf(one.created_at)}`], ["comment", one.comment], ["plan", one.digest.slice(0, 8)], ["when a gate is proven broken", plain(one.on_fail)],
    ["priority", one.priority], ["approvals", one.needed ? `${granted.join(", ") || "none"} of ${one.needed}` : granted.join(", ") || "none needed"],
    ...Object.entries(one.plan.artifact ?? {}), ...plan.filter(([name]) => !["priority", "on_fail", "approvals"].includes(name)).map(([name, value]) => [plain(name), typeof value === "object" ? JSON.stringify(value) : value]),
    ...Object.entries(one.plan.gates ?? {}).map(([name, value]) => [`gate ${name}`, typeof value === "object" ? JSON.stringify(value) : value])];
}
