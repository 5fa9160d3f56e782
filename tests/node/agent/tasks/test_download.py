"""An artifact on its way to the device, from honest servers and others."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from stationkeep.node.agent.tasks import download
from stationkeep.node.agent.tasks.download import (
    Download,
    DownloadError,
    NoRoomError,
    NotTheArtifactError,
    address_fault,
)
from tests.node.agent.tasks.server import Answer, Server, answer, dropping, offset, whole

CONTENT = bytes(range(40))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(download, "LONGEST_PAUSE", 0.002)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "artifact.part"


def content(file: Path) -> bytes:
    return file.read_bytes()


def put(file: Path, there: bytes) -> None:
    file.write_bytes(there)


def link(file: Path, to: Path) -> None:
    file.symlink_to(to)


def remove(file: Path) -> None:
    file.unlink()


async def fetch(url: str, file: Path, size: int = len(CONTENT)) -> Download:
    one = Download(url, file, size, lambda _: None)
    await one.run()
    return one


async def test_it_comes_in_one_piece(file: Path) -> None:
    told: list[int] = []
    async with Server(whole(CONTENT)) as server:
        one = Download(server.url, file, len(CONTENT), told.append)
        await one.run()
    assert content(file) == CONTENT
    assert not one.resumed
    assert told[-1] == len(CONTENT)
    assert len(server.requests) == 1
    assert server.requests[0]["accept-encoding"] == "identity"


@pytest.mark.parametrize("at_most", range(1, len(CONTENT)))
async def test_a_connection_that_breaks_at_any_byte_is_resumed_there(
    file: Path, at_most: int
) -> None:
    async with Server(dropping(CONTENT, at_most)) as server:
        one = await fetch(server.url, file)
    assert content(file) == CONTENT
    assert one.resumed
    offsets = [offset(request) for request in server.requests]
    assert offsets == sorted(set(offsets))  # each goes on behind the one before
    assert all(request["if-range"] == '"one"' for request in server.requests[1:])


async def test_what_an_earlier_life_has_downloaded_is_not_asked_for_again(file: Path) -> None:
    put(file, CONTENT[:17])
    async with Server(whole(CONTENT)) as server:
        one = await fetch(server.url, file)
    assert content(file) == CONTENT
    assert one.resumed  # so that a wrong hash is not blamed on the artifact
    assert [offset(request) for request in server.requests] == [17]


async def test_all_that_is_there_already_needs_no_server(file: Path) -> None:
    put(file, CONTENT)
    one = await fetch("http://127.0.0.1:1/fw.bin", file)
    assert one.resumed


def changing(_: Server, request: dict[str, str]) -> bytes:
    """Its content changes while it is downloaded, and If-Range says so."""
    if "if-range" in request and request["if-range"] == '"old"':
        return whole(CONTENT, '"new"')(_, {})
    return dropping(b"?" * len(CONTENT), 20, '"old"')(_, request)


def forgetful(_: Server, request: dict[str, str]) -> bytes:
    """Knows no ranges."""
    return whole(CONTENT)(_, {}) if offset(request) else dropping(CONTENT, 9)(_, {})


def mistaken(_: Server, request: dict[str, str]) -> bytes:
    """Goes on elsewhere than it was asked to, once."""
    if offset(request):
        return answer("206 Partial Content", b"xx", Content_Range="bytes 3-4/40")
    return whole(CONTENT)(_, {}) if len(_.requests) > 1 else dropping(CONTENT, 9)(_, {})


@pytest.mark.parametrize("reply", [changing, forgetful, mistaken])
async def test_two_halves_that_do_not_fit_are_never_put_together(file: Path, reply: Answer) -> None:
    async with Server(reply) as server:
        await fetch(server.url, file)
    assert content(file) == CONTENT


async def test_a_server_that_never_goes_on_where_it_left_off_is_given_up(file: Path) -> None:
    def never(_: Server, request: dict[str, str]) -> bytes:
        return dropping(CONTENT, 9)(_, {})

    async with Server(never) as server:
        with pytest.raises(DownloadError):
            await fetch(server.url, file)
    assert len(server.requests) <= download.MOST_BEGINNINGS + 2


@pytest.mark.parametrize("status", ["404 Not Found", "403 Forbidden", "500 Oops", "204 No Content"])
async def test_a_refusal_is_given_up_after_some_tries_and_named(file: Path, status: str) -> None:
    async with Server(lambda *_: answer(status)) as server:
        with pytest.raises(DownloadError, match=status):
            await fetch(server.url, file)
    assert len(server.requests) == download.MOST_FAILURES


async def test_nobody_there_is_given_up_after_some_tries(file: Path) -> None:
    with pytest.raises(DownloadError, match="connection refused"):
        await fetch("http://127.0.0.1:1/fw.bin", file)


async def test_a_server_that_comes_back_is_what_the_tries_are_for(file: Path) -> None:
    def later(server: Server, request: dict[str, str]) -> bytes:
        return whole(CONTENT)(server, request) if len(server.requests) > 5 else answer("503 Wait")

    async with Server(later) as server:
        await fetch(server.url, file)
    assert content(file) == CONTENT


def chunks(*parts: bytes) -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return answer("200 OK", body + b"0\r\n\r\n", Transfer_Encoding="chunked")


@pytest.mark.parametrize(
    "reply",
    [
        lambda *_: answer("200 OK", CONTENT + b"!", Content_Length="41"),
        lambda *_: answer("200 OK", CONTENT[:-1], Content_Length="39"),
        lambda *_: answer("200 OK", b"x" * 1_000_000),  # without a length
        lambda *_: chunks(CONTENT, b"!"),
    ],
)
async def test_another_length_is_another_artifact(file: Path, reply: Answer) -> None:
    async with Server(reply) as server:
        with pytest.raises(NotTheArtifactError, match="40"):
            await fetch(server.url, file)
    assert len(server.requests) == 1
    assert len(content(file)) <= len(CONTENT)


async def test_an_answer_that_ends_early_in_good_order_is_tried_again_and_given_up(
    file: Path,
) -> None:
    async with Server(lambda *_: chunks(CONTENT[:7])) as server:
        with pytest.raises(DownloadError):
            await fetch(server.url, file)


@pytest.mark.parametrize(
    "reply",
    [
        lambda *_: answer("200 OK", b"x" * 5, Content_Encoding="gzip"),
        lambda *_: b"no HTTP at all\r\n\r\n",
        lambda *_: b"",
        lambda *_: answer("200 OK", b"zz\r\n", Transfer_Encoding="chunked"),
    ],
)
async def test_what_is_no_answer_is_given_up(file: Path, reply: Answer) -> None:
    async with Server(reply) as server:
        with pytest.raises(DownloadError):
            await fetch(server.url, file)


def redirecting(to: Callable[[Server], str]) -> Answer:
    def reply(server: Server, request: dict[str, str]) -> bytes:
        if request["path"] == "/fw.bin":
            return answer("302 Found", Location=to(server))
        return whole(CONTENT)(server, request)

    return reply


async def test_it_is_followed_elsewhere_on_this_machine(file: Path) -> None:
    async with Server(redirecting(lambda _: "/there.bin")) as server:
        await fetch(server.url, file)
    assert content(file) == CONTENT


@pytest.mark.parametrize(
    "place",
    [
        "file:///etc/passwd",
        "http://192.0.2.1/fw.bin",
        "ftp://127.0.0.1/fw.bin",
        "https://",
        "https://a.example\uff03@b.example/",
    ],
)
async def test_it_is_not_followed_anywhere(file: Path, place: str) -> None:
    async with Server(redirecting(lambda _: place)) as server:
        with pytest.raises(NotTheArtifactError, match="refused: https"):
            await fetch(server.url, file)
    assert len(server.requests) == 1


async def test_a_server_elsewhere_sends_nobody_to_a_service_of_this_machine(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def elsewhere(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(302, headers={"Location": "http://127.0.0.1:9/off"})

    def http() -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(elsewhere))

    monkeypatch.setattr(download, "open_http", http)
    with pytest.raises(NotTheArtifactError, match="refused: https, as before"):
        await fetch("https://updates.example/fw.bin", file)
    assert asked == ["https://updates.example/fw.bin"]


async def test_a_circle_of_redirects_ends(file: Path) -> None:
    async with Server(redirecting(lambda server: server.url)) as server:
        with pytest.raises(DownloadError, match="redirects"):
            await fetch(server.url, file)


@pytest.mark.parametrize(
    "url",
    [
        "http://a.example/x",
        "ftp://a/x",
        "https://",
        "",
        "x",
        "file://host/x",
        "http://[",
        "g:",
        "file:///a%00b",
    ],
)
async def test_an_address_that_is_none_is_refused(file: Path, url: str) -> None:
    assert address_fault(url) is not None
    with pytest.raises(NotTheArtifactError, match="url: "):
        await fetch(url, file)


async def test_a_file_of_this_machine(file: Path, tmp_path: Path) -> None:
    source = tmp_path / "fw 1.bin"
    put(source, CONTENT)
    await fetch(source.as_uri(), file)
    assert content(file) == CONTENT
    for other in (CONTENT[:-1], CONTENT + b"!"):
        put(source, other)
        with pytest.raises(NotTheArtifactError):
            await fetch(source.as_uri(), file)
    remove(source)
    with pytest.raises(DownloadError, match="No such file"):
        await fetch(source.as_uri(), file)
    with pytest.raises(DownloadError):
        await fetch("file:///dev/zero", file)


async def test_what_has_no_room_is_not_begun(file: Path) -> None:
    async with Server(whole(CONTENT)) as server:
        with pytest.raises(NoRoomError, match="bytes are free"):
            await fetch(server.url, file, size=1 << 50)
    assert server.requests == []


async def test_a_link_in_the_place_of_the_file_is_not_followed(file: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    put(precious, b"mine")
    link(file, precious)
    async with Server(whole(CONTENT)) as server:
        with pytest.raises(NoRoomError):
            await fetch(server.url, file)
    assert content(precious) == b"mine"


async def test_a_body_without_end_is_cancelled_with_the_download(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = asyncio.Event()

    async def trickle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer("200 OK", b"x", Content_Length="40"))
        await writer.drain()
        await released.wait()
        writer.close()

    server = await asyncio.start_server(trickle, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await fetch(url, file)
    released.set()
    server.close()
    await server.wait_closed()
