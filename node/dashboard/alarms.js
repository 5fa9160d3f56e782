// Raised alarms, critical ones first.

import { h } from "./dom.js";
import { ago, plain } from "./words.js";

export function alarmList(picture, actions) {
  return picture.cluster.alarms.map((alarm) => entry(alarm, picture, actions));
}

function entry(alarm, picture, actions) {
  const { severity, acknowledged } = alarm;
  const level = severity === "critical" ? "bad" : "warn";
  return h("div", { class: `alarm ${level}`, key: alarm.id, "data-alarm": alarm.id },
    h("span", { class: `seal small ${level}`, "aria-hidden": "true" }, "!"),
    h("p", null, h("strong", null, `${severity}: ${plain(alarm.name)}`), alarm.subject && ` ${alarm.subject}`,
      ` – ${alarm.detail || alarm.meaning}`, h("span", { class: "quiet" }, ` · raised ${ago(picture.now - alarm.since_ms)} · `),
      h("a", { href: guide(alarm, picture), target: "_blank" }, "what to do")),
    acknowledged
      ? h("p", { class: "quiet" }, `✓ seen by ${acknowledged.actor}${acknowledged.comment && `: ${acknowledged.comment}`}`)
      : actions.button("Acknowledge …", () => actions.acknowledge(alarm)));
}

/** The alarm's section in the guide, at a node that answers. */
function guide(alarm, picture) {
  return `${picture.link.origin}/guide/alarms#${alarm.name.replaceAll("_", "-")}`;
}
