// The state of the cluster in one sentence, and what to do about it. The verdict comes from the API
// (cluster/verdict.py), except when no node answers.

import { h } from "./dom.js";
import { whyNoSwitchover } from "./seat.js";
import { ago, dateOf, folded, isUnheard, LEVELS, plural, whenOf } from "./words.js";

const SEALS = { ok: "good", attention: "warn", critical: "bad" };

/** Level, sentence, and the problems that need attention. */
export function verdict(picture, link) {
  if (link.lost) return { level: "bad", says: "No node answers", needs: [], but: `shown is what was known ${ago(picture.age)}` };
  const { verdict: level, headline: says, needs } = picture.cluster;
  return { level: SEALS[level], says, needs, but: needs.length ? "" : "nothing needs anyone" };
}

/** `show(rollout)`: leads to its row. */
export function headline(picture, link, actions, show) {
  const { level, says, but, needs } = verdict(picture, link);
  const switchable = whyNoSwitchover(picture);
  return [
    h("span", { class: `seal ${level}`, "aria-hidden": "true" }, LEVELS[level]),
    h("div", { class: "says" },
      h("h1", { "data-level": level }, says),
      but && h("p", { class: "but" }, but),
      h("ul", { class: "needs" }, needs.filter((need) => !need.alarm).map((need) => needed(need, show))),
      !link.lost && h("p", { class: "facts" }, facts(picture.cluster, picture).map((fact) => h("span", null, fact))),
      lastChange(picture)),
    h("div", { class: "orders" },
      switchable === "" ? null : actions.button("Fail over …", () => actions.failover()),
      actions.button("Switch over …", () => actions.switchover(), switchable),
      picture.cluster.paused
        ? actions.button("Resume …", () => actions.resume())
        : actions.button("Pause …", () => actions.pause()),
      actions.barred()),
  ];
}

/** A problem that is not an alarm: those are listed below, where they can be acknowledged. */
function needed({ level, sentence, rollout }, show) {
  const seal = SEALS[level];
  return h("li", { "data-level": seal }, h("span", { class: `seal small ${seal}`, "aria-hidden": "true" }, LEVELS[seal]),
    rollout ? h("button", { type: "button", class: "plain inline", onclick: () => show(rollout) }, sentence) : h("div", null, folded(sentence)));
}

function facts(cluster, picture) {
  const { quorum, fleet } = cluster;
  const away = picture.nodes.filter(isUnheard).map((node) => node.id);
  return [
    away.length ? `not heard: ${away.join(", ")}` : `all ${quorum.members} nodes are heard`,
    cluster.leader ? `${cluster.leader} leads Raft, term ${cluster.term}` : "nobody leads Raft",
    `${plural(fleet.total_slaves, "device")}, ${fleet.healthy_devices} healthy`,
    cluster.primary && `epoch ${cluster.primary.epoch}`,
  ].filter(Boolean);
}

/** The newest change of PRIMARY, and why: the first question of an operator on call. */
function lastChange(picture) {
  const change = picture.seatChange;
  if (!change) return null;
  return h("div", { class: "last" },
    h("strong", null, `Last change of PRIMARY, ${ago(picture.now - change.at_ms)} (`, h("time", { title: dateOf(change.wall_ms) }, whenOf(change.wall_ms)), "): "), folded(change.sentence));
}
