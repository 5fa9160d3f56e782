"""This node's copy of the replicated state: what Raft applies to, and what everyone reads.

The duties of `cluster.apply` end where bytes begin; here entries are decoded, cluster time is
stamped, and the events of applying are kept for a while for those who follow them.
"""

import re
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from stationkeep.cluster import upgrades
from stationkeep.cluster.apply import Applied, Done, Rejected, apply
from stationkeep.cluster.commands import Draft, Entry, FoundCluster, RecordMembers
from stationkeep.cluster.devices.snapshot_columns import Room
from stationkeep.cluster.levels import HIGHEST
from stationkeep.cluster.membership import wanted
from stationkeep.cluster.settings import Settings
from stationkeep.cluster.state import codec
from stationkeep.cluster.state.decisions import Reason
from stationkeep.cluster.state.events import AnyEvent, LeasesEchoed
from stationkeep.cluster.state.state import ClusterState
from stationkeep.node.ports import Clock

MAX_EVENTS = 8_192
"""Events remembered for followers that resume; about an hour of a busy cluster."""
MAX_EVENT_BYTES = 16 * 1024 * 1024
"""Of the columns in them: one event may name 8,192 devices."""
FREED = 256
"""Records of a replaced state that are let go with each entry, or a chunk of its device table."""


class StreamedEvent(msgspec.Struct, frozen=True):
    """An event as followers see it.

    `id` is "<log index>.<n>", the same on every node. `kind` is the event's class in snake case;
    `gap` and `overrun` are no events of the cluster: `detail` says what was missed.
    `at` is cluster time, `wall` Unix time for display, both in ms.
    """

    id: str
    kind: str
    detail: str = ""
    event: AnyEvent | None = None
    at: int = 0
    wall: int = 0


Listener = Callable[[int, Entry | None, Applied], None]
"""Called after every applied entry: index, the entry (None: undecodable), what it did."""


