"""How many packets a sender may have in flight, as far as that matters to small messages.

It hardly matters except while losses are repaired. Then only the repair itself is in flight; if
that is lost too, only the timeout shows it, and after it only one packet may be in flight.
"""

from enum import StrEnum

FIRST = 10
FOREVER = float("inf")
THIN, THIN_TIMEOUTS = 4, 6
"""With fewer packets in flight a stream is thin (TCP_THIN_LINEAR_TIMEOUTS, tcp(7)), and this many
of its timeouts in a row do not double."""


class Congestion(StrEnum):
    """Linux's names (`net.ipv4.tcp_congestion_control`)."""

    BBR = "bbr"
    CUBIC = "cubic"


class Window:
    """The window of BBR: at least four packets once anything is acknowledged. In the kernel's sense
    it never ends the initial slow start, so no stream counts as thin."""

    LEAST = 4

    def __init__(self) -> None:
        self.size = FIRST
        self._before = FIRST
        """Its size before the present losses."""
        self._repairs_since = FOREVER
        """The window is not enlarged until a packet that was sent after this arrives."""

    def loss_seen(self, under_way: int, delivered: int, now: float) -> None:
        """Acknowledgements of later packets show a loss; its repair begins."""
        self._before = self.size
        self._repairs_since = now
        self.size = under_way + delivered

    def timed_out(self, repairing: bool) -> None:
        """`repairing`: earlier losses are not repaired yet."""
        self._before = max(self.size, self._before) if repairing else self.size
        self.size = 1

    def repaired(self) -> None:
        self._repairs_since = FOREVER
        self.size = max(self.size, self._before)

    def delivered(self, packets: int, losses: int, under_way: int, newest: float) -> None:
        """`packets` arrived, of which the newest was sent at `newest`; `losses` more are known."""
        self.size = max(self.size - losses, 1)
        if newest >= self._repairs_since:
            self._repairs_since = FOREVER
        if self._repairs_since < FOREVER:
            self.size = max(self.size, under_way + packets)
        else:
            self.size = max(self.size, self.LEAST)

    def is_thin(self, flight: int) -> bool:
        """Whether timeouts may be linear with `flight` packets unacknowledged."""
        return False


class CubicWindow(Window):
    """The window of CUBIC under loss: seven tenths of its size, one packet after a timeout, and one
    more for each that arrives."""

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
    """The window of a new connection."""
    return CubicWindow() if congestion is Congestion.CUBIC else Window()
