// All devices as a view: searched, filtered and put in order by a node, with the columns that somebody
// wants to see, and orders about those that were chosen.

import { h } from "./dom.js";
import { all, Pages } from "./pages.js";
import { save } from "./table.js";
import { ago, number, plural, RINGS, span } from "./words.js";

const MOST_CHOSEN = 1_000;
const MOST_SAVED = 100_000;
const SHOWN = ["ring", "health", "kind", "app", "battery", "seen"];
const STATES = { healthy: { healthy: true }, unhealthy: { healthy: false }, online: { online: true }, offline: { online: false } };

const WORDS = { seen: ["latest first", "longest ago first"], ring_since: ["longest first", "latest first"] };

const percent = (read) => ({ status }) => (status ? `${Math.round(read(status))} %` : "–");

/** The columns that there are: their heads, what is in them, and by what the API puts them in order. */
const COLUMNS = {
  name: { head: "Name", text: (device) => device.name },
  ring: { head: "Ring", text: (device) => `${device.ring}${device.pin ? ", pinned" : ""}` },
  health: { head: "Health", text: (device) => stateOf(device).kind },
  kind: { head: "Kind", text: (device) => Object.entries({ ...device.capabilities, ...device.labels }).map(([name, value]) => `${name}=${value}`).join(", ") },
  os: { head: "System", text: (device) => device.os_version },
  app: { head: "App", text: (device) => device.app_version },
  battery: { head: "Battery", sort: "battery", text: percent((status) => status.battery_level) },
  cpu: { head: "CPU", sort: "cpu", text: percent((status) => status.cpu_usage) },
  memory: { head: "Memory", sort: "memory", text: percent((status) => status.memory_usage) },
  disk: { head: "Disk", sort: "disk", text: percent((status) => status.disk_usage) },
  seen: { head: "Heard", sort: "seen", text: (device) => ago(device.seen_s * 1_000) },
  since: { head: "In its ring", sort: "ring_since", text: (device, now) => span(Math.max(0, now - device.ring_since_ms) / 1_000) },
  served: { head: "Served by", text: (device) => device.served_by },
  policy: { head: "Policy", text: (device) => device.policy ?? "" },
};

const ORDERS = [["", "as registered"], ...Object.values(COLUMNS).filter(({ sort }) => sort).flatMap(({ head, sort }) => [
  [sort, `${head}, ${WORDS[sort]?.[0] ?? "lowest first"}`], [`-${sort}`, `${head}, ${WORDS[sort]?.[1] ?? "highest first"}`]])];

export function stateOf(device) {
  if (!device.online) return { kind: "offline", mark: "?" };
  return device.healthy ? { kind: "healthy", mark: "✓" } : { kind: "unhealthy", mark: "✕" };
}

export class Devices {
  constructor(picture, link, place, actions, redraw) {
    Object.assign(this, { picture, link, place, actions, redraw, pages: new Pages(link, redraw), chosen: new Map(), choices: 0, busy: "" });
  }

  /** Its path of the API, without paging. */
  get path() {
    const { text, selector, ring, state, pinned, sort } = this.place.params;
    const asked = { text, selector, ring, pinned, sort, ...(Object.hasOwn(STATES, state ?? "") && STATES[state]) };
    return `/v1/devices?${new URLSearchParams(Object.entries(asked).filter(([, value]) => value !== undefined && value !== ""))}`;
  }

  get columns() {
    const { columns, sort } = this.place.params;
    const wanted = columns?.split(",").filter((name) => Object.hasOwn(COLUMNS, name)) ?? [];
    const shown = wanted.length ? wanted : SHOWN;
    const ordered = Object.keys(COLUMNS).filter((name) => COLUMNS[name].sort && COLUMNS[name].sort === sort?.replace("-", ""));
    return [...new Set([...shown, ...ordered])];
  }

  draw() {
    const { path } = this;
    if (path !== this.pages.path) this.choose([], true);
    this.pages.show(path);
    return [
      h("div", { class: "heading" }, h("h1", { id: "devices-title" }, "Devices"), h("p", { class: "quiet" }, this.summary())),
      this.form(), this.columnChoice(), this.orders(), this.list(),
    ];
  }

