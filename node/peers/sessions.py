"""Sessions: what numbers, seals and counts the messages of one direction of a link. No I/O.

A session begins with the handshake of a stream. In its hello the dialling node names the session
and gives a key; from then on every message has a number of that session, whichever lane carries
it, and the receiver takes each number once. So a message may travel on both lanes, and a datagram
that somebody recorded is worth nothing.

A fresh stream is a fresh session with a key of its own: keys are renewed with streams, and no
number is ever used twice under one key.

A datagram is `version | session | counter` in clear, authenticated, and sealed behind it
`number | echo | message` with AES-256-GCM; the counter is its nonce. The counter numbers the
datagrams of a session, so that the receiver knows how many it did not get. The echo tells the
other side how many of *its* datagrams arrived here.
"""

import secrets
import struct
from typing import NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION = 1
KEY_BYTES = 32
MAX_DATAGRAM = 1_200
"""Bytes of a datagram with everything around the message: passes unfragmented wherever IPv6 does
(minimum MTU 1,280, RFC 8200)."""
_HEADER = struct.Struct(">BQQ")
_INNER = struct.Struct(">QQQQ")
_TAG_BYTES = 16
MAX_BODY = MAX_DATAGRAM - _HEADER.size - _INNER.size - _TAG_BYTES
"""Bytes of a message that fits a datagram."""
MAX_COUNTER = (1 << 63) - 1
WINDOW = 4_096
"""Numbers behind the newest one that are still told apart; older ones count as seen."""
MAX_JUMP = 1 << 20
"""How far ahead of the newest number the next one may be. More cannot have been lost: a session
that lost so much is replaced (`Outgoing.is_used_up`)."""
DOUBT_SECONDS = 10.0
ECHO_SECONDS = 3.0
"""Three probes."""

_SEEN = (1 << WINDOW) - 1


class Echo(NamedTuple):
    """What a node says of the other's datagrams: of which session, its highest counter, and how
    many arrived."""

    session: int = 0
    top: int = 0
    heard: int = 0


class Opened(NamedTuple):
    """What was in a datagram. `number` 0: a probe, without a message."""

    number: int
    echo: Echo
    body: bytes


# ruff: noqa: N818  (exceptions say what is the case)


