"""Real processes: a node joins a running cluster, one leaves, and so does the Raft leader."""

import re
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from stationkeep.node.chaos.constellation import Constellation, free_ports
from stationkeep.node.local.manifest import MANIFEST, NodeRecord

pytestmark = [pytest.mark.processes, pytest.mark.timeout(240)]


def member_of(cluster: Constellation, name: str) -> NodeRecord:
    """Writes the file of a node that is to join, and makes it known to the local cluster."""
    manifest = cluster.local.manifest()
    first = next(iter(manifest.nodes.values()))
    taken = [int(n.http.rpartition(":")[2]) for n in manifest.nodes.values()]
    port = free_ports(2, max(taken) + 1)  # the others may not listen yet
    record = NodeRecord(
        raft=f"127.0.0.1:{port}",
        http=f"127.0.0.1:{port + 1}",
        config=str(cluster.data_dir / f"{name}.yaml"),
        data_dir=str(cluster.data_dir / name),
        log=first.log.replace(next(iter(manifest.nodes)), name),
    )
    document: dict[str, Any] = yaml.safe_load(Path(first.config).read_text())
    document["members"][name] = {"raft": record.raft, "http": record.http}
    document |= {
        "node": name, "data_dir": record.data_dir, "raft": record.raft, "http": record.http,
        "join": True,
    }  # fmt: skip
    Path(record.config).write_text(yaml.safe_dump(document))
    manifest.nodes[name] = record
    (cluster.data_dir / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    return record


def log_of(cluster: Constellation, node: str) -> str:
    return Path(cluster.local.manifest().nodes[node].log).read_text(errors="replace")


def ordered(cluster: Constellation, path: str, body: Any = None, method: str | None = None) -> None:
    def done() -> bool:
        for node in cluster.local.running():
            answer = cluster.ask(node, path, body, method)
            if answer.get("status") == "done" or answer.get("rule") in {"duplicate"}:
                return True
            if answer.get("rule") == "unknown_node" and method == "DELETE":
                return True
        return False

    cluster.until(f"{path} is done", done)


def members_everywhere(cluster: Constellation, wanted: set[str]) -> None:
    def same() -> bool:
        return all(
            set(cluster.ask(n, "/v1/cluster")["members"]) == wanted
            for n in cluster.local.running()
            if n in wanted
        )

    cluster.until(f"every member knows {sorted(wanted)}", same)


def test_a_node_joins_one_leaves_and_the_leader_leaves(constellation: Constellation) -> None:
    cluster = constellation
    cluster.up(nodes=3)
    cluster.acting()
    record = member_of(cluster, "sat-004")
    cluster.local.start("sat-004")
    body = {"id": "sat-004", "raft": record.raft, "http": record.http, "reason": "more eyes"}
    ordered(cluster, "/v1/nodes", body)
    members_everywhere(cluster, {"sat-001", "sat-002", "sat-003", "sat-004"})
    cluster.until("it is heard and has a vote", lambda: cluster.nodes()["sat-004"]["alive"])
    said = cluster.anyone("/v1/decisions?subject=sat-004&limit=50")["items"]
    assert {"join", "promotion"} <= {d["matter"] for d in said}

    # A follower that holds no seat leaves, and says in its log and on /readyz that it is out.
    primary, leader = cluster.acting(), cluster.leader()
    gone = next(n for n in cluster.nodes() if n not in (primary, leader))
    ordered(cluster, f"/v1/nodes/{gone}", method="DELETE")
    stay = {"sat-001", "sat-002", "sat-003", "sat-004"} - {gone}
    members_everywhere(cluster, stay)
    cluster.until("it was told", lambda: "removed_from_cluster" in log_of(cluster, gone))
    assert not cluster.ask(gone, "/readyz")["ok"]
    term = cluster.ask(gone, "/v1/cluster")["term"]
    cluster.local.kill(gone, signal.SIGTERM)

    # The PRIMARY may not leave; the Raft leader may, after the seat has moved elsewhere.
    leader = cluster.leader()
    primary = sorted(stay - {leader})[0]
    if cluster.acting() != primary:
        ordered(cluster, "/v1/failover", {"target": primary, "force": True})
        cluster.until(f"{primary} acts", lambda: cluster.ask(primary, "/primary")["ok"])
    refused = cluster.ask(primary, f"/v1/nodes/{primary}", method="DELETE")
    assert refused["rule"] == "is_primary"
    ordered(cluster, f"/v1/nodes/{leader}", method="DELETE")
    stay -= {leader}
    members_everywhere(cluster, stay)
    assert cluster.until("another leads", lambda: cluster.leader() in stay)
    cluster.until("it was told as well", lambda: "removed_from_cluster" in log_of(cluster, leader))
    cluster.local.kill(leader, signal.SIGTERM)

    # Two are left, both needed: a node that joined later carries the cluster.
    ordered(cluster, "/v1/pause", {"duration": "1m", "reason": "still in charge"})
    cluster.until("two digests agree", lambda: _one_digest(cluster, stay))
    after = max(cluster.ask(n, "/v1/cluster")["term"] for n in stay)
    assert after <= term + 4, "elections: one to hand over, none by who was removed"
    for node in stay:
        assert re.search(r"Traceback|CRITICAL", log_of(cluster, node)) is None


def test_one_that_left_is_taken_in_again_while_it_runs(constellation: Constellation) -> None:
    cluster = constellation
    cluster.up(nodes=3)
    record = member_of(cluster, "sat-004")
    cluster.local.start("sat-004")
    body = {"id": "sat-004", "raft": record.raft, "http": record.http, "reason": "more eyes"}
    for _ in range(2):
        ordered(cluster, "/v1/nodes", body)
        members_everywhere(cluster, {"sat-001", "sat-002", "sat-003", "sat-004"})
        cluster.until("it is heard and has a vote", lambda: cluster.nodes()["sat-004"]["alive"])
        ordered(cluster, "/v1/nodes/sat-004", method="DELETE")
        cluster.until("it was told", lambda: not cluster.ask("sat-004", "/readyz")["ok"])


def _one_digest(cluster: Constellation, nodes: set[str]) -> bool:
    views = [v for n, v in cluster.digests().items() if n in nodes]
    return len(views) == len(nodes) and len(set(views)) == 1


@pytest.mark.parametrize("away", [True, False], ids=["away", "there"])
def test_who_was_removed_knows_it_and_can_come_back(
    constellation: Constellation, away: bool
) -> None:
    cluster = constellation
    cluster.up(nodes=4)
    primary = cluster.acting()
    gone = next(n for n in cluster.nodes() if n not in (primary, cluster.leader()))
    if away:
        cluster.local.kill(gone, signal.SIGKILL)
    ordered(cluster, f"/v1/nodes/{gone}", method="DELETE")
    members_everywhere(cluster, set(cluster.local.running()) - {gone})
    term = cluster.ask(primary, "/v1/cluster")["term"]
    if away:
        cluster.local.start(gone)
    cluster.until("it was told", lambda: cluster.ask(gone, "/readyz").get("removed"))
    cluster.until("it is logged", lambda: log_of(cluster, gone).count("removed_from_cluster"))
    assert log_of(cluster, gone).count("removed_from_cluster") == 1
    assert cluster.ask(primary, "/v1/cluster")["term"] == term

    record = cluster.local.manifest().nodes[gone]
    ordered(cluster, "/v1/nodes", {"id": gone, "raft": record.raft, "http": record.http})
    cluster.until("it is back", lambda: cluster.ask(gone, "/readyz")["ok"])
    cluster.until("it is heard and has a vote", lambda: cluster.nodes()[gone]["alive"])
    assert not cluster.ask(gone, "/v1/cluster")["removed"]
