"""What operators may order of a rollout, and what they are told instead."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from stationkeep.cluster.commands import (
    AbortRollout,
    ApproveRollout,
    CancelDeployment,
    Command,
    CreateRollout,
    CreateToken,
    PauseRollout,
    PromoteRollout,
    ResumeRollout,
    RetryTasks,
    RevokeToken,
    RollBackRollout,
    StartRollout,
    UnblockArtifact,
)
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.deployment import Limits
from stationkeep.cluster.deployments.lifecycle import Word
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.progression.explain import explain_rollout
from stationkeep.cluster.rollouts import book as module
from stationkeep.cluster.rollouts.gates import Gates
from stationkeep.cluster.rollouts.lifecycle import DRAFT_KEPT, PAUSE_WAITED
from stationkeep.cluster.rollouts.plan import Checks, OnFail, Plan, StagePlan, Variant
from stationkeep.cluster.state.state import MAX_TOKENS
from tests.cluster.progression.rollouts import NAME, V2, RolloutDriver, one_stage

DAY = 24 * 3_600_000
APPROVED = Plan(V2, approvals=1)


@pytest.fixture
def driver() -> RolloutDriver:
    return RolloutDriver.with_crowd(12)


def days(driver: RolloutDriver, milliseconds: int) -> None:
    """Lets time pass: a day by an entry at most."""
    while milliseconds:
        driver.wait(min(DAY, milliseconds))
        milliseconds -= min(DAY, milliseconds)


def refused(driver: RolloutDriver, command: Command, actor: str = "ann") -> tuple[str, str]:
    return driver.refused(command, actor=actor, key=f"key-{len(driver.log)}")


# Laid down and started


def test_a_draft_does_nothing_until_it_is_started(driver: RolloutDriver) -> None:
    driver.lay_down()
    driver.lead(5)
    assert driver.rollout().state == "draft"
    driver.order(StartRollout(NAME))
    driver.lead()
    assert driver.stage("canary").state == "deploying"


def test_a_draft_may_be_laid_down_anew_and_nothing_else(driver: RolloutDriver) -> None:
    digest = driver.lay_down().digest
    again = CreateRollout(NAME, Plan(Artifact("2.1.0")))
    assert refused(driver, again)[0] == "duplicate"
    driver.order(replace(again, replace=True))
    assert driver.rollout().digest != digest
    driver.order(StartRollout(NAME))
    assert refused(driver, replace(again, replace=True))[0] == "duplicate"


def test_a_draft_that_nobody_starts_ends(driver: RolloutDriver) -> None:
    driver.lay_down()
    days(driver, DRAFT_KEPT - 1)
    assert driver.rollout().state == "draft"
    driver.wait(1)
    assert (driver.rollout().state, driver.rollout().reason) == ("aborted", "expired")


def test_without_a_device_that_could_do_it_nothing_starts(driver: RolloutDriver) -> None:
    driver.lay_down(Plan(V2, scope="model=z"))
    assert refused(driver, StartRollout(NAME))[0] == "incapable"


def test_whoever_has_seen_another_revision_is_refused(driver: RolloutDriver) -> None:
    revision = driver.lay_down().revision
    driver.order(StartRollout(NAME, revision))
    reason, detail = refused(driver, PauseRollout(NAME, revision))
    assert (reason, "look at it again" in detail) == ("stale_revision", True)
    driver.order(PauseRollout(NAME, driver.rollout().revision))


def test_an_actor_and_all_have_their_shares(
    driver: RolloutDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(8):
        driver.lay_down(name=f"ann-{n}")
    assert refused(driver, CreateRollout("more", Plan(V2)))[0] == "quota"
    driver.order(AbortRollout("ann-0"))
    driver.lay_down(name="more")
    for n in range(24):
        driver.lay_down(name=f"x-{n}", actor=f"actor-{n}")
    assert refused(driver, CreateRollout("last", Plan(V2)), "eve")[0] == "limit"


def test_whoever_lays_a_draft_of_others_down_anew_has_it_in_the_own_share(
    driver: RolloutDriver,
) -> None:
    driver.lay_down(name="of-bob", actor="bob")
    for n in range(8):
        driver.lay_down(name=f"ann-{n}")
    anew = CreateRollout("of-bob", Plan(V2, priority=400), replace=True)
    assert refused(driver, anew)[0] == "quota"
    assert driver.rollout("of-bob").author == "bob"
    driver.order(CreateRollout("ann-0", Plan(V2, priority=400), replace=True))
    driver.order(AbortRollout("ann-0"))
    driver.order(anew)
    assert driver.rollout("of-bob").author == "ann"


def test_ended_rollouts_of_whoever_has_most_are_forgotten(
    driver: RolloutDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ENDED_ROLLOUTS", 3)
    for actor, n in (("ann", 0), ("bob", 1), ("bob", 2), ("bob", 3)):
        driver.lay_down(name=f"r-{n}", actor=actor)
        driver.order(AbortRollout(f"r-{n}"))
    assert list(driver.state.rollouts.known) == ["r-0", "r-2", "r-3"]


def test_a_rollout_that_outlived_those_after_it_is_remembered_when_it_ends(
    driver: RolloutDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ENDED_ROLLOUTS", 3)
    driver.begin()
    for n in range(4):
        driver.lay_down(name=f"r-{n}")
        driver.order(AbortRollout(f"r-{n}"))
    driver.lead(3)
    driver.abort()
    driver.lead(20)
    assert driver.rollout().state == "aborted"
    assert list(driver.state.rollouts.known) == [NAME, "r-2", "r-3"]


def test_no_other_rollout_gets_the_name_of_one_of_which_deployments_are_remembered(
    driver: RolloutDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ENDED_ROLLOUTS", 1)
    driver.begin()
    driver.lead(3)
    driver.abort()
    driver.until("aborted")
    driver.lay_down(name="next")
    driver.order(AbortRollout("next"))
    assert list(driver.state.rollouts.known) == ["next"]
    reason, detail = refused(driver, CreateRollout(NAME, Plan(V2)))
    assert reason == "duplicate"
    assert "deployment 1 of an earlier one of this name is remembered" in detail


# Approval


def test_force_is_about_what_was_to_be_installed_when_it_was_given(driver: RolloutDriver) -> None:
    driver.lay_down(APPROVED)
    driver.order(StartRollout(NAME, force=True))
    driver.order(CreateRollout(NAME, replace(APPROVED, priority=400), replace=True))
    assert driver.rollout().forced
    other = replace(APPROVED, artifact=Artifact("3.0.0"))
    driver.order(CreateRollout(NAME, other, replace=True))
    assert not driver.rollout().forced


def test_somebody_else_must_approve_what_he_has_seen(driver: RolloutDriver) -> None:
    """Scenario 31."""
    digest = driver.lay_down(replace(APPROVED, approvals=2)).digest
    driver.order(StartRollout(NAME))
    assert driver.rollout().state == "awaiting_approval"
    assert refused(driver, ApproveRollout(NAME, digest=digest), "ann")[0] == "self_approval"
    driver.approve("ines")
    assert refused(driver, ApproveRollout(NAME, digest=digest), "ines")[0] == "duplicate"
    driver.order(CreateRollout(NAME, replace(APPROVED, priority=400, approvals=2), replace=True))
    assert driver.rollout().approvals == ()
    assert driver.rollout().state == "awaiting_approval"
    assert refused(driver, ApproveRollout(NAME, digest=digest), "olaf")[0] == "digest_changed"
    driver.approve("olaf")
    driver.approve("ines")
    assert driver.rollout().state == "running"


@pytest.mark.parametrize("actor", ["Ann", " ann", "ANN "])
def test_an_author_is_the_same_however_the_name_is_written(
    driver: RolloutDriver, actor: str
) -> None:
    driver.begin(APPROVED)
    digest = driver.rollout().digest
    assert refused(driver, ApproveRollout(NAME, digest=digest), actor)[0] == "self_approval"


def tokened(driver: RolloutDriver, id_: str, name: str, by: str) -> str:
    """An actor with a new token."""
    driver.order(CreateToken(id_, name, "admin", id_.encode() * 4), by)
    return f"{name}#{id_}"


def test_whoever_makes_the_tokens_of_others_is_no_second_person_by_them(
    driver: RolloutDriver,
) -> None:
    ann = tokened(driver, "annannan", "ann", "local-admin@sat-001")
    bob = tokened(driver, "bobbobbo", "bob", ann)
    carl = tokened(driver, "carlcarl", "carl", bob)
    ines = tokened(driver, "inesines", "ines", "local-admin@sat-001")
    olaf = tokened(driver, "olafolaf", "olaf", "local-admin@sat-001")
    as_olaf = tokened(driver, "folafola", "olaf", ann)
    driver.order(CreateRollout(NAME, replace(APPROVED, approvals=2)), ann)
    digest = driver.rollout().digest
    driver.order(StartRollout(NAME), ann)
    approve = ApproveRollout(NAME, digest=digest)
    for actor in (ann, bob, carl, as_olaf):
        reason, detail = refused(driver, approve, actor)
        assert reason == "self_approval"
    assert "with --config" in detail
    driver.approve(ines)
    assert refused(driver, approve, tokened(driver, "dandanda", "dan", ines))[0] == "duplicate"
    driver.approve(olaf)
    assert driver.rollout().state == "running"


def test_a_token_that_made_room_does_not_make_two_people_of_one(driver: RolloutDriver) -> None:
    """Who makes a thousand tokens could have another one of theirs forgotten, and be asked anew."""
    ann = tokened(driver, "annannan", "ann", "local-admin@sat-001")
    bob = tokened(driver, "bobbobbo", "bob", ann)
    driver.order(CreateRollout(NAME, APPROVED), bob)
    driver.order(StartRollout(NAME), bob)
    driver.order(RevokeToken("bobbobbo"), ann)
    for number in range(MAX_TOKENS):
        tokened(driver, id_ := f"t{number:07d}", "t", ann)
        driver.order(RevokeToken(id_), ann)
    assert len(driver.state.tokens) == MAX_TOKENS
    approve = ApproveRollout(NAME, digest=driver.rollout().digest)
    assert refused(driver, approve, ann)[0] == "self_approval"


def test_a_token_that_somebody_makes_in_the_place_of_their_own_is_theirs(
    driver: RolloutDriver,
) -> None:
    ann = tokened(driver, "annannan", "ann", "local-admin@sat-001")
    again = tokened(driver, "nnannann", "ann", ann)
    driver.order(CreateRollout(NAME, APPROVED), "ines")
    driver.order(StartRollout(NAME), "ines")
    driver.approve(again)
    assert driver.rollout().state == "running"


def test_the_author_may_approve_where_the_plan_says_so(driver: RolloutDriver) -> None:
    driver.lay_down(replace(APPROVED, allow_self_approval=True))
    driver.order(StartRollout(NAME))
    driver.approve("ann")
    assert driver.rollout().state == "running"


def test_what_nobody_approves_ends(driver: RolloutDriver) -> None:
    driver.lay_down(APPROVED)
    driver.order(StartRollout(NAME))
    driver.wait(2 * 3_600_000)
    driver.advance()
    assert "rollout_waiting" in driver.state.alarms
    days(driver, 7 * DAY)
    assert (driver.rollout().state, driver.rollout().reason) == ("aborted", "not_approved")
    assert "rollout_waiting" not in driver.state.alarms


def test_a_stage_may_ask_for_approval_of_what_it_came_to(driver: RolloutDriver) -> None:
    driver.begin(Plan(V2, stages=one_stage(), checks=Checks(approvals=1), rest=False))
    digest = driver.rollout().digest
    early = ApproveRollout(NAME, digest=digest, stage="all")
    assert refused(driver, early, "ines")[0] == "not_in_state"
    driver.until_stage("all", "validating")
    assert refused(driver, ApproveRollout(NAME, digest=digest, stage="x"), "ines")[0] == "invalid"
    driver.approve("ines", "all")
    more = ApproveRollout(NAME, digest=digest, stage="all")
    assert refused(driver, more, "olaf") == ("duplicate", "approvals: all 1 are granted already")
    driver.lead()
    assert driver.rollout().state == "succeeded"
    assert driver.sentences("approve_rollout") == [
        f"stage all of fw (app 2.0.0) approved (plan {digest[:8]}, 1 by now) (by ines)"
    ]


# Paused and resumed


def test_a_pause_holds_offers_and_keeps_the_time_that_is_left(driver: RolloutDriver) -> None:
    driver.deaf = set(driver.rows)
    driver.begin(Plan(V2, stages=one_stage(), limits=Limits(deadline=60_000, first=0)))
    driver.lead(1)
    driver.pause()
    deployment = driver.deployment()
    left = deployment.deadline - driver.clock
    driver.lead(100)
    assert deployment.held == "paused"
    assert driver.tallies() == {"queued": 12}
    driver.resume()
    assert deployment.held == ""
    assert deployment.deadline - driver.clock == left


def test_a_pause_may_end_by_itself(driver: RolloutDriver) -> None:
    """Scenario 27."""
    driver.begin()
    driver.pause(10_000)
    assert "pauses for 10s" in driver.sentences("rollout")[-1]
    driver.lead(9)
    assert driver.rollout().state == "paused"
    driver.lead(1)
    assert driver.rollout().state == "running"


def test_a_pause_that_nobody_ends_aborts(driver: RolloutDriver) -> None:
    """Scenario 27."""
    driver.begin()
    driver.lead(2)
    driver.pause()
    days(driver, PAUSE_WAITED)
    assert (driver.rollout().state, driver.rollout().reason) == ("aborting", "pause_expired")
    driver.lead(2)
    assert driver.rollout().state == "aborted"


def test_a_pause_that_ends_while_its_artifact_is_blocked_waits_for_people() -> None:
    driver = RolloutDriver.with_crowd(6, labels={"site": "a"})
    driver.crowd(6, labels={"site": "b"})
    driver.rest(20_000)
    driver.begin(Plan(V2, scope="site=a"))
    driver.pause(20_000)
    driver.failing = set(driver.rows)
    driver.begin(Plan(V2, scope="site=b", stages=one_stage()), "other")
    driver.until("rolled_back", name="other")
    assert any("stays paused" in line for line in explain_rollout(driver.state, driver.rollout()))
    driver.lead(20)
    rollout = driver.rollout()
    assert (rollout.state, rollout.reason) == ("paused", "blocked:other")
    assert driver.sentences("rollout")[-1].endswith("pauses: what it installs failed in other")
    driver.order(UnblockArtifact("app", "2.0.0"))
    driver.resume()
    assert driver.rollout().state == "running"


def test_tasks_of_an_inconclusive_stage_may_be_tried_again(driver: RolloutDriver) -> None:
    (row,) = driver.failing = {driver.in_ring(Ring.CANARY)[1]}
    driver.begin()
    driver.until("paused")
    driver.failing = set()
    driver.order(RetryTasks(driver.stage("canary").deployment))
    driver.resume()
    assert driver.stage("canary").state == "deploying"
    driver.until("succeeded")
    assert row in driver.runs("2.0.0")


def test_what_is_over_is_neither_retried_nor_canceled_by_itself(driver: RolloutDriver) -> None:
    driver.begin()
    driver.lead(1)
    number = driver.stage("canary").deployment
    reason, detail = refused(driver, CancelDeployment(number))
    assert (reason, "pause or abort that" in detail) == ("not_in_state", True)
    driver.until_stage("canary", "passed")
    assert "roll out anew" in refused(driver, RetryTasks(number))[1]


# Promoted


def test_a_stage_that_deploys_is_promoted_by_force_alone(driver: RolloutDriver) -> None:
    """Scenario 28."""
    driver.deaf = set(driver.in_ring(Ring.CANARY))
    driver.begin()
    driver.lead(3)
    assert refused(driver, PromoteRollout(NAME))[0] == "promote_while_deploying"
    driver.promote(force=True)
    driver.lead(2)
    assert driver.stages().startswith("depl depl")
    driver.deaf = set()
    driver.until("succeeded")


def test_a_control_is_not_promoted(driver: RolloutDriver) -> None:
    """Nobody else would get anything, and the rollout would have succeeded."""
    variants = (Variant("A", 1, V2), Variant("none", 1))
    driver.begin(Plan(variants=variants, stages=one_stage(soak=3_600_000)))
    driver.until_stage("all", "soaking")
    assert refused(driver, PromoteRollout(NAME, variant="none"))[0] == "invalid"
    driver.promote(variant="A")
    assert driver.rollout().variant == "A"


def test_a_stage_that_is_watched_may_be_promoted(driver: RolloutDriver) -> None:
    driver.begin(Plan(V2, stages=one_stage(soak=3_600_000), rest=False))
    driver.until_stage("all", "soaking")
    driver.promote()
    assert driver.rollout().state == "succeeded"
    assert driver.deployment().state == "closed"


def test_promoting_another_stage_leaves_the_failed_one_to_be_decided(
    driver: RolloutDriver,
) -> None:
    """Else it would run, and nothing of it would ever be due."""
    stages = (StagePlan("a", Ring.CANARY, soak=3_600_000), StagePlan("b", Ring.DEV))
    driver.failing = set(driver.in_ring(Ring.DEV))
    driver.deaf = driver.failing | set(driver.in_ring(Ring.CANARY))
    driver.begin(Plan(V2, stages=stages, on_fail=OnFail.PAUSE))
    driver.lead(3)
    driver.promote(force=True)
    driver.deaf = set(driver.failing)
    driver.until_stage("a", "soaking")
    driver.deaf = set()
    driver.until_stage("b", "failed")
    driver.promote(force=True)
    assert driver.stages().startswith("pass fail")
    assert driver.rollout().state == "paused"
    driver.promote(force=True)
    assert driver.rollout().state == "running"


# Ended


def test_aborting_waits_for_what_devices_have_begun(driver: RolloutDriver) -> None:
    driver.begin(Plan(V2, stages=one_stage(), limits=Limits(first=0)))
    driver.deaf = {0, 1}
    driver.lead(2)
    _begin_only(driver, 0)
    driver.abort()
    assert driver.rollout().state == "aborting"
    assert driver.stages() == "stop stop"
    driver.lead(5)
    assert driver.rollout().state == "aborting"
    driver.until("aborted", 70)
    assert driver.runs("2.0.0") == driver.rows[2:]


def _begin_only(driver: RolloutDriver, row: int) -> None:
    driver.say(Word.IN_PROGRESS, row)


ORDERS: dict[str, Callable[[], Command]] = {
    "start": lambda: StartRollout(NAME),
    "approve": lambda: ApproveRollout(NAME),
    "pause": lambda: PauseRollout(NAME),
    "resume": lambda: ResumeRollout(NAME),
    "promote": lambda: PromoteRollout(NAME),
    "abort": lambda: AbortRollout(NAME),
    "roll back": lambda: RollBackRollout(NAME),
}


@pytest.mark.parametrize(
    ("state", "allowed"),
    [
        ("draft", {"start", "abort"}),
        ("awaiting_approval", {"approve", "abort"}),
        ("running", {"pause", "promote", "abort", "roll back"}),
        ("paused", {"resume", "promote", "abort", "roll back"}),
        ("aborted", {"roll back"}),
        ("succeeded", {"roll back"}),
        ("rolled_back", {"roll back"}),
    ],
)
def test_in_each_state_that_is_taken_which_the_refusals_name(state: str, allowed: set[str]) -> None:
    for order, command in ORDERS.items():
        driver = _in(state)
        if order in allowed:
            outcome = driver.do(command(), key="k", actor="ann").outcome
            assert getattr(outcome, "reason", "") not in ("not_in_state", "unknown_rollout")
        else:
            reason, detail = driver.refused(command())
            assert reason == "not_in_state"
            named = set(detail.partition("may be ordered of it is ")[2].split(", ")) - {""}
            assert named - {"promote"} == allowed - {"promote"}


def _in(state: str) -> RolloutDriver:
    driver = RolloutDriver.with_crowd(3)
    plan = Plan(V2, stages=one_stage(), approvals=int(state == "awaiting_approval"))
    driver.lay_down(plan)
    if state != "draft":
        driver.order(StartRollout(NAME))
        driver.lead(2)
    if state == "paused":
        driver.pause()
    if state == "aborted":
        driver.abort()
    if state in ("aborted", "succeeded", "rolled_back"):
        driver.failing = set(driver.rows) if state == "rolled_back" else set()
        driver.until(state) if state != "rolled_back" else _fail(driver)
    assert driver.rollout().state == state
    return driver


def _fail(driver: RolloutDriver) -> None:
    driver.roll_back()
    driver.until("rolled_back")


@pytest.mark.parametrize(
    ("command", "field"),
    [
        (CreateRollout("a b", Plan(V2)), "rollout:"),
        (CreateRollout("x", Plan()), "artifact:"),
        (CreateRollout("x", Plan(V2, priority=1_001)), "priority:"),
        (CreateRollout("x", Plan(V2, scope="=")), "scope:"),
        (CreateRollout("x", Plan(V2, stages=())), "stages:"),
        (CreateRollout("x", Plan(V2, checks=Checks(Gates(confidence=0)))), "checks.gates"),
        (PauseRollout(NAME, duration=-1), "duration:"),
        (PromoteRollout(NAME, variant="x", force=True), "variant:"),
    ],
)
def test_bad_words_are_named(driver: RolloutDriver, command: Command, field: str) -> None:
    driver.begin()
    driver.lead()
    reason, detail = driver.refused(command)
    assert reason == "invalid"
    assert field in detail
