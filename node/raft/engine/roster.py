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
"""Limit of known nodes: members past and present, and strangers that send as leaders or
candidates."""
FROM_ANYONE = {"append_entries", "request_vote", "pre_vote", "timeout_now"}
"""Requests of these types count whatever our configuration says, which may be behind (dissertation,
4.1)."""
VOTES = {"response_vote", "pre_vote_answer"}
REPLIES = {"next_node_idx", "snapshot_chunk"}


class Member(Node):  # type: ignore[misc]
    """The library iterates over sets of nodes. With this hash their order is the same in every
    process, so that a seed replays exactly."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.name = id
        """The id; cheaper than the base's property."""
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
    """The configurations in the log, and the members that they name."""

    def _begin_roster(self, node_id: str, configuration: Configuration) -> None:
        """Called before the base's constructor."""
        self.node_id = node_id
        self._standings = [_Standing(0, 0, configuration)]
        self.nodes: dict[str, Member] = {}
        self._departing: dict[Node, int] = {}
        """As leader: removed members that do not know it yet → index of the entry that removed
        them."""
        for name in (node_id, *configuration.members):
            self._node(name)

    # -- being asked ---------------------------------------------------------------------------

    def configuration(self) -> Configuration:
        """The configuration in force: that of the last such entry in the log, committed or not."""
        return self._standings[-1].configuration

    def configured_at(self) -> int:
        """Index of its entry; 0 for that of the configuration file."""
        return self._standings[-1].index

    def configured_by(self, index: int) -> tuple[Configuration, int]:
        """The configuration in force at `index`, and its entry; for a snapshot."""
        for standing in reversed(self._standings):
            if standing.index <= index:
                return standing.configuration, standing.index
        return self._standings[0].configuration, self._standings[0].index

    def admitted(self, name: str) -> int | None:
        """Birth of the voter's journal by the newest committed configuration; if that does not have
        the voter, by the configuration that made it one."""
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
        """Members that receive the log: voters and learners, without this node."""
        return [self._node(n) for n in self.configuration().members if n != self.node_id]

    def has_quorum(self) -> bool:
        """Whether a majority of voters is connected, ourselves included."""
        voters = self.configuration().voters
        near = {node.id for node in self._SyncObj__connectedNodes} | {self.node_id}
        return 2 * sum(name in near for name in voters) > len(voters)

    def links(self) -> set[str]:
        """Members that Raft needs a connection with."""
        departing = {str(node.id) for node in self._departing}
        return {*self.configuration().members, *departing} - {self.node_id}

    def sender(self, peer: str, kind: str) -> Node:
        """The sender of a message of this type; raises `BadMessage` when the message must be
        ignored.

        Removed members are informed (`_departing`) and otherwise ignored, unless they must have
        come back (`_hear_out`). The vote of a learner does not count.
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
        """Checks a request of a member that our log removed: raises `BadMessage` unless it can have
        come back since without our knowledge (dissertation, 4.1). It has come back if it leads our
        term or a later one. It may have if it is a candidate whose log is not behind ours: a node
        that knows of its removal does not become a candidate, and one that does not know lacks an
        entry that we have."""
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
        """Starts over, from a snapshot's configuration and the log beyond it."""
        standings = self._standings[:1]
        if base is not None and base.configured:
            configuration = Configuration(base.members, base.learners, base.removed, base.births)
            standings = [_Standing(base.configured, base.term, configuration)]
        self._standings = standings
        self._follow(self.journal[0:])
        self._enact()  # also when the log adds nothing: the library knows the founders only

    def _follow(self, entries: Iterable[Entry]) -> None:
        """The log has changed: entries were truncated, or these were added (S9)."""
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
        """Whether the log still holds the entry; compacted entries were committed."""
        if standing.index < self.journal[0][1]:
            return True
        return self._term_at(standing.index) == standing.term

    def _term_at(self, index: int) -> int | None:
        log = self._SyncObj__raftLog
        offset = index - log[0][1]
        return log[offset][2] if 0 <= offset < len(log) else None

    def forget_configurations(self, applied: int) -> None:
        """Drops configurations that cannot come into force again: those before the newest applied
        one."""
        while len(self._standings) > 1 and self._standings[1].index <= applied:
            del self._standings[0]

    def append_configuration(self, configuration: Configuration, body: bytes) -> int:
        """Appends it to our log, as leader; it is in force here from now on. Returns its index."""
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
        """As leader: this member receives the log from now on."""
        self._SyncObj__raftMatchIndex.setdefault(node, 0)
        self._SyncObj__raftNextIndex.setdefault(node, self._SyncObj__raftLog[-1][1] + 1)
        now = pysyncobj.syncobj.monotonicTime()
        self._SyncObj__lastResponseTime.setdefault(node, now)
