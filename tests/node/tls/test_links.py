"""Links with certificates, on real sockets."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from stationkeep.node.peers import streams
from stationkeep.node.peers.frames import MAX_FRAME
from stationkeep.node.peers.network import NotLoopback, PeerNetwork
from stationkeep.node.security import accepting, handshake
from stationkeep.node.security import certificates as made
from stationkeep.node.security.contexts import Files
from stationkeep.node.security.handshake import ALPN, context, word_for
from stationkeep.node.security.identity import Identity
from stationkeep.node.system.addresses import split_address
from stationkeep.node.system.streams import SEGMENT
from tests.node.peers.station import Station, addresses, free_ports
from tests.node.peers.test_network import closed_by_peer, hang_up
from tests.node.security.issuing import at, authority, contexts, files
from tests.node.tls.strangers import strangers

Stations = Callable[..., Any]


async def until(condition: Callable[[], bool]) -> None:
    """Polled, since nobody is told when something is counted."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def refused(station: Station, *words: str) -> None:
    """Returns when one of these was counted."""
    await until(lambda: any(station.network.rejected.get(word) for word in words))


async def two(stations: Stations, tmp_path: Path, **of_b: Any) -> tuple[Station, Station]:
    """Two members; `of_b` says what is wrong with the second."""
    peers = addresses("a", "b")
    a = await stations("a", peers, tls=contexts(tmp_path, "a"))
    b = await stations("b", peers, tls=contexts(tmp_path, "b", **of_b))
    return a, b


async def test_members_talk_and_large_messages_arrive_whole(
    stations: Stations, tmp_path: Path
) -> None:
    a, b = await two(stations, tmp_path)
    await a.until(lambda: ("up", "b") in a.links)
    await b.until(lambda: ("up", "a") in b.links)
    large = {"kind": "x", "bytes": b"\x5a" * (MAX_FRAME - 64)}
    assert a.network.send("b", large)
    assert b.network.send("a", {"kind": "y"})
    await b.until(lambda: len(b.messages) == 1)
    await a.until(lambda: len(a.messages) == 1)
    assert b.messages == [("a", large)]
    assert a.network.acceptor.outcomes["accepted"] >= 1
    assert a.network.rejected == {}


async def test_the_key_of_datagrams_comes_over_the_stream(
    stations: Stations, tmp_path: Path
) -> None:
    a, b = await two(stations, tmp_path)
    await a.until(lambda: ("up", "b") in a.links)
    await b.until(lambda: ("up", "a") in b.links)

    def heard() -> bool:
        a.network.send("b", {"kind": "x"})  # again and again: a datagram may be lost
        return b.network.figures()[0].received_total > 0

    await until(heard)


def seen(station: Station) -> tuple[str | None, str]:
    """What stands in the way to its only peer."""
    (found,) = station.network.figures()
    return found.error, found.state


@pytest.mark.parametrize(
    ("of_b", "word"),
    [
        ({"ca": authority("foreign")}, "untrusted_ca"),
        ({"ends": -8.0}, "certificate_expired"),
        ({"ends": 98.0}, "clock"),
    ],
)
async def test_who_will_not_do_is_refused_under_one_word(
    stations: Stations, tmp_path: Path, of_b: dict[str, Any], word: str
) -> None:
    a, b = await two(stations, tmp_path, **of_b)
    await refused(a, word)
    await refused(b, "refused_by_peer", word)
    assert a.links == b.links == []
    await until(lambda: seen(a) == (word, "refused"))
    await until(lambda: seen(b) in {("refused_by_peer", "refused"), (word, "refused")})


@pytest.mark.parametrize("ends", [-6.9, 96.9])
async def test_beyond_its_dates_a_certificate_keeps_links_for_a_week(
    stations: Stations, tmp_path: Path, ends: float
) -> None:
    a, b = await two(stations, tmp_path, ends=ends)
    await a.until(lambda: ("up", "b") in a.links)
    await b.until(lambda: ("up", "a") in b.links)


