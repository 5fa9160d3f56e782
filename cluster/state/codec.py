"""Commands and snapshots as bytes: versioned, canonical, digestible.

A draft is the level that it needs, one byte, then the command and whose it is. A log entry is `at`
and `wall` as two big-endian 64-bit integers, then the draft: the leader stamps a forwarded draft
without decoding it. A snapshot begins with the level of its state and a release that has it. So
whoever lacks a level finds out before it reads anything that it might misread (`cluster.levels`).
"""

import hashlib
import io
import struct
from collections.abc import Iterator
from itertools import chain
from typing import Any

import msgspec
import numpy as np

from stationkeep.cluster.commands import Command, Draft, Entry
from stationkeep.cluster.deployments.snapshot_columns import FrozenBook, thaw_book
from stationkeep.cluster.devices.snapshot_columns import (
    BadImageError,
    FrozenFleet,
    Room,
    array_header,
    map_header,
    thaw,
)
from stationkeep.cluster.levels import HIGHEST, LARGEST, LOWEST, needed
from stationkeep.cluster.numbers import TIME
from stationkeep.cluster.rollouts.snapshot_columns import FrozenRollouts, thaw_rollouts
from stationkeep.cluster.state.decisions import Decision
from stationkeep.cluster.state.operations import Operation, Operations
from stationkeep.cluster.state.state import ClusterState
from stationkeep.cluster.unreadable import UNREADABLE, explain

MAX_DRAFT_BYTES = 256 * 1024
MAX_TIME = TIME.ceiling
"""Milliseconds; leaves room for adding deadlines within 64 bits."""

_DIGEST_BYTES = 16
_CHUNK = 256
"""Records that are encoded in one step."""
_STAMP = struct.Struct(">QQ")
_HEAD = struct.Struct("BB")
_encoder = msgspec.msgpack.Encoder()
_sorting_encoder = msgspec.msgpack.Encoder(order="deterministic")
_draft_decoder = msgspec.msgpack.Decoder(Draft)
_outline_decoder = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])
_list_decoder = msgspec.msgpack.Decoder(list[msgspec.Raw])
_decision_decoder = msgspec.msgpack.Decoder(Decision)
_operation_decoder = msgspec.msgpack.Decoder(Operation)


def _no_table(kind: type, decoded: Any) -> None:
    raise AssertionError("tables are read for themselves")


_state_decoder = msgspec.msgpack.Decoder(ClusterState, dec_hook=_no_table)

"""What msgspec raises for bytes that do not fit; the last for values nested thousands deep."""


Piece = bytes | memoryview
"""A part of something encoded that is never put together in one step."""


class CodecError(ValueError):
    """Bytes that are not what they should be; says what was expected."""


class TooNew(CodecError):  # noqa: N818 - says what is the case
    """Written at a level that whoever reads it has not; `release` has it, if that is known."""

    def __init__(self, what: str, level: int, highest: int, release: str = "") -> None:
        known = f"levels {LOWEST} to {highest}" if highest > LOWEST else f"level {LOWEST} alone"
        install = f"release {release} or a newer one" if release else "a newer release"
        super().__init__(
            f"{what} needs level {level}, and this release has {known}: install {install}. "
            "See: stationkeep guide upgrade"
        )
        self.level, self.release = level, release


def encode_draft(draft: Draft) -> bytes:
    """Bytes of a draft; raises `CodecError` above `MAX_DRAFT_BYTES`, or for no level that is."""
    level = needed(draft.command)
    if not LOWEST <= level <= LARGEST:
        raise CodecError(f"a level lies between {LOWEST} and {LARGEST}, this one is {level}")
    encoded = bytes((level,)) + _encoder.encode(draft)
    if len(encoded) > MAX_DRAFT_BYTES:
        raise CodecError(
            f"a command may take {MAX_DRAFT_BYTES} bytes, this one takes {len(encoded)}"
        )
    return encoded


