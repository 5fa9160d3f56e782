"""What a node was told and did not believe: numbers too far ahead (`cluster.numbers`)."""


class Implausible:
    """Counts them by number, and remembers the newest in words. That is all that is kept, however
    often and by however many they are said."""

    def __init__(self) -> None:
        self.counted: dict[str, int] = {}
        """By the number's name, of which there are few."""
        self.newest = ""

    @property
    def total(self) -> int:
        return sum(self.counted.values())

    def note(self, who: str, number: str, value: int, limit: int) -> None:
        """`who` said a number above its limit."""
        self.counted[number] = self.counted.get(number, 0) + 1
        self.newest = f"{who} said {number} {value}, above the limit of {limit}"
