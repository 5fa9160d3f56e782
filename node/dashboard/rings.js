// The fleet: four rings, each with its devices by health, and its quota.

import { h } from "./dom.js";
import { ago, number, plural } from "./words.js";

const STATES = [
  ["healthy", "✓", "healthy"],
  ["unhealthy", "✕", "unhealthy"],
  ["offline", "?", "offline"],
];

export function ringRows(rings, show) {
  const widest = Math.max(1, ...rings.items.map((ring) => Math.max(ring.devices, ring.quota + ring.pinned)));
  return rings.items.map((ring) => row(ring, widest, show));
}

function row(ring, widest, show) {
  const target = ring.quota + ring.pinned;
  return h("div", { class: "ring", key: ring.ring, "data-ring": ring.ring },
    h("h3", null, h("button", { type: "button", class: "plain cover", onclick: () => show(ring.ring) }, ring.ring)),
    h("div", { class: "bar-of-ring", "aria-hidden": "true" },
      STATES.map(([state]) => ring[state] > 0 && h("span", { key: state, class: `part ${state}`, style: { "--part": ring[state] / widest } })),
      h("span", { class: "quota", style: { "--part": target / widest } })),
    h("p", { class: "count" }, h("strong", null, number(ring.devices)), h("span", { class: "quiet" }, ` · quota ${number(target)}`)),
    h("p", { class: "states" }, STATES.map(([state, mark, word]) =>
      (ring[state] > 0 || state === "healthy") && h("span", { class: `state ${state}` }, h("b", { "aria-hidden": "true" }, mark), ` ${number(ring[state])} ${word}`)),
      ring.pinned > 0 && h("span", { class: "quiet" }, `${number(ring.pinned)} pinned`)));
}

/** The whole fleet in a line, the brake, and a search for one device. */
export function fleetLine(picture, find) {
  const { fleet } = picture.cluster;
  const brake = picture.parts.rings?.brake;
  return [
    h("p", { class: "total" }, `${plural(fleet.total_slaves, "device")}: `,
      STATES.map(([state, mark, word]) => h("span", { class: `state ${state}` },
        h("b", { "aria-hidden": "true" }, mark), ` ${number(fleet[`${state}_devices`])} ${word}`)),
      picture.isOld && h("span", { class: "quiet" }, ` as of ${ago(picture.age)}`)),
    brake && h("span", { class: "chip" }, "storm brake: no automatic moves"),
    h("form", { class: "find", role: "search", onsubmit: find },
      h("input", { name: "device", "aria-label": "Id of a device", placeholder: "device id", maxlength: 128, required: true, autocomplete: "off" }),
      h("button", { type: "submit" }, "Find"), h("a", { href: "#/devices" }, "All devices")),
  ];
}
