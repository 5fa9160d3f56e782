"""Decisions about rollouts in English; `cluster.sentences` says the others."""

from collections.abc import Callable
from typing import Any

from stationkeep.cluster.rollouts.gates import Cause, Gate, Verdict
from stationkeep.cluster.rollouts.lifecycle import RolloutCause, StageCause
from stationkeep.cluster.settings import PPM, format_duration
from stationkeep.cluster.state.decisions import Decision

_VALUES = {Gate.FAILURES: "failed", Gate.COVERAGE: "reached", Gate.HEALTH: "turned bad"}
_CAUSES = {
    Cause.BELOW_LIMIT: "too few were reached",
    Cause.ABOVE_LIMIT: "more than may, and no proof that it is the version",
    Cause.TOO_FEW_OBSERVED: "too few devices were watched for a whole soak",
    Cause.SUSPICIOUS: "suspicious, and no proof",
    Cause.MARGIN_OPEN: "it may be worse than the margin allows",
    Cause.NOT_COMPARED: "no twins were left to compare with",
}


def _name(facts: dict[str, Any]) -> str:
    return f"rollout {facts['rollout']} ({facts['component']} {facts['version']})"


def _stage(facts: dict[str, Any]) -> str:
    stages = f"stage{'s' * (',' in facts['stage'])} {facts['stage']}"
    return f"{stages} of {facts['rollout']} ({facts['component']} {facts['version']})"


def _devices(count: int) -> str:
    return f"{count:,} device{'s' * (count != 1)}"


def _percent(ppm: int) -> str:
    return f"{ppm * 100 / PPM:.3g} %"


def say_gate(judged: dict[str, Any]) -> str:
    """One gate as it stands: `failures: 100 % failed, 5 % may; evidence 139, 20 is proof`."""
    gate, value = judged["gate"], judged.get("value")
    bound = "needed" if gate == Gate.COVERAGE else "may"
    share = "nobody yet" if value is None else f"{_percent(value)} {_VALUES[gate]}"
    text = f"{gate}: {share}, {_percent(judged['limit'])} {bound}"
    if "evidence" in judged:
        found, needed = judged["evidence"] / 1_000, judged["needed"] / 1_000
        text += f"; evidence {found:.3g}, {needed:.3g} is proof"
    why = _CAUSES.get(judged["cause"])
    return f"{text} ({why})" if why else text


def _gates(facts: dict[str, Any], *verdicts: Verdict) -> str:
    told = [say_gate(judged) for judged in facts["gates"] if judged["verdict"] in verdicts]
    return ": " + " · ".join(told) if told else ""


def _blamed(facts: dict[str, Any]) -> str:
    """Who turned bad, and what failures were about."""
    turned = [f"{device} ({ring})" for device, ring in facts.get("turned_bad", [])[:3]]
    more = len(facts.get("turned_bad", [])) - len(turned)
    named = ", ".join([*turned, *([f"{more} more"] if more > 0 else [])])
    groups = [
        f"{count:,} {reason}" + (f" ({device}: {text})" if text else f" ({device})")
        for reason, text, count, device in facts.get("failures", [])[:2]
    ]
    told = [f"turned bad: {named}" if named else "", ", ".join(groups)]
    return "".join(f"; {text}" for text in told if text)


def _tasks(facts: dict[str, Any]) -> str:
    return ", ".join(f"{n:,} {state.replace('_', ' ')}" for state, n in facts["tasks"].items())


def _say_way_back(facts: dict[str, Any]) -> str:
    if not facts["devices"]:
        return "no device has to go back"
    lost = f", {facts['stranded']:,} of them have nothing to go back to" * (facts["stranded"] > 0)
    go = "goes" if facts["devices"] == 1 else "go"
    return f"{_devices(facts['devices'])} {go} back{lost}"


def _say_undone(facts: dict[str, Any]) -> str:
    outcome = {key: facts[key] for key in ("back", "stranded", "failed", "pending")}
    told = ", ".join(f"{n:,} {key}" for key, n in outcome.items() if n or key == "back")
    late = "; its time was over" * (facts["reason"] == "deadline")
    return f"is rolled back: {told}{late}"


def _say_pause(facts: dict[str, Any]) -> str:
    duration = facts["duration_ms"]
    return f"pauses for {format_duration(duration)}" if duration else "pauses until it is resumed"


def because(reason: str) -> str:
    """Why a rollout is in its state, in words: `failed:canary:health` is `stage canary failed
    (health)`."""
    match reason.split(":"):
        case ["no_room", stage]:
            return f"there is no room for stage {stage} and its way back"
        case ["artifact_differs", stage]:
            return f"before stage {stage} another file has come to be known as what it installs"
        case ["blocked", rollout]:
            return f"what it installs failed in {rollout}"
        case ["inconclusive", stage, gate]:
            return f"stage {stage} is inconclusive ({gate})"
        case ["failed", stage, gate]:
            return f"stage {stage} failed ({gate})"
        case [stage, gate]:
            return f"stage {stage} failed ({gate})"
    return reason.replace("_", " ")


