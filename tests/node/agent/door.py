"""A node's door for devices, played by a test: `websockets`' own server, `wire`'s messages."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Self

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from stationkeep.node.wire import messages as wire

CODEC = wire.MSGPACK
Answer = Callable[["Door", wire.Said], wire.Told | None]


def ack(device: str, ring: str = "prod", nodes: tuple[str, ...] = ()) -> wire.Ack:
    said = wire.AckPayload(
        of="registration", status_interval=0.08, heartbeat_interval=0.05, ring=ring,
        reason="registered", timestamp="2026-01-01T00:00:00Z", revision=1, nodes=nodes,
    )  # fmt: skip
    return wire.Ack("sat-001", device, said)


def assignment(device: str, ring: str, reason: str = "rebalance") -> wire.RingAssignment:
    said = wire.RingPayload(ring, reason, "2026-01-01T00:01:00Z", 2)
    return wire.RingAssignment("sat-001", device, said)


def error(device: str, code: wire.Code, **more: Any) -> wire.Error:
    said = wire.ErrorPayload(code, "slave_id", device, "a rule", **more)
    return wire.Error("sat-001", device, said)


def welcoming(door: "Door", said: wire.Said) -> wire.Told | None:
    """Takes every device in, and answers heartbeats."""
    match said:
        case wire.Registration():
            return ack(said.sender_id, door.ring, door.nodes)
        case wire.Heartbeat():
            beat = wire.AckPayload(of="heartbeat", status_interval=0.08, heartbeat_interval=0.05)
            return wire.Ack("sat-001", said.sender_id, beat)
        case _:
            return None


class Door:
    """`said`: everything that devices said, in order. `answer` may be changed at any time, and so
    may `token`: with one, who shows another is refused by `rule`. `shown`: by those that came."""

    def __init__(self, answer: Answer = welcoming) -> None:
        self.answer = answer
        self.ring = "prod"
        self.nodes: tuple[str, ...] = ()
        self.token, self.rule = "", "unknown"
        self.shown: list[str | None] = []
        self.said: list[wire.Said] = []
        self.connections: set[ServerConnection] = set()
        self._heard = asyncio.Event()
        self._server: Server | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        protocol = [CODEC.name]
        self._server = await serve(
            self._serve, "127.0.0.1", self.port, subprotocols=protocol, close_timeout=0.1,
            process_request=self._judge,
        )  # fmt: skip
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """As a node that dies: connections break, nobody listens any more."""
        for connection in list(self.connections):
            connection.transport.abort()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def tell(self, told: wire.Told) -> None:
        for connection in self.connections:
            await connection.send(CODEC.encode(told))

    async def heard(self, enough: Callable[[list[wire.Said]], bool]) -> list[wire.Said]:
        """Waits until what was said is enough."""
        async with asyncio.timeout(10):
            while not enough(self.said):
                self._heard.clear()
                await self._heard.wait()
        return self.said

    def of(self, kind: type) -> list[Any]:
        return [said for said in self.said if isinstance(said, kind)]

    def _judge(self, connection: ServerConnection, request: Request) -> Response | None:
        self.shown.append(request.headers.get("Authorization"))
        if not self.token or self.shown[-1] == f"Bearer {self.token}":
            return None
        refusal = {"detail": "Authorization: it will not do", "rule": self.rule}
        return connection.respond(HTTPStatus.UNAUTHORIZED, json.dumps(refusal))

    async def _serve(self, connection: ServerConnection) -> None:
        self.connections.add(connection)
        with suppress(ConnectionClosed):
            async for message in connection:
                assert isinstance(message, bytes)
                said = CODEC.decode_said(message)
                self.said.append(said)
                self._heard.set()
                told = self.answer(self, said)
                if told is not None:
                    await connection.send(CODEC.encode(told))
                if isinstance(told, wire.Error) and told.payload.closing:
                    await connection.close(wire.Close.REFUSED, told.payload.code)
        self.connections.discard(connection)
