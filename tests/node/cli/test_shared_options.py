"""`--format` of every order, `--watch` of every read, `--wait` and `--check`."""

import json
import re
import time
from pathlib import Path

import httpx
import pytest
import yaml

from stationkeep.node.cli import following, shared_options
from tests.node.cli.canned import ACTION, CLUSTER, CannedNode, Run, listed, rollout
from tests.node.cli.every_command import Command, every_command

ORDERS = [
    command for command in every_command()
    if "key" in command.parameters and command.words[-1] != "edit"  # wants a terminal
]  # fmt: skip
READS_ = [command for command in every_command() if "watching" in command.parameters]


ALSO = {"level": ["raise"], "rollout approve": ["--yes"]}
"""What makes an order of it."""
READING = ("certs rotate-ca",)
"""Orders after which it is shown how things are."""


@pytest.mark.parametrize("command", ORDERS, ids=str)
def test_every_order_prints_its_outcome_as_one_document(
    command: Command, canned: CannedNode, stationkeep: Run, tmp_path: Path
) -> None:
    arguments = [*command.arguments(tmp_path / "file"), *ALSO.get(str(command), [])]
    canned.reads["/v1/rings"]["policies"][0]["name"] = "x"
    as_json = stationkeep(*arguments, "--format", "json", "--idempotency-key", "op-me")
    assert as_json.exit_code == 0, as_json.output
    told = json.loads(as_json.stdout)
    assert str(command) in READING or told["operation"].startswith("op-me")
    as_yaml = stationkeep(*arguments, "--format", "yaml", "--idempotency-key", "op-me")
    assert yaml.safe_load(as_yaml.stdout) == told
    as_table = stationkeep(*arguments)
    assert str(command) in READING or as_table.stdout.startswith("done: ")


@pytest.mark.parametrize("command", READS_, ids=str)
def test_every_read_can_be_watched(
    command: Command, canned: CannedNode, stationkeep: Run, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    looks = 0

    def sleep(seconds: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(shared_options.time, "sleep", sleep)
    once = stationkeep(*command.arguments(tmp_path / "file"))
    watched = stationkeep(*command.arguments(tmp_path / "file"), "--watch")
    assert (watched.exit_code, looks) == (0, 2), watched.output
    assert watched.stdout == once.stdout * 2


def test_a_cluster_that_is_away_for_a_while_is_watched_on(
    canned: CannedNode, stationkeep: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    canned.answer = httpx.ConnectError("refused")

    def sleep(seconds: float) -> None:
        if canned.answer is None:
            raise KeyboardInterrupt
        canned.answer = None

    monkeypatch.setattr(shared_options.time, "sleep", sleep)
    watched = stationkeep("nodes", "list", "--watch")
    assert watched.exit_code == 0
    assert "stationkeep: " in watched.stderr
    assert "sat-003" in watched.stdout


@pytest.mark.parametrize(("verdict", "code"), [("ok", 0), ("attention", 1), ("critical", 1)])
def test_status_checks(canned: CannedNode, stationkeep: Run, verdict: str, code: int) -> None:
    canned.reads["/v1/cluster"] = CLUSTER | {"verdict": verdict}
    result = stationkeep("status", "--check")
    assert result.exit_code == code
    assert (f"stationkeep: {verdict}: sat-001 is PRIMARY" in result.stderr) == bool(code)
    assert stationkeep("status").exit_code == 0


def test_an_order_says_by_the_clock_until_when(canned: CannedNode, stationkeep: Run) -> None:
    """Cluster time, which people do not have in mind, comes second."""
    later = CLUSTER["time_ms"] + 30_000
    wall = int(time.time() * 1_000) + 3 * 86_400_000
    result = {"until_ms": later, "expires_wall_ms": wall, "odd_ms": 2**53}
    body = {"operation": "op-1", "status": "done", "index": 42, "result": result}
    canned.answer_to_writes = httpx.Response(200, json=body)
    until, expires, odd = stationkeep("pause", "--for", "30s").stdout.splitlines()[1:]
    assert re.fullmatch(r"  until: [0-9:]{8}, in 30s \(T\+92\.4s\)", until)
    assert re.fullmatch(r"  expires: [0-9-]{10} [0-9:]{8}, in 72h", expires)
    assert odd.startswith("  odd: T+")
    del canned.reads["/v1/cluster"]
    assert "  until: T+92.4s\n" in stationkeep("pause", "--for", "30s").stdout


ACKED = {
    f"sat-00{number}": {"success": True, "detail": "", "at_ms": number} for number in (1, 2, 3)
}
RUN = {"operation": "op-1", "status": "done", "index": 42, "result": {"action": "a-1"}}


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [
        ({"outcome": "compliant", "acks": ACKED}, 0, "reboot: compliant; 3 of 3 have complied"),
        ({"outcome": "noncompliant"}, 1, "1 of 3 have complied; failed: sat-002; not answered: "),
    ],
)
def test_an_action_is_waited_for(
    canned: CannedNode, stationkeep: Run, monkeypatch: pytest.MonkeyPatch,
    *, end: dict[str, object], code: int, said: str,
) -> None:  # fmt: skip
    canned.answer_to_writes = httpx.Response(200, json=RUN)

    def sleep(seconds: float) -> None:
        canned.reads["/v1/actions"] = listed(ACTION | end)

    monkeypatch.setattr(following.time, "sleep", sleep)
    result = stationkeep("actions", "run", "reboot", "--wait")
    assert result.exit_code == code, result.output
    assert said in result.output
    assert "reboot: open" in result.stderr


@pytest.mark.parametrize(("state", "code"), [("succeeded", 0), ("paused", 1), ("rolled_back", 1)])
def test_a_rollout_is_waited_for(
    canned: CannedNode, stationkeep: Run, monkeypatch: pytest.MonkeyPatch, state: str, code: int
) -> None:
    canned.reads["/v1/rollouts/fw-2.1"] = rollout("fw-2.1", state="running")

    def sleep(seconds: float) -> None:
        canned.reads["/v1/rollouts/fw-2.1"] = rollout("fw-2.1", state=state)

    monkeypatch.setattr(following.time, "sleep", sleep)
    result = stationkeep("rollout", "start", "fw-2.1", "--wait", "--format", "json")
    assert result.exit_code == code, result.output
    assert json.loads(result.stdout)["status"] == "done"
    assert f"{state}; stage" in result.stderr
