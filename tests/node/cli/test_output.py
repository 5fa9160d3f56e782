"""Standard output that cannot be written: a full disk, a pipe that nobody reads any more."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = [["plan"], ["plan", "--format", "json"], ["plan", "--format", "yaml"], ["--help"]]


def run(command: list[str], stdout: int) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "stationkeep", *command],
        stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.processes
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_full_disk_is_one_line_and_exit_1(command: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        ended = run(command, full.fileno())
    assert ended.returncode == 1
    assert ended.stderr == (
        "stationkeep: standard output cannot be written: No space left on device\n"
    )


@pytest.mark.processes
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_pipe_that_nobody_reads_ends_it_silently(command: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = run(command, writer)
    finally:
        os.close(writer)
    assert (ended.returncode, ended.stderr) == (1, "")


@pytest.mark.processes
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_without_a_standard_output_nothing_is_printed(command: list[str]) -> None:
    ended = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-m", "stationkeep", *command],
        stderr=subprocess.PIPE, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")


def test_an_error_that_is_not_of_the_output_stays_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    from stationkeep.node.cli import main

    def fail(**_: str) -> None:
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(main, "app", fail)
    with pytest.raises(OSError, match="Bad file"):
        main.main()
