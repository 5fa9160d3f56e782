"""What a node complains of, and how that becomes an alarm of the cluster: in virtual time."""

from collections import namedtuple
from pathlib import Path

import pytest

from stationkeep.cluster.alarms import CLOCK_JUMP, DISK_LOW, MEMBER_LAGGING, MEMBER_UNREACHABLE
from stationkeep.node.health import self_checks as module
from stationkeep.node.health.measurement import Measurement
from stationkeep.node.health.self_checks import ClockWatch, DiskWatch, NumberWatch, SelfChecked
from stationkeep.node.wire.implausible import Implausible
from tests.node.world import ManualClock, World

Usage = namedtuple("Usage", "percent free")
SICK = "sat-002"


class Complainer:
    """A node's health, well but for what the test says."""

    def __init__(self) -> None:
        self.complaints: dict[str, str] = {}

    def measure(self) -> Measurement:
        return Measurement(0.1, complaints=self.complaints)


TEN_YEARS = 3_652 * 86_400_000


class WallClock(ManualClock):
    """A clock whose wall time can be set."""

    ahead = 0

    def wall(self) -> int:
        return super().wall() + TEN_YEARS + self.ahead


@pytest.fixture
def world() -> World:
    world = World(3)
    world.run_until(lambda: world.primary is not None, 20)
    return world


def alarms(world: World) -> set[str]:
    """Those that any node knows; all nodes agree once they have applied the same."""
    states = [loop.replica.state for n, loop in world.loops.items() if n not in world.down]
    return set(max(states, key=lambda state: state.index).alarms)


def complain(world: World, node: str) -> Complainer:
    complainer = Complainer()
    world.loops[node].gossip._source = complainer
    return complainer


def test_a_complaint_becomes_an_alarm_of_the_cluster_and_ends_with_it(world: World) -> None:
    sick = complain(world, SICK)
    sick.complaints = {DISK_LOW: "disk 93 % in use"}
    world.run_until(lambda: f"{DISK_LOW}@{SICK}" in alarms(world), 5)
    world.run(1)
    for loop in world.loops.values():
        assert loop.replica.state.alarms[f"{DISK_LOW}@{SICK}"].detail == "disk 93 % in use"
    sick.complaints = {}
    world.run_until(lambda: not alarms(world), 5)


def test_an_alarm_survives_a_change_of_leader_and_is_not_raised_again(world: World) -> None:
    sick = complain(world, SICK)
    sick.complaints = {DISK_LOW: "disk 93 % in use"}
    world.run_until(lambda: f"{DISK_LOW}@{SICK}" in alarms(world), 5)
    world.elect("sat-001")
    world.run(10)
    told = [d for d in world.loops["sat-001"].replica.state.decisions if d.matter == "alarm"]
    assert [d.facts["change"] for d in told if d.facts["name"] == DISK_LOW] == ["raised"]


def test_a_node_that_dies_is_unreachable_until_it_is_back(world: World) -> None:
    world.kill(SICK)
    world.run_until(lambda: f"{MEMBER_UNREACHABLE}@{SICK}" in alarms(world), 10)
    world.start(SICK)
    world.run_until(lambda: not alarms(world), 10)


def test_a_node_that_reports_but_does_not_follow_the_log_is_lagging(world: World) -> None:
    log = world.loops[SICK].consensus
    log.turn = lambda: None  # type: ignore[method-assign]
    took = world.run_until(lambda: f"{MEMBER_LAGGING}@{SICK}" in alarms(world), 10)
    assert took > 2, "a member that is slow for a moment is none of it"
    lagging = world.loops["sat-003"].replica.state.alarms[f"{MEMBER_LAGGING}@{SICK}"]
    assert "log entries behind" in lagging.detail
    del log.turn
    world.run_until(lambda: f"{MEMBER_LAGGING}@{SICK}" not in alarms(world), 10)


