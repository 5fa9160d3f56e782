"""Lines that hold each other: the hash chain of an audit file, and its verification.

Every line begins with a hash over the hash of the line before it and its own remaining bytes, so
that none can be altered, left out or put between without all later ones being wrong. The first
line of each file is a header that carries on the chain of the file before it.

What this shows is tampering by whoever does not rewrite everything that follows. Against one who
does, two things help that `verify` can be given: a hash noted elsewhere earlier, and the files of
other nodes, which hold the same decisions.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from stationkeep.cluster.unreadable import UNREADABLE, explain
from stationkeep.node.system.operator_files import regular

NAME = "audit.jsonl"
START = "0" * 64
"""Stands for the hash before the first line of all."""
MAX_LINE = 1024 * 1024
"""Bytes of one line; the longest decision takes a tenth."""
AUDIT = 1
"""What these files are: the number of their format."""
_PREFIX = b'{"hash":"'
_ROTATED = re.compile(r"audit-([0-9]{6})\.jsonl")
_DIGEST_BYTES = 8


class Header(msgspec.Struct):
    """The first line of a file. `file` counts from 1; `after`: the newest decision in the files
    before it; `previous`: the hash of their last line, `START` when there is none to go on from."""

    node: str
    file: int
    after: int
    previous: str
    wall: int
    audit: int = AUDIT


def seal(previous: str, record: Mapping[str, Any] | msgspec.Struct) -> tuple[bytes, str]:
    """A record as the line after the one with the hash `previous`, and its own hash."""
    rest = b'",' + msgspec.json.encode(record)[1:]
    digest = hashlib.sha256(previous.encode() + rest).hexdigest()
    return _PREFIX + digest.encode() + rest + b"\n", digest


def claimed(line: bytes) -> str | None:
    """The hash that a line carries; None when it is no line of a chain."""
    digest = line[len(_PREFIX) : len(_PREFIX) + 64]
    sound = line.startswith(_PREFIX) and re.fullmatch(rb"[0-9a-f]{64}", digest)
    return digest.decode() if sound else None


def holds(previous: str, line: bytes) -> bool:
    """Whether a line (without its end) is what followed the line with the hash `previous`."""
    rest = line[len(_PREFIX) + 64 :]
    return claimed(line) == hashlib.sha256(previous.encode() + rest).hexdigest()


def rotated(directory: Path) -> list[Path]:
    """The full files of a directory, oldest first."""
    return sorted(path for path in directory.glob("audit-*.jsonl") if _ROTATED.fullmatch(path.name))


def number_of(path: Path) -> int:
    """Which file it was, counted from 1."""
    match = _ROTATED.fullmatch(path.name)
    assert match is not None
    return int(match[1])


class Verdict(msgspec.Struct):
    """What was found in one node's files. `fault`: the first thing that does not hold; what
    stands before it does. `notes`: what is no fault and worth knowing. `digests`: decision →
    digest of what it says, the same on every node."""

    node: str = ""
    files: int = 0
    decisions: int = 0
    refusals: int = 0
    first: int = 0
    last: int = 0
    head: str = START
    fault: str = ""
    notes: list[str] = []
    digests: dict[int, bytes] = {}


class _Broken(Exception):  # noqa: N818 - a finding
    """Where the chain ends that holds."""


def verify(paths: Sequence[Path], head: str = "") -> Verdict:
    """Follows the chain through the files, oldest first. `head`: a hash noted earlier, which
    must be in it. Raises OSError for what cannot be read."""
    verdict = Verdict()
    seen_head = not head
    try:
        for path in paths:
            for digest in _follow(path, verdict, path is paths[-1]):
                seen_head = seen_head or digest == head
    except _Broken as broken:
        verdict.fault = str(broken)
        return verdict
    if not verdict.node and not verdict.notes:
        verdict.fault = f"{paths[-1]}: holds nothing"
    elif not seen_head:
        verdict.fault = f"the hash {head} is not in the chain: it was cut off or rewritten"
    return verdict


def _follow(path: Path, verdict: Verdict, newest: bool) -> Iterator[str]:
    """The hash of each line that holds; raises `_Broken` at the first that does not."""
    with open(path, "rb", opener=regular) as file:
        number = 0
        while line := file.readline(MAX_LINE):
            number += 1
            if not line.endswith(b"\n"):
                if newest and len(line) < MAX_LINE:
                    verdict.notes.append(f"{path}:{number}: not complete: being written, or torn")
                    return
                raise _Broken(f"{path}:{number}: a line without its end")
            try:
                _take(path, number, line[:-1], verdict)
            except UNREADABLE as error:
                what = explain(error, "json")
                raise _Broken(f"{path}:{number}: no decision: {what}") from error
            yield verdict.head
    verdict.files += 1


def _take(path: Path, number: int, line: bytes, verdict: Verdict) -> None:
    place = f"{path}:{number}"
    if claimed(line) is None:
        raise _Broken(f"{place}: carries no hash")
    if number == 1:
        _take_header(place, line, verdict)
    elif not holds(verdict.head, line):
        raise _Broken(f"{place}: its hash does not follow from the line before it")
    else:
        _take_decision(place, line, verdict)
    verdict.head = claimed(line) or START


def _take_header(place: str, line: bytes, verdict: Verdict) -> None:
    header = msgspec.json.decode(line, type=Header)
    if not holds(header.previous, line):
        raise _Broken(f"{place}: this header was altered")
    if header.audit != AUDIT:
        raise _Broken(f"{place}: of kind {header.audit}, but this release reads {AUDIT}")
    if verdict.files and (header.previous, header.after) != (verdict.head, verdict.last):
        raise _Broken(f"{place}: does not go on where the file before it ends")
    if header.file == 1 and header.previous != START:
        raise _Broken(f"{place}: the first file, but it goes on from one that is gone")
    if not verdict.files and header.previous != START:
        verdict.notes.append(f"{place}: older files are gone, up to decision {header.after}")
    if verdict.node and header.node != verdict.node:
        raise _Broken(f"{place}: of {header.node}, but the file before it is of {verdict.node}")
    verdict.node = header.node
    verdict.last = max(verdict.last, header.after)


def _take_decision(place: str, line: bytes, verdict: Verdict) -> None:
    record: dict[str, Any] = msgspec.json.decode(line, type=dict[str, Any])
    if "refused" in record:  # the nodes need not have noted the same ones
        verdict.refusals += 1
        return
    id_ = record.get("id")
    if not isinstance(id_, int) or id_ <= verdict.last:
        raise _Broken(f"{place}: decision {id_} after decision {verdict.last}")
    if id_ > verdict.last + 1 and (verdict.decisions or verdict.last):
        verdict.notes.append(f"{place}: decisions {verdict.last + 1} to {id_ - 1} were not written")
    verdict.first = verdict.first or id_
    verdict.last = id_
    verdict.decisions += 1
    # The sentence is how this release puts it; the hash is this file's own.
    said = {field: value for field, value in record.items() if field not in ("hash", "sentence")}
    encoded = msgspec.json.encode(said, order="deterministic")
    verdict.digests[id_] = hashlib.blake2b(encoded, digest_size=_DIGEST_BYTES).digest()


def contradictions(verdicts: Sequence[Verdict]) -> list[str]:
    """Where nodes tell the same decision differently: a line for each node that tells some
    otherwise than the first who told them."""
    told: dict[int, tuple[bytes, str]] = {}
    found = []
    for verdict in verdicts:
        mine = {id_: (digest, verdict.node) for id_, digest in verdict.digests.items()}
        differing = sorted(id_ for id_, (digest, _) in mine.items() if _differs(told, id_, digest))
        if differing:
            first = f"decision {differing[0]} is told differently"
            more = f", and {len(differing) - 1} more" if len(differing) > 1 else ""
            found.append(f"{told[differing[0]][1]} and {verdict.node}: {first}{more}")
        told = {**mine, **told}
    return found


def _differs(told: dict[int, tuple[bytes, str]], id_: int, digest: bytes) -> bool:
    return id_ in told and told[id_][0] != digest
