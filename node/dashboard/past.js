// How it came to this, over time: the role and the risk of each node, the devices in each ring, and who
// hears whom now. Roles come from the cluster's log; samples, rings and links are as the nodes have them.

import { h } from "./dom.js";
import { levelOf, lossOf, noteOf } from "./losses.js";
import { dateOf, LEVELS, number, plural, RINGS, risk, ROLES, span, whenOf } from "./words.js";

const SPANS = { "10m": ["10 minutes", 600], "1h": ["1 hour", 3_600], "6h": ["6 hours", 21_600], "1d": ["1 day", 86_400], "7d": ["7 days", 604_800] };
const WIDE = 1_000;
const HIGH = 34;
const LOW = 26; // of what is drawn below the roles
const HEIGHTS = { PRIMARY: 1, BACKUP: 0.62, STANDBY: 0.34, SAFE_MODE: 0.82 }; // a role is told by its height, too
const AGAIN_MS = 5_000;
const LABELS = 5;

export class Past {
  constructor(picture, link, place, show, redraw) {
    Object.assign(this, { picture, link, place, show, redraw, changes: null, moments: null, links: new Map(), askedAt: -Infinity, told: 0 });
  }

  /** Milliseconds, from when on it is shown. */
  get length() {
    const { span: chosen } = this.place.params;
    return SPANS[Object.hasOwn(SPANS, chosen ?? "") ? chosen : "1h"][1] * 1_000;
  }

  draw() {
    this.ask();
    const { now, nodes, parts } = this.picture;
    const { length } = this;
    const step = Math.floor(now / (length / WIDE));
    const seen = [step, length, this.told, nodes, parts.rings];
    if (seen.some((one, n) => one !== this.drawn?.of[n])) this.drawn = { of: seen, whole: this.describe(now, length) };
    return this.drawn.whole;
  }

  /** Asks for what the page does not know yet, and again after some seconds. */
  async ask() {
    if (performance.now() - this.askedAt < AGAIN_MS || !this.picture.nodes.length) return;
    this.askedAt = performance.now();
    const own = this.picture.cluster.node;
    const keep = (name) => (body) => { this[name] = body.items; };
    await Promise.allSettled([
      this.link.get("/v1/roles/history?limit=1000").then(keep("changes")),
      this.link.get("/v1/rings/history").then(keep("moments")),
      ...this.picture.nodes.map(async ({ id, address }) => this.links.set(id, await this.link.from(id === own ? null : address.http, "/v1/links"))),
    ]);
    this.told += 1;
    this.redraw();
  }

  describe(now, length) {
    const from = now - length;
    return [
      h("div", { class: "heading" }, h("h1", { id: "time-title" }, "Over time"),
        h("div", { class: "filters", role: "group", "aria-label": "How far back" }, Object.entries(SPANS).map(([name, [word, seconds]]) =>
          h("button", { key: name, type: "button", class: "plain", "aria-pressed": String(seconds * 1_000 === length), onclick: () => this.place.change({ span: name }) }, word)))),
      h("h2", null, "Roles and risk of the nodes"),
      h("ul", { class: "lanes" }, this.picture.nodes.map((node) => this.lane(node, from, now)), this.scale(from, length)),
      h("p", { class: "legend quiet" }, Object.entries(ROLES).map(([role, { mark, kind }]) => h("span", { class: `node ${kind}` }, h("b", { "aria-hidden": "true" }, mark), ` ${role.replace("_", " ")}`)),
        " below them the risk of each sample, × where it was missed"),
      h("h2", null, "Devices in the rings"), this.rings(from, now, length),
      h("h2", null, "Who hears whom, in the last minute"), this.hearing(),
    ];
  }

  scale(from, length) {
    return h("li", { class: "scale quiet", "aria-hidden": "true" }, h("span"), h("p", null, Array.from({ length: LABELS }, (_, n) => {
      const at = this.picture.wallOf(from + (length * n) / (LABELS - 1));
      return h("time", { title: dateOf(at) }, n === LABELS - 1 ? "now" : whenOf(at));
    })), h("span"));
  }

  // -- nodes ----------------------------------------------------------------------------------

  lane(node, from, now) {
    const parts = rolesOf(node, this.changes ?? [], from, now);
    const x = (at) => ((Math.max(at, from) - from) / (now - from)) * WIDE;
    const samples = node.history.filter(({ at_ms: at }) => at >= from);
    const limit = this.picture.parts.config?.settings.unhealthy_above;
    const base = HIGH + LOW;
    return h("li", { key: node.id, "data-lane": node.id },
      h("button", { type: "button", class: "plain inline", onclick: () => this.show(node.id) }, node.id),
      h("svg", { class: "over-time", viewBox: `0 0 ${WIDE} ${base + 1}`, preserveAspectRatio: "none", role: "img", "aria-label": this.tells(node, parts, samples) },
        parts.map(({ role, at, until, epoch }) => {
          const high = HIGH * HEIGHTS[role];
          return h("rect", { class: ROLES[role].kind, x: x(at), width: Math.max(1, x(until) - x(at)), y: HIGH - high, height: high },
            h("title", null, `${role}${epoch ? ` (epoch ${epoch})` : ""} since ${dateOf(this.picture.wallOf(at))}, for ${span((until - at) / 1_000)}`));
        }),
        limit !== undefined && h("line", { class: "limit", x1: 0, x2: WIDE, y1: base - limit * LOW, y2: base - limit * LOW }),
        h("path", { class: "line", d: lineOf(samples, x, (one) => base - one.risk * LOW) }),
        h("path", { class: "missed", d: samples.filter(({ missed }) => missed).map((one) => `M${x(one.at_ms) - 3} ${base - LOW}l6 10m0-10l-6 10`).join("") })),
      h("span", { class: "quiet" }, node.known ? `risk ${risk(node.risk)}` : "not known"));
  }

