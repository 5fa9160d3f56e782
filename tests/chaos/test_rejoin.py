"""Real processes: a node whose journal rotted is refused, rejoins empty, and counts again."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stationkeep.node.chaos.constellation import Constellation

pytestmark = [pytest.mark.processes, pytest.mark.timeout(240)]


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stationkeep", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def alike(cluster: Constellation) -> bool:
    found = cluster.digests()
    return len(found) == 3 and len(set(found.values())) == 1


def test_a_node_with_a_damaged_journal_rejoins_while_the_cluster_runs(
    constellation: Constellation,
) -> None:
    cluster = constellation
    cluster.up(nodes=3)
    primary = cluster.acting()
    damaged = next(n for n in cluster.addresses if n != primary)
    record = cluster.local.manifest().nodes[damaged]
    running = command("node", "rejoin", "--config", record.config)
    assert running.returncode == 1
    assert "another process uses this data directory" in running.stderr
    cluster.local.kill(damaged, signal.SIGKILL)
    journal = Path(record.data_dir) / "journal.db"
    journal.write_bytes(b"rot" * 1_000)
    journal.with_name("journal.db-wal").unlink()  # it could mend the rot: it holds whole pages
    refused = command("node", "run", "--config", record.config)
    assert refused.returncode == 1
    assert "stationkeep node rejoin" in refused.stderr
    done = command("node", "rejoin", "--config", record.config)
    assert done.returncode == 0, done.stderr
    assert Path(f"{record.data_dir}.lost-1/journal.db").read_bytes() == b"rot" * 1_000
    cluster.local.start(damaged)
    cluster.until("it is heard again", lambda: cluster.nodes()[damaged]["alive"])
    cluster.until("it has everything", lambda: alike(cluster))
    # It counts again: with it, the cluster outlives the loss of another.
    other = next(n for n in cluster.addresses if n not in (primary, damaged))
    cluster.local.kill(other, signal.SIGKILL)
    cluster.until("a leader", lambda: cluster.leader() in {primary, damaged})
    answer = cluster.until("a write is done", lambda: _paused(cluster, damaged))
    assert answer["status"] == "done", json.dumps(answer)


def _paused(cluster: Constellation, node: str) -> dict[str, str] | None:
    answer: dict[str, str] = cluster.ask(node, "/v1/pause", {"duration": "1m"})
    return answer if answer.get("status") == "done" else None
