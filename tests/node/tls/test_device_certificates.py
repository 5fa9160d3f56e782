"""Devices that show a certificate of a CA of somebody else, on both event loops."""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stationkeep.node.security import certificates as made
from stationkeep.node.security.accepting import Acceptor
from stationkeep.node.security.contexts import Contexts
from stationkeep.node.security.foreign_devices import IdFrom
from stationkeep.node.security.handshake import client_options, context, facts_of
from stationkeep.node.security.identity import Identity
from tests.node.peers.test_network import hang_up
from tests.node.security.issuing import authority, files
from tests.node.security.test_foreign_devices import certificate as issued
from tests.node.tls.test_links import until

FACTORY = authority("factory")


class Seen(asyncio.Protocol):
    """Notes who comes."""

    def __init__(self, callers: list[Identity | None]) -> None:
        self._callers = callers

    def connection_made(self, transport: Any) -> None:
        facts = facts_of(transport)
        self._callers.append(facts and facts.identity)


async def came(
    tmp_path: Path, shown: Path | None, device_ca: bool = True
) -> tuple[list[Identity | None], Counter[str]]:
    """Who a node takes a caller with this certificate for, and how the handshake ended."""
    found = files(tmp_path / "node", "sat-001")
    factory = tmp_path / "factory.pem"
    factory.write_bytes(made.public_pem([FACTORY.certificate]))
    if device_ca:
        found = found._replace(device_ca=factory)
    contexts = Contexts(found, "sat-001", id_from=IdFrom.SAN_URI)
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    callers: list[Identity | None] = []
    outcomes: Counter[str] = Counter()
    acceptor = Acceptor(contexts.http, lambda: Seen(callers), outcomes)
    acceptor.open([listening])
    caller = context(False, contexts.current.trusted, lambda _: None, None)
    if shown is not None:
        caller.load_cert_chain(shown)
    try:
        where = listening.getsockname()
        _, writer = await asyncio.open_connection(*where, **client_options(caller))
        await until(lambda: bool(callers or outcomes))
        await hang_up(writer)
    finally:
        acceptor.close()
        await acceptor.closed()
    return callers, outcomes


def certificate(tmp_path: Path, **of_device: Any) -> Path:
    return files(
        tmp_path / "device", "phone-7", FACTORY, **{"kind": "device"} | of_device
    ).certificate


async def test_a_device_of_a_foreign_ca_is_known_by_its_id(tmp_path: Path) -> None:
    callers, _ = await came(tmp_path, certificate(tmp_path))
    assert callers == [Identity(authority().uid, "device", "phone-7")]


async def test_who_shows_none_is_nobody_in_particular(tmp_path: Path) -> None:
    assert (await came(tmp_path, None))[0] == [None]


async def test_one_of_our_own_is_taken_for_what_it_says(tmp_path: Path) -> None:
    own = files(tmp_path / "own", "phone-8", kind="device").certificate
    assert (await came(tmp_path, own))[0] == [Identity(authority().uid, "device", "phone-8")]


def expired(tmp_path: Path) -> Path:
    return certificate(tmp_path, ends=-1)


def nameless(tmp_path: Path) -> Path:
    key = made.new_key()
    leaf = issued(["urn:device:phone%207"], ["phone"], key)
    file = tmp_path / "nameless.pem"
    made.write(file, made.private_pem(key) + made.public_pem([leaf]), made.PRIVATE)
    return file


@pytest.mark.parametrize(
    ("issue", "device_ca", "word"),
    [
        (certificate, False, "untrusted_ca"),
        (expired, True, "certificate_expired"),
        (nameless, True, "not_a_caller"),
    ],
    ids=["not in the file", "expired", "no id"],
)
async def test_who_will_not_do_is_refused_under_its_word(
    tmp_path: Path, issue: Callable[[Path], Path], device_ca: bool, word: str
) -> None:
    callers, outcomes = await came(tmp_path, issue(tmp_path), device_ca)
    assert (callers, dict(outcomes)) == ([], {word: 1})
