"""One CA in the place of another: no step before all have taken the one before it."""

import pytest

from stationkeep.cluster import ca_rotation
from stationkeep.cluster.alarms import CA_EXPOSED
from stationkeep.cluster.commands import (
    AbortCa,
    AddMember,
    FollowCa,
    MemberSpec,
    RemoveMember,
    SwitchCa,
    TrustCa,
)
from stationkeep.cluster.invariants import violations
from stationkeep.cluster.sentences import sentence
from stationkeep.cluster.state import codec
from stationkeep.cluster.state.state import MAX_CA_PEM, MAX_DROPPED, CaPhase
from stationkeep.cluster.transitions import Role
from tests.cluster.driver import Driver, settled
from tests.cluster.fleet.fleets import FleetDriver

FIRST, SECOND, THIRD = (f"sha256:{digit * 64}" for digit in "123")


@pytest.fixture
def driver() -> Driver:
    return settled()


def order(driver: Driver, command: object) -> dict[str, object]:
    return driver.done(command, key=f"k{len(driver.log)}", actor="ann")


def why_not(driver: Driver, command: object) -> str:
    return driver.refused(command, key=f"k{len(driver.log)}", actor="ann")[1]


def start(driver: Driver, second: str = SECOND, first: str = FIRST) -> None:
    order(driver, TrustCa(second, "PEM", (first,)))


def reach(driver: Driver, step: str, *nodes: str, second: str = SECOND) -> None:
    for node in nodes or driver.ids:
        driver.done(FollowCa(node, second, step))


def phase(driver: Driver) -> CaPhase | None:
    return driver.state.rotation and driver.state.rotation.phase


def test_from_one_ca_to_the_other_and_who_is_down_is_named_and_waited_for(driver: Driver) -> None:
    *rest, last = driver.ids
    start(driver)
    reach(driver, "trusts", *rest)
    assert why_not(driver, SwitchCa()).startswith(f"{last}: the second CA is not trusted yet")
    reach(driver, "trusts", last)
    order(driver, SwitchCa())
    reach(driver, "shows", *rest)
    assert (
        ca_rotation.say_lagging(driver.state)
        == f"{last}: no certificate of the second CA is shown yet"
    )
    assert (phase(driver), driver.state.dropped) == (CaPhase.ISSUING, {})
    reach(driver, "shows", last)
    assert phase(driver) is CaPhase.OVER
    assert list(driver.state.dropped) == [FIRST]
    said = [sentence(decision) for decision in driver.decided("ca")]
    assert ["started" in said[0], "switched" in said[1], "finished" in said[2]] == [True] * 3
    assert (
        codec.decode_snapshot(codec.encode_snapshot(driver.state)).rotation == driver.state.rotation
    )


def test_who_falls_back_is_waited_for_again(driver: Driver) -> None:
    start(driver)
    reach(driver, "trusts")
    reach(driver, "", driver.ids[0])
    assert driver.ids[0] in why_not(driver, SwitchCa())


def test_a_node_that_comes_in_between_is_waited_for_and_one_that_leaves_is_not(
    driver: Driver,
) -> None:
    start(driver)
    reach(driver, "trusts")
    order(driver, SwitchCa())
    order(driver, AddMember(MemberSpec("new", "new:1", "new:2")))
    reach(driver, "shows", *(name for name in driver.ids if name != "new"))
    assert ca_rotation.lagging(driver.state) == ["new"]
    order(driver, RemoveMember("new"))
    assert phase(driver) is CaPhase.OVER


def test_every_step_is_repeated_without_effect(driver: Driver) -> None:
    start(driver)
    start(driver)
    reach(driver, "trusts")
    order(driver, SwitchCa())
    order(driver, SwitchCa(SECOND))
    assert len(driver.decided("ca")) == 2


def test_another_one_is_refused_while_one_is_on_its_way_and_one_that_was_dropped_for_good(
    driver: Driver,
) -> None:
    start(driver)
    assert SECOND in why_not(driver, TrustCa(THIRD, "PEM", (FIRST,)))
    assert "is not the second CA's" in why_not(driver, SwitchCa(THIRD))
    order(driver, AbortCa())
    assert phase(driver) is CaPhase.ABORTED
    assert "was dropped before" in why_not(driver, TrustCa(SECOND, "PEM", (FIRST,)))
    start(driver, THIRD)
    assert phase(driver) is CaPhase.TRUSTING


