// Details of one node, one device, one deployment or one rollout: state, history, explanation.

import { comingTo, nextCheck } from "./coming.js";
import { course } from "./course.js";
import { deploymentSheet, termsOf } from "./deployments.js";
import { stateOf } from "./devices.js";
import { h, render } from "./dom.js";
import { Problem, Unreachable } from "./link.js";
import { lossTable } from "./losses.js";
import { sparkline } from "./nodes.js";
import { planOf, rolloutSheet } from "./rollout.js";
import { ago, dateOf, folded, healthOf, plain, risk, ROLES, span, whenOf } from "./words.js";

const AGAIN_MS = 1_000;
const PAGE = 50;
const MAX_LISTED = 500;

/** What is asked about one of each kind: the thing itself, why it is so, its tasks, its report. */
const PATHS = {
  node: (id) => ({ path: `/v1/nodes/${id}/explain` }),
  device: (id) => ({ path: `/v1/devices/${id}`, why: `/v1/devices/${id}/explain`, tasks: `/v1/devices/${id}/tasks` }),
  deployment: (id, only, most) => ({ path: `/v1/deployments/${id}`, most, tasks: only && `/v1/deployments/${id}/tasks?limit=${most}&state=${encodeURIComponent(only)}` }),
  rollout: (id) => ({ path: `/v1/rollouts/${id}`, why: `/v1/rollouts/${id}/explain`, report: `/v1/rollouts/${id}/report` }),
};

export class Detail {
  constructor(picture, link, place, actions, sheet) {
    Object.assign(this, { picture, link, place, actions, sheet, shown: null, told: null, problem: "" });
    sheet.addEventListener("close", () => this.forget());
  }

  /** Opens one, as a link to it would. */
  node(id) {
    this.place.open("node", id);
  }

  device(id) {
    this.place.open("device", id);
  }

  /** `only`: the state of the tasks to list; empty for none. */
  deployment(id, only = "") {
    this.place.open("deployment", id, only);
  }

  rollout(id) {
    this.place.open("rollout", id);
  }

  /** Shows what the URL names. */
  follow() {
    const wanted = this.place.sheet;
    if (!wanted) return this.sheet.open && this.sheet.close();
    const { kind, id, only } = wanted;
    if (kind === this.shown?.kind && id === this.shown.id && only === this.shown.only) return;
    this.open({ kind, id, only, ...PATHS[kind](encodeURIComponent(id), only, PAGE) });
    if (kind === "node") this.askLosses(this.shown);
  }

  /** More tasks of the deployment that is shown. */
  moreTasks() {
    const { kind, id, only, most } = this.shown;
    this.open({ kind, id, only, ...PATHS.deployment(id, only, most + PAGE) });
  }

  /** What is known of it already stays, so that what is in use keeps its place. */
  open(shown) {
    const same = shown.kind === this.shown?.kind && shown.id === this.shown.id;
    const { told, tasks } = this;
    Object.assign(this, { shown, told: same ? told : null, tasks: same && shown.only === this.shown.only ? tasks : undefined });
    Object.assign(this, { report: undefined, losses: undefined, machine: null, problem: "" });
    this.draw();
    if (!this.sheet.open) this.sheet.showModal();
    this.ask(shown);
  }

  forget() {
    if (this.sheet.open) return; // it was opened again before this was told
    this.shown = null;
    render(this.sheet);
    this.place.close();
  }

  async ask(shown) {
    try {
      const paths = [shown.path, shown.why, shown.tasks, this.told?.plan?.variants && shown.report];
      const [told, why, tasks, report] = await Promise.all(paths.map((path) => path && this.link.get(path)));
      if (shown !== this.shown) return;
      Object.assign(this, { told, why, tasks, report, problem: "" });
    } catch (error) {
      if (!(error instanceof Problem || error instanceof Unreachable)) throw error;
      if (shown !== this.shown) return;
      if (error instanceof Problem) this.problem = error.message;
    }
    this.draw();
    setTimeout(() => shown === this.shown && this.ask(shown), AGAIN_MS);
  }

