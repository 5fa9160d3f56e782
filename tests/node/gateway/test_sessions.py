"""The devices' door on real sockets: what devices hear, and how connections end."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
import uvloop
from prometheus_client import CollectorRegistry, generate_latest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from stationkeep.cluster.commands import AssignRing, RemoveDevice
from stationkeep.cluster.devices.rings import Ring
from stationkeep.node.gateway import sessions as agents
from stationkeep.node.gateway import websocket as sockets
from stationkeep.node.gateway.sessions import PATH
from stationkeep.node.metrics.devices import AgentsCollector
from stationkeep.node.wire import messages as wire
from tests.node.api.doorstep import STATUS, Device, Doorstep, device

ALL_SUBPROTOCOLS = list(wire.CODECS)


@pytest.fixture
def doorstep() -> Doorstep:
    return Doorstep()


@pytest.fixture
async def port(doorstep: Doorstep) -> AsyncIterator[int]:
    async with doorstep.serving() as port:
        yield port


def _within(base: float, value: float) -> bool:
    return base * (1 - agents.JITTER) <= value <= base * (1 + agents.JITTER)


async def _until(condition: Callable[[], bool]) -> None:
    """Lets the event loop run until a condition holds; the test's own timeout is the bound."""
    while not condition():  # noqa: ASYNC110 - there is no event for what a counter says
        await asyncio.sleep(0)


# -- registration, status, heartbeat ------------------------------------------------------------


async def test_a_device_registers_and_hears_its_ring(doorstep: Doorstep, port: int) -> None:
    async with device(port) as pixel:
        answer = await pixel.ask(
            "registration",
            {"capabilities": {"deployment": True}, "labels": {"site": "lab"},
             "device_status": STATUS},
        )  # fmt: skip
        known = doorstep.fleet.device(doorstep.fleet.row("slave-001"))
        assert (answer["message_type"], answer["sender_id"], answer["receiver_id"]) == (
            "ack",
            "sat-001",
            "slave-001",
        )
        payload = answer["payload"]
        assert payload["of"] == "registration"
        assert payload["ring"] == known.ring
        assert payload["reason"] == "registered"
        assert payload["nodes"] == ["http://127.0.0.1:8701"]
        assert (known.name, known.os_version, known.app_version) == (
            "Pixel 8 Pro",
            "Android 14",
            "1.0.0",
        )
        assert known.capabilities == {"deployment": "true"}
        assert known.labels == {"site": "lab"}
        assert (known.battery, known.cpu) == (85, 45.2)


async def test_a_status_of_the_seed_is_stored(doorstep: Doorstep, port: int) -> None:
    async with device(port) as pixel:
        await pixel.register()
        await pixel.report(battery_level=11, cpu_usage=99.99, metrics={"temperature": 41.5})
        await pixel.ask("heartbeat", {})
        doorstep.settle()
        known = doorstep.fleet.device(0)
        assert (known.battery, known.charging, known.cpu, known.memory, known.disk) == (
            11,
            True,
            99.99,
            62.5,
            55.0,
        )
        assert known.metrics == {"temperature": 41.5}


async def test_a_heartbeat_hears_when_to_speak_next(port: int) -> None:
    async with device(port) as pixel:
        await pixel.register()
        answers = [(await pixel.ask("heartbeat", {}))["payload"] for _ in range(8)]
        assert all(answer["of"] == "heartbeat" for answer in answers)
        assert all(_within(10, answer["status_interval"]) for answer in answers)
        assert all(_within(5, answer["heartbeat_interval"]) for answer in answers)
        assert len({answer["status_interval"] for answer in answers}) > 1


async def test_a_new_ring_is_told_at_once(doorstep: Doorstep, port: int) -> None:
    async with device(port) as pixel:
        first = await pixel.register()
        target = Ring.PROD if first["ring"] != "prod" else Ring.DEV
        doorstep.commit(AssignRing("slave-001", target))
        message = await pixel.hear()
        assert message["message_type"] == "ring_assignment"
        assert message["receiver_id"] == "slave-001"
        assert message["payload"]["ring"] == target
        assert message["payload"]["reason"] == "pinned"
        assert message["payload"]["revision"] > first["revision"]
        assert message["payload"].keys() == {"ring", "reason", "timestamp", "revision"}


