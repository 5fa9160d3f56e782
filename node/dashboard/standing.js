// How a rollout stands, in words: its state, why it is in it, what comes next by itself, and when.

import { plain, span } from "./words.js";

/** Mark and kind of each state, of rollouts and of stages; each is told by its word too. */
const MARKS = {
  draft: ["○", "offline"], awaiting_approval: ["!", "warn"], running: ["▸", "busy"], paused: ["‖", "warn"],
  aborting: ["■", "warn"], aborted: ["■", "offline"], succeeded: ["✓", "healthy"],
  rolling_back: ["◂", "unhealthy"], rolled_back: ["◂", "unhealthy"],
  pending: ["·", "offline"], deploying: ["▸", "busy"], soaking: ["▸", "busy"], validating: ["▸", "busy"],
  passed: ["✓", "healthy"], failed: ["✕", "unhealthy"], inconclusive: ["?", "warn"], stopped: ["■", "offline"],
};
const JUDGED = ["deploying", "soaking", "validating", "inconclusive"];
const OVER = ["succeeded", "aborted", "rolled_back"];

export function markOf(state) {
  return MARKS[state] ?? ["·", "offline"];
}

export function isJudged(stage) {
  return JUDGED.includes(stage.state);
}

export function isOver(rollout) {
  return OVER.includes(rollout.state);
}

/** The stages that matter now: those that are judged, or ended it; else the next one to open. */
export function currentStages({ state, stages }) {
  const judged = stages.filter((stage) => isJudged(stage) || stage.state === "failed");
  if (judged.length || state !== "running") return judged;
  return stages.filter((stage) => stage.state === "pending").slice(0, 1);
}

/** Why it is where it is, or what it waits for. */
export function reasonOf(one) {
  switch (one.state) {
    case "draft": return `It is laid down; nobody has started it yet.${besides(one, "started")}`;
    case "awaiting_approval": return `${one.approvals.filter((each) => !each.stage).length} of ${one.needed} approvals are granted; it begins with the last.${besides(one, "approved")}`;
    case "running": return one.held ? `Nothing begins: ${one.held.sentence}.${watchedOf(one)}` : doingOf(one);
    case "paused": return `${sentenceOf(one.why, doubtOf(one))}${watchedOf(one)}${besides(one, "resumed")}`;
    case "aborting": return sentenceOf(one.why, "what devices have begun may still end");
    case "rolling_back": return `${sentenceOf(turnedBy(one))}${one.held ? ` Nothing goes back at present: ${one.held.sentence}.` : ""}`;
    case "rolled_back": return `${sentenceOf(turnedBy(one))}${one.reason === "deadline" ? " Its time was over before every device was back; the others go back when they are heard." : ""}`;
    case "succeeded": return "Every stage has passed.";
    default: return sentenceOf(one.why || "an operator ended it");
  }
}

/** What holds it up besides, so that one order alone is not enough. */
export function besides({ held }, ordered) {
  const answers = ordered === "resumed" ? [] : ["unanswered"];
  const others = (held?.holds ?? []).filter(({ reason }) => !["paused", ...answers].includes(reason)).map(({ sentence }) => sentence);
  return others.length ? ` When it is ${ordered} nothing begins yet: ${listed(others)}.` : "";
}

/** A soak goes on whatever holds it. */
function watchedOf({ stages }) {
  const stage = stages.find(({ state }) => state === "soaking");
  return stage ? ` Stage ${stage.name} is watched all the same.` : "";
}

/** "a, b, and c". */
function listed(texts) {
  return texts.length > 1 ? `${texts.slice(0, -1).join(", ")}, and ${texts.at(-1)}` : texts.join("");
}

/** What made it turn back: a device that installed it late, the gate that was proven broken, or
 *  somebody. */
function turnedBy({ reason, stages }) {
  if (reason === "strayed") return "a device installed it after all, and is taken back";
  const failed = stages.find((stage) => stage.state === "failed");
  const gate = failed?.gates.find((each) => each.name === failed.proven);
  return failed ? `stage ${failed.name} failed${gate ? `, ${gate.sentence}` : ` (${failed.reason})`}` : "an operator ordered it";
}

