"""The dry run of a rollout: whom it would reach, and what its gates see; and nothing changes."""

import asyncio
import threading
from typing import Any

import httpx
import pytest

from stationkeep.cluster.commands import SetFreeze, StartRollout
from stationkeep.cluster.rollouts.plan import Plan
from stationkeep.cluster.state.codec import digest
from stationkeep.node.views import previews
from tests.cluster.progression.rollouts import V1, V2
from tests.node.api.fake import FakeNode
from tests.node.api.rollout_story import RolloutStory

PLAN: dict[str, Any] = {"artifact": {"version": "2.0.0"}}


@pytest.fixture
def story(node: FakeNode) -> RolloutStory:
    return RolloutStory(node).settle(40)


async def ask(client: httpx.AsyncClient, plan: dict[str, Any], name: str = "fw") -> Any:
    answer = await client.post("/v1/rollouts:validate", json={"rollout": name, "plan": plan})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_it_tells_whom_each_stage_reaches_and_changes_nothing(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    before, log = digest(story.state), len(story.log)
    seen = await ask(client, PLAN)
    assert (digest(story.state), len(story.log)) == (before, log)
    assert (seen["devices"], seen["scope"], seen["incapable"]) == (40, 40, 0)
    assert seen["digest"] == Plan(V2).digest
    assert [stage["name"] for stage in seen["stages"]] == ["canary", "dev", "stage", "prod", "rest"]
    assert sum(stage["members"] for stage in seen["stages"]) == 40
    assert seen["refusals"] == seen["overlaps"] == seen["freezes"] == []


async def test_its_members_are_those_that_the_rollout_gets(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    plan = {
        **PLAN,
        "stages": [{"name": "some", "ring": "all", "share": "10%"}, {"name": "a", "ring": "all"}],
    }
    seen = [stage["members"] for stage in (await ask(client, plan))["stages"]]
    assert seen == [4, 36, 0]
    body = {"rollout": "fw", "plan": plan}
    assert (await client.post("/v1/rollouts", json=body)).status_code == 201
    imagined = previews.imagined(story.state, "fw", story.state.rollouts.known["fw"].plan)
    assert imagined.salt == story.state.rollouts.known["fw"].salt
    assert imagined.digest == story.state.rollouts.known["fw"].digest


async def test_power_is_told_where_somebody_is_left_to_compare_with(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    plan = {**PLAN, "stages": [{"name": "a", "ring": "all", "share": "25%"}], "rest": True}
    first, rest = (await ask(client, plan))["stages"]
    assert [power["ill"] for power in first["power"]] == [0.6, 0.3, 0.15]
    assert first["power"][0]["stopped"] > 0.8
    assert "no twins are left" in rest["note"]
    assert all(power["stopped"] == 0 for power in rest["power"])


async def test_what_devices_have_already_and_who_is_away_is_counted(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    story.clock += 5_000
    story.silence(story.rows[:10])
    seen = (await ask(client, {**PLAN, "stages": [{"name": "a", "ring": "all"}]}))["stages"][0]
    assert seen["offline"] == 10
    old = {"artifact": {"version": "1.0.0"}, "stages": [{"name": "a", "ring": "all"}]}
    assert (await ask(client, old))["stages"][0]["already"] == 40
    older = {"artifact": {"version": "0.9.0"}, "stages": [{"name": "a", "ring": "all"}]}
    assert (await ask(client, older))["stages"][0]["newer"] == 40
    assert "passes at once" in (await ask(client, older))["stages"][0]["note"]


async def test_what_is_in_its_way_is_told(client: httpx.AsyncClient, story: RolloutStory) -> None:
    story.lay_down(Plan(V1, allow_downgrade=True), name="other")
    story.order(StartRollout("other"))
    story.order(SetFreeze("xmas", 3_600_000))
    equal = await ask(client, PLAN)
    assert equal["refusals"][0].startswith("overlaps: priority: other changes app on 40")
    assert "whoever comes first on 40 devices" in equal["overlaps"][0]["sentence"]
    assert [(each["freeze"], each["devices"]) for each in equal["freezes"]] == [("xmas", 40)]
    higher = await ask(client, {**PLAN, "priority": 900, "overrides": ["xmas"]})
    assert (higher["refusals"], higher["freezes"]) == ([], [])
    assert "waits for it" in higher["overlaps"][0]["sentence"]


async def test_a_name_that_is_taken_is_told(client: httpx.AsyncClient, story: RolloutStory) -> None:
    story.lay_down(Plan(V2))
    assert (await ask(client, PLAN))["refusals"] == []
    story.order(StartRollout("fw"))
    said = ["duplicate: rollout: fw is running: create it under another name"]
    assert (await ask(client, PLAN))["refusals"] == said


async def test_a_pace_and_a_trial_take_their_time(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    plan = {**PLAN, "stages": [{"name": "a", "ring": "all", "soak": "1h"}], "first": 2}
    whole = (await ask(client, plan))["stages"][0]["at_least_s"]
    assert 3_600 < whole < 3_700
    paced = {**plan, "pace": {"from": 1, "to": 1, "factor": 1}}
    assert (await ask(client, paced))["stages"][0]["at_least_s"] >= whole + 36 * 60


async def test_a_window_says_when_it_opens(client: httpx.AsyncClient, story: RolloutStory) -> None:
    always = await ask(client, {**PLAN, "window": "00:00-24:00", "timezone": "Europe/Berlin"})
    assert always["window"] == {
        "hours": "00:00-24:00", "timezone": "Europe/Berlin", "opens_s": 0.0,
    }  # fmt: skip
    monday = await ask(client, {**PLAN, "window": "Mon 01:00-01:05", "timezone": "device"})
    assert 0 <= monday["window"]["opens_s"] <= 7 * 86_400
    assert (await ask(client, PLAN))["window"] is None
    urgent = {**PLAN, "window": "Mon 01:00-01:05", "emergency": True}
    assert (await ask(client, urgent))["window"] is None


async def test_controls_are_twins_and_no_members(
    client: httpx.AsyncClient, story: RolloutStory
) -> None:
    variants = [
        {"name": "A", "weight": 1, "version": "2.0.0"},
        {"name": "none", "weight": 1, "control": True},
    ]
    seen = await ask(client, {"variants": variants, "stages": [{"name": "a", "ring": "all"}]})
    assert 5 < seen["stages"][0]["members"] < 35
    assert seen["stages"][0]["power"][0]["stopped"] > 0


async def test_every_fault_of_a_plan_is_told(client: httpx.AsyncClient) -> None:
    body = {"rollout": "fw", "plan": {"priority": -1, "artefact": {}}}
    answer = await client.post("/v1/rollouts:validate", json=body)
    assert answer.status_code == 400
    assert {fault["field"] for fault in answer.json()["errors"]} == {
        "plan.priority", "plan.artefact", "plan.artifact",
    }  # fmt: skip


async def test_one_is_made_at_a_time(
    client: httpx.AsyncClient, story: RolloutStory, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, refused = previews.power_views, threading.Event()

    def slow(stage: Any) -> Any:
        assert refused.wait(10)
        return real(stage)

    async def asked() -> int:
        body = {"rollout": "fw", "plan": PLAN}
        status = (await client.post("/v1/rollouts:validate", json=body)).status_code
        if status == 429:
            refused.set()
        return status

    monkeypatch.setattr(previews, "power_views", slow)
    assert sorted(await asyncio.gather(asked(), asked())) == [200, 429]
