// Where one is: the view, its filters, and the sheet that is open. All of it stands in the URL behind
// "#/", so that it can be sent to somebody, kept, and gone back from.

export const VIEWS = { "": "Overview", devices: "Devices", decisions: "Decisions", time: "Over time" };
const SHEETS = ["node", "device", "deployment", "rollout"];
const OF_SHEETS = ["open", "only"]; // parameters that no view has

export class Place {
  /** `onMove()` is called when it is another one. */
  constructor(onMove) {
    this.onMove = onMove;
    this.read();
    addEventListener("hashchange", () => this.read() && this.onMove());
  }

  /** Whether the URL names a place, and not an element of the page. */
  read() {
    const { hash } = location;
    if (hash !== "" && !hash.startsWith("#/")) return false;
    const at = hash.indexOf("?");
    const view = hash.slice(2, at < 0 ? undefined : at);
    this.view = Object.hasOwn(VIEWS, view) ? view : "";
    this.params = Object.fromEntries(new URLSearchParams(at < 0 ? "" : hash.slice(at)));
    return true;
  }

  /** The sheet that is to be open: its kind, the id, and what of it is listed; null: none. */
  get sheet() {
    const [, kind, id] = /^([a-z]+)\/(.{1,128})$/su.exec(this.params.open ?? "") ?? [];
    return SHEETS.includes(kind) ? { kind, id, only: this.params.only ?? "" } : null;
  }

  /** The URL of a view with these parameters; those that are empty are left out. */
  href(view, params = {}) {
    const given = Object.entries(params).filter(([, value]) => value !== "" && value !== undefined);
    return `#/${view}${given.length ? `?${new URLSearchParams(given)}` : ""}`;
  }

  /** Goes there, as a click on its link would. */
  go(href) {
    if (href === (location.hash || "#/")) return;
    location.hash = href;
    this.read();
    this.onMove();
  }

  /** The same view with other parameters. */
  change(params) {
    this.go(this.href(this.view, { ...this.params, ...params }));
  }

  open(kind, id, only = "") {
    this.change({ open: `${kind}/${id}`, only });
  }

  close() {
    this.change(Object.fromEntries(OF_SHEETS.map((name) => [name, ""])));
  }

  /** The view's own parameters. */
  get filters() {
    return Object.fromEntries(Object.entries(this.params).filter(([name]) => !OF_SHEETS.includes(name)));
  }
}
