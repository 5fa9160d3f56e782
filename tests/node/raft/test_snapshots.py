"""Sending snapshots through bad connections, and writing them without holding up the loop."""

import itertools
from typing import Any

import pytest

from node.raft import engine, store
from tests.node.raft.harness import TIMINGS, Cluster


def behind(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[Cluster, str, str]:
    """A leader whose log was compacted beyond what a follower, cut off, has. Many chunks."""
    monkeypatch.setattr(store, "CHUNK_BYTES", 2_000)
    fields = {f: getattr(TIMINGS, f) for f in TIMINGS.__struct_fields__}
    c = cluster(timings=type(TIMINGS)(**{**fields, "compact_entries": 40}))
    leader = c.elect()
    c.converge()
    away = c.followers()[0]
    c.partition(away)
    c.write(leader, *(b"k%d:" % n + bytes(500) for n in range(200)))
    c.run(1.0)
    return c, leader, away


def chunks(c: Cluster, leader: str, away: str) -> list[int]:
    """Numbers of the chunks sent to the one who was away."""
    return [m["chunk"][2] for s, p, m in c.seen if (s, p) == (leader, away) and "chunk" in m]


def test_s2_a_snapshot_goes_on_where_the_connection_broke(cluster, monkeypatch) -> None:
    c, leader, away = behind(cluster, monkeypatch)
    c.heal()
    for part in (10, 20, 30):
        c.run_until(lambda part=part: max(chunks(c, leader, away), default=0) >= part)
        c.partition(away)
        c.run(0.3)
        c.heal()
    c.converge()
    sent = chunks(c, leader, away)
    assert sent.count(0) == 1, "it was begun once"
    assert max(sent) > 40
    assert len(sent) <= max(sent) + 1 + 3 * store.WINDOW, "only what was on its way again"


def test_s2_a_follower_that_lost_its_part_begins_anew(cluster, monkeypatch) -> None:
    c, leader, away = behind(cluster, monkeypatch)
    c.heal()
    c.run_until(lambda: max(chunks(c, leader, away), default=0) >= 10)
    c.crash(away)
    c.start(away)
    c.converge()
    assert chunks(c, leader, away).count(0) == 2


def test_s2_lost_and_repeated_chunks_do_no_harm(cluster, monkeypatch) -> None:
    c, _, _ = behind(cluster, monkeypatch)
    c.drop = lambda s, p, m: "chunk" in m and c.random.random() < 0.2
    c.duplicate = lambda s, p, m: "chunk" in m and c.random.random() < 0.2
    c.heal()
    c.converge(120.0)


def test_s2_another_leader_sends_a_snapshot_of_its_own(cluster, monkeypatch) -> None:
    c, leader, away = behind(cluster, monkeypatch)
    c.heal()
    c.run_until(lambda: max(chunks(c, leader, away), default=0) >= 10)
    c.crash(leader)
    c.run_until(lambda: c.leader() is not None)
    c.converge()
    c.start(leader)
    c.converge()


def test_compaction_lets_go_slice_by_slice(cluster, monkeypatch) -> None:
    monkeypatch.setattr(engine, "COMPACTED_PER_TURN", 10)
    fields = {f: getattr(TIMINGS, f) for f in TIMINGS.__struct_fields__}
    c = cluster(1, timings=type(TIMINGS)(**{**fields, "compact_entries": 150}))
    c.elect()
    c.write("n1", *(b"k%d:" % n for n in range(200)))
    journal, firsts = c.journals["n1"], []
    while not firsts or firsts[-1] < 100:
        c.step()
        firsts.append(journal[0][1])
    steps = {b - a for a, b in itertools.pairwise(firsts)}
    assert max(steps) <= 10
    c.crash("n1")
    assert c.start("n1").applied_index >= 150, "a half compacted journal covers its snapshot"
