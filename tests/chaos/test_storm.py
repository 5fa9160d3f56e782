"""The storm itself, in short form; and that its judges find what they look for.

The judges are shown forged evidence: a harness that cannot find anything proves nothing.
"""

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from typer.testing import CliRunner

from stationkeep.cluster.settings import PROFILES
from stationkeep.node.chaos.forecast import AIMS, FAULTS, BadForecast, forecast, parse_faults
from stationkeep.node.chaos.inspection import Inspector
from stationkeep.node.chaos.ledger import Ledger, Register
from stationkeep.node.chaos.seatwatch import Answer, SeatWatch
from stationkeep.node.chaos.storm import bound, longest_gap
from stationkeep.node.cli.main import app
from stationkeep.node.local.cluster import LocalCluster

ALL = tuple(FAULTS)


def poll(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    """Waits for what another process does."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.mark.processes
@pytest.mark.timeout(240)
def test_thirty_seconds_of_everything_break_no_promise(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    options = ["--minutes", "0.5", "--seed", "28", "--keep", str(folder), "--format", "json"]
    result = CliRunner().invoke(app, ["chaos", *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["violations"] == []
    assert report["calms"] == 1
    assert not report["plain"]
    files = [path.read_text() for path in (folder / "cluster").glob("sat-*.yaml")]
    assert sum("tls:" in text and "auth: required" in text for text in files) == 5
    assert 0.1 < report["longest_recovery_s"] < bound(PROFILES["demo"])
    # It was a storm, and there was something to judge.
    assert report["kills"] > 0
    assert report["stops"] + report["terms"] > 0
    assert report["writes_acknowledged"] > 50
    assert report["strong_reads"] > 30
    assert report["histories"] > 0
    assert report["histories_undecided"] == 0
    assert report["digests_compared"] >= 4
    assert report["decisions"] > report["writes_acknowledged"]
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert {"strike", "heal", "order", "operation", "well"} <= {line["what"] for line in lines}


@pytest.mark.processes
def test_a_storm_that_is_told_to_end_leaves_no_process_behind(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    command = [
        sys.executable,
        "-m",
        "stationkeep",
        "chaos",
        "--minutes",
        "5",
        "--keep",
        str(folder),
    ]
    history = folder / "history.jsonl"
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as storm:
        local = LocalCluster(folder / "cluster")
        poll(lambda: history.exists() and '"strike"' in history.read_text())
        nodes = [record.pid for record in local.manifest().nodes.values()]
        assert len(nodes) == 5
        storm.terminate()
        _, said = storm.communicate(timeout=60)
    assert storm.returncode == 1
    assert f"interrupted; data and history so far: {folder}" in said
    assert local.running() == []
    assert not any(Path(f"/proc/{pid}").exists() for pid in nodes)


# -- what was typed -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--minutes", "0"], "--minutes 0 refused: from 0.1"),
        (["--minutes", "nan"], "--minutes nan refused"),
        (["--minutes", "1e9"], "--minutes 1e+09 refused"),
        (["--nodes", "2"], "--nodes 2 refused: from 3 to 9"),
        (["--seed", "-1"], "--seed -1 refused"),
        (["--faults", "kill,rain"], "'rain': no such fault; all, or some of kill, stop"),
        (["--faults", "kill,kill"], "named twice"),
        (["--faults", ""], "no such fault"),
        (["--keep", "."], "--keep . refused: it exists already"),
    ],
)
def test_options_that_make_no_sense(options: list[str], said: str) -> None:
    result = CliRunner().invoke(app, ["chaos", *options])
    assert result.exit_code == 2
    assert said in result.stderr


# -- the forecast ---------------------------------------------------------------------------------


def test_a_seed_decides_the_weather() -> None:
    assert forecast(1, 0, 120.0, ALL) == forecast(1, 0, 120.0, ALL)
    assert forecast(1, 0, 120.0, ALL) != forecast(2, 0, 120.0, ALL)
    assert forecast(1, 0, 120.0, ALL) != forecast(1, 1, 120.0, ALL)


def test_strikes_are_ordered_bounded_and_of_the_faults_wanted() -> None:
    wanted = parse_faults("stop, blackout")
    for seed in range(50):
        strikes = forecast(seed, 0, 60.0, wanted)
        assert strikes
        assert [s.at for s in strikes] == sorted(s.at for s in strikes)
        assert all(0 < s.at < 60.0 and s.fault in wanted and s.aim in AIMS for s in strikes)
        for strike in strikes:
            shortest, longest = FAULTS[strike.fault].seconds
            assert shortest <= strike.seconds <= longest


def test_all_faults_have_a_name_and_others_have_not() -> None:
    assert parse_faults("all") == ALL
    with pytest.raises(BadForecast, match="rain"):
        parse_faults("rain")


# -- the judges -----------------------------------------------------------------------------------


class Forged:
    """Answers as a cluster would: a decision log in pages, and digests."""

    def __init__(self) -> None:
        self.decisions: list[dict[str, Any]] = []
        self.views: dict[str, list[tuple[int, str]]] = {}

    def decide(self, key: str, index: int, outcome: str = "done") -> None:
        number = self.decisions[-1]["id"] + 1 if self.decisions else 1
        self.decisions.append({"id": number, "index": index, "operation": key, "outcome": outcome})

    def ask(self, node: str, path: str) -> Any:
        parts = urlsplit(path)
        if parts.path == "/v1/cluster":
            index, digest = self.views[node].pop(0)
            return {"applied_index": index, "digest": digest}
        query = parse_qs(parts.query)
        before = int(query["cursor"][0]) if "cursor" in query else math.inf
        shown = [d for d in reversed(self.decisions) if d["id"] < before][:2]
        more = shown and shown[-1]["id"] > self.decisions[0]["id"]
        return {"items": shown, "next": str(shown[-1]["id"]) if more else None}


Judge = tuple[Forged, Ledger, Inspector]


@pytest.fixture
def judge(tmp_path: Path) -> Iterator[Judge]:
    cluster, ledger = Forged(), Ledger(tmp_path / "history.jsonl")
    watch, names = SeatWatch({}), ["sat-001", "sat-002"]
    inspector = Inspector(cluster, ledger, watch, lambda: names)  # type: ignore[arg-type]
    yield cluster, ledger, inspector
    ledger.close()


def acknowledge(ledger: Ledger, key: str, index: int) -> None:
    ledger.order("POST", "/v1/pause", {}, key).index = index


def rules(ledger: Ledger) -> set[str]:
    return {violation.partition(":")[0] for violation in ledger.violations}


def test_what_was_acknowledged_and_decided_once_is_fine(judge: Judge) -> None:
    cluster, ledger, inspector = judge
    for number in range(1, 6):
        cluster.decide(f"k{number}", 10 * number)
        cluster.decide("", 10 * number + 1, "approved")
        acknowledge(ledger, f"k{number}", 10 * number)
        assert inspector.decisions()
    assert ledger.violations == []
    assert inspector.newest == 10
    assert ledger.acknowledged() == []


@pytest.mark.parametrize("index", [None, 21])
def test_an_acknowledged_write_without_trace_or_elsewhere_is_lost(
    judge: Judge, index: int | None
) -> None:
    cluster, ledger, inspector = judge
    cluster.decide("k1", 10)
    if index is not None:
        cluster.decide("k2", index)
    acknowledge(ledger, "k2", 20)
    inspector.decisions()
    assert rules(ledger) == {"nothing acknowledged is lost"}


def test_a_key_that_was_decided_twice_is_found(judge: Judge) -> None:
    cluster, ledger, inspector = judge
    cluster.decide("k1", 10)
    inspector.decisions()
    cluster.decide("k1", 30)
    inspector.decisions()
    assert rules(ledger) == {"nothing is applied twice"}


def test_a_rewritten_and_a_shortened_log_are_found(judge: Judge) -> None:
    cluster, ledger, inspector = judge
    for number in range(1, 5):
        cluster.decide(f"k{number}", 10 * number)
    inspector.decisions()
    cluster.decisions[-1] = cluster.decisions[-1] | {"operation": "other"}
    inspector.decisions()
    assert rules(ledger) == {"what is decided stays"}
    del cluster.decisions[2:]
    inspector.decisions()
    assert "nothing decided is lost" in rules(ledger)


def test_replicas_that_differ_at_one_index_are_found_even_later(judge: Judge) -> None:
    cluster, ledger, inspector = judge
    cluster.views = {"sat-001": [(5, "aa"), (6, "bb")], "sat-002": [(4, "99"), (6, "bb")]}
    assert inspector.digests(wanted=2, seconds=5.0) == 2
    assert ledger.violations == []
    cluster.views = {"sat-001": [(7, "cc"), (8, "dd")], "sat-002": [(5, "ff"), (8, "dd")]}
    inspector.digests(wanted=2, seconds=5.0)
    assert rules(ledger) == {"replicas are equal"}


def write(ledger: Ledger, register: Register) -> int:
    operation = ledger.begin(register, write=True)
    ledger.end(register, operation, known=True)
    assert operation.value is not None
    return operation.value


def read(ledger: Ledger, register: Register, value: int | None) -> None:
    operation = ledger.begin(register, write=False)
    operation.value = value
    ledger.end(register, operation, known=True)


@pytest.mark.parametrize("stale", [False, True])
def test_a_stale_read_is_found_and_a_register_is_removed(judge: Judge, stale: bool) -> None:
    _, ledger, inspector = judge
    ledger.open_registers(["sat-001"])
    register = ledger.in_use()[0]
    read(ledger, register, None)
    first, second = write(ledger, register), write(ledger, register)
    read(ledger, register, first if stale else second)
    inspector.registers()
    assert inspector.judged == 0  # it is open still
    ledger.open_registers([])
    inspector.registers()
    assert inspector.judged == 1
    assert rules(ledger) == ({"histories are linearizable"} if stale else set())
    assert [(o.method, o.path) for o in ledger.chores] == [
        ("DELETE", f"/v1/nodes/sat-001/policies/{register.name}")
    ]


def test_a_write_of_unknown_outcome_may_be_seen_or_not(judge: Judge) -> None:
    _, ledger, inspector = judge
    ledger.open_registers(["sat-001"])
    register = ledger.in_use()[0]
    lost = ledger.begin(register, write=True)
    known = write(ledger, register)
    read(ledger, register, known)
    read(ledger, register, lost.value)
    ledger.open_registers([])
    inspector.registers()
    assert inspector.judged == 0  # something is under way still
    ledger.end(register, lost, known=False)
    inspector.registers()
    assert (inspector.judged, ledger.violations) == (1, [])


def test_a_violation_is_reported_once_and_kept_in_the_history(judge: Judge, tmp_path: Path) -> None:
    _, ledger, _ = judge
    ledger.violate("a rule", "broken")
    ledger.violate("a rule", "broken")
    assert ledger.violations == ["a rule: broken"]
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["what"] for line in lines] == ["violation"]


def test_the_longest_time_without_primary_counts_the_ends() -> None:
    answers = [Answer("sat-001", 1, at - 0.01, at) for at in (12.0, 12.5, 16.0)]
    assert longest_gap(answers, 10.0, 17.0) == pytest.approx(3.5)
    assert longest_gap(answers, 5.0, 17.0) == pytest.approx(7.0)
    assert longest_gap([], 5.0, 17.0) == pytest.approx(12.0)
