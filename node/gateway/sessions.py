"""Connections of devices, `WS /v1/agents`: acceptance, lifetime and protocol.

`Sessions` holds all connections of a node: it limits their number, closes silent ones, and counts
how they end. A `Conversation` is the protocol on one connection: it decodes the device's messages,
passes them to the intake (`node.fleet.intake`), and sends the intake's replies. An invalid message
is answered with an `error` that names field, value and rule; it has no effect, and the connection
stays open. The node closes a connection with

    1002  the WebSocket protocol was violated
    1008  the device sends too fast, does not read, does not register, or is silent for too long
    1009  a message is longer than 64 KiB (one longer than 32 KiB only gets an `error`)
    1012  the node stops, or has far more devices than its share; the device should try another
    1013  no registration is possible now
    4001  the device has a newer session, or a newer connection with the same session
    4002  an operator removed the device
    4003  the token by which it was opened has ended

Closed connections are counted by cause.
"""

import asyncio
import random
from typing import Any, assert_never
from urllib.parse import urlsplit

import msgspec
from uvicorn.config import Config
from uvicorn.server import ServerState
from websockets.http11 import Request

from stationkeep.cluster.access import speaks_for
from stationkeep.cluster.delivery.reports import Answer
from stationkeep.cluster.registry import alive
from stationkeep.cluster.settings import Settings
from stationkeep.cluster.unreadable import UNREADABLE
from stationkeep.node.fleet import replies as answers
from stationkeep.node.fleet.errands import Errands
from stationkeep.node.fleet.intake import DeviceIntake
from stationkeep.node.fleet.load_shedding import to_send_away
from stationkeep.node.fleet.replies import Assignment, IntakeRefusal
from stationkeep.node.fleet.task_words import TaskAnswer
from stationkeep.node.gateway.fixed_point import reading_of, registration_of
from stationkeep.node.gateway.websocket import MESSAGE_RATE, AgentSocket, Handler, Stage
from stationkeep.node.http.access import Admission, Caller
from stationkeep.node.http.connections import most_devices
from stationkeep.node.http.limits import RETRY_AFTER
from stationkeep.node.http.origin import refusal_of
from stationkeep.node.http.problems import Kind, Problem
from stationkeep.node.replica import Replica
from stationkeep.node.security.authorisation import SOCKET
from stationkeep.node.system.turns import Turns
from stationkeep.node.wire import messages as wire
from stationkeep.node.wire import tasks
from stationkeep.node.wire.faults import Fault, shown
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
ENDS = (
    "gone", "too_fast", "too_slow", "silent", "unregistered", "invalid_frames", "refused",
    "superseded", "removed", "stopping", "spread", "revoked",
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
    ) -> None:
        """`admission`: to whom; None: to everybody."""
        self.node, self.intake, self.errands, self._replica = node, intake, errands, replica
        self.admission = admission or Admission()
        self.turns = Turns()
        """Schedules the parsing of what arrives."""
        self._sockets: set[AgentSocket] = set()
        self._callers: dict[AgentSocket, Caller] = {}
        """Of connections that a token has opened."""
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

    def admit(self, request: Request, address: str) -> Caller:
        """Who opens a WebSocket; raises `Problem` for who may not."""
        path = urlsplit(request.path).path
        if path != PATH:
            raise Problem(Kind.NOT_FOUND, f"no WebSocket here; devices connect to {PATH}")
        headers = ((n.lower().encode(), v.encode()) for n, v in request.headers.raw_items())
        caller = self.admission.admit(SOCKET, path, headers, address)
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
        self._sockets.add(socket)
        if self.admission.required:
            self._callers[socket] = caller
        socket.due = socket.last_frame_at + REGISTRATION_SECONDS
        self._sweep_later()
        return Conversation(self, socket, codec, caller.ids)

    def closed(self, socket: AgentSocket, why: str) -> None:
        """A connection is gone."""
        self._sockets.discard(socket)
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
        if now >= self._spread_at:
            self._spread_at = now + SPREAD_SECONDS
            self._spread()
        self._sweep_later()

    def _end_ended(self) -> None:
        """Closes what a token has opened that is good no more. Thousands may share one."""
        good = {caller.name: caller for caller in self._callers.values()}
        ended = {name for name, caller in good.items() if not caller.good()}
        if ended:
            for socket, caller in tuple(self._callers.items()):
                if caller.name in ended:
                    socket.end(Close.REFUSED, "revoked", "the token has ended")

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


