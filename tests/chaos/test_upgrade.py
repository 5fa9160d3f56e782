"""Real processes of two releases: upgraded one by one, raised, and the old one is left behind."""

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stationkeep.cluster.names import is_uid
from stationkeep.node.chaos.constellation import Constellation

pytestmark = [pytest.mark.processes, pytest.mark.timeout(240)]

OLDER = {"STATIONKEEP_HIGHEST_LEVEL": "1"}


def upgrade(cluster: Constellation, node: str) -> None:
    cluster.local.kill(node, signal.SIGTERM)
    cluster.local.start(node)
    cluster.until("it is heard again", lambda: cluster.nodes()[node]["alive"])


def digests(data_dir: str) -> dict[str, str]:
    """Of the files that hold what the node has promised."""
    kept = [Path(data_dir) / name for name in ("journal.db", "snapshot", "audit.jsonl")]
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in kept if file.exists()
    }


def alike(cluster: Constellation) -> bool:
    found = cluster.digests()
    return len(found) == 3 and len(set(found.values())) == 1


def test_a_cluster_is_upgraded_one_by_one_and_leaves_the_old_release_behind(
    constellation: Constellation, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = constellation
    for name, value in OLDER.items():
        monkeypatch.setenv(name, value)
    cluster.up(nodes=3)
    for name in OLDER:
        monkeypatch.delenv(name)
    first, second, third = cluster.addresses
    cluster.until("they have started", lambda: cluster.ask(first, "/v1/level"), 60)
    level = cluster.anyone("/v1/level")
    assert (level["level"], level["next"]) == (1, None)
    upgrade(cluster, first)
    upgrade(cluster, second)
    cluster.until("two report it", lambda: cluster.ask(third, "/v1/level")["next"] == 2)
    refused = cluster.ask(first, "/v1/level/raise", {"to": 2})
    assert (refused["status"], refused["rule"]) == (409, "level")
    assert f"{third} runs" in refused["detail"]
    upgrade(cluster, third)
    ready = lambda: not cluster.ask(first, "/v1/level")["obstacles"]  # noqa: E731
    cluster.until("all report it", ready)
    assert cluster.ask(first, "/v1/level/raise", {})["status"] == "done"
    cluster.until("all are alike", lambda: alike(cluster))
    cluster.local.kill(third, signal.SIGTERM)
    record = cluster.local.manifest().nodes[third]
    before = digests(record.data_dir)
    old = subprocess.run(
        [sys.executable, "-m", "stationkeep", "node", "run", "--config", record.config],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env={**os.environ, **OLDER},
    )
    assert old.returncode == 8, old.stderr
    assert "needs level 2, and this release has level 1 alone: install release" in old.stderr
    assert digests(record.data_dir) == before, "it wrote nothing"
    cluster.local.start(third)
    cluster.until("all are alike", lambda: alike(cluster))
    uids = {cluster.ask(node, "/v1/cluster")["uid"] for node in cluster.addresses}
    assert len(uids) == 1
    assert is_uid(uids.pop())
