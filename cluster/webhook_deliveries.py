"""How far each webhook has received the decision log: one cursor each.

Decisions are numbered, ordered and kept; a webhook's cursor is the number of the newest one that it
has received, or that was given up. It is in the state, so a new leader continues where the last one
stopped: what was sent but not recorded is sent again, under the same id.

The log is bounded, so decisions may be forgotten before an unreachable webhook has received them.
The leader then records up to which decision that is so, which raises an alarm. It informs the
webhook as soon as it can be reached again, which clears the alarm: nothing is dropped silently.
"""

from stationkeep.cluster.alarms import MAX_DETAIL, WEBHOOK_MISSED
from stationkeep.cluster.commands import RecordDelivery
from stationkeep.cluster.operators import check_name
from stationkeep.cluster.state.decisions import Reason
from stationkeep.cluster.state.state import MAX_WEBHOOKS, Delivery
from stationkeep.cluster.state.step import Refused, Step


def record_delivery(step: Step, command: RecordDelivery) -> dict[str, object]:
    """Moves a cursor forward. A name that is new takes the place of the one longest unused when
    there are `MAX_WEBHOOKS`."""
    check_name("webhook", command.webhook)
    state = step.state
    known = state.deliveries.get(command.webhook)
    for field in ("upto", "missed", "confessed"):
        value = getattr(command, field)
        if not 0 <= value <= state.decisions_made:
            detail = f"{field}: {value} is not between 0 and {state.decisions_made}"
            raise Refused(Reason.INVALID, detail)
    if known is not None and command.upto < known.upto:
        detail = f"upto: {command.upto}, but {known.upto} is recorded"
        raise Refused(Reason.STALE_REVISION, detail)
    if known is None and len(state.deliveries) >= MAX_WEBHOOKS:
        del state.deliveries[min(state.deliveries, key=lambda n: (state.deliveries[n].at, n))]
    missed = max(command.missed, known.missed if known else 0)
    confessed = max(command.confessed, known.confessed if known else 0)
    state.deliveries[command.webhook] = Delivery(command.upto, step.now, missed, confessed)
    _watch(step)
    return {"upto": command.upto}


def _watch(step: Step) -> None:
    """The alarm is raised while a webhook has missed decisions and has not been informed of it."""
    unaware = {
        name: delivery
        for name, delivery in sorted(step.state.deliveries.items())
        if delivery.missed > delivery.confessed
    }
    if unaware:
        said = (f"{name}: some up to decision {d.missed}" for name, d in unaware.items())
        step.raise_alarm(WEBHOOK_MISSED, "; ".join(said)[:MAX_DETAIL])
    else:
        step.clear_alarm(WEBHOOK_MISSED)
