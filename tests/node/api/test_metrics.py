"""Metrics parse, say what the state says, and come from the leader where they are the cluster's."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from stationkeep.cluster.delivery.offers import plan_offers
from stationkeep.cluster.devices.moves import MoveReason
from stationkeep.cluster.transitions import TRANSITIONS, Role
from stationkeep.node.api.app import build
from stationkeep.node.metrics.cluster import percentile
from stationkeep.node.metrics.links import COUNTERS
from stationkeep.node.peers.figures import Reception
from stationkeep.node.service.port import Durations
from tests.node.api.fake import FakeNode, link
from tests.node.api.fleet_story import check, go_silent, register, report
from tests.node.api.rollout_story import RolloutStory

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
CLUSTER_WIDE = {
    "role_changes",
    "failover_time_seconds",
    "failover_time_seconds_p95",
    "failover_pending_seconds",
    "automatic_changes_paused",
    "flapping_events_blocked",
    "role_distribution",
    "node_risk_score",
    "proposals",
    "votes",
    "action_compliance_ratio",
    "alarm",
    "alarm_unacknowledged",
    "devices",
    "ring_moves",
    "tasks",
    "deployments",
    "task_transitions",
    "rollouts",
    "rollbacks",
    "rollout_stage_state",
    "rollout_stage_held",
    "rollout_members",
    "rollout_gate_value",
    "rollout_gate_limit",
    "rollout_gate_evidence",
    "rollout_gate_evidence_needed",
    "orders_refused",
    "operations_remembered",
}
EVERY_NODE = {
    "build_info",
    "primary_lease_remaining_seconds",
    "effective_primary",
    "raft_term",
    "raft_is_leader",
    "raft_leader_changes",
    "raft_commit_index",
    "raft_applied_index",
    "raft_commit_seconds",
    "raft_log_entries",
    "journal_sync_seconds",
    "snapshot_seconds",
    "event_loop_lag_seconds",
    "messages_rejected",
    "device_reports",
    "task_updates",
    "rebalance_seconds",
    "rollout_check_seconds",
    "rollout_gate_questions",
    "link_connected",
    "link_stalled",
    "link_in_doubt",
    "link_loss_ratio",
    "link_longest_silence_seconds",
    "link_datagrams_sent",
    "link_datagrams_received",
    "link_datagrams_duplicates",
    "link_datagrams_refused",
}


async def _scrape(client: httpx.AsyncClient) -> tuple[set[str], Samples]:
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    families = list(text_string_to_metric_families(answer.text))
    assert all(family.documentation for family in families)
    names = {f.name.removeprefix("stationkeep_") for f in families if "stationkeep" in f.name}
    samples = {
        (s.name.removeprefix("stationkeep_"), tuple(sorted(s.labels.items()))): s.value
        for family in families
        for s in family.samples
    }
    return names, samples


@pytest.fixture
def failed_over(node: FakeNode) -> FakeNode:
    for _ in range(3):
        node.evaluate(sat_001=None)
    assert node.state.seat.holder == "sat-002"
    return node


async def test_the_leader_exports_what_the_cluster_agrees_on(
    client: httpx.AsyncClient, failed_over: FakeNode
) -> None:
    names, samples = await _scrape(client)
    assert names >= CLUSTER_WIDE | EVERY_NODE
    moved = (("from", "PRIMARY"), ("reason", "primary_failed"), ("to", "BACKUP"))
    assert samples["role_changes_total", moved] == 1
    assert samples["role_distribution", (("role", "PRIMARY"),)] == 1
    assert samples["role_distribution", (("role", "SAFE_MODE"),)] == 0
    assert samples["node_risk_score", (("node", "sat-001"), ("role", "BACKUP"))] == 1
    assert samples["proposals_total", (("outcome", "approved"),)] == 2
    assert samples["proposals_total", (("outcome", "denied"),)] == 0
    assert samples["votes_total", (("verdict", "approve"),)] >= 4
    assert samples["action_compliance_ratio", ()] == 1
    assert samples["alarm", (("name", "no_primary"),)] == 0


async def test_a_follower_exports_only_its_own(
    client: httpx.AsyncClient, failed_over: FakeNode
) -> None:
    failed_over.consensus.is_leader = False
    names, samples = await _scrape(client)
    assert names & CLUSTER_WIDE == set()
    assert names >= EVERY_NODE
    assert samples["raft_is_leader", ()] == 0


async def test_failovers_are_a_histogram(client: httpx.AsyncClient, failed_over: FakeNode) -> None:
    counters = failed_over.state.counters
    assert counters.failovers == 1
    _, samples = await _scrape(client)
    assert samples["failover_time_seconds_count", ()] == 1
    assert samples["failover_time_seconds_sum", ()] == counters.failover_ms[0] / 1_000
    assert samples["failover_time_seconds_p95", ()] == counters.failover_ms[0] / 1_000
    cumulative = [
        value for (name, _), value in samples.items() if name == "failover_time_seconds_bucket"
    ]
    assert cumulative == sorted(cumulative)
    assert cumulative[-1] == 1


async def test_a_failover_is_pending_from_the_first_unhealthy_sample_to_the_handover(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    pending = []
    for risk in (0.1, None, None, None):
        node.evaluate(sat_001=risk)
        _, samples = await _scrape(client)
        pending.append(samples["failover_pending_seconds", ()])
    assert pending == [0, 0, 1, 0]  # the third miss in a row replaced it


async def test_an_empty_seat_is_pending_too(client: httpx.AsyncClient) -> None:
    unfilled = FakeNode().found()
    for _ in range(3):
        unfilled.evaluate(sat_001=None, sat_002=None, sat_003=None)
    app = build(unfilled)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://localhost:8701"
    ) as doorway:
        _, samples = await _scrape(doorway)
    assert samples["failover_pending_seconds", ()] == 2
    assert samples["alarm", (("name", "no_primary"),)] == 1


async def test_every_change_of_role_that_exists_has_a_series_before_it_happens(
    client: httpx.AsyncClient,
) -> None:
    """Else the first one would be no increase to Prometheus, and no alert would see it."""
    _, samples = await _scrape(client)
    exported = {
        tuple(value for _, value in labels): value
        for (name, labels), value in samples.items()
        if name == "role_changes_total"
    }
    assert set(exported) == {
        (change.origin.value, change.rule.value, change.target.value) for change in TRANSITIONS
    }
    assert sum(exported.values()) == 1


async def test_a_pause_shows(client: httpx.AsyncClient, node: FakeNode) -> None:
    await client.post("/v1/pause", json={"duration": "10m"})
    _, samples = await _scrape(client)
    assert samples["automatic_changes_paused", ()] == 1


async def test_more_devices_make_no_more_series(client: httpx.AsyncClient, node: FakeNode) -> None:
    register(node, "device-0")
    _, few = await _scrape(client)
    register(node, *(f"more-{n}" for n in range(500)))
    report(node, *(f"more-{n}" for n in range(0, 500, 2)), ill=True)
    go_silent(node, *(f"more-{n}" for n in range(0, 500, 5)))
    check(node)
    _, many = await _scrape(client)
    new = many.keys() - few.keys()
    assert {name for name, _ in new} <= {"ring_moves_total"}
    assert len(new) <= 5 * 4 * len(MoveReason)  # out of a ring or none, into one


async def test_lease_and_effective_primary(client: httpx.AsyncClient, node: FakeNode) -> None:
    node.leases["sat-001"] = 1.5
    _, samples = await _scrape(client)
    assert samples["effective_primary", (("node", "sat-001"),)] == 1
    assert samples["primary_lease_remaining_seconds", ()] == 1.5
    node.acting["sat-001"] = Role.SAFE_MODE
    _, samples = await _scrape(client)
    assert samples["effective_primary", (("node", "sat-001"),)] == 0


async def test_commits_and_syncs_are_counted_once(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    node.durations = Durations([0.002, 0.002, 99.0], [0.0005])
    await _scrape(client)
    _, samples = await _scrape(client)
    assert samples["raft_commit_seconds_count", ()] == 3
    assert samples["raft_commit_seconds_bucket", (("le", "0.0025"),)] == 2
    assert samples["raft_commit_seconds_bucket", (("le", "10.0"),)] == 2
    assert samples["raft_commit_seconds_bucket", (("le", "+Inf"),)] == 3
    assert samples["journal_sync_seconds_count", ()] == 1
    assert samples["messages_rejected_total", (("link", "gossip"), ("reason", "malformed"))] == 2


async def test_devices_are_counted_by_ring_and_health(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    register(node, *(f"device-{n}" for n in range(8)))
    report(node, "device-3", ill=True)
    go_silent(node, "device-4", "device-5")
    _, samples = await _scrape(client)
    figures = {labels: value for (name, labels), value in samples.items() if name == "devices"}
    assert len(figures) == 12
    by_health: dict[str, float] = {}
    for labels, value in figures.items():
        health = dict(labels)["health"]
        by_health[health] = by_health.get(health, 0) + value
    assert by_health == {"healthy": 5, "unhealthy": 1, "offline": 2}
    moved = (("from", ""), ("reason", "registered"), ("to", "prod"))
    assert samples["ring_moves_total", moved] == 2


async def test_moves_are_counted_by_way_and_reason(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    register(node, *(f"device-{n}" for n in range(8)))
    in_prod = [i for i, row in node.state.fleet.table.rows.items() if _ring(node, row) == "prod"]
    report(node, *in_prod, ill=True)
    check(node)
    _, samples = await _scrape(client)
    ways = {
        dict(labels)["to"]: value
        for (name, labels), value in samples.items()
        if name == "ring_moves_total"
        and dict(labels)["from"] == "prod"
        and dict(labels)["reason"] == "unhealthy"
    }
    assert set(ways) <= {"canary", "dev"}
    assert sum(ways.values()) == len(in_prod)


def _ring(node: FakeNode, row: int) -> str:
    return node.state.fleet.device(row).ring


async def test_what_became_of_reports_and_how_long_plans_took(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    node.durations = Durations(rebalances=[0.004, 0.2], checks=[0.002])
    _, samples = await _scrape(client)
    assert samples["device_reports_total", (("result", "outdated"),)] == 1
    assert samples["rebalance_seconds_count", ()] == 2
    assert samples["rebalance_seconds_bucket", (("le", "0.005"),)] == 1
    assert samples["rollout_check_seconds_count", ()] == 1
    assert samples["rollout_gate_questions_total", (("answer", "none"),)] == 5


async def test_tasks_are_counted_by_state_and_their_steps_by_reason(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    ids = [f"device-{n}" for n in range(8)]
    register(node, *ids, app_version="1.0.0", capabilities={"deployment": "true"})
    for version in ("2.0.0", "3.0.0"):
        artifact = {"version": version}
        answer = await client.post("/v1/tasks", json={"all": True, "artifact": artifact})
        assert answer.status_code == 201
    for part in plan_offers(node.state, node.now):
        node.commit(part)
    update = {"task_id": "1/device-0/1", "state": "failed", "reason": "hash"}
    await client.post("/v1/tasks:report", json={"updates": [update, update]})
    await client.post("/v1/deployments/2/cancel", json={})
    _, samples = await _scrape(client)
    tasks = {dict(k)["state"]: v for (name, k), v in samples.items() if name == "tasks"}
    assert {state: count for state, count in tasks.items() if count} == {"offered": 7, "failed": 1}
    known = {dict(k)["state"]: v for (name, k), v in samples.items() if name == "deployments"}
    assert known == {"open": 1, "closing": 0, "closed": 1}
    for origin, target, reason, count in (
        ("queued", "offered", "", 8),
        ("offered", "failed", "hash", 1),
        ("queued", "canceled", "canceled", 8),
    ):
        labels = (("from", origin), ("reason", reason), ("to", target))
        assert samples["task_transitions_total", labels] == count
    assert samples["task_updates_total", (("result", "taken"),)] == 1


@pytest.mark.parametrize(
    ("values", "expected"),
    [([5], 5), (list(range(1, 101)), 95), ([9, 1], 9), (list(range(20)), 18)],
)
def test_percentile_is_the_nearest_rank(values: list[int], expected: int) -> None:
    assert percentile(values, 0.95) == expected


async def test_each_link_has_a_series_a_peer(client: httpx.AsyncClient, node: FakeNode) -> None:
    node.linked = [link("sat-002", sent=400, heard=300, stalled=True), link("sat-003")]
    _, samples = await _scrape(client)
    peer = (("peer", "sat-002"),)
    assert samples["link_connected", peer] == 1
    assert samples["link_stalled", peer] == 1
    assert samples["link_in_doubt", peer] == 0
    assert samples["link_loss_ratio", peer] == 0.25
    assert samples["link_longest_silence_seconds", peer] == 1.1
    assert samples["link_datagrams_sent_total", peer] == 10_231 + 209
    assert samples["link_datagrams_received_total", peer] == 10_231
    assert samples["link_datagrams_duplicates_total", peer] == 7_712
    refused = (("peer", "sat-002"), ("reason", "replayed"))
    assert samples["link_datagrams_refused_total", refused] == 3


async def test_a_connected_peer_of_whom_no_datagram_comes_loses_all(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    node.linked = [
        link("sat-002", sent=0, heard=0),
        link("sat-003", sent=0, heard=0, connected=False),
    ]
    _, samples = await _scrape(client)
    assert samples["link_loss_ratio", (("peer", "sat-002"),)] == 1
    assert ("link_loss_ratio", (("peer", "sat-003"),)) not in samples


@given(st.lists(st.integers(-50, 50), max_size=40))
def test_a_datagram_that_comes_late_lets_no_counter_fall(steps: list[int]) -> None:
    """What Prometheus would take for a restart."""
    reception, before = Reception(0.0), 0
    for now, ahead in enumerate(steps):
        reception.note(max(0, ahead), float(now))
        figures = link("sat-002", received_total=reception.received, lost_total=reception.lost)
        _, sent = COUNTERS["link_datagrams_sent"]
        assert sent(figures) >= before
        before = sent(figures)


async def test_rollouts_stand_beside_their_limits(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    story = RolloutStory(node).settle(8)
    story.begin()
    story.until_stage("canary", "soaking")
    story.lead(3)
    story.pause()
    _, samples = await _scrape(client)
    assert samples["rollouts", (("state", "paused"),)] == 1
    canary = ("rollout", "fw"), ("stage", "canary")
    assert samples["rollout_stage_state", (*canary, ("state", "soaking"))] == 1
    assert samples["rollout_members", (*canary, ("state", "succeeded"))] == 2
    assert samples["rollout_stage_held", (("reason", "paused"), *canary)] == 1
    figures = {"failures": (0, 0.05), "coverage": (1, 0.5), "health": (0, 0.2)}
    for gate, (value, limit) in figures.items():
        labels = (("gate", gate), *canary)
        assert samples["rollout_gate_value", labels] == value
        assert samples["rollout_gate_limit", labels] == limit
    assert samples["rollout_gate_evidence_needed", (("gate", "health"), *canary)] == 20
    assert samples["rollout_gate_evidence", (("gate", "health"), *canary)] == 1
    story.resume()
    story.until("succeeded")
    story.roll_back()
    story.until("rolled_back")
    _, samples = await _scrape(client)
    assert not [name for name, labels in samples if ("rollout", "fw") in labels]
    assert samples["rollbacks_total", (("outcome", "complete"),)] == 1
    assert samples["rollbacks_total", (("outcome", "incomplete"),)] == 0
