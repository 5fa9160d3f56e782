"""One direction of one TCP connection, packet by packet, as Linux 6 sends it.

A lost packet is not a lost message: it is sent again, and everything behind it waits. While later
packets are acknowledged, a loss is seen within a round trip (selective acknowledgements, RACK, a
tail loss probe). When none is, the timeout decides; it doubles each time that it passes in vain,
and only the oldest packet is sent. So small messages at 20 % loss stand still for many seconds.

What is modelled is what matters to small messages: timeouts and their growth, RACK, one tail loss
probe, selective and delayed acknowledgements and their loss, what waits joined into one segment,
the congestion window after a timeout, TCP_THIN_LINEAR_TIMEOUTS as it is really applied (never in
the initial slow start), TCP_USER_TIMEOUT. `tests/simulation/test_stream.py` compares it with the
kernel.
"""

from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import msgspec

from node.simulation.clock import Time
from node.simulation.retransmission import RTO_LEAST, RoundTrips

M = TypeVar("M")
M_contra = TypeVar("M_contra", contravariant=True)

SEGMENT = 1_448
"""Bytes of one segment on Ethernet."""
WINDOW_FIRST, WINDOW_LEAST = 10, 4
"""Segments that may be under way: at first, and at the least once anything is acknowledged."""

FOREVER = float("inf")
QUICK, DELAYED = 16, 0.04
"""Acknowledgements sent at once at the beginning and after anything unusual; seconds that others
wait."""


class Way(Protocol):
    """What lies between the two ends."""

    def latency(self, *, back: bool = False) -> float:
        """Seconds that a packet takes; `back`: from the receiver to the sender."""
        ...

    def loses(self, *, back: bool = False) -> bool:
        """Whether a packet that leaves now is lost."""
        ...


class Segment(msgspec.Struct, eq=False):
    """Bytes from `first` to before `last`, on their way."""

    first: int
    last: int
    sent: float
    """When it was sent last."""
    repeated: bool = False
    reached: bool = False
    """Selectively acknowledged."""
    lost: bool = False
    """Taken for lost, and not sent again since."""


Call = Callable[..., None]
At = Callable[..., None]


class Owner(Protocol[M_contra]):
    """Whose stream it is, at both ends."""

    def arrived(self, message: M_contra) -> None:
        """At the receiver, in order."""
        ...

    def timed_out(self) -> None:
        """Once more nothing was acknowledged in time."""
        ...

    def given_up(self) -> None:
        """Nothing was acknowledged for the user timeout."""
        ...


