"""The operator's hand on devices: rings.md, "Ring assignment"."""

import pytest

from stationkeep.cluster.alarms import PINNED_UNHEALTHY
from stationkeep.cluster.commands import (
    AssignRing,
    ReleaseRing,
    RemoveDevice,
    SetHealthRule,
    SetRingPolicies,
    SetRingShares,
)
from stationkeep.cluster.deadlines import next_due
from stationkeep.cluster.devices.moves import MoveReason
from stationkeep.cluster.devices.policies import RingPolicy, version_of
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.devices.status import Condition
from stationkeep.cluster.state.events import DeviceRemoved, FleetRulesChanged
from tests.cluster.fleet.fleets import BAD, FleetDriver, restored


def test_an_assignment_pins_with_actor_reason_and_a_new_revision() -> None:
    driver = FleetDriver()
    driver.register("a")
    before = driver.device(0)
    answer = driver.done(AssignRing("a", Ring.PROD), key="k", actor="ann", reason="after staging")
    after = driver.device(0)
    assert answer == {"ring": "prod", "revision": before.revision + 1, "until_ms": None}
    assert after.pinned is not None
    assert (after.pinned.actor, after.pinned.reason, after.ring) == ("ann", "after staging", "prod")
    (newest, _) = driver.fleet.history(0)
    assert (newest.origin, newest.ring, newest.reason, newest.actor) == (
        before.ring, Ring.PROD, MoveReason.PINNED, "ann"
    )  # fmt: skip
    assert driver.decision.subjects == ("a",)


def test_a_release_lets_it_stay_and_tells_who_let_go() -> None:
    driver = FleetDriver()
    driver.register("a")
    driver.done(AssignRing("a", Ring.PROD), actor="ann")
    assert driver.done(ReleaseRing("a"), actor="ben") == {"ring": "prod", "was_pinned": True}
    assert driver.device(0).pinned is None
    assert driver.device(0).revision == 3
    assert driver.fleet.history(0)[0].actor == "ben"
    assert driver.done(ReleaseRing("a")) == {"ring": "prod", "was_pinned": False}
    assert driver.device(0).revision == 3


def test_a_pin_runs_out_at_its_time() -> None:
    driver = FleetDriver()
    driver.register("a", "b", "c")
    driver.done(AssignRing("a", Ring.PROD, 60_000), actor="ann")
    driver.done(AssignRing("b", Ring.PROD, 90_000), actor="ann")
    driver.done(AssignRing("c", Ring.PROD), actor="ann")
    assert next_due(driver.state) == 60_000
    driver.wait(59_999)
    assert sorted(driver.fleet.pins) == [0, 1, 2]
    driver.wait(1)
    assert sorted(driver.fleet.pins) == [1, 2]
    assert driver.device(0).ring_reason is MoveReason.EXPIRED
    assert driver.decision.facts == {"devices": 1, "expired": True}
    assert next_due(driver.state) == 90_000
    driver.wait(30_000)
    assert sorted(driver.fleet.pins) == [2]
    assert next_due(driver.state) is None


def test_a_pin_that_was_replaced_runs_out_at_its_new_time() -> None:
    driver = FleetDriver()
    driver.register("a")
    driver.done(AssignRing("a", Ring.PROD, 60_000))
    driver.done(AssignRing("a", Ring.DEV, 120_000))
    driver.wait(60_000)
    assert driver.device(0).pinned is not None
    assert next_due(driver.state) == 120_000
    driver.done(ReleaseRing("a"))
    driver.wait(60_000)
    assert next_due(driver.state) is None


def test_an_unhealthy_device_pinned_to_prod_raises_an_alarm_while_it_is() -> None:
    driver = FleetDriver()
    rows = driver.crowd(4)
    driver.done(AssignRing(driver.fleet.id(rows[0]), Ring.PROD))
    assert PINNED_UNHEALTHY not in driver.state.alarms
    driver.sicken(rows[0])
    assert PINNED_UNHEALTHY in driver.state.alarms
    driver.heal(rows[0])
    assert PINNED_UNHEALTHY not in driver.state.alarms
    driver.sicken(rows[0])
    driver.done(ReleaseRing(driver.fleet.id(rows[0])))
    assert PINNED_UNHEALTHY not in driver.state.alarms


def test_a_removed_device_is_gone_with_its_pin() -> None:
    driver = FleetDriver()
    driver.crowd(4)
    driver.done(AssignRing(driver.fleet.id(1), Ring.PROD, 60_000))
    name = driver.fleet.id(1)
    driver.done(RemoveDevice(name))
    assert DeviceRemoved(name, 1) in driver.events
    assert len(driver.fleet) == 3
    assert driver.fleet.pins == {}
    driver.wait(60_000)
    assert driver.refused(RemoveDevice(name))[0] == "unknown_device"


