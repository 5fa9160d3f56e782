"""Registrations on their way into the log, many in one command, each answered exactly once.

A registration is idempotent by (id, session): one whose outcome is unknown is proposed again, in
whatever company. The queue is bounded and every registration has a deadline: without a leader a
device is told when to come back instead of being kept waiting.
"""

from collections.abc import Callable
from itertools import islice
from typing import Any

import msgspec
import structlog

from stationkeep.cluster.apply import Rejected
from stationkeep.cluster.commands import MAX_REGISTRATIONS, RegisterDevices, Registration
from stationkeep.cluster.fleet.enrolment import ENROLMENT, PROOF
from stationkeep.cluster.fleet.registration import OLDER
from stationkeep.cluster.state.codec import MAX_DRAFT_BYTES
from stationkeep.cluster.state.decisions import Reason
from stationkeep.node.duty import Workbench
from stationkeep.node.fleet.replies import Fault, IntakeRefusal, Listener
from stationkeep.node.ports import Committed, ProposalResult

MAX_WAITING = 8_192
"""Registrations that wait at one node: about two seconds' worth of commits."""
PATIENCE = 10.0
"""Seconds for which a registration waits at the most."""
BATCH = MAX_REGISTRATIONS // 2
BATCH_BYTES = MAX_DRAFT_BYTES - 4_096
IN_FLIGHT = 2
"""Registrations in a command and commands under way, so small because a follower may apply those
of all nodes in one turn: 128 take 5 ms, and no turn may take long."""
TIMEOUT = 5.0
RETRY = 0.25
REFUSALS_PER_TURN = 256
COME_BACK = 2.0
"""Seconds after which a device that was refused for want of a leader should try again."""

log = structlog.get_logger("node.fleet")
_encode = msgspec.msgpack.Encoder().encode


class PendingRegistration(msgspec.Struct, eq=False):
    """One registration that waits. `size`: bytes in a command. `alone`: a command that held it
    and others was refused, so that it gets one of its own."""

    registration: Registration
    listener: Listener
    deadline: float
    size: int
    alone: bool = False


