"""What clients and devices make of a node's certificate, through httpx and through asyncio."""

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from stationkeep.node.client.exchange import open_http
from stationkeep.node.security import accepting, trust
from stationkeep.node.security import certificates as made
from stationkeep.node.security.accepting import Acceptor
from stationkeep.node.security.contexts import load_pair, read_pair
from stationkeep.node.security.credentials import Credentials
from stationkeep.node.security.handshake import context, word_for
from stationkeep.node.security.trust import TrustError
from stationkeep.node.wire.unreached import untrusted, why
from tests.node.peers.test_network import hang_up
from tests.node.security.issuing import authority, files
from tests.node.tls.strangers import strangers

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Served(asyncio.Protocol):
    """Answers whatever arrives."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(ANSWER)


@asynccontextmanager
async def served(folder: Path, **of_node: Any) -> AsyncIterator[tuple[int, Acceptor]]:
    """A server with such a certificate; its port."""
    found = files(folder / "served", "sat-001", **of_node)
    shown = context(True, "", None, "http/1.1")
    load_pair(shown, read_pair(found.certificate, found.key))
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    acceptor = Acceptor(lambda: shown, Served, Counter())
    acceptor.open([sock])
    try:
        yield sock.getsockname()[1], acceptor
    finally:
        acceptor.close()
        await acceptor.closed()


@pytest.fixture(autouse=True)
def ca(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The CA that the environment names."""
    path = tmp_path / "trusted.pem"
    path.write_bytes(made.public_pem([authority().certificate]))
    monkeypatch.setenv(trust.VARIABLE, str(path))
    return path


async def asked(port: int) -> str:
    """What a client gets from there, or why not."""
    async with open_http() as http:
        try:
            return (await http.get(f"https://127.0.0.1:{port}/")).text
        except httpx.HTTPError as error:
            return why(error)


async def test_strangers_without_number_do_not_shut_out_who_has_shown_a_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting, "MAX_A_SECOND", 4)
    async with served(tmp_path) as (port, acceptor):
        acceptor.know("127.0.0.1")
        flood = asyncio.create_task(strangers(port))
        while acceptor.outcomes["too_many"] < 8:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert [await asked(port) for _ in range(8)] == ["ok"] * 8
        flood.cancel()
        await asyncio.gather(flood, return_exceptions=True)


async def connected(port: int) -> str:
    """How a device's connection goes, in a word."""
    try:
        options = Credentials().connection_options(secure=True)
        _, writer = await asyncio.open_connection("localhost", port, **options)
    except OSError as error:
        return word_for(error)
    await hang_up(writer)
    return "accepted"


async def test_any_node_of_the_cluster_is_trusted_under_any_name(tmp_path: Path) -> None:
    async with served(tmp_path) as (port, acceptor):
        assert await asked(port) == "ok"
        assert await connected(port) == "accepted"
        assert acceptor.outcomes["accepted"] == 2


@pytest.mark.parametrize(
    ("of_node", "word", "said"),
    [
        ({"ca": authority("foreign")}, "untrusted_ca", "is not trusted; --ca or STATIONKEEP_CA"),
        ({"ends": -0.1}, "certificate_expired", "(certificate_expired): it expired on 20"),
        ({"ends": 90.5}, "clock", "(clock): it is not valid before 20"),
        ({"uid": "0" * 16}, "wrong_cluster", "(wrong_cluster): it is of another cluster: uid 0000"),
        ({"kind": "device"}, "not_a_node", "not trusted"),
    ],
)
async def test_who_is_no_node_of_it_now_is_refused_before_anything_is_said(
    tmp_path: Path, of_node: dict[str, Any], word: str, said: str
) -> None:
    async with served(tmp_path, **of_node) as (port, _):
        assert await connected(port) == word
        assert said in await asked(port)


async def test_a_node_that_does_not_answer_is_no_matter_of_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Served, "data_received", lambda *_: None)
    async with served(tmp_path) as (port, _), open_http(0.2) as http:
        with pytest.raises(httpx.ReadTimeout) as silent:
            await http.get(f"https://127.0.0.1:{port}/")
    assert why(silent.value) == "no answer in time"
    assert not untrusted(silent.value)


async def test_without_a_ca_a_private_one_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(trust.VARIABLE)
    async with served(tmp_path) as (port, _):
        assert "its certificate is not trusted" in await asked(port)


def test_a_foreign_ca_that_does_not_say_of_which_cluster_will_do(ca: Path) -> None:
    assert trust.of_file(str(ca)) is trust.of_file(str(ca))
    assert isinstance(trust.trusted(), ssl.SSLContext)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff", b"x" * (trust.MAX_CA + 1)])
def test_what_is_no_ca_is_named(ca: Path, content: bytes) -> None:
    ca.write_bytes(content)
    with pytest.raises(TrustError, match="has no CA's certificates in PEM"):
        trust.trusted()
    ca.unlink()
    with pytest.raises(TrustError, match="cannot be read"):
        trust.trusted()
