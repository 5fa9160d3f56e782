"""Who gives a vote to whom, and who is elected by which."""

from functools import partial

import pytest

from stationkeep.node.raft import Guards
from tests.node.raft.classic.staging import Puppet, hand_over, stand
from tests.node.raft.harness import GOOD_VOTE


@pytest.mark.parametrize(
    ("last_term", "index", "granted"),
    [
        (1, 3, False),
        (1, 9, False),
        (2, 2, False),
        (2, 3, True),
        (2, 4, True),
        (3, 1, True),
        (3, 3, True),
    ],
)
@pytest.mark.parametrize("pre", [False, True])
def test_only_an_up_to_date_log_gets_a_vote(puppet, last_term, index, granted, pre) -> None:
    """etcd TestRecvMsgVote, TestRecvMsgPreVote, TestVoter: the log here ends with (3, term 2)"""
    puppet.append(2, (1, 0), [1, 2], 1)
    puppet.c.clock.now += 2.0
    if pre:
        assert puppet.ask_before(9, index, last_term) is granted
        assert puppet.engine.raftCurrentTerm == 2
    else:
        answer = puppet.ask(9, index, last_term)
        assert bool([m for m in answer if m["type"] == "response_vote"]) is granted
        assert puppet.engine.raftCurrentTerm == 9


def test_one_vote_a_term_also_after_a_crash(cluster) -> None:
    """etcd TestFollowerVote; hashicorp's persisted vote"""
    c = cluster(3)
    puppet = Puppet(c)
    assert puppet.ask(4, 1, 0)
    assert not puppet.ask(4, 9, 3, peer="n3")
    c.crash("n1")
    c.start("n1")
    assert not puppet.ask(4, 9, 3, peer="n3"), "it votes again after a restart"
    assert puppet.ask(5, 9, 3, peer="n3")


def test_several_pre_votes_may_be_granted(puppet) -> None:
    """etcd TestPreVoteFromAnyState: a pre-vote promises nothing"""
    assert puppet.ask_before(4, 5, 3)
    assert puppet.ask_before(4, 5, 3, peer="n3")
    assert puppet.engine._SyncObj__votedForNodeId is None


@pytest.mark.parametrize("state", ["follower", "candidate", "leader"])
def test_a_vote_of_a_higher_term_from_any_state(puppet, state) -> None:
    """etcd TestVoteFromAnyState"""
    if state == "leader":
        puppet.lead()
    elif state == "candidate":
        puppet.append(1, (1, 0), [], 1)
        puppet.say("n2", "timeout_now", term=1)
    term = puppet.engine.raftCurrentTerm + 1
    answer = puppet.ask(term, 50, term - 1 or 1)
    assert [m["term"] for m in answer if m["type"] == "response_vote"] == [term]
    assert not puppet.engine._isLeader()
    assert puppet.engine._SyncObj__votedForNodeId == "n2"


def test_a_candidate_concedes_to_a_leader_of_its_term(puppet) -> None:
    """etcd TestCandidateConcede, TestCandidateFallback"""
    puppet.append(1, (1, 0), [1], 1)
    puppet.say("n2", "timeout_now", term=1)
    term = puppet.engine.raftCurrentTerm
    assert term == 2
    puppet.append(term, (2, 1), [term], 3, peer="n3")
    assert puppet.c.rafts["n1"].leader == "n3"
    assert puppet.terms() == [0, 1, 2]
    puppet.say("n2", "response_vote", term=term, **GOOD_VOTE)
    assert not puppet.engine._isLeader(), "a vote that comes after it conceded"


def test_stale_and_repeated_votes_elect_nobody(cluster) -> None:
    """etcd TestDuelingCandidates: votes of an earlier term, and the same vote again"""
    p = Puppet(cluster(5))
    p.append(1, (1, 0), [1], 1)
    p.say("n2", "timeout_now", term=1)
    term = p.engine.raftCurrentTerm
    for _ in range(4):
        p.say("n3", "response_vote", term=term, **GOOD_VOTE)
        p.say("n4", "response_vote", term=term - 1, **GOOD_VOTE)
    assert not p.engine._isLeader()
    p.say("n4", "response_vote", term=term, **GOOD_VOTE)
    assert p.engine._isLeader()


