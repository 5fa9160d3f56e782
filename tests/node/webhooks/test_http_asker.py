"""Questions over real HTTP, and servers that answer what they should not."""

import asyncio
import gzip
from collections.abc import AsyncIterator

import pytest

from stationkeep.node.webhooks import http_poster
from stationkeep.node.webhooks.http_poster import MAX_REPLY, HttpAsker
from tests.node.webhooks.test_http_poster import Server

PASS = b'{"verdict": "pass"}'
Said = tuple[int, bytes, str]


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server().listening("/ask") as server:
        yield server


@pytest.fixture
async def asker() -> AsyncIterator[HttpAsker]:
    asker = HttpAsker(lambda: None)
    yield asker
    await asker.close()


async def ask(asker: HttpAsker, url: str) -> Said:
    future: asyncio.Future[Said] = asyncio.get_running_loop().create_future()
    asker.ask(url, {"webhook-id": "c.1.2"}, b"{}", lambda *said: future.set_result(said))
    assert not future.done(), "never from within the call"
    return await future


def answer(head: bytes, content: bytes = b"") -> bytes:
    return b"HTTP/1.1 " + head + b"\r\n\r\n" + content


async def test_status_and_content_are_what_was_answered(server: Server, asker: HttpAsker) -> None:
    server.answer = answer(b"200 OK\r\nContent-Length: 19", PASS)
    assert await ask(asker, server.url) == (200, PASS, "")
    assert server.requests[0].startswith(b"POST /ask HTTP/1.1\r\n")
    assert b"accept-encoding: identity\r\n" in server.requests[0].lower()
    assert b"webhook-id: c.1.2\r\n" in server.requests[0]


async def test_a_redirection_leads_nowhere(server: Server, asker: HttpAsker) -> None:
    server.answer = answer(b"307 Go\r\nLocation: " + server.url.encode() + b"\r\nContent-Length: 0")
    assert await ask(asker, server.url) == (307, b"", "")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "head",
    [
        b"200 OK\r\nContent-Length: 99999999999",
        b"200 OK\r\nContent-Length: %d" % (MAX_REPLY + 1),
        b"200 OK",
    ],
)
async def test_no_more_is_read_than_an_answer_may_have(
    server: Server, asker: HttpAsker, head: bytes
) -> None:
    server.answer = answer(head, b" " * (MAX_REPLY + 1))
    assert await ask(asker, server.url) == (0, b"", f"answered more than {MAX_REPLY} bytes")


async def test_what_is_compressed_is_not_made_large(server: Server, asker: HttpAsker) -> None:
    bomb = gzip.compress(b" " * 10_000_000)
    assert len(bomb) < MAX_REPLY
    head = b"200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d" % len(bomb)
    server.answer = answer(head, bomb)
    assert await ask(asker, server.url) == (200, bomb, "")


@pytest.mark.parametrize(
    "said",
    [
        b"?",
        b"\x00" * 100,
        answer(b"200 OK\r\nContent-Length: -1", PASS),
        answer(b"200 OK\r\nContent-Length: 500", PASS),
        answer(b"200 OK\r\nTransfer-Encoding: chunked", b"zz\r\n"),
        answer(b"200 OK\r\n" + b"X: " + b"y" * 1_000_000, PASS),
    ],
    ids=["no_http", "zeros", "negative", "broken_off", "no_chunks", "endless_head"],
)
async def test_what_is_no_http_is_no_answer_and_no_fault(
    server: Server, asker: HttpAsker, said: bytes
) -> None:
    server.answer = said
    status, content, why = await ask(asker, server.url)
    assert (status, content) == (0, b"")
    assert why == "what answers does not speak HTTP, or broke off"


async def test_whoever_answers_drop_by_drop_is_not_waited_for_long(
    asker: HttpAsker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_poster, "TIMEOUT", 0.3)

    class Dripping(Server):
        async def reply(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while not reader.at_eof():
                writer.write(b"1\r\n \r\n")
                await asyncio.sleep(0.02)

    async with Dripping().listening("/") as server:
        assert await ask(asker, server.url) == (0, b"", "no answer within 0.3 s")


async def test_nobody_there_is_no_answer(asker: HttpAsker) -> None:
    assert await ask(asker, "http://127.0.0.1:1/") == (0, b"", "connection refused")
