"""Windows of rollouts, on whole nodes whose clocks on the wall the test sets (scenario 34)."""

from datetime import UTC, datetime
from typing import Any

import pytest

from stationkeep.cluster.commands import AssignRing, Pause, RollBackRollout
from stationkeep.cluster.delivery.explain import explain_device
from stationkeep.cluster.deployments.deployment import Limits, Pace
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.progression.explain import explain_rollout
from stationkeep.cluster.rollouts.plan import URGENT_STAGES, Plan, StagePlan
from stationkeep.cluster.settings import LONGEST
from stationkeep.node.health import self_checks
from stationkeep.node.health.self_checks import JUMP
from stationkeep.node.wire.tasks import TaskPayload
from tests.node.fleet.rollouts import CALM, NAME, V2, Rolling

TOKYO, BERLIN = "Asia/Tokyo", "Europe/Berlin"


class Places(Rolling):
    """Three devices in Tokyo, three in Berlin."""

    def __init__(self) -> None:
        super().__init__(6, 3)
        for number, id_ in enumerate(self.homes):
            self.labels[id_] = {"tz": (TOKYO, BERLIN)[number % 2]}

    def in_(self, zone: str) -> list[str]:
        return [id_ for id_ in self.homes if self.labels[id_]["tz"] == zone]

    def show(self, text: str) -> None:
        """All clocks on walls show this now, UTC."""
        wall = int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000)
        for clock in self.clocks.values():
            clock.epoch = wall - int(self.now * 1_000)

    def told_ones(self) -> list[str]:
        return [id_ for id_, tasks in self.told.items() if tasks]


