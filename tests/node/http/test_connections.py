"""Limits of connections: on real sockets, since it is the server's protocol that sets them."""

import asyncio
import contextlib
import json
import resource
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from stationkeep.node.api.resources.probes import PROBES
from stationkeep.node.http import connections
from stationkeep.node.http.connections import (
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MAX_MESSAGE_BYTES,
    PIECE,
    Connection,
)
from stationkeep.node.http.crowd import Crowd
from stationkeep.node.security.accepting import MAX_AT_ONCE
from stationkeep.node.system.turns import Turns
from tests.node.sockets import connections_to, is_thin

GET = b"GET / HTTP/1.1\r\nHost: x\r\n"


async def _app(_scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    config, state = uvicorn.Config(_app, log_config=None, lifespan="off"), ServerState()
    server = await asyncio.get_running_loop().create_server(
        partial(Connection, Turns(), Crowd(), PROBES, config, state, {}), "127.0.0.1", 0
    )
    async with server:
        yield server.sockets[0].getsockname()[1]


class Counted(NamedTuple):
    """A server that notes each request, and answers none before it is let."""

    port: int
    begun: list[str]
    first: asyncio.Event
    let: asyncio.Event


@pytest.fixture
async def counted() -> AsyncIterator[Counted]:
    begun, first, let = list[str](), asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        begun.append(scope["path"])
        first.set()
        await let.wait()
        await _app(scope, receive, send)

    config, state = uvicorn.Config(app, log_config=None, lifespan="off"), ServerState()
    server = await asyncio.get_running_loop().create_server(
        partial(Connection, Turns(), Crowd(), PROBES, config, state, {}), "127.0.0.1", 0
    )
    async with server:
        yield Counted(server.sockets[0].getsockname()[1], begun, first, let)


@asynccontextmanager
async def connected(
    port: int,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def _status(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    return int(head.split()[1])


async def _problem(reader: asyncio.StreamReader) -> Any:
    """The problem document after which the connection ends."""
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    problem = json.loads(body)
    assert int(head.split()[1]) == problem["status"]
    return problem


async def test_what_follows_a_request_may_be_a_stream_of_few_small_messages(port: int) -> None:
    """Events, or a device's WebSocket."""
    async with connected(port) as (reader, writer):
        writer.write(GET + b"\r\n")
        assert await _status(reader) == 204
        with connections_to(port) as ends:
            assert [is_thin(sock) for sock in ends.accepted] == [True]


async def test_whoever_waits_longest_makes_room_for_a_newcomer(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "most_connections", lambda: 4)  # three of an address
    async with AsyncExitStack() as held:
        readers = []
        for begun in (GET + b"\r\n", b"", GET):  # served and idle, silent, and half a head
            reader, writer = await held.enter_async_context(connected(port))
            writer.write(begun)
            if begun.endswith(b"\r\n\r\n"):
                assert await _status(reader) == 204
            readers.append(reader)
        for old in readers:
            reader, writer = await held.enter_async_context(connected(port))
            assert await old.read() == b""
            writer.write(GET + b"\r\n")
            assert await _status(reader) == 204


async def test_what_is_being_answered_makes_room_for_nobody(
    counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "most_connections", lambda: 1)
    async with connected(counted.port) as (reader, writer):
        writer.write(GET + b"\r\n")
        await counted.first.wait()
        async with connected(counted.port) as (late, _):
            problem = await _problem(late)
            assert problem["status"] == 429
            assert "connections are open already" in problem["detail"]
        counted.let.set()
        assert await _status(reader) == 204


async def test_who_does_not_read_is_not_waited_for(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answers would be in flight for ever."""
    monkeypatch.setattr(connections, "UNREAD_SECONDS", 0.05)
    made: list[Connection] = []
    keep = Connection.connection_made
    monkeypatch.setattr(Connection, "connection_made", lambda c, t: (made.append(c), keep(c, t))[1])
    lost = asyncio.Event()
    end = Connection.connection_lost
    monkeypatch.setattr(Connection, "connection_lost", lambda c, e: (end(c, e), lost.set())[0])
    async with connected(port) as (reader, writer):
        writer.write(GET + b"\r\n")
        assert await _status(reader) == 204
        made[0].flow.pause_writing()  # as the transport does when its buffer is full
        made[0].flow.resume_writing()
        writer.write(GET + b"\r\n")
        assert await _status(reader) == 204
        made[0].flow.pause_writing()
        async with asyncio.timeout(5):
            await lost.wait()


async def test_a_probe_that_asks_again_and_again_keeps_its_connection(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "most_connections", lambda: 4)  # three of an address
    async with AsyncExitStack() as held:
        reader, writer = await held.enter_async_context(connected(port))
        for _ in range(10):
            writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await _status(reader) == 204
            other, saying = await held.enter_async_context(connected(port))
            saying.write(GET + b"\r\n")
            assert await _status(other) == 204


def test_an_address_with_many_connections_makes_room_for_all_others() -> None:
    crowd = Crowd[str]()
    for name in ("a", "b"):
        crowd.enter(name, "10.0.0.1")
    for number in range(8):
        crowd.enter(f"m{number}", "10.6.6.6")
    crowd.works("m0")
    assert not crowd.is_over("m7", 11)
    crowd.enter("m8", "10.6.6.6")
    assert crowd.is_over("m8", 11), "nine are more than its share"
    assert crowd.victim("m8", 11) == "m1"
    crowd.leave("m1")
    for name in ("c", "d"):
        crowd.enter(name, "10.0.0.2")
    assert crowd.is_over("d", 11)
    assert crowd.victim("d", 11) == "m2"
    for number in range(2, 9):
        crowd.works(f"m{number}")
    assert crowd.victim("d", 11) == "a", "of those that wait"
    for name in ("a", "b", "c"):
        crowd.works(name)
    assert crowd.victim("d", 11) is None


@pytest.mark.parametrize("begun", [b"", GET])
async def test_a_head_that_does_not_end(
    port: int, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.05)
    async with connected(port) as (reader, writer):
        writer.write(begun)
        assert (await _problem(reader))["status"] == 408


async def test_a_head_without_measure(port: int) -> None:
    async with connected(port) as (reader, writer):
        writer.write(GET + b"X: " + b"a" * (MAX_MESSAGE_BYTES + 300_000))
        assert await _status(reader) == 413


async def test_requests_on_one_connection_are_measured_one_by_one(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_MESSAGE_BYTES", 200)
    async with connected(port) as (reader, writer):
        for _ in range(5):
            writer.write(GET + b"X: " + b"a" * 100 + b"\r\n\r\n")
            assert await _status(reader) == 204


@pytest.mark.parametrize("rest", ["too much", "no chunk"])
async def test_a_request_that_is_answered_before_its_end_is_answered_once(rest: str) -> None:
    """A second answer would be taken for that of the next request: whose, a proxy decides."""

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body"})

    config, state = uvicorn.Config(app, log_config=None, lifespan="off"), ServerState()
    server = await asyncio.get_running_loop().create_server(
        partial(Connection, Turns(), Crowd(), PROBES, config, state, {}), "127.0.0.1", 0
    )
    post = GET.replace(b"GET", b"POST")
    async with server, connected(server.sockets[0].getsockname()[1]) as (reader, writer):
        if rest == "too much":
            size = 2 * MAX_MESSAGE_BYTES
            writer.write(post + b"Content-Length: %d\r\n\r\n" % size)
            assert await _status(reader) == 401
            writer.write(b"a" * MAX_MESSAGE_BYTES)
        else:
            writer.write(post + b"Transfer-Encoding: chunked\r\n\r\n")
            assert await _status(reader) == 401
            writer.write(b"nonsense\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert b"HTTP/1.1" not in await reader.read()


async def test_what_is_no_http(port: int) -> None:
    async with connected(port) as (reader, writer):
        writer.write(b"\x16\x03\x01\x02\x00\r\n\r\n")
        assert (await _problem(reader))["status"] == 400


@pytest.mark.parametrize(
    ("descriptors", "clients", "devices"),
    [(65_536, 1_200, 10_000), (11_800, 1_200, 10_000), (4_696, 1_024, 3_072), (640, 10, 30)],
)
def test_devices_have_places_of_their_own(
    monkeypatch: pytest.MonkeyPatch, descriptors: int, clients: int, devices: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (descriptors, descriptors))
    assert connections.most_connections.__wrapped__() == clients
    monkeypatch.setattr(connections, "most_connections", lambda: clients)
    assert connections.most_devices.__wrapped__() == devices
    assert clients + devices + connections.RESERVED <= descriptors
    assert 2 * MAX_AT_ONCE < connections.RESERVED  # handshakes at both ports


@pytest.mark.parametrize(("hard", "raised"), [(20_000, 11_800), (3_000, 3_000)])
def test_a_node_takes_the_descriptors_that_it_may_have(
    monkeypatch: pytest.MonkeyPatch, hard: int, raised: int
) -> None:
    limits = [(1_024, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, limit: limits.append(limit))
    connections.raise_descriptors()
    assert limits[-1] == (raised, hard)
    connections.raise_descriptors()
    assert len(limits) == 2  # enough: nothing to raise


PIPELINED = 8_000


def _requests(made: list[Connection]) -> int:
    """Requests that a connection holds, begun or not."""
    return sum(len(connection.pipeline) + 1 for connection in made)


async def test_one_request_of_a_connection_is_in_flight(
    counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, begun, first, let = counted
    made: list[Connection] = []
    keep = Connection.connection_made
    monkeypatch.setattr(Connection, "connection_made", lambda c, t: (made.append(c), keep(c, t))[1])
    async with connected(port) as (reader, writer):
        writer.writelines(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(PIPELINED))
        await first.wait()
        for _ in range(50):  # what it has to do, it does within these turns of the loop
            await asyncio.sleep(0)
        assert begun == ["/0"]
        assert _requests(made) == 1
        assert len(made[0]._unread) <= 256 * 1024
        let.set()
        for _ in range(PIPELINED):
            assert await _status(reader) == 204
    assert begun == [f"/{n}" for n in range(PIPELINED)]


@pytest.mark.parametrize("piece", [1, 7, 1_000, 1 << 20])
async def test_requests_arrive_whole_however_they_are_cut(port: int, piece: int) -> None:
    posts = (
        GET + b"\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\n\r\n\r\n{}",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"4\r\n\r\n\r\n\r\n2\r\n{}\r\n0\r\nX: y\r\n\r\n",
    )
    stream = b"".join(posts) * 5
    async with connected(port) as (reader, writer):
        for at in range(0, len(stream), piece):
            writer.write(stream[at : at + piece])
            await asyncio.sleep(0)
        for _ in range(15):
            assert await _status(reader) == 204


async def test_a_body_in_the_smallest_chunks(port: int) -> None:
    """Each looks like the end of a head."""
    async with connected(port) as (reader, writer):
        writer.write(GET + b"Transfer-Encoding: chunked\r\n\r\n")
        writer.write(b"2\r\n\r\n\r\n" * 100_000 + b"0\r\n\r\n")
        assert await _status(reader) == 204


@pytest.mark.parametrize(
    "head",
    [
        b"X: " + b"a" * (MAX_HEAD_BYTES + PIECE),
        b"X: y\r\n" * (MAX_HEADERS + 1),
        b"a:\r\n" * 100_000,
    ],
)
async def test_a_large_head(port: int, head: bytes) -> None:
    async with connected(port) as (reader, writer):
        writer.write(GET + head + b"\r\n\r\n")
        assert await _status(reader) == 413


async def test_what_waits_is_dropped_with_its_connection(counted: Counted) -> None:
    port, begun, first, let = counted
    async with connected(port) as (_, writer):
        writer.write((GET + b"\r\n") * 1_000)
        await first.wait()
        writer.transport.abort()
    let.set()
    for _ in range(50):
        await asyncio.sleep(0)
    # One that is not read is known to be lost when it is answered.
    assert len(begun) <= 2
