// Orders about rollouts, freezes and blocked artifacts: which are possible now, why the others are
// not, and what each would do to how many devices.

import { AGAIN, tasksIn } from "./deployments.js";
import { check, choice, DURATIONS, line } from "./fields.js";
import { ofNext, ofStart } from "./preview.js";
import { percent } from "./stages.js";
import { besides, isJudged, isOver } from "./standing.js";
import { number, plain, plural, RINGS } from "./words.js";

const WORDS = { start: "Start", approve: "Approve", pause: "Pause", resume: "Resume", retry: "Retry", promote: "Promote", rollback: "Roll back", abort: "Abort" };
const NOT_BEGUN = ["draft", "awaiting_approval"];
export const WAITS = [...NOT_BEGUN, "paused"];

/** Every order: `why` it is not possible now (empty: it is), and a `hint` at what it does.
 *  `blocked`: the artifacts that are; `actor`: who would give it. */
export function ordersOf(one, blocked, actor) {
  return Object.entries(WORDS).map(([order, word]) => ({
    order, text: `${word} …`, why: whyNot(one, order, blocked, actor), hint: HINTS[order](one), press: (actions) => actions.rollout(one, order),
  }));
}

/** What somebody has to decide between, and what ends that which holds it; empty while nobody is
 *  waited for. What stops harm comes first where harm is proven. */
export function choicesOf(one, { freezes, blocked, rollouts, me }) {
  const actor = me?.actor ?? "";
  const held = releasesOf(one, freezes?.items ?? [], blocked?.items ?? [], rollouts?.items ?? []);
  const asked = WAITS.includes(one.state) || one.stages.some(({ state }) => state === "validating") || one.rollback?.failed > 0;
  if (!asked) return held;
  const may = ordersOf(one, blocked?.items ?? [], actor).filter(({ order, why }) => (why === "" && order !== "pause") || (order === "approve" && toApprove(one) !== null));
  const risky = one.stages.some(({ state }) => state === "failed") ? may.filter(({ order }) => order === "promote") : [];
  const first = nobodyReached(one) ? may.filter(({ order }) => order === "retry") : [];
  const safe = [...first, ...may.filter((each) => !risky.includes(each) && !first.includes(each))];
  return one.state === "paused" ? [...safe, ...held, ...risky] : [...held, ...safe, ...risky];
}

/** Whether looking longer would see nothing: it is in doubt, and nobody has the version. */
function nobodyReached({ stages }) {
  const stage = stages.find(({ state }) => state === "inconclusive");
  return stage !== undefined && tasksIn(stage, ["succeeded", "queued"]) === 0;
}

/** The orders that end what holds it. */
function releasesOf(one, freezes, blocked, rollouts) {
  const reasons = [...(one.state === "paused" ? [one.reason] : []), ...(one.held?.holds ?? []).map(({ reason }) => reason)];
  return reasons.flatMap((reason) => releaseOf(one, reason, freezes, blocked, rollouts));
}

function releaseOf(one, reason, freezes, blocked, rollouts) {
  const [kind, name] = reason.split(":");
  switch (kind) {
    case "freeze": return freezes.filter(({ freeze }) => freeze === name).map((freeze) => (
      { order: "lift", text: "Lift …", hint: `ends freeze ${name} for whatever it lies on`, press: (actions) => actions.lift(freeze, heldBy(freeze, rollouts)) }));
    case "blocked": return blockedOf(one, blocked).map((artifact) => (
      { order: `unblock ${artifact.version}`, text: "Unblock …", hint: `lets ${artifact.component} ${artifact.version} be installed again; then it can be resumed`, press: (actions) => actions.unblock(artifact) }));
    case "cluster_paused": return [
      { order: "go on", text: "Resume automatic changes …", hint: "ends the pause of the whole cluster", press: (actions) => actions.resume() }];
    default: return [];
  }
}

/** The rollouts that a freeze holds. */
export function heldBy({ freeze }, rollouts) {
  return heldFor(`freeze:${freeze}`, rollouts);
}

