"""Rollouts ordered over HTTP: laid down, begun, held, ended; and every rule that refuses."""

from typing import Any

import httpx
import pytest

from stationkeep.cluster.commands import Pause
from stationkeep.cluster.rollouts.plan import MAX_PLAN_BYTES
from stationkeep.cluster.state.codec import digest
from stationkeep.node.views.rollouts import LaidDownView
from tests.node.api.fake import FakeNode
from tests.node.api.rollout_story import RolloutStory

V2 = {"artifact": {"version": "2.0.0"}}
ALL = {"stages": [{"name": "everybody", "ring": "all"}]}


@pytest.fixture
def story(node: FakeNode) -> RolloutStory:
    return RolloutStory(node).settle(12)


async def _lay_down(
    client: httpx.AsyncClient, name: str = "fw", actor: str = "ann", **plan: Any
) -> httpx.Response:
    body = {"rollout": name, "plan": {**V2, **plan}}
    return await client.post("/v1/rollouts", json=body, headers={"X-Stationkeep-Actor": actor})


async def _order(
    client: httpx.AsyncClient, order: str, name: str = "fw", actor: str = "ann", **body: Any
) -> httpx.Response:
    path = f"/v1/rollouts/{name}/{order}"
    return await client.post(path, json=body, headers={"X-Stationkeep-Actor": actor})


async def _done(client: httpx.AsyncClient, order: str, **more: Any) -> Any:
    answer = await _order(client, order, **more)
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


async def _refused(client: httpx.AsyncClient, order: str, **more: Any) -> tuple[str, str]:
    answer = await _order(client, order, **more)
    assert answer.status_code == 409, answer.text
    problem = answer.json()
    return problem["rule"], problem["detail"]


async def _seen(client: httpx.AsyncClient, name: str = "fw") -> Any:
    return (await client.get(f"/v1/rollouts/{name}")).json()


