"""Decisions in English: the only place where codes become prose.

Every sentence says who, what and on which figures, so that it can be read without the record.
"""

from collections.abc import Callable

from stationkeep.cluster.commands import Change
from stationkeep.cluster.delivery import sentences as delivery
from stationkeep.cluster.fleet import sentences as fleet
from stationkeep.cluster.numbers import DAY
from stationkeep.cluster.progression import sentences as progression
from stationkeep.cluster.settings import PPM, as_written, format_duration
from stationkeep.cluster.state.decisions import Ballot, Decision, Outcome, Reason
from stationkeep.cluster.state.state import (
    MISSED,
    ClusterState,
    Proposal,
    ProposalOutcome,
    alarm_id,
)
from stationkeep.cluster.transitions import Role, Rule

REASONS: dict[str, str] = {
    Reason.COOLDOWN: "its role changed too recently",
    Reason.PAUSED: "automatic changes are paused or switched off",
    Reason.BRAKE: "the brake is on: too many nodes turned unhealthy at once",
    Reason.MAINTENANCE: "it is in maintenance",
    Reason.NO_CANDIDATE: "no node is fit to become PRIMARY",
    Reason.SEAT_BUSY: "the PRIMARY seat is being changed already",
    Reason.NODE_BUSY: "another proposal touches it",
    Reason.PRIMARY_UNHEALTHY: "the PRIMARY is not healthy",
    Reason.NOT_ALIVE: "it was not heard lately",
    Reason.JOINING: "it is still joining",
    Reason.QUORUM: "those who stay would be no majority",
    Reason.LEVEL: "not every member has a release for it",
    Reason.UNHEALTHY: "it is unhealthy",
    Reason.UNABLE: "it cannot do its part",
    Reason.RISK_ABOVE_CEILING: "its risk is too high",
    Reason.PRIORITY_ZERO: "its priority is 0",
    Reason.ESCALATED: "it failed at the same action",
    Reason.NOT_A_CANDIDATE_ROLE: "it is isolated in SAFE_MODE",
    Reason.IS_PRIMARY: "it is PRIMARY already",
    Reason.NO_PRIMARY: "there is no PRIMARY",
    Reason.STALE_ROLE: "roles have changed since",
    Reason.STALE_EPOCH: "the seat has changed hands since",
    Reason.OBSERVATIONS_AGREE: "its own observations agree",
    Reason.HEARD_HEALTHY: "it heard the node healthy",
    Reason.HEARD_NO_HEALTH: "it heard no good health from the node to be promoted",
    Reason.POLICY: "its policy forbids it",
}


def say_reason(reason: str) -> str:
    """A reason code in words; unknown codes are shown with spaces."""
    return REASONS.get(reason, reason.replace("_", " "))


def say_risk(ppm: int) -> str:
    """`350000` → `"0.35"`; a missed sample has no figure."""
    return "missed" if ppm == MISSED else f"{ppm / PPM:.2f}"


def say_change(change: Change) -> str:
    """`"sat-001 PRIMARY → BACKUP"`."""
    return f"{change.node} {change.origin} → {change.target}"


def say_ballot(ballot: Ballot) -> str:
    """`"sat-003 denies: it heard the node healthy (sat-001 0.12 from 5 reports)"`."""
    verb = "approves" if ballot.approve else "denies"
    grounds = say_reason(ballot.grounds) + (f" ({ballot.policy})" if ballot.policy else "")
    seen = ", ".join(
        f"{o.node} {say_risk(o.risk)} from {o.reports} report{'s' * (o.reports != 1)}"
        if o.reports
        else f"{o.node} not heard"
        for o in ballot.evidence
    )
    return f"{ballot.voter} {verb}: {grounds}" + (f" [{seen}]" if seen else "")


def sentence(decision: Decision) -> str:
    """One line of English for a decision."""
    text = _TEXTS.get(decision.matter, _say_motion)(decision)
    claim = f", who says for {decision.claim}" if decision.claim else ""
    by = f" (by {decision.actor}{claim}{': ' + decision.comment if decision.comment else ''})"
    return text + (by if decision.actor else "")


def proposal_sentence(proposal: Proposal) -> str:
    """One line of English for a proposal, open or closed."""
    changes = " and ".join(say_change(c) for c in proposal.changes)
    approvals = sum(b.approve for b in proposal.ballots.values())
    standing = f"{approvals} of {proposal.quorum} needed approvals, {len(proposal.electorate)} vote"
    state = "is being voted on" if proposal.outcome is ProposalOutcome.OPEN else proposal.outcome
    return f"proposal {proposal.id}: {changes} {str(state).replace('_', ' ')} ({standing})"


def _say_motion(decision: Decision) -> str:
    why = _say_rule(decision)
    if decision.outcome is Outcome.HELD:
        node = decision.subjects[0] if decision.subjects else "the PRIMARY seat"
        return f"{node}: {_wish(decision)} held back because {say_reason(decision.reason)}{why}"
    changes = " and ".join(say_change(change) for change in decision.changes)
    return f"{changes}: {_say_outcome(decision)}{why}"