/** The rollouts that have begun and are held for a reason; `alone`: for no other. */
export function heldFor(wanted, rollouts, alone = false) {
  const begun = rollouts.filter(({ held, state }) => held !== null && !NOT_BEGUN.includes(state));
  return begun.filter(({ held }) => held.holds.some(({ reason }) => reason === wanted) && (!alone || held.holds.length === 1));
}

/** What it installs and what a gate was proven broken with. */
function blockedOf({ component, versions, forced }, blocked) {
  return forced ? [] : blocked.filter((each) => each.component === component && versions.includes(each.version));
}

function whyNot(one, order, blocked, actor) {
  const may = order === "approve" ? toApprove(one) !== null : order === "retry" ? toRetry(one) !== null : one.orders.includes(order);
  const failed = one.stages.find((stage) => stage.state === "failed");
  if (order === "resume" && one.state === "paused" && failed) return `stage ${failed.name} failed: promote it by force, abort, or roll back`;
  if (["resume", "promote"].includes(order) && may && !failed && blockedOf(one, blocked).length) return "what it installs is blocked: unblock it first";
  if (order === "approve" && may) return notOf(one, actor);
  if (may) return "";
  return (NOT_NOW[order][one.state] ?? NOT_NOW[order].else)(one);
}

/** Why this one may not approve; empty: he may. */
function notOf(one, actor) {
  const who = party(actor);
  if (who === party(one.author) && !one.self_approval) return `${one.author || "nobody named"} wrote it, and that is you: somebody else has to approve it`;
  const stage = toApprove(one);
  return one.approvals.some((each) => (each.stage ?? "") === stage && party(each.actor) === who) ? "you have approved it: it takes somebody else" : "";
}

/** Names are one whatever their case, and whichever of their tokens is used; so are all who give none. */
function party(actor) {
  const name = actor.split("#")[0].trim().toLowerCase();
  return name.startsWith("anonymous@") ? "anonymous@" : name;
}

const is = (text) => () => text;
const NOT_NOW = {
  start: { awaiting_approval: is("it is started, and waits for approval"), else: (one) => (isOver(one) ? "it is over" : "it has begun already") },
  approve: { draft: is("it has to be started first"), else: is("nothing of it waits for approval") },
  pause: { paused: is("it is paused already"), else: (one) => (isOver(one) ? "it is over" : `it is ${plain(one.state)}: nothing of it begins`) },
  resume: { else: is("it is not paused") },
  promote: { else: is("no stage is being judged") },
  abort: { aborting: is("it is being aborted already"), else: is("it is over") },
  rollback: { rolling_back: is("its devices are on their way back already"), else: is("no device has been told anything") },
  retry: { else: is("no task that can be tried again has failed") },
};

const HINTS = {
  start: (one) => (one.needed ? `asks for ${plural(one.needed, "approval")}` : `stage ${one.stages[0].name} opens`),
  approve: (one) => `${toApprove(one) ? `stage ${toApprove(one)} may pass` : one.needed - one.approvals.length > 1 ? "another one is needed after yours" : "lets it begin"}${one.self_approval ? "" : `; not by ${one.author || "nobody named"}, who wrote it`}`,
  pause: () => "nothing more begins",
  resume: (one) => (nobodyReached(one) ? "nobody has it: to look longer sees nothing" : watchedOn(one) ? `look longer: ${watchedOn(one).name} is watched for another soak` : goingOn(one)),
  promote: (one) => `let stage ${promoted(one)?.name} count as passed${promoted(one)?.proven ? " although it failed" : ""}`,
  abort: (one) => (["draft", "awaiting_approval"].includes(one.state) ? "drops it" : one.updated ? `ends it; the version stays on ${plural(one.updated, "device")}` : "ends it"),
  rollback: (one) => (affected(one) ? `takes ${plural(affected(one), "device")} back to what ran there before` : "ends it; no device has to go back"),
  retry: (one) => `another attempt for ${plural(toRetry(one)?.count ?? 0, "task")}`,
};

