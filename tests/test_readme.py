"""The README and the guide show what the code does: the diagram is the table, commands exist."""

import ast
import asyncio
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from scripts.profiles import tables
from scripts.readme import DOCUMENTS
from stationkeep.cluster.transitions import mermaid
from stationkeep.node.api.app import build
from stationkeep.node.cli.main import app as command_line
from tests.node.agent.door import Door, assignment
from tests.node.api.fake import FakeNode
from tests.node.api.fleet_story import register, report

README = (Path(__file__).parent.parent / "README.md").read_text()


def section(name: str) -> str:
    """What stands between `<!-- name: … -->` and `<!-- /name -->`, the same in every document."""
    pattern = re.compile(rf"<!-- {name}:[^>]*-->\n(.*?)<!-- /{name} -->", re.DOTALL)
    found = {part for file in DOCUMENTS for part in pattern.findall(file.read_text())}
    assert len(found) == 1, f"{len(found)} different sections {name}"
    return found.pop()


def test_the_diagram_is_the_transition_table() -> None:
    """On a mismatch, take what `stationkeep.cluster.transitions.mermaid()` returns."""
    assert section("transitions") == f"```mermaid\n{mermaid()}\n```\n"


def test_the_profiles_are_what_plan_says_of_them() -> None:
    """On a mismatch: `python -m scripts.readme profiles`."""
    assert section("profiles") == f"{tables()}\n"


COMMANDS = sorted(set(re.findall(r"^stationkeep ([a-z]+)|`stationkeep ([a-z]+)", README, re.M)))


@pytest.mark.parametrize("command", [a or b for a, b in COMMANDS])
def test_every_command_named_exists(command: str) -> None:
    shown = CliRunner().invoke(command_line, [command, "--help"])
    assert shown.exit_code == 0, shown.output
    assert shown.stdout


async def test_the_agent_of_the_readme_prints_the_rings_that_it_is_told() -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    printed: asyncio.Queue[Any] = asyncio.Queue()
    async with Door() as door, asyncio.timeout(10):
        here = example.replace("http://127.0.0.1:8701", door.url)
        code = compile(here, "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        running = asyncio.create_task(eval(code, {"print": printed.put_nowait}))
        registered = {await printed.get(), await printed.get()}
        await door.tell(assignment("phone-1", "canary"))
        moved = await printed.get()
        running.cancel()
        await asyncio.wait([running])
    assert "prod" in registered
    assert [(told.ring, told.reason) for told in registered - {"prod"}] == [("prod", "registered")]
    assert (moved.ring, moved.reason) == ("canary", "rebalance")


def test_the_query_example_prints_what_it_asks_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    node = FakeNode().with_primary()
    register(node, *(f"slave-{n:03d}" for n in range(1, 9)), name="Pixel 8 Pro")
    report(node, "slave-001", ill=True)
    app = build(node)

    def get(url: str, **query: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
                return await client.get(url, **query)

        return asyncio.run(ask())

    monkeypatch.setattr(httpx, "get", get)
    exec(section("query").removeprefix("```python\n").removesuffix("```\n"), {})
    assert capsys.readouterr().out == QUERY_OUTPUT


QUERY_OUTPUT = """\
Total Slaves: 8
Healthy Devices: 7
Ring Distribution: {'canary': 2, 'dev': 2, 'stage': 2, 'prod': 2}
Pixel 8 Pro: prod, healthy: True
  Battery: 85%
  CPU: 45.2%
Pixel 8 Pro: prod, healthy: True
  Battery: 85%
  CPU: 45.2%
"""