def decode_draft(encoded: bytes) -> Draft:
    """The draft of `encode_draft`; raises `CodecError` for anything else."""
    if len(encoded) > MAX_DRAFT_BYTES:
        raise CodecError(
            f"a command may take {MAX_DRAFT_BYTES} bytes, this one takes {len(encoded)}"
        )
    try:
        draft = _draft_decoder.decode(memoryview(encoded)[1:])
    except UNREADABLE as error:
        raise CodecError(f"not a command: {explain(error, 'msgpack')}") from error
    if encoded[0] != needed(draft.command):  # else releases could differ about what it is
        raise CodecError(f"its level is {needed(draft.command)}, it says {encoded[0]}")
    return draft


def stamp(at: int, wall: int, draft: bytes) -> bytes:
    """A log entry: the leader's cluster time and wall clock (ms) before the encoded draft."""
    return _STAMP.pack(at, wall) + draft


def check_level(entry: bytes, highest: int) -> None:
    """Raises `TooNew` for a log entry that needs a higher level. What raised the level says which
    release has it; it is met before any other entry that needs the level."""
    level = entry[_STAMP.size] if len(entry) > _STAMP.size else LOWEST
    if level <= highest:
        return
    try:
        command = _draft_decoder.decode(memoryview(entry)[_STAMP.size + 1 :]).command
    except UNREADABLE:
        command = None
    raise TooNew("the log", level, highest, getattr(command, "release", ""))


def decode_entry(entry: bytes) -> Entry:
    """The stamped draft of a log entry; raises `CodecError` for anything else."""
    if len(entry) < _STAMP.size:
        raise CodecError(f"a log entry has at least {_STAMP.size} bytes, this one {len(entry)}")
    at, wall = _STAMP.unpack_from(entry)
    if max(at, wall) >= MAX_TIME:
        raise CodecError(f"times lie below {MAX_TIME} ms, this entry says {at} and {wall}")
    return Entry(at, wall, decode_draft(entry[_STAMP.size :]))


def encode_snapshot(state: ClusterState) -> bytes:
    """Canonical bytes of a state: replicas that applied the same entries give the same bytes.

    Tables keep their order of insertion, also through a restore: pruning and iteration depend on
    it, so sorting here would make a restored replica differ from one that was never restarted.
    """
    return FrozenState(state).encode()


Frozen = FrozenFleet | FrozenBook | FrozenRollouts


class FrozenState:
    """A frozen copy of a state, to be encoded on another thread while the state changes.

    Of the two tables that grow into the tens of thousands it keeps references, since their records
    never change; likewise of rosters, which are copied before they change. Copied are the fleet's
    columns, and of deployments what changes in place. Everything else is encoded at once. `encode`
    may run on a thread beside others: none of its steps takes longer than a few hundred records do.
    """

    def __init__(self, state: ClusterState, room: Room | None = None) -> None:
        self._parts: list[bytes | tuple[Any, ...] | Frozen] = []
        release = state.release.encode()
        self._parts.append(_HEAD.pack(state.level, len(release)) + release)
        self._parts.append(map_header(len(state.__struct_fields__)))
        for field in state.__struct_fields__:
            value = getattr(state, field)
            self._parts.append(_encoder.encode(field))
            if field == "fleet":
                self._parts.append(FrozenFleet(value, room))
            elif field == "deployments":
                self._parts.append(FrozenBook(value))
            elif field == "rollouts":
                self._parts.append(FrozenRollouts(value))
            elif field == "decisions":
                self._parts += [array_header(len(value)), tuple(value)]
            elif field == "operations":
                # Two tuples, not one of pairs: fifty thousand pairs would wake the collector.
                keys, records = tuple(value.keys()), tuple(value.values())
                self._parts += [map_header(len(value)), (keys, records)]
            else:
                self._parts.append(_encoder.encode(value))

    def encode(self) -> bytes:
        """The very bytes that `encode_snapshot` would have given."""
        # Not a join: that would copy a hundred megabytes in one step.
        whole = io.BytesIO()
        for part in self._encoded():
            whole.write(part)
        return whole.getvalue()

    def pieces(self) -> list[Piece]:
        """The same bytes, in pieces: the largest are views of what was frozen, not copies."""
        return list(self._encoded())

    def digest(self) -> str:
        """What `digest` would have given."""
        digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        for part in self._encoded():
            digest.update(part)
        return digest.hexdigest()

    def _encoded(self) -> Iterator[Piece]:
        for part in self._parts:
            if isinstance(part, bytes):
                yield part
            elif isinstance(part, Frozen):
                yield from part.parts()
            elif len(part) == 2 and isinstance(part[0], tuple):
                yield from _runs(tuple(chain.from_iterable(zip(*part, strict=True))))
            else:
                yield from _runs(part)


