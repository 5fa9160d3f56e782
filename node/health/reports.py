"""A node's report on itself, as it is sent to every other, and what it repeats of the rest.

Source: roles.md, "Health and registry".
"""

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec.structs import replace

from stationkeep.cluster.alarms import ALARMS, MAX_DETAIL
from stationkeep.cluster.levels import LARGEST
from stationkeep.cluster.names import MAX_NAME
from stationkeep.cluster.numbers import BOOT, CEILING
from stationkeep.cluster.transitions import Role

MAX_HEARD = 128
MAX_METRICS = 32
MAX_COMPLAINTS = 8
RECURRENCE_HALF_LIFE = 3_600.0
"""Seconds."""
MAX_RECURRENCE = 10.0
LONGEST_ITEM = 128
"""The most bytes that one metric, or one second-hand report, takes."""
MAX_REPORT = 1_100
"""Bytes of an encoded report. It must fit into a datagram (`node.peers.sessions.MAX_BODY`): at
20 % loss the stream, its only other way, may be stalled."""

Count = Annotated[int, msgspec.Meta(ge=0, le=CEILING)]
Boot = Annotated[int, msgspec.Meta(ge=0, le=BOOT.ceiling)]
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Identifier = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]
Milliseconds = Annotated[float, msgspec.Meta(ge=0, le=86_400_000)]


class Heard(msgspec.Struct, frozen=True, array_like=True):
    """Second hand: the newest report that the sender has received from another node."""

    boot: Boot
    seq: Count
    risk: Share
    age: Milliseconds
    """Time since the sender received it."""
    applied: Count
    """The log index that the node had applied."""


class Report(msgspec.Struct, frozen=True):
    """A node's report on itself. Fields that a newer release adds are ignored."""

    kind: str
    node: Identifier
    boot_id: Boot
    """Number of the start of this node; `seq` counts its reports since then."""
    seq: Count
    risk: Share
    cause: Annotated[str, msgspec.Meta(max_length=200)]
    """The component with that risk, and its reading."""
    recurrence: Annotated[float, msgspec.Meta(ge=0.0, le=MAX_RECURRENCE)]
    """The node's `Recurrence`."""
    metrics: Annotated[
        dict[Annotated[str, msgspec.Meta(max_length=64)], float],
        msgspec.Meta(max_length=MAX_METRICS),
    ]
    """Readings by component, for people."""
    heard: Annotated[dict[Identifier, Heard], msgspec.Meta(max_length=MAX_HEARD)]
    """Second-hand reports by node."""
    role: Role
    """The effective role."""
    epoch: Count
    lease_ms: Milliseconds
    """What remains of the lease."""
    applied: Count = 0
    """The log index that the node has applied."""
    complaints: Annotated[
        dict[Identifier, Annotated[str, msgspec.Meta(max_length=MAX_DETAIL)]],
        msgspec.Meta(max_length=MAX_COMPLAINTS),
    ] = {}
    """Problems that are not a risk yet: name of the alarm → detail."""
    release: Annotated[str, msgspec.Meta(max_length=MAX_NAME)] = ""
    """What it runs."""
    highest: Annotated[int, msgspec.Meta(ge=0, le=LARGEST)] = 0
    """The highest level that it has (`cluster.levels`)."""


class Recurrence:
    """An exponentially decaying count of unhealthy episodes, with a half-life of an hour, at most
    10."""

    def __init__(self) -> None:
        self._value = 0.0
        self._at = 0.0
        self._unhealthy = False

    def update(self, unhealthy: bool, now: float) -> float:
        """The count at `now` (monotonic s), incremented if an episode begins."""
        self._value *= 0.5 ** ((now - self._at) / RECURRENCE_HALF_LIFE) if self._value else 0.0
        self._at = now
        if unhealthy and not self._unhealthy:
            self._value = min(MAX_RECURRENCE, self._value + 1)
        self._unhealthy = unhealthy
        return self._value


def bounded(complaints: Mapping[str, str]) -> dict[str, str]:
    """As much of the complaints as a report may have, the critical ones first: one with more would
    be refused, and its node not be heard at all."""
    names = sorted(complaints, key=lambda name: (ALARMS[name].severity != "critical", name))
    return {name: complaints[name][:MAX_DETAIL] for name in names[:MAX_COMPLAINTS]}


def shortened(report: Report) -> Report:
    """The report, cut to fit into a datagram: metrics go first, since they are only for people,
    then second-hand reports, then the ends of cause and complaints."""
    for field, least in (("metrics", 0), ("heard", 4)):
        items = list(getattr(report, field).items())
        while len(items) > least and (excess := _excess(report)) > 0:
            items = items[: max(least, len(items) - max(1, excess // LONGEST_ITEM))]
            report = replace(report, **{field: dict(items)})
    for most in (100, 50, 20):
        if _excess(report) > 0:
            complaints = {name: detail[:most] for name, detail in report.complaints.items()}
            report = replace(report, cause=report.cause[:most], complaints=complaints)
    return report


def _excess(report: Report) -> int:
    return len(msgspec.msgpack.encode(report)) - MAX_REPORT
