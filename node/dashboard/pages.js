// A list that a node pages: as much of it as was asked for. It is asked again until a node answers,
// and an answer to what nobody wants to know any more is dropped.

import { Problem, Unreachable } from "./link.js";

const PATIENCE_MS = 6_000; // of a question that may look at a million rows
const PAGE = 50;
const MOST = 500; // items on the page
const MOST_EMPTY = 40; // pages in a row on which nothing was found
const AGAIN_MS = 1_000;
const FRESH_MS = 5_000;

export class Pages {
  /** `onChange()`: called when there is more to show. */
  constructor(link, onChange) {
    Object.assign(this, { link, onChange, path: null });
  }

  /** Lists what a path answers, which has a query; what it listed before is forgotten. */
  show(path) {
    if (path === this.path) return this.refresh();
    Object.assign(this, { path, items: null, next: null, warnings: [], problem: "", waiting: false, asking: false, askedAt: 0 });
    this.ask(null);
  }

  /** Asks anew after some seconds, as long as what is shown is one page. */
  refresh() {
    const old = performance.now() - this.askedAt > FRESH_MS;
    if (old && !this.waiting && this.items !== null && this.items.length <= PAGE) this.ask(null);
  }

  /** As `refresh`, but at once and whatever is shown: it has changed. */
  renew() {
    if (this.path !== null) this.ask(null);
  }

  more() {
    return this.asking ? null : this.ask(this.next);
  }

  get isFull() {
    return this.items !== null && this.items.length >= MOST;
  }

  /** `asking`: whether somebody waits for it; what is asked anew by itself nobody notices. */
  async ask(cursor) {
    const question = {};
    Object.assign(this, { question, waiting: true, asking: cursor !== null, askedAt: performance.now() });
    this.onChange();
    try {
      const page = await pageFrom(this.link, `${this.path}&limit=${PAGE}`, cursor, () => this.question === question);
      if (this.question !== question) return;
      const items = cursor === null ? page.items : [...this.items, ...page.items];
      Object.assign(this, { items: items.slice(0, MOST), next: page.next, warnings: page.warnings ?? [], problem: "" });
    } catch (error) {
      if (this.question !== question) return;
      if (error instanceof Unreachable) {
        setTimeout(() => this.question === question && this.ask(cursor), AGAIN_MS);
        return;
      }
      if (!(error instanceof Problem)) throw error;
      Object.assign(this, { items: this.items ?? [], problem: error.message });
    }
    this.waiting = this.asking = false;
    this.onChange();
  }
}

/** One page on which something is, or the last; a node may answer empty ones, having looked at enough. */
async function pageFrom(link, path, cursor, wanted) {
  let page = { items: [], next: cursor };
  for (let n = 0; n < MOST_EMPTY && wanted(); n += 1) {
    const after = page.next === null ? "" : `&cursor=${encodeURIComponent(page.next)}`;
    page = await link.get(path + after, PATIENCE_MS);
    if (page.items.length || page.next === null) break;
  }
  return page;
}

/** Everything that a path lists, at most so many; whether that is all of it. */
export async function all(link, path, most) {
  let items = [], next = null, found;
  do {
    found = await pageFrom(link, `${path}&limit=1000`, next, () => true);
    items = items.concat(found.items);
    next = found.next;
  } while (next !== null && found.items.length && items.length < most);
  return { items: items.slice(0, most), whole: next === null && items.length <= most };
}