def _runs(values: tuple[Any, ...]) -> Iterator[memoryview]:
    """The bytes of values one after the other, as of arrays without their headers: to encode each
    for itself takes several times as long."""
    for start in range(0, len(values), _CHUNK):
        some = values[start : start + _CHUNK]
        yield memoryview(_encoder.encode(some))[len(array_header(len(some))) :]


def decode_snapshot(encoded: Piece, highest: int = HIGHEST) -> ClusterState:
    """The state of `encode_snapshot`; raises `TooNew` for one of a higher level than `highest`,
    `CodecError` for one of a lower level than any that is still read, or damage.

    The two long tables are read record by record, deployments one by one, and the fleet column by
    column: on a thread, this lets others work in between, as `FrozenState.encode` does.
    """
    if len(encoded) < _HEAD.size:
        raise CodecError("a snapshot begins with its level, this one is empty")
    level, length = _HEAD.unpack_from(encoded)
    body = _HEAD.size + length
    if level > highest:
        release = bytes(encoded[_HEAD.size : body]).decode("ascii", "replace")
        raise TooNew("the snapshot", level, highest, release)
    if level < LOWEST:
        raise CodecError(f"snapshot of level {level}; this release reads {LOWEST} to {highest}")
    try:
        state = _decode_state(memoryview(encoded)[body:])
    except UNREADABLE as error:
        raise CodecError(f"not a snapshot: {explain(error, 'msgpack')}") from error
    except BadImageError as error:
        raise CodecError(f"not a snapshot: {error}") from error
    except ValueError as error:  # of numpy
        raise CodecError("not a snapshot: its columns do not fit together") from error
    if (state.level, state.release.encode()) != (level, bytes(encoded[_HEAD.size : body])):
        raise CodecError("not a snapshot: its head names another level than its state")
    return state


def _decode_state(encoded: memoryview) -> ClusterState:
    fields = _outline_decoder.decode(encoded)
    missing = [field for field in ClusterState.__struct_fields__ if field not in fields]
    if missing:
        raise BadImageError(f"it has no {missing[0]}")
    decisions, operations = fields.pop("decisions"), fields.pop("operations")
    fleet, book, rollouts = (fields.pop(table) for table in ("fleet", "deployments", "rollouts"))
    state = _state_decoder.decode(_encoder.encode(fields))
    state.fleet = thaw(fleet)
    state.deployments = thaw_book(book)
    state.rollouts = thaw_rollouts(rollouts, state.deployments)
    _check_tasks(state)
    _check_twins(state)
    state.decisions = [_decision_decoder.decode(one) for one in _list_decoder.decode(decisions)]
    table = _outline_decoder.decode(operations)
    state.operations = Operations()
    for one in table.values():
        state.operations.restore(_operation_decoder.decode(one))
    return state


def _check_tasks(state: ClusterState) -> None:
    """Fleet and deployments must agree on who has which device."""
    table = state.fleet.table
    if not np.array_equal(
        state.deployments.taken(table.birth[: table.used]), table.task[: table.used]
    ):
        raise BadImageError("the device table names other tasks than the deployments have")


def _check_twins(state: ClusterState) -> None:
    """Twins must be devices that there ever were."""
    used = state.fleet.table.used
    for twins in state.rollouts.twins.values():
        if len(twins) and int(twins.row.max()) >= used:
            raise BadImageError("rollouts have twins that the device table has not")


def digest(state: ClusterState) -> str:
    """32 hex digits that equal states share (invariant 7)."""
    return hashlib.blake2b(encode_snapshot(state), digest_size=_DIGEST_BYTES).hexdigest()


def command_digest(command: Command) -> str:
    """16 hex digits of a command; tells a retry from a key used for something else."""
    return hashlib.blake2b(_sorting_encoder.encode(command), digest_size=8).hexdigest()
