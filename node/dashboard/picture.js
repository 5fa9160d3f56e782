// What is known about the cluster. Events only trigger requests; their answers are the truth.
// Without the event stream, everything is requested at every beat.

import { ALL, History } from "./history.js";
import { Problem, Unreachable } from "./link.js";

const BEAT_MS = 1_000;
const BACK_MS = 1_000;
const OLD_MS = 3_000;
const ROLES = "roles";

/** What is requested, the shortest interval (ms), and the events that trigger a request. */
const PARTS = {
  cluster: { path: "/v1/cluster", every: 150, after: /^(role|seat|alarm|pause|settings|member|founded)/ },
  nodes: { path: "/v1/nodes", every: 150, after: /^(role|seat|member|samples|founded)/ },
  proposals: { path: "/v1/proposals?limit=12", every: 250, after: /^(proposal|vote)/ },
  rings: { path: "/v1/rings", every: 1_000, after: /^(device|fleet|rings)/ },
  open: { path: "/v1/deployments?of_rollouts=false&state=open&state=closing", every: 1_000, after: /^(deployment|tasks|settings|pause)/ },
  closed: { path: "/v1/deployments?of_rollouts=false&state=closed&limit=2", every: 1_000, after: /^deployment/ },
  rollouts: { path: `/v1/rollouts?limit=100${stated("draft", "awaiting_approval", "running", "paused", "aborting", "rolling_back")}`, every: 1_000, after: /^(rollout|stage|gate|tasks|freeze|settings|pause)/ },
  ended: { path: `/v1/rollouts?limit=2${stated("succeeded", "aborted", "rolled_back")}`, every: 1_000, after: /^(rollout_|tasks)/ },
  freezes: { path: "/v1/freezes", every: 1_000, after: /^freeze/ },
  blocked: { path: "/v1/artifacts?blocked=true&limit=10", every: 1_000, after: /^(rollout_|decided)/ },
  me: { path: "/v1/me", every: 10_000, after: /^member/ },
  config: { path: "/v1/config", every: 1_000, after: /^settings/ },
};
const EACH_BEAT = ["cluster", "nodes"];
const HISTORY = { every: 1_000, after: /^(gap|overrun)/ };

export class Picture {
  /** `onChange()` is called when something has changed. */
  constructor(link, onChange) {
    this.link = link;
    this.onChange = onChange;
    this.parts = {};
    this.histories = {}; // by `named`; only those that are viewed
    for (const about of [ALL, ROLES]) this.histories[named(about)] = new History(about);
    this.askedAt = {};
    this.asking = new Set();
    this.due = new Set();
    this.toldAt = {}; // time of each part's newest answer, local ms
    this.answeredAt = 0; // time of the newest answer, local ms
  }

  start() {
    this.askAll();
    setInterval(() => this.beat(), BEAT_MS);
  }

  /** Also draws: ages change even if no node answers. */
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

  /** Everything that can be requested. */
  get names() {
    return [...Object.keys(PARTS), ...Object.keys(this.histories)];
  }

  how(name) {
    return PARTS[name] ?? { ...HISTORY, path: this.histories[name].path() };
  }

  /** Handles one event of the stream. */
  happened(kind, data) {
    if (kind === "decided") this.note(data);
    if (HISTORY.after.test(kind)) this.eachHistory((one) => one.tear());
    for (const name of this.names) if (this.how(name).after.test(kind)) this.ask(name);
  }

  /** Requests a part soon; if it is being requested already, once more afterwards. */
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
    this.toldAt[name] = Date.now();
    if (name === "cluster") {
      this.answeredAt = Date.now();
      this.compare(before, body);
    }
    if (name === "nodes") this.link.knows(body.items.map((node) => node.address.http));
    this.onChange();
  }

  /** Cluster time never goes back. If it seems to, this node is far behind the previous one, or these
   *  addresses belong to another cluster now: either way its history is not the one shown. */
  compare(before, cluster) {
    if (!before || cluster.time_ms > before.time_ms - BACK_MS) return;
    this.eachHistory((one) => one.forget());
    this.link.restart();
    this.askAll();
  }

  // -- decisions ------------------------------------------------------------------------------

  /** The history about something; requested when it is first viewed. */
  history(about) {
    const name = named(about);
    if (!this.histories[name]) {
      this.histories[name] = new History(about);
      this.ask(name);
    }
    return this.histories[name];
  }

  eachHistory(change) {
    Object.values(this.histories).forEach(change);
  }

  note(decision) {
    this.eachHistory((one) => one.note(decision));
    this.onChange();
  }

  /** Called before every drawing. */
  flush() {
    this.eachHistory((one) => one.flush());
  }

  /** Requests older decisions. */
  async lookBack(about) {
    const history = this.history(about);
    try {
      history.prepend(await this.link.get(history.path(history.older)));
    } catch (error) {
      if (!(error instanceof Unreachable || error instanceof Problem)) throw error;
    }
    this.onChange();
  }

  /** The newest change of the seat; null if none is known. */
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

  /** Age of what is shown, ms: its age at the answering node, and the time since the answer. */
  get age() {
    return (this.cluster?.age_ms ?? 0) + (Date.now() - this.answeredAt);
  }

  /** Whether to mention the age: with an answer every second it never gets this high. */
  get isOld() {
    return this.age > OLD_MS;
  }

  /** Approximate cluster time now, ms. Without a leader cluster time does not advance, but this
   *  does, since people think in real time. */
  get now() {
    return (this.cluster?.time_ms ?? 0) + this.age;
  }

  /** The leader's clock at a cluster time, as far as it is known. */
  wallOf(at_ms) {
    return this.cluster.wall_ms + at_ms - this.cluster.time_ms;
  }

  /** Seconds since a part was told, for countdowns. They stand still while what is shown is old, as
   *  nobody knows whether cluster time goes on. */
  elapsed(name) {
    return this.isOld ? 0 : (Date.now() - this.toldAt[name]) / 1_000;
  }

  /** How many devices are in a ring, or in all of them (null). */
  devicesIn(ring) {
    const rings = this.parts.rings?.items ?? [];
    return rings.filter((one) => ring === null || one.ring === ring).reduce((sum, one) => sum + one.devices, 0);
  }

  node(id) {
    return this.nodes.find((node) => node.id === id);
  }

  /** Whether the page knows what it may do. */
  get answered() {
    return this.parts.me !== undefined && this.cluster !== undefined;
  }

  /** Whether whoever looks has no right to give any order here. */
  get looksOnly() {
    return this.parts.me?.role === "viewer" && this.parts.me.because === "";
  }

  /** Why orders that are for administrators cannot be given here; empty when they can. */
  get notAdmin() {
    return this.parts.me?.role === "operator" ? "It is for administrators." : "";
  }

  /** Why no order can be given now; empty when one can. */
  get barred() {
    if (this.link.lost) return "Nothing can be ordered: no node answers.";
    if (!this.answered) return "Asking what you may do …";
    const { role, because } = this.parts.me;
    return role === "viewer" ? `You may look only. ${because}` : (this.cluster.barred ?? "");
  }
}

/** What a history is requested as: there are parts of the same names, of rings and of rollouts. */
function named(about) {
  return `decisions about ${about}`;
}

function stated(...states) {
  return states.map((state) => `&state=${state}`).join("");
}

/** A node while no node answers: nothing about it is known. */
function unknown(node) {
  return { ...node, lost: true, known: false, risk: null, effective_role: null, lease_remaining_s: null };
}

function isSeatChange(decision) {
  const done = ["approved", "done"].includes(decision.outcome);
  return done && decision.changes.some((one) => one.target === "PRIMARY");
}
