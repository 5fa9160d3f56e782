// When something happens next by itself: beside why it is so, one wants to know for how long.

import { secondsOf, span } from "./words.js";

/** Of a node: lines with the time that is left of each. */
export function comingTo(node, picture) {
  const { now, cluster } = picture;
  const settings = picture.parts.config?.settings;
  if (!settings || !node.known) return [];
  const interval = secondsOf(settings.evaluation_interval);
  const last = node.history.at(-1);
  const check = last ? Math.max(0, (last.at_ms - now) / 1_000 + interval) : null;
  return [
    check !== null && `Its next sample is taken in ${left(check)}.`,
    !cluster.paused && failing(node, settings, check, interval),
    !cluster.paused && returning(node, settings),
    node.cooldown_remaining_s > 0 && `Its role may change by itself again in ${left(node.cooldown_remaining_s)}.`,
    node.maintenance && `Its maintenance ends in ${left(node.maintenance.remaining_s)}.`,
    node.lease_remaining_s > 0 && `Unless it is heard it may act as PRIMARY for another ${left(node.lease_remaining_s)}.`,
    cluster.paused && `The pause of automatic changes ends in ${left(cluster.paused.remaining_s)}.`,
  ].filter(Boolean);
}

/** What comes of more bad samples in a row, and when. */
function failing({ role, consecutive_unhealthy: run }, settings, check, interval) {
  const most = { PRIMARY: settings.failures_to_fail_primary, BACKUP: settings.failures_to_safe_mode, STANDBY: settings.failures_to_safe_mode }[role];
  if (!run || !most || check === null) return null;
  const more = Math.max(1, most - run);
  const becomes = role === "PRIMARY" ? "it is replaced" : "it is isolated in SAFE_MODE";
  return `With ${more} more bad sample${more > 1 ? "s" : ""} ${becomes}: in ${left(check + (more - 1) * interval)} at the earliest.`;
}

/** For how much longer it must be well to be let back. */
function returning({ role, history }, settings) {
  if (role !== "SAFE_MODE") return null;
  const bad = history.findLastIndex((one) => one.missed || one.risk >= settings.promotable_below);
  const well = history.slice(bad + 1);
  const hold = secondsOf(settings.promotion_hold);
  if (!well.length) return `It returns when it has been well for ${span(hold)}.`;
  const wait = hold - (well.at(-1).at_ms - well[0].at_ms) / 1_000;
  return wait > 0 ? `It returns in ${left(wait)}, if it stays well.` : "It has been well for long enough to return.";
}

/** Of the rings: when they are checked next. */
export function nextCheck({ parts, cluster, now }) {
  const { checked_at_ms: at, brake } = parts.rings ?? {};
  if (cluster.paused) return `when the pause is over, in ${left(cluster.paused.remaining_s)}`;
  if (brake) return "when the storm brake is released";
  if (!parts.config || !parts.rings || at === null) return "soon";
  const wait = (at - now) / 1_000 + secondsOf(parts.config.settings.rebalance_interval);
  return wait > 0 ? `in ${left(wait)}` : "now";
}

/** Whole seconds, so that one sees them run. */
function left(seconds) {
  return seconds < 120 ? `${Math.ceil(seconds)} s` : span(seconds);
}
