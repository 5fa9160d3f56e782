"""An event as its followers see it."""

from typing import Any

import msgspec

from stationkeep.cluster.devices.fleet import Fleet
from stationkeep.cluster.state.events import AnyEvent, Decided
from stationkeep.node.views import fleet_events
from stationkeep.node.views.records import decision_view


def event_view(event: AnyEvent, fleet: Fleet) -> dict[str, Any]:
    """The fields of an event: a decision with its sentence, devices by name, others as they are."""
    if isinstance(event, Decided):
        decided: dict[str, Any] = msgspec.to_builtins(decision_view(event.decision))
        return decided
    return fleet_events.fleet_event(event, fleet) or msgspec.structs.asdict(event)
