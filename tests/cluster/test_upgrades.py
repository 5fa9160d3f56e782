"""Levels: which commands may be ordered, what raises the level, and who is left behind."""

import msgspec
import pytest

from stationkeep.cluster.commands import (
    AddMember,
    Barrier,
    ChangeSettings,
    Draft,
    Echo,
    Measured,
    MemberSpec,
    MoveMember,
    RaiseLevel,
    RecordEvaluation,
    RemoveMember,
)
from stationkeep.cluster.levels import HIGHEST, LOWEST, SINCE, needed
from stationkeep.cluster.sentences import sentence
from stationkeep.cluster.settings import PROFILES
from stationkeep.cluster.state import codec
from stationkeep.cluster.upgrades import SETTLED, due_at, obstacles, reachable
from tests.cluster.driver import Driver, found

DEMO = PROFILES["demo"]
MOVE = MoveMember(MemberSpec("sat-002", "127.0.0.1:7", "127.0.0.1:8"))
RAISE = RaiseLevel(2, "0.2")


class Mixed(Driver):
    """A cluster at level 1, of members with these highest levels; 0: it says nothing."""

    def __init__(self, *highest: int) -> None:
        super().__init__(len(highest), DEMO, level=1)
        self.runs = dict(zip(self.ids, highest, strict=True))
        self.report()

    def report(self, **runs: int) -> None:
        """An evaluation of them all, after some were replaced by another release."""
        self.runs |= {name.replace("sat_", "sat-"): level for name, level in runs.items()}
        self.clock += DEMO.evaluation_interval
        self.seq += 1
        samples = tuple(_sample(node, level) for node, level in self.runs.items())
        echoes = tuple(Echo(n, 1, self.seq, self.clock) for n, level in self.runs.items() if level)
        self.done(RecordEvaluation(self.state.evaluations, samples, echoes))

    @property
    def sentences(self) -> list[str]:
        return [sentence(decision) for decision in self.state.decisions]


def _sample(node: str, level: int) -> Measured:
    if not level:
        return Measured(node, 0, 0)
    return Measured(node, 5, 100_000, release=f"0.{level}", highest=level)


def test_a_cluster_is_born_at_the_highest_level_of_who_founds_it() -> None:
    assert (Mixed(1, 2, 2).state.level, Driver(3).state.level) == (1, HIGHEST)


def test_a_command_of_a_higher_level_is_refused_until_the_level_is_raised() -> None:
    driver = Mixed(2, 2, 2)
    reason, detail = driver.refused(MOVE)
    assert reason == "level"
    assert detail == ("MoveMember needs level 2, and the cluster is at level 1 (stationkeep level)")
    assert driver.done(RAISE, actor="ann", key="k1") == {"level": 2}
    assert driver.done(MOVE, actor="ann", key="k2")["raft"] == "127.0.0.1:7"
    assert driver.sentences[-2:] == [
        "level 1 → 2, which release 0.2 has (by ann)",
        "sat-002 moved to raft 127.0.0.1:7, http 127.0.0.1:8 (by ann)",
    ]


@pytest.mark.parametrize(
    ("highest", "why"),
    [
        ((2, 1, 2), "sat-002 runs 0.1 and has levels up to 1"),
        ((2, 2, 0), "sat-003 has not reported its release yet"),
        ((2, 1, 1), "up to 1; sat-003 runs"),
    ],
)
def test_the_level_is_raised_when_every_member_has_it(highest: tuple[int, ...], why: str) -> None:
    driver = Mixed(*highest)
    reason, detail = driver.refused(RAISE)
    assert reason == "level"
    assert why in detail
    assert due_at(driver.state) is None


