"""Rollouts on the page: why one waits, what comes next, and what may be done to how many."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from stationkeep.cluster.commands import (
    AbortRollout,
    LiftFreeze,
    Pause,
    PauseRollout,
    RecordGate,
    RollBackRollout,
    SetFreeze,
    StartRollout,
    UnblockArtifact,
)
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.deployment import Limits
from stationkeep.cluster.devices.rings import RINGS, Ring
from stationkeep.cluster.rollouts.lifecycle import RolloutState
from stationkeep.cluster.rollouts.plan import (
    STAGES,
    Checks,
    OnFail,
    Plan,
    StagePlan,
    Variant,
)
from tests.cluster.progression.rollouts import NAME, V2, one_stage
from tests.dashboard.axe import serious_violations
from tests.dashboard.conftest import Served
from tests.dashboard.test_adversity import HOSTILE, lose_touch
from tests.dashboard.test_page import PHONE
from tests.node.api.rollout_story import RolloutStory

DEVICES = 24
GATED = (
    StagePlan("canary", Ring.CANARY, checks=Checks(approvals=1, webhook="https://ci.example/")),
    *STAGES[1:],
)


class Told:
    """The page of a node whose rollout a test drives."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.stories: list[RolloutStory] = []
        served.do(lambda node: self.stories.append(RolloutStory(node).settle(DEVICES)))

    def do(self, change: Callable[[RolloutStory], object]) -> None:
        """Changes the cluster, in the node's own thread; orders that the page gave count."""

        def run(node: Any) -> None:
            story = self.stories[0]
            story.clock = max(story.clock, node.now)
            change(story)

        self.served.do(run)

    @property
    def url(self) -> str:
        return self.served.url

    @property
    def state(self) -> RolloutState:
        return self.stories[0].rollout().state


@pytest.fixture
def told(served: Served) -> Told:
    return Told(served)


def _row(page: Page) -> Locator:
    return page.locator(f"[data-rollout='{NAME}']")


def _in_doubt(story: RolloutStory) -> None:
    """One of six devices of the first stage fails: more than may, and no proof."""
    story.failing = {story.in_ring(Ring.CANARY)[0]}
    story.begin()
    story.until("paused")


def _soaking(story: RolloutStory) -> None:
    story.begin()
    story.until_stage("canary", "soaking")
    story.lead(2)


def _bad(story: RolloutStory, **plan: Any) -> None:
    """Makes every device ill: it is paused with the proof."""
    story.sickening = set(story.rows)
    story.begin(Plan(V2, on_fail=OnFail.PAUSE, **plan))
    story.until("paused")


def _blocked(story: RolloutStory) -> None:
    """Another rollout of what it installs failed."""
    ids = [story.fleet.id(row) for row in story.rows]
    story.failing = set(story.rows[1::2])
    story.begin(Plan(V2, devices=tuple(ids[::2])))
    story.begin(Plan(V2, devices=tuple(ids[1::2]), stages=one_stage()), "other")
    story.until("rolled_back", name="other")


def _compared(story: RolloutStory) -> None:
    a, b = Variant("A", 50, Artifact("2.0.0")), Variant("B", 50, Artifact("2.1.0"))
    story.begin(Plan(variants=(a, b, Variant("none", 10)), stages=one_stage()))
    story.until_stage("all", "soaking")


def _following(story: RolloutStory) -> None:
    story.begin(Plan(V2, follow=7 * 86_400_000, stages=one_stage()))
    for _ in range(60):
        story.lead()
        if story.stage("rest").state == "passed":
            return


def _stranded(story: RolloutStory) -> None:
    """Two devices are away when it is taken back, and one never ran anything else."""
    story.run("", 2)
    story.begin(Plan(V2, stages=one_stage()))
    story.until("succeeded", 400)
    story.away = {0, 1}
    story.lead(20)
    story.roll_back()
    story.until("rolled_back", 600)


