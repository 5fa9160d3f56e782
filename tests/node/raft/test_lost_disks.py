"""Hazard S5: what a lost disk had promised is not promised to anybody else.

A journal counts when a committed configuration names its birth, or when its vote made the leader.
The argument is in node/raft/README.md, "Lost disks".
"""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest

from stationkeep.node.ports import Committed
from stationkeep.node.raft import Timings, rejoin_empty
from tests.node.raft.engine.test_membership import reach
from tests.node.raft.harness import GOOD_VOTE, TIMINGS, Cluster

SLOW = Timings(
    heartbeat=0.3, election_min=3.0, election_max=6.0, step_down=6.0, compact_entries=5000
)


def deposed(c: Cluster) -> tuple[str, str, str]:
    """A leader that does not know it yet, the one that was elected with the third's vote, and the
    third, which is about to lose its disk."""
    old = c.elect()
    c.converge()
    c.partition(old)
    c.run_until(lambda: any(r.is_leader for n, r in c.rafts.items() if n != old))
    assert c.rafts[old].is_leader
    new = next(n for n, r in c.rafts.items() if n != old and r.is_leader)
    return old, new, next(n for n in c.names if n not in (old, new))


def start_empty(c: Cluster, name: str, marked: bool = False, **more: Any) -> None:
    c.erase(name)
    c.machines.pop(name)
    if marked:
        rejoin_empty(c.path / name, cluster="c", node=name)
    c.start(name, **more)


def both_write(c: Cluster, old: str, new: str, lost: str, start: Callable[[], None]) -> None:
    """The new leader acknowledges a write with the vote and the disk that are lost then; the old
    one tries with the disk that took its place."""
    got = c.propose(new, b"acknowledged:")
    c.run_until(lambda: bool(got))
    c.heal()
    c.partition(new)
    start()
    other = c.propose(old, b"other:", timeout=8.0)
    c.run(6.0)
    assert not (other and isinstance(other[0], Committed)), "two majorities"
    c.heal()
    c.converge()
    assert b"acknowledged:" in [draft for _, draft in c.machines[lost].log]


@pytest.mark.parametrize("marked", [False, True], ids=["empty directory", "node rejoin"])
@pytest.mark.parametrize("seed", range(6))
def test_s5_a_founder_makes_no_second_majority(cluster, seed: int, marked: bool) -> None:
    c = cluster(3, seed=seed)
    old, new, lost = deposed(c)
    both_write(c, old, new, lost, lambda: start_empty(c, lost, marked))


@pytest.mark.parametrize("marked", [False, True], ids=["empty directory", "node rejoin"])
def test_s5_nor_does_a_voter_that_joined_later(cluster, marked: bool) -> None:
    """Its file does not say that it is one."""
    for seed in range(12):
        c = cluster(2, seed=seed)
        c.start("n3")
        reach(c, "n1", "n2", "n3")
        old, new, lost = deposed(c)
        if lost == "n3":
            both_write(c, old, new, lost, lambda c=c: start_empty(c, "n3", marked))
            return
    raise AssertionError("no seed in which the newcomer decides")


@pytest.mark.parametrize("seed", range(4))
def test_s5_nor_one_whose_file_has_other_timings(cluster, seed: int) -> None:
    """Of the lost journal's promises no clock of its successor says when they are void."""
    c = cluster(3, seed=seed, timings=SLOW)
    old, new, lost = deposed(c)
    both_write(c, old, new, lost, lambda: start_empty(c, lost, timings=TIMINGS))


@pytest.mark.parametrize("seed", range(8))
def test_s5_nor_in_the_first_second_of_a_cluster(cluster, seed: int) -> None:
    """The first leader is cut off before anybody hears it, and has committed nothing."""
    c = cluster(3, seed=seed)
    c.drop = lambda _, to, message: message["type"] == "append_entries"
    c.run_until(lambda: any(r._engine._isLeader() for r in c.rafts.values()))
    old = next(n for n, r in c.rafts.items() if r._engine._isLeader())
    c.partition(old)
    c.drop = lambda *_: False
    c.run_until(lambda: any(r.is_leader for n, r in c.rafts.items() if n != old))
    new = next(n for n, r in c.rafts.items() if n != old and r.is_leader)
    lost = next(n for n in c.names if n not in (old, new))
    both_write(c, old, new, lost, lambda: start_empty(c, lost))


def test_s5_what_was_forgotten_elects_nobody_later(cluster) -> None:
    """A candidate that stands still has the vote of a disk that is lost meanwhile. Who admitted the
    new one has an entry that the candidate lacks, and so its own vote is not to be had."""
    c = cluster(5)
    old = c.elect()
    c.write(old, b"before:")
    c.converge()
    lost, candidate, *_ = c.followers()
    c.drop = lambda s, p, _: candidate in (s, p) and {s, p} != {candidate, lost}
    c.deliver(old, candidate, {"type": "timeout_now", "term": c.rafts[old].term})
    request = c.sent(candidate, "request_vote")[-1]
    c.run_until(lambda: bool(c.sent(lost, "response_vote")))
    c.drop = lambda s, p, _: candidate in (s, p)
    start_empty(c, lost)
    c.write(old, b"acknowledged:")
    c.run_until(lambda: c.journals[lost].settled)
    for name in c.names:
        if name not in (candidate, lost, old):
            c.seen.clear()
            c.deliver(candidate, name, request)
            assert not c.sent(name, "response_vote")