/** What a resumed rollout goes on with. */
function goingOn(one) {
  const waiting = queued(one);
  const soaking = one.stages.find(({ state }) => state === "soaking");
  const asked = one.stages.find(({ state }) => state === "validating");
  const next = one.stages.find(({ state }) => state === "pending");
  if (waiting) return `${plural(waiting, "device")} of its open stages ${waiting === 1 ? "is" : "are"} told${next ? "; later stages follow by themselves" : ""}`;
  if (soaking) return `stage ${soaking.name} was watched all the time, and is judged at the end of its soak${next ? "; when it passes, the next opens" : ""}`;
  if (asked) return `stage ${asked.name} has as much time for its answers as it had`;
  return next ? `stage ${next.name} opens${one.stages.at(-1) === next ? "" : ", and the others follow by themselves"}` : "goes on where it stopped";
}

/** What waits for approval: a stage's name, "" of the start; null: nothing does. */
function toApprove(one) {
  if (one.orders.includes("approve")) return "";
  return one.stages.find((stage) => stage.state === "validating" && stage.gates.some((gate) => gate.name === "approval" && gate.verdict === null))?.name ?? null;
}

/** Whose tasks can be tried again, and how many; null: none. */
function toRetry(one) {
  if (one.rollback?.failed > 0) return { stage: "", of: "the way back", count: one.rollback.failed };
  const stage = one.stages.find((each) => isJudged(each) && tasksIn(each, AGAIN) > 0);
  return stage ? { stage: stage.name, of: `stage ${stage.name}`, count: tasksIn(stage, AGAIN) } : null;
}

/** The stage that a resumed rollout looks at longer; none where tasks of it are tried again. */
function watchedOn({ stages }) {
  return stages.find((stage) => stage.state === "inconclusive" && !tasksIn(stage, ["queued"]));
}

/** The stage that an order means: not one that goes on deploying beside the next. */
function promoted({ stages }) {
  return stages.find((stage) => stage.state === "failed" || (isJudged(stage) && !(stage.promoted && stage.state === "deploying")));
}

/** How many devices would be told to go back: whoever has it, or is at it. */
function affected(one) {
  const { rollback } = one;
  if (rollback?.deployment) return rollback.pending + rollback.failed + rollback.stranded;
  return one.updated + one.in_flight;
}

// -- dialogs ----------------------------------------------------------------------------------------

/** What is asked before an order about a rollout is given. */
export function question(one, order) {
  const path = `/v1/rollouts/${encodeURIComponent(one.rollout)}/${order}`;
  const seen = { revision: one.revision };
  const asked = QUESTIONS[order](one);
  return { did: `${WORDS[order]} ${one.rollout}`, button: WORDS[order], leave: "Leave it", ...asked,
    order: (given) => ["POST", path, { ...(asked.bound && seen), ...asked.body?.(given), reason: given.reason }] };
}

