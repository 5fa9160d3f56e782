"""What ring policies would change is what they change when they are set."""

import pytest

from stationkeep.cluster.commands import (
    AssignRing,
    RegisterDevices,
    Registration,
    RemoveDevice,
    SetRingPolicies,
)
from stationkeep.cluster.devices.policies import RingPolicy
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.fleet.regrouping import Regrouping, grouped, regrouping
from stationkeep.cluster.state.state import ClusterState
from tests.node.api.fake import FakeNode

OLD = RingPolicy("old", "os=Android 9", (Ring.CANARY,))
PIXELS = RingPolicy("pixels", "model=Pixel", (Ring.CANARY, Ring.DEV))
ALL = RingPolicy("all", "", (Ring.PROD,))


def _fleet() -> FakeNode:
    """Two Pixels of Android 9, two of Android 14, and two Galaxies of Android 14."""
    node = FakeNode().with_primary()
    makes = [("Pixel", "9"), ("Pixel", "14"), ("Galaxy", "14")] * 2
    devices = tuple(
        Registration(f"device-{n}", "", f"Android {os}", "1", {}, {"model": model}, 1, 1)
        for n, (model, os) in enumerate(makes)
    )
    outcome = node.commit(RegisterDevices("sat-001", devices))
    assert not outcome.result.get("refused"), outcome
    return node


def _rules(state: ClusterState) -> dict[str, str]:
    fleet = state.fleet
    return {id_: fleet.device(row).policy for id_, row in fleet.table.rows.items()}


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ((), (), 0),
        ((), (PIXELS,), 4),
        ((PIXELS,), (), 4),
        ((PIXELS,), (OLD, PIXELS), 2),  # the first that matches rules
        ((OLD, PIXELS), (PIXELS, OLD), 2),
        ((PIXELS,), (PIXELS, ALL), 2),
        ((OLD, ALL), (ALL, OLD), 2),
    ],
)
def test_it_counts_what_setting_them_changes(
    before: tuple[RingPolicy, ...], after: tuple[RingPolicy, ...], changed: int
) -> None:
    node = _fleet()
    node.commit(SetRingPolicies(before))
    told, ruled = regrouping(grouped(node.state.fleet), after), _rules(node.state)
    assert (told.devices, told.changed) == (6, changed)
    node.commit(SetRingPolicies(after))
    now = _rules(node.state)
    assert sum(now[id_] != ruled[id_] for id_ in now) == changed
    assert told.ruled == tuple(list(now.values()).count(policy.name) for policy in after)


def test_one_of_the_same_name_and_another_content_is_another_rule() -> None:
    node = _fleet()
    node.commit(SetRingPolicies((PIXELS,)))
    other = RingPolicy("pixels", "model=Pixel", (Ring.DEV,))
    assert regrouping(grouped(node.state.fleet), (other,)).changed == 4


def test_who_would_stand_where_it_may_not_is_astray_unless_pinned() -> None:
    node = _fleet()
    rings = [node.state.fleet.device(row).ring for row in range(6)]
    outside = sum(ring is not Ring.PROD for ring in rings)
    assert regrouping(grouped(node.state.fleet), (ALL,)).astray == outside
    node.commit(AssignRing("device-0", Ring.DEV))
    expected = outside - (rings[0] is not Ring.PROD)
    assert regrouping(grouped(node.state.fleet), (ALL,)).astray == expected


def test_what_matches_nothing_is_named() -> None:
    node = _fleet()
    told = regrouping(grouped(node.state.fleet), (RingPolicy("typo", "modle=Pixel"),))
    assert told.warnings == [
        "typo rules no device now",
        "typo: no device has modle; did you mean model?",
    ]


def test_without_devices_nothing_changes() -> None:
    node = FakeNode().with_primary()
    expected = Regrouping(0, (0,), 0, 0, ["all rules no device now"])
    assert regrouping(grouped(node.state.fleet), (ALL,)) == expected


def test_a_plan_is_of_the_devices_as_they_were() -> None:
    """It is made on a thread, while the state goes on."""
    node = _fleet()
    devices = grouped(node.state.fleet)
    before = regrouping(devices, (PIXELS, ALL))
    node.commit(SetRingPolicies((OLD, ALL)))
    node.commit(AssignRing("device-0", Ring.DEV))
    node.commit(RemoveDevice("device-1"))
    newcomer = Registration("device-9", "", "Android 14", "1", {}, {"model": "new"}, 1, 1)
    node.commit(RegisterDevices("sat-001", (newcomer,)))
    assert regrouping(devices, (PIXELS, ALL)) == before
