"""What the leader does for tasks and rollouts: offers tasks to their devices, records what has run
out, and has rollouts take the steps that are due.

Level-triggered: what is to be done is read off the state, in parts of a few thousand tasks, and
each is checked again as it is applied. So a deposed leader's late words do nothing wrong, and
whatever was left out is found again by the next look.
Source: tasks.md, "Offering" and "Waits and retries"; rollouts.md, "Stages" and "Judging".
"""

import time
from collections import deque
from collections.abc import Callable, Sequence

from stationkeep.cluster.apply import Applied
from stationkeep.cluster.commands import CheckRollouts, Entry, ExpireTasks, OfferTasks
from stationkeep.cluster.delivery.expiries import plan_expiries
from stationkeep.cluster.delivery.offers import plan_offers
from stationkeep.cluster.progression import advance
from stationkeep.cluster.progression.advance import advance_rollouts, is_going
from stationkeep.cluster.state.events import (
    DeploymentChanged,
    FreezeChanged,
    RolloutChanged,
    TasksChanged,
)
from stationkeep.cluster.state.state import ClusterState
from stationkeep.node.duty import AT_ONCE, Duty, Office, Workbench
from stationkeep.node.fleet.windows import Windows
from stationkeep.node.health.self_checks import Watch
from stationkeep.node.ports import Committed, ProposalResult

LOOK = 0.25
"""Seconds between two looks while nothing happens; a look is a few passes over the rosters."""
OBSERVATIONS = 1_024
"""Durations that are kept until they are asked for."""
_OFFER_SOONER = (DeploymentChanged, TasksChanged, RolloutChanged, FreezeChanged)
"""What may let tasks be offered that were not before."""

Step = OfferTasks | ExpireTasks | advance.Command
Planner = Callable[[ClusterState, int], Sequence[Step]]


class _Steps:
    """One kind of step: planned, then proposed part by part, then planned anew."""

    def __init__(self, bench: Workbench, plan: Planner) -> None:
        self._clock, self._replica, self._plan = bench.host.clock, bench.replica, plan
        self._parts: deque[Step] = deque()
        self._look_at = AT_ONCE
        self.duty = Duty(bench, self._due, self._next, self._then)

    def look(self) -> None:
        """Something has happened: the next look is due at once."""
        self._look_at = AT_ONCE

    def forget(self) -> None:
        """What was planned concerns nobody any more."""
        self._parts.clear()
        self.look()

    def _due(self) -> float:
        return AT_ONCE if self._parts else self._look_at

    def _next(self) -> Step | None:
        if not self._parts:
            self._look_at = self._clock.monotonic() + LOOK
            self._parts.extend(self._plan(self._replica.state, self._replica.cluster_time()))
        return self._parts.popleft() if self._parts else None

    def _then(self, result: ProposalResult) -> None:
        if not isinstance(result, Committed):
            self.forget()


class Conductor(Office):
    """Expiries come first: they make room for offers, and end what rollouts wait for. Rollouts
    come before offers, of which they open and hold some."""

    def __init__(self, bench: Workbench, leaps: Watch) -> None:
        self._expiries = _Steps(bench, plan_expiries)
        self._rollouts = _Steps(bench, advance_rollouts)
        windows = Windows(bench, leaps)
        self._offers = _Steps(bench, lambda state, now: plan_offers(state, now, windows.may_begin))
        self._all = (self._expiries, self._rollouts, self._offers)
        super().__init__(bench, *(steps.duty for steps in self._all))
        self._replica = bench.replica
        self._began = 0.0
        """When the entry that is being applied was begun with."""
        self._seconds: deque[float] = deque(maxlen=OBSERVATIONS)
        bench.replica.on_applying(self._on_applying)
        bench.replica.listen(self._on_applied)

    def drain_seconds(self) -> list[float]:
        """How long each check of rollouts took that was applied here since the last call, s."""
        seconds = list(self._seconds)
        self._seconds.clear()
        return seconds

    def _is_needed(self) -> bool:
        state = self._replica.state
        return state.deployments.any_open or is_going(state)

    def _end(self) -> None:
        for steps in self._all:
            steps.forget()

    def _on_applying(self) -> None:
        self._began = time.perf_counter()

    def _on_applied(self, _index: int, entry: Entry | None, applied: Applied) -> None:
        if entry is not None and isinstance(entry.draft.command, CheckRollouts):
            self._seconds.append(time.perf_counter() - self._began)
        if any(isinstance(event, _OFFER_SOONER) for event in applied.events):
            self._offers.look()
        if any(isinstance(event, RolloutChanged) for event in applied.events):
            self._rollouts.look()