class Replica:
    """Implements `node.ports.StateMachine`. Single-threaded; `state` has no other writer."""

    def __init__(
        self, clock: Clock, born_with: Settings | None = None, highest: int = HIGHEST
    ) -> None:
        """`born_with`: the configured settings, which hold until the cluster is founded.
        `highest`: the level above which this node stops, below the release's own where it acts as
        an older one."""
        self.state = ClusterState()
        self.highest = highest
        self._born_with = born_with or Settings()
        self._clock = clock
        self._anchor: tuple[int, float] | None = None  # cluster ms ↔ monotonic s, while leading
        self._stamped = 0
        self._events: deque[StreamedEvent] = deque()
        self._event_bytes = 0
        self._streamed = 0
        self._former: list[list[Any]] = []
        """What a replaced state held, let go a piece with each entry: sixty thousand records and
        a million devices at once would hold up the loop."""
        self._room: Room | None = None
        self._listeners: list[Listener] = []
        self._applying: list[Callable[[], None]] = []
        self._restored: list[Callable[[], None]] = []

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.state.settings if self.state.founded else self._born_with

    def listen(self, listener: Listener) -> None:
        """Adds a listener; it must not raise and must not propose from within the call."""
        self._listeners.append(listener)

    def on_applying(self, listener: Callable[[], None]) -> None:
        """Adds a listener for an entry that is about to be applied."""
        self._applying.append(listener)

    def on_restored(self, listener: Callable[[], None]) -> None:
        """Adds a listener for a state replaced as a whole by a snapshot."""
        self._restored.append(listener)

    # -- cluster time ---------------------------------------------------------------------------

    def took_office(self) -> None:
        """Cluster time goes on from where the log stands: leaderless time does not count, and
        neither do stamps of an earlier office that never came into the log."""
        self._stamped = self.state.time
        self._anchor = (self.state.time, self._clock.monotonic())

    def cluster_time_at(self, moment: float) -> int:
        """Cluster ms at a monotonic moment, as the leader counts: never before it took office.
        On a node that never led, the time of the newest entry."""
        if self._anchor is None:
            return self.state.time
        at, since = self._anchor
        return at + max(0, int((moment - since) * 1_000))

    def cluster_time(self) -> int:
        """The leader's estimate of cluster time now; never behind the state's."""
        return max(self.state.time, self.cluster_time_at(self._clock.monotonic()))

    def moment_of(self, at: int) -> float:
        """Monotonic moment at which cluster time will be `at`, as the leader counts."""
        now = self._clock.monotonic()
        return now + (at - self.cluster_time()) / 1_000

    def stamp(self, draft: bytes) -> bytes:
        """The log entry for a draft: cluster time never goes back, whatever is appended."""
        self._stamped = max(self.cluster_time(), self._stamped)
        return codec.stamp(self._stamped, max(0, self._clock.wall()), draft)

    # -- the log --------------------------------------------------------------------------------

    def admits(self, draft: bytes) -> bool:
        """See `node.ports.StateMachine.admits`."""
        if draft[:1] <= bytes((self.state.level,)):
            return True
        try:
            command = codec.decode_draft(draft).command
        except codec.CodecError:
            return False
        if isinstance(command, FoundCluster):
            return not self.state.founded
        return upgrades.refusal(self.state, command, self.cluster_time()) is None

    def check(self, entry: bytes) -> None:
        """See `node.ports.StateMachine.check`."""
        codec.check_level(entry, self.highest)

    def apply(self, entry: bytes, index: int) -> Applied:
        """Applies a committed entry; bytes that are no command are refused like any command."""
        self.check(entry)
        del self._former[-1:]
        for listener in self._applying:
            listener()
        try:
            decoded = codec.decode_entry(entry)
        except codec.CodecError as error:
            applied = Applied(Rejected(Reason.INVALID, str(error)))
            self.state.index = max(self.state.index, index)
            self._tell(index, None, applied)
            return applied
        applied = apply(self.state, decoded, index)
        assert isinstance(applied.outcome, Done | Rejected)
        self._remember(index, applied)
        self._tell(index, decoded, applied)
        return applied

    def _remember(self, index: int, applied: Applied) -> None:
        """Keeps events for followers; not the echoes, which nobody follows and which would push
        everything else out of memory."""
        for n, event in enumerate(applied.events):
            if not isinstance(event, LeasesEchoed):
                kind = snake_case(type(event).__name__)
                at, wall = self.state.time, self.state.wall
                self._events.append(StreamedEvent(f"{index}.{n}", kind, "", event, at, wall))
                self._event_bytes += _columns_size(event)
                self._streamed += 1
        while len(self._events) > MAX_EVENTS or self._event_bytes > MAX_EVENT_BYTES:
            self._event_bytes -= _columns_size(self._events.popleft().event)

    def members(self) -> tuple[str, ...] | None:
        """Who shall belong to the cluster, by what is applied here; None before its founding."""
        return wanted(self.state)

    def configured(self, voters: tuple[str, ...], learners: tuple[str, ...]) -> bytes:
        """The log entry that tells the state of Raft's configuration."""
        return self.stamp(codec.encode_draft(Draft(RecordMembers(voters, learners))))

    def snapshot(self) -> bytes:
        return codec.encode_snapshot(self.state)

    def frozen(self) -> Callable[[], list[codec.Piece]]:
        """The whole state as it is now, encoded by the function returned, on any thread."""
        room, self._room = self._room, None
        return codec.FrozenState(self.state, room).pieces

    def make_room(self) -> None:
        """Readies memory for the next `frozen`, on any thread."""
        self._room = Room(self.state.fleet)

    def prepare(self, snapshot: codec.Piece) -> Callable[[], None]:
        """Reads a state, on any thread; the function returned replaces the present one by it."""
        state = codec.decode_snapshot(snapshot, self.highest)
        return lambda: self._replace(state)

    def _replace(self, state: ClusterState) -> None:
        """Events the snapshot skips are unknown here: followers see a gap."""
        former, self.state = self.state, state
        records = [*former.decisions, *former.operations.values()]
        self._former = [records[n : n + FREED] for n in range(0, len(records), FREED)]
        self._former += former.fleet.table.contents()
        self._streamed += len(self._events) + 1
        self._events.clear()
        self._event_bytes = 0
        for listener in self._restored:
            listener()

    def _tell(self, index: int, entry: Entry | None, applied: Applied) -> None:
        for listener in self._listeners:
            listener(index, entry, applied)

    # -- followers of events --------------------------------------------------------------------
    # A cursor counts events streamed here since the start; ids are what the outside sees.

    @property
    def oldest_cursor(self) -> int:
        """Cursor of the oldest event still remembered."""
        return self._streamed - len(self._events)

    def cursor_after(self, last_id: str | None) -> int:
        """Cursor of the first event after `last_id` (None: only future ones). Before
        `oldest_cursor` when events between may be forgotten, or the id is none of ours."""
        if last_id is None:
            return self._streamed
        match = _EVENT_ID.fullmatch(last_id)
        if match is None:
            return self.oldest_cursor - 1
        wanted = (int(match[1]), int(match[2]))
        if not self._events:
            skipped = self.oldest_cursor > 0 and wanted[0] < self.state.index
            return self._streamed - skipped
        for position, event in enumerate(self._events):
            if _order(event.id) > wanted:
                known = position > 0 or self.oldest_cursor == 0
                return self.oldest_cursor + position - (0 if known else 1)
        return self._streamed

    def events_from(self, cursor: int, limit: int) -> Sequence[StreamedEvent]:
        """At most `limit` events from `cursor` on; from the oldest where that is forgotten."""
        start = max(0, cursor - self.oldest_cursor)
        return [self._events[i] for i in range(start, min(start + limit, len(self._events)))]


_EVENT_ID = re.compile(r"([0-9]{1,18})\.([0-9]{1,6})")


def _order(event_id: str) -> tuple[int, int]:
    index, _, n = event_id.partition(".")
    return int(index), int(n)


def _columns_size(event: AnyEvent | None) -> int:
    """Bytes of an event's columns."""
    fields = () if event is None else event.__struct_fields__
    return sum(len(v) for v in (getattr(event, field) for field in fields) if type(v) is bytes)


def snake_case(name: str) -> str:
    """`RoleChanged` → `role_changed`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
