"""One direction of one TCP connection, packet by packet, as Linux 6 sends it.

A lost packet is not a lost message: it is sent again, and everything behind it waits. While later
packets are acknowledged, a loss is seen within a round trip (selective acknowledgements, RACK, a
tail loss probe). When none is, the timeout decides; it doubles each time it expires, and only the
oldest packet is sent. So small messages at 20 % loss stall for many seconds.

The model has what matters to small messages: timeouts and their growth, RACK, one tail loss probe,
selective and delayed acknowledgements and their loss, waiting data joined into one segment, the
window while losses are repaired, TCP_THIN_LINEAR_TIMEOUTS as it is really applied (never in the
initial slow start, which BBR never ends), TCP_USER_TIMEOUT. `tests/simulation/test_kernel.py`
compares it with the kernel.
"""

from collections import deque
from typing import Generic, Protocol, TypeVar

import msgspec

from stationkeep.node.simulation.agenda import At, Time
from stationkeep.node.simulation.links.congestion import THIN_TIMEOUTS, Congestion, window
from stationkeep.node.simulation.links.reception import Ranges, Receiver
from stationkeep.node.simulation.links.retransmission import RoundTrips

M = TypeVar("M")
M_contra = TypeVar("M_contra", contravariant=True)

SEGMENT = 1_448
"""Bytes of one segment on Ethernet."""
PROBE_ALONE, PROBE = 0.2, 0.002
"""Seconds beyond two round trips after which the tail is probed: when one packet is in flight,
whose acknowledgement may be delayed, and when several are."""
SOON = 0.001
"""Seconds; no timer is shorter."""
NOT_REPAIRING = -1


class Way(Protocol):
    """The network between the two ends."""

    def latency(self, *, back: bool = False) -> float:
        """Seconds that a packet takes; `back`: from the receiver to the sender."""
        ...

    def loses(self, *, back: bool = False) -> bool:
        """Whether a packet that leaves now is lost."""
        ...


class Owner(Protocol[M_contra]):
    """The owner of a stream, at both ends."""

    def arrived(self, message: M_contra) -> None:
        """A message has arrived at the receiver, in order."""
        ...

    def timed_out(self) -> None:
        """The retransmission timeout has expired once more."""
        ...

    def given_up(self) -> None:
        """Nothing was acknowledged for the user timeout."""
        ...


class Segment(msgspec.Struct, eq=False):
    """Bytes from `first` to before `last`, in flight."""

    first: int
    last: int
    sent: float
    """When it was sent last."""
    repeated: bool = False
    reached: bool = False
    """Selectively acknowledged."""
    lost: bool = False
    """Considered lost, and not sent again since."""


