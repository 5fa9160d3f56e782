"""Rollouts over HTTP: how far, why, and what next."""

from typing import Any

import httpx
import pytest

from stationkeep.cluster.commands import CreateDeployment, LiftFreeze, PromoteRollout, SetFreeze
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.deployment import Limits, Target
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.rollouts.gates import Gates
from stationkeep.cluster.rollouts.plan import Checks, OnFail, Plan, StagePlan, Variant
from stationkeep.node.api.resources import rollouts
from stationkeep.node.views.comparison import ReportView
from stationkeep.node.views.events import event_view
from stationkeep.node.views.rollouts import (
    RolloutExplanationView,
    RolloutSummaryView,
    RolloutTaskView,
    RolloutView,
)
from stationkeep.node.views.stages import StageDetailView, StageView
from tests.cluster.progression.rollouts import V2, one_stage
from tests.node.api.fake import FakeNode
from tests.node.api.rollout_story import RolloutStory


@pytest.fixture
def story(node: FakeNode) -> RolloutStory:
    """Twelve devices that have been well for long."""
    return RolloutStory(node).settle(12)


async def _get(client: httpx.AsyncClient, path: str, **query: Any) -> Any:
    answer = await client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def _one(client: httpx.AsyncClient, name: str = "fw") -> Any:
    return await _get(client, f"/v1/rollouts/{name}")


def _stage(seen: Any, name: str) -> Any:
    return next(stage for stage in seen["stages"] if stage["name"] == name)


