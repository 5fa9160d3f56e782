// Deployments: what devices were told to do, and how many of them have come how far.

import { h } from "./dom.js";
import { number, plain, plural, span } from "./words.js";

const MAX_CLOSED = 2; // that are shown, the newest
const BUSY = ["offered", "in_progress"];
const FAILED = ["failed", "rejected", "timed_out", "unreached"];
const GROUPS = [
  ["succeeded", "✓", "healthy", ["succeeded", "already_installed"]],
  ["failed", "✕", "unhealthy", FAILED],
  ["in progress", "▸", "busy", BUSY],
  ["queued", "…", "offline", ["queued"]],
  ["canceled", "–", "offline", ["canceled"]],
];

/** Those that go on, and the newest of the others. */
export function shownOf(deployments) {
  const closed = deployments.filter((one) => one.closed_s !== null).slice(0, MAX_CLOSED);
  return deployments.filter((one) => one.closed_s === null || closed.includes(one));
}

export function deploymentRows(deployments) {
  return deployments.map((one) => {
    const counts = GROUPS.map(([, , , states]) => states.reduce((sum, state) => sum + (one.tallies[state] ?? 0), 0));
    return h("li", { class: "deployment", key: one.deployment, "data-deployment": one.deployment },
      h("h3", null, `${whatOf(one)} `, h("span", { class: "quiet" }, `to ${one.target}`)),
      h("p", { class: "count" }, standing(one)),
      h("div", { class: "bar-of-ring", "aria-hidden": "true" }, GROUPS.slice(0, 3).map(([word, , kind], n) =>
        counts[n] > 0 && h("span", { key: word, class: `part ${kind}`, style: { "--part": counts[n] / one.members } }))),
      h("p", { class: "states" }, GROUPS.map(([word, mark, kind], n) => counts[n] > 0 &&
        h("span", { class: `state ${kind}` }, h("b", { "aria-hidden": "true" }, mark), ` ${number(counts[n])} ${word}`)),
        h("span", { class: "quiet" }, `of ${plural(one.members, "device")}`)),
      one.failures.length > 0 && h("p", { class: "states quiet" }, failure(one.failures[0])));
  });
}

/** "app 2.0.0", "restart", "flash os 14". */
function whatOf({ task_type, component, version }) {
  if (version === null) return task_type;
  return `${task_type === "deployment" ? "" : `${task_type} `}${component} ${version}`;
}

function standing(one) {
  const name = h("span", { class: "quiet" }, `deployment ${one.deployment} · `);
  if (one.closed_s !== null) return [name, one.reason];
  return [name, one.held ? `held: ${one.held}` : one.state];
}

function failure({ count, reason, text, device }) {
  return `${number(count)} × ${plain(reason)}${text && `: ${text}`}${device && `, such as ${device}`}`;
}

/** The tasks of one device, the newest first. */
export function taskList(tasks) {
  if (!tasks.length) return h("p", { class: "quiet" }, "None.");
  return h("ol", { class: "moves" }, tasks.map((task) => h("li", { key: task.task_id },
    h("strong", null, `Deployment ${task.deployment}`), task.attempt > 1 && `, attempt ${task.attempt}`,
    `: ${plain(task.state)}`, task.phase && `, ${task.phase} ${task.progress} %`, !["", task.state].includes(task.reason) && ` (${plain(task.reason)})`,
    task.canceling && ", told to cancel", h("span", { class: "quiet" }, ` for ${span(task.since_s)}`),
    task.waits && h("span", null, `: ${task.waits}`))));
}
