// Details of one node, one device, one deployment, one rollout, or the devices of one ring: state,
// history, explanation.

import { course } from "./course.js";
import { deploymentSheet, termsOf } from "./deployments.js";
import { h, render } from "./dom.js";
import { Problem, Unreachable } from "./link.js";
import { lossTable } from "./losses.js";
import { sparkline } from "./nodes.js";
import { planOf, rolloutSheet } from "./rollout.js";
import { ago, healthOf, plain, risk, ROLES, span, timeOf } from "./words.js";

const AGAIN_MS = 1_000;
const PAGE = 50;
const MAX_LISTED = 500;

export class Detail {
  constructor(picture, link, actions, sheet) {
    Object.assign(this, { picture, link, actions, sheet, shown: null, told: null, problem: "" });
    sheet.addEventListener("close", () => this.forget());
  }

  node(id) {
    this.open({ kind: "node", id, path: `/v1/nodes/${encodeURIComponent(id)}/explain` });
    this.askLosses(this.shown);
  }

  device(id) {
    const path = `/v1/devices/${encodeURIComponent(id)}`;
    this.open({ kind: "device", id, path, why: `${path}/explain`, tasks: `${path}/tasks` });
  }

  /** `only`: the state of the tasks to list, at most so many; empty for none. */
  deployment(id, only = "", most = PAGE) {
    const path = `/v1/deployments/${id}`, { shown } = this;
    const same = shown?.kind === "deployment" && shown.id === id;
    this.open({ kind: "deployment", id, only, most, path, tasks: only && `${path}/tasks?limit=${most}&state=${only}` },
      same ? this.told : null, same && shown.only === only ? this.tasks : undefined);
  }

  rollout(id) {
    const path = `/v1/rollouts/${encodeURIComponent(id)}`;
    this.open({ kind: "rollout", id, path, why: `${path}/explain`, report: `${path}/report` });
  }

  ring(id, only = "") {
    const filter = only && `&${only}`;
    this.open({ kind: "ring", id, only, path: `/v1/devices?ring=${id}&limit=${PAGE}${filter}`, once: true });
  }

  /** `told`, `tasks`: what is known of it already, so that what is in use stays in its place. */
  open(shown, told = null, tasks = undefined) {
    Object.assign(this, { shown, told, tasks, report: undefined, losses: undefined, problem: "" });
    this.draw();
    if (!this.sheet.open) this.sheet.showModal();
    this.ask(shown);
  }

  forget() {
    this.shown = null;
    render(this.sheet);
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
    if (!(shown.once && this.told)) setTimeout(() => shown === this.shown && this.ask(shown), AGAIN_MS);
  }

  /** Asks the node itself, which may hang, so the rest does not wait for it. */
  async askLosses(shown) {
    const node = this.picture.node(shown.id);
    const address = shown.id === this.picture.cluster.node ? null : node?.address.http;
    const losses = address === undefined ? null : await this.link.from(address, "/v1/links");
    if (shown !== this.shown) return;
    this.losses = losses;
    this.draw();
    setTimeout(() => shown === this.shown && this.askLosses(shown), AGAIN_MS);
  }

  async more() {
    const { shown } = this;
    const page = await this.page(`${shown.path}&cursor=${encodeURIComponent(this.told.next)}`);
    if (page === null || shown !== this.shown) return;
    const items = [...this.told.items, ...page.items];
    this.told = { items: items.slice(0, MAX_LISTED), next: items.length < MAX_LISTED ? page.next : null };
    this.draw();
  }

  /** The next page; null if no node answered: then the button stays. */
  async page(path) {
    try {
      return await this.link.get(path);
    } catch (error) {
      if (!(error instanceof Problem || error instanceof Unreachable)) throw error;
      return null;
    }
  }

