// Evidence of harm over the checks of a stage, as a line beside what would be proof.

import { h } from "./dom.js";
import { figure } from "./stages.js";
import { ago } from "./words.js";

const WIDE = 360;
const HIGH = 130;
const LEFT = 34; // room for the scale
const RIGHT = 8;
const TOP = 10;
const BOTTOM = 18;
const LEAST = 0.1; // the scale is logarithmic, and has at least these ends
const MOST = 100;

/** `series`: [cluster ms, evidence] wherever it changed; it keeps its value up to `until`. */
export function evidenceChart(series, needed, until, now) {
  if (!series.length) return null;
  const values = series.map(([, value]) => Math.max(value, Number.MIN_VALUE));
  const from = series[0][0];
  const to = Math.max(until, series.at(-1)[0], from + 1_000);
  const low = Math.log10(Math.max(1e-3, Math.min(LEAST, ...values)));
  const high = Math.log10(Math.min(1e9, Math.max(MOST, needed, ...values)));
  const x = (at) => LEFT + ((at - from) / (to - from)) * (WIDE - LEFT - RIGHT);
  const y = (value) => HIGH - BOTTOM - ((bounded(Math.log10(value), low, high) - low) / (high - low)) * (HIGH - TOP - BOTTOM);
  const path = series.map(([at], n) => `${n ? `H${x(at)}V` : `M${x(at)} `}${y(values[n])}`).join("");
  const last = values.at(-1);
  return h("svg", { class: "chart", viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img",
    "aria-label": `Evidence of harm: ${figure(last)} at last, ${figure(Math.max(...values))} at most; ${figure(needed)} is proof.` },
    h("rect", { class: "proof", x: LEFT, y: TOP, width: WIDE - LEFT - RIGHT, height: y(needed) - TOP }),
    [1, needed].map((value) => [
      h("line", { class: value === needed ? "limit" : "base", x1: LEFT, x2: WIDE - RIGHT, y1: y(value), y2: y(value) }),
      h("text", { x: LEFT - 5, y: y(value) + 4, "text-anchor": "end" }, figure(value))]),
    h("text", { x: LEFT + 5, y: y(needed) - 4 }, "proof of harm"),
    h("path", { class: "line", d: `${path}H${x(to)}` }),
    h("circle", { class: last >= needed ? "over" : "under", cx: x(to), cy: y(last), r: 4 }),
    h("text", { class: "last", x: WIDE - RIGHT - 10, y: y(last) + (y(last) < HIGH / 2 ? 16 : -7), "text-anchor": "end" }, figure(last)),
    h("text", { x: LEFT, y: HIGH - 4 }, ago(now - from)),
    h("text", { x: WIDE - RIGHT, y: HIGH - 4, "text-anchor": "end" }, now - to < 1_500 ? "now" : ago(now - to)));
}

function bounded(value, low, high) {
  return Math.min(high, Math.max(low, value));
}
