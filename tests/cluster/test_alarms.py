"""Alarms: raised and cleared once, acknowledged between; a member must complain for a while."""

import pytest

from stationkeep.cluster.alarms import (
    ALARMS,
    CLOCK_JUMP,
    DISK_LOW,
    MEMBER_LAGGING,
    MEMBER_UNREACHABLE,
    NO_CANDIDATE,
    PRIMARY_DEGRADED,
    SELF_REPORTED,
    raised_by_name,
    unacknowledged_by_name,
)
from stationkeep.cluster.commands import (
    AcknowledgeAlarm,
    Complaint,
    Echo,
    Failover,
    Measured,
    RecordEvaluation,
    RemoveMember,
    SetPriority,
)
from stationkeep.cluster.sentences import sentence
from stationkeep.cluster.state.decisions import Outcome, Reason
from stationkeep.cluster.state.events import AlarmAcknowledged, AlarmCleared, AlarmRaised
from tests.cluster.driver import Driver, settled

NODE = "sat-003"
DISK = f"{DISK_LOW}@{NODE}"
FULL = {DISK_LOW: "disk 93 % in use"}


def hear(driver: Driver, *said: dict[str, str] | None) -> list[str]:
    """Evaluations in which NODE complains of these things (None: it was not heard itself, only
    of); what was raised and cleared, as `+id` and `-id`."""
    happened = []
    for complaints in said:
        driver.clock += driver.state.settings.evaluation_interval
        driver.seq += 1
        samples = tuple(
            Measured(n, 6, 0, "", 0, _complaints(complaints if n == NODE else {}))
            for n in driver.ids
        )
        echoes = tuple(Echo(n, 1, driver.seq, driver.clock) for n in driver.ids)
        driver.done(RecordEvaluation(driver.state.evaluations, samples, echoes))
        happened += changes(driver)
    return happened


def _complaints(said: dict[str, str] | None) -> tuple[Complaint, ...] | None:
    return None if said is None else tuple(Complaint(n, detail) for n, detail in said.items())


def changes(driver: Driver) -> list[str]:
    """What the last command did to alarms."""
    signs = {AlarmRaised: "+", AlarmCleared: "-", AlarmAcknowledged: "="}
    found = [event for event in driver.events if type(event) in signs]
    return [
        f"{signs[type(event)]}{event.name}{'@' * bool(event.subject)}{event.subject}"
        for event in found
    ]


def test_a_complaint_must_last_to_raise_and_be_gone_to_clear() -> None:
    driver = settled()
    assert hear(driver, FULL, {}, FULL) == [], "once is nothing, and a pause begins anew"
    assert hear(driver, FULL) == [f"+{DISK}"]
    assert hear(driver, FULL, FULL, {}, FULL, {}) == [], "raised once; a lull clears nothing"
    assert hear(driver, {}) == [f"-{DISK}"]
    assert hear(driver, {}, {}) == []


def test_an_alarm_says_of_whom_since_when_and_why() -> None:
    driver = settled()
    hear(driver, FULL, FULL)
    alarm = driver.state.alarms[DISK]
    assert (alarm.subject, alarm.detail) == (NODE, "disk 93 % in use")
    assert (alarm.since, alarm.acknowledged) == (driver.clock, None)
    assert alarm.wall == driver.state.wall


@pytest.mark.parametrize("name", SELF_REPORTED)
def test_every_kind_counts_its_own_evaluations(name: str) -> None:
    driver, kind = settled(), ALARMS[name]
    assert hear(driver, *[{name: "so"}] * (kind.confirm - 1)) == []
    assert hear(driver, {name: "so"}) == [f"+{name}@{NODE}"]
    assert hear(driver, *[{}] * (kind.calm - 1)) == []
    assert hear(driver, {}) == [f"-{name}@{NODE}"]


def test_of_a_node_that_was_only_heard_of_nothing_is_concluded() -> None:
    driver = settled()
    hear(driver, FULL, FULL)
    assert hear(driver, None, None, None, None) == []
    assert DISK in driver.state.alarms


def test_a_name_that_is_none_of_a_members_own_raises_nothing() -> None:
    driver = settled()
    assert hear(driver, *[{"no_primary": "x", "nonsense": "x"}] * 4) == []


def test_a_long_detail_is_cut() -> None:
    driver = settled()
    hear(driver, {CLOCK_JUMP: "x" * 10_000})
    assert len(driver.state.alarms[f"{CLOCK_JUMP}@{NODE}"].detail) == 200


def test_a_member_that_falls_silent_is_unreachable_until_it_is_heard_twice() -> None:
    driver = settled()
    timeout = driver.state.settings.heartbeat_timeout
    silent = {NODE: None}
    while driver.clock - (driver.state.members[NODE].last_heard or 0) <= timeout:
        assert f"{MEMBER_UNREACHABLE}@{NODE}" not in driver.state.alarms
        driver.evaluate(of=silent)
    alarm = driver.state.alarms[f"{MEMBER_UNREACHABLE}@{NODE}"]
    assert alarm.detail == "not heard for 120s"
    driver.evaluate()
    assert alarm.id in driver.state.alarms
    driver.evaluate()
    assert alarm.id not in driver.state.alarms


