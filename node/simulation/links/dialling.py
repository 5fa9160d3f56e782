"""How a connection is made when packets are lost: SYN, SYN-ACK, and a hello each way.

As in `node.peers`, several dials are begun one after the other, and the first that is greeted wins.
A SYN is sent again each second (Linux's first four repeats are linear), its answer after one
second, three, and seven; the hellos follow the rules of streams.
"""

from collections.abc import Callable
from typing import Protocol

from stationkeep.node.simulation.agenda import At, Time
from stationkeep.node.simulation.links import stream
from stationkeep.node.simulation.links.stream import Stream

HELLO_SECONDS = 3.0
"""Seconds until a dial is given up (`node.peers.streams`)."""
RACE_SECONDS, RACERS = 0.4, 4
"""Seconds between two dials of one race, and how many there are, at most."""
SYN_SECONDS = 1.0
SYN_ACKS = (0.0, 1.0, 3.0)
"""Seconds after a SYN at which its answer is sent, until that is acknowledged."""
HELLO_BYTES = 200


class Way(stream.Way, Protocol):
    """The network between the two machines."""

    def reversed(self) -> "Way":
        """The same, from the other end."""
        ...


class Door(Protocol):
    """The machine that is dialled."""

    def refuses(self) -> bool:
        """Whether nothing listens there, which it says at once."""
        ...

    def greets(self) -> bool:
        """Whether a process would answer a hello now."""
        ...


class Hello:
    """One hello, and the `Owner` of its stream."""

    def __init__(self, arrived: Callable[[], None], begin: Callable[["Hello"], Stream[str]]):
        self._then = arrived
        self.stream = begin(self)
        self.stream.write("hello", HELLO_BYTES)

    def arrived(self, _: str) -> None:
        self._then()

    def timed_out(self) -> None: ...

    def given_up(self) -> None: ...


class Dial:
    """One attempt. `greeted` is called with the round trip (s)."""

    def __init__(
        self,
        time: Time,
        at: At,
        way: Way,
        door: Door,
        *,
        greeted: Callable[[float], None],
        refused: Callable[[], None],
    ) -> None:
        self._time, self._at, self._way, self._door = time, at, way, door
        self._greeted, self._refused = greeted, refused
        self._end = time.now + HELLO_SECONDS
        self._answering = self._established = self._over = False
        self._round_trip = 0.0
        self._hellos: list[Hello] = []
        self._syn()

    def end(self) -> None:
        self._over = True
        for hello in self._hellos:
            hello.stream.close()

    def _syn(self) -> None:
        if self._over or self._established or self._time.now >= self._end:
            return
        if not self._way.loses():
            self._at(self._time.now + self._way.latency(), self._reach, self._time.now)
        self._at(self._time.now + SYN_SECONDS, self._syn)

    def _reach(self, sent: float) -> None:
        if self._over:
            return
        if self._door.refuses():
            if not self._way.loses(back=True):
                self._at(self._time.now + self._way.latency(back=True), self._turned_away)
            return
        repeats = (0.0,) if self._answering else SYN_ACKS
        self._answering = True
        for after in repeats:
            self._at(self._time.now + after, self._answer, sent)

    def _turned_away(self) -> None:
        if not self._over:
            self._refused()

    def _answer(self, sent: float) -> None:
        if not (self._over or self._established or self._way.loses(back=True)):
            arrival = self._time.now + self._way.latency(back=True)
            self._at(arrival, self._establish, sent)

    def _establish(self, sent: float) -> None:
        if not (self._over or self._established):
            self._established = True
            self._round_trip = self._time.now - sent
            self._hello(self._way, self._hear)

    def _hear(self) -> None:
        """The hello has arrived at the machine that was dialled."""
        if not self._over and self._door.greets():
            self._hello(self._way.reversed(), lambda: self._greeted(self._round_trip))

    def _hello(self, way: Way, arrived: Callable[[], None]) -> None:
        def begin(hello: Hello) -> Stream[str]:
            return Stream(
                self._time, self._at, way, hello,
                round_trip=self._round_trip, user_timeout=HELLO_SECONDS,
            )  # fmt: skip

        self._hellos.append(Hello(arrived, begin))


class Race:
    """Dials one after the other, until one is greeted or all are given up. Exactly one of
    `greeted`, `refused`, `failed` is called, once, unless the race is ended before."""

    def __init__(
        self,
        time: Time,
        at: At,
        way: Way,
        door: Door,
        *,
        greeted: Callable[[float], None],
        refused: Callable[[], None],
        failed: Callable[[], None],
    ) -> None:
        self._time, self._at, self._way, self._door = time, at, way, door
        self._told = greeted, refused, failed
        self._dials: list[Dial] = []
        self.over = False
        at(time.now + HELLO_SECONDS, self._give_up)
        self._begin()

    def _begin(self) -> None:
        if self.over:
            return
        self._dials.append(
            Dial(
                self._time,
                self._at,
                self._way,
                self._door,
                greeted=self._won,
                refused=self._refused,
            )
        )
        if len(self._dials) < RACERS:
            self._at(self._time.now + RACE_SECONDS, self._begin)

    def _won(self, round_trip: float) -> None:
        self.end()
        self._told[0](round_trip)

    def _refused(self) -> None:
        self.end()
        self._told[1]()

    def _give_up(self) -> None:
        if not self.over:
            self.end()
            self._told[2]()

    def end(self) -> None:
        self.over = True
        for dial in self._dials:
            dial.end()
