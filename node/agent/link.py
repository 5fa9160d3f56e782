"""One device's tie to the cluster, for as long as the device lives: over any number of
connections, to whichever node is there.

A state machine of callbacks and timers, without a task or a queue: the agent of a real device
and each of a simulator's thousands are driven by the same code. Each connection is a `channel`;
the link decides how many there are, and speaks on the one that is registered:

    seeking ──registered──▶ serving ◀──answered, or registered elsewhere──┐
       ▲                       │ └──────an answer is overdue──────▶ seeking beside it
       └────refused, broken────┴─────────────refused, broken──────────────┘

It seeks when no channel does well: each waits for an answer that is overdue, or there is none.
Then it dials a node that it is not connected to, if it knows one. Of at most `MOST_CHANNELS` at a
time, a further one takes the place of the oldest that is not registered. A channel that is newly
registered takes over, and the older one is dropped: the device is served without a gap. If the
older one answers first, whatever is only being dialled beside it is dropped.

Nodes that are merely slow, or are starting, must not be stormed by all of their devices. So a try
that failed is followed by a growing random pause, and so is, from the second in a row, one that was
given up; and each is more patient than the one before. Only an answer in time or a registration
ends that.

A node that says a newer connection speaks for the device may mean one that the link has opened, or
has given up since. Whether it was another agent's is seen from the answer to the next registration.

It ends for good when it is stopped, when a newer agent of the same device has taken over, or
when a node says that what it registers with breaks a rule, or that the token it shows was revoked:
trying again could not help. A token that is not known, or has expired, is shown ever more rarely;
so is the credential of a device's own, and once in 5 minutes when that was revoked. A device that
enrols registers twice, with the token and then with what is its own (see `own_credential`).

Words are ordered by (session, sequence), over all channels. The session is the second in which
the agent started, and the sequence begins at the microsecond, so that a restart is newer without
a file. A device whose clock has been reset still gets in: if it is outdated on its *first*
registration, it was started last whatever the clock says, and takes the session after the one
that is known.
"""

import asyncio
import time

from stationkeep.cluster.unreadable import UNREADABLE
from stationkeep.node.agent.addresses import Addresses
from stationkeep.node.agent.channel import CODEC, CONNECT_SECONDS, Channel, Stage
from stationkeep.node.agent.connection import Data
from stationkeep.node.agent.device import (
    Identity,
    Owner,
    Ringed,
    TaskListener,
    device_status,
    first_session,
    registration,
)
from stationkeep.node.agent.patience import FIRST_PATIENCE, HASTY, patience, sensible
from stationkeep.node.agent.tally import Tally
from stationkeep.node.agent.turned_away import AWAY_FOR_LONG, REVOKED, TurnedAway, away_pause
from stationkeep.node.wire import messages as wire
from stationkeep.node.wire.messages import Code
from stationkeep.node.wire.tasks import TaskUpdatePayload

MOST_CHANNELS = 2
"""Connections of one device at a time."""
MOST_WITHHELD = 2
"""Statuses in a row that a registered device does not send for the sake of another connection:
fewer than a node misses before it counts the device as offline."""
OVERTAKEN = "another agent speaks for this device now"
"""Why a link ends whose device has a newer agent."""
HOPELESS = frozenset({Code.INVALID, Code.MALFORMED, Code.TOO_LARGE})
"""Refusals of a registration that another try would meet again."""
CUTTING = frozenset({Code.UNKNOWN, Code.UNREGISTERED})
"""Refusals of a status or heartbeat after which the device has to register again."""
UNWANTED = frozenset({Code.UNKNOWN_TASK, Code.ILLEGAL_TRANSITION})
"""Refusals of what was said of a task that do not pass by themselves."""
STALE = 5
"""Words in a row that are old in their own session. A few may be, which were late."""
TOO_SLOW = "nobody there: no answer, another try instead"
REPLACED = "no answer in time, another connection took over"
NOT_NEEDED = "another connection serves"
ENROLLED = "it is enrolled, and comes again with what is its own"
"""Why a link gives up a connection of its own accord."""


