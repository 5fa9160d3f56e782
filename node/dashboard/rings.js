// The fleet: four rings, each with its devices by health, and its quota.

import { nextCheck } from "./coming.js";
import { h } from "./dom.js";
import { checking, policing, ruling, sharesOf, sharing, unbraking } from "./governing.js";
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

/** What rules the rings, each with the order that changes it. */
export function rulesOf(picture, actions) {
  const { rings } = picture.parts;
  const named = rings.policies.map(({ name }) => name).join(", ");
  const rows = [
    ["Shares", sharesOf(rings), actions.button("Shares …", () => actions.govern(sharing(rings)), picture.notAdmin)],
    ["Healthy", rings.health_rule + (rings.charging_excuses_battery ? ", charging excuses the battery" : ""), actions.button("Health rule …", () => actions.govern(ruling(rings)), picture.notAdmin)],
    ["Policies", named || "none", actions.button("Policies …", () => actions.govern(policing(rings)), picture.notAdmin)],
    ["Next check", nextCheck(picture), actions.button("Check now …", () => actions.govern(checking()))],
  ];
  return h("details", null, h("summary", null, "Rules of the rings"),
    h("ul", { class: "rules" }, rows.map(([name, says, order]) => h("li", { key: name }, h("p", null, h("strong", null, name), ` ${says}`), order))));
}

/** The whole fleet in a line, the brake, and a search for one device. */
export function fleetLine(picture, actions, find) {
  const { fleet } = picture.cluster;
  const brake = picture.parts.rings?.brake;
  return [
    h("p", { class: "total" }, `${plural(fleet.total_slaves, "device")}: `,
      STATES.map(([state, mark, word]) => h("span", { class: `state ${state}` },
        h("b", { "aria-hidden": "true" }, mark), ` ${number(fleet[`${state}_devices`])} ${word}`)),
      picture.isOld && h("span", { class: "quiet" }, ` as of ${ago(picture.age)}`)),
    brake && h("span", { class: "chip" }, "storm brake: no automatic moves"),
    brake && actions.button("Release brake …", () => actions.govern(unbraking(picture))),
    h("form", { class: "find", role: "search", onsubmit: find },
      h("input", { name: "device", "aria-label": "Id of a device", placeholder: "device id", maxlength: 128, required: true, autocomplete: "off" }),
      h("button", { type: "submit" }, "Find"), h("a", { href: "#/devices" }, "All devices")),
  ];
}
