// Raised alarms, critical ones first, those of one name together: what it means, whom it is about, what
// to do.

import { h } from "./dom.js";
import { ago, dateOf, folded, plain, plural } from "./words.js";

export function alarmList(picture, actions) {
  const names = [...new Set(picture.cluster.alarms.map(({ name }) => name))];
  return names.map((name) => group(picture.cluster.alarms.filter((one) => one.name === name), picture, actions));
}

/** The alarms of one name, the oldest first; as the API sorts them the critical names come first. */
function group(alarms, picture, actions) {
  const [{ name, severity, meaning, subject, detail }] = alarms;
  const level = severity === "critical" ? "bad" : "warn";
  const one = alarms.length === 1;
  const fresh = alarms.filter(({ acknowledged }) => !acknowledged);
  const subjects = alarms.map((alarm) => alarm.subject).filter(Boolean).join(", ");
  const ack = { ...alarms[0], ...(one ? {} : { id: name, many: fresh.length }) };
  return h("div", { class: `alarm ${level}`, key: name, ...(one && { "data-alarm": alarms[0].id }) },
    h("span", { class: `seal small ${level}`, "aria-hidden": "true" }, "!"),
    h("div", { class: "tells" },
      h("p", null, h("strong", null, `${severity}: ${plain(name)}`), one ? subject && ` ${subject}` : ` of ${plural(alarms.length, "node")}: ${subjects}`, " – ",
        one && detail ? [...folded(detail), h("span", { class: "quiet" }, ` · ${meaning}`)] : meaning,
        one && raised(alarms[0], picture), h("span", { class: "quiet" }, " · "), h("a", { href: guide(name, picture), target: "_blank" }, "what to do")),
      !one && h("details", null, h("summary", null, "Each of them"), h("ul", null, alarms.map((alarm) =>
        h("li", { key: alarm.id, "data-alarm": alarm.id }, `${alarm.subject}: `, folded(alarm.detail), raised(alarm, picture), seen(alarm)))))),
    fresh.length ? actions.button("Acknowledge …", () => actions.acknowledge(ack)) : one && seen(alarms[0]));
}

function raised(alarm, picture) {
  return h("span", { class: "quiet", title: dateOf(alarm.wall_ms) }, ` · raised ${ago(picture.now - alarm.since_ms)}`);
}

function seen({ acknowledged }) {
  if (!acknowledged) return null;
  const { actor, comment } = acknowledged;
  return h("span", { class: "quiet" }, ` ✓ seen by ${actor}${comment && ": "}`, folded(comment));
}

/** The alarm's section in the guide, at a node that answers. */
function guide(name, picture) {
  return `${picture.link.origin}/guide/alarms#${name.replaceAll("_", "-")}`;
}
