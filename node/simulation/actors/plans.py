"""Plans of rollouts as simulated operators write them: of every kind, and quick enough to come to
an end within minutes."""

import random

from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.deployment import Limits, Pace
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.devices.table import MAX_DEVICES
from stationkeep.cluster.rollouts.gates import Gates
from stationkeep.cluster.rollouts.plan import STAGES, Checks, OnFail, Plan, StagePlan, Variant
from stationkeep.cluster.rollouts.windows import DEVICE, UTC
from stationkeep.node.simulation.checks.rollouts import HARMFUL

VERSIONS = ("0.9.0", "2.0.0", "2.1.0", "3.0.0", "blue", *HARMFUL)
FREEZES = ("spring", "autumn", "winter")
HALVES = (StagePlan("some", share=300_000), StagePlan("all"))
STEPS = (StagePlan("first", Ring.CANARY, 500_000), StagePlan("second", Ring.CANARY), *STAGES[1:])
WEBHOOK = "https://gate.test/ask"
WINDOWS = (
    ("22:13-22:14", UTC),
    ("22:14-22:16", UTC),
    ("Wed 03:59-04:01, Sun 03:00-04:00", "Asia/Kathmandu"),
    ("20:00-24:00", DEVICE),
    ("Sun 03:00-04:00", DEVICE),
)
"""Open when a world begins, on a Tuesday at 22:13:20 UTC, or 40 s later; somewhere; or never."""


def plan(draw: random.Random, devices: list[str]) -> Plan:
    """A plan over all devices, those of a selector, or some by their ids."""
    artifact = _artifact(draw)
    variants = _variants(draw) if draw.random() < 0.2 else ()
    emergency = draw.random() < 0.1
    window, timezone = draw.choice(WINDOWS) if draw.random() < 0.2 else ("", UTC)
    return Plan(
        None if variants else artifact,
        variants,
        scope=draw.choice(("", "", "", "app!=1.4.0", "app=1.0.0")),
        devices=_some(draw, devices) if draw.random() < 0.2 else (),
        stages=draw.choice((STAGES, HALVES, HALVES, STEPS)),
        checks=_checks(draw, emergency),
        limits=_limits(draw),
        on_fail=draw.choice((OnFail.ROLLBACK, *OnFail)),
        priority=draw.choice((500, 500, 700, 900, draw.randrange(1_001))),
        allow_downgrade=draw.random() < 0.5,
        approvals=draw.choice((0, 0, 0, 1)),
        allow_self_approval=draw.random() < 0.5,
        rest=draw.random() < 0.6,
        fallback=Artifact("1.0.0") if draw.random() < 0.5 else None,
        follow=draw.choice((0, 0, 0, 10_000)),
        overrides=FREEZES[:1] if draw.random() < 0.2 else (),
        window=window,
        timezone=timezone,
        emergency=emergency,
    )


def _artifact(draw: random.Random) -> Artifact:
    version = draw.choice(VERSIONS)
    if draw.random() < 0.6:
        return Artifact(version)
    return Artifact(version, "app", "https://files.test/it", "ab" * 32, 1_000)


def _variants(draw: random.Random) -> tuple[Variant, ...]:
    one, other = draw.sample(VERSIONS, 2)
    arms = (Variant("A", 2, Artifact(one)), Variant("B", 1, Artifact(other)), Variant("none", 1))
    return arms[: draw.choice((2, 3))]


def _some(draw: random.Random, devices: list[str]) -> tuple[str, ...]:
    return tuple(draw.sample(devices, draw.randint(1, len(devices)))) if devices else ()


def _checks(draw: random.Random, emergency: bool) -> Checks:
    gates = Gates(
        max_failures=draw.choice((50_000, 300_000, 600_000)),
        min_coverage=draw.choice((0, 500_000)),
        max_bad=draw.choice((200_000, 200_000, 400_000)),
    )
    return Checks(
        gates,
        health=draw.random() < 0.8 or emergency,
        webhook=WEBHOOK if draw.random() < 0.2 else "",
        approvals=draw.choice((0, 0, 0, 0, 1)),
    )


def _limits(draw: random.Random) -> Limits:
    return Limits(
        max_in_flight=draw.choice((1, 3, 500, MAX_DEVICES)),
        pace=draw.choice((None, None, Pace(60, 600, 2))),
        deadline=draw.choice((3_000, 6_000, 10_000)),
        retries=draw.choice((0, 1, 2, 4)),
        first=draw.choice((0, 0, 1, 2)),
    )
