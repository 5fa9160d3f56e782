"""The verdict on a cluster: green only when nothing needs anyone, and what needs somebody else."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from stationkeep.cluster.alarms import ALARMS
from stationkeep.cluster.commands import (
    AddMember,
    ChangeSettings,
    Failover,
    MarkOffline,
    Measured,
    MemberSpec,
    Pause,
    PauseRollout,
    RecordEvaluation,
    RegisterDevices,
    Registration,
    SetMaintenance,
    SetPriority,
    StartRollout,
)
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.devices.status import Reading
from stationkeep.cluster.progression.alarms import PATIENCE
from stationkeep.cluster.rollouts.plan import Checks, Plan
from stationkeep.cluster.state.state import Acknowledgement, Alarm, ClusterState
from stationkeep.cluster.transitions import Role
from stationkeep.cluster.verdict import Level, Sight, Verdict, judge
from tests.cluster.driver import ORBIT, Driver, settled
from tests.cluster.progression.rollouts import NAME, V2, RolloutDriver, one_stage

PRIMARY, BACKUP, OTHER = "sat-001", "sat-002", "sat-004"
ONE = "1 thing needs attention"
OK, ATTENTION, CRITICAL = Level.OK, Level.ATTENTION, Level.CRITICAL


def seen(driver: Driver, **changes: Any) -> Verdict:
    """The verdict of a node that sees everybody act as told."""
    acting = {m.id: m.role for m in driver.state.members.values()}
    acting |= changes.pop("acting", {})
    sight = Sight("sat-004", "sat-002", True, len(driver.state.members), 40, acting)
    return judge(driver.state, driver.clock, sight._replace(**changes))


def sentences(verdict: Verdict) -> str:
    return "\n".join(need.sentence for need in verdict.needs)


def register(driver: Driver, well: int, ill: int, offline: int = 0) -> None:
    healths = [True] * (well + offline) + [False] * ill
    driver.done(
        RegisterDevices(
            "sat-001",
            tuple(
                Registration(
                    f"device-{number}", session=1, sequence=1, healthy=healthy,
                    reading=Reading(85, True, 4_520, 6_250, 5_500),
                )
                for number, healthy in enumerate(healths)
            ),
        )
    )  # fmt: skip
    driver.clock += driver.state.settings.device_offline_after + 1
    rows, births = np.arange(offline, dtype="<u4"), driver.state.fleet.table.birth[:offline]
    driver.done(MarkOffline(rows.tobytes(), births.astype("<u4").tobytes()))


def test_green_when_nothing_needs_anyone() -> None:
    assert seen(settled()) == (OK, "sat-001 is PRIMARY and healthy", (), "")


def _ill(node: str, times: int) -> Callable[[Driver], None]:
    def happen(driver: Driver) -> None:
        for _ in range(times):
            driver.evaluate(of={node: 0.9})

    return happen


def _silent(node: str, times: int) -> Callable[[Driver], None]:
    def happen(driver: Driver) -> None:
        for _ in range(times):
            driver.evaluate(of={node: None})

    return happen


def _off_and_on(driver: Driver) -> None:
    for _ in range(driver.state.settings.failures_to_fail_primary):
        driver.evaluate(of={PRIMARY: 0.9})
        driver.evaluate()


def _isolated(driver: Driver) -> None:
    _ill(OTHER, driver.state.settings.failures_to_safe_mode)(driver)
    driver.approve()
    driver.acknowledge()
    driver.evaluate()


def _lagging(driver: Driver) -> None:
    """It is heard and well, and applies nothing: no candidate, long before it is isolated."""
    driver.evaluate()
    well, ill = (
        Measured(OTHER, 6, 100_000),
        Measured(BACKUP, 6, 100_000, unable="does not hear the log"),
    )
    driver.do(RecordEvaluation(driver.state.evaluations, (ill, well), ()))


MATTERS: dict[str, tuple[Callable[[Driver], object], Level, str, str]] = {
    "a pause": (
        lambda d: d.done(Pause(3_600_000), actor="ann", reason="new batteries"),
        ATTENTION, f"sat-001 is PRIMARY and healthy, but {ONE}",
        "automatic changes pause for 60 min (ann: new batteries)",
    ),
    "swarm mode off": (
        lambda d: d.done(ChangeSettings({"swarm_mode": False})),
        ATTENTION, ONE, "switched off (swarm_mode)",
    ),
    "the brake": (
        lambda d: d.evaluate(of={"sat-002": 0.9, "sat-003": 0.9, "sat-004": 0.9}),
        ATTENTION, "things need attention", "brake: 3 of 4 turned unhealthy at once",
    ),
    "many sick devices": (
        lambda d: register(d, 72, 141),
        ATTENTION, ONE, "141 of 213 devices online are unhealthy",
    ),
    "many devices away": (
        lambda d: register(d, 4, 0, offline=5),
        ATTENTION, ONE, "5 of 9 devices are offline",
    ),
    "a PRIMARY unhealthy once": (
        _ill(PRIMARY, 1),
        ATTENTION, "sat-001 is PRIMARY but unhealthy",
        "sat-001 is unhealthy: 1 of the 3 bad samples in a row after which it is replaced",
    ),
    "a PRIMARY about to be replaced": (
        _ill(PRIMARY, 2), CRITICAL, "sat-001 is PRIMARY but unhealthy", "2 of the 3 bad samples",
    ),
    "a PRIMARY not heard": (
        _silent(PRIMARY, 1),
        ATTENTION, "sat-001 is PRIMARY but not heard", "1 of the 3 bad samples",
    ),
    "a PRIMARY off and on": (
        _off_and_on, ATTENTION, ONE, "samples of sat-001 were bad",
    ),
    "an unhealthy BACKUP": (
        _ill(BACKUP, 1), ATTENTION, ONE,
        "sat-002 is unhealthy for 1 sample (cpu 0.9)",
    ),
    "a BACKUP that lags": (
        _lagging, ATTENTION, ONE, "sat-002 does not hear the log",
    ),
    "a member that was just missed": (
        _silent(OTHER, 1), ATTENTION, ONE, "sat-004 is not heard for 1 sample",
    ),
    "a dead member": (
        _silent(OTHER, 5), ATTENTION, ONE, "member unreachable sat-004",
    ),
    "a member in SAFE_MODE": (
        _isolated,
        ATTENTION, ONE, "sat-004 keeps still in SAFE_MODE until it is well",
    ),
    "a member that joins": (
        lambda d: d.done(AddMember(MemberSpec("sat-009", "127.0.0.1:7709", "127.0.0.1:8709"))),
        ATTENTION, ONE, "sat-009 is joining",
    ),
    "nobody fit to take over": (
        lambda d: [d.done(SetPriority(n, 0)) for n in ("sat-002", "sat-003", "sat-004")],
        ATTENTION, ONE, "no node is fit to take over from sat-001",
    ),
    "nobody left but those in maintenance": (
        lambda d: [d.done(SetMaintenance(n, 60_000)) for n in ("sat-002", "sat-003", "sat-004")],
        ATTENTION, ONE, "no node is fit to take over from sat-001",
    ),
}  # fmt: skip


@pytest.mark.parametrize("matter", MATTERS)
def test_what_happened_to_the_cluster_is_named_and_not_green(matter: str) -> None:
    happen, level, headline, need = MATTERS[matter]
    driver = settled()
    happen(driver)
    verdict = seen(driver)
    assert verdict.level is level
    assert headline in verdict.headline
    assert need in sentences(verdict)


def _asks_for_approval(driver: RolloutDriver) -> None:
    driver.lay_down(Plan(V2, approvals=2))
    driver.order(StartRollout(NAME))


def _doubts(driver: RolloutDriver) -> None:
    driver.failing = {driver.in_ring(Ring.CANARY)[1]}
    driver.begin()
    driver.until("paused")


def _asks_about_a_stage(driver: RolloutDriver) -> None:
    driver.begin(Plan(V2, stages=one_stage(), checks=Checks(approvals=1)))
    driver.until_stage("all", "validating")


def _is_paused(driver: RolloutDriver) -> None:
    driver.begin()
    driver.order(PauseRollout(NAME))


@pytest.mark.parametrize(
    ("happen", "need"),
    [
        (_asks_for_approval, "rollout fw waits to be approved before it begins"),
        (_doubts, "rollout fw is paused: stage canary is inconclusive (failures)"),
        (_asks_about_a_stage, "rollout fw waits to be approved in stage all"),
        (_is_paused, "rollout fw is paused: an operator paused it (ann)"),
    ],
)
def test_a_rollout_that_waits_for_people_is_named_once(
    happen: Callable[[RolloutDriver], None], need: str
) -> None:
    driver = RolloutDriver.with_crowd(12)
    assert "rollout" not in sentences(seen(driver))
    happen(driver)
    assert need in sentences(seen(driver)).splitlines()
    driver.clock += PATIENCE
    driver.lead(2)
    assert sentences(seen(driver)).count("fw") == 1


def test_a_pause_that_ends_by_itself_needs_nobody() -> None:
    driver = RolloutDriver.with_crowd(12)
    driver.begin()
    driver.order(PauseRollout(NAME, duration=60_000))
    assert "fw" not in sentences(seen(driver))


SIGHTS: dict[str, tuple[dict[str, Any], Level, str, str, str]] = {
    "without a quorum": (
        {"has_quorum": False, "connected": 2, "leader": None},
        CRITICAL, "The cluster has no quorum",
        "sat-004 is in touch with 2 of 4 members, 3 are needed",
        "Nothing can be changed without a quorum: sat-004 is in touch with 2 of 4",
    ),
    "without a leader": (
        {"leader": None}, ATTENTION, ONE, "nobody leads Raft",
        "Nothing can be changed until a leader is elected.",
    ),
    "far behind": (
        {"age": 3 * ORBIT.heartbeat_timeout}, ATTENTION, "sat-004 is 4 min behind",
        "what sat-004 shows is 4 min old", "",
    ),
    "removed": (
        {"removed": True}, CRITICAL, "sat-004 is no member any more", "what it shows is old",
        "sat-004 is no member any more",
    ),
    "with a journal that fails": (
        {"journal_fails": True}, CRITICAL, ONE, "cannot write its log", "",
    ),
    "with a webhook that lags": (
        {"late": {"pager": 95_000}}, ATTENTION, ONE,
        "webhook pager has not taken a message for 95 s", "",
    ),
    "with a PRIMARY that fenced itself": (
        {"acting": {PRIMARY: Role.SAFE_MODE}},
        CRITICAL, "sat-001 is PRIMARY but fenced", "epoch 1", "",
    ),
    "with a PRIMARY that it does not hear": (
        {"acting": {PRIMARY: None}}, CRITICAL, "sat-001 is PRIMARY but not heard", "epoch 1", "",
    ),
    "with a PRIMARY that is not in office yet": (
        {"acting": {PRIMARY: Role.BACKUP}},
        ATTENTION, "sat-001 is PRIMARY but still acts as BACKUP", "epoch 1", "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("sight", SIGHTS)
def test_what_a_node_sees_for_itself_counts_too(sight: str) -> None:
    changes, level, headline, need, barred = SIGHTS[sight]
    verdict = seen(settled(), **changes)
    assert verdict.level is level
    assert headline in verdict.headline
    assert need in sentences(verdict)
    assert verdict.barred.startswith(barred)
    assert bool(verdict.barred) is bool(barred)


@pytest.mark.parametrize("name", ALARMS)
def test_no_open_alarm_is_green_and_none_is_said_twice(name: str) -> None:
    driver = settled()
    driver.state.alarms[name] = Alarm(name, 1, "as an example")
    verdict = seen(driver)
    assert verdict.level is (CRITICAL if ALARMS[name].severity == "critical" else ATTENTION)
    assert [need.alarm for need in verdict.needs] == [name]
    seen_by = Acknowledgement("ann", 2, "")
    driver.state.alarms[name] = Alarm(name, 1, "as an example", acknowledged=seen_by)
    assert seen(driver).level is verdict.level
    assert "seen by ann" in sentences(seen(driver))


def test_what_an_alarm_says_is_said_once() -> None:
    driver = settled()
    _silent(OTHER, 5)(driver)
    assert sum("sat-004" in need.sentence for need in seen(driver).needs) == 1


def test_the_grave_comes_first() -> None:
    driver = settled()
    driver.done(Pause(60_000))
    levels = [need.level for need in seen(driver, journal_fails=True).needs]
    assert levels == [CRITICAL, ATTENTION]


def test_of_an_old_state_nobodys_health_is_concluded() -> None:
    """What can still be known is who is heard."""
    driver = settled()
    _ill(BACKUP, 1)(driver)
    blind = {
        "age": 10 * ORBIT.heartbeat_timeout,
        "has_quorum": False,
        "connected": 1,
        "leader": None,
    }
    verdict = seen(driver, **blind, acting={"sat-002": None, "sat-003": None, PRIMARY: None})
    assert verdict.headline == "The cluster has no quorum"
    said = sentences(verdict)
    assert "unhealthy" not in said
    assert "sat-004 does not hear sat-002, sat-003" in said
    assert "sat-001, PRIMARY by the table (epoch 1), is not heard" in said


def test_while_the_seat_is_handed_over_the_wait_is_said() -> None:
    driver = settled()
    driver.renew()
    driver.done(Failover(BACKUP))
    assert not driver.state.seat.active
    verdict = seen(driver)
    assert verdict.headline == f"{driver.state.seat.holder} takes over as PRIMARY"
    assert "waits for its predecessor to step down" in sentences(verdict)


def test_an_empty_seat_is_critical_before_its_alarm_is_raised() -> None:
    driver = Driver()
    driver.clock += 1
    driver.sample()
    verdict = seen(driver)
    assert (verdict.level, verdict.headline) == (CRITICAL, "There is no PRIMARY")
    assert "the PRIMARY seat is empty" in sentences(verdict)


def test_before_the_founding_nothing_is_green() -> None:
    verdict = judge(ClusterState(), 0, Sight("sat-001", None, False, 1, 0, {}))
    assert verdict.level is ATTENTION
    assert verdict.headline == "The cluster is not founded yet"
    assert verdict.barred


def test_a_cluster_of_one_wants_for_no_successor() -> None:
    assert seen(settled(1)).level is OK