  summary() {
    const total = this.picture.cluster.fleet.total_slaves;
    const { items, next } = this.pages;
    if (items === null) return `${plural(total, "device")} in the fleet`;
    return `${next === null ? number(items.length) : `the first ${number(items.length)}`} of ${plural(total, "device")} in the fleet`;
  }

  form() {
    const { text = "", selector = "", ring = "", state = "", pinned = "", sort = "" } = this.place.params;
    const choice = (name, label, options, chosen) => h("label", null, label, h("select", { name }, options.map(([value, word]) => h("option", { value, selected: value === chosen }, word))));
    return h("form", { class: "search", role: "search", onsubmit: (event) => this.search(event), onchange: (event) => this.search(event) },
      h("label", null, "Id or name", h("input", { name: "text", value: text, type: "search", maxlength: 128, autocomplete: "off", placeholder: "a part of it" })),
      h("label", { class: "wide" }, "Selector", h("input", { name: "selector", value: selector, maxlength: 1_024, autocomplete: "off", placeholder: "model in (Pixel 8, Pixel 9), site!=lab" })),
      choice("ring", "Ring", [["", "any"], ...RINGS.map((one) => [one, one])], ring),
      choice("state", "Health", [["", "any"], ...Object.keys(STATES).map((one) => [one, one])], state),
      choice("pinned", "Pinned", [["", "or not"], ["true", "pinned"], ["false", "not pinned"]], pinned),
      choice("sort", "Order", ORDERS, sort),
      h("button", { type: "submit" }, "Search"),
      h("button", { type: "button", disabled: this.busy !== "", onclick: () => this.save() }, this.busy === "saving" ? "Saving …" : "Save as CSV"));
  }

  search(event) {
    event.preventDefault();
    const given = Object.fromEntries(new FormData(event.currentTarget));
    this.place.change({ ...given, text: given.text.trim(), selector: given.selector.trim() });
  }

  columnChoice() {
    const shown = this.columns;
    const turn = (name) => Object.keys(COLUMNS).filter((one) => (one === name) !== shown.includes(one));
    return h("details", { class: "columns-shown" }, h("summary", null, "Columns"),
      h("div", { class: "checks", role: "group", "aria-label": "Columns" }, Object.entries(COLUMNS).map(([name, { head }]) =>
        h("label", { class: "check" }, h("input", { type: "checkbox", checked: shown.includes(name), onchange: () => this.place.change({ columns: turn(name).join(",") }) }), head))));
  }

  // -- those that were chosen -----------------------------------------------------------------

  orders() {
    const { items, next } = this.pages;
    const { size } = this.chosen;
    if (this.picture.looksOnly || !items?.length) return null;
    const devices = () => [...this.chosen.values()];
    const done = () => this.over();
    return h("div", { class: "orders chosen", role: "group", "aria-label": "What to do with those chosen" },
      h("p", { role: "status" }, size ? `${plural(size, "device")} chosen` : "None is chosen."),
      h("button", { type: "button", disabled: this.busy !== "" || (next === null && size === items.length), onclick: () => this.chooseAll() }, this.busy === "choosing" ? "Choosing …" : "Choose all that match"),
      h("button", { type: "button", disabled: size === 0, onclick: () => this.choose([], true) }, "Choose none"),
      this.actions.button("Assign ring …", () => this.actions.assignAll(devices(), done), size ? "" : "Choose devices first."),
      this.actions.button("Release …", () => this.actions.releaseAll(devices(), done), devices().some(({ pin }) => pin) ? "" : "None of them is pinned."));
  }

  /** Chooses some devices; `only`: nothing else stays chosen. */
  choose(devices, only = false) {
    if (only) this.chosen.clear();
    for (const { id, ring, pin } of devices.slice(0, MOST_CHOSEN)) this.chosen.set(id, { id, ring, pin: pin !== null });
    this.choices += 1;
    this.redraw();
  }

  turn(device) {
    const left = this.chosen.delete(device.id);
    this.choose(left ? [] : [device]);
  }

