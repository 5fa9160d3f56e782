// Packets from the other nodes that a node did not receive, by its own count.

import { h } from "./dom.js";
import { LEVELS, plain, span } from "./words.js";

const WARN = 0.05;
const BAD = 0.3;
const HEADS = ["from", "lost", "longest silence", "note"];

/** `answer`: the node's own `/v1/links`; null if it does not answer, undefined until then. */
export function lossTable(answer) {
  if (answer === undefined) return says("Asking it …");
  if (answer === null) return says("It does not answer, and nobody else knows.");
  if (!answer.links.length) return says("It has counted none.");
  return h("table", { class: "losses" }, h("thead", null, h("tr", null, HEADS.map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", null, answer.links.map(row)));
}

function says(text) {
  return h("p", { class: "quiet" }, text);
}

function row(link) {
  const lost = lossOf(link);
  const level = levelOf(link, lost);
  return h("tr", { key: link.peer, "data-level": level },
    h("td", null, h("span", { class: `seal small ${level}`, "aria-hidden": "true" }, LEVELS[level]), link.peer),
    h("td", { class: `loss ${level}` }, lost === null ? "?" : `${Math.round(lost * 100)} %`),
    h("td", null, span(link.longest_silence_s)),
    h("td", { class: "quiet" }, noteOf(link)));
}

/** The share that did not arrive; null if that is unknown, because not even the number of datagrams
 *  sent is. A connected peer sends one every second: then all were lost. */
export function lossOf(link) {
  if (link.sent) return 1 - link.heard / link.sent;
  return link.connected ? 1 : null;
}

export function levelOf(link, lost) {
  if (!link.connected || lost >= BAD) return "bad";
  return lost < WARN ? "good" : "warn";
}

export function noteOf(link) {
  if (!link.connected) return [`${link.state === "refused" ? "refused" : "down"} for ${span(link.since_s)}`, link.error && plain(link.error)].filter(Boolean).join(", ");
  if (!link.heard) return "no datagrams (UDP blocked?)";
  return [link.stalled && "its stream is stalled", link.in_doubt && "in doubt"].filter(Boolean).join(", ");
}
