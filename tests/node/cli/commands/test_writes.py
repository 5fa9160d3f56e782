import json
from pathlib import Path

import httpx
import msgspec
import pytest

from stationkeep.node.local.manifest import Manifest, NodeRecord
from tests.node.cli.canned import CLOSED, CannedNode, Run, problem
from tests.node.cli.every_command import Command, every_command

ASKING = [command for command in every_command() if command.asks and not command.is_device]

WRITES = [
    ("switchover", "POST /v1/switchover", {}),
    ("switchover --to sat-002", "POST /v1/switchover", {"target": "sat-002"}),
    ("failover --to sat-002", "POST /v1/failover", {"target": "sat-002", "force": False}),
    ("failover --to sat-002 --force", "POST /v1/failover", {"target": "sat-002", "force": True}),
    ("pause --for 10m", "POST /v1/pause", {"duration": "10m"}),
    ("resume", "POST /v1/resume", {}),
    ("nodes maintenance sat-003 on --for 1h", "POST /v1/nodes/sat-003/maintenance",
     {"on": True, "duration": "1h"}),
    ("nodes maintenance sat-003 off", "POST /v1/nodes/sat-003/maintenance", {"on": False}),
    ("nodes join sat-009 --raft 127.0.0.1:7709 --http 127.0.0.1:8709", "POST /v1/nodes",
     {"id": "sat-009", "raft": "127.0.0.1:7709", "http": "127.0.0.1:8709"}),
    ("nodes move sat-003 --raft 127.0.0.1:7709", "POST /v1/nodes/sat-003/move",
     {"raft": "127.0.0.1:7709"}),
    ("level raise", "POST /v1/level/raise", {}),
    ("level raise 3", "POST /v1/level/raise", {"to": 3}),
    ("level hold 2", "PATCH /v1/config", {"level_hold": 2}),
    ("level hold off", "PATCH /v1/config", {"level_hold": 0}),
    ("nodes priority sat-003 0", "POST /v1/nodes/sat-003/priority", {"priority": 0}),
    ("nodes policy sat-003 calm --forbid *->PRIMARY --score 0.9 --for 5m",
     "POST /v1/nodes/sat-003/policies",
     {"name": "calm", "priority": "safety", "score": 0.9, "forbids": ["*->PRIMARY"],
      "lifetime": "5m"}),
    ("actions run reboot --target sat-002 --parameter mode=soft --deadline 30s",
     "POST /v1/actions",
     {"name": "reboot", "targets": ["sat-002"], "parameters": {"mode": "soft"},
      "deadline": "30s"}),
    ("alarms ack disk_low@sat-002", "POST /v1/alarms/disk_low@sat-002/ack", {}),
    ("config set evaluation_interval=2s backup_count=2 swarm_mode=false unhealthy_above=0.4",
     "PATCH /v1/config",
     {"evaluation_interval": "2s", "backup_count": 2, "swarm_mode": False,
      "unhealthy_above": 0.4}),
]  # fmt: skip


@pytest.mark.parametrize(("command", "request_line", "body"), WRITES)
def test_a_write_sends_one_keyed_command(
    canned: CannedNode, stationkeep: Run, command: str, request_line: str, body: object
) -> None:
    result = stationkeep(*command.split(), "--reason", "drill", "--idempotency-key", "op-me")
    assert (result.exit_code, len(canned.requests)) == (0, 1), result.output
    request = canned.requests[0]
    assert f"{request.method} {request.url.path}" == request_line
    assert canned.body == {**body, "reason": "drill"}  # type: ignore[dict-item]
    assert request.headers["Idempotency-Key"] == "op-me"
    assert "@" in request.headers["X-Stationkeep-Actor"]
    assert "at log index 42 (operation op-me)" in result.output


