"""Hazard L2: nobody deposes a healthy leader, and nobody stays deaf to one.

Every test that shows the guard also shows what happens without it.
"""

from typing import Any

import pytest

from stationkeep.node.raft import Guards
from tests.node.raft.harness import GOOD_VOTE, Cluster

WITHOUT = Guards(l2=False)


def after_isolation(c: Cluster) -> tuple[str, int, str, int]:
    """Leader and term before a follower was cut off for ten seconds, and after it came back."""
    leader = c.elect()
    c.converge()
    term = c.rafts[leader].term
    away = c.followers()[0]
    c.partition(away)
    c.run(10.0)
    c.heal()
    c.run(3.0)
    c.converge()
    return leader, term, str(c.leader()), c.rafts[str(c.leader())].term


@pytest.mark.parametrize("seed", range(5))
def test_l2_who_returns_deposes_nobody_and_the_term_stays(cluster, seed: int) -> None:
    leader, term, leader_after, term_after = after_isolation(cluster(5, seed=seed))
    assert (leader_after, term_after) == (leader, term)


def test_l2_off_who_returns_brings_a_higher_term(cluster) -> None:
    """Cut off on one side only: it still reaches the others, and hears none of them."""
    terms = {}
    for guards in (Guards(), WITHOUT):
        c = cluster(3, guards=guards)
        leader = c.elect()
        c.converge()
        deaf = c.followers()[0]
        before = c.rafts[leader].term
        c.drop = lambda s, p, m, deaf=deaf: p == deaf
        c.run(10.0)
        c.drop = lambda *_: False
        c.run(3.0)
        c.converge()
        terms[guards.l2] = max(r.term for r in c.rafts.values()) - before
    assert terms[True] == 0
    assert terms[False] >= 5


def test_l2_a_cut_off_pair_asks_and_asks_and_its_terms_do_not_grow(cluster) -> None:
    c = cluster(5)
    leader = c.elect()
    c.converge()
    pair = c.followers()[:2]
    c.partition(*pair)
    term = c.rafts[leader].term
    c.run(20.0)
    assert [c.rafts[n].term for n in pair] == [term, term]
    assert len(c.sent(pair[0], "pre_vote")) > 5
    assert not c.sent(pair[0], "request_vote")


def ask(c: Cluster, asker: str, voter: str, **fields: Any) -> bool | None:
    """A request for a (pre-)vote by hand; whether it was granted, None without an answer."""
    engine = c.rafts[voter]._engine
    message = {
        "type": "pre_vote", "round": 1, "term": engine.raftCurrentTerm + 1,
        "last_log_index": engine.last_index(), "last_log_term": engine.raftCurrentTerm,
        "transfer": False, **fields,
    }  # fmt: skip
    c.seen.clear()
    c.deliver(asker, voter, message)
    if message["type"] == "request_vote":
        return bool(c.sent(voter, "response_vote"))
    answers = c.sent(voter, "pre_vote_answer")
    return answers[0]["granted"] if answers else None


def quiet(cluster) -> tuple[Cluster, str, str]:
    """A follower that has heard no leader for a while, and another one."""
    c = cluster()
    c.elect()
    c.converge()
    one, other = c.followers()
    c.drop = lambda *_: True
    c.clock.now += c.timings.election_min
    return c, one, other


def test_l2_a_pre_vote_changes_nothing(cluster) -> None:
    c, voter, asker = quiet(cluster)
    before = (c.rafts[voter].term, c.journals[voter].getVotedForNodeId())
    assert ask(c, asker, voter)
    assert ask(c, asker, voter), "it is no promise"
    assert (c.rafts[voter].term, c.journals[voter].getVotedForNodeId()) == before