  /** Asks the node itself, which may hang, so the rest does not wait for it. */
  async askLosses(shown) {
    const node = this.picture.node(shown.id);
    const address = shown.id === this.picture.cluster.node ? null : node?.address.http;
    const ask = (path) => (address === undefined ? null : this.link.from(address, path));
    const [losses, machine] = await Promise.all([ask("/v1/links"), ask("/v1/machine")]);
    if (shown !== this.shown) return;
    Object.assign(this, { losses, machine });
    this.draw();
    setTimeout(() => shown === this.shown && this.askLosses(shown), AGAIN_MS);
  }

  /** What the sheet says, and where it is, for somebody else. Only HTTPS, or this machine, has it. */
  async copy() {
    const said = [location.href, ...[...this.sheet.querySelectorAll("h2, h3, p, li, tr, dl > div")].map((one) => one.innerText.trim().replace(/\s+/g, " "))];
    try {
      await navigator.clipboard.writeText(`${said.filter(Boolean).join("\n")}\n`);
      this.actions.notify("Copied: the URL of this, and what it says.");
    } catch (error) {
      this.actions.notify(`The browser does not let it be copied: ${error.message}`);
    }
  }

  draw() {
    const { shown, told } = this;
    if (!shown) return;
    this.sheet.classList.toggle("wide", shown.kind === "rollout");
    const parts = { node: () => this.ofNode(), device: () => this.ofDevice(), deployment: () => this.ofDeployment(), rollout: () => this.ofRollout() };
    const title = { deployment: `Deployment ${shown.id}`, rollout: `Rollout ${shown.id}` }[shown.kind] ?? shown.id;
    render(this.sheet,
      h("div", { class: "sheet-head" }, h("h2", { id: "detail-title" }, title),
        navigator.clipboard && h("button", { type: "button", class: "plain", onclick: () => this.copy() }, "Copy"),
        h("button", { type: "button", autofocus: true, onclick: () => this.sheet.close() }, "Close")),
      this.problem ? h("p", { class: "problem", role: "alert" }, this.problem)
        : told ? parts[shown.kind]() : h("p", { class: "quiet" }, "Asking …"));
  }

  // -- a node ---------------------------------------------------------------------------------

  ofNode() {
    const { told, picture } = this;
    const node = picture.node(this.shown.id);
    if (!node) return h("p", null, "It is no longer a member.");
    const role = ROLES[node.role];
    return [
      h("p", { class: `role node ${role.kind}` }, h("span", { class: "mark", "aria-hidden": "true" }, role.mark), node.role.replace("_", " "), `, ${healthOf(node).word}`),
      sparkline(node.history.slice(-10), picture.parts.config?.settings.unhealthy_above),
      this.orders([
        ["Switch over to it …", () => this.actions.switchover(node.id), node.role !== "PRIMARY", node.unfit && `It could not be PRIMARY: ${node.unfit}.`],
        ["Priority …", () => this.actions.priority(node), true, picture.notAdmin],
        [node.maintenance ? "End maintenance …" : "Maintenance …", () => this.actions.maintenance(node), true]]),
      sentences("Why it is what it is", told.summary),
      sentences("When", comingTo(node, picture)),
      sentences("Why it is not PRIMARY", told.why_not_primary),
      h("h3", null, "Its last samples"), samples(node.history.slice(-10), picture),
      h("h3", null, "Packets it missed in the last minute"), lossTable(this.losses),
      h("h3", null, "What was decided about it"), decisions(told.decisions),
      facts([["release", node.release ?? "not told"], ...underOf(this.machine),
        ["address", node.address.http], ["Raft", node.address.raft], ["priority", node.priority],
        ["last heard", node.last_heard_s === null ? "never" : `${span(node.last_heard_s)} ago`],
        ["recurrence", node.recurrence.toFixed(2)]]),
    ];
  }

  orders(orders) {
    return h("div", { class: "orders" },
      orders.filter(([, , sensible]) => sensible).map(([text, order, , why]) => this.actions.button(text, order, why)),
      this.actions.barred());
  }