_ROLLOUT: dict[RolloutCause, Callable[[dict[str, Any]], str]] = {
    RolloutCause.REQUEST: lambda facts: "asks for approval",
    RolloutCause.APPROVAL: lambda facts: "is approved and begins",
    RolloutCause.START: lambda facts: "begins",
    RolloutCause.PAUSE: _say_pause,
    RolloutCause.DOUBT: lambda facts: f"pauses: {because(facts['reason'])}",
    RolloutCause.OBSTACLE: lambda facts: f"pauses: {because(facts['reason'])}",
    RolloutCause.BLOCKED: lambda facts: f"pauses: {because(facts['reason'])}",
    RolloutCause.FAILURE_PAUSED: lambda facts: f"pauses: {because(facts['reason'])}",
    RolloutCause.RESUME: lambda facts: "goes on",
    RolloutCause.EXPIRY: lambda facts: f"is aborted: {because(facts['reason'])}",
    RolloutCause.LAPSE: lambda facts: "is aborted: nobody took it up again",
    RolloutCause.CANCELLATION: lambda facts: "is aborted before it began",
    RolloutCause.ABORT: lambda facts: "is aborted; what devices have begun may still end",
    RolloutCause.FAILURE_ABORTED: lambda facts: f"is aborted: {because(facts['reason'])}",
    RolloutCause.ENDED: lambda facts: "has ended; no device of it is at work any more",
    RolloutCause.ROLLBACK: lambda facts: f"is rolled back: {_say_way_back(facts)}",
    RolloutCause.FAILURE: lambda facts: (
        f"is rolled back, {because(facts['reason'])}: {_say_way_back(facts)}"
    ),
    RolloutCause.STRAY: lambda facts: (
        f"takes back what was installed after all: {_say_way_back(facts)}"
    ),
    RolloutCause.UNDONE: _say_undone,
    RolloutCause.COMPLETION: lambda facts: "has succeeded",
}
_STAGE: dict[StageCause, Callable[[dict[str, Any]], str]] = {
    StageCause.OPENING: lambda facts: (
        f"opens to {_devices(facts['members'])}"
        + f" ({facts['incapable']:,} more cannot carry out tasks)" * (facts["incapable"] > 0)
    ),
    StageCause.EMPTY: lambda facts: "has passed: no device was left for it",
    StageCause.OVER: lambda facts: "has followed for its time",
    StageCause.ROUND: lambda facts: f"follows on: {_tasks(facts)}",
    StageCause.DEPLOYED: lambda facts: f"is watched: {_tasks(facts)}",
    StageCause.SOAKED: lambda facts: "holds, and waits for an answer",
    StageCause.PASSED: lambda facts: f"has passed: {_tasks(facts)}",
    StageCause.PROMOTION: lambda facts: "counts as passed",
    StageCause.FAILURE: lambda facts: (
        f"FAILED ({facts['reason']}){_gates(facts, Verdict.FAILED)}"
        f"{_blamed(facts)}; {_tasks(facts)}"
    ),
    StageCause.DOUBT: lambda facts: (
        f"is INCONCLUSIVE ({facts['reason']}){_gates(facts, Verdict.FAILED, Verdict.INCONCLUSIVE)}"
    ),
    StageCause.LOOK_ON: lambda facts: "is watched for another soak",
    StageCause.AGAIN: lambda facts: "goes on: tasks of it are tried again",
    StageCause.STOP: lambda facts: f"{'are' if ',' in facts['stage'] else 'is'} called off",
}


def _say_rollout(decision: Decision) -> str:
    facts = decision.facts
    return f"{_name(facts)} {_ROLLOUT[RolloutCause(facts['cause'])](facts)}"


def _say_stage(decision: Decision) -> str:
    facts = decision.facts
    return f"{_stage(facts)} {_STAGE[StageCause(facts['cause'])](facts)}"


def _say_created(decision: Decision) -> str:
    verb = "laid down anew" if decision.facts["replaced"] else "laid down"
    freezes = ", ".join(decision.facts["overrides"])
    over = f", over freeze {freezes}" if freezes else ""
    urgent = " as an emergency" if decision.facts["emergency"] else ""
    return f"{_name(decision.facts)} {verb}{urgent} (plan {decision.facts['digest'][:8]}{over})"


def _say_approved(decision: Decision) -> str:
    facts = decision.facts
    what = _stage(facts) if facts["stage"] else _name(facts)
    return f"{what} approved (plan {facts['digest'][:8]}, {facts['granted']} by now)"


def _say_promoted(decision: Decision) -> str:
    return f"{_stage(decision.facts)} goes on beside the next, which may open"


def _say_strays(decision: Decision) -> str:
    facts = decision.facts
    more = facts["count"] - len(facts["devices"])
    named = ", ".join(facts["devices"]) + (f" and {more:,} others" if more else "")
    return f"{_name(facts)}: {named} installed it although that was called off"


def _say_webhook(decision: Decision) -> str:
    facts = decision.facts
    said = f": {facts['detail']}" if facts["detail"] else ""
    return f"{_stage(facts)}: its webhook says {'pass' if facts['passed'] else 'fail'}{said}"


def _frozen(facts: dict[str, Any]) -> str:
    rings = f"ring{'s' * (len(facts['rings']) > 1)} {', '.join(facts['rings'])}"
    where = [rings if facts["rings"] else "all rings", facts["selector"]]
    return f"freeze {facts['freeze']} ({', '.join(filter(None, where))})"


def _say_freeze(decision: Decision) -> str:
    duration = format_duration(decision.facts["duration_ms"] // 1_000 * 1_000)
    return f"{_frozen(decision.facts)} set for {duration}"


def _say_lifted(decision: Decision) -> str:
    return f"{_frozen(decision.facts)} {'has ended' if decision.facts['expired'] else 'lifted'}"


def _say_unblocked(decision: Decision) -> str:
    return f"{decision.facts['component']} {decision.facts['version']} may be rolled out again"


TEXTS: dict[str, Callable[[Decision], str]] = {
    "create_rollout": _say_created,
    "rollout": _say_rollout,
    "stage": _say_stage,
    "approve_rollout": _say_approved,
    "promote_rollout": _say_promoted,
    "webhook_gate": _say_webhook,
    "strays": _say_strays,
    "set_freeze": _say_freeze,
    "lift_freeze": _say_lifted,
    "unblock_artifact": _say_unblocked,
}
