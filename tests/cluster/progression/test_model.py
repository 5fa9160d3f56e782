"""Rollouts against tests/rollout_model.py, the dumb version, whatever people and devices do."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from stationkeep.cluster.apply import Done
from stationkeep.cluster.commands import (
    AbortRollout,
    AdvanceRollout,
    AdvanceTime,
    ApproveRollout,
    CheckRollouts,
    OpenStage,
    Pause,
    PauseRollout,
    PromoteRollout,
    Resume,
    ResumeRollout,
    RollBackRollout,
    SetFreeze,
    StartRollout,
    UnblockArtifact,
)
from stationkeep.cluster.deployments.lifecycle import STATES
from stationkeep.cluster.deployments.roster import ACCEPTED
from stationkeep.cluster.progression.advance import advance_rollouts
from stationkeep.cluster.progression.rollback import affected_by
from stationkeep.cluster.rollouts.gates import Gates
from stationkeep.cluster.rollouts.plan import Checks, OnFail, Plan, StagePlan
from stationkeep.cluster.settings import PPM
from stationkeep.cluster.state import codec
from tests import rollout_model as model
from tests.cluster.driver import Replay
from tests.cluster.progression.rollouts import V2, RolloutDriver

SHARES = [(1.0,), (0.5, 1.0), (0.25, 0.5, 1.0)]
DEVICES = 8
ORDERS = ["start", "approve", "pause", "resume", "resume", "promote", "abort", "roll back"]
rows = st.sets(st.integers(0, DEVICES - 1), max_size=3)
failing_rows = rows | st.just(set(range(DEVICES)))


class Life(RuleBasedStateMachine):
    """One rollout after another over a few devices that obey, fail, fall back and go away."""

    @initialize(
        shares=st.sampled_from(SHARES),
        on_fail=st.sampled_from(OnFail),
        approvals=st.sampled_from([0, 0, 0, 1]),
        failing=failing_rows,
        seconds=st.integers(0, 20),
    )
    def begin(
        self,
        shares: tuple[float, ...],
        on_fail: OnFail,
        approvals: int,
        failing: set[int],
        seconds: int,
    ) -> None:
        self.driver = RolloutDriver.with_crowd(DEVICES)
        self.replay = Replay(self.driver)
        self.world = model.World(now=self.driver.clock)
        self.rollouts: list[model.Rollout] = []
        self.driver.failing = failing
        self.lay_down(shares, on_fail, approvals)
        self.order("start", 0, force=False, actor="ann")
        self.lead(seconds)

    @rule(
        shares=st.sampled_from(SHARES),
        on_fail=st.sampled_from(OnFail),
        approvals=st.sampled_from([0, 0, 1, 2]),
    )
    def again(self, shares: tuple[float, ...], on_fail: OnFail, approvals: int) -> None:
        """Another one when the last is over, from the same beginning."""
        if all(rollout.over for rollout in self.rollouts):
            for row in self.driver.runs("2.0.0"):
                self.driver.run("1.0.0", row)
            self.driver.done(UnblockArtifact("app", "2.0.0")) if self.world.blocked else None
            self.world.blocked = False
            self.lay_down(shares, on_fail, approvals)
            self.order("start", 0, force=False, actor="ann")
            self.lead(2)

    def lay_down(self, shares: tuple[float, ...], on_fail: OnFail, approvals: int) -> None:
        name = f"fw-{len(self.rollouts)}"
        stages = [StagePlan(f"s{n}", share=int(share * PPM)) for n, share in enumerate(shares)]
        checks = Checks(Gates(), health=False)
        self.driver.lay_down(
            Plan(
                V2, stages=tuple(stages), checks=checks, on_fail=on_fail, approvals=approvals,
                rest=False,
            ),
            name,
        )  # fmt: skip
        made = [model.Stage(f"s{n}", share) for n, share in enumerate(shares)]
        rollout = model.Rollout(name, made, on_fail=on_fail.value, approvals=approvals)
        rollout.until = self.world.now + 30 * 24 * 3_600_000
        self.rollouts.append(rollout)

    @rule(
        what=st.sampled_from(ORDERS),
        duration=st.sampled_from([0, 7_000]),
        force=st.booleans(),
        actor=st.sampled_from(["ann", "bob", "cyd"]),
    )
    def order(self, what: str, duration: int, *, force: bool, actor: str) -> None:
        rollout, driver, world = self.rollouts[-1], self.driver, self.world
        name, tasks = rollout.name, self.tasks()
        digest = driver.rollout(name).digest
        affected = self.affected()
        command, expected = {
            "start": lambda: (StartRollout(name), world.start(rollout)),
            "approve": lambda: (
                ApproveRollout(name, digest=digest), world.approve(rollout, actor),
            ),
            "pause": lambda: (
                PauseRollout(name, duration=duration), world.pause(rollout, duration),
            ),
            "resume": lambda: (ResumeRollout(name), world.resume(rollout, tasks)),
            "promote": lambda: (
                PromoteRollout(name, force=force), world.promote(rollout, force, tasks),
            ),
            "abort": lambda: (AbortRollout(name), world.abort(rollout)),
            "roll back": lambda: (
                RollBackRollout(name), world.roll_back(rollout, affected),
            ),
        }[what]()  # fmt: skip
        outcome = driver.do(command, key=f"key-{len(driver.log)}", actor=actor).outcome
        assert isinstance(outcome, Done) is expected, (what, outcome)

    @rule(held=st.sampled_from([True, False, False]), freeze=st.sampled_from([0, 0, 8_000]))
    def hold(self, *, held: bool, freeze: int) -> None:
        self.driver.done(Pause(3_600_000) if held else Resume())
        self.world.held = held
        if freeze:
            self.driver.done(SetFreeze("all", freeze))
            self.world.frozen = self.world.now + freeze

    @rule(failing=failing_rows, away=rows, deaf=rows)
    def change(self, failing: set[int], away: set[int], deaf: set[int]) -> None:
        self.driver.failing, self.driver.away, self.driver.deaf = failing, away, deaf

    @rule(row=st.integers(0, DEVICES - 1))
    def fall_back(self, row: int) -> None:
        if row not in self.driver.away:
            self.driver.run("1.0.0", row)

    @rule(seconds=st.integers(2, 25))
    def lead(self, seconds: int) -> None:
        for _ in range(seconds):
            self.tick(1_000)

    @rule(waits=st.sampled_from([40_000, 310_000]))
    def wait(self, waits: int) -> None:
        self.tick(waits)
        self.lead(3)

    def tick(self, milliseconds: int) -> None:
        """Time passes at once for both; then the leader does its duties, one by one."""
        driver = self.driver
        driver.clock += milliseconds
        before = {rollout.name: self.tasks(rollout) for rollout in self.rollouts}
        driver.done(AdvanceTime())
        self.world.pass_to(driver.clock, self.rollouts, before)
        self.world.held = driver.state.pause is not None
        self.agree()
        driver.hear()
        driver.expire()
        for command in advance_rollouts(driver.state, driver.clock):
            self.follow(command)
        driver.offer()
        driver.obey()

    def follow(self, command: Any) -> None:
        """The leader's proposal, and what the model makes of the same moment."""
        rollout, driver = self.rollouts[-1], self.driver
        tasks, back, affected = self.tasks(), self.way_back(), self.affected()
        able = {driver.fleet.id(row) for row in driver.rows}
        outcome = driver.do(command).outcome
        if isinstance(command, CheckRollouts):
            assert isinstance(outcome, Done)
            if rollout.state in model.GOING:
                self.world.check(rollout, tasks, affected)
        elif not isinstance(outcome, Done):
            assert outcome.reason == "stale_revision"
        elif isinstance(command, AdvanceRollout):
            assert self.world.advance(rollout, tasks, back)
        elif isinstance(command, OpenStage):
            stage = self.world.opening(rollout)
            assert stage is not None
            assert self.world.open(rollout, stage, set(self.tasks()[stage.name]), able) == ""
        self.agree()

    # -- looking --------------------------------------------------------------------------------

    def tasks(self, rollout: model.Rollout | None = None) -> dict[str, model.Tasks]:
        """What has become of the tasks of each stage that ever opened."""
        found = self.driver.rollout((rollout or self.rollouts[-1]).name)
        return {stage.name: self.tasks_of(stage.deployment) for stage in found.stages}

    def way_back(self) -> model.Tasks:
        return self.tasks_of(self.driver.rollout(self.rollouts[-1].name).rollback)

    def tasks_of(self, number: int) -> model.Tasks:
        roster = self.driver.state.deployments.rosters.get(number)
        if roster is None:
            return {}
        deployment, ids = self.driver.deployment(number), self.driver.fleet.table.ids
        columns = zip(roster.row, roster.state, roster.since, roster.flags, strict=True)
        return {
            ids[row]: model.Task(STATES[state], deployment.at(int(since)), bool(flags & ACCEPTED))
            for row, state, since, flags in columns
        }

    def affected(self) -> set[str]:
        """Who would have to go back: those that run the version, or may come to."""
        found = affected_by(self.driver.state, self.driver.rollout(self.rollouts[-1].name)).rows
        devices = {self.driver.fleet.id(int(row)) for row in found}
        runs = {self.driver.fleet.id(row) for row in self.driver.runs("2.0.0")}
        tasks = [task for of in self.tasks().values() for task in of.items()]
        begun = {d for d, task in tasks if task.begun or task.state == "succeeded"}
        open_end = {d for d, task in tasks if task.state in ("in_progress", "timed_out")}
        assert devices == begun & (runs | open_end)
        return devices

    def agree(self) -> None:
        for rollout in self.rollouts:
            seen = self.driver.rollout(rollout.name)
            assert (seen.state, seen.reason) == (rollout.state, rollout.reason)
            assert [(s.state, s.reason) for s in seen.stages] == [
                (s.state, s.reason) for s in rollout.stages
            ]

    @invariant()
    def the_model_says_the_same(self) -> None:
        if hasattr(self, "driver"):
            self.agree()

    @invariant()
    def a_replica_that_was_never_restarted_is_the_same(self) -> None:
        if hasattr(self, "driver"):
            assert self.replay.agrees()

    @rule()
    def restart(self) -> None:
        self.driver.state = codec.decode_snapshot(codec.encode_snapshot(self.driver.state))


Life.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestLife = Life.TestCase


def test_the_model_knows_the_words_of_the_guide() -> None:
    world = model.World()
    rollout = model.Rollout("fw", [model.Stage("all")])
    assert world.start(rollout)
    stage = world.opening(rollout)
    assert stage is not None
    assert world.open(rollout, stage, {"a", "b"}, {"a", "b"}) == ""
    tasks = {"all": {d: model.Task("failed", 0, begun=True) for d in "ab"}}
    assert round(model.evidence(rollout, tasks["all"])) == 139
    assert world.check(rollout, tasks, set())
    assert (rollout.state, stage.state) == ("rolled_back", "failed")
