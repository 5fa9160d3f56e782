"""Plans: what stages inherit, what a digest is of, and what is refused by name."""

from typing import Any

import pytest

from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.deployment import Limits, Pace
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.devices.status import Condition, HealthRule
from stationkeep.cluster.rollouts.gates import Gates
from stationkeep.cluster.rollouts.plan import (
    STAGES,
    URGENT_STAGES,
    Checks,
    Plan,
    StagePlan,
    Variant,
    plan_faults,
)

V2 = Artifact("2.0.0")


def test_a_plan_that_says_nothing_goes_ring_by_ring_and_then_to_the_rest() -> None:
    plan = Plan(V2)
    assert list(plan_faults(plan)) == []
    stages = plan.all_stages()
    assert [stage.name for stage in stages] == ["canary", "dev", "stage", "prod", "rest"]
    assert [stage.ring for stage in stages] == [*Ring, None]
    assert all(stage.checks == Checks() and stage.limits.first == 1 for stage in stages)


def test_a_stage_inherits_what_it_does_not_say() -> None:
    pace = Pace(10, 100, 2)
    own = StagePlan("b", limits=Limits(max_in_flight=7, first=0), checks=Checks(health=False))
    stages = (StagePlan("a"), own)
    plan = Plan(V2, stages=stages, limits=Limits(9, pace, 60_000), rest=False)
    a, b = plan.all_stages()
    assert a.limits == Limits(9, pace, 60_000, None, 1)
    assert b.limits == Limits(7, pace, 60_000, None, 0)
    assert (a.checks, b.checks) == (Checks(), Checks(health=False))


def test_an_emergency_goes_before_all_at_no_pace_and_at_any_time() -> None:
    plan = Plan(
        V2, stages=URGENT_STAGES, limits=Limits(pace=Pace()), priority=3, window="01:00-05:00",
        emergency=True,
    )  # fmt: skip
    assert list(plan_faults(plan)) == []
    assert (plan.precedence, plan.hours) == (1_000, "")
    everybody, rest = plan.all_stages()
    assert (everybody.ring, everybody.share, everybody.limits.first) == (None, 1_000_000, 1)
    assert {stage.limits.pace for stage in (everybody, rest)} == {None}
    assert all(stage.checks == Checks() for stage in (everybody, rest))


def test_a_digest_is_of_all_that_a_plan_says() -> None:
    plans = [Plan(V2), Plan(V2, priority=1), Plan(V2, rest=False), Plan(Artifact("2.0.1"))]
    assert len({plan.digest for plan in plans}) == 4
    assert Plan(V2, parameters={"a": "1", "b": "2"}).digest == (
        Plan(V2, parameters={"b": "2", "a": "1"}).digest
    )


TOO_HOT = HealthRule((Condition("a b", "<", 1),))
FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"artifact": None}, "artifact: exactly one"),
    ({"variants": (Variant("a", 1, V2),)}, "artifact: exactly one"),
    ({"artifact": Artifact("a b")}, "artifact.version: 'a b'"),
    ({"fallback": Artifact("1", "os")}, "artifact.component"),
    ({"artifact": None, "variants": (Variant("a", 1), Variant("b", 1))}, "variants: all are"),
    ({"artifact": None, "variants": (Variant("a", 0, V2),)}, "variants.a.weight: 0"),
    ({"artifact": None, "variants": (Variant("a", 1, V2),) * 2}, "variants: a name is given twice"),
    (
        {"artifact": None, "variants": tuple(Variant(f"v{n}", 1, V2) for n in range(9))},
        "variants: 9 given, at most 8",
    ),
    ({"scope": "model"}, "scope: character"),
    ({"scope": "a\x00"}, "scope: "),
    ({"devices": ("a", "a")}, "devices: a device is named twice"),
    ({"devices": tuple(f"device-{n:08d}" for n in range(1_200))}, "plan: "),
    ({"stages": ()}, "stages: 0 given"),
    ({"stages": tuple(StagePlan(f"s{n}") for n in range(17))}, "stages: 17 given"),
    ({"stages": (StagePlan("a b"),)}, "stages: 'a b' is not a name"),
    ({"stages": (STAGES[0],) * 2}, "stages: a name is given twice"),
    ({"stages": (StagePlan("rest"),)}, "stages: 'rest' is the name"),
    ({"stages": (StagePlan("a", share=0),)}, "stages.a.share: 0 is not between 1 and 1000000"),
    ({"stages": (StagePlan("a", soak=1),)}, "stages.a.soak: 1 is not between"),
    ({"stages": (StagePlan("a", limits=Limits(0)),)}, "stages.a.limits.max_in_flight: 0"),
    ({"stages": (StagePlan("a", limits=Limits(first=-1)),)}, "stages.a.limits.first: -1"),
    ({"stages": (StagePlan("a", checks=Checks(approvals=6)),)}, "stages.a.checks.approvals: 6"),
    ({"window": "nights"}, "window: 'nights' is not days and times such as"),
    ({"timezone": "../x"}, "timezone: '../x' is not a time zone such as"),
    ({"emergency": True, "checks": Checks(health=False)}, "checks.health: False: in an emergency"),
    (
        {"emergency": True, "stages": (StagePlan("a", checks=Checks(health=False)),)},
        "stages.a.checks.health: False",
    ),
    ({"checks": Checks(Gates(max_failures=-1))}, "checks.gates.max_failures: -1"),
    ({"checks": Checks(webhook="file:///x")}, "checks.webhook: 'file:///x'"),
    ({"checks": Checks(webhook="http://there/x")}, "checks.webhook: 'http://there/x'"),
    ({"checks": Checks(require=TOO_HOT)}, "checks.require: 'a b' is not the name of a metric"),
    ({"require": TOO_HOT}, "require: 'a b' is not the name of a metric"),
    ({"priority": -1}, "priority: -1"),
    ({"approvals": 6}, "approvals: 6"),
    ({"parameters": {"a b": ""}}, "parameters: 'a b'"),
    ({"overrides": ("a b",)}, "overrides: 'a b' is not a name"),
    ({"follow": 1}, "follow: 1 is neither 0 nor between"),
]


@pytest.mark.parametrize(("fields", "fault"), FAULTS)
def test_a_fault_is_named_with_field_value_and_rule(fields: dict[str, Any], fault: str) -> None:
    found = list(plan_faults(Plan(**({"artifact": V2} | fields))))
    assert any(text.startswith(fault) for text in found), found
