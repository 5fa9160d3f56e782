"""`describe`, `nodes show`, `logs`: one thing, whatever it is."""

import json
from pathlib import Path

import pytest

from stationkeep.node.cli.commands import logs
from stationkeep.node.local.cluster import LocalCluster
from tests.node.cli.canned import DEVICES, NODES, CannedNode, Run


def test_a_node_is_shown_with_everything_that_is_known(
    canned: CannedNode, stationkeep: Run
) -> None:
    shown = stationkeep("nodes", "show", "sat-003")
    assert shown.exit_code == 0, shown.output
    for word in ("sat-003", "STANDBY", "memory 91 %", "7.2s", "intermittent", "127.0.0.1:8703"):
        assert word in shown.stdout
    told = stationkeep("nodes", "show", "sat-003", "--format", "json")
    assert json.loads(told.stdout) == NODES[2]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sat-003", "STANDBY"),
        ("slave-001", "Pixel 8 Pro"),
        ("fw-2.1", "fw-2.1"),
        ("17", "17"),
        ("prod", "slave-001"),
    ],
)
def test_whatever_has_the_name_is_described(
    canned: CannedNode, stationkeep: Run, name: str, said: str
) -> None:
    shown = stationkeep("describe", name)
    assert (shown.exit_code, said in shown.stdout) == (0, True), shown.output


def test_what_nothing_has_is_unknown(canned: CannedNode, stationkeep: Run) -> None:
    shown = stationkeep("describe", "sat-03")
    assert shown.exit_code == 1
    said = "no such node, device or rollout: 'sat-03'; did you mean sat-003?"
    assert said in shown.output
    assert stationkeep("describe", "").exit_code == 2
    assert DEVICES


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "node.log"
    path.write_text("".join(f"line {n}\n" for n in range(100)) + "half a l")
    monkeypatch.setattr(LocalCluster, "log_of", lambda *_: path)
    return path


def test_the_end_of_a_log_is_shown(log: Path, stationkeep: Run) -> None:
    assert stationkeep("logs", "sat-001", "-n", "2").stdout == "line 98\nline 99\n"
    log.unlink()
    gone = stationkeep("logs", "sat-001")
    assert (gone.exit_code, "No such file" in gone.output) == (1, True)


def test_a_log_is_followed_into_the_next_file(
    log: Path, stationkeep: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = iter(["more", "new", "end"])

    def sleep(_: float) -> None:
        match next(steps):
            case "more":
                log.write_text(log.read_text() + "ine\n\x1b[2J\n")
            case "new":
                log.write_text("again\n")
            case "end":
                raise KeyboardInterrupt

    monkeypatch.setattr(logs.time, "sleep", sleep)
    shown = stationkeep("logs", "sat-001", "-n", "1", "--follow")
    assert shown.stdout == "line 99\nhalf a line\n\\u001b[2J\nagain\n"


def test_without_a_local_cluster_it_is_said_where_logs_are(
    canned: CannedNode, stationkeep: Run
) -> None:
    told = stationkeep("logs", "sat-001")
    assert (told.exit_code, "journalctl -u stationkeep" in told.output) == (1, True)
