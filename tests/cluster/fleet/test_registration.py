"""Registration and the first ring: rings.md, "Devices" and "Ring assignment"."""

from typing import Any

import pytest

from stationkeep.cluster.commands import (
    AssignRing,
    RegisterDevices,
    RemoveDevice,
    SetRingPolicies,
    SetRingShares,
)
from stationkeep.cluster.devices.moves import MoveReason
from stationkeep.cluster.devices.policies import RingPolicy
from stationkeep.cluster.devices.rings import UNSET, Ring, mask_of, quotas
from stationkeep.cluster.devices.status import Reading
from stationkeep.cluster.fleet.registration import U32, registration_fault
from stationkeep.cluster.numbers import SEQUENCE, SESSION
from stationkeep.cluster.state.events import DevicesMoved, DevicesRegistered
from tests.cluster.fleet.fleets import BAD, GOOD, NODE, FleetDriver


def test_healthy_devices_spread_evenly_over_the_four_rings() -> None:
    driver = FleetDriver()
    driver.crowd(12)
    assert driver.distribution == (3, 3, 3, 3)


def test_they_follow_the_shares_at_every_moment() -> None:
    driver = FleetDriver()
    driver.done(SetRingShares((5, 10, 25, 60)))
    for total in range(1, 41):
        driver.crowd(1)
        placed, quota = driver.distribution, quotas(total, (5, 10, 25, 60))
        assert all(abs(a - b) <= 1 for a, b in zip(placed, quota, strict=True))
    assert driver.distribution == (2, 4, 10, 24)


def test_unhealthy_devices_go_to_canary_or_dev_by_the_same_rule() -> None:
    driver = FleetDriver()
    driver.crowd(6, reading=BAD)
    assert driver.distribution == (3, 3, 0, 0)


def test_a_device_without_a_status_counts_as_healthy() -> None:
    driver = FleetDriver()
    driver.crowd(4, reading=None)
    assert driver.distribution == (1, 1, 1, 1)


def test_caps_are_kept() -> None:
    driver = FleetDriver()
    driver.done(SetRingShares((1, 1, 1, 1), (2, 0, 0, 3)))
    driver.done(SetRingPolicies((RingPolicy("one", "site=a"),)))
    for site in "abab":
        driver.crowd(5, labels={"site": site})
    assert driver.distribution in ((2, 8, 7, 3), (2, 7, 8, 3))


def test_pinned_devices_take_room_below_a_cap_and_none_of_a_quota() -> None:
    driver = FleetDriver()
    driver.done(SetRingShares((1, 1, 1, 1), (2, 0, 0, 0)))
    first = driver.crowd(2)
    for row in first:
        driver.done(AssignRing(driver.fleet.id(row), Ring.CANARY))
    driver.crowd(6)
    assert driver.distribution == (2, 2, 2, 2)
    assert list(driver.fleet.quota_by_ring().values()) == [0, 2, 2, 2]


def test_a_policy_decides_where_its_devices_may_start() -> None:
    driver = FleetDriver()
    vip = RingPolicy("vip", "channel=vip", (Ring.PROD,))
    driver.done(SetRingPolicies((vip, RingPolicy("rest", "channel!=beta", (Ring.DEV, Ring.STAGE)))))
    rows = driver.crowd(3, labels={"channel": "vip"})
    assert {driver.ring(row) for row in rows} == {Ring.PROD}
    assert {driver.device(row).policy for row in rows} == {"vip"}
    rest = driver.crowd(4, labels={"channel": "stable"})
    assert sorted(driver.ring(row) for row in rest) == ["dev", "dev", "stage", "stage"]
    beta = driver.crowd(4, labels={"channel": "beta"})
    assert {driver.device(row).policy for row in beta} == {""}
    assert {driver.ring(row) for row in beta} == set(Ring)
    (sick,) = driver.crowd(1, reading=BAD, labels={"channel": "vip"})
    assert 1 << driver.ring(sick).code & mask_of((Ring.CANARY, Ring.DEV))


def test_ties_are_broken_by_a_keyed_hash_of_the_id_and_not_by_order() -> None:
    def first_ring(device: str) -> Ring:
        driver = FleetDriver()
        return driver.ring(*driver.register(device))

    rings = [first_ring(f"device-{n}") for n in range(24)]
    assert rings == [first_ring(f"device-{n}") for n in range(24)]
    assert set(rings) == set(Ring)