def test_l2_no_pre_vote_for_a_log_that_lacks_something(cluster) -> None:
    c, voter, asker = quiet(cluster)
    last = c.rafts[voter]._engine.last_index()
    assert not ask(c, asker, voter, last_log_index=last - 1)
    assert not ask(c, asker, voter, last_log_term=0, last_log_index=last + 9)
    assert not ask(c, asker, voter, term=c.rafts[voter].term)
    assert ask(c, asker, voter)


@pytest.mark.parametrize("kind", ["pre_vote", "request_vote"])
def test_l2_who_hears_a_leader_votes_for_nobody_else(cluster, kind: str) -> None:
    for guards, granted in ((Guards(), False), (WITHOUT, True)):
        if kind == "pre_vote" and not guards.l2:
            continue  # there are none without the guard
        c = cluster(guards=guards)
        leader = c.elect()
        c.converge()
        voter, asker = c.followers()
        term = c.rafts[voter].term
        assert ask(c, asker, voter, type=kind) is granted
        assert (c.rafts[voter].term == term) is not granted, "a sticky voter keeps its term too"
        assert c.leader() == leader


def test_l2_an_election_that_the_leader_asked_for_is_heard(cluster) -> None:
    c = cluster()
    c.elect()
    c.converge()
    voter, asker = c.followers()
    assert ask(c, asker, voter, type="request_vote", transfer=True)


def test_l2_leadership_is_handed_over_within_the_sticky_time(cluster) -> None:
    c = cluster(5)
    leader = c.elect()
    c.converge()
    started = c.clock.now
    assert c.rafts[leader].transfer_leadership()
    c.run_until(lambda: c.leader() not in (None, leader))
    assert c.clock.now - started < c.timings.election_min


@pytest.mark.parametrize("guards", [Guards(), WITHOUT])
def test_l2_a_leader_with_a_lower_term_is_told_so(cluster, guards: Guards) -> None:
    """A follower whose term is higher hears nothing that the leader says."""
    c = cluster(guards=guards)
    leader = c.elect()
    c.converge()
    ahead = c.followers()[0]
    term = c.rafts[leader].term
    c.drop = lambda s, p, m: m.get("type") == "request_vote"  # it cannot help itself
    c.rafts[ahead]._engine._SyncObj__setCurrentTerm(term + 5, None)
    c.write(leader, b"with the others:")
    c.run(3.0)
    c.drop = lambda *_: False
    if guards.l2:
        c.converge()
        assert c.rafts[str(c.leader())].term > term + 5
    else:
        told = [m for s, _, m in c.seen if s == ahead and m.get("type") == "stale_term"]
        assert not told


def test_l2_two_that_refuse_each_other_agree_on_a_term(cluster) -> None:
    """One has the longer log, the other the higher term; the third is gone."""
    c = cluster()
    leader = c.elect()
    c.converge()
    behind, other = c.followers()
    c.partition(behind)
    c.write(leader, b"only two have it:")
    c.crash(other)
    c.rafts[behind]._engine._SyncObj__setCurrentTerm(c.rafts[leader].term + 7, None)
    c.run(3.0)
    c.heal()
    c.run_until(lambda: c.leader() is not None)
    c.converge()
    assert c.leader() == leader, "who has the longer log"


def test_l2_an_answer_to_an_older_round_counts_for_nothing(cluster) -> None:
    c = cluster(5)
    c.elect()
    c.converge()
    asker, *others = c.followers()
    c.drop = lambda *_: True
    engine = c.rafts[asker]._engine
    c.run_until(lambda: bool(c.sent(asker, "pre_vote")))
    number, term = engine._round, engine.raftCurrentTerm
    yes = {"type": "pre_vote_answer", "term": term, "granted": True, **GOOD_VOTE}
    for name in others:
        c.deliver(name, asker, {**yes, "round": number - 1})
    assert engine.raftCurrentTerm == term
    for name in (others[0], others[0], others[1]):
        c.deliver(name, asker, {**yes, "round": number})
        assert (engine.raftCurrentTerm > term) is (name == others[1]), "a voter counts once"
