"""Real sockets: servers that drip, break off, say nothing, or never end."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest

from stationkeep.node.client import (
    AnswerError,
    AsyncClient,
    OutcomeUnknownError,
    UnreachableError,
    asynchronous,
    exchange,
    nodes,
)
from tests.node.cli.canned import CLUSTER

BODY = json.dumps(CLUSTER).encode()
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
GOOD = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(serve: Serve) -> AsyncIterator[str]:
    """The address of a server that hands each connection, once a request came, to `serve`."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


async def drip_head(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while True:
        writer.write(b"a")
        await writer.drain()
        await asyncio.sleep(0.01)


async def drip_body(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"\r\n")
    while True:
        writer.write(b" " * 65_536)
        await writer.drain()


async def flood_head(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X: " + b"a" * 60_000 + b"\r\n")
        await writer.drain()


async def nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def half(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(GOOD[:-10])


async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    raw: socket.socket = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def other_protocol(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")


async def once(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Promises to keep the connection, and does not."""
    writer.write(GOOD)


async def slow(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(0.1)
    writer.write(GOOD)


SERVERS = [drip_head, drip_body, flood, flood_head, nothing, half, reset, other_protocol]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "WHOLE_SECONDS", 0.3)
    monkeypatch.setattr(asynchronous, "READ_SECONDS", 0.2)
    monkeypatch.setattr(asynchronous, "LOG_SECONDS", 0.2)


@pytest.mark.parametrize("serve", SERVERS)
async def test_a_server_that_gives_no_answer_is_left_for_one_that_does(serve: Serve) -> None:
    async with server(serve) as odd, server(once) as good, AsyncClient([odd, good]) as client:
        assert (await client.get_cluster_status())["total_slaves"] == 8


@pytest.mark.parametrize("serve", SERVERS)
async def test_alone_it_is_unreachable_and_a_write_to_it_is_in_doubt(serve: Serve) -> None:
    async with server(serve) as odd, AsyncClient(odd, timeout=1.0) as client:
        with pytest.raises((UnreachableError, AnswerError)):
            await client.get_cluster_status()
        with pytest.raises(OutcomeUnknownError):
            await client.release_slave("slave-001")


async def test_a_wait_for_a_free_connection_is_no_silence_of_a_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With one connection the last of 35 begins after 3.4 s, when two attempts would be over."""
    one = httpx.Limits(max_connections=1)
    monkeypatch.setattr(nodes, "open_http", lambda **_: httpx.AsyncClient(limits=one))
    monkeypatch.setattr(exchange, "WHOLE_SECONDS", 30.0)
    monkeypatch.setattr(asynchronous, "READ_SECONDS", 1.0)
    async with server(slow) as node, AsyncClient(node) as client:
        answers = await asyncio.gather(*(client.get_cluster_status() for _ in range(35)))
    assert len(answers) == 35


async def test_a_connection_that_was_closed_meanwhile_is_no_failure() -> None:
    async with server(once) as good, AsyncClient(good) as client:
        for _ in range(5):
            assert (await client.get_cluster_status())["total_slaves"] == 8
