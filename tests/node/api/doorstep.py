"""A node's devices' door on a real socket, with a log that commits at once and time by hand."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState
from websockets.asyncio.client import ClientConnection, connect

from stationkeep.cluster.commands import AnyCommand, Draft, MemberSpec
from stationkeep.cluster.settings import PROFILES
from stationkeep.cluster.state import codec
from stationkeep.node.api.resources.probes import PROBES
from stationkeep.node.duty import Workbench
from stationkeep.node.fleet.errands import Errands
from stationkeep.node.fleet.intake import DeviceIntake
from stationkeep.node.gateway.sessions import PATH, Sessions
from stationkeep.node.http.access import Admission
from stationkeep.node.http.connections import Connection
from stationkeep.node.http.crowd import Crowd
from stationkeep.node.ports import Committed, Host, ProposalResult
from stationkeep.node.replica import Replica
from tests.founding import founding

STATUS: dict[str, Any] = {
    "slave_id": "slave-001",
    "battery_level": 85,
    "battery_charging": True,
    "cpu_usage": 45.2,
    "memory_usage": 62.5,
    "disk_usage": 55.0,
    "assigned_ring": "prod",
    "device_name": "Pixel 8 Pro",
    "os_version": "Android 14",
    "app_version": "1.0.0",
    "last_updated": "2025-10-16T12:34:56",
}
"""The seed's own example."""


class Hands:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> int:
        return 1_760_000_000_000 + int(self.now * 1_000)


class OneLog:
    """Consensus of one: what is proposed is applied at the next turn."""

    leader: str | None = "sat-001"
    is_removed = False

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._proposed: list[tuple[bytes, Callable[[ProposalResult], None]]] = []

    def propose(self, draft: bytes, done: Callable[[ProposalResult], None]) -> None:
        self._proposed.append((draft, done))

    def turn(self) -> None:
        while self._proposed:
            draft, done = self._proposed.pop(0)
            index = self._replica.state.index + 1
            applied = self._replica.apply(self._replica.stamp(draft), index)
            done(Committed(index, applied))


class Doorstep:
    """Replica, intake and door of one node, which may ask everybody who they are. `settle` lets
    everything happen that is due."""

    def __init__(self, profile: str = "orbit", *, asks: bool = False) -> None:
        self.clock = Hands()
        self.replica = Replica(self.clock)
        self.log = OneLog(self.replica)
        log: Any = self.log
        nobody: Any = None
        bench = Workbench(
            "sat-001",
            Host(self.clock, nobody, self._wake),
            log,
            self.replica,
            lambda command, _timeout, done: self.log.propose(_draft(command), done),
        )
        self.intake = DeviceIntake(bench)
        self.errands = Errands(bench, self.intake.connected)
        self.admission = Admission(
            lambda: self.replica.state.tokens,
            required=asks,
            fleet=lambda: self.replica.state.fleet,
            wall=lambda: self.clock.wall() / 1_000,
        )
        self.agents = Sessions("sat-001", self.intake, self.errands, self.replica, self.admission)
        member = MemberSpec("sat-001", "127.0.0.1:7701", "127.0.0.1:8701")
        self.commit(founding("test", (member,), PROFILES[profile]))
        self.replica.took_office()

    def commit(self, command: AnyCommand) -> Any:
        """Applies a command; its outcome."""
        outcome: list[Any] = []
        self.log.propose(_draft(command), outcome.append)
        self.log.turn()
        self._turn()
        return outcome[0].applied.outcome

    def settle(self) -> None:
        """A second passes: what was heard is in the log."""
        self.clock.now += 1.0
        self._turn()

    def _wake(self) -> None:
        asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        for _ in range(4):
            self.intake.turn()
            self.errands.turn()
            self.log.turn()

    @property
    def fleet(self) -> Any:
        return self.replica.state.fleet

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        """The port it listens on."""
        socket: Any = self.agents.socket
        config = uvicorn.Config(_no_app, ws=socket, log_config=None, lifespan="off")
        state = ServerState()
        server = await asyncio.get_running_loop().create_server(
            partial(Connection, self.agents.turns, Crowd(), PROBES, config, state, {}),
            "127.0.0.1",
            0,
        )
        async with server:
            yield server.sockets[0].getsockname()[1]
            self.agents.close()


def _draft(command: AnyCommand) -> bytes:
    return codec.encode_draft(Draft(command))


def bearing(text: str) -> dict[str, str]:
    """The header in which a token or a credential is shown."""
    return {"Authorization": f"Bearer {text}"}


async def _no_app(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


class Device:
    """A device as a test plays it."""

    def __init__(self, connection: ClientConnection, id_: str) -> None:
        self.connection, self.id = connection, id_

    async def say(self, message_type: str, payload: dict[str, Any], **envelope: Any) -> None:
        """Sends a message; `envelope` overrides its fields."""
        message = {
            "message_type": message_type,
            "sender_id": self.id,
            "receiver_id": "master-orchestrator",
            "payload": payload,
        }
        await self.connection.send(json.dumps(message | envelope))

    async def hear(self) -> dict[str, Any]:
        """The next message."""
        message: dict[str, Any] = json.loads(await self.connection.recv())
        return message

    async def ask(self, message_type: str, payload: dict[str, Any], **envelope: Any) -> Any:
        """Says something and hears the answer."""
        await self.say(message_type, payload, **envelope)
        return await self.hear()

    async def register(self, **payload: Any) -> Any:
        """Registers with the seed's status; the payload of the answer."""
        status = STATUS | {"slave_id": self.id}
        answer = await self.ask("registration", {"device_status": status} | payload)
        return answer["payload"]

    async def report(self, **readings: Any) -> None:
        """Sends a status."""
        status = STATUS | {"slave_id": self.id} | readings
        await self.say("device_status_update", {"device_status": status})

    async def error(self) -> Any:
        """The payload of the next message, an error."""
        message = await self.hear()
        assert message["message_type"] == "error", message
        return message["payload"]

    async def ended(self) -> tuple[int, str]:
        """Code and reason with which the node closed the connection."""
        await self.connection.wait_closed()
        return self.connection.close_code or 0, self.connection.close_reason or ""


@asynccontextmanager
async def device(
    port: int, id_: str = "slave-001", *subprotocols: Any, **options: Any
) -> AsyncIterator[Device]:
    """A connected device."""
    url = f"ws://127.0.0.1:{port}{PATH}"
    async with connect(
        url, subprotocols=subprotocols or None, compression=None, **options
    ) as connection:
        yield Device(connection, id_)
