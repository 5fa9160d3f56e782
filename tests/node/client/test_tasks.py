"""Tasks as programs give them, on the real state of deployments."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from stationkeep.cluster.deployments.lifecycle import TaskState
from stationkeep.node.api.app import build
from stationkeep.node.client import AsyncClient, RefusedError, RingType, nodes
from tests.node.api.fake import FakeNode
from tests.node.api.fleet_story import register
from tests.node.client.examples import SLEEPLESS, example, run

EIGHT = tuple(f"slave-{n:03d}" for n in range(1, 9))


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> FakeNode:
    """Eight devices, two in each ring."""
    node = FakeNode().with_primary()
    register(node, *EIGHT, app_version="1.0.0", capabilities={"deployment": "true"})
    app = build(node)
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
    monkeypatch.setattr(nodes, "open_http", lambda **_: httpx.AsyncClient(transport=transport))
    return node


@pytest.fixture
async def master(node: FakeNode) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(actor="ann") as client:
        yield client


async def test_each_device_of_a_ring_gets_a_task_of_its_own(
    node: FakeNode, master: AsyncClient
) -> None:
    await run(example("prod_slaves"), {"master": master, "RingType": RingType})
    prod = (await master.ring_assignments)["prod"]
    for slave_id in EIGHT:
        tasks = await master.device_tasks(slave_id)
        assert [task.state for task in tasks] == (["queued"] if slave_id in prod else [])
    found = [deployment async for deployment in master.deployments()]
    assert [(one.members, one.parameters["target"]) for one in found] == [
        (1, slave_id) for slave_id in reversed(prod)
    ]


async def test_the_rings_are_deployed_to_one_after_the_other(
    node: FakeNode, master: AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {"RingType": RingType, "asyncio": SLEEPLESS}
    await run(example("def progressive_rollout"), names)
    await names["progressive_rollout"](master, "2.0.0")
    assert capsys.readouterr().out.splitlines()[:2] == [
        "Deploying to canary...",
        "canary deployment complete",
    ]
    found = [deployment async for deployment in master.deployments()]
    rings = ["canary", "canary", "dev", "dev", "stage", "stage", "prod", "prod"]
    assert [one.parameters["ring"] for one in reversed(found)] == rings
    assert {one.members for one in found} == {2}
    for state, number in (("open", 8), ("closed", 0)):
        assert len([one async for one in master.deployments(state=state)]) == number


async def test_a_ring_as_a_whole_is_one_deployment(node: FakeNode, master: AsyncClient) -> None:
    made = await master.submit_task("deployment", {"version": "2.0.0", "ring": RingType.PROD})
    assert (made.number, made.members) == (1, 2)
    status = await made.status()
    assert status.tallies == dict.fromkeys(TaskState, 0) | {"queued": 2}
    assert (status.version, status.target, status.state) == ("2.0.0", "ring prod", "open")
    assert not status.is_over
    tasks = [task async for task in made.tasks(state="queued", ring="prod")]
    assert {task.device for task in tasks} == set((await master.ring_assignments)["prod"])
    assert [task async for task in made.tasks(state="failed")] == []


async def test_a_deployment_that_is_canceled_is_over(node: FakeNode, master: AsyncClient) -> None:
    made = await master.submit_task(parameters={"version": "2.0.0", "ring": "dev"})
    await made.cancel("the wrong one")
    ended = await made.wait(5)
    assert (ended.state, ended.reason, ended.tallies["canceled"]) == ("closed", "canceled", 2)
    with pytest.raises(RefusedError) as caught:
        await made.cancel()
    assert caught.value.rule == "not_in_state"


async def test_further_options_are_those_of_the_api(node: FakeNode, master: AsyncClient) -> None:
    artifact = {"version": "2.0.0", "url": "https://x/fw", "sha256": "0" * 64, "size": 7}
    made = await master.submit_task(
        all=True, artifact=artifact, priority=900, pace={"from": 5}, deadline="2h", reason="fix"
    )
    [found] = node.state.deployments.known.values()
    assert (made.members, found.priority, found.comment) == (8, 900, "fix")
    with pytest.raises(RefusedError) as caught:
        await master.submit_task(all=True, priority=1_001)
    assert caught.value.field == "priority"


async def test_a_target_and_a_ring_at_once_are_refused(node: FakeNode, master: AsyncClient) -> None:
    with pytest.raises(RefusedError) as caught:
        await master.submit_task(parameters={"target": "slave-001", "ring": "prod"})
    assert caught.value.field == "parameters.target"
    assert not node.state.deployments.known


async def test_tasks_that_were_canceled_are_not_tried_again(
    node: FakeNode, master: AsyncClient
) -> None:
    made = await master.submit_task(parameters={"version": "2.0.0", "ring": "dev"})
    await made.cancel()
    with pytest.raises(RefusedError) as caught:
        await made.retry(reason="again")
    assert caught.value.rule == "not_in_state"


async def test_an_unknown_target_is_refused(node: FakeNode, master: AsyncClient) -> None:
    with pytest.raises(RefusedError) as caught:
        await master.submit_task(parameters={"version": "2.0.0", "target": "nobody"})
    assert caught.value.rule == "unknown_device"


async def test_a_submission_under_one_key_is_one_deployment(
    node: FakeNode, master: AsyncClient
) -> None:
    wanted = {"version": "2.0.0", "ring": "prod"}
    first = await master.submit_task(parameters=wanted, key="release-2")
    again = await master.submit_task(parameters=wanted, key="release-2")
    assert first.number == again.number
    assert len([one async for one in master.deployments()]) == 1
