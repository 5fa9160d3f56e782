"""The chain of the audit files: whatever is altered, left out or put between shows."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stationkeep.cluster.commands import AnyCommand, Pause
from stationkeep.node.audit import chain
from stationkeep.node.audit.chain import Verdict, contradictions, rotated, verify
from stationkeep.node.replica import Replica
from tests.node.audit.test_file import LOG, entry, replay, written
from tests.node.world import ManualClock

NODE = "sat-001"


def write(directory: Path, node: str = NODE, more: int = 0) -> Replica:
    """The audit files of a node that has lived a while."""
    directory.mkdir(exist_ok=True)
    replica = Replica(ManualClock())
    written(directory / chain.NAME, replica, node)
    pauses: list[AnyCommand] = [Pause(90_000 + n) for n in range(more)]
    replay(replica, [*LOG, *(entry(pause, f"m{n}") for n, pause in enumerate(pauses))])
    return replica


def files(directory: Path) -> list[Path]:
    return [*rotated(directory), directory / chain.NAME]


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are full after a few decisions."""
    monkeypatch.setattr("stationkeep.node.audit.file.MAX_FILE_BYTES", 2_000)


def test_what_was_written_holds(tmp_path: Path) -> None:
    replica = write(tmp_path)
    verdict = verify(files(tmp_path))
    assert (verdict.fault, verdict.notes) == ("", [])
    assert (verdict.node, verdict.files) == (NODE, 1)
    assert verdict.decisions == verdict.last == replica.state.decisions_made
    assert verdict.head == json.loads(lines(tmp_path / chain.NAME)[-1])["hash"]


def test_the_chain_goes_on_after_a_restart_and_through_full_files(
    tmp_path: Path, small: None
) -> None:
    for more in (0, 5, 12):
        write(tmp_path, more=more)
    assert len(rotated(tmp_path)) >= 3
    verdict = verify(files(tmp_path))
    assert (verdict.fault, verdict.notes, verdict.decisions) == ("", [], len(LOG) + 12)