async def test_devices_are_told_whom_to_trust_when_that_changes_and_when_they_come(
    doorstep: Doorstep, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents, "SWEEP_SECONDS", 0.01)
    monkeypatch.setattr(agents, "TOLD_AT_ONCE", 1)
    async with device(port, "one") as one, device(port, "two") as two, device(port, "3") as three:
        for each in (one, two):
            await each.register()
        doorstep.agents.trusted = lambda: "CA"
        for each in (one, two):
            told = await each.hear()
            assert (told["message_type"], told["receiver_id"]) == ("trust", each.id)
            assert told["payload"] == {"ca": "CA"}
        await three.register()
        assert (await three.hear())["payload"] == {"ca": "CA"}
        beat = await one.ask("heartbeat", {"sequence": 7})
        assert beat["payload"]["of"] == "heartbeat"  # nothing was said twice


@pytest.mark.parametrize("name", ALL_SUBPROTOCOLS)
async def test_both_encodings(doorstep: Doorstep, port: int, name: str) -> None:
    codec = wire.CODECS[name]
    async with device(port, "slave-001", "something.else", name) as pixel:
        assert pixel.connection.subprotocol == name
        message = {
            "message_type": "registration",
            "sender_id": "slave-001",
            "payload": {"device_status": STATUS},
        }
        encoded = codec.encode(message)
        await pixel.connection.send(encoded if codec.binary else encoded.decode())
        answer = await pixel.connection.recv()
        assert isinstance(answer, bytes) is codec.binary
        told = codec.decode_told(answer if isinstance(answer, bytes) else answer.encode())
        assert isinstance(told, wire.Ack)
        assert told.payload.ring == doorstep.fleet.device(0).ring


async def _whole_life() -> None:
    doorstep = Doorstep()
    async with doorstep.serving() as port:
        await _raw(port, _frame(_registration()), BYE)
        async with device(port) as pixel:
            await pixel.register()
            await pixel.report(battery_level=12)
            await pixel.ask("heartbeat", {})
        await _until(lambda: len(doorstep.intake.connected) == 0)
        doorstep.settle()
        assert doorstep.fleet.device(0).battery == 12


def test_the_event_loop_of_a_real_node() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_whole_life())


# -- who speaks for whom ------------------------------------------------------------------------


async def test_before_its_registration_a_device_may_say_nothing(
    doorstep: Doorstep, port: int
) -> None:
    async with device(port) as pixel:
        await pixel.report()
        error = await pixel.error()
        assert (error["code"], error["field"]) == ("unregistered", "message_type")
        assert error["value"] == "device_status_update"
        assert len(doorstep.fleet) == 0
        assert (await pixel.register())["of"] == "registration"


async def test_nobody_speaks_for_another(doorstep: Doorstep, port: int) -> None:
    async with device(port, "victim") as victim, device(port, "rogue") as rogue:
        await victim.register()
        await rogue.register()
        ill = STATUS | {"slave_id": "victim", "battery_level": 1}
        await rogue.say("device_status_update", {"device_status": ill}, sender_id="victim")
        error = await rogue.error()
        assert (error["field"], error["value"]) == ("sender_id", "victim")
        assert "rogue" in error["rule"]
        await rogue.say("device_status_update", {"device_status": ill})
        error = await rogue.error()
        assert (error["field"], error["value"]) == ("payload.device_status.slave_id", "victim")
        await rogue.say("registration", {"device_status": ill}, sender_id="victim")
        assert (await rogue.error())["field"] == "sender_id"
        await victim.report(battery_level=77)
        await victim.ask("heartbeat", {})
        await rogue.ask("heartbeat", {})
        doorstep.settle()
        assert doorstep.fleet.device(doorstep.fleet.row("victim")).battery == 77


async def test_a_registration_is_of_its_sender(doorstep: Doorstep, port: int) -> None:
    async with device(port, "rogue") as rogue:
        await rogue.say("registration", {"device_status": STATUS})
        error = await rogue.error()
        assert (error["field"], error["value"]) == ("payload.device_status.slave_id", "slave-001")
        assert len(doorstep.fleet) == 0


async def test_the_newer_session_wins_and_the_older_is_told(doorstep: Doorstep, port: int) -> None:
    async with device(port) as older, device(port) as newer:
        await older.register(session=4, sequence=1)
        await newer.register(session=5, sequence=1)
        error = await older.error()
        assert (error["code"], error["closing"]) == ("superseded", True)
        assert (await older.ended())[0] == wire.Close.SUPERSEDED
        assert (await newer.ask("heartbeat", {}))["message_type"] == "ack"
        assert doorstep.agents.ended["superseded"] == 1


