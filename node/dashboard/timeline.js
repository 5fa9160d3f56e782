// The decision log as sentences, newest first.

import { h } from "./dom.js";
import { ALL } from "./history.js";
import { dateOf, timeOf } from "./words.js";

const SHOWN = 20;

/** What decisions are about: mark and word of each. */
const KINDS = {
  roles: { mark: "★", word: "role" },
  rings: { mark: "◎", word: "ring" },
  orders: { mark: "▸", word: "order" },
  alarms: { mark: "!", word: "alarm" },
  rollouts: { mark: "▲", word: "rollout" },
  notes: { mark: "·", word: "note" },
};
const FILTERS = [[ALL, "All"], ["roles", "Roles"], ["rings", "Rings"], ["rollouts", "Rollouts"], ["orders", "Orders"], ["alarms", "Alarms"]];

export class Timeline {
  constructor(picture, show, redraw) {
    Object.assign(this, { picture, show, redraw, kind: ALL, most: SHOWN });
  }

  filters() {
    return h("div", { class: "filters", role: "group", "aria-label": "Show only" }, FILTERS.map(([kind, word]) =>
      h("button", { type: "button", class: "plain", "aria-pressed": String(this.kind === kind), onclick: () => this.choose(kind) }, word)));
  }

  choose(kind) {
    this.kind = kind;
    this.most = SHOWN;
    this.redraw();
  }

  /** A proposal is listed once: by its outcome, as soon as that is known. */
  list() {
    const { items, older, torn } = this.picture.history(this.kind);
    const closed = new Set(items.map((one) => one.outcome !== "proposed" && one.proposal));
    const wanted = items.filter((one) => !(one.outcome === "proposed" && closed.has(one.proposal)));
    if (!wanted.length) return h("p", { class: "quiet" }, torn ? "Asking …" : "Nothing of this kind is remembered.");
    const more = wanted.length > this.most || older;
    return [
      h("ol", { class: "timeline" }, wanted.slice(0, this.most).map((one) => this.entry(one))),
      more && h("button", { type: "button", class: "plain", onclick: () => this.more(wanted.length) }, "Show earlier"),
    ];
  }

  async more(known) {
    this.most += SHOWN;
    if (this.most > known && this.picture.history(this.kind).older) await this.picture.lookBack(this.kind);
    this.redraw();
  }

  entry(decision) {
    const kind = decision.about[0] ?? "notes";
    return h("li", { key: decision.id, class: `entry of-${kind} ${decision.outcome}`, "data-decision": decision.id },
      h("time", { datetime: new Date(decision.wall_ms).toISOString(), title: dateOf(decision.wall_ms) }, timeOf(decision.wall_ms)),
      h("span", { class: "kind" }, h("b", { "aria-hidden": "true" }, KINDS[kind].mark), ` ${KINDS[kind].word}`),
      h("p", null, this.linked(decision)));
  }

  /** The sentence; the first mention of each node and device opens its details. */
  linked({ sentence, subjects, about }) {
    const known = subjects.filter((id) => (about.includes("rings") || this.picture.node(id)) && sentence.includes(id));
    const places = known.map((id) => [sentence.indexOf(id), id]).sort((a, b) => a[0] - b[0]);
    const parts = [];
    let from = 0;
    for (const [at, id] of places) {
      if (at < from) continue;
      parts.push(sentence.slice(from, at), h("button", { type: "button", class: "plain inline", onclick: () => this.show(id) }, id));
      from = at + id.length;
    }
    return [...parts, sentence.slice(from)];
  }
}
