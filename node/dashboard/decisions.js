// The decision log as a view: what is looked for in all of it, in the words of the sentences and
// between two times, and as a file.

import { h } from "./dom.js";
import { ALL } from "./history.js";
import { all, Pages } from "./pages.js";
import { save } from "./table.js";
import { kindFilters, together, withoutOpened } from "./timeline.js";

const HEADS = ["time", "about", "outcome", "sentence", "ordered by", "reason given", "entry"];
const MOST_SAVED = 10_000;

export class Decisions {
  constructor(link, place, timeline, actions, redraw) {
    Object.assign(this, { link, place, timeline, actions, pages: new Pages(link, redraw), saving: false, redraw });
  }

  /** Its path of the API, without paging. */
  get path() {
    const { about, text, from, until } = this.place.params;
    const asked = { about: about === ALL ? "" : about, text, since_ms: moment(from), until_ms: moment(until) };
    return `/v1/decisions?${new URLSearchParams(Object.entries(asked).filter(([, value]) => value))}`;
  }

  draw() {
    const { params } = this.place;
    this.pages.show(this.path);
    return [
      h("div", { class: "heading" }, h("h1", { id: "decisions-title" }, "Decisions"),
        h("div", { class: "heading-rest" }, kindFilters(params.about ?? ALL, (kind) => this.place.change({ about: kind === ALL ? "" : kind })))),
      this.form(params), this.list(params),
    ];
  }

  form({ text = "", from = "", until = "", apart = "" }) {
    return h("form", { class: "search", role: "search", onsubmit: (event) => this.search(event), onchange: (event) => this.search(event) },
      h("label", null, "Words", h("input", { name: "text", value: text, maxlength: 128, type: "search", autocomplete: "off", placeholder: "of the sentence, a name, a reason" })),
      h("label", null, "From", h("input", { name: "from", value: from, type: "datetime-local" })),
      h("label", null, "Until", h("input", { name: "until", value: until, type: "datetime-local" })),
      h("label", { class: "check" }, h("input", { name: "apart", type: "checkbox", checked: apart === "yes" }), "Each on its own"),
      h("button", { type: "submit" }, "Search"),
      h("button", { type: "button", disabled: this.saving, onclick: () => this.save() }, this.saving ? "Saving …" : "Save as CSV"));
  }

  search(event) {
    event.preventDefault();
    const { text, from, until, apart } = Object.fromEntries(new FormData(event.currentTarget));
    this.place.change({ text: text.trim(), from, until, apart: apart ? "yes" : "" });
  }

  list({ apart, about }) {
    const { items, next, problem, asking, isFull } = this.pages;
    if (problem) return h("p", { class: "problem", role: "alert" }, problem);
    if (items === null) return h("p", { class: "quiet" }, "Asking …");
    if (!items.length) return h("p", { class: "quiet" }, "Nothing like that is remembered.");
    const wanted = withoutOpened(items);
    const lines = apart === "yes" || about === "rings" ? wanted.map((one) => [one]) : together(wanted);
    return [
      h("ol", { class: "timeline" }, lines.map((line) => this.timeline.line(line))),
      next !== null && (isFull ? h("p", { class: "quiet" }, "There is more: look between two times, or save it as a file.")
        : h("button", { type: "button", disabled: asking, onclick: () => this.pages.more() }, asking ? "Asking …" : "Show earlier")),
    ];
  }

  async save() {
    this.saving = true;
    this.redraw();
    try {
      const { items } = await all(this.link, this.path, MOST_SAVED);
      save("decisions.csv", HEADS, items.map((one) => [new Date(one.wall_ms).toISOString(), one.about.join(" "), one.outcome, one.sentence, one.actor, one.comment, one.index]));
    } catch (error) {
      this.actions.notify(`The decisions are not saved: ${error.message}`);
    }
    this.saving = false;
    this.redraw();
  }
}

/** Milliseconds since 1970 of what stands in a field of local time; "" if nothing does. */
function moment(text) {
  const at = Date.parse(text ?? "");
  return Number.isNaN(at) || at < 0 ? "" : String(at);
}
