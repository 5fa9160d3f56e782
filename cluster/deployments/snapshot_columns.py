"""The deployments as bytes, and back.

Nothing is encoded until it is written, and no more than one deployment or artifact in one step.
Rosters are written as they lie in memory, and are not copied for it: whoever changes one copies it
first (`Roster.own`).
"""

from collections.abc import Iterator

import msgspec
import numpy as np
from msgspec.structs import replace

from stationkeep.cluster.deployments.artifacts import (
    MAX_ARTIFACTS,
    Artifact,
    Artifacts,
    artifact_fault,
)
from stationkeep.cluster.deployments.book import (
    MAX_CLOSED_DEPLOYMENTS,
    MAX_OPEN_DEPLOYMENTS,
    MAX_TASKS,
    MAX_VERSIONS,
    Book,
    Versions,
)
from stationkeep.cluster.deployments.deployment import (
    MAX_FAILURES,
    MAX_VARIANTS,
    Deployment,
    DeploymentState,
    limit_faults,
    parameter_faults,
    require_fault,
)
from stationkeep.cluster.deployments.lifecycle import PHASES, STATES, TASK_REASONS, TaskState
from stationkeep.cluster.deployments.roster import (
    COLUMNS,
    MAX_ATTEMPTS,
    MAX_UNANSWERED,
    Roster,
    phase_of,
    progress_of,
)
from stationkeep.cluster.devices.snapshot_columns import (
    BadImageError,
    array_header,
    encoded_columns,
    map_header,
)
from stationkeep.cluster.devices.table import MAX_DEVICES, Column
from stationkeep.cluster.numbers import U32

_CHUNK = 1_024
_encoder = msgspec.msgpack.Encoder()


class Head(msgspec.Struct):
    """All that is small."""

    opened: int
    closed: list[int]
    artifacts: dict[int, msgspec.Raw]
    known: list[msgspec.Raw]


class Image(Head):
    """The deployments as a snapshot holds them. `versions`: in chunks; `rosters`: by number, in the
    columns of `roster`, little-endian."""

    versions: list[list[str]]
    rosters: dict[int, dict[str, memoryview]]


_images = msgspec.msgpack.Decoder(Image)
_artifacts = msgspec.msgpack.Decoder(Artifact)
_deployments = msgspec.msgpack.Decoder(Deployment)


class FrozenBook:
    """The deployments as they were, to be written later and elsewhere while they go on."""

    def __init__(self, book: Book) -> None:
        self._opened, self._closed = book.opened, book.closed.copy()
        self._artifacts = book.artifacts.known.copy()
        self._known = [_copied(deployment) for deployment in book.known.values()]
        self._versions = book.versions.texts.copy()
        self._rosters = {number: roster.columns() for number, roster in book.rosters.items()}

    def parts(self) -> Iterator[bytes | memoryview]:
        """The bytes of an `Image`, piece by piece."""
        encode = _encoder.encode
        yield map_header(len(Image.__struct_fields__))
        yield encode("opened") + encode(self._opened)
        yield encode("closed") + encode(self._closed)
        yield encode("artifacts") + map_header(len(self._artifacts))
        for number, artifact in self._artifacts.items():
            yield encode(number) + encode(artifact)
        yield encode("known") + array_header(len(self._known))
        yield from map(encode, self._known)
        starts = range(0, len(self._versions), _CHUNK)
        yield encode("versions") + array_header(len(starts))
        for start in starts:
            yield encode(self._versions[start : start + _CHUNK])
        yield encode("rosters") + map_header(len(self._rosters))
        for number, columns in self._rosters.items():
            yield encode(number)
            yield from encoded_columns({name: _bytes(c) for name, c in columns.items()})


def _copied(deployment: Deployment) -> Deployment:
    """As it is now: its tallies are all that changes in its place."""
    return replace(deployment, tallies=deployment.tallies.copy())


def _bytes(column: Column) -> memoryview:
    return column.view(np.uint8).data


# Back


def thaw_book(encoded: bytes | memoryview | msgspec.Raw) -> Book:
    """The deployments of an image. Whatever apply relies on is checked: raises `BadImageError` or
    another `ValueError` for an image that no replica ever gave."""
    image, book = _images.decode(encoded), Book()
    _demand(0 <= image.opened <= U32, "number is none")
    book.opened, book.closed = image.opened, image.closed
    book.artifacts = _artifacts_of(image)
    book.versions = Versions(_versions(image))
    for deployment in map(_deployments.decode, image.known):
        _check(deployment, book)
        book.restore(deployment)
    _check_numbers(book)
    for number, columns in image.rosters.items():
        _demand(number in book.known, "rosters are of unknown deployments")
        book.rosters[number] = _roster(book, book.known[number], columns)
    _demand(book.tasks <= MAX_TASKS, "tasks are too many")
    _demand(all(d.number in book.rosters for d in book.open_ones()), "rosters are missing")
    return book


