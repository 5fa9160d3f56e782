"""The hash chain of an audit file, and its verification.

Every line begins with a hash over the previous line's hash and its own remaining bytes, so that no
line can be altered, removed or inserted without invalidating all later ones. The first line of each
file is a header that continues the chain of the file before it.

This detects tampering unless everything after it is rewritten as well. Against that, `verify` can
be given a hash that was stored somewhere else earlier, and the files of other nodes, which contain
the same decisions.
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
"""The previous hash of the very first line."""
MAX_LINE = 1024 * 1024
"""Bytes of one line; the longest decision takes a tenth."""
AUDIT = 1
"""Version of the file format."""
_PREFIX = b'{"hash":"'
_ROTATED = re.compile(r"audit-([0-9]{6})\.jsonl")
_DIGEST_BYTES = 8


class Header(msgspec.Struct):
    """The first line of a file."""

    node: str
    file: int
    """Number of the file, from 1."""
    after: int
    """The newest decision in the files before it."""
    previous: str
    """The hash of the last line before it; `START` if there is none."""
    wall: int
    """Unix ms of the newest log entry applied."""
    audit: int = AUDIT


def seal(previous: str, record: Mapping[str, Any] | msgspec.Struct) -> tuple[bytes, str]:
    """The line for a record that follows the line with the hash `previous`, and its own hash."""
    rest = b'",' + msgspec.json.encode(record)[1:]
    digest = hashlib.sha256(previous.encode() + rest).hexdigest()
    return _PREFIX + digest.encode() + rest + b"\n", digest


def claimed(line: bytes) -> str | None:
    """The hash that a line begins with; None when it does not begin with one."""
    digest = line[len(_PREFIX) : len(_PREFIX) + 64]
    sound = line.startswith(_PREFIX) and re.fullmatch(rb"[0-9a-f]{64}", digest)
    return digest.decode() if sound else None


def holds(previous: str, line: bytes) -> bool:
    """Whether a line (without its line break) follows the line with the hash `previous`."""
    rest = line[len(_PREFIX) + 64 :]
    return claimed(line) == hashlib.sha256(previous.encode() + rest).hexdigest()


def rotated(directory: Path) -> list[Path]:
    """The full files of a directory, oldest first."""
    return sorted(path for path in directory.glob("audit-*.jsonl") if _ROTATED.fullmatch(path.name))


def number_of(path: Path) -> int:
    """The number of a full file."""
    match = _ROTATED.fullmatch(path.name)
    assert match is not None
    return int(match[1])


class Verdict(msgspec.Struct):
    """What was found in one node's files."""

    node: str = ""
    files: int = 0
    decisions: int = 0
    refusals: int = 0
    first: int = 0
    """Number of the oldest decision."""
    last: int = 0
    """Number of the newest decision."""
    head: str = START
    """Hash of the last valid line."""
    fault: str = ""
    """The first error; everything before it is valid."""
    notes: list[str] = []
    """What is worth knowing but no error."""
    digests: dict[int, bytes] = {}
    """Decision → digest of its content, which is the same on every node."""


class _Broken(Exception):  # noqa: N818 - a finding
    """The chain is broken here."""


def verify(paths: Sequence[Path], head: str = "") -> Verdict:
    """Follows the chain through the files, oldest first. `head`: a hash stored earlier, which must
    be in the chain. Raises OSError when a file cannot be read."""
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
        verdict.fault = f"{paths[-1]}: is empty"
    elif not seen_head:
        verdict.fault = f"the hash {head} is not in the chain: it was cut off or rewritten"
    return verdict


def _follow(path: Path, verdict: Verdict, newest: bool) -> Iterator[str]:
    """The hash of each valid line; raises `_Broken` at the first invalid one."""
    with open(path, "rb", opener=regular) as file:
        number = 0
        while line := file.readline(MAX_LINE):
            number += 1
            if not line.endswith(b"\n"):
                if newest and len(line) < MAX_LINE:
                    verdict.notes.append(f"{path}:{number}: incomplete: being written, or torn")
                    return
                raise _Broken(f"{path}:{number}: the line does not end")
            try:
                _take(path, number, line[:-1], verdict)
            except UNREADABLE as error:
                what = explain(error, "json")
                raise _Broken(f"{path}:{number}: not a decision: {what}") from error
            yield verdict.head
    verdict.files += 1


def _take(path: Path, number: int, line: bytes, verdict: Verdict) -> None:
    place = f"{path}:{number}"
    if claimed(line) is None:
        raise _Broken(f"{place}: does not begin with a hash")
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
        raise _Broken(f"{place}: has format {header.audit}, but this release reads {AUDIT}")
    if verdict.files and (header.previous, header.after) != (verdict.head, verdict.last):
        raise _Broken(f"{place}: does not continue the file before it")
    if header.file == 1 and header.previous != START:
        raise _Broken(f"{place}: claims to be the first file, but continues another one")
    if not verdict.files and header.previous != START:
        verdict.notes.append(f"{place}: older files are gone, up to decision {header.after}")
    if verdict.node and header.node != verdict.node:
        raise _Broken(f"{place}: is by {header.node}, but the file before it by {verdict.node}")
    verdict.node = header.node
    verdict.last = max(verdict.last, header.after)


def _take_decision(place: str, line: bytes, verdict: Verdict) -> None:
    record: dict[str, Any] = msgspec.json.decode(line, type=dict[str, Any])
    if "refused" in record:  # not compared: nodes may have recorded different ones
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
    # The sentence's wording depends on the release, and the hash on this node's chain.
    content = {name: value for name, value in record.items() if name not in ("hash", "sentence")}
    encoded = msgspec.json.encode(content, order="deterministic")
    verdict.digests[id_] = hashlib.blake2b(encoded, digest_size=_DIGEST_BYTES).digest()


def contradictions(verdicts: Sequence[Verdict]) -> list[str]:
    """Where nodes recorded the same decision differently: one line for each node that differs
    from the first that recorded it."""
    known: dict[int, tuple[bytes, str]] = {}
    found = []
    for verdict in verdicts:
        mine = {id_: (digest, verdict.node) for id_, digest in verdict.digests.items()}
        differing = sorted(id_ for id_, (digest, _) in mine.items() if _differs(known, id_, digest))
        if differing:
            first = f"decision {differing[0]} differs"
            more = f", and {len(differing) - 1} more" if len(differing) > 1 else ""
            found.append(f"{known[differing[0]][1]} and {verdict.node}: {first}{more}")
        known = {**mine, **known}
    return found


def _differs(known: dict[int, tuple[bytes, str]], id_: int, digest: bytes) -> bool:
    return id_ in known and known[id_][0] != digest
