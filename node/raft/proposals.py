"""Proposals from `propose()` to their one answer.

A proposal is queued, then appended here (as leader) or forwarded to the leader, which answers
with its place in the log: index and term. It is done when the entry at that index is applied
here: with the same term it is ours (log matching, Raft paper, section 5.3), with another one it
never commits and is proposed again. Whatever happens, it is answered by its deadline (hazard L7). A
forwarded proposal has a ticket, and is sent again under it until the leader answers. Only a keyed
proposal (`retry`) is proposed again when its outcome is unknown: the state remembers its key (S10).
"""

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from stationkeep.cluster.apply import Applied
from stationkeep.node.ports import Committed, NotProposed, OutcomeUnknown, ProposalResult

MAX_PENDING = 8192
MAX_PENDING_BYTES = 64 * 1024 * 1024
MAX_RECENT = 4_096
"""Results remembered of entries that were applied before the leader said whose they are."""
PATIENCE, LONGEST_PATIENCE = 0.05, 0.2
"""Seconds until a forwarded proposal is sent again; doubled each time. At 20 % loss one in three
round trips fails: doubled further, patience alone would take a second now and then."""
MANY, PATIENCE_OF_MANY = 256, 1.0
"""Above this many in flight the leader is more likely busy than out of reach: all wait this
long."""

Done = Callable[[ProposalResult], None]


class Pending(msgspec.Struct, eq=False):
    """One proposal not answered yet."""

    draft: bytes
    done: Done
    number: int
    proposed_at: float
    deadline: float
    retry: bool
    maybe: bool = False
    """An earlier try may have entered a log."""
    term: int = 0
    """Term of its entry, once it has a place in a log; before that, of the leader that it was
    forwarded to."""
    ticket: int = 0
    """Number under which it was forwarded, 0 when it was not; never used again."""
    sent_at: float = 0.0
    tries: int = 0
    """How often it was sent under this ticket, and when last."""
    answered: bool = False


class Deadlines:
    """Pending proposals by deadline. Nearly all have the same timeout and so come in order:
    these wait in a queue, which costs less than a heap, and the others in a heap."""

    def __init__(self) -> None:
        self._queue: deque[Pending] = deque()
        self._heap: list[tuple[float, int, Pending]] = []

    def __len__(self) -> int:
        return len(self._queue) + len(self._heap)

    def __iter__(self) -> Iterator[Pending]:
        yield from self._queue
        yield from (pending for *_, pending in self._heap)

    def add(self, pending: Pending) -> None:
        """Adds one."""
        queue = self._queue
        while queue and queue[-1].answered:
            queue.pop()
        if not queue or queue[-1].deadline <= pending.deadline:
            queue.append(pending)
        else:
            heapq.heappush(self._heap, (pending.deadline, pending.number, pending))

    def first(self) -> Pending | None:
        """The one not answered that is due first; of several, the oldest."""
        queue, heap = self._queue, self._heap
        while queue and queue[0].answered:
            queue.popleft()
        while heap and heap[0][2].answered:
            heapq.heappop(heap)
        if not heap:
            return queue[0] if queue else None
        if queue and (queue[0].deadline, queue[0].number) < heap[0][:2]:
            return queue[0]
        return heap[0][2]

    def forget_answered(self) -> None:
        """Drops those that no longer wait."""
        self._queue = deque(p for p in self._queue if not p.answered)
        self._heap = [item for item in self._heap if not item[2].answered]
        heapq.heapify(self._heap)


