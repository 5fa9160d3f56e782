"""One WebSocket to a node, cheap enough that a process can hold thousands of them.

The protocol itself is `websockets`' sans-I/O half; here it meets an asyncio transport, without a
task, a queue or a buffer of its own per connection.
"""

import asyncio
import logging
import ssl
from typing import Protocol, cast

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI

from stationkeep.node.agent.turned_away import STATUSES, TurnedAway, turned_away
from stationkeep.node.security.credentials import Credentials, bearer
from stationkeep.node.security.handshake import Refused
from stationkeep.node.system.addresses import split_url, system_message
from stationkeep.node.system.streams import tune

PATH = "/v1/agents"
MAX_MESSAGE = 64 * 1024
"""Bytes of a message from a node; beyond it the connection is closed."""
MAX_UNSENT = 64 * 1024
"""Bytes that may wait for a node which does not read: some hundred statuses."""
CLOSE_SECONDS = 1.0
"""For the node to answer a close; then the connection is cut."""

_quiet = logging.getLogger("stationkeep.agent.websocket")
_quiet.setLevel(logging.INFO)
"""The library would write the headers of a request, a token among them, where that is asked for."""

Data = bytes | bytearray | memoryview
"""A message; a view is good only until the listener returns."""


class Listener(Protocol):
    """Who owns a connection. `lost` comes once, after everything else."""

    def opened(self) -> None:
        """The node has accepted the WebSocket."""
        ...

    def received(self, message: Data) -> None: ...

    def ponged(self) -> None:
        """The node has read everything up to a ping."""
        ...

    def lost(self, why: str) -> None: ...


def websocket_address(url: str) -> WebSocketURI:
    """Where the node at `url` takes devices in; raises ValueError with the rule broken."""
    parts = split_url(url)
    if parts is None or parts.hostname is None:
        raise ValueError(f"{url!r} refused: an address such as http://127.0.0.1:8701")
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    return WebSocketURI(secure, parts.hostname, port, parts.path.rstrip("/") + PATH, "")


def error_text(error: OSError) -> str:
    """In few words, without the address: reasons are counted."""
    if isinstance(error, Refused):
        return f"its certificate is refused: {error.word}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return "its certificate is not trusted"
    return system_message(error) or "no connection"


class Connection(asyncio.Protocol):
    """To the node at an http(s) address; `open` makes it. Everything is on the event loop."""

    __slots__ = ("_address", "_credentials", "_gone", "_listener", "_loop", "_shown", "_socket",
                 "_transport", "turned_away")  # fmt: skip

    def __init__(
        self, url: str, subprotocol: str, listener: Listener, credentials: Credentials
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._address = websocket_address(url)
        self._credentials, self._shown = credentials, credentials.token_for(url)
        self._socket = ClientProtocol(
            self._address,
            subprotocols=[Subprotocol(subprotocol)],
            max_size=MAX_MESSAGE,
            logger=_quiet,
        )
        self.turned_away: TurnedAway | None = None
        """Why the node will not have what it was shown, if there is nothing else to show."""
        self._listener: Listener | None = listener
        self._transport: asyncio.Transport | None = None
        """From the moment it is made until everything is over."""
        self._gone: asyncio.Future[None] | None = None

    @property
    def shown(self) -> str:
        """The token or credential that the node was shown; "" for none."""
        return self._shown

    async def open(self) -> None:
        """Connects; `opened` or `lost` follows. Raises OSError when nobody is there, and
        `TrustError`."""
        address = self._address
        options = self._credentials.connection_options(secure=address.secure)
        try:
            await self._loop.create_connection(lambda: self, address.host, address.port, **options)
        except asyncio.CancelledError:
            # The loop closes what it was making. uvloop does so without `connection_lost`, for
            # which `closed` would wait for ever.
            self._listener = self._transport = None
            raise

    def send(self, message: bytes) -> None:
        """Sends a binary message. A node that takes nothing any more costs the connection."""
        if self._socket.state is not State.OPEN or self._transport is None:
            return
        if self._transport.get_write_buffer_size() > MAX_UNSENT:
            self.cut("the node does not read what it is sent")
            return
        self._socket.send_binary(message)
        self._flush()

    def ping(self) -> None:
        """Asks whether the node reads: `ponged` says that it has read all that was sent before."""
        if self._socket.state is State.OPEN:
            self._socket.send_ping(b"")
            self._flush()

    def close(self) -> None:
        """Ends the connection in good order; nothing more is told of it."""
        self._listener = None
        if self._socket.state is not State.OPEN:
            self.cut("")
            return
        self._socket.send_close(1000)
        self._flush()
        self._loop.call_later(CLOSE_SECONDS, self.cut, "")

    def drop(self) -> None:
        """Ends the connection at once; nothing more is told of it."""
        self._listener = None
        self.cut("")

    def cut(self, why: str) -> None:
        """Ends the connection at once; it is lost before this returns."""
        if self._transport is not None:
            self._transport.abort()
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.lost(why)

    async def closed(self) -> None:
        """Returns when nothing of it is left, after `close` or `cut`."""
        if self._transport is not None:
            self._gone = self._loop.create_future()
            await self._gone

    # -- asyncio.Protocol -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        made = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        if self._listener is None:  # given up while it was being made
            made.abort()
            return
        self._transport = made
        tune(made)
        request = self._socket.connect()
        if self._shown:
            request.headers["Authorization"] = bearer(self._shown)
        self._socket.send_request(request)
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._socket.receive_data(data)
        for event in self._socket.events_received():
            if isinstance(event, Response):
                self._answered(event)
            elif isinstance(event, Frame):
                self._framed(event)
        self._flush()

    def eof_received(self) -> None:
        """The node ended its half; asyncio then closes ours."""
        self._socket.receive_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._gone is not None:
            self._gone.set_result(None)
        self.cut(self._reason(exc))

    # -- inside ---------------------------------------------------------------------------------

    def _answered(self, response: Response) -> None:
        """The node's answer to the handshake; it may have closed what it accepted already."""
        if self._socket.handshake_exc is None and self._listener is not None:
            self._listener.opened()
            return
        if response.status_code in STATUSES and not self._credentials.renewed(self._shown):
            self.turned_away = turned_away(response)
        self.cut(f"the node answered {response.status_code} {response.reason_phrase}")

    def _framed(self, frame: Frame) -> None:
        if frame.opcode is Opcode.PONG and self._listener is not None:
            self._listener.ponged()
        if frame.opcode not in {Opcode.TEXT, Opcode.BINARY, Opcode.CONT}:
            return  # the protocol has answered pings and closes itself
        if not frame.fin or frame.opcode is Opcode.CONT:
            self.cut("the node sent a message in fragments")  # ours are whole, always
        elif self._listener is not None:
            self._listener.received(frame.data)

    def _flush(self) -> None:
        """Hands over what the protocol wants sent; nothing, an empty piece, ends our half."""
        transport = self._transport
        for piece in self._socket.data_to_send():
            if transport is None or transport.is_closing():
                return
            if piece:
                transport.write(piece)
            elif transport.can_write_eof():
                transport.write_eof()

    def _reason(self, error: Exception | None) -> str:
        closed = self._socket.close_rcvd
        if closed is not None:
            return f"the node closed it: {closed.code} {closed.reason}".rstrip()
        if self._socket.handshake_exc is not None:
            return "the connection broke: what answers does not speak HTTP"
        fault = self._socket.parser_exc
        if fault is not None and not isinstance(fault, EOFError):
            return "the connection broke: what the node sent is no WebSocket"
        if isinstance(error, OSError):
            return f"the connection broke: {error_text(error)}"
        return "the node ended the connection"
