// What a node misses of the others' packets, as it has counted them itself.

import { h } from "./dom.js";
import { LEVELS, span } from "./words.js";

const WARN = 0.05;
const BAD = 0.3;
const HEADS = ["from", "lost", "longest silence", "note"];

/** `told`: the node's own `/v1/links`; null when it does not answer, undefined when not yet. */
export function lossTable(told) {
  if (told === undefined) return says("Asking it …");
  if (told === null) return says("It does not answer, and nobody else knows.");
  if (!told.links.length) return says("It has counted none.");
  return h("table", { class: "losses" }, h("thead", null, h("tr", null, HEADS.map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", null, told.links.map(row)));
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

/** The share that did not arrive; null when nothing came that would say how many there were. A peer
 *  that is connected sends a datagram every second: then all are lost. */
function lossOf(link) {
  if (link.sent) return 1 - link.heard / link.sent;
  return link.connected ? 1 : null;
}

function levelOf(link, lost) {
  if (!link.connected || lost >= BAD) return "bad";
  return lost < WARN ? "good" : "warn";
}

function noteOf(link) {
  if (!link.connected) return "down";
  if (!link.heard) return "no datagrams (UDP blocked?)";
  return [link.stalled && "its stream is stalled", link.in_doubt && "in doubt"].filter(Boolean).join(", ");
}
