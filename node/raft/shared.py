"""What several members send and one node works off, so that none of them takes all the room."""

from collections import Counter, deque
from typing import Generic, TypeVar

T = TypeVar("T")

SHARE = 3, 4
"""Of the room, what one sender may have."""


class Shared(Generic[T]):
    """A queue of at most `most` items, in the order in which they came."""

    __slots__ = ("_items", "_most", "_of")

    def __init__(self, most: int) -> None:
        self._most = most
        self._items: deque[tuple[str, T]] = deque()
        self._of: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, sender: str, item: T) -> bool:
        """Whether there was room for one more of this sender."""
        share = max(1, self._most * SHARE[0] // SHARE[1])
        if len(self._items) >= self._most or self._of[sender] >= share:
            return False
        self._items.append((sender, item))
        self._of[sender] += 1
        return True

    def take(self) -> tuple[str, T]:
        """The oldest, and of whom it is."""
        sender, item = self._items.popleft()
        self._of[sender] -= 1
        if not self._of[sender]:
            del self._of[sender]
        return sender, item

    def clear(self) -> None:
        self._items.clear()
        self._of.clear()
