// What was decided, newest first: one history of everything, and one of each matter that is looked
// at alone, so that a night of ring moves does not push out the one change of role.

export const ALL = "all";
export const MAX_DECISIONS = 400;
const PAGE = 100;

export class History {
  /** `about`: `ALL`, or what the interface calls it (`?about=`). */
  constructor(about) {
    this.about = about;
    this.forget();
  }

  forget() {
    this.items = []; // newest first, at most MAX_DECISIONS
    this.noted = []; // came by the stream, not in their place yet
    this.older = null; // cursor of what was decided before them
    this.torn = true; // there may be a hole between these and the newest: the next answer replaces them
  }

  /** Something was missed: what is known stays on the screen until the next answer. */
  tear() {
    this.torn = true;
  }

  path(cursor) {
    const about = this.about === ALL ? "" : `&about=${this.about}`;
    return `/v1/decisions?limit=${PAGE}${about}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`;
  }

  /** Thousands may come at once: they wait for the next drawing, and only the newest of them. */
  note(decision) {
    if (this.about !== ALL && !decision.about.includes(this.about)) return;
    this.noted.push(decision);
    if (this.noted.length > 2 * MAX_DECISIONS) this.noted.splice(0, MAX_DECISIONS);
  }

  /** Puts what came by the stream in its place; before every drawing. */
  settle() {
    this.remember(this.noted.splice(0));
  }

  /** The newest page, as a node answered it. */
  take({ items, next }) {
    if (this.torn) {
      this.items = [];
      this.older = next;
      this.torn = false;
    }
    this.remember(items);
  }

  /** The page before those that are known. */
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
