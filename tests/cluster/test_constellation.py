"""What must hold (roles.md, 1 to 6), over the pure core with a simulated observation network."""

import random
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stationkeep.cluster.commands import Failover, Switchover
from stationkeep.cluster.settings import LEASE_DRIFT_PPM, PPM, PROFILES
from tests.cluster.constellation import Constellation, Loss, bursty, independent, no_loss
from tests.cluster.driver import settled

ORBIT, DEMO = PROFILES["orbit"], PROFILES["demo"]
HOUR = 3_600_000


# 5: zero role changes under random loss


@pytest.mark.parametrize(
    ("nodes", "profile", "loss", "hours"),
    [
        (5, "orbit", independent(0.2, 1), 8),
        (3, "orbit", independent(0.2, 2), 12),
        (2, "orbit", independent(0.2, 3), 12),
        (5, "orbit", bursty(0.2, 10_000, 4), 8),
        (3, "orbit", bursty(0.2, 10_000, 5), 12),
        (2, "orbit", bursty(0.2, 10_000, 6), 12),
        (7, "orbit", bursty(0.2, 10_000, 7), 3),
        (5, "demo", independent(0.2, 8), 0.2),
        # a burst of 10 s is a third of an evaluation in orbit; the same share here
        (5, "demo", bursty(0.2, 333, 9), 0.2),
        (3, "demo", bursty(0.2, 333, 10), 0.2),
    ],
)
def test_no_flapping_under_random_loss(nodes: int, profile: str, loss: Loss, hours: float) -> None:
    world = Constellation(nodes, PROFILES[profile], loss)
    world.run(round(hours * HOUR))
    assert world.changes == 0
    assert world.driver.state.evaluations > 350
    assert [who for _, who in world.acted] == ["sat-001"], "and it acted all the time"


def test_the_loss_models_lose_what_they_say() -> None:
    for loss in (independent(0.2, 1), bursty(0.2, 10_000, 1)):
        lost = sum(loss("a", "b", now) for now in range(0, 200 * HOUR, 5_000))
        assert 0.18 < lost / (200 * HOUR / 5_000) < 0.22
    loss, bursts, last = bursty(0.2, 10_000, 1), 0, False
    for now in range(0, 20 * HOUR, 100):
        now_lost = loss("a", "b", now)
        bursts, last = bursts + (now_lost and not last), now_lost
    assert 9_000 < 0.2 * 20 * HOUR / bursts < 11_500, "mean burst in ms"


def test_one_dead_link_between_leader_and_primary_proves_nothing() -> None:
    def loss(source: str, target: str, _now: int) -> bool:
        return {source, target} == {"sat-001", "sat-004"}

    world = Constellation(4, ORBIT, loss)
    assert world.leader == "sat-004"
    world.run(HOUR)
    assert world.changes == 0
    assert world.longest["sat-001"] == 0, "its reports come through the others"
    assert world.effective == "sat-001"


# 4: no pattern of loss without the trigger's run changes anything


@given(st.lists(st.sets(st.integers(0, 4)), max_size=25), st.integers(2, 5))
def test_missed_samples_short_of_the_triggers_run_change_nothing(
    pattern: list[set[int]], nodes: int
) -> None:
    driver = settled(nodes)
    for missed in pattern:
        lost = {
            node: None
            for number, node in enumerate(driver.ids)
            if number in missed and driver.member(node).run < (2 if number == 0 else 1)
        }
        driver.settle(of=lost)
    assert driver.roles == "PBSSS"[:nodes]
    assert driver.state.proposals_opened == 2


