"""Drafts between nodes: from a follower to the leader, and the leader's answers back.

A follower sends its queued drafts in few messages, each draft under a ticket; the leader appends a
draft or declines it, and answers with its place in the log. The answer leaves ahead of the entries,
so a follower usually learns the place of its draft before it sees it committed.

Either message may be lost. So a draft is sent again until it is answered, and the leader remembers
which tickets of a follower it has seen in its term: it appends each once, and repeats its answer.
A ticket belongs to one life of the follower's process and to one term. All is bounded and checked.

The follower says which tickets are finished. If that was wrong, and it still waits for one, the
leader answers that this ticket is forgotten, and the follower begins another life instead of
waiting until the leader is replaced.
"""

import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from stationkeep.cluster.state.codec import MAX_DRAFT_BYTES
from stationkeep.node.ports import Network, StateMachine
from stationkeep.node.raft.engine.engine import Engine
from stationkeep.node.raft.engine.messages import MAX_INDEX, BadMessage
from stationkeep.node.raft.engine.transport import OutboxTransport
from stationkeep.node.raft.proposals import MAX_PENDING, Pending, Proposals
from stationkeep.node.raft.shared import Shared

FORWARDS_PER_MESSAGE = 256
FORWARD_BYTES = 1024 * 1024
DRAFT_BYTES = 16
"""Bytes that encoding adds to a draft; about as many as the rest of a message takes."""
MAX_FOREIGN = 16_384
"""Drafts of others that wait to be appended here."""
FORGOTTEN = "forgotten"
"""Answer to a ticket that its sender had declared finished."""
WAITS = (0, 0, "")
"""Answer to a ticket whose draft is not appended yet: none."""

Answer = tuple[int, int, str]
"""Index and term in the log, or 0, 0 and why it is not there."""


_Answers = dict[tuple[str, int], list[list[Any]]]
"""By peer and its life: ticket and answer each."""


class Seen(msgspec.Struct):
    """The tickets of one follower that the leader has seen, with its answers."""

    life: int
    term: int
    oldest: int = 0
    """Lower tickets are finished."""
    answers: dict[int, Answer] = {}

    def forget_below(self, oldest: int) -> None:
        if oldest > self.oldest:
            self.oldest = oldest
            self.answers = {n: a for n, a in self.answers.items() if n >= oldest}


class _Foreign(msgspec.Struct, frozen=True):
    peer: str
    life: int
    ticket: int
    draft: bytes


class _Forwarded(NamedTuple):
    """A checked message: `drafts` with their tickets, for the leader of `term`."""

    life: int
    term: int
    oldest: int
    drafts: list[tuple[int, bytes]]


