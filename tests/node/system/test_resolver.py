"""Names of hosts: one that nobody answers for holds up nothing else."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from stationkeep.node.system import resolver as names
from stationkeep.node.system.resolver import Resolver


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator["Server"]:
    server = Server()
    monkeypatch.setattr(socket, "getaddrinfo", server)
    yield server
    server.answers.set()


class Server:
    """Knows `alpha`, is mute about `mute…` until it is told to answer, and denies the rest."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.asked: list[str] = []

    def __call__(self, host: str, *_: Any, **__: Any) -> list[Any]:
        self.asked.append(host)
        if host.startswith("mute"):
            self.answers.wait()
        elif host != "alpha":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        stream = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*stream, ("127.0.0.7", 0)), (*stream, ("127.0.0.7", 0))]


async def test_a_mute_name_holds_up_no_other(server: Server) -> None:
    found = Resolver()
    for number in range(50):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await found.addresses(f"mute{number}")
    assert await found.addresses("alpha") == ["127.0.0.7"]
    assert await found.addresses("127.0.0.1") == ["127.0.0.1"]
    assert await found.addresses("fe80::1%lo") == ["fe80::1%lo"]


async def test_each_name_has_one_thread_whoever_asks(server: Server) -> None:
    found = Resolver()
    tries = [asyncio.create_task(found.addresses("mute")) for _ in range(5)]
    await asyncio.sleep(0)
    tries.pop().cancel()
    server.answers.set()
    assert await asyncio.gather(*tries) == [["127.0.0.7"]] * 4
    assert server.asked == ["mute"]


async def test_an_answer_that_nobody_waits_for_is_forgotten(server: Server) -> None:
    found = Resolver()
    assert [await _refusal(found, "beta") for _ in range(2)] == [
        "beta: Name or service not known"
    ] * 2
    assert server.asked == ["beta", "beta"], "each time anew: it may be known by now"


async def test_so_many_at_a_time(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "MOST_LOOKUPS", 2)
    found = Resolver()
    waiting = [asyncio.create_task(found.addresses(name)) for name in ("mute1", "mute2")]
    await asyncio.sleep(0)
    assert "2 lookups are in flight" in await _refusal(found, "alpha")
    server.answers.set()
    await asyncio.gather(*waiting)
    assert await found.addresses("alpha") == ["127.0.0.7"]


async def _refusal(found: Resolver, host: str) -> str:
    with pytest.raises(OSError, match=host) as refused:
        await found.addresses(host)
    return str(refused.value)