def test_a_registration_is_answered_and_told_and_logged() -> None:
    driver = FleetDriver()
    answer = driver.done(RegisterDevices(NODE, (driver.registration("a", labels={"x": "y"}),)))
    assert answer["rows"] == [0]
    assert answer["births"] == [1]
    assert answer["rings"] == [driver.ring(0).value]
    assert answer["refused"] == {}
    moved, registered = driver.events
    assert isinstance(moved, DevicesMoved)
    assert moved.origins == bytes([UNSET])
    assert isinstance(registered, DevicesRegistered)
    (move,) = driver.fleet.history(0)
    assert (move.origin, move.ring, move.reason) == (None, driver.ring(0), MoveReason.REGISTERED)
    assert driver.fleet.spec(0).labels == {"x": "y"}
    assert driver.state.counters.ring_moves == {f">{driver.ring(0)}>registered": 1}


def test_who_comes_back_keeps_row_ring_and_pin_and_refreshes_what_it_says_of_itself() -> None:
    driver = FleetDriver()
    driver.register("a", app_version="1.0.0")
    driver.done(AssignRing("a", Ring.PROD), actor="ann")
    before = driver.device(0)
    driver.clock += 10_000
    assert driver.register("a", session=2, sequence=0, app_version="2.0.0", name="A") == [0]
    after = driver.device(0)
    assert (after.birth, after.revision, after.ring, after.pinned) == (
        before.birth, before.revision, before.ring, before.pinned
    )  # fmt: skip
    assert (after.app_version, after.name, after.session, after.seen_at) == (
        "2.0.0", "A", 2, 10_000
    )  # fmt: skip
    assert len(driver.fleet.table.kinds.all) - len(driver.fleet.table.kinds.free) == 1


def test_its_first_status_counts_towards_the_verdict_like_any_other() -> None:
    driver = FleetDriver()
    driver.register("a")
    driver.register("a", reading=BAD, session=2)
    assert driver.device(0).healthy
    driver.register("a", reading=BAD, session=3)
    assert not driver.device(0).healthy
    driver.register("a", reading=None, session=4)
    assert not driver.device(0).healthy


def test_the_newer_session_wins_and_the_older_is_refused_alone() -> None:
    driver = FleetDriver()
    driver.register("a", "b", session=5)
    late = driver.registration("a", session=4, name="late")
    fresh = driver.registration("c", session=1)
    answer = driver.done(RegisterDevices(NODE, (late, fresh)))
    assert answer["rows"] == [-1, 2]
    assert answer["births"] == [0, 3]
    assert answer["rings"][0] == ""
    assert "session: 4 is older than 5" in answer["refused"]["0"]
    assert driver.device(0).name == ""


def test_a_repeated_registration_is_answered_and_changes_nothing() -> None:
    driver = FleetDriver()
    command = RegisterDevices(NODE, (driver.registration("a", reading=BAD),))
    first = driver.done(command)
    driver.clock += 10_000
    assert driver.done(command) == first
    assert driver.device(0).seen_at == 0
    assert driver.events == []


def test_one_device_twice_in_a_command_is_one_device() -> None:
    driver = FleetDriver()
    twice = (driver.registration("a"), driver.registration("a", name="again"))
    assert driver.done(RegisterDevices(NODE, twice))["rows"] == [0, 0]
    assert driver.device(0).name == "again"
    assert len(driver.fleet) == 1


def test_a_row_that_is_given_up_goes_to_the_next_device_with_another_birth() -> None:
    driver = FleetDriver()
    driver.register("a", "b")
    former = driver.device(0)
    driver.done(RemoveDevice("a"))
    assert driver.fleet.row("a") is None
    assert driver.register("c") == [0]
    later = driver.device(0)
    assert later.birth == 3
    assert later.revision > former.revision
    assert [move.reason for move in driver.fleet.history(0)] == [MoveReason.REGISTERED]
    late = driver.batch({0: BAD})
    stale = late.births[:0] + former.birth.to_bytes(4, "little")
    answer = driver.done(
        type(late)(**{**{f: getattr(late, f) for f in late.__struct_fields__}, "births": stale})
    )
    assert answer == {"applied": 0, "outdated": 0, "unknown": 1}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"id": ""}, "id: ''"),
        ({"id": "a b"}, "id: 'a b'"),
        ({"id": "x" * 129}, "id: 'xxx"),
        ({"name": "n" * 257}, "name:"),
        ({"os_version": "a\x00"}, "os_version:"),
        ({"app_version": "a\n"}, "app_version:"),
        ({"labels": {f"k{n}": "v" for n in range(33)}}, "labels: 33 given, at most 32"),
        ({"labels": {"a b": "v"}}, "labels: 'a b' is not a key"),
        ({"capabilities": {"a": "v" * 257}}, "capabilities.a:"),
        ({"session": -1}, "session: -1"),
        ({"sequence": 2**32}, "sequence: 4294967296"),
        ({"reading": Reading(101, False, 0, 0, 0)}, "battery: 101"),
    ],
)
def test_a_registration_that_cannot_be_is_refused_alone_with_the_field(
    fields: dict[str, Any], words: str
) -> None:
    driver = FleetDriver()
    bad = driver.registration(**{"device": fields.pop("id", "bad"), **fields})
    assert words in (registration_fault(bad) or "")
    answer = driver.done(RegisterDevices(NODE, (bad, driver.registration("good"))))
    assert answer["rows"] == [-1, 0]
    assert words in answer["refused"]["0"]