def test_why_a_rollout_waits_is_readable_without_a_click(page: Page, told: Told) -> None:
    """Scenario 42: the reason, each gate's value beside its limit, what comes next, what to do."""
    told.do(_in_doubt)
    page.goto(told.url)
    row = _row(page)
    expect(row.locator(".count")).to_contain_text("‖ paused")
    expect(row.locator(".standing")).to_contain_text(
        "Stage canary is inconclusive (failures): 16.7 % failed, 5 % may; evidence 0.62, 20 is "
        "proof (more than may, and no proof that it is the version)."
    )
    expect(row.locator(".standing")).to_contain_text("It is aborted in 7 d unless somebody decides")
    failures = row.locator("[data-gate=failures]")
    expect(failures).to_contain_text("16.7 % failed, at most 5 % · evidence 0.62 of 20")
    expect(row.locator("[data-gate=coverage]")).to_contain_text("100 % reached, at least 50 %")
    expect(row.locator("[data-stage=canary]")).to_contain_text("? inconclusive")
    expect(row.locator("[data-stage=canary]")).to_contain_text("5 of 6")
    expect(row.locator("[data-stage=dev]")).to_contain_text("pending")
    choices = row.locator(".choices li")
    expect(choices).to_have_text(
        [
            "Resume …look longer: canary is watched for another soak",
            "Retry …another attempt for 1 task",
            "Promote …let stage canary count as passed",
            "Roll back …takes 5 devices back to what ran there before",
            "Abort …ends it; the version stays on 5 devices",
        ]
    )


WAITS: dict[str, tuple[Callable[[RolloutStory], object], str, str, list[str]]] = {
    "draft": (
        lambda story: story.lay_down(),
        "nobody has started it yet",
        "It is dropped in 30 d unless somebody starts it",
        ["Start …", "Abort …"],
    ),
    "approval": (
        lambda story: story.begin(Plan(V2, approvals=2)),
        "0 of 2 approvals are granted",
        "It is dropped in 7 d unless it is approved",
        ["Approve …", "Abort …"],
    ),
    "soaking": (_soaking, "Stage canary is installed and watched", "is judged in", []),
    "gated": (
        lambda story: (
            story.begin(Plan(V2, stages=GATED)),
            story.until_stage("canary", "validating"),
        ),
        "webhook: https://ci.example/ has not answered; approval: 0 of 1 are granted",
        "Without an answer stage canary is inconclusive in",
        ["Approve …", "Promote …", "Roll back …", "Abort …"],
    ),
    "paused for a while": (
        lambda story: (_soaking(story), story.pause(600_000)),
        "An operator paused it (ann)",
        "It goes on by itself in 10 min 0 s",
        ["Resume …", "Promote …", "Roll back …", "Abort …"],
    ),
    "frozen": (
        lambda story: (story.order(SetFreeze("xmas", 86_400_000, (Ring.CANARY,))), story.begin()),
        "Nothing begins: freeze xmas lies on it",
        "It goes on in 24 h at the latest",
        ["Lift …"],
    ),
    "out of hours": (
        lambda story: (story.begin(Plan(V2, window="Sat 00:00-24:00")), story.lead(2)),
        "Nothing begins: its window is closed: Sat 00:00-24:00",
        "It goes on in 48 h at the latest.",
        [],
    ),
    "failed": (
        _bad,
        "Stage canary failed (health): 100 % turned bad, 20 % may",
        "It is aborted in 7 d unless somebody decides",
        ["Roll back …", "Abort …", "Promote …"],
    ),
    "blocked": (
        _blocked,
        "What it installs failed in other",
        "It is aborted in 7 d unless somebody decides",
        ["Roll back …", "Abort …", "Unblock …"],
    ),
    "the whole cluster pauses": (
        lambda story: (_soaking(story), story.order(Pause(3_600_000))),
        "Nothing begins: automatic changes are paused",
        "It goes on in 60 min at the latest",
        ["Resume automatic changes …"],
    ),
    "following": (
        _following,
        "Stage follow waits for devices that come later",
        "It has succeeded in 7 d",
        [],
    ),
    "rolled back": (
        _stranded,
        "An operator ordered it. Its time was over before every device was back",
        "2 still to go back",
        [],
    ),
}


@pytest.mark.parametrize("waits", WAITS)
def test_a_newcomer_sees_why_it_waits_what_comes_next_and_what_to_press(
    page: Page, told: Told, waits: str
) -> None:
    change, why, then, press = WAITS[waits]
    told.do(change)
    page.goto(told.url)
    expect(_row(page)).to_contain_text(why)
    expect(_row(page)).to_contain_text(then)
    expect(_row(page).locator(".choices button")).to_have_text(press)
    _row(page).get_by_role("button", name=NAME, exact=True).click()
    sheet = page.locator("#detail")
    expect(sheet.locator(".standing")).to_contain_text(why)
    expect(sheet.locator(".choices button")).to_have_text(press)
    for name in press:
        expect(sheet.get_by_role("button", name=name, exact=True)).to_have_count(1)


