"""What a rollout is to do, as its author wrote it: what is installed on whom, in which stages, and
what must hold of each.

A plan is content: approvals name its digest, and a running rollout's never changes. Source:
rollouts.md, "Plans".
"""

import enum
import hashlib
from collections.abc import Iterator, Sequence

import msgspec
from msgspec.structs import replace

from stationkeep.cluster.deployments.artifacts import Artifact, artifact_fault, is_address
from stationkeep.cluster.deployments.deployment import (
    MAX_PRIORITY,
    REQUIRE,
    Limits,
    limit_faults,
    parameter_faults,
    require_fault,
)
from stationkeep.cluster.devices.rings import RINGS, Ring
from stationkeep.cluster.devices.selector import SelectorError, parse
from stationkeep.cluster.devices.status import HealthRule
from stationkeep.cluster.devices.table import Kind
from stationkeep.cluster.names import NAME_RULE, TEXT_RULE, name_fault, text_fault
from stationkeep.cluster.rollouts.gates import Gates, gate_faults
from stationkeep.cluster.rollouts.windows import DEVICE, TZ_LABEL, UTC, window_fault, zone_fault
from stationkeep.cluster.settings import LONGEST, PPM, SHORTEST

MAX_STAGES = 16
"""Of a plan; one more for the rest of the devices."""
MAX_VARIANTS = 8
MAX_APPROVALS = 5
MAX_WEIGHT = 1_000_000
MAX_SOAK = 30 * LONGEST
MAX_PLAN_BYTES = 16 * 1_024
"""Of a plan as the log has it: a thousand that are over keep theirs."""
WEBHOOK_RULE = "https://…, or http:// to loopback, without a user's name"
MAX_FOLLOW = 90 * LONGEST
REST = "rest"
"""The stage of all that are in scope and in no stage, once the others have passed."""
FOLLOW = "follow"
"""The stage of whoever comes, or comes back, after that: round by round, for a while."""
_encoder = msgspec.msgpack.Encoder(order="deterministic")


class OnFail(enum.StrEnum):
    """What becomes of a rollout when a gate is proven broken."""

    ROLLBACK = "rollback"
    PAUSE = "pause"
    ABORT = "abort"


