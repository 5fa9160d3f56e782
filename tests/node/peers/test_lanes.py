"""What each lane is for: streams that stand or are gone, datagrams that are lost or forged."""

import asyncio
import socket
from typing import Any

import pytest

from stationkeep.node.peers import link, network
from stationkeep.node.peers.datagrams import DatagramSockets
from stationkeep.node.peers.dialling import Dialling
from stationkeep.node.peers.frames import MAX_FRAME
from stationkeep.node.peers.network import PeerNetwork, PortInUse
from stationkeep.node.peers.sessions import MAX_BODY, Echo, Outgoing
from stationkeep.node.peers.streams import Outbound, Pulse
from stationkeep.node.ports import LinkFigures
from tests.node.peers.station import Station, addresses


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    monkeypatch.setattr(network, "TICK_SECONDS", 0.02)
    monkeypatch.setattr(link, "WATCH_SECONDS", 0.02)


async def two(stations) -> tuple[Station, Station]:
    peers = addresses("a", "b")
    a, b = await stations("a", peers), await stations("b", peers)
    await a.until(lambda: a.network.connected("b"))
    await b.until(lambda: b.network.connected("a"))
    return a, b


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what changes tells nobody
            await asyncio.sleep(0)


def seen(station: Station) -> LinkFigures:
    (figures,) = station.network.figures()
    return figures


def numbers(station: Station) -> list[int]:
    return [message["n"] for _, message in station.messages]


async def test_a_message_on_both_lanes_arrives_once(stations, monkeypatch) -> None:
    monkeypatch.setattr(link, "SPARED", link.DOUBTED)
    a, b = await two(stations)
    sent = 0
    while seen(b).duplicates_total < 20:
        a.network.send("b", {"n": sent})
        sent += 1
        await asyncio.sleep(0)
    await b.until(lambda: len(b.messages) == sent)
    assert sorted(numbers(b)) == list(range(sent))
    assert seen(b).lost_total == 0
    assert seen(b).heard == seen(b).sent >= 20


async def test_blocked_datagrams_cost_nothing(stations, monkeypatch) -> None:
    monkeypatch.setattr(DatagramSockets, "send", lambda *_: True)
    a, b = await two(stations)
    for n in range(50):
        a.network.send("b", {"n": n})
    await b.until(lambda: len(b.messages) == 50)
    assert numbers(b) == list(range(50)), "a stream keeps order"
    assert a.network.comfortable("b") == MAX_FRAME, "there is nothing better than the stream"
    assert seen(b).heard == 0


async def test_without_a_stream_datagrams_go_on_and_so_does_the_link(stations, monkeypatch) -> None:
    monkeypatch.setattr(link, "LINGER", 2.5)
    a, b = await two(stations)
    await until(lambda: a.network._links["b"]._path.answered_at > 0)

    async def nobody(_: Dialling) -> None:
        await asyncio.sleep(0.01)

    monkeypatch.setattr(Dialling, "race", nobody)
    for station, peer in ((a, "b"), (b, "a")):
        stream = station.network._links[peer]._stream
        assert stream is not None
        stream.transport.abort()
    await until(lambda: seen(a).streams == seen(b).streams == 0)
    for n in range(20):
        assert a.network.send("b", {"n": n})
        await asyncio.sleep(0.03)  # for so long dialling fails meanwhile
    await b.until(lambda: sorted(numbers(b)) == list(range(20)))
    assert a.links == [("up", "b")]
    assert not a.network.send("b", {"long": bytes(MAX_BODY)}), "it fits no datagram"
    monkeypatch.setattr(DatagramSockets, "send", lambda *_: True)
    await a.until(lambda: ("down", "b") in a.links)


async def test_a_stream_that_stands_is_replaced_while_it_drains(stations, monkeypatch) -> None:
    a, _ = await two(stations)
    first = a.network._links["b"]._stream
    drained: list[bool] = []
    real = Outbound.pulse

    def pulse(stream: Outbound) -> Pulse:
        return real(stream) if stream is not first or drained else Pulse(True, link.STALLED)

    monkeypatch.setattr(Outbound, "pulse", pulse)
    a.network.send("b", {"n": 1})
    await a.until(lambda: a.links == [("up", "b"), ("up", "b")])
    assert seen(a).streams == 2
    assert seen(a).in_doubt
    drained.append(True)
    await until(lambda: seen(a).streams == 1)
    assert a.network._links["b"]._stream is not first
    assert a.network.connected("b")