async def test_a_node_at_the_address_of_another_is_refused(
    stations: Stations, tmp_path: Path
) -> None:
    first, second = free_ports(2)
    a_peers = {"a": f"127.0.0.1:{first}", "b": f"127.0.0.1:{second}"}
    a = await stations("a", a_peers, tls=contexts(tmp_path, "a"))
    c_peers = {"c": f"127.0.0.1:{second}", "a": f"127.0.0.1:{first}"}
    c = await stations("c", c_peers, tls=contexts(tmp_path, "c"))
    await refused(a, "wrong_node")
    assert seen(a) == ("wrong_node", "refused")
    await refused(a, "not_member")
    await refused(c, "refused_by_peer")


async def dialled(port: int, made: ssl.SSLContext) -> str:
    """Dials with TLS and waits for the end; how that went, in a word."""
    options = handshake.client_options(made)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, **options)
        async with asyncio.timeout(5):
            await reader.read(-1)
    except OSError as error:
        return word_for(error)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return "closed"


def client(tmp_path: Path, name: str, protocol: str | None = ALPN, **more: Any) -> ssl.SSLContext:
    """Of somebody who checks nothing, with a certificate."""
    trusted = made.public_pem([authority().certificate]).decode()
    found = context(False, trusted, lambda _: None, protocol)
    found.load_cert_chain(files(tmp_path / f"client-{name}", name, **more).certificate)
    return found


