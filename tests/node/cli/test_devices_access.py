"""`agent` and `devices simulate`: what they show, and how they end when that will not do."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stationkeep.node.cli import contexts
from stationkeep.node.security.tokens import ENROLMENT_PREFIX, draw
from tests.node.agent.door import Door, welcoming
from tests.node.cli.canned import CannedNode, Run
from tests.node.cli.test_hostile_door import hostile_node

__all__ = ["hostile_node"]

pytestmark = pytest.mark.usefixtures("canned")
SIMULATE = ("devices", "simulate", "--count", "1", "--duration", "0.5s", "--format", "json")
TOKEN = draw().text


@pytest.fixture
def door(hostile_node: Callable[..., Door]) -> Door:
    """A node that lets in who shows the token."""
    found = hostile_node(welcoming)
    found.token = TOKEN
    return found


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    return file


def by_file(door: Door, token_file: Path, _: pytest.MonkeyPatch) -> list[str]:
    return ["--url", door.url, "--token-file", str(token_file)]


def by_variable(door: Door, _: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("STATIONKEEP_TOKEN", TOKEN)
    return ["--url", door.url]


def by_context(door: Door, _: Path, __: pytest.MonkeyPatch) -> list[str]:
    contexts.put("prod", contexts.Context(door.url, TOKEN))
    return []


@pytest.mark.parametrize(
    "way", [by_file, by_variable, by_context], ids=["file", "variable", "context"]
)
def test_simulated_devices_show_a_token_as_commands_do(
    way: Callable[..., list[str]], door: Door, token_file: Path, stationkeep: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    result = stationkeep(*SIMULATE, *way(door, token_file, monkeypatch))
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["connected"] == 1
    assert set(door.shown) == {f"Bearer {TOKEN}"}
    assert TOKEN not in result.output


def test_a_context_s_token_goes_to_no_other_address(door: Door, stationkeep: Run) -> None:
    contexts.put("prod", contexts.Context("https://sat-001.example.net:8701", TOKEN))
    stationkeep(*SIMULATE, "--url", door.url)
    assert door.shown == [None]


def test_a_context_that_an_option_names_goes_before_all_addresses_of_the_environment(
    door: Door, stationkeep: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    contexts.put("prod", contexts.Context(door.url, TOKEN))
    monkeypatch.setenv("STATIONKEEP_URL", "http://127.0.0.1:8702 http://127.0.0.1:8703")
    result = stationkeep("--context", "prod", *SIMULATE)
    assert json.loads(result.stdout)["connected"] == 1
    assert json.loads(result.stdout)["failed"] == {}


@pytest.mark.parametrize("rule", ["missing", "revoked"])
def test_an_agent_that_no_node_will_have_says_why_and_that_it_may_not(
    rule: str, door: Door, token_file: Path, stationkeep: Run
) -> None:
    door.token, door.rule = draw().text, rule
    shown = ["--token-file", str(token_file)] if rule == "revoked" else []
    result = stationkeep("agent", "--id", "phone-7", "--url", door.url, *shown)
    assert result.exit_code == 7
    assert f"phone-7: the node answered 401: Authorization: it will not do (rule: {rule})" in (
        result.output
    )
    assert "stationkeep guide access" in result.output
    assert TOKEN not in result.output


def test_programs_that_an_agent_runs_do_not_have_its_token(
    door: Door, stationkeep: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATIONKEEP_TOKEN", TOKEN)
    out = tmp_path / "environment"
    program = tmp_path / "ring.py"
    program.write_text(
        "import json, os, signal, sys\n"
        f"open({str(out)!r}, 'w').write(json.dumps(dict(os.environ)))\n"
        "os.kill(os.getppid(), signal.SIGINT)\n"
    )
    stationkeep("agent", "--url", door.url, "--on-ring", f"{sys.executable} {program}")
    seen = json.loads(out.read_text())
    assert seen["STATIONKEEP_RING"] == "prod"
    assert TOKEN not in "".join(seen.values())


@pytest.mark.parametrize(
    "content", ["", "nonsense", TOKEN[:-1]], ids=["nothing", "nonsense", "one too short"]
)
def test_a_file_without_a_token_is_named_and_not_shown(
    content: str, door: Door, token_file: Path, stationkeep: Run
) -> None:
    token_file.write_text(content)
    for words in (["agent"], ["devices", "simulate"]):
        result = stationkeep(*words, "--url", door.url, "--token-file", str(token_file))
        assert result.exit_code == 2
        assert f"--token-file: {token_file}: a token " in result.output
        assert not content or content not in result.output
    assert door.shown == []


def test_a_token_is_not_sent_in_plain_text_off_this_machine(
    stationkeep: Run, token_file: Path, canned: CannedNode
) -> None:
    far = ["--url", "http://10.0.0.1:8701", "--token-file", str(token_file)]
    result = stationkeep("agent", *far)
    assert result.exit_code == 2
    assert "over https, or over http to this machine alone" in result.output
    assert canned.requests == []


def test_simulated_devices_do_not_enrol(door: Door, token_file: Path, stationkeep: Run) -> None:
    token_file.write_text(draw(ENROLMENT_PREFIX).text)
    result = stationkeep(*SIMULATE, "--url", door.url, "--token-file", str(token_file))
    assert (result.exit_code, door.shown) == (2, [])
    assert "this one enrols devices" in result.stderr
