"""A cluster driven by hand: the log's part and the leader's part, without nodes or network.

Every command goes through the codec as on a real node, and after every entry every named
invariant is checked, so that no example can pass on a state that could not exist.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from stationkeep.cluster.apply import Applied, Done, Rejected, apply
from stationkeep.cluster.commands import (
    Acknowledge,
    AdoptPlan,
    AdvanceTime,
    AnnounceActions,
    CastVote,
    Command,
    Draft,
    Echo,
    FoundCluster,
    Measured,
    MemberSpec,
    RecordEvaluation,
    RenewLeases,
)
from stationkeep.cluster.invariants import violations
from stationkeep.cluster.levels import HIGHEST
from stationkeep.cluster.roles.actions import pending_for
from stationkeep.cluster.roles.evaluate import Plan, evaluate_roles
from stationkeep.cluster.settings import PPM, PROFILES, Settings
from stationkeep.cluster.state import codec
from stationkeep.cluster.state.decisions import Decision, Outcome
from stationkeep.cluster.state.events import Decided
from stationkeep.cluster.state.state import Action, ClusterState, Member, Proposal
from stationkeep.cluster.transitions import Role
from tests.founding import founding

ORBIT = PROFILES["orbit"]
HOOKS = ("beacon", "reboot")
"""What every node has a hook for."""
WALL = 1_700_000_000_000
HEALTHY = 0.1
Risk = float | None
"""A sample as tests write it: a risk between 0 and 1, or None where it was missed."""


def names(count: int) -> tuple[str, ...]:
    """`sat-001` and so on."""
    return tuple(f"sat-{number:03d}" for number in range(1, count + 1))


def found(members: Sequence[str], settings: Settings = ORBIT, level: int = HIGHEST) -> FoundCluster:
    """The command that gives birth to a cluster of these members."""
    specs = tuple(MemberSpec(m, f"{m}:7700", f"{m}:8700") for m in members)
    return founding("test", specs, settings, level)


class Driver:
    """One replica, its log, and somebody who plays leader, voters and nodes."""

    def __init__(
        self, nodes: int | Sequence[str] = 4, settings: Settings = ORBIT, level: int = HIGHEST
    ) -> None:
        self.state = ClusterState()
        self.log: list[bytes] = []
        self.clock = 0
        self.seq = 0
        self.events: list[Any] = []  # of the last command
        self.done(found(names(nodes) if isinstance(nodes, int) else nodes, settings, level))
        for node in self.ids:
            self.done(AnnounceActions(node, HOOKS))

    # The log

    def do(self, command: Command, key: str = "", actor: str = "", reason: str = "") -> Applied:
        """Commits one command at the current time."""
        draft = codec.encode_draft(Draft(command, key, actor, reason))  # type: ignore[arg-type]
        entry = codec.stamp(self.clock, WALL + self.clock, draft)
        self.log.append(entry)
        applied = apply(self.state, codec.decode_entry(entry), len(self.log))
        faults = list(violations(self.state))
        assert faults == [], faults
        self.events = list(applied.events)
        return applied

    def done(self, command: Command, **origin: str) -> dict[str, Any]:
        """Commits a command that must succeed; its result."""
        outcome = self.do(command, **origin).outcome
        assert isinstance(outcome, Done), outcome
        return outcome.result

    def refused(self, command: Command, **origin: str) -> tuple[str, str]:
        """Commits a command that must be refused; (reason, detail)."""
        before = codec.encode_snapshot(self.state)
        outcome = self.do(command, **origin).outcome
        assert isinstance(outcome, Rejected), outcome
        if not origin:
            same = codec.decode_snapshot(before)
            same.index, same.wall = self.state.index, self.state.wall
            assert codec.digest(same) == codec.digest(self.state), "a refusal changed something"
        return outcome.reason, outcome.detail

    def wait(self, milliseconds: int) -> None:
        """Lets cluster time pass."""
        self.clock += milliseconds
        self.done(AdvanceTime())

    # The leader

    def measured(self, risks: Sequence[Risk] | Mapping[str, Risk]) -> dict[str, Risk]:
        """Risks by node: all healthy unless told otherwise."""
        given = risks if isinstance(risks, Mapping) else dict(zip(self.ids, risks, strict=False))
        return {node: given.get(node, HEALTHY) for node in self.ids}

    def sample(self, *risks: Risk, of: Mapping[str, Risk] | None = None) -> Applied:
        """Commits one evaluation's samples; whoever is heard is echoed too."""
        measured = self.measured(of if of is not None else risks)
        heard = [node for node, risk in measured.items() if risk is not None]
        self.seq += 1
        return self.do(
            RecordEvaluation(
                self.state.evaluations,
                tuple(
                    Measured(n, 0, 0) if r is None else Measured(n, 6, round(r * PPM), f"cpu {r}")
                    for n, r in measured.items()
                ),
                tuple(Echo(node, 1, self.seq, self.clock) for node in heard),
            )
        )

    def plan(self) -> Plan:
        """What the leader wants now."""
        return evaluate_roles(self.state, self.clock)

    def adopt(self, plan: Plan) -> Applied:
        """Commits a plan made on the state as it is."""
        return self.do(AdoptPlan(self.state.revision, plan.motions, plan.held))

    def evaluate(self, *risks: Risk, of: Mapping[str, Risk] | None = None) -> Plan:
        """One evaluation interval later: samples, plan, plan adopted."""
        self.clock += self.state.settings.evaluation_interval
        self.sample(*risks, of=of)
        plan = self.plan()
        if plan.differs_from(self.state):
            assert isinstance(self.adopt(plan).outcome, Done)
        return plan

    def renew(self, *nodes: str, received_at: int | None = None) -> None:
        """Commits a lease renewal for these nodes, or for all."""
        self.seq += 1
        at = self.clock if received_at is None else received_at
        self.done(RenewLeases(tuple(Echo(n, 1, self.seq, at) for n in nodes or self.ids)))

    # Voters and nodes

    def vote(self, *voters: str, approve: bool = True, proposal: int | None = None) -> None:
        """Votes of these nodes on the only open proposal, or on the one given."""
        chosen = self.proposal().id if proposal is None else proposal
        for voter in voters:
            self.done(CastVote(chosen, voter, approve, "observations_agree"))

    def approve(self) -> None:
        """Who has not voted approves, for every open proposal, until it is settled."""
        for proposal in list(self.state.proposals.values()):
            for voter in proposal.electorate:
                if proposal.id in self.state.proposals and voter not in proposal.ballots:
                    self.vote(voter, proposal=proposal.id)

    def acknowledge(self, *except_for: str) -> None:
        """Every node enacts what it is told and says so, the named ones excepted."""
        for node in self.ids:
            if node not in except_for:
                for action in pending_for(self.state, node):
                    self.done(Acknowledge(action.id, node, True))

    def settle(self, *risks: Risk, of: Mapping[str, Risk] | None = None) -> Plan:
        """One evaluation, approved by all and enacted by all."""
        plan = self.evaluate(*risks, of=of)
        self.approve()
        self.acknowledge()
        return plan

    # Looking

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(self.state.members)

    def member(self, node: str) -> Member:
        return self.state.members[node]

    def role(self, node: str) -> Role:
        return self.member(node).role

    @property
    def roles(self) -> str:
        """The table at a glance: `PBSS` is PRIMARY, BACKUP, STANDBY, STANDBY; X is SAFE_MODE."""
        letters = {Role.PRIMARY: "P", Role.BACKUP: "B", Role.STANDBY: "S", Role.SAFE_MODE: "X"}
        return "".join(letters[m.role] for m in self.state.members.values())

    def proposal(self) -> Proposal:
        """The only open proposal."""
        (proposal,) = self.state.proposals.values()
        return proposal

    def action(self) -> Action:
        """The newest open action."""
        return list(self.state.actions.values())[-1]

    @property
    def decision(self) -> Decision:
        """The newest decision."""
        return self.state.decisions[-1]

    def decided(self, matter: str, outcome: Outcome | None = None) -> list[Decision]:
        """Every decision in a matter, oldest first."""
        decisions = [d for d in self.state.decisions if d.matter == matter]
        return [d for d in decisions if outcome is None or d.outcome is outcome]

    def new_decisions(self) -> list[Decision]:
        """Decisions of the last command."""
        return [event.decision for event in self.events if isinstance(event, Decided)]


