"""What the leader does for the fleet: notices who is silent, and moves devices between rings.

Both go through the log and are checked again there: who was heard of meanwhile is not offline,
a device that changed since a plan was made is not moved by it. So a deposed leader's late words
do nothing wrong, and a part proposed twice does nothing twice.

A plan for a million devices takes a while. It is made on a frozen copy of the columns, where
`submit` has it made (a thread; the simulator's agenda), and thrown away unless this node still
leads the very term in which it was begun.
Source: rings.md, "Rebalancing" and "Devices".
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import structlog

from stationkeep.cluster.apply import Rejected
from stationkeep.cluster.commands import MAX_BATCH, AnyCommand, MarkOffline, RecordRebalance
from stationkeep.cluster.fleet.rebalance import RebalancePlan, plan_rebalance
from stationkeep.node.ports import Clock, Committed, Consensus, ProposalResult
from stationkeep.node.replica import Replica

TIMEOUT = 5.0
PACE = 0.05
"""Seconds between two tries of one duty: a refusal must not become a busy loop."""
LOOK = 0.25
"""Seconds between two looks for silent devices at the least; a look is a pass over a column."""
POLL = 0.02
"""Seconds between two looks whether a plan is made."""
OBSERVATIONS = 1_024

Propose = Callable[[AnyCommand, float, Callable[[ProposalResult], None]], None]
Submit = Callable[[Callable[[], None]], Any]

log = structlog.get_logger("node.fleet")


class _Job(msgspec.Struct, eq=False):
    """A plan being made elsewhere. `error`: a bug in it, which is raised on the loop."""

    after: int
    plan: RebalancePlan | None = None
    error: BaseException | None = None
    seconds: float = 0.0


class Rebalancer:
    """Does nothing on a node that does not lead. `submit(work)` runs work elsewhere, once."""

    def __init__(
        self,
        *,
        clock: Clock,
        consensus: Consensus,
        replica: Replica,
        propose: Propose,
        submit: Submit | None = None,
    ) -> None:
        self._clock, self._consensus, self._replica = clock, consensus, replica
        self._propose = propose
        self._submit: Submit = submit or (lambda work: work())
        self._term: int | None = None  # of the office held; None: not in office
        self._job: _Job | None = None
        self._parts: deque[RecordRebalance] = deque()
        self._under_way: set[type] = set()
        self._not_before: dict[type, float] = {}
        self._seconds: deque[float] = deque(maxlen=OBSERVATIONS)

    def turn(self) -> None:
        """Proposes what is due."""
        if not self._consensus.is_leader:
            self._leave_office()
            return
        if self._term != self._consensus.term:
            self._leave_office()
            self._term = self._consensus.term
        if not len(self._replica.state.fleet):
            return
        self._mark_silent()
        self._rebalance()

    def next_wakeup(self) -> float:
        """Monotonic moment of the next duty; infinite when not in office."""
        if self._term is None or not len(self._replica.state.fleet):
            return float("inf")
        if self._job is not None:
            check = self._clock.monotonic() + POLL
        else:
            check = self._free_at(RecordRebalance, self._check_due())
        return min(check, self._free_at(MarkOffline, 0.0))

    def drain_seconds(self) -> list[float]:
        """How long each plan took that was made here since the last call, s."""
        seconds = list(self._seconds)
        self._seconds.clear()
        return seconds

    def _leave_office(self) -> None:
        """Whatever is still being planned or answered belongs to an office that is over."""
        self._term, self._job = None, None
        self._parts.clear()
        self._under_way.clear()
        self._not_before.clear()

    # -- silence --------------------------------------------------------------------------------

    def _mark_silent(self) -> None:
        """Devices of which nobody heard for device_offline_after, also because the node that
        they talked to is gone. Time without a leader does not count: cluster time stood still."""
        now = self._clock.monotonic()
        if now < self._free_at(MarkOffline, 0.0):
            return
        fleet, after = self._replica.state.fleet, self._replica.settings.device_offline_after
        online = np.flatnonzero(fleet.table.online)
        seen = fleet.table.seen_at[online]
        silent = online[seen <= self._replica.cluster_time() - after][:MAX_BATCH]
        if len(silent):
            births = fleet.table.birth[silent]
            command = MarkOffline(silent.astype("<u4").tobytes(), births.astype("<u4").tobytes())
            self._hand_in(command, lambda _: None)
            return
        next_ = self._replica.moment_of(int(seen.min()) + after) if len(seen) else now
        self._not_before[MarkOffline] = max(now + LOOK, next_)

    # -- rings ----------------------------------------------------------------------------------

    def _check_due(self) -> float:
        """When the next check is: at once when an operator asked, never during a pause."""
        state = self._replica.state
        if self._parts:
            return self._clock.monotonic()
        if state.pause is not None:
            return float("inf")
        if state.fleet.requested or state.fleet.checked_at is None:
            return self._clock.monotonic()
        return self._replica.moment_of(
            state.fleet.checked_at + self._replica.settings.rebalance_interval
        )

    def _rebalance(self) -> None:
        if self._job is not None:
            self._collect(self._job)
        due = self._free_at(RecordRebalance, self._check_due())
        if self._clock.monotonic() < due:  # asked after `due`, which may be this very moment
            return
        if self._parts:
            self._hand_in(self._parts[0], self._on_part)
        elif self._job is None:
            self._begin()

    def _begin(self) -> None:
        """Freezes the columns and has a plan made of them."""
        state = self._replica.state
        view, settings = state.fleet.view(), self._replica.settings
        now = self._replica.cluster_time()
        # A seed that everybody could compute: what is drawn must only not follow the devices,
        # and a simulated run has to replay exactly.
        draw = np.random.default_rng((self._consensus.term, state.fleet.checks, state.index))
        job = self._job = _Job(state.fleet.checks)

        def work() -> None:
            started = time.perf_counter()
            try:
                job.plan = plan_rebalance(view, settings, now, draw)
            except BaseException as error:
                job.error = error
            job.seconds = time.perf_counter() - started

        self._submit(work)
        self._collect(job)

    def _collect(self, job: _Job) -> None:
        """Takes a plan that is made into parts."""
        if job.error is not None:
            raise job.error
        if job.plan is None:
            return
        self._job = None
        self._seconds.append(job.seconds)
        self._parts.extend(_parts(job.plan, job.after))

    def _on_part(self, result: ProposalResult) -> None:
        """The next part, or the same one again when nobody knows what became of it."""
        if not isinstance(result, Committed):
            return
        if isinstance(result.applied.outcome, Rejected):
            self._parts.clear()  # another check came first, or a pause, or the brake
        else:
            self._parts.popleft()

    # -- proposing ------------------------------------------------------------------------------

    def _free_at(self, kind: type, due: float) -> float:
        """When a duty may be taken up that falls due at `due`; infinite while it is under way."""
        if kind in self._under_way:
            return float("inf")
        return max(due, self._not_before.get(kind, due))

    def _hand_in(self, command: AnyCommand, then: Callable[[ProposalResult], None]) -> None:
        kind, term = type(command), self._term
        self._under_way.add(kind)

        def done(result: ProposalResult) -> None:
            if self._term != term:
                return
            self._under_way.discard(kind)
            self._not_before[kind] = self._clock.monotonic() + PACE
            if isinstance(result, Committed) and isinstance(result.applied.outcome, Rejected):
                refused = result.applied.outcome
                log.debug("refused", kind=kind.__name__, reason=refused.reason)
            then(result)

        self._propose(command, TIMEOUT, done)


def _parts(plan: RebalancePlan, after: int) -> list[RecordRebalance]:
    """A plan as commands; one even when nobody moves, since the check itself is recorded."""
    starts = range(0, max(1, len(plan.rows)), MAX_BATCH)
    return [
        RecordRebalance(
            after=after,
            more=start != starts[-1],
            rows=plan.rows[start : start + MAX_BATCH].astype("<u4").tobytes(),
            revisions=plan.revisions[start : start + MAX_BATCH].astype("<u4").tobytes(),
            rings=plan.rings[start : start + MAX_BATCH].astype(np.uint8).tobytes(),
            reasons=plan.reasons[start : start + MAX_BATCH].astype(np.uint8).tobytes(),
        )
        for start in starts
    ]
