"""What happened on links, in numbers."""

from collections import Counter

MAX_REASONS = 64


class Tally:
    """What happened on one link, or on all that share it."""

    __slots__ = ("connected", "errors", "failed", "heartbeats", "lost", "reconnects",
                 "registrations", "rings", "statuses")  # fmt: skip

    def __init__(self) -> None:
        self.connected = 0
        """Links that are registered now; everything else only rises."""
        self.statuses = 0
        self.heartbeats = 0
        self.registrations = 0
        self.reconnects = 0
        """Registrations after the first of a link."""
        self.rings = 0
        """Changes of ring heard, first ones included."""
        self.failed: Counter[str] = Counter()
        """Tries that led to no registration, by why."""
        self.lost: Counter[str] = Counter()
        """Ends of what was registered, by why."""
        self.errors: Counter[str] = Counter()
        """What nodes refused, by code."""

    def ended(self, why: str, count: int, *, registered: bool) -> None:
        """Counts ends of what was registered, or of tries. Nodes word some of the reasons: of so
        many that nobody could read them the rest are one."""
        ends = self.lost if registered else self.failed
        known = why in ends or len(ends) < MAX_REASONS
        ends[why if known else "other reasons"] += count
