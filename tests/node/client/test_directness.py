"""Nodes are asked directly, whatever proxy the environment of a program names."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial
from unittest.mock import Mock

import httpx
import pytest

from stationkeep.node.agent import batches
from stationkeep.node.chaos import clients
from stationkeep.node.chaos.access import OPEN
from stationkeep.node.client import exchange
from stationkeep.node.security.credentials import Credentials

PROXIES = ["http://127.0.0.1:9", "socks5://127.0.0.1:9", "socks4://x", "nonsense"]


@contextlib.asynccontextmanager
async def node() -> AsyncIterator[str]:
    """The address of something that answers any request."""

    async def answer(asked: asyncio.StreamReader, told: asyncio.StreamWriter) -> None:
        await asked.readuntil(b"\r\n\r\n")
        told.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
        told.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield "{}:{}".format(*server.sockets[0].getsockname())


@pytest.fixture(params=PROXIES)
def proxy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that leads nowhere."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, request.param)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("proxy")
@pytest.mark.parametrize(
    "opener", [exchange.open_http, partial(batches.open_http, Credentials())], ids=["one", "many"]
)
async def test_programs_and_devices_ask_nodes_directly(
    opener: Callable[[], httpx.AsyncClient],
) -> None:
    async with node() as address, opener() as http:
        answer = await http.get(f"http://{address}/v1/cluster")
    assert answer.status_code == 204


@pytest.mark.usefixtures("proxy")
async def test_the_clients_of_a_storm_ask_nodes_directly() -> None:
    async with node() as address:
        never = threading.Event()
        client = clients.Client(
            "ann", {"sat-001": address}, OPEN, Mock(), "1", closing=never, abandon=never
        )
        answer = await asyncio.to_thread(client._ask, "GET", "/v1/cluster")
        client._http.close()
    assert answer is not None
    assert answer.status_code == 204
