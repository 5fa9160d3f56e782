"""What several members send and one node works off, so that none of them takes all the room."""

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")

SHARE = 3, 4
"""Of the room, what one sender may have."""


class Shared(Generic[T]):
    """A queue of at most `most` items, in the order in which they came."""

    __slots__ = ("_items", "_most", "_of", "_share")

    def __init__(self, most: int) -> None:
        self._most, self._share = most, max(1, most * SHARE[0] // SHARE[1])
        self._items: deque[tuple[str, T]] = deque()
        self._of: dict[str, int] = {}
        """How many are of each sender."""

    def __len__(self) -> int:
        return len(self._items)

    def put(self, sender: str, item: T) -> bool:
        """Whether there was room for one more of this sender."""
        own = self._of.get(sender, 0)
        if own >= self._share or len(self._items) >= self._most:
            return False
        self._items.append((sender, item))
        self._of[sender] = own + 1
        return True

    def take(self) -> tuple[str, T]:
        """The oldest, and of whom it is."""
        oldest = sender, _ = self._items.popleft()
        left = self._of[sender] - 1
        if left:
            self._of[sender] = left
        else:
            del self._of[sender]
        return oldest

    def clear(self) -> None:
        self._items.clear()
        self._of.clear()
