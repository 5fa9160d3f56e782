"""Elections: which nodes campaign and vote, and when a leader must not be disturbed.

Hazards S5 (votes after a lost disk), S8, L2. `Engine` puts these and the other guards together. The
library holds elections as before; they only begin later, and it receives fewer messages.

Pre-vote (dissertation, 9.6): a node whose election deadline has passed first asks whether it would
be elected in the next term. That changes no term. Only when a majority says yes does the library's
election begin. A voter says yes when the asker's log is up to date and it has not heard from a
leader within the shortest election timeout.

Stickiness (4.2.3): requests for votes are ignored within that time as well, unless the leader
itself asked for the election (`timeout_now`).

Both need one thing more (5.1): a node that is behind with its term is informed. Otherwise a
follower in a higher term would ignore the leader, and two nodes could refuse each other for ever.
"""

from collections.abc import Mapping
from typing import NamedTuple

import pysyncobj.syncobj
from pysyncobj import SyncObj
from pysyncobj.node import Node

from stationkeep.cluster.numbers import TERM
from stationkeep.node.raft.engine.guards import Guards
from stationkeep.node.raft.engine.messages import Message, TooFar
from stationkeep.node.raft.engine.transport import OutboxTransport
from stationkeep.node.raft.storage.journal import Journal

FIRST_INDEX = 1
"""Index of the library's entry that every log begins with."""
FOLLOWER = pysyncobj.syncobj._RAFT_STATE.FOLLOWER
CANDIDATE = pysyncobj.syncobj._RAFT_STATE.CANDIDATE
TELLS_TERM = {"append_entries", "pre_vote_answer", "stale_term"}
"""Messages that raise our term whatever else they say."""


class Vote(NamedTuple):
    """The journal that a vote comes from, and what the vote is worth (`ElectionGuards._elects`)."""

    trusted: bool
    lost: bool
    birth: int


