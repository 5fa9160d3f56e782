"""The rollouts as bytes, and back.

Records never change, so a snapshot keeps references and encodes them when it is written, one in a
step; so with the columns of twins.
"""

from collections.abc import Iterator

import msgspec
import numpy as np

from stationkeep.cluster.deployments.artifacts import artifact_fault
from stationkeep.cluster.deployments.book import Book
from stationkeep.cluster.deployments.lifecycle import STATES
from stationkeep.cluster.devices.snapshot_columns import (
    BadImageError,
    array_header,
    encoded_columns,
    map_header,
)
from stationkeep.cluster.devices.table import MAX_DEVICES, Column
from stationkeep.cluster.names import name_fault
from stationkeep.cluster.numbers import U32
from stationkeep.cluster.rollouts.book import (
    MAX_BLOCKS,
    MAX_ENDED_ROLLOUTS,
    MAX_FREEZES,
    MAX_OPEN_ROLLOUTS,
    Rollouts,
)
from stationkeep.cluster.rollouts.evidence import MAX_TWINS, Look
from stationkeep.cluster.rollouts.lifecycle import EXITS
from stationkeep.cluster.rollouts.plan import MAX_APPROVALS, plan_faults
from stationkeep.cluster.rollouts.rollout import MAX_ROUNDS, MAX_TIMELINE, Block, Freeze, Rollout
from stationkeep.cluster.rollouts.twins import COLUMNS, LEFT, MAX_SERIES, MAX_SETS, Twins

_encoder = msgspec.msgpack.Encoder()


class Sets(msgspec.Struct):
    """The twins of a stage: the columns of `twins`, looks as (variant, twins, bad, updated,
    count)."""

    rollout: str
    stage: str
    found: list[tuple[int, int, int, int, int]]
    series: tuple[tuple[int, int], ...]
    columns: dict[str, memoryview]


class Image(msgspec.Struct):
    """The rollouts as a snapshot holds them."""

    created: int
    checks: int
    checked_at: int
    stopped_at: int | None
    freezes: list[Freeze]
    blocks: list[Block]
    known: list[msgspec.Raw]
    twins: list[msgspec.Raw]


_images = msgspec.msgpack.Decoder(Image)
_rollouts = msgspec.msgpack.Decoder(Rollout)
_sets = msgspec.msgpack.Decoder(Sets)


class FrozenRollouts:
    """The rollouts as they were, to be written later and elsewhere while they go on."""

    def __init__(self, book: Rollouts) -> None:
        names = ("created", "checks", "checked_at", "stopped_at")
        self._head = [
            _encoder.encode(name) + _encoder.encode(getattr(book, name)) for name in names
        ]
        self._freezes, self._blocks = list(book.freezes.values()), book.blocks.copy()
        self._known = list(book.known.values())
        self._twins = [
            (names, twins.found, twins.series, twins.columns())
            for names, twins in book.twins.items()
        ]

    def parts(self) -> Iterator[bytes | memoryview]:
        """The bytes of an `Image`, piece by piece."""
        encode = _encoder.encode
        yield map_header(len(Image.__struct_fields__))
        yield from self._head
        yield encode("freezes") + encode(self._freezes)
        yield encode("blocks") + array_header(len(self._blocks))
        yield from map(encode, self._blocks)
        yield encode("known") + array_header(len(self._known))
        yield from map(encode, self._known)
        yield encode("twins") + array_header(len(self._twins))
        for (rollout, stage), found, series, columns in self._twins:
            yield map_header(len(Sets.__struct_fields__))
            yield encode("rollout") + encode(rollout) + encode("stage") + encode(stage)
            looks = [(variant, *look, count) for (variant, look), count in found.items()]
            yield encode("found") + encode(looks)
            yield encode("series") + encode(series) + encode("columns")
            yield from encoded_columns({name: _bytes(c) for name, c in columns.items()})


def _bytes(column: Column) -> memoryview:
    return np.ascontiguousarray(column).reshape(-1).view(np.uint8).data


# Back


def thaw_rollouts(encoded: bytes | memoryview | msgspec.Raw, deployments: Book) -> Rollouts:
    """The rollouts of an image, which refer to these deployments. Whatever apply relies on is
    checked: raises `BadImageError` or another `ValueError` for an image that no replica ever
    gave."""
    image, book = _images.decode(encoded), Rollouts()
    times = image.checked_at, image.stopped_at or 0
    _demand(min(image.created, image.checks, *times) >= 0, "counters are negative")
    book.created, book.checks, book.checked_at = image.created, image.checks, image.checked_at
    book.stopped_at = image.stopped_at
    book.freezes = {freeze.name: freeze for freeze in image.freezes}
    _demand(len(book.freezes) == len(image.freezes) <= MAX_FREEZES, "freezes do not fit")
    _demand(len(image.blocks) <= MAX_BLOCKS, "blocks are too many")
    _demand(not any(artifact_fault(b.artifact) for b in image.blocks), "blocks are of nothing")
    book.blocks = image.blocks
    rollouts = [_rollouts.decode(one) for one in image.known]
    for rollout in rollouts:
        _check(rollout, image.created, deployments)
    book.restore(rollouts)
    numbers = [rollout.number for rollout in rollouts]
    _demand(numbers == sorted(set(numbers)), "order is not that of their creation")
    _demand(len(book.known) == len(rollouts), "names come twice")
    open_ones = len(book.open_ones())
    _demand(open_ones <= MAX_OPEN_ROLLOUTS, "open ones are too many")
    _demand(len(rollouts) - open_ones <= MAX_ENDED_ROLLOUTS, "ended ones are too many")
    for one in image.twins:
        _restore_twins(book, deployments, _sets.decode(one))
    return book


