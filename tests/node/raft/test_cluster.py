"""Three to five members on a simulated network: what a cluster is for, and under faults."""

import random
from collections import Counter
from typing import Any

import pytest

from stationkeep.node.ports import Committed, NotProposed, OutcomeUnknown, ProposalResult
from stationkeep.node.raft import Timings
from stationkeep.node.raft.storage.snapshot_store import WINDOW
from tests.node.raft.harness import TIMINGS, Cluster


def drafts(prefix: str, count: int) -> list[bytes]:
    return [f"{prefix}{n}:x".encode() for n in range(count)]


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_one_leader_and_the_same_log_everywhere(cluster, size: int) -> None:
    c = cluster(size)
    leader = c.elect()
    c.write(leader, *drafts("k", 50))
    c.converge()
    assert [d for _, d in c.machines[leader].log] == drafts("k", 50)
    assert [m.offices for m in c.machines.values()].count(1) == 1
    assert all(r.has_quorum for r in c.rafts.values())


def test_a_proposal_is_answered_after_it_is_applied_here(cluster) -> None:
    c = cluster()
    leader = c.elect()
    for node in c.rafts:  # at the leader, and forwarded by each follower
        applied: list[bool] = []

        def done(result: ProposalResult, node: str = node, applied: list[bool] = applied) -> None:
            assert isinstance(result, Committed)
            assert result.applied.outcome.result == {"index": result.index}
            applied.append(any(d == f"{node}:1".encode() for _, d in c.machines[node].log))

        c.rafts[node].propose(f"{node}:1".encode(), done, 5.0)
        c.run_until(lambda applied=applied: bool(applied))
        assert applied == [True]
    assert c.leader() == leader


def test_latency_is_the_network_and_not_a_heartbeat(cluster) -> None:
    c = cluster(delay=(0.001, 0.001))
    leader, started = c.elect(), None
    c.converge()
    for node, hops in ((leader, 2), (c.followers()[0], 4)):
        started = c.clock.now
        result = c.propose(node, b"k")
        c.run_until(lambda result=result: bool(result))
        assert c.clock.now - started <= hops * 0.001 + 0.0005


def test_the_leader_dies_and_nothing_acknowledged_is_lost(cluster) -> None:
    c = cluster()
    first = c.elect()
    c.write(first, *drafts("a", 30))
    c.crash(first)
    second = c.elect()
    assert second != first
    c.write(second, *drafts("b", 30))
    c.start(first)
    c.converge()
    assert [d for _, d in c.machines[first].log] == drafts("a", 30) + drafts("b", 30)
    assert max(r.leader_changes for r in c.rafts.values()) == 2


def test_the_whole_cluster_restarts_from_its_disks(cluster) -> None:
    c = cluster()
    c.write(c.elect(), *drafts("k", 100))
    c.converge()
    terms = {n: r.term for n, r in c.rafts.items()}
    for name in c.names:
        c.crash(name)
    for name in c.names:
        c.start(name)
        assert c.rafts[name].term == terms[name]
    c.write(c.elect(), b"after:1")
    c.converge()
    assert [d for _, d in c.machines["n1"].log] == [*drafts("k", 100), b"after:1"]


def test_without_a_quorum_nothing_is_committed_and_everyone_is_told(cluster) -> None:
    c = cluster()
    leader = c.elect()
    c.converge()
    c.partition(leader)
    at_leader = c.propose(leader, b"lost", timeout=3.0)
    c.run(0.2)
    assert not c.rafts[leader].has_quorum
    c.run_until(lambda: bool(at_leader))
    assert isinstance(at_leader[0], OutcomeUnknown)
    nobody = c.propose(leader, b"nobody", timeout=1.0)
    c.run_until(lambda: bool(nobody))
    assert nobody == [NotProposed("no_leader")]
    c.heal()
    c.converge()
    assert all(b"lost" not in dict(m.log).values() for m in c.machines.values())


def test_a_late_member_is_sent_a_snapshot(cluster) -> None:
    timings = Timings(**{**_fields(TIMINGS), "compact_entries": 64})
    c = cluster(timings=timings)
    leader = c.elect()
    late = c.followers()[0]
    c.crash(late)
    c.write(leader, *drafts("k", 400))
    c.run(0.1)
    assert c.rafts[leader].log_entries <= 80
    assert c.rafts[leader].snapshot_seconds > 0
    c.start(late)
    c.converge()
    assert c.machines[late].log == c.machines[leader].log
    assert any("chunk" in m for m in c.sent(leader, "append_entries"))
    c.crash(late)  # and what it installed survives
    c.start(late)
    assert c.rafts[late].applied_index > 300
    c.converge()


def test_a_member_briefly_away_needs_no_snapshot(cluster) -> None:
    timings = Timings(**{**_fields(TIMINGS), "compact_entries": 400})
    c = cluster(timings=timings)
    leader = c.elect()
    c.write(leader, *drafts("k", 390))
    c.converge()
    late = c.followers()[0]
    c.crash(late)
    c.write(leader, *drafts("l", 20))  # compacts, but keeps a tail of 50
    c.run(0.1)
    assert c.rafts[leader].log_entries < 100
    c.start(late)
    c.converge()
    assert not any("chunk" in m for m in c.sent(leader, "append_entries"))