class Checks(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What is asked before a stage has passed. `require`: a device is well only while its newest
    status meets this too, updated or not. `webhook`: an address that must answer pass;
    `approvals`: people who must grant it."""

    gates: Gates = Gates()
    health: bool = True
    require: HealthRule | None = None
    webhook: str = ""
    approvals: int = 0


class StagePlan(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One stage. `ring` None: of all in scope. `share`: ppm of those that it is about, members of
    earlier stages counted in: 10 % and then 50 % are another 40 %. `soak`: ms, None: the setting.
    What `limits` leaves out is the rollout's, and so is `checks` None."""

    name: str
    ring: Ring | None = None
    share: int = PPM
    soak: int | None = None
    limits: Limits = Limits()
    checks: Checks | None = None


STAGES = tuple(StagePlan(ring.value, ring) for ring in RINGS)
"""Of a plan that names none: ring by ring."""
URGENT_STAGES = (StagePlan("everybody"),)
"""Of one for an emergency that names none: all at once, as soon as the first is well. No stage of a
single device: that one may be away."""


class Variant(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One of several things to compare, for a share of the devices by `weight`. `artifact` None: a
    control, whose devices are left as they are."""

    name: str
    weight: int
    artifact: Artifact | None = None


class Plan(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The whole of it: exactly one of `artifact` and `variants`. `scope`: a selector, and
    `devices` ids that must be in it, empty: all. `fallback`: what a device gets back of which
    nothing earlier is known. `rest`: whoever is in no stage is one at last. `follow`: ms for which
    whoever comes later gets it too. `overrides`: names of freezes that do not hold it. `window`:
    when devices are told to begin, "": at any time, by the clock of `timezone`
    (`cluster.rollouts.windows`). `emergency`: it goes before all others, at any time and pace."""

    artifact: Artifact | None = None
    variants: tuple[Variant, ...] = ()
    scope: str = ""
    devices: tuple[str, ...] = ()
    stages: tuple[StagePlan, ...] = STAGES
    checks: Checks = Checks()
    limits: Limits = Limits()
    on_fail: OnFail = OnFail.ROLLBACK
    priority: int = 500
    require: HealthRule | None = REQUIRE
    allow_downgrade: bool = False
    approvals: int = 0
    allow_self_approval: bool = False
    rest: bool = True
    fallback: Artifact | None = None
    parameters: dict[str, str] = {}
    follow: int = 0
    overrides: tuple[str, ...] = ()
    window: str = ""
    timezone: str = UTC
    emergency: bool = False

    @property
    def precedence(self) -> int:
        """The priority that it has."""
        return MAX_PRIORITY if self.emergency else self.priority

    @property
    def hours(self) -> str:
        """The window that it keeps to."""
        return "" if self.emergency else self.window

    @property
    def hours_in_words(self) -> str:
        """`01:00-05:00, by the clock of Europe/Berlin`; "" where there is no window to keep to."""
        whose = "each device" if self.timezone == DEVICE else self.timezone
        return f"{self.hours}, by the clock of {whose}" if self.hours else ""

    def zone_of(self, kind: Kind) -> str:
        """By whose clock devices of a kind keep to its window; "": they do not say."""
        own = self.timezone == DEVICE
        return dict(kind.labels).get(TZ_LABEL, "") if own else self.timezone

    @property
    def artifacts(self) -> tuple[Artifact | None, ...]:
        """What is installed, by variant; None for a control."""
        return tuple(v.artifact for v in self.variants) if self.variants else (self.artifact,)

    @property
    def installed(self) -> list[Artifact]:
        """What is installed on anybody."""
        return [artifact for artifact in self.artifacts if artifact is not None]

    @property
    def component(self) -> str:
        """Which of a device's versions it changes."""
        return self.installed[0].component

    def all_stages(self) -> tuple[StagePlan, ...]:
        """The stages, the rest among them, with everything that they inherit."""
        given = (*self.stages, StagePlan(REST)) if self.rest else self.stages
        if self.follow:
            gates = replace(self.checks.gates, min_coverage=0)
            alone = Checks(gates, health=False)
            given = (*given, StagePlan(FOLLOW, limits=Limits(first=0), checks=alone))
        return tuple(self._whole(stage) for stage in given)

    def _whole(self, stage: StagePlan) -> StagePlan:
        own, common = stage.limits, self.limits
        mine = {f: getattr(own, f) for f in Limits.__struct_fields__}
        first = {"first": 1 if common.first is None else common.first}
        given = {field: value for field, value in mine.items() if value is not None}
        limits = replace(common, **(first | given))
        if self.emergency:
            limits = replace(limits, pace=None)
        return replace(stage, limits=limits, checks=stage.checks or self.checks)

    @property
    def digest(self) -> str:
        """32 hex digits of its content."""
        return hashlib.blake2b(_encoder.encode(self), digest_size=16).hexdigest()


def plan_faults(plan: Plan) -> Iterator[str]:
    """What is wrong with a plan (field, value, rule); whether there are such devices is another
    question."""
    size = len(_encoder.encode(plan))
    if size > MAX_PLAN_BYTES:
        yield f"plan: {size} bytes, at most {MAX_PLAN_BYTES}"
    yield from _faults_of_content(plan)
    yield from _faults_of_scope(plan)
    yield from _faults_of_stages(plan.stages)
    yield from _name_faults("overrides", plan.overrides)
    yield from check_faults("checks", plan.checks)
    yield from limit_faults(plan.limits)
    yield from parameter_faults(plan.parameters)
    if not 0 <= plan.priority <= MAX_PRIORITY:
        yield f"priority: {plan.priority} is not between 0 and {MAX_PRIORITY}"
    if not 0 <= plan.approvals <= MAX_APPROVALS:
        yield f"approvals: {plan.approvals} is not between 0 and {MAX_APPROVALS}"
    if plan.follow and not SHORTEST <= plan.follow <= MAX_FOLLOW:
        yield f"follow: {plan.follow} is neither 0 nor between {SHORTEST} and {MAX_FOLLOW}"
    fault = require_fault(plan.require)
    if fault is not None:
        yield fault
    yield from _faults_of_time(plan)


def _faults_of_time(plan: Plan) -> Iterator[str]:
    for field, fault in (
        ("window", window_fault(plan.window)),
        ("timezone", zone_fault(plan.timezone)),
    ):
        if fault is not None:
            yield f"{field}: {fault}"
    every = {"checks": plan.checks} | {
        f"stages.{s.name[:64]}.checks": s.checks for s in plan.stages
    }
    for field, checks in every.items():
        if plan.emergency and checks is not None and not checks.health:
            yield f"{field}.health: False: in an emergency health is judged as ever"


def _faults_of_content(plan: Plan) -> Iterator[str]:
    if (plan.artifact is None) is not bool(plan.variants):
        yield "artifact: exactly one of artifact and variants is due"
        return
    names = [variant.name for variant in plan.variants]
    yield from _name_faults("variants", names)
    if len(plan.variants) > MAX_VARIANTS:
        yield f"variants: {len(plan.variants)} given, at most {MAX_VARIANTS}"
    if plan.variants and not plan.installed:
        yield "variants: all are controls, at least one installs something"
    for variant in plan.variants:
        if not 1 <= variant.weight <= MAX_WEIGHT:
            rule = f"{variant.weight} is not between 1 and {MAX_WEIGHT}"
            yield f"variants.{variant.name[:64]}.weight: {rule}"
    every = [*plan.installed, *([plan.fallback] if plan.fallback is not None else [])]
    for artifact in every:
        fault = artifact_fault(artifact)
        if fault is not None:
            yield f"artifact.{fault}"
    if len({artifact.component for artifact in every}) > 1:
        yield "artifact.component: all that a rollout installs changes the same one"


def _faults_of_scope(plan: Plan) -> Iterator[str]:
    if text_fault(plan.scope) is not None:
        yield f"scope: {plan.scope[:80]!r} is not {TEXT_RULE}"
    try:
        parse(plan.scope)
    except SelectorError as error:
        yield f"scope: {error}"
    if len(set(plan.devices)) < len(plan.devices):
        yield "devices: a device is named twice"


def _faults_of_stages(stages: Sequence[StagePlan]) -> Iterator[str]:
    if not 1 <= len(stages) <= MAX_STAGES:
        yield f"stages: {len(stages)} given, 1 to {MAX_STAGES} are due"
    names = [stage.name for stage in stages]
    yield from _name_faults("stages", names)
    for name in {REST, FOLLOW}.intersection(names):
        yield f"stages: {name!r} is the name of a stage that there is by itself"
    for stage in stages:
        field = f"stages.{stage.name[:64]}"
        if not 1 <= stage.share <= PPM:
            yield f"{field}.share: {stage.share} is not between 1 and {PPM}"
        if stage.soak is not None and not SHORTEST <= stage.soak <= MAX_SOAK:
            yield f"{field}.soak: {stage.soak} is not between {SHORTEST} and {MAX_SOAK}"
        yield from (f"{field}.{fault}" for fault in limit_faults(stage.limits))
        if stage.checks is not None:
            yield from check_faults(f"{field}.checks", stage.checks)


def _name_faults(field: str, names: Sequence[str]) -> Iterator[str]:
    for name in names:
        if name_fault(name) is not None:
            yield f"{field}: {name[:80]!r} is not a name ({NAME_RULE})"
    if len(set(names)) < len(names):
        yield f"{field}: a name is given twice"


def check_faults(field: str, checks: Checks) -> Iterator[str]:
    """What is wrong with what is asked before a stage has passed."""
    yield from (f"{field}.{fault}" for fault in gate_faults(checks.gates))
    fault = require_fault(checks.require)
    if fault is not None:
        yield f"{field}.{fault}"
    if not 0 <= checks.approvals <= MAX_APPROVALS:
        yield f"{field}.approvals: {checks.approvals} is not between 0 and {MAX_APPROVALS}"
    if checks.webhook and not is_webhook(checks.webhook):
        yield f"{field}.webhook: {checks.webhook[:80]!r} is not {WEBHOOK_RULE}"


def is_webhook(url: str) -> bool:
    """Whether a gate may be asked there (`WEBHOOK_RULE`)."""
    return is_address(url) and not url.startswith("file:")