def test_a_member_that_is_not_heard_any_more_keeps_the_level_down() -> None:
    driver = Mixed(2, 2, 2)
    for _ in range(DEMO.heartbeat_timeout // DEMO.evaluation_interval + 1):
        driver.report(sat_003=0)
    assert obstacles(driver.state, 2, driver.clock) == ["sat-003 is not heard"]
    driver.report(sat_003=2)
    assert obstacles(driver.state, 2, driver.clock) == []


def test_a_learner_counts_as_every_member() -> None:
    driver = Mixed(2, 2, 2)
    driver.done(AddMember(MemberSpec("sat-004", "127.0.0.1:5", "127.0.0.1:6")))
    assert "sat-004 has not reported its release yet" in driver.refused(RAISE)[1]
    driver.report(**{"sat_004": 2})
    assert driver.done(RAISE) == {"level": 2}


def test_the_leader_raises_it_ten_minutes_after_the_last_member_was_upgraded() -> None:
    driver = Mixed(2, 2, 1)
    driver.clock += 3 * SETTLED
    assert due_at(driver.state) is None
    driver.report(sat_003=2)
    upgraded = driver.clock
    driver.report()
    assert (reachable(driver.state), due_at(driver.state)) == (2, upgraded + SETTLED)
    driver.report(sat_002=1)
    driver.report(sat_002=2)
    assert due_at(driver.state) == driver.clock + SETTLED, "it went back and came again"
    driver.done(RAISE)
    assert due_at(driver.state) is None
    assert driver.sentences[-1] == "level 1 → 2, which release 0.2 has"


def test_a_hold_keeps_the_level_down_for_operators_too() -> None:
    driver = Mixed(2, 2, 2)
    driver.done(ChangeSettings({"level_hold": 1}))
    assert due_at(driver.state) is None
    assert driver.refused(RAISE)[1] == "level: 2 refused: level_hold is 1"
    driver.done(ChangeSettings({"level_hold": 0}))
    assert due_at(driver.state) is not None
    driver.done(RAISE)
    assert driver.refused(RAISE)[1] == "level: 2 refused: the cluster is at level 2"


def test_a_member_that_cannot_follow_is_an_alarm_until_it_can_or_leaves() -> None:
    driver = Mixed(2, 2, 2)
    driver.done(RAISE)
    driver.report(sat_002=1)
    alarm = driver.state.alarms["member_outdated@sat-002"]
    assert alarm.detail == (
        "sat-002 runs 0.1 and has levels up to 1, the cluster is at level 2: install 0.2"
    )
    driver.report(sat_002=2)
    assert "member_outdated@sat-002" not in driver.state.alarms
    driver.report(sat_003=1)
    driver.done(RemoveMember("sat-003"))
    assert "member_outdated@sat-003" not in driver.state.alarms


def test_nonsense_in_a_report_changes_nothing() -> None:
    driver = Mixed(2, 2, 2)
    driver.report(sat_001=0)
    for release, highest in (("0.1", 2**60), ("a b", 1), ("", 1), ("0.1", -1)):
        sample = Measured("sat-001", 5, 0, release=release, highest=highest)
        driver.done(RecordEvaluation(driver.state.evaluations, (sample,), ()))
        assert driver.member("sat-001").highest == 2
    assert driver.refused(RaiseLevel(2, "x\n"))[0] == "invalid"


def test_every_draft_begins_with_the_level_that_it_needs() -> None:
    assert codec.encode_draft(Draft(Barrier()))[0] == LOWEST
    assert codec.encode_draft(Draft(MOVE))[0] == SINCE[MoveMember] == 2
    assert codec.encode_draft(Draft(RaiseLevel(7, "1")))[0] == needed(RaiseLevel(7, "1")) == 7
    assert codec.encode_draft(Draft(found(("a",), level=2)))[0] == 2


def test_a_draft_that_names_another_level_than_its_own_is_no_draft() -> None:
    encoded = codec.encode_draft(Draft(MOVE))
    with pytest.raises(codec.CodecError, match="its level is 2, it says 1"):
        codec.decode_draft(b"\x01" + encoded[1:])
    with pytest.raises(codec.CodecError, match="between 1 and 255, this one is 256"):
        codec.encode_draft(Draft(RaiseLevel(256, "1")))


def test_what_raised_the_level_says_what_to_install_to_a_release_that_lacks_it() -> None:
    entry = codec.stamp(1, 2, codec.encode_draft(Draft(RaiseLevel(2, "0.7.1"))))
    codec.check_level(entry, 2)
    with pytest.raises(codec.TooNew) as caught:
        codec.check_level(entry, 1)
    assert str(caught.value) == (
        "the log needs level 2, and this release has level 1 alone: install release 0.7.1 or a "
        "newer one. See: stationkeep guide upgrade"
    )
    unknown = codec.stamp(1, 2, b"\x09" + msgspec.msgpack.encode([["Unheard"]]))
    with pytest.raises(codec.TooNew, match=r"level 9, .* levels 1 to 2: install a newer release"):
        codec.check_level(unknown, 2)


def test_a_snapshot_carries_the_level_of_its_state() -> None:
    driver = Mixed(2, 2, 2)
    assert codec.decode_snapshot(codec.encode_snapshot(driver.state), highest=1).level == 1
    driver.done(RAISE)
    snapshot = codec.encode_snapshot(driver.state)
    assert codec.decode_snapshot(snapshot).level == 2
    with pytest.raises(codec.TooNew, match=r"the snapshot needs level 2, .* install release 0\.2 "):
        codec.decode_snapshot(snapshot, highest=1)
