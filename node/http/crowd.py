"""Who is connected, and who has to go when all places are taken.

There are so many places, and one address may have three quarters of them at the most. A connection
that waits for its next request, or for the rest of its head, holds a place and needs none: when a
place is wanted, the one that waits longest goes, of whoever has the most connections. So a client
that holds whatever it can get keeps nobody out; a probe above all, which comes, asks and is gone.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

SHARE = 3, 4
"""Of what all clients have, what one address may have."""

Member = TypeVar("Member", bound=Hashable)


def share(most: int) -> int:
    """How many of so many one address may have."""
    return max(1, most * SHARE[0] // SHARE[1])


class Crowd(Generic[Member]):
    """The connections of one server, by address."""

    def __init__(self) -> None:
        self._addresses: dict[Member, str] = {}
        self._count: dict[str, int] = {}
        self._waiting: dict[str, dict[Member, None]] = {}  # of each address, longest first

    def __len__(self) -> int:
        return len(self._addresses)

    def enter(self, member: Member, address: str) -> None:
        """One more, who waits."""
        self._addresses[member] = address
        self._count[address] = self._count.get(address, 0) + 1
        self.waits(member)

    def leave(self, member: Member) -> None:
        """One less; who has left may leave again."""
        address = self._addresses.pop(member, None)
        if address is None:
            return
        self._stop_waiting(member, address)
        self._count[address] -= 1
        if not self._count[address]:
            del self._count[address]

    def waits(self, member: Member) -> None:
        """From now on it needs nothing but its place; it stands where it stood if it did before."""
        address = self._addresses.get(member)
        if address is not None:
            self._waiting.setdefault(address, {}).setdefault(member)

    def works(self, member: Member) -> None:
        """From now on something is done for it."""
        address = self._addresses.get(member)
        if address is not None:
            self._stop_waiting(member, address)

    def is_over(self, member: Member, most: int) -> bool:
        """Whether there are more than `most`, or more than its share of the member's address."""
        return len(self) > most or self._count[self._addresses[member]] > share(most)

    def victim(self, newcomer: Member, most: int) -> Member | None:
        """Who has to go for the newcomer; None: nobody but itself."""
        address = self._addresses[newcomer]
        if self._count[address] <= share(most):
            having = (
                name for name, those in self._waiting.items() if len(those) > (newcomer in those)
            )
            address = max(having, key=lambda name: self._count[name], default=address)
        first = next(iter(self._waiting.get(address, ())), newcomer)
        return None if first == newcomer else first

    def _stop_waiting(self, member: Member, address: str) -> None:
        waiting = self._waiting.get(address)
        if waiting is not None and member in waiting:
            del waiting[member]
            if not waiting:
                del self._waiting[address]