class Stream(Generic[M]):
    """One direction of an established connection. Times in seconds."""

    def __init__(
        self,
        time: Time,
        at: At,
        way: Way,
        owner: Owner[M],
        *,
        round_trip: float,
        user_timeout: float,
        congestion: Congestion = Congestion.BBR,
    ) -> None:
        """`round_trip`: the one of the handshake."""
        self._time, self._at, self._way, self._owner = time, at, way, owner
        self._user_timeout = user_timeout
        self._receiver = Receiver(time, at, self._answer)
        self.waiting: deque[tuple[int, M]] = deque()
        """Messages that have not arrived, each with the bytes of the stream up to its end."""
        self._written = self._sent = self._acknowledged = 0
        """Bytes so far: by the owner, sent at least once, acknowledged."""
        self._flight: deque[Segment] = deque()
        self._window = window(congestion)
        self._trips = RoundTrips(round_trip)
        self._least_trip = round_trip
        self._round_end = 0
        """Bytes sent when the present round trip began."""
        self._newest = 0.0
        """Latest sending time of a packet that has arrived (RACK)."""
        self._repairing_to = NOT_REPAIRING
        """Bytes sent when losses were seen; once these are acknowledged, all losses are
        repaired."""
        self._since = 0.0
        """When the first of the packets that are not acknowledged yet was sent again."""
        self._timer = 0
        """Number of the newest setting of the timer; older ones do nothing."""
        self._probing = self._probed = False
        """Whether the timer is that of the tail loss probe, and whether a probe was sent."""
        self.unanswered = 0
        """Timeouts in a row without an answer."""
        self.closed = False

    # -- the owner -----------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Everything written has been acknowledged."""
        return self._acknowledged == self._written

    def write(self, message: M, size: int) -> None:
        """Sends a message of `size` bytes as soon as the window allows."""
        self._written += size
        self.waiting.append((self._written, message))
        self._transmit()

    def close(self) -> None:
        """Nothing is sent or delivered any more."""
        self.closed = True
        self.waiting.clear()
        self._flight.clear()

    # -- sending -------------------------------------------------------------------------------

    def _under_way(self) -> int:
        return sum(not (segment.reached or segment.lost) for segment in self._flight)

    def _transmit(self) -> None:
        """Sends what the window allows: first what was lost, then what is new."""
        room = self._window.size - self._under_way()
        while room > 0 and (segment := self._first_lost()) is not None:
            self._repeat(segment)
            room -= 1
            if segment is self._flight[0]:
                self._set_timer()
        while room > 0 and self._sent < self._written:
            self._send_new()
            room -= 1

    def _first_lost(self) -> Segment | None:
        if self._repairing_to == NOT_REPAIRING:
            return None
        return next((segment for segment in self._flight if segment.lost), None)

    def _send_new(self) -> None:
        last = min(self._written, self._sent + SEGMENT)
        segment = Segment(self._sent, last, self._time.now)
        self._sent = last
        self._flight.append(segment)
        self._packet(segment)
        if len(self._flight) == 1 or self._probing:
            self._set_timer()
        self._plan_probe(self._flight[0].sent)

    def _repeat(self, segment: Segment) -> None:
        """Sends a segment again, joined with what follows and fits."""
        if not self._since:
            self._since = self._time.now
        for following in list(self._flight):
            if following.first == segment.last:
                if following.reached or following.last - segment.first > SEGMENT:
                    break
                segment.last = following.last
                self._flight.remove(following)
        segment.lost = False
        self._packet_again(segment)

    def _packet_again(self, segment: Segment) -> None:
        segment.sent, segment.repeated = self._time.now, True
        self._packet(segment)

    def _packet(self, segment: Segment) -> None:
        if not self._way.loses():
            arrival = self._time.now + self._way.latency()
            self._at(arrival, self._reach, segment.first, segment.last, self._time.now)

    # -- timers --------------------------------------------------------------------------------

    def _set_timer(self) -> None:
        """Sets the timer again: the timeout counts from now."""
        self._probing = False
        wait = self._trips.timeout
        if self._since:
            wait = min(wait, self._since + self._user_timeout - self._time.now)
        self._timer += 1
        if self._flight:
            self._at(self._time.now + max(wait, SOON), self._timed_out, self._timer)

    def _plan_probe(self, since: float) -> None:
        """Sets the timer to a tail loss probe, unless a loss is known already. `since`: from when
        the timeout counts."""
        if self._repairing_to != NOT_REPAIRING or self._probed or not self._flight:
            return
        if any(segment.reached for segment in self._flight):
            return
        wait = 2 * self._trips.smoothed + (PROBE_ALONE if len(self._flight) == 1 else PROBE)
        wait = min(wait, since + self._trips.timeout - self._time.now)
        self._timer += 1
        self._probing = True
        self._at(self._time.now + max(wait, SOON), self._probe, self._timer)

    def _probe(self, timer: int) -> None:
        if timer != self._timer or self.closed:
            return
        self._probed, self._probing = True, False
        if self._sent < self._written:
            self._send_new()
        else:
            self._packet_again(self._flight[-1])
        self._set_timer()

    def _timed_out(self, timer: int) -> None:
        if timer != self._timer or self.closed:
            return
        if self._since and self._time.now - self._since >= self._user_timeout:
            self._owner.given_up()
            return
        self.unanswered += 1
        for segment in self._flight:
            segment.lost = not segment.reached
        self._window.timed_out(self._repairing_to != NOT_REPAIRING)
        self._repairing_to = self._sent
        self._probed = False
        linear = self._window.is_thin(len(self._flight)) and self.unanswered <= THIN_TIMEOUTS
        self._repeat(self._flight[0])
        if linear:
            self._trips.recompute()
        else:
            self._trips.back_off()
        self._set_timer()
        self._owner.timed_out()

    # -- acknowledgements ----------------------------------------------------------------------

    def _acknowledge(self, upto: int, early: Ranges, stamp: float) -> None:
        if self.closed:
            return
        ahead = upto > self._acknowledged
        passed = self._pass(upto)
        marked = self._mark(early)
        self._measure(passed, marked, stamp if ahead else None)
        delivered = [*passed, *marked]
        self._note_newest(delivered)
        if not self._flight or upto >= self._repairing_to:
            self._since = 0.0
        if self._repairing_to != NOT_REPAIRING and upto >= self._repairing_to:
            self._repairing_to = NOT_REPAIRING
            self._window.repaired()
        if ahead:
            self._probed = False
            self._set_timer()
            self._plan_probe(self._time.now)
        if delivered:
            self._detect(len(delivered), max(segment.sent for segment in delivered))
        self._transmit()

    def _pass(self, upto: int) -> list[Segment]:
        """Segments that are acknowledged now for the first time, in order."""
        passed = []
        while self._flight and self._flight[0].last <= upto:
            segment = self._flight.popleft()
            if not segment.reached:
                passed.append(segment)
        if self._flight:
            self._flight[0].first = max(self._flight[0].first, upto)
        if upto > self._acknowledged:
            self._acknowledged = upto
            self.unanswered = 0
        return passed

    def _mark(self, early: Ranges) -> list[Segment]:
        """Marks segments as selectively acknowledged; returns those that were not before."""
        marked = []
        for first, last in early:
            for segment in self._flight:
                if not segment.reached and first <= segment.first and segment.last <= last:
                    segment.reached, segment.lost = True, False
                    marked.append(segment)
        return marked

    def _measure(self, passed: list[Segment], marked: list[Segment], stamp: float | None) -> None:
        """Measures the round trip: by a packet that was sent only once, else by the echoed
        timestamp."""
        sent = stamp
        if passed and not any(segment.repeated for segment in passed):
            sent = passed[0].sent
        else:
            sent = next((segment.sent for segment in marked if not segment.repeated), stamp)
        if sent is None:
            return
        over = self._acknowledged >= self._round_end
        if over:
            self._round_end = self._sent
        trip = self._time.now - sent
        self._trips.measured(trip, over)
        self._least_trip = min(self._least_trip, trip)

    def _note_newest(self, delivered: list[Segment]) -> None:
        """Notes the newest packet that has arrived. One that was sent again counts only if the
        repeat can be the copy that arrived."""
        for segment in delivered:
            if not segment.repeated or self._time.now - segment.sent >= self._least_trip:
                self._newest = max(self._newest, segment.sent)

    def _detect(self, delivered: int, newest: float) -> None:
        """RACK: a packet is lost if one that was sent later has arrived."""
        losses = 0
        for segment in self._flight:
            if not (segment.reached or segment.lost) and segment.sent < self._newest:
                segment.lost = True
                losses += 1
        if losses and self._repairing_to == NOT_REPAIRING:
            self._repairing_to = self._sent
            self._window.loss_seen(self._under_way(), delivered, self._time.now)
        else:
            self._window.delivered(delivered, losses, self._under_way(), newest)

    # -- the receiver's end --------------------------------------------------------------------

    def _reach(self, first: int, last: int, stamp: float) -> None:
        if self.closed:
            return
        self._receiver.take(first, last, stamp)
        while self.waiting and self.waiting[0][0] <= self._receiver.received:
            self._owner.arrived(self.waiting.popleft()[1])

    def _answer(self, upto: int, early: Ranges, stamp: float) -> None:
        if not self._way.loses(back=True):
            arrival = self._time.now + self._way.latency(back=True)
            self._at(arrival, self._acknowledge, upto, early, stamp)