  tells(node, parts, samples) {
    const roles = parts.map(({ role, at }) => `${role} since ${whenOf(this.picture.wallOf(at))}`).slice(-5).join(", ");
    return `${node.id}: ${roles}; highest risk of ${plural(samples.length, "sample")} ${risk(Math.max(0, ...samples.map((one) => one.risk)))}`;
  }

  // -- rings ----------------------------------------------------------------------------------

  rings(from, now, length) {
    const rings = this.picture.parts.rings?.items ?? [];
    const newest = { at_ms: now, rings: Object.fromEntries(rings.map(({ ring, devices }) => [ring, devices])), unhealthy: sum(rings, "unhealthy"), offline: sum(rings, "offline") };
    const moments = [...(this.moments ?? []).filter(({ at_ms: at }) => at >= from && at < now), newest];
    const rows = [...RINGS.map((ring) => [ring, (one) => one.rings[ring] ?? 0]), ["unhealthy", (one) => one.unhealthy], ["offline", (one) => one.offline]];
    const most = Math.max(1, ...moments.flatMap((one) => rows.map(([, of]) => of(one))));
    const x = (at) => ((at - from) / (now - from)) * WIDE;
    return [
      h("ul", { class: "lanes" }, rows.map(([name, of]) => {
        const values = moments.map(of);
        const y = (one) => HIGH - (of(one) / most) * (HIGH - 2);
        return h("li", { key: name, "data-lane": name }, h("span", null, name),
          h("svg", { class: `over-time of-${name}`, viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", role: "img", "aria-label": `${name}: ${number(values[0])} at first, ${number(Math.min(...values))} to ${number(Math.max(...values))}, ${number(values.at(-1))} now` },
            h("path", { class: "area", d: `M${x(moments[0].at_ms)} ${HIGH}L${moments.map((one) => `${x(one.at_ms)} ${y(one)}`).join("L")}V${HIGH}Z` })),
          h("span", { class: "quiet" }, number(values.at(-1))));
      }), this.scale(from, length)),
      h("p", { class: "quiet" }, `A moment each minute, as ${this.picture.cluster.node} remembers it since it began, for a day at most.`),
    ];
  }

  // -- links ----------------------------------------------------------------------------------

  hearing() {
    const ids = this.picture.nodes.map(({ id }) => id);
    return h("table", { class: "hearing" },
      h("thead", null, h("tr", null, h("td", null, "hears"), ids.map((id) => h("th", { key: id, scope: "col" }, id)))),
      h("tbody", null, ids.map((id) => h("tr", { key: id, "data-hears": id }, h("th", { scope: "row" }, id), heardBy(this.links.get(id), ids, id)))));
  }
}

/** The cells of a node: what it lost of each other one, and why. */
function heardBy(answer, ids, own) {
  if (!answer) return h("td", { colspan: ids.length, class: "quiet" }, answer === undefined ? "Asking it …" : "It does not answer, and nobody else knows.");
  return ids.map((id) => {
    const found = answer.links.find(({ peer }) => peer === id);
    if (id === own || !found) return h("td", { key: id, class: "quiet" }, id === own ? "–" : "?");
    const lost = lossOf(found);
    const level = levelOf(found, lost);
    return h("td", { key: id, class: `loss ${level}`, title: noteOf(found) || null }, h("span", { class: `seal small ${level}`, "aria-hidden": "true" }, LEVELS[level]),
      found.connected ? `${Math.round(lost * 100)} % lost` : noteOf(found));
  });
}

/** What a node was, and from when to when, within a time. */
export function rolesOf(node, changes, from, now) {
  const own = changes.filter((one) => one.node === node.id).sort((a, b) => a.at_ms - b.at_ms);
  const starts = own.map((one) => ({ role: one.target, at: one.at_ms, epoch: one.target === "PRIMARY" ? one.epoch : 0 }));
  if (!own.length) starts.push({ role: node.role, at: Math.max(0, from), epoch: node.epoch ?? 0 });
  else if (own[0].at_ms > from) starts.unshift({ role: own[0].origin, at: Math.max(0, from), epoch: 0 });
  return starts.map((one, n) => ({ ...one, until: starts[n + 1]?.at ?? now })).filter(({ until }) => until > from);
}

/** A line through the samples, with a gap where one was missed. */
function lineOf(samples, x, y) {
  return samples.map((one, n) => (one.missed ? "" : `${n && !samples[n - 1].missed ? "L" : "M"}${x(one.at_ms).toFixed(1)} ${y(one).toFixed(1)}`)).join("");
}

function sum(rings, field) {
  return rings.reduce((total, one) => total + one[field], 0);
}
