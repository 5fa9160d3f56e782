"""The devices that talk to this node: their registrations, their reports, what they are told.

Synchronous: whoever carries words of devices (a socket, a batched POST, the simulator) calls in
at any time between two turns; `turn` proposes, compares and tells. See the package for what is
promised and why.
"""

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from stationkeep.cluster.apply import Applied
from stationkeep.cluster.commands import (
    MAX_BATCH,
    Entry,
    RegisterDevices,
    Registration,
    ReportDevices,
)
from stationkeep.cluster.devices.fleet import Fleet
from stationkeep.cluster.devices.status import Reading, judge_one, reading_fault
from stationkeep.cluster.fleet.enrolment import enrolment_fault, is_enrolled
from stationkeep.cluster.fleet.registration import order_fault, registration_fault, sequence_fault
from stationkeep.cluster.numbers import U32
from stationkeep.cluster.state.events import DeviceRemoved, DevicesMoved, DevicesRegistered
from stationkeep.node.duty import Workbench
from stationkeep.node.fleet.connected import ConnectedDevices
from stationkeep.node.fleet.reach import Reach
from stationkeep.node.fleet.registrations import (
    PendingRegistration,
    Registrations,
    busy,
    faulty,
    outdated,
)
from stationkeep.node.fleet.replies import Assignment, Fault, IntakeRefusal, Listener, unknown
from stationkeep.node.fleet.report_outbox import Outbox, portions
from stationkeep.node.fleet.status_buffer import (
    MAX_COUNT,
    Rows,
    StatusBuffer,
    StatusColumns,
    ages,
    births_in,
    order_of,
    orders,
    within_reach,
)

FLUSH = 1.0
"""Seconds between two flushes at the least."""
PRESENCE = 4
"""A device that says nothing new is reported as present this often within device_offline_after."""
BATCH_WITH_METRICS = 1_536
"""Rows of a command; fewer than usual where each may carry 16 custom metrics of 8 bytes."""
RICH = 4 * BATCH_WITH_METRICS
"""Rows with custom metrics in one flush: these are gathered one by one, in up to 25 ms."""
WAIT_FOR_LEADER = 0.25
TAKEN, OUTDATED, UNKNOWN, REFUSED = range(4)
"""What became of each status of a batch."""

FLEET_EVENTS = (DevicesRegistered, DevicesMoved, DeviceRemoved)
"""What may concern a device that is connected."""