async def test_no_more_than_a_few_streams_stand_beside_each_other(stations, monkeypatch) -> None:
    monkeypatch.setattr(Outbound, "pulse", lambda _: Pulse(True, link.STALLED))
    a, _ = await two(stations)
    replaced = 0
    while replaced < 3 * link.MAX_STREAMS:
        a.network.send("b", {"n": 1})
        await asyncio.sleep(0.01)
        replaced = len(a.links)
        assert seen(a).streams <= link.MAX_STREAMS


async def test_keys_are_renewed(stations, monkeypatch) -> None:
    a, b = await two(stations)
    before = a.network._links["b"]._session
    monkeypatch.setattr(link, "RENEWAL_SECONDS", 0.0)
    await until(lambda: a.network._links["b"]._session is not before)
    monkeypatch.setattr(link, "RENEWAL_SECONDS", 3_600.0)
    after = a.network._links["b"]._session
    assert before is not None
    assert after is not None
    assert after.key != before.key
    a.network.send("b", {"n": 1})
    await b.until(lambda: bool(b.messages))
    assert ("down", "b") not in a.links


async def test_forged_replayed_and_foreign_datagrams_are_counted_and_dropped(stations) -> None:
    a, b = await two(stations)
    await until(lambda: seen(b).received_total > 0)
    session = a.network._links["b"]._session
    assert session is not None
    where = ("127.0.0.1", b.network.port)
    stranger = Outgoing()
    datagram = session.seal(session.next_number(), b"\x81\xa1n\x01", Echo())
    sick = bytearray(session.seal(session.next_number(), b"\x81\xa1n\x02", Echo()))
    sick[-1] ^= 1
    nonsense = session.seal(session.next_number(), b"\xc1", Echo())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for data in (
            datagram, datagram, bytes(sick), nonsense, b"", b"hello", bytes(1_300),
            stranger.seal(1, b"\x81\xa1n\x03", Echo()),
        ):  # fmt: skip
            sender.sendto(data, where)
    await b.until(lambda: bool(b.messages))
    await until(lambda: sum(b.network.rejected.values()) == 4)
    assert numbers(b) == [1]
    assert b.network.rejected == {"datagram_malformed": 3, "datagram_unknown_key": 1}
    assert seen(b).refused_total == {"forged": 1, "malformed": 1, "replayed": 1, "too_many": 0}


async def test_datagrams_beyond_the_rate_are_dropped_unopened(stations, monkeypatch) -> None:
    monkeypatch.setattr(link, "MOST_RECEIVED", 10.0)
    monkeypatch.setattr(link, "SPARED", 2_000.0)
    a, b = await two(stations)
    for n in range(200):
        a.network.send("b", {"n": n})
    await b.until(lambda: len(b.messages) == 200)
    assert seen(b).refused_total["too_many"] > 0


async def test_a_port_whose_datagrams_somebody_else_takes_is_in_use() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        alone = PeerNetwork(node_id="a", cluster="c", listen=f"127.0.0.1:{port}", peers={})
        with pytest.raises(PortInUse, match=f"127\\.0\\.0\\.1:{port}"):
            await alone.start()


async def test_losses_put_a_way_in_doubt_and_its_messages_small(stations, monkeypatch) -> None:
    a, b = await two(stations)
    await until(lambda: a.network._links["b"]._path.answered_at > 0)
    await until(lambda: not seen(a).in_doubt)
    assert a.network.comfortable("b") == MAX_FRAME
    real, sent = DatagramSockets.send, []

    def lossy(sockets: DatagramSockets, datagram: bytes, address: Any) -> bool:
        sent.append(datagram)
        return len(sent) % 3 == 0 or real(sockets, datagram, address)

    monkeypatch.setattr(DatagramSockets, "send", lossy)
    n = 0
    while not seen(a).in_doubt:
        a.network.send("b", {"n": n})
        b.network.send("a", {"n": n})
        n += 1
        await asyncio.sleep(0.001)
    assert a.network.comfortable("b") == MAX_BODY
    await until(lambda: seen(b).lost_total > 0)
