"""Raft over a network that loses, delays, doubles and reorders what is sent."""

import random
import statistics
from collections import Counter

import pytest

from stationkeep.node.peers.sessions import MAX_BODY
from stationkeep.node.ports import Committed, NotProposed
from stationkeep.node.raft import Timings
from tests.node.raft.harness import Cluster


def over_datagrams(
    cluster, size: int = 3, *, loss: float, seed: int = 1, latest: float = 0.003
) -> Cluster:
    c: Cluster = cluster(size, seed=seed)
    draw = random.Random(seed)
    c.ordered, c.comfortable = False, MAX_BODY
    c.delay = (0.001, latest)
    c.drop = lambda *_: draw.random() < loss
    c.duplicate = lambda *_: draw.random() < 0.05
    return c


@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_lost_late_or_doubled_each_proposal_is_applied_once(cluster, seed) -> None:
    """Also without a key, and forwarded: a ticket is appended once."""
    draw = random.Random(seed)
    c = over_datagrams(cluster, loss=draw.uniform(0.05, 0.4), seed=seed, latest=0.25)
    c.elect()
    drafts = [b"draft %d" % n for n in range(60)]
    results = []
    for draft in drafts:
        results.append(c.propose(draw.choice(c.names), draft, timeout=20.0))
        c.run(draw.uniform(0, 0.1))
    c.drop = lambda *_: False
    c.run_until(lambda: all(results))
    c.converge()
    applied = Counter(draft for _, draft in c.machines["n1"].log)
    assert not [draft for draft, times in applied.items() if times > 1]
    for draft, (result,) in zip(drafts, results, strict=True):
        if isinstance(result, Committed):
            assert (result.index, draft) in c.machines["n1"].log
        elif isinstance(result, NotProposed):
            assert draft not in applied


def test_a_fifth_of_all_messages_lost_deposes_no_leader_and_delays_no_write_for_long(
    cluster,
) -> None:
    c = over_datagrams(cluster, 5, loss=0.2)
    leader = c.elect()
    c.converge()
    term, taken = c.rafts[leader].term, []
    for n in range(400):
        began = c.clock.now
        result = c.propose(c.names[n % 5], b"%d:" % n + bytes(100))
        c.run_until(lambda result=result: bool(result))
        assert isinstance(result[0], Committed)
        taken.append(c.clock.now - began)
        c.run(0.05)
    assert (c.leader(), c.rafts[leader].term) == (leader, term)
    quantiles = statistics.quantiles(taken, n=100)
    assert quantiles[49] <= 2 * c.timings.heartbeat
    assert quantiles[98] <= 1.0


@pytest.mark.parametrize("latest", [0.003, 0.1])
def test_a_follower_that_was_away_catches_up_in_datagrams(cluster, latest: float) -> None:
    """10,000 entries of 100 bytes; no message is larger than a datagram."""
    c = over_datagrams(cluster, loss=0.0, latest=latest)
    leader = c.elect()
    away = c.followers()[0]
    c.partition(away)
    for batch in range(10):
        c.write(leader, *(b"%d:" % (1_000 * batch + n) + bytes(96) for n in range(1_000)))
    draw = random.Random(7)
    c.drop = lambda *_: draw.random() < 0.2
    c.heal()
    last = c.rafts[leader].commit_index
    sent = len(c.seen)
    c.run_until(lambda: c.rafts[away].applied_index >= last, 60.0)
    sizes = [
        sum(len(command) for command, *_ in m["entries"])
        for _, to, m in c.seen[sent:]
        if to == away and "entries" in m
    ]
    assert max(sizes) <= MAX_BODY
    assert sum(sizes) < 4 * 10_000 * 100, "what is sent again is little beside what is not"


def test_an_append_that_overtakes_another_waits_for_it(cluster) -> None:
    c = cluster()
    leader = c.elect()
    c.converge()
    follower = c.followers()[0]
    raft = c.rafts[leader]
    held = []

    def hold(sender, to, message) -> bool:
        if to == follower and message.get("entries") and not held:
            held.append(message)
            return True
        return False

    c.drop = hold
    first = c.propose(leader, b"first:" + bytes(2_000))
    raft.turn()
    second = c.propose(leader, b"second:")
    c.run(0.02)
    before = c.rafts[follower]._engine.last_index()
    c.drop = lambda *_: True
    c.deliver(leader, follower, held[0])
    assert c.rafts[follower]._engine.last_index() == before + 2
    c.drop = lambda *_: False
    c.run_until(lambda: bool(first and second))


def test_what_is_sent_again_may_be_compacted_by_now(cluster) -> None:
    """Found by the simulator: the leader looked for it in its log for ever."""
    c = cluster(3, timings=Timings(compact_entries=16))
    leader = c.elect()
    c.converge()
    c.rafts[leader].limit_batches(4)
    away = c.followers()[0]
    c.drop = lambda sender, to, _: away in (sender, to)
    c.write(leader, *(b"%d:" % n for n in range(15)))
    c.run(0.5)
    c.write(leader, b"15:")
    c.run(3.0)
    c.drop = lambda *_: False
    c.converge()


def test_an_answer_to_an_earlier_life_of_a_follower_is_none_to_this_one(cluster) -> None:
    """Its tickets begin anew; the leader stood still with a draft of before in its inbox."""
    c = cluster()
    leader = c.elect()
    c.converge()
    follower = c.followers()[0]
    held: list[dict] = []

    def hold(sender, _, message) -> bool:
        if sender == follower and message["kind"] == "propose":
            held.append(message)
            return True
        return False

    c.drop = hold
    c.propose(follower, b"before")
    c.run_until(lambda: bool(held))
    before = held[0]
    c.crash(follower)
    c.start(follower)
    c.run_until(lambda: c.rafts[follower].leader == leader)
    held.clear()
    result = c.propose(follower, b"after")
    c.run_until(lambda: bool(held))
    c.rafts[leader].receive(follower, before)
    c.run(0.05)
    c.drop = lambda *_: False
    c.run_until(lambda: bool(result))
    assert isinstance(result[0], Committed)
    assert (result[0].index, b"after") in c.machines[leader].log


def test_what_waited_for_a_leader_is_not_taken_for_lost_when_there_is_one(cluster) -> None:
    c = cluster()
    leader = c.elect()
    c.converge()
    c.partition(leader)
    follower = c.followers()[0]
    c.run_until(lambda: c.rafts[follower].leader is None)
    result = c.propose(follower, b"draft")
    c.run_until(lambda: bool(result))
    assert isinstance(result[0], Committed)