def test_a_large_snapshot_is_sent_in_paced_chunks(cluster) -> None:
    timings = Timings(**{**_fields(TIMINGS), "compact_entries": 16})
    c = cluster(timings=timings)
    leader = c.elect()
    c.converge()
    late = c.followers()[0]
    c.crash(late)
    c.write(leader, *(b"%d:" % n + random.Random(n).randbytes(200_000) for n in range(40)))
    c.seen.clear()
    c.start(late)
    c.converge()
    chunks = [m for m in c.sent(leader, "append_entries") if "chunk" in m]
    assert [m["chunk"][2] for m in chunks] == list(range(chunks[0]["chunk"][3])), "L4: each once"
    assert len(chunks) > 20
    ahead = most = 0
    for sender, _, message in c.seen:
        if sender == leader and "chunk" in message:
            ahead += 1
        elif sender == late and message.get("type") == "snapshot_chunk":
            ahead -= 1
        most = max(most, ahead)
    assert most <= WINDOW, "L4: no more than the follower has confirmed"


def test_a_snapshot_survives_loss_on_the_way(cluster) -> None:
    timings = Timings(**{**_fields(TIMINGS), "compact_entries": 16})
    c = cluster(timings=timings)
    leader = c.elect()
    c.converge()
    late = c.followers()[0]
    c.crash(late)
    c.write(leader, *(b"%d:" % n + random.Random(n).randbytes(200_000) for n in range(20)))
    loss = random.Random(7)
    c.drop = lambda *_: loss.random() < 0.2
    c.start(late)
    c.run(20)
    c.drop = lambda *_: False
    c.converge()


def test_leadership_is_handed_over_and_no_keyed_proposal_is_lost(cluster) -> None:
    c = cluster()
    leader = c.elect()
    c.converge()
    results = [c.propose(n, f"{n}-{i}:".encode(), retry=True) for n in c.rafts for i in range(20)]
    started = c.clock.now
    assert c.rafts[leader].transfer_leadership()
    results.append(c.propose(leader, b"meanwhile:", retry=True))
    c.run_until(lambda: c.leader() not in (None, leader))
    assert c.clock.now - started < TIMINGS.election_min, "at once, not after a timeout"
    c.run_until(lambda: all(results))
    assert all(isinstance(r[0], Committed) for r in results)
    c.converge()


def test_nobody_to_hand_over_to(cluster) -> None:
    c = cluster()
    leader = c.elect()
    assert not c.rafts[c.followers()[0]].transfer_leadership()
    c.partition(leader)
    assert not c.rafts[leader].transfer_leadership()
    alone = cluster(1)
    assert not alone.rafts[alone.elect()].transfer_leadership()


def test_timings_change_while_running(cluster) -> None:
    c = cluster()
    leader = c.elect()
    slow = Timings(heartbeat=1.0, election_min=5.0, election_max=6.0, step_down=10.0)
    for raft in c.rafts.values():
        raft.configure(slow)
    c.run(7.0)  # old deadlines pass
    leader = c.elect()
    c.seen.clear()
    c.run(5.0)
    assert len(c.sent(leader, "append_entries")) <= 2 * 6
    assert c.leader() == leader


@pytest.mark.parametrize("seed", [*range(10), 25, 166])
def test_under_random_faults(cluster, seed: int) -> None:
    """Loss, duplicates, delays, partitions, crashes; then healed: nothing acknowledged is lost,
    every callback was called exactly once, all agree (safety is checked at every step)."""
    rng = random.Random(seed)
    size = rng.choice([3, 3, 5])
    timings = Timings(**{**_fields(TIMINGS), "compact_entries": rng.choice([30, 200, 5000])})
    c = cluster(size, seed=seed, timings=timings, delay=(0.001, rng.choice([0.003, 0.08])))
    loss, doubles = rng.choice([0.0, 0.05, 0.2]), rng.choice([0.0, 0.02])
    c.drop = lambda *_: rng.random() < loss
    c.duplicate = lambda s, p, m: m["kind"] == "raft" and rng.random() < doubles
    calls: Counter[bytes] = Counter()
    acknowledged: set[bytes] = set()
    expected: set[bytes] = set()
    for turn in range(60):
        disturb(c, rng)
        for name, raft in list(c.rafts.items()):
            draft = f"{turn}-{name}:v".encode()
            expected.add(draft)

            def done(result: Any, draft: bytes = draft) -> None:
                calls[draft] += 1
                if isinstance(result, Committed):
                    acknowledged.add(draft)

            raft.propose(draft, done, 4.0, retry=rng.random() < 0.7)
        c.run(rng.uniform(0.01, 0.5))
    c.drop = c.duplicate = lambda *_: False
    c.heal()
    for name in c.names:
        if name not in c.rafts:
            c.start(name)
    c.run(6.0)
    c.converge()
    applied = [d for _, d in c.machines["n1"].log]
    assert acknowledged <= set(applied)
    assert len(applied) == len(set(applied)), "S10: a keyed command has its effect once"
    assert set(calls.values()) <= {1}
    assert len(calls) > len(expected) // 3
    assert acknowledged


def disturb(c: Cluster, rng: random.Random) -> None:
    what = rng.random()
    if what < 0.06 and len(c.rafts) > len(c.names) // 2 + 1:
        c.crash(rng.choice(sorted(c.rafts)))
    elif what < 0.15:
        for name in c.names:
            if name not in c.rafts:
                c.start(name)
    elif what < 0.22:
        c.partition(rng.choice(c.names))
    elif what < 0.35:
        c.heal()


def _fields(timings: Timings) -> dict[str, float]:
    return {f: getattr(timings, f) for f in timings.__struct_fields__}
