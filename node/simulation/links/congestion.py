"""How many packets a sender may have under way, as far as it matters to small messages.

That is: hardly ever, but while losses are repaired. Then only the repair itself is under way, and
when that is lost as well nothing tells so but the timeout, after which there is one packet only.
"""

from enum import StrEnum

FIRST = 10
FOREVER = float("inf")
THIN, THIN_TIMEOUTS = 4, 6
"""Fewer packets under way make a stream thin (TCP_THIN_LINEAR_TIMEOUTS, tcp(7)); so many of its
timeouts in a row do not double."""


class Congestion(StrEnum):
    """What Linux calls them (`net.ipv4.tcp_congestion_control`)."""

    BBR = "bbr"
    CUBIC = "cubic"


class Window:
    """As BBR keeps it: at least four packets once anything is acknowledged. It never ends the
    initial slow start in the kernel's sense, so that no stream counts as thin."""

    LEAST = 4

    def __init__(self) -> None:
        self.size = FIRST
        self._before = FIRST
        """What it was before the present losses."""
        self._repairs_since = FOREVER
        """While what was sent before that is all that is under way, it is not enlarged."""

    def loss_seen(self, under_way: int, delivered: int, now: float) -> None:
        """By acknowledgements of later packets; it is repaired from now on."""
        self._before = self.size
        self._repairs_since = now
        self.size = under_way + delivered

    def timed_out(self, repairing: bool) -> None:
        """`repairing`: that what was lost before is not repaired yet."""
        self._before = max(self.size, self._before) if repairing else self.size
        self.size = 1

    def repaired(self) -> None:
        self._repairs_since = FOREVER
        self.size = max(self.size, self._before)

    def delivered(self, packets: int, losses: int, under_way: int, newest: float) -> None:
        """So many arrived, the newest of them sent then; so many more are known to be lost."""
        self.size = max(self.size - losses, 1)
        if newest >= self._repairs_since:
            self._repairs_since = FOREVER
        if self._repairs_since < FOREVER:
            self.size = max(self.size, under_way + packets)
        else:
            self.size = max(self.size, self.LEAST)

    def is_thin(self, flight: int) -> bool:
        """Whether timeouts may be linear with so many packets unacknowledged."""
        return False


class CubicWindow(Window):
    """As CUBIC keeps it under loss: seven tenths of what it was, one packet after a timeout, and
    one more for each that arrives."""

    LEAST = 1

    def __init__(self) -> None:
        super().__init__()
        self._threshold = FOREVER

    def loss_seen(self, under_way: int, delivered: int, now: float) -> None:
        self._shrink()
        super().loss_seen(under_way, delivered, now)

    def timed_out(self, repairing: bool) -> None:
        if not repairing:
            self._shrink()
        self._repairs_since = FOREVER
        self.size = 1

    def _shrink(self) -> None:
        self._threshold = max(int(0.7 * self.size), 2)

    def repaired(self) -> None:
        if self._repairs_since < FOREVER:
            self.size = int(self._threshold)
        self._repairs_since = FOREVER

    def delivered(self, packets: int, losses: int, under_way: int, newest: float) -> None:
        if self._repairs_since < FOREVER:
            self.size = under_way + packets
        elif self.size < self._threshold:
            self.size = min(self.size + packets, max(self.size, 2 * (under_way + packets)))

    def is_thin(self, flight: int) -> bool:
        return flight < THIN and self._threshold < FOREVER


def window(congestion: Congestion) -> Window:
    """A new connection's."""
    return CubicWindow() if congestion is Congestion.CUBIC else Window()