@pytest.mark.parametrize("words", [["hold"], ["hold", "2x"], ["raise", "all"]])
def test_a_level_is_a_number(canned: CannedNode, stationkeep: Run, words: list[str]) -> None:
    result = stationkeep("level", *words)
    assert (result.exit_code, canned.requests) == (2, [])
    assert f"`level {words[0]}` takes a level" in result.output


def test_a_policy_is_removed_by_name(canned: CannedNode, stationkeep: Run) -> None:
    assert stationkeep("nodes", "policy", "sat-003", "calm", "--remove").exit_code == 0
    request = canned.requests[0]
    assert f"{request.method} {request.url.path}" == "DELETE /v1/nodes/sat-003/policies/calm"


def test_a_node_leaves_by_name(canned: CannedNode, stationkeep: Run) -> None:
    result = stationkeep("nodes", "leave", "sat-003")
    assert result.exit_code == 0, result.output
    request = canned.requests[0]
    assert f"{request.method} {request.url.path}" == "DELETE /v1/nodes/sat-003"
    assert "done: sat-003 leaves" in result.output


@pytest.mark.parametrize("device", [".", "..", "a/../b"])
def test_a_name_is_no_step_up_in_a_path(canned: CannedNode, stationkeep: Run, device: str) -> None:
    assert stationkeep("devices", "release", device).exit_code == 0
    assert canned.requests[0].url.path == f"/v1/devices/{device}/ring"


def test_each_write_without_a_key_gets_its_own(canned: CannedNode, stationkeep: Run) -> None:
    stationkeep("resume")
    stationkeep("resume")
    first, second = (request.headers["Idempotency-Key"] for request in canned.requests)
    assert first != second


USAGE = [
    "pause",
    "pause --for soon",
    "failover",
    "nodes priority sat-001 1001",
    "nodes maintenance sat-001 off --for 1h",
    "nodes policy sat-001 calm",
    "nodes policy sat-001 calm --remove --forbid *->PRIMARY",
    "config set evaluation_interval",
    "status --format xml",
    "status --url ftp://x",
    "kill sat-001 --signal HUP",
    "up --health-replay sat-001",
    "up --health-replay sat-001=missing.csv",
    "up --replay-speed 60",
    "node run --config x.yaml --replay-speed 60",
    "node run --config x.yaml --health-replay missing.csv",
    "no-such-command",
    "resume --idempotency-key é",
]


@pytest.mark.parametrize("command", USAGE)
def test_what_makes_no_sense_exits_2_and_asks_nobody(
    canned: CannedNode, stationkeep: Run, command: str
) -> None:
    if "ftp" in command:
        canned.answer = httpx.UnsupportedProtocol("no")
    assert stationkeep(*command.split()).exit_code == 2
    assert not canned.requests or "ftp" in command


def test_refused_exits_1_and_names_the_rule(canned: CannedNode, stationkeep: Run) -> None:
    canned.answer = problem(409, "sat-003 was not heard for 4 s", rule="not_alive")
    result = stationkeep("switchover", "--to", "sat-003")
    assert result.exit_code == 1
    assert result.output == "stationkeep: sat-003 was not heard for 4 s (rule: not_alive)\n"


def test_no_quorum_exits_3_and_names_the_page_about_it(
    canned: CannedNode, stationkeep: Run
) -> None:
    canned.answer = problem(503, "no leader")
    result = stationkeep("resume")
    shown = "stationkeep: no leader\n  see: stationkeep guide failover\n"
    assert (result.exit_code, result.output) == (3, shown)


def test_nobody_there_exits_4_and_says_what_to_do(canned: CannedNode, stationkeep: Run) -> None:
    canned.answer = httpx.ConnectError("in whatever words")
    canned.answer.__cause__ = ConnectionRefusedError(111, "Connection refused")
    result = stationkeep("status", "--url", "http://127.0.0.1:9")
    assert result.exit_code == 4
    assert "no answer from http://127.0.0.1:9: connection refused" in result.output
    assert "stationkeep up" in result.output


