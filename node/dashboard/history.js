// Decisions, newest first: one history of all, and one for each kind that is viewed separately, so
// that a night of ring moves does not push out the only role change.

export const ALL = "all";
export const MAX_DECISIONS = 400;
const PAGE = 100;

export class History {
  /** `about`: `ALL`, or a value of the API's `?about=`. */
  constructor(about) {
    this.about = about;
    this.forget();
  }

  forget() {
    this.items = []; // newest first, at most MAX_DECISIONS
    this.noted = []; // received from the stream, not sorted in yet
    this.older = null; // cursor of the page before them
    this.torn = true; // there may be a gap before the newest: the next answer replaces them all
  }

  /** Events were missed: the items stay on the screen until the next answer replaces them. */
  tear() {
    this.torn = true;
  }

  path(cursor) {
    const about = this.about === ALL ? "" : `&about=${this.about}`;
    return `/v1/decisions?limit=${PAGE}${about}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`;
  }

  /** Keeps the newest until the next drawing: thousands may come at once. */
  note(decision) {
    if (this.about !== ALL && !decision.about.includes(this.about)) return;
    this.noted.push(decision);
    if (this.noted.length > 2 * MAX_DECISIONS) this.noted.splice(0, MAX_DECISIONS);
  }

  /** Sorts in what came by the stream; called before every drawing. */
  flush() {
    this.remember(this.noted.splice(0));
  }

  /** Takes the newest page of a node's answer. */
  take({ items, next }) {
    if (this.torn) {
      this.items = [];
      this.older = next;
      this.torn = false;
    }
    this.remember(items);
  }

  /** Takes the page before the oldest known item. */
  prepend({ items, next }) {
    this.older = next;
    this.remember(items);
  }

  remember(decisions) {
    if (!decisions.length) return;
    const known = new Set(this.items.map((one) => one.id));
    const fresh = decisions.filter((one) => !known.has(one.id));
    if (!fresh.length) return;
    this.items = [...fresh, ...this.items].sort((a, b) => b.id - a.id);
    if (this.items.length < MAX_DECISIONS) return;
    this.items.length = MAX_DECISIONS;
    this.older = null;
  }
}
