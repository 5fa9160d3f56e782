"""The device's end of a WebSocket, fed with bytes as the event loop would."""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest
import uvloop
from websockets.http11 import Request

from stationkeep.node.gateway.websocket import AgentSocket, Close, Stage
from stationkeep.node.http.access import Caller
from stationkeep.node.system.turns import Turns
from stationkeep.node.wire.messages import MAX_FRAME_BYTES, Codec

HANDSHAKE = (
    b"GET /v1/agents HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__({"socket": socket.socket()})
        self.sent: list[bytes] = []

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def write(self, data: Any) -> None:
        self.sent.append(bytes(data))

    def close(self) -> None:
        self.get_extra_info("socket").close()


class Recording:
    """A gateway that accepts every connection, and the handler of its messages."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []

    def admit(self, request: Request, address: str, _shown: object) -> Caller:
        return Caller(None, address)

    def admitted(self, socket: AgentSocket, codec: Codec, caller: Caller) -> "Recording":
        return self

    def closed(self, socket: AgentSocket, why: str) -> None:
        pass

    def received(self, data: bytes) -> None:
        self.messages.append(data)

    def too_fast(self) -> None:
        pass

    def lost(self) -> None:
        pass


def frame(size: int) -> bytes:
    return b"\x81\xff" + size.to_bytes(8) + bytes(4) + b"x" * size


@pytest.fixture
def gateway() -> Recording:
    return Recording()


@pytest.fixture
def transport() -> Transport:
    return Transport()


@pytest.fixture
async def connection(gateway: Recording, transport: Transport) -> AgentSocket:
    made = AgentSocket(gateway, Turns())
    made.connection_made(transport)
    made.data_received(HANDSHAKE)
    assert made.stage is Stage.UNREGISTERED
    return made


async def test_the_longest_frame_is_a_message(
    gateway: Recording, transport: Transport, connection: AgentSocket
) -> None:
    connection.data_received(frame(MAX_FRAME_BYTES))
    assert gateway.messages == [b"x" * MAX_FRAME_BYTES]
    transport.close()


async def test_a_longer_frame_ends_the_connection_though_it_arrived_whole(
    gateway: Recording, transport: Transport, connection: AgentSocket
) -> None:
    connection.data_received(frame(MAX_FRAME_BYTES + 1))
    assert gateway.messages == []
    assert int.from_bytes(transport.sent[-1][2:4]) == 1009
    assert connection.stage is Stage.CLOSING


async def test_what_a_device_has_said_before_it_closed_its_side_is_taken_in_its_turn(
    gateway: Recording, transport: Transport
) -> None:
    turns, failed = Turns(), list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))
    made = AgentSocket(gateway, turns)
    made.connection_made(transport)
    made.data_received(HANDSHAKE)

    def has_the_turn() -> None:
        made.data_received(frame(200) + PING)
        made.eof_received()

    turns.take(has_the_turn)
    assert (gateway.messages, failed) == ([b"x" * 200], [])
    made.connection_lost(None)
    transport.close()


PING = b"\x89\x80" + bytes(4)
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: the close that follows resets the connection."""


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_what_is_said_to_a_device_that_is_gone_is_dropped(
    gateway: Recording, factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Of its answers some come out of the log when it has left, and what it had sent may wait for
    its turn longer than it stays."""

    async def run() -> None:
        loop, turns = asyncio.get_running_loop(), Turns()
        gone = asyncio.Event()
        leaving = _Leaving(gateway, turns, gone)
        async with await loop.create_server(lambda: leaving, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(HANDSHAKE)
            await reader.readuntil(b"\r\n\r\n")
            raw = writer.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()
            await gone.wait()
            await asyncio.sleep(0)
        leaving.send(b"the answer to a word that is in the log now")
        leaving.data_received(PING)
        leaving.ping()
        leaving.end(Close.SUPERSEDED, "superseded", "another connection")

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(run())


class _Leaving(AgentSocket):
    """Says when its device is gone."""

    __slots__ = ("_gone",)

    def __init__(self, gateway: Recording, turns: Turns, gone: asyncio.Event) -> None:
        super().__init__(gateway, turns)
        self._gone = gone

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._gone.set()