def _demand(holds: bool | np.bool_, what: str) -> None:
    if not holds:
        raise BadImageError(f"the rollouts' {what}")


def _check(rollout: Rollout, created: int, deployments: Book) -> None:
    r = rollout
    _demand(name_fault(r.name) is None, "names are none")
    _demand(1 <= r.number <= created, "numbers are none")
    _demand(next(plan_faults(r.plan), None) is None, "plans are none")
    _demand(r.digest == r.plan.digest, "digests are not those of their plans")
    _demand(tuple(s.plan for s in r.stages) == r.plan.all_stages(), "stages are not their plans'")
    _demand((r.deadline is not None) is (r.state in EXITS), "deadlines do not fit their states")
    _demand(len(r.timeline) <= MAX_TIMELINE, "timelines are too long")
    most = MAX_APPROVALS * (len(r.stages) + 1)
    _demand(len(r.approvals) <= most, "approvals are too many")
    _demand(0 <= r.salt < 1 << 64 and 0 <= r.rollback <= U32, "numbers are none")
    for stage in r.stages:
        _demand(len(stage.tallies) == len(STATES) and min(stage.tallies) >= 0, "tallies are none")
        numbers = (*stage.rounds, stage.deployment)
        _demand(all(0 <= number <= U32 for number in numbers), "deployments are none")
        _demand(len(stage.rounds) <= MAX_ROUNDS, "rounds are too many")
        _demand(len(stage.arms) in (0, len(r.plan.variants)), "arms are not those of their plans")
        deployment = deployments.known.get(stage.deployment)
        is_open = deployment is not None and deployment.standing and deployment.rollout == r.name
        _demand(is_open or not stage.is_judged, "stages are judged without a deployment")
    if r.rollback and not r.ended:
        _demand(r.rollback in deployments.known, "rollbacks are none")


def _restore_twins(book: Rollouts, deployments: Book, sets: Sets) -> None:
    rollout = book.known.get(sets.rollout)
    place = None if rollout is None else rollout.stage(sets.stage)
    _demand(place is not None, "twins are of no stage")
    assert rollout is not None
    assert place is not None
    stage = rollout.stages[place]
    _demand(stage.is_judged, "twins are of a stage that is over")
    kinds = max(1, len(rollout.plan.variants))
    _demand(all(0 <= variant < kinds for variant, *_ in sets.found), "looks are of no variant")
    _demand(all(1 <= n <= MAX_TWINS for _, n, _, _, _ in sets.found), "looks are none")
    whole = all(0 <= k <= 1 <= bad <= n + k for _, n, bad, k, _ in sets.found)
    _demand(whole and all(0 < count < 1 << 32 for *_, count in sets.found), "looks are none")
    found = {(variant, Look(*look)): count for variant, *look, count in sets.found}
    _demand(len(sets.series) <= MAX_SERIES, "series are too long")
    twins = Twins(_columns_of(sets), found, sets.series)
    members = deployments.known[stage.deployment].members
    _demand(int(twins.position.max(initial=0)) < members, "twins are of no task")
    book.twins[sets.rollout, sets.stage] = twins


def _columns_of(sets: Sets) -> dict[str, Column]:
    _demand(list(sets.columns) == list(COLUMNS), "columns are not those of this release")
    rows, rest = divmod(len(sets.columns["position"]), 4)
    _demand(rest == 0 and rows <= MAX_SETS, "twins are too many")
    values = {}
    for name, (dtype, width) in COLUMNS.items():
        whole = len(sets.columns[name]) == rows * width * np.dtype(dtype).itemsize
        _demand(whole, "columns are not of one length")
        column = np.frombuffer(sets.columns[name], dtype)
        values[name] = column.reshape(rows, width) if width > 1 else column
    _demand(int(values["row"].max(initial=0)) < MAX_DEVICES, "twins are no rows")
    _demand(int(values["stage"].max(initial=0)) <= LEFT, "twins are in no stage")
    masks = values["risk"] | values["bad"]
    _demand(int(masks.max(initial=0)) < 1 << (MAX_TWINS + 1), "masks are none")
    return values