@settings(max_examples=25)
@given(
    st.lists(st.integers(0, 2**20 - 1), min_size=1, max_size=30),
    st.integers(2, 5),
    st.sampled_from([0.0, 0.3, 0.7]),
)
def test_whatever_is_lost_nobody_changes_without_a_run_that_reached_the_trigger(
    pattern: list[int], nodes: int, also: float
) -> None:
    """The pattern says for every fifth of an evaluation which of the links are down."""
    ids = settled(nodes).ids
    links = {(a, b): i for i, (a, b) in enumerate((a, b) for a in ids for b in ids if a != b)}
    dice = random.Random(str(pattern))

    def loss(source: str, target: str, now: int) -> bool:
        down = pattern[now // 200 % len(pattern)] >> links[source, target] & 1
        return bool(down) or dice.random() < also

    world = Constellation(nodes, DEMO, loss)
    world.run(30_000)
    if world.longest["sat-001"] < 3 and all(
        run < 2 for node, run in world.longest.items() if node != "sat-001"
    ):
        assert world.changes == 0


# 6: a failed PRIMARY is replaced in time


@settings(max_examples=30)
@given(
    st.integers(3, 7),
    st.sampled_from(["orbit", "demo"]),
    st.integers(0, 10_000),
    st.sampled_from(["dead", "ill", "cut off"]),
    st.tuples(st.sampled_from(["none", "independent", "bursty"]), st.integers(0, 99)),
)
def test_a_primary_that_stays_failed_is_replaced_in_time(
    nodes: int, profile: str, moment: int, how: str, network: tuple[str, int]
) -> None:
    rules, (lossy, seed) = PROFILES[profile], network
    loss = {
        "none": no_loss,
        "independent": independent(0.2, seed),
        "bursty": bursty(0.2, rules.evaluation_interval / 3, seed),
    }[lossy]
    world = Constellation(nodes, rules, loss, seed)
    world.run(5 * rules.evaluation_interval + moment * rules.evaluation_interval // 10_000)
    assert world.holder == "sat-001"
    if how == "dead":
        world.kill("sat-001")
    elif how == "cut off":
        world.cut("sat-001")
    else:
        world.nodes["sat-001"].risk = 0.45
    failed = world.now
    bound = 4 * rules.evaluation_interval + rules.proposal_timeout
    world.run(bound)
    assert world.holder == "sat-002"
    assert world.acted[-1][1] == "sat-002", "and acts"
    assert world.acted[-1][0] - failed <= bound


def test_a_primary_that_stays_ill_costs_its_seat_exactly_once() -> None:
    world = Constellation(5, ORBIT, independent(0.2, 11))
    world.nodes["sat-001"].risk = 0.45
    world.run(6 * HOUR)
    assert world.driver.state.seat.epoch == 2
    assert world.driver.roles == "XPBSS"
    seat = [c for c in world.driver.state.role_changes[world.started :] if c.epoch == 2]
    assert [(c.node, c.target.value) for c in seat] == [
        ("sat-001", "BACKUP"),
        ("sat-002", "PRIMARY"),
        ("sat-003", "BACKUP"),
        ("sat-001", "SAFE_MODE"),
    ]


def test_losing_the_leader_again_and_again_costs_nobody_a_role() -> None:
    world = Constellation(5, DEMO, independent(0.2, 12))
    for _ in range(100):
        world.run(2_500)
        assert world.leader is not None
        world.depose()
    assert world.changes == 0
    assert [who for _, who in world.acted] == ["sat-001"]


# 1 and 2: never two, whatever is cut off, dead or slow


class Fault(NamedTuple):
    """Something that happens `gap` ms after the one before."""

    gap: int
    kind: str
    node: int


faults = st.builds(
    Fault,
    st.integers(0, 6_000),
    st.sampled_from(
        ["cut", "cut", "heal", "heal", "kill", "revive", "revive", "depose", "ill", "well", "slow",
         "quick", "failover", "force", "switchover"]
    ),
    st.integers(0, 4),
)  # fmt: skip


def play(world: Constellation, fault: Fault) -> None:
    name = f"sat-00{fault.node + 1}"
    node = world.nodes[name]
    match fault.kind:
        case "cut":
            if sum(n.reachable and n.up for n in world.nodes.values()) > 3:
                world.cut(name)
        case "kill":
            if sum(n.reachable and n.up for n in world.nodes.values()) > 3:
                world.kill(name)
        case "heal":
            world.heal(name)
        case "revive":
            world.revive(name)
        case "depose":
            world.depose()
        case "ill" | "well":
            node.risk = 0.45 if fault.kind == "ill" else 0.1
        case "slow" | "quick":
            node.delay = 4_000 if fault.kind == "slow" else 0
        case "switchover":
            if world.leader is not None:
                world.commit(Switchover(name))
        case "failover" | "force":
            if world.leader is not None:
                world.commit(Failover(name, fault.kind == "force"))


@settings(max_examples=50)
@given(
    st.lists(faults, min_size=1, max_size=25),
    st.lists(st.integers(-24, 12), min_size=5, max_size=5),
    st.integers(0, 2**16),
)
def test_never_two_effective_primarys_and_it_heals(
    story: list[Fault], drifts: list[int], seed: int
) -> None:
    """Clocks differ by up to 4.9 % from one another; every entry is checked on the way."""
    assert 1 + LEASE_DRIFT_PPM / PPM > 1.024 / 0.976
    world = Constellation(5, DEMO, bursty(0.2, 333, seed), seed)
    for node, drift in zip(world.nodes.values(), drifts, strict=True):
        node.rate = 1 + drift / 1_000
    for fault in story:
        world.run(fault.gap)
        play(world, fault)
    for node in world.nodes.values():
        world.heal(node.id)
        world.revive(node.id)
        node.risk, node.delay = 0.1, 0
    world.run(30_000)
    assert world.effective == world.holder is not None
    assert all(
        node.applied == len(world.driver.log) or node.backlog for node in world.nodes.values()
    )


@settings(max_examples=40)
@given(
    st.sampled_from(["cut", "slow", "kill"]),
    st.lists(st.tuples(st.integers(0, 900), st.integers(0, 4)), min_size=1, max_size=6),
    st.integers(0, 2**16),
)
def test_never_two_in_a_hail_of_failovers_while_the_first_has_not_heard(
    how: str, orders: list[tuple[int, int]], seed: int
) -> None:
    world = Constellation(5, DEMO, no_loss, seed)
    world.run(1_500)
    assert world.effective == "sat-001"
    play(world, Fault(0, how, 0))
    for gap, node in orders:
        play(world, Fault(0, "force", node))
        world.run(gap)
    world.run(5_000)
    world.heal("sat-001")
    world.run(10_000)
    assert world.effective == world.holder is not None


def test_the_check_itself_finds_two() -> None:
    world = Constellation(3, DEMO)
    world.run(1_500)
    for node in world.nodes.values():
        node.acting = node.id
    with pytest.raises(AssertionError, match="are effectively PRIMARY"):
        world.watch()
