"""Limits of a connection, before there is a request: how many, how slow, how long.

Devices are counted apart: ten thousand of them must not keep a person from asking what is wrong,
nor a crowd of clients the devices from reporting. When all places of clients are taken, whoever
only waits makes room for who comes (`crowd.py`). What is being answered is not cut off, and is too
little to fill the places: followers of events and requests in flight have limits of their own, and
probes are answered at once.

uvicorn bounds none of these. A client that connects and says nothing, or begins a request and
never ends its head, would hold a descriptor for ever, and descriptors are what the links to the
other members, the journal and the hooks live on.

One request is in flight on each connection. uvicorn parses whatever arrives, and makes thousands
of requests of one read when a client sends them without waiting (RFC 9112, 9.3.2). Here it is given
a piece at a time, none with more than one end of a head, and nothing while an answer is due;
meanwhile the connection is not read, and the client's bytes stay with the client.
"""

import asyncio
import resource
from collections.abc import Collection
from functools import cache
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from stationkeep.node.http.access import CERTIFICATE
from stationkeep.node.http.crowd import Crowd
from stationkeep.node.http.limits import MAX_BATCH_BYTES, RETRY_AFTER
from stationkeep.node.http.problems import Kind, Problem
from stationkeep.node.security.handshake import facts_of
from stationkeep.node.system.streams import tune
from stationkeep.node.system.turns import Turns

MAX_CONNECTIONS = 1_200
"""More than the followers of events and the requests in flight together."""
MAX_DEVICES = 10_000
"""WebSockets of devices."""
RESERVED = 600
"""Descriptors kept for everything else: for the most part handshakes under way, at both ports
(`node.security.accepting.MAX_AT_ONCE`)."""
UNREAD_SECONDS = 30.0
"""For a client to read what it was sent; until then a request of it is in flight."""
HEAD_SECONDS = 10.0
"""For the head of a request to arrive, and for a new connection to begin one."""
MAX_HEAD_BYTES = 32 * 1024
"""Of a request's head; a piece more when its end comes with that."""
MAX_HEADERS = 100
"""As Apache's LimitRequestFields."""
PIECE = 16 * 1024
"""Bytes that are parsed in one go."""
END_OF_HEAD = b"\r\n\r\n"
"""Also that of the trailer of a chunked body: every message but one with a Content-Length ends so.
The parser takes no other ends of lines."""
MAX_MESSAGE_BYTES = MAX_BATCH_BYTES + 256 * 1024
"""Of one request on the wire: its head, and a body that may come in very small chunks."""


HTTP_PART = 4
"""Where descriptors are short, one in so many serves HTTP and the others devices."""


def raise_descriptors() -> None:
    """Lets this process open as many descriptors as its limits of connections promise, as far as
    the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + MAX_DEVICES + RESERVED
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _descriptors() -> int:
    """How many this process may have open for connections."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MAX_CONNECTIONS + MAX_DEVICES
    return most if soft == resource.RLIM_INFINITY else min(most, max(2, soft - RESERVED))


