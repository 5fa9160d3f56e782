"""Webhooks over real HTTP: what counts as accepted, and what never does."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from node import posting
from node.posting import HttpPoster


class Server:
    """Answers everything alike, or not at all; keeps what it was sent."""

    def __init__(self) -> None:
        self.answer = b"HTTP/1.1 204 No Content\r\n\r\n"
        self.requests: list[bytes] = []
        self.asked = asyncio.Event()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        self.requests.append(head + await reader.readexactly(length))
        self.asked.set()
        if self.answer:
            writer.write(self.answer)
            await writer.drain()
        else:
            await reader.read()
        writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    host, port = listening.sockets[0].getsockname()
    server.url = f"http://{host}:{port}/in"
    async with listening:
        yield server


@pytest.fixture
async def poster() -> AsyncIterator[HttpPoster]:
    poster = HttpPoster(lambda: None)
    yield poster
    await poster.close()


async def post(poster: HttpPoster, url: str) -> str:
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    poster.post(url, {"webhook-id": "c.1.2"}, b'{"type": "role.changed"}', future.set_result)
    assert not future.done(), "never from within the call"
    return await future


async def test_an_answer_of_2xx_accepts(server: Server, poster: HttpPoster) -> None:
    assert await post(poster, server.url) == ""
    assert server.requests[0].startswith(b"POST /in HTTP/1.1\r\n")
    assert b"webhook-id: c.1.2\r\n" in server.requests[0]
    assert server.requests[0].endswith(b'{"type": "role.changed"}')


@pytest.mark.parametrize("status", [b"301 Moved", b"400 Bad", b"410 Gone", b"503 Busy"])
async def test_any_other_answer_does_not(server: Server, poster: HttpPoster, status: bytes) -> None:
    there = server.url.encode()
    server.answer = b"HTTP/1.1 " + status + b"\r\nLocation: " + there + b"\r\n\r\n"
    assert await post(poster, server.url) == f"answered {status[:3].decode()}"
    assert len(server.requests) == 1, "and a redirection leads nowhere"


async def test_who_does_not_answer_is_not_waited_for_long(
    server: Server, poster: HttpPoster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posting, "TIMEOUT", 0.1)
    server.answer = b""
    assert await post(poster, server.url) == "no answer within 0.1 s"


@pytest.mark.parametrize(
    "spoil",
    [lambda s: setattr(s, "url", "http://127.0.0.1:1/"), lambda s: setattr(s, "answer", b"?")],
)
async def test_what_is_no_http_is_a_failure_and_no_fault(
    server: Server, poster: HttpPoster, spoil: Callable[[Server], None]
) -> None:
    spoil(server)
    assert "Error: " in await post(poster, server.url)


async def test_the_node_is_woken_for_what_comes_next(server: Server) -> None:
    woken = asyncio.Event()
    poster = HttpPoster(woken.set)
    said: list[str] = []
    poster.post(server.url, {}, b"{}", said.append)
    await woken.wait()
    assert said == [""]
    await poster.close()


async def test_closing_ends_what_is_under_way(server: Server) -> None:
    server.answer = b""
    poster, said = HttpPoster(lambda: None), list[str]()
    poster.post(server.url, {}, b"{}", said.append)
    await server.asked.wait()
    await poster.close()
    assert said == []
