"""Counters that were received and rejected for being too far ahead (`cluster.numbers`)."""


class Implausible:
    """Tallies rejected values. Its size is bounded, however many are received."""

    def __init__(self) -> None:
        self.counted: dict[str, int] = {}
        """Rejected values by the name of the counter, of which there are few."""
        self.newest = ""
        """A sentence about the newest one."""

    @property
    def total(self) -> int:
        return sum(self.counted.values())

    def note(self, who: str, number: str, value: int, limit: int) -> None:
        """Records that `who` sent a `value` above `limit`."""
        self.counted[number] = self.counted.get(number, 0) + 1
        self.newest = f"{who} sent {number} {value}, above the limit of {limit}"
