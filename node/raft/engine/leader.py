"""The guards of a leader: what it sends, and which replies it believes.

Hazards S4, L4, L5, L8. `Engine` puts these and the follower's guards together.
"""
# ruff: noqa: N802  (method names are PySyncObj's)

import math
import operator

import pysyncobj.syncobj
from pysyncobj.node import Node

from stationkeep.node.raft.engine.messages import Message
from stationkeep.node.raft.engine.progress import Progress, Request
from stationkeep.node.raft.engine.roster import Roster
from stationkeep.node.raft.storage.journal import Entry
from stationkeep.node.raft.storage.snapshot_store import SnapshotStore

BATCH_BYTES = 256 * 1024
BATCH_ENTRIES = 1024
FLYING_BYTES = 4 * 1024 * 1024
FLYING_REQUESTS, FLYING_DATAGRAMS = 256, 32
"""Requests with entries in flight to one follower, at most; and at most of those that each fit a
datagram: where many are lost, most of what follows a lost one is sent in vain."""
APPEND_BYTES, ENTRY_BYTES = 160, 16
"""Bytes of an append beside its entries, and of an entry beside its command, encoded."""


class LeaderGuards(Roster):
    """Replication, in place of the library's."""

    snapshots: SnapshotStore
    _SyncObj__raftCommitIndex: int

    def _begin_leading(self) -> None:
        """Called before the base's constructor."""
        self.progress: dict[Node, Progress] = {}
        self._append_due = False
        self._seq = 0
        """Number of the newest request; never reused in the life of a process."""
        self.births: dict[str, int] = {}
        """Births of the members' journals, as far as this leadership knows them."""
        self.batch_entries = BATCH_ENTRIES

    # -- leader: replies, S4 -------------------------------------------------------------------

    def _on_reply(self, node: Node, message: Message) -> None:
        """Replaces the library's handling of next_node_idx (S4)."""
        if not self.guards.s4:
            self._believe(node, message)
            return
        told = self._commit_told(node, message["seq"])
        progress = self._heard_from(node, message)
        last = self._SyncObj__raftLog[-1][1]
        if progress is None or message["next_node_idx"] > last + 1:
            return
        if message["success"]:
            progress.succeeded(message["next_node_idx"] - 1, told)
        elif message["reset"]:
            now = pysyncobj.syncobj.monotonicTime()
            progress.reset(message["seq"], message["next_node_idx"], self._seq, now)
        if progress.next > self._SyncObj__raftLog[0][1] or self.snapshots.sends_less_than(
            node, progress.match
        ):
            self.snapshots.cancelTransmisstion(node)
        self._SyncObj__raftMatchIndex[node] = self._promised(node)
        self._SyncObj__raftNextIndex[node] = progress.next

    # -- leader: whose answers count, S5 ---------------------------------------------------------

    def _counts(self, node: Node, progress: Progress) -> bool:
        """Whether a follower's journal may count towards a majority: the cluster has admitted it,
        or its vote elected us. Any other may replace a lost one, which may have held a vote for a
        later leader."""
        if not progress.counted:
            known = (self._electors_of_now().get(node.id), self.admitted(node.id))
            named = progress.birth is not None and progress.birth in known
            progress.counted = named or not (self.guards.s5 and self.guards.births)
        return progress.counted

    def _electors_of_now(self) -> dict[str, int]:
        term, electors = self._electors
        return electors if term == self._SyncObj__raftCurrentTerm else {}

    def _promised(self, node: Node) -> int:
        """Index up to which a follower's log matches ours, as far as its journal counts."""
        progress = self.progress.get(node)
        return progress.match if progress is not None and self._counts(node, progress) else 0

    def _commit_told(self, node: Node, seq: int) -> int:
        """The commit index in a request that is not answered yet; 0 when there is none."""
        progress = self.progress.get(node)
        request = progress.asked.get(seq) if progress is not None else None
        return 0 if request is None else request.commit

    def _believe(self, node: Node, message: Message) -> None:
        """S4 off: what the library does with a reply, and no more."""
        progress = self.progress.get(node)
        if not self._isLeader() or progress is None:
            return
        now = pysyncobj.syncobj.monotonicTime()
        progress.birth = message["birth"]
        progress.answered(message["seq"], now)
        while progress.flying and progress.flying[0].seq <= message["seq"]:
            progress.flying_bytes -= progress.flying.popleft().size  # L8 counts, believed or not
        if message["reset"]:
            progress.next = max(1, min(message["next_node_idx"], self.last_index() + 1))
        if message["success"] and progress.match < message["next_node_idx"] - 1:
            progress.match = message["next_node_idx"] - 1
            progress.next = min(message["next_node_idx"], self.last_index() + 1)
        if progress.next > self._SyncObj__raftLog[0][1]:
            self.snapshots.cancelTransmisstion(node)
        self._SyncObj__raftMatchIndex[node] = progress.match
        self._SyncObj__raftNextIndex[node] = progress.next
        self._SyncObj__lastResponseTime[node] = now

    def last_index(self) -> int:
        """Index of the last entry in our log."""
        return int(self._SyncObj__raftLog[-1][1])

    def _on_chunk_wanted(self, node: Node, message: Message) -> None:
        progress = self._heard_from(node, message)
        if progress is not None:
            progress.chunk_at = pysyncobj.syncobj.monotonicTime()
            self.snapshots.confirmed(
                node, message["index"], message["snapshot_term"], message["wanted"]
            )

    def _heard_from(self, node: Node, message: Message) -> Progress | None:
        """The follower's progress, when this answers a request of our present leadership."""
        if not self._isLeader() or message["term"] != self._SyncObj__raftCurrentTerm:
            return None
        progress = self.progress.get(node)
        if message["seq"] > self._seq or progress is None:
            return None
        if self.guards.s5 and not progress.speaks(message["birth"], message["seq"], self._seq):
            return None
        if self.births.get(node.id) != message["birth"]:
            self.births[node.id] = message["birth"]
        request = progress.answered(message["seq"], pysyncobj.syncobj.monotonicTime())
        if self._counts(node, progress) or not self.is_voter(node.id):
            self._count_response(node, request)
        return progress

    def _count_response(self, node: Node, request: Request | None) -> None:
        """L6: a reply says that the follower followed when the request was *sent*. One that waited
        in a queue while this node or the network was blocked says nothing about now."""
        times = self._SyncObj__lastResponseTime
        if not self.guards.l6:
            times[node] = pysyncobj.syncobj.monotonicTime()
        elif request is not None:
            times[node] = max(times[node], request.at)

    def _SyncObj__onBecomeLeader(self) -> None:
        """Starts with no progress: it belongs to one leadership. The numbers continue, so that no
        reply to an earlier request matches."""
        for node in list(self.progress):
            self.snapshots.cancelTransmisstion(node)
        self.progress.clear()
        self._departing.clear()
        own = {self.node_id: self.journal.birth}
        self.births = {**self.configuration().births, **self._electors_of_now(), **own}
        super()._SyncObj__onBecomeLeader()
        for node in self.others():
            self._follow_up(node)
        for name in self.configuration().removed[-1:]:  # it may not have been told
            self._departing[self._node(name)] = self.configured_at()
            self._follow_up(self._node(name))

    def _follow_up(self, node: Node) -> None:
        super()._follow_up(node)
        if node not in self.progress:
            last = self._SyncObj__raftLog[-1][1]
            self.progress[node] = Progress(next=last + 1, barrier=self._seq)

    def _let_go(self) -> None:
        """S9: a removed follower is sent the log until it knows that it was removed, or until
        its connection is gone."""
        for node, index in list(self._departing.items()):
            progress = self.progress.get(node)
            told = progress is None or min(progress.match, progress.commit_known) >= index
            applied = index <= self._SyncObj__raftLastApplied
            if told or (applied and node not in self._SyncObj__connectedNodes):
                del self._departing[node]
                self.progress.pop(node, None)
                self.births.pop(node.id, None)
                self.snapshots.cancelTransmisstion(node)

    def _SyncObj__onNodeConnected(self, node: Node) -> None:
        """S4: everything in flight is lost; continues behind the last entry known to match. A
        snapshot continues behind the last confirmed chunk (S2)."""
        super()._SyncObj__onNodeConnected(node)
        self.snapshots.rewind(node)
        progress = self.progress.get(node)
        if progress is not None and self._isLeader():
            progress.forget_flying(self._seq)
            if progress.match and self.guards.s4:
                progress.next = progress.match + 1
            self._append_due = True

    # -- leader: what is committed ---------------------------------------------------------------

    def commit_majority(self) -> None:
        """Before each tick: commits what a majority of voters has, if its entry is of our own
        term (Raft paper, figure 2, "rules for leaders"; 5.4.2). The library would come to the
        same index step by step, asking after every voter at every entry."""
        last = self.last_index()
        if last == self._SyncObj__raftCommitIndex or not self._isLeader():
            return
        for node in self._SyncObj__otherNodes:
            self._SyncObj__raftMatchIndex[node] = self._promised(node)
        matches = [self._SyncObj__raftMatchIndex[node] for node in self._SyncObj__otherNodes]
        matches.append(last)
        matches.sort()
        index = matches[(len(matches) - 1) // 2]
        if index > self._SyncObj__raftCommitIndex and (
            self._term_at(index) == self._SyncObj__raftCurrentTerm
        ):
            self._SyncObj__raftCommitIndex = index
            self.journal.setRaftCommitIndex(index)

    # -- leader: replication, L4, L5, L8 -------------------------------------------------------

    def _SyncObj__sendAppendEntries(self) -> None:
        """The library's loop is never run (L4, L5): it only notes that a heartbeat is due."""
        now = pysyncobj.syncobj.monotonicTime()
        self._SyncObj__newAppendEntriesTime = now + self._getConf().appendEntriesPeriod
        self._append_due = True

    def replicate(self) -> None:
        """Once per turn: entries, snapshot chunks or a heartbeat for each connected follower."""
        if not self._isLeader():
            return
        self._let_go()
        due, self._append_due = self._append_due, False
        first, last = self._SyncObj__raftLog[0][1], self._SyncObj__raftLog[-1][1]
        for node in sorted(self._SyncObj__connectedNodes, key=_node_id):
            progress = self.progress.get(node)
            if progress is None:
                continue
            if progress.overdue_at() <= pysyncobj.syncobj.monotonicTime():
                progress.send_again(self._seq)  # possibly from what is compacted by now
            if progress.next <= first:
                self._send_snapshot(node, progress, due)
            else:
                self._send_entries(node, progress, due, last)
            self._SyncObj__raftNextIndex[node] = progress.next

    def _send_entries(self, node: Node, progress: Progress, due: bool, last: int) -> None:
        """What the follower lacks up to `last`, or a heartbeat."""
        commit = self._SyncObj__raftCommitIndex
        now = pysyncobj.syncobj.monotonicTime()
        if progress.next <= last:
            comfortable = self.transport.comfortable(node)
            while progress.next <= last and self._may_send(progress, comfortable):
                entries, size = self._batch(progress.next, comfortable)
                self._append(node, progress, entries, size)
                due = False
        behind = progress.commit_sent < commit and progress.commit_sent < progress.match
        if due or (behind and progress.notice) or progress.commit_due_at() <= now:
            self._append(node, progress, [], 0)
        else:
            progress.notice = behind

    def retry_at(self) -> float:
        """When something is to be sent again, unless it is answered before."""
        first = self._SyncObj__raftLog[0][1]
        return min(
            (
                min(progress.overdue_at(), progress.commit_due_at())
                for node, progress in self.progress.items()
                if progress.next > first and node in self._SyncObj__connectedNodes
            ),
            default=math.inf,
        )

    def _may_send(self, progress: Progress, comfortable: int) -> bool:
        """L8: a slow follower gets no more than it can take; one that did not answer gets one batch
        at a time."""
        if not self.guards.l8:
            return True
        if progress.retries:
            return not progress.flying
        requests = FLYING_REQUESTS if comfortable > BATCH_BYTES else FLYING_DATAGRAMS
        return progress.flying_bytes < FLYING_BYTES and len(progress.flying) < requests

    def _batch(self, start: int, comfortable: int) -> tuple[list[Entry], int]:
        """Entries from `start`, at least one, up to the limits of a message; and their bytes."""
        log = self._SyncObj__raftLog
        offset = start - log[0][1]
        most, each = (comfortable - APPEND_BYTES, ENTRY_BYTES)
        if comfortable > BATCH_BYTES:
            most, each = BATCH_BYTES, 0
        entries = log[offset : offset + min(self.batch_entries, most)]
        size = 0
        for count, entry in enumerate(entries):
            size += len(entry[0])
            if size + each * (count + 1) > most and count:
                return entries[:count], size - len(entry[0])
        return entries, size

    def _append(self, node: Node, progress: Progress, entries: list[Entry], size: int) -> None:
        previous = progress.next - 1
        message = self._numbered(node, progress, len(entries), size)
        message["prevLogIdx"], message["prevLogTerm"] = previous, self._term_at(previous)
        message["entries"] = entries
        progress.next += len(entries)
        progress.commit_sent = self._SyncObj__raftCommitIndex
        progress.notice = False

    def _numbered(self, node: Node, progress: Progress, entries: int, size: int) -> Message:
        """Puts a numbered append_entries into the outbox, to be filled in."""
        self._seq += 1
        commit, now = self._SyncObj__raftCommitIndex, pysyncobj.syncobj.monotonicTime()
        start, upto = (progress.next, progress.next + entries - 1) if entries else (0, 0)
        progress.sent(self._seq, Request(start, upto, size, commit, now))
        progress.noticed_at = now
        message = {
            "type": "append_entries",
            "term": self._SyncObj__raftCurrentTerm,
            "seq": self._seq,
            "commit_index": commit,
        }
        self.transport.send(node, message)
        return message

    def _send_snapshot(self, node: Node, progress: Progress, due: bool) -> None:
        """Sends chunks as far ahead as the follower's confirmation allows; else a sign of life at
        each heartbeat (L4)."""
        now = pysyncobj.syncobj.monotonicTime()
        if due and now - progress.chunk_at > 3 * self._getConf().appendEntriesPeriod:
            self.snapshots.rewind(node)
        while True:  # the store bounds what is on its way
            chunk = self.snapshots.getTransmissionData(node)
            if chunk is None:
                break
            self._numbered(node, progress, 0, len(chunk[4]))["chunk"] = chunk
            progress.chunk_at, due = now, False
        if due:
            self._numbered(node, progress, 0, 0)


_node_id = operator.attrgetter("name")
