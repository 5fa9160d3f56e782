// The connection to the cluster. Every node answers everything, so any one will do: when the one in
// use dies, hangs or falls behind, the page switches to another and stays there.

const ANSWER_MS = 1_500; // for a read; a node that takes longer counts as hanging
const WRITE_MS = 3_000; // for one attempt at an order; then another node is tried
const ORDER_MS = 7_000; // for an order with all attempts
const STALE_MS = 3_000; // staleness beyond which another node is looked for
const AGAIN_MS = 1_000;
const FULL_MS = 5_000;
const SILENT_MS = 40_000; // without data from the stream, which sends something every 15 s
const UNANSWERED = "No node confirmed it in time. You can repeat the same order: it will take effect only once.";
const MAX_FRAME = 4 * 1024 * 1024; // characters of one event

/** A node refused; the message says why. `passes`: nothing was done, and the same may be taken later. */
export class Problem extends Error {
  constructor(status, body) {
    super(body?.detail ?? `status ${status}`);
    this.status = status;
    this.rule = body?.rule ?? "";
    this.passes = status === 503 || (status === 429 && !body?.operation);
  }
}

/** No answer; another node is being looked for. */
export class Unreachable extends Error {}

export class Link {
  /** `onEvent(kind, data)`: an event of the stream; `onChange()`: the state of the connection, or
   *  the node in use, has changed. */
  constructor(onEvent, onChange) {
    this.origin = location.origin;
    this.lost = false; // no node answers
    this.streaming = false;
    this.staleness = 0;
    this.onEvent = onEvent;
    this.onChange = onChange;
    this.others = [];
    this.permitted = null; // origins that this page's content security policy allows
    this.lastId = "";
    this.looking = null;
    this.lookedAt = 0;
    this.following = null;
    this.token = "";
    this.stranger = false; // a node wants to know who asks
  }

  /** Headers of a request, with who asks. */
  headers(more = {}) {
    return this.token ? { ...more, Authorization: `Bearer ${this.token}` } : more;
  }

  /** The problem that a node answered. */
  refused(status, body) {
    if (status === 401 && !this.stranger) {
      this.stranger = true;
      this.onChange();
    }
    return new Problem(status, body);
  }

  /** The HTTP addresses of the members, as `host:port`. */
  knows(addresses) {
    this.others = addresses.map(originOf);
    this.permitted ??= new Set(this.others);
  }

  /** Whether there are members that this page may not connect to. */
  get outgrown() {
    return this.others.some((origin) => !this.permitted.has(origin));
  }

  /** The JSON that a node answers within `patience` ms; throws `Problem` or `Unreachable`. */
  async get(path, patience = ANSWER_MS) {
    const origin = this.origin;
    let answer;
    try {
      answer = await fetch(origin + path, { headers: this.headers(), signal: AbortSignal.timeout(patience) });
      if (!answer.ok) throw this.refused(answer.status, await answer.json());
      const body = await answer.json();
      if (origin === this.origin) this.received(answer);
      return body;
    } catch (error) {
      if (error instanceof Problem) throw error;
      if (origin === this.origin) this.look();
      throw new Unreachable(path);
    }
  }

  /** Asks one particular member; null if it does not answer. `address`: its HTTP address, or null
   *  for the node in use, which the page may know by another address. */
  async from(address, path) {
    const origin = address === null ? this.origin : originOf(address);
    if (origin !== this.origin && !this.permitted?.has(origin)) return null;
    try {
      const answer = await fetch(origin + path, { headers: this.headers(), signal: AbortSignal.timeout(ANSWER_MS) });
      return answer.ok ? await answer.json() : null;
    } catch {
      return null;
    }
  }

  /** Sends an order. The key makes it safe to repeat, also at another node. Throws `Problem`, or
   *  `Unreachable` if the outcome is unknown. */
  async send(key, method, path, body) {
    const headers = { "Content-Type": "application/json", "Idempotency-Key": key };
    const until = performance.now() + ORDER_MS;
    for (;;) {
      const left = until - performance.now();
      try {
        return await this.attempt(method, path, headers, body, Math.min(WRITE_MS, left));
      } catch (error) {
        if (error instanceof Problem && !error.passes) throw error;
        if (performance.now() + AGAIN_MS >= until) throw error instanceof Problem ? error : new Unreachable(UNANSWERED);
        await pause(AGAIN_MS);
        if (!(error instanceof Problem)) await this.look();
      }
    }
  }