class Stream(Generic[M]):
    """From the one end to the other, of a connection that is established. Times in seconds."""

    def __init__(
        self,
        time: Time,
        at: At,
        way: Way,
        owner: Owner[M],
        *,
        round_trip: float,
        user_timeout: float,
    ) -> None:
        self._time, self._at, self._way = time, at, way
        self._owner = owner
        self._trips = RoundTrips(round_trip)
        self._least_trip = round_trip
        self._user_timeout = user_timeout
        self._written = self._sent = self._acknowledged = 0
        """Bytes of the stream so far: written by the owner, sent at least once, acknowledged."""
        self._flight: deque[Segment] = deque()
        self._window = WINDOW_FIRST
        self._recovering_to = -1
        """Bytes sent when a loss was seen last; until they are acknowledged the loss is being
        repaired."""
        self._before = WINDOW_FIRST
        self._conserving = FOREVER
        self._newest = 0.0
        """When the packet was sent that was acknowledged and sent last (RACK)."""
        self._round_end = 0
        self._probed = False
        self._timer = 0
        """Numbers each setting of the timer; an older one does nothing."""
        self._probing = False
        self._since = 0.0
        """When the first retransmission of the present trouble left."""
        self.unanswered = 0
        """Timeouts in a row without an answer."""
        self.closed = False
        # the receiver's end
        self.waiting: deque[tuple[int, M]] = deque()
        """Messages that have not arrived, each with the bytes of the stream up to its end."""
        self._received = 0
        self._early: list[tuple[int, int]] = []
        self._stamp = self._heard = 0.0
        self._promised = 0
        self._quick = QUICK
        self._answering = False

    # -- the owner -----------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Everything written has been acknowledged."""
        return self._acknowledged == self._written

    def write(self, message: M, size: int) -> None:
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
        return sum(not (s.reached or s.lost) for s in self._flight)

    def _transmit(self) -> None:
        """Sends what the window allows: first what was lost, then what is new."""
        room = self._window - self._under_way()
        for segment in list(self._flight):
            if room <= 0:
                return
            if segment.lost and segment in self._flight:
                self._repeat(segment)
                room -= 1
                if segment is self._flight[0]:
                    self._set_timer()
        while room > 0 and self._sent < self._written:
            self._send_new()
            room -= 1

    def _send_new(self) -> None:
        first, last = self._sent, min(self._written, self._sent + SEGMENT)
        segment = Segment(first, last, self._time.now)
        alone = not self._flight
        self._flight.append(segment)
        self._sent = last
        self._packet(segment)
        if alone or self._probing:
            self._set_timer()
        self._plan_probe()

    def _repeat(self, segment: Segment) -> None:
        """Sends a segment again, and with it what follows and fits."""
        if not self._since:
            self._since = self._time.now
        for following in list(self._flight):
            if following.first == segment.last:
                if following.reached or following.last - segment.first > SEGMENT:
                    break
                segment.last = following.last
                self._flight.remove(following)
        segment.sent, segment.repeated, segment.lost = self._time.now, True, False
        self._packet(segment)

    def _packet(self, segment: Segment) -> None:
        if not self._way.loses():
            arrival = self._time.now + self._way.latency()
            self._at(arrival, self._reach, segment.first, segment.last, self._time.now)

    # -- timers --------------------------------------------------------------------------------

    def _set_timer(self) -> None:
        self._probing = False
        self._timer += 1
        wait = self._trips.timeout
        if self._since:
            left = self._since + self._user_timeout - self._time.now
            wait = min(wait, max(left, 0.001))
        if self._flight:
            self._at(self._time.now + wait, self._timed_out, self._timer)

    def _plan_probe(self) -> None:
        """A tail loss probe in place of the timeout, unless a loss is known already."""
        if self._recovering_to >= 0 or self._probed or any(s.reached for s in self._flight):
            return
        wait = 2 * self._trips.smoothed + (0.2 if len(self._flight) == 1 else 0.002)
        left = self._flight[0].sent + self._trips.timeout - self._time.now
        self._timer += 1
        self._probing = True
        self._at(self._time.now + min(wait, max(left, 0.001)), self._probe, self._timer)

    def _probe(self, timer: int) -> None:
        if timer != self._timer or self.closed or not self._flight:
            return
        self._probed = True
        self._probing = False
        if self._sent < self._written:
            self._send_new()
        else:
            last = self._flight[-1]
            last.sent, last.repeated = self._time.now, True
            self._packet(last)
        self._set_timer()

    def _timed_out(self, timer: int) -> None:
        if timer != self._timer or self.closed or not self._flight:
            return
        if self._since and self._time.now - self._since >= self._user_timeout:
            self._owner.given_up()
            return
        self.unanswered += 1
        for segment in self._flight:
            segment.lost = not segment.reached
        self._before = max(self._window, self._before if self._recovering_to >= 0 else 0)
        self._recovering_to = self._sent
        self._window = 1
        self._probed = False
        self._repeat(self._flight[0])
        self._trips.back_off()
        self._set_timer()
        self._owner.timed_out()

    # -- acknowledgements ----------------------------------------------------------------------

    def _acknowledge(self, upto: int, early: tuple[tuple[int, int], ...], stamp: float) -> None:
        if self.closed:
            return
        now = self._time.now
        newly: list[Segment] = []
        ahead = False
        while self._flight and self._flight[0].last <= upto:
            segment = self._flight.popleft()
            ahead = True
            if not segment.reached:
                newly.append(segment)
        if ahead or upto > self._acknowledged:
            self._acknowledged = max(self._acknowledged, upto)
            self.unanswered = 0
        if self._flight and self._flight[0].first < upto:
            self._flight[0].first = upto
            ahead = True
        fresh = [s for s in newly if not s.repeated]
        measured = -1.0
        if fresh and len(fresh) == len(newly):
            measured = now - fresh[0].sent
        marked = self._mark(early)
        if measured < 0:
            first = next((s for s in marked if not s.repeated), None)
            if first is not None:
                measured = now - first.sent
            elif ahead:
                measured = now - stamp
        if measured >= 0:
            over = upto >= self._round_end
            if over:
                self._round_end = self._sent
            self._trips.measured(measured, over)
            self._least_trip = min(self._least_trip, measured)
        delivered = [*newly, *marked]
        if not self._flight:
            self._since = 0.0
        for s in delivered:
            if not s.repeated or now - s.sent >= self._least_trip:
                self._newest = max(self._newest, s.sent)
            if s.sent > self._conserving:
                self._conserving = FOREVER
        if self._recovering_to >= 0 and upto >= self._recovering_to:
            self._recovering_to = -1
            self._since = 0.0
            self._conserving = FOREVER
            self._window = max(self._window, self._before)
        if ahead:
            self._probed = False
            self._set_timer()
            if self._flight:
                self._plan_probe()
        self._detect(len(delivered))
        self._transmit()

    def _mark(self, early: tuple[tuple[int, int], ...]) -> list[Segment]:
        marked = []
        for first, last in early:
            for segment in self._flight:
                if not segment.reached and first <= segment.first and segment.last <= last:
                    segment.reached, segment.lost = True, False
                    marked.append(segment)
        return marked

    def _detect(self, delivered: int) -> None:
        """RACK: what was sent before something that arrived is lost."""
        losses = 0
        for segment in self._flight:
            if not segment.reached and not segment.lost and segment.sent < self._newest:
                segment.lost = True
                losses += 1
        if not delivered:
            return
        self._window = max(self._window - losses, 1)
        if losses and self._recovering_to < 0:
            self._before = self._window + losses
            self._recovering_to = self._sent
            self._conserving = self._time.now
            self._window = self._under_way() + delivered
        elif self._conserving != FOREVER:
            self._window = max(self._window, self._under_way() + delivered)
        else:
            self._window = max(self._window, WINDOW_LEAST)

    # -- the receiver --------------------------------------------------------------------------

    def _reach(self, first: int, last: int, stamp: float) -> None:
        if self.closed:
            return
        now = self._time.now
        if first <= self._promised <= last:
            self._stamp = stamp
        if now - self._heard > RTO_LEAST:
            self._quick = QUICK
        self._heard = now
        at_once = bool(self._early) or first > self._received
        if last <= self._received:
            self._quick = QUICK
        if first <= self._received < last:
            self._received = last
            while self._early and self._early[0][0] <= self._received:
                self._received = max(self._received, self._early.pop(0)[1])
            while self.waiting and self.waiting[0][0] <= self._received:
                self._owner.arrived(self.waiting.popleft()[1])
        elif first > self._received:
            self._keep(first, last)
        if at_once or self._quick:
            self._quick -= self._quick > 0
            self._answer()
        elif not self._answering:
            self._answering = True
            self._at(now + DELAYED, self._answer_late)

    def _answer_late(self) -> None:
        if self._answering and not self.closed:
            self._answer()

    def _answer(self) -> None:
        self._answering = False
        self._promised = self._received
        if not self._way.loses(back=True):
            arrival = self._time.now + self._way.latency(back=True)
            self._at(arrival, self._acknowledge, self._received, tuple(self._early), self._stamp)

    def _keep(self, first: int, last: int) -> None:
        ranges = sorted([*self._early, (first, last)])
        merged = [ranges[0]]
        for begin, end in ranges[1:]:
            if begin <= merged[-1][1]:
                merged[-1] = merged[-1][0], max(end, merged[-1][1])
            else:
                merged.append((begin, end))
        self._early = merged
