"""The fleet as bytes, and back.

Columns are copied at once and written as they are in memory; ids and names, which are text, are
encoded a chunk at a time. So taking the image stops the loop only for a copy of the columns, and
writing it on a thread lets other threads work in between.
"""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import msgspec
import numpy as np

from stationkeep.cluster.devices.credentials import Standing
from stationkeep.cluster.devices.fleet import Fleet, Pin
from stationkeep.cluster.devices.moves import MAX_ACTORS, MAX_MOVES, MOVE, REASONS, MoveLog
from stationkeep.cluster.devices.policies import (
    MAX_RING_POLICIES,
    NO_POLICY,
    policy_fault,
    weights_fault,
)
from stationkeep.cluster.devices.rings import UNSET
from stationkeep.cluster.devices.shares import Shares
from stationkeep.cluster.devices.status import MAX_METRICS, HealthRule, is_metric, rule_fault
from stationkeep.cluster.devices.table import (
    COLUMNS,
    LATER,
    MAX_DEVICES,
    RARE,
    Column,
    Kind,
    Kinds,
    Table,
    Texts,
)

MAX_BIRTHS = (1 << 32) - MAX_DEVICES
"""More registrations than a fleet has in its life; a higher number would not fit its column."""
_encoder = msgspec.msgpack.Encoder()
_texts = msgspec.msgpack.Decoder(list[str])
_kinds = msgspec.msgpack.Decoder(list[Kind | None])


class Head(msgspec.Struct):
    """All of a fleet that is small."""

    shares: Shares
    rule: HealthRule
    pins: dict[int, Pin]
    pin_due: int | None
    nodes: list[str]
    checks: int
    checked_at: int | None
    requested: bool
    moving: dict[str, int]
    braked: bool
    turned: int
    used: int
    births: int
    free: list[int]
    free_kinds: list[int]
    actors: list[str]
    moves: int  # ever made
    revised: int
    credentials_ended: int = 0


class Image(msgspec.Struct):
    """A fleet as a snapshot holds it: msgpack around columns of little-endian numbers."""

    head: Head
    columns: dict[str, memoryview]
    metrics: dict[str, memoryview]
    moves: memoryview
    ids: list[memoryview]
    names: list[memoryview]
    kinds: list[memoryview]


_images = msgspec.msgpack.Decoder(Image)


class FrozenFleet:
    """A copy of a fleet, to be written on another thread while the fleet changes."""

    def __init__(self, fleet: Fleet, room: "Room | None" = None) -> None:
        table, used = fleet.table, fleet.table.used
        self._head = _encoder.encode(_head(fleet))
        self._columns, self._metrics = _copied(
            room,
            {name: getattr(table, name)[:used] for name in table.written},
            {name: column[:used] for name, column in table.metrics.items()},
        )
        self._moves = fleet.moves.in_order()
        self._texts: dict[str, list[list[Any]]] = {
            "ids": table.ids.chunks(),
            "names": table.names.chunks(),
            "kinds": table.kinds.chunks(),
        }

    def parts(self) -> Iterator[bytes | memoryview]:
        """The bytes of an `Image`, piece by piece."""
        yield map_header(len(Image.__struct_fields__))
        yield _encoder.encode("head") + self._head
        yield _encoder.encode("columns")
        yield from encoded_columns(self._columns)
        yield _encoder.encode("metrics")
        yield from encoded_columns(self._metrics)
        yield _encoder.encode("moves")
        yield from encoded_binary(self._moves.view(np.uint8).data)
        for name, chunks in self._texts.items():
            yield _encoder.encode(name) + array_header(len(chunks))
            for chunk in chunks:
                yield from encoded_binary(_encoder.encode(chunk))


class Room:
    """Memory for the copy of a fleet's columns, touched beforehand on any thread: to be given its
    pages by the system takes three times as long as the copy."""

    SPARE = 16_384
    """Devices that may register between now and then."""
    _STEP, _PAGE = 1 << 22, 1 << 12

    def __init__(self, fleet: Fleet) -> None:
        table = fleet.table
        width = sum(np.dtype(COLUMNS[name]).itemsize for name in table.written)
        width += np.dtype("<i4").itemsize * len(table.metrics)
        self.block = np.empty(width * (table.used + self.SPARE), np.uint8)
        for start in range(0, len(self.block), self._STEP):  # others get their turn in between
            self.block[start : start + self._STEP : self._PAGE] = 0