async def test_a_draft_says_when_it_is_forgotten(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    story.lay_down()
    seen = await _one(client)
    assert set(seen) == set(RolloutView.__struct_fields__)
    assert set(seen["stages"][0]) == set(StageDetailView.__struct_fields__)
    assert (seen["state"], seen["author"], seen["versions"]) == ("draft", "ann", ["2.0.0"])
    assert seen["exit"] == {"becomes": "aborted", "reason": "expired", "in_s": 30 * 86_400.0}
    assert seen["orders"] == ["start", "abort"]
    assert [stage["name"] for stage in seen["stages"]] == ["canary", "dev", "stage", "prod", "rest"]
    (listed,) = (await _get(client, "/v1/rollouts"))["items"]
    assert set(listed) == set(RolloutSummaryView.__struct_fields__)
    assert set(listed["stages"][0]) == set(StageView.__struct_fields__)
    same = set(RolloutSummaryView.__struct_fields__) - {"stages"}
    assert {field: listed[field] for field in same} == {field: seen[field] for field in same}


async def test_a_stage_shows_each_gate_beside_its_limit(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    story.begin()
    story.until_stage("canary", "soaking")
    story.lead(3)
    canary = _stage(await _one(client), "canary")
    assert (canary["state"], canary["members"]) == ("soaking", 3)
    assert canary["tallies"]["succeeded"] == 3
    gates = {gate["name"]: gate for gate in canary["gates"]}
    assert list(gates) == ["failures", "coverage", "health"]
    assert (gates["coverage"]["value"], gates["coverage"]["limit"]) == (1.0, 0.5)
    assert gates["health"]["needed"] == 20.0
    assert gates["failures"]["sentence"].startswith("failures: 0 % failed, 5 % may")
    assert canary["exit"]["becomes"] == "judged"
    assert 0 < canary["exit"]["in_s"] <= 10
    assert canary["twins"]["updated"] == 3
    dev = _stage(await _one(client), "dev")
    assert (dev["state"], dev["since_s"], dev["members"]) == ("pending", None, 0)
    assert [gate["verdict"] for gate in dev["gates"]] == [None, None, None]
    assert dev["gates"][0]["sentence"] == "failures: nobody yet, 5 % may"


async def test_one_that_succeeded_has_its_story(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    story.begin()
    story.until("succeeded")
    seen = await _one(client)
    assert (seen["updated"], seen["members"], seen["exit"]) == (12, 12, None)
    assert seen["orders"] == ["rollback"]
    told = (await _get(client, "/v1/rollouts/fw/timeline"))["items"]
    assert told == seen["timeline"]
    assert [each["state"] for each in told if each["stage"] is None] == [
        "draft", "running", "succeeded",
    ]  # fmt: skip
    assert told[-1]["sentence"] == "rollout fw (app 2.0.0) has succeeded"
    assert all(each["decision"] for each in told)
    story.state.decisions.clear()
    bare = (await _get(client, "/v1/rollouts/fw/timeline"))["items"]
    assert bare[-1]["sentence"] == "the rollout is succeeded"
    assert len(bare) == len(told)


async def test_whoever_turned_bad_is_named_where_it_stands_now(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    story.crowd(38)
    story.rest(20_000)
    story.sickening = set(story.rows)
    story.begin(Plan(V2, stages=one_stage(), on_fail=OnFail.PAUSE))
    story.until_stage("all", "failed")
    seen = await _one(client)
    failed = _stage(seen, "all")
    named = [each["device"] for each in failed["turned_bad"]]
    assert 0 < len(named) <= 20
    assert set(named) <= {story.fleet.id(row) for row in story.ill}
    assert all(each["ring"] for each in failed["turned_bad"])
    assert failed["proven"] == "health"
    assert failed["series"][-1][1] >= 20
    assert sum(look[3] for look in failed["looks"]) > 0
    assert (seen["state"], seen["reason"]) == ("paused", "failed:all:health")
    assert seen["exit"] == {"becomes": "aborting", "reason": "pause_expired", "in_s": 604_800.0}
    assert seen["orders"] == ["abort", "rollback", "promote"]
    (artifact,) = (await _get(client, "/v1/artifacts"))["items"]
    assert (artifact["blocked"]["rollout"], artifact["blocked"]["gate"]) == ("fw", "health")
    assert (await _get(client, "/v1/artifacts", blocked=True))["items"] == [artifact]
    assert (await _get(client, "/v1/artifacts", blocked=False))["items"] == []


async def test_deployments_of_rollouts_are_told_from_those_of_people(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    story.begin()
    story.until_stage("canary", "soaking")
    story.order(CreateDeployment(target=Target(everyone=True), task_type="restart"))
    for of_rollouts, kind in ((True, "deployment"), (False, "restart")):
        listed = await _get(client, "/v1/deployments", of_rollouts=of_rollouts)
        assert [each["task_type"] for each in listed["items"]] == [kind]


async def test_the_way_back_is_counted(client: httpx.AsyncClient, story: RolloutStory) -> None:
    story.begin()
    story.until("succeeded")
    story.away = set(story.rows[:2])
    story.lead(20)
    story.roll_back()
    story.lead(20)
    seen = await _one(client)
    counts = {field: seen["rollback"][field] for field in ("back", "pending", "failed", "stranded")}
    assert counts == {"back": 10, "pending": 2, "failed": 0, "stranded": 0}
    assert seen["state"] == "rolling_back"
    assert seen["exit"]["becomes"] == "rolled_back"


async def test_a_freeze_says_how_long_it_holds(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    story.order(SetFreeze("xmas", 600_000, (Ring.DEV,)), "ann")
    story.begin()
    story.until_stage("canary", "passed")
    story.lead(5)
    seen = await _one(client)
    assert seen["held"]["reason"] == "freeze:xmas"
    assert 0 < seen["held"]["until_s"] < 600
    assert _stage(seen, "dev")["held"] == seen["held"]
    assert _stage(seen, "prod")["held"] is None
    (freeze,) = (await _get(client, "/v1/freezes"))["items"]
    assert (freeze["freeze"], freeze["rings"], freeze["actor"]) == ("xmas", ["dev"], "ann")


async def test_a_pause_with_an_end_says_so(client: httpx.AsyncClient, story: RolloutStory) -> None:
    story.begin()
    story.lead(1)
    story.pause(60_000)
    seen = await _one(client)
    assert (seen["exit"]["becomes"], seen["exit"]["in_s"]) == ("running", 60.0)
    hold = {
        "reason": "paused", "until_s": 60.0, "sentence": "the rollout is paused",
        "when": "somebody resumes it",
    }  # fmt: skip
    assert seen["held"] == hold | {"when": "", "holds": [hold]}
    assert _stage(seen, "canary")["exit"] == {
        "becomes": "soaking", "reason": "deadline", "in_s": None,
    }  # fmt: skip


async def test_people_and_webhooks_are_gates_as_well(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    checks = Checks(Gates(), webhook="https://ci.example/smoke", approvals=2)
    story.begin(Plan(V2, stages=one_stage(checks=checks)))
    story.until_stage("all", "validating")
    story.approve("ben", "all")
    stage = _stage(await _one(client), "all")
    webhook, approval = stage["gates"][-2:]
    assert webhook["sentence"] == "webhook: https://ci.example/smoke has not answered"
    assert (approval["evidence"], approval["needed"], approval["verdict"]) == (1, 2, None)
    assert stage["exit"]["becomes"] == "inconclusive"


async def test_lists_are_filtered_and_paged(client: httpx.AsyncClient, story: RolloutStory) -> None:
    for n in range(3):
        story.lay_down(name=f"fw-{n}")
    first = await _get(client, "/v1/rollouts", limit=2)
    assert [each["rollout"] for each in first["items"]] == ["fw-2", "fw-1"]
    rest = await _get(client, "/v1/rollouts", limit=2, cursor=first["next"])
    assert ([each["rollout"] for each in rest["items"]], rest["next"]) == (["fw-0"], None)
    assert not (await _get(client, "/v1/rollouts", state="running"))["items"]
    assert len((await _get(client, "/v1/rollouts", state="draft"))["items"]) == 3


async def test_a_page_is_no_longer_than_the_loop_has_time_for(
    client: httpx.AsyncClient, story: RolloutStory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollouts, "LONGEST_PAGE", 2)
    for n in range(3):
        story.lay_down(name=f"fw-{n}")
    first = await _get(client, "/v1/rollouts", limit=1_000)
    assert [each["rollout"] for each in first["items"]] == ["fw-2", "fw-1"]
    assert first["next"] is not None


async def test_what_is_not_known_is_not_there(client: httpx.AsyncClient) -> None:
    for path in ("", "/timeline", "/tasks", "/report", "/explain"):
        answer = await client.get(f"/v1/rollouts/nobody{path}")
        assert (answer.status_code, answer.json()["detail"]) == (404, "no such rollout: 'nobody'")
    assert (await client.get("/v1/rollouts/a%20b")).status_code == 400


async def test_variants_and_what_was_promoted(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    variants = (Variant("a", 1, V2), Variant("none", 1))
    story.begin(Plan(variants=variants, stages=one_stage()))
    story.until_stage("all", "soaking")
    story.order(PromoteRollout("fw", variant="a"))
    assert (await _one(client))["variant"] == "a"


async def test_tasks_come_stage_by_stage(client: httpx.AsyncClient, story: RolloutStory) -> None:
    story.begin()
    story.until("succeeded")
    path, seen, cursor = "/v1/rollouts/fw/tasks", [], None
    while True:
        page = await _get(client, path, limit=5, **({"cursor": cursor} if cursor else {}))
        seen += page["items"]
        cursor = page["next"]
        if cursor is None:
            break
    assert [task["stage"] for task in seen] == [
        name for name in ("canary", "dev", "stage", "prod") for _ in range(3)
    ]
    assert len({task["task_id"] for task in seen}) == 12
    assert set(seen[0]) == set(RolloutTaskView.__struct_fields__)
    (one,) = {task["variant"] for task in seen}
    assert one is None
    prod = (await _get(client, path, stage="prod", state="succeeded", ring="prod"))["items"]
    assert prod == seen[-3:]
    assert not (await _get(client, path, state="failed"))["items"]
    for query, field in (({"stage": "gold"}, "stage"), ({"variant": "b"}, "variant")):
        answer = await client.get(path, params=query)
        assert (answer.status_code, answer.json()["field"]) == (400, field)


async def test_an_explanation_says_what_would_change_it(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    story.deaf = {story.in_ring(Ring.CANARY)[0]}
    story.begin()
    story.lead(2)
    told = await _get(client, "/v1/rollouts/fw/explain")
    assert set(told) == set(RolloutExplanationView.__struct_fields__)
    assert told["summary"][0].startswith("fw is running for")
    assert told["summary"][-1] == "you may order: pause, abort, roll back, promote"
    assert told["timeline"][-1]["stage"] == "canary"
    device = story.fleet.id(next(iter(story.deaf)))
    device_told = (await _get(client, f"/v1/devices/{device}/explain"))["summary"]
    assert any("its task 1/" in line and "app 2.0.0" in line for line in device_told)


async def test_a_device_says_that_its_rollout_holds_its_task(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    story.deaf = set(story.rows)
    story.begin()
    story.lead(1)
    story.pause()
    waiting = (await _get(client, "/v1/rollouts/fw/tasks", state="queued"))["items"]
    told = (await _get(client, f"/v1/devices/{waiting[0]['device']}/explain"))["summary"]
    assert any("rollout fw has nothing offered (paused)" in line for line in told)
    assert waiting[0]["waits"] == "rollout fw has nothing offered (paused)"
    deployment = await _get(client, "/v1/deployments/1")
    assert (deployment["rollout"], deployment["held"]) == ("fw", waiting[0]["waits"])


V3 = Artifact("3.0.0")
EVEN = (Variant("a", 50, V2), Variant("b", 50, V3))


async def test_variants_are_compared(client: httpx.AsyncClient, story: RolloutStory) -> None:
    story.crowd(188)
    story.rest(20_000)
    limits = Limits(first=0)
    plan = Plan(variants=EVEN, stages=one_stage(limits=limits), on_fail=OnFail.PAUSE)
    story.begin(plan)
    story.until_stage("all", "soaking")
    story.lead(4)
    report = await _get(client, "/v1/rollouts/fw/report")
    assert set(report) == set(ReportView.__struct_fields__)
    first, second = report["variants"]
    assert (first["name"], first["version"], first["share"]) == ("a", "2.0.0", 0.5)
    assert first["assigned"] + second["assigned"] == 200
    assert first["succeeded"] + second["succeeded"] == 200
    assert first["watched"] + second["watched"] > 0
    assert first["odds"] is None
    assert second["odds"]["low"] < 1 < second["odds"]["high"]
    assert report["conclusions"][0].startswith("no difference between b and a is shown: odds ratio")
    tasks = (await _get(client, "/v1/rollouts/fw/tasks", variant="b", limit=1_000))["items"]
    assert {(task["variant"], task["version"]) for task in tasks} == {("b", "3.0.0")}
    assert len(tasks) == second["assigned"]


async def test_a_variant_that_makes_ill_is_told_from_the_other(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    """Scenario 38: while the stage is judged, and when it is over."""
    story.crowd(188)
    story.rest(20_000)
    story.bad_version, story.sickening = "3.0.0", set(story.rows)
    stages = (StagePlan("some", share=200_000, limits=Limits(first=0)),)
    story.begin(Plan(variants=EVEN, stages=stages, on_fail=OnFail.PAUSE))
    story.until_stage("some", "failed")
    report = await _get(client, "/v1/rollouts/fw/report")
    good, bad = report["variants"]
    assert (good["turned_bad"], bad["turned_bad"]) == (0, bad["watched"])
    assert bad["hazard"]["low"] > 1
    assert good["hazard"] is None
    assert report["conclusions"][-1].startswith("devices with b turn bad")
    assert good["bad_odds"] is None
    assert bad["bad_odds"]["low"] > 1
    assert report["conclusions"][1].startswith("b turns bad more often than a: odds ratio")
    assert 0 < good["device_hours"] < good["assigned"]
    battery, *_ = good["metrics"]
    assert (battery["metric"], battery["median"], battery["devices"]) == (
        "battery", 90.0, good["succeeded"],
    )  # fmt: skip


async def test_a_comparison_that_chance_does_not_explain_is_refused(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    """Devices of one variant vanish before they answer."""
    story.crowd(88)
    story.rest(20_000)
    story.begin(Plan(variants=EVEN, stages=one_stage(limits=Limits(first=0))))
    story.lead(1)
    story.state.deployments.rosters[1].variant[:] = 0
    report = await _get(client, "/v1/rollouts/fw/report")
    assert report["sample_ratio"]["evidence"] >= report["sample_ratio"]["needed"] == 1_000
    assert report["withheld"].startswith("devices do not come to the variants by their weights")
    assert not report["conclusions"]
    assert [arm["odds"] for arm in report["variants"]] == [None, None]


async def test_one_version_alone_is_compared_with_twins(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    story.crowd(38)
    story.rest(20_000)
    story.sickening = set(story.rows)
    story.begin(Plan(V2, stages=one_stage()))
    story.until_stage("all", "failed")
    report = await _get(client, "/v1/rollouts/fw/report")
    assert (report["variants"], report["sample_ratio"], report["withheld"]) == ([], None, None)
    assert report["hazard"]["low"] > 1


def _kinds(story: RolloutStory) -> list[str]:
    return [event.kind for event in story.node.streamed]


async def test_followers_are_told_of_states_verdicts_and_freezes(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    story.order(SetFreeze("xmas", 600_000))
    story.begin()
    story.order(LiftFreeze("xmas"))
    story.until("succeeded")
    kinds = _kinds(story)
    assert {"rollout_changed", "stage_changed", "gate_judged", "freeze_changed"} <= set(kinds)
    told = [
        event_view(event.event, story.fleet)
        for event in story.node.streamed
        if event.event is not None and event.kind in ("rollout_changed", "stage_changed")
    ]
    assert told[0] == {"rollout": "fw", "state": "draft", "reason": ""}
    assert {"rollout": "fw", "stage": "canary", "state": "soaking", "reason": ""} in told
    assert told[-1] == {"rollout": "fw", "state": "succeeded", "reason": ""}
    assert kinds.count("gate_judged") <= 4 * 3 * 3  # verdicts, and not every look


async def test_decisions_about_rollouts_are_a_list_of_their_own(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    story.begin()
    story.until("succeeded")
    told = (await _get(client, "/v1/decisions", about="rollouts", limit=1_000))["items"]
    assert {each["matter"] for each in told} == {"create_rollout", "rollout", "stage"}
    assert all("rollouts" in each["about"] for each in told)
    assert told[0]["sentence"] == "rollout fw (app 2.0.0) has succeeded"