class ElectionGuards(SyncObj):  # type: ignore[misc]
    """What stands in front of the library's elections."""

    guards: Guards
    journal: Journal
    transport: OutboxTransport

    def _begin_elections(self) -> None:
        """Called before the base's constructor."""
        self._votes: tuple[int, dict[str, Vote]] = (0, {})
        """A term, and who voted for us in it."""
        self._electors: tuple[int, dict[str, int]] = (0, {})
        """The term that we lead, and births of the journals whose votes elected us."""
        self._heard_leader = float("-inf")
        self._round = 0
        """Number of the newest round of pre-votes; answers to an older one are void."""
        self._yes: dict[str, Vote] = {}
        """Who granted its pre-vote in that round."""
        self._may_stand = False
        """The round was won: the next election deadline is the library's."""
        self._dismissed_at = 0
        """Index of the configuration by which we were removed, as a member says."""
        self.on_request = False
        """Whether the leader asked for the present election."""

    def is_voter(self, node_id: str) -> bool:
        """Whether its vote counts in the configuration in force."""
        raise NotImplementedError

    def admitted(self, name: str) -> int | None:
        """Birth of a voter's journal that the cluster has admitted, by our log."""
        raise NotImplementedError

    def is_dismissed(self) -> bool:
        """Whether a member said that we were removed, and our log does not know better."""
        raise NotImplementedError

    # -- standing ------------------------------------------------------------------------------

    def stand(self) -> None:
        """Before each tick: turns a passed election deadline into a round of pre-votes."""
        now = pysyncobj.syncobj.monotonicTime()
        if self._isLeader() or self._SyncObj__raftElectionDeadline >= now:
            return
        self.on_request = self._SyncObj__transferInProgress and self._SyncObj__connectedToAnyone()
        has_no_say = not self.is_voter(self._SyncObj__selfNode.id) or self.is_dismissed()
        bystander = has_no_say and self.guards.s9
        unable = self._SyncObj__transferInProgress and not self.on_request
        if bystander or unable or (self.journal.lost and self.guards.s5):
            self._SyncObj__transferInProgress: bool = False
            self._postpone_election()
        elif self.guards.l2 and not self._may_stand and not self.on_request:
            self._ask_around()
        self._may_stand = False

    def end_candidacy(self) -> None:
        """Called before messages are taken: a candidate whose deadline has passed counts no more
        votes, even if the process was stopped meanwhile."""
        late = self._SyncObj__raftElectionDeadline < pysyncobj.syncobj.monotonicTime()
        if late and self._SyncObj__raftState == CANDIDATE:
            self._SyncObj__setState(FOLLOWER)
            self._SyncObj__raftLeader = None

    def _ask_around(self) -> None:
        self._postpone_election()
        self._SyncObj__setState(FOLLOWER)
        self._SyncObj__raftLeader = None
        self._round += 1
        self._yes = {self._SyncObj__selfNode.id: self.own_vote()}
        if not self._SyncObj__connectedToAnyone():
            return
        for node in self._SyncObj__otherNodes:
            self.transport.send(node, {
                "type": "pre_vote",
                "round": self._round,
                "term": self._SyncObj__raftCurrentTerm + 1,
                "last_log_index": self._SyncObj__getCurrentLogIndex(),
                "last_log_term": self._SyncObj__getCurrentLogTerm(),
            })  # fmt: skip
        self._count_yes()

    def _count_yes(self) -> None:
        if self._elects(self._yes):
            self._round += 1
            self._may_stand = True
            self._SyncObj__raftElectionDeadline = 0.0

    def _on_election_talk(self, node: Node, message: Message) -> None:
        """Handles the messages that the library does not know."""
        if message["type"] == "pre_vote":
            self._on_pre_vote(node, message)
        elif message["type"] == "pre_vote_answer":
            self._on_pre_vote_answer(node, message)
        else:
            self._catch_up_with(message["term"])

    def _on_pre_vote_answer(self, node: Node, message: Message) -> None:
        self._catch_up_with(message["term"])
        if message["granted"] and message["round"] == self._round and self.is_voter(node.id):
            self._yes[node.id] = self._vote(node.id, message)
            self._count_yes()

    def _heard_from_leader(self) -> None:
        """The present leader has sent an append: pre-votes are void, and so is what others said of
        our removal."""
        self._dismissed_at = 0
        self._heard_leader = pysyncobj.syncobj.monotonicTime()
        self._round += 1
        self._may_stand = False

    # -- voting --------------------------------------------------------------------------------

    def _on_pre_vote(self, node: Node, message: Message) -> None:
        """Answers whether we would vote for the candidate; promises nothing."""
        term = self._SyncObj__raftCurrentTerm
        log = (self._SyncObj__getCurrentLogTerm(), self._SyncObj__getCurrentLogIndex())
        granted = (
            message["term"] > term
            and (message["last_log_term"], message["last_log_index"]) >= log
            and not self._content()
        )
        self.transport.send(node, {
            "type": "pre_vote_answer", "round": message["round"], "term": term, "granted": granted,
        })  # fmt: skip

    def _content(self) -> bool:
        """Whether there is a leader that an election would depose needlessly."""
        now = pysyncobj.syncobj.monotonicTime()
        return bool(self._isLeader() or now - self._heard_leader < self._getConf().raftMinTimeout)

    def _hears_request(self, message: Message) -> bool:
        """Whether to consider a request for our vote."""
        return message["transfer"] or not (self.guards.l2 and self._content())

    def _vote_counts(self, node: Node, message: Message) -> bool:
        """Whether to pass this vote to the library. S8: once per voter and term (Raft paper,
        section 5.2); S9: only of voters; S5: not before the votes elect us."""
        term = message["term"]
        if not self.is_voter(node.id) or term != self._SyncObj__raftCurrentTerm:
            return False
        if self._votes[0] != term:
            self._votes = (term, {self._SyncObj__selfNode.id: self.own_vote()})
        votes = self._votes[1]
        if node.id in votes and self.guards.s8:
            return False
        votes[node.id] = self._vote(node.id, message)
        if self._isLeader():  # it elected nobody, and members may have changed since
            return False
        self._electors = (term, self._births_behind(votes))
        if not self.guards.s8:
            return True
        if not self._elects(votes):
            return False
        self._SyncObj__votesCount = len(votes) - 1  # the library adds this one, and finds enough
        return True

    def _vote(self, voter: str, message: Message) -> Vote:
        """A vote from a journal that our log admits is trusted, though that journal may not know it
        yet."""
        trusted = message["trusted"] or self.admitted(voter) == message["birth"]
        return Vote(trusted, message["lost"], message["birth"])

    def own_vote(self) -> Vote:
        return Vote(self.journal.trusted, self.journal.lost, self.journal.birth)

    def _elects(self, votes: Mapping[str, Vote]) -> bool:
        """S5: whether these votes, our own among them, elect a leader.

        A node that lost its disk may have made promises that it no longer knows. So its vote does
        not count towards a majority before its new journal is settled (`follower.settle`). But it
        counts when every voter votes, unless so many lost their disks that they may have been a
        majority by themselves: what these forgot, another voter still holds, and a candidate that
        lacks it does not get that voter's vote.
        """
        voters = len(self._SyncObj__otherNodes) + 1
        if not self.guards.s5:
            return 2 * len(votes) > voters
        if 2 * sum(vote.trusted for vote in votes.values()) > voters:
            return True
        return len(votes) == voters >= 2 * sum(vote.lost for vote in votes.values())

    def _births_behind(self, votes: Mapping[str, Vote]) -> dict[str, int]:
        """Births of the journals whose votes elect a leader: the trusted ones if they are a
        majority by themselves, else all."""
        trusted = {name: vote.birth for name, vote in votes.items() if vote.trusted}
        if 2 * len(trusted) > len(self._SyncObj__otherNodes) + 1:
            return trusted
        return {name: vote.birth for name, vote in votes.items()}

    def _notice_founded(self, node: Node, message: Message) -> None:
        """S5: another node has a log, so the cluster exists. A node that voted for the leader that
        now sends the first entries is one of its founders. Any other node with an empty log may
        have been one before it lost its disk, and is not trusted now.

        What cannot be known: founders that never heard of a log are trusted, and so is one that
        lost its disk and has not heard of one since; a majority of these founds the cluster again.
        So an empty disk alone is not the way back while a cluster is being founded (`node rejoin`
        is).
        """
        leads = message["type"] == "append_entries"
        if not self.journal.settled and (leads or message.get("last_log_index", 0) > FIRST_INDEX):
            chosen = (self._SyncObj__raftCurrentTerm, self._SyncObj__votedForNodeId)
            if leads and self.journal.trusted and chosen == (message["term"], node.id):
                self.journal.settle()
            self.journal.cluster_stands()

    # -- terms ---------------------------------------------------------------------------------

    def _tell_term(self, node: Node) -> None:
        """Answers a leader of an older term, which would otherwise not learn of ours."""
        if self.guards.l2:
            term = self._SyncObj__raftCurrentTerm
            self.transport.send(node, {"type": "stale_term", "term": term})

    def _reach(self, message: Message) -> None:
        """Raises `TooFar` for a term so far ahead that no honest node can have reached it since the
        last term that we know: accepted, it could leave no room for an election.

        If a node has reached it, being years ahead of us, we follow by half a step with each such
        message. A term in which we gave no vote may be skipped at any time.
        """
        limit = TERM.limit(self._SyncObj__raftCurrentTerm)
        term, kind = message["term"], message["type"]
        if term <= limit or kind == "pre_vote":  # which raises nobody's term
            return
        asked = kind == "request_vote" and self._hears_request(message)
        if asked or kind in TELLS_TERM:
            self._catch_up_with(TERM.stride(self._SyncObj__raftCurrentTerm))
        raise TooFar("term", term, limit)

    def _catch_up_with(self, term: int) -> None:
        """Another node is in a later term: this node enters it, as a follower (Raft paper, 5.1)."""
        ours = self._SyncObj__raftCurrentTerm
        if term > ours:
            self._SyncObj__setCurrentTerm(term, None)
            self._SyncObj__setState(FOLLOWER)
            self._SyncObj__raftLeader = None
            self._heard_leader = float("-inf")

    def _postpone_election(self) -> None:
        now = pysyncobj.syncobj.monotonicTime()
        self._SyncObj__raftElectionDeadline = now + self._SyncObj__generateRaftTimeout()
