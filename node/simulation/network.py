"""Links between simulated nodes, with the habits of TCP.

A lost packet is not a lost message: it is sent again after a retransmission timeout that doubles,
and everything behind it waits (as the connection keeps order). What is lost is what was in flight
when a connection breaks: reset, peer gone, or nothing acknowledged for `USER_TIMEOUT`. A broken
connection is dialled again, with the back-off of `node.peers.network`. As there, a connection
belongs to the node that dialled it and carries messages one way.

A datagram mode (loss is loss, nothing keeps order, some arrive twice) exists to show what our
Raft link must never be; no default campaign uses it.
"""

import random
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from node.simulation.clock import Time

RTO_FIRST, RTO_LAST = 0.2, 60.0
"""Seconds; Linux's least retransmission timeout, and its greatest (120 s) halved."""
USER_TIMEOUT = 10.0
"""Seconds without acknowledgement after which a connection is given up (`node.peers.network`)."""
SYN_FIRST = 1.0
HELLO_SECONDS = 3.0
BACKOFF_FIRST, BACKOFF_LAST = 0.05, 1.0
MAX_WAITING = 20_000
"""Messages that may wait for one blocked peer; beyond it the connection is reset."""

Message = dict[str, Any]
At = Callable[..., None]
"""`at(moment, function, *arguments)` puts a call on the agenda."""


class Party(Protocol):
    """A node as the network sees it."""

    def accepts(self) -> bool:
        """Whether its process could answer a hello now."""
        ...

    def deliver(self, sender: str, message: Message) -> None: ...
    def on_connected(self, peer: str) -> None: ...
    def on_disconnected(self, peer: str) -> None: ...


class Weather(msgspec.Struct):
    """How bad the links are now. Delays in seconds; `burst`: mean length of a bad time, 0 for
    independent loss; `share`: of time in bad times (bursty), or of packets lost (independent)."""

    delay: float = 0.005
    jitter: float = 0.005
    share: float = 0.0
    burst: float = 0.0
    datagram: bool = False


class Link(msgspec.Struct, eq=False):
    """One direction between two nodes."""

    up: bool = False
    generation: int = 0
    """Of the connection; what an older one carried is lost."""
    last: float = 0.0
    """When the newest message arrives; none arrives before it."""
    blocked: int = 0
    """Numbers each time the way was blocked; 0 while it is open."""
    waiting: deque[Message] = msgspec.field(default_factory=deque)
    """Messages of a blocked way, sent again when it opens."""
    requests: int = 0
    """Of these, appends with entries: what a leader sends without waiting for answers."""
    stalled_at: float = 0.0
    backoff: float = BACKOFF_FIRST
    dialling: bool = False
    bad: bool = False
    turns_at: float = -1.0
    """Gilbert-Elliott: whether this direction is in a bad time, and until when."""


