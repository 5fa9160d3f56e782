"""What a leader knows of each follower, and which replies it may believe.

PySyncObj's replies carry no term and no request number, so late ones move matchIndex and
nextIndex wrongly (HAZARDS S4). Ours do. A success proves a prefix of the log for the whole term,
whenever it arrives, so it only ever raises `match`. A reset speaks of the moment its request
was sent: one that was sent before the last reset was obeyed is out of date.
Raft paper, section 5.3; figure 2, "rules for leaders".
"""

from collections import deque

import msgspec


class Progress(msgspec.Struct):
    """One follower in one term of leadership."""

    match: int = 0
    next: int = 0
    commit_sent: int = 0
    barrier: int = 0
    """Resets of requests up to this number are out of date."""
    flying: deque[tuple[int, int, float]] = msgspec.field(default_factory=deque)
    """Requests not answered yet: number, bytes, moment of sending."""
    flying_bytes: int = 0
    notice: bool = False
    """A new commit index waits for the next turn, in which entries may carry it."""
    birth: int | None = None
    """Of the journal that answers (`Journal.birth`)."""
    former: set[int] = msgspec.field(default_factory=set)
    """Births of journals that it lost in this term."""
    chunk_at: float = 0.0
    """When a snapshot chunk was last sent or confirmed."""

    def speaks(self, birth: int, seq: int) -> bool:
        """Whether a reply is of the follower's present journal. A new birth means that it lost
        its disk: nothing is known to match any more, and its old journal is heard no longer."""
        if birth in self.former:
            return False
        if birth != self.birth and self.birth is not None:
            self.former.add(self.birth)
            self.match = 0
            self.forget_flying(seq - 1)
        self.birth = birth
        return True

    def sent(self, seq: int, size: int, now: float) -> None:
        """A request with `size` bytes of entries is on its way."""
        self.flying.append((seq, size, now))
        self.flying_bytes += size

    def answered(self, seq: int) -> float | None:
        """Requests up to `seq` are answered (connections keep order). Returns when the newest of
        them was sent: that late the follower followed. None: all were answered before."""
        moment = None
        while self.flying and self.flying[0][0] <= seq:
            _, size, moment = self.flying.popleft()
            self.flying_bytes -= size
        return moment

    def succeeded(self, upto: int) -> None:
        """The follower's log equals ours up to `upto`. Nothing moves backwards."""
        self.match = max(self.match, upto)
        self.next = max(self.next, self.match + 1)

    def reset(self, seq: int, wanted: int, newest: int) -> bool:
        """The follower wants entries from `wanted`; False when that is out of date.

        `newest`: the highest request number given out so far.
        """
        if seq <= self.barrier:
            return False
        self.next = max(self.match + 1, wanted)
        self.forget_flying(newest)
        return True

    def forget_flying(self, newest: int) -> None:
        """What is on its way no longer counts; its resets are out of date."""
        self.barrier = newest
        self.flying.clear()
        self.flying_bytes = 0
