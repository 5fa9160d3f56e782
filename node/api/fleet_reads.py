"""GET about devices and rings. A fleet is large: whatever looks at many rows does so in parts."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Annotated

import msgspec
import numpy as np
from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.responses import Response

from stationkeep.cluster.devices.fleet import FleetView
from stationkeep.cluster.devices.rings import Ring, caps_with
from stationkeep.cluster.devices.selector import MAX_SELECTOR, SelectorError, Term, parse
from stationkeep.cluster.devices.table import MAX_DEVICES
from stationkeep.cluster.fleet.rebalance import plan_rebalance
from stationkeep.cluster.fleet.regrouping import grouped
from stationkeep.cluster.settings import Settings
from stationkeep.node.api.consistency import Read, Reading
from stationkeep.node.api.fleet_inputs import HealthRuleInput, PoliciesInput, SharesInput
from stationkeep.node.api.openapi import answers
from stationkeep.node.http.paging import DEFAULT_LIMIT, Cursor, Limit, decode_cursor, encode_cursor
from stationkeep.node.http.problems import Kind, Problem, invalid
from stationkeep.node.views import fleet as views
from stationkeep.node.views.base import View

MAX_SCANS = 64
"""Parts of the table that one request looks at, the event loop having its turn in between."""
SLICE = 100
"""Devices rendered in one turn of the event loop."""

router = APIRouter()


async def planning_of(request: Request) -> asyncio.Lock:
    """Held while this node makes a plan for somebody: one at a time, of a million rows each."""
    lock: asyncio.Lock = request.app.state.planning
    return lock


Planning = Annotated[asyncio.Lock, Depends(planning_of)]

DeviceId = Annotated[str, Path(min_length=1, max_length=128, description="Id of a device.")]


def row_of(read: Read, device: str) -> int:
    """The row of a device, or 404."""
    row = read.state.fleet.row(device)
    if row is None:
        raise Problem(Kind.NOT_FOUND, f"no such device: {device}")
    return row


@router.get("/v1/devices", responses=answers(views.DeviceList))
async def list_devices(
    read: Reading,
    *,
    ring: Annotated[Ring | None, Query(description="Only this ring.")] = None,
    healthy: Annotated[
        bool | None, Query(description="Only online devices with this verdict.")
    ] = None,
    online: Annotated[bool | None, Query(description="Only online, or only offline ones.")] = None,
    selector: Annotated[
        str | None,
        Query(max_length=MAX_SELECTOR, examples=["os=Android 14, model in (Pixel 8, Pixel 9)"]),
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    """Devices that match all that is given. A page may be short, even empty, and have a `next`."""
    if healthy is not None and online is False:
        raise invalid("healthy", healthy, "not beside online=false: nobody knows how they are")
    terms, after = _terms(selector), _after(cursor)
    items: list[views.DeviceView] = []
    for _ in range(MAX_SCANS):
        fleet, now = read.state.fleet, read.service.cluster_time()
        found = fleet.select(
            ring=ring,
            healthy=healthy,
            online=True if healthy is not None else online,
            terms=terms,
            after=after,
            limit=min(limit - len(items), SLICE),
        )
        items += [views.device_view(fleet.device(row), now) for row in found.rows]
        if found.next_row is None or len(items) == limit:
            break
        after = found.next_row
        await asyncio.sleep(0)
    more = None if found.next_row is None else encode_cursor(found.next_row)
    warnings = [] if items else read.state.fleet.unknown_keys(terms)
    return read.answer(views.DeviceList(items, more, warnings))


def _terms(selector: str | None) -> tuple[Term, ...]:
    try:
        return parse(selector or "")
    except SelectorError as error:
        raise invalid("selector", selector, str(error)) from error


def _after(cursor: str | None) -> int:
    """The row after which a page begins."""
    if cursor is None:
        return -1
    row = decode_cursor(cursor, int)
    if not 0 <= row < MAX_DEVICES:
        raise invalid("cursor", cursor, "the `next` of an earlier page of this list")
    return row


@router.get("/v1/devices/{device}", responses=answers(views.DeviceView, 404))
async def get_device(read: Reading, device: DeviceId) -> Response:
    """One device: what it said of itself, its ring and why, its health and last readings."""
    seen = read.state.fleet.device(row_of(read, device))
    return read.answer(views.device_view(seen, read.service.cluster_time()))


@router.get("/v1/devices/{device}/history", responses=answers(views.MoveList, 404))
async def list_moves(read: Reading, device: DeviceId, limit: Limit = DEFAULT_LIMIT) -> Response:
    """The rings that a device was in, newest first: since when, assigned by whom, and why."""
    moves = read.state.fleet.history(row_of(read, device), limit)
    now = read.service.cluster_time()
    return read.answer(views.MoveList(views.move_views(read.state, device, moves, now)))


@router.get("/v1/devices/{device}/explain", responses=answers(views.DeviceExplanationView, 404))
async def explain_device(read: Reading, device: DeviceId) -> Response:
    """Why a device is in its ring, and what could move it, as sentences."""
    row = row_of(read, device)
    now = read.service.cluster_time()
    return read.answer(views.device_explanation(read.state, row, now))


@router.get("/v1/rings", responses=answers(views.RingsView))
async def list_rings(read: Reading) -> Response:
    """The rings: devices, health, quotas; the health rule, the policies and the brake."""
    return read.answer(views.rings_view(read.state))


@router.get("/v1/rings/plan", responses=answers(views.RebalancePlanView))
async def plan_check(read: Reading, planning: Planning) -> Response:
    """What a check of the rings would move now, on this node's copy; nothing is moved.

    A check draws anew whom it moves for balance: the next one may choose others.
    """
    return await _plan(read, planning, read.state.fleet.view())


@router.post("/v1/rings/plan", responses=answers(views.RebalancePlanView))
async def plan_shares(read: Reading, planning: Planning, body: SharesInput) -> Response:
    """What a check would move under these shares and caps; nothing is changed or moved."""
    view = read.state.fleet.view()
    caps = caps_with(view.shares.caps, body.caps.given())
    shares = msgspec.structs.replace(view.shares, weights=body.weights_given(), caps=caps)
    return await _plan(read, planning, msgspec.structs.replace(view, shares=shares))


@router.post("/v1/rings/health-rule/plan", responses=answers(views.HealthPlanView))
async def plan_health_rule(read: Reading, body: HealthRuleInput) -> Response:
    """How many devices this rule would judge otherwise; nothing is changed."""
    return read.answer(views.health_plan_view(read.state.fleet, body.parsed()))


@router.post("/v1/rings/policies/plan", responses=answers(views.PoliciesPlanView))
async def plan_policies(read: Reading, planning: Planning, body: PoliciesInput) -> Response:
    """How many devices these policies, in the place of those that stand, would rule otherwise;
    nothing is changed."""
    policies, devices = body.parsed(), grouped(read.state.fleet)
    plan = partial(views.policies_plan_view, devices, policies)
    return await _elsewhere(read, planning, plan)


async def _plan(read: Read, planning: asyncio.Lock, view: FleetView) -> Response:
    settings, now = read.service.settings, read.service.cluster_time()
    return await _elsewhere(read, planning, partial(_planned, view, settings, now))


async def _elsewhere(read: Read, planning: asyncio.Lock, plan: Callable[[], View]) -> Response:
    """The answer with a plan that takes long and looks at nothing that changes meanwhile."""
    if planning.locked():
        raise Problem(Kind.BUSY, "a plan is being made already", headers={"Retry-After": "1"})
    async with planning:
        return read.answer(await asyncio.to_thread(plan))


def _planned(view: FleetView, settings: Settings, now: int) -> views.RebalancePlanView:
    plan = plan_rebalance(view, settings, now, np.random.default_rng())
    return views.plan_view(view, plan)