@pytest.fixture(autouse=True)
def long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clocks are believed that show times before this release."""
    monkeypatch.setattr(self_checks, "RELEASED", 0)


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Places:
    """Whose clocks the test may set, and nobody minds."""
    monkeypatch.setattr(self_checks, "JUMP", 10**15)
    made = Places()
    made.settle_in()
    return made


def begin(fleet: Rolling, window: str, timezone: str = "device", **more: Any) -> None:
    stage = StagePlan("all", limits=Limits(first=0))
    fleet.begin(Plan(V2, stages=(stage,), rest=False, window=window, timezone=timezone, **more))


def test_devices_are_told_in_the_window_of_their_own_zone(fleet: Places) -> None:
    fleet.show("2026-01-10T12:00")
    begin(fleet, "01:00-05:00")
    fleet.live(3.0)
    assert fleet.told_ones() == []
    fleet.show("2026-01-10T15:59:58")
    fleet.live(1.0)
    assert fleet.told_ones() == []
    fleet.live(4.0)
    assert fleet.told_ones() == fleet.in_(TOKYO)
    fleet.show("2026-01-11T00:30")
    fleet.until("succeeded")
    assert len(fleet.running("2.0.0")) == 6


def test_it_is_said_until_when_a_window_is_closed(fleet: Places) -> None:
    fleet.show("2026-01-10T12:00")
    begin(fleet, "01:00-05:00")
    fleet.live(1.0)
    held = fleet.shown("all").held
    assert held is not None
    assert held.reason == "window_closed"
    assert held.until_s == pytest.approx(4 * 3_600, abs=3.0)
    assert held.sentence == "its window is closed: 01:00-05:00, by the clock of each device"
    said = "devices are told in its window alone: 01:00-05:00, by the clock of each device"
    assert said in explain_rollout(fleet.state, fleet.rollout)
    (waits,) = [line for line in explain_device(fleet.state, 0).summary if "its task" in line]
    assert waits.endswith("offered next in its window: 01:00-05:00, by the clock of each device")
    fleet.show("2026-01-10T16:30")
    fleet.live(1.0)
    assert fleet.shown("all").held is None


def test_the_clocks_of_those_out_of_scope_do_not_count(fleet: Places) -> None:
    fleet.show("2026-01-10T02:00")
    begin(fleet, "01:00-05:00", scope=f"tz={TOKYO}")
    fleet.live(1.0)
    assert fleet.told_ones() == []
    held = fleet.shown("all").held
    assert held is not None
    assert held.reason == "window_closed"
    assert held.until_s == pytest.approx(14 * 3_600, abs=3.0)


def test_the_clocks_of_devices_that_are_not_named_do_not_count(fleet: Places) -> None:
    """Tokyo and Berlin are in scope, and the plan names devices of Tokyo alone."""
    fleet.show("2026-01-10T02:00")
    names = tuple(fleet.in_(TOKYO))
    begin(fleet, "01:00-05:00", devices=names)
    fleet.live(1.0)
    held = fleet.shown("all").held
    assert held is not None
    assert (held.reason, held.until_s) == ("window_closed", pytest.approx(14 * 3_600, abs=3.0))


def test_a_window_counts_beside_a_pause(fleet: Places) -> None:
    """What ends last says when it goes on."""
    fleet.show("2026-01-10T12:00")
    begin(fleet, "01:00-05:00")
    fleet.live(1.0)
    fleet.order(Pause(3_600_000))
    held = fleet.shown("all").held
    assert held is not None
    assert [hold.reason for hold in held.holds] == ["cluster_paused", "window_closed"]
    assert held.until_s == pytest.approx(4 * 3_600, abs=3.0)
    assert held.sentence.startswith("automatic changes are paused, and its window is closed: 01")
    assert held.when == ""


def test_one_zone_may_be_for_all(fleet: Places) -> None:
    fleet.show("2026-01-10T16:30")
    begin(fleet, "01:00-05:00", BERLIN)
    fleet.live(3.0)
    assert fleet.told_ones() == []
    fleet.show("2026-01-11T00:30")
    fleet.until("succeeded")


def test_a_time_that_does_not_exist_begins_with_the_next_that_does(fleet: Places) -> None:
    """Berlin goes from 01:59:59 to 03:00:00."""
    fleet.show("2026-03-29T00:59:57")
    begin(fleet, "02:30-03:30", BERLIN)
    fleet.live(1.0)
    assert fleet.told_ones() == []
    fleet.live(4.0)
    assert len(fleet.told_ones()) == 6


@pytest.mark.parametrize(
    ("shown", "told"), [("00:35", 6), ("01:05", 0), ("01:35", 6), ("02:05", 0)]
)
def test_a_time_that_comes_twice_is_open_both_times(fleet: Places, shown: str, told: int) -> None:
    fleet.show(f"2026-10-25T{shown}")
    begin(fleet, "02:30-03:00", BERLIN)
    fleet.live(3.0)
    assert len(fleet.told_ones()) == told


def test_a_zone_that_nobody_knows_is_utc(fleet: Places) -> None:
    for id_ in fleet.homes:
        fleet.labels[id_] = {"tz": "../../etc/localtime"}
        fleet.enter(id_)
    fleet.live(1.0)
    fleet.show("2026-01-10T01:30")
    begin(fleet, "01:00-05:00")
    fleet.live(3.0)
    assert len(fleet.told_ones()) == 6


def test_a_leader_whose_clock_leaps_into_a_window_offers_nothing(
    fleet: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.show("2026-01-10T00:30")
    begin(fleet, "01:00-05:00", "UTC")
    fleet.live(1.0)
    monkeypatch.setattr(self_checks, "JUMP", JUMP)
    monkeypatch.setattr(self_checks, "REMEMBERED", 20.0)
    fleet.show("2026-01-10T01:30")
    fleet.live(5.0)
    assert fleet.told_ones() == []
    fleet.live(20.0)
    assert len(fleet.told_ones()) == 6


def test_a_device_is_told_when_its_window_closes(fleet: Places) -> None:
    fleet.show("2026-01-10T01:30")
    fleet.deaf = set(fleet.homes)
    begin(fleet, "01:00-05:00", "UTC")
    fleet.live(1.0)
    task = fleet.loops["sat-001"].errands.task("d00")
    assert isinstance(task, TaskPayload)
    assert (task.install_after, task.install_before) == (None, "2026-01-10T05:00:00Z")
    assert task.rollout == NAME
    fleet.show("2026-01-10T05:00")
    fleet.live(0.5)
    task = fleet.loops["sat-001"].errands.task("d00")
    assert isinstance(task, TaskPayload)
    assert (task.install_after, task.install_before) == (
        "2026-01-11T01:00:00Z", "2026-01-11T05:00:00Z",
    )  # fmt: skip


def test_a_stage_has_a_week_more_for_a_window(fleet: Places) -> None:
    fleet.show("2026-01-10T12:00")
    begin(fleet, "Sat 01:00-05:00")
    fleet.live(1.0)
    deployment = fleet.state.deployments.known[1]
    assert deployment.deadline - deployment.opened_at == CALM.deployment_deadline + 7 * LONGEST


def test_nothing_waits_for_a_window_to_go_back(fleet: Places) -> None:
    fleet.show("2026-01-10T01:30")
    begin(fleet, "01:00-05:00", "UTC")
    fleet.until("succeeded")
    fleet.show("2026-01-10T12:00")
    fleet.order(RollBackRollout(NAME))
    fleet.until("rolled_back")
    assert len(fleet.running("1.0.0")) == 6


def test_an_emergency_goes_before_all_others_at_any_time(fleet: Places) -> None:
    fleet.show("2026-01-10T12:00")
    for id_ in fleet.homes:
        fleet.order(AssignRing(id_, Ring.PROD))
    plan = Plan(
        V2, stages=URGENT_STAGES, window="01:00-05:00", emergency=True, priority=3,
        limits=Limits(pace=Pace(1, 1, 1)),
    )  # fmt: skip
    fleet.begin(plan)
    fleet.live(2.0)
    assert len(fleet.told_ones()) == 1
    fleet.until("succeeded")
    assert len(fleet.running("2.0.0")) == 6
    assert {d.priority for d in fleet.state.deployments.known.values()} == {1_000}


def test_an_emergency_waits_for_no_device_that_is_away(fleet: Places) -> None:
    fleet.homes = dict(list(fleet.homes.items())[1:])
    fleet.live(5.0)
    fleet.begin(Plan(V2, stages=URGENT_STAGES, emergency=True))
    while len(fleet.running("2.0.0")) < 5:
        fleet.live(0.5)
    assert fleet.stage("everybody").state == "deploying"