def test_it_is_followed_live_and_its_countdown_runs(page: Page, told: Told) -> None:
    page.goto(told.url)
    expect(page.locator(".ring")).to_have_count(4)
    expect(page.locator("#rollouts")).to_be_hidden()
    told.do(_soaking)
    expect(_row(page)).to_contain_text("Stage canary is judged in 4 s")
    expect(_row(page)).to_contain_text("Stage canary is judged in 2 s")  # nobody told it that
    told.do(lambda story: story.until_stage("dev", "soaking"))
    expect(_row(page).locator("[data-stage=canary]")).to_contain_text("✓ passed")
    expect(_row(page).locator("[data-stage=dev]")).to_contain_text("soaking")
    told.do(lambda story: story.until("succeeded", 400))
    expect(_row(page).locator(".count")).to_contain_text("✓ succeeded")
    expect(page.locator("#deployments")).to_be_hidden()  # those of its stages are told here


def test_what_is_old_looks_it_and_no_order_can_be_given(page: Page, told: Told) -> None:
    told.do(_in_doubt)
    page.goto(told.url)
    expect(_row(page).get_by_role("button", name="Resume …")).to_be_enabled()
    told.served.do(lose_touch)
    expect(_row(page).get_by_role("button", name="Resume …")).to_be_disabled()
    expect(page.locator("body")).to_have_class("old")
    assert "grayscale" in _row(page).evaluate("row => getComputedStyle(row).filter")


def test_the_way_back_says_how_many_devices_it_is_about(page: Page, told: Told) -> None:
    told.do(_in_doubt)
    page.goto(told.url)
    _row(page).get_by_role("button", name="Roll back …").click()
    order = page.locator("#order")
    expect(order.get_by_role("heading")).to_have_text("Roll back 5 devices?")
    expect(order).to_contain_text("Each returns to the version that it ran before")
    expect(order).to_contain_text("To undo it: this rollout cannot go on")
    order.get_by_role("button", name="Leave it").click()
    assert told.state is RolloutState.PAUSED
    _row(page).get_by_role("button", name="Roll back …").click()
    order.get_by_role("button", name="Roll back").click()
    expect(_row(page).locator(".count")).to_contain_text("◂ rolling back")
    expect(_row(page)).to_contain_text("5 still to go back")
    told.do(lambda story: story.until("rolled_back"))
    expect(_row(page)).to_contain_text("5 back on what they ran before")


def test_from_a_draft_to_the_end_all_is_ordered_on_the_page(page: Page, told: Told) -> None:
    told.do(lambda story: story.lay_down(Plan(V2, approvals=1, stages=GATED[:2])))
    page.goto(told.url)
    row, order = _row(page), page.locator("#order")

    def give(name: str, says: str, **fields: str) -> None:
        row.get_by_role("button", name=f"{name} …").click()
        expect(order).to_contain_text(says)
        for label, value in fields.items():
            order.get_by_label(label.capitalize()).fill(value)
        order.get_by_role("button", name=name).click()
        expect(order).to_be_hidden()

    give("Start", "It asks for 1 approval first")
    expect(row.locator(".count")).to_contain_text("awaiting approval")
    give(
        "Approve",
        "by ann, who may not grant it; 0 of 1 approvals are there. With the last one stage "
        "canary opens in ring canary.As things are it reaches 24 of 24 devices: canary 6",
        reason="ok",
    )
    expect(row.locator(".count")).to_contain_text("running")
    told.do(lambda story: story.until_stage("canary", "validating"))
    give(
        "Approve",
        "With the last one, and a yes of its webhook, stage canary has passed, and stage dev opens",
    )
    expect(row.locator("[data-gate=approval]")).to_contain_text("1 of 1 granted")
    give("Promote", "Then stage dev opens in ring dev.As things are stage dev is 6 devices")
    expect(row.locator("[data-stage=canary]")).to_contain_text("passed")
    row.get_by_role("button", name=NAME).click()
    sheet = page.locator("#detail")
    sheet.get_by_role("button", name="Pause …").click()
    order.get_by_label("For").select_option("1 hour")
    order.get_by_role("button", name="Pause").click()
    expect(sheet).to_contain_text("It goes on by itself in 60 min")
    sheet.get_by_role("button", name="Resume …").click()
    order.get_by_role("button", name="Resume").click()
    expect(sheet.locator(".role")).to_contain_text("running")
    sheet.get_by_role("button", name="Abort …").click()
    expect(order).to_contain_text("6 devices have the version, and keep it")
    order.get_by_role("button", name="Abort").click()
    expect(sheet.locator(".standing")).to_contain_text("as soon as no device is at work")
    told.do(lambda story: story.until("aborted"))
    expect(sheet.locator(".role")).to_contain_text("aborted")


