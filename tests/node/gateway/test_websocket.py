"""The device's end of a WebSocket, fed with bytes as the event loop would."""

import asyncio
import socket
from typing import Any

import pytest
from websockets.http11 import Request

from stationkeep.node.gateway.websocket import AgentSocket, Stage
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

    def admit(self, request: Request, address: str) -> Caller:
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
