"""Links between members, on real sockets."""

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
import uvloop

from stationkeep.node.peers import dialling, link, network, streams, whereabouts
from stationkeep.node.peers.frames import MAX_FRAME, MAX_HELLO, FrameReader, encode, numbered, pack
from stationkeep.node.peers.hello import (
    MAX_WARNED,
    PROTOCOLS,
    WARN_EVERY_SECONDS,
    Hello,
    Refusals,
    common,
    digest_of,
    log,
)
from stationkeep.node.peers.network import NotLoopback, PeerNetwork, PortInUse
from stationkeep.node.system.addresses import split_address
from stationkeep.node.system.resolver import Resolver
from tests.node.peers.station import Station, addresses, free_ports
from tests.node.sockets import connections_to, is_thin

FOUNDERS = digest_of(["a", "b"])
UID, OTHER = "0123456789abcdef", "fedcba9876543210"
ANSWER = {
    "kind": "hello", "protocols": PROTOCOLS, "cluster": "c", "uid": "", "founders": "",
    "node": "b", "life": 1,
}  # fmt: skip
DIAL = {**ANSWER, "session": 2, "key": bytes(32)}


def hello(**changes: Any) -> bytes:
    """Of one who dials."""
    return pack({**DIAL, **changes})


def answer(**changes: Any) -> bytes:
    """Of one who was dialled."""
    return pack({**ANSWER, **changes})


def first(message: dict[str, Any], number: int = 1) -> bytes:
    """A frame behind the hello."""
    return numbered(number, encode(message))


async def closed_by_peer(data: bytes, port: int, source: str | None = None) -> bytes:
    """Sends `data` and returns what comes back until the connection is closed."""
    local = None if source is None else (source, 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=local)
    try:
        writer.write(data)
        async with asyncio.timeout(10):
            return await reader.read(-1)
    except ConnectionError:
        return b""
    finally:
        await hang_up(writer)


