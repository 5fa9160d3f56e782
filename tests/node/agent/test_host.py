"""What a machine says of itself."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from stationkeep.node.agent.host import HostReadings, battery, temperature
from stationkeep.node.agent.readings import Readings


def test_this_machine_can_be_read() -> None:
    read = HostReadings()
    for readings in (read(), read()):
        assert 0 < readings.memory_usage < 100
        assert 0 < readings.disk_usage <= 100
        assert 0 <= readings.cpu_usage <= 100


def test_a_device_is_not_judged_by_the_moment_of_its_own_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Imports keep a core busy: psutil would say 100 %."""
    monkeypatch.setattr(psutil, "cpu_percent", lambda: 100.0)
    monkeypatch.setattr("os.getloadavg", lambda: (0.5, 0.0, 0.0))
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    now = SimpleNamespace(monotonic=lambda: 10.0)
    monkeypatch.setattr("stationkeep.node.agent.host.time", now)
    read = HostReadings()
    assert read().cpu_usage == 25.0
    now.monotonic = lambda: 11.0
    assert read().cpu_usage == 100.0


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, (100.0, True)),
        (SimpleNamespace(percent=42.5, power_plugged=False), (42.5, False)),
        (SimpleNamespace(percent=101, power_plugged=None), (100.0, False)),
    ],
)
def test_a_battery_or_none(
    monkeypatch: pytest.MonkeyPatch, found: object, said: tuple[float, bool]
) -> None:
    monkeypatch.setattr(psutil, "sensors_battery", lambda: found, raising=False)
    assert battery() == said


def test_no_battery_support_counts_as_mains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(psutil, "sensors_battery", raising=False)
    monkeypatch.delattr(psutil, "sensors_temperatures", raising=False)
    assert battery() == (100.0, True)
    assert temperature() is None


def test_the_hottest_sensor_is_a_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"a": [SimpleNamespace(current=41.0), SimpleNamespace(current=None)],
             "b": [SimpleNamespace(current=55.5)]}  # fmt: skip
    monkeypatch.setattr(psutil, "sensors_temperatures", lambda: found, raising=False)
    assert HostReadings()().metrics == {"temperature": 55.5}


def test_a_disk_that_goes_away_keeps_its_last_figure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    read = HostReadings(tmp_path)
    before = read().disk_usage
    tmp_path.rmdir()
    assert read().disk_usage == before
    with pytest.raises(FileNotFoundError):
        HostReadings(tmp_path)


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: Readings(cpu_usage=100.1), "cpu_usage: 100.1 refused: a percentage"),
        (lambda: Readings(battery_level=-1), "battery_level: -1 refused"),
        (lambda: Readings(disk_usage=float("nan")), "disk_usage: nan refused"),
        (lambda: Readings(metrics={"heat": float("inf")}), r"metrics\.heat: inf refused: a finite"),
    ],
)
def test_impossible_readings_are_refused_where_they_arise(
    make: Callable[[], Readings], rule: str
) -> None:
    with pytest.raises(ValueError, match=rule):
        make()


def test_an_agent_that_reads_no_host_needs_no_psutil() -> None:
    script = """
import sys
from stationkeep import DeviceAgent, Readings
DeviceAgent("pixel", "http://127.0.0.1:8701", read_status=lambda: Readings())
print(*{"psutil", "numpy", "fastapi", "httpx", "pysyncobj"} & set(sys.modules))
"""
    shown = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert shown.stdout.strip() == ""
