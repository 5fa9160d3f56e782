// The way to the cluster. Every node answers everything, so that it does not matter which one is
// asked: when the one in use dies, hangs, or falls behind, the next is taken, and stays.

const ANSWER_MS = 1_500; // for a read; a node that takes longer hangs
const WRITE_MS = 3_000; // for one attempt at an order; then another node may do better
const ORDER_MS = 7_000; // for an order as a whole: nobody waits longer before a page that says nothing
const STALE_MS = 3_000; // beyond it, another node may know more
const AGAIN_MS = 1_000;
const FULL_MS = 5_000;
const SILENT_MS = 40_000; // of the stream, which says something every 15 s
const UNANSWERED = "No node said in time what became of it. Ordered again as it is, it still happens once.";
const MAX_FRAME = 4 * 1024 * 1024; // characters of one event

/** A node said no; `detail` says why. */
export class Problem extends Error {
  constructor(status, body) {
    super(body?.detail ?? `status ${status}`);
    this.status = status;
    this.rule = body?.rule ?? "";
  }
}

/** No answer; another node is being looked for. */
export class Unreachable extends Error {}

export class Link {
  /** `onEvent(kind, data)`: of the stream; `onChange()`: `state` or the node in use changed. */
  constructor(onEvent, onChange) {
    this.origin = location.origin;
    this.lost = false; // nobody answers
    this.streaming = false;
    this.staleness = 0;
    this.onEvent = onEvent;
    this.onChange = onChange;
    this.others = [];
    this.permitted = null; // those that the policy of this page names
    this.lastId = "";
    this.looking = null;
    this.lookedAt = 0;
    this.following = null;
  }

  /** The HTTP addresses of the members, as `host:port`. */
  knows(addresses) {
    this.others = addresses.map(originOf);
    this.permitted ??= new Set(this.others);
  }

  /** Whether there are members that this page may not speak with. */
  get outgrown() {
    return this.others.some((origin) => !this.permitted.has(origin));
  }

  /** The JSON that a node answers; throws `Problem` or `Unreachable`. */
  async get(path) {
    const origin = this.origin;
    let answer;
    try {
      answer = await fetch(origin + path, { signal: AbortSignal.timeout(ANSWER_MS) });
      if (!answer.ok) throw new Problem(answer.status, await answer.json());
      const body = await answer.json();
      if (origin === this.origin) this.heard(answer);
      return body;
    } catch (error) {
      if (error instanceof Problem) throw error;
      if (origin === this.origin) this.look();
      throw new Unreachable(path);
    }
  }

  /** What one member alone can say; null when it does not. `address`: its HTTP address, or null for
   *  the node in use, which the page may know under another one. */
  async from(address, path) {
    const origin = address === null ? this.origin : originOf(address);
    if (origin !== this.origin && !this.permitted?.has(origin)) return null;
    try {
      const answer = await fetch(origin + path, { signal: AbortSignal.timeout(ANSWER_MS) });
      return answer.ok ? await answer.json() : null;
    } catch {
      return null;
    }
  }

  /** Orders something. The key makes a repetition harmless, here or at another node. Throws `Problem`;
   *  when nobody said what became of it, `Unreachable`. */
  async send(key, method, path, body) {
    const headers = { "Content-Type": "application/json", "Idempotency-Key": key };
    const until = performance.now() + ORDER_MS;
    for (;;) {
      const left = until - performance.now();
      try {
        return await this.attempt(method, path, headers, body, Math.min(WRITE_MS, left));
      } catch (error) {
        if (error instanceof Problem && error.status !== 503) throw error;
        if (performance.now() + AGAIN_MS >= until) throw error instanceof Problem ? error : new Unreachable(UNANSWERED);
        await pause(AGAIN_MS);
        if (!(error instanceof Problem)) await this.look();
      }
    }
  }

  async attempt(method, path, headers, body, patience) {
    const answer = await fetch(this.origin + path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(patience),
    });
    const said = await answer.json();
    if (!answer.ok) throw new Problem(answer.status, said);
    if (answer.status === 202) throw new Problem(503, said); // asked again under the same key
    return said;
  }

  heard(answer) {
    this.staleness = Number(answer.headers.get("X-Stationkeep-Staleness-Ms") ?? 0);
    if (this.lost) {
      this.lost = false;
      this.onChange();
    }
    if (this.staleness > STALE_MS && Date.now() - this.lookedAt > STALE_MS) this.look();
  }

  // -- another node ---------------------------------------------------------------------------

  /** Takes the best of all nodes that answer; one search at a time. */
  look() {
    this.lookedAt = Date.now();
    this.looking ??= this.search().finally(() => (this.looking = null));
    return this.looking;
  }

  async search() {
    const known = [...new Set([this.origin, ...this.others])];
    const fresh = (seen) => (seen.staleness <= STALE_MS ? seen : Promise.reject(seen));
    const probes = known.map((origin) => probe(origin));
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

  /** What was followed is not what is there now: the stream begins anew. */
  restart() {
    this.lastId = "";
    this.following?.abort();
  }

  // -- the stream of events -------------------------------------------------------------------

  /** Follows the events for ever, here or there, and resumes after the last one seen. */
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
    const headers = this.lastId ? { "Last-Event-ID": this.lastId } : {};
    const answer = await fetch(`${origin}/v1/events`, { headers, signal: control.signal });
    if (!answer.ok) return pause(FULL_MS); // as many follow as the node serves: meanwhile the page asks
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

async function probe(origin) {
  const answer = await fetch(`${origin}/v1/cluster`, { signal: AbortSignal.timeout(ANSWER_MS) });
  if (!answer.ok) throw new Problem(answer.status, null);
  const { quorum, removed } = await answer.json();
  const age = Number(answer.headers.get("X-Stationkeep-Staleness-Ms") ?? 0);
  return { origin, staleness: removed || !quorum.present ? Math.max(age, STALE_MS + 1) : age };
}

function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
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