class Registrations:
    """The registrations that wait at this node; of one device only the newest.

    `registered(pending, row, birth)`: it is in the log and applied.
    """

    def __init__(
        self, bench: Workbench, registered: Callable[[PendingRegistration, int, int], None]
    ) -> None:
        self._node, self._clock = bench.node, bench.host.clock
        self._propose, self._registered = bench.propose, registered
        self._waiting: dict[str, PendingRegistration] = {}
        """By deadline, since all are equally patient."""
        self._queued: dict[str, PendingRegistration] = {}
        """Of these, the ones in no command under way."""
        self._in_flight = 0
        self._not_before = float("-inf")

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, registration: Registration, listener: Listener) -> IntakeRefusal | None:
        """Lets a registration wait, in place of an older one of the same device."""
        id_ = registration.id
        former = self._waiting.get(id_)
        if former is not None and _order(former.registration) > _order(registration):
            return outdated(registration.session)
        if former is None and len(self._waiting) >= MAX_WAITING:
            return busy(f"{MAX_WAITING} registrations wait at this node already")
        size = len(_encode(registration))
        if size > BATCH_BYTES:
            rule = f"a registration takes at most {BATCH_BYTES} bytes"
            return IntakeRefusal(Fault.INVALID, "registration", f"{size} bytes", rule)
        if former is not None:
            self._drop(id_)
            if former.listener is not listener:
                former.listener.superseded()
        pending = PendingRegistration(
            registration, listener, self._clock.monotonic() + PATIENCE, size
        )
        self._waiting[id_] = self._queued[id_] = pending
        return None

    def leave(self, id_: str, listener: Listener) -> None:
        """The connection is gone; its registration may come into the log all the same."""
        pending = self._waiting.get(id_)
        if pending is not None and pending.listener is listener:
            self._drop(id_)

    def turn(self) -> None:
        """Proposes what waits; refuses what has waited too long."""
        now = self._clock.monotonic()
        for pending in list(islice(self._waiting.values(), REFUSALS_PER_TURN)):
            if pending.deadline <= now:
                self._refuse(pending, busy("no leader took it in time"))
        while self._queued and self._in_flight < IN_FLIGHT and now >= self._not_before:
            self._send(self._batch())

    def next_wakeup(self) -> float:
        """Monotonic moment of the next proposal or deadline; infinite when nothing waits."""
        if not self._waiting:
            return float("inf")
        moment = next(iter(self._waiting.values())).deadline
        if self._queued and self._in_flight < IN_FLIGHT:
            moment = min(moment, max(self._clock.monotonic(), self._not_before))
        return moment

    # -- proposing ------------------------------------------------------------------------------

    def _batch(self) -> list[PendingRegistration]:
        """The next command's, out of the queue."""
        batch: list[PendingRegistration] = []
        size = 0
        for pending in islice(self._queued.values(), BATCH):
            size += pending.size
            if batch and (size > BATCH_BYTES or pending.alone or batch[0].alone):
                break
            batch.append(pending)
        for pending in batch:
            del self._queued[pending.registration.id]
        return batch

    def _send(self, batch: list[PendingRegistration]) -> None:
        self._in_flight += 1
        command = RegisterDevices(self._node, tuple(pending.registration for pending in batch))
        self._propose(command, TIMEOUT, lambda result: self._on_done(batch, result))

    def _on_done(self, batch: list[PendingRegistration], result: ProposalResult) -> None:
        self._in_flight -= 1
        if not isinstance(result, Committed):
            self._again(batch)
        elif isinstance(result.applied.outcome, Rejected):
            self._refused(batch, result.applied.outcome)
        else:
            self._answer(batch, result.applied.outcome.result)

    def _awaits(self, pending: PendingRegistration) -> bool:
        """Whether nobody has answered it yet, and no newer one took its place."""
        return self._waiting.get(pending.registration.id) is pending

    def _again(self, batch: list[PendingRegistration]) -> None:
        self._not_before = self._clock.monotonic() + RETRY
        for pending in filter(self._awaits, batch):
            self._queued[pending.registration.id] = pending

    def _refused(self, batch: list[PendingRegistration], refusal: Rejected) -> None:
        """One bad registration spoils a command: each of it is tried alone, the bad one told."""
        if refusal.reason == Reason.NOT_FOUNDED:
            self._again(batch)
            return
        log.warning("registrations_refused", reason=refusal.reason, detail=refusal.detail)
        for pending in filter(self._awaits, batch):
            if len(batch) == 1:
                self._refuse(pending, faulty(refusal.detail or refusal.reason))
            else:
                pending.alone = True
                self._queued[pending.registration.id] = pending

    def _answer(self, batch: list[PendingRegistration], result: dict[str, Any]) -> None:
        rows, births, refused = result["rows"], result["births"], result["refused"]
        for position, pending in enumerate(batch):
            if not self._awaits(pending):
                continue
            if rows[position] < 0:
                refusal = faulty(refused[str(position)])
                is_old = refusal.field == "session" and OLDER in refusal.rule
                self._refuse(pending, outdated(pending.registration.session) if is_old else refusal)
            else:
                self._drop(pending.registration.id)
                self._registered(pending, rows[position], births[position])

    def _refuse(self, pending: PendingRegistration, refusal: IntakeRefusal) -> None:
        self._drop(pending.registration.id)
        pending.listener.refused(refusal)

    def _drop(self, id_: str) -> None:
        del self._waiting[id_]
        self._queued.pop(id_, None)


def faulty(fault: str) -> IntakeRefusal:
    """A refusal of what `cluster.fleet` finds wrong, worded `field: value and rule`."""
    field, _, rule = fault.partition(": ")
    about = Fault.NOT_ENROLLED if field in (PROOF, ENROLMENT) else Fault.INVALID
    return IntakeRefusal(about, field, "", rule)


def outdated(session: int) -> IntakeRefusal:
    """Another agent of the device is newer."""
    rule = "a newer session of this device, or a newer word of it, is known"
    return IntakeRefusal(Fault.OUTDATED, "session", str(session), rule)


def busy(rule: str, retry_after: float = COME_BACK) -> IntakeRefusal:
    """Not now, or not here."""
    return IntakeRefusal(Fault.BUSY, "registration", "", rule, retry_after)


def _order(registration: Registration) -> tuple[int, int]:
    return registration.session, registration.sequence