async def test_one_is_laid_down_started_and_comes_to_everybody(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    made = await _lay_down(client)
    assert made.status_code == 201
    assert set(made.json()) == set(LaidDownView.__struct_fields__)
    seen = await _seen(client)
    assert (seen["state"], seen["author"], seen["digest"]) == (
        "draft",
        "ann",
        made.json()["digest"],
    )
    assert (await _done(client, "start"))["state"] == "running"
    story.until("succeeded")
    assert (await _seen(client))["updated"] == 12


async def test_a_plan_comes_back_as_it_was_given(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    plan = {
        "stages": ["canary", {"name": "tenth", "ring": "prod", "share": "10%", "soak": "1h"}],
        "gates": {"failures": {"max": "10%"}, "health": {"require": "temperature < 70"}},
        "pace": {"from": 5, "to": 50}, "on_fail": "pause", "follow": "7d", "approvals": 1,
    }  # fmt: skip
    assert (await _lay_down(client, **plan)).status_code == 201
    first = await _seen(client)
    again = await _lay_down(client, "same", **first["plan"])
    assert again.json()["digest"] == first["digest"]


@pytest.mark.parametrize(
    ("plan", "field"),
    [
        ({"artifact": {}}, "plan.artifact.version"),
        ({"artifact": {"version": 2}}, "plan.artifact.version"),
        ({"colour": "red"}, "plan.colour"),
        ({"stages": ["gold"]}, "plan.stages[0]"),
        ({"stages": [{"name": "a", "share": "110%"}]}, "plan.stages[0].share"),
        ({"gates": {"failures": {"max": 2}}}, "plan.gates.failures.max"),
        ({"follow": "soon"}, "plan.follow"),
        ({"priority": "high"}, "plan.priority"),
        ({"scope": "("}, "plan.scope"),
    ],
)
async def test_a_bad_plan_names_the_place_and_changes_nothing(
    client: httpx.AsyncClient, story: RolloutStory, plan: dict[str, Any], field: str
) -> None:
    before = digest(story.state)
    answer = await _lay_down(client, **plan)
    assert answer.status_code == 400, answer.text
    assert field in [error["field"] for error in answer.json()["errors"]], answer.text
    assert digest(story.state) == before


@pytest.mark.parametrize(
    "body",
    [
        {"rollout": "fw"},
        {"rollout": "fw", "plan": []},
        {"rollout": "a b", "plan": V2},
        {"rollout": "fw", "plan": V2, "replace": "yes"},
        {"rollout": "fw", "plan": V2, "comment": "\x1b[2J"},
        {"rollout": "fw", "plan": V2, "colour": "red"},
        {"rollout": "fw", "plan": {**V2, "parameters": {"k": "x" * MAX_PLAN_BYTES}}},
        {"rollout": "fw", "plan": {**V2, "devices": [f"dev-{n}" for n in range(3_000)]}},
    ],
)
async def test_a_bad_body_is_refused_as_everywhere(
    client: httpx.AsyncClient, story: RolloutStory, body: dict[str, Any]
) -> None:
    answer = await client.post("/v1/rollouts", json=body)
    assert answer.status_code == 400, answer.text
    assert not story.state.rollouts.known


async def test_a_repetition_is_answered_as_the_first_time(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    await _lay_down(client)
    headers = {"Idempotency-Key": "once", "X-Stationkeep-Actor": "ann"}
    first = await client.post("/v1/rollouts/fw/start", json={}, headers=headers)
    again = await client.post("/v1/rollouts/fw/start", json={}, headers=headers)
    assert first.status_code == again.status_code == 200
    assert first.json() == again.json()
    assert story.rollout().revision == first.json()["result"]["revision"]


async def test_whoever_has_seen_another_revision_looks_again(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    await _lay_down(client)
    rule, detail = await _refused(client, "start", revision=7)
    assert (rule, detail) == ("stale_revision", "revision: 7, and fw is at 1: look at it again")
    assert (await _done(client, "start", revision=1))["revision"] == 2


async def test_what_is_not_known_cannot_be_ordered(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    for order in ("start", "pause", "resume", "promote", "abort", "rollback", "retry"):
        assert (await _order(client, order, "nobody")).status_code == 404, order
    assert (await _order(client, "approve", "nobody", digest="00")).status_code == 404


async def test_an_order_that_is_none_now_says_what_may_be_ordered(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    await _lay_down(client)
    rule, detail = await _refused(client, "pause")
    assert rule == "not_in_state"
    assert detail == "rollout: fw is draft, what may be ordered of it is start, abort"


async def test_a_name_is_taken_once_and_replaced_by_order(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    await _lay_down(client)
    again = await _lay_down(client)
    assert (again.status_code, again.json()["rule"]) == (409, "duplicate")
    body = {"rollout": "fw", "plan": {**V2, "priority": 600}, "replace": True}
    assert (await client.post("/v1/rollouts", json=body)).json()["revision"] == 2


async def test_approvals_are_of_others_and_of_the_plan_that_was_seen(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    seen = (await _lay_down(client, approvals=1)).json()["digest"]
    assert (await _done(client, "start"))["state"] == "awaiting_approval"
    assert (await _refused(client, "approve", digest=seen))[0] == "self_approval"
    assert (await _refused(client, "approve", actor="ben", digest="0" * 32))[0] == "digest_changed"
    assert (await _done(client, "approve", actor="ben", digest=seen))["state"] == "running"
    assert [each["actor"] for each in (await _seen(client))["approvals"]] == ["ben"]


async def test_rivals_must_differ_in_priority(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    await _lay_down(client)
    await _done(client, "start")
    await _lay_down(client, "other")
    rule, detail = await _refused(client, "start", name="other")
    assert rule == "overlaps"
    assert "fw changes app on 12 of its devices, too" in detail
    await _lay_down(client, "higher", priority=900)
    await _done(client, "start", name="higher")


async def test_a_scope_of_nobody_is_refused(client: httpx.AsyncClient, story: RolloutStory) -> None:
    await _lay_down(client, scope="app=9.9.9")
    assert (await _refused(client, "start"))[0] == "incapable"


async def test_another_file_of_the_same_version_is_refused(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    file = {"version": "2.0.0", "url": "https://updates.example/fw", "size": 9}
    await _lay_down(client, artifact={**file, "sha256": "9f" * 32})
    await _done(client, "start")
    story.lead(2)
    answer = await _lay_down(client, "other", artifact={**file, "sha256": "00" * 32})
    assert (answer.status_code, answer.json()["rule"]) == (409, "artifact_differs")


async def test_what_failed_is_blocked_until_it_is_unblocked(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    story.failing = set(story.rows)
    await _lay_down(client)
    await _done(client, "start")
    story.until("rolled_back")
    assert (await _seen(client))["rollback"]["back"] == 0
    await _lay_down(client, "again", priority=600)
    rule, detail = await _refused(client, "start", name="again")
    assert rule == "artifact_blocked"
    assert detail.endswith("unblock it, or force this")
    unblock = await client.post("/v1/artifacts/app/2.0.0:unblock", json={"reason": "mended"})
    assert unblock.json()["result"] == {"unblocked": 1}
    await _done(client, "start", name="again")
    gone = await client.post("/v1/artifacts/app/2.0.0:unblock", json={})
    assert (gone.status_code, gone.json()["rule"]) == (409, "closed")


async def test_a_stage_that_deploys_is_promoted_by_force_alone(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    story.deaf = set(story.rows)
    await _lay_down(client)
    await _done(client, "start")
    story.lead(3)
    assert (await _refused(client, "promote"))[0] == "promote_while_deploying"
    await _done(client, "promote", force=True)
    story.lead(2)
    assert [stage["state"] for stage in (await _seen(client))["stages"]][:2] == [
        "deploying", "deploying",
    ]  # fmt: skip


async def test_a_pause_may_have_an_end(client: httpx.AsyncClient, story: RolloutStory) -> None:
    await _lay_down(client)
    await _done(client, "start")
    story.lead(1)
    assert (await _done(client, "pause", duration="10s"))["state"] == "paused"
    story.lead(11)
    assert (await _seen(client))["state"] == "running"
    assert (await _order(client, "pause", duration="31d")).status_code == 400
    assert (await _order(client, "pause", duration="soon")).json()["errors"][0][
        "field"
    ] == "duration"
    assert (await _done(client, "pause", duration=30))["state"] == "paused"
    assert (await _done(client, "resume"))["state"] == "running"
    assert (await _done(client, "abort"))["state"] == "aborting"


async def test_a_rollback_of_forgotten_rosters_is_refused(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    await _lay_down(client)
    await _done(client, "start")
    story.until("succeeded")
    del story.state.deployments.rosters[1]
    assert (await _refused(client, "rollback"))[0] == "rollback_gone"


async def test_tasks_that_failed_are_tried_again(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    await _lay_down(client, **ALL, gates={"coverage": {"min": 1}, "health": False})
    assert (await _refused(client, "retry"))[0] == "not_in_state"
    await _done(client, "start")
    story.deaf = set(story.rows[:2])
    story.until_stage("everybody", "inconclusive", 600)
    story.deaf = set()
    assert (await _done(client, "retry"))["retried"] == 2
    await _done(client, "resume")
    story.until("succeeded")
    assert (await _order(client, "retry", stage="nowhere")).json()["errors"][0]["field"] == "stage"
    assert (await _refused(client, "retry", stage="everybody"))[0] == "not_in_state"


async def test_freezes_are_set_replaced_and_lifted(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    async def put(**body: Any) -> httpx.Response:
        return await client.put("/v1/freezes/xmas", json=body)

    done = await put(duration="2h", rings=["prod", "dev"], selector="app=1.0.0", reason="shop")
    assert done.status_code == 200, done.text
    (freeze,) = (await client.get("/v1/freezes")).json()["items"]
    assert freeze == freeze | {
        "freeze": "xmas", "rings": ["dev", "prod"], "selector": "app=1.0.0", "reason": "shop",
        "ends_s": 7_200.0,
    }  # fmt: skip
    assert (await put(duration="1h")).status_code == 200
    for body, field in (
        ({}, "duration"), ({"duration": "91d"}, "duration"), ({"duration": "0s"}, "duration"),
        ({"duration": "1h", "rings": ["gold"]}, "rings.0"),
        ({"duration": "1h", "selector": "("}, "selector"),
    ):  # fmt: skip
        answer = await put(**body)
        assert answer.status_code == 400, answer.text
        assert field in answer.text
    assert (await client.delete("/v1/freezes/xmas")).status_code == 200
    assert (await client.delete("/v1/freezes/xmas")).status_code == 404


async def test_no_more_freezes_than_there_is_room_for(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    for n in range(16):
        who = {"X-Stationkeep-Actor": ("ann", "bob")[n % 2]}
        await client.put(f"/v1/freezes/f{n}", json={"duration": "1h"}, headers=who)
    own = await client.put("/v1/freezes/more", json={"duration": "1h"}, headers=who)
    assert (own.status_code, own.json()["rule"]) == (429, "quota")
    full = await client.put("/v1/freezes/more", json={"duration": "1h"})
    assert (full.status_code, full.json()["rule"]) == (409, "limit")
    page = (await client.get("/v1/freezes", params={"limit": 10})).json()
    rest = (await client.get("/v1/freezes", params={"limit": 10, "cursor": page["next"]})).json()
    assert len(page["items"]) + len(rest["items"]) == 16


async def test_a_paused_cluster_takes_orders_all_the_same(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    story.order(Pause(600_000))
    await _lay_down(client)
    await _done(client, "start")
    story.lead(3)
    held = (await _seen(client))["held"]
    assert (held["reason"], held["sentence"]) == ("cluster_paused", "automatic changes are paused")


async def test_an_actor_has_its_share_and_no_more(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    for n in range(8):
        assert (await _lay_down(client, f"fw-{n}")).status_code == 201
    answer = await _lay_down(client, "fw-8")
    assert (answer.status_code, answer.json()["rule"]) == (429, "quota")
    assert (await _lay_down(client, "fw-8", actor="ben")).status_code == 201