@pytest.mark.parametrize("l2", [True, False])
def test_duelling_candidates(cluster, l2) -> None:
    """etcd TestDuelingCandidates, TestDuelingPreCandidates: two stand, and neither hears the other
    lead"""
    c = cluster(3, guards=Guards(l2=l2))
    leader = c.elect()
    c.converge()
    a, b = c.followers()
    c.partition(leader)
    c.drop = lambda s, p, m: {s, p} == {a, b} and m.get("type") == "append_entries"
    c.run(3.0)
    c.drop = lambda *_: False
    c.heal()
    c.run(3.0)
    c.converge()
    c.write(c.leader(), b"x:")


def test_every_member_leads_in_turn(cluster) -> None:
    """etcd TestLeaderCycle(PreVote)"""
    c = cluster(3)
    terms = []
    for name in ("n1", "n2", "n3", "n1"):
        hand_over(c, name)
        c.write(name, b"%d:" % len(terms))
        terms.append(c.rafts[name].term)
    assert terms == sorted(set(terms))


def test_a_leader_overwrites_what_an_elected_but_unheard_one_wrote(cluster) -> None:
    """etcd TestLeaderElectionOverwriteNewerLogs"""
    c = cluster(5)
    leader = c.elect()
    c.converge()
    common = c.rafts[leader]._engine.last_index()

    def led_by(name: str) -> bool:
        return c.rafts[name]._engine._isLeader()

    def logs() -> int:
        return len({tuple(c.journals[name][0:]) for name in c.names})

    c.drop = lambda _, __, m: bool(m.get("entries"))
    for _ in range(2):  # each one writes what nobody else has; the third would find no majority
        c.propose(leader, b"lost:", timeout=1.0)
        c.run(0.05)
        ended = [n for n in c.names if c.rafts[n]._engine.last_index() == common]
        stand(c, leader, ended[0])
        c.run_until(partial(led_by, ended[0]))
        leader = ended[0]
    c.run(0.05)
    assert logs() == 4, "three of their own, and one that two have"
    c.drop = lambda *_: False
    c.converge()
    c.write(c.elect(), b"x:")
    c.converge()
    assert logs() == 1


def test_a_split_pre_vote_is_followed_by_another_round(cluster) -> None:
    """etcd TestPreVoteWithSplitVote"""
    c = cluster(4)
    c.elect()
    c.converge()
    c.crash(c.leader())
    c.drop = lambda _, __, m: m.get("type") == "pre_vote_answer"
    c.run_until(lambda: len([m for _, _, m in c.seen if m.get("type") == "pre_vote_answer"]) > 8)
    assert c.leader() is None
    c.drop = lambda *_: False
    c.run_until(lambda: c.leader() is not None, 15.0)
    c.converge()


def test_a_node_of_a_smaller_term_can_be_elected(cluster) -> None:
    """etcd TestNodeWithSmallerTermCanCompleteElection"""
    c = cluster(3)
    leader = c.elect()
    c.converge()
    a, b = c.followers()
    c.partition(b)
    stand(c, leader, a)
    c.run_until(lambda: c.leader() == a)
    c.write(a, b"x:")
    c.heal()
    c.run_until(lambda: c.rafts[b].applied_index == c.rafts[a].applied_index)
    c.crash(a)
    c.run_until(lambda: c.leader() in (leader, b), 15.0)


def test_a_stuck_candidate_of_a_higher_term_is_freed(cluster) -> None:
    """etcd TestFreeStuckCandidateWithCheckQuorum, TestPreVoteMigrationWithFreeStuckPreCandidate"""
    c = cluster(3)
    c.elect()
    c.converge()
    stuck = c.followers()[0]
    c.partition(stuck)
    c.crash(stuck)
    c.start(stuck)
    c.rafts[stuck]._engine._SyncObj__setCurrentTerm(40, stuck)
    c.rafts[stuck].turn()
    c.heal()
    c.run(4.0)
    c.converge()
    assert all(raft.term >= 40 for raft in c.rafts.values())
