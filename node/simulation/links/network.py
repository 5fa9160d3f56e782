"""Links between simulated nodes: a stream and a datagram lane, as `node.peers` has them.

A link belongs to the node that dials it and carries messages one way. While nothing can be lost
there, a message simply arrives (`connection.py`). Otherwise ("in doubt") a message that fits a
datagram leaves on both lanes, and the first copy to arrive is taken; a bigger one goes by the
stream alone. A stream is the kernel's (`stream.py`), and may stall for long. Then a fresh one is
dialled beside it (`dialling.py`), and what the older one carries arrives late or never.

Bare datagrams (loss is loss, nothing keeps order, some arrive twice and are taken twice) exist to
show what a Raft link must never be; no default campaign uses them.
"""

import random

from stationkeep.node.simulation.agenda import At, Time
from stationkeep.node.simulation.links.connection import Connection, Envelope, Message, size_of
from stationkeep.node.simulation.links.dialling import HELLO_SECONDS, Race
from stationkeep.node.simulation.links.link import (
    BACKOFF_FIRST,
    BACKOFF_LAST,
    Hints,
    Judge,
    Link,
    Party,
)
from stationkeep.node.simulation.links.weather import Air, Direction, Way

MAX_WAITING = 20_000
"""Messages that may wait for one peer; beyond it the connection is reset."""
MAX_STREAMS = SESSIONS = 4
"""Streams of one link at a time, and sessions whose datagrams are still accepted."""
DATAGRAM_BYTES = 1_100
"""The largest message that fits a datagram."""
COMFORTABLE, ANYTHING = 1_000, 1 << 30
"""Bytes of a message that a link carries well, in doubt and otherwise."""
SILENCE = 5.0
"""Seconds without a message after which a peer to which no stream is left counts as gone."""
PROBE = 1.0
"""Most seconds between two datagrams from a node to a peer."""
BARE_TWICE = 0.05
UNREACHABLE = "unreachable"
"""Why a peer is not reached that is at no address that is known of it."""
LANES = ("datagram", "fresh")
"""What can be turned off in the whole cluster: datagrams, and fresh streams beside those that
stall."""


