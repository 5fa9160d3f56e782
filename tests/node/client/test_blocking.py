"""`Client`: threads, its end, and lists that are left in the middle."""

import asyncio
import gc
import os
import subprocess
import sys
import threading

import httpx
import pytest

from stationkeep.node.client import Client, nodes
from tests.node.cli.canned import CLUSTER, DEVICES
from tests.node.client.conftest import PlayedNodes

URL = "http://127.0.0.1:1"


class Gate:
    """A node that answers when the test lets it."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open: asyncio.Event | None = None

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self._loop, self._open = asyncio.get_running_loop(), asyncio.Event()
        self.asked.set()
        await self._open.wait()
        return httpx.Response(200, json=CLUSTER)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    made = Gate()
    monkeypatch.setattr(
        nodes, "open_http", lambda **_: httpx.AsyncClient(transport=httpx.MockTransport(made))
    )
    return made


def threads() -> int:
    return sum(thread.name == "stationkeep client" for thread in threading.enumerate())


def test_a_client_that_is_closed_says_so_and_leaves_no_thread(played: PlayedNodes) -> None:
    client = Client(URL)
    assert threads() == 1
    client.close()
    client.close()
    assert threads() == 0
    with pytest.raises(RuntimeError, match="the client is closed"):
        client.get_cluster_status()


def test_a_client_that_nobody_has_any_more_leaves_no_thread(played: PlayedNodes) -> None:
    client = Client(URL)
    assert threads() == 1
    del client
    gc.collect()
    assert threads() == 0


def test_a_client_that_is_closed_while_it_waits_ends_the_wait(gate: Gate) -> None:
    client = Client(URL)
    told: list[BaseException] = []

    def ask() -> None:
        try:
            client.get_cluster_status()
        except RuntimeError as error:
            told.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    assert gate.asked.wait(5)
    client.close()
    asking.join(5)
    assert [str(error) for error in told] == ["the client was closed meanwhile"]


def test_a_program_may_end_without_closing_and_stop_at_ctrl_c() -> None:
    """A node that accepts and says nothing; the main thread is interrupted while it waits."""
    script = """
import signal, socket, threading
from stationkeep import Client
silent = socket.create_server(("127.0.0.1", 0))
client = Client(f"http://127.0.0.1:{silent.getsockname()[1]}")
main = threading.main_thread().ident
threading.Timer(0.5, lambda: signal.pthread_kill(main, signal.SIGINT)).start()
try:
    client.get_cluster_status()
except KeyboardInterrupt:
    print("interrupted")
silent.close()
"""
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", script],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_that_was_forked_does_not_wait_for_a_thread_that_it_has_not() -> None:
    client = Client(URL)
    child = os.fork()
    if child == 0:
        try:
            client.get_cluster_status()
        except RuntimeError:
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    client.close()


def test_a_list_may_be_left_in_the_middle(played: PlayedNodes) -> None:
    page = {"items": DEVICES, "next": "more", "warnings": []}
    played.replies[1] = [httpx.Response(200, json=page)]
    with Client(URL) as client:
        for device in client.devices():
            assert device.slave_id == "slave-001"
            break
        assert len(played.requests) == 1
