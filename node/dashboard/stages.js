// The stages of a rollout: how far each has come, and its gates beside their limits.

import { marked, tallyBar, tasksIn } from "./deployments.js";
import { h } from "./dom.js";
import { markOf } from "./standing.js";
import { number, plain } from "./words.js";

const DONE = ["succeeded", "already_installed"];
const FAILED = ["failed", "rejected", "timed_out"];
const HEADS = ["stage", "state", "devices", "have it", "failed", "not reached"];

/** What each figure of a gate is called, and which side of it its limit is. */
const GATES = {
  failures: ["failed", "at most"],
  coverage: ["reached", "at least"],
  health: ["turned bad", "at most"],
};
const VERDICTS = { passed: ["✓", "healthy", "holds"], failed: ["✕", "unhealthy", "proven broken"], inconclusive: ["?", "warn", "in doubt"] };

/** Mark and word of a state, of a rollout or a stage. */
export function stateOf(state) {
  const [mark, kind] = markOf(state);
  return h("span", { class: `state ${kind}` }, marked(mark), ` ${plain(state)}`);
}

/** All stages in their order, each with a bar of its own. */
export function track(stages) {
  return h("ol", { class: "steps" }, stages.map((stage) => {
    const [, kind] = markOf(stage.state);
    return h("li", { key: stage.name, class: `step ${kind}`, "data-stage": stage.name },
      h("span", { class: "name" }, stage.name, stage.share < 1 && h("span", { class: "quiet" }, ` ${percent(stage.share)}`)),
      stateOf(stage.state), tallyBar(stage),
      h("span", { class: "quiet" }, stage.members > 0 && `${number(tasksIn(stage, DONE))} of ${number(stage.members)}`));
  }));
}

/** The gates of a stage in a row. */
export function gateRow(stage) {
  return h("div", { class: "gates", key: stage.name },
    h("span", { class: "quiet" }, `Gates of ${stage.name}`),
    h("ul", null, stage.gates.map((gate) => {
      const { mark, kind, word } = verdictOf(gate, stage);
      return h("li", { key: gate.name, "data-gate": gate.name }, h("span", { class: `state ${kind}` }, marked(mark), ` ${gate.name}`, h("span", { class: "spoken" }, ` ${word}`)),
        " ", h("strong", null, valueOf(gate, stage)), h("span", { class: "quiet" }, limitOf(gate) && `, ${limitOf(gate)}`, evidenceOf(gate) && ` · evidence ${evidenceOf(gate)}`));
    })));
}

/** The same as a table, with the verdicts as words. */
export function gateTable(stage) {
  return h("table", { class: "judged" }, h("thead", null, h("tr", null, ["gate", "is", "evidence", "verdict"].map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", null, stage.gates.map((gate) => {
      const { mark, kind, word } = verdictOf(gate, stage);
      return h("tr", { key: gate.name }, h("th", { scope: "row" }, gate.name), h("td", null, valueOf(gate, stage), h("span", { class: "quiet" }, limitOf(gate) && `, ${limitOf(gate)}`)), h("td", null, evidenceOf(gate)),
        h("td", null, h("span", { class: `state ${kind}` }, marked(mark), ` ${word}`)));
    })));
}

export function stageTable(stages) {
  return h("table", { class: "stages" }, h("thead", null, h("tr", null, HEADS.map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", null, stages.map((stage) => h("tr", { key: stage.name }, h("th", { scope: "row" }, stage.name), h("td", null, stateOf(stage.state), stage.promoted && " (promoted)"),
      [stage.members, tasksIn(stage, DONE), tasksIn(stage, FAILED), tasksIn(stage, ["unreached"])].map((count) => h("td", null, stage.members ? number(count) : ""))))));
}

/** A stage that goes on is not judged yet: what it would be in doubt about may still mend. */
function verdictOf({ verdict }, stage) {
  if (verdict === "inconclusive" && stage.state !== "inconclusive") return { mark: "…", kind: "offline", word: "not yet" };
  const [mark, kind, word] = VERDICTS[verdict] ?? ["…", "offline", "not judged yet"];
  return { mark, kind, word };
}

function valueOf(gate, { state }) {
  if (gate.name === "approval") return `${number(gate.evidence)} of ${number(gate.needed)} granted`;
  if (!(gate.name in GATES)) return gate.sentence.replace(`${gate.name}: `, "");
  return gate.value === null ? (state === "inconclusive" ? "nobody" : "nobody yet") : `${percent(gate.value)} ${GATES[gate.name][0]}`;
}

function limitOf(gate) {
  return gate.limit === null ? "" : `${GATES[gate.name][1]} ${percent(gate.limit)}`;
}

/** "0.4 of 20"; empty where none is weighed, or not yet. */
function evidenceOf({ name, evidence, needed }) {
  return evidence === null || !(name in GATES) ? "" : `${figure(evidence)} of ${figure(needed)}`;
}

export function percent(share) {
  return `${figure(share * 100)} %`;
}

/** With three digits that count. */
export function figure(value) {
  return number(Number(value.toPrecision(3)));
}
