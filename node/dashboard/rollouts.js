// Rollouts: a version on its way through its stages, why it waits, what comes next, and what to do.
// Below them what holds rollouts back: freezes, and artifacts that are blocked.

import { h } from "./dom.js";
import { choicesOf, heldBy, WAITS } from "./orders.js";
import { gateRow, stateOf, track } from "./stages.js";
import { currentStages, isOver, nextOf, reasonOf } from "./standing.js";
import { ago, dateOf, number, span } from "./words.js";

const WAYS_BACK = [
  ["back", "✓", "healthy", "back on what they ran before"], ["pending", "…", "busy", "still to go back"],
  ["failed", "✕", "unhealthy", "failed to go back"], ["stranded", "!", "unhealthy", "stranded: nothing earlier is known of them"],
];

/** Those first that wait for somebody, then those that go on, then those that are over. */
export function inTurn(rollouts) {
  const turn = (one) => (isOver(one) ? 2 : WAITS.includes(one.state) || one.stages.some(({ state }) => state === "validating") ? 0 : 1);
  return [...rollouts].sort((a, b) => turn(a) - turn(b));
}

/** `elapsed(one)`: seconds since it was told, so that countdowns run. */
export function rolloutRows(rollouts, elapsed, show, actions) {
  return rollouts.map((one) => row(one, elapsed(one), show, actions));
}

function row(one, elapsed_s, show, actions) {
  return h("li", { class: `rollout ${one.state}`, key: one.rollout, "data-rollout": one.rollout },
    h("h3", null, h("button", { type: "button", class: "plain cover", onclick: () => show(one.rollout) }, one.rollout), " ",
      h("span", { class: "quiet" }, whatOf(one))),
    h("p", { class: "count" }, stateOf(one.state), isHeld(one) && h("span", { class: "state warn" }, ", held"), h("span", { class: "quiet", title: dateOf(Date.now() - (one.since_s + elapsed_s) * 1_000) }, ` ${ago((one.since_s + elapsed_s) * 1_000)}`)),
    standing(one, elapsed_s),
    track(one.stages),
    currentStages(one).map(gateRow),
    wayBack(one.rollback),
    choices(one, actions));
}

/** Whether it waits, and not for people. */
function isHeld({ state, held }) {
  return held !== null && ["running", "rolling_back"].includes(state);
}

/** "app 2.0.0", "app 2.0.0 against 2.1.0". */
export function whatOf({ component, versions }) {
  return `${component} ${versions.join(" against ")}`;
}

/** Why it is where it is, and what comes next. */
export function standing(one, elapsed_s) {
  const next = nextOf(one, elapsed_s);
  return h("p", { class: "standing" }, h("strong", null, reasonOf(one)), next && ` ${next}.`);
}

/** The devices that go back, by what became of that. */
export function wayBack(rollback) {
  if (!rollback) return null;
  if (!rollback.deployment) return h("p", { class: "states" }, "No device had to go back.");
  const all = WAYS_BACK.reduce((sum, [part]) => sum + rollback[part], 0);
  return h("div", { class: "way-back" },
    h("div", { class: "bar-of-ring", "aria-hidden": "true" }, WAYS_BACK.map(([part, , kind]) => rollback[part] > 0 && h("span", { key: part, class: `part ${kind}`, style: { "--part": rollback[part] / all } }))),
    h("p", { class: "states" }, h("span", { class: "quiet" }, "Way back"), WAYS_BACK.map(([part, mark, kind, words]) => (rollback[part] > 0 || part === "back") &&
      h("span", { class: `state ${kind}` }, h("b", { "aria-hidden": "true" }, mark), ` ${number(rollback[part])} ${words}`))));
}

/** What somebody has to decide between, each with what it does. */
export function choices(one, actions) {
  const open = choicesOf(one, actions.picture.parts);
  if (!open.length) return null;
  return h("ul", { class: "choices", "aria-label": `What may be done about ${one.rollout}` }, open.map(({ order, text, hint, why, press }) =>
    h("li", { key: order }, actions.button(text, () => press(actions), why), h("span", { class: "quiet" }, why || hint))));
}

// -- what holds them back ---------------------------------------------------------------------------

export function freezeRows(freezes, rollouts, elapsed_s, actions) {
  return freezes.map((one) => {
    const held = heldBy(one, rollouts);
    const where = [one.rings.length ? `ring ${one.rings.join(", ")}` : "all rings", one.selector].filter(Boolean).join(", ");
    return h("li", { key: one.freeze, "data-freeze": one.freeze },
      h("p", null, h("b", { "aria-hidden": "true" }, "❄ "), h("strong", null, `Freeze ${one.freeze}`), ` on ${where}: nothing new is installed there for another ${span(Math.max(0, one.ends_s - elapsed_s))}`,
        h("span", { class: "quiet" }, ` · by ${one.actor || "nobody named"}`, one.reason && ` “${one.reason}”`), held.length > 0 && ` · holds ${held.map(({ rollout }) => rollout).join(", ")}`),
      actions.button("Lift …", () => actions.lift(one, held)));
  });
}

export function blockedRows(artifacts, actions) {
  return artifacts.map((one) => h("li", { key: `${one.component} ${one.version} ${one.sha256}`, "data-blocked": one.version },
    h("p", null, h("b", { "aria-hidden": "true" }, "⊘ "), h("strong", null, `${one.component} ${one.version} is blocked`), `: gate ${one.blocked.gate} was proven broken in stage ${one.blocked.stage} of ${one.blocked.rollout}`,
      h("span", { class: "quiet", title: dateOf(Date.now() - one.blocked.age_s * 1_000) }, ` ${ago(one.blocked.age_s * 1_000)}`)),
    actions.button("Unblock …", () => actions.unblock(one))));
}