def test_s5_a_vote_that_comes_after_the_election_made_nobody_leader(cluster) -> None:
    """Its journal may be one that took a lost one's place since the request was sent."""
    c = cluster(3)
    c.drop = lambda sender, _, message: sender == "n3" and message["type"] == "response_vote"
    leader = c.elect()
    assert leader != "n3"
    engine = c.rafts[leader]._engine
    vote = {"type": "response_vote", "term": engine.raftCurrentTerm, **GOOD_VOTE}
    c.deliver("n3", leader, vote)
    assert "n3" not in engine._electors_of_now()
    assert len(engine._electors_of_now()) == 2


def test_s5_a_candidate_that_stood_still_counts_no_late_vote(cluster) -> None:
    c = cluster(3)
    c.elect()
    c.converge()
    candidate, voter = c.followers()
    c.drop = lambda s, p, message: message["type"] in {"response_vote", "append_entries"}
    leader = str(c.leader())
    c.seen.clear()
    c.deliver(leader, candidate, {"type": "timeout_now", "term": c.rafts[leader].term})
    c.run_until(lambda: bool(c.sent(voter, "response_vote")), 0.3)
    vote = c.sent(voter, "response_vote")[-1]
    raft = c.rafts[candidate]
    c.clock.now += 2 * TIMINGS.election_max
    raft.receive(voter, {"kind": "raft", **vote})
    raft.turn()
    assert not raft._engine._isLeader(), "its election had ended"


def test_s5_an_admitted_journal_counts_at_once(cluster) -> None:
    """No time passes for caution's sake: who was erased is worth as much as before as soon as the
    others have its new journal in their logs."""
    c = cluster(3)
    leader = c.elect()
    c.converge()
    lost, other = c.followers()
    start_empty(c, lost)
    c.converge()
    began = c.clock.now
    c.run_until(lambda: c.journals[lost].settled)
    assert c.clock.now - began < 2 * TIMINGS.heartbeat
    c.crash(other)
    c.write(leader, b"with the new disk:")


def test_s5_the_promises_of_a_newcomer_begin_with_its_promotion(cluster) -> None:
    """Its vote counts for who has the entry, though its own log does not have it yet."""
    c = cluster(2)
    c.start("n3")
    leader = c.elect()
    other = next(n for n in ("n1", "n2") if n != leader)
    c.drop = lambda _, to, message: to == "n3" and "n3" in c.rafts[leader].configuration.voters
    c.write(leader, b"want n1 n2 n3")
    c.run_until(lambda: "n3" in c.rafts[other].configuration.voters, 5.0)
    c.run(0.3)
    assert c.rafts["n3"].standing == "learner"
    c.crash(leader)
    c.drop = lambda *_: False
    c.run_until(lambda: c.leader() == other, 10.0)


# -- what else a word must not leave behind ------------------------------------------------------


def test_a_request_to_stand_that_cannot_be_followed_is_void(cluster) -> None:
    """Else it deposes a healthy leader when its receiver is back (dissertation, 3.10)."""
    c = cluster(3)
    leader = c.elect()
    c.converge()
    away = c.followers()[0]
    term = c.rafts[leader].term
    c.rafts[away].receive(leader, {"kind": "raft", "type": "timeout_now", "term": term})
    c.partition(away)
    c.run(8.0)
    c.write(leader, b"meanwhile:")
    c.heal()
    c.run(3.0)
    c.converge()
    assert (c.leader(), c.rafts[leader].term) == (leader, term)


def test_a_sole_member_that_was_killed_waits_for_its_election_at_rest(cluster) -> None:
    c = cluster(1)
    c.write(c.elect(), b"a:", b"b:")
    c.crash("n1")
    raft = c.start("n1")
    raft.turn()
    assert raft.next_wakeup() > c.clock.now, "nothing to do before the deadline"
    c.write(c.elect(), b"c:")
    assert [draft for _, draft in c.machines["n1"].log] == [b"a:", b"b:", b"c:"]


@pytest.mark.parametrize("retry", [False, True])
def test_what_waits_for_a_leader_is_committed_when_there_is_one(cluster, retry: bool) -> None:
    """At a follower, too, with a key or without: its deadline is what ends the waiting."""
    c = cluster(3)
    leader = c.elect()
    c.converge()
    c.crash(leader)
    results = [c.propose(n, n.encode() + b":", timeout=20.0, retry=retry) for n in c.rafts]
    c.run_until(lambda: all(results), 20.0)
    assert all(isinstance(result[0], Committed) for result in results)


@pytest.mark.parametrize("size", range(2, 7))
def test_s5_an_admission_and_a_forgotten_vote_have_another_voter_in_common(size: int) -> None:
    """The counting in the README: whoever admits a new journal without it, and whoever elects with
    the lost vote, in the same configuration or in one that differs by one server."""
    voters = set(range(size))
    lost = 0
    neighbours = [voters, voters | {size}, *(voters - {gone} for gone in voters - {lost})]
    for others in neighbours:
        for admit in combinations(voters - {lost}, size // 2 + 1):
            for elect in combinations(others - {lost}, len(others) // 2):
                assert set(admit) & set(elect), (voters, others, admit, elect)
