"""PySyncObj 0.3.17 with guards against its hazards: the one class that overrides private names.

A subclass that defines `_SyncObj__name` overrides the base's `__name`, because the base looks it
up through `self`. `tests/node/raft/test_contract.py` pins every name and signature used here, so
that another release of the library fails a test instead of an election.

What stays the library's: roles and terms, elections and votes, the commit rule, the follower's
append. What is ours: what reaches it (filtered and translated), what is sent (batches, snapshot
chunks, numbered replies), when entries are applied (after the journal's commit), durability.
README.md beside this file explains the hazards (S1 to S11, L1 to L10), and says which guard is
where and which rule of Raft it restores.
"""

import random
from collections.abc import Callable
from typing import Any

import msgspec
import pysyncobj.syncobj
from pysyncobj import SyncObjConf
from pysyncobj.node import Node

from stationkeep.cluster.settings import Settings
from stationkeep.cluster.state.codec import Piece
from stationkeep.node.raft.engine.elections import FOLLOWER
from stationkeep.node.raft.engine.follower import FollowerGuards, LogDiverged
from stationkeep.node.raft.engine.guards import STOCK_FALLBACK_SECONDS, Guards
from stationkeep.node.raft.engine.leader import LeaderGuards
from stationkeep.node.raft.engine.membership import Configuration
from stationkeep.node.raft.engine.messages import MEMBERSHIP, NO_OP, REGULAR, Message
from stationkeep.node.raft.engine.transport import OutboxTransport
from stationkeep.node.raft.storage.journal import CorruptJournal, Entry, Journal
from stationkeep.node.raft.storage.snapshot_file import CorruptSnapshot, Snapshot
from stationkeep.node.raft.storage.snapshot_store import SnapshotStore

TRAILING_PART = 8
"""Of `compact_entries`, one in this many is kept before a snapshot's index, so that a follower that
was briefly away needs no snapshot."""


COMPACTED_PER_TURN = 1024
DISMISSED_SECONDS = 300.0
"""Seconds for which this node, informed by a member that it was removed, does not become a
candidate. It is informed again at each attempt to connect, every minute
(`node.peers.link.BACKOFF_REMOVED`)."""
PROMOTION_LAG = 256
"""Entries that a learner may be behind when it becomes a voter."""