function doingOf(one) {
  const [stage] = currentStages(one);
  if (!stage) return "";
  const asked = stage.state === "validating" ? stage.gates.filter((gate) => gate.verdict === null) : [];
  if (asked.length) return sentenceOf(`stage ${stage.name} waits for others`, asked.map((gate) => gate.sentence).join("; "));
  const doing = { deploying: "is being installed", soaking: "is installed and watched", pending: stage.name === "follow" ? "waits for devices that come later" : "opens next" };
  return `Stage ${stage.name} ${doing[stage.state] ?? `is ${stage.state}`}.`;
}

/** What the gate says that leaves its stage in doubt. */
function doubtOf({ reason, stages }) {
  const [, name, wanted] = reason.split(":");
  return stages.find((stage) => stage.name === name)?.gates.find((gate) => gate.name === wanted)?.sentence.replace(`${wanted}: `, "");
}

/** "Stage canary failed (health): health: 30 % turned bad." */
function sentenceOf(why, more) {
  const text = [why || more, why && more].filter(Boolean).join(": ");
  return text && `${text[0].toUpperCase()}${text.slice(1)}.`;
}

const ENDS = {
  expired: (left) => `It is dropped ${left} unless somebody starts it`,
  not_approved: (left) => `It is dropped ${left} unless it is approved`,
  pause_expired: (left) => `It is aborted ${left} unless somebody decides`,
  resume: (left) => `It goes on by itself ${left}`,
  blocked: (left) => `What it installs is blocked by now: it stays paused when its time is over, ${left}`,
  ended: () => "It is aborted as soon as no device is at work",
};
const STAGE_ENDS = {
  deadline: (left, name) => `Stage ${name}: who has not begun ${left} counts as not reached`,
  soak: (left, name) => `Stage ${name} is judged ${left}`,
  unanswered: (left, name) => `Without an answer stage ${name} is inconclusive ${left}`,
  followed: (left) => `It has succeeded ${left}, and takes on devices that come until then`,
};

const GO_ON = ["resume", "blocked", "ended"]; // ends that no pause of the cluster stops
const PAUSES = ["cluster_paused", "swarm_off"];
const RUNS_ON = ["window_closed", "storm", "unanswered"]; // what stops no deadline

/** What it becomes by itself, and when. `elapsed_s`: since that was told. Empty: it is over. */
export function nextOf(one, elapsed_s) {
  if (one.exit) {
    const say = ENDS[one.exit.reason] ?? ((left) => `It is ${plain(one.exit.becomes)} ${left} at the latest`);
    const stands = !GO_ON.includes(one.exit.reason) && one.held?.holds.some(({ reason }) => PAUSES.includes(reason));
    return `${say(leftOf(one.exit.in_s, stands ? 0 : elapsed_s))}${stands ? "; that time stands still while automatic changes are paused" : ""}`;
  }
  const told = currentStages(one).find((stage) => stage.exit);
  if (one.state !== "running") return "";
  if (one.held && (!told || told.exit.in_s === null)) return heldUntil(one.held, elapsed_s);
  if (!told) return "";
  return (STAGE_ENDS[told.exit.reason] ?? ((left) => `Stage ${told.name} is ${plain(told.exit.becomes)} ${left}`))(leftOf(told.exit.in_s, elapsed_s), told.name);
}

/** When the last of all that holds it is over, or what has to happen for that. */
function heldUntil({ until_s, when, holds }, elapsed_s) {
  const waits = holds.some(({ reason }) => !RUNS_ON.includes(reason)) ? "; its deadlines stand still meanwhile" : "";
  if (!when) return `It goes on ${leftOf(until_s, elapsed_s)} at the latest${waits}`;
  const known = Math.max(...holds.map((hold) => hold.until_s ?? 0));
  return `It goes on when ${when}${known > 0 ? ` and the rest is over, ${leftOf(known, elapsed_s)} at the latest` : ""}${waits}`;
}

/** "in 3 min 10 s", so that one sees it run. */
export function leftOf(in_s, elapsed_s) {
  if (in_s === null) return "when it is known how";
  const left = Math.ceil(in_s - elapsed_s);
  if (left <= 0) return "now";
  if (left < 60) return `in ${left} s`;
  if (left < 3_600) return `in ${Math.floor(left / 60)} min ${left % 60} s`;
  return `in ${span(left)}`;
}
