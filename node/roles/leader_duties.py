"""What only the Raft leader does: evaluates, plans, renews leases, moves time.

All of it goes through the log; a deposed leader's late proposals carry what they were made on
(count of evaluations, revision) and are refused by apply. Of each kind at most one is under way.
Source: roles.md, "What the leader does at each evaluation".
"""

from collections.abc import Callable

import structlog

from stationkeep.cluster.apply import Applied, Rejected
from stationkeep.cluster.clockwork import next_due
from stationkeep.cluster.commands import (
    AdoptPlan,
    AdvanceTime,
    AnyCommand,
    Entry,
    FoundCluster,
    RecordEvaluation,
    RenewLeases,
)
from stationkeep.cluster.roles.evaluate import evaluate_roles
from stationkeep.cluster.state.decisions import Reason
from stationkeep.cluster.state.events import SamplesRecorded
from stationkeep.node.config.node_config import NodeConfig
from stationkeep.node.health.gossip import Gossip
from stationkeep.node.ports import Clock, Committed, Consensus, ProposalResult
from stationkeep.node.replica import Replica

MAX_REPLANS = 3
"""Plans per evaluation when the state keeps moving on before they are adopted."""
PACE = 0.05
"""Seconds between two tries of one duty: a refusal must not become a busy loop."""

Propose = Callable[[AnyCommand, float, Callable[[ProposalResult], None]], None]

log = structlog.get_logger("node.leader")