def test_back_step_by_step_while_nobody_shows_what_goes(driver: Driver) -> None:
    start(driver)
    reach(driver, "trusts")
    order(driver, SwitchCa())
    reach(driver, "shows", driver.ids[0])
    order(driver, AbortCa())
    assert phase(driver) is CaPhase.TRUSTING
    assert f"{driver.ids[0]}: a certificate" in why_not(driver, AbortCa())
    reach(driver, "trusts", driver.ids[0])
    order(driver, AbortCa(SECOND))
    assert list(driver.state.dropped) == [SECOND]
    for command in (AbortCa(), SwitchCa()):
        assert why_not(driver, command) == "no CA is being replaced"


def test_devices_that_were_not_told_are_counted_and_left_behind_on_purpose_alone(
    driver: Driver,
) -> None:
    devices = FleetDriver.adopting(driver)
    devices.register("pixel", "iphone")
    start(driver)
    assert ca_rotation.devices_behind(driver.state) == 2
    driver.wait(1_000)
    reach(driver, "trusts")
    driver.wait(ca_rotation.TOLD_WITHIN)
    devices.register("iphone", session=2)
    assert "1 devices have not been told" in why_not(driver, SwitchCa())
    assert phase(driver) is CaPhase.TRUSTING
    order(driver, SwitchCa(leave_behind=1))
    assert "1 devices have not been told" in sentence(driver.decided("ca")[-1])
    assert ca_rotation.devices_behind(driver.state) == 1


@pytest.mark.parametrize(
    ("command", "field"),
    [
        (TrustCa("sha256:1", "PEM", (FIRST,)), "pin"),
        (TrustCa(SECOND, "PEM", ("x",)), "pin"),
        (TrustCa(SECOND, "", (FIRST,)), "pem"),
        (TrustCa(SECOND, "é", (FIRST,)), "pem"),
        (TrustCa(SECOND, "x" * (MAX_CA_PEM + 1), (FIRST,)), "pem"),
        (TrustCa(SECOND, "PEM", ()), "first"),
        (TrustCa(SECOND, "PEM", (FIRST,) * 17), "first"),
        (TrustCa(SECOND, "PEM", (SECOND,)), "first"),
    ],
    ids=["short", "other", "empty", "umlaut", "long", "none", "many", "itself"],
)
def test_what_makes_no_sense_begins_nothing(driver: Driver, command: TrustCa, field: str) -> None:
    assert why_not(driver, command).startswith(f"{field}: ")
    assert driver.state.rotation is None


def test_a_word_of_nobody_or_about_another_ca_counts_for_nothing(driver: Driver) -> None:
    start(driver)
    for command in (
        FollowCa("nobody", SECOND, "trusts"),
        FollowCa(driver.ids[0], THIRD, "trusts"),
        FollowCa(driver.ids[0], SECOND, "is there"),
    ):
        driver.refused(command)
    assert driver.state.rotation is not None
    assert driver.state.rotation.reached == {}


def test_the_oldest_that_was_dropped_is_forgotten_first(driver: Driver) -> None:
    driver.state.dropped = {f"sha256:{n:064x}": 0 for n in range(MAX_DROPPED)}
    start(driver)
    order(driver, AbortCa())
    assert len(driver.state.dropped) == MAX_DROPPED
    assert SECOND in driver.state.dropped
    assert list(violations(driver.state)) == []


def compromise(driver: Driver) -> str:
    standby = next(m.id for m in driver.state.members.values() if m.role is Role.STANDBY)
    order(driver, RemoveMember(standby, compromised=True))
    return standby


def rotate(driver: Driver, second: str, first: str) -> None:
    start(driver, second, first)
    reach(driver, "trusts", second=second)
    order(driver, SwitchCa())
    reach(driver, "shows", second=second)


def test_a_machine_in_foreign_hands_is_an_alarm_until_the_ca_is_another(driver: Driver) -> None:
    gone = compromise(driver)
    assert gone in driver.state.alarms[CA_EXPOSED].detail
    assert "rotate-ca start" in driver.state.alarms[CA_EXPOSED].detail
    driver.wait(1_000)
    rotate(driver, SECOND, FIRST)
    assert CA_EXPOSED not in driver.state.alarms
    assert driver.state.exposed == {}


def test_one_that_was_lost_while_it_had_both_keys_takes_another_rotation() -> None:
    driver = settled(5)
    first = compromise(driver)
    driver.wait(1_000)
    start(driver)
    reach(driver, "trusts")
    driver.wait(1_000)
    second = compromise(driver)
    assert {first, second} == {*driver.state.exposed}
    order(driver, SwitchCa())
    reach(driver, "shows")
    assert phase(driver) is CaPhase.OVER
    assert list(driver.state.exposed) == [second]
    assert first not in driver.state.alarms[CA_EXPOSED].detail
    driver.wait(1_000)
    rotate(driver, THIRD, SECOND)
    assert CA_EXPOSED not in driver.state.alarms