class Links:
    """All links of a world."""

    def __init__(
        self, time: Time, at: At, draw: random.Random, parties: dict[str, Party], names: list[str]
    ) -> None:
        self._time, self._at, self._draw = time, at, draw
        self._parties = parties
        self._names = names
        self.air = Air(time, draw)
        self.lanes = dict.fromkeys(LANES, True)
        self.directions: dict[tuple[str, str], Direction] = {}
        self.links: dict[tuple[str, str], Link] = {}
        for a in names:
            for b in names:
                if a != b:
                    self._lay(a, b)
        self._unwanted: set[tuple[str, str]] = set()
        """Pairs of which the first does not dial the second, as it does not know it as a member."""
        self._closed: set[str] = set()
        """Machines that run while nothing listens there."""
        self.judge: Judge | None = None
        """Asked at each handshake; None: there are no certificates."""
        self.hints: Hints | None = None
        """Where to dial whom; None: that is known."""
        self.sent = self.resets = 0
        self.longest_queue = 0
        """Most appends with entries that ever waited for one peer that did not read."""

    def _lay(self, a: str, b: str) -> None:
        there = self.directions.setdefault((a, b), Direction())
        back = self.directions.setdefault((b, a), Direction())
        self.links[a, b] = Link(a, b, Way(self.air, there, back))

    # -- sending -------------------------------------------------------------------------------

    def send(self, sender: str, peer: str, message: Message, after: float = 0.0) -> bool:
        """As `node.ports.Network.send`; the message leaves `after` seconds from now."""
        link = self.links[sender, peer]
        if not link.up:
            return False
        self.sent += 1
        if self.air.weather.bare:
            self._send_bare(link, message, after)
            return True
        stream, envelope = link.newest, Envelope(message, link.session)
        if stream is not None and stream.send_cleanly(envelope, after):
            return True
        fits = self.lanes["datagram"] and size_of(message) <= DATAGRAM_BYTES
        if fits:
            self._send_datagrams(link, envelope, after)
        if stream is None:
            return fits
        stream.send(envelope, after)
        self._limit(link, stream, message)
        return True

    def comfortable(self, sender: str, peer: str) -> int:
        """As `node.ports.Network.comfortable`."""
        link = self.links[sender, peer]
        stream = link.newest
        lossy = self.air.weather.share > 0 or stream is None or stream.in_doubt
        return COMFORTABLE if lossy else ANYTHING

    def _limit(self, link: Link, stream: Connection, message: Message) -> None:
        waiting = stream.stream.waiting
        if message.get("entries") and len(waiting) > self.longest_queue:
            requests = sum(bool(one.message.get("entries")) for _, one in waiting)
            self.longest_queue = max(self.longest_queue, requests)
        if len(waiting) > MAX_WAITING:
            self._break(link, stream)

    def _send_datagrams(self, link: Link, envelope: Envelope, after: float) -> None:
        for _ in range(self.air.copies()):
            if self.air.datagram_passes(link.way.there):
                arrival = self._time.now + after + self.air.datagram_latency(link.way.there)
                self._at(arrival, self._receive, link, envelope)

    def _send_bare(self, link: Link, message: Message, after: float) -> None:
        for _ in range(1 + (self._draw.random() < BARE_TWICE)):
            if self.air.datagram_passes(link.way.there):
                arrival = self._time.now + after + self.air.latency(link.way.there)
                self._at(arrival, self._receive, link, Envelope(message, link.session))

    def _receive(self, link: Link, envelope: Envelope) -> None:
        """A datagram arrives."""
        there = link.way.there
        known = envelope.session >= max(link.oldest, link.session - SESSIONS + 1)
        if known and not (there.blocked or there.dark or there.mute):
            self._take(link, envelope)

    def _take(self, link: Link, envelope: Envelope) -> None:
        if not envelope.taken:
            envelope.taken = True
            link.heard = self._time.now
            self._parties[link.peer].deliver(link.sender, envelope.message)

    # -- ways ----------------------------------------------------------------------------------

    def ground(self, sender: str, peer: str) -> None:
        """Loses what is in flight by stream: nothing passes from one to the other any more."""
        if sender != peer:
            for stream in self.links[sender, peer].streams:
                stream.ground()

    def is_open(self, a: str, b: str) -> bool:
        """Whether packets pass between two nodes both ways."""
        return not (self.directions[a, b].blocked or self.directions[b, a].blocked)

    # -- connections ---------------------------------------------------------------------------

    def reset(self, sender: str, peer: str) -> None:
        """Breaks the connections that `sender` dialled; it will dial again."""
        link = self.links[sender, peer]
        for stream in list(link.streams):
            self._break(link, stream)

    def cut(self, a: str, b: str) -> None:
        """Ends the links between two, on both lanes; they are dialled anew."""
        for link in (self.links[a, b], self.links[b, a]):
            self._down(link)
            for stream in link.streams:
                stream.close()
            link.streams = []
            self.dial(link.sender, link.peer)

    def _break(self, link: Link, stream: Connection) -> None:
        if stream in link.streams:
            self.resets += 1
            stream.close()
            link.streams.remove(stream)
            if not link.streams:
                self._last_stream_lost(link)

    def _last_stream_lost(self, link: Link) -> None:
        if self.lanes["datagram"] and (link.sender, link.peer) not in self._unwanted:
            self._watch(link)
        else:
            self._down(link)
        self.dial(link.sender, link.peer)

    def _watch(self, link: Link) -> None:
        if not link.watched:
            link.watched = True
            self._at(self._time.now + PROBE, self._look, link)

    def _look(self, link: Link) -> None:
        """Checks whether anything still arrives from the peer, though no stream leads to it."""
        link.watched = False
        if not link.up or link.streams:
            return
        back = self.links[link.peer, link.sender]
        probes = back.up and back.session >= back.oldest and self._parties[link.peer].accepts()
        if probes and self.air.datagram_passes(back.way.there):
            back.heard = self._time.now
        if self._time.now - back.heard > SILENCE:
            self._down(link)
        else:
            self._watch(link)

    def _down(self, link: Link) -> None:
        if link.up:
            link.up = False
            link.oldest = link.session + 1
            self._parties[link.sender].on_disconnected(link.peer)

    @staticmethod
    def _forget(link: Link) -> None:
        """Forgets a link whose node does not run any more; there is no one to notify."""
        for stream in link.streams:
            stream.close()
        if link.race is not None:
            link.race.end()
        link.race, link.dialling, link.backoff = None, False, BACKOFF_FIRST
        link.streams, link.up, link.oldest = [], False, link.session + 1

    def leave(self, node: str, silently: bool) -> None:
        """A node's process ends. Its own connections are gone; the others learn of it at once,
        or (a machine without power) when nothing is acknowledged for long."""
        for peer in self._names:
            if peer == node:
                continue
            self._forget(self.links[node, peer])
            if silently:
                self._darken(node, peer, True)
                self.ground(peer, node)
            else:
                for stream in self.links[peer, node].streams:
                    self._at(self._time.now + 0.01, self._break, self.links[peer, node], stream)
        if not silently:
            self._closed.add(node)

    def _darken(self, a: str, b: str, dark: bool) -> None:
        self.directions[a, b].dark = self.directions[b, a].dark = dark

    def join(self, node: str) -> None:
        """A node's process starts: it dials everybody; connections to its former life break."""
        self._closed.discard(node)
        for peer in self._names:
            if peer != node:
                inbound = self.links[peer, node]
                self._darken(node, peer, False)
                inbound.oldest = inbound.session + 1
                self.reset(peer, node)
                self.dial(node, peer)
                self.dial(peer, node)

    def add(self, node: str) -> None:
        """Adds a machine; no node dials it yet, and its own dials are accepted."""
        for peer in self._names:
            self._lay(node, peer)
            self._lay(peer, node)
            self._unwanted.add((peer, node))
        self._names.append(node)

    def follow(self, node: str, peers: set[str]) -> None:
        """From now on a node keeps connections to these peers, and to no others."""
        for peer in self._names:
            if peer in peers and (node, peer) in self._unwanted:
                self._unwanted.remove((node, peer))
                self.dial(node, peer)
            elif peer not in peers and peer != node:
                self._unwanted.add((node, peer))
                self.reset(node, peer)
                self._down(self.links[node, peer])

    # -- dialling ------------------------------------------------------------------------------

    def dial(self, sender: str, peer: str) -> None:
        """Begins to dial, unless a dial is under way, a stream is ready and not stalled, or none is
        wanted."""
        link = self.links[sender, peer]
        if not link.dialling and self._wants(link):
            link.dialling = True
            wait = link.backoff * (0.5 + 0.5 * self._draw.random())
            link.backoff = min(2 * link.backoff, BACKOFF_LAST)
            self._at(self._time.now + wait, self._try, link)

    def _wants(self, link: Link) -> bool:
        if (link.sender, link.peer) in self._unwanted:
            return False
        stream = link.newest
        return stream is None or (self.lanes["fresh"] and stream.standing)

    def _try(self, link: Link) -> None:
        if not link.dialling or link.race is not None:
            return
        if not self._wants(link) or not self._parties[link.sender].accepts():
            link.dialling = False
        elif self.hints is not None and not self.hints.leads(link.sender, link.peer):
            link.refused = UNREACHABLE
            self._at(self._time.now + HELLO_SECONDS, self._unreached, link)
        elif link.way.clean:
            round_trip = 2 * link.way.latency()
            self._at(self._time.now + round_trip, self._try_clean, link, round_trip)
        else:
            self._race(link)

    def _unreached(self, link: Link) -> None:
        if link.dialling:
            self._failed(link)

    def _try_clean(self, link: Link, round_trip: float) -> None:
        """Nothing was lost on the way there and back."""
        if not link.dialling:
            return
        if link.peer in self._closed:
            self._refused(link)
        elif link.way.clean and self._parties[link.peer].accepts():
            self._greeted(link, round_trip)
        else:
            self._failed(link)

    def _race(self, link: Link) -> None:
        link.race = Race(
            self._time,
            self._at,
            link.way,
            _Door(self._closed, self._parties, link.peer),
            greeted=lambda round_trip: self._greeted(link, round_trip),
            refused=lambda: self._refused(link),
            failed=lambda: self._failed(link),
        )

    def _greeted(self, link: Link, round_trip: float) -> None:
        link.race, link.dialling = None, False
        if not self._wants(link) or not self._parties[link.sender].accepts():
            return
        if self.judge is None:
            link.refused = ""
        else:
            link.refused, link.serials = self.judge(link.sender, link.peer)
        if link.refused:
            self._failed(link)
            return
        link.backoff = BACKOFF_FIRST
        while len(link.streams) >= MAX_STREAMS:
            link.streams.pop(0).close()
        link.streams.append(self._connection(link, round_trip))
        link.session += 1
        link.up = True
        self._parties[link.sender].on_connected(link.peer)
        if self.hints is not None:
            self.hints.met(link.sender, link.peer)

    def _connection(self, link: Link, round_trip: float) -> Connection:
        return Connection(
            self._time,
            self._at,
            link.way,
            arrived=lambda envelope: self._take(link, envelope),
            stands=lambda _: self.dial(link.sender, link.peer),
            broken=lambda stream: self._break(link, stream),
            round_trip=round_trip,
        )

    def _refused(self, link: Link) -> None:
        link.race, link.dialling = None, False
        if not link.streams:
            self._down(link)
        self.dial(link.sender, link.peer)

    def _failed(self, link: Link) -> None:
        link.race, link.dialling = None, False
        self.dial(link.sender, link.peer)


class _Door:
    """The `Door` of a node's machine."""

    def __init__(self, closed: set[str], parties: dict[str, Party], node: str) -> None:
        self._closed, self._parties, self._node = closed, parties, node

    def refuses(self) -> bool:
        return self._node in self._closed

    def greets(self) -> bool:
        return self._parties[self._node].accepts()