  // -- a device -------------------------------------------------------------------------------

  ofDevice() {
    const { told: device, why, tasks } = this;
    const state = stateOf(device);
    return [
      h("p", { class: "role" }, `ring ${device.ring}, `, h("span", { class: `state ${state.kind}` }, `${state.mark} ${state.kind}`),
        device.app_version && `, app ${device.app_version}`),
      this.orders([["Assign ring …", () => this.actions.assign(device), true],
        ["Release …", () => this.actions.release(device), device.pin !== null]]),
      sentences("Why it is in this ring", [...why.summary, ...whenOfDevice(device, this.picture)]),
      h("h3", null, "What happened to it"), course(why.history, tasks.items, device),
      device.status && readings(device.status),
      facts([["name", device.name], ["system", device.os_version], ["app", device.app_version], ["served by", device.served_by],
        ["last heard", `${span(device.seen_s)} ago`], ["policy", device.policy ?? "none"], ["credential", device.credential],
        ...Object.entries(device.labels), ...Object.entries(device.capabilities)]),
    ];
  }

  // -- a deployment ---------------------------------------------------------------------------

  ofDeployment() {
    const { told, tasks, shown } = this;
    const more = shown.most < MAX_LISTED && (() => this.moreTasks());
    return [deploymentSheet(told, tasks, shown.only, more, this), facts(termsOf(told))];
  }

  ofRollout() {
    const { told, why, report } = this;
    return [rolloutSheet(told, why, report, this), facts(planOf(told))];
  }
}

function sentences(title, lines) {
  if (!lines.length) return null;
  return [h("h3", null, title), h("ul", { class: "why" }, lines.map((line) => h("li", null, folded(line))))];
}

function samples(history, picture) {
  const heads = ["when", "risk", "reports", "cause"];
  const rows = [...history].reverse().map((one) => [h("span", { title: dateOf(picture.wallOf(one.at_ms)) }, ago(picture.now - one.at_ms)), one.missed ? "missed" : risk(one.risk), one.reports, one.cause]);
  return h("table", null, h("thead", null, h("tr", null, heads.map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", null, rows.map((row) => h("tr", null, row.map((text) => h("td", null, text))))));
}

function decisions(list) {
  if (!list.length) return h("p", { class: "quiet" }, "Nothing.");
  return h("ol", { class: "moves" }, list.map((one) => h("li", { key: one.id },
    h("time", { title: dateOf(one.wall_ms) }, whenOf(one.wall_ms)), " ", folded(one.sentence))));
}

function readings(status) {
  const percent = (value) => `${Math.round(value)} %`;
  return facts([["battery", `${percent(status.battery_level)}${status.battery_charging ? ", charging" : ""}`], ["cpu", percent(status.cpu_usage)],
    ["memory", percent(status.memory_usage)], ["disk", percent(status.disk_usage)],
    ...Object.entries(status.metrics).map(([name, value]) => [plain(name), value.toFixed(1)])]);
}

/** What its own node says is under it; null: it does not answer. */
function underOf(machine) {
  if (!machine) return [];
  const { up_s: up, disk_free_bytes: free, disk_total_bytes: total, memory_bytes: memory } = machine;
  return [["up for", span(up)], ["disk free", total === null ? "not known" : `${gigabytes(free)} of ${gigabytes(total)}`], ["memory", gigabytes(memory)],
    ["data in", machine.data_dir], ["log on", machine.log]];
}

function gigabytes(bytes) {
  return `${(bytes / 1e9).toFixed(1)} GB`;
}

/** When something may move it by itself. */
function whenOfDevice({ pin }, picture) {
  if (pin) return [pin.remaining_s === null ? "its pin has no end" : `its pin ends in ${span(pin.remaining_s)}`];
  return [`the next check of the rings is ${nextCheck(picture)}`];
}

function facts(pairs) {
  return h("dl", null, pairs.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, String(value) || "–"))));
}