def _copied(room: Room | None, *groups: dict[str, Column]) -> Iterator[dict[str, memoryview]]:
    """The bytes of columns, copied into one block: in the room, if they fit."""
    size = sum(column.nbytes for group in groups for column in group.values())
    fits = room is not None and len(room.block) >= size
    block = room.block if room is not None and fits else np.empty(size, np.uint8)
    end = 0
    for group in groups:
        copies = {}
        for name, column in group.items():
            start, end = end, end + column.nbytes
            block[start:end] = column.view(np.uint8)
            copies[name] = block[start:end].data
        yield copies


def _head(fleet: Fleet) -> Head:
    table = fleet.table
    return Head(
        shares=fleet.shares,
        rule=fleet.rule,
        pins=fleet.pins,
        pin_due=fleet.pin_due,
        nodes=fleet.nodes,
        checks=fleet.checks,
        checked_at=fleet.checked_at,
        requested=fleet.requested,
        moving=fleet.moving,
        braked=fleet.braked,
        turned=fleet.turned,
        used=table.used,
        births=table.births,
        free=table.free,
        free_kinds=table.kinds.free,
        actors=fleet.moves.actors,
        moves=fleet.moves.total,
        revised=table.revised,
        credentials_ended=fleet.credentials_ended,
    )


def encoded_columns(columns: Mapping[str, memoryview]) -> Iterator[bytes | memoryview]:
    """A map of names to columns, piece by piece."""
    yield map_header(len(columns))
    for name, content in columns.items():
        yield _encoder.encode(name)
        yield from encoded_binary(content)


def encoded_binary(content: bytes | memoryview) -> Iterator[bytes | memoryview]:
    """Bytes as msgpack writes them."""
    yield binary_header(len(content))
    yield content


def binary_header(length: int) -> bytes:
    """What msgpack may put before bytes, few or many."""
    return b"\xc6" + length.to_bytes(4)


def array_header(length: int) -> bytes:
    """What msgpack puts before an array."""
    if length < 16:
        return bytes([0x90 | length])
    return b"\xdc" + length.to_bytes(2) if length < 1 << 16 else b"\xdd" + length.to_bytes(4)


def map_header(length: int) -> bytes:
    """What msgpack puts before a map."""
    if length < 16:
        return bytes([0x80 | length])
    return b"\xde" + length.to_bytes(2) if length < 1 << 16 else b"\xdf" + length.to_bytes(4)


# Back


class BadImageError(ValueError):
    """An image that can be decoded but is not that of a possible fleet."""


def thaw(encoded: bytes | memoryview | msgspec.Raw) -> Fleet:
    """The fleet of an image. Whatever apply relies on is checked: raises
    `BadImageError` or another `ValueError` (what msgspec raises is one) for an image that no fleet
    ever gave."""
    image = _images.decode(encoded)
    head, fleet = image.head, Fleet()
    _check_head(head)
    fleet.table = _table(image)
    fleet.moves = _moves(image)
    for field in (
        "shares", "rule", "pins", "pin_due", "nodes", "checks", "checked_at", "requested",
        "moving", "braked", "turned", "credentials_ended",
    ):  # fmt: skip
        setattr(fleet, field, getattr(head, field))
    _check_rows(fleet)
    table = fleet.table
    table.count(np.flatnonzero(table.birth[: table.used]), 1)
    return fleet


def _demand(holds: bool | np.bool_, what: str) -> None:
    if not holds:
        raise BadImageError(f"the fleet's {what}")


def _check_head(head: Head) -> None:
    shares = head.shares
    _demand(0 <= head.used <= MAX_DEVICES, "table is larger than a fleet may be")
    _demand(len(shares.policies) <= MAX_RING_POLICIES, "policies are too many")
    _demand(not any(map(policy_fault, shares.policies)), "policies are no policies")
    _demand(weights_fault(shares.weights) is None, "weights are no weights")
    _demand(all(0 <= cap <= MAX_DEVICES for cap in shares.caps), "caps are no caps")
    _demand(rule_fault(head.rule) is None, "health rule is none")
    _demand(0 < len(head.actors) <= MAX_ACTORS and head.actors[0] == "", "actors do not fit")
    counters = (head.checks, head.turned, head.births, head.moves, head.revised,
                head.credentials_ended)  # fmt: skip
    _demand(min(counters) >= 0, "counters are negative")
    _demand(head.revised < 1 << 32, "revisions do not fit their column")


