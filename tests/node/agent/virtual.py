"""Links in virtual time: an event loop whose clock jumps, connections whose fate a test decides.

`Cluster` answers as nodes do. What it is sent arrives in order, and late where a connection stands
still, as a TCP stream does; what is registered anew supersedes what was registered before.
"""

import asyncio
import random
import selectors
from collections.abc import Callable, Coroutine, Sequence
from itertools import pairwise
from typing import Any

import msgspec

from stationkeep.cluster.numbers import SESSION
from stationkeep.node.agent.addresses import Addresses
from stationkeep.node.agent.channel import CODEC
from stationkeep.node.agent.connection import Listener
from stationkeep.node.agent.device import Identity, Ringed
from stationkeep.node.agent.link import Link
from stationkeep.node.agent.readings import Readings
from stationkeep.node.agent.tally import Tally
from stationkeep.node.agent.turned_away import TurnedAway
from stationkeep.node.security.credentials import Credentials
from stationkeep.node.wire import messages as wire
from stationkeep.node.wire.messages import Code

NEVER = float("inf")
ONE, TWO = "http://127.0.0.1:8701", "http://127.0.0.1:8702"


class _Selector(selectors.DefaultSelector):
    """Waits for nothing: time passes at once."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        assert ready or timeout is not None, "nothing will ever happen"
        if not ready:
            self.now += max(0.0, timeout or 0.0)
        return ready


class _Loop(asyncio.SelectorEventLoop):
    cluster: "Cluster"
    """The world of this time."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


def _loop() -> _Loop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, _Loop)
    return loop


