"""One WebSocket, and what nodes may do to it."""

import asyncio
import http
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Unpack

import pytest
import uvloop
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from stationkeep.node.agent import connection as module
from stationkeep.node.agent.connection import MAX_MESSAGE, MAX_UNSENT, Connection, Data
from stationkeep.node.security.credentials import Access, Credentials
from stationkeep.node.security.tokens import draw
from tests.node.sockets import connections_to, is_thin

PROTOCOL = "stationkeep.msgpack"


class Ears:
    """Notes what a connection tells its owner."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self._news = asyncio.Event()

    def opened(self) -> None:
        self._note("opened")

    def received(self, message: Data) -> None:
        self._note(bytes(message))

    def ponged(self) -> None:
        self._note("ponged")

    def lost(self, why: str) -> None:
        self._note(f"lost: {why}")

    def _note(self, what: object) -> None:
        self.told.append(what)
        self._news.set()

    async def hear(self, count: int) -> list[object]:
        """What was told, once it is so much."""
        async with asyncio.timeout(10):
            while len(self.told) < count:
                self._news.clear()
                await self._news.wait()
        return self.told


@asynccontextmanager
async def node(behave: Callable[[ServerConnection], Awaitable[object]]) -> AsyncIterator[str]:
    async def quietly(connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            await behave(connection)

    async with serve(quietly, "127.0.0.1", 0, subprotocols=[PROTOCOL], close_timeout=1) as server:  # type: ignore[list-item]
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def plain(
    behave: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]],
) -> AsyncIterator[str]:
    """A server that speaks no WebSocket."""
    server = await asyncio.start_server(behave, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def opened(
    url: str, credentials: Credentials | None = None, **access: Unpack[Access]
) -> tuple[Connection, Ears]:
    ears = Ears()
    made = Connection(url, PROTOCOL, ears, credentials or Credentials([url], **access))
    await made.open()
    return made, ears


async def test_messages_go_both_ways() -> None:
    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async with node(echo) as url:
        made, ears = await opened(url)
        await ears.hear(1)
        made.send(b"one")
        made.send(b"two")
        assert await ears.hear(3) == ["opened", b"one", b"two"]
        made.close()
        await made.closed()
        assert len(ears.told) == 3  # who closes is not told of it


async def test_its_stream_suits_few_small_messages() -> None:
    async def listen(connection: ServerConnection) -> None:
        await connection.recv()

    async with node(listen) as url:
        made, ears = await opened(url)
        await ears.hear(1)
        with connections_to(int(url.rpartition(":")[2])) as ends:
            assert [is_thin(sock) for sock in ends.dialled] == [True]
        made.cut("")
        await made.closed()


async def test_what_is_said_before_it_stands_is_not_kept() -> None:
    async def first(connection: ServerConnection) -> None:
        await connection.send(await connection.recv())

    async with node(first) as url:
        made, ears = await opened(url)
        made.send(b"too early")
        await ears.hear(1)
        made.send(b"now")
        assert (await ears.hear(2))[1] == b"now"
        made.cut("")


async def test_a_pong_says_that_all_before_it_is_read() -> None:
    read: list[object] = []

    async def listen(connection: ServerConnection) -> None:
        async for message in connection:
            read.append(message)

    async with node(listen) as url:
        made, ears = await opened(url)
        await ears.hear(1)
        made.send(b"one")
        made.ping()
        assert await ears.hear(2) == ["opened", "ponged"]
        assert read == [b"one"]
        made.drop()
        await made.closed()
        assert len(ears.told) == 2


async def test_a_node_says_why_it_closes() -> None:
    async with node(lambda connection: connection.close(4001, "superseded")) as url:
        _, ears = await opened(url)
        assert await ears.hear(2) == ["opened", "lost: the node closed it: 4001 superseded"]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
         "the node answered 503 Service Unavailable"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "the node answered 200 OK"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "the connection broke: what answers does not speak HTTP"),
        (b"", "the connection broke: what answers does not speak HTTP"),
    ],
)  # fmt: skip
async def test_whoever_is_no_door_is_left(answer: bytes, why: str) -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with plain(behave) as url:
        _, ears = await opened(url)
        (told,) = await ears.hear(1)
        assert str(told).startswith(f"lost: {why}")


async def test_a_message_beyond_the_limit_costs_the_connection() -> None:
    async with node(lambda connection: connection.send(b"x" * (MAX_MESSAGE + 1))) as url:
        _, ears = await opened(url)
        told = await ears.hear(2)
        assert not any(isinstance(one, bytes) for one in told)
        assert str(told[-1]).startswith("lost: ")


async def test_a_message_in_fragments_costs_the_connection() -> None:
    async with node(lambda connection: connection.send([b"a", b"b"])) as url:
        _, ears = await opened(url)
        assert (await ears.hear(2))[1] == "lost: the node sent a message in fragments"


async def test_a_node_that_does_not_read_costs_the_connection() -> None:
    """Nothing is kept for it without end."""
    done = asyncio.Event()

    async def deaf(connection: ServerConnection) -> None:
        connection.transport.pause_reading()
        await done.wait()

    async with node(deaf) as url:
        made, ears = await opened(url)
        await ears.hear(1)
        sent = 0
        while len(ears.told) == 1:
            made.send(b"x" * 65_000)
            sent += 1
            assert sent < 1_000
            await asyncio.sleep(0)
        assert ears.told[1] == "lost: the node does not read what it is sent"
        assert sent * 65_000 > MAX_UNSENT
        await made.closed()
        done.set()


async def test_closing_takes_no_longer_than_a_node_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CLOSE_SECONDS", 0.05)
    done = asyncio.Event()

    async def frozen(connection: ServerConnection) -> None:
        connection.transport.pause_reading()
        await done.wait()

    async with node(frozen) as url:
        made, ears = await opened(url)
        await ears.hear(1)
        made.close()
        async with asyncio.timeout(1):
            await made.closed()
        done.set()


async def test_nobody_there_is_said_at_once() -> None:
    async with plain(lambda _reader, _writer: asyncio.sleep(0)) as url:
        pass
    with pytest.raises(ConnectionRefusedError):
        await opened(url)


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("turns", range(6))
def test_a_dial_that_is_given_up_at_any_moment_leaves_nothing_to_wait_for(
    factory: Callable[[], asyncio.AbstractEventLoop], turns: int
) -> None:
    """Also when the transport is there and `create_connection` has not returned yet: uvloop then
    closes it and says nothing."""

    async def give_up() -> None:
        loop = asyncio.get_running_loop()
        port = listener.getsockname()[1]
        made = Connection(f"http://127.0.0.1:{port}", PROTOCOL, Ears(), Credentials())
        dial = loop.create_task(made.open())
        for _ in range(turns):
            await asyncio.sleep(0)
        dial.cancel()
        await asyncio.wait({dial})
        made.close()
        async with asyncio.timeout(10):
            await made.closed()

    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        asyncio.Runner(loop_factory=factory) as runner,
    ):
        runner.run(give_up())


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_dial_that_is_given_up_once_its_transport_is_made_leaves_nothing_either(
    factory: Callable[[], asyncio.AbstractEventLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def give_up() -> None:
        loop = asyncio.get_running_loop()
        port = listener.getsockname()[1]
        made = Connection(f"http://127.0.0.1:{port}", PROTOCOL, Ears(), Credentials())
        keep = Connection.connection_made

        def and_cancel(connection: Connection, transport: asyncio.BaseTransport) -> None:
            keep(connection, transport)
            dial.cancel()

        monkeypatch.setattr(Connection, "connection_made", and_cancel)
        dial = loop.create_task(made.open())
        await asyncio.wait({dial})
        made.close()
        async with asyncio.timeout(10):
            await made.closed()

    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        asyncio.Runner(loop_factory=factory) as runner,
    ):
        runner.run(give_up())


# -- who the device is


@asynccontextmanager
async def guarded(
    good: str, status: int = 401, body: bytes = b'{"detail": "no such token", "rule": "unknown"}'
) -> AsyncIterator[tuple[str, list[str | None]]]:
    """A node that lets in who shows this token; what it was shown."""
    shown: list[str | None] = []

    def judge(connection: ServerConnection, request: Request) -> Response | None:
        shown.append(request.headers.get("Authorization"))
        if shown[-1] == f"Bearer {good}":
            return None
        response = connection.respond(http.HTTPStatus(status), "")
        length = Headers({"Content-Length": str(len(body))})
        return Response(response.status_code, "Refused", length, body)

    async def quietly(connection: ServerConnection) -> None:
        await connection.wait_closed()

    async with serve(
        quietly,
        "127.0.0.1",
        0,
        subprotocols=[PROTOCOL],
        process_request=judge,  # type: ignore[list-item]
    ) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", shown


async def test_a_token_is_shown_and_written_to_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    token = draw()
    async with guarded(token.text) as (url, shown):
        made, ears = await opened(url, token=token.text)
        assert await ears.hear(1) == ["opened"]
        made.close()
        await made.closed()
    assert shown == [f"Bearer {token.text}"]
    ours = [record for record in caplog.records if record.name.startswith("stationkeep")]
    assert token.secret not in "".join(record.getMessage() for record in ours)
    assert token.text not in repr(made)


@pytest.mark.parametrize(
    ("status", "body", "rule", "line"),
    [
        (401, b'{"detail": "no \\u001b such", "rule": "unknown"}', "unknown",
         "the node answered 401: no \\u001b such (rule: unknown)"),
        (403, b'{"detail": "x", "rule": 7}', "", "the node answered 403: it gives no reason"),
        (401, b"\xff" * 100, "", "the node answered 401: it gives no reason"),
        (401, b"[" * 100_000, "", "the node answered 401: it gives no reason"),
    ],
    ids=["unknown", "odd rule", "no text", "nested without end"],
)  # fmt: skip
async def test_why_a_node_turns_it_away_is_known_whatever_it_says(
    status: int, body: bytes, rule: str, line: str
) -> None:
    async with guarded("another", status, body) as (url, _):
        made, ears = await opened(url, token=draw().text)
        assert await ears.hear(1) == [f"lost: the node answered {status} Refused"]
        assert made.turned_away is not None
        assert (made.turned_away.rule, made.turned_away.line) == (rule, line)
        await made.closed()


async def test_a_token_that_is_refused_is_read_anew_from_its_file(tmp_path: Path) -> None:
    old, new = draw().text, draw().text
    file = tmp_path / "token"
    file.write_text(old)
    async with guarded(new) as (url, shown):
        credentials = Credentials([url], token_file=file)
        for content, away in ((old, True), ("", True), (new, False)):
            file.write_text(content)
            made, ears = await opened(url, credentials)
            await ears.hear(1)
            assert (made.turned_away is not None) is away
            await made.closed()
        made, ears = await opened(url, credentials)
        assert await ears.hear(1) == ["opened"]
        made.close()
        await made.closed()
    assert shown == [f"Bearer {token}" for token in (old, old, old, new)]
