"""A rollout's plan out of JSON or YAML values: every fault with its path, value and rule.

Nothing is read twice and nothing is guessed: a name that is no key is refused, and so is a stage
that may be a misspelt ring. What only the whole can break (`plan_faults`) is asked last, if the
parts are right.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from stationkeep.cluster.deployments.artifacts import MAX_SIZE, Artifact, artifact_faults
from stationkeep.cluster.deployments.deployment import (
    MAX_DEADLINE,
    MAX_FACTOR,
    MAX_FIRST,
    MAX_PRIORITY,
    MAX_RATE,
    MAX_RETRIES,
    Limits,
    Pace,
    parameter_faults,
)
from stationkeep.cluster.devices.rings import RINGS, Ring
from stationkeep.cluster.devices.table import MAX_DEVICES
from stationkeep.cluster.names import NAME_RULE
from stationkeep.cluster.rollouts.gates import CONFIDENCE, MARGIN, MAX_MIN_DEVICES
from stationkeep.cluster.rollouts.plan import (
    FOLLOW,
    MAX_APPROVALS,
    MAX_FOLLOW,
    MAX_SOAK,
    MAX_STAGES,
    MAX_VARIANTS,
    MAX_WEIGHT,
    REST,
    STAGES,
    URGENT_STAGES,
    WEBHOOK_RULE,
    Checks,
    OnFail,
    Plan,
    StagePlan,
    Variant,
    is_webhook,
    plan_faults,
)
from stationkeep.cluster.suggestion import suggestion
from stationkeep.node.config.yaml_document import Document, Value, plain
from stationkeep.node.rollout_file import units

ARTIFACT_KEYS = Artifact.__struct_fields__
LIMIT_KEYS = Limits.__struct_fields__
GATE_KEYS = ("failures", "coverage", "health", "webhook", "approval")
HEALTH_KEYS = ("confidence", "require", "margin", "max_bad", "min_devices")
STAGE_KEYS = ("name", "ring", "share", "soak", "gates", *LIMIT_KEYS)
VARIANT_KEYS = ("name", "weight", "control", *ARTIFACT_KEYS)
_SETTINGS = {
    "scope": units.selector,
    "require": units.condition(excused=True),
    "allow_downgrade": units.flag,
    "priority": units.whole(0, MAX_PRIORITY),
    "approvals": units.whole(0, MAX_APPROVALS),
    "allow_self_approval": units.flag,
    "rest": units.flag,
    "follow": units.duration(MAX_FOLLOW, zero=True),
    "window": units.window,
    "timezone": units.timezone,
    "emergency": units.flag,
}
"""Keys of one value that is the plan's field of the same name."""
_LIMITS = {
    "max_in_flight": units.whole(1, MAX_DEVICES),
    "deadline": units.duration(MAX_DEADLINE),
    "retries": units.whole(0, MAX_RETRIES),
    "first": units.whole(0, MAX_FIRST),
}
_PACE = {
    "from": units.whole(1, MAX_RATE),
    "to": units.whole(1, MAX_RATE),
    "factor": units.whole(1, MAX_FACTOR),
}
_HEALTH = {
    "confidence": units.ratio(*CONFIDENCE),
    "max_bad": units.ratio(0),
    "min_devices": units.whole(1, MAX_MIN_DEVICES),
    "margin": units.times(*MARGIN),
}
PLAN_KEYS = (
    "artifact", "variants", "fallback", "parameters", "devices", "overrides", "on_fail", "stages",
    "gates", *_SETTINGS, *LIMIT_KEYS,
)  # fmt: skip
EVERYWHERE = "all"
"""The ring of a stage that is about all in scope."""
_RING_RULE = f"one of {', '.join(RINGS)}, {EVERYWHERE}"


def parse(value: object, file: str = "plan") -> Plan:
    """The plan that a JSON object says. Raises `ConfigError`, the first fault with all others in
    `others`, each with path (`field`), value and rule; `file` says where it came from."""
    document = plain(file, value)
    return read_plan(document, document.root)


