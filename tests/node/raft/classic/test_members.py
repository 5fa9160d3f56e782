"""Members come, go, and come back."""

import pytest

from stationkeep.node.ports import Committed
from stationkeep.node.raft.engine.membership import Configuration
from stationkeep.node.raft.engine.messages import MEMBERSHIP
from tests.node.raft.classic.staging import founded, hand_over, has, reach, want


@pytest.mark.timeout(10)
def test_one_grows_to_three_and_shrinks_to_one(cluster) -> None:
    """hashicorp JoinNode, RemoveFollower, AddMembership, AddRemoveNodesNotLeader"""
    c = cluster(1)
    c.elect()
    c.write("n1", b"first:")
    for step, names in enumerate((("n1", "n2"), ("n1", "n2", "n3"), ("n1", "n2"), ("n1",))):
        for n in names:
            if n not in c.rafts:
                c.start(n)
        reach(c, *names)
        c.write(c.elect(), b"step %d:" % step)
    c.run(3.0)
    assert c.leader() == "n1"
    c.crash("n2")
    c.crash("n3")
    c.write("n1", b"alone:")
    c.crash("n1")
    c.start("n1")
    c.write(c.elect(), b"again:")
    assert len([d for _, d in c.machines["n1"].log if not d.startswith(b"want")]) == 7


def test_the_leader_is_removed(cluster) -> None:
    """hashicorp RemoveLeader; etcd testdata confchange_v1_remove_leader"""
    c = founded(cluster, 3)
    leader = c.leader()
    rest = tuple(n for n in c.names if n != leader)
    c.write(leader, b"before:")
    want(c, *rest)
    c.run_until(lambda: has(c, *rest), 20.0)
    c.run_until(lambda: c.leader() in rest)
    c.write(c.elect(), b"after:")
    c.run(5.0)
    assert c.rafts[leader].standing == "removed"
    assert not c.rafts[leader].is_leader
    term = c.rafts[c.leader()].term
    c.run(5.0)
    assert c.rafts[c.leader()].term == term


def test_two_leave_a_cluster_of_three_at_once(cluster) -> None:
    """hashicorp RemoveFollower_SplitCluster: the last one stands"""
    c = founded(cluster, 3)
    leader = c.leader()
    reach(c, leader)
    c.write(leader, b"x:")
    for n in list(c.rafts):
        if n != leader:
            c.crash(n)
    c.write(leader, b"y:")


def test_removing_a_member_commits_what_waited_for_it(cluster) -> None:
    """etcd TestCommitAfterRemoveNode: with the removal the majority gets smaller"""
    c = founded(cluster, 2)
    leader = c.leader()
    other = c.followers()[0]
    c.drop = lambda s, p, m: s == other and m.get("type") == "next_node_idx" and m["success"]
    got = c.propose(leader, b"x:", timeout=20)
    c.run(0.4)
    assert not got
    # The wish could not be committed without it: the step is put into the log by hand.
    c.rafts[leader]._engine.append_configuration(
        Configuration((leader,), (), (other,)), c.machines[leader].configured((leader,), ())
    )
    c.run_until(lambda: bool(got), 5.0)
    assert isinstance(got[0], Committed)


def test_a_partitioned_member_is_removed_and_cannot_disrupt(cluster) -> None:
    """hashicorp RemovePartitionedNode, FollowerRemovalNoElection, RemoveLeader_NoShutdown"""
    c = founded(cluster, 5)
    leader = c.leader()
    away = c.followers()[0]
    rest = tuple(n for n in c.names if n != away)
    c.partition(away)
    reach(c, *rest)
    term = c.rafts[leader].term
    c.run(4.0)
    c.heal()
    c.run(5.0)
    assert (c.leader(), c.rafts[leader].term) == (leader, term)
    c.crash(leader)  # nor is it elected when there is an election
    c.run_until(lambda: c.leader() is not None)
    assert c.leader() != away
    c.write(c.elect(), b"x:")


@pytest.mark.parametrize("erased", [False, True])
def test_a_member_that_left_comes_back(cluster, erased) -> None:
    """hashicorp ReJoinFollower, AddKnownPeer"""
    c = founded(cluster, 3)
    leader = c.leader()
    away = c.followers()[0]
    rest = tuple(n for n in c.names if n != away)
    c.write(leader, b"a:")
    reach(c, *rest)
    c.run(0.5)
    c.crash(away)
    c.write(leader, b"b:")
    if erased:
        c.erase(away)
        c.machines.pop(away)
    c.start(away)
    c.run(1.0)
    reach(c, "n1", "n2", "n3")
    c.converge()
    c.crash(leader)
    c.run_until(lambda: c.leader() is not None)
    c.write(c.elect(), b"c:")


