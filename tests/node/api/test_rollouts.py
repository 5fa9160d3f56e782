"""Rollouts over HTTP: how far, why, and what next."""

from typing import Any

import httpx
import pytest

from stationkeep.cluster.commands import PromoteRollout, SetFreeze
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.rollouts.gates import Gates
from stationkeep.cluster.rollouts.plan import Checks, OnFail, Plan, Variant
from stationkeep.node.views.rollouts import RolloutSummaryView, RolloutView
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
    assert seen["orders"] == ["resume", "abort", "rollback", "promote"]
    (artifact,) = (await _get(client, "/v1/artifacts"))["items"]
    assert (artifact["blocked"]["rollout"], artifact["blocked"]["gate"]) == ("fw", "health")


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
    assert seen["held"] == {
        "reason": "paused", "until_s": 60.0, "sentence": "the rollout is paused",
    }  # fmt: skip
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


async def test_what_is_not_known_is_not_there(client: httpx.AsyncClient) -> None:
    for path in ("", "/timeline"):
        answer = await client.get(f"/v1/rollouts/nobody{path}")
        assert (answer.status_code, answer.json()["detail"]) == (404, "no such rollout: nobody")
    assert (await client.get("/v1/rollouts/a%20b")).status_code == 400


async def test_variants_and_what_was_promoted(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    variants = (Variant("a", 1, V2), Variant("none", 1))
    story.begin(Plan(variants=variants, stages=one_stage()))
    story.until_stage("all", "soaking")
    story.order(PromoteRollout("fw", variant="a"))
    assert (await _one(client))["variant"] == "a"