async def soon(condition: Callable[[], object]) -> None:
    """Waits for what nobody tells of."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def hang_up(*writers: asyncio.StreamWriter) -> None:
    for writer in writers:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_messages_both_ways_each_once_arrays_as_tuples(stations) -> None:
    peers = addresses("a", "b")
    a, b = await stations("a", peers), await stations("b", peers)
    await a.until(lambda: a.network.connected("b"))
    await b.until(lambda: b.network.connected("a"))
    for n in range(100):
        assert a.network.send("b", {"kind": "raft", "n": n, "list": [1, [b"x"]]})
    assert b.network.send("a", {"kind": "gossip"})
    await b.until(lambda: len(b.messages) == 100)
    await a.until(lambda: len(a.messages) == 1)
    b.messages.sort(key=lambda item: item[1]["n"])  # the lanes overtake each other
    assert [m["n"] for _, m in b.messages] == list(range(100))
    assert b.messages[0] == ("a", {"kind": "raft", "n": 0, "list": (1, (b"x",))})
    assert a.messages == [("b", {"kind": "gossip"})]


def test_the_same_on_uvloop() -> None:
    async def exchange() -> None:
        peers = addresses("a", "b")
        a, b = Station("a", peers), Station("b", peers)
        for station in (a, b):
            await station.network.start()
        await a.until(lambda: a.network.connected("b"))
        a.network.send("b", {"kind": "raft"})
        await b.until(lambda: bool(b.messages))
        for station in (a, b):
            await station.network.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(exchange())


async def test_without_a_connection_send_says_so(stations) -> None:
    a = await stations("a", addresses("a", "b"))
    assert not a.network.send("b", {"kind": "raft"})
    assert not a.network.send("nobody", {"kind": "raft"})
    assert not a.network.connected("b")


async def test_a_restarted_peer_is_found_again(stations) -> None:
    peers = addresses("a", "b")
    a, b = await stations("a", peers), await stations("b", peers)
    await a.until(lambda: a.network.connected("b"))
    await b.network.close()
    await a.until(lambda: ("down", "b") in a.links)
    assert not a.network.connected("b")
    again = await stations("b", peers)
    await a.until(lambda: a.links == [("up", "b"), ("down", "b"), ("up", "b")])
    assert a.network.send("b", {"kind": "raft", "n": 1})
    await again.until(lambda: bool(again.messages))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (hello(protocols=5), "no_hello"),
        (hello(protocols=[2, 1]), "no_hello"),
        (hello(protocols=[True, 1]), "no_hello"),
        (hello(protocols=[0, 1]), "no_hello"),
        (hello(protocols=[1, 2, 3]), "no_hello"),
        (hello(uid="x" * 16), "no_hello"),
        (hello(uid=None), "no_hello"),
        (hello(founders="x" * 33), "no_hello"),
        (hello(node="stranger"), "not_member"),
        (hello(node="a"), "not_member"),  # it is itself
        (hello(node=7), "not_member"),
        (answer(), "no_hello"),  # without a session
        (hello(life=0), "no_hello"),
        (hello(life="1"), "no_hello"),
        (hello(session=2**63), "no_hello"),
        (hello(session=True), "no_hello"),
        (hello(key=bytes(31)), "no_hello"),
        (hello(key="x" * 32), "no_hello"),
        (pack({"kind": "raft"}), "no_hello"),
        (struct.pack(">I", 2**31), "frame_too_large"),
        (struct.pack(">I", MAX_HELLO + 1), "frame_too_large"),
        (struct.pack(">I", 4) + b"\xc1\xc1\xc1\xc1", "garbage"),
        (struct.pack(">I", 2) + msgpack.packb([1]), "garbage"),
        (struct.pack(">I", 0), "garbage"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "frame_too_large"),
    ],
)
async def test_whoever_is_not_a_member_is_disconnected_and_counted(stations, data, reason) -> None:
    a = await stations("a", addresses("a", "b"))
    assert await closed_by_peer(data, a.network.port) == b""
    assert a.network.rejected == {reason: 1}
    assert a.messages == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"protocols": [2, 9]}, "version"),
        ({"cluster": "other"}, "wrong_cluster"),
        ({"uid": OTHER}, "wrong_cluster"),
    ],
)
async def test_whoever_cannot_be_one_of_us_is_shown_why_and_finds_the_same_word(
    stations, changes: dict[str, Any], reason: str
) -> None:
    a = await stations("a", addresses("a", "b"))
    a.network.know(UID)
    said = await closed_by_peer(hello(**changes), a.network.port)
    [(_, ours)] = FrameReader().feed(said)
    assert a.network.rejected == {reason: 1}
    theirs = Hello(changes.get("cluster", "c"), "b")
    theirs.uid = changes.get("uid", "")
    if reason == "version":
        ours = {**ours, "protocols": (2, 9)}
    assert theirs.wrong_with(ours, {"a"}, "a") == reason


async def test_two_clusters_of_one_name_have_nothing_to_do_with_each_other(stations) -> None:
    peers = addresses("a", "b")
    a, b = await stations("a", peers), await stations("b", peers)
    await a.until(lambda: a.network.connected("b"))  # as long as neither knows its own
    await b.until(lambda: b.network.connected("a"))
    a.network.know(UID)
    assert a.network.connected("b"), "it may be told yet which cluster it is of"
    b.network.know(OTHER)
    b.network._links["a"].cut()  # any break will do
    await a.until(lambda: ("down", "b") in a.links)
    await soon(lambda: a.network.rejected.get("wrong_cluster"))
    await soon(lambda: b.network.rejected.get("wrong_cluster"))
    a.messages.clear()
    b.network.send("a", {"kind": "raft"})
    assert a.messages == []


async def test_a_peer_that_learns_that_it_is_of_another_cluster_is_cut_off(stations) -> None:
    peers = addresses("a", "b")
    a, b = await stations("a", peers), await stations("b", peers)
    b.network.know(OTHER)
    await a.until(lambda: a.network.connected("b"))
    a.network.know(UID)
    await a.until(lambda: ("down", "b") in a.links)


async def test_founders_whose_lists_differ_stay_apart_and_both_say_so(
    stations, monkeypatch
) -> None:
    told: list[dict[str, str]] = []
    monkeypatch.setattr(log, "warning", lambda _, **fields: told.append(fields))
    table = addresses("a", "b", "c")
    a = await stations("a", table, founds=True)
    b = await stations("b", {name: table[name] for name in ("a", "b")}, founds=True)
    await soon(lambda: a.network.rejected and b.network.rejected)
    assert set(a.network.rejected) == set(b.network.rejected) == {"founders_differ"}
    assert {said["reason"] for said in told} == {"founders_differ"}
    assert any("lists 2:" in said["why"] and "ours 3:" in said["why"] for said in told)
    b.network.know(UID)  # once founded, lists are of no concern
    a.network.know(UID)
    await a.until(lambda: a.network.connected("b"))


async def test_what_a_newer_release_adds_to_any_message_is_ignored(stations) -> None:
    a = await stations("a", addresses("a", "b"))
    newer = hello(protocols=[1, 7], more={"deep": [1]}, founders="", also=None)
    reader, writer = await asyncio.open_connection("127.0.0.1", a.network.port)
    writer.write(newer + first({"kind": "gossip", "more": 1}))
    table = {"kind": "peers", "version": 5, "peers": {"c": "127.0.0.1:1"}, "more": [1]}
    writer.write(first(table, 2))
    await a.until(lambda: bool(a.messages))
    await soon(lambda: "c" in a.network.peers)
    farewell = {**ANSWER, "kind": "removed", "index": 7, "more": 1}
    assert a.network.hello.removed_at(farewell, "b") == 7
    assert a.network.rejected == {}
    assert (await reader.read(4)) != b""
    await hang_up(writer)


def test_two_releases_speak_the_highest_protocol_that_both_have(monkeypatch) -> None:
    monkeypatch.setattr("stationkeep.node.peers.hello.PROTOCOLS", (2, 5))
    spoken = [common(other) for other in ((1, 1), (1, 2), (3, 4), (4, 9), (6, 9))]
    assert spoken == [None, 2, 4, 5, None]


async def test_a_huge_frame_from_a_member_is_refused_unread(stations) -> None:
    a = await stations("a", addresses("a", "b"))
    data = hello() + first({"kind": "raft"}) + struct.pack(">I", MAX_FRAME + 9)
    said = await closed_by_peer(data, a.network.port)
    greeting = {**ANSWER, "node": "a", "life": a.network.hello.life}
    assert list(FrameReader().feed(said)) in ([], [(0, greeting)])
    assert a.network.rejected == {"frame_too_large": 1}
    assert a.messages == [("b", {"kind": "raft"})]


async def test_silence_instead_of_a_hello(stations, monkeypatch) -> None:
    monkeypatch.setattr(streams, "HELLO_SECONDS", 0.05)
    a = await stations("a", addresses("a", "b"))
    assert await closed_by_peer(b"", a.network.port) == b""
    assert a.network.rejected == {"hello_timeout": 1}


async def test_strangers_are_few_and_keep_no_member_out(stations, monkeypatch) -> None:
    monkeypatch.setattr(network, "MAX_STRANGERS", 2)
    monkeypatch.setattr(streams, "HELLO_SECONDS", 3600.0)
    peers = addresses("a", "b")
    a = await stations("a", peers)
    silent = [await asyncio.open_connection("127.0.0.1", a.network.port) for _ in range(2)]
    b = await stations("b", peers)
    await b.until(lambda: b.network.connected("a"))
    async with asyncio.timeout(10):
        assert await silent[0][0].read() == b"", "the one that was silent longest"
    assert a.network.rejected == {"too_many_strangers": 1}
    assert not silent[1][0].at_eof()
    await hang_up(*(writer for _, writer in silent))


async def test_a_removed_node_is_told_rests_and_is_found_when_it_is_back(
    stations, monkeypatch
) -> None:
    monkeypatch.setattr(link, "BACKOFF_REMOVED", 3600.0)
    peers = addresses("a", "b")
    a = await stations("a", {"a": peers["a"]})
    a.network.removed = {"b": 7}.get
    told: list[Any] = []
    b = Station("b", peers)
    b.network.on_removed = lambda *what: b._note(told, what)
    await b.network.start()
    await b.until(lambda: told == [("a", 7)])
    assert not b.links
    a.network.set_peers(peers, 8)
    await a.until(lambda: a.network.connected("b"))
    await b.until(lambda: b.network.connected("a"))
    assert a.network.rejected == {"removed_member": 1}, "it did not ask again in between"
    await b.network.close()


@pytest.mark.parametrize(
    "changes",
    [
        {"index": "7"},
        {"index": 0},
        {"index": 2**53 + 1},
        {"cluster": "other"},
        {"node": "c"},
        {"uid": 7},
    ],
)
async def test_a_strange_word_of_removal_is_refused(
    stations, monkeypatch, changes: dict[str, Any]
) -> None:
    refusals: list[str] = []
    peers = addresses("a", "b")
    word = {
        **ANSWER,
        "kind": "removed",
        "node": "a",
        "index": 7,
        **changes,
    }
    held: list[asyncio.StreamWriter] = []

    def impostor(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(pack(word))
        held.append(writer)

    host, port = split_address(peers["a"])
    server = await asyncio.start_server(impostor, host, port)
    b = Station("b", peers)
    monkeypatch.setattr(log, "warning", lambda _, reason, remote: b._note(refusals, reason))
    b.network.on_removed = lambda *_: pytest.fail("it was believed")
    await b.network.start()
    await b.until(lambda: refusals == ["bad_removed"])
    await b.network.close()
    server.close()
    await hang_up(*held)


async def test_warnings_do_not_flood(stations, monkeypatch) -> None:
    lines: list[dict[str, Any]] = []
    monkeypatch.setattr(log, "warning", lambda event, **fields: lines.append(fields))
    a = await stations("a", addresses("a", "b"))
    for _ in range(20):
        await closed_by_peer(struct.pack(">I", 2**31), a.network.port)
    assert a.network.rejected == {"frame_too_large": 20}
    assert [line["reason"] for line in lines] == ["frame_too_large"]


def test_warnings_of_ever_more_hosts_do_not_flood_either(monkeypatch) -> None:
    """A subscriber has more addresses of IPv6 than there are lines on any disk."""
    lines: list[str] = []
    now = 1_000.0
    monkeypatch.setattr(log, "warning", lambda _, remote, reason: lines.append(remote))
    monkeypatch.setattr(time, "monotonic", lambda: now)
    refusals = Refusals()
    for n in range(5 * MAX_WARNED):
        refusals.note(f"2001:db8::{n:x}:7701", "plain_text")
    assert len(lines) == MAX_WARNED
    assert refusals.counted == {"plain_text": 5 * MAX_WARNED}
    now += WARN_EVERY_SECONDS
    refusals.note("2001:db8::1:7701", "plain_text")
    assert len(lines) == MAX_WARNED + 1


async def test_the_dialler_verifies_whom_it_reached(stations, monkeypatch) -> None:
    port_a, port_b = free_ports(2)
    lines: list[str] = []
    monkeypatch.setattr(log, "warning", lambda _, reason, remote: a._note(lines, reason))
    a = await stations("a", {"a": f"127.0.0.1:{port_a}", "b": f"127.0.0.1:{port_b}"})

    held: list[asyncio.StreamWriter] = []

    def impostor(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(cluster="other"))
        held.append(writer)

    server = await asyncio.start_server(impostor, "127.0.0.1", port_b)
    await a.until(lambda: bool(lines))
    assert lines == ["wrong_cluster"]
    assert a.network.rejected["wrong_cluster"] >= 1
    assert not a.network.connected("b")
    assert a.links == []
    server.close()
    await hang_up(*held)


async def greeted(port: int, **changes: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(hello(**changes))
    await reader.readexactly(4)
    return reader, writer


async def ended(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(10):
        try:
            return len(await reader.read()) < 2**16
        except ConnectionError:
            return True


async def test_a_restarted_peer_ends_what_its_former_life_left(stations) -> None:
    a = await stations("a", addresses("a", "b"))
    old_reader, old_writer = await greeted(a.network.port)
    _, new_writer = await greeted(a.network.port, life=7, session=9)
    new_writer.write(first({"kind": "raft", "n": 2}))
    assert await ended(old_reader)
    await a.until(lambda: bool(a.messages))
    assert a.messages == [("b", {"kind": "raft", "n": 2})]
    await hang_up(old_writer, new_writer)


async def test_a_peer_has_few_streams_and_the_oldest_goes_first(stations, monkeypatch) -> None:
    monkeypatch.setattr(link, "MAX_STREAMS", 2)
    a = await stations("a", addresses("a", "b"))
    opened = [await greeted(a.network.port, session=n) for n in (1, 2, 3)]
    assert await ended(opened[0][0])
    for number, (_, writer) in enumerate(opened[1:]):
        writer.write(first({"kind": "raft", "n": number}))
    await a.until(lambda: len(a.messages) == 2)
    await hang_up(*(writer for _, writer in opened))


async def test_nobody_takes_the_session_of_another(stations) -> None:
    """Its name is in clear in every datagram."""
    a = await stations("a", addresses("a", "b", "c"))
    reader, writer = await greeted(a.network.port, session=5)
    assert await closed_by_peer(hello(node="c", session=5), a.network.port) == b""
    assert a.network.rejected == {"session_in_use": 1}
    assert not reader.at_eof()
    await hang_up(writer)


@pytest.mark.parametrize("life", [1, 2**63 - 1, 2**63, 2**64 - 1])
@pytest.mark.parametrize("session", [1, 2**63 - 1])
@pytest.mark.parametrize("number", [1, 2**20, 2**64 - 1])
async def test_a_peer_is_accepted_whatever_hello_came_in_its_name_before(
    stations, life: int, session: int, number: int
) -> None:
    """Also after a first message with any number, and a table of peers of any version."""
    peers = addresses("a", "b")
    a, b = await stations("a", peers), await stations("b", peers)
    await b.until(lambda: b.network.connected("a"))
    table = {"kind": "peers", "version": 2**64 - 1, "peers": {"c": "127.0.0.1:1"}}
    _, writer = await asyncio.open_connection("127.0.0.1", a.network.port)
    writer.write(hello(life=life, session=session) + first(table, number))
    async with asyncio.timeout(10):
        await _heard_again(a, b)
    await hang_up(writer)


async def _heard_again(a: Station, b: Station) -> None:
    while not a.messages:
        a.changed.clear()
        b.network.send("a", {"kind": "gossip"})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                await a.changed.wait()


@pytest.mark.parametrize("number", [0, 2 + 2**20, 2**64 - 1])
async def test_a_number_out_of_reach_ends_the_stream(stations, number: int) -> None:
    a = await stations("a", addresses("a", "b"))
    reader, writer = await greeted(a.network.port)
    writer.write(first({"kind": "raft"}) + first({"kind": "raft"}, number))
    assert await ended(reader)
    assert a.network.rejected == {"bad_number": 1}
    assert len(a.messages) == 1
    await hang_up(writer)


async def test_a_peer_that_does_not_read_is_reset_beyond_the_buffer(stations) -> None:
    port_a, port_b = free_ports(2)
    a = await stations(
        "a",
        {"a": f"127.0.0.1:{port_a}", "b": f"127.0.0.1:{port_b}"},
        send_buffer=1024 * 1024,
    )
    held: list[asyncio.StreamWriter] = []

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer())
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        held.append(writer)

    server = await asyncio.start_server(deaf, "127.0.0.1", port_b)
    await a.until(lambda: a.network.connected("b"))
    message = {"kind": "raft", "data": b"x" * 65536}
    sent = 0
    while a.network.send("b", message):
        sent += 1
        assert sent < 1000, "the buffer has a limit"
        await asyncio.sleep(0)
    assert a.network.rejected == {"send_buffer_full": 1}
    await a.until(lambda: a.links == [("up", "b"), ("up", "b")])
    server.close()
    await hang_up(*held)


async def test_a_port_in_use_is_named_with_its_holder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        network = PeerNetwork(node_id="a", cluster="c", listen=f"127.0.0.1:{port}", peers={})
        with pytest.raises(PortInUse, match=rf"127\.0\.0\.1:{port} is in use by pid \d+: "):
            await network.start()


@pytest.mark.parametrize("listen", ["0.0.0.0:7701", "10.0.0.1:7701", "example.org:7701"])
async def test_off_loopback_needs_certificates(listen: str) -> None:
    network = PeerNetwork(node_id="a", cluster="c", listen=listen, peers={})
    with pytest.raises(NotLoopback, match="loopback only"):
        await network.start()


# -- addresses are hints ---------------------------------------------------------------------------


async def test_a_peer_is_found_at_the_address_in_the_file_when_the_state_has_an_old_one(
    stations,
) -> None:
    """All may have moved at once while the cluster was down, and only the files say so."""
    now, old = addresses("a", "b"), addresses("a", "b")
    a, b = await stations("a", now), await stations("b", now)
    a.network.set_peers(old, 5)
    b.network.set_peers(old, 5)
    await a.until(lambda: a.network.connected("b"))
    await b.until(lambda: b.network.connected("a"))
    assert a.network.peers == {"b": old["b"]}


async def test_a_peer_is_found_where_another_peer_says_that_it_is(stations) -> None:
    table, old = addresses("a", "b", "c"), addresses("b")
    a = await stations("a", {**table, **old})
    b, c = await stations("b", table), await stations("c", table)
    await c.until(lambda: c.network.connected("b"))
    assert not a.network.connected("b")
    c.network.set_peers(table, 7)
    await a.until(lambda: a.network.connected("b"))
    await b.until(lambda: b.network.connected("a"))


async def test_a_lie_about_where_a_peer_is_does_not_keep_it_away(stations) -> None:
    """Who is there accepts every connection and says nothing, which takes 3 s to find out."""
    table = addresses("a", "b", "c")
    dialled = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        dialled.set()
        await reader.read(-1)
        writer.close()

    liar = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = liar.sockets[0].getsockname()[1]
    a = await stations("a", table)
    a.network.deliver("c", {"kind": "peers", "version": 1, "peers": {"b": f"127.0.0.1:{port}"}})
    await dialled.wait()
    b = await stations("b", table)
    async with asyncio.timeout(2):
        await a.until(lambda: a.network.connected("b"))
    assert a.network.figures()[0].address == table["b"]
    await b.until(lambda: b.network.connected("a"))
    liar.close()
    await liar.wait_closed()


@pytest.mark.parametrize("dead", [1, 7])
async def test_dead_addresses_of_a_name_do_not_hide_the_one_that_answers(
    stations, monkeypatch, dead: int
) -> None:
    """As IPv6 where a firewall drops it: nobody refuses, and nobody answers."""
    peers = addresses("a", "b")
    known = Resolver.addresses
    monkeypatch.setattr(dialling, "ADDRESS_SECONDS", 0.2)
    monkeypatch.setattr(dialling, "HELLO_SECONDS", 0.6)
    monkeypatch.setattr(dialling, "RACE_SECONDS", 0.1)

    async def two(self: Resolver, host: str) -> list[str]:
        found = await known(self, "127.0.0.1" if host == "b.example.net" else host)
        return ["2001:db8::1"] * dead + found if host == "b.example.net" else found

    monkeypatch.setattr(Resolver, "addresses", two)
    loop = asyncio.get_running_loop()
    connect = loop.create_connection

    async def connected(made, host: str, port: int, **more: Any) -> Any:
        if host == "2001:db8::1":
            await asyncio.Event().wait()
        return await connect(made, host, port, **more)

    monkeypatch.setattr(loop, "create_connection", connected)
    there = peers["b"].replace("127.0.0.1", "b.example.net")
    a = await stations("a", {**peers, "b": there}, insecure=True)
    await stations("b", peers)
    async with asyncio.timeout(6):
        await a.until(lambda: a.network.connected("b"))


async def test_a_node_that_moved_alone_is_found_where_it_says_that_it_is(stations) -> None:
    """Its file says where, and its state where it was; others know no better than that."""
    old = addresses("a", "b", "c")
    now = {**old, **addresses("b")}
    a, c = await stations("a", old), await stations("c", old)
    b = await stations("b", now)
    for station in (b, a, c):
        station.network.set_peers(old, 5)
    await b.until(lambda: b.network.connected("a"))
    c.network.tell_peers("a")
    await a.until(lambda: a.network.connected("b"))


# -- peers that come and go ----------------------------------------------------------------------


async def test_peers_are_added_and_dropped_while_running(stations) -> None:
    table = addresses("a", "b", "c")
    two = {name: table[name] for name in ("a", "b")}
    a, b = await stations("a", two), await stations("b", two)
    await a.until(lambda: a.network.connected("b"))
    c = await stations("c", table)
    a.network.set_peers(table, 5)
    await a.until(lambda: a.network.connected("c"))
    await c.until(lambda: c.network.connected("a"))
    a.network.send("b", {"kind": "raft", "last": "words"})
    a.network.set_peers({"c": table["c"]}, 9)
    assert not a.network.connected("b")
    assert ("down", "b") in a.links
    await b.until(lambda: b.messages == [("a", {"kind": "raft", "last": "words"})])
    await b.until(lambda: ("down", "a") in b.links)
    assert a.network.peers == {"c": table["c"]}


async def test_a_node_that_was_away_learns_from_its_peers_of_a_new_member(stations) -> None:
    table = addresses("a", "b", "c")
    two = {name: table[name] for name in ("a", "b")}
    a, c = await stations("a", table), await stations("c", table)
    a.network.set_peers(table, 7)
    b = await stations("b", two)  # its file and its state know of two
    await c.until(lambda: c.network.connected("b"))
    await b.until(lambda: b.network.connected("c"))
    assert b.messages == [], "such talk is the network's own"


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"version": "9", "peers": {}},
        {"version": 9, "peers": []},
        {"version": 9, "peers": {"": "127.0.0.1:1"}},
        {"version": 9, "peers": {"x" * 65: "127.0.0.1:1"}},
        {"version": 9, "peers": {"c": "nowhere"}},
        {"version": 9, "peers": {"c": 7}},
        {"version": 9, "peers": {"c": "0.0.0.0:7"}},
        {"version": 9, "peers": {f"n{i}": "127.0.0.1:1" for i in range(whereabouts.MAX_PEERS + 1)}},
    ],
)
async def test_a_table_of_peers_that_makes_no_sense_is_counted(stations, message) -> None:
    peers = addresses("a", "b")
    a = await stations("a", peers)
    a.network.deliver("b", {"kind": "peers", **message})
    assert a.network.rejected == {"bad_peers": 1}
    assert set(a.network.peers) == {"b"}


async def test_a_name_that_only_a_peer_mentioned_is_not_accepted(stations, monkeypatch) -> None:
    """Nobody was met under it where it is said to live."""
    monkeypatch.setattr(whereabouts, "HEARSAY_SECONDS", 0.0)
    a = await stations("a", addresses("a", "b"))
    nowhere = addresses(*(f"z{number:03}" for number in range(40)))
    a.network.deliver("b", {"kind": "peers", "version": 1 << 62, "peers": nowhere})
    assert len(a.network.peers) == 1 + whereabouts.MAX_HEARSAY
    assert await closed_by_peer(hello(node="z000"), a.network.port) == b""
    assert a.network.rejected["not_member"] == 1
    a.network.deliver("b", {"kind": "peers", "version": 1 << 62, "peers": nowhere})
    assert len(a.network.peers) == 1 + whereabouts.MAX_HEARSAY
    assert set(nowhere) & set(a.network.peers) != set(sorted(nowhere)[: whereabouts.MAX_HEARSAY])


async def test_ever_new_names_are_dialled_no_faster_than_they_can_be_found_false(stations) -> None:
    """Each costs a context, a task and connections; a member may tell thousands a second."""
    a = await stations("a", addresses("a", "b"))
    for n in range(20):
        table = {f"n{n}-{m}": f"127.0.0.1:{1 + m}" for m in range(whereabouts.MAX_HEARSAY)}
        a.network.deliver("b", {"kind": "peers", "version": 1 << 62, "peers": table})
    assert set(a.network.peers) == {"b", *(f"n0-{m}" for m in range(whereabouts.MAX_HEARSAY))}


async def test_an_older_table_of_peers_changes_nothing(stations) -> None:
    a = await stations("a", addresses("a", "b"))
    a.network.set_peers(a.network.peers, 10)
    a.network.deliver("b", {"kind": "peers", "version": 9, "peers": {"c": "127.0.0.1:1"}})
    assert set(a.network.peers) == {"b"}


async def test_l9_streams_suit_few_small_messages_and_do_not_outlive_a_peer(stations) -> None:
    peers = addresses("a", "b")
    a, b = await stations("a", peers), await stations("b", peers)
    await a.until(lambda: a.network.connected("b"))
    await b.until(lambda: b.network.connected("a"))
    for address in peers.values():
        with connections_to(int(address.rpartition(":")[2])) as ends:
            assert ends.dialled
            assert ends.accepted
            for sock in ends.dialled + ends.accepted:
                assert is_thin(sock)
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                waits = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
                assert waits == streams.USER_TIMEOUT_MS