async def test_an_older_session_is_not_taken(doorstep: Doorstep, port: int) -> None:
    async with device(port) as newer, device(port) as older:
        await newer.register(session=5, sequence=1)
        await older.say("registration", {"device_status": STATUS, "session": 4, "sequence": 9})
        error = await older.error()
        assert (error["code"], error["session"], error["closing"]) == ("outdated", 5, True)
        assert (await older.ended())[0] == wire.Close.SUPERSEDED
        assert (await newer.ask("heartbeat", {}))["message_type"] == "ack"


async def test_agents_that_do_not_number_replace_each_other(port: int) -> None:
    async with device(port) as older, device(port) as newer:
        await older.register()
        await newer.register()
        assert (await older.error())["code"] == "superseded"
        assert (await newer.ask("heartbeat", {}))["message_type"] == "ack"


async def test_an_older_word_is_dropped_and_said_so(doorstep: Doorstep, port: int) -> None:
    async with device(port) as pixel:
        await pixel.register(session=3, sequence=10)
        old = {"device_status": STATUS | {"battery_level": 1}, "sequence": 9}
        await pixel.say("device_status_update", old)
        error = await pixel.error()
        assert (error["code"], error["session"]) == ("outdated", 3)
        assert "closing" not in error
        doorstep.settle()
        assert doorstep.fleet.device(0).battery == 85


async def test_a_removed_device_is_told(doorstep: Doorstep, port: int) -> None:
    async with device(port) as pixel:
        await pixel.register()
        doorstep.commit(RemoveDevice("slave-001"))
        error = await pixel.error()
        assert (error["code"], error["closing"]) == ("removed", True)
        assert (await pixel.ended())[0] == wire.Close.REMOVED


async def test_a_device_may_register_again_with_other_metadata(
    doorstep: Doorstep, port: int
) -> None:
    async with device(port) as pixel:
        ring = (await pixel.register(session=1, sequence=1))["ring"]
        newer = STATUS | {"app_version": "2.0.0"}
        answer = await pixel.register(session=1, sequence=2, device_status=newer)
        assert answer["ring"] == ring
        assert doorstep.fleet.device(0).app_version == "2.0.0"
        assert (await pixel.ask("heartbeat", {}))["message_type"] == "ack"


# -- how it ends --------------------------------------------------------------------------------


async def test_who_does_not_register_is_let_go(
    doorstep: Doorstep, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents, "REGISTRATION_SECONDS", 0.05)
    monkeypatch.setattr(agents, "SWEEP_SECONDS", 0.01)
    async with device(port) as silent:
        code, reason = await silent.ended()
        assert (code, reason) == (wire.Close.POLICY, "no registration within 0.05 s")
    assert doorstep.agents.ended["unregistered"] == 1


async def test_a_device_that_gives_no_sign_of_life_is_let_go(
    doorstep: Doorstep, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents, "SWEEP_SECONDS", 0.01)
    monkeypatch.setattr(agents.Sessions, "patience", 0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await _raw_handshake(reader, writer)
    writer.write(_frame(_registration()))
    seen = await reader.read()  # to the end: pings that nobody answers, and the reason
    assert b"nothing received for 0.3 s" in seen
    assert seen.count(b"\x89\x00") >= 1
    writer.close()
    assert doorstep.agents.ended["silent"] == 1


async def test_a_silent_device_that_answers_pings_stays(
    doorstep: Doorstep, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents, "SWEEP_SECONDS", 0.01)
    monkeypatch.setattr(agents.Sessions, "patience", 0.2)
    async with device(port) as pixel:
        await pixel.register()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pixel.hear(), 0.6)
        assert (await pixel.ask("heartbeat", {}))["message_type"] == "ack"


async def test_a_flood_is_cut_off(doorstep: Doorstep, port: int) -> None:
    async with device(port) as pixel:
        await pixel.register(session=1, sequence=1)
        for _ in range(int(sockets.MESSAGE_BURST) + 1):
            await pixel.report()
        error = await pixel.error()
        assert (error["code"], error["closing"]) == ("too_fast", True)
        assert (await pixel.ended())[0] == wire.Close.POLICY
    assert doorstep.agents.ended["too_fast"] == 1


async def test_who_does_not_read_is_dropped_not_buffered(doorstep: Doorstep, port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=256)
    await _raw_handshake(reader, writer)
    writer.write(_frame(_registration()))
    await _until(lambda: len(doorstep.intake.connected) == 1)
    writer.transport.pause_reading()
    for n in range(100_000):
        doorstep.commit(AssignRing("slave-001", (Ring.DEV, Ring.PROD)[n % 2]))
        if doorstep.agents.closing:
            break
    writer.transport.abort()
    await _until(lambda: len(doorstep.agents) == 0)
    assert doorstep.agents.ended["too_slow"] == 1
    assert len(doorstep.intake.connected) == 0