class BadDatagram(ValueError):
    """A datagram that is dropped; `reason` is a word for the counter."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Window:
    """Which numbers were seen, in constant space. RFC 4303 (IPsec ESP), appendix A2."""

    __slots__ = ("_seen", "top")

    def __init__(self) -> None:
        self.top = 0
        self._seen = 0
        """Bit i stands for `top - i`."""

    def take(self, number: int) -> bool:
        """Whether a number is new; it is not any more. One too old to be told apart is not."""
        ahead = number - self.top
        if ahead > 0:
            self._seen = (self._seen << ahead | 1) & _SEEN if ahead < WINDOW else 1
            self.top = number
            return True
        bit = 1 << -ahead if ahead > -WINDOW else 0
        if not bit or self._seen & bit:
            return False
        self._seen |= bit
        return True

    def expects(self, number: int) -> bool:
        """Whether a number is within reach of those that were seen."""
        return 0 < number <= self.top + MAX_JUMP


class Outgoing:
    """A session as its sender keeps it. `name`: 64 random bits; `key`: of the datagrams."""

    __slots__ = ("_cipher", "counter", "key", "name", "number")

    def __init__(self) -> None:
        self.name = secrets.randbits(63) | 1
        self.key = secrets.token_bytes(KEY_BYTES)
        self._cipher = AESGCM(self.key)
        self.number = 0
        """Of the newest message."""
        self.counter = 0
        """Of the newest datagram."""

    def next_number(self) -> int:
        self.number += 1
        return self.number

    def seal(self, number: int, body: bytes, echo: Echo) -> bytes:
        """A datagram; `number` 0 and no body: a probe."""
        self.counter += 1
        header = _HEADER.pack(VERSION, self.name, self.counter)
        inner = _INNER.pack(number, *echo) + body
        return header + self._cipher.encrypt(_nonce(self.counter), inner, header)

    def is_used_up(self, answered: int) -> bool:
        """Whether so many datagrams went unanswered that the receiver would refuse the next: half
        of what it bears. `answered`: the highest counter that it is known to have seen."""
        return self.counter - answered > MAX_JUMP // 2 or self.number > MAX_COUNTER // 2


class Incoming:
    """A session as its receiver keeps it."""

    __slots__ = ("_cipher", "counters", "heard", "name", "numbers")

    def __init__(self, name: int, key: bytes) -> None:
        self.name = name
        self._cipher = AESGCM(key)
        self.numbers = Window()
        """Of messages, on either lane."""
        self.counters = Window()
        """Of datagrams."""
        self.heard = 0
        """Datagrams that arrived, each once."""

    @property
    def echo(self) -> Echo:
        return Echo(self.name, self.counters.top, self.heard)

    def open(self, datagram: bytes, counter: int) -> Opened:
        """Raises `BadDatagram`: forged, replayed, or malformed by somebody who has the key."""
        header = datagram[: _HEADER.size]
        try:
            inner = self._cipher.decrypt(_nonce(counter), datagram[_HEADER.size :], header)
        except InvalidTag:
            raise BadDatagram("forged") from None
        if len(inner) < _INNER.size or not self.counters.expects(counter):
            raise BadDatagram("malformed")
        number, *echo = _INNER.unpack_from(inner)
        if number and not self.numbers.expects(number):
            raise BadDatagram("malformed")
        if not self.counters.take(counter):
            raise BadDatagram("replayed")
        self.heard += 1
        return Opened(number, Echo(*echo), inner[_INNER.size :])


def address_of(datagram: bytes) -> tuple[int, int]:
    """Session and counter that a datagram names, not believed yet; raises `BadDatagram`."""
    if not _HEADER.size + _INNER.size + _TAG_BYTES <= len(datagram) <= MAX_DATAGRAM:
        raise BadDatagram("malformed")
    version, session, counter = _HEADER.unpack_from(datagram)
    if version != VERSION or counter > MAX_COUNTER:
        raise BadDatagram("malformed")
    return session, counter


def _nonce(counter: int) -> bytes:
    return counter.to_bytes(12, "big")


class Path(msgspec.Struct):
    """What a sender knows of its way to a peer, from the echoes. Seconds are monotonic.

    The way is *in doubt* when it was seen to lose within `DOUBT_SECONDS`, or when no echo came for
    `ECHO_SECONDS`. Then every message that fits goes on both lanes; else only some do, which is
    enough to notice the next loss and costs a busy link nothing.
    """

    session: int = 0
    top: int = 0
    missing: int = 0
    answered_at: float = float("-inf")
    """When an echo last showed something new."""
    lost_at: float = float("-inf")
    """When an echo last showed a new loss."""

    def follow(self, session: int) -> None:
        """A fresh session: its counters begin anew."""
        self.session, self.top, self.missing = session, 0, 0

    def answered(self, echo: Echo, sent: int, now: float) -> None:
        """`sent`: the highest counter that we gave out; an echo of more is none."""
        if echo.session != self.session or not self.top < echo.top <= sent:
            return
        missing = max(0, echo.top - echo.heard)
        if missing > self.missing:
            self.lost_at = now
        self.top, self.missing, self.answered_at = echo.top, missing, now

    def is_heard(self, now: float) -> bool:
        """Whether datagrams pass at all, there and back."""
        return now - self.answered_at < ECHO_SECONDS

    def loses(self, now: float) -> bool:
        """Whether datagrams pass, and some were lost lately."""
        return now - self.lost_at < DOUBT_SECONDS

    def is_in_doubt(self, now: float) -> bool:
        return self.loses(now) or not self.is_heard(now)


class Ration:
    """A token bucket: so many a second, and as many at once."""

    __slots__ = ("_at", "_left")

    def __init__(self, now: float) -> None:
        self._at, self._left = now, 0.0

    def take(self, rate: float, now: float) -> bool:
        """Whether one more is within `rate`, which may differ from call to call."""
        self._left = min(rate, self._left + (now - self._at) * rate)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
