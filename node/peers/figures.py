"""Statistics of a peer's datagrams: how many arrived of how many, and the longest silence."""

from collections import deque

import msgspec

WINDOW_SECONDS = 60.0
SLICE_SECONDS = 5.0


class _Slice(msgspec.Struct):
    began: float
    sent: int = 0
    heard: int = 0
    silence: float = 0.0


class Reception:
    """Counts of one peer's datagrams, in time slices that together form the window."""

    def __init__(self, now: float) -> None:
        self._slices: deque[_Slice] = deque([_Slice(now)])
        self._began = self.heard_at = now
        self.received = self.lost = self.duplicates = 0
        self.refused = dict.fromkeys(("forged", "malformed", "replayed", "too_many"), 0)

    def note(self, ahead: int, now: float) -> None:
        """Counts a datagram that is `ahead` counters beyond the highest so far; 0 or less: late."""
        slice_ = self._slice(now)
        slice_.heard += 1
        slice_.sent += max(0, ahead)
        slice_.silence = max(slice_.silence, now - self.heard_at)
        self.heard_at = now
        self.received += 1
        self.lost = max(0, self.lost + ahead - 1)

    def read(self, now: float) -> tuple[float, int, int, float]:
        """Seconds covered, datagrams sent, datagrams received, longest silence in s."""
        self._slice(now)
        covered = min(now - self._began, WINDOW_SECONDS)
        silence = max(now - self.heard_at, *(s.silence for s in self._slices))
        sent, heard = sum(s.sent for s in self._slices), sum(s.heard for s in self._slices)
        return covered, max(sent, heard), heard, min(silence, WINDOW_SECONDS)

    def _slice(self, now: float) -> _Slice:
        """The current slice; drops those that have left the window."""
        if now - self._slices[-1].began >= SLICE_SECONDS:
            self._slices.append(_Slice(now))
        while now - self._slices[0].began > WINDOW_SECONDS and len(self._slices) > 1:
            self._slices.popleft()
        return self._slices[-1]