@pytest.mark.parametrize(
    "error", [httpx.ReadTimeout("slow"), httpx.ReadError("reset"), httpx.WriteError("reset")]
)
def test_a_write_lost_on_the_way_exits_6_with_its_operation(
    canned: CannedNode, stationkeep: Run, error: Exception
) -> None:
    canned.answer = error
    result = stationkeep("resume", "--idempotency-key", "op-9")
    assert result.exit_code == 6
    assert "stationkeep operation op-9" in result.output
    assert len(canned.requests) == 1


@pytest.mark.parametrize(
    "answer", [problem(500, "a bug"), httpx.Response(502), httpx.Response(503, text="a proxy")]
)
def test_a_write_of_which_nobody_says_that_it_failed_exits_6(
    canned: CannedNode, stationkeep: Run, answer: httpx.Response
) -> None:
    canned.answer = answer
    result = stationkeep("resume", "--idempotency-key", "op-9")
    assert result.exit_code == 6
    assert "stationkeep operation op-9" in result.output


def test_a_read_lost_on_the_way_exits_4(canned: CannedNode, stationkeep: Run) -> None:
    canned.answer = httpx.ReadTimeout("slow")
    assert stationkeep("status").exit_code == 4


def test_an_outcome_the_cluster_does_not_know_exits_6(canned: CannedNode, stationkeep: Run) -> None:
    canned.answer = httpx.Response(202, json={"operation": "op-5", "status": "unknown"})
    result = stationkeep("pause", "--for", "10m")
    assert result.exit_code == 6
    assert "op-5" in result.output


def local_cluster(*http: str) -> None:
    nodes = {
        f"sat-{n:03d}": NodeRecord(f"127.0.0.1:{7700 + n}", address, "", "", "")
        for n, address in enumerate(http, start=1)
    }
    Path(".stationkeep").mkdir()
    manifest = Manifest("stationkeep-local", "demo", 7701, 8701, nodes)
    Path(".stationkeep/cluster.json").write_bytes(msgspec.json.encode(manifest))


def refuses_first_port(canned: CannedNode, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = CannedNode.__call__

    def call(self: CannedNode, request: httpx.Request) -> httpx.Response:
        if request.url.port == 8701:
            raise httpx.ConnectError("Connection refused")
        return answer(self, request)

    monkeypatch.setattr(CannedNode, "__call__", call)


def test_when_no_node_was_named_another_of_the_local_cluster_is_asked(
    canned: CannedNode, stationkeep: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    local_cluster("127.0.0.1:8701", "127.0.0.1:8702")
    refuses_first_port(canned, monkeypatch)
    result = stationkeep("status", "--format", "json")
    assert result.exit_code == 0
    assert "asked http://127.0.0.1:8702 instead" in result.stderr
    assert json.loads(result.stdout)["cluster"]["cluster_id"] == "stationkeep-local"


@pytest.mark.parametrize("command", ASKING, ids=str)
def test_it_is_said_once_that_another_node_is_asked(
    command: Command,
    canned: CannedNode,
    stationkeep: Run,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    local_cluster("127.0.0.1:8701", "127.0.0.1:8702")
    refuses_first_port(canned, monkeypatch)
    canned.reads["/v1/deployments/17"] = CLOSED
    following = ["--wait"] if "wait" in command.parameters else []
    result = stationkeep(*command.arguments(tmp_path / "file"), *following)
    assert result.stderr.count("asked http://127.0.0.1:8702 instead") <= 1


def test_a_named_node_is_not_replaced_but_the_others_are_said(
    canned: CannedNode, stationkeep: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    local_cluster("127.0.0.1:8701", "127.0.0.1:8702")
    refuses_first_port(canned, monkeypatch)
    monkeypatch.setenv("STATIONKEEP_URL", "http://127.0.0.1:8701")
    result = stationkeep("status")
    assert result.exit_code == 4
    assert "sat-002 http://127.0.0.1:8702" in result.output
    assert not canned.requests
