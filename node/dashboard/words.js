// Roles, states, times and figures for people. Everything that has a colour also has a word and a
// shape.

import { h } from "./dom.js";

export const ROLES = {
  PRIMARY: { mark: "★", kind: "primary", means: "does the work" },
  BACKUP: { mark: "◆", kind: "backup", means: "ready to take over" },
  STANDBY: { mark: "●", kind: "standby", means: "in reserve" },
  SAFE_MODE: { mark: "■", kind: "safe", means: "isolated until it is healthy" },
};

export const RINGS = ["canary", "dev", "stage", "prod"];

export const LEVELS = { good: "✓", warn: "!", bad: "✕", quiet: "?" };

/** Whether no report of it arrives, if only since the newest sample. */
export function isUnheard(node) {
  return node.effective_role === null || (node.known && node.history.at(-1)?.missed === true);
}

/** A node's health: a level and a word. */
export function healthOf(node) {
  if (node.lost) return { level: "quiet", word: "not known" };
  if (node.joining) return { level: "warn", word: "joining" };
  if (!node.alive) return { level: "bad", word: "not heard" };
  if (!node.known) return { level: "quiet", word: "health not known" };
  const run = node.consecutive_unhealthy;
  if (run) return { level: run > 1 ? "bad" : "warn", word: isUnheard(node) ? "not heard" : "unhealthy" };
  if (node.failure_mode !== "HEALTHY") return { level: "warn", word: node.failure_mode.toLowerCase() };
  return { level: "good", word: "healthy" };
}

export function risk(value) {
  return value === null || value === undefined ? "–" : value.toFixed(2);
}

export function plural(count, noun) {
  return `${number(count)} ${noun}${count === 1 ? "" : "s"}`;
}

const figures = new Intl.NumberFormat("en");

export function number(value) {
  return figures.format(value);
}

/** Seconds in the largest unit that fits: 2.1 s, 45 s, 12 min, 3 h, 2 d. */
export function span(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3_600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

/** How long ago, in whole units, so that the text does not change all the time. */
export function ago(milliseconds) {
  const seconds = Math.max(0, Math.round(milliseconds / 1_000));
  return seconds < 1 ? "just now" : `${seconds < 10 ? `${seconds} s` : span(seconds)} ago`;
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" });
const date = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

export function timeOf(wall) {
  return clock.format(wall);
}

export function dateOf(wall) {
  return day.format(wall);
}

/** The time, and the day too if it is not today. */
export function whenOf(wall, now = Date.now()) {
  return new Date(wall).toDateString() === new Date(now).toDateString() ? timeOf(wall) : `${date.format(wall)}, ${timeOf(wall)}`;
}

export function changesOf(changes) {
  return changes.map((change) => `${change.node} ${change.origin} → ${change.target}`).join(", ");
}

/** Codes such as `primary_failed` as words. */
export function plain(code) {
  return code.replaceAll("_", " ");
}

const UNITS = { ms: 0.001, s: 1, m: 60, h: 3_600, d: 86_400 };

/** Seconds of a duration as written in the settings ("2.5s", "1m30s"). */
export function secondsOf(text) {
  let whole = 0;
  for (const [, figure, unit] of String(text ?? "").matchAll(/([\d.]+)(ms|s|m|h|d)/g)) whole += figure * UNITS[unit];
  return whole;
}

const LONG = 240; // characters

/** What somebody wrote, of which only the beginning is shown if it is long. `whole`: how to show all. */
export function folded(said, whole = said) {
  if (said.length <= LONG) return [whole];
  return [h("details", { class: "long" }, h("summary", null, `${said.slice(0, LONG / 2)} … `, h("span", { class: "quiet" }, "all of it")), whole)];
}
