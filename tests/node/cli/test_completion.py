"""What the Tab key offers, and that it never costs more than a moment."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeep.node.cli import known_names
from stationkeep.node.cli.commands.completion import SCRIPTS, Shell
from stationkeep.node.cli.completion import FILES, MOST, Asked, candidates
from stationkeep.node.cli.grammar import METAVARS
from stationkeep.node.cli.main import _options, app, tree
from tests.node.cli.canned import DEVICES, NODES, READS, Run
from tests.node.cli.every_command import every_command

HOSTILE = [
    "a b",
    "$(reboot)",
    "`id`",
    "x;y",
    "a\nb",
    "-rf",
    "~root",
    "*",
    "a'b",
    'a"b',
    "",
    "é",
    "|",
]


def nobody(_: Asked) -> list[str]:
    return []


def offered(line: str, names: dict[str, list[str]] | None = None) -> list[str]:
    def look_up(asked: Asked) -> list[str]:
        return [name for kind in asked.kinds for name in (names or {}).get(kind, [])]

    return candidates(_options, tree(app), line, look_up)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("stationkeep dec", ["decisions"]),
        ("stationkeep devices h", ["history"]),
        ("stationkeep --context x devices li", ["list"]),
        ("stationkeep --ver", ["--version"]),
        ("stationkeep devices list --ring ", ["canary", "dev", "stage", "prod"]),
        ("stationkeep devices list --ring=p", ["--ring=prod"]),
        ("stationkeep devices list --ri", ["--ring"]),
        ("stationkeep devices list --off", ["--offline"]),
        ("stationkeep devices list --selector 'a b' --ri", ["--ring"]),
        ("stationkeep devices list --selector 'a ", []),
        ("stationkeep devices assign slave-001 s", ["stage"]),
        ("stationkeep snapshot verify ", [FILES]),
        ("stationkeep nodes maintenance sat-001 o", ["on", "off"]),
        ("stationkeep rings policy s", ["set"]),
        ("stationkeep completion z", ["zsh"]),
        ("stationkeep nonsense ", []),
        ("stationkeep status x ", []),
        ("stationkeep", []),
    ],
)  # fmt: skip
def test_words_of_the_command_line(line: str, expected: list[str]) -> None:
    assert offered(line) == expected


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("stationkeep explain ", "NODE"),
        ("stationkeep nodes leave ", "NODE"),
        ("stationkeep switchover --to ", "NODE"),
        ("stationkeep actions run reboot --target ", "NODE"),
        ("stationkeep decisions --subject ", "NODE"),
        ("stationkeep decisions --subject ", "DEVICE"),
        ("stationkeep devices show ", "DEVICE"),
        ("stationkeep devices assign ", "DEVICE"),
        ("stationkeep tasks show ", "DEPLOYMENT"),
        ("stationkeep rollout abort ", "ROLLOUT"),
        ("stationkeep rollout start ", "ROLLOUT"),
        ("stationkeep rollout unfreeze ", "FREEZE"),
        ("stationkeep tokens revoke ", "TOKEN"),
        ("stationkeep alarms ack ", "ALARM"),
        ("stationkeep actions run ", "ACTION"),
        ("stationkeep nodes uninvite ", "INVITATION"),
        ("stationkeep context use ", "CONTEXT"),
        ("stationkeep --context ", "CONTEXT"),
        ("stationkeep guide ", "TOPIC"),
    ],
)
def test_names_where_one_is_wanted(line: str, kind: str) -> None:
    assert offered(line, {kind: ["one-7"]}) == ["one-7"]


def test_several_settings_are_offered_one_after_another() -> None:
    names = {"SETTING=VALUE": ["soak=", "backup_count="]}
    assert offered("stationkeep config set soak=5m b", names) == ["backup_count="]
    assert offered("stationkeep actions run beacon --parameter ", names) == []


def test_a_foreign_name_that_a_shell_would_obey_is_not_offered() -> None:
    assert offered("stationkeep explain ", {"NODE": [*HOSTILE, "sat-001"]}) == ["sat-001"]


def test_no_more_are_offered_than_a_person_can_read() -> None:
    many = [f"device-{number}" for number in range(MOST + 1)]
    assert len(offered("stationkeep devices show ", {"DEVICE": many})) == MOST


@given(st.text(max_size=60), st.sampled_from(["", "nodes ", "devices list ", "tasks show "]))
def test_no_line_is_too_odd(text: str, words: str) -> None:
    candidates(_options, tree(app), f"stationkeep {words}{text}", nobody)


def test_every_option_and_argument_is_understood() -> None:
    for command in every_command():
        line = f"stationkeep {command} --"
        assert {one.option for one in command.parameters.values() if one.option} <= {*offered(line)}


def test_every_word_that_stands_for_a_value_has_one_style() -> None:
    for command in every_command():
        for one in command.parameters.values():
            said = one.info.metavar
            if said is not None and not one.is_flag:
                assert re.fullmatch(r"([A-Z]+([=:][A-Z]+)*|[a-z]+)(\|([A-Z:]+|[a-z]+))*", said)
    assert all(word == word.upper() for word in METAVARS.values())


def test_what_is_listed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, (path, name) in known_names.LISTS.items():
        items = READS[path.partition("?")[0]]["items"]
        assert items, kind
        assert all(isinstance(name(item), str) for item in items)


# -- asking -------------------------------------------------------------------------------------


class Node(BaseHTTPRequestHandler):
    """What the canned node says, and what it was asked."""

    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self) -> None:
        Node.asked.append((self.path, self.headers["Authorization"]))
        body = json.dumps(READS[urlsplit(self.path).path]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for variable in ("URL", "TOKEN", "CONTEXT", "CA"):
        monkeypatch.setenv(f"STATIONKEEP_{variable}", "")
        monkeypatch.delenv(f"STATIONKEEP_{variable}")
    Node.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Node)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_names_are_asked_of_the_node_that_the_line_names(node: str) -> None:
    asked = Asked(("NODE",), {"url": node})
    assert known_names.look_up(asked) == [member["id"] for member in NODES]
    assert Node.asked == [("/v1/nodes?limit=99", None)]


def test_a_token_is_shown_to_whom_it_belongs(node: str, monkeypatch: pytest.MonkeyPatch) -> None:
    token = "sk_k3jd92ma_" + 43 * "A"
    monkeypatch.setenv("STATIONKEEP_TOKEN", token)
    known_names.look_up(Asked(("DEVICE",), {"url": node}))
    assert [shown is not None for _, shown in Node.asked] in ([True], [])


def test_who_never_answers_is_waited_for_a_moment_only(
    node: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        began = time.monotonic()
        assert known_names.look_up(Asked(("NODE",), {"url": url})) == []
        assert time.monotonic() - began < known_names.SECONDS + 0.5


@pytest.mark.parametrize(
    "options", [{"url": "nonsense"}, {"context": "none"}, {"url": "http://127.0.0.1:9"}]
)
def test_what_cannot_be_asked_is_silence(node: str, options: dict[str, str]) -> None:
    assert known_names.look_up(Asked(("NODE",), options)) == []


# -- shells -------------------------------------------------------------------------------------


@pytest.fixture
def command(tmp_path: Path) -> Path:
    """`stationkeep`, as a file to run."""
    file = tmp_path / "stationkeep"
    file.write_text(f'#!/bin/sh\nexec {sys.executable} -m stationkeep "$@"\n')
    file.chmod(0o755)
    return file


def in_bash(command: Path, line: str, url: str) -> list[str]:
    """What Tab would insert at the end of a line."""
    script = f"""{SCRIPTS[Shell.BASH]}
