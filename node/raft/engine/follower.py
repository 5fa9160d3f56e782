"""The guards of a follower: what of a leader's message may reach PySyncObj, and what is answered.

Hazards S1, S2, S3, L3. `Engine` puts these and the leader's guards together.
"""
# ruff: noqa: N802, N803, N818  (method names are PySyncObj's; exceptions say what is the case)

import math
from collections.abc import Callable, Iterable

from pysyncobj.node import Node

from stationkeep.cluster.state.codec import TooNew
from stationkeep.node.raft.engine import membership
from stationkeep.node.raft.engine.messages import MEMBERSHIP, REGULAR, BadMessage, Message
from stationkeep.node.raft.engine.roster import Roster
from stationkeep.node.raft.storage.journal import Entry
from stationkeep.node.raft.storage.snapshot_store import SnapshotStore

MAX_EARLY, EARLY_BYTES = 64, 4 * 1024 * 1024
"""Limits of the appends that are kept because an earlier one is missing: their number and bytes."""


class LogDiverged(Exception):
    """A leader contradicts an entry that is committed here. Continuing would change history."""


class FollowerGuards(Roster):
    """Filters and translates what arrives from leaders."""

    snapshots: SnapshotStore
    _check: Callable[[bytes], None]

    def _begin_following(self) -> None:
        """Called before the base's constructor."""
        self._answering = (0, 0)
        """Term and number of the request that is being answered."""
        self._verified: float = math.inf
        """Index up to which the leader has verified our log with that request."""
        self._early: dict[int, Message] = {}
        """Appends of the leader of `_early_term` behind a gap in our log, by prevLogIdx."""
        self._early_term = 0
        self._contradicted: tuple[int, int, int] | None = None
        """The last contradiction by a leader's request: a committed index; its term and number."""
        self._above: tuple[int, int] | None = None
        """Term and number of the last request with an entry above our level."""

    def settle(self) -> None:
        """Called once per turn: checks whether the cluster has admitted our journal by a committed
        configuration that names its birth (S5; the README's page on lost disks explains why that is
        enough)."""
        if self.journal.settled:
            return
        committed, _ = self.configured_by(self.raftCommitIndex)
        if committed.births.get(self.node_id) == self.journal.birth:
            self.journal.settle()

    def _on_append(self, node: Node, message: Message) -> None:
        if message["term"] < self._SyncObj__raftCurrentTerm:
            self._tell_term(node)
            return
        self._heard_from_leader()
        self._answering = (message["term"], message["seq"])
        self._verified = math.inf
        if (
            self.guards.s5 and not self.journal.settled
        ):  # it may have voted in this term before it forgot
            self._SyncObj__setCurrentTerm(message["term"], node.id)
        if "prevLogIdx" in message:
            self._take_entries(node, message)
            self._take_early(node)
        elif "serialized" in message:
            self._on_snapshot(node, message)
        else:  # a snapshot is due but not there yet: only a sign of life (S1)
            self._commit_nothing(message)
            super()._SyncObj__onMessageReceived(node, message)
            self._answer(node, self._SyncObj__raftCommitIndex + 1, reset=False, success=False)

    def _take_entries(self, node: Node, message: Message) -> None:
        self._refuse_above_level(message["entries"])
        if message["prevLogIdx"] > self._SyncObj__raftLog[-1][1]:
            self._keep_early(message)
        elif self.guards.s3:
            self._trim(message)
        super()._SyncObj__onMessageReceived(node, message)
        self._follow(message["entries"])

    def _keep_early(self, message: Message) -> None:
        """Keeps an append that overtook the one before it until that one arrives, so that the
        leader need not send it again."""
        if self._early and self._early_term != message["term"]:
            self._early.clear()
        waiting = [*self._early.values(), message]
        size = sum(len(command) for one in waiting for command, *_ in one["entries"])
        if message["entries"] and len(self._early) < MAX_EARLY and size <= EARLY_BYTES:
            self._early_term = message["term"]
            self._early[message["prevLogIdx"]] = message

    def _take_early(self, node: Node) -> None:
        """The kept appends that follow on the log as it is now."""
        while self._early and self._early_term == self._SyncObj__raftCurrentTerm:
            previous, last = min(self._early), self._SyncObj__raftLog[-1][1]
            if previous > last:
                return
            message = self._early.pop(previous)
            if previous + len(message["entries"]) > last:
                self._answering = (message["term"], message["seq"])
                self._verified = math.inf
                self._take_entries(node, message)

    # -- follower: levels ----------------------------------------------------------------------

    def check_levels(self, entries: Iterable[Entry]) -> None:
        """Raises `TooNew` if one of them is of a level that this release has not. Of a
        configuration's entry that is what it tells the state."""
        for command, *_ in entries:
            if command[:1] == REGULAR:
                self._check(command[1:])
            elif command[:1] == MEMBERSHIP:
                self._check(membership.decode(command[1:])[1])

    def _refuse_above_level(self, entries: list[Entry]) -> None:
        """Stops before such an entry is in our log. As with `_refuse_rewrite`, one request may be
        anybody's nonsense; a leader that means it asks again, since it got no answer."""
        try:
            self.check_levels(entries)
        except TooNew as error:
            before, self._above = self._above, self._answering
            if before is None or self._answering <= before:
                raise BadMessage("it needs a level that this release has not") from error
            raise

    # -- follower: S3 --------------------------------------------------------------------------

    def _trim(self, message: Message) -> None:
        """S3: an append deletes only what conflicts (Raft paper, figure 2, AppendEntries 3, 4).

        The library deletes everything after prevLogIdx. So the prefix that our log already has
        is cut off and prevLogIdx moved behind it; when nothing is new, the message becomes a
        heartbeat at our last entry that can commit, and is answered, only as far as the leader
        has verified our log.
        """
        log = self._SyncObj__raftLog
        first, last = log[0][1], log[-1][1]
        previous, entries = message["prevLogIdx"], message["entries"]
        if previous > last:
            return
        if previous >= first:
            if log[previous - first][2] != message["prevLogTerm"]:
                self._refuse_rewrite(previous)
                return
            self._agree(previous)
        if previous == last:
            return
        known = self._known_prefix(entries)
        if known < len(entries):
            self._move_behind(message, known)
            return
        self._verified = verified = previous + len(entries)
        message["prevLogIdx"], message["prevLogTerm"] = last, log[-1][2]
        message["entries"] = []
        message["commit_index"] = min(message["commit_index"], verified)

    def _known_prefix(self, entries: list[Entry]) -> int:
        """How many of `entries` our log already has. Those below our first one are committed
        and compacted: equal in every log."""
        log = self._SyncObj__raftLog
        first, last = log[0][1], log[-1][1]
        for known, (_, index, term) in enumerate(entries):
            if index >= first and (index > last or log[index - first][2] != term):
                return known
        return len(entries)

    def _move_behind(self, message: Message, known: int) -> None:
        log = self._SyncObj__raftLog
        index = message["prevLogIdx"] + known
        if index < log[-1][1]:
            self._refuse_rewrite(index + 1)
        message["entries"] = message["entries"][known:]
        message["prevLogIdx"], message["prevLogTerm"] = index, self._term_at(index)

    def _agree(self, index: int) -> None:
        """The leader's log equals ours up to `index` (log matching, section 5.3)."""
        if self._contradicted is not None and self._contradicted[0] <= index:
            self._contradicted = None

    def _refuse_rewrite(self, index: int) -> None:
        """Leader completeness (Raft paper, section 5.4): no leader contradicts what is
        committed. One that does means lost disks or another cluster; stop, do not follow.

        One request may be anybody's nonsense, and is only refused. A leader that means it asks
        again, since it got no answer.
        """
        committed = max(self._SyncObj__raftCommitIndex, self._SyncObj__raftLastApplied)
        if index > committed:
            return
        before, self._contradicted = self._contradicted, (index, *self._answering)
        if before is None or self._answering <= before[1:]:
            raise BadMessage("it contradicts what is committed")
        raise LogDiverged(
            f"the leader of term {self._answering[0]} contradicts entry {index}, which is "
            f"committed here (up to {committed}), and did so before. A member must have lost its "
            "disk and come back under its old name. This node stops; compare the nodes' digests "
            "before starting it again."
        )

    def _SyncObj__sendNextNodeIdx(
        self,
        node: Node,
        reset: bool = False,
        nextNodeIdx: int | None = None,
        success: bool = False,
    ) -> None:
        """Adds term and number of the request to every answer (S4), and to a conflict the first
        index of the conflicting term (L3; Raft paper, end of section 5.3)."""
        last = self._SyncObj__raftLog[-1][1]
        index = last + 1 if nextNodeIdx is None else nextNodeIdx
        if reset and nextNodeIdx is not None and self.guards.l3:
            index = self._first_of_term(nextNodeIdx)
        if success:
            index = int(min(index, self._verified + 1))
        self._answer(node, index, reset=reset, success=success)

    def _first_of_term(self, index: int) -> int:
        """The first index of the term at `index`, but none that is committed."""
        term, floor = self._term_at(index), self._SyncObj__raftCommitIndex + 1
        while index - 1 >= floor and self._term_at(index - 1) == term:
            index -= 1
        return index

    def _answer(self, node: Node, index: int, *, reset: bool, success: bool) -> None:
        term, seq = self._answering
        self.transport.send(node, {
            "type": "next_node_idx", "term": term, "seq": seq, "birth": self.journal.birth,
            "next_node_idx": index, "reset": reset, "success": success,
        })  # fmt: skip

    # -- follower: snapshots, S1, S2 -----------------------------------------------------------

    def _on_snapshot(self, node: Node, message: Message) -> None:
        index, term, _, total, _ = message["serialized"]
        if self._is_known(index, term):  # what is committed up to there equals the leader's
            del message["serialized"]
            self._commit_nothing(message)
            super()._SyncObj__onMessageReceived(node, message)
            self._answer(node, index + 1, reset=False, success=True)
            return
        # S1: commits nothing; installing it sets the commit index to what it covers.
        self._commit_nothing(message)
        super()._SyncObj__onMessageReceived(node, message)
        if not self.install():
            self._want_chunk(node, index, term, total)

    def install(self) -> bool:
        """Takes a snapshot that has arrived and was read; returns whether there was one."""
        raise NotImplementedError

    def _is_known(self, index: int, term: int) -> bool:
        """S2: whether our log covers a snapshot that ends so."""
        known = index <= self._SyncObj__raftCommitIndex or self._term_at(index) == term
        return known and self.guards.s2

    def _tell_installed(self, index: int) -> None:
        """Tells the present leader, whichever sent the snapshot: a snapshot covers committed
        entries, which the log of every later leader has. Without this the leader would go on
        sending the last chunk."""
        leader = self._getLeader()
        if leader is not None and self._answering[0] == self._SyncObj__raftCurrentTerm:
            self._answer(leader, index + 1, reset=False, success=True)

    def _commit_nothing(self, message: Message) -> None:
        if self.guards.s1:
            message["commit_index"] = 0

    def _want_chunk(self, node: Node, index: int, term: int, total: int) -> None:
        answering, seq = self._answering
        wanted = self.snapshots.expected(index, term, total)
        self.transport.send(node, {
            "type": "snapshot_chunk", "term": answering, "seq": seq, "birth": self.journal.birth,
            "index": index, "snapshot_term": term, "wanted": wanted,
        })  # fmt: skip