class DeviceIntake:
    """Of one node."""

    def __init__(self, bench: Workbench) -> None:
        self._node, self._clock, self._wake = bench.node, bench.host.clock, bench.host.wake
        self._consensus, self._replica = bench.consensus, bench.replica
        self._buffer = StatusBuffer()
        self.connected = ConnectedDevices(bench.replica, self._buffer)
        """The devices with a connection here."""
        self._registrations = Registrations(bench, self._on_registered)
        self._outbox = Outbox(bench)
        self._flushed_at = float("-inf")
        self._dirty = self._changed = False
        self._dirty_since = float("-inf")
        self._rich_from = 0
        self._stopping = False
        self._reach = Reach(bench)
        self.results = {"taken": 0, "outdated": 0, "unknown": 0, "refused": 0}
        """Reports by what became of them, since the start."""
        bench.replica.listen(self._on_applied)
        bench.replica.on_restored(self._on_restored)

    @property
    def idle(self) -> bool:
        """Whether the log has been told everything that was heard here."""
        return not self._dirty and self._outbox.empty and not len(self._registrations)

    # -- what devices say -----------------------------------------------------------------------

    def register(self, registration: Registration, listener: Listener) -> None:
        """Takes a device in; `listener` hears the outcome, within `registrations.PATIENCE` seconds.

        An agent that does not number its words says session 0 and sequence 0.
        """
        refusal = self._registration_refusal(registration)
        if refusal is None and is_enrolled(self._fleet, registration):
            listener.registered(self.connected.assignment(self._fleet.table.rows[registration.id]))
            return
        if refusal is None:
            refusal = self._registrations.add(self._judged(self._numbered(registration)), listener)
        if refusal is not None:
            listener.refused(refusal)
            return
        self._wake()

    def report(
        self, device: str, session: int, sequence: int, reading: Reading
    ) -> IntakeRefusal | None:
        """Takes a status; the refusal, or None. Sequence 0: the next one, session 0: the known."""
        fault = reading_fault(reading)
        if fault is not None:
            self.results["refused"] += 1
            return faulty(fault)
        row = self._newer(device, session, sequence)
        if isinstance(row, IntakeRefusal):
            return row
        self.results["taken"] += 1
        buffer, fleet = self._buffer, self._fleet
        healthy = judge_one(fleet.rule, reading)
        if buffer.says_nothing_new(row, reading, healthy, bool(fleet.table.healthy[row])):
            self._note_presence(row)
        else:
            buffer.note(row, reading, healthy)
            self._soil(row)
        return None

    def other_version(self, device: str, os: str, app: str) -> IntakeRefusal | None:
        """Refuses a status that names another version (empty: names none) than the device has
        registered with: by what it registers with a task is judged."""
        row = self._fleet.row(device)
        if row is None:
            return None
        table = self._fleet.table
        kind = table.kinds[int(table.kind[row])]
        rule = "the version that the device registered with; it registers again with another one"
        for field, value, known in (
            ("os_version", os, kind.os_version),
            ("app_version", app, kind.app_version),
        ):
            if value and value != known:
                self.results["unknown"] += 1
                return IntakeRefusal(Fault.UNKNOWN, f"device_status.{field}", value[:80], rule)
        return None

    def heartbeat(self, device: str, session: int, sequence: int) -> IntakeRefusal | None:
        """The device is there, and says nothing else."""
        row = self._newer(device, session, sequence)
        if isinstance(row, IntakeRefusal):
            return row
        self._note_presence(row)
        return None

    def report_many(self, batch: StatusColumns) -> NDArray[np.uint8]:
        """Takes many statuses; what became of each: `TAKEN`, `OUTDATED`, `UNKNOWN`, or `REFUSED`
        for one out of range. A device may be in a batch more than once, oldest first; of more
        than are judged at once the newest are stored. Names of metrics are checked by the
        caller."""
        known = self._fleet.table.rows
        rows = np.array([known.get(id_, -1) for id_ in batch.ids], np.intp)
        results = np.full(len(rows), UNKNOWN, np.uint8)
        results[~batch.in_range()] = REFUSED
        healthy = batch.judge(self._fleet.rule)
        known_ones = np.flatnonzero((rows >= 0) & (results == UNKNOWN))
        by_row = known_ones[np.argsort(rows[known_ones], kind="stable")]
        age = ages(rows[by_row])
        backlog = by_row[age >= MAX_COUNT]
        if len(backlog):
            self._settle(np.unique(rows[backlog]))
            self._compare(batch, rows[backlog], backlog, results)
        for turn in range(min(int(age.max(initial=-1)), MAX_COUNT - 1), -1, -1):
            chosen = by_row[age == turn]
            self._take(batch, healthy, rows[chosen], chosen, results)
        counts = np.bincount(results, minlength=len(self.results))
        for name, count in zip(self.results, counts.tolist(), strict=True):
            self.results[name] += count
        return results

    def unable(self) -> str:
        """Why this node can serve no device now; empty when it can."""
        return self._reach.unable(self._waiting_since())

    def leave(self, device: str, listener: Listener) -> None:
        """A connection is gone. The device is offline only when nobody hears of it for long."""
        self._registrations.leave(device, listener)
        row = self._fleet.row(device)
        if row is not None:
            self.connected.leave(row, listener)

    def assignment(self, device: str) -> Assignment | IntakeRefusal:
        """The ring of a device, as far as this node has applied the log."""
        row = self._fleet.row(device)
        return unknown(device) if row is None else self.connected.assignment(row)

    def session(self, device: str) -> int | None:
        """The newest session that is known of a device here; None for an unknown device."""
        row = self._fleet.row(device)
        return None if row is None else self._newest(row) >> 32

    # -- the turn -------------------------------------------------------------------------------

    def turn(self) -> None:
        """Proposes what is due, and tells devices what has changed."""
        self._reach.turn()
        self._registrations.turn()
        if self._changed:
            self._changed = False
            self.connected.compare()
        self.connected.tell()
        if len(self.connected) and (why := self.unable()):
            self.connected.send_away(busy(why, 0.0))
        if self._dirty and self._clock.monotonic() >= self._flush_due():
            self._flush()
        self._outbox.turn()

    def stop(self) -> None:
        """The node stops: from now on registrations are refused; what was heard is flushed at
        once (see `idle`)."""
        self._stopping = True
        self._wake()

    def next_wakeup(self) -> float:
        """Monotonic moment at which `turn` has something to do; infinite when nothing waits."""
        if self.connected.waits or self._changed:
            return self._clock.monotonic()
        return min(
            self._flush_due() if self._dirty else float("inf"),
            self._reach.lost_at(self._waiting_since()) if len(self.connected) else float("inf"),
            self._outbox.next_wakeup(),
            self._registrations.next_wakeup(),
        )

    # -- what was heard -------------------------------------------------------------------------

    @property
    def _fleet(self) -> Fleet:
        return self._replica.state.fleet

    def _newer(self, device: str, session: int, sequence: int) -> int | IntakeRefusal:
        """The row of a device whose word is newer than all before; notes that it was heard."""
        row = self._fleet.row(device)
        if row is None:
            self.results["unknown"] += 1
            return unknown(device)
        if not 0 <= session <= U32 or not 0 <= sequence <= U32:
            self.results["refused"] += 1
            return faulty(f"sequence: {session}, {sequence} are not both below 2^32")
        known = self._newest(row)
        session, sequence = _number(known, session, sequence)
        if session > known >> 32 or sequence > U32:  # the session has used its numbers up
            self.results["unknown"] += 1
            return IntakeRefusal(Fault.UNKNOWN, "session", str(session), "a new session registers")
        newest = known & U32 if session == known >> 32 else 0
        fault = sequence_fault(sequence, newest)
        if fault is not None:
            self.results["refused"] += 1
            return faulty(fault)
        if order_of(session, sequence) <= known:
            self.results["outdated"] += 1
            return outdated(session)
        self._buffer.order[row] = order_of(session, sequence)
        return row

    def _newest(self, row: int) -> int:
        """The order of the newest word of a device that is known here, by ear or by the log."""
        table = self._fleet.table
        if row >= self._buffer.capacity or self._buffer.birth[row] != table.birth[row]:
            self._settle(np.array([row]))
        logged = order_of(int(table.session[row]), int(table.sequence[row]))
        return max(logged, int(self._buffer.order[row]))

    def _take(
        self,
        batch: StatusColumns,
        healthy: NDArray[np.bool_],
        rows: Rows,
        chosen: Rows,
        results: NDArray[np.uint8],
    ) -> None:
        """The statuses at positions `chosen`, one for each of `rows`; fills in their results."""
        buffer = self._buffer
        self._settle(rows)
        order, newer = self._compare(batch, rows, chosen, results)
        rows, chosen = rows[newer], chosen[newer]
        buffer.order[rows] = order[newer]
        buffer.note_many(rows, chosen, batch, healthy)
        buffer.dirty[rows] = True
        if len(rows):
            self._awake()

    def _compare(
        self, batch: StatusColumns, rows: Rows, chosen: Rows, results: NDArray[np.uint8]
    ) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
        """Orders of the statuses at `chosen` of these rows, and which are newer than what is
        known; fills in their results."""
        buffer, table = self._buffer, self._fleet.table
        known = np.maximum(orders(table.session[rows], table.sequence[rows]), buffer.order[rows])
        order = batch.orders_after(known, chosen)
        registered = order >> np.uint64(32) <= known >> np.uint64(32)
        near = within_reach(order, known)
        newer = registered & near & (order > known)
        results[chosen[registered]] = np.where(near[registered], OUTDATED, REFUSED)
        results[chosen[newer]] = TAKEN
        return order, newer

    def _settle(self, rows: Rows) -> None:
        """What was heard of a row's former tenant is not the present one's."""
        buffer, births = self._buffer, self._fleet.table.birth[rows]
        buffer.reach(int(rows.max()) + 1)
        strange = rows[buffer.birth[rows] != births]
        if len(strange):
            self.connected.evict(strange)
            buffer.forget(strange)
            buffer.birth[strange] = self._fleet.table.birth[strange]

    def _note_presence(self, row: int) -> None:
        """Present devices are reported now and then, so that they are not taken for offline."""
        table, now = self._fleet.table, self._clock.monotonic()
        every = self._replica.settings.device_offline_after / 1_000 / PRESENCE
        if not table.online[row] or now - self._buffer.flushed[row] >= every:
            self._soil(row)

    def _soil(self, row: int) -> None:
        self._buffer.dirty[row] = True
        self._awake()

    def _awake(self) -> None:
        """There is something to flush; the driver may be sleeping until much later."""
        if not self._dirty:
            self._dirty, self._dirty_since = True, self._clock.monotonic()
            self._wake()

    # -- flushing -------------------------------------------------------------------------------

    def _flush_due(self) -> float:
        """Not before the last flush is known to be in the log: what is merged with what it holds
        could count twice. Not without a leader either: of a device the newest status is kept."""
        if not self._outbox.empty:
            return float("inf")
        if self._consensus.leader is None:
            return self._clock.monotonic() + WAIT_FOR_LEADER
        return float("-inf") if self._stopping else self._flushed_at + FLUSH

    def _waiting_since(self) -> float:
        """Since when something that was said waits for the log; infinite when nothing does."""
        if self._outbox.empty and not self._dirty:
            return float("inf")
        return max(self._dirty_since, self._outbox.committed_at)

    def _flush(self) -> None:
        buffer, now = self._buffer, self._clock.monotonic()
        self._dirty, self._flushed_at = False, now
        rows = np.flatnonzero(buffer.dirty)
        current = births_in(self._fleet.table, rows) == buffer.birth[rows]
        buffer.forget(rows[~current])
        rows = rows[current]
        is_rich = buffer.rich(rows)
        plain, rich = rows[~is_rich], self._turn_of(rows[is_rich])
        self._outbox.put([
            ReportDevices(self._node, **buffer.columns(part, self._fleet.metrics))
            for some, most in ((plain, MAX_BATCH), (rich, BATCH_WITH_METRICS))
            for part in portions(some, buffer.sizes(some), most)
        ])  # fmt: skip
        buffer.handed_over(np.concatenate((plain, rich)), now)
        if len(plain) + len(rich) < len(rows):  # the others as soon as these are in the log
            self._dirty, self._flushed_at = True, float("-inf")

    def _turn_of(self, rich: Rows) -> Rows:
        """At most `RICH` of these ascending rows, going on behind those that had their turn."""
        later = rich[rich >= self._rich_from]
        chosen = (later if len(later) else rich)[:RICH]
        self._rich_from = int(chosen[-1]) + 1 if len(chosen) else 0
        return chosen

    # -- registrations --------------------------------------------------------------------------

    def _registration_refusal(self, registration: Registration) -> IntakeRefusal | None:
        if self._stopping:
            rule = "this node stops; another one takes registrations"
            return IntakeRefusal(Fault.STOPPING, "registration", registration.id[:80], rule, 0.0)
        if why := self.unable():
            return busy(why, 0.0)
        fault = registration_fault(registration)
        if fault is None and registration.credential:
            fault = enrolment_fault(self._replica.state, registration, self._clock.wall())
        if fault is not None:
            return faulty(fault)
        row = self._fleet.row(registration.id)
        known, word = divmod(0 if row is None else self._newest(row), 1 << 32)
        if 0 < registration.session < known:
            return outdated(registration.session)
        fault = order_fault(registration, known, word)
        if fault is not None:
            return faulty(fault)
        if row is None:
            return None
        wait = self._buffer.too_soon(row, self._clock.monotonic())
        rule = "it registered very often of late; has another agent the same id?"
        return IntakeRefusal(Fault.BUSY, "registration", "", rule, wait) if wait else None

    def _numbered(self, registration: Registration) -> Registration:
        """With numbers of its own, where the agent gives none: each connection a new session."""
        if registration.session:
            return registration
        row = self._fleet.row(registration.id)
        known = 0 if row is None else self._newest(row) >> 32
        return replace(registration, session=min(known + 1, U32), sequence=0)

    def _judged(self, registration: Registration) -> Registration:
        reading = registration.reading
        healthy = reading is None or judge_one(self._fleet.rule, reading)
        return replace(registration, healthy=healthy)

    def _on_registered(self, pending: PendingRegistration, row: int, birth: int) -> None:
        """A registration is in the log and applied here, with whatever came after it."""
        registration, listener = pending.registration, pending.listener
        if births_in(self._fleet.table, row) != birth:
            listener.removed()
            return
        buffer, newest = self._buffer, self._newest(row)
        if newest >> 32 > registration.session:
            listener.superseded()
            return
        buffer.order[row] = max(newest, order_of(registration.session, registration.sequence))
        if registration.reading is not None:
            buffer.know(row, registration.reading, registration.healthy, self._clock.monotonic())
        self.connected.admit(row, listener)

    # -- what came of the log -------------------------------------------------------------------

    def _on_applied(self, _index: int, entry: Entry | None, applied: Applied) -> None:
        """Notes whether an entry may concern devices connected here. Of reports only those of
        other nodes do: a device that talks there is no longer here."""
        command = None if entry is None else entry.draft.command
        if isinstance(command, RegisterDevices | ReportDevices):
            self._changed |= command.node != self._node
        self._changed |= any(isinstance(event, FLEET_EVENTS) for event in applied.events)

    def _on_restored(self) -> None:
        """Anything may have happened meanwhile."""
        self._changed = True


def _number(known: int, session: int, sequence: int) -> tuple[int, int]:
    """The numbers of a word whose agent gave none: the session known, the next sequence."""
    return session or known >> 32, sequence or (known & U32) + 1
