"""The JSON of a plan: what `reading` makes the same plan of. What is as by default is left out."""

from typing import Any

from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.deployment import Limits, Pace
from stationkeep.cluster.devices.status import HealthRule
from stationkeep.cluster.rollouts.gates import Gates
from stationkeep.cluster.rollouts.plan import Checks, Plan, StagePlan, Variant
from stationkeep.cluster.settings import PPM
from stationkeep.node.rollout_file.units import NONE, percent, spelled

Json = dict[str, Any]


def plan_json(plan: Plan) -> Json:
    """A plan with the keys of a rollout file."""
    whole: Json = {
        "artifact": None if plan.artifact is None else artifact_json(plan.artifact),
        "variants": [_variant(variant) for variant in plan.variants] or None,
        "scope": plan.scope or None,
        "devices": list(plan.devices) or None,
        "require": _unless(plan.require, Plan().require, _condition),
        **_plain(plan, "allow_downgrade", "priority", "approvals", "allow_self_approval", "rest"),
        **_limits(plan.limits),
        "on_fail": _unless(plan.on_fail, Plan().on_fail, str),
        "fallback": None if plan.fallback is None else artifact_json(plan.fallback),
        "follow": spelled(plan.follow) if plan.follow else None,
        "overrides": list(plan.overrides) or None,
        **_plain(plan, "window", "timezone", "emergency"),
        "parameters": plan.parameters or None,
        "gates": _gates(plan.checks, Checks()) or None,
        "stages": [_stage(stage, plan.checks) for stage in plan.stages],
    }
    return {key: value for key, value in whole.items() if value is not None}


def artifact_json(artifact: Artifact) -> Json:
    """An artifact with those of its fields that say something."""
    fields = ("component", *(f for f in Artifact.__struct_fields__ if f != "component"))
    return {field: value for field in fields if (value := getattr(artifact, field))}


def _unless(value: Any, default: Any, write: Any) -> Any:
    return None if value == default else write(value)


def _plain(plan: Plan, *fields: str) -> Json:
    default = Plan()
    return {f: _unless(getattr(plan, f), getattr(default, f), lambda same: same) for f in fields}


def _condition(rule: HealthRule | None) -> str:
    return NONE if rule is None else " and ".join(map(str, rule.conditions))


def _variant(variant: Variant) -> Json:
    installed = {"control": True} if variant.artifact is None else artifact_json(variant.artifact)
    return {"name": variant.name, "weight": variant.weight, **installed}


def _limits(limits: Limits) -> Json:
    whole: Json = {
        "pace": _pace(limits.pace),
        "max_in_flight": limits.max_in_flight,
        "deadline": None if limits.deadline is None else spelled(limits.deadline),
        "retries": limits.retries,
        "first": limits.first,
    }
    return {key: value for key, value in whole.items() if value is not None}


def _pace(pace: Pace | None) -> Json | None:
    if pace is None:
        return None
    return {"from": pace.start, "to": pace.most, "factor": pace.factor}


def _stage(stage: StagePlan, common: Checks) -> str | Json:
    ring = "all" if stage.ring is None else stage.ring.value
    gates = {} if stage.checks is None else _gates(stage.checks, common)
    more = {
        **({} if stage.share == PPM else {"share": percent(stage.share)}),
        **({} if stage.soak is None else {"soak": spelled(stage.soak)}),
        **_limits(stage.limits),
        **({"gates": gates} if gates else {}),
    }
    if stage.name == ring and not more:
        return ring
    return {"name": stage.name, "ring": ring, **more}


def _gates(checks: Checks, common: Checks) -> Json:
    """What differs from `common`."""
    mine, others = checks.gates, common.gates
    found: Json = {}
    if mine.max_failures != others.max_failures:
        found["failures"] = {"max": mine.max_failures / PPM}
    if mine.min_coverage != others.min_coverage:
        found["coverage"] = {"min": mine.min_coverage / PPM}
    health = _health(checks, common)
    if health:
        found["health"] = health
    if checks.health is not common.health or not checks.health:
        found["health"] = checks.health and (health or True)
    if checks.webhook != common.webhook:
        found["webhook"] = checks.webhook or NONE
    if checks.approvals != common.approvals:
        found["approval"] = checks.approvals
    return found


def _health(checks: Checks, common: Checks) -> Json:
    mine, others = checks.gates, common.gates
    ratios = ("confidence", "max_bad")
    found: Json = {f: getattr(mine, f) / PPM for f in ratios if _differ(mine, others, f)}
    if checks.require != common.require:
        found["require"] = _condition(checks.require)
    if mine.margin != others.margin:
        found["margin"] = NONE if mine.margin is None else mine.margin / PPM
    if mine.min_devices != others.min_devices:
        found["min_devices"] = mine.min_devices
    return found


def _differ(one: Gates, other: Gates, field: str) -> bool:
    return bool(getattr(one, field) != getattr(other, field))