async def test_a_stopping_node_sends_its_devices_elsewhere(doorstep: Doorstep, port: int) -> None:
    async with device(port, "one") as one, device(port, "two") as two:
        await one.register()
        await doorstep.agents.drain()
        for client in (one, two):
            assert (await client.ended())[0] == wire.Close.RESTART
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"ws://127.0.0.1:{port}{PATH}")
    assert refused.value.response.status_code == 429
    assert doorstep.agents.ended["stopping"] == 2


async def test_a_node_with_far_more_than_its_share_sends_devices_elsewhere_by_and_by(
    doorstep: Doorstep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents, "SWEEP_SECONDS", 0.01)
    monkeypatch.setattr(agents, "SPREAD_SECONDS", 0.01)
    asked: list[tuple[int, int, int]] = []

    def one_of_two(*figures: int) -> int:
        asked.append(figures)
        return int(figures[0] == 2)

    monkeypatch.setattr(agents, "to_send_away", one_of_two)
    async with (
        doorstep.serving() as port,
        device(port, "one") as one,
        device(port, "two") as two,
    ):
        await one.register()
        await two.register()
        waits = [asyncio.ensure_future(client.ended()) for client in (one, two)]
        done, left = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        assert [wait.result()[0] for wait in done] == [wire.Close.RESTART]
        await _until(lambda: len(doorstep.intake.connected) == 1 and asked[-1][:2] == (1, 2))
        assert doorstep.agents.ended["spread"] == 1
        for wait in left:
            wait.cancel()


async def test_a_device_that_hangs_up_is_no_longer_connected(doorstep: Doorstep, port: int) -> None:
    async with device(port) as pixel:
        await pixel.register()
        assert len(doorstep.intake.connected) == 1
    await _until(lambda: len(doorstep.intake.connected) == 0)
    assert doorstep.agents.ended["gone"] == 1


# -- who may connect ----------------------------------------------------------------------------


async def _refusal(port: int, path: str = PATH, **options: Any) -> Any:
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"ws://127.0.0.1:{port}{path}", **options)
    response = refused.value.response
    assert response.headers["content-type"] == "application/problem+json"
    problem = json.loads(response.body or b"")
    assert problem["status"] == response.status_code
    return problem


async def test_more_devices_than_there_are_places(
    doorstep: Doorstep, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents, "most_devices", lambda: 1)
    async with device(port) as pixel:
        problem = await _refusal(port)
        assert (problem["status"], problem["detail"]) == (
            429,
            "1 devices are connected to this node already",
        )
        await pixel.register()
    await _until(lambda: len(doorstep.agents) == 0)
    async with device(port) as pixel:
        await pixel.register()


async def test_a_page_of_another_site_may_not_connect(port: int) -> None:
    problem = await _refusal(port, origin="https://evil.example")
    assert problem["status"] == 403
    assert "evil.example" in problem["detail"]
    async with device(port, origin="http://localhost:8701") as own:
        await own.register()


async def test_websockets_elsewhere(port: int) -> None:
    assert (await _refusal(port, "/v1/events"))["status"] == 404


async def test_a_subprotocol_that_nobody_speaks(port: int) -> None:
    problem = await _refusal(port, subprotocols=["soap"])
    assert problem["status"] == 400
    assert "stationkeep.json, stationkeep.msgpack" in problem["detail"]


# -- frames -------------------------------------------------------------------------------------


def _frame(payload: bytes, first: int = 0x81) -> bytes:
    size = len(payload)
    head = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2)
    return bytes([first]) + head + bytes(4) + payload


def _registration(id_: str = "slave-001") -> bytes:
    status = STATUS | {"slave_id": id_}
    return msgspec.json.encode(
        {"message_type": "registration", "sender_id": id_, "payload": {"device_status": status}}
    )


HANDSHAKE = (
    f"GET {PATH} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
).encode()


async def _raw_handshake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HANDSHAKE)
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")


