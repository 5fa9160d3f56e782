"""`cluster` against tests/model.py, the dumb version, over arbitrary series of samples."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stationkeep.cluster import commands as c
from stationkeep.cluster.commands import Measured
from stationkeep.cluster.invariants import violations
from stationkeep.cluster.roles.health import failure_mode, has_recovered, record_sample
from stationkeep.cluster.settings import PPM
from stationkeep.cluster.state import codec
from stationkeep.cluster.state.state import ClusterState, Member
from stationkeep.cluster.transitions import OPERATOR_RULES, Role, Rule
from tests import model
from tests.cluster.driver import ORBIT, Driver, Replay, settled

# Round enough that ppm and floats agree, with every threshold and its neighbours among them.
risks = st.none() | st.sampled_from([0.0, 0.1, 0.15, 0.19, 0.2, 0.24, 0.25, 0.3, 0.31, 0.5, 1.0])
LETTERS = {Role.PRIMARY: "P", Role.BACKUP: "B", Role.STANDBY: "S", Role.SAFE_MODE: "X"}


@settings(max_examples=120)
@given(st.lists(risks, max_size=25), st.sampled_from(["P", "B", "S"]))
def test_runs_failure_modes_recovery_and_blocked_flapping(
    series: list[model.Risk], letter: str
) -> None:
    role = next(role for role, known in LETTERS.items() if known == letter)
    member, blocked, now = Member("n", "", "", role), 0, 0
    for number, risk in enumerate(series):
        now = number * ORBIT.evaluation_interval
        measured = Measured("n", 0, 0) if risk is None else Measured("n", 2, round(risk * PPM))
        blocked += record_sample(member, measured, now, ORBIT)
        seen = series[: number + 1]
        assert member.run == model.run(seen)
        assert failure_mode(member, ORBIT) == model.failure_mode(seen)
        assert has_recovered(member, now, ORBIT) is model.recovered(seen)
    assert blocked == model.blocked_runs(series, 3 if letter == "P" else 2)


@settings(max_examples=120)
@given(st.data(), st.integers(2, 6))
def test_the_triggers_fire_exactly_when_the_model_says(data: st.DataObject, nodes: int) -> None:
    """Nobody ever votes, so the roles stay; every proposal has timed out before the next."""
    driver = settled(nodes)
    roles = driver.roles
    table: list[list[model.Risk]] = [[0.1] * nodes for _ in range(10)]
    for _ in range(data.draw(st.integers(1, 8))):
        row = data.draw(st.lists(risks, min_size=nodes, max_size=nodes))
        # Once unhealthy a node tends to stay so: else long runs are too rare to be drawn.
        again = data.draw(st.sets(st.integers(0, nodes - 1)))
        row = [table[-1][n] if n in again else risk for n, risk in enumerate(row)]
        table.append(row)
        plan = driver.evaluate(*row)
        ids = list(driver.ids)
        moves = {
            (ids.index(change.node), LETTERS[change.target])
            for motion in plan.motions
            for change in motion.changes
            if (motion.rule, change.target) != (Rule.RECOVER, Role.BACKUP)
        }
        assert driver.state.braked is model.braked(table)
        assert moves == model.wanted(roles, table)
        assert driver.roles == roles


class Story(RuleBasedStateMachine):
    """Anything that may happen to a cluster, in any order, sensible and not.

    After every entry the named invariants hold (the driver checks), roles move only as the
    transition table says, and a replica restored from a snapshot keeps the same digest.
    """

    @initialize(nodes=st.integers(1, 5), fresh=st.booleans())
    def begin(self, nodes: int, fresh: bool) -> None:
        self.driver = Driver(nodes) if fresh else settled(nodes)
        self.replay = Replay(self.driver)

    def pick(self, number: int) -> str:
        return self.driver.ids[number % len(self.driver.ids)]

    @rule(row=st.lists(risks, min_size=5, max_size=5), gap=st.integers(0, 90_000))
    def evaluate(self, row: list[model.Risk], gap: int) -> None:
        self.driver.clock += gap
        self.driver.evaluate(*row)

    @rule(row=st.lists(st.sampled_from([None, 0.1]), min_size=5, max_size=5))
    def lose_reports(self, row: list[model.Risk]) -> None:
        for _ in range(3):
            self.driver.evaluate(*row)

    @rule(gap=st.integers(0, 400_000))
    def wait(self, gap: int) -> None:
        self.driver.wait(gap)

    @rule()
    def renew(self) -> None:
        self.driver.renew()

    @precondition(lambda self: self.driver.state.proposals)
    @rule(voter=st.integers(0, 4), approve=st.booleans())
    def vote(self, voter: int, approve: bool) -> None:
        proposal = max(self.driver.state.proposals)
        self.driver.do(c.CastVote(proposal, self.pick(voter), approve, "observations_agree"))

    @precondition(lambda self: self.driver.state.proposals)
    @rule()
    def approve(self) -> None:
        self.driver.approve()

    @precondition(lambda self: self.driver.state.actions)
    @rule(node=st.integers(0, 4), success=st.booleans())
    def acknowledge(self, node: int, success: bool) -> None:
        action = self.driver.action()
        self.driver.do(c.Acknowledge(action.id, self.pick(node), success, "hook"))

    @rule(
        node=st.integers(0, 4),
        order=st.sampled_from(
            ["switchover", "best", "failover", "force", "drain", "undrain", "never", "first"]
        ),
    )
    def order(self, node: int, order: str) -> None:
        name = self.pick(node)
        commands: dict[str, c.Command] = {
            "switchover": c.Switchover(name),
            "best": c.Switchover(None),
            "failover": c.Failover(name),
            "force": c.Failover(name, True),
            "drain": c.SetMaintenance(name, 120_000),
            "undrain": c.SetMaintenance(name, 0),
            "never": c.SetPriority(name, 0),
            "first": c.SetPriority(name, 500),
        }
        self.driver.do(commands[order], key=f"k{len(self.driver.log)}", actor="eve")

    @rule(
        order=st.sampled_from(
            [
                c.Pause(60_000),
                c.Resume(),
                c.ChangeSettings({"swarm_mode": False}),
                c.ChangeSettings({"swarm_mode": True}),
                c.ChangeSettings({"backup_count": 2}),
                c.ChangeSettings({"hysteresis_window": 600_000}),
                c.ChangeSettings({"hysteresis_window": 90_000}),
                c.ChangeSettings({"failures_to_safe_mode": 3}),
                c.RunAction("beacon"),
            ]
        )
    )
    def direct(self, order: c.Command) -> None:
        self.driver.do(order)

    @rule()
    def restart(self) -> None:
        encoded = codec.encode_snapshot(self.driver.state)
        self.driver.state = codec.decode_snapshot(encoded)

    @invariant()
    def a_replica_that_was_never_restarted_is_the_same(self) -> None:
        if hasattr(self, "driver"):
            assert self.replay.agrees()

    @invariant()
    def an_automatic_change_in_the_cool_down_is_one_of_the_two_exemptions(self) -> None:
        """Invariant 2, counted anew from the role history alone."""
        if not hasattr(self, "driver"):
            return
        before: dict[str, int] = {}
        for change in self.driver.state.role_changes:
            rested = change.at - before.get(change.node, -(10**12)) >= change.window
            automatic = change.rule not in OPERATOR_RULES
            exempt = change.origin is Role.PRIMARY or change.target is Role.PRIMARY
            assert rested or not automatic or exempt
            before[change.node] = change.at


Story.TestCase.settings = settings(max_examples=40, stateful_step_count=40)
TestStory = Story.TestCase


def test_the_model_knows_the_words_of_the_specification() -> None:
    assert model.failure_mode([0.1] * 10) == "HEALTHY"
    assert model.failure_mode([0.4, 0.4, 0.1]) == "INTERMITTENT"
    assert model.failure_mode([None] * 3) == "DEGRADED"
    assert model.failure_mode([0.4] * 4) == "CRITICAL"


def test_an_empty_state_keeps_every_invariant() -> None:
    assert list(violations(ClusterState())) == []
