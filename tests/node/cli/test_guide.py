"""`guide`: pages in a pipe and on a terminal, without any node."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from stationkeep.node.guide.pages import find, topics
from tests.node.cli.canned import Run


def test_without_a_topic_it_lists_them_in_reading_order(stationkeep: Run) -> None:
    result = stationkeep("guide")
    assert result.exit_code == 0
    listed = [line.split()[0] for line in result.stdout.splitlines()[1:]]
    assert listed == list(topics()[1:])


@pytest.mark.parametrize("topic", topics())
def test_in_a_pipe_a_page_is_as_it_was_written(stationkeep: Run, topic: str) -> None:
    result = stationkeep("guide", topic)
    assert result.exit_code == 0
    assert result.stdout == find(topic).text


def test_an_unknown_topic_is_refused_with_what_was_probably_meant(stationkeep: Run) -> None:
    result = stationkeep("guide", "configuratoin")
    assert result.exit_code == 1
    assert "did you mean configuration?" in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize("topic", topics())
def test_on_a_terminal_a_page_is_drawn(
    topic: str, stationkeep: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # for a terminal, says Rich
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    shown = stationkeep("guide", topic).stdout
    assert "\x1b[1" in shown
    assert "](" not in shown
    assert find(topic).title.split()[0] in shown


@pytest.mark.processes
def test_on_a_terminal_a_page_is_paged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paged = tmp_path / "paged"
    monkeypatch.setenv("PAGER", f"sh -c 'cat > {paged}'")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("MANPAGER", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    ours, theirs = pty.openpty()
    try:
        command = [sys.executable, "-m", "stationkeep", "guide", "failover"]
        subprocess.run(command, stdin=theirs, stdout=theirs, stderr=theirs, check=True, timeout=60)
    finally:
        os.close(ours)
        os.close(theirs)
    shown = paged.read_text(encoding="utf-8")
    assert "\x1b[1" in shown
    assert find("failover").title.split()[0] in shown
