// Orders of the operator. Each needs a confirmation that says what will happen. An order whose
// outcome is unknown is repeated with the same key, so that it takes effect once.

import { Batch } from "./batch.js";
import { h, render } from "./dom.js";
import { choice, DURATIONS } from "./fields.js";
import { newKey, Problem, Unreachable } from "./link.js";
import { freezing, heldFor, lifting, question, unblocking } from "./orders.js";
import { failingOver, prioritising, switching } from "./seat.js";
import { plain, plural, RINGS } from "./words.js";

const PREVIEW_MS = 400; // after the last change of what is filled in

export class Actions {
  constructor(picture, link, dialog, notice) {
    Object.assign(this, { picture, link, dialog, notice });
    dialog.addEventListener("close", () => {
      this.asked = null;
      render(dialog);
    });
  }

  /** A button that opens an order; disabled, with the reason, while no order can be carried out, or
   *  not this one (`why`). None for whoever may only look. Keyed, or a click meant for one that moves
   *  when another goes would be a click on its neighbour. */
  button(text, order, why = "") {
    if (this.picture.looksOnly) return null;
    const barred = this.picture.barred || why;
    return h("button", { key: text, type: "button", disabled: barred !== "", title: barred || null, onclick: order }, text);
  }

  /** The reason as text, for those who cannot hover; nothing until the first answer. */
  barred() {
    return this.picture.answered && this.picture.barred && h("p", { class: "quiet barred" }, this.picture.barred);
  }

  // -- orders ---------------------------------------------------------------------------------

  switchover(target) {
    this.confirm(switching(this.picture, target));
  }

  failover() {
    this.confirm(failingOver(this.picture));
  }

  priority(node) {
    this.confirm(prioritising(node, this.picture.nodes));
  }

  /** One of the orders of `governing.js`. */
  govern(order) {
    this.confirm(order);
  }

  pause() {
    this.confirm({
      title: "Pause automatic changes",
      says: "Until it ends, no role changes by itself: a PRIMARY that fails is NOT replaced. No rollout goes on, and their deadlines stand still. Orders still work.",
      undo: "Resume. It ends by itself after the time that you choose.",
      fields: [choice("duration", "For", DURATIONS)],
      button: "Pause",
      order: ({ duration, reason }) => ["POST", "/v1/pause", { duration, reason }],
    });
  }

  resume() {
    const held = heldFor("cluster_paused", this.picture.parts.rollouts?.items ?? [], true).map(({ rollout }) => rollout);
    this.confirm({
      title: "Resume automatic changes",
      says: `The pause ends now${held.length ? `, and what nothing else holds goes on: ${held.join(", ")}` : ""}.`,
      undo: "Pause.",
      button: "Resume",
      order: ({ reason }) => ["POST", "/v1/resume", { reason }],
    });
  }

  maintenance(node) {
    const path = `/v1/nodes/${encodeURIComponent(node.id)}/maintenance`;
    this.confirm(node.maintenance
      ? { title: `End the maintenance of ${node.id}`, says: "It may be given a role again.", undo: "Maintenance.", button: "End maintenance",
          order: ({ reason }) => ["POST", path, { on: false, reason }] }
      : { title: `Maintenance of ${node.id}`,
          says: node.role === "PRIMARY" ? "It is PRIMARY: another node takes over first." : "It is drained, and is not made PRIMARY meanwhile.",
          undo: "End maintenance. It ends by itself after the time that you choose.",
          fields: [choice("duration", "For", DURATIONS, "1h")], button: "Begin maintenance",
          order: ({ duration, reason }) => ["POST", path, { on: true, duration, reason }] });
  }

  assign(device) {
    this.confirm({
      title: `Assign ${device.id} to a ring`,
      says: `It is in ${device.ring}. It is moved at once and pinned there, whatever its health, until it is released or the pin ends.`,
      undo: "Release; the next check then moves it where health, policies and quotas say.",
      fields: [choice("ring", "Ring", RINGS.map((ring) => [ring, ring]), device.ring), lifetime()],
      button: "Assign",
      order: ({ ring, lifetime: ends, reason }) => ["PUT", ringOf(device.id), { ring, ...(ends && { lifetime: ends }), reason }],
    });
  }

  release(device) {
    this.confirm({
      title: `Release ${device.id}`,
      says: "Its pin ends: the next check moves it where health, policies and quotas say.",
      undo: `Assign it to ${device.ring} again.`,
      button: "Release", silent: true,
      order: () => ["DELETE", ringOf(device.id), undefined],
    });
  }

