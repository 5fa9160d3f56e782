"""Webhooks over real HTTP: what counts as accepted, and what never does."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Self

import pytest

from stationkeep.cluster.state.state import MAX_WEBHOOKS
from stationkeep.node.webhooks import http_poster
from stationkeep.node.webhooks.http_poster import HttpPoster
from stationkeep.node.webhooks.sending import Answer, Verdict


class Server:
    """Answers everything alike, or not at all; keeps what it was sent."""

    def __init__(self) -> None:
        self.answer = b"HTTP/1.1 204 No Content\r\n\r\n"
        self.requests: list[bytes] = []
        self.asked = asyncio.Event()
        self.url = ""
        self._served: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def listening(self, path: str) -> AsyncIterator[Self]:
        """No connection outlives it."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        self.url = f"http://{host}:{port}{path}"
        async with server:
            yield self
        for task in self._served:
            task.cancel()
        await asyncio.gather(*self._served, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._served.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self.reply(reader, writer)
            writer.close()
            await writer.wait_closed()
        except ConnectionError:
            pass  # whoever asked has heard enough
        finally:
            writer.transport.abort()

    async def reply(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        self.requests.append(head + await reader.readexactly(length))
        self.asked.set()
        if self.answer:
            writer.write(self.answer)
            await writer.drain()
        else:
            await reader.read()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server().listening("/in") as server:
        yield server


@pytest.fixture
async def poster() -> AsyncIterator[HttpPoster]:
    poster = HttpPoster(lambda: None)
    yield poster
    await poster.close()


async def post(poster: HttpPoster, url: str) -> Answer:
    future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    poster.post(url, {"webhook-id": "c.1.2"}, b'{"type": "role.changed"}', future.set_result)
    assert not future.done(), "never from within the call"
    return await future


async def test_an_answer_of_2xx_accepts(server: Server, poster: HttpPoster) -> None:
    assert await post(poster, server.url) == Answer()
    assert server.requests[0].startswith(b"POST /in HTTP/1.1\r\n")
    assert b"webhook-id: c.1.2\r\n" in server.requests[0]
    assert server.requests[0].endswith(b'{"type": "role.changed"}')


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (b"301 Moved", Verdict.REFUSED),
        (b"400 Bad", Verdict.REFUSED),
        (b"401 Who", Verdict.REFUSED),
        (b"404 Where", Verdict.REFUSED),
        (b"410 Gone", Verdict.GONE),
        (b"408 Slow", Verdict.LATER),
        (b"425 Early", Verdict.LATER),
        (b"429 Many", Verdict.LATER),
        (b"500 Fault", Verdict.LATER),
        (b"503 Busy", Verdict.LATER),
    ],
)
async def test_any_other_answer_does_not(
    server: Server, poster: HttpPoster, status: bytes, verdict: Verdict
) -> None:
    there = server.url.encode()
    server.answer = b"HTTP/1.1 " + status + b"\r\nLocation: " + there + b"\r\n\r\n"
    assert await post(poster, server.url) == Answer(verdict, f"answered {status[:3].decode()}")
    assert len(server.requests) == 1, "and a redirection leads nowhere"


@pytest.mark.parametrize("url", ["https://xn--a/", "https://h/\ud800", "https://h/\x00"])
async def test_an_impossible_address_is_a_failure_and_is_answered(
    poster: HttpPoster, url: str
) -> None:
    assert (await post(poster, url)).verdict is Verdict.LATER


async def test_webhooks_that_hang_leave_room_for_the_others(
    server: Server, poster: HttpPoster, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = Server()
    deaf.answer = b""
    async with deaf.listening("/"):
        for _ in range(2 * MAX_WEBHOOKS - 1):
            poster.post(deaf.url, {}, b"{}", lambda _: None)
        await deaf.asked.wait()
        monkeypatch.setattr(http_poster, "TIMEOUT", 2.0)
        assert await post(poster, server.url) == Answer()
        await poster.close()


async def test_a_receiver_that_does_not_answer_is_not_waited_for_long(
    server: Server, poster: HttpPoster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_poster, "TIMEOUT", 0.1)
    server.answer = b""
    assert await post(poster, server.url) == Answer(Verdict.LATER, "no answer within 0.1 s")


@pytest.mark.parametrize(
    "spoil",
    [lambda s: setattr(s, "url", "http://127.0.0.1:1/"), lambda s: setattr(s, "answer", b"?")],
)
async def test_what_is_no_http_is_a_failure_and_no_fault(
    server: Server, poster: HttpPoster, spoil: Callable[[Server], None]
) -> None:
    spoil(server)
    answer = await post(poster, server.url)
    assert answer.verdict is Verdict.LATER
    assert answer.why in {"connection refused", "what answers does not speak HTTP, or broke off"}


async def test_the_node_is_woken_for_what_comes_next(server: Server) -> None:
    woken = asyncio.Event()
    poster = HttpPoster(woken.set)
    said: list[Answer] = []
    poster.post(server.url, {}, b"{}", said.append)
    await woken.wait()
    assert said == [Answer()]
    await poster.close()


async def test_closing_ends_what_is_under_way(server: Server) -> None:
    server.answer = b""
    poster, said = HttpPoster(lambda: None), list[Answer]()
    poster.post(server.url, {}, b"{}", said.append)
    await server.asked.wait()
    await poster.close()
    assert said == []


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Knows `alpha`, two addresses of it of which the first is dead, and says nothing of others
    until the event is set."""
    mute = threading.Event()

    def look_up(host: str, *_: Any, **__: Any) -> list[Any]:
        if host != "alpha":
            mute.wait()
        stream = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*stream, ("127.0.0.77", 0)), (*stream, ("127.0.0.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    yield mute
    mute.set()


async def test_a_resolver_that_is_mute_about_one_holds_up_nobody_else(
    server: Server, poster: HttpPoster, resolver: threading.Event
) -> None:
    for number in range(MAX_WEBHOOKS):
        poster.post(f"https://mute-{number}.example/in", {}, b"{}", lambda _: None)
    port = server.url.rpartition(":")[2]
    assert await post(poster, f"http://alpha:{port}") == Answer()
    assert f"\r\nHost: alpha:{port.removesuffix('/in')}\r\n".encode() in server.requests[0]
    assert await asyncio.to_thread(lambda: 1), "the loop's own threads are free"


async def test_a_receiver_that_never_finishes_is_not_waited_for_long(
    poster: HttpPoster, resolver: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_poster, "TIMEOUT", 0.1)
    answer = await post(poster, "https://mute.example/in")
    assert answer == Answer(Verdict.LATER, "no answer within 0.1 s")


async def test_tls_is_spoken_with_the_host_and_not_with_its_address(
    poster: HttpPoster, resolver: threading.Event
) -> None:
    hello: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    class Listener(Server):
        async def reply(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            hello.set_result(await reader.read(4_096))

    async with Listener().listening("/in") as server:
        port = server.url.rpartition(":")[2]
        assert (await post(poster, f"https://alpha:{port}")).verdict is Verdict.LATER
        assert b"\x00\x05alpha" in await hello
