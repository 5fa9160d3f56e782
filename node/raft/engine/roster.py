"""The configuration in force: read from the log, followed through truncation and snapshots.

Hazard S9. `membership.py` says which steps there are; here they take effect on the library,
which knows only a set of other voters (`__otherNodes`) for its elections and its commit rule.
"""

import zlib
from collections.abc import Iterable

import msgspec
import pysyncobj.syncobj
from pysyncobj.node import Node

from stationkeep.node.raft.engine import membership
from stationkeep.node.raft.engine.elections import ElectionGuards
from stationkeep.node.raft.engine.membership import Configuration
from stationkeep.node.raft.engine.messages import MEMBERSHIP, BadMessage, Message
from stationkeep.node.raft.storage.journal import Entry
from stationkeep.node.raft.storage.snapshot_file import Snapshot

MAX_NODES = 512
"""Members past and present, and strangers that speak as leaders or candidates."""
FROM_ANYONE = {"append_entries", "request_vote", "pre_vote", "timeout_now"}
"""Requests count whatever our configuration, which may be behind (dissertation, 4.1)."""
VOTES = {"response_vote", "pre_vote_answer"}
REPLIES = {"next_node_idx", "snapshot_chunk"}


class Member(Node):  # type: ignore[misc]
    """The library iterates over sets of nodes. With this hash their order is the same in every
    process, so that a seed replays exactly."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.name = id
        """The id, without a property's detour."""
        self._hash = zlib.crc32(id.encode())

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Node) and self.id == other.id


class _Standing(msgspec.Struct, frozen=True):
    """A configuration and the entry that holds it; index 0: from the configuration file."""

    index: int
    term: int
    configuration: Configuration


