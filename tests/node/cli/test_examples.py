"""Every command's help ends with examples, and each of them works."""

import shlex

import pytest
from typer.main import get_command

from stationkeep.node.cli.examples import EXAMPLES
from stationkeep.node.cli.main import app
from tests.node.cli.canned import READS, CannedNode, Run
from tests.node.cli.every_command import Command, every_command

COMMANDS = {str(command): command for command in every_command()}
LINES = [(words, line) for words, lines in EXAMPLES.items() for line in lines]
NOT_RUN = ("agent", "events", "devices simulate", "watch", "rollout watch", "demo rollout")
"""Ask nodes, and have no end of their own."""
NOT_RUN_WITH = {"create", "edit", "validate", "--out", "--config", "save", "--watch"}
"""Want a file, or have no end."""


def test_every_command_has_examples_and_there_are_no_others() -> None:
    assert set(EXAMPLES) == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS.values(), ids=str)
def test_help_shows_them_whole_in_60_columns(
    command: Command, stationkeep: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERMINAL_WIDTH", "60")
    shown = " ".join(stationkeep(*command.words, "-h").stdout.split())
    for line in EXAMPLES[str(command)]:
        assert f"stationkeep {line}".replace(" ", "") in shown.replace(" ", "")


@pytest.mark.parametrize(("words", "line"), LINES, ids=[line for _, line in LINES])
def test_an_example_is_understood(words: str, line: str) -> None:
    part = get_command(app)
    assert line.startswith(words)
    for word in words.split():
        part = part.commands[word]  # type: ignore[attr-defined]
    given = shlex.split(line)[len(words.split()) :]
    with part.make_context(words, given):
        pass


@pytest.mark.parametrize(
    "line",
    [line for words, line in LINES if COMMANDS[words].asks and words not in NOT_RUN
     and not NOT_RUN_WITH & {*line.split()}],
)  # fmt: skip
def test_an_example_works(canned: CannedNode, stationkeep: Run, line: str) -> None:
    canned.reads |= {
        path.replace("sat-003", node): answer
        for path, answer in READS.items() if "sat-003" in path for node in ("sat-001", "sat-003")
    }  # fmt: skip
    canned.reads["/v1/cluster"]["verdict"] = "ok"
    done = stationkeep(*shlex.split(line))
    assert done.exit_code == 0, done.output