  /** `done()`: called when as many as could be are assigned. */
  assignAll(devices, done) {
    const named = countsOf(devices.map(({ ring }) => ring));
    this.confirm({
      title: `Assign ${plural(devices.length, "device")} to a ring`,
      says: `${namesOf(devices)}. They are moved at once, one by one, and pinned there, whatever their health, until they are released or the pin ends. Now ${named}.`,
      undo: "Release; the next check then moves them where health, policies and quotas say.",
      fields: [choice("ring", "Ring", RINGS.map((ring) => [ring, ring]), "dev"), lifetime()],
      button: "Assign", did: `Assign ${plural(devices.length, "device")}`, done,
      orders: ({ ring, lifetime: ends, reason }) => devices.map(({ id }) => [id, ["PUT", ringOf(id), { ring, ...(ends && { lifetime: ends }), reason }]]),
    });
  }

  /** The pinned ones of them. */
  releaseAll(devices, done) {
    const pinned = devices.filter(({ pin }) => pin);
    this.confirm({
      title: `Release ${plural(pinned.length, "device")}`,
      says: `${namesOf(pinned)}. Their pins end: the next check moves them where health, policies and quotas say.`,
      undo: "Assign them again, each to the ring that it was in.",
      button: "Release", silent: true, did: `Release ${plural(pinned.length, "device")}`, done,
      orders: () => pinned.map(({ id }) => [id, ["DELETE", ringOf(id), undefined]]),
    });
  }

  cancelDeployment(number) {
    this.confirm({
      title: `Cancel deployment ${number}`,
      says: "What no device has begun to install is taken back; those that have begun run to their end. It cannot be resumed or tried again.",
      undo: "submit it anew.",
      button: "Cancel deployment", leave: "Keep it",
      order: ({ reason }) => ["POST", `/v1/deployments/${number}/cancel`, { reason }],
    });
  }

  retryDeployment(number, count) {
    this.confirm({
      title: `Retry deployment ${number}`,
      says: `Up to ${plural(count, "task")} that failed, timed out or were not reached: another attempt, unless the device fell back to its old version. The deadline begins anew.`,
      undo: "Cancel.",
      button: "Retry",
      order: ({ reason }) => ["POST", `/v1/deployments/${number}/retry`, { reason }],
    });
  }

  rollout(one, order) {
    const { foresee, ...asked } = question(one, order);
    const path = `/v1/rollouts/${encodeURIComponent(one.rollout)}`;
    const preview = async () => {
      const { plan } = await this.link.get(path);
      return foresee(await this.link.ask("/v1/rollouts:validate", { rollout: one.rollout, plan }));
    };
    this.confirm(foresee ? { ...asked, preview } : asked);
  }

  /** Asks the cluster what the order would do as it is filled in, a moment after the last change; and
   *  says it where the order is confirmed. */
  foretell(asked, wait = PREVIEW_MS) {
    if (!asked.preview) return;
    clearTimeout(asked.soon);
    asked.soon = setTimeout(() => this.foresee(asked, (asked.times = (asked.times ?? 0) + 1)), wait);
  }

  async foresee(asked, time) {
    let foreseen;
    try {
      foreseen = await asked.preview(this.link, asked.given);
    } catch (error) {
      foreseen = [`What it would do could not be asked: ${error.message}`];
    }
    if (this.asked !== asked || asked.times !== time) return;
    asked.foreseen = foreseen;
    this.draw();
  }

  freeze() {
    this.confirm(freezing);
  }

  lift(freeze, held) {
    this.confirm(lifting(freeze, held, (ring) => this.picture.devicesIn(ring)));
  }

  unblock(artifact) {
    this.confirm(unblocking(artifact));
  }

  acknowledge(alarm) {
    this.confirm({
      title: `Acknowledge ${alarm.many ? `${alarm.many} × ` : ""}${plain(alarm.id)}`,
      says: "Others see that you look after it. The alarm stays until its cause is gone.",
      undo: "that you saw it stays in the history.",
      button: "Acknowledge",
      order: ({ reason }) => ["POST", `/v1/alarms/${encodeURIComponent(alarm.id)}/ack`, { reason }],
    });
  }

  // -- the dialog -----------------------------------------------------------------------------

  confirm(asked) {
    Object.assign(this, { asked: { given: {}, ...asked }, busy: false, problem: "" });
    this.draw();
    this.changed(this.asked, 0);
    if (!this.dialog.open) this.dialog.showModal();
  }

  /** What is filled in may change what can be chosen, and what would come of it. */
  changed(asked, wait) {
    asked.given = Object.fromEntries(new FormData(this.dialog.querySelector("form")));
    if (typeof asked.fields === "function") this.draw();
    this.foretell(asked, wait);
  }