def test_old_files_go_and_that_is_said(
    tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stationkeep.node.audit.file.MAX_FILES", 2)
    write(tmp_path, more=20)
    kept = rotated(tmp_path)
    assert len(kept) == 2
    verdict = verify(files(tmp_path))
    assert verdict.fault == ""
    assert verdict.notes == [
        f"{kept[0]}:1: older files are gone, up to decision {verdict.first - 1}"
    ]


def alter(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"actor":"me"', b'"actor":"it"', 1))


def leave_out(path: Path) -> None:
    kept = lines(path)
    path.write_bytes(b"".join(kept[:3] + kept[4:]))


def put_between(path: Path) -> None:
    kept = lines(path)
    path.write_bytes(b"".join([*kept[:3], kept[2], *kept[3:]]))


def swap(path: Path) -> None:
    kept = lines(path)
    path.write_bytes(b"".join([*kept[:3], kept[4], kept[3], *kept[5:]]))


def forge_hash(path: Path) -> None:
    kept = lines(path)
    kept[3] = kept[3][:9] + b"0" * 64 + kept[3][73:]
    path.write_bytes(b"".join(kept))


def strip_hash(path: Path) -> None:
    kept = lines(path)
    kept[3] = b"{" + kept[3][75:]
    path.write_bytes(b"".join(kept))


def alter_header(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"sat-001", b"sat-002", 1))


def drop_header(path: Path) -> None:
    path.write_bytes(b"".join(lines(path)[1:]))


def no_json(path: Path) -> None:
    line, _ = chain.seal(json.loads(lines(path)[-1])["hash"], {"id": 1})
    path.write_bytes(path.read_bytes() + line[:-2] + b"\n")


@pytest.mark.parametrize(
    ("tamper", "line"),
    [
        (alter, 2),
        (leave_out, 4),
        (put_between, 4),
        (swap, 4),
        (forge_hash, 4),
        (strip_hash, 4),
        (alter_header, 1),
        (drop_header, 1),
        (no_json, len(LOG) + 2),
    ],
)
def test_tampering_is_found_at_its_line(
    tmp_path: Path, tamper: Callable[[Path], None], line: int
) -> None:
    write(tmp_path)
    path = tmp_path / chain.NAME
    tamper(path)
    verdict = verify([path])
    assert verdict.fault.startswith(f"{path}:{line}: "), verdict.fault
    assert verdict.decisions == max(0, line - 2), "what stands before holds"


def test_a_full_file_cannot_be_taken_out_or_replaced(tmp_path: Path, small: None) -> None:
    write(tmp_path, more=12)
    kept = files(tmp_path)
    without = verify([kept[0], *kept[2:]])
    assert without.fault == f"{kept[2]}:1: does not continue the file before it"
    assert verify([kept[1], kept[0], *kept[2:]]).fault


def test_who_rewrites_everything_is_found_by_a_hash_noted_before(tmp_path: Path) -> None:
    write(tmp_path / "true")
    noted = verify(files(tmp_path / "true")).head
    assert verify(files(tmp_path / "true"), noted).fault == ""
    replica = Replica(ManualClock())
    (tmp_path / "forged").mkdir()
    written(tmp_path / "forged" / chain.NAME, replica)
    replay(replica, LOG[:-1])
    assert verify(files(tmp_path / "forged")).fault == ""
    verdict = verify(files(tmp_path / "forged"), noted)
    assert verdict.fault == f"the hash {noted} is not in the chain: it was cut off or rewritten"


def test_a_node_whose_file_differs_from_the_others_is_found(tmp_path: Path) -> None:
    verdicts: list[Verdict] = []
    for node in ("sat-001", "sat-002"):
        write(tmp_path / node, node)
        verdicts.append(verify(files(tmp_path / node)))
    assert contradictions(verdicts) == []
    replica = Replica(ManualClock())
    (tmp_path / "sat-003").mkdir()
    written(tmp_path / "sat-003" / chain.NAME, replica, "sat-003")
    replay(replica, [*LOG[:3], entry(Pause(77_000), "other")])
    verdicts.append(verify(files(tmp_path / "sat-003")))
    assert contradictions(verdicts) == ["sat-001 and sat-003: decision 4 differs"]


def test_a_file_that_differs_is_found_though_another_is_empty(tmp_path: Path) -> None:
    for node in ("sat-001", "sat-002", "sat-003"):
        write(tmp_path / node, node)
    alter_one_decision(tmp_path / "sat-003" / chain.NAME, "sat-003")
    alter(tmp_path / "sat-002" / chain.NAME)
    verdicts = [verify(files(tmp_path / node)) for node in ("sat-001", "sat-002", "sat-003")]
    assert [bool(verdict.fault) for verdict in verdicts] == [False, True, False]
    assert contradictions(verdicts) == ["sat-001 and sat-003: decision 4 differs"]


def alter_one_decision(path: Path, node: str) -> None:
    """By one who knows how the chain is made, and rewrites everything that follows."""
    records = [json.loads(line) for line in lines(path)]
    records[4]["actor"] = "somebody else"
    path.write_bytes(seal_all(records))


def seal_all(records: list[dict[str, Any]]) -> bytes:
    head, content = chain.START, b""
    for record in records:
        said = {field: value for field, value in record.items() if field != "hash"}
        said |= {"previous": head} if "previous" in said else {}
        line, head = chain.seal(head, said)
        content += line
    return content


def header(**said: Any) -> dict[str, Any]:
    return {"node": NODE, "file": 1, "after": 0, "previous": "", "wall": 0, "audit": 1, **said}


@pytest.mark.parametrize(
    ("record", "rule"),
    [
        (header(audit=2), "has format 2, but this release reads 1"),
        (header(file="x"), "not a decision: "),
        ({"id": 1}, "not a decision: "),
    ],
)
def test_a_header_that_is_none_is_a_fault(
    tmp_path: Path, record: dict[str, Any], rule: str
) -> None:
    path = tmp_path / chain.NAME
    path.write_bytes(seal_all([record]))
    assert verify([path]).fault.startswith(f"{path}:1: {rule}")


def test_a_file_that_was_emptied_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / chain.NAME
    path.touch()
    assert verify([path]).fault == f"{path}: is empty"


def test_lines_too_deep_to_read_are_a_fault(tmp_path: Path) -> None:
    path = tmp_path / chain.NAME
    head = seal_all([header()])
    rest = b'","id":' + b"[" * 300_000 + b"]" * 300_000 + b"}"
    previous = json.loads(head)["hash"]
    digest = hashlib.sha256(previous.encode() + rest).hexdigest().encode()
    path.write_bytes(head + b'{"hash":"' + digest + rest + b"\n")
    assert verify([path]).fault.startswith(f"{path}:2: not a decision: ")
    write(tmp_path)
    assert len(rotated(tmp_path)) == 1, "put aside"


def test_a_file_taken_away_under_a_running_node_is_missed(tmp_path: Path) -> None:
    replica = Replica(ManualClock())
    written(tmp_path / chain.NAME, replica)
    replay(replica, LOG[:5])
    (tmp_path / chain.NAME).unlink()
    replay(replica, LOG[5:], first=6)
    path = tmp_path / chain.NAME
    assert (
        verify([path]).fault == f"{path}:1: claims to be the first file, but continues another one"
    )


def test_a_header_that_skips_decisions_is_a_fault(tmp_path: Path, small: None) -> None:
    write(tmp_path, more=12)
    newest = files(tmp_path)[-1]
    records = [json.loads(line) for line in lines(newest)]
    head, content = records[0]["previous"], b""
    for record in [{**records[0], "after": records[0]["after"] + 1}, *records[2:]]:
        del record["hash"]
        line, head = chain.seal(head, record)
        content += line
    newest.write_bytes(content)
    fault = verify(files(tmp_path)).fault
    assert fault == f"{newest}:1: does not continue the file before it"


def test_a_line_being_written_is_no_fault(tmp_path: Path) -> None:
    write(tmp_path)
    path = tmp_path / chain.NAME
    whole = len(lines(path))
    path.write_bytes(path.read_bytes()[:-7])
    verdict = verify([path])
    assert verdict.fault == ""
    assert verdict.notes == [f"{path}:{whole}: incomplete: being written, or torn"]
    write(tmp_path)
    assert verify([path]).decisions == len(LOG), "and is written again at the next start"


def test_decisions_that_could_not_be_written_are_named(tmp_path: Path) -> None:
    path = tmp_path / chain.NAME
    head, content = chain.START, b""
    for record in (chain.Header(NODE, 1, 0, chain.START, 0), {"id": 1}, {"id": 5}):
        line, head = chain.seal(head, record)
        content += line
    path.write_bytes(content)
    verdict = verify([path])
    assert (verdict.fault, verdict.decisions) == ("", 2)
    assert verdict.notes == [f"{path}:3: decisions 2 to 4 were not written"]


@pytest.mark.parametrize(
    "damage",
    [
        b"\x00" * 50 + b"\n",
        b"\x00" * (2 * chain.MAX_LINE),
        b'{"id": 3}\n',
        b"[]\n",
        b'{"hash":"' + b"0" * 64 + b'","id":\n',
        b'{"hash":"' + b"0" * 64 + b'"}\n',
    ],
    ids=["zeros", "zeros without end", "no hash", "no object", "half a line", "nothing but a hash"],
)
def test_a_damaged_file_is_put_aside_and_shows(tmp_path: Path, damage: bytes) -> None:
    write(tmp_path)
    path = tmp_path / chain.NAME
    path.write_bytes(path.read_bytes() + damage)
    write(tmp_path, more=3)
    aside = rotated(tmp_path)
    assert len(aside) == 1
    assert verify(files(tmp_path)).fault.startswith(f"{aside[0]}:{len(LOG) + 2}: ")
    assert verify([path]).last == len(LOG) + 3, "a new chain goes on"


def test_a_full_file_is_never_written_to(tmp_path: Path, small: None) -> None:
    write(tmp_path, more=12)
    full = rotated(tmp_path)[-1]
    full.write_bytes(full.read_bytes()[:-7])
    torn = full.read_bytes()
    (tmp_path / chain.NAME).unlink()
    write(tmp_path, more=12)
    assert full.read_bytes() == torn
    assert verify(files(tmp_path)).fault


def test_a_file_that_is_only_a_header_is_gone_on_from(tmp_path: Path, small: None) -> None:
    write(tmp_path, more=12)
    path = tmp_path / chain.NAME
    path.write_bytes(lines(path)[0])
    write(tmp_path, more=13)
    assert verify(files(tmp_path)).decisions == len(LOG) + 13
    shutil.copy(path, tmp_path / "audit-backup.jsonl")
    assert tmp_path / "audit-backup.jsonl" not in rotated(tmp_path)
