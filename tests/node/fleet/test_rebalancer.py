"""The leader's duties for the fleet: silence noticed, rings checked, offices that end."""

from collections.abc import Callable
from typing import Any

import pytest

from stationkeep.cluster.alarms import DEVICE_STORM
from stationkeep.cluster.commands import (
    Draft,
    MarkOffline,
    Pause,
    RecordRebalance,
    ReleaseBrake,
    RequestRebalance,
    Resume,
    SetRingShares,
)
from stationkeep.cluster.devices.rings import RINGS, Ring
from stationkeep.node.duty import PACE
from stationkeep.node.fleet import rebalancer as module
from stationkeep.node.ports import Done, Watch
from tests.node.fleet.proposing import Ears
from tests.node.fleet.test_intake import ILL, WELL, A, B, C, Fleet


class Watched(Fleet):
    """Notes what nodes propose; `hold` keeps plans from being made until `make_plans`."""

    def __init__(self) -> None:
        self.proposed: list[tuple[str, Any]] = []
        self.hold = False
        self.works: list[Callable[[], None]] = []
        super().__init__(watcher=self.watch)

    def watch(self, name: str, *_: Any) -> Watch:
        def saw(draft: Draft, done: Done) -> Done:
            self.proposed.append((name, draft.command))
            return done

        return saw

    def submit(self, work: Callable[[], None]) -> None:
        if self.hold:
            self.works.append(work)
        else:
            work()

    def make_plans(self) -> None:
        works, self.works = self.works, []
        for work in works:
            work()

    def checks(self) -> int:
        return self.loops[C].replica.state.fleet.checks

    def of(self, kind: type) -> list[tuple[str, Any]]:
        return [(name, command) for name, command in self.proposed if isinstance(command, kind)]

    def population(self, count: int, **more: Any) -> list[Ears]:
        listeners = [self.register(f"d{number}", **more) for number in range(count)]
        self.beat()
        return listeners

    def beat(self, *ids: str, reading: Any = WELL, node: str = A) -> None:
        """A word of each device (default: all)."""
        for id_ in ids or tuple(self.loops[C].replica.state.fleet.table.rows):
            self.report(id_, 0, reading, node=node, session=0)

    def live(self, seconds: float, *ids: str, reading: Any = WELL, node: str = A) -> None:
        """Time passes while devices report."""
        for _ in range(round(seconds / 0.5)):
            self.beat(*ids, reading=reading, node=node)
            self.run(0.5)


@pytest.fixture
def fleet() -> Watched:
    return Watched()


# -- silence -------------------------------------------------------------------------------------


def test_only_the_leader_marks_the_silent_and_only_these(fleet: Watched) -> None:
    fleet.population(3)
    fleet.live(4.0, "d0")
    online = [fleet.device(f"d{n}", B).online for n in range(3)]
    assert online == [True, False, False]
    assert {name for name, _ in fleet.of(MarkOffline)} == {C}


def test_devices_of_a_dead_node_go_offline_unless_they_find_another(fleet: Watched) -> None:
    fleet.population(2, node=A)
    fleet.kill(A)
    fleet.register("d0", B, sequence=2)
    for _ in range(8):
        fleet.beat("d0", node=B)
        fleet.run(0.5)
    assert fleet.device("d0", C).online
    assert not fleet.device("d1", C).online


def test_who_comes_back_when_all_were_silent_is_noticed_when_it_goes_again(fleet: Watched) -> None:
    fleet.population(2)
    fleet.run(10.0)
    assert not any(fleet.device(f"d{n}", C).online for n in range(2))
    fleet.live(1.0, "d0")
    assert fleet.device("d0", C).online
    fleet.run(5.0)
    assert not fleet.device("d0", C).online


