"""What only the Raft leader does: evaluates, plans, renews leases, moves time, raises the level.

All of it goes through the log; a deposed leader's late proposals carry what they were made on
(count of evaluations, revision) and are refused by apply.
Source: roles.md, "What the leader does at each evaluation".
"""

import structlog

from stationkeep.cluster import upgrades
from stationkeep.cluster.apply import Applied, Rejected
from stationkeep.cluster.commands import (
    AdoptPlan,
    AdvanceTime,
    Entry,
    FoundCluster,
    RaiseLevel,
    RecordEvaluation,
    RenewLeases,
)
from stationkeep.cluster.deadlines import next_due
from stationkeep.cluster.roles.evaluate import evaluate_roles
from stationkeep.cluster.state.decisions import Reason
from stationkeep.cluster.state.events import SamplesRecorded
from stationkeep.node.config.node_config import NodeConfig
from stationkeep.node.duty import AT_ONCE, NEVER, Duty, Office, Workbench
from stationkeep.node.health.gossip import Gossip
from stationkeep.node.ports import Committed, ProposalResult
from stationkeep.node.version import VERSION

MAX_REPLANS = 3
"""Plans per evaluation when the state keeps moving on before they are adopted."""

log = structlog.get_logger("node.leader")


class Leader(Office):
    """The leader's duties about roles, in this order: an evaluation renews leases as well."""

    def __init__(self, bench: Workbench, config: NodeConfig, gossip: Gossip) -> None:
        super().__init__(
            bench,
            Duty(bench, self._founding_due, self._found),
            Duty(bench, self._evaluation_due, self._evaluate, self._on_evaluated),
            Duty(bench, self._plan_due, self._plan, self._on_planned),
            Duty(bench, self._renewal_due, self._renew),
            Duty(bench, self._advance_due, AdvanceTime),
            Duty(bench, self._raise_due, self._raise),
        )
        self._config, self._gossip = config, gossip
        self._clock, self._replica = bench.host.clock, bench.replica
        self._in_office_since = float("-inf")
        self._renew_at = AT_ONCE
        self._planned = 0  # evaluations up to which plans are made
        self._replans = 0
        self._cut = float("-inf")  # reports up to this moment are in some evaluation already
        self._cutting: float | None = None  # the moment of the evaluation under way
        self._evaluated = 0  # log index of the newest evaluation
        self._next_due = next_due(bench.replica.state)
        """Cluster ms at which something falls due; changes with what is applied, and then only."""
        self._raise_at: int | None = None
        """Cluster ms at which to raise the level; known anew after every evaluation."""
        self._draw = bench.host.draw
        bench.replica.listen(self._on_applied)
        bench.replica.on_restored(self._on_restored)

    def _begin(self) -> None:
        self._in_office_since = self._clock.monotonic()
        self._renew_at = AT_ONCE
        # What the predecessor evaluated may be old: plan on samples of this office only.
        self._planned = self._replica.state.evaluations
        self._raise_at = None
        log.info("leading", term=self._term)

    def _end(self) -> None:
        self._cutting = None

    # -- founding -------------------------------------------------------------------------------

    def _founding_due(self) -> float:
        return NEVER if self._replica.state.founded else AT_ONCE

    def _found(self) -> FoundCluster:
        config = self._config
        uid = config.uid or "".join(f"{int(self._draw() * 2**16):04x}" for _ in range(4))
        return FoundCluster(
            config.cluster, config.members, config.settings, self._replica.highest, VERSION, uid
        )

    # -- evaluations ----------------------------------------------------------------------------

    def _evaluation_due(self) -> float:
        """Not before this node has itself been listening for a whole evaluation interval to what
        no evaluation has counted yet."""
        state = self._replica.state
        if not state.founded:
            return NEVER
        interval = self._replica.settings.evaluation_interval
        heard_enough = max(self._gossip.listening_since, self._cut) + interval / 1_000
        if state.evaluated_at is None:
            return heard_enough
        return max(heard_enough, self._replica.moment_of(state.evaluated_at + interval))

    def _evaluate(self) -> RecordEvaluation:
        since = max(self._cut, self._gossip.listening_since)
        members = self._replica.state.members  # the configuration may name others
        interval = self._replica.settings.evaluation_interval / 1_000
        # Without a leader everybody was fenced and deaf; a new one gives them time to hear it.
        judged_from = self._in_office_since + interval
        heard = self._gossip.samples(since, self._evaluated, judged_from)
        samples = tuple(sample for sample in heard if sample.node in members)
        self._cutting = self._clock.monotonic()
        self._put_off_renewal()
        return RecordEvaluation(self._replica.state.evaluations, samples, self._gossip.echoes())

    def _on_evaluated(self, _: ProposalResult) -> None:
        self._cutting = None

    # -- plans ----------------------------------------------------------------------------------

    def _plan_due(self) -> float:
        return AT_ONCE if self._replica.state.evaluations > self._planned else NEVER

    def _plan(self) -> AdoptPlan | None:
        state = self._replica.state
        self._planned = state.evaluations
        plan = evaluate_roles(state, state.time)
        if not plan.differs_from(state):
            return None
        return AdoptPlan(state.revision, plan.motions, plan.held)

    def _on_planned(self, result: ProposalResult) -> None:
        """The state moved on before the plan was adopted: it is made again."""
        match result:
            case Committed(applied=Applied(outcome=Rejected(reason=Reason.STALE_REVISION))):
                if self._replans < MAX_REPLANS:
                    self._replans += 1
                    self._planned -= 1

    # -- leases and time ------------------------------------------------------------------------

    def _renewal_due(self) -> float:
        return self._renew_at if self._replica.state.founded else NEVER

    def _renew(self) -> RenewLeases:
        self._put_off_renewal()
        return RenewLeases(self._gossip.echoes())

    def _put_off_renewal(self) -> None:
        self._renew_at = self._clock.monotonic() + self._replica.settings.lease_renewal / 1_000

    def _advance_due(self) -> float:
        due = self._next_due
        return NEVER if due is None else self._replica.moment_of(due)

    # -- the level ------------------------------------------------------------------------------

    def _raise_due(self) -> float:
        return NEVER if self._raise_at is None else self._replica.moment_of(self._raise_at)

    def _raise(self) -> RaiseLevel:
        self._raise_at = None  # until the next evaluation
        return RaiseLevel(upgrades.reachable(self._replica.state), VERSION)

    # -- what came of the log -------------------------------------------------------------------

    def _on_applied(self, index: int, _entry: Entry | None, applied: Applied) -> None:
        self._next_due = next_due(self._replica.state)
        if any(isinstance(event, SamplesRecorded) for event in applied.events):
            self._cut = self._clock.monotonic() if self._cutting is None else self._cutting
            self._cutting = None
            self._evaluated = index
            self._replans = 0
            self._raise_at = upgrades.due_at(self._replica.state)

    def _on_restored(self) -> None:
        """A snapshot skips evaluations: which reports they counted is unknown, so none of those
        heard until now may count again."""
        self._next_due = next_due(self._replica.state)
        self._raise_at = None
        self._cut = self._clock.monotonic()