def test_a_dialog_says_what_the_cluster_foresees(page: Page, told: Told) -> None:
    told.do(lambda story: story.lay_down(Plan(V2, window="Sat 01:00-02:00")))
    told.do(lambda story: story.order(SetFreeze("xmas", 86_400_000, (Ring.CANARY,))))
    page.goto(told.url)
    order = page.locator("#order")
    _row(page).get_by_role("button", name="Start …").click()
    for said in (
        "it reaches 24 of 24 devices: canary 6, dev 6, stage 6, prod 6",
        "Freeze xmas lies on 6 devices for another",
        "Devices are told in its window alone: Sat 01:00-02:00, UTC",
    ):
        expect(order.locator(".foreseen")).to_contain_text(said)
    order.get_by_role("button", name="Leave it").click()
    told.do(lambda story: (story.order(AbortRollout(NAME)), _soaking_beside(story)))
    page.locator("[data-rollout=other]").get_by_role("button", name="other").click()
    page.locator("#detail").get_by_role("button", name="Promote …").click()
    expect(order.locator(".foreseen")).to_contain_text("stage dev is 6 devices")


def test_a_dialog_counts_whom_the_stages_reach_and_not_the_scope(page: Page, told: Told) -> None:
    told.do(lambda story: story.lay_down(Plan(V2, stages=STAGES[:2], rest=False)))
    page.goto(told.url)
    _row(page).get_by_role("button", name="Start …").click()
    expect(page.locator("#order .foreseen")).to_contain_text(
        "it reaches 12 of 24 devices: canary 6, dev 6"
    )


def _soaking_beside(story: RolloutStory) -> None:
    story.order(LiftFreeze("xmas"))
    story.begin(name="other")
    for _ in range(60):
        story.lead()
        if story.stage("canary", "other").state == "soaking":
            return


def test_who_wrote_a_plan_reads_why_he_may_not_approve_it(page: Page, told: Told) -> None:
    told.do(lambda story: story.lay_down(Plan(V2, approvals=1), actor="anonymous@10.0.0.9"))
    told.do(lambda story: story.order(StartRollout(NAME)))
    page.goto(told.url)
    choice = _row(page).locator(".choices li").first
    expect(choice).to_contain_text("and that is you: somebody else has to approve it")
    expect(choice.get_by_role("button", name="Approve …")).to_be_disabled()


def test_where_nobody_was_reached_another_attempt_comes_first(page: Page, told: Told) -> None:
    def unreached(story: RolloutStory) -> None:
        story.deaf = set(story.rows)
        story.begin(Plan(V2, limits=Limits(deadline=20_000, first=0)))
        story.until("paused")

    told.do(unreached)
    page.goto(told.url)
    expect(_row(page).locator(".choices li").first).to_have_text(
        "Retry …another attempt for 6 tasks"
    )


def test_resume_says_that_a_soak_did_not_stop_and_what_follows(page: Page, told: Told) -> None:
    told.do(lambda story: (_soaking(story), story.pause()))
    page.goto(told.url)
    expect(_row(page)).to_contain_text(
        "An operator paused it (ann). Stage canary is watched all the same."
    )
    expect(_row(page).locator(".choices li").first).to_have_text(
        "Resume …stage canary was watched all the time, and is judged at the end of its soak; "
        "when it passes, the next opens"
    )