@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_a_healthy_cluster_complains_of_nothing_whatever_is_lost(loss: float) -> None:
    world = World(5, seed=7)
    world.run_until(lambda: world.primary is not None, 20)
    world.loss = loss
    world.run(120)
    raised = [d for d in world.loops["sat-005"].replica.state.decisions if d.matter == "alarm"]
    assert [d.facts for d in raised] == []


# -- disk and clock -----------------------------------------------------------------------------


def test_a_disk_is_low_from_90_percent_until_it_is_below_88(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clock, used = ManualClock(), [89.9]
    monkeypatch.setattr(module.psutil, "disk_usage", lambda _: Usage(used[0], 12.3e9))
    watch = DiskWatch(tmp_path, clock)
    seen = []
    for used[0] in (89.9, 90.0, 88.0, 87.9, 89.0, 95.0):
        seen.append(watch())
        clock.now += module.DISK_INTERVAL
    assert [bool(said) for said in seen] == [False, True, True, False, False, True]
    assert seen[1] == "disk 90 % in use, 12.3 GB free"


def test_a_disk_is_not_looked_at_with_every_report(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    looks: list[str] = []

    def usage(path: str) -> Usage:
        looks.append(path)
        return Usage(10.0, 1e9)

    monkeypatch.setattr(module.psutil, "disk_usage", usage)
    clock = ManualClock()
    watch = DiskWatch(tmp_path, clock)
    for _ in range(50):
        watch()
        clock.now += 0.2
    assert len(looks) == 1


def test_a_disk_that_cannot_be_read_keeps_its_last_word(tmp_path: Path) -> None:
    assert DiskWatch(tmp_path / "gone", ManualClock())() is None


@pytest.mark.parametrize(
    ("ahead", "said"),
    [
        (3_600_000, "the clock jumped forward by 3,600.0 s"),
        (-2_500, "the clock jumped back by 2.5 s"),
        (900, None),
    ],
)
def test_a_jump_of_the_clock_is_said_for_ten_minutes(ahead: int, said: str | None) -> None:
    clock = WallClock()
    watch = ClockWatch(clock)
    clock.now += 5
    assert watch() is None
    clock.ahead = ahead
    assert watch() == said
    clock.now += module.REMEMBERED - 1
    assert watch() == said
    clock.now += 1
    assert watch() is None


def test_a_clock_before_this_release_was_made_is_said_for_as_long_as_it_lasts() -> None:
    clock = WallClock()
    watch = ClockWatch(clock)
    clock.ahead = -6 * TEN_YEARS
    for _ in range(3):
        clock.now += module.REMEMBERED
        assert "before this release was made" in str(watch())
    clock.ahead = 0
    assert watch() is None


def test_a_clock_that_drifts_or_a_machine_that_sleeps_is_no_jump() -> None:
    clock = WallClock()
    watch = ClockWatch(clock)
    for _ in range(1_000):
        clock.now += 5
        clock.ahead += 2  # 400 ppm
        assert watch() is None
    clock.now += 86_400  # asleep for a day, and both clocks went on
    assert watch() is None


def test_a_refused_number_is_reported_for_ten_minutes() -> None:
    clock, raft, gossip = ManualClock(), Implausible(), Implausible()
    watch = NumberWatch(clock, lambda: (raft, gossip))
    assert watch() is None
    raft.note("n2", "term", 1 << 53, 65_536)
    clock.now += 5
    assert watch() == "n2 sent term 9007199254740992, above the limit of 65536"
    gossip.note("n3", "boot", 1 << 60, 1)
    assert str(watch()).startswith("n3 sent boot")
    clock.now += module.REMEMBERED - 1
    assert str(watch()).startswith("n3 sent boot")
    clock.now += 1
    assert watch() is None


def test_complaints_go_out_beside_what_the_source_says() -> None:
    source = Complainer()
    health = SelfChecked(source, {CLOCK_JUMP: lambda: "so", DISK_LOW: lambda: None})
    assert health.measure() == Measurement(0.1, complaints={CLOCK_JUMP: "so"})
