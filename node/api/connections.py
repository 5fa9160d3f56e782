"""Limits of a connection, before there is a request: how many, how slow, how long.

Devices are counted apart: ten thousand of them must not keep a person from asking what is wrong,
nor a crowd of clients the devices from reporting.

uvicorn bounds none of these. A client that connects and says nothing, or begins a request and
never ends its head, would hold a descriptor for ever, and descriptors are what the links to the
other members, the journal and the hooks live on.
"""

import asyncio
import resource
from functools import cache
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from node.api.batches import MAX_BATCH_BYTES
from node.api.limits import RETRY_AFTER
from node.api.problems import Kind, Problem

MAX_CONNECTIONS = 1_200
"""More than the followers of events and the requests in flight together."""
MAX_DEVICES = 10_000
"""WebSockets of devices."""
RESERVED = 200
"""Descriptors kept for everything else."""
HEAD_SECONDS = 10.0
"""For the head of a request to arrive, and for a new connection to begin one."""
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
    _under_way = False
    _taken = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > most_connections():
            detail = f"{most_connections()} connections are open already"
            headers = {"Retry-After": RETRY_AFTER}
            self._turn_away(Problem(Kind.BUSY, detail, headers=headers))
        else:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._under_way:
            self._taken += len(data)
            if self._taken > MAX_MESSAGE_BYTES and not self.transport.is_closing():
                detail = f"a request may take {MAX_MESSAGE_BYTES} bytes"
                self._turn_away(Problem(Kind.TOO_LARGE, detail))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._under_way, self._taken = True, 0
        self._expect_head()

    def on_headers_complete(self) -> None:
        self._stop_waiting()
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

    def _turn_away(self, problem: Problem) -> None:
        self._stop_waiting()
        response = problem.response()
        response.headers["Connection"] = "close"
        status = HTTPStatus(response.status_code)
        lines = [f"HTTP/1.1 {status.value} {status.phrase}".encode()]
        lines += [name + b": " + value for name, value in response.raw_headers]
        self.transport.write(b"\r\n".join([*lines, b"", bytes(response.body)]))
        self.transport.close()
