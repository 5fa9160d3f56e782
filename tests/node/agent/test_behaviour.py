"""What simulated devices say of themselves."""

import itertools
from pathlib import Path

import pytest

from stationkeep.node.agent.behaviour import (
    EPISODE,
    STORM_EVERY,
    STORM_FIRST,
    STORM_LENGTH,
    Behaviour,
    behaviour,
    chance,
    drift,
)
from stationkeep.node.agent.readings import Readings

DEVICES = 400


def well(readings: Readings) -> bool:
    """The plain rule: battery > 20, CPU < 80, memory < 85."""
    return (
        readings.battery_level > 20 and readings.cpu_usage < 80 and readings.memory_usage < 85
    )  # fmt: skip


def ill_share(fleet: Behaviour, at: float, count: int = 0) -> float:
    return sum(not well(fleet(index, at, count)) for index in range(DEVICES)) / DEVICES


def test_healthy_devices_are_always_well() -> None:
    fleet = behaviour("healthy", 1)
    assert all(ill_share(fleet, at) == 0 for at in range(0, 20_000, 371))


def test_one_in_eight_of_the_mixed_fleet_is_ill_and_not_always_the_same() -> None:
    fleet = behaviour("mixed", 1)
    shares = [ill_share(fleet, at) for at in (0, 500, 1_000, 5_000)]
    assert all(0.06 < share < 0.20 for share in shares)
    ill = [{i for i in range(DEVICES) if not well(fleet(i, at, 0))} for at in (0, 10 * EPISODE)]
    assert len(ill[0] & ill[1]) < min(map(len, ill)) / 2


def test_the_mixed_fleet_is_ill_in_each_way() -> None:
    fleet = behaviour("mixed", 1)
    seen = [fleet(index, 0, 0) for index in range(DEVICES)]
    assert any(r.cpu_usage > 80 for r in seen)
    assert any(r.memory_usage > 85 for r in seen)
    assert any(r.battery_level < 20 and not r.battery_charging for r in seen)


def test_illness_lasts() -> None:
    """Longer than two statuses, or no verdict would ever change."""
    fleet = behaviour("mixed", 1)
    index = next(i for i in range(DEVICES) if not well(fleet(i, EPISODE, 0)))
    run = [well(fleet(index, EPISODE + step, step)) for step in range(-120, 120)]
    assert sum(a != b for a, b in itertools.pairwise(run)) <= 3


def test_flapping_devices_flip_at_random() -> None:
    fleet = behaviour("flapping", 1)
    flips = [well(fleet(3, 0, count)) for count in range(1_000)]
    assert 400 < sum(flips) < 600
    assert 400 < sum(a != b for a, b in itertools.pairwise(flips)) < 600


def test_storms_come_and_go() -> None:
    fleet = behaviour("storm", 1)
    for number in range(3):
        begins = STORM_FIRST + number * STORM_EVERY
        assert ill_share(fleet, begins - 1) == 0
        assert 0.6 < ill_share(fleet, begins + 1) < 0.8
        assert ill_share(fleet, begins + STORM_LENGTH + 1) == 0


def test_the_same_seed_is_the_same_fleet_and_another_is_not() -> None:
    one, same, other = (behaviour("mixed", seed) for seed in (1, 1, 2))
    points = [(index, at, count) for index in range(20) for at, count in ((0, 0), (77.7, 9))]
    assert [one(*point) for point in points] == [same(*point) for point in points]
    assert not any(one(*point) == other(*point) for point in points)


def test_readings_wander_without_jumps() -> None:
    path = [drift(60, at / 10, 5) for at in range(6_000)]
    assert max(abs(a - b) for a, b in itertools.pairwise(path)) < 0.01
    assert max(path) - min(path) > 0.5


def test_chances_are_spread_evenly() -> None:
    tenths = [int(10 * chance(1, index)) for index in range(10_000)]
    assert all(900 < tenths.count(tenth) < 1_100 for tenth in range(10))


@pytest.fixture
def recordings(tmp_path: Path) -> list[Path]:
    files = [tmp_path / "idle.csv", tmp_path / "busy.csv"]
    rows = [f"2014-02-14 14:{minute:02d}:00" for minute in range(0, 50, 5)]
    for file, first in zip(files, (0, 85), strict=True):
        lines = [f"{row},{first + number}" for number, row in enumerate(rows)]
        file.write_text("\n".join(["timestamp,value", *lines]))
    return files


def test_recordings_are_dealt_out_to_devices(recordings: list[Path]) -> None:
    fleet = behaviour("replay", 1, recordings)
    for at in (0, 300, 10_000):
        cpus = [fleet(index, at, 0).cpu_usage for index in range(40)]
        assert all(cpu < 10 for cpu in cpus[0::2])
        assert all(85 <= cpu <= 95 for cpu in cpus[1::2])
        assert len(set(cpus[0::2])) > 4  # each is in another place of it


def test_a_recording_is_played_in_its_order_and_again(recordings: list[Path]) -> None:
    fleet = behaviour("replay", 1, recordings[:1])
    steps = [fleet(0, 300.0 * step, 0).cpu_usage for step in range(20)]
    assert steps[:10] == steps[10:]
    turn = steps.index(0)
    assert steps[turn : turn + 10] == list(range(10))


def test_a_directory_stands_for_its_recordings(recordings: list[Path], tmp_path: Path) -> None:
    named, found = behaviour("replay", 1, sorted(recordings)), behaviour("replay", 1, [tmp_path])
    for index in range(5):
        assert found(index, 0.0, 1) == named(index, 0.0, 1)


def test_what_cannot_be_replayed_is_refused(recordings: list[Path], tmp_path: Path) -> None:
    risks = tmp_path / "risk.csv"
    risks.write_text("timestamp,risk\n0,0.5\n")
    with pytest.raises(ValueError, match=r"risk\.csv: column risk refused: devices replay CPU"):
        behaviour("replay", 1, [risks])
    with pytest.raises(ValueError, match="No such file"):
        behaviour("replay", 1, [tmp_path / "none.csv"])
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match=r"empty: no \*\.csv in this directory"):
        behaviour("replay", 1, [empty])
    with pytest.raises(ValueError, match=r"replay needs --data FILE\.csv"):
        behaviour("replay", 1)
    with pytest.raises(ValueError, match="--data is for --profile replay, not for mixed"):
        behaviour("mixed", 1, recordings)
    with pytest.raises(ValueError, match=r"'moon' refused: one of healthy, .*replay"):
        behaviour("moon", 1)