class Link:
    """See above. `tasks`: for a device that carries out tasks."""

    __slots__ = ("_addresses", "_channels", "_failures", "_floor", "_heartbeat", "_identity",
                 "_intervals", "_known", "_loop", "_next", "_not_before", "_owner", "_patience",
                 "_renewing", "_sequence", "_serving", "_session", "_stale", "_status", "_stopped",
                 "_tally", "_tasks", "_times_away", "_withheld", "ring")  # fmt: skip

    def __init__(
        self,
        identity: Identity,
        addresses: Addresses,
        owner: Owner,
        tally: Tally,
        tasks: TaskListener | None = None,
    ) -> None:
        self._identity, self._addresses = identity, addresses
        self._owner, self._tally, self._tasks = owner, tally, tasks
        self._loop = asyncio.get_running_loop()
        seconds, fraction = divmod(time.time_ns(), 1_000_000_000)
        self._session, self._sequence = first_session(seconds), fraction // 1_000
        self._known = self._stopped = self._renewing = False
        self._failures = self._withheld = self._stale = self._times_away = 0
        self._patience = FIRST_PATIENCE
        self._floor = self._not_before = 0.0
        self._channels: list[Channel] = []  # by when they were dialled, or then registered
        self._serving: Channel | None = None
        self._next: asyncio.TimerHandle | None = None
        self._status: asyncio.TimerHandle | None = None
        self._heartbeat: asyncio.TimerHandle | None = None
        self._intervals = wire.Intervals(0.0, 0.0)
        self.ring: str | None = None

    @property
    def url(self) -> str | None:
        """The node that serves the device now."""
        return None if self._serving is None else self._serving.url

    def start(self, after: float = 0.0) -> None:
        """Begins to connect, in so many seconds."""
        self._not_before = self._loop.time() + after
        self._seek()

    def stop(self) -> None:
        """Ends it in good order; the owner is told nothing more."""
        self._stopped = True
        self._seek()
        self._rest()
        for channel in self._channels:
            channel.close()

    async def closed(self) -> None:
        """Returns when nothing of it is left on the event loop, after `stop`."""
        for channel in self._channels:
            await channel.closed()

    def say(self, update: TaskUpdatePayload) -> None:
        """Says how a task goes, unless no node serves the device now, or the one that does is
        yet to hear what the device runs: `served` follows."""
        if self._serving is not None and not self._renewing:
            self._serving.send(wire.TaskUpdate(self._identity.device_id, update))

    def renew(self, identity: Identity) -> None:
        """The device is another than it was, of the same id: it registers again, on the
        connection that serves it. If that takes long another one does (see `channel`)."""
        self._identity = identity
        for other in self._registering():  # as what it was
            self._give_up(other, NOT_NEEDED)
        if self._serving is not None:
            self._renewing = True
            self._serving.register(self._registration())
        self._seek()

    # -- seeking --------------------------------------------------------------------------------

    def _seek(self) -> None:
        """Plans to dial, if that is needed now."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if self._in_need:
            moment = max(self._not_before, self._loop.time())
            self._next = self._loop.call_at(moment, self._dial)

    @property
    def _in_need(self) -> bool:
        """Whether no channel does well."""
        return not self._stopped and all(channel.in_doubt for channel in self._channels)

    def _dial(self) -> None:
        self._next = None
        if not self._in_need:
            return
        if len(self._channels) == MOST_CHANNELS:
            self._give_up(next(c for c in self._channels if c is not self._serving), TOO_SLOW)
        url = self._addresses.pick([channel.url for channel in self._channels])
        seconds = min(CONNECT_SECONDS, self._patience * 2 ** min(self._failures, 16))
        self._channels.append(Channel(url, self, seconds, self._addresses.credentials))

    def _pause(self) -> None:
        """The next try comes later; not those of all devices at once when a node said when."""
        floor = max(self._floor, away_pause(self._times_away))
        pause = floor + self._addresses.pause(self._failures)
        self._not_before, self._floor = self._loop.time() + pause, 0.0

    def _give_up(self, channel: Channel, why: str) -> None:
        """Another channel is better than this one."""
        if self._failures >= HASTY:
            self._pause()
        channel.drop()
        self._ended(channel, why, blame=why not in (NOT_NEEDED, ENROLLED))

    def _ended(self, channel: Channel, why: str, *, blame: bool = True) -> None:
        self._channels.remove(channel)
        if blame:
            self._addresses.failed(channel.url)
        self._tally.ended(why, 1, registered=channel.stage is Stage.REGISTERED)
        self._failures += 1

    def _rest(self) -> None:
        """Nothing is said any more."""
        for timer in (self._status, self._heartbeat):
            if timer is not None:
                timer.cancel()
        self._status = self._heartbeat = None
        self._renewing = False
        self._tally.connected -= self._serving is not None
        self._serving = None

    def _end(self, why: str, *, unauthorised: bool = False) -> None:
        self.stop()
        self._owner.ended(why, unauthorised=unauthorised)

    # -- what channels say ----------------------------------------------------------------------

    def opened(self, channel: Channel) -> None:
        self._channels.remove(channel)
        self._channels.append(channel)
        credential = self._addresses.credentials.sha256_for(channel.shown)
        channel.register(self._registration(credential))

    def received(self, channel: Channel, message: Data) -> None:
        """What this agent cannot read is left alone: a newer node may say more than it knows."""
        try:
            told = CODEC.decode_told(bytes(message))
        except UNREADABLE as error:
            self._tally.errors["unreadable"] += 1
            rejection = wire.rejection_of(bytes(message), error, CODEC)
            if rejection is not None and self._tasks is not None:
                self.say(rejection)
            return
        match told:
            case wire.Ack():
                self._acknowledged(channel, told.payload)
            case wire.RingAssignment():
                self._ringed(told.payload.ring, told.payload.reason, told.payload.timestamp)
            case wire.Error():
                self._refused(channel, told.payload)
            case wire.Trust() if channel.url.startswith("https:"):  # who has proved who it is
                self._addresses.credentials.learn(told.payload.ca)
            case wire.Task() | wire.TaskAck() | wire.TaskCancel() if self._tasks is not None:
                self._tasks.told(told)

    def doubted(self, channel: Channel) -> None:
        self._seek()

    def lost(self, channel: Channel, why: str) -> None:
        """Another try, later; soon, if it is the one that has served until now."""
        away = channel.turned_away
        if channel is self._serving:
            self._failures = 0
        if away is not None:
            self._refused_entry(channel.shown, away.rule)
        self._pause()
        self._ended(channel, why)
        if channel is self._serving:
            self._rest()
        if away is not None:
            self._turned_away(away)
        self._seek()

    def _turned_away(self, away: TurnedAway) -> None:
        """Trying again cannot help with a token that was taken back, nor, at first, without one;
        who has been served without one may be again, elsewhere."""
        credentials = self._addresses.credentials
        bare = not credentials.token and not self._known
        if (away.is_over and not credentials.own) or bare:
            self._end(away.line, unauthorised=True)
        else:
            self._owner.turned_away(away.line)

    def _refused_entry(self, shown: str, rule: str) -> None:
        """What was shown opens nothing; for long, if it never will again and nothing else may."""
        credentials = self._addresses.credentials
        for_long = rule == REVOKED and credentials.sha256_for(shown) is None
        self._times_away = max(self._times_away + 1, AWAY_FOR_LONG if for_long else 0)
        credentials.turned_away(shown, rule)

    # -- what nodes say -------------------------------------------------------------------------

    def _acknowledged(self, channel: Channel, ack: wire.AckPayload) -> None:
        self._intervals = wire.Intervals(
            sensible(ack.status_interval), sensible(ack.heartbeat_interval)
        )
        if channel is self._serving:
            self._stale = 0
            self._answered(channel)
        if ack.ring is None:
            return
        if channel is self._serving:
            channel.registered(self._patience)
        elif self._addresses.credentials.sha256_for(channel.shown) is not None:
            self._enrolled()
            return
        else:
            self._registered(channel, ack)
        self._ringed(ack.ring, ack.reason or "", ack.timestamp or "")
        self._renewing = False
        if self._tasks is not None:
            self._tasks.served()

    def _answered(self, channel: Channel) -> None:
        """The node has taken in what was said; if that was late, a dial beside it is not needed
        any more. One that has sent its registration goes on: the node may know it already."""
        if not channel.in_doubt:
            self._failures = 0
        channel.answered()
        for other in [c for c in self._channels if c.stage is Stage.DIALLING]:
            self._give_up(other, NOT_NEEDED)

    def _registered(self, channel: Channel, ack: wire.AckPayload) -> None:
        """It takes over, and at once says what is newer than all that may still come in of the one
        before. A newer registration elsewhere goes on: it would take the device away from here."""
        former = self._serving
        newer = self._channels[self._channels.index(channel) + 1 :]
        for other in [c for c in self._channels if c is not channel]:
            if other.stage is Stage.DIALLING or other not in newer:
                self._give_up(other, REPLACED if other is former else NOT_NEEDED)
        self._rest()
        self._serving = channel
        self._patience = patience(self._intervals.status_interval)
        channel.registered(self._patience)
        self._tally.connected += 1
        self._tally.registrations += 1
        self._tally.reconnects += self._known
        self._known, self._failures, self._not_before = True, 0, 0.0
        self._times_away = 0
        self._seek()
        self._addresses.learn(ack.nodes, channel.url)
        if former is None:
            self._report_later()
        else:
            self._report()

    def _enrolled(self) -> None:
        """The cluster knows what is the device's own, which is shown at once."""
        self._addresses.credentials.enrolled()
        for channel in list(self._channels):
            if channel is not self._serving:
                self._give_up(channel, ENROLLED)
        self._failures = self._times_away = 0
        self._not_before = 0.0
        self._seek()

    def _ringed(self, ring: str, reason: str, timestamp: str) -> None:
        previous, self.ring = self.ring, ring
        if ring != previous:
            self._tally.rings += 1
            self._owner.ringed(Ringed(ring, previous, reason, timestamp))

    def _refused(self, channel: Channel, error: wire.ErrorPayload) -> None:
        self._tally.errors[error.code] += 1
        if self._tasks is not None and error.task_id is not None and error.code in UNWANTED:
            self._tasks.refused(error.task_id)
        said = f"{error.code}: {error.field}: {error.value} refused: {error.rule}"
        registering = channel.stage is Stage.REGISTERING
        self._known |= error.code is Code.SUPERSEDED
        if error.code is Code.OUTDATED and registering:
            self._outdated(channel, error.session, said)
        elif error.code is Code.OUTDATED and self._is_overtaken_in_its_session(channel, error):
            self._session, self._sequence, self._stale = self._session + 1, 0, 0
            channel.cut(Code.OUTDATED)
        elif error.code is Code.NOT_ENROLLED:
            self._refused_entry(channel.shown, error.code)
            self._owner.turned_away(said)
            channel.cut(error.code)
        elif error.code in HOPELESS and registering and self._serving is None:
            self._end(said)
        elif error.closing or registering or error.code in CUTTING:
            self._floor = sensible(error.retry_after or 0.0)
            channel.cut(error.code)
        elif channel is self._serving:
            self._answered(channel)

    def _is_overtaken_in_its_session(self, channel: Channel, error: wire.ErrorPayload) -> bool:
        """Whether many words of ours in a row are old to the cluster though our session is the
        newest: somebody spoke in our name. Nobody would hear us again but in another session."""
        ours = error.session == self._session and self._session < wire.MAX_ORDINAL
        self._stale += channel is self._serving and ours
        return self._stale >= STALE

    def _outdated(self, channel: Channel, session: int | None, said: str) -> None:
        """The cluster knows a newer session than ours (see the top), or a newer word of ours."""
        if session is not None and session <= self._session:
            channel.cut(Code.OUTDATED)
        elif self._known:
            self._end(OVERTAKEN)
        elif session is None or session >= wire.MAX_ORDINAL:
            self._end(said)
        else:
            self._session, self._sequence = session + 1, 0
            channel.cut(Code.OUTDATED)

    # -- what the device says -------------------------------------------------------------------

    def _report(self) -> None:
        """Some are withheld while another channel registers: they would be newer than the
        registration, and seem to be words from elsewhere. A channel in doubt withholds all."""
        channel = self._serving
        assert channel is not None
        self._report_later()
        others = self._registering()
        pending = others or self._renewing
        if pending and (channel.in_doubt or self._withheld < MOST_WITHHELD):
            self._withheld += 1
            return
        self._withheld = 0
        for other in others:
            self._give_up(other, NOT_NEEDED)
        payload = wire.StatusPayload(self._device_status(), self._session, self._next_word())
        self._tally.statuses += 1
        channel.send(wire.StatusUpdate(self._identity.device_id, payload))

    def _registration(self, credential: str | None = None) -> wire.Registration:
        status, word = self._device_status(), self._next_word()
        return registration(self._identity, status, self._session, word, credential)

    def _registering(self) -> list[Channel]:
        return [channel for channel in self._channels if channel.stage is Stage.REGISTERING]

    def _report_later(self) -> None:
        self._status = self._loop.call_later(self._intervals.status_interval, self._report)
        self._beat_later()

    def _beat_later(self) -> None:
        """A heartbeat is due when nothing was said for so long: one between two statuses."""
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        self._heartbeat = self._loop.call_later(self._intervals.heartbeat_interval, self._beat)

    def _beat(self) -> None:
        """Nothing new is asked while an answer is awaited: each is the answer to one question."""
        channel = self._serving
        assert channel is not None
        self._beat_later()
        if channel.asking or self._registering():
            return
        self._tally.heartbeats += 1
        payload = wire.HeartbeatPayload(self._session, self._next_word())
        channel.ask(wire.Heartbeat(self._identity.device_id, payload))

    def _device_status(self) -> wire.DeviceStatus:
        return device_status(self._identity, self.ring, self._owner.read())

    def _next_word(self) -> int:
        self._sequence += 1
        return self._sequence
