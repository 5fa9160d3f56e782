"""PUT, POST, DELETE about devices and rings: keyed commands like the other writes."""

from fastapi import APIRouter
from starlette.responses import Response

from stationkeep.cluster.commands import (
    AssignRing,
    ReleaseBrake,
    ReleaseRing,
    RemoveDevice,
    RequestRebalance,
    SetHealthRule,
    SetRingPolicies,
    SetRingShares,
)
from stationkeep.cluster.devices.rings import Ring
from stationkeep.node.api.fleet_inputs import (
    AssignInput,
    HealthRuleInput,
    PoliciesInput,
    ReasonInput,
    SharesInput,
)
from stationkeep.node.api.fleet_reads import DeviceId
from stationkeep.node.api.openapi import outcomes
from stationkeep.node.api.operations import NO_REASON, Submit

RELEASE_BRAKE = "/v1/rings/release-brake"

router = APIRouter()


@router.put("/v1/devices/{device}/ring", responses=outcomes())
async def assign_ring(submit: Submit, device: DeviceId, body: AssignInput) -> Response:
    """Pins a device to a ring, whatever its health, until it is released or the pin ends."""
    return await submit(AssignRing(device, Ring(body.ring), body.milliseconds()), body.reason)


@router.delete("/v1/devices/{device}/ring", responses=outcomes())
async def release_ring(submit: Submit, device: DeviceId) -> Response:
    """Ends a device's pin; the next check moves it where health, policies and quotas say."""
    return await submit(ReleaseRing(device), NO_REASON)


@router.delete("/v1/devices/{device}", responses=outcomes())
async def remove_device(submit: Submit, device: DeviceId) -> Response:
    """Forgets a device; should its agent speak again, it registers as new."""
    return await submit(RemoveDevice(device), NO_REASON)


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