const QUESTIONS = {
  start: (one) => ({
    title: `Start ${one.rollout}?`, bound: true, foresee: ofStart,
    says: `${one.needed ? `It asks for ${plural(one.needed, "approval")} first${one.self_approval ? "" : `, of others than ${one.author || "its author"}`}. Then` : "At once"} ${opening(one.stages[0])}${one.stages.length > 1 ? " The other stages follow by themselves, each only when the one before has passed." : ""}${besides(one, "started")}`,
    undo: "Abort before a device has it, Roll back after.",
    fields: [check("force", "Although what it installs is blocked")],
    body: ({ force }) => ({ force: force === "on" }),
  }),
  approve: (one) => {
    const stage = toApprove(one);
    const next = stage ? one.stages.find(({ state }) => state === "pending") : one.stages[0];
    const granted = one.approvals.filter((each) => (each.stage ?? "") === stage).length;
    const gate = one.stages.find((each) => each.name === stage)?.gates.find(({ name }) => name === "approval");
    const webhook = stage && one.stages.find((each) => each.name === stage).gates.some(({ name, verdict }) => name === "webhook" && verdict === null);
    const whole = stage ? next && ((seen) => ofNext(seen, next.name)) : ofStart;
    return {
      title: stage ? `Approve stage ${stage} of ${one.rollout}?` : `Approve the start of ${one.rollout}?`, bound: true, foresee: whole,
      says: `You grant the plan ${one.digest.slice(0, 8)} by ${one.author || "nobody named"}${one.self_approval ? "" : ", who may not grant it"}; ${number(granted)} of ${number(gate ? gate.needed : one.needed)} approvals are there. ${
        stage ? `With the last one${webhook ? ", and a yes of its webhook," : ""} stage ${stage} has passed${next ? `, and ${opening(next)}` : ": it is the last one."}` : `With the last one ${opening(next)}`}${besides(one, "approved")}`,
      undo: "an approval stays. Pause or Abort stops the rollout.",
      body: () => ({ digest: one.digest, ...(stage && { stage }) }),
    };
  },
  pause: (one) => ({
    title: `Pause ${one.rollout}?`,
    says: `Nothing more begins; ${plural(queued(one), "device")} of its open stages wait. What ${plural(one.in_flight, "device")} ${one.in_flight === 1 ? "has" : "have"} begun goes on, and is judged: a proven failure still takes devices back. A soak goes on too; every deadline stands still.`,
    undo: "Resume.",
    fields: [choice("duration", "For", [["", "until somebody resumes it"], ...DURATIONS])],
    body: ({ duration }) => duration && { duration },
  }),
  resume: (one) => ({
    title: `Resume ${one.rollout}?`, bound: true,
    says: watchedOn(one)
      ? `Stage ${watchedOn(one).name} is watched for another soak; its ${plural(watchedOn(one).members, "device")} stay as they are, and what was seen so far counts on. No further device gets it before the stage has passed.`
      : `It goes on: ${goingOn(one)}. What was watched meanwhile counts, and nobody has less time for the pause.${besides(one, "resumed")}`,
    undo: "Pause.",
  }),
  promote: (one) => {
    const stage = promoted(one);
    const next = one.stages.find((each) => each.state === "pending");
    const variants = one.plan?.variants?.filter((each) => !each.control) ?? [];
    return {
      title: `Promote stage ${stage.name} of ${one.rollout}?`, bound: true, foresee: next && ((seen) => ofNext(seen, next.name)),
      says: `It counts as passed by your word, whatever its gates say. ${next ? `Then ${opening(next)}${besides(one, "promoted")}` : "It is the last one: the rollout has succeeded."}`,
      undo: "Roll back. That it was you stays in the history.",
      fields: [variants.length > 1 && choice("variant", "Later stages get", [["", "every variant"], ...variants.map(({ name }) => [name, `only ${name}`])]),
        stage.state === "deploying" ? check("force", "Although it still deploys") : stage.proven && check("force", "Although it failed")],
      body: ({ variant, force }) => ({ ...(variant && { variant }), force: force === "on" }),
    };
  },
  abort: (one) => ({
    title: `Abort ${one.rollout}?`,
    says: `It ends. ${[
      queued(one) > 0 && `${plural(queued(one), "device")} of its open stages get nothing.`, one.stages.some(({ state }) => state === "pending") && "No further stage opens.",
      one.in_flight > 0 && `${plural(one.in_flight, "device")} at it may finish.`, `${one.updated ? plural(one.updated, "device") : "No device"} ${one.updated > 1 ? "have" : "has"} the version${one.updated ? `, and ${one.updated > 1 ? "keep" : "keeps"} it` : ""}.`,
    ].filter(Boolean).join(" ")}`,
    undo: "it cannot go on. Roll back still takes devices back, as long as the cluster remembers which.",
  }),
  rollback: (one) => ({
    title: `Roll back ${plural(affected(one), "device")}${one.rollback?.deployment ? " again" : ""}?`, did: `Roll ${one.rollout} back`,
    says: `Each returns to the version that it ran before, the newest updated first, and freezes do not hold it.${
      one.in_flight && !one.rollback ? ` ${number(one.in_flight)} of them ${one.in_flight === 1 ? "is" : "are"} at it at present, and ${one.in_flight === 1 ? "is" : "are"} taken back when that is finished.` : ""} Devices of which no earlier version is known are named as stranded.`,
    undo: `this rollout cannot go on. Create another of ${one.versions.join(", ")}.`,
  }),
  retry: (one) => {
    const { stage, of, count } = toRetry(one);
    return {
      title: `Retry ${plural(count, "task")} of ${one.rollout}?`,
      says: `Of ${of}, whatever failed, timed out or was not reached gets another attempt, unless the device fell back to its old version.${one.state === "paused" ? " They begin when the rollout is resumed." : ""}`,
      undo: "Pause.",
      body: () => ({ ...(stage && { stage }) }),
    };
  },
};