class Leader:
    """The duties of office; does nothing on a node that does not lead.

    `propose(command, timeout in s, done)` hands a command to consensus.
    """

    def __init__(
        self,
        config: NodeConfig,
        *,
        clock: Clock,
        consensus: Consensus,
        replica: Replica,
        gossip: Gossip,
        propose: Propose,
    ) -> None:
        self._config = config
        self._clock, self._consensus = clock, consensus
        self._replica, self._gossip = replica, gossip
        self._propose = propose
        self._term: int | None = None  # of the office held; None: not in office
        self._in_office_since = float("-inf")
        self._under_way: dict[str, int] = {}  # kind → term
        self._not_before: dict[str, float] = {}  # kind → monotonic s
        self._planned = 0  # evaluations up to which plans are made
        self._replans = 0
        self._cut = float("-inf")  # reports up to this moment are in some evaluation already
        self._cutting: float | None = None  # the moment of the evaluation under way
        self._evaluated = 0  # log index of the newest evaluation
        self._next_due = next_due(replica.state)
        """Cluster ms at which something falls due; changes with what is applied, and then only."""
        replica.listen(self._on_applied)
        replica.on_restored(self._on_restored)

    def turn(self) -> None:
        """Proposes what is due."""
        if not self._consensus.is_leader:
            self._term = None
            return
        if self._term != self._consensus.term:
            self._take_office()
        if not self._replica.state.founded:
            self._found()
            return
        now = self._clock.monotonic()
        if now >= self._evaluation_due():
            self._evaluate(now)
        if self._replica.state.evaluations > self._planned:
            self._plan()
        if now >= self._not_before.get("renewal", now):
            self._renew(now)
        if now >= self._advance_due():
            self._submit("advance", AdvanceTime())

    def next_wakeup(self) -> float:
        """Monotonic moment of the next duty; infinite when not in office."""
        if self._term is None:
            return float("inf")
        moments = self._moments()
        free = [
            max(moment, self._not_before.get(kind, moment))
            for kind, moment in moments.items()
            if kind not in self._under_way
        ]
        return min(free, default=float("inf"))

    def _moments(self) -> dict[str, float]:
        """When each duty falls due, what holds it up left aside."""
        state = self._replica.state
        if not state.founded:
            return {"found": self._clock.monotonic()}
        moments = {
            "evaluation": self._evaluation_due(),
            "renewal": self._not_before.get("renewal", 0.0),
            "advance": self._advance_due(),
        }
        if state.evaluations > self._planned:
            moments["plan"] = self._clock.monotonic()
        return moments

    def _take_office(self) -> None:
        self._term = self._consensus.term
        self._in_office_since = self._clock.monotonic()
        self._under_way.clear()
        self._not_before.clear()
        self._cutting = None
        # What the predecessor evaluated may be old: plan on samples of this office only.
        self._planned = self._replica.state.evaluations
        log.info("leading", term=self._term)

    # -- duties ---------------------------------------------------------------------------------

    def _found(self) -> None:
        config = self._config
        self._submit("found", FoundCluster(config.cluster, config.members, config.settings))

    def _evaluation_due(self) -> float:
        """Not before this node has itself been listening for a whole evaluation interval to what
        no evaluation has counted yet."""
        state = self._replica.state
        interval = self._replica.settings.evaluation_interval
        heard_enough = max(self._gossip.listening_since, self._cut) + interval / 1_000
        if state.evaluated_at is None:
            return heard_enough
        return max(heard_enough, self._replica.moment_of(state.evaluated_at + interval))

    def _evaluate(self, now: float) -> None:
        if self._busy("evaluation"):
            return
        since = max(self._cut, self._gossip.listening_since)
        members = self._replica.state.members  # the configuration may name others
        interval = self._replica.settings.evaluation_interval / 1_000
        # Without a leader everybody was fenced and deaf; a new one gives them time to hear it.
        judged_from = self._in_office_since + interval
        heard = self._gossip.samples(since, self._evaluated, judged_from)
        samples = tuple(sample for sample in heard if sample.node in members)
        self._cutting = now
        self._not_before["renewal"] = now + self._replica.settings.lease_renewal / 1_000
        self._submit(
            "evaluation",
            RecordEvaluation(self._replica.state.evaluations, samples, self._gossip.echoes()),
        )

    def _plan(self) -> None:
        if self._busy("plan"):
            return
        state = self._replica.state
        self._planned = state.evaluations
        plan = evaluate_roles(state, state.time)
        if plan.differs_from(state):
            self._submit("plan", AdoptPlan(state.revision, plan.motions, plan.held))

    def _renew(self, now: float) -> None:
        if self._busy("renewal"):
            return
        self._not_before["renewal"] = now + self._replica.settings.lease_renewal / 1_000
        self._submit("renewal", RenewLeases(self._gossip.echoes()))

    def _advance_due(self) -> float:
        due = self._next_due
        return float("inf") if due is None else self._replica.moment_of(due)

    # -- proposing ------------------------------------------------------------------------------

    def _busy(self, kind: str) -> bool:
        if kind in self._under_way:
            return True
        return self._clock.monotonic() < self._not_before.get(kind, float("-inf"))

    def _submit(self, kind: str, command: AnyCommand) -> None:
        if kind in self._under_way or self._clock.monotonic() < self._pace(kind):
            return
        assert self._term is not None
        term = self._term
        self._under_way[kind] = term
        timeout = max(1.0, self._replica.settings.proposal_timeout / 1_000)
        self._propose(command, timeout, lambda result: self._on_done(kind, term, result))

    def _pace(self, kind: str) -> float:
        return float("-inf") if kind == "renewal" else self._not_before.get(kind, float("-inf"))

    def _on_done(self, kind: str, term: int, result: ProposalResult) -> None:
        if self._under_way.get(kind) == term:
            del self._under_way[kind]
            paced = self._clock.monotonic() + PACE
            self._not_before[kind] = max(paced, self._not_before.get(kind, paced))
        if kind == "evaluation":
            self._cutting = None
        refused = result.applied.outcome if isinstance(result, Committed) else None
        if isinstance(refused, Rejected):
            log.debug("refused", kind=kind, reason=refused.reason, detail=refused.detail)
            stale = refused.reason == Reason.STALE_REVISION
            if kind == "plan" and stale and self._replans < MAX_REPLANS:
                self._replans += 1
                self._planned -= 1

    def _on_applied(self, index: int, _entry: Entry | None, applied: Applied) -> None:
        self._next_due = next_due(self._replica.state)
        if any(isinstance(event, SamplesRecorded) for event in applied.events):
            self._cut = self._clock.monotonic() if self._cutting is None else self._cutting
            self._cutting = None
            self._evaluated = index
            self._replans = 0

    def _on_restored(self) -> None:
        """A snapshot skips evaluations: which reports they counted is unknown, so none of those
        heard until now may count again."""
        self._next_due = next_due(self._replica.state)
        self._cut = self._clock.monotonic()