def test_a_member_that_was_never_heard_is_joining_and_no_alarm() -> None:
    driver = Driver(3)
    for _ in range(6):
        driver.settle(of={NODE: None})
    assert driver.state.members[NODE].joining
    assert driver.state.alarms == {}


def test_a_degraded_primary_is_an_alarm_about_that_node_and_no_other() -> None:
    driver = settled(2)
    driver.done(SetPriority("sat-002", 0))
    for _ in range(4):
        driver.evaluate(0.9)
    assert set(driver.state.alarms) == {f"{PRIMARY_DEGRADED}@sat-001", NO_CANDIDATE}
    driver.done(AcknowledgeAlarm(PRIMARY_DEGRADED), key="k", actor="ann")
    driver.done(Failover("sat-002", force=True), key="f")
    for _ in range(4):
        driver.evaluate(0.9, 0.9)
    alarm = driver.state.alarms[f"{PRIMARY_DEGRADED}@sat-002"]
    assert (alarm.detail, alarm.acknowledged) == ("4 unhealthy samples", None)
    assert raised_by_name(driver.state)[PRIMARY_DEGRADED] == 1


def test_a_failover_that_comes_in_time_is_no_alarm_and_one_that_does_not_is() -> None:
    driver = settled()
    for risk in (0.9, 0.9, 0.9):
        driver.settle(risk)
    assert driver.roles == "BPSS"
    driver.settle(0.9)
    assert driver.decided("alarm") == []
    driver = settled()
    for _ in range(3):
        driver.evaluate(0.9)
    assert changes(driver) == driver.decided("alarm") == []
    driver.vote("sat-002", "sat-003", approve=False)
    driver.evaluate(0.9)
    assert driver.roles == "PBSS"
    assert f"{PRIMARY_DEGRADED}@sat-001" in driver.state.alarms
    driver.evaluate(0.1)
    assert driver.state.alarms == {}


def test_a_node_that_leaves_takes_its_alarms_along() -> None:
    driver = settled()
    hear(driver, FULL, {**FULL, MEMBER_LAGGING: "9 entries behind"})
    assert driver.state.members[NODE].doubts == {MEMBER_LAGGING: 1}
    driver.done(RemoveMember(NODE))
    assert f"-{DISK}" in changes(driver)
    assert driver.state.alarms == {}


# -- acknowledging ------------------------------------------------------------------------------


def test_acknowledging_says_who_and_when_and_keeps_the_alarm() -> None:
    driver = settled()
    hear(driver, FULL, FULL)
    said = driver.done(AcknowledgeAlarm(DISK), key="k", actor="ann", reason="disk is ordered")
    assert said == {"acknowledged": [DISK]}
    assert changes(driver) == [f"={DISK}"]
    seen = driver.state.alarms[DISK].acknowledged
    assert seen is not None
    assert (seen.actor, seen.at, seen.comment) == ("ann", driver.clock, "disk is ordered")


def test_a_bare_name_acknowledges_all_of_that_name() -> None:
    driver = settled()
    driver.evaluate(of={"sat-003": None, "sat-004": None})
    while len(driver.state.alarms) < 2:
        driver.evaluate(of={"sat-003": None, "sat-004": None})
    said = driver.done(AcknowledgeAlarm(MEMBER_UNREACHABLE), key="k", actor="ann")
    assert said == {"acknowledged": [f"{MEMBER_UNREACHABLE}@sat-00{n}" for n in (3, 4)]}


def test_an_alarm_is_acknowledged_once_and_only_while_it_is_raised() -> None:
    driver = settled()
    reason, detail = driver.refused(AcknowledgeAlarm(DISK))
    assert (reason, detail) == (Reason.UNKNOWN_ALARM, f"no such alarm: '{DISK}'")
    hear(driver, FULL, FULL)
    driver.done(AcknowledgeAlarm(DISK), key="k", actor="ann")
    reason, detail = driver.refused(AcknowledgeAlarm(DISK_LOW))
    assert reason == Reason.DUPLICATE
    assert detail == "alarm: disk_low was acknowledged already, by ann"
    hear(driver, {}, {}, FULL, FULL)
    assert driver.state.alarms[DISK].acknowledged is None, "what is raised anew is unseen"


def test_the_counts_by_name_have_every_name() -> None:
    driver = settled()
    hear(driver, FULL, FULL)
    assert raised_by_name(driver.state) == {**dict.fromkeys(ALARMS, 0), DISK_LOW: 1}
    driver.done(AcknowledgeAlarm(DISK), key="k", actor="ann")
    assert raised_by_name(driver.state)[DISK_LOW] == 1
    assert unacknowledged_by_name(driver.state) == dict.fromkeys(ALARMS, 0)


def test_the_decision_log_tells_the_whole_life_of_an_alarm() -> None:
    driver = settled()
    hear(driver, FULL, FULL)
    driver.done(AcknowledgeAlarm(DISK), key="k", actor="ann", reason="seen")
    hear(driver, {}, {})
    told = driver.decided("alarm")
    assert [sentence(decision) for decision in told] == [
        f"alarm {DISK}: disk 93 % in use",
        f"alarm {DISK} acknowledged (by ann: seen)",
        f"alarm {DISK} is over",
    ]
    assert [d.outcome for d in told] == [Outcome.NOTED, Outcome.DONE, Outcome.NOTED]
    assert all(d.subjects == (NODE,) for d in told), "so that the node's own history has it"
