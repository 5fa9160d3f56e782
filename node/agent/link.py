"""One device's tie to the cluster, for as long as the device lives: over any number of
connections, to whichever node is there.

A state machine of callbacks and timers, without a task or a queue: the agent of a real device
and each of a simulator's thousands are driven by the same code.

    waiting ──pause over──▶ connecting ──accepted──▶ registering ──ack──▶ registered
       ▲                        │                        │                   │
       └────────────── refused, broken, silent ──────────┴───────────────────┘

It ends for good when it is stopped, when a newer agent of the same device has taken over, or
when a node says that what it registers with breaks a rule: trying again could not help.

Words are ordered by (session, sequence). The session is the second in which the agent started,
and the sequence begins at the microsecond, so that a restart is newer without a file. A device
whose clock has been reset still gets in: if it is outdated on its *first* registration, it was
started last whatever the clock says, and takes the session after the one that is known.
"""

import asyncio
import time
from collections import Counter
from typing import Protocol, cast

import msgspec

from cluster.unreadable import UNREADABLE
from node.agent.addresses import Addresses
from node.agent.connection import Connection, Data, error_text
from node.agent.readings import Readings
from node.api import wire
from node.api.wire import Code

CODEC = wire.MSGPACK
CONNECT_SECONDS = 5.0
"""For a node to be reached and to accept the WebSocket."""
REGISTER_SECONDS = 15.0
"""A node gives a registration 10 s to get through the log, and then says so."""
MOST_SILENCE = 5.0
"""Seconds, or four heartbeat intervals if that is more: then the node counts as dead, though the
connection stands. A frozen process keeps its sockets open."""
MAX_REASONS = 64
SHORTEST, LONGEST = 0.01, 3_600.0
"""Seconds: what a node may ask for as an interval; none can make a device spin, or fall silent."""
OVERTAKEN = "another agent speaks for this device now"
"""Why a link ends whose device has a newer agent."""
HOPELESS = frozenset({Code.INVALID, Code.MALFORMED, Code.TOO_LARGE})


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What a device is; limits are those of `wire`, judged by the node."""

    device_id: str
    device_name: str = ""
    os_version: str = ""
    app_version: str = ""
    capabilities: dict[str, str | bool | int | float] = {}
    labels: dict[str, str] = {}


class Ringed(msgspec.Struct, frozen=True):
    """A ring, the one before as far as this device knows, why, and since when (ISO 8601)."""

    ring: str
    previous: str | None
    reason: str
    timestamp: str


class Owner(Protocol):
    """Whose link it is."""

    def read(self) -> Readings: ...

    def ringed(self, news: Ringed) -> None:
        """The device is in another ring than it knew of."""
        ...

    def ended(self, why: str) -> None:
        """The link has ended for good, and not because it was stopped."""
        ...


class Tally:
    """What happened on one link, or on all that share it."""

    __slots__ = ("connected", "errors", "failed", "heartbeats", "lost", "reconnects",
                 "registrations", "rings", "statuses")  # fmt: skip

    def __init__(self) -> None:
        self.connected = 0
        """Links that are registered now; everything else only rises."""
        self.statuses = 0
        self.heartbeats = 0
        self.registrations = 0
        self.reconnects = 0
        """Registrations after the first of a link."""
        self.rings = 0
        """Changes of ring heard, first ones included."""
        self.failed: Counter[str] = Counter()
        """Tries that led to no registration, by why."""
        self.lost: Counter[str] = Counter()
        """Ends of what was registered, by why."""
        self.errors: Counter[str] = Counter()
        """What nodes refused, by code."""

    def ended(self, why: str, count: int, *, registered: bool) -> None:
        """Counts ends of what was registered, or of tries. Nodes word some of the reasons: of so
        many that nobody could read them the rest are one."""
        ends = self.lost if registered else self.failed
        known = why in ends or len(ends) < MAX_REASONS
        ends[why if known else "other reasons"] += count


def sensible(seconds: float) -> float:
    """An interval as a node named it, within bounds; the shortest for what is no number."""
    return min(LONGEST, max(SHORTEST, seconds))


def device_status(identity: Identity, ring: str | None, readings: Readings) -> wire.DeviceStatus:
    """The seed's message about a device in this ring, as a node named it."""
    return wire.DeviceStatus(
        slave_id=identity.device_id,
        battery_level=round(readings.battery_level),
        battery_charging=readings.battery_charging,
        cpu_usage=readings.cpu_usage,
        memory_usage=readings.memory_usage,
        disk_usage=readings.disk_usage,
        assigned_ring=cast("wire.Ring | None", ring),
        device_name=identity.device_name,
        os_version=identity.os_version,
        app_version=identity.app_version,
        metrics=readings.metrics,
    )


