"""One connection of a link, from being dialled until it breaks; it carries messages one way.

While nothing can be lost there is nothing to model: a message arrives after the way's latency, and
none before an earlier one. Otherwise the kernel's rules apply (`stream.py`).
"""

from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from stationkeep.node.simulation.agenda import At, Time
from stationkeep.node.simulation.links.stream import Stream
from stationkeep.node.simulation.links.weather import Way

Message = dict[str, Any]
HEAD_BYTES = 150
"""About the bytes of a message beside its entries: names of fields, numbers, its frame."""
REPORT_BYTES, HEARD_BYTES = 300, 50
"""About the bytes of a report, and of its part about each peer."""
USER_TIMEOUT = 10.0
"""Seconds without acknowledgement after which a connection is given up (`node.peers.streams`)."""
STANDS_AFTER = 2
"""Timeouts in a row without an answer after which a stream counts as standing (stalled)."""


class Envelope(msgspec.Struct, eq=False):
    """A message in flight, perhaps several times: the first copy to arrive is taken."""

    message: Message
    session: int
    taken: bool = False


def size_of(message: Message) -> int:
    """About how many bytes a message has on the wire, without packing it."""
    if message["kind"] == "gossip":
        return REPORT_BYTES + HEARD_BYTES * len(message.get("heard", ()))
    size = HEAD_BYTES
    for entry in message.get("entries", ()):
        size += len(entry[0]) + 12
    if "chunk" in message:
        size += len(message["chunk"][4])
    for item in message.get("items", ()):
        size += 12 + sum(len(part) for part in item if type(part) is bytes)
    return size


class Connection:
    """A connection that A dialled to B. `arrived` gets envelopes in order; `stands` is called when
    it stalls, `broken` when the kernel gives it up."""

    def __init__(
        self,
        time: Time,
        at: At,
        way: Way,
        *,
        arrived: Callable[[Envelope], None],
        stands: Callable[["Connection"], None],
        broken: Callable[["Connection"], None],
        round_trip: float,
    ) -> None:
        """`round_trip`: seconds that the handshake took."""
        self._time, self._at, self._way = time, at, way
        self._arrived, self._stands, self._broken = arrived, stands, broken
        self._flying: deque[Envelope] = deque()
        """Messages in flight that cannot be lost."""
        self._last = time.now
        """When the newest message arrives; none arrives before it."""
        self._leaving = 0
        """Messages that their node has not been able to send yet."""
        self._epoch = 0
        """Raised each time that everything in flight was lost."""
        self.closed = False
        self.stream: Stream[Envelope] = Stream(
            time, at, way, self, round_trip=round_trip, user_timeout=USER_TIMEOUT
        )

    @property
    def standing(self) -> bool:
        return self.stream.unanswered >= STANDS_AFTER

    @property
    def in_doubt(self) -> bool:
        """Whether anything was sent again and is not answered yet."""
        return self.stream.unanswered > 0

    def send_cleanly(self, envelope: Envelope, after: float) -> bool:
        """Sends a message that leaves in `after` seconds and cannot be lost; returns False and
        sends nothing if it could be."""
        if self._leaving or not self.stream.idle or not self._way.clean:
            return False
        self._last = max(self._time.now + after + self._way.latency(), self._last)
        self._flying.append(envelope)
        self._at(self._last, self._land, self._epoch)
        return True

    def send(self, envelope: Envelope, after: float) -> None:
        """Sends a message by a stream; it leaves in `after` seconds."""
        if after or self._leaving:
            self._leaving += 1
            self._at(self._time.now + after, self._leave, envelope)
        else:
            self.stream.write(envelope, size_of(envelope.message))

    def _leave(self, envelope: Envelope) -> None:
        self._leaving -= 1
        if not self.closed:
            self.stream.write(envelope, size_of(envelope.message))

    def _land(self, epoch: int) -> None:
        if epoch == self._epoch:
            self._arrived(self._flying.popleft())

    def ground(self) -> None:
        """The way is blocked: messages in flight do not arrive, and will be sent again."""
        self._epoch += 1
        lost = list(self._flying)
        self._flying.clear()
        self._last = self._time.now
        for envelope in lost:
            self.stream.write(envelope, size_of(envelope.message))

    # -- node.simulation.links.stream.Owner ----------------------------------------------------

    def arrived(self, envelope: Envelope) -> None:
        """Delivers after the messages that were in flight while none could be lost."""
        if self._last > self._time.now:
            self._at(self._last, self._arrive_late, envelope)
        else:
            self._arrived(envelope)

    def _arrive_late(self, envelope: Envelope) -> None:
        if not self.closed:
            self._arrived(envelope)

    def timed_out(self) -> None:
        if self.stream.unanswered == STANDS_AFTER:
            self._stands(self)

    def given_up(self) -> None:
        self._broken(self)

    def close(self) -> None:
        """Closes it; messages in flight are lost."""
        self.closed = True
        self._epoch += 1
        self._flying.clear()
        self.stream.close()