/** "stage dev opens." To how many is asked of the cluster. */
function opening({ name, ring, share }) {
  if (name === "follow") return "it takes on devices that come later.";
  const whom = ring ? `ring ${ring}` : "all devices";
  return `stage ${name} opens${share < 1 ? `, to ${percent(share)} of ${whom}` : ring ? ` in ${whom}` : ""}.`;
}

function queued({ stages }) {
  return stages.filter(isJudged).reduce((sum, stage) => sum + tasksIn(stage, ["queued"]), 0);
}

export const freezing = {
  title: "Freeze devices?", did: "Freeze", button: "Freeze", leave: "Leave it",
  says: "Nothing new is installed on them, by whatever rollout or deployment. What has begun may end, and whoever is rolled back goes back.",
  undo: "Lift. It ends by itself at the latest after the time that you choose.",
  fields: [line("name", "Name", { required: true, maxlength: 64, pattern: "[A-Za-z0-9][A-Za-z0-9._\\-]*" }), choice("ring", "Devices", [["", "of all rings"], ...RINGS.map((ring) => [ring, `of ring ${ring}`])]),
    line("selector", "Only those with these labels, such as site=harbour (none: all)", { maxlength: 1024 }),
    choice("duration", "For", [...DURATIONS, ["7d", "7 days"], ["30d", "30 days"]], "1d")],
  order: ({ name, ring, selector, duration, reason }) => ["PUT", `/v1/freezes/${encodeURIComponent(name)}`, { duration, rings: ring ? [ring] : [], selector, reason }],
};

/** `held`: the rollouts that it holds; `devicesIn(ring)`: how many devices there are, of a ring, or of
 *  all (null). */
export function lifting({ freeze }, held, devicesIn) {
  const told = held.map((one) => `${one.rollout} (${waitingFor(one, devicesIn)})`);
  return {
    title: `Lift freeze ${freeze}?`, did: `Lift freeze ${freeze}`, button: "Lift", leave: "Leave it",
    says: told.length ? `What it held back goes on as soon as nothing else holds it: ${told.join(", ")}.` : "It holds no rollout back at present.", undo: "set it anew.",
    order: ({ reason }) => ["DELETE", `/v1/freezes/${encodeURIComponent(freeze)}`, { reason }],
  };
}

/** "12 devices wait", or the stage that would open. */
function waitingFor(one, devicesIn) {
  const count = queued(one);
  if (count) return `${plural(count, "device")} ${count === 1 ? "waits" : "wait"}`;
  const next = one.stages.find(({ state }) => state === "pending");
  return next ? `stage ${next.name} opens, to at most ${plural(Math.ceil(devicesIn(next.ring) * next.share), "device")}` : "nobody waits";
}

export function unblocking({ component, version, sha256, blocked }) {
  return {
    title: `Unblock ${component} ${version}?`, did: `Unblock ${component} ${version}`, button: "Unblock", leave: "Leave it",
    says: `It may be rolled out again, although the ${blocked.gate} gate proved it bad in stage ${blocked.stage} of ${blocked.rollout}. No device gets it before somebody starts or resumes a rollout of it.`,
    undo: "abort the rollouts of it. It is blocked again when a gate proves it bad again.",
    order: ({ reason }) => ["POST", `/v1/artifacts/${component}/${encodeURIComponent(version)}:unblock`, { ...(sha256 && { sha256 }), reason }],
  };
}
