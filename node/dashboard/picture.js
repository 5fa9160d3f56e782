// What is known of the cluster. Events say what to ask for again; the lists that are asked for are
// the truth. Without the stream everything is asked for with every beat.

import { ALL, History } from "./history.js";
import { Problem, Unreachable } from "./link.js";

const BEAT_MS = 1_000;
const BACK_MS = 1_000;
const OLD_MS = 3_000;
const ROLES = "roles";

/** What is asked for, how often at most (ms), and the events after which it is. */
const PARTS = {
  cluster: { path: "/v1/cluster", every: 150, after: /^(role|seat|alarm|pause|settings|member|founded)/ },
  nodes: { path: "/v1/nodes", every: 150, after: /^(role|seat|member|samples|founded)/ },
  proposals: { path: "/v1/proposals?limit=12", every: 250, after: /^(proposal|vote)/ },
  rings: { path: "/v1/rings", every: 1_000, after: /^(device|fleet|rings)/ },
  me: { path: "/v1/me", every: 10_000, after: /^member/ },
  config: { path: "/v1/config", every: 1_000, after: /^settings/ },
};
const EACH_BEAT = ["cluster", "nodes"];
const HISTORY = { every: 1_000, after: /^(gap|overrun)/ };

export class Picture {
  /** `onChange()`: something is different now. */
  constructor(link, onChange) {
    this.link = link;
    this.onChange = onChange;
    this.parts = {};
    this.histories = {}; // by what they are about; those that anybody looks at
    for (const about of [ALL, ROLES]) this.histories[about] = new History(about);
    this.askedAt = {};
    this.asking = new Set();
    this.due = new Set();
    this.heardAt = 0; // of the newest answer, local ms
  }

  start() {
    this.askAll();
    setInterval(() => this.beat(), BEAT_MS);
  }

  /** Also draws: time passes where nobody answers. */
  beat() {
    this.onChange();
    const behind = !this.link.streaming || !this.parts.rings;
    for (const name of behind ? this.names : EACH_BEAT) this.ask(name);
  }

  askAll() {
    for (const name of this.names) {
      delete this.askedAt[name];
      this.ask(name);
    }
  }

  /** All that can be asked for. */
  get names() {
    return [...Object.keys(PARTS), ...Object.keys(this.histories)];
  }

  how(name) {
    return PARTS[name] ?? { ...HISTORY, path: this.histories[name].path() };
  }

  /** One event of the stream. */
  happened(kind, data) {
    if (kind === "decided") this.note(data);
    if (HISTORY.after.test(kind)) this.eachHistory((one) => one.tear());
    for (const name of this.names) if (this.how(name).after.test(kind)) this.ask(name);
  }

  /** Asks for a part again, soon; what comes meanwhile is asked for once more afterwards. */
  ask(name) {
    if (this.due.has(name)) return;
    const wait = (this.askedAt[name] ?? -Infinity) + this.how(name).every - performance.now();
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
      this.take(name, await this.link.get(this.how(name).path));
    } catch (error) {
      if (!(error instanceof Unreachable || error instanceof Problem)) throw error;
    } finally {
      this.asking.delete(name);
    }
  }

  take(name, body) {
    const before = this.parts[name];
    if (name in this.histories) this.histories[name].take(body);
    else this.parts[name] = body;
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
    this.eachHistory((one) => one.forget());
    this.link.restart();
    this.askAll();
  }

  // -- what was decided -----------------------------------------------------------------------

  /** All that is known of it; asked for as soon as somebody looks. */
  history(about) {
    if (!this.histories[about]) {
      this.histories[about] = new History(about);
      this.ask(about);
    }
    return this.histories[about];
  }

  eachHistory(change) {
    Object.values(this.histories).forEach(change);
  }

  note(decision) {
    this.eachHistory((one) => one.note(decision));
    this.onChange();
  }

  /** Before every drawing. */
  settle() {
    this.eachHistory((one) => one.settle());
  }

  /** Asks for what was decided before. */
  async lookBack(about) {
    const history = this.history(about);
    try {
      history.prepend(await this.link.get(history.path(history.older)));
    } catch (error) {
      if (!(error instanceof Unreachable || error instanceof Problem)) throw error;
    }
    this.onChange();
  }

  /** The newest change of the seat; null as long as none is known. */
  get seatChange() {
    return this.history(ROLES).items.find(isSeatChange) ?? null;
  }

  get cluster() {
    return this.parts.cluster;
  }

  get nodes() {
    const items = this.parts.nodes?.items ?? [];
    return this.link.lost ? items.map(unknown) : items;
  }

  /** Milliseconds that what is shown is old: it was so much already for the node that told it. */
  get age() {
    return (this.cluster?.age_ms ?? 0) + (Date.now() - this.heardAt);
  }

  /** Whether that is worth a word: who hears its node each second is never that far behind. */
  get isOld() {
    return this.age > OLD_MS;
  }

  /** Cluster milliseconds now, about: it stands still while nobody leads, and people do not. */
  get now() {
    return (this.cluster?.time_ms ?? 0) + this.age;
  }

  node(id) {
    return this.nodes.find((node) => node.id === id);
  }

  /** Whether it is known what this page may do. */
  get answered() {
    return this.parts.me !== undefined && this.cluster !== undefined;
  }

  /** Why no order can be given now; empty when one can. */
  get barred() {
    if (this.link.lost) return "Nothing can be ordered: no node answers.";
    if (!this.answered) return "It is being asked what you may do.";
    const { role, because } = this.parts.me;
    return role === "viewer" ? `You may look only. ${because}` : (this.cluster.barred ?? "");
  }
}

/** A node as it is known while nobody answers: not at all. */
function unknown(node) {
  return { ...node, lost: true, known: false, risk: null, effective_role: null, lease_remaining_s: null };
}

function isSeatChange(decision) {
  const done = ["approved", "done"].includes(decision.outcome);
  return done && decision.changes.some((one) => one.target === "PRIMARY");
}
