"""What pages say of commands, metrics, hooks and limits is what the code has."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.main import get_command

from stationkeep.node.cli.main import app
from stationkeep.node.guide.pages import find, lines, topics
from tests.node.monitoring.conftest import exposition

__all__ = ["exposition"]

NODE = Path(__file__).parents[3] / "node"
TYPED = re.compile(r"^(?:\$ )?stationkeep +([a-z].*?)(?:  +#.*| *\\)?$")
INLINE = re.compile(r"`stationkeep ([a-z][^`]*)`")
HELP = {"--help"}


def named_commands(text: str) -> set[str]:
    """Command lines of a page, without `stationkeep`: of its blocks, and within its sentences."""
    inline = "".join(line for line, is_code in lines(text) if not is_code)
    found = {" ".join(each.split()) for each in INLINE.findall(inline)}
    for line, is_code in lines(text):
        typed = TYPED.match(line.rstrip("\n")) if is_code else None
        if typed is not None:
            found.add(typed[1])
    return found


COMMANDS = sorted(
    {(topic, line) for topic in topics() for line in named_commands(find(topic).text)}
)


@pytest.mark.parametrize(("topic", "line"), COMMANDS)
def test_every_command_that_a_page_names_exists_with_its_options(topic: str, line: str) -> None:
    command: Any = get_command(app)
    words = shlex.split(line.replace("…", " "))
    while hasattr(command, "commands") and words:
        command = command.commands[words.pop(0)]
    known = {
        option
        for parameter in command.params
        for option in parameter.opts + parameter.secondary_opts
    }
    given = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert given <= known | HELP


def test_the_page_of_metrics_names_exactly_what_is_exported(exposition: str) -> None:
    exported = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in text_string_to_metric_families(exposition)
    }
    tables = re.findall(r"^\| metric \|.*\n\|.*\n((?:\|.*\n)+)", find("metrics").text, re.MULTILINE)
    cells = (row.split("|")[1] for table in tables for row in table.splitlines())
    named = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    assert {f"stationkeep_{name}" for name in named} == {
        name for name in exported if name.startswith("stationkeep_")
    }


def environment_of(module: str) -> set[str]:
    """The variables that a module sets for what it runs."""
    source = (NODE / module).read_text(encoding="utf-8")
    return set(re.findall(r"\"(STATIONKEEP_[A-Z_]+?)_?[\"{]", source))


def test_the_page_of_hooks_names_every_variable_that_a_hook_gets() -> None:
    rows = re.findall(r"^\| `(STATIONKEEP_\w+?)(?:_NAME)?` \|", find("hooks").text, re.MULTILINE)
    assert set(rows) == environment_of("roles/enactor.py")
    assert len(rows) > 6


def test_the_page_of_agents_names_every_variable_that_its_command_gets() -> None:
    page = find("agents").text
    assert {name for name in environment_of("agent/ring_command.py") if name not in page} == set()
