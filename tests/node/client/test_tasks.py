"""Tasks as programs give them: the examples of the orchestrator, as they were printed."""

import ast
import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from stationkeep.cluster.deployments.lifecycle import TaskState
from stationkeep.node.api.app import build
from stationkeep.node.client import AsyncClient, RefusedError, RingType, nodes
from tests.node.api.fake import FakeNode
from tests.node.api.fleet_story import register
from tests.node.client.tasks_standin import routes

EIGHT = tuple(f"slave-{n:03d}" for n in range(1, 9))
RING_SPECIFIC = """
# Deploy only to PROD ring
prod_slaves = master.ring_assignments[RingType.PROD]
for slave_id in prod_slaves:
    await master.submit_task(
        task_type="deployment",
        parameters={"version": "2.0.0", "target": slave_id}
    )
"""
PROGRESSIVE = '''
async def progressive_rollout(master, version):
    """Progressive rollout across rings."""
    rings = [RingType.CANARY, RingType.DEV, RingType.STAGE, RingType.PROD]
    
    for ring in rings:
        print(f"Deploying to {ring.value}...")
        
        # Deploy to all slaves in ring
        slaves = master.ring_assignments[ring]
        for slave_id in slaves:
            await master.submit_task(
                task_type="deployment",
                parameters={"version": version, "ring": ring.value}
            )
        
        # Wait for validation before next ring
        await asyncio.sleep(60)  # Wait 1 minute
        print(f"{ring.value} deployment complete")
'''  # noqa: W293


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> FakeNode:
    """Eight devices, two in each ring."""
    node = FakeNode().with_primary()
    register(node, *EIGHT, app_version="1.0.0", capabilities={"deployment": "true"})
    app = build(node)
    app.router.routes[:0] = routes(node).routes
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
    monkeypatch.setattr(nodes, "open_http", lambda: httpx.AsyncClient(transport=transport))
    return node


@pytest.fixture
async def master(node: FakeNode) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(actor="ann") as client:
        yield client


async def run(example: str, **names: Any) -> dict[str, Any]:
    names |= {"RingType": RingType, "asyncio": SimpleNamespace(sleep=lambda _: asyncio.sleep(0))}
    code = compile(example, "example", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    ended = eval(code, names)
    if asyncio.iscoroutine(ended):
        await ended
    return names


async def test_each_device_of_a_ring_gets_a_task_of_its_own(
    node: FakeNode, master: AsyncClient
) -> None:
    await run(RING_SPECIFIC, master=master)
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
    names = await run(PROGRESSIVE)
    await names["progressive_rollout"](master, "2.0.0")
    assert capsys.readouterr().out.splitlines()[:2] == [
        "Deploying to canary...",
        "canary deployment complete",
    ]
    found = [deployment async for deployment in master.deployments()]
    rings = ["canary", "canary", "dev", "dev", "stage", "stage", "prod", "prod"]
    assert [one.parameters["ring"] for one in reversed(found)] == rings
    assert {one.members for one in found} == {2}


async def test_a_ring_as_a_whole_is_one_deployment(node: FakeNode, master: AsyncClient) -> None:
    made = await master.submit_task("deployment", {"version": "2.0.0", "ring": RingType.PROD})
    assert (made.number, made.members) == (1, 2)
    status = await made.status()
    assert status.tallies == dict.fromkeys(TaskState, 0) | {"queued": 2}
    assert not status.is_over


async def test_a_deployment_that_is_canceled_is_over(node: FakeNode, master: AsyncClient) -> None:
    made = await master.submit_task(parameters={"version": "2.0.0", "ring": "dev"})
    await made.cancel("the wrong one")
    ended = await made.wait(5)
    assert (ended.state, ended.reason, ended.tallies["canceled"]) == ("closed", "canceled", 2)
    with pytest.raises(RefusedError) as caught:
        await made.cancel()
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