class Proposals:
    """All pending proposals of one node. Answers are collected, and given by `deliver`."""

    def __init__(self) -> None:
        self.queue: deque[Pending] = deque()
        self._forwarded: dict[int, Pending] = {}
        """By ticket, in rising order."""
        self._tickets = itertools.count(1)
        self._recent: dict[int, tuple[int, Applied | None]] = {}
        """Index → term and result, while something is forwarded and not answered."""
        self._resend_at = math.inf
        self._placed: dict[int, list[Pending]] = {}
        self._deadlines = Deadlines()
        self._answers: list[tuple[Pending, ProposalResult]] = []
        self._numbers = itertools.count(1)
        self._pending = 0
        self._bytes = 0

    def __len__(self) -> int:
        return self._pending

    @property
    def has_answers(self) -> bool:
        return bool(self._answers)

    def submit(self, draft: bytes, done: Done, now: float, timeout: float, retry: bool) -> None:
        """Queues a draft; over the limits it is answered `queue_full` at the next delivery."""
        number = next(self._numbers)
        pending = Pending(draft, done, number, now, now + timeout, retry)
        self._pending += 1
        self._bytes += len(draft)
        if self._pending > MAX_PENDING or self._bytes > MAX_PENDING_BYTES:
            self.refuse(pending, "queue_full")
            return
        self._deadlines.add(pending)
        self.queue.append(pending)

    def refuse_at_once(self, draft: bytes, done: Done, why: str) -> None:
        """Never queued; answered at the next delivery."""
        self._pending += 1
        self._bytes += len(draft)
        self.refuse(Pending(draft, done, 0, 0.0, 0.0, False), why)

    def refuse(self, pending: Pending, why: str) -> None:
        """It will not be proposed; its outcome is unknown all the same when an earlier try may have
        entered a log."""
        self._answer(pending, OutcomeUnknown(why) if pending.maybe else NotProposed(why))

    def placed(self, pending: Pending, index: int, term: int) -> None:
        """It is in a log at `index` of `term`."""
        pending.term = term
        self._placed.setdefault(index, []).append(pending)

    def forwarded(self, pending: Pending, term: int, now: float) -> None:
        """It is about to be sent to the leader of `term`, under a ticket."""
        pending.ticket, pending.term, pending.tries = next(self._tickets), term, 0
        self._forwarded[pending.ticket] = pending
        self._sent(pending, now)

    def _sent(self, pending: Pending, now: float) -> None:
        pending.sent_at = now
        pending.tries += 1
        self._resend_at = min(self._resend_at, self._due(pending))

    def _due(self, pending: Pending) -> float:
        """When it is to be sent again, unless it is answered before."""
        if len(self._forwarded) > MANY:
            return pending.sent_at + PATIENCE_OF_MANY
        return pending.sent_at + min(PATIENCE * 2.0 ** (pending.tries - 1), LONGEST_PATIENCE)

    def unsent(self, pendings: Iterable[Pending]) -> None:
        """There was no way to the leader: they are queued again, in their order."""
        for pending in reversed(list(pendings)):
            self._forwarded.pop(pending.ticket, None)
            pending.ticket = pending.term = 0
            self.queue.appendleft(pending)

    def unanswered(self, now: float) -> list[Pending]:
        """Forwarded so long ago that they are to be sent again; they count as sent now."""
        if now < self._resend_at:
            return []
        self._resend_at = math.inf
        due = []
        for pending in self._forwarded.values():
            if self._due(pending) <= now:
                due.append(pending)
                self._sent(pending, now)
            else:
                self._resend_at = min(self._resend_at, self._due(pending))
        return due

    @property
    def resend_at(self) -> float:
        """When `unanswered` may have something; infinity when it cannot."""
        return self._resend_at if self._forwarded else math.inf

    @property
    def oldest_ticket(self) -> int:
        """The lowest ticket that is forwarded and not answered; every lower one is finished."""
        return next(iter(self._forwarded), 0)

    def replied(self, ticket: int, index: int, term: int, applied: int) -> None:
        """The leader says where it is in the log; everything up to `applied` is applied here
        already."""
        pending = self._forwarded.pop(ticket, None)
        if pending is None or pending.answered:
            return
        found = self._recent.get(index)
        if index > applied:
            self.placed(pending, index, term)
        elif found is None:
            self._lost(pending, "applied long before the leader's answer came")
        elif found[0] == term and found[1] is not None:
            self._answer(pending, Committed(index, found[1]))
        else:
            self._replaced(pending)
        self._forget_recent()

    def _replaced(self, pending: Pending) -> None:
        """Another entry took its place: it can never commit, and is proposed anew."""
        pending.term = pending.ticket = 0
        self.queue.append(pending)

    def _forget_recent(self) -> None:
        if not self._forwarded:
            self._recent.clear()

    def declined(self, ticket: int, why: str) -> None:
        """The leader did not append it: not the leader (it is queued again), full, or not at its
        level. Of what was sent several times nobody knows that: an earlier copy may have been
        appended."""
        pending = self._forwarded.pop(ticket, None)
        if pending is None or pending.answered:
            return
        if pending.tries > 1:
            self._lost(pending, why)
        elif why in ("queue_full", "level"):
            self.refuse(pending, why)
        else:
            self._replaced(pending)
        self._forget_recent()

    def waits_for(self, ticket: int) -> bool:
        """Whether the leader's answer to a ticket has not come."""
        return ticket in self._forwarded

    def forget_forwarded(self) -> None:
        """Gives up waiting for answers to forwarded proposals."""
        forwarded, self._forwarded = self._forwarded, {}
        self._recent.clear()
        for pending in forwarded.values():
            self._lost(pending, "leader_lost")

    def leader_lost(self, term: int) -> None:
        """Another term or no connection."""
        self.forget_forwarded()
        for index in sorted(self._placed):
            stale = [p for p in self._placed[index] if p.retry and p.term < term]
            if stale:
                kept = [p for p in self._placed[index] if p not in stale]
                self._placed[index] = kept
                if not kept:
                    del self._placed[index]
            for pending in stale:
                self._lost(pending, "leader_lost")

    def applied(self, index: int, term: int, applied: Applied | None) -> Sequence[Pending]:
        """The entry at `index` was applied; returns the proposals that it answers."""
        if self._forwarded:
            self._recent[index] = (term, applied)
            if len(self._recent) > MAX_RECENT:
                del self._recent[next(iter(self._recent))]
        found = self._placed.pop(index, None)
        if found is None:
            return ()
        ours = []
        for pending in found:
            if pending.answered:
                continue
            if pending.term == term and applied is not None:
                self._answer(pending, Committed(index, applied))
                ours.append(pending)
            else:
                self._replaced(pending)
        return ours

    def skipped_to(self, index: int) -> None:
        """A snapshot replaced the log up to `index`: what stood there cannot be watched."""
        self._recent.clear()
        for place in sorted(i for i in self._placed if i <= index):
            for pending in self._placed.pop(place):
                self._lost(pending, "a snapshot covered it")

    def expire(self, now: float) -> None:
        """Answers every proposal that is past its deadline."""
        while (pending := self._deadlines.first()) is not None and pending.deadline <= now:
            if pending.term == 0:
                self.refuse(pending, "no_leader")
            else:
                self._answer(pending, OutcomeUnknown("deadline"))
            self._forwarded.pop(pending.ticket, None)
        self._forget_recent()
        self._forget_answered()

    def next_deadline(self) -> float | None:
        """When `expire` has something to do."""
        first = self._deadlines.first()
        return None if first is None else first.deadline

    def take(self) -> Pending | None:
        """The next queued proposal that still waits for an answer."""
        while self.queue:
            pending = self.queue.popleft()
            if not pending.answered:
                pending.term = pending.ticket = 0
                return pending
        return None

    def close(self) -> None:
        """The node stops: everything pending is answered."""
        for pending in sorted(self._deadlines, key=lambda p: p.number):
            if not pending.answered:
                pending.maybe = pending.maybe or pending.term > 0
                self.refuse(pending, "no_leader")
        self.queue.clear()
        self._forwarded.clear()
        self._placed.clear()

    def deliver(self) -> None:
        """Calls back, once for each; a callback may propose again."""
        answers, self._answers = self._answers, []
        for pending, result in answers:
            pending.done(result)

    def _lost(self, pending: Pending, why: str) -> None:
        if pending.answered:
            return
        pending.maybe = True
        if pending.retry:
            self._replaced(pending)
        else:
            self._answer(pending, OutcomeUnknown(why))

    def _answer(self, pending: Pending, result: ProposalResult) -> None:
        assert not pending.answered, "a proposal is answered once"
        pending.answered = True
        self._pending -= 1
        self._bytes -= len(pending.draft)
        self._answers.append((pending, result))

    def _forget_answered(self) -> None:
        """Keeps remembered results within a small multiple of what is pending."""
        if len(self._placed) > 2 * self._pending + 64:
            for index in [i for i, ps in self._placed.items() if all(p.answered for p in ps)]:
                del self._placed[index]
        if len(self._deadlines) > 2 * self._pending + 1024:
            self._deadlines.forget_answered()
