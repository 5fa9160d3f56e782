"""What is said on one connection of a device, `WS /v1/agents`.

A `Conversation` decodes the device's messages, passes them to the intake (`node.fleet.intake`), and
sends the intake's replies. An invalid message is answered with an `error` that names field, value
and rule; it has no effect, and the connection stays open. The node closes a connection with

    1000  the device is enrolled; it connects again, with its own credential
    1002  the WebSocket protocol was violated
    1008  the device sends too fast, does not read, does not register, or is silent for too long
    1009  a message is longer than 64 KiB (one longer than 32 KiB only gets an `error`)
    1012  the node stops, or has far more devices than its share; the device should try another
    1013  no registration is possible now
    4001  the device has a newer session, or a newer connection with the same session
    4002  an operator removed the device
    4003  what it was opened by has ended, or does not take the device in
"""

from typing import Any, Protocol

import msgspec

from stationkeep.cluster.delivery.reports import Answer
from stationkeep.cluster.names import speaks_for
from stationkeep.cluster.unreadable import UNREADABLE
from stationkeep.node.fleet import replies as answers
from stationkeep.node.fleet.errands import Errands
from stationkeep.node.fleet.intake import DeviceIntake
from stationkeep.node.fleet.replies import Assignment, IntakeRefusal
from stationkeep.node.fleet.task_words import TaskAnswer
from stationkeep.node.gateway.fixed_point import reading_of, registration_of
from stationkeep.node.gateway.vouching import FIELD, vouched
from stationkeep.node.gateway.websocket import MESSAGE_RATE, AgentSocket, Stage
from stationkeep.node.http.access import Caller
from stationkeep.node.wire import messages as wire
from stationkeep.node.wire import tasks
from stationkeep.node.wire.faults import Fault, shown
from stationkeep.node.wire.messages import Close, Code, Codec

TASK_ERRORS = {Answer.ILLEGAL: Code.ILLEGAL_TRANSITION, Answer.UNKNOWN: Code.UNKNOWN_TASK}
"""Answers to a task update that are errors; the others acknowledge it."""
_ENDS = {
    answers.Fault.OUTDATED: (Close.SUPERSEDED, "superseded"),
    answers.Fault.BUSY: (Close.TRY_LATER, "refused"),
    answers.Fault.STOPPING: (Close.RESTART, "stopping"),
    answers.Fault.NOT_ENROLLED: (Close.REFUSED, "refused"),
}
"""Refusals of a registration that close the connection: another node, or a later try, may work."""


class Gatehouse(Protocol):
    """What every conversation needs; implemented by `node.gateway.sessions.Sessions`."""

    node: str
    intake: DeviceIntake
    errands: Errands
    errors: dict[Code, int]
    """Errors sent to devices, by code."""

    @property
    def patience(self) -> float:
        """Seconds for which a connection may be silent."""
        ...

    def intervals(self) -> tuple[float, float]:
        """Seconds between two statuses, and from a status to the heartbeat after it."""
        ...

    def addresses(self) -> tuple[str, ...]:
        """Addresses of all nodes, any of which a device may use."""
        ...

    def trusted(self) -> str:
        """The CAs that devices are to trust, in PEM; "" when that is no news to anybody."""
        ...


class Conversation:
    """The protocol on one connection; implements `node.gateway.websocket.Handler` and
    `node.fleet.replies.Listener`."""

    __slots__ = ("_caller", "_codec", "_device", "_node", "_session", "_socket")

    def __init__(self, node: Gatehouse, socket: AgentSocket, codec: Codec, caller: Caller) -> None:
        """`caller`: who connected."""
        self._node, self._socket, self._codec, self._caller = node, socket, codec, caller
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
        intake = self._node.intake
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
        refusal = self._node.errands.words.say(self._device, payload, self._answered)
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
        refusal = self._node.intake.heartbeat(self._device, session, payload.sequence)
        if refusal is not None:
            self._decline(refusal)
            return
        self._send(wire.Ack, wire.AckPayload("heartbeat", *self._node.intervals()))

    def _register(self, message: wire.Registration) -> None:
        device, payload = message.sender_id, message.payload
        status = payload.device_status
        if self._device and device != self._device:
            self._refuse(Code.INVALID, self._foreign("sender_id", device))
        elif not speaks_for(self._caller.ids, device):
            rule = f"the token of this connection speaks for {self._caller.ids}"
            self._refuse(Code.INVALID, Fault("sender_id", shown(device), rule))
        elif status is not None and status.slave_id != device:
            rule = f"a device reports only about itself; sender_id is {device}"
            fault = Fault("payload.device_status.slave_id", status.slave_id, rule)
            self._refuse(Code.INVALID, fault)
        else:
            self._take_in(device, payload)

    def _take_in(self, device: str, payload: wire.RegistrationPayload) -> None:
        said = registration_of(device, payload)
        registration = vouched(said, payload.credential_sha256, self._caller)
        if isinstance(registration, Fault):
            fault = Fault(f"payload.{FIELD}", registration.value, registration.rule)
            self._refuse(Code.INVALID, fault)
            return
        self._device, self._session = device, payload.session
        self._node.intake.register(registration, self)

    def _foreign(self, field: str, value: str) -> Fault:
        return Fault(field, shown(value), f"this connection belongs to {self._device}")

    def too_fast(self) -> None:
        """The device sends more messages than it may."""
        rule = f"a connection sends at most {MESSAGE_RATE:g} messages a second"
        self._refuse(Code.TOO_FAST, Fault("message", "", rule), closing=True)

    def lost(self) -> None:
        """The connection is gone."""
        if self._device:
            self._node.intake.leave(self._device, self)

    # -- replies of the intake --------------------------------------------------------------------

    def registered(self, assignment: Assignment) -> None:
        """The device is known to the cluster and may report; one that enrolled comes again, with
        what is its own: an enrolment token speaks for nobody."""
        if not self._caller.enrolment:
            self._socket.admit(self._node.patience / 3)
        status, heartbeat = self._node.intervals()
        payload = wire.AckPayload(
            "registration",
            status,
            heartbeat,
            assignment.ring,
            assignment.reason,
            wire.timestamp(assignment.at),
            assignment.revision,
            self._node.addresses(),
        )
        self._send(wire.Ack, payload)
        if ca := self._node.trusted():
            self.trust(ca)
        if self._caller.enrolment:
            self._socket.end(Close.NORMAL, "enrolled", "connect with the credential of your own")

    def trust(self, ca: str) -> None:
        """Tells the device whom to trust from now on."""
        self._send(wire.Trust, wire.TrustPayload(ca))

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
            session=self._node.intake.session(self._device) if outdated else None,
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
        self._node.errors[code] += 1
        payload = wire.ErrorPayload(
            code, fault.field, fault.value, fault.rule, closing, retry_after, session, task_id
        )
        self._send(wire.Error, payload)

    def _send(self, kind: Any, payload: Any) -> None:
        message = kind(self._node.node, self._device, payload)
        self._socket.send(self._codec.encode(message))


def _type_of(message: wire.Said) -> str:
    return str(message.__struct_config__.tag)
