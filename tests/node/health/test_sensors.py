"""Sensors and recordings: what becomes a risk, and what is refused."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeep.node.config.sensors import Marks, SensorConfig
from stationkeep.node.health.measurement import component_risk
from stationkeep.node.health.replay import HealthReplay, ReplayError, read_recording
from stationkeep.node.health.sensors import (
    Average,
    Cached,
    CommandSensor,
    HostSensors,
    describe,
    judge_command,
)
from stationkeep.node.hooks.runner import HookResult
from tests.node.world import Hooks, ManualClock

DATA = Path("/work/shared/data/nab")
SENSORS = SensorConfig()
NOTHING = msgspec.structs.replace(
    SENSORS, cpu=None, memory=None, disk=None, battery=None, temperature=None, loop_lag=None,
    replication_lag=None,
)  # fmt: skip


@pytest.mark.parametrize(
    ("marks", "reading", "risk"),
    [
        (Marks(70, 100), 0, 0.0), (Marks(70, 100), 70, 0.0), (Marks(70, 100), 85, 0.5),
        (Marks(70, 100), 100, 1.0), (Marks(70, 100), 400, 1.0),
        (Marks(30, 5), 100, 0.0), (Marks(30, 5), 17.5, 0.5), (Marks(30, 5), 0, 1.0),
    ],
)  # fmt: skip
def test_risk_is_linear_between_the_marks(marks: Marks, reading: float, risk: float) -> None:
    assert component_risk(marks, reading) == pytest.approx(risk)


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(allow_nan=False))
def test_risk_is_always_between_0_and_1(ok: float, critical: float, reading: float) -> None:
    if ok != critical:
        assert 0 <= component_risk(Marks(ok, critical), reading) <= 1


def test_the_worst_component_names_the_cause(tmp_path: Path) -> None:
    config = msgspec.structs.replace(
        NOTHING, loop_lag=Marks(0.25, 2), replication_lag=Marks(0, 100)
    )
    lags: dict[str, Any] = {"loop_lag": lambda: 0.5, "replication_lag": lambda: 91.0}
    sensors = HostSensors(config, clock=ManualClock(), data_dir=tmp_path, lags=lags)
    measured = sensors.measure()
    assert (measured.risk, measured.cause) == (0.91, "replication_lag 91 entries")
    assert measured.metrics == {"loop_lag": 0.5, "replication_lag": 91.0}


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    config = msgspec.structs.replace(NOTHING, loop_lag=Marks(0, 1))
    lags: dict[str, Any] = {"loop_lag": lambda: None}
    measured = HostSensors(config, clock=ManualClock(), data_dir=tmp_path, lags=lags).measure()
    assert (measured.risk, measured.metrics) == (0.0, {})


def test_a_disk_that_cannot_be_read_does_not_stop_the_node(tmp_path: Path) -> None:
    config = msgspec.structs.replace(NOTHING, disk=Marks(90, 100))
    sensors = HostSensors(config, clock=ManualClock(), data_dir=tmp_path / "gone", lags={})
    assert sensors.measure().metrics == {}


def test_this_machine_can_be_measured(tmp_path: Path) -> None:
    sensors = HostSensors(SENSORS, clock=ManualClock(), data_dir=tmp_path, lags={})
    measured = sensors.measure()
    assert {"cpu", "memory", "disk"} <= set(measured.metrics)
    assert all(0 <= measured.metrics[name] <= 100 for name in ("cpu", "memory", "disk"))


def test_sentences_of_components() -> None:
    assert describe("memory", 91.2) == "memory 91 %"
    assert describe("loop_lag", 0.42) == "loop_lag 0.42 s"


def test_a_burst_of_work_is_averaged_away() -> None:
    average = Average(30.0)
    assert average.update(100.0, 0.0) == 0.0
    assert average.update(100.0, 3.0) < 10
    for second in range(4, 200):
        value = average.update(100.0, second)
    assert value > 99


def test_slow_readings_are_cached() -> None:
    clock, readings = ManualClock(), iter([1.0, 2.0])
    cached = Cached(lambda: next(readings), clock, 10.0)
    assert (cached(), cached()) == (1.0, 1.0)
    clock.now = 10.0
    assert cached() == 2.0


@pytest.mark.parametrize(
    ("result", "risk", "cause"),
    [
        (HookResult(True), 0.0, ""),
        (HookResult(True, "", "all good\n"), 0.0, ""),
        (HookResult(False, "exit status 2"), 1.0, "command exit status 2"),
        (HookResult(True, "", '{"risk": 0.4, "cause": "queue long"}\n'), 0.4, "queue long"),
        (HookResult(True, "", '{"risk": 0.4}'), 0.4, "command"),
    ],
)
def test_an_operators_command(result: HookResult, risk: float, cause: str) -> None:
    measured = judge_command(result)
    assert (measured.risk, measured.cause) == (risk, cause)


@pytest.mark.parametrize("output", ["{", '{"risk": 2}', '{"risk": "x"}', '{"cause": "x"}'])
def test_a_command_that_talks_nonsense_counts_as_failed(output: str) -> None:
    measured = judge_command(HookResult(True, "", output))
    assert measured.risk == 1.0
    assert measured.cause.startswith("command")


def test_the_command_runs_one_at_a_time_and_at_its_interval() -> None:
    clock, hooks = ManualClock(), Hooks()
    hooks.hold = True
    config = SensorConfig(command="check", command_interval=5.0)
    sensor = CommandSensor(config, clock, hooks, "sat-001")
    assert sensor.poll().risk == 0.0
    clock.now = 20.0
    sensor.poll()
    assert len(hooks.started) == 1
    hooks.waiting.pop()(HookResult(False, "exit status 1"))
    assert sensor.poll().risk == 1.0
    assert len(hooks.started) == 2


# -- recordings -------------------------------------------------------------------------------


@pytest.fixture
def csv(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "series.csv"
        path.write_text(text)
        return path

    return write


def test_steps_last_their_spacing_over_the_speed_and_begin_again(csv) -> None:
    path = csv("timestamp,risk\n2014-02-14 14:30:00,0.1\n2014-02-14 14:31:00,0.4\n")
    clock = ManualClock()
    replay = HealthReplay(read_recording(path), 60.0, None, clock)
    seen = []
    for tenth in range(0, 50, 5):
        clock.now = tenth / 10 + 0.01
        seen.append(replay.measure().risk)
    assert seen == [0.1, 0.1, 0.4, 0.4, 0.1, 0.1, 0.4, 0.4, 0.1, 0.1]


def test_one_row_is_a_constant(csv) -> None:
    clock = ManualClock()
    replay = HealthReplay(read_recording(csv("timestamp,risk\n0,0.45\n")), 1.0, None, clock)
    for clock.now in (0.0, 5.0, 1e6):
        measured = replay.measure()
        assert (measured.risk, measured.cause) == (0.45, "recorded risk 0.45")


def test_cpu_passes_through_the_marks(csv) -> None:
    path = csv("timestamp,value\n0,85\n")
    clock = ManualClock()
    assert HealthReplay(read_recording(path), 1, None, clock).measure().risk == 0.5
    assert HealthReplay(read_recording(path), 1, Marks(80, 90), clock).measure().risk == 0.5
    assert HealthReplay(read_recording(path), 1, Marks(90, 100), clock).measure().risk == 0.0


@pytest.mark.parametrize(
    ("text", "line", "rule"),
    [
        ("", 1, "a header naming"),
        ("time,value\n", 1, "a header naming"),
        ("timestamp,cpu\n0,1\n", 1, "a header naming"),
        ("timestamp,value\n0\n", 2, "a value in every row"),
        ("timestamp,value\n0,1\n0,1\n", 3, "timestamps rise"),
        ("timestamp,value\n0,1\nsoon,1\n", 3, "a date such as"),
        ("timestamp,value\n0,1\nnan,1\n", 3, "a date such as"),
        ("timestamp,value\n0,1\n1e400,1\n", 3, "a date such as"),
        ("timestamp,value\n0,101\n", 2, "a number between 0 and 100"),
        ("timestamp,value\n0,nan\n", 2, "a number between 0 and 100"),
        ("timestamp,risk\n0,0.1\n1,x\n", 3, "a number between 0 and 1"),
        ("timestamp,risk\n0,1.1\n", 2, "a number between 0 and 1"),
    ],
)
def test_a_bad_recording_names_its_line(csv, text: str, line: int, rule: str) -> None:
    path = csv(text)
    with pytest.raises(ReplayError) as caught:
        read_recording(path)
    assert f"{path}:{line}: " in str(caught.value)
    assert rule in str(caught.value)


def test_a_byte_order_mark_is_no_part_of_the_header(csv) -> None:
    assert read_recording(csv("\ufefftimestamp,value\n0,50\n")).values == (50.0,)


def test_recordings_that_are_none(csv, tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match="at least one row"):
        read_recording(csv("timestamp,value\n"))
    with pytest.raises(ReplayError, match="No such file"):
        read_recording(tmp_path / "none.csv")
    with pytest.raises(ReplayError, match="speed"):
        HealthReplay(read_recording(csv("timestamp,risk\n0,0\n")), 0.0, None, ManualClock())


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared recordings are not on this machine")
@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("ec2_cpu_utilization_24ae8d", 0.0, 0.0), ("ec2_cpu_utilization_825cc2", 0.3, 1.0)],
)
def test_days_of_real_machines(name: str, low: float, high: float) -> None:
    """An idle server is healthy throughout; an overloaded one is ill nearly all the time."""
    recording = read_recording(DATA / f"{name}.csv")
    assert len(recording.values) == 4_032
    clock = ManualClock()
    replay = HealthReplay(recording, 300.0, None, clock)
    risks = []
    for step in range(4_032):
        clock.now = recording.offsets[step] / 300 + 1e-6
        risks.append(replay.measure().risk)
    risks.sort()
    assert low <= risks[len(risks) // 2] <= high