@cache
def most_connections() -> int:
    """How many connections of HTTP clients this process serves at once."""
    return max(1, min(MAX_CONNECTIONS, _descriptors() // HTTP_PART))


@cache
def most_devices() -> int:
    """How many connections of devices this process serves at once."""
    return min(MAX_DEVICES, _descriptors() - most_connections())


class Connection(HttpToolsProtocol):
    """uvicorn's connection with limits; what it refuses, it refuses as a problem document."""

    _deadline: asyncio.TimerHandle | None = None
    _under_way = _in_head = _in_line = False
    _taken = 0
    _unread = b""
    """Arrived, and not parsed yet: at most what was read in one go, since then nothing is."""

    def __init__(
        self,
        turns: Turns,
        crowd: "Crowd[Connection]",
        at_once: Collection[str],
        *args: Any,
        **named: Any,
    ) -> None:
        """`at_once`: paths that are answered out of turn, whatever else is asked."""
        super().__init__(*args, **named)
        self._turns, self._crowd = turns, crowd
        self._at_once = frozenset(path.encode() for path in at_once)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        tune(transport)
        shown = facts_of(transport)
        if shown is not None:
            self.app_state = {**self.app_state, CERTIFICATE: shown}
        self.flow = _Flow(self, transport)
        self._crowd.enter(self, self.client[0] if self.client else "")
        self._expect_head()
        if self._crowd.is_over(self, most_connections()):
            self._find_room()

    def _find_room(self) -> None:
        victim = self._crowd.victim(self, most_connections())
        if victim is not None:
            victim.give_way()
            return
        detail = f"{most_connections()} connections are open already, or too many of your address"
        self._turn_away(Problem(Kind.BUSY, detail, headers={"Retry-After": RETRY_AFTER}))

    def give_way(self) -> None:
        """Ends a connection on which nothing is under way."""
        self._crowd.leave(self)
        self._stop_waiting()
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._crowd.leave(self)
        self._unread = b""
        self._stop_waiting()
        super().connection_lost(exc)

    # -- a piece at a time ----------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._unread += data
        self._go_on()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._crowd.waits(self)
        self._go_on()

    @property
    def unread(self) -> bool:
        """Whether bytes wait here; then no more are read."""
        return bool(self._unread)

    @property
    def _answering(self) -> bool:
        """Whether a request is complete, and its answer is not."""
        return not (self._under_way or self.cycle is None or self.cycle.response_complete)

    def _go_on(self) -> None:
        """Parses what waits, when its turn comes and nothing is to be answered first."""
        if self._unread and not self._in_line and not self._answering:
            self._in_line = True
            self._turns.take(self._parse)
        if self.transport.is_closing():
            self._unread = b""
        elif self._unread:
            self.flow.pause_reading()
        else:
            self.flow.resume_reading()

    def _parse(self) -> None:
        """The next piece."""
        self._in_line = False
        if self.transport.is_closing():
            return
        end = self._unread.find(END_OF_HEAD, 0, PIECE)
        cut = PIECE if end < 0 else end + len(END_OF_HEAD)
        piece, self._unread = self._unread[:cut], self._unread[cut:]
        super().data_received(piece)
        if self not in self.connections:  # it is a WebSocket now, which says nothing before we do
            self._unread = b""
            self._crowd.leave(self)
        elif not self.transport.is_closing():
            self._measure(len(piece))
        self._go_on()

    def _measure(self, parsed: int) -> None:
        """Refuses a request that is too large on the wire."""
        if not self._under_way:
            return
        self._taken += parsed
        most = MAX_HEAD_BYTES if self._in_head else MAX_MESSAGE_BYTES
        if self._taken > most:
            what = "the head of a request" if self._in_head else "a request"
            self._turn_away(Problem(Kind.TOO_LARGE, f"{what} may take {most} bytes"))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._under_way = self._in_head = True
        self._taken = 0
        self._expect_head()

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        if len(self.headers) > MAX_HEADERS:
            rule = f"a request has at most {MAX_HEADERS} headers"
            self._turn_away(Problem(Kind.TOO_LARGE, rule))
            raise ValueError(rule)  # so that the parser stops here
        self._in_head = False
        self._crowd.works(self)
        if self.url.partition(b"?")[0] in self._at_once:
            self._crowd.waits(self)  # behind all who have asked for nothing since
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._under_way = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What the parser refuses."""
        self._turn_away(Problem(Kind.INVALID, "what arrived is no HTTP/1.1 request"))

    def _expect_head(self) -> None:
        self._stop_waiting()
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._late)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        self._turn_away(Problem(Kind.SLOW, f"a request's head may take {HEAD_SECONDS:g} s"))

    @property
    def _answered(self) -> bool:
        """Whether an answer has begun to a request whose body still arrives."""
        in_body = self._under_way and not self._in_head
        return in_body and self.cycle is not None and self.cycle.response_started

    def _turn_away(self, problem: Problem) -> None:
        """Ends the connection, with the answer to what arrives, unless it has one: whoever read
        another one would take it for that of the next request."""
        self._stop_waiting()
        if self.transport.is_closing():
            return
        if self._answered:
            self.transport.close()
            return
        response = problem.response()
        response.headers["Connection"] = "close"
        status = HTTPStatus(response.status_code)
        lines = [f"HTTP/1.1 {status.value} {status.phrase}".encode()]
        lines += [name + b": " + value for name, value in response.raw_headers]
        self.transport.write(b"\r\n".join([*lines, b"", bytes(response.body)]))
        self.transport.close()


class _Flow(FlowControl):
    """Reads on only when nothing waits: uvicorn asks for more as soon as a request is served.
    Waits so long for a client that does not read, and no longer."""

    def __init__(self, connection: Connection, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self._connection = connection
        self._patience: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._patience is None:
            abort = self._transport.abort
            self._patience = self._connection.loop.call_later(UNREAD_SECONDS, abort)

    def resume_writing(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        super().resume_writing()

    def resume_reading(self) -> None:
        if not self._connection.unread:
            super().resume_reading()