def test_a_command_carries_1_to_256_devices_of_a_member() -> None:
    driver = FleetDriver()
    one = driver.registration("a")
    assert "0 given" in driver.refused(RegisterDevices(NODE, ()))[1]
    assert "257 given" in driver.refused(RegisterDevices(NODE, (one,) * 257))[1]
    assert driver.refused(RegisterDevices("nobody", (one,)))[0] == "unknown_node"


def test_a_fleet_that_is_full_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stationkeep.cluster.fleet.registration.MAX_DEVICES", 2)
    driver = FleetDriver()
    driver.register("a", "b")
    answer = driver.done(RegisterDevices(NODE, (driver.registration("c"),)))
    assert "there is no room" in answer["refused"]["0"]
    assert driver.register("a", session=2) == [0]


def test_the_table_grows_and_everybody_stays_who_he_is() -> None:
    driver = FleetDriver()
    rows = driver.crowd(300, reading=Reading(50, False, 1, 2, 3, {"t": 7_000}))
    assert rows == list(range(300))
    assert driver.fleet.table.capacity == 512
    assert {driver.device(row).battery for row in rows} == {50}
    assert {driver.device(row).metrics["t"] for row in rows} == {7.0}
    assert driver.distribution == (75, 75, 75, 75)
    assert driver.register("late", reading=GOOD) == [300]
    assert driver.device(300).metrics == {}


@pytest.mark.parametrize("known", [0, 1_800_000_000])
def test_nobody_registers_a_device_so_far_ahead_that_it_could_not_follow(known: int) -> None:
    driver = FleetDriver()
    if known:
        driver.register("a", session=known)
    for session, sequence, field in [(U32, 1, "session"), (known + 1, U32, "sequence")]:
        far = driver.registration("a", session=session, sequence=sequence)
        answer = driver.done(RegisterDevices(NODE, (far,)))
        assert answer["refused"]["0"].startswith(f"{field}: {U32} is too far ahead of ")
    assert driver.register("a", session=known + 1, sequence=1) == [0]


def test_whatever_is_registered_in_its_name_a_device_can_go_on_above() -> None:
    driver = FleetDriver()
    session = SESSION.limit(0)
    assert driver.register("a", session=session, sequence=SEQUENCE.limit(0)) == [0]
    for _ in range(100):
        session = SESSION.limit(session)
        assert driver.register("a", session=session) == [0]
        session += 1
        assert driver.register("a", session=session, sequence=1) == [0]
    assert (driver.device(0).session, driver.device(0).sequence) == (session, 1)


def test_a_device_is_known_to_have_changed_since_it_reported_another_version() -> None:
    driver = FleetDriver()
    (row,) = driver.register("pixel", app_version="1.0.0", os_version="14")
    assert driver.device(row).changed_at is None
    for app, os, changes in (("1.0.0", "14", False), ("", "", False), ("1.1.0", "14", True),
                             ("1.1.0", "14", False), ("1.1.0", "15", True)):  # fmt: skip
        before = driver.device(row).changed_at
        driver.clock += 60_000
        driver.register("pixel", app_version=app, os_version=os)
        expected = driver.clock if changes else before
        assert driver.device(row).changed_at == expected
    driver.done(RemoveDevice("pixel"))
    (heir,) = driver.register("heir", app_version="1.0.0")
    assert (heir, driver.device(heir).changed_at) == (row, None)