async def test_whoever_dials_without_a_nodes_certificate_is_refused_under_its_own_word(
    stations: Stations, tmp_path: Path
) -> None:
    a, b = await two(stations, tmp_path)
    await b.until(lambda: ("up", "a") in b.links)
    port = a.network.port
    other = authority("foreign")
    nobody = context(False, made.public_pem([authority().certificate]).decode(), None, ALPN)
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    for word, dialler in (
        ("no_certificate", nobody),
        ("not_a_node", client(tmp_path, "phone-7", kind="device")),
        ("not_member", client(tmp_path, "stranger")),
        ("wrong_cluster", client(tmp_path, "b", uid="0" * 16)),
        ("untrusted_ca", client(tmp_path, "b", ca=other)),
        ("other_protocol", client(tmp_path, "b", protocol=None)),
        ("old_tls", old),
    ):
        await dialled(port, dialler)
        await refused(a, word)
        assert a.network.acceptor.outcomes[word] == 1, word
    for plain in (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x00\x00\x00\x05hello"):
        before = a.network.rejected.get("plain_text", 0)
        await closed_by_peer(plain, port)
        await until(lambda before=before: a.network.rejected.get("plain_text", 0) > before)
    assert a.network.send("b", {"kind": "x"})  # others are unharmed
    await b.until(lambda: bool(b.messages))


def unreadable(directory: Path, name: str) -> Files:
    """A member's files as a CA makes them that has no rule for names: OpenSSL takes the certificate
    and Python cannot read it."""
    found = files(directory, name)
    ca, key = authority(), made.new_key()
    whole = made.issue(ca, Identity(ca.uid, "node", name), key.public_key(), at(0))
    names = x509.UnrecognizedExtension(
        x509.ExtensionOID.SUBJECT_ALTERNATIVE_NAME, b"\x30\x03\x86\x01\xff"
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(whole.subject)
        .issuer_name(whole.issuer)
        .public_key(whole.public_key())
        .serial_number(whole.serial_number)
        .not_valid_before(whole.not_valid_before_utc)
        .not_valid_after(whole.not_valid_after_utc)
        .add_extension(names, critical=False)
    )
    leaf = builder.sign(ca.key, hashes.SHA256())
    found.certificate.write_bytes(made.private_pem(key) + made.public_pem([leaf]))
    return found


async def test_whose_names_cannot_be_read_is_nobody_and_others_go_on(
    stations: Stations, tmp_path: Path
) -> None:
    """By whoever is dialled, and by whoever dials."""
    peers = addresses("a", "b")
    a = await stations("a", peers, tls=contexts(tmp_path, "a"))
    pair = unreadable(tmp_path / "odd", "b").certificate
    trusted = made.public_pem([authority().certificate]).decode()
    odd = context(False, trusted, lambda _: None, ALPN)
    odd.load_cert_chain(pair)
    await dialled(a.network.port, odd)
    await refused(a, "not_a_node")
    served = context(True, trusted, None, ALPN)
    served.load_cert_chain(pair)
    host, port = split_address(peers["b"])
    server = await asyncio.start_server(lambda _, writer: writer.close(), host, port, ssl=served)
    before = a.network.rejected["not_a_node"]
    await until(lambda: a.network.rejected["not_a_node"] > before)
    server.close()
    await server.wait_closed()
    b = await stations("b", peers, tls=contexts(tmp_path, "b"))
    await a.until(lambda: ("up", "b") in a.links)
    await b.until(lambda: ("up", "a") in b.links)


async def test_a_hello_of_another_than_the_certificate_is_refused(
    stations: Stations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member cannot speak for another one."""
    peers = addresses("a", "b", "c")
    a = await stations("a", peers, tls=contexts(tmp_path, "a"))
    b = Station("b", peers, tls=contexts(tmp_path, "b"))
    monkeypatch.setattr(b.network.hello, "_node", "c")
    await b.network.start()
    try:
        await refused(a, "wrong_node")
        assert ("up", "c") not in a.links
    finally:
        await b.network.close()


async def test_a_clear_port_names_tls_when_it_hears_it(stations: Stations, tmp_path: Path) -> None:
    peers = addresses("a", "b")
    a = await stations("a", peers)
    b = await stations("b", peers, tls=contexts(tmp_path, "b"))
    await refused(a, "tls")
    await refused(b, "plain_text")
    await until(lambda: (seen(a)[0], seen(b)[0]) == ("refused_by_peer", "broken_off"))


async def test_who_says_nothing_is_let_go_and_hinders_nobody(
    stations: Stations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting, "MAX_AT_ONCE", 4)
    monkeypatch.setattr(accepting, "SECONDS", 0.5)
    peers = addresses("a", "b")
    a = await stations("a", peers, tls=contexts(tmp_path, "a"))
    silent = [await asyncio.open_connection("127.0.0.1", a.network.port) for _ in range(6)]
    b = await stations("b", peers, tls=contexts(tmp_path, "b"))
    await b.until(lambda: ("up", "a") in b.links)
    await refused(a, "too_many")
    await refused(a, "handshake_timeout")
    await hang_up(*(writer for _, writer in silent))


async def test_strangers_take_no_place_of_a_member_whose_handshake_takes_long(
    stations: Stations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where packets are lost, or a round trip is long."""
    peers = addresses("a", "b")
    a = await stations("a", peers, tls=contexts(tmp_path, "a"))
    b = await stations("b", peers, tls=contexts(tmp_path, "b"))
    await a.until(lambda: ("up", "b") in a.links)
    await b.until(lambda: ("up", "a") in b.links)
    monkeypatch.setattr(accepting, "MAX_AT_ONCE", 2)
    where = ("127.0.0.1", a.network.port)
    member, slow = await asyncio.open_connection(*where)  # from where b has come before
    outcomes = a.network.acceptor.outcomes
    await until(lambda: len(a.network.acceptor._under_way) == 1)
    strangers = [
        await asyncio.open_connection(*where, local_addr=(f"127.0.1.{n}", 0)) for n in range(1, 7)
    ]
    await until(lambda: outcomes["too_many"] == 5)
    assert not member.at_eof()
    await hang_up(slow, *(writer for _, writer in strangers))


async def test_an_address_that_dials_without_end_is_slowed(
    stations: Stations, tmp_path: Path
) -> None:
    a = await stations("a", addresses("a"), tls=contexts(tmp_path, "a"))
    for _ in range(accepting.MAX_OF_ADDRESS + 5):
        await closed_by_peer(b"x" * 16, a.network.port)
    outcomes = a.network.acceptor.outcomes
    assert outcomes["plain_text"] >= accepting.MAX_OF_ADDRESS
    assert outcomes["plain_text"] + outcomes["too_many"] == accepting.MAX_OF_ADDRESS + 5


async def test_strangers_without_number_do_not_shut_out_a_member(
    stations: Stations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have all addresses that there are; a member has been here before."""
    monkeypatch.setattr(accepting, "MAX_A_SECOND", 4)
    peers = addresses("a", "b")
    a = await stations("a", peers, tls=contexts(tmp_path, "a"))
    b = await stations("b", peers, tls=contexts(tmp_path, "b"))
    await a.until(lambda: ("up", "b") in a.links)
    await b.until(lambda: ("up", "a") in b.links)

    flood = asyncio.create_task(strangers(a.network.port))
    await refused(a, "too_many")
    for _ in range(8):
        ups = b.links.count(("up", "a"))
        b.network._links["a"]._wanted.set()  # a new stream, as it comes every hour
        await b.until(lambda ups=ups: b.links.count(("up", "a")) > ups)
    assert b.network.rejected == {}
    flood.cancel()
    await asyncio.gather(flood, return_exceptions=True)


async def test_without_certificates_a_node_stays_on_loopback() -> None:
    network = PeerNetwork(node_id="a", cluster="c", listen="192.0.2.1:0", peers={})
    with pytest.raises(NotLoopback):
        await network.start()


async def test_without_certificates_nobody_beyond_loopback_is_dialled(
    stations: Stations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever name it goes by, and whoever named it."""
    a = await stations("a", addresses("a"))
    dialled: list[object] = []
    monkeypatch.setattr(a.network.loop, "create_connection", dialled.append)
    a.network.deliver("b", {"kind": "peers", "version": 9, "peers": {"c": "192.0.2.1:7"}})
    await refused(a, "not_secured")
    assert dialled == []


async def test_a_certificate_that_is_replaced_is_shown_to_the_next_who_dials(
    stations: Stations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Links that stand, stand on."""
    peers = addresses("a", "b")
    of_a = contexts(tmp_path, "a")
    await stations("a", peers, tls=of_a)
    b = await stations("b", peers, tls=contexts(tmp_path, "b"))
    await b.until(lambda: ("up", "a") in b.links)
    files(tmp_path / "a", "a", ends=70)
    of_a.look()
    assert (of_a.rejected, of_a.reloads["accepted"]) == (None, 1)
    shown: list[str] = []
    original = streams.Outbound.connection_made

    def noted(self: streams.Outbound, transport: Any) -> None:
        if self.peer == "a":
            shown.append(transport.get_extra_info("ssl_object").getpeercert()["serialNumber"])
        original(self, transport)

    monkeypatch.setattr(streams.Outbound, "connection_made", noted)
    b.network._links["a"]._wanted.set()  # a new stream, as it comes every hour
    await b.until(lambda: b.links.count(("up", "a")) > 1)
    assert [int(serial, 16) for serial in shown] == [of_a.current.pair.leaf.serial_number]
    assert ("down", "a") not in b.links


async def test_who_listens_on_all_addresses_is_reached_by_both_protocols(
    stations: Stations, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    a = await stations("a", {"a": f"[::]:{port}"}, tls=contexts(tmp_path, "a"))
    for host in ("127.0.0.1", "::1"):
        _, writer = await asyncio.open_connection(host, port)
        writer.close()
    assert a.network.port == port


async def test_beyond_loopback_no_packet_is_longer_than_every_path_passes(
    stations: Stations, tmp_path: Path
) -> None:
    ports = free_ports(2)
    await stations("a", {"a": f"0.0.0.0:{ports[0]}"}, tls=contexts(tmp_path, "a"))
    await stations("b", {"b": f"0.0.0.0:{ports[1]}"}, insecure=True)
    for port in ports:
        with socket.create_connection(("127.0.0.1", port)) as stream:
            assert stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) <= SEGMENT
