"""Spans of one node: the trace that each belongs to, whether it is sampled, and its times."""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from hashlib import blake2b
from secrets import randbits
from typing import Protocol, TypeVar

import msgspec

from stationkeep.node.ports import Clock, Consensus
from stationkeep.node.wire.traceparent import trace_named

MAX_STORIES = 256
"""Orders, proposals and actions that are followed at a time; the oldest is dropped."""
_CLOCK_SET = 5_000_000
"""Nanoseconds by which the wall clock must have moved against the monotonic one to count as set."""

Attributes = dict[str, str | int | bool]
_K = TypeVar("_K")
_V = TypeVar("_V")


class Span(msgspec.Struct, frozen=True):
    """One span that has ended."""

    name: str
    trace: int
    id: int
    parent: int | None
    begin: int
    """Unix ns."""
    end: int
    """Unix ns."""
    attributes: Attributes
    link: tuple[int, int] | None = None
    """Trace and span id of the same matter in another trace."""
    failed: str = ""
    """Why it failed; "" if it did not."""


class Sink(Protocol):
    """Where spans go; implemented by `node.tracing.otlp.Exports`."""

    @property
    def results(self) -> Mapping[str, int]:
        """Spans since the start: how many were exported, failed or dropped."""
        ...

    def put(self, span: Span) -> None:
        """Queues a span, or drops it; never blocks or raises."""
        ...


class TraceContext(Protocol):
    """The trace that a span belongs to, and whether it is sampled."""

    @property
    def trace(self) -> int: ...

    @property
    def sampled(self) -> bool: ...


class Story(msgspec.Struct):
    """One order or proposal that this node follows since it applied the entry that opened it.
    Moments are monotonic s."""

    trace: int
    anchor: int
    """Id of the span that is the parent of all others."""
    sampled: bool
    index: int
    """Log index of the entry that opened it."""
    began: float
    """When this node began to apply that entry."""
    learned: float
    """When it had applied it."""
    attributes: Attributes
    proposed: float | None = None
    """When this node, as the leader, proposed it."""
    cast: float | None = None
    """When this node proposed its vote."""


class Spans:
    """Records spans once they have ended. All moments are monotonic seconds."""

    def __init__(
        self,
        sample_ratio: float,
        clock: Clock,
        consensus: Consensus,
        sink: Sink,
        wall: Callable[[], int] = time.time_ns,
    ) -> None:
        """`wall` returns Unix ns."""
        self._bound = round(sample_ratio * 2**64)
        self._consensus, self.sink = consensus, sink
        self.now, self._wall = clock.monotonic, wall
        self._epoch = 0

    def samples(self, trace: int) -> bool:
        """Whether a trace is sampled: decided by its id, as OpenTelemetry's TraceIdRatioBased."""
        return trace % 2**64 < self._bound

    def begin(
        self, identity: str, key: str, index: int, began: float, attributes: Attributes
    ) -> Story:
        """A story with the same ids on every node: they are derived from `identity`, or from the
        trace that an operation's id in `key` names."""
        name = identity.encode()
        trace, by_caller = trace_named(key) or (_digest(name, 16), False)
        sampled = by_caller or self.samples(trace)
        return Story(trace, _digest(name, 8), sampled, index, began, self.now(), attributes)

    def record(
        self,
        name: str,
        context: TraceContext,
        begin: float,
        end: float,
        *,
        parent: int | None,
        attributes: Attributes,
        id_: int | None = None,
        link: tuple[int, int] | None = None,
        failed: str = "",
    ) -> int:
        """Records a span if its trace is sampled. Returns its id, a random one if `id_` is None."""
        number = randbits(64) if id_ is None else id_
        if context.sampled:
            first, last = self._unix(begin), self._unix(end)
            span = Span(name, context.trace, number, parent, first, last, attributes, link, failed)
            self.sink.put(span)
        return number

    def record_commit(
        self, context: TraceContext, proposed: float, applying: float, *, parent: int, index: int
    ) -> None:
        """Records the time from the proposal of a command until it is committed and this node
        begins to apply it."""
        about: Attributes = {
            "stationkeep.log.index": index,
            "stationkeep.raft.term": self._consensus.term,
            "stationkeep.raft.leader": self._consensus.leader or "",
        }
        self.record("commit", context, proposed, applying, parent=parent, attributes=about)

    def _unix(self, moment: float) -> int:
        """Unix ns of a monotonic moment. The offset between the clocks is kept, so that spans keep
        their order, and measured again when the wall clock was set."""
        epoch = self._wall() - int(self.now() * 1e9)
        if abs(epoch - self._epoch) > _CLOCK_SET:
            self._epoch = epoch
        return self._epoch + int(moment * 1e9)


def _digest(name: bytes, size: int) -> int:
    return int.from_bytes(blake2b(name, digest_size=size).digest())


def remember(known: "OrderedDict[_K, _V]", key: _K, value: _V) -> None:
    """Adds an entry and drops the oldest beyond `MAX_STORIES`."""
    known[key] = value
    if len(known) > MAX_STORIES:
        known.popitem(last=False)