def read_plan(document: Document, root: Value) -> Plan:
    """The plan that a document says at its root. Raises `ConfigError`."""
    root.known(PLAN_KEYS)
    common = _checks(root.child("gates"), Checks())
    plan = Plan(
        artifact=_artifact_of(root, "artifact"),
        variants=tuple(_variants(root.child("variants"))),
        fallback=_artifact_of(root, "fallback"),
        parameters=_parameters(root.child("parameters")),
        devices=_texts(root.child("devices")),
        overrides=_names(root.child("overrides")),
        stages=tuple(_stages(root, common)),
        checks=common,
        limits=_limits(root),
        on_fail=OnFail(_choice(root.child("on_fail"), tuple(OnFail), OnFail.ROLLBACK)),
        **_given(root, _SETTINGS),
    )
    _judge_content(root, plan)
    document.raise_errors()
    for fault in plan_faults(plan):  # what only the whole can break
        path, _, broken = fault.partition(": ")
        root.at(path).refuse(broken)
    document.raise_errors()
    return plan


def _given(parent: Value, parsers: Mapping[str, Any]) -> dict[str, Any]:
    """What the parsers make of the members that there are; those that break a rule are left out."""
    found = {}
    for name, parser in parsers.items():
        child = parent.child(name)
        parsed = _FAULTY if child is None else child.through(parser, _FAULTY)
        if parsed is not _FAULTY:
            found[name] = parsed
    return found


_FAULTY: Any = object()


def _judge_content(root: Value, plan: Plan) -> None:
    both = root.child("artifact"), root.child("variants")
    if both[0] is None and both[1] is None:
        root.required("artifact", "what is installed, or variants to compare")
    elif both[0] is not None and both[1] is not None:
        both[1].refuse("one of artifact and variants, not both")
    elif both[1] is not None and both[1].items() and not plan.installed:
        both[1].refuse("at least one of them installs something")


def _artifact_of(root: Value, name: str) -> Artifact | None:
    found = root.child(name)
    return None if found is None else _artifact(found.known(ARTIFACT_KEYS))


def _artifact(value: Value) -> Artifact | None:
    """An artifact whose keys are members of `value`; None where it breaks a rule."""
    if not isinstance(value.raw, dict):
        return None
    value.required("version", "which version it is")
    size = units.whole(1, MAX_SIZE)
    parsers = {field: size if field == "size" else _word for field in ARTIFACT_KEYS}
    found = _given(value, parsers)
    given = {field for field in ARTIFACT_KEYS if value.child(field) is not None}
    if "version" not in found or given != set(found):
        return None
    artifact = Artifact(**found)
    for fault in artifact_faults(artifact):
        field, _, broken = fault.partition(": ")
        _refuse_member(value, field, broken.rpartition(" is not ")[2])
    return artifact


def _word(raw: object) -> str:
    if isinstance(raw, str):
        return raw
    raise ValueError("a text, in quotes if it looks like a number or a date")


def _refuse_member(parent: Value, name: str, rule: str) -> None:
    child = parent.child(name)
    if child is None:
        parent.refuse(rule, "nothing", name)
    else:
        child.refuse(rule)


def _variants(value: Value | None) -> Iterator[Variant]:
    if value is None:
        return
    items = value.items()
    if isinstance(value.raw, list) and not 1 <= len(items) <= MAX_VARIANTS:
        value.refuse(f"1 to {MAX_VARIANTS} variants", len(items))
    seen: set[str] = set()
    for item in items[:MAX_VARIANTS]:
        if not isinstance(item.known(VARIANT_KEYS).raw, dict):
            continue
        name = _new_name(item.required("name", NAME_RULE), seen)
        weight = item.required("weight", f"its share, 1 to {MAX_WEIGHT}")
        parsed = 1 if weight is None else weight.through(units.whole(1, MAX_WEIGHT), 1)
        yield Variant(name, parsed, _installed(item))


def _installed(item: Value) -> Artifact | None:
    """What a variant installs; None of a control, which says so."""
    control = item.child("control")
    if control is None or not control.through(units.flag, placeholder=False):
        return _artifact(item)
    if set(ARTIFACT_KEYS).intersection(item.mapping()):
        control.refuse("a control installs nothing: without version and the like")
    return None


def _parameters(value: Value | None) -> dict[str, str]:
    if value is None:
        return {}
    found = {name: child.through(_word, "") for name, child in value.mapping().items()}
    for fault in parameter_faults(found):
        path, _, broken = fault.partition(": ")
        value.at(path.removeprefix("parameters").removeprefix(".")).refuse(broken)
    return found


def _texts(value: Value | None) -> tuple[str, ...]:
    items = () if value is None else value.items()
    return tuple(item.through(units.line, "") for item in items)