def test_one_order_that_is_not_enough_says_so(page: Page, told: Told) -> None:
    """A pause of the cluster and a freeze lie on a rollout that is paused as well."""
    told.do(lambda story: (story.begin(), story.pause(), story.order(Pause(3_600_000))))
    told.do(lambda story: story.order(SetFreeze("xmas", 86_400_000, (Ring.CANARY,))))
    page.goto(told.url)
    expect(_row(page)).to_contain_text(
        "An operator paused it (ann). When it is resumed nothing begins yet: "
        "automatic changes are paused, and freeze xmas lies on it."
    )
    expect(_row(page)).to_contain_text("that time stands still while automatic changes are paused")
    expect(_row(page).locator(".choices button")).to_have_text(
        ["Resume …", "Roll back …", "Abort …", "Resume automatic changes …", "Lift …"]
    )
    told.do(lambda story: story.resume())
    expect(_row(page)).to_contain_text(
        "Nothing begins: automatic changes are paused, and freeze xmas lies on it. "
        "It goes on in 24 h at the latest; its deadlines stand still meanwhile."
    )


def test_the_end_of_a_pause_of_the_cluster_names_what_goes_on_with_it(
    page: Page, told: Told
) -> None:
    told.do(lambda story: (_soaking(story), story.order(Pause(3_600_000))))
    told.do(lambda story: story.lay_down(name="later"))
    page.goto(told.url)
    _row(page).get_by_role("button", name="Resume automatic changes …").click()
    order = page.locator("#order")
    expect(order).to_contain_text("The pause ends now, and what nothing else holds goes on: fw.")
    order.get_by_role("button", name="Resume", exact=True).click()
    expect(_row(page)).to_contain_text("Stage canary is installed and watched.")


def test_what_needs_somebody_leads_to_its_row_which_is_above_those_that_are_over(
    page: Page, told: Told
) -> None:
    told.do(_in_doubt)
    told.do(lambda story: (story.lay_down(name="later"), story.order(AbortRollout("later"))))
    page.goto(told.url)
    expect(page.locator(".rollout h3 button")).to_have_text([NAME, "later"])
    page.locator("#headline .needs").get_by_role("button", name=f"rollout {NAME}").click()
    expect(_row(page).locator("h3 button")).to_be_focused()


def test_what_was_unblocked_is_not_said_to_be_in_the_way(page: Page, told: Told) -> None:
    told.do(_blocked)
    told.do(lambda story: story.order(UnblockArtifact("app", "2.0.0")))
    page.goto(told.url)
    expect(_row(page)).to_contain_text("What it installs failed in other, and is unblocked by now.")
    expect(_row(page).get_by_role("button", name="Resume …")).to_be_enabled()


def test_tasks_that_failed_are_tried_again(page: Page, told: Told) -> None:
    told.do(_in_doubt)
    page.goto(told.url)
    _row(page).get_by_role("button", name="Retry …").click()
    order = page.locator("#order")
    expect(order.get_by_role("heading")).to_have_text("Retry 1 task of fw?")
    order.get_by_role("button", name="Retry").click()
    expect(_row(page).locator("[data-stage=canary]")).to_contain_text("inconclusive")
    expect(_row(page).get_by_role("button", name="Retry …")).to_have_count(0)
    expect(_row(page).get_by_role("button", name="Resume …")).to_be_enabled()


def test_what_cannot_be_ordered_now_says_why(page: Page, told: Told) -> None:
    told.do(_bad)
    page.goto(told.url)
    _row(page).get_by_role("button", name=NAME).click()
    sheet = page.locator("#detail")
    why = {
        "Start …": "it has begun already",
        "Approve …": "nothing of it waits for approval",
        "Pause …": "it is paused already",
        "Resume …": "stage canary failed: promote it by force, abort, or roll back",
        "Retry …": "no task that can be tried again has failed",
    }
    for name, reason in why.items():
        button = sheet.get_by_role("button", name=name)
        expect(button).to_be_disabled()
        expect(button).to_have_attribute("title", reason)
    sheet.get_by_text("Why 5 orders cannot be given now").click()
    for reason in why.values():
        expect(sheet.get_by_text(reason)).to_be_visible()


