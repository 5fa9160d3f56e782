"""Decisions about the fleet in English; `cluster.sentences` says the others."""

from collections.abc import Callable, Mapping

from stationkeep.cluster.devices.rings import RINGS
from stationkeep.cluster.settings import format_duration
from stationkeep.cluster.state.decisions import Decision

MOST_WAYS = 6
"""Ways of moving that one sentence names, the most travelled first."""


def _say_rebalance(decision: Decision) -> str:
    moves: Mapping[str, int] = decision.facts["moves"]
    ways = sorted(moves.items(), key=lambda way: (-way[1], way[0]))
    shown = [_say_way(way, count) for way, count in ways[:MOST_WAYS]]
    if len(ways) > MOST_WAYS:
        shown.append(f"{sum(count for _, count in ways[MOST_WAYS:]):,} on other ways")
    check, moved = decision.facts["check"], _devices(sum(moves.values()))
    return f"check {check} of the rings moved {moved}: {', '.join(shown)}"


def _say_way(way: str, count: int) -> str:
    origin, target, reason = way.split(">")
    return f"{count:,} {origin} → {target} ({reason})"


def _devices(count: int) -> str:
    return f"{count:,} device{'s' * (count != 1)}"


def _say_assignment(decision: Decision) -> str:
    facts = decision.facts
    lifetime = facts["lifetime_ms"]
    until = f" for {format_duration(lifetime)}" if lifetime else ""
    return f"{decision.subjects[0]} pinned to {facts['to']}{until}, before that in {facts['from']}"


def _say_release(decision: Decision) -> str:
    facts, named = decision.facts, ", ".join(decision.subjects)
    if facts.get("expired"):
        more = facts["devices"] - len(decision.subjects)
        others = f" and {more} more" if more else ""
        return f"{named}{others}: pinned no longer, the time of it ran out; a check may move them"
    return f"{named} released from its pin in {facts['ring']}; a check may move it again"


def _say_removal(decision: Decision) -> str:
    return f"{decision.subjects[0]} removed; it was in {decision.facts['ring']}"


def _say_credential(decision: Decision) -> str:
    device = decision.subjects[0]
    if decision.facts["change"] == "reset":
        return f"{device}: its credential is reset, whoever enrols under its id next is taken in"
    return f"{device}: its credential is revoked"


def _say_enrolment(decision: Decision) -> str:
    facts, named = decision.facts, ", ".join(decision.subjects)
    more = facts["devices"] - len(decision.subjects)
    others = f" and {more} more" if more else ""
    by = f"token {facts['token']} ({facts['name']})"
    return f"{named}{others} enrolled by {by}, {facts['used']:,} of {facts['limit']:,}"


def _say_shares(decision: Decision) -> str:
    facts = decision.facts
    weights = _by_ring(facts["weights"])
    caps = _by_ring(facts["caps"], least=1)
    return f"shares of the rings: {weights}" + (f"; at most {caps}" if caps else "")


def _by_ring(figures: list[int], least: int = 0) -> str:
    pairs = zip(RINGS, figures, strict=True)
    return ", ".join(f"{ring} {figure:,}" for ring, figure in pairs if figure >= least)


def _say_health_rule(decision: Decision) -> str:
    return f"a status is healthy with {decision.facts['rule']}"


def _say_policies(decision: Decision) -> str:
    names = decision.facts["policies"]
    return f"ring policies, in this order: {', '.join(names)}" if names else "no ring policies"


def _say_request(_: Decision) -> str:
    return "a check of the rings is wanted at once"


TEXTS: dict[str, Callable[[Decision], str]] = {
    "rebalance": _say_rebalance,
    "rebalance_request": _say_request,
    "assign_ring": _say_assignment,
    "release_ring": _say_release,
    "remove_device": _say_removal,
    "credential": _say_credential,
    "enrolment": _say_enrolment,
    "shares": _say_shares,
    "health_rule": _say_health_rule,
    "policies": _say_policies,
}