class Links:
    """All links of a world."""

    def __init__(
        self, time: Time, at: At, draw: random.Random, parties: dict[str, Party], names: list[str]
    ) -> None:
        self._time, self._at, self._draw = time, at, draw
        self._parties = parties
        self._names = names
        self.weather = Weather()
        self.extra_delay: dict[tuple[str, str], float] = {}
        self.links = {(a, b): Link() for a in names for b in names if a != b}
        self._unwanted: set[tuple[str, str]] = set()
        """Who does not dial whom, since it is no member that it knows of."""
        self._blocks = 0
        self.sent = self.resets = self.retransmissions = 0
        self.longest_queue = 0
        """Most appends with entries that ever waited for one peer that did not read."""

    # -- sending -------------------------------------------------------------------------------

    def send(self, sender: str, peer: str, message: Message, after: float = 0.0) -> bool:
        """As `node.ports.Network.send`; it leaves `after` seconds from now."""
        link = self.links[sender, peer]
        if not link.up:
            return False
        self.sent += 1
        if self.weather.datagram:
            self._send_datagram(sender, peer, link, message, after)
        elif link.waiting or link.blocked:
            self._wait(sender, peer, link, message)
        else:
            self._send_packet(sender, peer, link, message, after)
        return True

    def _send_packet(
        self, sender: str, peer: str, link: Link, message: Message, after: float
    ) -> None:
        now = self._time.now
        arrival = now + after + self._latency(sender, peer)
        if self.weather.share:
            delay = self._retransmission(link, now, RTO_FIRST)
            if delay > USER_TIMEOUT:
                self._at(now + USER_TIMEOUT, self._give_up, sender, peer, link.generation)
            arrival += delay
        link.last = arrival = max(arrival, link.last)
        self._at(arrival, self._arrive, sender, peer, link.generation, message)

    def _send_datagram(
        self, sender: str, peer: str, link: Link, message: Message, after: float
    ) -> None:
        if link.blocked:
            return
        for _ in range(1 + (self._draw.random() < 0.05)):
            if not self._lost(link, self._time.now):
                arrival = self._time.now + after + self._latency(sender, peer)
                self._at(arrival, self._arrive, sender, peer, link.generation, message)

    def _latency(self, sender: str, peer: str) -> float:
        weather = self.weather
        extra = self.extra_delay.get((sender, peer), 0.0) if self.extra_delay else 0.0
        return weather.delay + weather.jitter * self._draw.random() + extra

    def _lost(self, link: Link, moment: float) -> bool:
        """Whether a packet sent at `moment` is lost."""
        weather = self.weather
        if not weather.burst:
            return self._draw.random() < weather.share
        mean_good = weather.burst * (1 - weather.share) / weather.share
        if link.turns_at < moment - 10 * (weather.burst + mean_good):  # long ago: begin anew
            link.bad = self._draw.random() >= weather.share
            link.turns_at = moment
        while link.turns_at <= moment:
            link.bad = not link.bad
            link.turns_at += self._draw.expovariate(1 / (weather.burst if link.bad else mean_good))
        return link.bad

    def _retransmission(self, link: Link, now: float, timeout: float) -> float:
        """Seconds until a packet gets through; more than USER_TIMEOUT when it does not."""
        waited = 0.0
        while waited <= USER_TIMEOUT and self._lost(link, now + waited):
            waited += timeout
            timeout = min(2 * timeout, RTO_LAST)
            self.retransmissions += 1
        return waited

    def _wait(self, sender: str, peer: str, link: Link, message: Message) -> None:
        if not link.waiting:
            link.stalled_at = self._time.now
        link.waiting.append(message)
        if message.get("entries"):
            link.requests += 1
            self.longest_queue = max(self.longest_queue, link.requests)
        if len(link.waiting) > MAX_WAITING:
            self.reset(sender, peer)

    def _arrive(self, sender: str, peer: str, generation: int, message: Message) -> None:
        link = self.links[sender, peer]
        if link.generation != generation:
            return
        if link.blocked and not self.weather.datagram:
            self._wait(sender, peer, link, message)
            return
        self._parties[peer].deliver(sender, message)

    # -- blocking ------------------------------------------------------------------------------

    def block(self, sender: str, peer: str) -> None:
        """Packets from one to the other vanish until `unblock`."""
        link = self.links[sender, peer]
        if not link.blocked:
            self._blocks += 1
            link.blocked = self._blocks
            self._at(self._time.now + USER_TIMEOUT, self._blocked_long, sender, peer, self._blocks)

    def unblock(self, sender: str, peer: str) -> None:
        """The way is open; what waits is sent at the next retransmission."""
        link = self.links[sender, peer]
        if link.blocked:
            link.blocked = 0
            if link.waiting:
                self._at(self._next_retry(link), self._resend, sender, peer, link.generation)

    def _next_retry(self, link: Link) -> float:
        moment, timeout = link.stalled_at, RTO_FIRST
        while moment <= self._time.now:
            moment += timeout
            timeout = min(2 * timeout, RTO_LAST)
        return moment

    def _resend(self, sender: str, peer: str, generation: int) -> None:
        link = self.links[sender, peer]
        if link.generation != generation or link.blocked or not link.waiting:
            return
        arrival = max(link.last, self._time.now + self._latency(sender, peer))
        link.last = arrival
        waiting, link.waiting = link.waiting, deque()
        link.requests = 0
        for message in waiting:
            self._at(arrival, self._arrive, sender, peer, generation, message)

    def _blocked_long(self, sender: str, peer: str, block: int) -> None:
        """Nothing was acknowledged for USER_TIMEOUT: neither the data of the one connection
        nor the acknowledgements of the other came through."""
        if self.links[sender, peer].blocked == block:
            self.reset(sender, peer)
            self.reset(peer, sender)

    def _give_up(self, sender: str, peer: str, generation: int) -> None:
        if self.links[sender, peer].generation == generation:
            self.reset(sender, peer)

    # -- connections ---------------------------------------------------------------------------

    def reset(self, sender: str, peer: str) -> None:
        """Breaks the connection that `sender` dialled; it will dial again."""
        link = self.links[sender, peer]
        if not link.up:
            return
        self.resets += 1
        self._drop(link)
        self._parties[sender].on_disconnected(peer)
        self.dial(sender, peer)

    @staticmethod
    def _drop(link: Link) -> None:
        link.up = False
        link.generation += 1
        link.waiting.clear()
        link.requests = 0
        link.backoff = BACKOFF_FIRST

    def leave(self, node: str, silently: bool) -> None:
        """A node's process ends. Its own connections are gone; the others learn of it at once,
        or (a machine without power) when nothing is acknowledged for long."""
        for peer in self._names:
            if peer == node:
                continue
            self._drop(self.links[node, peer])
            inbound = self.links[peer, node]
            if silently:
                generation = inbound.generation
                self._at(self._time.now + USER_TIMEOUT, self._give_up, peer, node, generation)
            else:
                self._at(self._time.now + 0.01, self._give_up, peer, node, inbound.generation)

    def join(self, node: str) -> None:
        """A node's process starts: it dials everybody; connections to its former life break."""
        for peer in self._names:
            if peer != node:
                self.reset(peer, node)
                self.dial(node, peer)
                self.dial(peer, node)

    def add(self, node: str) -> None:
        """One more machine; nobody dials it yet. Whoever dials is let in."""
        for peer in self._names:
            self.links[node, peer], self.links[peer, node] = Link(), Link()
            self._unwanted.add((peer, node))
        self._names.append(node)

    def follow(self, node: str, peers: set[str]) -> None:
        """From now on a node keeps connections to these, and to nobody else."""
        for peer in self._names:
            if peer in peers and (node, peer) in self._unwanted:
                self._unwanted.remove((node, peer))
                self.dial(node, peer)
            elif peer not in peers and peer != node:
                self._unwanted.add((node, peer))
                self.reset(node, peer)

    def dial(self, sender: str, peer: str) -> None:
        """Begins to dial, unless it is under way, there is a connection, or none is wanted."""
        link = self.links[sender, peer]
        if not link.up and not link.dialling and (sender, peer) not in self._unwanted:
            link.dialling = True
            wait = link.backoff * (0.5 + 0.5 * self._draw.random())
            link.backoff = min(2 * link.backoff, BACKOFF_LAST)
            self._at(self._time.now + wait, self._try, sender, peer)

    def _try(self, sender: str, peer: str) -> None:
        link = self.links[sender, peer]
        link.dialling = False
        wanted = (sender, peer) not in self._unwanted
        if link.up or not wanted or not self._parties[sender].accepts():
            return
        delay = 2 * self._latency(sender, peer)
        if self.weather.share:
            delay += self._retransmission(link, self._time.now, SYN_FIRST)
        if delay > HELLO_SECONDS or not self._reachable(sender, peer):
            self.dial(sender, peer)
            return
        link.dialling = True
        self._at(self._time.now + delay, self._connected, sender, peer)

    def _connected(self, sender: str, peer: str) -> None:
        link = self.links[sender, peer]
        link.dialling = False
        if (sender, peer) in self._unwanted or not self._parties[sender].accepts():
            return
        if not self._reachable(sender, peer):
            self.dial(sender, peer)
            return
        link.up, link.backoff, link.last = True, BACKOFF_FIRST, self._time.now
        self._parties[sender].on_connected(peer)

    def _reachable(self, sender: str, peer: str) -> bool:
        ways = self.links[sender, peer].blocked or self.links[peer, sender].blocked
        return not ways and self._parties[peer].accepts()

    def is_open(self, a: str, b: str) -> bool:
        """Whether packets pass between two nodes both ways."""
        return not (self.links[a, b].blocked or self.links[b, a].blocked)


class Socket:
    """`node.ports.Network` of one simulated node, for one life of its process."""

    def __init__(
        self,
        links: Links,
        node: str,
        before: Callable[[str, Message], float],
    ) -> None:
        """`before` sees each message as it leaves, and says in how many seconds it does."""
        self._links, self._node, self._before = links, node, before

    def send(self, peer: str, message: Message) -> bool:
        after = self._before(peer, message)
        return self._links.send(self._node, peer, message, after)

    def connected(self, peer: str) -> bool:
        return self._links.links[self._node, peer].up

    def comfortable(self, peer: str) -> int:
        return 1 << 23

    def subscribe(self, *_: Any) -> None:
        raise AssertionError("the world delivers by itself")