def _wish(decision: Decision) -> str:
    return {
        Rule.SEAT_EMPTY: "a promotion",
        Rule.PRIMARY_FAILED: "its replacement",
        Rule.PRIMARY_NONCOMPLIANT: "its replacement",
        Rule.ISOLATE: "its isolation",
        Rule.RECOVER: "its recovery",
    }.get(Rule(decision.matter), "a change")


def _say_outcome(decision: Decision) -> str:
    facts = decision.facts
    approvals = sum(b.approve for b in decision.ballots)
    votes = (
        f"{approvals} of {facts.get('electors', '?')} votes for, {facts.get('quorum', '?')} needed"
    )
    match decision.outcome:
        case Outcome.PROPOSED:
            return (
                f"proposed, {facts.get('quorum', '?')} of {facts.get('electors', '?')} must agree"
            )
        case Outcome.APPROVED:
            return f"approved ({votes})"
        case Outcome.DENIED:
            denials = "; ".join(say_ballot(b) for b in decision.ballots if not b.approve)
            return f"denied ({votes}): {denials}"
        case Outcome.TIMED_OUT:
            return f"timed out ({votes})"
        case Outcome.OVERTAKEN:
            return f"approved too late ({votes}): {say_reason(decision.reason)}"
        case Outcome.DONE:
            return "done"
        case _:
            return decision.outcome.value


def _say_rule(decision: Decision) -> str:
    facts, subject = decision.facts, decision.subjects[0] if decision.subjects else ""
    risks = decision.evidence.get(subject, ())
    shown = " ".join(say_risk(risk) for risk in risks[-int(facts.get("run", 0)) :][-5:])
    match decision.matter:
        case Rule.PRIMARY_FAILED | Rule.ISOLATE if "run" in facts:
            limit = f"{facts['run']} unhealthy samples in a row, the limit is {facts['threshold']}"
            return f" — {subject} had {limit}" + (f" (risk {shown})" if shown else "")
        case Rule.PRIMARY_NONCOMPLIANT if "action" in facts:
            return f" — {subject} missed the deadline of {facts['action']}"
        case Rule.RECOVER if "good_for_ms" in facts:
            good, hold = int(facts["good_for_ms"]) // 100 * 100, int(facts["hold_ms"])
            return (
                f" — {subject} was well for {format_duration(good)}, {format_duration(hold)} needed"
            )
        case Rule.SEAT_EMPTY:
            return " — the PRIMARY seat was empty"
    return ""


def _say_order(decision: Decision) -> str:
    changes = " and ".join(say_change(change) for change in decision.changes)
    return f"{decision.matter}: {changes}"


def _say_pause(decision: Decision) -> str:
    if decision.facts.get("expired"):
        return "the pause of automatic changes has run out"
    if decision.matter == "resume":
        return "automatic changes resume"
    return f"automatic changes pause for {format_duration(decision.facts['duration_ms'])}"


def _say_maintenance(decision: Decision) -> str:
    node, facts = decision.subjects[0], decision.facts
    if facts.get("expired"):
        return f"{node}: its maintenance has run out"
    if not facts.get("on"):
        return f"{node}: maintenance ends"
    changes = " and ".join(say_change(change) for change in decision.changes)
    text = f"{node}: maintenance for {format_duration(facts['duration_ms'])}"
    return text + (f", {changes}" if changes else "")


def _say_escalation(decision: Decision) -> str:
    facts = decision.facts
    share, needed = facts["compliance"] * 100 // PPM, facts["threshold"] * 100 // PPM
    what = (
        f"{facts['action']} ({facts['name']}) reached {share} % at its deadline, {needed} % needed"
    )
    said = "".join(f"; {node} said: {detail}" for node, detail in facts["failures"].items())
    return f"{what}: {', '.join(decision.subjects)} escalated{said}"


def _say_handover(decision: Decision) -> str:
    holder, predecessor = decision.subjects
    facts = decision.facts
    took = facts.get("failover_ms")
    waited = format_duration(facts["waited_ms"]) if facts["waited_ms"] else "at once"
    how = f"took over from {predecessor} at epoch {facts['epoch']} (waited: {waited})"
    tail = f", {took / 1_000:.1f} s after the first unhealthy sample" if took is not None else ""
    return f"{holder} {how}{tail}"


def _say_alarm(decision: Decision) -> str:
    facts = decision.facts
    named = alarm_id(facts["name"], *decision.subjects)
    match facts["change"]:
        case "raised":
            return f"alarm {named}: {facts['detail']}"
        case "acknowledged":
            return f"alarm {named} acknowledged"
    why = f": {facts['why']}" if "why" in facts else ""
    return f"alarm {named} is over{why}"


def _say_settings(decision: Decision) -> str:
    changed = {
        field: [as_written(field, value) for value in values]
        for field, values in decision.facts["changed"].items()
    }
    return "settings: " + ", ".join(f"{f} {old} → {new}" for f, (old, new) in changed.items())


