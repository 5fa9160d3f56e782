// Orders about who is PRIMARY. Whoever could not be is named with the reason, and cannot be chosen.

import { check, choice, line } from "./fields.js";
import { isUnheard, span } from "./words.js";

/** Why the PRIMARY cannot hand over in an orderly way; empty: it can. */
export function whyNoSwitchover({ nodes, cluster }) {
  const primary = nodes.find((node) => node.role === "PRIMARY");
  if (!cluster.primary || !primary) return "There is no PRIMARY that could hand over: fail over instead.";
  if (isUnheard(primary)) return `${primary.id} is not heard: fail over instead.`;
  return primary.consecutive_unhealthy > 0 ? `${primary.id} is not healthy: fail over instead.` : "";
}

export function switching(picture, target = "") {
  const primary = holder(picture);
  const resting = primary && primary.cooldown_remaining_s > 0 ? ` ${primary.id} changed its role lately: refused for another ${span(primary.cooldown_remaining_s)}.` : "";
  return {
    title: "Switch the PRIMARY over",
    says: `${primary?.id ?? "The PRIMARY"} steps down in an orderly way and becomes BACKUP; the node you name takes over with a new epoch, as soon as it has.${resting}`,
    undo: `Switch over to ${primary?.id ?? "it"} again, after its cool-down.`,
    fields: [choice("target", "New PRIMARY", [["", "the best candidate"], ...candidates(picture, true)], target)],
    button: "Switch over",
    order: ({ target: chosen, reason }) => ["POST", "/v1/switchover", { ...(chosen && { target: chosen }), reason }],
  };
}

export function failingOver(picture) {
  const primary = holder(picture);
  const mayForce = picture.parts.me?.role === "admin";
  return {
    title: "Fail over",
    says: `The node you name becomes PRIMARY with a new epoch, whatever ${primary ? `${primary.id} is doing: it begins when ${primary.id} has stepped down, or when the lease of ${primary.id} is certainly over` : "the others say"}. Nobody votes about it.`,
    undo: primary ? `Switch over to ${primary.id}, when it is healthy again.` : "Switch over to another node.",
    fields: ({ force }) => [
      choice("target", "New PRIMARY", candidates(picture, false, force === "on"), ""),
      mayForce && check("force", "Also one that is unfit, which may not be able to do the work"),
    ],
    button: "Fail over",
    order: ({ target, force, reason }) => ["POST", "/v1/failover", { target: target ?? "", force: force === "on", reason }],
  };
}

export function prioritising(node, nodes) {
  const others = nodes.filter(({ id }) => id !== node.id).map(({ id, priority }) => `${id} ${priority}`).join(", ");
  return {
    title: `Priority of ${node.id}`,
    says: `Of all that are fit the highest goes first when a PRIMARY is wanted; with 0 it is never chosen. It has ${node.priority}, the others: ${others || "there are none"}. Who is PRIMARY now stays it.`,
    undo: `Set it to ${node.priority} again.`,
    fields: [line("priority", "Priority, 0 to 1000", { type: "number", min: 0, max: 1_000, required: true, value: node.priority })],
    button: "Set",
    order: ({ priority, reason }) => ["POST", `/v1/nodes/${encodeURIComponent(node.id)}/priority`, { priority: Number(priority), reason }],
  };
}

function holder({ nodes }) {
  return nodes.find((node) => node.role === "PRIMARY");
}

/** Those that could be PRIMARY first. `rested`: whoever cools down cannot either. */
function candidates({ nodes }, rested, force = false) {
  const told = nodes.filter((node) => node.role !== "PRIMARY").map((node) => {
    const why = node.unfit || (rested && node.cooldown_remaining_s > 0 ? `it cools down for another ${span(node.cooldown_remaining_s)}` : "");
    const barred = why !== "" && !(force && !node.joining);
    return [node.id, `${node.id} (${node.role}${why && `: ${why}`})`, barred];
  });
  return [...told.filter(([, , barred]) => !barred), ...told.filter(([, , barred]) => barred)];
}
