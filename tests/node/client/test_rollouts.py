"""Rollouts as programs order them, on the real state machine; and the seed's one line."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from stationkeep.node.api.app import build
from stationkeep.node.client import (
    AsyncClient,
    Client,
    NotFoundError,
    OutcomeUnknownError,
    RefusedError,
    StillOpenError,
    nodes,
    waiting,
)
from tests.node.api.fake import FakeNode
from tests.node.api.rollout_story import RolloutStory
from tests.node.client.conftest import PlayedNodes, done, unknown


@pytest.fixture
def story(monkeypatch: pytest.MonkeyPatch) -> RolloutStory:
    """Twelve devices that have been well for long."""
    node = FakeNode().with_primary()
    transport = httpx.ASGITransport(build(node), client=("127.0.0.1", 1))
    monkeypatch.setattr(nodes, "open_http", lambda **_: httpx.AsyncClient(transport=transport))
    monkeypatch.setattr(waiting, "FIRST_PAUSE", 0.0)
    return RolloutStory(node).settle(12)


@pytest.fixture
async def master(story: RolloutStory) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(actor="ann") as client:
        yield client


async def test_a_version_comes_to_everybody_in_one_line(
    story: RolloutStory, master: AsyncClient
) -> None:
    made = await master.progressive_rollout("2.0.0", reason="at last")
    waits = asyncio.create_task(made.wait(30))
    story.until("succeeded", name="2.0.0")
    ended = await waits
    assert ended.succeeded
    assert ended.is_over
    assert (ended.updated, ended.versions, ended.author) == (12, ["2.0.0"], "ann")
    assert [(stage.name, stage.state) for stage in ended.stages] == [
        (name, "passed") for name in ("canary", "dev", "stage", "prod", "rest")
    ]
    assert [task.stage for task in [t async for t in made.tasks(stage="prod")]] == ["prod"] * 3
    assert [found.rollout async for found in master.rollouts(state="succeeded")] == ["2.0.0"]
    assert not [found async for found in master.rollouts(state="running")]


async def test_other_keys_of_a_plan_are_those_of_a_file(
    story: RolloutStory, master: AsyncClient
) -> None:
    made = await master.progressive_rollout(
        "2.0.0+b1", stages=["canary", {"name": "half", "ring": "prod", "share": "50%"}], rest=False
    )
    status = await made.status()
    assert (made.name, status.state) == ("2.0.0-b1", "running")
    assert [stage.name for stage in status.stages] == ["canary", "half"]
    assert status.stages[0].gates[0].sentence == "failures: nobody yet, 5 % may"


async def test_one_key_is_one_rollout(story: RolloutStory, master: AsyncClient) -> None:
    first = await master.progressive_rollout("2.0.0", key="release-2")
    again = await master.progressive_rollout("2.0.0", key="release-2")
    assert first.name == again.name
    assert (await again.status()).revision == 2
    with pytest.raises(RefusedError) as caught:
        await master.progressive_rollout("2.0.0")
    assert caught.value.rule == "duplicate"


async def test_every_order_has_its_method(story: RolloutStory, master: AsyncClient) -> None:
    made = await master.create_rollout("fw", {"artifact": {"version": "2.0.0"}, "approvals": 1})
    await made.start()
    digest = (await made.status()).digest
    async with AsyncClient(actor="ben") as other:
        await (await other.rollout("fw")).approve(digest, reason="looked at it")
    story.lead(2)
    await made.pause("1h")
    assert (exit_ := (await made.status()).exit) is not None
    assert (exit_.becomes, exit_.in_s) == ("running", 3_600)
    await made.resume()
    assert (await made.explain())[0].startswith("fw is running")
    story.until_stage("canary", "soaking")
    await made.promote()
    story.until_stage("dev", "soaking")
    await made.roll_back(reason="enough")
    story.until("rolled_back")
    assert (await made.wait(5)).state == "rolled_back"
    with pytest.raises(RefusedError) as caught:
        await made.abort()
    assert caught.value.rule == "not_in_state"
    with pytest.raises(RefusedError):
        await made.retry(stage="canary")


async def test_a_wait_has_an_end(story: RolloutStory, master: AsyncClient) -> None:
    made = await master.progressive_rollout("2.0.0")
    with pytest.raises(StillOpenError, match=r"rollout 2\.0\.0 is open after 0\.05 s"):
        await made.wait(0.05)


async def test_an_unknown_one_is_not_found(story: RolloutStory, master: AsyncClient) -> None:
    with pytest.raises(NotFoundError):
        await master.rollout("nobody")


async def test_a_start_of_unknown_outcome_is_repeated_by_the_key_of_the_whole(
    played: PlayedNodes,
) -> None:
    made = httpx.Response(201, json={"rollout": "2.0.0", "digest": "00", "revision": 1})
    played.replies[1] = [made, unknown]
    async with AsyncClient("http://127.0.0.1:1", timeout=0.5) as client:
        with pytest.raises(OutcomeUnknownError) as caught:
            await client.progressive_rollout("2.0.0", key="release-2")
        assert caught.value.operation == "release-2"
        played.replies[1] = [made, done]
        again = await client.progressive_rollout("2.0.0", key="release-2")
    assert again.name == "2.0.0"
    assert len(played.keys) == 2


def test_a_program_without_an_event_loop_has_the_same(played: PlayedNodes) -> None:
    """Each method sends what its namesake sends."""
    status = {
        "rollout": "fw", "state": "aborted", "reason": "operator", "why": "operator", "exit": None,
        "revision": 3, "digest": "00", "author": "ann", "versions": ["2.0.0"], "members": 0,
        "updated": 0, "orders": [], "stages": [],
    }  # fmt: skip

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if request.method == "POST":
            made = {"rollout": "fw", "digest": "00", "revision": 1}
            return httpx.Response(201, json=made) if path == "/v1/rollouts" else done(request)
        if path.endswith("/explain"):
            return httpx.Response(200, json={"summary": ["fw is aborted"]})
        lists = path in ("/v1/rollouts", "/v1/rollouts/fw/tasks")
        return httpx.Response(200, json={"items": [], "next": None} if lists else status)

    played.replies[1] = [answer]
    with Client("http://127.0.0.1:1", actor="ann") as master:
        made = master.progressive_rollout("2.0.0", name="fw")
        made.start(force=True)
        made.approve("00")
        made.pause(30)
        made.resume()
        made.promote(variant="b")
        made.retry(["slave-001"], stage="dev")
        made.roll_back()
        made.abort(reason="enough")
        assert made.explain() == ["fw is aborted"]
        assert list(made.tasks(stage="dev")) == list(master.rollouts()) == []
        assert made.wait(1).is_over
        assert repr(master.rollout("fw")) == repr(master.create_rollout("fw", {})) == repr(made)
    orders = [r.url.path.rpartition("/")[2] for r in played.requests if r.method == "POST"]
    assert orders == [
        "rollouts", "start", "start", "approve", "pause", "resume", "promote", "retry", "rollback",
        "abort", "rollouts",
    ]  # fmt: skip
