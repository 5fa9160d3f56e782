"""How far each webhook has been told: cursors into the decision log.

Decisions are numbered, ordered and kept; a webhook's cursor is the number of the newest one that
it has received, or that was given up. It is in the state, so that a new leader goes on where the
last one stopped: what was sent and not yet recorded is sent again, under the same id.
"""

from cluster.commands import RecordDelivery
from cluster.decisions import Reason
from cluster.operators import check_name
from cluster.state import MAX_WEBHOOKS, Delivery
from cluster.step import Refused, Step


def record_delivery(step: Step, command: RecordDelivery) -> dict[str, object]:
    """Moves a cursor forward. A name that is new takes the place of the one longest unused when
    there are `MAX_WEBHOOKS`."""
    check_name("webhook", command.webhook)
    state = step.state
    known = state.deliveries.get(command.webhook)
    if not 0 <= command.upto <= state.decisions_made:
        detail = f"upto: {command.upto} is not between 0 and {state.decisions_made}"
        raise Refused(Reason.INVALID, detail)
    if known is not None and command.upto < known.upto:
        detail = f"upto: {command.upto}, but {known.upto} is recorded"
        raise Refused(Reason.STALE_REVISION, detail)
    if known is None and len(state.deliveries) >= MAX_WEBHOOKS:
        del state.deliveries[min(state.deliveries, key=lambda n: (state.deliveries[n].at, n))]
    state.deliveries[command.webhook] = Delivery(command.upto, step.now)
    return {"upto": command.upto}
