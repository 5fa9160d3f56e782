"""Sessions: number, encrypt and count the messages in one direction of a link. No I/O.

A session begins with the handshake of a stream. In its hello the dialling node names the session
and its key; from then on every message has a number in that session, whichever lane carries it, and
the receiver accepts each number once. So a message may be sent on both lanes, and replaying a
recorded datagram has no effect.

Every stream has its own session and key: keys are renewed with streams, and no number is ever used
twice with one key.

A datagram consists of `version | session | counter`, in clear but authenticated, and
`number | echo | message`, encrypted with AES-256-GCM; the counter is the nonce. The counter numbers
the datagrams of a session, so that the receiver knows how many it missed. The echo says how many of
the receiver's own datagrams have arrived at the sender.
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
"""Bytes of a datagram, headers included: not fragmented on any path that supports IPv6 (minimum MTU
1,280, RFC 8200)."""
_HEADER = struct.Struct(">BQQ")
_INNER = struct.Struct(">QQQQ")
_TAG_BYTES = 16
MAX_BODY = MAX_DATAGRAM - _HEADER.size - _INNER.size - _TAG_BYTES
"""Bytes of a message that fits into a datagram."""
MAX_COUNTER = (1 << 63) - 1
WINDOW = 4_096
"""Numbers before the newest one that are tracked; older ones count as seen."""
MAX_JUMP = 1 << 20
"""How far ahead of the newest number the next one may be. More cannot have been lost in between: a
session that has lost so many is replaced (`Outgoing.is_used_up`)."""
DOUBT_SECONDS = 10.0
"""Seconds after a loss for which a path is in doubt."""
ECHO_SECONDS = 3.0
"""Seconds without an echo after which a path is in doubt: three probes."""

_SEEN = (1 << WINDOW) - 1


class Echo(NamedTuple):
    """What a node has received of the other's datagrams: session, highest counter, and number."""

    session: int = 0
    top: int = 0
    heard: int = 0


class Opened(NamedTuple):
    """The content of a datagram. `number` 0: a probe, without a message."""

    number: int
    echo: Echo
    body: bytes


# ruff: noqa: N818  (exceptions are named after what is the case)


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
        """Bit i is set if `top - i` was seen."""

    def take(self, number: int) -> bool:
        """Marks a number as seen; returns whether it was new. One older than the window is not."""
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
        """Whether a number is at most `MAX_JUMP` ahead of the highest seen."""
        return 0 < number <= self.top + MAX_JUMP


class Outgoing:
    """A session at its sender. `name`: a random number; `key`: for its datagrams."""

    __slots__ = ("_cipher", "counter", "key", "name", "number")

    def __init__(self) -> None:
        self.name = secrets.randbits(63) | 1
        self.key = secrets.token_bytes(KEY_BYTES)
        self._cipher = AESGCM(self.key)
        self.number = 0
        """Number of the newest message."""
        self.counter = 0
        """Counter of the newest datagram."""

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
        """Whether so many datagrams were not echoed, half of `MAX_JUMP`, that the receiver may soon
        refuse the next. `answered`: the highest counter that it is known to have seen."""
        return self.counter - answered > MAX_JUMP // 2 or self.number > MAX_COUNTER // 2


class Papers(NamedTuple):
    """By what a peer proved who it is when a stream began: the serial number of its certificate, ""
    without TLS; and how often a CA had been dropped by then (`security.contexts`)."""

    serial: str = ""
    era: int = 0


class Incoming:
    """A session at its receiver."""

    __slots__ = ("_cipher", "counters", "heard", "name", "numbers", "papers")

    def __init__(self, name: int, key: bytes, papers: Papers = Papers()) -> None:  # noqa: B008
        self.name, self.papers = name, papers
        self._cipher = AESGCM(key)
        self.numbers = Window()
        """Numbers of messages, on either lane."""
        self.counters = Window()
        """Counters of datagrams."""
        self.heard = 0
        """Datagrams that arrived, without duplicates."""

    @property
    def echo(self) -> Echo:
        return Echo(self.name, self.counters.top, self.heard)

    def open(self, datagram: bytes, counter: int) -> Opened:
        """Decrypts a datagram. Raises `BadDatagram` if it is forged, replayed or malformed."""
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
    """Session and counter of a datagram, not authenticated yet; raises `BadDatagram`."""
    if not _HEADER.size + _INNER.size + _TAG_BYTES <= len(datagram) <= MAX_DATAGRAM:
        raise BadDatagram("malformed")
    version, session, counter = _HEADER.unpack_from(datagram)
    if version != VERSION or counter > MAX_COUNTER:
        raise BadDatagram("malformed")
    return session, counter


def _nonce(counter: int) -> bytes:
    return counter.to_bytes(12, "big")


class Path(msgspec.Struct):
    """What a sender knows from echoes about the path to a peer. Seconds are monotonic.

    The path is *in doubt* if it lost datagrams within `DOUBT_SECONDS`, or if no echo came for
    `ECHO_SECONDS`. Then every message that fits is sent on both lanes. Otherwise only some are,
    which is enough to detect the next loss and costs a busy link nothing.
    """

    session: int = 0
    top: int = 0
    missing: int = 0
    answered_at: float = float("-inf")
    """When an echo last showed something new."""
    lost_at: float = float("-inf")
    """When an echo last showed a new loss."""

    def follow(self, session: int) -> None:
        """Switches to a new session, whose counters start at 0."""
        self.session, self.top, self.missing = session, 0, 0

    def answered(self, echo: Echo, sent: int, now: float) -> None:
        """Takes an echo into account. `sent`: our highest counter; an echo of more is invalid."""
        if echo.session != self.session or not self.top < echo.top <= sent:
            return
        missing = max(0, echo.top - echo.heard)
        if missing > self.missing:
            self.lost_at = now
        self.top, self.missing, self.answered_at = echo.top, missing, now

    def is_heard(self, now: float) -> bool:
        """Whether datagrams get through in both directions."""
        return now - self.answered_at < ECHO_SECONDS

    def loses(self, now: float) -> bool:
        """Whether datagrams were lost recently."""
        return now - self.lost_at < DOUBT_SECONDS

    def is_in_doubt(self, now: float) -> bool:
        return self.loses(now) or not self.is_heard(now)


class Ration:
    """A token bucket with a capacity of one second."""

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
