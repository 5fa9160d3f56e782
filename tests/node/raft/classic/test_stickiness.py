"""A leader stays while it has a majority, whoever comes back meanwhile."""

import pytest


def test_a_leader_without_majority_steps_down_and_one_with_it_does_not(cluster) -> None:
    """etcd TestLeaderStepdownWhenQuorumActive, -Lost; hashicorp LeaderLeaseExpire,
    VerifyLeader_PartialConnect"""
    c = cluster(5)
    leader = c.elect()
    c.converge()
    term = c.rafts[leader].term
    c.partition(*c.followers()[:2])
    c.run(5.0)
    assert (c.leader(), c.rafts[leader].term) == (leader, term)
    c.partition(leader)
    c.run(1.2)
    assert not c.rafts[leader].is_leader


def test_a_request_is_ignored_while_the_leader_is_heard_and_not_after(puppet) -> None:
    """etcd TestLeaderSupersedingWithCheckQuorum, TestLeaderElectionWithCheckQuorum; hashicorp
    VotingGrant_WhenLeaderAvailable"""
    puppet.append(1, (1, 0), [1], 1)
    assert not puppet.ask(2, 9, 1, peer="n3", transfer=False)
    assert puppet.engine.raftCurrentTerm == 1
    assert not puppet.ask_before(2, 9, 1, peer="n3")
    puppet.c.clock.now += 0.6
    assert puppet.ask_before(2, 9, 1, peer="n3")
    assert puppet.ask(2, 9, 1, peer="n3", transfer=False)


@pytest.mark.parametrize("seed", range(3))
def test_a_returning_follower_does_not_disrupt(cluster, seed) -> None:
    """etcd TestDisruptiveFollowerPreVote, TestPreVoteWithCheckQuorum; hashicorp
    PreVoteAvoidElectionWithPartition"""
    c = cluster(5, seed=seed)
    leader = c.elect()
    c.converge()
    term = c.rafts[leader].term
    gone = c.followers()[:2]
    c.partition(*gone)
    c.run(6.0)
    c.write(leader, *(b"k%d:" % n for n in range(20)))
    c.heal()
    c.run(2.0)
    c.converge()
    assert (c.leader(), c.rafts[leader].term) == (leader, term)


def test_who_was_told_to_stand_while_cut_off_deposes_nobody_later(cluster) -> None:
    """etcd TestLeaderTransferTimeout: a transfer is void after an election timeout"""
    c = cluster(3)
    leader = c.elect()
    c.converge()
    away = c.followers()[0]
    c.rafts[away].receive(
        leader, {"kind": "raft", "type": "timeout_now", "term": c.rafts[leader].term}
    )
    c.partition(away)  # before the turn in which it would have stood
    c.run(8.0)
    c.write(leader, b"x:")
    term = c.rafts[leader].term
    c.heal()
    c.run(3.0)
    c.converge()
    assert (c.leader(), c.rafts[leader].term) == (leader, term)
