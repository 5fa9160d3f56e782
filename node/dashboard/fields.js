// What an order may be asked for beside its reason.

import { h } from "./dom.js";

export const DURATIONS = [["10m", "10 minutes"], ["1h", "1 hour"], ["4h", "4 hours"], ["1d", "1 day"]];

/** `options`: value and text of each, and whether it cannot be chosen. */
export function choice(name, label, options, chosen) {
  return h("label", { key: name }, label, h("select", { name },
    options.map(([value, said, barred = false]) => h("option", { key: value, value, disabled: barred, selected: value === chosen }, said))));
}

export function line(name, label, rules) {
  return h("label", { key: name }, label, h("input", { name, autocomplete: "off", ...rules }));
}

export function text(name, label, rules) {
  return h("label", { key: name }, label, h("textarea", { name, ...rules }));
}

export function check(name, label, checked = false) {
  return h("label", { key: name, class: "check" }, h("input", { name, type: "checkbox", checked }), label);
}