  draw() {
    const { shown, told } = this;
    if (!shown) return;
    this.sheet.classList.toggle("wide", shown.kind === "rollout");
    const parts = { node: () => this.ofNode(), device: () => this.ofDevice(), ring: () => this.ofRing(), deployment: () => this.ofDeployment(), rollout: () => this.ofRollout() };
    const title = { ring: `Ring ${shown.id}`, deployment: `Deployment ${shown.id}`, rollout: `Rollout ${shown.id}` }[shown.kind] ?? shown.id;
    render(this.sheet,
      h("div", { class: "sheet-head" }, h("h2", { id: "detail-title" }, title),
        h("button", { type: "button", onclick: () => this.sheet.close() }, "Close")),
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
        ["Switch over to it …", () => this.actions.switchover(node.id), node.role !== "PRIMARY"],
        [node.maintenance ? "End maintenance …" : "Maintenance …", () => this.actions.maintenance(node), true]]),
      sentences("Why it is what it is", told.summary),
      sentences("Why it is not PRIMARY", told.why_not_primary),
      h("h3", null, "Its last samples"), samples(node.history.slice(-10), picture),
      h("h3", null, "Packets it missed in the last minute"), lossTable(this.losses),
      h("h3", null, "What was decided about it"), decisions(told.decisions),
      facts([["address", node.address.http], ["Raft", node.address.raft], ["priority", node.priority],
        ["last heard", node.last_heard_s === null ? "never" : `${span(node.last_heard_s)} ago`],
        ["recurrence", node.recurrence.toFixed(2)]]),
    ];
  }

  orders(orders) {
    return h("div", { class: "orders" },
      orders.filter(([, , sensible]) => sensible).map(([text, order]) => this.actions.button(text, order)),
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
      sentences("Why it is in this ring", why.summary),
      h("h3", null, "What happened to it"), course(why.history, tasks.items, device),
      device.status && readings(device.status),
      facts([["name", device.name], ["system", device.os_version], ["app", device.app_version], ["served by", device.served_by],
        ["last heard", `${span(device.seen_s)} ago`], ["policy", device.policy ?? "none"],
        ...Object.entries(device.labels), ...Object.entries(device.capabilities)]),
    ];
  }

  // -- a deployment ---------------------------------------------------------------------------

  ofDeployment() {
    const { told, tasks, shown } = this;
    const more = shown.most < MAX_LISTED && (() => this.deployment(shown.id, shown.only, shown.most + PAGE));
    return [deploymentSheet(told, tasks, shown.only, more, this), facts(termsOf(told))];
  }

  ofRollout() {
    const { told, why, report } = this;
    return [rolloutSheet(told, why, report, this), facts(planOf(told))];
  }

  // -- a ring ---------------------------------------------------------------------------------

  ofRing() {
    const { told, shown } = this;
    const filters = [["", "All"], ["healthy=false", "Unhealthy"], ["online=false", "Offline"]];
    return [
      h("div", { class: "filters", role: "group", "aria-label": "Show only" }, filters.map(([only, word]) =>
        h("button", { type: "button", class: "plain", "aria-pressed": String(only === shown.only), onclick: () => this.ring(shown.id, only) }, word))),
      told.items.length === 0 && h("p", { class: "quiet" }, "No such device here."),
      h("ul", { class: "devices" }, told.items.map((device) => {
        const state = stateOf(device);
        return h("li", { key: device.id },
          h("button", { type: "button", class: "plain inline", onclick: () => this.device(device.id) }, device.id),
          h("span", { class: `state ${state.kind}` }, `${state.mark} ${state.kind}`),
          device.pin && h("span", { class: "chip" }, "pinned"), h("span", { class: "quiet" }, device.name));
      })),
      told.next && h("button", { type: "button", onclick: () => this.more() }, "More devices"),
    ];
  }
}

function stateOf(device) {
  if (!device.online) return { kind: "offline", mark: "?" };
  return device.healthy ? { kind: "healthy", mark: "✓" } : { kind: "unhealthy", mark: "✕" };
}

function sentences(title, lines) {
  if (!lines.length) return null;
  return [h("h3", null, title), h("ul", { class: "why" }, lines.map((line) => h("li", null, line)))];
}

function samples(history, picture) {
  const heads = ["when", "risk", "reports", "cause"];
  const rows = [...history].reverse().map((one) => [ago(picture.now - one.at_ms), one.missed ? "missed" : risk(one.risk), one.reports, one.cause]);
  return h("table", null, h("thead", null, h("tr", null, heads.map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", null, rows.map((row) => h("tr", null, row.map((text) => h("td", null, text))))));
}

function decisions(list) {
  if (!list.length) return h("p", { class: "quiet" }, "Nothing.");
  return h("ol", { class: "moves" }, list.map((one) => h("li", { key: one.id },
    h("time", null, timeOf(one.wall_ms)), ` ${one.sentence}`)));
}

function readings(status) {
  const percent = (value) => `${Math.round(value)} %`;
  return facts([["battery", `${percent(status.battery_level)}${status.battery_charging ? ", charging" : ""}`], ["cpu", percent(status.cpu_usage)],
    ["memory", percent(status.memory_usage)], ["disk", percent(status.disk_usage)],
    ...Object.entries(status.metrics).map(([name, value]) => [plain(name), value.toFixed(1)])]);
}

function facts(pairs) {
  return h("dl", null, pairs.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, String(value) || "–"))));
}
