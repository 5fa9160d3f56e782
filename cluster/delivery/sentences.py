"""Decisions about deployments in English; `cluster.sentences` says the others."""

from collections.abc import Callable

from stationkeep.cluster.settings import format_duration
from stationkeep.cluster.state.decisions import Decision


def _name(decision: Decision) -> str:
    facts = decision.facts
    usual = facts["version"] and facts["task_type"] == "deployment"
    words = ("" if usual else facts["task_type"], facts["component"], facts["version"])
    what = " ".join(filter(None, words))
    return f"deployment {facts['deployment']} ({what} to {facts['target']})"


def _devices(count: int) -> str:
    return f"{count:,} device{'s' * (count != 1)}"


def _say_created(decision: Decision) -> str:
    facts = decision.facts
    aside = {
        "have it": facts["already_installed"],
        "have a newer version": facts["newer_installed"],
    }
    told = [f"{count:,} of them {what}" for what, count in aside.items() if count]
    if facts["incapable"]:
        told.append(f"{_devices(facts['incapable'])} cannot carry out tasks")
    return f"{_name(decision)} opened: {', '.join([_devices(facts['members']), *told])}"


def _say_canceled(decision: Decision) -> str:
    canceled, running = decision.facts["canceled"], decision.facts["in_progress"]
    rest = f"; {_devices(running)} had begun and may still finish" if running else ""
    return f"{_name(decision)} canceled for {_devices(canceled)}{rest}"


def _say_retried(decision: Decision) -> str:
    return f"{_name(decision)}: another attempt for {_devices(decision.facts['tasks'])}"


def _say_closed(decision: Decision) -> str:
    facts = decision.facts
    tasks = ", ".join(f"{n:,} {state.replace('_', ' ')}" for state, n in facts["tasks"].items())
    took = format_duration(facts["took_ms"] // 1_000 * 1_000)
    return f"{_name(decision)} {facts['reason']} after {took}: {tasks}"


TEXTS: dict[str, Callable[[Decision], str]] = {
    "deployment": _say_created,
    "cancel_deployment": _say_canceled,
    "retry_tasks": _say_retried,
    "deployment_closed": _say_closed,
}
