"""What several of these scenarios need: a cluster of named members, and one member whose peers the
test plays.
"""

from typing import Any

import msgspec

from stationkeep.node.raft import Snapshot, Timings, encode
from tests.node.raft.harness import GOOD_VOTE, TIMINGS, Cluster, Machine

Message = dict[str, Any]
Place = tuple[int, int]
"""Index and term."""


def compacting(every: int = 20) -> Timings:
    return msgspec.structs.replace(TIMINGS, compact_entries=every)


# -- members


def want(c: Cluster, *names: str) -> None:
    c.write(c.elect(), f"want {' '.join(names)}".encode())


def has(c: Cluster, *voters: str) -> bool:
    """Whether these are the voters, in the eyes of each of them."""
    return all(
        name in c.rafts
        and c.rafts[name].configuration.voters == voters
        and not c.rafts[name].configuration.learners
        and c.rafts[name].standing == "voter"
        for name in voters
    )


def reach(c: Cluster, *voters: str) -> None:
    want(c, *voters)
    c.run_until(lambda: has(c, *voters))


def founded(cluster: Any, size: int = 3, **more: Any) -> Cluster:
    """A cluster whose state names its members, so that it can be changed."""
    c: Cluster = cluster(size, **more)
    reach(c, *c.names)
    c.converge()
    return c


def stand(c: Cluster, leader: str, name: str) -> None:
    """`name` is told by the leader to stand for election at once."""
    c.deliver(leader, name, {"type": "timeout_now", "term": c.rafts[leader].term})


def hand_over(c: Cluster, to: str) -> None:
    c.converge()
    leader = c.elect()
    if leader != to:
        stand(c, leader, to)
        c.run_until(lambda: c.leader() == to)


# -- one member, its peers played by the test


class Puppet:
    """n1; time stands still unless `c.run` is called."""

    def __init__(self, c: Cluster) -> None:
        self.c, self.seq = c, 0
        c.journals["n1"].settle()

    @property
    def engine(self) -> Any:
        return self.c.rafts["n1"]._engine

    def say(self, peer: str, type_: str, **fields: Any) -> list[Message]:
        """A message of this peer; returns what it was answered."""
        self.c.seen.clear()
        self.c.deliver(peer, "n1", {"type": type_, **fields})
        return [m for s, p, m in self.c.seen if (s, p) == ("n1", peer)]

    def append(
        self, term: int, prev: Place, terms: list[int], commit: int, peer: str = "n2"
    ) -> list[Message]:
        """Entries of these terms after `prev`."""
        entries = [
            (b"\x00@%d/%d:" % (entry_term, prev[0] + n), prev[0] + n, entry_term)
            for n, entry_term in enumerate(terms, 1)
        ]
        return self.append_entries(peer, term=term, prev=prev, entries=entries, commit=commit)

    def append_entries(self, peer: str, *, term: int, prev: Place, entries: Any, commit: int,
                       seq: int = 0) -> list[Message]:  # fmt: skip
        """`seq`: the number of the request, 0 for the next one."""
        self.seq += 1
        return self.say(
            peer, "append_entries", term=term, seq=seq or self.seq, commit_index=commit,
            prevLogIdx=prev[0], prevLogTerm=prev[1], entries=entries,
        )  # fmt: skip

    def ask(self, term: int, index: int, last_term: int, peer: str = "n2",
            transfer: bool = True) -> list[Message]:  # fmt: skip
        return self.say(
            peer, "request_vote", term=term, last_log_index=index, last_log_term=last_term,
            transfer=transfer,
        )  # fmt: skip

    def ask_before(self, term: int, index: int, last_term: int, peer: str = "n2") -> bool:
        """Whether a pre-vote is granted."""
        said = self.say(
            peer, "pre_vote", term=term, last_log_index=index, last_log_term=last_term, round=1
        )
        return [m["granted"] for m in said if m["type"] == "pre_vote_answer"][-1]

    def terms(self) -> list[int]:
        return [term for _, _, term in self.engine.journal[0:]]

    def turn(self) -> None:
        self.c.rafts["n1"].turn()

    # as a leader

    def lead(self, terms: tuple[int, ...] = ()) -> None:
        """Becomes leader, with a log of these terms after its first entry; n2 votes for it."""
        if terms:
            self.append(max(terms), (1, 0), list(terms), 1)
        self.c.clock.now += 2.0
        self.engine._SyncObj__raftElectionDeadline = 0.0
        self.c.seen.clear()
        self.turn()
        rounds = [m["round"] for s, _, m in self.c.seen if s == "n1" and m["type"] == "pre_vote"]
        term = self.engine.raftCurrentTerm
        yes = {"round": rounds[-1], "term": term, "granted": True}
        self.say("n2", "pre_vote_answer", **yes, **GOOD_VOTE)
        self.turn()
        self.say("n2", "response_vote", term=self.engine.raftCurrentTerm, **GOOD_VOTE)
        assert self.engine._isLeader()
        self.turn()

    def answer(self, match: int, *, seq: int = 0, term: int = 0, success: bool = True) -> None:
        """n2 answers the request `seq` (0: the newest), or refuses it."""
        self.say(
            "n2", "next_node_idx", term=term or self.engine.raftCurrentTerm,
            seq=seq or self.engine._seq, birth=GOOD_VOTE["birth"], next_node_idx=match + 1,
            reset=not success, success=success,
        )  # fmt: skip

    def take_chunk(self, term: int, commit: int, chunk: tuple[Any, ...]) -> list[Message]:
        return self.say("n2", "append_entries", term=term, seq=99, commit_index=commit, chunk=chunk)


def snapshot(index: int, term: int) -> bytes:
    """Of a cluster of three whose last two entries are of this term."""
    machine = Machine()
    machine.log = [(n, b"%d:" % n) for n in range(2, index + 1)]
    before, last = ((b"\x00@%d:" % n, n, term) for n in (index - 1, index))
    return encode(Snapshot("c", ("n1", "n2", "n3"), before, last, machine.snapshot()))