def test_a_removed_device_that_registers_anew_is_told_a_newer_revision_in_whatever_row() -> None:
    driver = FleetDriver()
    driver.register("often", "other")
    for ring in (Ring.DEV, Ring.PROD, Ring.DEV):
        driver.done(AssignRing("often", ring))
    told = driver.device(0).revision
    driver.done(RemoveDevice("often"))
    driver.done(RemoveDevice("other"))
    driver.state = restored(driver.state)
    (row,) = driver.register("often")
    assert row == 1
    assert driver.device(row).revision > told


@pytest.mark.parametrize("order", [AssignRing("x", Ring.DEV), ReleaseRing("x"), RemoveDevice("x")])
def test_a_device_that_nobody_knows_is_named(order: AssignRing) -> None:
    reason, detail = FleetDriver().refused(order)
    assert reason == "unknown_device"
    assert "no such device: 'x'" in detail


@pytest.mark.parametrize("lifetime", [-1, 366 * 24 * 3_600_000 + 1])
def test_a_lifetime_has_limits(lifetime: int) -> None:
    driver = FleetDriver()
    driver.register("a")
    assert "lifetime" in driver.refused(AssignRing("a", Ring.DEV, lifetime))[1]


def test_so_many_may_be_pinned_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stationkeep.cluster.fleet.orders.MAX_PINS", 1)
    driver = FleetDriver()
    driver.register("a", "b")
    driver.done(AssignRing("a", Ring.DEV))
    assert driver.refused(AssignRing("b", Ring.DEV))[0] == "limit"
    driver.done(AssignRing("a", Ring.PROD))


def test_the_health_rule_holds_for_statuses_from_now_on() -> None:
    driver = FleetDriver()
    rows = driver.crowd(2)
    answer = driver.done(SetHealthRule((Condition("battery", ">", 1),)), actor="ann")
    assert answer == {"rule": "battery > 1"}
    assert FleetRulesChanged("health_rule") in driver.events
    driver.report(dict.fromkeys(rows, BAD), 3)
    assert all(driver.device(row).healthy for row in rows)


def test_policies_group_the_devices_that_are_there() -> None:
    driver = FleetDriver()
    (a,) = driver.register("a", os_version="Android 14", capabilities={"gpu": "yes"})
    (b,) = driver.register("b", os_version="Android 15", capabilities={"gpu": "yes"})
    (c,) = driver.register("c")
    driver.done(SetRingPolicies((RingPolicy("old", "os=Android 14"), RingPolicy("gpu", "gpu=yes"))))
    assert [driver.device(row).policy for row in (a, b, c)] == ["old", "gpu", ""]
    driver.done(SetRingPolicies((RingPolicy("gpu", "gpu=yes"),)))
    assert [driver.device(row).policy for row in (a, b, c)] == ["gpu", "gpu", ""]
    driver.done(SetRingPolicies(()))
    assert [driver.device(row).policy for row in (a, b, c)] == ["", "", ""]


def test_policies_that_were_changed_meanwhile_are_not_overwritten() -> None:
    driver = FleetDriver()
    first, second = RingPolicy("a", "x=1"), RingPolicy("b", "x=2")
    none = version_of(())
    driver.done(SetRingPolicies((first,), none))
    reason, detail = driver.refused(SetRingPolicies((second,), none))
    assert (reason, "changed since" in detail) == ("stale_revision", True)
    assert driver.fleet.policies == (first,)
    driver.done(SetRingPolicies((first, second), version_of((first,))))
    assert version_of((first, second)) != version_of((second, first))
    driver.done(SetRingPolicies(()))
    assert driver.fleet.policies == ()


def test_a_label_goes_before_a_capability_of_its_name() -> None:
    driver = FleetDriver()
    driver.register("a", labels={"x": "label"}, capabilities={"x": "capability"})
    driver.done(SetRingPolicies((RingPolicy("p", "x=label"),)))
    assert driver.device(0).policy == "p"


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (SetRingShares((0, 0, 0, 0)), "weights: at least one"),
        (SetRingShares((-1, 1, 1, 1)), "weights: [-1, 1, 1, 1]"),
        (SetRingShares((1, 1, 1, 1), (0, 0, 0, -1)), "caps: [0, 0, 0, -1]"),
        (SetHealthRule(()), "conditions: a health rule has 1 to 16"),
        (SetRingPolicies((RingPolicy("p", "x"),)), "policies.p: selector: character 2"),
        (SetRingPolicies((RingPolicy("a b", ""),)), "policies: 'a b' is not a name"),
        (SetRingPolicies((RingPolicy("p", ""),) * 2), "policies: a name is given twice"),
        (SetRingPolicies((RingPolicy("p", ""),) * 33), "policies: 33, at most 32"),
    ],
)
def test_rules_that_cannot_be_are_refused_with_the_field(order: SetRingShares, words: str) -> None:
    reason, detail = FleetDriver().refused(order)
    assert reason == "invalid"
    assert words in detail
