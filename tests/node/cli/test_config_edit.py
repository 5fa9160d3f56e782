"""`config edit`: what is changed in the file is changed in the cluster."""

import sys
from pathlib import Path

import pytest

from stationkeep.node.cli.commands import config, rollout_orders
from tests.node.cli.canned import CannedNode, Run


@pytest.fixture
def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A script that stands for an editor; whoever runs it sits at a terminal."""
    script = tmp_path / "editor.py"
    script.write_text("")
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", f"{sys.executable} {script}")
    for module in (config, rollout_orders):
        monkeypatch.setattr(module, "at_a_terminal", lambda: True)
    return script


CHANGE = """
import os, pathlib, sys
file = pathlib.Path(sys.argv[1])
other = file.with_suffix(".new")
other.write_text(file.read_text().replace({old!r}, {new!r}))
os.replace(other, file)
"""


def test_what_was_changed_is_shown_and_sent(
    editor: Path, canned: CannedNode, stationkeep: Run
) -> None:
    canned.reads["/v1/config"]["settings"] |= {"backup_count": 2}
    editor.write_text(CHANGE.format(old=": 1s", new=": 2s"))
    done = stationkeep("config", "edit", "--yes", "--reason", "slower")
    assert done.exit_code == 0, done.output
    assert "evaluation_interval: 1s → 2s" in done.stderr
    assert canned.body == {"evaluation_interval": "2s", "reason": "slower"}


def test_what_is_left_alone_is_not_sent(editor: Path, canned: CannedNode, stationkeep: Run) -> None:
    done = stationkeep("config", "edit")
    assert (done.exit_code, "nothing is changed" in done.output) == (0, True)
    assert [request.method for request in canned.requests] == ["GET"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("evaluation_interval", "evaluation_intervall", "did you mean evaluation_interval?"),
        (": 1s", ": [1]", "evaluation_interval: a text, a number, true or false"),
        ("evaluation_interval: 1s", "- x", "no mapping"),
        ("evaluation_interval: 1s", "{", "no YAML"),
        ("evaluation_interval: 1s", "x" * 70_000, "more than 65,536 bytes"),
    ],
)
def test_what_is_no_set_of_settings_changes_nothing(
    editor: Path, canned: CannedNode, stationkeep: Run, *, old: str, new: str, said: str
) -> None:
    editor.write_text(CHANGE.format(old=old, new=new))
    done = stationkeep("config", "edit", "--yes")
    assert (done.exit_code, said in done.output) == (1, True), done.output
    assert [request.method for request in canned.requests] == ["GET"]


@pytest.mark.parametrize("command", ["false", "/no/such/editor", "'"])
def test_an_editor_that_fails_changes_nothing(
    editor: Path, canned: CannedNode, stationkeep: Run, monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("EDITOR", command)
    assert stationkeep("config", "edit", "--yes").exit_code == 1
    assert [request.method for request in canned.requests] == ["GET"]


def test_who_says_no_changes_nothing(editor: Path, canned: CannedNode, stationkeep: Run) -> None:
    editor.write_text(CHANGE.format(old=": 1s", new=": 2s"))
    done = stationkeep("config", "edit")  # nobody answers the question
    assert done.exit_code != 0
    assert [request.method for request in canned.requests] == ["GET"]


def test_without_a_terminal_there_is_another_way(canned: CannedNode, stationkeep: Run) -> None:
    done = stationkeep("config", "edit")
    assert (done.exit_code, "config set SETTING=VALUE" in done.output) == (2, True)
