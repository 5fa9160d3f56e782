// The decision log as sentences, newest first.

import { h } from "./dom.js";
import { ALL } from "./history.js";
import { dateOf, folded, number, whenOf } from "./words.js";

const SHOWN = 20;
const FEW = 3; // that are not put together
const EARLIER = 5; // changes of roles from before what is listed

/** What decisions are about: mark and word of each. */
const KINDS = {
  roles: { mark: "★", word: "role" },
  rings: { mark: "◎", word: "ring" },
  orders: { mark: "▸", word: "order" },
  alarms: { mark: "!", word: "alarm" },
  rollouts: { mark: "▲", word: "rollout" },
  notes: { mark: "·", word: "note" },
};
export const FILTERS = [[ALL, "All"], ["roles", "Roles"], ["rings", "Rings"], ["rollouts", "Rollouts"], ["orders", "Orders"], ["alarms", "Alarms"]];

export class Timeline {
  /** `show(id)`: opens a node or a device. */
  constructor(picture, place, show, redraw) {
    Object.assign(this, { picture, place, show, redraw, most: SHOWN, unfolded: new Set() });
  }

  /** What is to be shown: a value of the API's `?about=`, or `ALL`. */
  get kind() {
    const { about } = this.place.params;
    return FILTERS.some(([kind]) => kind === about) ? about : ALL;
  }

  filters() {
    return [kindFilters(this.kind, (kind) => this.choose(kind)),
      h("a", { href: this.place.href("decisions", { about: this.kind === ALL ? "" : this.kind }) }, "Search …")];
  }

  choose(kind) {
    this.most = SHOWN;
    this.place.change({ about: kind === ALL ? "" : kind });
  }

  /** A proposal is listed once: by its outcome, as soon as that is known. */
  list() {
    const { items, older, torn } = this.picture.history(this.kind);
    const wanted = withoutOpened(items);
    if (!wanted.length) return h("p", { class: "quiet" }, torn ? "Asking …" : "Nothing of this kind is remembered.");
    const lines = this.kind === ALL ? together(wanted) : wanted.map((one) => [one]);
    const more = lines.length > this.most || older;
    return [
      h("ol", { class: "timeline" }, lines.slice(0, this.most).map((line) => this.line(line))),
      this.earlier(lines.slice(0, this.most).at(-1).at(-1)),
      more && h("button", { type: "button", class: "plain", onclick: () => this.more(lines.length) }, "Show earlier"),
    ];
  }

  /** The newest changes of roles from before what is listed, which nothing else may bury. */
  earlier(last) {
    if (this.kind !== ALL) return null;
    const roles = withoutOpened(this.picture.history("roles").items).filter((one) => one.id < last.id && one.changes.length);
    return roles.length > 0 && [
      h("h3", { class: "quiet" }, "Changes of roles before that"),
      h("ol", { class: "timeline" }, roles.slice(0, EARLIER).map((one) => this.entry(one))),
    ];
  }

  async more(known) {
    this.most += SHOWN;
    if (this.most > known && this.picture.history(this.kind).older) await this.picture.lookBack(this.kind);
    this.redraw();
  }

  /** One decision, or several that are much the same. */
  line(decisions) {
    const [newest] = decisions;
    if (decisions.length === 1) return this.entry(newest);
    const key = `with ${decisions.at(-1).id}`;
    return h("li", { key, class: "several" },
      h("div", { class: "entry of-rings" }, this.parts(newest)),
      h("details", { ontoggle: ({ target }) => this.turn(key, target.open) },
        h("summary", { class: "quiet" }, `and ${number(decisions.length - 1)} more about devices since ${whenOf(decisions.at(-1).wall_ms)}`),
        this.unfolded.has(key) && h("ol", null, decisions.slice(1).map((one) => this.entry(one)))));
  }

  /** What is folded is not described: it may be hundreds. */
  turn(key, open) {
    if (open) this.unfolded.add(key);
    else this.unfolded.delete(key);
    this.redraw();
  }

  entry(decision) {
    const kind = decision.about[0] ?? "notes";
    return h("li", { key: decision.id, class: `entry of-${kind} ${decision.outcome}`, "data-decision": decision.id }, this.parts(decision));
  }

  parts(decision) {
    const kind = decision.about[0] ?? "notes";
    return [
      h("time", { datetime: new Date(decision.wall_ms).toISOString(), title: dateOf(decision.wall_ms) }, whenOf(decision.wall_ms)),
      h("span", { class: "kind" }, h("b", { "aria-hidden": "true" }, KINDS[kind].mark), ` ${KINDS[kind].word}`),
      h("div", { class: "sentence" }, folded(decision.sentence, this.linked(decision))),
    ];
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

export function kindFilters(chosen, choose) {
  return h("div", { class: "filters", role: "group", "aria-label": "Show only" }, FILTERS.map(([kind, word]) =>
    h("button", { type: "button", class: "plain", "aria-pressed": String(chosen === kind), onclick: () => choose(kind) }, word)));
}

/** Without proposals of which the outcome is listed. */
export function withoutOpened(items) {
  const closed = new Set(items.map((one) => one.outcome !== "proposed" && one.proposal));
  return items.filter((one) => !(one.outcome === "proposed" && closed.has(one.proposal)));
}

/** Decisions about devices that follow one another, of the same person or of nobody, in one line. */
export function together(decisions) {
  const runs = [];
  for (const one of decisions) {
    const key = one.about.includes("rings") && !one.changes.length ? `by ${one.actor}` : null;
    const last = runs.at(-1);
    if (key !== null && last?.key === key) last.of.push(one);
    else runs.push({ key, of: [one] });
  }
  return runs.flatMap(({ of }) => (of.length > FEW ? [of] : of.map((one) => [one])));
}
