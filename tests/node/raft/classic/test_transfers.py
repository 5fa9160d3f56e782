"""Leadership is handed over, or stays where it is."""

from stationkeep.node.ports import Committed
from tests.node.raft.classic.staging import compacting, founded, stand, want


def test_transfer_to_a_slow_follower_waits_for_its_log(cluster) -> None:
    """etcd TestLeaderTransferToSlowFollower; hashicorp LeadershipTransferToBehindServer"""
    c = cluster(2)
    leader = c.elect()
    c.converge()
    slow = c.followers()[0]
    c.drop = lambda _, p, m: p == slow and bool(m.get("entries"))
    c.propose(leader, b"x:", timeout=30)
    c.run(0.3)
    assert c.rafts[leader].transfer_leadership()
    c.run(0.3)
    assert c.rafts[leader].is_leader
    assert not c.sent(leader, "timeout_now")
    c.drop = lambda *_: False
    c.run_until(lambda: c.leader() == slow)
    c.converge()
    assert [draft for _, draft in c.machines[slow].log] == [b"x:"]


def test_transfer_to_a_follower_that_needs_a_snapshot(cluster) -> None:
    """etcd TestLeaderTransferAfterSnapshot"""
    c = cluster(3, timings=compacting(20))
    leader = c.elect()
    c.converge()
    away, other = c.followers()
    c.partition(away)
    for n in range(8):
        c.write(leader, *(b"%d-%d:" % (n, k) for k in range(10)))
    c.heal()
    c.crash(other)
    assert c.rafts[leader].transfer_leadership()
    c.run_until(lambda: c.leader() == away)
    assert any("chunk" in m for m in c.sent(leader, "append_entries"))
    c.write(away, b"x:")


def test_transfer_times_out_and_the_leader_goes_on(cluster) -> None:
    """etcd TestLeaderTransferTimeout, TestLeaderTransferIgnoreProposal; hashicorp
    LeaderReplicationTimeout"""
    c = cluster(3)
    leader = c.elect()
    c.converge()
    c.drop = lambda s, p, m: m.get("type") == "timeout_now"
    assert c.rafts[leader].transfer_leadership()
    got = c.propose(leader, b"during:", timeout=10)
    c.run(0.5)
    assert not got
    c.run_until(lambda: bool(got))
    assert isinstance(got[0], Committed)
    assert c.leader() == leader


def test_transfer_back_and_forth(cluster) -> None:
    """etcd TestLeaderTransferBack, SecondTransferTo*"""
    c = cluster(3)
    for _ in range(6):
        leader = c.elect()
        c.converge()
        assert c.rafts[leader].transfer_leadership()
        c.run_until(lambda leader=leader: c.leader() not in (None, leader))


def test_transfer_ends_with_a_higher_term(cluster) -> None:
    """etcd TestLeaderTransferReceiveHigherTermVote"""
    c = cluster(3)
    leader = c.elect()
    c.converge()
    c.drop = lambda s, p, m: m.get("type") == "timeout_now"
    c.rafts[leader].transfer_leadership()
    c.run(0.05)
    stand(c, leader, c.followers()[0])
    c.run_until(lambda: c.leader() not in (None, leader))
    assert not c.rafts[leader]._reconfiguration.transferring
    got = c.propose(leader, b"x:", retry=True)
    c.run_until(lambda: bool(got))
    assert isinstance(got[0], Committed)


def test_transfer_when_the_target_dies(cluster) -> None:
    """etcd TestLeaderTransferRemoveNode; hashicorp LeadershipTransferStopRightAway"""
    c = cluster(3)
    leader = c.elect()
    c.converge()
    c.drop = lambda s, p, m: m.get("type") == "timeout_now"
    c.rafts[leader].transfer_leadership()
    c.run(0.01)
    c.crash(c.followers()[-1])
    c.drop = lambda *_: False
    c.run(3.0)
    c.run_until(lambda: c.leader() is not None)
    c.write(c.leader(), b"x:")


def test_there_is_no_transfer_without_another_voter(cluster) -> None:
    """etcd TestLeaderTransferToSelf; hashicorp LeadershipTransferWithOneNode, IgnoresNonvoters"""
    c = cluster(1)
    leader = c.elect()
    assert not c.rafts[leader].transfer_leadership()
    c.start("n2")
    want(c, "n1", "n2")
    c.run_until(lambda: c.rafts["n1"].configuration.learners == ("n2",))
    c.drop = lambda s, p, m: s == "n2" and m.get("type") == "next_node_idx"
    assert not c.rafts[leader].transfer_leadership()
    c.write("n1", b"still:")


def test_who_is_no_member_does_not_stand_when_told_to(cluster) -> None:
    """etcd TestTransferNonMember, TestLearnerCampaign"""
    c = founded(cluster)
    stranger = c.start("n4")
    c.run(0.5)
    leader = c.leader()
    stand(c, leader, "n4")
    c.run(2.0)
    assert not c.sent("n4", "request_vote")
    assert stranger.term <= c.rafts[leader].term
    c.drop = lambda s, p, m: s == "n4" and m.get("type") == "next_node_idx" and m["success"]
    want(c, "n1", "n2", "n3", "n4")
    c.run_until(lambda: stranger.standing == "learner")
    stand(c, leader, "n4")
    c.run(2.0)
    assert not c.sent("n4", "request_vote")
    assert not c.sent("n4", "pre_vote")
    assert c.leader() == leader
