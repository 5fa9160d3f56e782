"""Connections of devices, `WS /v1/agents`: who may connect, for how long, and how they end.

`Sessions` holds all connections of a node: it limits their number, closes silent ones, and counts
how they end, by cause. What is said on one is a `node.gateway.conversation.Conversation`.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any, assert_never
from urllib.parse import urlsplit

from uvicorn.config import Config
from uvicorn.server import ServerState
from websockets.http11 import Request

from stationkeep.cluster.registry import alive
from stationkeep.cluster.settings import Settings
from stationkeep.node.fleet.errands import Errands
from stationkeep.node.fleet.intake import DeviceIntake
from stationkeep.node.fleet.load_shedding import to_send_away
from stationkeep.node.gateway.conversation import Conversation
from stationkeep.node.gateway.websocket import AgentSocket, Handler, Stage
from stationkeep.node.http.access import Admission, Caller
from stationkeep.node.http.connections import most_devices
from stationkeep.node.http.limits import RETRY_AFTER
from stationkeep.node.http.origin import refusal_of
from stationkeep.node.http.problems import Kind, Problem
from stationkeep.node.replica import Replica
from stationkeep.node.security.authorisation import SOCKET
from stationkeep.node.security.identity import Facts
from stationkeep.node.system.turns import Turns
from stationkeep.node.wire.messages import Close, Code, Codec

PATH = "/v1/agents"
REGISTRATION_SECONDS = 10.0
"""Within which a device must register, or register again after a refusal."""
SWEEP_SECONDS = 0.5
"""Between two checks for silent connections."""
JITTER = 0.1
"""Share by which intervals differ from device to device."""
SPREAD_SECONDS = 60.0
"""Between two checks whether this node has more than its share of the devices."""
DRAINED_AT_ONCE = 256
"""Connections closed in one turn of the event loop when the node stops."""
TOLD_AT_ONCE = 64
"""Devices that are told whom to trust in one turn of the event loop."""
ENDS = (
    "gone", "too_fast", "too_slow", "silent", "unregistered", "invalid_frames", "refused",
    "superseded", "removed", "stopping", "spread", "revoked", "enrolled",
)  # fmt: skip
"""Why connections end."""


def intervals(settings: Settings) -> tuple[float, float]:
    """Seconds between two statuses, and from a status to the heartbeat after it. Drawn at random
    for each device, so that devices that connected at the same time do not report at the same
    time."""
    drawn = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - it guards nothing
    status = settings.device_status_interval / 1_000 * drawn
    return round(status, 3), round(status / 2, 3)


class Sessions:
    """All connections of devices to a node; implements `node.gateway.websocket.Gateway`."""

    def __init__(
        self,
        node: str,
        intake: DeviceIntake,
        errands: Errands,
        replica: Replica,
        admission: Admission | None = None,
        *,
        trusted: Callable[[], str] = str,
    ) -> None:
        """`admission`: to whom; None: to everybody. `trusted`: the CAs that devices are to trust,
        in PEM; "" when that is no news to anybody."""
        self.node, self.intake, self.errands, self._replica = node, intake, errands, replica
        self.admission = admission or Admission()
        self.turns = Turns()
        """Schedules the parsing of what arrives."""
        self.trusted = trusted
        self._told, self._untold = "", list[AgentSocket]()
        """Of `trusted`, and who is still to be told that."""
        self._sockets: dict[AgentSocket, Conversation] = {}
        self._callers: dict[AgentSocket, Caller] = {}
        """Of connections that a token or a credential has opened."""
        self._ended_before: tuple[object, ...] = ()
        """Which credentials, certificates and CAs had ended when connections were last looked at,
        or how many."""
        self._sweeper: asyncio.TimerHandle | None = None
        self._spread_at = float("-inf")
        self._draining = False
        self.ended = dict.fromkeys(ENDS, 0)
        """Connections that ended, by cause."""
        self.errors = dict.fromkeys(Code, 0)
        """Errors sent to devices, by code."""

    def __len__(self) -> int:
        return len(self._sockets)

    @property
    def closing(self) -> int:
        """Connections that are being closed."""
        return sum(socket.stage is Stage.CLOSING for socket in self._sockets)

    def socket(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> AgentSocket:
        """A new connection. This method is what uvicorn calls as its WebSocket protocol class."""
        return AgentSocket(self, self.turns)

    # -- node.gateway.websocket.Gateway ------------------------------------------------------------

    def admit(self, request: Request, address: str, shown: Facts | None = None) -> Caller:
        """Who opens a WebSocket; raises `Problem` for who may not."""
        path = urlsplit(request.path).path
        if path != PATH:
            raise Problem(Kind.NOT_FOUND, f"no WebSocket here; devices connect to {PATH}")
        headers = ((n.lower().encode(), v.encode()) for n, v in request.headers.raw_items())
        caller = self.admission.admit(SOCKET, path, headers, address, shown)
        if self._draining:
            raise Problem(Kind.BUSY, "this node is stopping; connect to another one")
        if len(self) >= most_devices():
            detail = f"{most_devices()} devices are connected to this node already"
            raise Problem(Kind.BUSY, detail, headers={"Retry-After": RETRY_AFTER})
        foreign = refusal_of(request.headers.get("Origin"))
        if foreign is not None:
            raise foreign
        return caller

    def admitted(self, socket: AgentSocket, codec: Codec, caller: Caller) -> Handler:
        """A connection was accepted; the device has to register."""
        if self.admission.required:
            self._callers[socket] = caller
        socket.due = socket.last_frame_at + REGISTRATION_SECONDS
        talk = self._sockets[socket] = Conversation(self, socket, codec, caller)
        self._sweep_later()
        return talk

    def closed(self, socket: AgentSocket, why: str) -> None:
        """A connection is gone."""
        self._sockets.pop(socket, None)
        self._callers.pop(socket, None)
        self.ended[why] += 1

    # -- silence --------------------------------------------------------------------------------

    def _sweep_later(self) -> None:
        """One timer for all connections: timers for each of ten thousand would cost more."""
        if self._sweeper is None and self._sockets:
            loop = asyncio.get_running_loop()
            self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep, loop)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self._sweeper = None
        now = loop.time()
        for socket in [socket for socket in self._sockets if socket.due <= now]:
            self._overdue(socket, now)
        self._end_ended()
        if self.trusted() != self._told:
            self._told, self._untold = self.trusted(), list(self._sockets)
            self._tell(loop)
        if now >= self._spread_at:
            self._spread_at = now + SPREAD_SECONDS
            self._spread()
        self._sweep_later()

    def _tell(self, loop: asyncio.AbstractEventLoop) -> None:
        """Tells devices whom to trust, a few in each turn of the event loop. One that registers
        meanwhile hears of it then."""
        for socket in self._untold[-TOLD_AT_ONCE:]:
            talk = self._sockets.get(socket)
            if self._told and talk is not None and socket.stage is Stage.REGISTERED:
                talk.trust(self._told)
        del self._untold[-TOLD_AT_ONCE:]
        if self._untold:
            loop.call_soon(self._tell, loop)

    def _end_ended(self) -> None:
        """Closes what was opened by something that is good no more. Thousands may share a token;
        what is each device's own is looked at only when some of that has ended."""
        state = self._replica.state
        ended_now = state.fleet.credentials_ended, len(state.revoked), tuple(state.dropped)
        looks, self._ended_before = ended_now != self._ended_before, ended_now
        proofs = {c.proof: c for c in self._callers.values() if looks or c.token}
        ended = {proof for proof, caller in proofs.items() if not caller.good()}
        if ended:
            for socket, caller in tuple(self._callers.items()):
                if caller.proof in ended:
                    socket.end(Close.REFUSED, "revoked", "what opened this has been revoked")

    def _overdue(self, socket: AgentSocket, now: float) -> None:
        """The deadline of this connection has passed."""
        match socket.stage:
            case Stage.REGISTERED:
                self._silent(socket, now)
            case Stage.UNREGISTERED:
                rule = f"no registration within {REGISTRATION_SECONDS:g} s"
                socket.end(Close.POLICY, "unregistered", rule)
            case Stage.CLOSING | Stage.HANDSHAKE:
                socket.abort()
            case _:
                assert_never(socket.stage)

    def _silent(self, socket: AgentSocket, now: float) -> None:
        """Pings a silent device; closes its connection if it stays silent."""
        patience = self.patience
        silent = now - socket.last_frame_at
        if silent >= patience:
            socket.end(Close.POLICY, "silent", f"nothing received for {patience:g} s")
            return
        if silent >= patience / 3:
            socket.ping()
        socket.due = min(now + patience / 3, socket.last_frame_at + patience)

    def _spread(self) -> None:
        """Sends a few devices to other nodes if this one has far more than its share."""
        state = self._replica.state
        devices = [socket for socket in self._sockets if socket.stage is Stage.REGISTERED]
        rings = state.fleet.counts().values()
        online = sum(ring.healthy + ring.unhealthy for ring in rings)
        going = to_send_away(len(devices), online, len(alive(state, state.time)))
        for socket in random.sample(devices, going):
            socket.end(Close.RESTART, "spread", "other nodes have fewer devices")

    @property
    def patience(self) -> float:
        """Seconds for which a connection may be silent: as long as its device counts as online."""
        return self._replica.settings.device_offline_after / 1_000

    # -- what every conversation needs ----------------------------------------------------------

    def intervals(self) -> tuple[float, float]:
        """`intervals` with the current settings."""
        return intervals(self._replica.settings)

    def addresses(self) -> tuple[str, ...]:
        """Addresses of all nodes, any of which a device may use."""
        return tuple(f"http://{member.http}" for member in self._replica.state.members.values())

    # -- stopping -------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Sends every device to another node, and accepts no new connection."""
        self._draining = True
        for n, socket in enumerate(tuple(self._sockets)):
            socket.end(Close.RESTART, "stopping", "the node stops")
            if n % DRAINED_AT_ONCE == 0:
                await asyncio.sleep(0)

    def close(self) -> None:
        """Aborts the connections that are left."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for socket in tuple(self._sockets):
            socket.abort()