def _table(image: Image) -> Table:
    head, table = image.head, Table()
    table.grow(head.used)
    table.used, table.births, table.free = head.used, head.births, head.free
    table.revised = head.revised
    known = [name for name in COLUMNS if name in image.columns or name not in LATER | RARE]
    _demand(list(image.columns) == known, "columns are not those of this release")
    for name in known:
        values = _values(image.columns[name], COLUMNS[name], head.used)
        getattr(table, name)[: head.used] = values
    _demand(len(image.metrics) <= MAX_METRICS, "metrics are too many")
    for name, content in image.metrics.items():
        _demand(is_metric(name), "metrics have names that are none")
        table.metric(name)[: head.used] = _values(content, "<i4", head.used)
    ids = [_texts.decode(chunk) for chunk in image.ids]
    table.ids = Texts.of_chunks(ids)
    table.names = Texts.of_chunks([_texts.decode(chunk) for chunk in image.names])
    _demand(len(table.ids) == len(table.names) == head.used, "ids and names are not one a row")
    table.rows = {text: row for row, text in enumerate(chain.from_iterable(ids)) if text}
    _demand(int(table.birth.max()) <= head.births <= MAX_BIRTHS, "births are not numbered")
    living = table.birth[: head.used] > 0
    free = np.flatnonzero(~living).tolist()
    _demand(sorted(table.free) == free, "free rows are not those without a birth")
    _demand(all(table.ids[row] == "" for row in free), "free rows have ids")
    _demand(len(table.rows) == head.used - len(free), "ids are missing or come twice")
    kinds = [kind for chunk in image.kinds for kind in _kinds.decode(chunk)]
    _demand(int(table.kind[: head.used].max(initial=0)) <= len(kinds), "kinds are missing")
    numbers = table.kind[: head.used][living]
    table.kinds = Kinds.of_image(kinds, head.free_kinds, numbers)
    return table


def _values(content: memoryview, dtype: str, rows: int) -> Column:
    _demand(len(content) == rows * np.dtype(dtype).itemsize, "columns are not of one length")
    if dtype == "?":
        flags = np.frombuffer(content, np.uint8)
        _demand(int(flags.max(initial=0)) <= 1, "flags are neither 0 nor 1")
    return np.frombuffer(content, dtype)


def _moves(image: Image) -> MoveLog:
    head = image.head
    _demand(len(image.moves) % MOVE.itemsize == 0, "log of moves is cut off")
    moves = np.frombuffer(image.moves, MOVE)
    _demand(len(moves) == min(head.moves, MAX_MOVES), "log of moves is not complete")
    _check_codes("moves", moves["target"], 4)
    _check_codes("moves", np.where(moves["origin"] == UNSET, 0, moves["origin"]), 4)
    _check_codes("moves", moves["reason"], len(REASONS))
    _check_codes("moves", moves["actor"], len(head.actors))
    return MoveLog.of_image(moves, head.moves, head.actors)


def _check_codes(what: str, codes: Column, end: int) -> None:
    _demand(int(codes.max(initial=0)) < end, f"{what} have codes that mean nothing")


def _check_rows(fleet: Fleet) -> None:
    table, used = fleet.table, slice(0, fleet.table.used)
    living = np.flatnonzero(table.birth[used])
    _check_codes("rings", table.ring[used], 4)
    _check_codes("homes", np.where(table.home[used] == UNSET, 0, table.home[used]), 4)
    _check_codes("reasons", table.reason[used], len(REASONS))
    policy = table.policy[living]
    ruled = (policy == NO_POLICY) | (policy < len(fleet.policies))
    _demand(bool(ruled.all()), "policies have codes that mean nothing")
    _check_codes("credentials", table.credential[used], len(Standing))
    _check_codes("judgements", table.known[used], 9)
    if len(living):
        _check_codes("nodes", table.served_by[living], len(fleet.nodes))
    pinned = np.flatnonzero(table.pinned[used]).tolist()
    _demand(sorted(fleet.pins) == pinned, "pins are not the pinned rows")
    _demand(not np.any(table.online[used] & (table.birth[used] == 0)), "free rows are online")
