"""Real processes: what operators order, and what the cluster makes of sick and lying nodes.

Each test reads the outcome where an operator would: in the roles and in the decisions.
"""

from pathlib import Path
from typing import Any

import pytest

from stationkeep.node.chaos.constellation import Constellation

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]


def decisions(cluster: Constellation, **wanted: str) -> list[dict[str, Any]]:
    """The newest decisions whose fields have these values."""
    items = cluster.anyone("/v1/decisions?limit=500")["items"]
    return [d for d in items if all(d[field] == value for field, value in wanted.items())]


def run_of(cluster: Constellation, node: str) -> int:
    return int(cluster.nodes()[node]["consecutive_unhealthy"])


def order(cluster: Constellation, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """A write that must be done; asks any node that is in touch with a leader."""

    def done() -> dict[str, Any] | None:
        node = next(n for n in cluster.local.running())
        answer: dict[str, Any] = cluster.ask(node, path, body)
        return answer if answer.get("status") == "done" else None

    answer: dict[str, Any] = cluster.until(f"{path} is done", done)
    return answer


def seat_changes(cluster: Constellation) -> list[dict[str, Any]]:
    items = cluster.anyone("/v1/roles/history?limit=500")["items"]
    return [c for c in items if c["target"] == "PRIMARY"]


def seat_changes_until(cluster: Constellation, primary: str) -> int:
    """How often the seat was filled until this node acts: the first to start may have it first."""
    cluster.give_seat(primary)
    return len(seat_changes(cluster))


def recording(path: Path, steps: list[tuple[float, float]]) -> Path:
    """A health recording: (seconds, risk) one after the other, then a day of the last."""
    lines, at = ["timestamp,risk"], 0.0
    for seconds, risk in steps:
        lines.append(f"{at:.1f},{risk}")
        at += seconds
    lines += [f"{at:.1f},{steps[-1][1]}", f"{at + 86_400:.1f},{steps[-1][1]}"]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_primary_at_045_for_ever_costs_exactly_one_change(
    constellation: Constellation, tmp_path: Path
) -> None:
    risks = recording(
        tmp_path / "sick.csv", [(20, 0.0), (1, 0.25), (1, 0.35), (1, 0.42), (1, 0.45)]
    )
    constellation.up(replays={"sat-001": risks})
    before = seat_changes_until(constellation, "sat-001")
    constellation.until(
        "it is isolated in the end",
        lambda: constellation.nodes()["sat-001"]["effective_role"] == "SAFE_MODE",
        60.0,
    )
    constellation.until("and has stayed sick", lambda: run_of(constellation, "sat-001") > 15)
    assert len(seat_changes(constellation)) == before + 1
    failed = decisions(constellation, matter="primary_failed", outcome="approved")
    assert len(failed) == 1
    assert all(risk > 0.3 for risk in failed[0]["evidence"]["sat-001"][-3:])


def test_the_seeds_fluctuating_scores_cost_one_change(
    constellation: Constellation, tmp_path: Path
) -> None:
    """0.25 0.35 0.40 0.38 0.12 0.15; the unhealthy steps last 1.1 s so that they span three
    evaluations of 1 s wherever those begin."""
    steps = [(20, 0.0), (1, 0.25), (1.1, 0.35), (1.1, 0.40), (1.1, 0.38), (1, 0.12), (1, 0.15)]
    constellation.up(replays={"sat-001": recording(tmp_path / "fluctuating.csv", steps)})
    before = seat_changes_until(constellation, "sat-001")
    constellation.until("one change", lambda: len(seat_changes(constellation)) == before + 1, 40.0)
    constellation.until(
        "it is healthy for a whole window",
        lambda: constellation.nodes()["sat-001"]["failure_mode"] == "HEALTHY",
        40.0,
    )
    assert len(seat_changes(constellation)) == before + 1
    assert constellation.nodes()["sat-001"]["effective_role"] in ("BACKUP", "STANDBY")


def test_short_fits_cost_nothing_and_are_counted(
    constellation: Constellation, tmp_path: Path
) -> None:
    fits = [(20.0, 0.0)] + [(1.4, 0.6), (2.0, 0.1)] * 6
    constellation.up(replays={"sat-001": recording(tmp_path / "fits.csv", fits)})
    before = seat_changes_until(constellation, "sat-001")
    constellation.until(
        "fits were seen",
        lambda: sum(h["risk"] > 0.3 for h in constellation.nodes()["sat-001"]["history"]) >= 2,
        40.0,
    )
    constellation.until(
        "and have passed",
        lambda: constellation.nodes()["sat-001"]["failure_mode"] == "HEALTHY",
        60.0,
    )
    assert len(seat_changes(constellation)) == before


@pytest.mark.parametrize("switch", ["swarm_mode", "pause"])
def test_switched_off_or_paused_nothing_changes_until_it_is_on_again(
    constellation: Constellation, switch: str
) -> None:
    constellation.up()
    primary = constellation.settled()
    other = next(n for n in constellation.addresses if n != primary)
    if switch == "pause":
        order(constellation, "/v1/pause", {"duration": "10m", "reason": "test"})
    else:
        assert constellation.ask(other, "/v1/config", {"swarm_mode": False}, "PATCH")["status"]
    constellation.kill(primary)
    constellation.until("failing for long", lambda: run_of(constellation, primary) >= 6)
    assert constellation.nodes()[primary]["role"] == "PRIMARY"
    if switch == "pause":
        order(constellation, "/v1/resume", {})
    else:
        constellation.ask(other, "/v1/config", {"swarm_mode": True}, "PATCH")
    constellation.until("replaced", lambda: constellation.nodes()[primary]["role"] == "BACKUP")
    assert decisions(constellation, matter="resume" if switch == "pause" else "settings")


def test_maintenance_drains_the_primary_and_keeps_it_out(constellation: Constellation) -> None:
    constellation.up(nodes=3)
    primary = constellation.settled()
    with constellation.watch() as watch:
        reign = watch.wait(lambda a: a.node == primary, 5.0)
        answer = order(
            constellation, f"/v1/nodes/{primary}/maintenance", {"on": True, "duration": "1m"}
        )
        assert answer["result"]["role"] == "STANDBY"
        successor = watch.wait(lambda a: a.epoch > reign.epoch, 10.0).node
    assert watch.violations() == []
    constellation.until(
        "it acts as STANDBY",
        lambda: constellation.nodes()[primary]["effective_role"] == "STANDBY",
    )
    third = next(n for n in constellation.addresses if n not in (primary, successor))
    constellation.kill(successor)
    constellation.until("the third takes over", lambda: constellation.ask(third, "/primary")["ok"])
    assert decisions(constellation, matter="maintenance", outcome="done")


def test_priority_zero_is_never_primary(constellation: Constellation) -> None:
    constellation.up(nodes=3)
    primary = constellation.settled()
    barred, free = (n for n in constellation.addresses if n != primary)
    order(constellation, f"/v1/nodes/{barred}/priority", {"priority": 0})
    constellation.kill(primary)
    constellation.until("the free one acts", lambda: constellation.ask(free, "/primary")["ok"])
    passed_over = decisions(constellation, matter="primary_failed")[0]["rejected"]
    assert {"node": barred, "reason": "priority_zero"} in passed_over


def test_a_safety_policy_denies_until_it_is_removed(constellation: Constellation) -> None:
    """Two of five forbid every change of the seat: of 4 or 5 electors, 3 or 4 must agree."""
    constellation.up()
    primary = constellation.settled()
    wary = [n for n in constellation.addresses if n != primary][:2]
    policy = {"name": "freeze", "priority": "safety", "score": 1.0, "forbids": ["*->PRIMARY"]}
    for node in wary:
        order(constellation, f"/v1/nodes/{node}/policies", policy)
    constellation.kill(primary)
    denied = constellation.until(
        "denied", lambda: decisions(constellation, matter="primary_failed", outcome="denied")
    )
    against = [b for b in denied[0]["ballots"] if not b["approve"]]
    assert {b["policy"] for b in against} == {"freeze"}
    assert {b["voter"] for b in against} <= set(wary)
    assert constellation.nodes()[primary]["role"] == "PRIMARY"
    for node in wary:
        constellation.ask(wary[0], f"/v1/nodes/{node}/policies/freeze", None, "DELETE")
    constellation.until("replaced", lambda: constellation.nodes()[primary]["role"] == "BACKUP")


def test_a_failing_hook_escalates_and_costs_the_seat(constellation: Constellation) -> None:
    constellation.up(nodes=3)
    constellation.settled()
    constellation.local.down()
    for node in constellation.addresses:
        record = constellation.local.manifest().nodes[node]
        command = (
            "exit 3" if node == "sat-002" else f"echo $STATIONKEEP_EPOCH >> {record.log}.epochs"
        )
        hooks = f"\nhooks:\n  primary: '{command}'\n  timeout: 2s\n"
        with Path(record.config).open("a") as config:
            config.write(hooks)
    for node in constellation.addresses:
        constellation.local.start(node)
    constellation.until("a PRIMARY acts", lambda: constellation.roles().get("PRIMARY"))

    def forced() -> bool:
        answer = constellation.ask("sat-001", "/v1/failover", {"target": "sat-002", "force": True})
        return "done" in answer.values() or "is_primary" in answer.values()

    constellation.until("sat-002 is made PRIMARY", forced)
    escalated = constellation.until(
        "escalated at the deadline", lambda: decisions(constellation, matter="escalation"), 20.0
    )
    assert "sat-002" in escalated[0]["subjects"]
    assert "exit status 3" in str(escalated[0]["facts"]["failures"])
    constellation.until(
        "demoted to STANDBY", lambda: constellation.nodes()["sat-002"]["role"] == "STANDBY", 20.0
    )
    assert decisions(constellation, matter="primary_noncompliant", outcome="approved")
    successor = str(
        constellation.until("another acts", lambda: constellation.roles().get("PRIMARY"))[0]
    )
    epochs = Path(constellation.local.manifest().nodes[successor].log + ".epochs")
    epoch = constellation.nodes()[successor]["epoch"]
    constellation.until(
        "its hook ran once at this epoch",
        lambda: epochs.exists() and epochs.read_text().split().count(str(epoch)) == 1,
    )
