"""Secrets in files that people name: read from what can be read, written to what is whole."""

import os
from pathlib import Path

import httpx
import pytest

from stationkeep.node.cli import confided
from stationkeep.node.cli.failures import CommandError
from tests.node.cli.canned import CannedNode, Run, problem

ORDERS = [
    ["nodes", "invite"],
    ["tokens", "create", "--name", "ci", "--role", "viewer"],
    ["tokens", "rotate", "k3jd92ma"],
]


@pytest.mark.parametrize("order", ORDERS, ids=" ".join)
def test_a_secret_that_the_cluster_refuses_leaves_no_file(
    canned: CannedNode, stationkeep: Run, tmp_path: Path, order: list[str]
) -> None:
    """It opens nothing, and would be in the way of the next one."""
    out = tmp_path / "secret"
    canned.answer_to_writes = problem(409, "there is no room")
    assert stationkeep(*order, "--out", str(out)).exit_code == 1
    assert not out.exists()
    canned.answer_to_writes = None
    assert stationkeep(*order, "--out", str(out)).exit_code == 0


@pytest.mark.parametrize("order", ORDERS, ids=" ".join)
def test_a_secret_of_which_nobody_knows_whether_it_is_good_stays(
    canned: CannedNode, stationkeep: Run, tmp_path: Path, order: list[str]
) -> None:
    out = tmp_path / "secret"
    canned.answer_to_writes = httpx.ReadTimeout("lost")
    assert stationkeep(*order, "--out", str(out)).exit_code == 6
    assert out.stat().st_size > 0


def test_a_full_disk_leaves_no_file_and_tells_the_cluster_nothing(
    canned: CannedNode, stationkeep: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    out = tmp_path / "word"
    result = stationkeep("nodes", "invite", "--out", str(out))
    assert (result.exit_code, "No space left" in result.stderr) == (1, True)
    assert not out.exists()
    assert all(request.method == "GET" for request in canned.requests)


def test_what_is_no_small_file_is_not_read_for_a_secret(tmp_path: Path) -> None:
    """A disk's image would fill the memory."""
    large, odd = tmp_path / "large", tmp_path / "odd"
    large.touch()
    os.truncate(large, 1 << 30)
    odd.write_bytes(b"\xff")
    faults = {
        tmp_path: "Is a directory",
        large: "has more than 4,096 bytes",
        odd: "is not text",
        tmp_path / "none": "No such file",
    }
    for file, why in faults.items():
        with pytest.raises(CommandError, match=f"--token-file {file}: {why}"):
            confided.given(file, "")


def test_a_secret_comes_out_of_what_another_command_prints() -> None:
    """`--token-file <(pass show fleet)`, where the shell gives the name of a pipe."""
    reading, writing = os.pipe()
    os.write(writing, b"skj_x\n")
    os.close(writing)
    assert confided.given(Path(f"/dev/fd/{reading}"), "") == "skj_x"
    os.close(reading)


def test_what_an_editor_of_another_system_puts_around_it_does_not_matter(tmp_path: Path) -> None:
    file = tmp_path / "word"
    for around in (b"%s\r\n", b"%s", b" %s \n\n", b"\xef\xbb\xbf%s\r\n"):
        file.write_bytes(around % b"skj_x")
        assert confided.given(file, "") == "skj_x"