class Conversation:
    """The protocol on one connection; implements `node.gateway.websocket.Handler` and
    `node.fleet.replies.Listener`."""

    __slots__ = ("_agents", "_codec", "_device", "_ids", "_session", "_socket")

    def __init__(self, agents: Sessions, socket: AgentSocket, codec: Codec, ids: str) -> None:
        """`ids`: the devices for which whoever connected may speak."""
        self._agents, self._socket, self._codec, self._ids = agents, socket, codec, ids
        self._device = ""  # the id that this connection has registered, or tried to
        self._session = 0

    # -- messages of the device -----------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """Handles a message of the device."""
        if len(data) > wire.MAX_MESSAGE_BYTES:
            rule = f"a message takes at most {wire.MAX_MESSAGE_BYTES} bytes"
            self._refuse(Code.TOO_LARGE, Fault("message", f"{len(data)} bytes", rule))
            return
        try:
            message = self._codec.decode_said(data)
        except UNREADABLE as error:
            invalid = isinstance(error, msgspec.ValidationError)
            fault = wire.explain(error, data, self._codec)
            self._refuse(Code.INVALID if invalid else Code.MALFORMED, fault)
            return
        if isinstance(message, wire.Registration):
            self._register(message)
        elif self._socket.stage is not Stage.REGISTERED:
            rule = "a registration, and its acknowledgement, come first"
            self._refuse(Code.UNREGISTERED, Fault("message_type", _type_of(message), rule))
        elif message.sender_id != self._device:
            self._refuse(Code.INVALID, self._foreign("sender_id", message.sender_id))
        elif isinstance(message, wire.StatusUpdate):
            self._report(message.payload)
        elif isinstance(message, wire.TaskUpdate):
            self._update(message.payload)
        else:
            self._heartbeat(message.payload)

    def _report(self, payload: wire.StatusPayload) -> None:
        status = payload.device_status
        if status.slave_id != self._device:
            field = "payload.device_status.slave_id"
            self._refuse(Code.INVALID, self._foreign(field, status.slave_id))
            return
        session = payload.session or self._session
        intake = self._agents.intake
        refusal = intake.other_version(self._device, status.os_version, status.app_version)
        if refusal is None:
            refusal = intake.report(self._device, session, payload.sequence, reading_of(status))
        if refusal is not None:
            self._decline(refusal)

    def _update(self, payload: tasks.TaskUpdatePayload) -> None:
        if tasks.identity_of(payload.task_id)[1] != self._device:
            self._refuse(
                Code.INVALID,
                self._foreign("payload.task_id", payload.task_id),
                task_id=payload.task_id,
            )
            return
        refusal = self._agents.errands.words.say(self._device, payload, self._answered)
        if refusal is not None:
            self._decline(refusal, task_id=payload.task_id)

    def _answered(self, answer: TaskAnswer | None) -> None:
        """What became of a task update, now that it is in the log."""
        if answer is None:
            return
        code = TASK_ERRORS.get(answer.answer)
        if code is None:
            outdated = answer.answer is Answer.OUTDATED
            ack = tasks.TaskAckPayload(answer.task_id, str(answer.said), outdated)
            self._send(wire.TaskAck, ack)
        else:
            fault = Fault("payload.task_id", f"{answer.task_id} {answer.said}", answer.rule)
            self._refuse(code, fault, task_id=answer.task_id)

    def _heartbeat(self, payload: wire.HeartbeatPayload) -> None:
        session = payload.session or self._session
        refusal = self._agents.intake.heartbeat(self._device, session, payload.sequence)
        if refusal is not None:
            self._decline(refusal)
            return
        self._send(wire.Ack, wire.AckPayload("heartbeat", *self._agents.intervals()))

    def _register(self, message: wire.Registration) -> None:
        device, payload = message.sender_id, message.payload
        status = payload.device_status
        if self._device and device != self._device:
            self._refuse(Code.INVALID, self._foreign("sender_id", device))
        elif not speaks_for(self._ids, device):
            rule = f"the token of this connection speaks for {self._ids}"
            self._refuse(Code.INVALID, Fault("sender_id", shown(device), rule))
        elif status is not None and status.slave_id != device:
            rule = f"a device reports only about itself; sender_id is {device}"
            fault = Fault("payload.device_status.slave_id", status.slave_id, rule)
            self._refuse(Code.INVALID, fault)
        else:
            self._device, self._session = device, payload.session
            self._agents.intake.register(registration_of(device, payload), self)

    def _foreign(self, field: str, value: str) -> Fault:
        return Fault(field, shown(value), f"this connection belongs to {self._device}")

    def too_fast(self) -> None:
        """The device sends more messages than it may."""
        rule = f"a connection sends at most {MESSAGE_RATE:g} messages a second"
        self._refuse(Code.TOO_FAST, Fault("message", "", rule), closing=True)

    def lost(self) -> None:
        """The connection is gone."""
        if self._device:
            self._agents.intake.leave(self._device, self)

    # -- replies of the intake --------------------------------------------------------------------

    def registered(self, assignment: Assignment) -> None:
        """The device is known to the cluster and may report."""
        self._socket.admit(self._agents.patience / 3)
        status, heartbeat = self._agents.intervals()
        payload = wire.AckPayload(
            "registration",
            status,
            heartbeat,
            assignment.ring,
            assignment.reason,
            wire.timestamp(assignment.at),
            assignment.revision,
            self._agents.addresses(),
        )
        self._send(wire.Ack, payload)

    def refused(self, refusal: IntakeRefusal) -> None:
        """The registration was refused."""
        end = _ENDS.get(refusal.fault)
        self._decline(refusal, closing=end is not None)
        if end is not None:
            self._socket.end(*end, refusal.rule)

    def assigned(self, assignment: Assignment) -> None:
        """The device has another ring now."""
        payload = wire.RingPayload(
            assignment.ring,
            assignment.reason,
            wire.timestamp(assignment.at),
            assignment.revision,
        )
        self._send(wire.RingAssignment, payload)

    def task_sent(self, task: tasks.TaskPayload) -> None:
        """The device is to carry this out."""
        self._send(wire.Task, task)

    def task_canceled(self, task_id: str, reason: str) -> None:
        """A task is no longer wanted."""
        self._send(wire.TaskCancel, tasks.TaskCancelPayload(task_id, reason))

    def superseded(self) -> None:
        """The device has a newer connection or session."""
        rule = "this device has a newer connection or session"
        self._refuse(Code.SUPERSEDED, Fault("session", str(self._session), rule), closing=True)
        self._socket.end(Close.SUPERSEDED, "superseded", rule)

    def removed(self) -> None:
        """An operator removed the device."""
        rule = "an operator removed this device; it may register again"
        self._refuse(Code.REMOVED, Fault("sender_id", self._device, rule), closing=True)
        self._socket.end(Close.REMOVED, "removed", rule)

    # -- sending --------------------------------------------------------------------------------

    def _decline(
        self, refusal: IntakeRefusal, *, closing: bool = False, task_id: str | None = None
    ) -> None:
        """Sends a refusal of the intake."""
        outdated = refusal.fault is answers.Fault.OUTDATED
        self._refuse(
            Code(refusal.fault.value),
            Fault(refusal.field, refusal.value, refusal.rule),
            closing=closing,
            retry_after=refusal.retry_after,
            session=self._agents.intake.session(self._device) if outdated else None,
            task_id=task_id,
        )

    def _refuse(
        self,
        code: Code,
        fault: Fault,
        *,
        closing: bool = False,
        retry_after: float | None = None,
        session: int | None = None,
        task_id: str | None = None,
    ) -> None:
        self._agents.errors[code] += 1
        payload = wire.ErrorPayload(
            code, fault.field, fault.value, fault.rule, closing, retry_after, session, task_id
        )
        self._send(wire.Error, payload)

    def _send(self, kind: Any, payload: Any) -> None:
        message = kind(self._agents.node, self._device, payload)
        self._socket.send(self._codec.encode(message))


TASK_ERRORS = {Answer.ILLEGAL: Code.ILLEGAL_TRANSITION, Answer.UNKNOWN: Code.UNKNOWN_TASK}
"""Answers to a task update that are errors; the others acknowledge it."""
_ENDS = {
    answers.Fault.OUTDATED: (Close.SUPERSEDED, "superseded"),
    answers.Fault.BUSY: (Close.TRY_LATER, "refused"),
    answers.Fault.STOPPING: (Close.RESTART, "stopping"),
}
"""Refusals of a registration that close the connection: another node, or a later try, may work."""


def _type_of(message: wire.Said) -> str:
    return str(message.__struct_config__.tag)
