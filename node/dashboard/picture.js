// What is known of the cluster. Events say what to ask for again; the lists that are asked for are
// the truth. Without the stream everything is asked for with every beat.

import { Problem, Unreachable } from "./link.js";

const BEAT_MS = 1_000;
const BACK_MS = 1_000;
export const MAX_DECISIONS = 400;
const PAGE = 100;

/** What is asked for, how often at most (ms), and the events after which it is. */
const PARTS = {
  cluster: { path: "/v1/cluster", every: 150, after: /^(role|seat|alarm|pause|settings|member|founded)/ },
  nodes: { path: "/v1/nodes", every: 150, after: /^(role|seat|member|samples|founded)/ },
  proposals: { path: "/v1/proposals?limit=12", every: 250, after: /^(proposal|vote)/ },
  rings: { path: "/v1/rings", every: 1_000, after: /^(device|fleet|rings)/ },
  decisions: { path: `/v1/decisions?limit=${PAGE}`, every: 1_000, after: /^(gap|overrun)/ },
  me: { path: "/v1/me", every: 10_000, after: /^member/ },
  config: { path: "/v1/config", every: 1_000, after: /^settings/ },
};
const EACH_BEAT = ["cluster", "nodes"];

export class Picture {
  /** `onChange()`: something is different now. */
  constructor(link, onChange) {
    this.link = link;
    this.onChange = onChange;
    this.parts = {};
    this.decisions = []; // newest first, at most MAX_DECISIONS
    this.noted = []; // came by the stream, not in their place yet
    this.older = null; // cursor of what was decided before them
    this.askedAt = {};
    this.asking = new Set();
    this.due = new Set();
    this.heardAt = 0; // of the newest answer, local ms
  }

  start() {
    this.askAll();
    setInterval(() => this.beat(), BEAT_MS);
  }

  beat() {
    const behind = !this.link.streaming || !this.parts.rings;
    for (const name of behind ? Object.keys(PARTS) : EACH_BEAT) this.ask(name);
  }

  askAll() {
    for (const name of Object.keys(PARTS)) {
      delete this.askedAt[name];
      this.ask(name);
    }
  }

  /** One event of the stream. */
  happened(kind, data) {
    if (kind === "decided") this.note(data);
    for (const [name, part] of Object.entries(PARTS)) if (part.after.test(kind)) this.ask(name);
  }

  /** Asks for a part again, soon; what comes meanwhile is asked for once more afterwards. */
  ask(name) {
    if (this.due.has(name)) return;
    const wait = (this.askedAt[name] ?? -Infinity) + PARTS[name].every - performance.now();
    if (this.asking.has(name) || wait > 0) {
      this.due.add(name);
      setTimeout(() => this.again(name), Math.max(wait, 50));
      return;
    }
    this.fetch(name);
  }

  again(name) {
    this.due.delete(name);
    this.ask(name);
  }

  async fetch(name) {
    this.asking.add(name);
    this.askedAt[name] = performance.now();
    try {
      this.take(name, await this.link.get(PARTS[name].path));
    } catch (error) {
      if (!(error instanceof Unreachable || error instanceof Problem)) throw error;
    } finally {
      this.asking.delete(name);
    }
  }

  take(name, body) {
    const before = this.parts[name];
    if (name === "decisions") {
      if (!this.decisions.length) this.older = body.next;
      this.remember(body.items);
    } else {
      this.parts[name] = body;
    }
    if (name === "cluster") {
      this.heardAt = Date.now();
      this.compare(before, body);
    }
    if (name === "nodes") this.link.knows(body.items.map((node) => node.address.http));
    this.onChange();
  }

  /** Cluster time never goes back. Where it does, this node is far behind the one before, or another
   *  cluster lives at these addresses now: either way its history is not the one shown. */
  compare(before, cluster) {
    if (!before || cluster.time_ms > before.time_ms - BACK_MS) return;
    this.decisions = [];
    this.noted = [];
    this.link.restart();
    this.askAll();
  }

  /** Thousands may come at once: they wait for the next drawing, and only the newest of them. */
  note(decision) {
    this.noted.push(decision);
    if (this.noted.length > 2 * MAX_DECISIONS) this.noted.splice(0, MAX_DECISIONS);
    this.onChange();
  }

  /** Puts what came by the stream in its place; before every drawing. */
  settle() {
    this.remember(this.noted.splice(0));
  }

  remember(decisions) {
    const known = new Set(this.decisions.map((one) => one.id));
    const fresh = decisions.filter((one) => !known.has(one.id));
    if (!fresh.length) return;
    const all = [...fresh, ...this.decisions].sort((a, b) => b.id - a.id);
    this.decisions = all.slice(0, MAX_DECISIONS);
  }

  /** Asks for what was decided before. */
  async lookBack() {
    const cursor = encodeURIComponent(this.older);
    const body = await this.link.get(`/v1/decisions?limit=${PAGE}&cursor=${cursor}`);
    this.older = this.decisions.length + body.items.length >= MAX_DECISIONS ? null : body.next;
    this.remember(body.items);
    this.onChange();
  }

  get cluster() {
    return this.parts.cluster;
  }

  get nodes() {
    return this.parts.nodes?.items ?? [];
  }

  /** Cluster milliseconds now, about: those of the newest answer and the time since. */
  get now() {
    return (this.cluster?.time_ms ?? 0) + (Date.now() - this.heardAt);
  }

  node(id) {
    return this.nodes.find((node) => node.id === id);
  }

  get mayWrite() {
    return this.parts.me !== undefined && this.parts.me.role !== "viewer";
  }
}
