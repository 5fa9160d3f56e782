"""Strong reads, writes from any node, and what limits them."""

from typing import Any

import pytest

from stationkeep.node.ports import Committed
from stationkeep.node.raft import raft as raft_module
from tests.node.raft.classic.staging import stand


def test_a_leader_that_was_cut_off_answers_no_strong_read(cluster) -> None:
    """etcd TestReadOnlyOptionSafe, ReadOnlyForNewLeader; hashicorp VerifyLeader_Fail"""
    c = cluster(3)
    old = c.elect()
    c.write(old, b"one:")
    c.converge()
    c.partition(old)
    read = c.propose(old, b"read:", timeout=8.0)
    c.run_until(lambda: c.leader() not in (None, old))
    c.write(c.elect(), b"two:")
    assert not read
    c.heal()
    c.run_until(lambda: bool(read))
    log = c.machines[old].log
    assert not isinstance(read[0], Committed) or log.index((read[0].index, b"read:")) > 1


def test_a_new_leader_reads_only_after_its_own_entry(cluster) -> None:
    """etcd TestReadOnlyForNewLeader"""
    c = cluster(3)
    leader = c.elect()
    c.write(leader, b"one:")
    c.converge()
    target = c.followers()[0]
    c.drop = lambda s, p, m: s == target and m.get("type") == "append_entries"
    stand(c, leader, target)
    c.run_until(c.rafts[target]._engine._isLeader)
    read = c.propose(target, b"read:", timeout=20.0)
    c.run(0.5)
    assert not c.rafts[target].is_leader
    assert not read
    c.drop = lambda *_: False
    c.run_until(lambda: bool(read))


def test_a_partitioned_leaders_log_stays_bounded(cluster, monkeypatch) -> None:
    """etcd TestUncommittedEntryLimit, TestRawNodeBoundedLogGrowthWithPartition"""
    monkeypatch.setattr(raft_module, "MAX_UNCOMMITTED", 64)
    c = cluster(3)
    leader = c.elect()
    c.converge()
    c.drop = lambda s, p, m: bool(m.get("entries"))
    results = [c.propose(leader, b"%d:" % n, timeout=30.0) for n in range(500)]
    c.run(0.8)
    engine = c.rafts[leader]._engine
    assert engine.last_index() - engine.raftCommitIndex <= 64
    c.drop = lambda *_: False
    c.run_until(lambda: all(results))
    assert all(isinstance(r[0], Committed) for r in results)


def test_a_follower_forwards_and_is_answered(cluster) -> None:
    """etcd TestProposalByProxy; hashicorp ApplyNonLeader"""
    c = cluster(3)
    c.elect()
    c.converge()
    got = c.propose(c.followers()[0], b"x:")
    c.run_until(lambda: bool(got))
    assert isinstance(got[0], Committed)


def test_what_waits_for_a_leader_at_a_follower_is_committed_when_there_is_one(cluster) -> None:
    """etcd's node keeps a proposal until there is a leader"""
    c = cluster(3)
    got = {n: c.propose(n, b"%s:" % n.encode(), timeout=10.0) for n in c.names}
    c.run_until(lambda: all(got.values()))
    assert {n: type(r[0]).__name__ for n, r in got.items()} == dict.fromkeys(c.names, "Committed")


def test_a_keyed_proposal_that_waits_for_a_leader_is_appended_once(cluster) -> None:
    """As above, with keys: nothing was lost, so that nothing needs a second entry."""
    c = cluster(3)
    got = {n: c.propose(n, b"%s:" % n.encode(), timeout=10.0, retry=True) for n in c.names}
    c.run_until(lambda: all(got.values()))
    c.converge()
    commands = [e[0] for e in c.journals[c.leader()][0:] if e[0][:1] == b"\x00"]
    assert len(commands) == len(set(commands)) == 3


@pytest.mark.timeout(10)
def test_a_single_node_elects_itself_at_once_and_commits(cluster) -> None:
    """etcd TestSingleNodeCandidate, TestSingleNodeCommit; hashicorp SingleNode"""
    c = cluster(1)
    c.write(c.elect(), b"a:", b"b:")
    assert c.rafts["n1"].term == 1
    c.crash("n1")
    c.start("n1")
    c.write(c.elect(), b"c:")
    assert [d for _, d in c.machines["n1"].log] == [b"a:", b"b:", b"c:"]


@pytest.mark.parametrize("kind", ["request_vote", "response_vote", "pre_vote", "pre_vote_answer"])
@pytest.mark.parametrize("seed", range(3))
def test_slow_votes(cluster, kind, seed) -> None:
    """hashicorp fuzzy SlowSendVote, SlowRecvVote: one member's votes outlast the election"""
    c = cluster(5, seed=seed)
    held: list[tuple[str, str, dict[str, Any]]] = []

    def hold(sender: str, peer: str, message: dict[str, Any]) -> bool:
        if message.get("type") != kind or "n4" not in (sender, peer):
            return False
        held.append((sender, peer, message))
        return True

    c.drop = hold
    for number in range(3):
        leader = c.elect()
        c.write(leader, b"%d:" % number)
        c.crash(leader)
        c.run(1.2)
        for s, p, m in held[:6]:
            if s in c.rafts and p in c.rafts:
                c.deliver(s, p, m)
        held.clear()
        c.run_until(lambda: c.leader() is not None, 20.0)
        c.start(leader)
    c.drop = lambda *_: False
    c.converge()
    assert len(c.machines["n1"].log) == 3


@pytest.mark.parametrize("seed", range(4))
def test_leaders_are_partitioned_again_and_again(cluster, seed) -> None:
    """hashicorp fuzzy LeaderPartitions, FuzzyLeadershipTransfer"""
    c = cluster(5, seed=seed)
    results = []
    for n in range(6):
        leader = c.elect()
        results += [
            c.propose(m, b"%d-%s:" % (n, m.encode()), retry=True, timeout=40.0) for m in c.rafts
        ]
        if n % 2:
            c.rafts[leader].transfer_leadership()
        c.partition(leader, c.followers()[n % 4])
        c.run(1.5)
        c.heal()
    c.run_until(lambda: all(results), 60.0)
    assert all(isinstance(r[0], Committed) for r in results)
    c.converge()
    assert len(c.machines["n1"].log) == 30


def test_a_majority_may_fail_and_return_in_any_order(cluster) -> None:
    """hashicorp LeaderFail, etcd TestAllServerStepdown"""
    c = cluster(3)
    for n in range(6):
        leader = c.elect()
        c.write(leader, b"%d:" % n)
        gone = [leader, c.followers()[n % 2]]
        for g in gone:
            c.crash(g)
        c.run(1.5)
        assert c.leader() is None
        for g in gone if n % 2 else gone[::-1]:
            c.start(g)
    c.converge()
    assert len(c.machines["n1"].log) == 6


def test_log_entries_are_applied_in_portions_after_a_restart(cluster, monkeypatch) -> None:
    """etcd TestRawNodeCommitPaginationAfterRestart"""
    monkeypatch.setattr(raft_module, "APPLIES_PER_TURN", 3)
    c = cluster(3)
    leader = c.elect()
    c.write(leader, *(b"%d:" % n for n in range(40)))
    c.converge()
    for n in c.names:
        c.crash(n)
    for n in c.names:
        c.start(n)
    c.converge()
    assert [d for _, d in c.machines["n2"].log] == [b"%d:" % n for n in range(40)]