  /** Called with every drawing of the page: says so if the order is no longer possible. */
  draw() {
    const { asked, busy, problem } = this;
    if (!asked) return;
    render(this.dialog,
      h("form", { method: "dialog", onsubmit: (event) => this.submit(event, asked), oninput: () => this.changed(asked) },
        h("h2", { id: "order-title" }, asked.title),
        h("p", null, asked.says),
        asked.preview && h("ul", { class: "why foreseen", "aria-live": "polite" }, (asked.foreseen ?? ["Asking what it would do …"]).map((line) => h("li", null, line))),
        asked.undo && h("p", { class: "quiet" }, `To undo it: ${asked.undo}`),
        h("div", { class: asked.paired ? "fields paired" : "fields" }, typeof asked.fields === "function" ? asked.fields(asked.given) : asked.fields),
        !asked.silent && h("label", null, "Reason, kept in the history",
          h("input", { name: "reason", maxlength: 500, autocomplete: "off" })),
        problem && h("p", { class: "problem", role: "alert" }, problem),
        !problem && this.barred(),
        h("div", { class: "orders" },
          h("button", { type: "button", onclick: () => this.dialog.close() }, asked.leave ?? "Cancel"),
          h("button", { type: "submit", class: "go", disabled: busy || this.picture.barred !== "", title: this.picture.barred || null }, busy ? asked.step ?? "Being agreed …" : asked.button))));
  }

  async submit(event, asked) {
    event.preventDefault();
    const given = Object.fromEntries(new FormData(event.target));
    if (asked.orders) return this.submitAll(given, asked);
    Object.assign(this, { busy: true, problem: "" });
    this.draw();
    try {
      const order = asked.order(given);
      await this.link.send(this.keyOf(asked, order), ...order);
    } catch (error) {
      this.failed(asked, error);
      return;
    }
    if (this.asked === asked) this.dialog.close();
    this.notify(`${asked.did ?? asked.title}: done.`);
    this.picture.askAll();
  }

  /** Many orders; to close the dialog stops after those that are under way. */
  async submitAll(given, asked) {
    const orders = asked.orders(given);
    const same = JSON.stringify(orders);
    if (asked.same !== same) Object.assign(asked, { same, batch: new Batch(this.link, orders) });
    const { batch } = asked;
    Object.assign(this, { busy: true, problem: "" });
    const step = () => {
      asked.step = `${batch.done} of ${batch.total} …`;
      if (this.asked !== asked) batch.stopped = true;
      else this.draw();
    };
    step();
    try {
      await batch.run(step);
    } catch (error) {
      this.failed(asked, new Unreachable(`${batch.says()}. ${error.message}`));
      return;
    } finally {
      asked.done();
      this.picture.askAll();
    }
    if (this.asked === asked) this.dialog.close();
    this.notify(`${asked.did}: ${batch.says()}.`);
  }

  /** The idempotency key: the same one if exactly the same order is repeated. */
  keyOf(asked, order) {
    const same = JSON.stringify(order);
    if (asked.same !== same) Object.assign(asked, { same, key: newKey() });
    return asked.key;
  }

  /** Shows why an order failed: in its dialog, or as a notice if that has been closed, which does
   *  not cancel the order. */
  failed(asked, error) {
    if (error instanceof Problem && !error.passes) asked.same = null;
    const why = [this.picture.barred, error.message].filter(Boolean).join(" ");
    if (this.asked !== asked) return this.notify(`${asked.did ?? asked.title}: ${why}`);
    Object.assign(this, { busy: false, problem: why });
    this.draw();
  }

  notify(text) {
    this.notice.hidePopover();
    this.notice.textContent = text;
    this.notice.showPopover(); // above any sheet that is open
    clearTimeout(this.forgetting);
    this.forgetting = setTimeout(() => {
      this.notice.textContent = "";
      this.notice.hidePopover();
    }, 6_000);
  }
}

function ringOf(device) {
  return `/v1/devices/${encodeURIComponent(device)}/ring`;
}

function lifetime() {
  return choice("lifetime", "Pinned", [["", "without end"], ...DURATIONS.map(([value, text]) => [value, `for ${text}`])]);
}

/** "device-1, device-2, device-3 and 34 more". */
function namesOf(devices) {
  const named = devices.slice(0, 3).map(({ id }) => id).join(", ");
  return devices.length > 3 ? `${named} and ${devices.length - 3} more` : named;
}

/** "12 are in canary, 25 in prod". */
function countsOf(rings) {
  const counted = RINGS.map((ring) => [rings.filter((one) => one === ring).length, ring]).filter(([count]) => count);
  return counted.map(([count, ring], n) => `${count}${n ? "" : count === 1 ? " is" : " are"} in ${ring}`).join(", ");
}
