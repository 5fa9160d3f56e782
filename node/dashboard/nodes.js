// A card for each node: role, effective role, health with the last ten samples, lease, Raft.

import { h } from "./dom.js";
import { ago, healthOf, isUnheard, LEVELS, risk, ROLES, secondsOf, span } from "./words.js";

const SAMPLES = 10;
const BAR = 10; // width of one sample, in units of the SVG
const HIGH = 30;

export function nodeCards(picture, show) {
  const limits = picture.parts.config?.settings;
  return picture.nodes.map((node) => card(node, limits, picture.now, show));
}

function card(node, limits, now, show) {
  const role = ROLES[node.role];
  const health = healthOf(node);
  return h("li", { key: node.id, class: `node ${role.kind}${node.alive && !node.lost ? "" : " away"}${node.known ? "" : " unknown"}`, "data-node": node.id, "data-role": node.role },
    h("h3", null,
      h("button", { type: "button", class: "plain cover", onclick: () => show(node.id), "aria-describedby": `state-${node.id}` }, node.id),
      node.raft_leader && h("span", { class: "chip", title: "leads the replicated log; not the same as PRIMARY" }, "Raft leader")),
    h("div", { id: `state-${node.id}` },
      h("p", { class: "role" },
        h("span", { class: "mark", "aria-hidden": "true" }, role.mark), node.role.replace("_", " "),
        node.epoch !== null && h("span", { class: "quiet epoch" }, ` epoch ${node.epoch}`)),
      h("p", { class: "acts quiet" }, actsAs(node, role)),
      h("p", { class: "health", "data-level": health.level },
        h("span", { class: `seal small ${health.level}`, "aria-hidden": "true" }, LEVELS[health.level]), health.word,
        h("span", { class: "risk" }, node.known ? `risk ${risk(node.risk)}` : lastRisk(node, now)))),
    sparkline(node.history.slice(-SAMPLES), limits?.unhealthy_above),
    lease(node, limits),
    h("ul", { class: "chips" }, chips(node).map((text) => h("li", { class: "chip" }, text))));
}

function lastRisk({ history }, now) {
  const last = history.at(-1);
  return last ? `${last.missed ? "missed" : `risk ${risk(last.risk)}`} ${ago(now - last.at_ms)}` : "";
}

function actsAs(node, role) {
  if (node.lost) return "not known";
  if (isUnheard(node)) return "no report of what it does";
  if (node.effective_role !== node.role) return `still acts as ${node.effective_role}`;
  return role.means;
}

function chips(node) {
  return [
    node.cooldown_remaining_s > 0 && `cools down ${span(node.cooldown_remaining_s)}`,
    node.maintenance && `maintenance ${span(node.maintenance.remaining_s)}`,
    node.priority === 0 && "never PRIMARY",
    node.priority !== 0 && node.priority !== 100 && `priority ${node.priority}`,
    node.escalated_by && `failed at ${node.escalated_by}`,
    node.policies.length > 0 && `${node.policies.length} policies`,
  ].filter(Boolean);
}

/** How long the PRIMARY may still act without another echo. */
function lease(node, limits) {
  if (node.role !== "PRIMARY") return null;
  const left = node.lease_remaining_s;
  const whole = secondsOf(limits?.primary_lease);
  const part = left === null || !whole ? 0 : Math.min(1, left / whole);
  const says = left === null ? "?" : span(left);
  return h("div", { class: "lease" }, h("span", { class: "quiet" }, "lease"),
    h("span", { class: "track", "aria-hidden": "true" }, h("span", { class: "fill", style: { "--part": part } })),
    h("span", { title: left === null ? "nobody knows" : null }, says));
}

/** The risks, oldest left; a missed sample is a cross, not just another colour. */
export function sparkline(samples, limit) {
  const listed = samples.map((one) => (one.missed ? "missed" : risk(one.risk))).join(" ");
  return h("svg", { class: "spark", viewBox: `0 0 ${SAMPLES * BAR} ${HIGH}`, role: "img", preserveAspectRatio: "none",
    "aria-label": `risk of the last ${samples.length} samples, newest last: ${listed || "none"}` },
    h("line", { class: "base", x1: 0, x2: SAMPLES * BAR, y1: HIGH - 0.5, y2: HIGH - 0.5 }),
    limit !== undefined && h("line", { class: "limit", x1: 0, x2: SAMPLES * BAR, y1: HIGH * (1 - limit), y2: HIGH * (1 - limit) }),
    samples.map((one, place) => sample(one, place + SAMPLES - samples.length, limit ?? 1)));
}

function sample(one, place, limit) {
  const x = place * BAR;
  if (one.missed) return h("path", { class: "missed", d: `M${x + 2} 8l6 8m0-8l-6 8` });
  const height = Math.max(1.5, one.risk * HIGH);
  return h("rect", { class: one.risk > limit ? "over" : "under", x: x + 1.5, width: BAR - 3, y: HIGH - height, height });
}
