"""Every alarm that nodes raise, from its cause to its cure, across a change of leader."""

from collections.abc import Callable
from typing import NamedTuple

import pytest

from stationkeep.cluster.alarms import (
    ALARMS,
    BRAKE,
    CA_EXPIRING,
    CA_EXPOSED,
    CERTIFICATE_EXPIRED,
    CERTIFICATE_EXPIRING,
    CERTIFICATE_REJECTED,
    CLOCK_JUMP,
    COMPLIANCE,
    DEVICE_STORM,
    DEVICES_STRANDED,
    DISK_LOW,
    IMPLAUSIBLE_NUMBER,
    INSECURE,
    MEMBER_LAGGING,
    MEMBER_OUTDATED,
    MEMBER_UNREACHABLE,
    NAME_UNRESOLVED,
    NO_CANDIDATE,
    NO_PRIMARY,
    PINNED_UNHEALTHY,
    PRIMARY_DEGRADED,
    ROLLBACK_INCOMPLETE,
    ROLLOUT_FAILED,
    ROLLOUT_HELD,
    ROLLOUT_WAITING,
    SAMPLE_RATIO,
    TOKEN_EXPIRING,
    WEBHOOK_MISSED,
)
from stationkeep.cluster.commands import Draft, RunAction
from stationkeep.cluster.levels import HIGHEST
from stationkeep.cluster.state import codec
from stationkeep.node.config.hooks import HookConfig
from stationkeep.node.hooks.runner import HookResult
from tests.node.health.test_self_checks import complain
from tests.node.world import World

SUCCESSOR = "sat-001"  # who leads next; sat-003 does at first
SICK = "sat-002"
UNFIT = 0.28
"""A risk that is no failure and above what a candidate may have."""


class Life(NamedTuple):
    """An alarm, what brings it about and what ends it."""

    name: str
    cause: Callable[[World], None]
    cure: Callable[[World], None]


def all_unfit(world: World) -> None:
    """Nobody may become PRIMARY."""
    for health in world.health.values():
        health.risk = UNFIT


def all_well(world: World) -> None:
    for health in world.health.values():
        health.risk = 0.1


def primary_sick(world: World) -> None:
    """The PRIMARY fails and nobody can take over."""
    all_unfit(world)
    assert world.primary is not None
    world.health[world.primary].risk = 0.9


def most_sick(world: World) -> None:
    for health in list(world.health.values())[:2]:
        health.risk = 0.9


def complaining(name: str) -> Callable[[World], None]:
    return lambda world: complain(world, SICK).complaints.update({name: "so"})


def quiet(world: World) -> None:
    complain(world, SICK)


def deaf(world: World) -> None:
    """It is heard, but takes in nothing of the log."""
    world.loops[SICK].consensus.turn = lambda: None  # type: ignore[method-assign]


def not_deaf(world: World) -> None:
    del world.loops[SICK].consensus.turn


def act(succeeds: bool) -> Callable[[World], None]:
    """An operator's action, and what its hook says on every node."""

    def order(world: World) -> None:
        for hooks in world.hooks.values():
            hooks.result = HookResult(succeeds)
        assert world.leader is not None
        draft = codec.encode_draft(Draft(RunAction("drill"), f"k{succeeds}"))
        world.loops[world.leader].consensus.propose(draft, lambda _: None, 5)

    return order


def runs(level: int) -> Callable[[World], None]:
    """It runs a release with this highest level."""

    def install(world: World) -> None:
        world.loops[SICK].replica.highest = level

    return install


LIVES = [
    Life(NO_CANDIDATE, primary_sick, all_well),
    Life(PRIMARY_DEGRADED, primary_sick, all_well),
    Life(BRAKE, most_sick, all_well),
    Life(COMPLIANCE, act(False), act(True)),
    Life(MEMBER_UNREACHABLE, lambda w: w.kill(SICK), lambda w: w.start(SICK) and None),
    Life(MEMBER_LAGGING, deaf, not_deaf),
    Life(MEMBER_OUTDATED, runs(HIGHEST - 1), runs(HIGHEST)),
    Life(DISK_LOW, complaining(DISK_LOW), quiet),
    Life(CLOCK_JUMP, complaining(CLOCK_JUMP), quiet),
    *(
        Life(name, complaining(name), quiet)
        for name in (
            IMPLAUSIBLE_NUMBER,
            CERTIFICATE_EXPIRING,
            CERTIFICATE_EXPIRED,
            CERTIFICATE_REJECTED,
            CA_EXPIRING,
            INSECURE,
            NAME_UNRESOLVED,
        )
    ),
]


def test_no_alarm_is_left_out() -> None:
    fleet = {DEVICE_STORM, PINNED_UNHEALTHY}  # tests/cluster/fleet/test_storm.py, test_orders.py
    access = {TOKEN_EXPIRING, CA_EXPOSED}  # tests/cluster/test_access.py, test_ca_rotation.py
    webhooks = {WEBHOOK_MISSED}  # tests/node/webhooks/test_sending.py
    rollouts = {  # tests/cluster/progression/test_judging.py, test_rollback.py, test_stages.py
        DEVICES_STRANDED, ROLLBACK_INCOMPLETE, ROLLOUT_FAILED, ROLLOUT_HELD, ROLLOUT_WAITING,
        SAMPLE_RATIO,
    }  # fmt: skip
    lived = {life.name for life in LIVES} | {NO_PRIMARY}
    assert lived | fleet | access | webhooks | rollouts == set(ALARMS)


def told(world: World, name: str) -> list[str]:
    """What the decision log says of an alarm."""
    decisions = max((loop.replica.state for loop in world.loops.values()), key=lambda s: s.index)
    return [d.facts["change"] for d in decisions.decisions if d.facts.get("name") == name]


def live(world: World, name: str, cure: Callable[[World], None]) -> None:
    """From an alarm that is about to come: raised once, kept by the next leader, ended once."""
    world.run_until(lambda: told(world, name) == ["raised"], 30)
    world.elect(SUCCESSOR)
    world.run(8)
    assert told(world, name) == ["raised"], "neither lost nor doubled"
    cure(world)
    world.run_until(lambda: told(world, name) == ["raised", "cleared"], 30)
    world.run(8)
    assert told(world, name) == ["raised", "cleared"]


@pytest.mark.parametrize("life", LIVES, ids=lambda life: life.name)
def test_an_alarm_is_raised_once_outlives_its_leader_and_is_cleared_once(life: Life) -> None:
    world = World(3, hooks=HookConfig(actions={"drill": "drill"}))
    world.run_until(lambda: world.primary is not None, 20)
    world.run(12)  # nobody in its cool-down, nothing raised
    assert told(world, life.name) == []
    life.cause(world)
    live(world, life.name, life.cure)


def test_an_empty_seat_is_an_alarm_until_somebody_can_take_it() -> None:
    world = World(3)
    all_unfit(world)
    live(world, NO_PRIMARY, all_well)
