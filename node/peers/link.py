"""`Link`: everything between this node and one peer, on both lanes, in both directions.

Sending: on the newest stream that we dialled, and often also as a datagram with the same number, if
it fits. A stream that is stalled (see `STALLED`) is left to drain while another one is dialled.
Datagrams continue while there is no stream: the session's key remains valid.

Receiving: from every session that the peer began in its present life, on either lane, each number
once.

Up and down: a link is up from its first stream on, for as long as there is a stream or the peer
answers our datagrams. It is down at once when dialling is refused, since then the process is gone.
"""

import asyncio
import random
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from stationkeep.node.peers.dialling import Dialling
from stationkeep.node.peers.figures import Reception
from stationkeep.node.peers.frames import MAX_FRAME, BadFrame, decode, encode, numbered
from stationkeep.node.peers.sessions import (
    MAX_BODY,
    BadDatagram,
    Echo,
    Incoming,
    Opened,
    Outgoing,
    Papers,
    Path,
    Ration,
)
from stationkeep.node.peers.streams import Inbound, Outbound
from stationkeep.node.ports import LinkFigures

if TYPE_CHECKING:
    from stationkeep.node.peers.network import PeerNetwork

BACKOFF_FIRST, BACKOFF_LAST = 0.05, 1.0
BACKOFF_REMOVED = 60.0
"""Seconds until a peer is dialled again that said that we were removed. Long, since it dials us if
that changes."""
STALLED = 2
"""Retransmission time-outs in a row without an acknowledgement, after which a stream is replaced. A
third would take at least another 0.8 s, and each further one twice as long."""
WATCH_SECONDS = 0.2
MAX_STREAMS = 4
"""Streams that we have dialled and that are not drained yet; a peer may have dialled as many."""
MAX_SESSIONS = 8
"""Sessions of a peer's present life whose messages are still accepted."""
LINGER = 5.0
"""Seconds for which a link without a stream stays up although the peer does not answer."""
SPARED, DOUBTED = 50.0, 2_000.0
"""The most datagrams a second on a link without losses, and on one with losses or no stream."""
MOST_RECEIVED = 10_000.0
"""Datagrams a second that are decrypted for one peer."""
REVOKED_SECONDS = 15.0
"""For which a link stands whose peer's certificate was revoked, or may be of a CA that is trusted
no more. The peer learns that by this link,
and has itself another one issued at its next look (`security.renewal.LOOK_SECONDS`)."""
RENEWAL_SECONDS = 3_600.0
"""Age at which a session is replaced by a new one with another key."""