class Timings(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds. Relations are those of `cluster.settings.broken_relation`."""

    heartbeat: float = 0.1
    election_min: float = 0.5
    election_max: float = 1.0
    step_down: float = 1.0
    compact_entries: int = 8192
    """The log is compacted when it holds more entries …"""
    compact_seconds: float = 300.0
    """… or when this long has passed since."""

    @classmethod
    def of(cls, settings: Settings, **more: Any) -> "Timings":
        """By the replicated settings, which are in milliseconds."""
        return cls(
            heartbeat=settings.raft_heartbeat / 1_000,
            election_min=settings.election_timeout_min / 1_000,
            election_max=settings.election_timeout_max / 1_000,
            step_down=settings.step_down_after / 1_000,
            **more,
        )


class Engine(FollowerGuards, LeaderGuards):
    """One Raft node, ticked by its owner. No properties here: the base's constructor calls
    `getattr` for every name in `dir(self)`."""

    def __init__(
        self,
        node_id: str,
        configuration: Configuration,
        *,
        journal: Journal,
        snapshots: SnapshotStore,
        transport: OutboxTransport,
        timings: Timings,
        prepare: Callable[[Piece], Callable[[], None]],
        check: Callable[[bytes], None],
        draw: Callable[[], float] = random.random,
        guards: Guards = Guards(),  # noqa: B008 - frozen
    ) -> None:
        """`prepare` reads a snapshot's state, and returns a function that replaces the state
        machine's state with it. `check` raises `TooNew` for an entry that the state machine cannot
        apply. `draw`: random number in [0, 1)."""
        self.guards = guards
        self.journal = journal
        self.snapshots = snapshots
        self.transport = transport
        transport.worth = lambda: self.own_vote()._asdict()
        transport.on_request = lambda: self.on_request
        snapshots.configured_by = self.configured_by
        snapshots.prepare = prepare
        self._check = check
        self._draw = draw
        self._compact_to = 0
        """Index of the first entry that compaction keeps; what is before goes slice by slice."""
        self._dismissed_until = 0.0
        self._begin_elections()
        self._begin_roster(node_id, configuration)
        self._begin_following()
        self._begin_leading()
        self.take_proposals: Callable[[], None] = lambda: None
        self.installed: Callable[[int], None] = lambda index: None
        """Called with the index of a snapshot that replaced the applied state."""
        voters = [self._node(name) for name in configuration.voters if name != node_id]
        original = pysyncobj.syncobj.createJournal
        pysyncobj.syncobj.createJournal = lambda _file: journal
        try:
            super().__init__(
                self.nodes[node_id], voters, conf=_configuration(snapshots), transport=transport
            )
        finally:
            pysyncobj.syncobj.createJournal = original
        self._SyncObj__serializer = snapshots
        self._SyncObj__needLoadDumpFile = False
        self._poller = _NoPoller()
        self.configure(timings)
        self._postpone_election()
        self._load()

    def configure(self, timings: Timings) -> None:
        """Sets timings, also while running (L6: a leader without a quorum steps down soon)."""
        conf = self._getConf()
        conf.appendEntriesPeriod = timings.heartbeat
        conf.raftMinTimeout, conf.raftMaxTimeout = timings.election_min, timings.election_max
        conf.leaderFallbackTimeout = timings.step_down if self.guards.l6 else STOCK_FALLBACK_SECONDS
        conf.logCompactionMinEntries = timings.compact_entries
        conf.logCompactionMinTime = timings.compact_seconds
        self.timings = timings

    # -- start: S6, S7 -------------------------------------------------------------------------

    def _load(self) -> None:
        """Loads snapshot and journal, which together must be complete (S6, S7)."""
        self.check_levels(self.journal[0:])
        snapshot = self._snapshot_on_disk()
        log = self._SyncObj__raftLog
        if snapshot is None:
            if log[0][1] != 1 and self.guards.s7:
                raise CorruptJournal(
                    self.journal.path, f"it begins at entry {log[0][1]} and there is no snapshot"
                )
            self._read_configurations(None)
            return
        if self.journal.created:
            raise CorruptJournal(self.journal.path, "it is new, beside a snapshot that is not")
        if log[0][1] > snapshot.index and self.guards.s6:
            raise CorruptJournal(
                self.journal.path,
                f"it begins at entry {log[0][1]}, the snapshot ends at {snapshot.index}",
            )
        self.snapshots.prepare(snapshot.state)()
        self._adopt(snapshot)

    def _snapshot_on_disk(self) -> Snapshot | None:
        if self.guards.s7:
            return self.snapshots.load()
        try:
            return self.snapshots.load()
        except CorruptSnapshot:
            return None

    def _adopt(self, snapshot: Snapshot) -> None:
        """Makes the log continue a snapshot: it is kept when it covers the snapshot, else cleared.

        Raft paper, figure 13, InstallSnapshot rules 6 and 7. Entries of the journal beyond a
        snapshot that it covers are never cleared (S6).
        """
        log = self._SyncObj__raftLog
        if self._covers(snapshot):
            self._SyncObj__deleteEntriesTo(snapshot.index - 1)
        else:
            if self.raftCommitIndex > snapshot.index and self.guards.s2 and self.guards.s6:
                raise LogDiverged(f"snapshot {snapshot.index} contradicts the committed log")
            log.clear()
            log.add(*snapshot.previous)
            log.add(*snapshot.last)
            if snapshot.term > self._SyncObj__raftCurrentTerm:
                self._SyncObj__setCurrentTerm(snapshot.term, None)
        self._SyncObj__raftLastApplied = snapshot.index
        if self.raftCommitIndex < snapshot.index or self.raftCommitIndex > log[-1][1]:
            self._SyncObj__raftCommitIndex = snapshot.index
            log.setRaftCommitIndex(snapshot.index)
        self._read_configurations(snapshot)

    def _covers(self, snapshot: Snapshot) -> bool:
        """Whether our log holds the snapshot's last entry."""
        if not (self.guards.s6 and self.guards.s2):
            return bool(self.journal[0:2] == [snapshot.previous, snapshot.last])
        return self._term_at(snapshot.index) == snapshot.term

    def install(self) -> bool:
        """Replaces state and log by a snapshot that has arrived and been read; returns whether it
        did. Called in every turn, since reading takes a while. A snapshot that our log covers by
        now changes nothing (S2), whoever sent it. Errors are not swallowed (S7), and the log is not
        cleared without a check (S6)."""
        arrived = self.snapshots.arrived()
        if arrived is None:
            return False
        snapshot, replace_state = arrived
        if self._is_known(snapshot.index, snapshot.term):
            self.snapshots.forget()
            return False
        if not self.snapshots.publish(snapshot):
            return False
        replace_state()
        self._adopt(snapshot)
        self.installed(snapshot.index)
        self._tell_installed(snapshot.index)
        return True

    def _SyncObj__loadDumpFile(self, clearJournal: bool) -> None:
        raise AssertionError("snapshots are taken by `install`")

    def _SyncObj__deleteEntriesTo(self, toIDx: int) -> None:
        """Compaction keeps a tail for followers that are a little behind."""
        first = self._SyncObj__raftLog[0][1]
        if not self.guards.s6:
            super()._SyncObj__deleteEntriesTo(toIDx)
            return
        self._compact_to = max(first, toIDx - self.timings.compact_entries // TRAILING_PART)

    def compact(self) -> None:
        """Called once per turn: drops a slice of the compacted entries. All of them in one
        transaction would block the loop."""
        going = min(self._compact_to - self._SyncObj__raftLog[0][1], COMPACTED_PER_TURN)
        if going > 0:
            self._SyncObj__raftLog.deleteEntriesTo(going)

    def compacting(self) -> bool:
        """Whether another slice is left for the next turn."""
        return self._compact_to > int(self._SyncObj__raftLog[0][1])

    # -- what the library may see --------------------------------------------------------------

    def _SyncObj__onMessageReceived(self, node: Node, message: Message) -> None:
        """Filters and translates a checked message, then lets the library act on it."""
        self._hear_out(node, message)
        self._reach(message)
        self._notice_founded(node, message)
        kind = message["type"]
        if kind == "append_entries":
            self._on_append(node, message)
        elif kind == "next_node_idx":
            self._on_reply(node, message)
        elif kind == "snapshot_chunk":
            self._on_chunk_wanted(node, message)
        elif kind in {"pre_vote", "pre_vote_answer", "stale_term"}:
            self._on_election_talk(node, message)
        elif kind == "request_vote":
            if self._hears_request(message):
                super()._SyncObj__onMessageReceived(node, message)
        elif kind != "response_vote" or self._vote_counts(node, message):
            super()._SyncObj__onMessageReceived(node, message)

    # -- applying: after the commit, S5 --------------------------------------------------------

    def _SyncObj__applyLogEntries(self) -> bool:
        """Does nothing within the tick: entries are applied after the journal's commit
        (`committed`)."""
        return False

    def _SyncObj__doApplyCommand(self, command: bytes) -> None:
        raise AssertionError("entries are applied by Raft.turn")

    def committed(self, limit: int) -> list[Entry]:
        """Committed entries not yet applied, at most `limit`."""
        start = self._SyncObj__raftLastApplied + 1
        count = min(limit, self._SyncObj__raftCommitIndex + 1 - start)
        if count <= 0 or start < self._SyncObj__raftLog[0][1]:  # below it: only with S7 off
            return []
        log = self._SyncObj__raftLog
        offset = start - log[0][1]
        return log[offset : offset + count]  # type: ignore[no-any-return]

    def applied(self, index: int) -> None:
        """The state machine has applied everything up to `index`."""
        assert index == self._SyncObj__raftLastApplied + 1, "entries are applied in order, once"
        self._SyncObj__raftLastApplied = index
        if len(self._standings) > 1:
            self.forget_configurations(index)

    # -- proposing, no pickle ------------------------------------------------------------------

    def _checkCommandsToApply(self) -> None:
        """The library's queue is never used; ours knows deadlines and order."""
        self.take_proposals()

    def _SyncObj__parseChangeClusterRequest(self, command: bytes) -> None:
        """Configurations are entries of ours (`roster.py`); nothing is unpickled."""

    def append(self, command: bytes) -> tuple[int, int]:
        """Appends a command to our log, as leader; returns its index and term."""
        assert self._isLeader(), "only a leader appends"
        index, term = self._SyncObj__raftLog[-1][1] + 1, self._SyncObj__raftCurrentTerm
        self._SyncObj__raftLog.add(REGULAR + command, index, term)
        return index, term

    # -- removed while away --------------------------------------------------------------------

    def dismiss(self, index: int) -> None:
        """A member says that the committed configuration at `index` removed this node. A newer
        configuration in our own log takes that back, and so does a leader that sends us its log: it
        counts us as a member, or the log will show the removal. A node that was really removed is
        informed again whenever it dials."""
        self._dismissed_at = max(self._dismissed_at, index)
        self._dismissed_until = pysyncobj.syncobj.monotonicTime() + DISMISSED_SECONDS

    def is_dismissed(self) -> bool:
        return self._dismissed_at > self.configured_at()

    def forget_dismissal(self) -> None:
        """Called once per turn: forgets a removal that was reported long ago and not again."""
        if self._dismissed_at and self._dismissed_until <= pysyncobj.syncobj.monotonicTime():
            self._dismissed_at = 0

    # -- being asked ---------------------------------------------------------------------------

    def leader(self) -> str | None:
        """Id of the last known leader."""
        node = self._getLeader()
        return None if node is None else str(node.id)

    def in_office(self) -> bool:
        """Leads, and has applied the no-op of its own term (Raft paper, section 8)."""
        return bool(self._isLeader() and self._SyncObj__raftLastApplied >= self._SyncObj__noopIDx)

    def match_of(self, peer: str) -> int:
        """Index up to which a follower's log is known to match the leader's; 0 for none."""
        progress = self.progress.get(self._node(peer))
        return progress.match if progress is not None and self._isLeader() else 0

    def applied_entries(self) -> tuple[Entry, Entry] | None:
        """The entry before the last applied one, and that one; None right after birth."""
        log, last = self._SyncObj__raftLog, self._SyncObj__raftLastApplied
        offset = last - log[0][1]
        return (log[offset - 1], log[offset]) if offset >= 1 else None

    def may_reconfigure(self) -> bool:
        """S9: the last change is applied, and an entry of our own term is committed."""
        settled = self.configured_at() <= self._SyncObj__raftLastApplied
        return self.in_office() and (settled or not self.guards.s9)

    def caught_up(self, name: str) -> bool:
        """Whether a learner's log is so near the end of ours that its vote would not be missed
        (dissertation, 4.2.1)."""
        match = self.match_of(name)
        near = match >= self.configured_at() and match + PROMOTION_LAG >= self.last_index()
        return near and self._node(name) in self._SyncObj__connectedNodes

    def next_deadline(self) -> float:
        """When the next tick is due without any message."""
        if self._isLeader():
            return min(float(self._SyncObj__newAppendEntriesTime), self.retry_at())
        deadline = float(self._SyncObj__raftElectionDeadline)
        if self._SyncObj__connectedToAnyone():
            return deadline
        now: float = pysyncobj.syncobj.monotonicTime()
        return max(deadline, now + self.timings.heartbeat)

    def more_to_send(self) -> bool:
        """Whether a follower can take more right away."""
        last = self._SyncObj__raftLog[-1][1]
        return self._isLeader() and any(
            n in self._SyncObj__connectedNodes and p.next > self._SyncObj__raftLog[0][1]
            for n, p in self.progress.items()
            if p.notice or (p.next <= last and self._may_send(p, self.transport.comfortable(n)))
        )

    def step_down(self) -> None:
        """The disk failed: follower of nobody, until the next term or leader (S11)."""
        self._SyncObj__setState(FOLLOWER)
        self._SyncObj__raftLeader = None
        self._postpone_election()

    def _SyncObj__generateRaftTimeout(self) -> float:
        """Draws an election timeout from the timings in force."""
        conf = self._getConf()
        low, high = conf.raftMinTimeout, conf.raftMaxTimeout
        return float(low + (high - low) * self._draw())


class _NoPoller:
    """The library polls its sockets at the end of a tick; it has none."""

    def poll(self, timeout: float) -> None:
        """Nothing."""


def _unused(*_: Any) -> None:
    raise AssertionError("snapshots go through SnapshotStore")


def _configuration(snapshots: SnapshotStore) -> SyncObjConf:
    """The library's configuration: everything it does by itself is off; timings follow in
    `configure`."""
    return SyncObjConf(
        autoTick=False,
        appendEntriesUseBatch=True,
        dynamicMembershipChange=False,
        fullDumpFile=str(snapshots.path),
        serializer=_unused,
        deserializer=_unused,
        useFork=False,
        commandsQueueSize=1,
    )


assert bytes([pysyncobj.syncobj._COMMAND_TYPE.NO_OP]) == NO_OP
assert bytes([pysyncobj.syncobj._COMMAND_TYPE.REGULAR]) == REGULAR
assert bytes([pysyncobj.syncobj._COMMAND_TYPE.MEMBERSHIP]) == MEMBERSHIP
