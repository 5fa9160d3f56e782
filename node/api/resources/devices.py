"""Devices. A fleet is large: whatever looks at many rows does so in parts."""

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import Field
from starlette.responses import Response

from stationkeep.cluster.commands import (
    AssignRing,
    ReleaseRing,
    RemoveDevice,
    ResetCredential,
    RevokeCredential,
)
from stationkeep.cluster.devices.fleet import SCAN, Page, keys_of, unknown_keys
from stationkeep.cluster.devices.ranking import Figure, Ranking
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.devices.selector import MAX_SELECTOR, SelectorError, Term, parse
from stationkeep.cluster.devices.table import MAX_DEVICES
from stationkeep.cluster.settings import LONGEST_PIN, parse_duration
from stationkeep.cluster.suggestion import unknown
from stationkeep.node.api.bodies import DurationText, Input, Reason, in_words
from stationkeep.node.api.consistency import Read, Reading
from stationkeep.node.api.openapi import answers, outcomes
from stationkeep.node.api.submission import NO_REASON, Submit
from stationkeep.node.http.paging import DEFAULT_LIMIT, Cursor, Limit, decode_cursor, encode_cursor
from stationkeep.node.http.problems import Kind, Problem, invalid
from stationkeep.node.views import fleet as views
from stationkeep.node.wire.messages import MAX_ID
from stationkeep.node.wire.messages import Ring as RingName

router = APIRouter()

MAX_SCANS = 64
"""Parts of the table that one request looks at, the event loop having its turn in between."""
SLICE = 100
"""Devices rendered in one turn of the event loop."""
MAX_TEXT = 128
"""Characters of what ids and names are searched for."""
Order = Literal[
    "battery", "-battery", "cpu", "-cpu", "memory", "-memory",
    "disk", "-disk", "seen", "-seen", "ring_since", "-ring_since",
]  # fmt: skip
Lifetime = Annotated[
    DurationText | Annotated[float, Field(ge=0, le=LONGEST_PIN / 1_000, allow_inf_nan=False)],
    in_words(LONGEST_PIN),
]


class AssignInput(Input):
    ring: RingName
    lifetime: Annotated[Lifetime | None, Field(description="The pin ends then; null: never.")] = (
        None
    )
    reason: Reason = ""

    def milliseconds(self) -> int:
        """Of the lifetime; 0: the pin has no end."""
        if self.lifetime is None:
            return 0
        return parse_duration("lifetime", self.lifetime, LONGEST_PIN)


class CredentialInput(Input):
    reason: Reason = ""


DeviceId = Annotated[str, Path(min_length=1, max_length=MAX_ID, description="Id of a device.")]


def row_of(read: Read, device: str) -> int:
    """The row of a device, or 404."""
    row = read.state.fleet.row(device)
    if row is None:
        raise Problem(Kind.NOT_FOUND, unknown("device", device, read.state.fleet.table.rows))
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
    pinned: Annotated[bool | None, Query(description="Only pinned, or only others.")] = None,
    text: Annotated[
        str,
        Query(max_length=MAX_TEXT, description="A part of the id or the name, in any case."),
    ] = "",
    selector: Annotated[
        str | None,
        Query(max_length=MAX_SELECTOR, examples=["os=Android 14, model in (Pixel 8, Pixel 9)"]),
    ] = None,
    sort: Annotated[
        Order | None,
        Query(
            description="In the order of this figure; with `-` the highest first. `seen`: since "
            "when each was heard last."
        ),
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    """Devices that match all that is given. A page may be short, even empty, and have a `next`."""
    if healthy is not None and online is False:
        raise invalid("healthy", healthy, "not beside online=false: nobody knows how they are")
    terms = _terms(selector)

    def select(after: int, limit: int) -> Page:
        return read.state.fleet.select(
            ring=ring,
            healthy=healthy,
            online=True if healthy is not None else online,
            pinned=pinned,
            text=text,
            terms=terms,
            after=after,
            limit=limit,
        )

    if sort is None:
        items, more = await _as_they_came(read, select, limit, cursor)
    else:
        items, more = await _in_order(read, select, sort, limit, cursor)
    warnings = [] if items or not terms else await _unknown_keys(read, terms)
    return read.answer(views.DeviceList(items, more, warnings))


Listed = tuple[list[views.DeviceView], str | None]
"""Devices of a page, and the cursor of the next one."""
Select = Callable[[int, int], Page]
"""`Fleet.select` with the filters of a request: rows after one, at most so many."""


async def _as_they_came(read: Read, select: Select, limit: int, cursor: str | None) -> Listed:
    """A page in the order of registration."""
    items: list[views.DeviceView] = []
    after = _after(cursor)
    for _ in range(MAX_SCANS):
        found = select(after, min(limit - len(items), SLICE))
        items += _rendered(read, found.rows)
        if found.next_row is None or len(items) == limit:
            break
        after = found.next_row
        await read.breathe()
    return items, None if found.next_row is None else encode_cursor(found.next_row)


async def _in_order(
    read: Read, select: Select, sort: Order, limit: int, cursor: str | None
) -> Listed:
    """A page in the order of a figure: all rows are looked at for it."""
    figure, descending = Figure(sort.lstrip("-")), sort.startswith("-")
    after = None if cursor is None else decode_cursor(cursor, tuple[int, int])
    ranking = Ranking(figure, descending=descending, most=limit + 1, after=after)
    row: int | None = -1
    while row is not None:
        found = select(row, SCAN)
        ranking.take(read.state.fleet.table, found.rows)
        row = found.next_row
        await read.breathe()
    places = ranking.places()
    items: list[views.DeviceView] = []
    for start in range(0, limit, SLICE):
        items += _rendered(read, [row for _, row in places[start : start + SLICE][: limit - start]])
        await read.breathe()
    return items, encode_cursor(places[limit - 1]) if len(places) > limit else None


async def _unknown_keys(read: Read, terms: Sequence[Term]) -> list[str]:
    """The keys of a selector that no device has, in words. Devices with labels of their own are
    each a kind of their own, so there may be a million kinds to look at."""
    asked, had = {term.key for term in terms}, keys_of(())
    for kinds in read.state.fleet.table.kinds.chunks():
        if asked <= had:
            break
        had |= keys_of(kinds)
        await read.breathe()
    return unknown_keys(terms, had)


def _rendered(read: Read, rows: list[int]) -> list[views.DeviceView]:
    """The devices in these rows, but for those that were removed meanwhile."""
    fleet, now = read.state.fleet, read.service.cluster_time()
    kept = [row for row in rows if row < fleet.table.used and fleet.table.birth[row]]
    return [views.device_view(fleet.device(row), now) for row in kept]


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


@router.delete("/v1/devices/{device}/credential", responses=outcomes())
async def revoke_credential(
    submit: Submit, device: DeviceId, body: CredentialInput | None = None
) -> Response:
    """Ends a device's own credential, and its connection. It cannot enrol until it is reset."""
    return await submit(RevokeCredential(device), body.reason if body else NO_REASON)


@router.post("/v1/devices/{device}/credential/reset", responses=outcomes())
async def reset_credential(
    submit: Submit, device: DeviceId, body: CredentialInput | None = None
) -> Response:
    """Ends a device's own credential, if it has one, and takes in whoever enrols under its id next:
    a device that was replaced, or has lost its secret."""
    return await submit(ResetCredential(device), body.reason if body else NO_REASON)