class Link:
    """The link to one peer."""

    def __init__(self, network: "PeerNetwork", peer: str) -> None:
        self._network, self.peer = network, peer
        self._loop = network.loop
        now = self._loop.time()
        self.up = False
        self.uid = ""
        """Of the cluster that the peer belongs to, as it said last; "" if it does not know."""
        self.dismissed = False
        """Whether the peer said that we were removed when we last dialled it."""
        self._stream: Outbound | None = None
        self._draining: list[Outbound] = []
        self._session: Outgoing | None = None
        self._destination: Any = None
        self._path = Path()
        self._copies, self._admitted = Ration(now), Ration(now)
        self._sent_at = now
        self._stalled = False
        self._watching: asyncio.TimerHandle | None = None
        self.dialling = Dialling(network, peer)
        self._turned_at = now
        self._void_at: float | None = None
        """When it was first seen that what a stream stands on is good no more."""
        self._life = 0
        self._inbound: list[Inbound] = []
        self._sessions: OrderedDict[int, Incoming] = OrderedDict()
        self._echo = Echo()
        self._reception = Reception(now)
        self._wanted, self._reached = asyncio.Event(), asyncio.Event()
        self._wanted.set()
        self._dialler = self._loop.create_task(self._keep_dialled(), name=f"link-{peer}")
        self._dialler.add_done_callback(network.task_ended)

    # -- sending -------------------------------------------------------------------------------

    def send(self, message: dict[str, Any]) -> bool:
        """Whether it was sent on at least one lane."""
        session, stream = self._session, self._stream
        if session is None:
            return False
        body, number, now = encode(message), session.next_number(), self._loop.time()
        left = len(body) <= MAX_BODY and self._copy(session, number, body, now)
        if stream is None:
            return left
        if self._watching is None:
            self._watching = self._loop.call_later(WATCH_SECONDS, self._watch)
        return stream.push(numbered(number, body)) or left

    def _copy(self, session: Outgoing, number: int, body: bytes, now: float) -> bool:
        needed = self._stream is None or self._path.is_in_doubt(now)
        rate = DOUBTED if needed else SPARED
        return self._copies.take(rate, now) and self._send_datagram(session, number, body, now)

    def _send_datagram(self, session: Outgoing, number: int, body: bytes, now: float) -> bool:
        self._sent_at = now
        return self._network.send_datagram(
            session.seal(number, body, self._echo), self._destination
        )

    def comfortable(self) -> int:
        """See `node.ports.Network.comfortable`."""
        now = self._loop.time()
        passes = now - self._path.answered_at < LINGER
        return MAX_BODY if passes and self._path.loses(now) else MAX_FRAME

    def _probe(self, now: float) -> None:
        """Sends a datagram without a message, so that the peer echoes it."""
        if self._session is not None:
            self._send_datagram(self._session, 0, b"", now)

    # -- receiving -----------------------------------------------------------------------------

    def accept(self, inbound: Inbound, life: int, name: int, key: bytes) -> None:
        """Called when the peer has dialled us and begins a session."""
        if life != self._life:
            self._forget_life()
            self._life = life
        inbound.link = self
        inbound.session = self._sessions[name] = Incoming(name, key, inbound.papers)
        self._network.sessions[name] = self
        if len(self._sessions) > MAX_SESSIONS:
            self._network.sessions.pop(self._sessions.popitem(last=False)[0], None)
        self._inbound.append(inbound)
        for oldest in self._inbound[:-MAX_STREAMS]:
            self._inbound.remove(oldest)
            oldest.transport.abort()
        self._reached.set()

    def _forget_life(self) -> None:
        """The peer has restarted: discards what its former process sent, and the sessions that it
        knew."""
        for name in self._sessions:
            self._network.sessions.pop(name, None)
        self._sessions.clear()
        self._echo = Echo()
        for inbound in self._inbound:
            inbound.transport.abort()
        if self._life:
            for stream in self._dialled():
                stream.transport.abort()

    def cut(self) -> None:
        """It turned out that the peer will not do: nothing of it counts, on either lane."""
        self._forget_life()
        self._life = 0
        for stream in self._dialled():
            stream.transport.abort()
        self._session = None
        self._go_down()

    def inbound_lost(self, inbound: Inbound) -> None:
        if inbound in self._inbound:
            self._inbound.remove(inbound)

    def take_frame(self, session: Incoming, number: int, message: dict[str, Any]) -> None:
        """Handles a message from a stream; raises `BadFrame` for a number out of range."""
        if not session.numbers.expects(number):
            raise BadFrame("bad_number")
        if session.numbers.take(number):
            self._network.deliver(self.peer, message)
        else:
            self._reception.duplicates += 1

    def take_datagram(self, name: int, counter: int, datagram: bytes) -> None:
        """Handles a datagram that names a session of this peer."""
        now = self._loop.time()
        session = self._sessions[name]
        if not self._admitted.take(MOST_RECEIVED, now):
            self._reception.refused["too_many"] += 1
            return
        top = session.counters.top
        try:
            opened = session.open(datagram, counter)
            self._sessions.move_to_end(name)  # the least recently used session is evicted first
            self._reception.note(session.counters.top - top, now)
            self._echo = session.echo
            if session.heard == 1:
                self._probe(now)  # tells the peer at once that its datagrams arrive
            self._answered(opened.echo, now)
            self._take(session, opened)
        except BadDatagram as error:
            self._reception.refused[error.reason] += 1
        except BadFrame:
            self._reception.refused["malformed"] += 1

    def _take(self, session: Incoming, opened: Opened) -> None:
        if not opened.number:
            return  # a probe
        if not session.numbers.take(opened.number):
            self._reception.duplicates += 1
            return
        self._network.deliver(self.peer, decode(opened.body))

    def _answered(self, echo: Echo, now: float) -> None:
        if self._session is None:
            return
        self._path.answered(echo, self._session.counter, now)
        if not self.up and self._path.is_heard(now):
            self._go_up()

    # -- dialling ------------------------------------------------------------------------------

    async def _keep_dialled(self) -> None:
        """Dials one stream after another, with bounded back-off and jitter between attempts."""
        pause = 0.0
        while True:
            await self._wanted.wait()
            await self._rest(pause)
            self._wanted.clear()
            self.dismissed = False
            fresh = await self.dialling.race()
            if fresh is not None:
                pause = BACKOFF_FIRST
                self._wanted.clear()  # this stream satisfies requests made meanwhile
                self._take_over(fresh)
                continue
            self._wanted.set()
            pause = min(max(2 * pause, BACKOFF_FIRST), BACKOFF_LAST)
            if self.dialling.refused and self._stream is None:
                self._session = None
                self._go_down()
            if self.dismissed and not self._inbound:
                pause = BACKOFF_REMOVED

    async def _rest(self, pause: float) -> None:
        """Waits, at most until the peer dials us: then we can reach it as well, and if we had been
        removed, that is no longer so."""
        self._reached.clear()
        try:
            async with asyncio.timeout(pause * random.uniform(0.5, 1.0)):  # noqa: S311
                await self._reached.wait()
        except TimeoutError:
            pass

    def _take_over(self, fresh: Outbound) -> None:
        """Sends on this stream from now on. What an older one carries may be late or lost:
        `on_connected` is called for that reason, even if the link was up."""
        older, self._stream = self._stream, fresh
        if older is not None:
            self._draining.append(older)
            if len(self._draining) >= MAX_STREAMS:
                self._draining[0].transport.abort()
        fresh.on_lost = self._lost
        self._session, self._destination = fresh.session, fresh.destination
        self._path.follow(fresh.session.name)
        self._stalled = False
        if not fresh.ready:  # lost before its turn came
            self._lost(fresh)
            return
        self._probe(self._loop.time())
        self._network.tell_peers(self.peer)
        self._go_up()

    def _lost(self, stream: Outbound) -> None:
        if stream in self._draining:
            self._draining.remove(stream)
        if stream is self._stream:
            self._stream = None
            self._wanted.set()

    def _go_up(self) -> None:
        if not self.up:
            self.up, self._turned_at = True, self._loop.time()
        self._network.went_up(self.peer)

    def _go_down(self) -> None:
        if self.up:
            self.up, self._turned_at = False, self._loop.time()
            self._network.went_down(self.peer)

    # -- watching ------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Checks whether the stream is stalled, while it has unacknowledged data."""
        self._watching = None
        if self._stream is None:
            return
        pulse = self._stream.pulse()
        self._stalled = pulse.unanswered > 0
        if self._stalled:
            self._path.lost_at = self._loop.time()
        if pulse.unanswered >= STALLED:
            self._wanted.set()
        if pulse.outstanding:
            self._watching = self._loop.call_later(WATCH_SECONDS, self._watch)

    def tick(self) -> None:
        """Called once a second: sends a probe if nothing else was sent, and does what is due."""
        now = self._loop.time()
        if now - self._sent_at >= 1.0:
            self._probe(now)
        for stream in list(self._draining):
            if not stream.pulse().outstanding:
                stream.transport.close()
        if self._stream is not None:
            aged = now - self._stream.began_at > RENEWAL_SECONDS
            if aged or self._stream.session.is_used_up(self._path.top):
                self._wanted.set()
        elif now - self._path.answered_at > LINGER:
            self._go_down()
        self._mind_papers(now)

    def _mind_papers(self, now: float) -> None:
        """A link is made anew, or not at all, once a certificate that it stands on was revoked, or
        a CA is trusted no more that may have issued it."""
        revoked, era = self._network.revoked(), self._network.era()

        def void(papers: Papers) -> bool:
            return papers.era < era or papers.serial in revoked

        if self._stream is not None and self._stream.papers.era < era:
            self._wanted.set()  # the peer does so with its own
        standing = {inbound.session.name for inbound in self._inbound}
        for name, session in list(self._sessions.items()):
            if name not in standing and void(session.papers):
                self._network.sessions.pop(name, None)
                del self._sessions[name]
        papers = [stream.papers for stream in self._dialled()]
        if not any(map(void, papers + [inbound.papers for inbound in self._inbound])):
            self._void_at = None
        elif self._void_at is None:
            self._void_at = now
        elif now - self._void_at >= REVOKED_SECONDS:
            self._void_at = None
            self.cut()

    def figures(self) -> LinkFigures:
        now = self._loop.time()
        reception = self._reception
        covered, sent, heard, silence = reception.read(now)
        return LinkFigures(
            peer=self.peer,
            connected=self.up,
            streams=len(self._dialled()),
            stalled=self._stalled,
            in_doubt=self._path.is_in_doubt(now),
            window_s=round(covered, 3),
            sent=sent,
            heard=heard,
            longest_silence_s=round(silence, 3),
            received_total=reception.received,
            lost_total=reception.lost,
            duplicates_total=reception.duplicates,
            refused_total=dict(reception.refused),
            address=self.dialling.tried,
            error=self.dialling.obstacle,
            since_s=round(now - self._turned_at, 3),
        )

    # -- end -----------------------------------------------------------------------------------

    def close(self) -> None:
        """Sends what can be sent without waiting, and closes everything."""
        self._dialler.cancel()
        if self._watching is not None:
            self._watching.cancel()
        for stream in self._dialled():
            stream.on_lost = lambda _: None
            stream.flush()
            stream.transport.close()
        for inbound in self._inbound:
            inbound.settle()
            inbound.transport.close()
        for name in self._sessions:
            self._network.sessions.pop(name, None)
        self._session = None

    async def closed(self) -> None:
        """Call after `close`; returns when everything has ended."""
        await asyncio.gather(self._dialler, return_exceptions=True)
        for stream in self._dialled():
            stream.transport.abort()

    def _dialled(self) -> list[Outbound]:
        return [*self._draining, *([self._stream] if self._stream is not None else [])]
