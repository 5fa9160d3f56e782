// Many orders of one kind, each of them confirmed by the cluster for itself: a few at a time, each under
// its own key, so that what is repeated takes effect once.

import { newKey, Problem } from "./link.js";

const AT_ONCE = 4;
const MOST_REFUSED = 20; // then the rest is not tried: it would fare no better

export class Batch {
  /** `orders`: what `Link.send` takes, by the name of what each is about. */
  constructor(link, orders) {
    this.link = link;
    this.left = orders.map(([name, order]) => ({ name, order, key: newKey() }));
    this.total = orders.length;
    this.refused = []; // [name, why]
    this.stopped = false;
  }

  get done() {
    return this.total - this.left.length - this.refused.length;
  }

  /** Sends what is left; throws `Unreachable` when the outcome of one is unknown, which stays left. */
  async run(onStep) {
    this.stopped = false;
    const waiting = [...this.left];
    await Promise.all(Array.from({ length: AT_ONCE }, async () => {
      while (waiting.length && !this.stopped) {
        await this.send(waiting.shift());
        onStep();
      }
    }));
  }

  async send(one) {
    try {
      await this.link.send(one.key, ...one.order);
    } catch (error) {
      if (!(error instanceof Problem) || error.passes) {
        this.stopped = true;
        throw error;
      }
      this.refused.push([one.name, error.message]);
      this.stopped = this.refused.length >= MOST_REFUSED;
    }
    this.left.splice(this.left.indexOf(one), 1);
  }

  /** "37 of 40 done; 3 refused: device-1: …". */
  says() {
    const [first] = this.refused;
    return [`${this.done} of ${this.total} done`, this.stopped && this.left.length > 0 && `${this.left.length} were not tried`,
      first && `${this.refused.length} refused, such as ${first[0]}: ${first[1]}`].filter(Boolean).join("; ");
  }
}