def _say_policy(decision: Decision) -> str:
    facts = decision.facts
    verb = "removed" if facts.get("removed") else f"set ({facts.get('priority')})"
    return f"{decision.subjects[0]}: policy {facts['name']} {verb}"


def _say_operation(decision: Decision) -> str:
    facts = decision.facts
    return f"{facts['command']} refused: {facts['detail'] or say_reason(decision.reason)}"


def _say_priority(decision: Decision) -> str:
    return f"{decision.subjects[0]}: priority {decision.facts['from']} → {decision.facts['to']}"


def _say_action(decision: Decision) -> str:
    facts = decision.facts
    return f"{facts['action']}: {facts['name']} ordered of {', '.join(decision.subjects)}"


def _say_founding(decision: Decision) -> str:
    return f"the cluster is founded with {', '.join(decision.subjects)}"


def _say_level(decision: Decision) -> str:
    facts = decision.facts
    return f"level {facts['from']} → {facts['to']}, which release {facts['release']} has"


def _say_member(decision: Decision) -> str:
    node = decision.subjects[0]
    match decision.matter:
        case "move":
            facts = decision.facts
            return f"{node} moved to raft {facts['raft']}, http {facts['http']}"
        case "join":
            return f"{node} joins as a learner (raft {decision.facts['raft']})"
        case "promotion":
            return f"{node} has caught up and has a vote now"
    changes = "".join(f", {say_change(change)}" for change in decision.changes)
    return f"{node} leaves the cluster{changes}"


def _say_token(decision: Decision) -> str:
    facts = decision.facts
    if facts["change"] == "guessed":
        return f"wrong tokens are shown again and again from {facts['address']}"
    named = f"token {facts['token']} ({facts['name']}, {facts['role']})"
    if facts["change"] == "revoked":
        return f"{named} revoked"
    if facts["change"] == "used":
        return f"{named} used from {facts['address']}, for the first time"
    days = facts["lifetime_ms"] / DAY
    text = f"{named} created, good {f'for {days:.3g} days' if days else 'until it is revoked'}"
    if facts["replaces"]:
        when = f"in {format_duration(facts['overlap_ms'])}" if facts["overlap_ms"] else "now"
        text += f"; {facts['replaces']} ends {when}"
    return text


def _say_certificate(decision: Decision) -> str:
    return f"certificate {decision.facts['serial']} revoked"


def _say_ca(decision: Decision) -> str:
    facts = decision.facts
    what = f"replacing the CA by {facts['pin'][:23]}… {facts['change']}"
    left = facts.get("left_behind", 0)
    return f"{what}; {left} devices have not been told" if left else what


def _say_invitation(decision: Decision) -> str:
    facts = decision.facts
    if facts["change"] == "revoked":
        return f"invitation {facts['invitation']} revoked"
    whom = facts["node"] or ("one node" if facts["uses"] == 1 else f"{facts['uses']} nodes")
    good = format_duration(facts["lifetime_ms"])
    return f"invitation {facts['invitation']} for {whom}, good for {good}"


_TEXTS: dict[str, Callable[[Decision], str]] = {
    Rule.SWITCHOVER: _say_order,
    Rule.FAILOVER: _say_order,
    Rule.MAINTENANCE: _say_maintenance,
    "pause": _say_pause,
    "resume": _say_pause,
    "escalation": _say_escalation,
    "handover": _say_handover,
    "alarm": _say_alarm,
    "settings": _say_settings,
    "policy": _say_policy,
    "operation": _say_operation,
    "priority": _say_priority,
    "action": _say_action,
    "founding": _say_founding,
    "join": _say_member,
    "promotion": _say_member,
    "leave": _say_member,
    "move": _say_member,
    "level": _say_level,
    "token": _say_token,
    "certificate": _say_certificate,
    "ca": _say_ca,
    "invitation": _say_invitation,
    **fleet.TEXTS,
    **delivery.TEXTS,
    **progression.TEXTS,
}


def say_role(state: ClusterState, node: str) -> str:
    """How a node came to its role, in one sentence."""
    member = state.members[node]
    last = next((c for c in reversed(state.role_changes) if c.node == node), None)
    if member.role_changed_at is None:
        return f"{node} is {member.role}, as it was when it joined"
    ago = format_duration(max(0, state.time - member.role_changed_at) // 1_000 * 1_000)
    if last is None:  # of the changes only the newest are remembered
        return f"{node} is {member.role} since {ago} ago ({member.role_rule.replace('_', ' ')})"
    by = f" by {last.actor}" if last.actor else ""
    vote = f", proposal {last.proposal}" if last.proposal else ""
    seat = f" at epoch {last.epoch}" if Role.PRIMARY in (last.origin, last.target) else ""
    how = f"{last.rule.replace('_', ' ')}{vote}{by}"
    return f"{node} is {member.role} since {ago} ago, before that {last.origin} ({how}){seat}"
