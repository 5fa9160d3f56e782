// What an order may be asked for beside its reason.

import { h } from "./dom.js";

export const DURATIONS = [["10m", "10 minutes"], ["1h", "1 hour"], ["4h", "4 hours"], ["1d", "1 day"]];

export function choice(name, label, options, chosen) {
  return h("label", { key: name }, label, h("select", { name },
    options.map(([value, text]) => h("option", { value, selected: value === chosen }, text))));
}

export function line(name, label, rules) {
  return h("label", { key: name }, label, h("input", { name, autocomplete: "off", ...rules }));
}

export function check(name, label) {
  return h("label", { key: name, class: "check" }, h("input", { name, type: "checkbox" }), label);
}
