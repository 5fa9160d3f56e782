// What an order would do to which devices, as the cluster foresees it: the answer of
// POST /v1/rollouts:validate in a few lines.

import { figure, percent } from "./stages.js";
import { number, plural, span } from "./words.js";

/** Of a rollout that is to begin. */
export function ofStart(seen) {
  const stages = seen.stages.filter(({ members }) => members !== null);
  const reached = stages.reduce((sum, { members }) => sum + members, 0);
  const lines = [`As things are it reaches ${number(reached)} of ${plural(seen.devices, "device")}: ${stages.map(({ name, members }) => `${name} ${number(members)}`).join(", ")}`];
  if (seen.incapable) lines.push(`${plural(seen.incapable, "device")} in its scope cannot carry out tasks`);
  const first = seen.stages.find(({ members }) => members);
  return [...lines, ...(first ? powerOf(first) : []), ...inTheWay(seen), ...seen.refusals.map((why) => `It cannot begin now: ${why}`)];
}

/** Of the stage that opens next, if there is one. */
export function ofNext(seen, name) {
  const next = seen.stages.find((stage) => stage.name === name);
  if (!next || next.members === null) return [];
  const away = next.offline ? `, ${number(next.offline)} of them offline` : "";
  return [`As things are stage ${name} is ${plural(next.members, "device")}${away}`, ...powerOf(next), ...inTheWay(seen)];
}

/** How likely its gates stop a version that does harm. */
function powerOf({ name, power }) {
  const [worst] = power;
  return worst ? [`Of versions that make ${percent(worst.ill)} of the devices ill stage ${name} stops ${figure(worst.stopped * 100)} %`] : [];
}

function inTheWay({ freezes, overlaps, window }) {
  return [
    ...freezes.map(({ freeze, devices, ends_s }) => `Freeze ${freeze} lies on ${plural(devices, "device")} for another ${span(ends_s)}`),
    ...overlaps.map(({ sentence }) => sentence),
    ...(window ? [`Devices are told in its window alone: ${window.hours}, ${window.timezone === "device" ? "by the clock of each" : window.timezone}`] : []),
  ];
}
