// Orders about the rings as a whole: shares, the health rule, policies, a check now, the brake. What each
// would do to how many devices is asked of the cluster while it is being filled in.

import { check, line, text } from "./fields.js";
import { number, plural, RINGS } from "./words.js";

/** "canary 5 %, dev 10 %, stage 20 %, prod 65 %". */
export function sharesOf(rings) {
  return rings.items.map(({ ring, share, cap }) => `${ring} ${Math.round(share * 1_000) / 10} %${cap ? `, at most ${number(cap)}` : ""}`).join(", ");
}

export function sharing(rings) {
  const given = (fields) => ({
    weights: Object.fromEntries(RINGS.map((ring) => [ring, Number(fields[`share of ${ring}`])])),
    caps: Object.fromEntries(RINGS.map((ring) => [ring, Number(fields[`cap of ${ring}`])])),
  });
  return {
    title: "Shares of the rings",
    says: "Devices that are not pinned are spread over the rings in these proportions, a few with each check.",
    undo: `Set them to what they are now: ${sharesOf(rings)}.`,
    fields: rings.items.map(({ ring, weight, cap }) => [
      line(`share of ${ring}`, `Share of ${ring}`, { type: "number", min: 0, max: 1_000_000, required: true, value: weight }),
      line(`cap of ${ring}`, `Most devices in ${ring} (0: any number)`, { type: "number", min: 0, max: 1_048_576, required: true, value: cap ?? 0 })]),
    paired: true,
    preview: async (link, fields) => movesOf(await link.ask("/v1/rings/plan", given(fields))),
    button: "Set", order: (fields) => ["PUT", "/v1/rings/shares", { ...given(fields), reason: fields.reason }],
  };
}

export function ruling(rings) {
  const given = ({ rule, charging, unreported }) => ({ rule, charging_excuses_battery: charging === "on", unreported: unreported === "on" });
  return {
    title: "Health rule",
    says: "Statuses that come from now on are judged by it; a device changes its health after several of them in a row that say the same.",
    undo: `Set it to “${rings.health_rule}”${rings.charging_excuses_battery ? ", charging excuses the battery" : ""} again.`,
    fields: [
      line("rule", "A device is healthy when", { required: true, maxlength: 1_024, value: rings.health_rule }),
      check("charging", "Charging excuses a low battery", rings.charging_excuses_battery),
      check("unreported", "Also metrics that no device has reported yet")],
    preview: async (link, fields) => judgedOf(await link.ask("/v1/rings/health-rule/plan", given(fields))),
    button: "Set", order: (fields) => ["PUT", "/v1/rings/health-rule", { ...given(fields), reason: fields.reason }],
  };
}

export function policing(rings) {
  const stand = rings.policies.map(({ name, selector, rings: of, weights }) => ({ name, selector, rings: of, ...(weights && { weights }) }));
  const written = stand.length ? `[\n${stand.map((one) => `  ${JSON.stringify(one)}`).join(",\n")}\n]` : "[]";
  const given = ({ policies }) => ({ policies: parsed(policies) });
  return {
    title: "Ring policies",
    says: "The first one whose selector matches a device says in which rings it may be, and in which proportions; the fleet's shares are for the rest.",
    undo: stand.length ? `Set those again that stand now: ${stand.map(({ name }) => name).join(", ")}.` : "Set none again: [].",
    fields: [text("policies", "All policies in their order, as JSON: name, selector, rings, weights", { rows: 8, required: true, maxlength: 60_000, spellcheck: "false", value: written })],
    preview: async (link, fields) => policedOf(await link.ask("/v1/rings/policies/plan", given(fields))),
    button: "Set", order: (fields) => ["PUT", "/v1/rings/policies", { ...given(fields), version: rings.policies_version, reason: fields.reason }],
  };
}

export function checking() {
  return {
    title: "Check the rings now",
    says: "The leader moves devices as it would with its next check, without waiting for it.",
    undo: "whoever was moved is not moved back; assign a device that must be elsewhere.",
    preview: async (link) => movesOf(await link.get("/v1/rings/plan")),
    button: "Check now", order: ({ reason }) => ["POST", "/v1/rings/rebalance", { reason }],
  };
}

export function unbraking({ cluster: { fleet } }) {
  return {
    title: "Release the storm brake",
    says: `${plural(fleet.unhealthy_devices, "device")} of ${number(fleet.unhealthy_devices + fleet.healthy_devices)} online count as unhealthy. Automatic moves go on, although the rule or the sensors may be at fault.`,
    undo: "Pause automatic changes, which stops moves, too.",
    button: "Release", order: ({ reason }) => ["POST", "/v1/rings/release-brake", { reason }],
  };
}

/** The policies that stand in a field. Throws an `Error` that says what is wrong. */
function parsed(written) {
  let policies;
  try {
    policies = JSON.parse(written);
  } catch (error) {
    throw new Error(`The policies are no JSON: ${error.message}`);
  }
  if (!Array.isArray(policies)) throw new Error("The policies are no list.");
  return policies;
}

// -- what the cluster foresees ------------------------------------------------------------------------

function movesOf({ devices, braked, moves }) {
  if (braked) return ["The storm brake holds every move back: what a check would move is known when it is released"];
  if (!devices) return ["As things are a check moves no device"];
  return [`As things are the next check moves ${plural(devices, "device")}; which ones for balance it draws anew`,
    ...moves.map((one) => `${number(one.devices)} from ${one.origin} to ${one.target}: ${one.sentence}`)];
}

function judgedOf({ online, to_unhealthy: ill, to_healthy: well, warnings }) {
  return [`By their newest status ${plural(ill, "device")} of ${number(online)} online would become unhealthy, and ${plural(well, "device")} healthy`, ...warnings];
}

function policedOf({ devices, changed, astray, policies, warnings }) {
  return [`Of ${plural(devices, "device")} ${number(changed)} come under another policy than now, and ${number(astray)} are in rings that they may not be in: checks move them`,
    ...policies.map((one) => `${one.name}: ${plural(one.devices, "device")}`), ...warnings];
}