class Forwarding:
    """Both ends of it; a node is leader today and follower tomorrow."""

    def __init__(
        self,
        *,
        engine: Engine,
        transport: OutboxTransport,
        network: Network,
        proposals: Proposals,
        machine: StateMachine,
        monotonic: Callable[[], float],
    ) -> None:
        self._engine, self._transport, self._network = engine, transport, network
        self._proposals, self._machine, self._monotonic = proposals, machine, monotonic
        self._foreign: Shared[_Foreign] = Shared(MAX_FOREIGN)
        self._seen: dict[str, Seen] = {}
        self._life = _new_life()
        self.hold_until = 0.0
        """Monotonic time before which nothing is forwarded: the leader has declined, or its link is
        full."""

    # -- as leader -----------------------------------------------------------------------------

    def take_drafts(self, peer: str, message: Mapping[str, Any], *, leads: bool) -> None:
        """Takes drafts forwarded by a follower."""
        told = _checked(message)
        seen = self._tickets_of(peer, told, leads and told.term == self._term())
        answers = []
        for ticket, draft in told.drafts:
            answer = self._answer(peer, seen, ticket, draft)
            if answer != WAITS:
                answers.append([ticket, *answer])
        if answers:
            self._send({(peer, told.life): answers})

    def _term(self) -> int:
        return int(self._engine.raftCurrentTerm)

    def _tickets_of(self, peer: str, told: _Forwarded, leads: bool) -> Seen | None:
        """What this node has seen of the follower as leader of the term in the message; None if it
        never led that term, or leads it no longer and has no answer left."""
        seen = self._seen.get(peer)
        if seen is None or (seen.life, seen.term) != (told.life, told.term):
            if not leads:
                return None
            seen = self._seen[peer] = Seen(told.life, told.term)
        seen.forget_below(told.oldest)
        return seen

    def _answer(self, peer: str, seen: Seen | None, ticket: int, draft: bytes) -> Answer:
        if seen is None:
            return (0, 0, "not_leader")
        if ticket < seen.oldest:  # nobody waits for a late copy of what was answered long ago
            return (0, 0, FORGOTTEN)
        known = seen.answers.get(ticket)
        if known is not None:
            return known
        if seen.term != self._term() or not self._engine._isLeader():
            return (0, 0, "not_leader")
        foreign = _Foreign(peer, seen.life, ticket, draft)
        if len(seen.answers) > MAX_PENDING or not self._foreign.put(peer, foreign):
            return (0, 0, "queue_full")
        seen.answers[ticket] = WAITS
        return WAITS

    def append(self, room: int) -> int:
        """Appends at most `room` of them to our log; returns the remaining room."""
        answers: _Answers = {}
        while self._foreign and room > 0:
            _, foreign = self._foreign.take()
            if not self._machine.admits(foreign.draft):
                self._note(foreign, (0, 0, "level"), answers)
                continue
            index, term = self._engine.append(self._machine.stamp(foreign.draft))
            self._note(foreign, (index, term, ""), answers)
            room -= 1
        self._send(answers)
        return room

    def decline(self) -> None:
        """This node no longer leads; these drafts have not entered any log."""
        answers: _Answers = {}
        while self._foreign:
            _, foreign = self._foreign.take()
            self._note(foreign, (0, 0, "not_leader"), answers)
        self._send(answers)

    def _note(self, foreign: _Foreign, answer: Answer, answers: _Answers) -> None:
        seen = self._seen.get(foreign.peer)
        if seen is not None and seen.life == foreign.life and foreign.ticket in seen.answers:
            seen.answers[foreign.ticket] = answer
        answers.setdefault((foreign.peer, foreign.life), []).append([foreign.ticket, *answer])

    def _send(self, answers: _Answers) -> None:
        for (peer, life), items in answers.items():
            for start in range(0, len(items), FORWARDS_PER_MESSAGE):
                part = items[start : start + FORWARDS_PER_MESSAGE]
                self._transport.send_first(peer, {"kind": "proposed", "life": life, "items": part})

    def forget(self) -> None:
        """Drops them without an answer: the disk failed, and nothing may be promised (S11)."""
        self._foreign.clear()
        self._seen.clear()

    # -- as follower ---------------------------------------------------------------------------

    def take_answers(self, message: Mapping[str, Any]) -> None:
        """A leader's answers: [ticket, index, term, why], index 0 when it was not appended. Those
        to an earlier life of this process are about other drafts: tickets begin anew."""
        answers = [_checked_answer(item) for item in _items(message)]
        if message.get("life") != self._life:
            return
        for ticket, index, term, why in answers:
            if why == FORGOTTEN:
                self._begin_anew(ticket)
            elif index:
                self._proposals.replied(ticket, index, term, self._engine.raftLastApplied)
            else:
                self.hold_until = self._monotonic() + self._engine.timings.heartbeat
                self._proposals.declined(ticket, why)

    def _begin_anew(self, ticket: int) -> None:
        """The leader considers a ticket finished: the outcome of the drafts that still wait is
        unknown."""
        if self._proposals.waits_for(ticket):
            self._life = _new_life()
            self._proposals.forget_forwarded()

    def forward(self, now: float) -> None:
        """Sends queued drafts to the leader, and again those that it did not answer."""
        leader = self._engine.leader()
        if leader is None or leader == self._engine.node_id or now < self.hold_until:
            return
        term = self._term()
        for batch in self._batches(leader, self._proposals.unanswered(now)):
            self._tell(leader, batch[0].term, batch)
        while self._proposals.queue and self._network.connected(leader):
            fresh = self._next_batch(self._room(leader))
            for pending in fresh:
                self._proposals.forwarded(pending, term, now)
            if not self._tell(leader, term, fresh):
                self._proposals.unsent(fresh)
                self.hold_until = now + self._engine.timings.heartbeat
                return

    def next_resend(self) -> float:
        """When `forward` has something to send again, unless that is answered before."""
        return self._proposals.resend_at

    def _tell(self, leader: str, term: int, batch: Iterable[Pending]) -> bool:
        items = [[pending.ticket, pending.draft] for pending in batch]
        return self._network.send(leader, {
            "kind": "propose", "life": self._life, "term": term,
            "oldest": self._proposals.oldest_ticket, "items": items,
        })  # fmt: skip

    def _room(self, leader: str) -> int:
        return min(FORWARD_BYTES, self._network.comfortable(leader) - 8 * DRAFT_BYTES)

    def _batches(self, leader: str, pendings: list[Pending]) -> Iterable[list[Pending]]:
        """Of one term each, and small enough."""
        room = self._room(leader)
        batch: list[Pending] = []
        size = 0
        for pending in pendings:
            size += len(pending.draft) + DRAFT_BYTES
            full = size > room or len(batch) >= FORWARDS_PER_MESSAGE
            if batch and (full or batch[0].term != pending.term):
                yield batch
                batch, size = [], len(pending.draft) + DRAFT_BYTES
            batch.append(pending)
        if batch:
            yield batch

    def _next_batch(self, room: int) -> list[Pending]:
        batch: list[Pending] = []
        size = 0
        while len(batch) < FORWARDS_PER_MESSAGE:
            pending = self._proposals.take()
            if pending is None:
                break
            size += len(pending.draft) + DRAFT_BYTES
            if batch and size > room:
                self._proposals.queue.appendleft(pending)
                break
            batch.append(pending)
        return batch


