"""When TCP sends again: the retransmission timeout as Linux computes it (RFC 6298, tcp_input.c).

The timeout follows the measured round trips, and doubles each time it expires. Under loss it also
grows because of lost acknowledgements: one that arrives late because earlier ones were lost looks
like a slow network.
"""

RTO_LEAST, RTO_MOST = 0.2, 120.0
"""Seconds: TCP_RTO_MIN, TCP_RTO_MAX."""


class RoundTrips:
    """Round trips of one connection, as its sender measures them. All times in seconds."""

    __slots__ = ("_deviation", "_highest", "_spread", "backoff", "smoothed", "timeout")

    def __init__(self, first: float) -> None:
        """`first`: the round trip of the handshake, the first one measured."""
        self.smoothed = first
        self._deviation = 2 * first
        """Four times the mean deviation."""
        self._spread = self._highest = max(self._deviation, RTO_LEAST)
        """The deviation that is added to the mean, and the highest within this round trip."""
        self.backoff = 0
        self.timeout = 0.0
        self.recompute()

    def measured(self, seconds: float, round_over: bool) -> None:
        """Adds a measured round trip; ends the back-off. `round_over`: everything that was in
        flight when the last round began is acknowledged."""
        error = seconds - self.smoothed
        self.smoothed += error / 8
        change = abs(error) - self._deviation / 4
        if error < 0 < change:
            change /= 8  # round trips that get shorter are no sign of a worse network
        self._deviation += change
        if self._deviation > self._highest:
            self._highest = self._deviation
            self._spread = max(self._spread, self._highest)
        if round_over:
            if self._highest < self._spread:
                self._spread -= (self._spread - self._highest) / 4
            self._highest = RTO_LEAST
        self.recompute()

    def recompute(self) -> None:
        """Sets the timeout without back-off."""
        self.backoff = 0
        self.timeout = min(self.smoothed + self._spread, RTO_MOST)

    def back_off(self) -> None:
        """The timeout expired: doubles it."""
        self.backoff += 1
        self.timeout = min(2 * self.timeout, RTO_MOST)
