"""What a leader knows of each follower, which replies it may believe, and what it sends again.

PySyncObj's replies carry no term and no request number, so late ones move matchIndex and
nextIndex wrongly (hazard S4). Ours do. A success proves a prefix of the log for the whole term,
whenever it arrives, so it only ever raises `match`. A reset speaks of the moment its request
was sent: one that was sent before the last reset was obeyed is out of date, and one that overtook
an earlier request only says that this one is still on its way.
Raft paper, section 5.3; figure 2, "rules for leaders".

The network loses messages, doubles and reorders them. So entries that are not answered in
`patience` are sent again, one batch at a time with growing patience until there is an answer, and
many at a time after it (as the probe and replicate states of etcd-io/raft, `tracker/state.go`).
"""

import math
from collections import OrderedDict, deque
from typing import NamedTuple

import msgspec

PATIENCE_FLOOR, BULK_FLOOR = 0.05, 1.0
"""Seconds to wait for an answer, at least. A request too big for a datagram travels by stream,
which retransmits by itself; the engine learns of a fresh stream."""
PATIENCE_RISE, LONGEST_PATIENCE = 3, 2.0
"""Doublings of patience, at most; and seconds at most, unless round trips take longer."""
ROUND_TRIPS = 4.0
LONGEST_TRIP = LONGEST_PATIENCE / ROUND_TRIPS
"""Longest round trip that counts, in seconds: a late answer may be due to a stream that stalled,
which says nothing of datagrams."""
MAX_FORMER = 64
MAX_ASKED = 512
SMALL_BYTES = 1_000
"""Entries in a request that also travels as a datagram."""


class Request(NamedTuple):
    """`start`, `upto`: indexes of its first and last entry, 0 without any; `size`: bytes of its
    entries; `commit`: the commit index in it; `at`: when it was sent, monotonic s."""

    start: int
    upto: int
    size: int
    commit: int
    at: float


class Flight(NamedTuple):
    """Entries in flight, by the number of their request."""

    seq: int
    start: int
    upto: int
    size: int
    at: float


class Progress(msgspec.Struct):
    """One follower in one term of leadership."""

    match: int = 0
    next: int = 0
    commit_sent: int = 0
    commit_known: int = 0
    """The newest commit index that it has acknowledged."""
    barrier: int = 0
    """Resets of requests up to this number are out of date."""
    asked: OrderedDict[int, Request] = msgspec.field(default_factory=OrderedDict)
    """Requests not answered yet, heartbeats too, by number."""
    flying: deque[Flight] = msgspec.field(default_factory=deque)
    """Those with entries that are not known to match, oldest first."""
    flying_bytes: int = 0
    retries: int = 0
    """Batches sent again since the last success. Above 0, one batch at a time is in flight."""
    round_trip: float = 0.0
    """Seconds from a request to its answer, smoothed as TCP does (RFC 6298)."""
    notice: bool = False
    """A new commit index waits for the next turn, in which entries may carry it."""
    noticed_at: float = 0.0
    """When it was last sent a commit index."""
    birth: int | None = None
    """Birth of the journal that answers (`Journal.birth`)."""
    counted: bool = False
    """Whether that journal's answers count; for one birth it only ever becomes true."""
    former: OrderedDict[int, int] = msgspec.field(default_factory=OrderedDict)
    """Births of journals that it lost in this term → the newest request at that time."""
    chunk_at: float = 0.0
    """When a snapshot chunk was last sent or confirmed."""

    def speaks(self, birth: int, seq: int, newest: int) -> bool:
        """Whether the reply to request `seq` is from the follower's present journal. A new birth
        means that it lost its disk: nothing is known to match any more, and replies of its old
        journal are ignored. If the old journal answers a request that was sent later, it was not
        lost, and the new birth was an error. `newest`: the highest request number given out."""
        if seq <= self.former.get(birth, 0):
            return False
        if birth != self.birth and self.birth is not None:
            self._change_journal(seq, newest)
        self.birth = birth
        return True

    def _change_journal(self, seq: int, newest: int) -> None:
        assert self.birth is not None, "there was one"
        self.former[self.birth] = newest
        if len(self.former) > MAX_FORMER:
            self.former.popitem(last=False)
        self.match = self.commit_known = 0
        self.counted = False
        self.forget_flying(seq - 1)

    def sent(self, seq: int, request: Request) -> None:
        """A request was sent."""
        self.asked[seq] = request
        if len(self.asked) > MAX_ASKED:
            self.asked.popitem(last=False)
        if request.upto:
            self.flying.append(Flight(seq, request.start, request.upto, request.size, request.at))
            self.flying_bytes += request.size

    def answered(self, seq: int, now: float) -> Request | None:
        """A request was answered; returns it: the answer's sender was a follower when it was sent.
        None if it was answered before or is no longer known."""
        request = self.asked.pop(seq, None)
        if request is not None:
            trip = min(now - request.at, LONGEST_TRIP)
            self.round_trip += (trip - self.round_trip) * (0.125 if self.round_trip else 1.0)
        return request

    def succeeded(self, upto: int, commit: int = 0) -> None:
        """The follower's log equals ours up to `upto`, and it knows `commit`. Neither index moves
        backwards."""
        self.commit_known = max(self.commit_known, min(commit, upto))
        if upto > self.match:
            self.match, self.retries = upto, 0
        self.next = max(self.next, self.match + 1)
        while self.flying and self.flying[0].upto <= self.match:
            self.flying_bytes -= self.flying.popleft().size

    def reset(self, seq: int, wanted: int, newest: int, now: float) -> bool:
        """The follower wants entries from `wanted`; False when that is out of date, or when the
        missing entries may still be in flight.

        `newest`: the highest request number given out so far.
        """
        if seq <= self.barrier or self._overtook(seq, now):
            return False
        self.next = max(self.match + 1, wanted)
        self.retries = max(1, self.retries)
        self.forget_flying(newest)
        return True

    def _overtook(self, seq: int, now: float) -> bool:
        first = self.flying[0] if self.flying else None
        return first is not None and first.seq < seq and now < first.at + self._usual(first)

    def forget_flying(self, newest: int) -> None:
        """Forgets the entries in flight; resets of requests sent so far are out of date."""
        self.barrier = newest
        self.flying.clear()
        self.flying_bytes = 0

    # -- sending again ---------------------------------------------------------------------------

    def _usual(self, flight: Flight) -> float:
        floor = PATIENCE_FLOOR if flight.size <= SMALL_BYTES else BULK_FLOOR
        return max(floor, ROUND_TRIPS * self.round_trip)

    def _patience(self, flight: Flight) -> float:
        usual = self._usual(flight)
        return min(usual * 2.0 ** min(self.retries, PATIENCE_RISE), max(usual, LONGEST_PATIENCE))

    def overdue_at(self) -> float:
        """When the oldest entries in flight are to be sent again; infinity if never."""
        if not self.flying:
            return math.inf
        first = self.flying[0]
        return first.at + self._patience(first)

    def send_again(self, newest: int) -> None:
        """Sends again from the first entry in flight that is not known to match."""
        self.next = max(self.match + 1, self.flying[0].start)
        self.retries += 1
        self.forget_flying(newest)

    def commit_due_at(self) -> float:
        """When the newest commit index is to be sent again."""
        if self.commit_known >= self.commit_sent or self.commit_known >= self.match:
            return math.inf
        return self.noticed_at + max(PATIENCE_FLOOR, ROUND_TRIPS * self.round_trip)
