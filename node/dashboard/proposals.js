// Proposals: how each elector voted, and on what evidence.

import { h } from "./dom.js";
import { ago, changesOf, dateOf, plain, risk } from "./words.js";

const OUTCOMES = { open: "…", approved: "✓", denied: "✕", timed_out: "⏱", overtaken: "⤳" };

export function proposalList(picture) {
  const proposals = picture.parts.proposals?.items ?? [];
  if (!proposals.length) return h("p", { class: "quiet" }, "Nothing was ever proposed.");
  return h("ul", { class: "proposals" }, proposals.map((one) => proposal(one, picture)));
}

function proposal(one, picture) {
  const approvals = one.ballots.filter((ballot) => ballot.approve).length;
  return h("li", { key: one.id, class: `proposal ${one.outcome}`, "data-proposal": one.id },
    h("details", null,
      h("summary", null,
        h("span", { class: `outcome ${one.outcome}` }, h("b", { "aria-hidden": "true" }, OUTCOMES[one.outcome] ?? "•"), ` ${plain(one.outcome)}`),
        h("strong", null, changesOf(one.changes)),
        h("span", { class: "quiet", title: dateOf(picture.wallOf(one.opened_at_ms)) }, `${plain(one.rule)} · ${approvals} of ${one.quorum} needed · ${ago(picture.now - one.opened_at_ms)}`),
        dots(one)),
      h("ul", { class: "votes" }, one.electorate.map((voter) => vote(voter, one.ballots.find((ballot) => ballot.voter === voter)))),
      h("ul", { class: "evidence" }, Object.entries(one.evidence).map(([node, risks]) =>
        h("li", null, `${node} when it was proposed, newest last: ${risks.map((value) => (value === null ? "missed" : risk(value))).join(" ")}`))),
      one.refusal && h("p", null, `Not carried out: ${plain(one.refusal)}`),
      one.rejected.length > 0 && h("p", null, "Passed over: ", one.rejected.map((each) => `${each.node} (${plain(each.reason)})`).join(", "))));
}

/** One mark per elector, so that the result is visible at a glance. */
function dots(one) {
  const marks = one.electorate.map((voter) => {
    const ballot = one.ballots.find((each) => each.voter === voter);
    const kind = ballot ? (ballot.approve ? "yes" : "no") : "none";
    return h("span", { class: `dot ${kind}` }, { yes: "✓", no: "✕", none: "–" }[kind]);
  });
  return h("span", { class: "dots", "aria-hidden": "true" }, marks);
}

function vote(voter, ballot) {
  if (!ballot) return h("li", { class: "vote quiet" }, `– ${voter} did not vote`);
  const seen = ballot.evidence.map((one) => `${one.node}: ${one.reports ? `risk ${risk(one.risk)}, ${one.reports} reports` : "heard nothing"}`);
  return h("li", { class: `vote ${ballot.approve ? "yes" : "no"}` },
    h("b", null, ballot.approve ? "✓ " : "✕ "), `${voter} ${ballot.approve ? "approves" : "denies"}: ${plain(ballot.grounds)}`,
    ballot.policy && ` (${ballot.policy})`, seen.length > 0 && h("span", { class: "quiet" }, ` – ${seen.join("; ")}`));
}
