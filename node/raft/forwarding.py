"""Drafts between nodes: from a follower to the leader, and the leader's answers back.

A follower sends what is queued, in few messages; the leader appends it or declines it, and says
where it stands in the log. The answer leaves ahead of the entries, so that a follower learns of
its draft's place before it can see it committed. Everything is bounded and checked.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from cluster.codec import MAX_DRAFT_BYTES
from node.ports import Network
from node.raft.engine import Engine
from node.raft.messages import MAX_INDEX, BadMessage
from node.raft.proposals import Pending, Proposals
from node.raft.transport import OutboxTransport

FORWARDS_PER_MESSAGE = 256
FORWARD_BYTES = 1024 * 1024
MAX_FOREIGN = 16_384
"""Drafts of others that wait to be appended here."""


class Forwarding:
    """Both ends of it; a node is leader today and follower tomorrow."""

    def __init__(
        self,
        *,
        engine: Engine,
        transport: OutboxTransport,
        network: Network,
        proposals: Proposals,
        stamp: Callable[[bytes], bytes],
        monotonic: Callable[[], float],
    ) -> None:
        self._engine, self._transport, self._network = engine, transport, network
        self._proposals, self._stamp, self._monotonic = proposals, stamp, monotonic
        self._foreign: deque[tuple[str, int, bytes]] = deque()
        self.hold_until = 0.0
        """Nothing is forwarded before: the leader has declined, or its link is full."""

    # -- as leader -----------------------------------------------------------------------------

    def take_drafts(self, peer: str, message: Mapping[str, Any], *, leads: bool) -> None:
        """Drafts forwarded by a follower: [number, draft] each."""
        drafts = [_checked_draft(item) for item in _items(message)]
        room = MAX_FOREIGN - len(self._foreign)
        declined = []
        for position, (number, draft) in enumerate(drafts):
            if leads and position < room:
                self._foreign.append((peer, number, draft))
            else:
                declined.append([number, 0, 0, "queue_full" if leads else "not_leader"])
        if declined:
            self._transport.send_first(peer, {"kind": "proposed", "items": declined})

    def append(self, room: int) -> int:
        """Puts at most `room` of them into our log; the room that is left."""
        answers: dict[str, list[list[Any]]] = {}
        while self._foreign and room > 0:
            peer, number, draft = self._foreign.popleft()
            index, term = self._engine.append(self._stamp(draft))
            answers.setdefault(peer, []).append([number, index, term, ""])
            room -= 1
        for peer, items in answers.items():
            self._transport.send_first(peer, {"kind": "proposed", "items": items})
        return room

    def decline(self) -> None:
        """No longer the one to append them; they have not entered any log."""
        while self._foreign:
            peer, number, _ = self._foreign.popleft()
            items = [[number, 0, 0, "not_leader"]]
            self._transport.send_first(peer, {"kind": "proposed", "items": items})

    def forget(self) -> None:
        """They are not answered: the disk failed, and nothing may be said (S11)."""
        self._foreign.clear()

    # -- as follower ---------------------------------------------------------------------------

    def take_answers(self, message: Mapping[str, Any]) -> None:
        """A leader's answers: [number, index, term, why], index 0 when it was not appended."""
        for number, index, term, why in [_checked_answer(item) for item in _items(message)]:
            if index:
                self._proposals.replied(number, index, term, self._engine.raftLastApplied)
            else:
                self.hold_until = self._monotonic() + self._engine.timings.heartbeat
                self._proposals.declined(number, why)

    def forward(self, now: float) -> None:
        """Queued drafts to the leader, in few messages."""
        leader = self._engine.leader()
        if leader is None or leader == self._engine.node_id or now < self.hold_until:
            return
        while self._proposals.queue and self._network.connected(leader):
            batch = self._next_batch()
            items = [[pending.number, pending.draft] for pending in batch]
            if not self._network.send(leader, {"kind": "propose", "items": items}):
                self._proposals.queue.extendleft(reversed(batch))
                self.hold_until = now + self._engine.timings.heartbeat
                return
            for pending in batch:
                self._proposals.forwarded(pending)

    def _next_batch(self) -> list[Pending]:
        batch: list[Pending] = []
        size = 0
        while len(batch) < FORWARDS_PER_MESSAGE and size < FORWARD_BYTES:
            pending = self._proposals.take()
            if pending is None:
                break
            batch.append(pending)
            size += len(pending.draft)
        return batch


def _items(message: Mapping[str, Any]) -> list[Any] | tuple[Any, ...]:
    items = message.get("items")
    if not isinstance(items, list | tuple) or len(items) > FORWARDS_PER_MESSAGE:
        raise BadMessage("items is not a short list")
    return items


def _checked_draft(item: Any) -> tuple[int, bytes]:
    if not isinstance(item, list | tuple) or len(item) != 2:
        raise BadMessage("a forwarded draft is a pair")
    number, draft = item
    if type(number) is not int or not 0 < number <= MAX_INDEX:
        raise BadMessage("a forwarded draft is not numbered")
    if type(draft) is not bytes or len(draft) > MAX_DRAFT_BYTES:
        raise BadMessage("a forwarded draft is not a short string of bytes")
    return number, draft


def _checked_answer(item: Any) -> tuple[int, int, int, str]:
    if not isinstance(item, list | tuple) or len(item) != 4:
        raise BadMessage("an answer has four parts")
    number, index, term, why = item
    if any(type(n) is not int or not 0 <= n <= MAX_INDEX for n in (number, index, term)):
        raise BadMessage("an answer is not numbered")
    if why not in ("", "not_leader", "queue_full"):
        raise BadMessage("an answer gives an unknown reason")
    return number, index, term, why