def _names(value: Value | None) -> tuple[str, ...]:
    seen: set[str] = set()
    items = () if value is None else value.items()
    return tuple(_new_name(item, seen) for item in items)


def _new_name(value: Value | None, seen: set[str]) -> str:
    """A name that is not among `seen`, and is from now on."""
    name = "" if value is None else value.through(units.name, "")
    if value is not None and name in seen:
        value.refuse("each name once")
    seen.add(name)
    return name


def _choice(value: Value | None, names: tuple[str, ...], default: str) -> str:
    return default if value is None else value.choice(names)


def _limits(value: Value) -> Limits:
    return Limits(pace=_pace(value.child("pace")), **_given(value, _LIMITS))


def _pace(value: Value | None) -> Pace | None:
    if value is None:
        return None
    found = _given(value.known(_PACE), _PACE)
    default = Pace()
    pace = Pace(
        found.get("from", default.start), found.get("to", default.most),
        found.get("factor", default.factor),
    )  # fmt: skip
    if pace.start > pace.most:
        value.refuse("from is at most to", f"{pace.start} to {pace.most}")
    return pace


def _stages(root: Value, common: Checks) -> Iterator[StagePlan]:
    value, urgent = root.child("stages"), root.child("emergency")
    if value is None:
        yield from STAGES if urgent is None or urgent.raw is not True else URGENT_STAGES
        return
    items = value.items()
    if isinstance(value.raw, list) and not 1 <= len(items) <= MAX_STAGES:
        value.refuse(f"1 to {MAX_STAGES} stages", len(items))
    seen: set[str] = set()
    for item in items[:MAX_STAGES]:
        yield _stage(item, common, seen)


def _stage(item: Value, common: Checks, seen: set[str]) -> StagePlan:
    if isinstance(item.raw, str):
        if item.raw not in RINGS:
            item.refuse(f"a ring, or a mapping with name and ring{suggestion(item.raw, RINGS)}")
            return STAGES[0]
        return StagePlan(_stage_name(item, seen), Ring(item.raw))
    if not isinstance(item.known(STAGE_KEYS).raw, dict):
        return STAGES[0]
    named, ring = item.child("name"), item.child("ring")
    ring = named if ring is None and named is not None and named.raw in RINGS else ring
    if ring is None:
        item.required("ring", f"whom it is about, {_RING_RULE}")
    where = _choice(ring, (*RINGS, EVERYWHERE), EVERYWHERE)
    gates = item.child("gates")
    checks = common if gates is None else _checks(gates, common)
    return StagePlan(
        _stage_name(ring if named is None else named, seen),
        None if where == EVERYWHERE else Ring(where),
        limits=_limits(item),
        checks=None if checks == common else checks,
        **_given(item, {"share": units.ratio(1), "soak": units.duration(MAX_SOAK)}),
    )


def _stage_name(value: Value | None, seen: set[str]) -> str:
    name = _new_name(value, seen)
    if name in {REST, FOLLOW} and value is not None:
        value.refuse("another name: there is such a stage by itself")
    return name


def _checks(value: Value | None, common: Checks) -> Checks:
    """What `gates` asks: that of `common` where it says nothing."""
    if value is None:
        return common
    value.known(GATE_KEYS)
    limits = _ratio_of(value.child("failures"), "max", "max_failures")
    limits |= _ratio_of(value.child("coverage"), "min", "min_coverage")
    parsers = {"webhook": _webhook, "approval": units.whole(0, MAX_APPROVALS)}
    asked = _given(value, parsers)
    if "approval" in asked:
        asked["approvals"] = asked.pop("approval")
    health = value.child("health")
    if health is not None and isinstance(health.raw, bool):
        asked["health"] = health.raw
    elif health is not None:
        asked |= {"health": True} | _given(
            health.known(HEALTH_KEYS), {"require": units.condition(excused=False)}
        )
        limits |= _given(health, _HEALTH)
    return replace(common, gates=replace(common.gates, **limits), **asked)


def _ratio_of(value: Value | None, name: str, field: str) -> dict[str, int]:
    if value is None:
        return {}
    found = _given(value.known([name]), {name: units.ratio(0)})
    return {field: found[name]} if name in found else {}


def _webhook(raw: object) -> str:
    if raw == units.NONE:
        return ""
    if isinstance(raw, str) and is_webhook(raw):
        return raw
    raise ValueError(f"{WEBHOOK_RULE}, or {units.NONE}")
