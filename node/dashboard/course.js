// The course of one device: the rings it was in, its tasks, and the versions that came of them.

import { howLong, isOpen, wordsOf } from "./deployments.js";
import { h } from "./dom.js";
import { ago, dateOf } from "./words.js";

const MAX_SHOWN = 100;
const KINDS = { ring: "◎", task: "▸", version: "✓" };

const SAME_S = 2; // seconds within which a change of versions is that of a task

/** One list, the newest first. What is not finished yet goes on now, whenever it began. */
export function course(moves, tasks, device) {
  const steps = [...tasks.map(ofTask), ...moves.map(ofMove), ...byHand(tasks, device)].sort((a, b) => a.ago_s - b.ago_s);
  if (!steps.length) return h("p", { class: "quiet" }, "Nothing is remembered.");
  return [
    h("ol", { class: "moves course" }, steps.slice(0, MAX_SHOWN).map(({ kind, says, ago_s }) =>
      h("li", { "data-kind": kind, title: dateOf(Date.now() - ago_s * 1_000) }, h("span", { class: "kind" }, h("b", { "aria-hidden": "true" }, KINDS[kind]), ` ${kind} `), says))),
    steps.length > MAX_SHOWN && h("p", { class: "quiet" }, "What was before that is not shown."),
  ];
}

function ofMove(move) {
  return { ago_s: move.ago_s, kind: "ring", says: [
    h("strong", null, `${move.origin ?? "new"} → ${move.target}`), ` ${ago(move.ago_s * 1_000)}, by ${move.assigned_by}: ${move.sentence}`,
    move.comment && h("span", { class: "quiet" }, ` “${move.comment}”`)] };
}

/** The newest change of a version, if no task explains it: somebody, or something, else did it. */
function byHand(tasks, { changed_s, app_version, os_version }) {
  const explains = (task) => (task.state === "succeeded" || task.reason === "reverted") && Math.abs(task.since_s - changed_s) <= SAME_S;
  if (changed_s === null || tasks.some(explains)) return [];
  return [{ ago_s: changed_s, kind: "version", says: [
    h("strong", null, [app_version, os_version].filter(Boolean).join(", ")), ` ${ago(changed_s * 1_000)}, by no task`] }];
}

function ofTask(task) {
  const { state, version, previous, since_s } = task;
  const name = `deployment ${task.deployment}${task.attempt > 1 ? `, attempt ${task.attempt}` : ""}`;
  if (state === "succeeded" && version !== null) {
    return { ago_s: since_s, kind: "version", says: [
      h("strong", null, previous && `${previous} → `, version), `${howLong(task)}, by ${name}`] };
  }
  return { ago_s: isOpen(task) ? 0 : since_s, kind: "task", says: [
    h("strong", null, version && `${version} `, name), `: ${wordsOf(task)}`,
    h("span", { class: "quiet" }, howLong(task)), task.waits && `: ${task.waits}`] };
}
