// The state of the cluster in one sentence, and what to do about it.

import { h } from "./dom.js";
import { ago, healthOf, isUnheard, LEVELS, plural, span } from "./words.js";

/** Level, sentence, and what stands behind it; the worst matter first. */
export function verdict(picture, link) {
  const { cluster } = picture;
  if (link.lost) return { level: "bad", says: "No node answers", but: "shown is what was known last" };
  if (!cluster.quorum.present) return withoutQuorum(cluster);
  if (!cluster.primary) return { level: "bad", says: "There is no PRIMARY", but: "the seat is empty" };
  if (!cluster.primary.active) return inHandover(cluster.primary);
  return ofPrimary(cluster.primary, picture.node(cluster.primary.id), picture.parts.config?.settings);
}

function withoutQuorum({ quorum, node }) {
  const but = `${node} is in touch with ${quorum.connected} of ${quorum.members}, ${quorum.needed} are needed: nothing can be changed`;
  return { level: "bad", says: "The cluster has no quorum", but };
}

function inHandover({ id, fence_remaining_s }) {
  const but = `it waits for its predecessor to step down, ${span(fence_remaining_s)} at most`;
  return { level: "warn", says: `${id} takes over as PRIMARY`, but };
}

function ofPrimary({ id }, node, settings) {
  if (node?.role !== "PRIMARY") return { level: "quiet", says: `${id} is PRIMARY`, but: "how it is, is not known yet" };
  const health = healthOf(node);
  const run = node.consecutive_unhealthy;
  if (run) return { level: health.level, says: `${id} is PRIMARY but ${health.word}`, but: countdown(run, node.cause !== health.word && node.cause, settings) };
  if (node.effective_role !== "PRIMARY") {
    const how = node.effective_role ? `still acts as ${node.effective_role}` : "is not heard";
    return { level: "warn", says: `${id} is PRIMARY but ${how}`, but: `told with epoch ${node.epoch}` };
  }
  const joint = health.level === "good" ? "and" : "but";
  return { level: health.level, says: `${id} is PRIMARY ${joint} ${health.word}`, but: node.cause || reign(node) };
}

function reign({ epoch, lease_remaining_s: lease }) {
  return `it acts with epoch ${epoch}${lease === null ? "" : ", and its lease is renewed in time"}`;
}

/** How far it is from being replaced. */
function countdown(run, cause, settings) {
  const limit = settings?.failures_to_fail_primary;
  const told = limit ? `${run} of the ${limit} bad samples in a row after which it is replaced` : `${plural(run, "bad sample")} in a row`;
  return cause ? `${cause}: ${told}` : told;
}

export function headline(picture, link, actions) {
  const { level, says, but } = verdict(picture, link);
  return [
    h("span", { class: `seal ${level}`, "aria-hidden": "true" }, LEVELS[level]),
    h("div", { class: "says" },
      h("h1", { "data-level": level }, says),
      h("p", { class: "but" }, but),
      h("p", { class: "facts" }, facts(picture.cluster, picture).map((fact) => h("span", null, fact))),
      lastChange(picture)),
    h("div", { class: "orders" }, orders(picture, actions)),
  ];
}

function facts(cluster, picture) {
  const { quorum, fleet } = cluster;
  const away = picture.nodes.filter(isUnheard).map((node) => node.id);
  return [
    away.length ? `not heard: ${away.join(", ")}` : `all ${quorum.members} nodes are heard`,
    cluster.leader ? `${cluster.leader} leads Raft, term ${cluster.term}` : "nobody leads Raft",
    `${plural(fleet.total_slaves, "device")}, ${fleet.healthy_devices} healthy`,
    cluster.paused && `automatic changes pause for ${span(cluster.paused.remaining_s)} (${cluster.paused.actor}: ${cluster.paused.reason || "no reason given"})`,
    cluster.braked && "the brake holds all automatic changes",
    !cluster.swarm_mode && "automatic changes are switched off",
  ].filter(Boolean);
}

/** The newest change of the seat, and why: what a person who was called wants to know first. */
function lastChange(picture) {
  const change = picture.seatChange;
  if (!change) return null;
  return h("p", { class: "last" },
    h("strong", null, `Last change of PRIMARY, ${ago(picture.now - change.at_ms)}: `), change.sentence);
}

function orders(picture, actions) {
  const barred = picture.mayWrite ? null : true;
  const button = (text, order) => h("button", { type: "button", disabled: barred, onclick: order }, text);
  return [
    button("Switch over …", () => actions.switchover()),
    picture.cluster.paused
      ? button("Resume …", () => actions.resume())
      : button("Pause …", () => actions.pause()),
    barred && picture.parts.me && h("p", { class: "quiet barred" }, `You may look only. ${picture.parts.me.because}`),
  ];
}
