"""Spans of one node: to which trace they belong, whether that is recorded, and when they were."""

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
"""Orders, proposals and actions that are followed at a time; the oldest is cut."""
_CLOCK_SET = 5_000_000
"""Nanoseconds by which wall clock and monotonic clock must have parted to be compared anew."""

Attributes = dict[str, str | int | bool]
_K = TypeVar("_K")
_V = TypeVar("_V")


class Span(msgspec.Struct, frozen=True):
    """One span as it is told, after its end. `begin` and `end`: Unix ns. `link`: trace and span
    of the same matter in another trace. `failed`: why, where it did."""

    name: str
    trace: int
    id: int
    parent: int | None
    begin: int
    end: int
    attributes: Attributes
    link: tuple[int, int] | None = None
    failed: str = ""


class Sink(Protocol):
    """Where spans go; implemented by `node.tracing.otlp.Exports`."""

    @property
    def results(self) -> Mapping[str, int]:
        """Spans since the start, by what became of them."""
        ...

    def tell(self, span: Span) -> None:
        """Takes a span, or drops it; neither waits nor raises."""
        ...


class Home(Protocol):
    """What spans belong to: a trace that is recorded, or is not."""

    @property
    def trace(self) -> int: ...

    @property
    def sampled(self) -> bool: ...


class Story(msgspec.Struct):
    """One order or proposal, since its opening was applied here (monotonic s). Its spans hang on
    `anchor`."""

    trace: int
    anchor: int
    sampled: bool
    index: int
    began: float  # its opening began to be applied
    learned: float  # and was applied
    attributes: Attributes
    proposed: float | None = None  # by this node, which leads
    cast: float | None = None  # this node's vote was proposed


class Spans:
    """Tells of spans when both ends are known, all moments given in monotonic seconds."""

    def __init__(
        self,
        sample_ratio: float,
        clock: Clock,
        consensus: Consensus,
        sink: Sink,
        wall: Callable[[], int] = time.time_ns,
    ) -> None:
        """`wall`: Unix ns."""
        self._bound = round(sample_ratio * 2**64)
        self._consensus, self.sink = consensus, sink
        self.now, self._wall = clock.monotonic, wall
        self._epoch = 0

    def samples(self, trace: int) -> bool:
        """Whether a trace is recorded: by its id, as OpenTelemetry's TraceIdRatioBased does."""
        return trace % 2**64 < self._bound

    def begin(
        self, identity: str, key: str, index: int, began: float, attributes: Attributes
    ) -> Story:
        """A story that the log tells every node of; `identity` is the same on all, and `key` the
        operation's id, where it is one."""
        name = identity.encode()
        trace, asked = trace_named(key) or (_digest(name, 16), False)
        sampled = asked or self.samples(trace)
        return Story(trace, _digest(name, 8), sampled, index, began, self.now(), attributes)

    def tell(
        self,
        name: str,
        home: Home,
        begin: float,
        end: float,
        *,
        parent: int | None,
        attributes: Attributes,
        id_: int | None = None,
        link: tuple[int, int] | None = None,
        failed: str = "",
    ) -> int:
        """Tells of a span, unless its trace is not recorded; its id, a random one if none is
        given."""
        number = randbits(64) if id_ is None else id_
        if home.sampled:
            first, last = self._unix(begin), self._unix(end)
            span = Span(name, home.trace, number, parent, first, last, attributes, link, failed)
            self.sink.tell(span)
        return number

    def tell_commit(
        self, home: Home, proposed: float, applying: float, *, parent: int, index: int
    ) -> None:
        """From the proposal of a command until it stands in the log of a majority, and its turn
        to be applied here has come."""
        about: Attributes = {
            "stationkeep.log.index": index,
            "stationkeep.raft.term": self._consensus.term,
            "stationkeep.raft.leader": self._consensus.leader or "",
        }
        self.tell("commit", home, proposed, applying, parent=parent, attributes=about)

    def _unix(self, moment: float) -> int:
        """Unix ns of a monotonic moment. The clocks are compared once, so that spans follow each
        other as they did; and anew when one of them was set."""
        epoch = self._wall() - int(self.now() * 1e9)
        if abs(epoch - self._epoch) > _CLOCK_SET:
            self._epoch = epoch
        return self._epoch + int(moment * 1e9)


def _digest(name: bytes, size: int) -> int:
    return int.from_bytes(blake2b(name, digest_size=size).digest())


def remember(known: "OrderedDict[_K, _V]", key: _K, value: _V) -> None:
    """Notes the newest of at most `MAX_STORIES`."""
    known[key] = value
    if len(known) > MAX_STORIES:
        known.popitem(last=False)