def run(story: Coroutine[Any, Any, None]) -> None:
    """Runs a story in virtual time."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        runner.run(story)


class Fate(msgspec.Struct, kw_only=True):
    """Of one connection. `accepted`: seconds until the WebSocket stands; `refused`: it never will,
    and says so then; `away`: a node says so. `stands`: from when to when nothing passes, in seconds
    since it was dialled. `log`: seconds that the log takes for its registration."""

    accepted: float = 0.02
    refused: bool = False
    away: TurnedAway | None = None
    trip: float = 0.01
    log: float = 0.02
    stands: Sequence[tuple[float, float]] = ()


class Wire:
    """Stands in for `Connection`."""

    turned_away: TurnedAway | None = None

    def __init__(
        self, url: str, _subprotocol: str, listener: Listener, credentials: Credentials
    ) -> None:
        cluster = self._cluster = _loop().cluster
        self.url, self._listener = url, listener
        self.shown = credentials.token_for(url)
        self._loop = asyncio.get_running_loop()
        self.dialled = self._loop.time()
        self.fate = cluster.fate(len(cluster.wires))
        self.is_open = True
        self._there = self._back = 0.0
        cluster.wires.append(self)

    async def open(self) -> None:
        if self.fate.accepted == NEVER:
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(self.fate.accepted)
        if self.fate.refused:
            raise ConnectionRefusedError(111, "refused")
        if self.fate.away is not None:
            self.turned_away = self.fate.away
            self.cut("away")
        if self.is_open:
            self._listener.opened()

    def send(self, message: bytes) -> None:
        said = CODEC.decode_said(message)
        assert self.is_open
        self._cluster.sent.append((self._loop.time(), self, said))
        self._arrive(lambda: self._cluster.hear(self, said))

    def ping(self) -> None:
        self._arrive(lambda: self.answer(self._listener.ponged))

    def tell(self, told: wire.Told, after: float = 0.0) -> None:
        message = CODEC.encode(told)
        self.answer(lambda: self._listener.received(message), after)

    def _arrive(self, do: Callable[[], None]) -> None:
        self._there = self._later(self._there, self._loop.time(), do)

    def answer(self, do: Callable[[], None], after: float = 0.0) -> None:
        self._back = self._later(self._back, self._loop.time() + after, lambda: self._if_open(do))

    def _if_open(self, do: Callable[[], None]) -> None:
        if self.is_open:
            do()

    def _later(self, last: float, now: float, do: Callable[[], None]) -> float:
        """After what was sent before, and not while the connection stands."""
        moment = max(last, now + self.fate.trip)
        for begin, end in self.fate.stands:
            if self.dialled + begin <= moment < self.dialled + end:
                moment = self.dialled + end
        if moment < NEVER:
            self._loop.call_at(moment, do)
        return moment

    def close(self) -> None:
        self.is_open = False

    drop = close

    def cut(self, why: str) -> None:
        if self.is_open:
            self.is_open = False
            self._listener.lost(why)

    async def closed(self) -> None:
        assert not self.is_open


class Cluster:
    """All nodes as one, and one device's link to them. `fate(n)`: of the nth connection.

    What it checks at each word: that there are never more than two connections, and that each word
    is newer than the one before. `session`: the newest that is known of the device.
    """

    def __init__(
        self,
        fate: Callable[[int], Fate],
        interval: float,
        seed: int = 1,
        token: str = "",
        credentials: Credentials | None = None,
    ) -> None:
        self.fate, self.interval = fate, interval
        self.wires: list[Wire] = []
        self.sent: list[tuple[float, Wire, wire.Said]] = []
        self.heard: list[float] = []
        self.ends: list[str] = []
        self.warned: list[tuple[float, str]] = []
        self.unauthorised = False
        self.gaps = 0
        self.session = self.sequence = 0
        self.holder: Wire | None = None
        self._loop = _loop()
        self._loop.cluster = self
        self.tally = Tally()
        shown = credentials or Credentials([ONE, TWO], token=token)
        self.addresses = Addresses([ONE, TWO], random.Random(seed), self._loop.time, shown)
        self.link = Link(Identity(device_id="phone"), self.addresses, self, self.tally)

    @property
    def open(self) -> list[Wire]:
        return [wire for wire in self.wires if wire.is_open]

    @property
    def dialled(self) -> list[float]:
        return [wire.dialled for wire in self.wires]

    # -- the device ------------------------------------------------------------------------------

    def read(self) -> Readings:
        return Readings()

    def ringed(self, news: Ringed) -> None:
        assert news.ring == "prod"

    def turned_away(self, why: str) -> None:
        self.warned.append((self._loop.time(), why))

    def ended(self, why: str, *, unauthorised: bool = False) -> None:
        self.ends.append(why)
        self.unauthorised = unauthorised

    # -- the nodes -------------------------------------------------------------------------------

    def hear(self, at: Wire, said: wire.Said) -> None:
        """A word has come in, whatever has become of its connection since."""
        assert len(self.open) <= 2
        order = (said.payload.session, said.payload.sequence)
        if isinstance(said, wire.Registration):
            if order[0] < self.session:
                at.tell(self._error(Code.OUTDATED, session=self.session))
                return
            if order[0] > SESSION.limit(self.session):
                at.tell(self._error(Code.INVALID))
                return
            self._loop.call_later(at.fate.log, self._register, at, order)
        elif order <= (self.session, self.sequence):
            at.tell(self._error(Code.OUTDATED, closing=False, session=self.session))
        else:
            self._take(at, order)
            if isinstance(said, wire.Heartbeat):
                at.tell(self._ack("heartbeat"))

    def _register(self, at: Wire, order: tuple[int, int]) -> None:
        self._take(at, max(order, (self.session, self.sequence)))
        at.tell(self._ack("registration", ring="prod", reason="registered", nodes=(ONE, TWO)))

    def _take(self, at: Wire, order: tuple[int, int]) -> None:
        self.heard.append(self._loop.time())
        self.session, self.sequence = order
        former, self.holder = self.holder, at
        if former is not None and former is not at:
            former.tell(self._error(Code.SUPERSEDED))

    def _ack(self, of: str, **more: Any) -> wire.Ack:
        return wire.Ack(
            "sat", "phone", wire.AckPayload(of, self.interval, self.interval / 2, **more)
        )

    def _error(self, code: Code, *, closing: bool = True, **more: Any) -> wire.Error:
        return wire.Error("sat", "phone", wire.ErrorPayload(code, "f", "v", "r", closing, **more))

    # -- the story -------------------------------------------------------------------------------

    async def live(self, seconds: float) -> None:
        """Time passes; a moment without a registered connection is a gap."""
        end = self._loop.time() + seconds
        while self._loop.time() < end:
            await asyncio.sleep(0.1)
            self.gaps += self.link.url is None
            assert len(self.open) <= 2

    def longest_silence(self, since: float) -> float:
        """Seconds between two words that came in, or up to now."""
        heard = [since, *(at for at in self.heard if at > since), self._loop.time()]
        return max(b - a for a, b in pairwise(heard))