async def _raw(port: int, *pieces: bytes) -> bytes:
    """Sends pieces one by one after the handshake and a hang-up; what the node says to them."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await _raw_handshake(reader, writer)
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(0)
    seen = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return seen


BYE = _frame(b"\x03\xe8", 0x88)


async def test_messages_in_any_pieces(doorstep: Doorstep, port: int) -> None:
    whole = b"".join(_frame(_registration(f"slave-{n:03d}")) for n in range(3)) + BYE
    await _raw(port, whole)
    assert doorstep.agents.errors[wire.Code.INVALID] == 2  # a connection is one device's
    message = _frame(_registration("in-bytes"))
    await _raw(port, *(bytes([byte]) for byte in message + BYE))
    await _until(lambda: len(doorstep.fleet) == 2)


async def test_a_message_in_fragments(doorstep: Doorstep, port: int) -> None:
    message = _registration("in-fragments")
    parts = (message[:7], message[7:200], b"", message[200:])
    frames = [_frame(part, 0x01 if n == 0 else 0x00) for n, part in enumerate(parts[:-1])]
    await _raw(port, *frames, _frame(b"ping", 0x89), _frame(parts[-1], 0x80), BYE)
    await _until(lambda: len(doorstep.fleet) == 1)


@pytest.mark.parametrize(
    ("code", "pieces"),
    [
        (1002, [b"\x81\x05hello"]),  # not masked
        (1002, [_frame(b"", 0x83)]),  # a reserved opcode
        (1002, [_frame(b"{}", 0xC1)]),  # an extension that nobody agreed on
        (1002, [_frame(b"{}", 0x01), _frame(b"{}", 0x81)]),  # a message within a message
        (1002, [_frame(b"{}", 0x80)]),  # the rest of nothing
        (1009, [b"\x81\xff" + (70_000).to_bytes(8) + bytes(4)]),
        (1009, [b"\x81\xff" + (1 << 62).to_bytes(8) + bytes(4)]),
        (1009, [_frame(b"x" * 40_000, 0x01), _frame(b"x" * 40_000, 0x00)]),
    ],
)
async def test_frames_that_cannot_be(
    doorstep: Doorstep, port: int, code: int, pieces: list[bytes]
) -> None:
    async with device(port, "neighbour") as neighbour:
        await neighbour.register()
        seen = await _raw(port, *pieces)
        assert seen[0] == 0x88
        assert int.from_bytes(seen[2:4]) == code
        assert doorstep.agents.ended["invalid_frames"] == 1
        assert (await neighbour.ask("heartbeat", {}))["message_type"] == "ack"


# -- what is no message, or none that may be ----------------------------------------------------


async def _answer_to(pixel: Device, message: str | bytes) -> Any:
    await pixel.connection.send(message)
    return await pixel.error()


@pytest.mark.parametrize(
    ("message", "code", "rule"),
    [
        ("", "malformed", "well-formed json"),
        ("hello", "malformed", "well-formed json"),
        ('{"message_type": "heartbeat", "sender_id": NaN}', "malformed", "well-formed json"),
        ("[" * 20_000, "invalid", "expected object, got array"),
        ('{"sender_id":' + "[" * 20_000, "malformed", "nested less deeply"),
        ('{"message_type":"heartbeat","sender_id":' + "[" * 9_000, "invalid", "expected str"),
        (b'{"message_type": "heartbeat", "sender_id": "\xff"}', "malformed", "UTF-8 text"),
        ("{}", "invalid", "required"),
        (
            '{"message_type": "deploy"}',
            "invalid",
            "registration, device_status_update, heartbeat or",
        ),
        ('"' + "x" * (wire.MAX_MESSAGE_BYTES) + '"', "too_large", "at most 32768 bytes"),
    ],
)
async def test_what_is_no_message(
    doorstep: Doorstep, port: int, message: str | bytes, code: str, rule: str
) -> None:
    async with device(port) as pixel:
        await pixel.register()
        error = await _answer_to(pixel, message)
        assert error["code"] == code
        assert rule in error["rule"]
        assert error["field"]
        assert (await pixel.ask("heartbeat", {}))["message_type"] == "ack"
        assert doorstep.agents.errors[wire.Code(code)] == 1


# -- what can be seen of it ---------------------------------------------------------------------


async def test_the_door_is_exported(doorstep: Doorstep, port: int) -> None:
    async with device(port) as older, device(port) as newer:
        await older.register()
        await newer.register()
        await older.ended()
        await _until(lambda: len(doorstep.agents) == 1)
        registry = CollectorRegistry()
        registry.register(AgentsCollector(doorstep.agents))
        text = generate_latest(registry).decode()
    assert "stationkeep_device_connections 1.0" in text
    assert 'stationkeep_device_connections_ended_total{reason="superseded"} 1.0' in text
    assert 'stationkeep_device_connections_ended_total{reason="too_slow"} 0.0' in text
    assert 'stationkeep_device_errors_total{code="superseded"} 1.0' in text