class Link:
    """See above. `failures` since the last registration decide the pause before the next try."""

    __slots__ = ("_addresses", "_attempt", "_connection", "_failures", "_floor", "_heartbeat",
                 "_identity", "_intervals", "_known", "_loop", "_owner", "_sequence", "_session",
                 "_status", "_stopped", "_tally", "_url", "registered", "ring")  # fmt: skip

    def __init__(
        self, identity: Identity, addresses: Addresses, owner: Owner, tally: Tally
    ) -> None:
        self._identity, self._addresses = identity, addresses
        self._owner, self._tally = owner, tally
        self._loop = asyncio.get_running_loop()
        self._session, fraction = divmod(time.time_ns(), 1_000_000_000)
        self._sequence = fraction // 1_000
        self._known = self._stopped = self.registered = False
        self._failures, self._floor = 0, 0.0
        self._url = ""
        self._attempt: asyncio.Task[None] | None = None
        self._connection: Connection | None = None
        self._status: asyncio.TimerHandle | None = None
        self._heartbeat: asyncio.TimerHandle | None = None
        self._intervals = wire.Intervals(0.0, 0.0)
        self.ring: str | None = None

    @property
    def url(self) -> str | None:
        """The node that serves the device now."""
        return self._url if self.registered else None

    def start(self, after: float = 0.0) -> None:
        """Begins to connect, in so many seconds."""
        self._status = self._loop.call_later(after, self._connect)

    def stop(self) -> None:
        """Ends it in good order; the owner is told nothing more."""
        self._stopped = True
        self._rest()
        if self._attempt is not None:
            self._attempt.cancel()
        if self._connection is not None:
            self._connection.close()

    async def closed(self) -> None:
        """Returns when nothing of it is left on the event loop, after `stop`."""
        if self._attempt is not None:
            await asyncio.wait({self._attempt})
        if self._connection is not None:
            await self._connection.closed()

    # -- connecting -----------------------------------------------------------------------------

    def _connect(self) -> None:
        self._url = self._addresses.pick()
        self._connection = Connection(self._url, CODEC.name, self)
        self._within(CONNECT_SECONDS, "nobody there: no answer")
        self._attempt = self._loop.create_task(self._open(self._connection))

    async def _open(self, connection: Connection) -> None:
        try:
            await connection.open()
        except OSError as error:
            connection.cut(f"nobody there: {error_text(error)}")

    def _within(self, seconds: float, otherwise: str) -> None:
        """The next step has to come in this time, or the connection is given up."""
        self._rest()
        self._status = self._loop.call_later(seconds, self._cut, otherwise)

    def _again(self) -> None:
        """The connection is gone: another try, later; not all at once when a node said when."""
        pause = self._floor + self._addresses.pause(self._failures)
        self._failures, self._floor = self._failures + 1, 0.0
        self.start(pause)

    def _rest(self) -> None:
        for timer in (self._status, self._heartbeat):
            if timer is not None:
                timer.cancel()
        self._status = self._heartbeat = None
        self._tally.connected -= self.registered
        self.registered = False

    def _end(self, why: str) -> None:
        self.stop()
        self._owner.ended(why)

    # -- what the connection says ---------------------------------------------------------------

    def opened(self) -> None:
        self._within(REGISTER_SECONDS, "the registration was not answered in time")
        identity = self._identity
        payload = wire.RegistrationPayload(
            capabilities=identity.capabilities,
            labels=identity.labels,
            device_status=self._device_status(),
            session=self._session,
            sequence=self._next(),
        )
        self._send(wire.Registration(identity.device_id, payload))

    def received(self, message: Data) -> None:
        """What this agent cannot read is left alone: a newer node may say more than it knows."""
        try:
            told = CODEC.decode_told(bytes(message))
        except UNREADABLE:
            self._tally.errors["unreadable"] += 1
            return
        match told:
            case wire.Ack():
                self._acknowledged(told.payload)
            case wire.RingAssignment():
                self._ringed(told.payload.ring, told.payload.reason, told.payload.timestamp)
            case wire.Error():
                self._refused(told.payload)

    def lost(self, why: str) -> None:
        self._connection = None
        if self._attempt is not None:
            self._attempt.cancel()
        self._addresses.failed(self._url)
        self._tally.ended(why, 1, registered=self.registered)
        self._rest()
        if not self._stopped:
            self._again()

    # -- what the node says ---------------------------------------------------------------------

    def _acknowledged(self, ack: wire.AckPayload) -> None:
        self._intervals = wire.Intervals(
            sensible(ack.status_interval), sensible(ack.heartbeat_interval)
        )
        if ack.ring is None:
            return
        if not self.registered:
            self._registered(ack)
        self._ringed(ack.ring, ack.reason or "", ack.timestamp or "")

    def _registered(self, ack: wire.AckPayload) -> None:
        self._rest()
        self.registered = True
        self._tally.connected += 1
        self._tally.registrations += 1
        self._tally.reconnects += self._known
        self._known, self._failures = True, 0
        self._addresses.learn(ack.nodes, self._url)
        self._status = self._loop.call_later(self._intervals.status_interval, self._report)
        self._beat_later()

    def _ringed(self, ring: str, reason: str, timestamp: str) -> None:
        previous, self.ring = self.ring, ring
        if ring != previous:
            self._tally.rings += 1
            self._owner.ringed(Ringed(ring, previous, reason, timestamp))

    def _refused(self, error: wire.ErrorPayload) -> None:
        self._tally.errors[error.code] += 1
        said = f"{error.code}: {error.field}: {error.value} refused: {error.rule}"
        if error.code is Code.SUPERSEDED:
            self._end(OVERTAKEN)
        elif error.code is Code.OUTDATED and not self.registered:
            self._overtaken(error.session, said)
        elif error.code in HOPELESS and not self.registered:
            self._end(said)
        elif error.closing or error.code in {Code.UNKNOWN, Code.UNREGISTERED}:
            self._floor = sensible(error.retry_after or 0.0)
            self._cut(error.code)

    def _overtaken(self, session: int | None, said: str) -> None:
        """The cluster knows a newer session than ours: see the top."""
        if self._known or session is None or session >= wire.MAX_ORDINAL:
            self._end(said)
            return
        self._session, self._sequence = session + 1, 0
        self._cut(Code.OUTDATED)

    # -- what the device says -------------------------------------------------------------------

    def _report(self) -> None:
        self._status = self._loop.call_later(self._intervals.status_interval, self._report)
        self._beat_later()
        payload = wire.StatusPayload(self._device_status(), self._session, self._next())
        self._tally.statuses += 1
        self._send(wire.StatusUpdate(self._identity.device_id, payload))

    def _beat_later(self) -> None:
        """A heartbeat is due when nothing was said for so long: one between two statuses."""
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        self._heartbeat = self._loop.call_later(self._intervals.heartbeat_interval, self._beat)

    def _beat(self) -> None:
        self._beat_later()
        connection = self._connection
        assert connection is not None
        silence = self._loop.time() - connection.heard_at
        if silence > max(MOST_SILENCE, 4 * self._intervals.heartbeat_interval):
            connection.cut("the node is silent")
            return
        self._tally.heartbeats += 1
        payload = wire.HeartbeatPayload(self._session, self._next())
        self._send(wire.Heartbeat(self._identity.device_id, payload))

    def _device_status(self) -> wire.DeviceStatus:
        return device_status(self._identity, self.ring, self._owner.read())

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence

    def _send(self, said: wire.Said) -> None:
        if self._connection is not None:
            self._connection.send(CODEC.encode(said))

    def _cut(self, why: str) -> None:
        if self._connection is not None:
            self._connection.cut(why)