  chooseAll() {
    return this.while("choosing", async () => {
      const { path } = this;
      const { items, whole } = await all(this.link, path, MOST_CHOSEN);
      if (path === this.path) this.choose(items, true);
      if (!whole) this.actions.notify(`More than ${number(MOST_CHOSEN)} match: the first ${number(MOST_CHOSEN)} are chosen.`);
    });
  }

  over() {
    this.choose([], true);
    this.pages.renew();
  }

  save() {
    return this.while("saving", async () => {
      const { items, whole } = await all(this.link, this.path, MOST_SAVED);
      const shown = Object.entries(COLUMNS);
      save("devices.csv", ["id", ...shown.map(([, { head }]) => head)], items.map((device) => [device.id, ...shown.map(([, { text }]) => text(device, this.picture.now))]));
      if (!whole) this.actions.notify(`More than ${number(MOST_SAVED)} match: the first ${number(MOST_SAVED)} are saved.`);
    });
  }

  /** Does something that takes a while, and says when no node could be asked. */
  async while(busy, work) {
    this.busy = busy;
    this.redraw();
    try {
      await work();
    } catch (error) {
      this.actions.notify(`The devices could not be asked for: ${error.message}`);
    }
    this.busy = "";
    this.redraw();
  }

  // -- the list -------------------------------------------------------------------------------

  list() {
    const { items, next, problem, warnings, asking, isFull } = this.pages;
    if (problem) return h("p", { class: "problem", role: "alert" }, problem);
    if (items === null) return h("p", { class: "quiet" }, "Asking …");
    return [
      items.length > 0 && this.table(items),
      !items.length && h("p", { class: "quiet" }, next === null ? "No device is like that." : "None was found so far."),
      warnings.map((line) => h("p", { class: "quiet" }, line)),
      next !== null && (isFull ? h("p", { class: "quiet" }, "There is more: search for less, or save it as a file.")
        : h("button", { type: "button", disabled: asking, onclick: () => this.pages.more() }, asking ? "Asking …" : "More devices")),
    ];
  }

  /** Described anew only when something of it has changed: it may have 500 rows. */
  table(items) {
    const now = [items, this.place.params, this.choices];
    if (now.some((one, n) => one !== this.drawn?.of[n])) this.drawn = { of: now, table: this.describe(items) };
    return this.drawn.table;
  }

  describe(items) {
    const columns = this.columns.map((name) => ({ name, ...COLUMNS[name] }));
    const every = items.every(({ id }) => this.chosen.has(id));
    return h("table", { class: "devices", "aria-labelledby": "devices-title" },
      h("thead", null, h("tr", null,
        h("td", null, h("input", { type: "checkbox", "aria-label": "Choose all that are shown", checked: every, onchange: () => this.choose(every ? [] : items, every) })),
        h("th", { scope: "col" }, "Id"), columns.map((column) => this.head(column)))),
      h("tbody", null, items.map((device) => this.row(device, columns))));
  }

  /** A click puts the lowest first, another one the highest, a third neither. */
  head({ name, head, sort }) {
    if (!sort) return h("th", { key: name, scope: "col" }, head);
    const by = this.place.params.sort;
    const [after, order, mark] = by === sort ? [`-${sort}`, "ascending", " ▴"] : by === `-${sort}` ? ["", "descending", " ▾"] : [sort, "none", ""];
    return h("th", { key: name, scope: "col", "aria-sort": order },
      h("button", { type: "button", class: "plain", onclick: () => this.place.change({ sort: after }) }, head, h("span", { "aria-hidden": "true" }, mark)));
  }

  row(device, columns) {
    const { id } = device;
    const state = stateOf(device);
    return h("tr", { key: id, "data-device": id },
      h("td", { class: "pick" }, h("input", { type: "checkbox", "aria-label": `Choose ${id}`, checked: this.chosen.has(id), onchange: () => this.turn(device) })),
      h("th", { scope: "row" }, h("a", { href: this.place.href("devices", { ...this.place.params, open: `device/${id}`, only: "" }) }, id)),
      columns.map(({ name, head, text }) => h("td", { key: name, "data-head": head },
        name === "health" ? h("span", { class: `state ${state.kind}` }, `${state.mark} ${state.kind}`) : text(device, this.picture.now))));
  }
}