compopt() {{ :; }}
COMP_LINE=$1 COMP_POINT=${{#1}}
_stationkeep ./stationkeep
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(
        ["bash", "-c", script, "bash", line],
        env=os.environ | {"STATIONKEEP_URL": url, "PATH": f"{command.parent}:{os.environ['PATH']}"},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes(node: str, command: Path) -> None:
    assert in_bash(command, "stationkeep nodes le", node) == ["leave"]
    assert in_bash(command, "stationkeep explain sat-00", node) == [one["id"] for one in NODES]
    assert in_bash(command, "stationkeep devices list --ring=p", node) == ["prod"]
    READS["/v1/devices"]["items"].append(DEVICES[0] | {"id": "aa:bb:cc"})
    try:
        assert in_bash(command, "stationkeep devices show aa:b", node) == ["bb:cc"]
    finally:
        READS["/v1/devices"]["items"].pop()


def test_a_line_is_completed_without_what_that_does_not_need() -> None:
    heavy = {"httpx", "numpy", "rich", "yaml", "cryptography", "fastapi"}
    code = f"""import os, sys
sys.argv = ["stationkeep", "__complete", "stationkeep explain "]
os._exit = lambda code: print(*sorted({heavy!r} & set(sys.modules)))
from stationkeep.node.cli.main import main
main()
"""
    environment = os.environ | {"STATIONKEEP_URL": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_a_script_is_printed_whole(stationkeep: Run) -> None:
    for shell in Shell:
        assert stationkeep("completion", shell.value).stdout == SCRIPTS[shell]
