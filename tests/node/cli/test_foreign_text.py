"""Names that others gave, in every answer, to every command: no terminal may obey them."""

import copy
import json
import re
import unicodedata
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from typer.testing import Result

from tests.node.cli.canned import READS, CannedNode, Run, problem
from tests.node.cli.every_command import Command, every_command, values

MARKUP = "[/b][red][link=http://x]:boom:"
HOSTILE = (
    f"{MARKUP}\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\u2066\u2028\x85\r\n\t\x7f\0\ufeff\U000e0041"
)
FREE = frozenset(
    {"acks", "capabilities", "evidence", "labels", "metrics", "parameters", "result",
     "ring_distribution", "settings", "tallies", "weights"}
)  # fmt: skip
"""Objects whose keys are names, too."""
ASKING = [command for command in every_command() if command.asks and not command.is_device]


def hostile(value: Any, inside: str = "") -> Any:
    """The same with something evil after each string, names of free-form objects included."""
    match value:
        case str():
            return value + HOSTILE
        case list():
            return [hostile(item) for item in value]
        case dict():
            bad = HOSTILE if inside in FREE else ""
            return {name + bad: hostile(item, name) for name, item in value.items()}
        case _:
            return value


def check(result: Result, first: str = "stationkeep: ") -> None:
    """Ended in good order, if not well then with this as its first words, and said nothing that a
    terminal would act upon."""
    assert result.exception is None or isinstance(result.exception, SystemExit)
    odd = {c for c in result.output if c != "\n" and unicodedata.category(c) in ODD}
    assert not odd, result.output
    assert result.exit_code == 0 or result.output.startswith(first)


ODD = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}


@pytest.fixture
def evil(canned: CannedNode) -> CannedNode:
    canned.reads = {path: hostile(answer) for path, answer in copy.deepcopy(READS).items()}
    return canned


@pytest.mark.parametrize("command", ASKING, ids=str)
@pytest.mark.parametrize("format_", ["table", "json", "yaml"])
def test_hostile_names_in_every_answer(
    command: Command, format_: str, evil: CannedNode, stationkeep: Run, tmp_path: Path
) -> None:
    if "format_" not in command.parameters and format_ != "table":
        return
    said = ["--format", format_] if "format_" in command.parameters else []
    said += ["--idempotency-key", "op-me"] if "key" in command.parameters else []
    for arguments in command.variants(tmp_path / "file"):
        result = stationkeep(*arguments, *said)
        check(result)
        if result.exit_code == 0 and format_ == "json" and result.stdout.startswith(("{", "[")):
            as_yaml = stationkeep(*arguments, *said[2:], "--format", "yaml").stdout
            assert json.loads(result.stdout) == yaml.safe_load(as_yaml)


@pytest.mark.parametrize("command", ASKING, ids=str)
def test_hostile_words_in_every_refusal(
    command: Command, canned: CannedNode, stationkeep: Run, tmp_path: Path
) -> None:
    unknown = {"operation": HOSTILE, "status": "unknown", "detail": HOSTILE}
    refused = {"operation": HOSTILE, "status": HOSTILE, "detail": HOSTILE, "result": {HOSTILE: ""}}
    done = {"operation": HOSTILE, "status": "done", "result": {HOSTILE: HOSTILE, "x": [HOSTILE]}}
    for answer in (
        problem(409, HOSTILE, HOSTILE), problem(503, HOSTILE),
        *(httpx.Response(202, json=body) for body in (unknown, refused, done)),
    ):  # fmt: skip
        canned.answer = answer
        check(stationkeep(*command.arguments(tmp_path / "file")))


@pytest.mark.parametrize("command", every_command(), ids=str)
def test_hostile_words_on_the_command_line(
    command: Command, canned: CannedNode, stationkeep: Run, tmp_path: Path
) -> None:
    """Pasted from elsewhere, they come back in the error."""
    word = HOSTILE.replace("\0", "")  # which no argument can hold
    for odd in (["--" + word], [word] * 70):
        result = stationkeep(*command.arguments(tmp_path / "file"), *odd)
        assert result.exit_code == 2 or odd[0] == word
        assert not {c for c in result.output if c != "\n" and unicodedata.category(c) in ODD}


@pytest.mark.parametrize("command", ASKING, ids=str)
def test_numbers_without_end_in_every_option(
    command: Command, canned: CannedNode, stationkeep: Run, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    for one in command.parameters.values():
        if one.option and issubclass(one.kind, str | int | float) and one.kind is not bool:
            for known in (*values(one, file), "1", "x=1"):
                value = re.sub("[0-9]+", "9" * 5_000, known)
                result = stationkeep(*command.arguments(file), one.option, value)
                assert result.exit_code in range(7)


@pytest.mark.parametrize(
    "arguments",
    [["devices", "list"], ["decisions"], ["status"], ["explain", "sat-003"], ["config", "show"]],
    ids=" ".join,
)
def test_what_looks_like_markup_is_shown_as_it_is(
    arguments: list[str], evil: CannedNode, stationkeep: Run
) -> None:
    shown = stationkeep(*arguments).stdout
    assert MARKUP in shown.replace("\n", "")


def test_programs_get_names_as_they_are(evil: CannedNode, stationkeep: Run) -> None:
    for format_, load in (("json", json.loads), ("yaml", yaml.safe_load)):
        answer = load(stationkeep("devices", "show", "slave-001", "--format", format_).stdout)
        assert answer == evil.reads["/v1/devices/slave-001"]


def test_names_in_other_scripts_are_left_alone(canned: CannedNode, stationkeep: Run) -> None:
    for name in ("Łódź 📱", "サーバー", "Ünterwegs"):
        canned.reads["/v1/devices/slave-001"]["name"] = name
        for format_ in ("table", "json", "yaml"):
            assert name in stationkeep("devices", "show", "slave-001", "--format", format_).stdout
