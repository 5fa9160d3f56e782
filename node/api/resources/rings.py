"""Rings: quotas, policies, the health rule, and what a check would move."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Annotated

import msgspec
import numpy as np
from fastapi import APIRouter, Depends, Request
from pydantic import Field
from starlette.responses import Response

from stationkeep.cluster.commands import (
    ReleaseBrake,
    RequestRebalance,
    SetHealthRule,
    SetRingPolicies,
    SetRingShares,
)
from stationkeep.cluster.devices.fleet import FleetView
from stationkeep.cluster.devices.policies import (
    MAX_RING_POLICIES,
    RingPolicy,
    policy_fault,
    weights_fault,
)
from stationkeep.cluster.devices.rings import MAX_WEIGHT, RINGS, Four, Ring, caps_with
from stationkeep.cluster.devices.selector import MAX_SELECTOR
from stationkeep.cluster.devices.status import HealthRule, RuleError, parse_rule
from stationkeep.cluster.devices.table import MAX_DEVICES
from stationkeep.cluster.fleet.rebalance import plan_rebalance
from stationkeep.cluster.fleet.regrouping import grouped
from stationkeep.cluster.names import TEXT_PATTERN
from stationkeep.cluster.settings import Settings
from stationkeep.node.api.bodies import Input, Label, Reason
from stationkeep.node.api.consistency import Read, Reading
from stationkeep.node.api.openapi import answers, outcomes
from stationkeep.node.api.submission import NO_REASON, Submit
from stationkeep.node.http.patterns import VERSION_PATTERN
from stationkeep.node.http.problems import Kind, Problem, invalid
from stationkeep.node.views import fleet as views
from stationkeep.node.views.base import View
from stationkeep.node.views.machine import RingMemoryView, memory_view
from stationkeep.node.wire.messages import Ring as RingName

router = APIRouter()

RELEASE_BRAKE = "/v1/rings/release-brake"
Weight = Annotated[int, Field(ge=0, le=MAX_WEIGHT)]
Cap = Annotated[int, Field(ge=0, le=MAX_DEVICES)]
Selector = Annotated[
    str,
    Field(
        max_length=MAX_SELECTOR,
        pattern=TEXT_PATTERN,
        examples=["os=Android 14, model in (Pixel 8, Pixel 9)"],
    ),
]


class ReasonInput(Input):
    reason: Reason = ""


class ByRing(Input):
    """A figure for each ring."""

    def four(self) -> Four:
        """The figures in the order of the rings."""
        canary, dev, stage, prod = (int(getattr(self, ring.value)) for ring in RINGS)
        return canary, dev, stage, prod


class Weights(ByRing):
    """Target shares of the four rings, in any unit."""

    canary: Weight
    dev: Weight
    stage: Weight
    prod: Weight


class SomeWeights(ByRing):
    """Weights of a policy's rings; a ring that is left out gets none."""

    canary: Weight = 0
    dev: Weight = 0
    stage: Weight = 0
    prod: Weight = 0


class Caps(Input):
    """The most devices that a ring takes; 0: as many as come; null, or left out: as it stands."""

    canary: Cap | None = None
    dev: Cap | None = None
    stage: Cap | None = None
    prod: Cap | None = None

    def given(self) -> tuple[int | None, int | None, int | None, int | None]:
        """In the order of the rings."""
        return self.canary, self.dev, self.stage, self.prod


class SharesInput(Input):
    weights: Weights
    caps: Caps = Caps()
    reason: Reason = ""

    def weights_given(self) -> Four:
        """400 when every ring has weight 0."""
        weights = self.weights.four()
        fault = weights_fault(weights)
        if fault is not None:
            raise invalid("weights", list(weights), fault)
        return weights


class HealthRuleInput(Input):
    rule: Annotated[
        str,
        Field(
            max_length=1_024,
            pattern=TEXT_PATTERN,
            examples=["battery > 20 and cpu < 80 and memory < 85 and temperature < 70"],
        ),
    ]
    charging_excuses_battery: bool = False
    unreported: Annotated[
        bool,
        Field(
            description="Also when no device has reported a metric that the rule names; every "
            "device meets such a condition."
        ),
    ] = False
    reason: Reason = ""

    def parsed(self) -> HealthRule:
        """The rule; 400 naming the clause at fault."""
        try:
            return parse_rule(self.rule, charging_excuses_battery=self.charging_excuses_battery)
        except RuleError as error:
            raise invalid("rule", self.rule, str(error)) from error


class RingPolicyInput(Input):
    name: Label
    selector: Selector
    rings: list[RingName] = Field(default_factory=list, max_length=len(RINGS))
    weights: SomeWeights | None = None

    def policy(self) -> RingPolicy:
        weights = None if self.weights is None else self.weights.four()
        return RingPolicy(self.name, self.selector, tuple(map(Ring, self.rings)), weights)


class PoliciesInput(Input):
    """All ring policies, in the order in which they are tried."""

    policies: Annotated[list[RingPolicyInput], Field(max_length=MAX_RING_POLICIES)]
    version: Annotated[
        str,
        Field(
            pattern=VERSION_PATTERN,
            description="The `policies_version` of the list that this one is to replace; refused "
            "when another stands by then. Left out: whatever stands is replaced.",
        ),
    ] = ""
    reason: Reason = ""

    def parsed(self) -> tuple[RingPolicy, ...]:
        """The policies; 400 naming the first at fault and its field."""
        policies = tuple(given.policy() for given in self.policies)
        names = [policy.name for policy in policies]
        for place, name in enumerate(names):
            if name in names[:place]:
                raise invalid(f"policies.{place}.name", name, "each name once")
        for place, policy in enumerate(policies):
            fault = policy_fault(policy)
            if fault is not None:
                field, _, rule = fault.partition(": ")
                given = getattr(self.policies[place], field)
                raise invalid(f"policies.{place}.{field}", given, rule)
        return policies


