"""Why a member is not reached, as its link says: a word for each, and none once it is."""

import asyncio
import errno
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from stationkeep.node.peers import dialling
from stationkeep.node.peers.hello import ANSWERED
from stationkeep.node.peers.obstacles import met, named
from stationkeep.node.ports import LinkFigures, Obstacle
from stationkeep.node.security.handshake import OUTCOMES
from stationkeep.node.system.resolver import Resolver
from tests.node.peers.station import Station, addresses
from tests.node.peers.test_network import hello, soon

ROOT = Path(__file__).parents[3]
Stations = Callable[..., Any]


def figures(station: Station) -> LinkFigures:
    (found,) = station.network.figures()
    return found


@asynccontextmanager
async def serving(address: str, answer: bytes | None) -> AsyncIterator[None]:
    """Whoever is there instead: says this to all who connect and hangs up, or nothing at all."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if answer is None:
            await reader.read(-1)
        else:
            writer.write(answer)
        writer.close()

    host, port = address.split(":")
    server = await asyncio.start_server(serve, host, int(port))
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (None, "hello_timeout"),
        (b"", "refused_by_peer"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no_hello"),
        (b"\x15\x03\x01\x00\x02\x02\x28", "tls"),
        (hello(protocols=[98, 99], node="b"), "version"),
        (hello(cluster="another", node="b"), "wrong_cluster"),
        (hello(node="c"), "not_member"),
        (hello(node="a"), "not_member"),
        (hello(node="b", founders="9:0"), "founders_differ"),
        (hello(kind="removed", node="b", index=7, uid=""), "removed"),
    ],
)
async def test_who_is_there_and_will_not_do_is_told_by_a_word(
    stations: Stations, monkeypatch: pytest.MonkeyPatch, answer: bytes | None, word: str
) -> None:
    monkeypatch.setattr(dialling, "HELLO_SECONDS", 0.2)
    peers = addresses("a", "b")
    async with serving(peers["b"], answer):
        a = await stations("a", peers, founds=True)
        await soon(lambda: figures(a).error is not None)
        found = figures(a)
        await a.network.close()
    assert (found.error, found.address) == (word, peers["b"])
    assert found.state == ("dialling" if answer is None else "refused")


async def test_a_dead_peer_is_dialled_and_a_word_says_what_came_of_it_until_it_is_back(
    stations: Stations,
) -> None:
    peers = addresses("a", "b")
    a = await stations("a", peers)
    await soon(lambda: figures(a).error == "connection_refused")
    assert figures(a).state == "dialling"
    b = await stations("b", peers)
    await a.until(lambda: a.network.connected("b"))
    assert (figures(a).error, figures(a).state) == (None, "up")
    await b.network.close()
    await soon(lambda: figures(a).error == "connection_refused")
    assert figures(a).state == "dialling"


@pytest.mark.parametrize("late", [False, True])
async def test_a_name_that_does_not_resolve_is_named_until_it_does(
    stations: Stations, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    """Whether the name server says so, or says nothing."""
    monkeypatch.setattr(dialling, "HELLO_SECONDS", 0.2)
    peers = addresses("a", "b")
    known = Resolver.addresses

    async def unknown(self: Resolver, host: str) -> list[str]:
        if host != "b.example.net":
            return await known(self, host)
        if late:
            await asyncio.Event().wait()
        raise OSError("b.example.net: Name or service not known")

    monkeypatch.setattr(Resolver, "addresses", unknown)
    named_peers = {"a": peers["a"], "b": peers["b"].replace("127.0.0.1", "b.example.net")}
    a = await stations("a", named_peers)
    await soon(lambda: figures(a).error == "no_such_host")
    assert figures(a).state == "dialling"
    assert a.network.unresolved() == "does not resolve: b.example.net of b"
    monkeypatch.setattr(Resolver, "addresses", lambda *_: known(a.network.names, "127.0.0.1"))
    await stations("b", peers)
    await a.until(lambda: a.network.connected("b"))
    assert (figures(a).error, a.network.unresolved()) == (None, None)


async def test_who_is_beyond_this_machine_is_not_dialled_in_clear(stations: Stations) -> None:
    a = await stations("a", {**addresses("a"), "b": "192.0.2.1:7"})
    await soon(lambda: figures(a).error == "not_secured")


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (TimeoutError(), "timeout"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "unreachable"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "unreachable"),
        (PermissionError(errno.EPERM, "Operation not permitted"), "unreachable"),
        (OSError(errno.EMFILE, "Too many open files"), "unreachable"),
        (ConnectionRefusedError(), "connection_refused"),
        (ConnectionAbortedError("SSL handshake is taking longer"), "handshake_timeout"),
        (ConnectionResetError(), "broken_off"),
        (ssl.SSLEOFError(8, "EOF occurred"), "broken_off"),
        (ssl.SSLError(1, "odd"), "handshake_failed"),
    ],
)
def test_each_error_of_the_system_has_its_word(error: OSError, word: str) -> None:
    assert met(error) == word


def test_no_reason_for_which_a_handshake_or_a_hello_fails_is_without_a_word() -> None:
    """Those that only an acceptor can give, no dialler meets."""
    acceptors = {"accepted", "too_many", "no_certificate", "not_a_caller"}
    words = {word.value for word in Obstacle}
    assert set(OUTCOMES) - acceptors <= words
    assert words >= ANSWERED
    assert named("too_many_objects") is Obstacle.NO_HELLO


def test_the_guide_names_every_word() -> None:
    guide = "".join(
        (ROOT / "node" / "guide" / page).read_text() for page in ("alarms.md", "certificates.md")
    )
    assert [word for word in Obstacle if f"`{word}`" not in guide] == []