def test_what_is_proven_bad_while_nothing_follows_from_it_takes_force(
    page: Page, told: Told
) -> None:
    def change(story: RolloutStory) -> None:
        story.begin(Plan(V2, stages=one_stage(), checks=Checks(webhook="https://ci.example/x")))
        story.until_stage("all", "validating")
        story.order(Pause(60_000))
        story.do(RecordGate(NAME, story.rollout().revision, "all", False))

    told.do(change)
    page.goto(told.url)
    _row(page).get_by_role("button", name="Promote …").click()
    expect(page.locator("#order")).to_contain_text("Although it failed")


def test_a_refusal_says_the_rule_and_what_to_do(page: Page, told: Told) -> None:
    told.do(lambda story: (_bad(story), story.roll_back(), story.until("rolled_back")))
    told.do(lambda story: story.lay_down(name="again"))
    page.goto(told.url)
    page.locator("[data-rollout=again]").get_by_role("button", name="Start …").click()
    order = page.locator("#order")
    order.get_by_role("button", name="Start").click()
    expect(order.get_by_role("alert")).to_contain_text("unblock it, or force this")


def test_the_sheet_shows_the_evidence_who_turned_bad_and_what_was_said(
    page: Page, told: Told
) -> None:
    told.do(_bad)
    page.goto(told.url)
    _row(page).get_by_role("button", name=NAME).click()
    sheet = page.locator("#detail")
    expect(sheet.get_by_role("heading", level=2)).to_have_text(f"Rollout {NAME}")
    expect(sheet.get_by_role("img")).to_have_attribute(
        "aria-label", re.compile(r"Evidence of harm: 47\.8 at last, .* 20 is proof")
    )
    expect(sheet).to_contain_text("3 of 3 updated devices turned bad, against 0 of their 12 twins")
    expect(sheet).to_contain_text("Why it is where it is")
    expect(sheet).to_contain_text("stage canary of fw (app 2.0.0) FAILED (health)")
    health = sheet.locator("[data-stage=canary] tr", has_text="health")
    expect(health).to_contain_text("✕ proven broken")
    device = sheet.locator("[data-stage=canary] .why li").first
    expect(device).to_have_text(re.compile(f"dev-[0-9]+, in ring ({'|'.join(RINGS)}) now"))
    device.get_by_role("button").click()
    expect(sheet).to_contain_text("Why it is in this ring")


def test_a_failure_is_named_with_a_device_that_had_it(page: Page, told: Told) -> None:
    told.do(_in_doubt)
    page.goto(told.url)
    _row(page).get_by_role("button", name=NAME).click()
    sheet = page.locator("#detail")
    expect(sheet).to_contain_text("1 × other: no space left, such as dev-")
    sheet.get_by_role("button", name="Its 6 tasks").click()
    expect(sheet).to_contain_text("app 2.0.0 to stage canary of fw")
    expect(sheet.get_by_role("button", name="Cancel …")).to_have_count(0)
    sheet.get_by_role("button", name="rollout fw").click()
    expect(sheet.get_by_role("heading", level=2)).to_have_text(f"Rollout {NAME}")


def test_variants_stand_side_by_side(page: Page, told: Told) -> None:
    told.do(_compared)
    page.goto(told.url)
    expect(_row(page)).to_contain_text("app 2.0.0 against 2.1.0")
    _row(page).get_by_role("button", name=NAME).click()
    table = page.locator("#detail table", has_text="assigned")
    expect(table.locator("thead th")).to_have_text(["A", "B"])
    expect(table.locator("tr", has_text="version")).to_contain_text("2.0.02.1.0")
    expect(page.locator("#detail")).to_contain_text("Without the version, for comparison: none")


def test_a_freeze_is_set_seen_and_lifted(page: Page, told: Told) -> None:
    told.do(lambda story: story.lay_down())
    page.goto(told.url)
    page.get_by_role("button", name="Freeze …").click()
    order = page.locator("#order")
    order.get_by_label("Name").fill("xmas")
    order.get_by_label("Devices").select_option("of ring canary")
    order.get_by_label("Only those with these labels").fill("model!=a")
    order.get_by_label("Reason").fill("nobody is here")
    order.get_by_role("button", name="Freeze").click()
    freeze = page.locator("[data-freeze=xmas]")
    expect(freeze).to_contain_text("nobody is here")
    expect(freeze).not_to_contain_text("holds fw")
    told.do(lambda story: (story.order(StartRollout(NAME)), story.lead(2)))
    expect(freeze).to_contain_text(
        "Freeze xmas on ring canary, model!=a: nothing new is installed there"
    )
    expect(freeze).to_contain_text("holds fw")
    freeze.get_by_role("button", name="Lift …").click()
    expect(order).to_contain_text("as soon as nothing else holds it: fw (6 devices wait)")
    order.get_by_role("button", name="Lift").click()
    expect(freeze).to_have_count(0)
    expect(_row(page)).not_to_contain_text("Nothing begins")