def test_a_new_member_does_not_make_the_leader_step_down(cluster) -> None:
    """etcd TestAddNodeCheckQuorum"""
    c = founded(cluster, 2)
    leader = c.leader()
    term = c.rafts[leader].term
    c.start("n3")
    reach(c, "n1", "n2", "n3")
    c.crash("n3")
    c.run(4.0)
    assert (c.leader(), c.rafts[leader].term) == (leader, term)


def test_a_change_is_not_begun_before_the_last_is_committed(cluster) -> None:
    """etcd TestStepIgnoreConfig, TestNewLeaderPendingConfig"""
    c = founded(cluster, 3)
    leader = c.leader()
    c.start("n4")
    c.start("n5")
    c.run(0.3)
    got = c.propose(leader, b"want n1 n2 n3 n4 n5", retry=True)
    c.run_until(lambda: bool(got) or c.rafts[leader].configuration.learners != ())
    c.drop = lambda s, p, m: bool(m.get("entries"))
    c.run(0.5)
    members = c.rafts[leader].configuration.members
    assert len(members) <= 4
    c.drop = lambda *_: False
    c.run_until(lambda: has(c, "n1", "n2", "n3", "n4", "n5"))


def test_an_uncommitted_change_dies_with_its_leader_and_is_taken_again(cluster) -> None:
    """etcd testdata confchange_*; dissertation 4.1 rollback"""
    c = founded(cluster, 3)
    leader = c.leader()
    c.start("n4")
    c.run(0.2)
    c.write(leader, b"warm:")
    c.drop = lambda _, __, m: any(e[0][:1] == MEMBERSHIP for e in m.get("entries", ()))
    c.propose(leader, b"want n1 n2 n3 n4", retry=True)
    c.run_until(lambda: c.rafts[leader].configuration.members == ("n1", "n2", "n3", "n4"))
    c.partition(leader)
    c.drop = lambda *_: False
    c.run_until(lambda: c.leader() not in (None, leader))
    c.heal()
    c.run_until(lambda: has(c, "n1", "n2", "n3", "n4"))
    c.converge()


def test_a_member_that_does_not_know_of_its_promotion_votes(cluster) -> None:
    """etcd testdata campaign_learner_must_vote: a learner (in its own log) answers a candidate"""
    c = founded(cluster, 2)
    c.start("n3")
    leader = c.leader()
    other = next(name for name in ("n1", "n2") if name != leader)
    c.run(0.2)
    want(c, "n1", "n2", "n3")
    c.run_until(lambda: c.rafts["n3"].standing == "learner")
    c.drop = lambda _, p, m: (
        p == "n3" and any(entry[0][:1] == MEMBERSHIP for entry in m.get("entries", ()))
    )
    c.run(1.0)
    assert c.rafts["n3"].standing == "learner", "in its own eyes"
    assert "n3" in c.rafts[leader].configuration.voters
    assert "n3" in c.rafts[other].configuration.voters
    c.crash(leader)
    c.drop = lambda *_: False
    c.run_until(lambda: c.leader() == other, 10.0)


def test_a_learner_follows_and_does_not_count(cluster) -> None:
    """etcd TestLearnerLogReplication, TestLearnerElectionTimeout, TestLearnerPromotion"""
    c = founded(cluster, 1)
    c.start("n2")
    # It cannot be promoted while the leader does not hear what it has.
    c.drop = lambda s, _, m: s == "n2" and m.get("type") == "next_node_idx" and m["success"]
    want(c, "n1", "n2")
    c.run_until(lambda: c.rafts["n2"].standing == "learner")
    c.write("n1", b"x:")
    c.run(3.0)
    assert not c.sent("n2", "pre_vote")
    assert not c.sent("n2", "request_vote")
    c.drop = lambda *_: False
    c.run_until(lambda: has(c, "n1", "n2"))
    hand_over(c, "n2")
    c.write("n2", b"y:")


def test_a_newcomer_of_a_higher_term_does_not_stop_the_cluster(cluster) -> None:
    """hashicorp ClusterCanRegainStability_WhenNonVoterWithHigherTermJoin,
    VoteNotGranted_WhenNodeNotInCluster"""
    c = founded(cluster, 3)
    c.start("n4")
    c.rafts["n4"]._engine._SyncObj__setCurrentTerm(50, None)
    c.rafts["n4"].turn()
    want(c, "n1", "n2", "n3", "n4")
    c.run_until(lambda: has(c, "n1", "n2", "n3", "n4"), 30.0)
    c.converge()
    c.write(c.elect(), b"x:")
