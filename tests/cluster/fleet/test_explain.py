"""The story of a device: every sentence that can be said of it, with its figures."""

import pytest

from stationkeep.cluster.alarms import PINNED_UNHEALTHY
from stationkeep.cluster.commands import (
    AssignRing,
    ChangeSettings,
    Pause,
    SetHealthRule,
    SetRingPolicies,
)
from stationkeep.cluster.devices.moves import MoveReason
from stationkeep.cluster.devices.policies import RingPolicy
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.devices.status import parse_rule
from stationkeep.cluster.fleet.explain import MOVES, explain_device, say_move
from tests.node.api.fake import FakeNode
from tests.node.api.fleet_story import check, go_silent, register, report

IDS = tuple(f"device-{n:03d}" for n in range(1, 9))


@pytest.fixture
def node() -> FakeNode:
    """Eight devices, two in each ring, profile demo: dwell and recovery 10 s."""
    node = FakeNode().with_primary()
    register(node, *IDS, labels={"site": "lab"})
    return node


def in_ring(node: FakeNode, ring: Ring) -> str:
    fleet = node.state.fleet
    return next(id_ for id_ in IDS if fleet.device(fleet.table.rows[id_]).ring is ring)


def story(node: FakeNode, device: str) -> list[str]:
    row = node.state.fleet.row(device)
    assert row is not None
    return explain_device(node.state, row).summary


def test_every_reason_has_its_words() -> None:
    assert set(MOVES) == set(MoveReason)
    assert len({say_move(reason) for reason in MoveReason}) == len(MoveReason)


def test_a_device_that_has_just_come(node: FakeNode) -> None:
    device = in_ring(node, Ring.PROD)
    assert story(node, device) == [
        "in prod for 0s, because it registered: of its rings this one lacked most devices",
        "no ring policy matches it: the shares of the whole fleet rule it",
        "healthy",
        "no check moves it for balance for another 10s (ring_dwell)",
    ]


def test_a_device_that_has_dwelt(node: FakeNode) -> None:
    device = in_ring(node, Ring.PROD)
    node.now += 10_000
    report(node, *IDS)
    said = story(node, device)[-1]
    assert said == (
        "a check may move it for balance: prod holds 2 that are not pinned, its quota is 2 "
        "(redistribution: budget)"
    )
    node.commit(ChangeSettings({"redistribution": "off"}))
    assert story(node, device)[-1].startswith("a check moves it only to restore the quotas: prod")


def test_an_unhealthy_one_says_which_figure_and_what_comes(node: FakeNode) -> None:
    device = in_ring(node, Ring.PROD)
    report(node, device, ill=True)
    assert story(node, device)[2:] == [
        "unhealthy, so only canary and dev take it; at its last status cpu was 95, not < 80",
        "the next check moves it out of prod",
    ]


def test_one_bad_status_is_not_yet_a_verdict(node: FakeNode) -> None:
    device = in_ring(node, Ring.PROD)
    report(node, device, ill=True, times=1)
    assert story(node, device)[2] == (
        "still healthy, though cpu was 95, not < 80: 2 such statuses in a row make it unhealthy"
    )


def test_a_verdict_outlives_the_first_good_status(node: FakeNode) -> None:
    device = in_ring(node, Ring.PROD)
    report(node, device, ill=True)
    report(node, device, times=1)
    assert story(node, device)[2] == (
        "unhealthy, so only canary and dev take it; 3 healthy statuses in a row make it healthy"
    )


def test_one_that_recovers_says_when_it_may_return(node: FakeNode) -> None:
    device = in_ring(node, Ring.PROD)
    report(node, device, ill=True)
    check(node)
    node.now += 1_000
    report(node, device)
    node.now += 4_000
    report(node, device)
    said = story(node, device)
    assert "because it was unhealthy, and only canary and dev take such devices" in said[0]
    assert said[2] == "healthy for 4s"
    assert said[3] == (
        "its ill health sent it away from prod: it may return in 6s, if it stays healthy"
    )
    node.now += 6_000
    report(node, *IDS)
    assert story(node, device)[3].endswith("it may return as soon as there is room")


def test_a_silent_one(node: FakeNode) -> None:
    go_silent(node, IDS[0])
    assert story(node, IDS[0])[2] == (
        "offline, silent for 4s: it keeps its ring and counts in no health figure"
    )


def test_a_pin_says_whose_and_for_how_long(node: FakeNode) -> None:
    node.commit(AssignRing(IDS[0], Ring.PROD, 90_000), "k", "ann@ground", "promoted")
    report(node, IDS[0], ill=True)
    said = story(node, IDS[0])
    assert said[0] == "in prod for 0s, because an operator pinned it there"
    assert said[1] == "pinned by ann@ground for another 90s (promoted): no check moves it"
    assert said[2] == "unhealthy and pinned to prod; an alarm is raised for it"
    assert said[4] == "unhealthy; at its last status cpu was 95, not < 80"
    assert not any("next check" in line or "ring_dwell" in line for line in said)
    node.commit(AssignRing(IDS[0], Ring.PROD), "l")
    assert story(node, IDS[0])[1] == "pinned by somebody unnamed until released: no check moves it"


def test_only_an_unhealthy_device_pinned_to_prod_is_said_to_have_an_alarm(node: FakeNode) -> None:
    for device, ring in zip(IDS, (Ring.PROD, Ring.STAGE), strict=False):
        node.commit(AssignRing(device, ring), device)
        report(node, device, ill=True)
    assert PINNED_UNHEALTHY in node.state.alarms
    assert story(node, IDS[0])[2].endswith("an alarm is raised for it")
    assert story(node, IDS[1])[2] == "unhealthy and pinned to stage"


def test_a_policy_says_what_it_allows(node: FakeNode) -> None:
    policy = RingPolicy("lab", "site=lab", (Ring.CANARY, Ring.DEV))
    node.commit(SetRingPolicies((policy,)))
    assert story(node, IDS[0])[1] == "the ring policy lab (site=lab) allows it canary, dev"


def test_what_holds_everything_back_is_said(node: FakeNode) -> None:
    report(node, *IDS[:6], ill=True)
    assert "the storm brake holds all automatic moves back" in story(node, IDS[0])
    node.commit(Pause(60_000))
    assert "automatic moves pause for another 60s" in story(node, IDS[0])


def test_the_figures_are_those_of_the_rule(node: FakeNode) -> None:
    rule = parse_rule("battery > 90 and disk < 50.5", charging_excuses_battery=True)
    node.commit(SetHealthRule(rule.conditions, rule.charging_excuses_battery))
    assert "though disk was 55, not < 50.5:" in story(node, IDS[0])[2]
    node.commit(SetHealthRule(rule.conditions, False))
    said = story(node, IDS[0])[2]
    assert "though battery was 85, not > 90; disk was 55, not < 50.5:" in said


def test_moves_come_with_it_newest_first(node: FakeNode) -> None:
    node.commit(AssignRing(IDS[0], Ring.PROD), "k", "ann@ground")
    row = node.state.fleet.table.rows[IDS[0]]
    told = explain_device(node.state, row)
    assert told.device == IDS[0]
    assert [move.reason for move in told.moves] == [MoveReason.PINNED, MoveReason.REGISTERED]
