"""Every command that a page shows as one to be typed runs, in the order of the page.

Blocks marked `console` hold commands after `$ `; a line that ends in a backslash goes on in the
next. What is neither is output. It is not compared, but a request that is shown to be answered with
a problem must be answered with one of that type. Addresses of the pages are those of `scripts/up`;
here they are replaced by those of a cluster of the test's own.
"""

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from stationkeep.node.chaos.constellation import free_ports
from stationkeep.node.guide.pages import find, topics

ROOT = Path(__file__).parents[3]
NODES, DEVICES = 5, 12
RAFT, HTTP = 7_701, 8_701
"""First ports of `up`, which the pages take for granted."""
DISTURBING = re.compile(
    r"\bstationkeep (?:kill|start|switchover|failover|node |nodes (?:join|leave|maintenance)"
    r"|snapshot restore|pause|down)"
)
"""Commands after which a cluster is not what the next page expects: such a page gets its own."""
PROBLEM = re.compile(r"urn:stationkeep:problem:[a-z-]+")
NOT_ANSWERED_WELL = 22
"""How curl ends when the status is 400 or more."""
SHIM = """#!{python}
import sys
from stationkeep.node.cli import client
client.DEFAULT_URL = "http://127.0.0.1:{http}"
from stationkeep.node.__main__ import main
sys.argv[0] = "stationkeep"
main()
"""

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]
ON_SHARED = pytest.mark.xdist_group("pages")
"""One cluster for all processes of tests."""


class Command(NamedTuple):
    """What is to be typed, and the type of the problem that it is shown to be answered with."""

    typed: str
    problem: str


def commands(text: str) -> list[Command]:
    """Those of a page, in order."""
    found: list[Command] = []
    for block in re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            typed = re.match(r"(?:.*\\\n)*.*", part)
            assert typed is not None
            problem = PROBLEM.search(part, typed.end())
            found.append(Command(typed[0], problem[0] if problem else ""))
    return found


COMMANDS = {topic: commands(find(topic).text) for topic in topics()}
ALONE = [t for t in topics() if DISTURBING.search("\n".join(c.typed for c in COMMANDS[t]))]
SHARING = [t for t in topics() if COMMANDS[t] and t not in ALONE]


class Terminal:
    """A shell in a folder with a running cluster, where `stationkeep` means this checkout."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.first = free_ports(2 * NODES)
        shim = folder / "bin" / "stationkeep"
        shim.parent.mkdir()
        shim.write_text(SHIM.format(python=sys.executable, http=self.first + NODES))
        shim.chmod(shim.stat().st_mode | stat.S_IXUSR)
        (folder / ".curlrc").write_text("fail-with-body\n")
        path = f"{shim.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._env = {k: v for k, v in os.environ.items() if not k.startswith("STATIONKEEP_")}
        self._env |= {
            "PATH": path,
            "PYTHONPATH": f"{ROOT}/scripts/package:{ROOT}",
            "CURL_HOME": str(folder),
        }

    def up(self) -> None:
        ports = f"--base-port {self.first} --http-port {self.first + NODES}"
        up = f"stationkeep up --detach --nodes {NODES} --devices {DEVICES} {ports}"
        self.type(Command(up, ""))

    def type(self, command: Command) -> None:
        """Runs a command as it stands in a page; fails with what it printed."""
        ended = subprocess.run(
            ["/bin/sh", "-c", self._here(command.typed)],
            cwd=self.folder,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=90,
            check=False,
        )
        expected = NOT_ANSWERED_WELL if command.problem else 0
        assert ended.returncode == expected, f"$ {command.typed}\n{ended.stdout}"
        assert command.problem in ended.stdout

    def _here(self, command: str) -> str:
        for first, here in ((RAFT, self.first), (HTTP, self.first + NODES)):
            for number in range(NODES):
                command = command.replace(f":{first + number}", f":{here + number}")
        return command

    def down(self) -> None:
        subprocess.run(
            [self.folder / "bin" / "stationkeep", "down"],
            cwd=self.folder,
            env=self._env,
            capture_output=True,
            check=False,
        )


def opened(folder: Path) -> Iterator[Terminal]:
    terminal = Terminal(folder)
    try:
        terminal.up()
        yield terminal
    finally:
        terminal.down()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    yield from opened(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Terminal]:
    yield from opened(tmp_path)


def run(terminal: Terminal, topic: str) -> None:
    for command in COMMANDS[topic]:
        if command.typed.startswith("curl ") and shutil.which("curl") is None:
            pytest.skip("no curl here")
        terminal.type(command)


@ON_SHARED
@pytest.mark.parametrize("topic", SHARING)
def test_the_commands_of_a_page_run(shared: Terminal, topic: str) -> None:
    run(shared, topic)


@ON_SHARED
def test_a_node_process_serves_the_pages(shared: Terminal) -> None:
    """It left out what a node does not need (`node/runtime/lean.py`), and not what this does."""
    url = f"http://127.0.0.1:{shared.first + NODES}/guide/"
    for topic in ("", *topics()):
        assert httpx.get(url + topic).status_code == 200


@pytest.mark.parametrize("topic", ALONE)
def test_the_commands_of_a_page_run_on_a_cluster_of_its_own(own: Terminal, topic: str) -> None:
    run(own, topic)


def test_commands_are_found_in_their_order() -> None:
    text = "```console\n$ a \\\n  b\nout\n$ c\n```\n```sh\n$ d\n```\n```console\n$ e\n{}\n```\n"
    shown = '{"type":"urn:stationkeep:problem:not-found"}'
    assert commands(text.replace("{}", shown)) == [
        Command("a \\\n  b", ""),
        Command("c", ""),
        Command("e", "urn:stationkeep:problem:not-found"),
    ]