  /** Asks something that takes longer than a read, and changes nothing. */
  ask(path, body) {
    return this.attempt("POST", path, { "Content-Type": "application/json" }, body, WRITE_MS);
  }

  async attempt(method, path, headers, body, patience) {
    const answer = await fetch(this.origin + path, {
      method,
      headers: this.headers(headers),
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(patience),
    });
    const result = await answer.json();
    if (!answer.ok) throw this.refused(answer.status, result);
    if (answer.status === 202) throw new Problem(503, result); // repeated with the same key
    return result;
  }

  received(answer) {
    this.staleness = Number(answer.headers.get("X-Stationkeep-Staleness-Ms") ?? 0);
    if (this.lost) {
      this.lost = false;
      this.onChange();
    }
    if (this.staleness > STALE_MS && Date.now() - this.lookedAt > STALE_MS) this.look();
  }

  // -- another node ---------------------------------------------------------------------------

  /** Switches to the best of all nodes that answer; one search at a time. */
  look() {
    this.lookedAt = Date.now();
    this.looking ??= this.search().finally(() => (this.looking = null));
    return this.looking;
  }

  async search() {
    const known = [...new Set([this.origin, ...this.others])];
    const fresh = (seen) => (seen.staleness <= STALE_MS ? seen : Promise.reject(seen));
    const probes = known.map((origin) => probe(origin, this.headers()));
    let best = null;
    try {
      best = await Promise.any(probes.map(async (one) => fresh(await one)));
    } catch {
      const answered = (await Promise.allSettled(probes)).flatMap((one) => one.value ?? []);
      best = answered.sort((a, b) => a.staleness - b.staleness)[0];
    }
    const lost = best === undefined;
    if (lost !== this.lost || (best && best.origin !== this.origin)) {
      this.lost = lost;
      if (best) this.use(best.origin);
      this.onChange();
    }
  }

  use(origin) {
    if (origin === this.origin) return;
    this.origin = origin;
    this.following?.abort();
  }

  /** Starts the stream from the beginning, because this is another history than before. */
  restart() {
    this.lastId = "";
    this.following?.abort();
  }

  // -- the stream of events -------------------------------------------------------------------

  /** Follows the events of the node in use for ever, and resumes after the last one seen. */
  async follow() {
    for (;;) {
      this.following = new AbortController();
      const origin = this.origin;
      try {
        await this.read(origin, this.following);
      } catch {
        if (origin === this.origin && !this.lost) this.look();
      }
      this.streaming = false;
      this.onChange();
      if (origin === this.origin) await pause(AGAIN_MS);
    }
  }

  async read(origin, control) {
    const headers = this.headers(this.lastId ? { "Last-Event-ID": this.lastId } : {});
    const answer = await fetch(`${origin}/v1/events`, { headers, signal: control.signal });
    if (answer.status === 401) this.refused(401, null);
    if (!answer.ok) return pause(FULL_MS, control.signal); // the node has no room for more followers: the page polls
    this.streaming = true;
    this.onChange();
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await within(SILENT_MS, reader.read(), control);
      if (done) return;
      text += value;
      if (text.length > MAX_FRAME) throw new Error("an event without end");
      const frames = text.split("\n\n");
      text = frames.pop();
      for (const frame of frames) this.take(frame);
    }
  }

  take(frame) {
    const fields = Object.fromEntries(
      frame.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]),
    );
    if (!fields.event) return;
    if (fields.id) this.lastId = fields.id;
    this.onEvent(fields.event, JSON.parse(fields.data));
  }
}

function originOf(address) {
  return `${location.protocol}//${address}`;
}

async function probe(origin, headers) {
  const answer = await fetch(`${origin}/v1/cluster`, { headers, signal: AbortSignal.timeout(ANSWER_MS) });
  if (answer.status === 401) return { origin, staleness: 0 }; // it answers, and asks who we are
  if (!answer.ok) throw new Problem(answer.status, null);
  const { quorum, removed } = await answer.json();
  const age = Number(answer.headers.get("X-Stationkeep-Staleness-Ms") ?? 0);
  return { origin, staleness: removed || !quorum.present ? Math.max(age, STALE_MS + 1) : age };
}

function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", resolve);
  });
}

async function within(milliseconds, promise, control) {
  const timer = setTimeout(() => control.abort(), milliseconds);
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
  }
}

export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16)); // randomUUID is for https only
  return `page-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