async def planning_of(request: Request) -> asyncio.Lock:
    """Held while this node makes a plan for somebody: one at a time, of a million rows each."""
    lock: asyncio.Lock = request.app.state.planning
    return lock


Planning = Annotated[asyncio.Lock, Depends(planning_of)]


@router.get("/v1/rings", responses=answers(views.RingsView))
async def list_rings(read: Reading) -> Response:
    """The rings: devices, health, quotas; the health rule, the policies and the brake."""
    return read.answer(views.rings_view(read.state))


@router.get("/v1/rings/history", responses=answers(RingMemoryView))
async def list_moments(read: Reading) -> Response:
    """How many devices were in each ring, a moment each minute, as this node remembers the day."""
    return read.answer(memory_view(read.service.moments()))


@router.get("/v1/rings/plan", responses=answers(views.RebalancePlanView))
async def plan_check(read: Reading, planning: Planning) -> Response:
    """What a check of the rings would move now, on this node's copy; nothing is moved.

    A check draws anew whom it moves for balance: the next one may choose others.
    """
    return await _plan(read, planning, lambda view: view)


@router.post("/v1/rings/plan", responses=answers(views.RebalancePlanView))
async def plan_shares(read: Reading, planning: Planning, body: SharesInput) -> Response:
    """What a check would move under these shares and caps; nothing is changed or moved."""
    weights, given = body.weights_given(), body.caps.given()

    def changed(view: FleetView) -> FleetView:
        caps = caps_with(view.shares.caps, given)
        shares = msgspec.structs.replace(view.shares, weights=weights, caps=caps)
        return msgspec.structs.replace(view, shares=shares)

    return await _plan(read, planning, changed)


@router.post("/v1/rings/health-rule/plan", responses=answers(views.HealthPlanView))
async def plan_health_rule(read: Reading, body: HealthRuleInput) -> Response:
    """How many devices this rule would judge otherwise; nothing is changed."""
    rule = body.parsed()
    await read.breathe()
    return read.answer(views.health_plan_view(read.state.fleet, rule))


@router.post("/v1/rings/policies/plan", responses=answers(views.PoliciesPlanView))
async def plan_policies(read: Reading, planning: Planning, body: PoliciesInput) -> Response:
    """How many devices these policies, in the place of those that stand, would rule otherwise;
    nothing is changed."""
    policies = body.parsed()

    def take() -> Callable[[], View]:
        return partial(views.policies_plan_view, grouped(read.state.fleet), policies)

    return await _on_a_thread(read, planning, take)


async def _plan(
    read: Read, planning: asyncio.Lock, changed: Callable[[FleetView], FleetView]
) -> Response:
    def take() -> Callable[[], View]:
        settings, now = read.service.settings, read.service.cluster_time()
        return partial(_planned, changed(read.state.fleet.view()), settings, now)

    return await _on_a_thread(read, planning, take)


async def _on_a_thread(
    read: Read, planning: asyncio.Lock, take: Callable[[], Callable[[], View]]
) -> Response:
    """The answer with a plan that takes long and looks at nothing that changes meanwhile. `take`
    copies what that is, which of a million rows takes milliseconds: for who gets a plan alone."""
    if planning.locked():
        raise Problem(Kind.BUSY, "a plan is being made already", headers={"Retry-After": "1"})
    async with planning:
        return read.answer(await asyncio.to_thread(take()))


def _planned(view: FleetView, settings: Settings, now: int) -> views.RebalancePlanView:
    plan = plan_rebalance(view, settings, now, np.random.default_rng())
    return views.plan_view(view, plan)


@router.post("/v1/rings/rebalance", responses=outcomes())
async def rebalance(submit: Submit, body: ReasonInput | None = None) -> Response:
    """Asks the leader to check the rings at once; `GET /v1/rings/plan` is the dry run."""
    return await submit(RequestRebalance(), body.reason if body else NO_REASON)


@router.put("/v1/rings/shares", responses=outcomes())
async def set_shares(submit: Submit, body: SharesInput) -> Response:
    """Sets the target shares of all rings, and the caps that are given; the others stay."""
    return await submit(SetRingShares(body.weights_given(), body.caps.given()), body.reason)


@router.put("/v1/rings/policies", responses=outcomes())
async def set_policies(submit: Submit, body: PoliciesInput) -> Response:
    """Replaces all ring policies: the first whose selector matches a device rules it. With
    `version` only those that `GET /v1/rings` showed."""
    return await submit(SetRingPolicies(body.parsed(), body.version), body.reason)


@router.put("/v1/rings/health-rule", responses=outcomes())
async def set_health_rule(submit: Submit, body: HealthRuleInput) -> Response:
    """Sets when a status is healthy; statuses that come from now on are judged by it. A metric
    that no device has reported is refused, unless `unreported`."""
    rule = body.parsed()
    command = SetHealthRule(
        rule.conditions, rule.charging_excuses_battery, reported_only=not body.unreported
    )
    return await submit(command, body.reason)


@router.post(RELEASE_BRAKE, responses=outcomes())
async def release_brake(submit: Submit, body: ReasonInput | None = None) -> Response:
    """Lets automatic moves go on after the storm brake stopped them."""
    return await submit(ReleaseBrake(), body.reason if body else NO_REASON)