class Replay:
    """A replica that follows the log of a driver, and is not restarted when the driver's is."""

    def __init__(self, driver: Driver) -> None:
        self._driver, self._applied = driver, len(driver.log)
        self._state = codec.decode_snapshot(codec.encode_snapshot(driver.state))

    def agrees(self) -> bool:
        """Whether both come to the same state."""
        log = self._driver.log
        for index in range(self._applied, len(log)):
            apply(self._state, codec.decode_entry(log[index]), index + 1)
        self._applied = len(log)
        return codec.digest(self._state) == codec.digest(self._driver.state)


@cache
def _settled(nodes: int, settings: Settings) -> tuple[bytes, int, int, tuple[bytes, ...]]:
    driver = Driver(nodes, settings)
    backups = min(settings.backup_count, nodes - 1)
    while driver.roles.count("B") < backups:
        driver.settle()
    for _ in range(settings.history_length):
        driver.settle()
    return codec.encode_snapshot(driver.state), driver.clock, driver.seq, tuple(driver.log)


def settled(nodes: int = 4, settings: Settings = ORBIT) -> Driver:
    """A healthy cluster in its usual roles (`PBSS`), everybody out of the cool-down."""
    driver = Driver(nodes, settings)
    snapshot, driver.clock, driver.seq, log = _settled(nodes, settings)
    driver.state, driver.log = codec.decode_snapshot(snapshot), list(log)
    assert driver.roles.startswith("PB"[:nodes])
    return driver
