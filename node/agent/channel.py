"""One connection of a link, and whether the node at its other end takes in what it is sent.

    dialling ──accepted──▶ registering ──acknowledged──▶ registered

A TCP stream that loses packets does not lose words, it stands still: for more than a minute when
a fifth of the packets is lost, and nothing on this side says so. Therefore something is always
asked that a node answers at once: to be let in, a ping right behind the registration, and every
heartbeat. A node reads in order, so that its answer acknowledges every word before the question.
While an answer is overdue the channel is *in doubt*: it may still recover, but its link should
look for another one. When the answer is hopelessly late the channel is cut.

Why the ping: a registration is answered from the log, and a cluster without a leader is no reason
to register elsewhere. The pong says that the node has the registration.
"""

import asyncio
import enum
from typing import Protocol

from stationkeep.node.agent.connection import Connection, Data, error_text
from stationkeep.node.agent.turned_away import TurnedAway
from stationkeep.node.security.credentials import Credentials
from stationkeep.node.security.trust import TrustError
from stationkeep.node.wire import messages as wire

CODEC = wire.MSGPACK
CONNECT_SECONDS = 5.0
"""For a node to be reached and to accept the WebSocket."""
REGISTER_SECONDS = 15.0
"""A node gives a registration 10 s to get through the log, and then says so."""
MOST_SILENCE = 30.0
"""Seconds without an answer: then the node counts as dead, though the connection stands. So long,
because one that answers again after a pause, for itself or for all devices of a node that was
frozen, is better than none."""


class Stage(enum.IntEnum):
    """The life of a channel."""

    DIALLING = 0
    REGISTERING = 1
    REGISTERED = 2


class Owner(Protocol):
    """Whose channel it is. Nothing comes after `lost`, or after the owner has closed it."""

    def opened(self, channel: "Channel") -> None:
        """The node has accepted the WebSocket and waits for the registration."""
        ...

    def received(self, channel: "Channel", message: Data) -> None: ...

    def doubted(self, channel: "Channel") -> None:
        """An answer is overdue."""
        ...

    def lost(self, channel: "Channel", why: str) -> None: ...


class Channel:
    """Dials at once. `patience`: seconds for an answer that needs no more than attention."""

    __slots__ = ("_connection", "_dial", "_loop", "_owner", "_patience", "_timer",
                 "_unanswered", "in_doubt", "stage", "url")  # fmt: skip

    def __init__(self, url: str, owner: Owner, patience: float, credentials: Credentials) -> None:
        self._loop = asyncio.get_running_loop()
        self._owner, self.url, self._patience = owner, url, patience
        self.stage = Stage.DIALLING
        self.in_doubt = self._unanswered = False
        self._timer: asyncio.TimerHandle | None = None
        self._connection = Connection(url, CODEC.name, self, credentials)
        self._expect(CONNECT_SECONDS, "nobody there: no answer")
        self._dial = self._loop.create_task(self._open())

    async def _open(self) -> None:
        try:
            await self._connection.open()
        except OSError as error:
            self.cut(f"nobody there: {error_text(error)}")
        except TrustError as error:
            self.cut(str(error))

    # -- what the link does ---------------------------------------------------------------------

    @property
    def asking(self) -> bool:
        """Whether an answer is awaited."""
        return self._timer is not None

    @property
    def turned_away(self) -> TurnedAway | None:
        """Why the node would not speak with the device."""
        return self._connection.turned_away

    @property
    def shown(self) -> str:
        """The token or credential that the node was shown."""
        return self._connection.shown

    def send(self, said: wire.Said) -> None:
        self._connection.send(CODEC.encode(said))

    def register(self, said: wire.Registration) -> None:
        """Sends a registration, the first one or another; the link tells `registered` when it is
        acknowledged."""
        self._unanswered = True
        self._expect(REGISTER_SECONDS, "the registration was not answered in time")
        self.send(said)
        self._connection.ping()

    def registered(self, patience: float) -> None:
        """The node serves the device here; its answers are due within `patience` seconds."""
        self.stage, self._patience, self._unanswered = Stage.REGISTERED, patience, False
        self.answered()

    def ask(self, said: wire.Heartbeat) -> None:
        """Sends what the node answers at once; the link tells `answered`."""
        self._expect(MOST_SILENCE, "the node is silent")
        self.send(said)

    def answered(self) -> None:
        """The node has taken in what it was sent."""
        self._rest()
        self.in_doubt = False

    def close(self) -> None:
        """Ends it in good order."""
        self._rest()
        self._dial.cancel()
        self._connection.close()

    def drop(self) -> None:
        """Ends it at once; nothing that is still under way on it matters."""
        self._rest()
        self._dial.cancel()
        self._connection.drop()

    def cut(self, why: str) -> None:
        """Ends it at once; it is lost before this returns."""
        self._connection.cut(why)

    async def closed(self) -> None:
        """Returns when nothing of it is left on the event loop, after it was ended."""
        await asyncio.wait({self._dial})
        await self._connection.closed()

    # -- connection.Listener --------------------------------------------------------------------

    def opened(self) -> None:
        self.answered()
        self.stage = Stage.REGISTERING
        self._owner.opened(self)

    def received(self, message: Data) -> None:
        self._owner.received(self, message)

    def ponged(self) -> None:
        """The node has the registration; its answer is up to the log."""
        if self._unanswered:
            self.answered()
            self._cut_after(REGISTER_SECONDS, "the registration was not answered in time")

    def lost(self, why: str) -> None:
        self._rest()
        self._dial.cancel()
        self._owner.lost(self, why)

    # -- patience -------------------------------------------------------------------------------

    def _expect(self, most: float, otherwise: str) -> None:
        """An answer is due within the patience, and within `most` seconds at the latest."""
        self._rest()
        due = min(self._patience, most)
        self._timer = self._loop.call_later(due, self._overdue, most - due, otherwise)

    def _overdue(self, rest: float, otherwise: str) -> None:
        self.in_doubt = True
        self._cut_after(rest, otherwise)
        self._owner.doubted(self)

    def _cut_after(self, seconds: float, why: str) -> None:
        self._timer = self._loop.call_later(seconds, self.cut, why)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