def _demand(holds: bool | np.bool_, what: str) -> None:
    if not holds:
        raise BadImageError(f"the deployments' {what}")


def _artifacts_of(image: Image) -> Artifacts:
    known = {number: _artifacts.decode(one) for number, one in image.artifacts.items()}
    within = all(1 <= number <= MAX_ARTIFACTS for number in known)
    _demand(within, "artifacts are not numbered")
    _demand(not any(map(artifact_fault, known.values())), "artifacts are no artifacts")
    return Artifacts(known)


def _versions(image: Image) -> list[str]:
    texts = [text for chunk in image.versions for text in chunk]
    _demand(1 <= len(texts) <= MAX_VERSIONS + 1 and texts[0] == "", "versions do not fit")
    return texts


def _check(deployment: Deployment, book: Book) -> None:
    d = deployment
    _demand(d.number not in book.known, "numbers come twice")
    _demand(1 <= d.number <= book.opened, "numbers are none")
    closed = d.state is DeploymentState.CLOSED
    _demand(closed is (d.slot == 0), "states do not fit their slots")
    _demand(closed is (d.closed_at is not None), "states do not fit their ends")
    _demand(0 <= d.slot <= MAX_OPEN_DEPLOYMENTS, "slots are none")
    numbers = {0, *book.artifacts.known}
    _demand(numbers.issuperset(d.artifacts), "artifacts are unknown")
    _demand(len(d.artifacts) <= MAX_VARIANTS, "variants are too many")
    _demand(len(d.tallies) == len(STATES) and min(d.tallies) >= 0, "tallies are no tallies")
    _demand(1 <= sum(d.tallies) == d.members <= MAX_DEVICES, "tallies are not of all members")
    over = d.unfinished == 0 and not d.standing
    _demand(closed is over, "states do not fit their tallies")
    _demand(bool(d.rollout) or not (d.standing or d.kept or d.held), "rollouts are none")
    _demand(d.held_at >= 0, "figures are negative")
    faults = [*parameter_faults(d.parameters), *limit_faults(d.limits)]
    _demand(not faults and require_fault(d.require) is None, "words are no order's")
    _demand(len(d.failures) <= MAX_FAILURES, "groups of failures are too many")
    _demand(min(d.opened_at, d.tokens, d.tokens_at, d.at_rate) >= 0, "figures are negative")
    _demand(
        None not in (d.limits.max_in_flight, d.limits.deadline, d.limits.retries), "limits lack"
    )
    pace = d.limits.pace
    _demand(d.rate == 0 if pace is None else pace.start <= d.rate <= pace.most, "rates are none")


def _check_numbers(book: Book) -> None:
    numbers = list(book.known)
    _demand(numbers == sorted(numbers), "order is not that of their opening")
    slots = [d.slot for d in book.known.values() if d.slot]
    _demand(len(slots) == len(set(slots)), "slots come twice")
    closed = [d for d in book.known.values() if not d.slot]
    _demand(sorted(book.closed) == [d.number for d in closed], "closed ones are not those that are")
    left = sum(not d.kept for d in closed)
    _demand(left <= MAX_CLOSED_DEPLOYMENTS, "closed ones are too many")


def _roster(book: Book, deployment: Deployment, columns: dict[str, memoryview]) -> Roster:
    _demand(list(columns) == list(COLUMNS), "columns are not those of this release")
    members = deployment.members
    values = {}
    for name, dtype in COLUMNS.items():
        whole = len(columns[name]) == members * np.dtype(dtype).itemsize
        _demand(whole, "columns are not of one length")
        values[name] = np.frombuffer(columns[name], dtype)
    roster = Roster(values)
    roster.columns()  # they are the snapshot's
    row = roster.row.astype(np.int64)
    _demand(bool((np.diff(row) > 0).all()), "rows do not ascend")
    _demand(not members or int(row[-1]) < MAX_DEVICES, "rows are none")
    _check_codes("states", roster.state, len(STATES))
    _check_codes("reasons", roster.reason, len(TASK_REASONS))
    _check_codes("versions", roster.version, len(book.versions.texts))
    _check_codes("variants", roster.variant, len(deployment.artifacts))
    _check_codes("attempts", roster.attempt, MAX_ATTEMPTS + 1)
    _demand(int(roster.attempt.min()) >= 1, "attempts are none")
    _check_details(roster)
    _demand(roster.tally() == deployment.tallies, "tallies are not what a count gives")
    return roster


def _check_details(roster: Roster) -> None:
    begun = roster.state == TaskState.IN_PROGRESS.code
    _check_codes("phases", phase_of(roster.detail[begun]), len(PHASES))
    _check_codes("progress", progress_of(roster.detail[begun]), 101)
    offered = roster.state == TaskState.OFFERED.code
    _check_codes("offers left unanswered", roster.detail[offered], MAX_UNANSWERED)


def _check_codes(what: str, codes: Column, end: int) -> None:
    _demand(int(codes.max(initial=0)) < end, f"{what} have codes that mean nothing")
