"""Reports on their way into the log: each command again, unchanged, until it is known to be there.

The log drops what is not newer by (session, sequence), so that proposing a command again after
its outcome got lost does nothing twice. That holds only for the very same content: were its
statuses merged with newer ones, the newer sequence would let the older ones be counted again.
What is heard meanwhile therefore waits until everything here is known to be in the log.
"""

from collections import deque
from collections.abc import Iterable

import numpy as np
import structlog

from stationkeep.cluster.apply import Rejected
from stationkeep.cluster.commands import ReportDevices
from stationkeep.node.duty import Workbench
from stationkeep.node.fleet.status_buffer import Rows
from stationkeep.node.ports import Committed, NotProposed, ProposalResult

IN_FLIGHT = 4
"""Commands proposed at a time: 0.9 MB, so that a flush of many does not hold up the log."""
SMALL_BYTES = 700
"""Of rows in a command that fits a datagram, with all that is around them on its way to the leader
and from there (`node.peers.sessions.MAX_BODY`)."""
SMALL_COMMANDS = 16
"""Such commands in one flush, of some 400 devices. More would be a burden where nothing is lost."""
TIMEOUT = 5.0
RETRY = 0.25
"""Seconds until a command whose outcome is unknown, or that found no leader, is proposed again."""

log = structlog.get_logger("node.fleet")


def portions(rows: Rows, sizes: Rows, most: int) -> list[Rows]:
    """The rows of a flush, divided into those of one command each: at most so many. `sizes`: bytes.

    The reports of some hundred devices are made to fit datagrams. A stream stands still for
    seconds where a fifth of all packets is lost, twice on the way; and the later a flush, the
    larger the next one, until the devices of a node count as offline.
    """
    small = np.cumsum(sizes) // SMALL_BYTES
    if len(rows) and small[-1] < SMALL_COMMANDS:
        return np.split(rows, np.flatnonzero(np.diff(small)) + 1)
    return [rows[start : start + most] for start in range(0, len(rows), most)]


class Outbox:
    """The commands of one flush."""

    def __init__(self, bench: Workbench) -> None:
        self._clock, self._propose = bench.host.clock, bench.propose
        self._waiting: deque[ReportDevices] = deque()
        self._in_flight = 0
        self._not_before = float("-inf")
        self.committed_at = float("-inf")
        """Monotonic s of the last time a command was known to be in the log."""

    @property
    def empty(self) -> bool:
        """Whether everything is known to be in the log."""
        return not self._waiting and not self._in_flight

    def put(self, commands: Iterable[ReportDevices]) -> None:
        """The next flush; only into an empty box."""
        assert self.empty
        self._waiting.extend(commands)

    def turn(self) -> None:
        """Proposes what may be proposed now."""
        while (
            self._waiting
            and self._in_flight < IN_FLIGHT
            and self._clock.monotonic() >= self._not_before
        ):
            self._send(self._waiting.popleft())

    def next_wakeup(self) -> float:
        """Monotonic moment of the next try; infinite when nothing waits for one."""
        if not self._waiting or self._in_flight >= IN_FLIGHT:
            return float("inf")
        return max(self._clock.monotonic(), self._not_before)

    def _send(self, command: ReportDevices) -> None:
        self._in_flight += 1
        self._propose(command, TIMEOUT, lambda result: self._on_done(command, result))

    def _on_done(self, command: ReportDevices, result: ProposalResult) -> None:
        self._in_flight -= 1
        now = self._clock.monotonic()
        assert result != NotProposed("too_large"), "a batch is made to fit"
        if not isinstance(result, Committed):
            self._waiting.appendleft(command)
            self._not_before = now + RETRY
            return
        self.committed_at = now
        if isinstance(result.applied.outcome, Rejected):
            refused = result.applied.outcome
            log.warning("reports_refused", reason=refused.reason, detail=refused.detail)
