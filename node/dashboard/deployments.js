// Deployments: what devices were told to do, how many of them have come how far, and each in detail.

import { h } from "./dom.js";
import { ago, dateOf, number, plain, plural, span } from "./words.js";

const GROUPS = [
  ["succeeded", "✓", "healthy", ["succeeded", "already_installed"]],
  ["failed", "✕", "unhealthy", ["failed", "rejected", "timed_out", "unreached"]],
  ["in progress", "▸", "busy", ["offered", "in_progress"]],
  ["queued", "…", "offline", ["queued"]],
  ["canceled", "–", "offline", ["canceled"]],
];
const UNFINISHED = ["queued", "offered", "in_progress"];
export const AGAIN = ["failed", "timed_out", "unreached"]; // states that another attempt may mend

/** All that go on, and the newest that are over; one that has just ended may still be in both.
 *  `number`: the field that counts them. */
export function listed(open, closed, number = "deployment") {
  const known = new Map([open, closed].flatMap((part) => part?.items ?? []).map((one) => [one[number], one]));
  return [...known.values()].sort((a, b) => b[number] - a[number]);
}

export function deploymentRows(deployments, show) {
  return deployments.map((one) =>
    h("li", { class: "deployment", key: one.deployment, "data-deployment": one.deployment },
      h("h3", null, h("button", { type: "button", class: "plain cover", onclick: () => show(one.deployment) }, whatOf(one)), " ",
        h("span", { class: "quiet" }, `to ${one.target}`)),
      h("p", { class: "count" }, h("span", { class: "quiet" }, `deployment ${one.deployment} · `), one.closed_s !== null ? one.reason : going(one)),
      tallyBar(one),
      h("p", { class: "states" }, tallyWords(one), h("span", { class: "quiet" }, `of ${plural(one.members, "device")}`)),
      one.failures.length > 0 && h("p", { class: "states quiet" }, failure(one.failures[0]), such(one.failures[0].device))));
}

/** Of a deployment or a stage: how many of its members have come how far. */
export function tallyBar(one) {
  return h("div", { class: "bar-of-ring", "aria-hidden": "true" }, GROUPS.slice(0, 3).map(([word, , kind, states]) =>
    tasksIn(one, states) > 0 && h("span", { key: word, class: `part ${kind}`, style: { "--part": tasksIn(one, states) / one.members } })));
}

/** The same as words. */
export function tallyWords(one) {
  return GROUPS.map(([word, mark, kind, states]) => tasksIn(one, states) > 0 &&
    h("span", { key: word, class: `state ${kind}` }, marked(mark), ` ${number(tasksIn(one, states))} ${word}`));
}

export function tasksIn({ tallies }, states) {
  return states.reduce((sum, state) => sum + (tallies[state] ?? 0), 0);
}

/** "app 2.0.0", "restart", "flash os 14". */
function whatOf({ task_type, component, version }) {
  if (version === null) return task_type;
  return `${task_type === "deployment" ? "" : `${task_type} `}${component} ${version}`;
}

function going({ held, state }) {
  return held ? `held: ${held}` : state;
}

function failure({ count, reason, text }) {
  return `${number(count)} × ${plain(reason)}${text && `: ${text}`}`;
}

function such(device) {
  return device && [", such as ", device];
}

export function marked(mark) {
  return h("b", { "aria-hidden": "true" }, mark);
}

// -- one of them ------------------------------------------------------------------------------------

/** The sheet of a deployment. `tasks`: those in the state `only`, if one was chosen; `more` lists more of them. */
export function deploymentSheet(one, tasks, only, more, detail) {
  const link = (id) => h("button", { type: "button", class: "plain inline", onclick: () => detail.device(id) }, id);
  return [
    h("p", { class: "role" }, `${whatOf(one)} to ${one.target}`),
    h("p", null, standing(one)),
    one.rollout && h("p", null, "It is a part of ", h("button", { type: "button", class: "plain inline", onclick: () => detail.rollout(one.rollout) }, `rollout ${one.rollout}`), ", which alone ends it."),
    detail.orders(orders(one, detail.actions)),
    h("h3", null, `Its ${plural(one.members, "task")}`), tallies(one, only, (state) => detail.deployment(one.deployment, state)),
    tasks && h("ol", { class: "moves" }, tasks.items.map((task) => h("li", { key: task.task_id }, link(task.device), `: ${wordsOf(task)}${howLong(task)}`))),
    tasks?.next && (more ? h("button", { type: "button", onclick: more }, "More tasks") : h("p", { class: "quiet" }, "These are the first of them.")),
    failureList(one.failures, link),
    h("h3", null, "Who ordered it"),
    h("p", null, `${one.actor || "nobody named"}, ${dateOf(one.opened_at)}`, one.comment && h("span", { class: "quiet" }, ` “${one.comment}”`)),
  ];
}

/** Equal failures together. `link(id)`: opens a device. */
export function failureList(failures, link) {
  return failures.length > 0 && [h("h3", null, "What failed"), h("ul", { class: "why" }, failures.map((group) =>
    h("li", null, failure(group), such(group.device && link(group.device)))))];
}

function standing(one) {
  if (one.closed_s !== null) return `${one.state}: ${one.reason} ${ago(one.closed_s * 1_000)}`;
  return `${going(one)}, its deadline is in ${span(one.deadline_s)}`;
}

function orders(one, actions) {
  const again = tasksIn(one, AGAIN);
  return [
    ["Cancel …", () => actions.cancelDeployment(one.deployment), one.state === "open" && !one.rollout],
    ["Retry …", () => actions.retryDeployment(one.deployment, again), again > 0 && one.state !== "closing" && one.reason !== "canceled" && one.rostered],
  ];
}

/** How many tasks are in which state; each opens a list of them, as long as the cluster has it. */
function tallies(one, only, choose) {
  const counted = GROUPS.flatMap(([, mark, kind, states]) => states.map((state) => [state, mark, kind, one.tallies[state] ?? 0]));
  return h("div", { class: "filters", role: "group", "aria-label": "Show tasks" }, counted.map(([state, mark, kind, count]) =>
    (count > 0 || state === only) && h("button", { key: state, type: "button", class: `plain state ${kind}`, disabled: !one.rostered, "aria-pressed": String(state === only),
      onclick: () => choose(state === only ? "" : state) }, marked(mark), ` ${number(count)} ${plain(state)}`)));
}

/** What it asks of devices, and what limits it: name and value of each. */
export function termsOf(one) {
  const { pace } = one;
  return [["type", one.task_type], ["priority", one.priority], ["at a time", one.max_in_flight ?? "any number"], ["retries", one.retries ?? 0],
    ["a minute", pace ? `${number(pace.now)}, from ${number(pace.from)} to ${number(pace.to)}` : "any number"], ["requires", one.require ?? "nothing"],
    ["downgrades", one.allow_downgrade ? "allowed" : "passed over"], ["cannot carry out tasks", plural(one.incapable, "device")],
    ...Object.entries(one.parameters)];
}

export function isOpen(task) {
  return UNFINISHED.includes(task.state);
}

export function howLong(task) {
  return isOpen(task) ? ` for ${span(task.since_s)}` : ` ${ago(task.since_s * 1_000)}`;
}

/** "in progress, installing 40 % (retry), told to cancel". */
export function wordsOf(task) {
  const reason = !["", task.state].includes(task.reason) && ` (${plain(task.reason)})`;
  return [plain(task.state), task.phase && `, ${task.phase} ${task.progress} %`, reason, task.canceling && ", told to cancel"].filter(Boolean).join("");
}