def test_what_is_blocked_is_seen_and_unblocked(page: Page, told: Told) -> None:
    told.do(_bad)
    page.goto(told.url)
    blocked = page.locator("[data-blocked='2.0.0']")
    expect(blocked).to_contain_text("app 2.0.0 is blocked")
    expect(blocked).to_contain_text("gate health was proven broken in stage canary of fw")
    blocked.get_by_role("button", name="Unblock …").click()
    page.locator("#order").get_by_role("button", name="Unblock").click()
    expect(blocked).to_have_count(0)


@pytest.mark.parametrize("width", [390, 1280])
def test_what_others_wrote_is_text_and_stays_on_the_page(
    browser: Browser, told: Told, width: int
) -> None:
    def hostile(story: RolloutStory) -> None:
        asked = Checks(webhook=f"https://x.example/{'w' * 200}")
        plan = Plan(V2, stages=(StagePlan("s" * 64, checks=asked),), parameters={"x": HOSTILE})
        freeze = SetFreeze("f" * 64, 90_000, (Ring.DEV,), f"model={'m' * 200}")
        story.done(freeze, actor=HOSTILE[:64], reason=HOSTILE, key="freeze")
        story.lay_down(plan, name="w" * 64, actor=HOSTILE[:64])
        story.order(StartRollout("w" * 64))
        story.lead(20)
        story.order(PauseRollout("w" * 64), actor=HOSTILE[:64])

    told.do(hostile)
    page = browser.new_page(viewport={"width": width, "height": 844})
    page.goto(told.url)
    row = page.locator(".rollout")
    expect(row).to_contain_text("has not answered")
    expect(page.locator("[data-freeze]")).to_contain_text("<script>")
    fits = "element => element.scrollWidth <= element.clientWidth"
    assert page.locator("html").evaluate(fits)
    row.get_by_role("button", name="w" * 64).click()
    sheet = page.locator("#detail")
    expect(sheet.locator("dl").first).to_contain_text("onerror")
    assert sheet.evaluate(fits)
    assert "owned" not in page.title()
    page.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("opened", ["page", "sheet", "order"])
def test_nothing_seriously_keeps_anybody_out(
    page: Page, told: Told, theme: Any, opened: str
) -> None:
    told.do(_in_doubt)
    told.do(lambda story: story.order(SetFreeze("xmas", 90_000)))
    page.emulate_media(color_scheme=theme)
    page.goto(told.url)
    if opened == "sheet":
        _row(page).get_by_role("button", name=NAME).click()
        expect(page.locator("#detail")).to_contain_text("Why it is where it is")
    if opened == "order":
        _row(page).get_by_role("button", name="Promote …").click()
        expect(page.locator("#order")).to_contain_text("To undo it")
    expect(page.locator("[data-freeze]")).to_contain_text("xmas")
    assert serious_violations(page) == []


@pytest.mark.parametrize("change", [_in_doubt, _bad, _compared, _stranded, _following])
def test_all_of_it_fits_a_phone(
    browser: Browser, told: Told, change: Callable[[RolloutStory], object]
) -> None:
    told.do(change)
    page = browser.new_page(viewport=PHONE)  # type: ignore[arg-type]
    page.goto(told.url)
    expect(_row(page)).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    _row(page).get_by_role("button", name=NAME).click()
    expect(page.locator("#detail")).to_contain_text("What became of it")
    sheet = "document.querySelector('#detail')"
    assert page.evaluate(f"{sheet}.scrollWidth <= {sheet}.clientWidth")
    page.close()


def test_a_rollback_that_was_ordered_elsewhere_is_seen(page: Page, told: Told) -> None:
    told.do(_soaking)
    page.goto(told.url)
    expect(_row(page).locator(".count")).to_contain_text("running")
    told.do(lambda story: story.order(RollBackRollout(NAME)))
    expect(_row(page).locator(".standing")).to_contain_text("An operator ordered it")