def test_time_without_a_leader_silences_nobody(fleet: Watched) -> None:
    fleet.population(2)
    fleet.live(1.0)
    fleet.elect(None)
    fleet.run(30.0)
    fleet.elect(C)
    fleet.live(2.0)
    assert all(fleet.device(f"d{n}", C).online for n in range(2))
    assert not fleet.of(MarkOffline)


def test_more_silent_devices_than_a_command_takes(
    fleet: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BATCH", 2)
    fleet.population(5)
    fleet.run(5.0)
    assert [len(command.rows) // 4 for _, command in fleet.of(MarkOffline)] == [2, 2, 1]
    assert not any(fleet.device(f"d{n}").online for n in range(5))


# -- checks --------------------------------------------------------------------------------------


def test_no_checks_of_a_fleet_without_devices(fleet: Watched) -> None:
    fleet.run(5.0)
    assert fleet.checks() == 0
    assert fleet.loops[C].rebalancer.next_wakeup() == float("inf")


def test_a_check_every_interval_by_whoever_leads(fleet: Watched) -> None:
    fleet.population(1)
    before = fleet.checks()
    fleet.run(5.2)
    assert fleet.checks() - before in (4, 5, 6)
    fleet.elect(B)
    before = fleet.checks()
    fleet.run(5.2)
    assert fleet.checks() - before in (4, 5, 6)
    assert {name for name, _ in fleet.of(RecordRebalance)} == {B, C}
    assert len(fleet.loops[C].rebalancer.drain_seconds()) > 3
    assert fleet.loops[C].rebalancer.drain_seconds() == []


def test_what_is_due_at_once_is_done_where_time_passes_within_a_turn(fleet: Watched) -> None:
    """Unlike that of a simulation, a real clock has moved on at every look."""

    class Real:
        def __init__(self, clock: Any) -> None:
            self._clock, self._looks = clock, 0

        def monotonic(self) -> float:
            self._looks += 1
            return float(self._clock.monotonic() + self._looks / 1e9)

    for loop in fleet.loops.values():
        loop.rebalancer._clock = Real(loop.clock)
    fleet.population(1)
    fleet.run(3.0)
    assert fleet.checks() >= 2


def test_an_ill_device_leaves_prod_and_hears_of_it(fleet: Watched) -> None:
    everybody = fleet.population(8)
    sick = next(f"d{n}" for n, ears in enumerate(everybody) if ears.assignments[0].ring == "prod")
    ears = everybody[int(sick[1:])]
    for _ in range(8):
        fleet.beat()
        fleet.beat(sick, reading=ILL)
        fleet.beat(sick, reading=ILL)
        fleet.run(0.5)
    assert ears.assignments[-1].ring in (Ring.CANARY, Ring.DEV)
    assert ears.assignments[-1].reason == "unhealthy"
    assert fleet.device(sick, B).ring == ears.assignments[-1].ring


def test_a_pause_holds_moves_up_and_an_order_waits_for_its_end(fleet: Watched) -> None:
    fleet.population(2)
    fleet.order(Pause(600_000))
    before = fleet.checks()
    fleet.order(RequestRebalance())
    fleet.live(3.0)
    assert fleet.checks() == before
    fleet.order(Resume())
    fleet.run(0.5)
    assert fleet.checks() > before


def test_an_operator_has_a_check_made_at_once(fleet: Watched) -> None:
    fleet.population(1)
    fleet.hold = True  # whatever is planned from now on waits
    fleet.run_until(lambda: bool(fleet.works), 2.0)
    fleet.hold = False
    fleet.make_plans()
    fleet.run(0.1)
    before = fleet.checks()
    fleet.order(RequestRebalance())
    assert fleet.checks() == before + 1


def test_many_moves_are_one_check_in_parts(fleet: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.population(8)
    fleet.live(10.0)  # whoever moves has dwelt
    fleet.hold = True
    fleet.order(SetRingShares((0, 0, 0, 1)))
    monkeypatch.setattr(module, "MAX_BATCH", 2)
    fleet.run_until(lambda: bool(fleet.works), 3.0)
    fleet.proposed.clear()
    before = fleet.checks()
    fleet.make_plans()
    fleet.live(0.5)
    parts = [command for _, command in fleet.of(RecordRebalance)]
    assert len(parts) >= 2
    assert [part.more for part in parts] == [True] * (len(parts) - 1) + [False]
    assert {part.after for part in parts} == {before}
    assert fleet.checks() == before + 1
    assert fleet.loops[B].replica.state.fleet.counts()[Ring.PROD].total == 8


# -- plans that come too late --------------------------------------------------------------------


def test_a_plan_of_an_office_that_is_over_is_thrown_away(fleet: Watched) -> None:
    fleet.population(2)
    fleet.hold = True
    fleet.run_until(lambda: bool(fleet.works), 2.0)
    fleet.elect(B)
    fleet.elect(C)  # the same node again, but another term
    fleet.run(0.1)
    fleet.proposed.clear()
    fleet.works.pop(0)()
    fleet.run(0.5)
    assert not fleet.of(RecordRebalance), "that plan is nobody's"
    fleet.run_until(lambda: bool(fleet.works), 2.0)
    fleet.make_plans()
    fleet.run(0.5)
    assert len(fleet.of(RecordRebalance)) == 1


def test_the_loop_goes_on_while_a_plan_is_made(fleet: Watched) -> None:
    fleet.population(2)
    fleet.hold = True
    fleet.run_until(lambda: bool(fleet.works), 2.0)
    late = fleet.register("late", B)
    assert late.heard == ["registered"]
    fleet.make_plans()
    before = fleet.checks()
    fleet.run(0.5)
    assert fleet.checks() == before + 1
    assert len(fleet.works) <= 1, "one plan at a time"


def test_a_plan_refused_for_another_check_is_made_anew(fleet: Watched) -> None:
    fleet.population(2)
    fleet.hold = True
    fleet.run_until(lambda: bool(fleet.works), 2.0)
    state = fleet.loops[C].replica.state.fleet
    overtaken = RecordRebalance(state.checks, False, b"", b"", b"", b"")
    fleet.order(overtaken)
    before = fleet.checks()
    fleet.make_plans()
    fleet.hold = False
    fleet.run(2.5)
    assert fleet.checks() in (before + 1, before + 2)


def test_a_bug_in_a_plan_stops_the_node(fleet: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    fleet.hold = True
    fleet.register("pixel")
    monkeypatch.setattr(module, "plan_rebalance", broken)
    fleet.run_until(lambda: bool(fleet.works), 2.0)
    fleet.make_plans()
    with pytest.raises(ZeroDivisionError):
        fleet.run(3.0)


# -- the storm brake -----------------------------------------------------------------------------


def test_a_storm_stops_moves_until_an_operator_lets_them_go_on(fleet: Watched) -> None:
    everybody = fleet.population(8)
    fleet.live(1.0)
    before = [ears.assignments[-1].ring for ears in everybody]
    fleet.live(3.0, reading=ILL)
    state = fleet.loops[C].replica.state
    assert state.fleet.braked
    assert DEVICE_STORM in state.alarms
    assert [ears.assignments[-1].ring for ears in everybody] == before
    assert {ring.value for ring in RINGS} == set(before)
    fleet.order(ReleaseBrake())
    fleet.live(3.0, reading=ILL)
    counts = fleet.loops[C].replica.state.fleet.counts()
    assert counts[Ring.PROD].total == counts[Ring.STAGE].total == 0


def test_refusals_are_paced(fleet: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the reason of a refusal: no busy loop of proposals."""
    fleet.population(1)
    fleet.proposed.clear()
    monkeypatch.setattr(
        module, "_parts", lambda plan, after: [RecordRebalance(after + 5, False, *[b""] * 4)]
    )
    fleet.run(2.0)
    assert 1 < len(fleet.of(RecordRebalance)) <= 2.0 / PACE + 1