class Roster(ElectionGuards):
    """Who is who."""

    def _begin_roster(self, node_id: str, configuration: Configuration) -> None:
        """Before the base's constructor."""
        self.node_id = node_id
        self._standings = [_Standing(0, 0, configuration)]
        self.nodes: dict[str, Member] = {}
        self._departing: dict[Node, int] = {}
        """Leader: who was removed and is still to hear of it → index of the entry."""
        for name in (node_id, *configuration.members):
            self._node(name)

    # -- being asked ---------------------------------------------------------------------------

    def configuration(self) -> Configuration:
        """The one in force: of the last such entry in the log, committed or not."""
        return self._standings[-1].configuration

    def configured_at(self) -> int:
        """Index of its entry; 0 for that of the configuration file."""
        return self._standings[-1].index

    def configured_by(self, index: int) -> tuple[Configuration, int]:
        """The one in force in the log up to `index`, and its entry: for a snapshot."""
        for standing in reversed(self._standings):
            if standing.index <= index:
                return standing.configuration, standing.index
        return self._standings[0].configuration, self._standings[0].index

    def admitted(self, name: str) -> int | None:
        """Birth of the voter's journal that the newest committed configuration names; while that
        has no such voter, of the one with which it was made a voter."""
        newest = 0
        for place, standing in enumerate(self._standings):
            if standing.index <= self._SyncObj__raftCommitIndex:
                newest = place
        for standing in self._standings[newest:]:
            if name in standing.configuration.voters:
                return standing.configuration.births.get(name)
        return None

    def is_voter(self, node_id: str) -> bool:
        return node_id in self.configuration().voters

    def others(self) -> list[Member]:
        """Who is to be sent the log: voters and learners without ourselves."""
        return [self._node(n) for n in self.configuration().members if n != self.node_id]

    def has_quorum(self) -> bool:
        """Whether a majority of voters is connected, ourselves included."""
        voters = self.configuration().voters
        near = {node.id for node in self._SyncObj__connectedNodes} | {self.node_id}
        return 2 * sum(name in near for name in voters) > len(voters)

    def links(self) -> set[str]:
        """Whom Raft needs a connection with."""
        departing = {str(node.id) for node in self._departing}
        return {*self.configuration().members, *departing} - {self.node_id}

    def sender(self, peer: str, kind: str) -> Node:
        """Who sends this type of message; raises `BadMessage` when it is not to be listened to.

        The removed are told (`_departing`) and otherwise ignored, unless they must have come
        back (`_hear_out`). A learner's vote is none.
        """
        present = self.configuration()
        if peer == self.node_id:
            raise BadMessage("a message from ourselves")
        if peer in present.members or not self.guards.s9:
            if kind in VOTES and peer not in present.voters and self.guards.s9:
                raise BadMessage("a vote of no voter")
            return self._node(peer)
        if peer in present.removed:
            if kind in FROM_ANYONE or (kind in REPLIES and self._node(peer) in self._departing):
                return self._node(peer)
            raise BadMessage("the sender was removed")
        if kind in FROM_ANYONE and (peer in self.nodes or len(self.nodes) < MAX_NODES):
            return self._node(peer)
        raise BadMessage("unknown sender")

    def _hear_out(self, node: Node, message: Message) -> None:
        """A request of one that our log removed: raises `BadMessage` unless it can have come back
        since, without our knowing (dissertation, 4.1). It has when it leads our term or a later
        one, and may have when it stands with a log that is not behind ours: one that knows
        of its removal does not stand, one that does not lacks the entry that we have."""
        if node.id not in self.configuration().removed or not self.guards.s9:
            return
        if message["type"] not in FROM_ANYONE:
            return
        ours = (self._SyncObj__getCurrentLogTerm(), self._SyncObj__getCurrentLogIndex())
        log = (message.get("last_log_term", ours[0]), message.get("last_log_index", ours[1]))
        if message["term"] < self._SyncObj__raftCurrentTerm or log < ours:
            raise BadMessage("the sender was removed")

    def _node(self, name: str) -> Member:
        if name not in self.nodes:
            self.nodes[name] = Member(name)
        return self.nodes[name]

    # -- following the log ---------------------------------------------------------------------

    def _read_configurations(self, base: Snapshot | None) -> None:
        """Anew, from what a snapshot says and what the log holds beyond."""
        standings = self._standings[:1]
        if base is not None and base.configured:
            configuration = Configuration(base.members, base.learners, base.removed, base.births)
            standings = [_Standing(base.configured, base.term, configuration)]
        self._standings = standings
        self._follow(self.journal[0:])
        self._enact()  # also when the log adds nothing: the library knows the founders only

    def _follow(self, entries: Iterable[Entry]) -> None:
        """The log has changed: entries were truncated, and these may stand in it now (S9)."""
        before = self._standings[-1]
        while len(self._standings) > 1 and not self._stands(self._standings[-1]):
            self._standings.pop()
        for command, index, term in entries:
            if command[:1] != MEMBERSHIP or index <= self._standings[-1].index:
                continue
            standing = _Standing(index, term, membership.decode(command[1:])[0])
            if self._stands(standing):
                self._standings.append(standing)
        if self._standings[-1] is not before:
            self._enact()

    def _stands(self, standing: _Standing) -> bool:
        """Whether the log still holds the entry; what was compacted was committed."""
        if standing.index < self.journal[0][1]:
            return True
        return self._term_at(standing.index) == standing.term

    def _term_at(self, index: int) -> int | None:
        log = self._SyncObj__raftLog
        offset = index - log[0][1]
        return log[offset][2] if 0 <= offset < len(log) else None

    def forget_configurations(self, applied: int) -> None:
        """Those that nothing can bring back: before the newest one that is applied."""
        while len(self._standings) > 1 and self._standings[1].index <= applied:
            del self._standings[0]

    def append_configuration(self, configuration: Configuration, body: bytes) -> int:
        """Puts it into our log, as leader; from now on it is in force here. Its index."""
        assert self._isLeader(), "only a leader appends"
        gone = set(self.configuration().members) - set(configuration.members)
        entry = (
            MEMBERSHIP + membership.encode(configuration, body),
            self._SyncObj__raftLog[-1][1] + 1,
            self._SyncObj__raftCurrentTerm,
        )
        self._SyncObj__raftLog.add(*entry)
        for name in gone:
            self._departing[self._node(name)] = entry[1]
        self._follow([entry])
        return int(entry[1])

    # -- telling the library -------------------------------------------------------------------

    def _enact(self) -> None:
        voters = [self._node(n) for n in self.configuration().voters if n != self.node_id]
        self._SyncObj__otherNodes = set(voters)
        if self._isLeader():
            for node in self.others():
                self._departing.pop(node, None)  # it is back before it was let go
                self._follow_up(node)

    def _follow_up(self, node: Node) -> None:
        """Leader: from now on this one is sent the log."""
        self._SyncObj__raftMatchIndex.setdefault(node, 0)
        self._SyncObj__raftNextIndex.setdefault(node, self._SyncObj__raftLog[-1][1] + 1)
        now = pysyncobj.syncobj.monotonicTime()
        self._SyncObj__lastResponseTime.setdefault(node, now)