def _new_life() -> int:
    return secrets.randbits(52) | 1


def _items(message: Mapping[str, Any]) -> list[Any] | tuple[Any, ...]:
    items = message.get("items")
    if not isinstance(items, list | tuple) or len(items) > FORWARDS_PER_MESSAGE:
        raise BadMessage("items is not a short list")
    return items


def _checked(message: Mapping[str, Any]) -> _Forwarded:
    numbers = [message.get(field) for field in ("life", "term", "oldest")]
    life, term, oldest = (n if type(n) is int and 0 < n <= MAX_INDEX else 0 for n in numbers)
    if not (life and term and oldest):
        raise BadMessage("forwarded drafts are not numbered")
    drafts = [_checked_draft(item) for item in _items(message)]
    if any(ticket < oldest for ticket, _ in drafts):
        raise BadMessage("a forwarded draft is older than the oldest")
    return _Forwarded(life, term, oldest, drafts)


def _checked_draft(item: Any) -> tuple[int, bytes]:
    if not isinstance(item, list | tuple) or len(item) != 2:
        raise BadMessage("a forwarded draft is a pair")
    ticket, draft = item
    if type(ticket) is not int or not 0 < ticket <= MAX_INDEX:
        raise BadMessage("a forwarded draft is not numbered")
    if type(draft) is not bytes or len(draft) > MAX_DRAFT_BYTES:
        raise BadMessage("a forwarded draft is not a short string of bytes")
    return ticket, draft


def _checked_answer(item: Any) -> tuple[int, int, int, str]:
    if not isinstance(item, list | tuple) or len(item) != 4:
        raise BadMessage("an answer has four parts")
    ticket, index, term, why = item
    if any(type(n) is not int or not 0 <= n <= MAX_INDEX for n in (ticket, index, term)):
        raise BadMessage("an answer is not numbered")
    if why not in ("", "not_leader", "queue_full", "level", FORGOTTEN):
        raise BadMessage("an answer gives an unknown reason")
    return ticket, index, term, why
