"""What the leader does for the fleet: notices who is silent, and moves devices between rings.

Both go through the log and are checked again there: who was heard of meanwhile is not offline,
a device that changed since a plan was made is not moved by it. So a deposed leader's late words
do nothing wrong, and a part proposed twice does nothing twice.

A plan for a million devices takes a while. It is made on a frozen copy of the columns, where the
host has it made (a thread; the simulator's agenda), and thrown away unless this node still leads
the very term in which it was begun.
Source: rings.md, "Rebalancing" and "Devices".
"""

import time
from collections import deque

import msgspec
import numpy as np

from stationkeep.cluster.apply import Rejected
from stationkeep.cluster.commands import MAX_BATCH, MarkOffline, RecordRebalance
from stationkeep.cluster.fleet.rebalance import RebalancePlan, plan_rebalance
from stationkeep.node.duty import AT_ONCE, NEVER, Duty, Office, Workbench
from stationkeep.node.ports import Committed, ProposalResult

LOOK = 0.25
"""Seconds between two looks for silent devices at the least; a look is a pass over a column."""
POLL = 0.02
"""Seconds between two looks whether a plan is made."""
OBSERVATIONS = 1_024


class _Job(msgspec.Struct, eq=False):
    """A plan being made on another thread. `error`: a bug in it, which is raised on the loop."""

    after: int
    plan: RebalancePlan | None = None
    error: BaseException | None = None
    seconds: float = 0.0

    @property
    def is_over(self) -> bool:
        return self.plan is not None or self.error is not None


class Rebalancer(Office):
    """Who is silent, and who moves: plans, and their parts on the way into the log."""

    def __init__(self, bench: Workbench) -> None:
        super().__init__(
            bench,
            Duty(bench, lambda: self._look_at, self._mark_silent),
            Duty(bench, self._collection_due, self._collect),
            Duty(bench, self._check_due, self._check, self._on_part),
        )
        self._clock, self._submit = bench.host.clock, bench.host.submit
        self._consensus, self._replica = bench.consensus, bench.replica
        self._look_at = AT_ONCE
        self._job: _Job | None = None
        self._parts: deque[RecordRebalance] = deque()
        self._seconds: deque[float] = deque(maxlen=OBSERVATIONS)

    def drain_seconds(self) -> list[float]:
        """How long each plan took that was made here since the last call, s."""
        seconds = list(self._seconds)
        self._seconds.clear()
        return seconds

    def _is_needed(self) -> bool:
        return len(self._replica.state.fleet) > 0

    def _end(self) -> None:
        self._look_at, self._job = AT_ONCE, None
        self._parts.clear()

    # -- silence --------------------------------------------------------------------------------

    def _mark_silent(self) -> MarkOffline | None:
        """Devices of which nobody heard for device_offline_after, also because the node that
        they talked to is gone. Time without a leader does not count: cluster time stood still."""
        table, after = self._replica.state.fleet.table, self._replica.settings.device_offline_after
        online = np.flatnonzero(table.online)
        seen = table.seen_at[online]
        silent = online[seen <= self._replica.cluster_time() - after][:MAX_BATCH]
        if len(silent):
            births = table.birth[silent]
            return MarkOffline(silent.astype("<u4").tobytes(), births.astype("<u4").tobytes())
        now = self._clock.monotonic()
        next_ = self._replica.moment_of(int(seen.min()) + after) if len(seen) else now
        self._look_at = max(now + LOOK, next_)
        return None

    # -- rings ----------------------------------------------------------------------------------

    def _check_due(self) -> float:
        """When the next check is: at once when an operator asked, never during a pause."""
        state = self._replica.state
        if self._job is not None:
            return NEVER
        if self._parts:
            return AT_ONCE
        if state.pause is not None:
            return NEVER
        if state.fleet.requested or state.fleet.checked_at is None:
            return AT_ONCE
        return self._replica.moment_of(
            state.fleet.checked_at + self._replica.settings.rebalance_interval
        )

    def _check(self) -> RecordRebalance | None:
        """The next part of a plan; where there is none, a plan is begun."""
        if self._parts:
            return self._parts[0]
        self._begin_plan()
        return None

    def _begin_plan(self) -> None:
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
                plan = plan_rebalance(view, settings, now, draw)
            except BaseException as error:  # on a thread: raised in the loop's next turn
                job.error = error
                return
            job.seconds = time.perf_counter() - started
            job.plan = plan

        self._submit(work)

    def _collection_due(self) -> float:
        if self._job is None:
            return NEVER
        return AT_ONCE if self._job.is_over else self._clock.monotonic() + POLL

    def _collect(self) -> None:
        """Takes a plan that is made into parts."""
        job, self._job = self._job, None
        assert job is not None
        if job.error is not None:
            raise job.error
        assert job.plan is not None
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
