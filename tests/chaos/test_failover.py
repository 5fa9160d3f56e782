"""Real processes: the PRIMARY, the Raft leader, or both are taken away.

Bounds are those of roles.md, invariant 6, in profile demo: (3 + 1) evaluations of 1 s and a
proposal_timeout of 2 s; an election more when the Raft leader died as well.
"""

import signal
from pathlib import Path

import pytest

from stationkeep.node.chaos.constellation import Constellation

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]

BOUND = 6.0
WITH_ELECTION = BOUND + 2.0


def damage(path: Path) -> None:
    """Flips a byte in every 512 of a file."""
    data = bytearray(path.read_bytes())
    for offset in range(100, len(data), 512):
        data[offset] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize("together", [False, True], ids=["primary_only", "primary_and_leader"])
def test_a_killed_primary_is_replaced_within_the_bound(
    constellation: Constellation, together: bool
) -> None:
    constellation.up()
    primary = constellation.seat_primary(beside_leader=together)
    with constellation.watch() as watch:
        reign = watch.wait(lambda a: a.node == primary, 5.0)
        constellation.kill(primary)
        successor = watch.wait(
            lambda a: a.node != primary and a.epoch > reign.epoch,
            WITH_ELECTION if together else BOUND,
        )
        constellation.local.start(primary)
        constellation.until(
            "the old PRIMARY is back, but not in the seat",
            lambda: (
                constellation.nodes()[primary]["effective_role"]
                in ("BACKUP", "STANDBY", "SAFE_MODE")
            ),
        )
        constellation.until("it is healthy again", lambda: constellation.nodes()[primary]["alive"])
        assert constellation.ask(successor.node, "/primary")["ok"]
    assert watch.violations() == []
    story = constellation.anyone(f"/v1/nodes/{primary}/explain")
    failed = [d for d in story["decisions"] if d["matter"] == "primary_failed"]
    assert failed
    approved = next(d for d in failed if d["outcome"] == "approved")
    assert sum(b["approve"] for b in approved["ballots"]) >= approved["facts"]["quorum"]
    assert len(approved["evidence"][primary]) >= 3


def test_a_killed_raft_leader_costs_nobody_a_role(constellation: Constellation) -> None:
    constellation.up()
    primary = constellation.seat_primary(beside_leader=False)
    leader = constellation.leader()
    before = constellation.anyone("/v1/roles/history")["items"]
    with constellation.watch() as watch:
        reign = watch.wait(lambda a: a.node == primary, 5.0)
        constellation.kill(leader)
        survivor = next(n for n in constellation.addresses if n != leader)
        constellation.until(
            "another leads",
            lambda: constellation.ask(survivor, "/v1/cluster")["leader"] not in (None, leader),
        )
        constellation.local.start(leader)
        constellation.until("it is back", lambda: constellation.nodes()[leader]["alive"])
    assert {(n, e) for n, e, _, _ in watch.reigns()} == {(primary, reign.epoch)}
    assert watch.violations() == []
    seats = [c for c in constellation.anyone("/v1/roles/history")["items"] if c not in before]
    assert not [c for c in seats if "PRIMARY" in (c["origin"], c["target"])]


def test_a_stopped_primary_never_acts_again_without_a_new_epoch(
    constellation: Constellation,
) -> None:
    constellation.up()
    primary = constellation.settled()
    with constellation.watch() as watch:
        reign = watch.wait(lambda a: a.node == primary, 5.0)
        constellation.kill(primary, signal.SIGSTOP)
        watch.wait(lambda a: a.node != primary and a.epoch > reign.epoch, WITH_ELECTION)
        constellation.kill(primary, signal.SIGCONT)
        constellation.until(
            "it has learnt that it is not PRIMARY",
            lambda: constellation.ask(primary, "/primary")["role"] != "PRIMARY",
        )
        constellation.until("it is heard", lambda: constellation.nodes()[primary]["alive"])
    assert watch.violations() == []
    acted_after = [e for n, e, _, _ in watch.reigns() if n == primary and e != reign.epoch]
    assert acted_after == []


def test_the_whole_cluster_restarts_and_remembers(constellation: Constellation) -> None:
    constellation.up()
    primary = constellation.settled()
    node = next(n for n in constellation.addresses if n != primary)
    constellation.ask(primary, f"/v1/nodes/{node}/priority", {"priority": 7})
    before = constellation.anyone("/v1/roles/history")["items"]
    for each in constellation.addresses:
        constellation.kill(each)
    for each in constellation.addresses:
        constellation.local.start(each)
    with constellation.watch() as watch:
        watch.wait(lambda a: True, 20.0)
    assert watch.violations() == []
    assert constellation.nodes()[node]["priority"] == 7
    assert constellation.anyone("/v1/roles/history")["items"][-len(before) :] == before
    constellation.until(
        "all replicas are equal", lambda: len(set(constellation.digests().values())) == 1
    )


def test_without_quorum_nobody_acts_and_with_it_all_goes_on(constellation: Constellation) -> None:
    constellation.up()
    primary = constellation.settled()
    others = [n for n in constellation.addresses if n != primary][:3]
    for node in others:
        constellation.kill(node)
    constellation.until(
        "the PRIMARY fences itself", lambda: not constellation.ask(primary, "/primary")["ok"], 10.0
    )
    answer = constellation.ask(primary, "/v1/pause", {"duration": "10m"})
    assert answer["status"] in (503, "unknown")  # refused, or may still happen: never "done"
    for node in others:
        constellation.local.start(node)
    with constellation.watch() as watch:
        watch.wait(lambda a: True, 20.0)
    assert watch.violations() == []


def test_a_corrupt_journal_stops_the_node_and_says_what_to_do(
    constellation: Constellation,
) -> None:
    constellation.up(nodes=3)
    primary = constellation.settled()
    node = next(n for n in constellation.addresses if n != primary)
    constellation.kill(node)
    record = constellation.local.manifest().nodes[node]
    journals = [p for p in Path(record.data_dir).iterdir() if p.stat().st_size > 4096]
    assert journals
    for path in journals:
        damage(path)
    constellation.local.start(node)
    constellation.until("it has refused to run", lambda: node not in constellation.local.running())
    log = Path(record.log).read_text()
    assert "corrupt" in log.lower()
    assert "rejoin" in log or "restore" in log
    assert constellation.ask(primary, "/primary")["ok"]


@pytest.mark.parametrize("nodes", [3, 7])
def test_other_sizes_work_the_same(constellation: Constellation, nodes: int) -> None:
    constellation.up(nodes=nodes)
    primary = constellation.settled()
    with constellation.watch() as watch:
        reign = watch.wait(lambda a: a.node == primary, 5.0)
        constellation.kill(primary)
        watch.wait(lambda a: a.node != primary and a.epoch > reign.epoch, WITH_ELECTION)
    assert watch.violations() == []
