"""Deployments: their handle, and the wait for their end. The nodes are played."""

from typing import Any

import httpx
import pytest

from stationkeep.node.client import (
    AsyncClient,
    Client,
    NotFoundError,
    RefusedError,
    RingType,
    StillOpenError,
    UnreachableError,
    waiting,
)
from tests.node.client.conftest import NO_QUORUM, URLS, PlayedNodes, done, problem

CREATED = httpx.Response(201, json={"deployment": 17, "members": 3})


def deployment(state: str, **tallies: int) -> httpx.Response:
    body: dict[str, Any] = {
        "deployment": 17, "task_type": "deployment", "state": state, "members": 3,
        "tallies": tallies, "reason": "", "parameters": {"version": "2.0.0"}, "later": [1],
        "version": "2.0.0", "target": "ring prod", "held": None, "incapable": 0,
        "failures": [{"reason": "install", "text": "exit 1", "count": 1, "device": "slave-001"}],
    }  # fmt: skip
    return httpx.Response(200, json=body)


OPEN = deployment("open", queued=2, in_progress=1)
CLOSED = deployment("closed", succeeded=3)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "FIRST_PAUSE", 0.0)


async def test_what_is_submitted_is_a_handle(played: PlayedNodes, client: AsyncClient) -> None:
    played.replies[1] = [CREATED, CLOSED]
    made = await client.submit_task(
        task_type="deployment", parameters={"version": "2.0.0", "ring": RingType.PROD.value}
    )
    assert (made.number, made.members) == (17, 3)
    assert repr(made) == "<deployment 17 of 3 devices>"
    status = await made.status()
    assert status.tallies == {"succeeded": 3}
    assert status.is_over
    assert [request.url.path for request in played.requests] == ["/v1/tasks", "/v1/deployments/17"]


async def test_what_is_wanted_is_sent_as_it_was_given(
    played: PlayedNodes, client: AsyncClient
) -> None:
    played.replies[1] = [CREATED]
    await client.submit_task(
        "deployment", {"version": "2.0.0", "target": "slave-001"}, priority=700, reason="now"
    )
    assert played.body == {
        "task_type": "deployment", "parameters": {"version": "2.0.0", "target": "slave-001"},
        "priority": 700, "reason": "now",
    }  # fmt: skip


async def test_one_deployment_comes_of_a_submission_however_often_it_is_sent(
    played: PlayedNodes, client: AsyncClient
) -> None:
    played.replies = {1: [httpx.ReadError("x")], 2: [CREATED]}
    assert (await client.submit_task(parameters={"version": "2.0.0"})).number == 17
    assert len(played.keys) == 1


async def test_a_wait_ends_with_the_deployment(played: PlayedNodes, client: AsyncClient) -> None:
    played.replies[1] = [CREATED, OPEN, OPEN, CLOSED]
    made = await client.submit_task(parameters={"version": "2.0.0"})
    assert (await made.wait(timeout=5)).tallies == {"succeeded": 3}


async def test_a_wait_outlives_the_loss_of_all_nodes(
    played: PlayedNodes, client: AsyncClient
) -> None:
    gone = httpx.ConnectError("x")
    played.replies[1] = [CREATED, OPEN, *[gone] * 8, CLOSED]
    made = await client.submit_task(parameters={"version": "2.0.0"})
    assert (await made.wait(timeout=20)).is_over


async def test_a_wait_does_not_outlive_it_for_ever(
    played: PlayedNodes, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "OUTAGE_SECONDS", 0.0)
    played.replies[1] = [CREATED, httpx.ConnectError("x")]
    made = await client.submit_task(parameters={"version": "2.0.0"})
    with pytest.raises(UnreachableError):
        await made.wait()


async def test_a_wait_of_so_long_ends_though_the_deployment_goes_on(
    played: PlayedNodes, client: AsyncClient
) -> None:
    played.replies[1] = [CREATED, OPEN]
    made = await client.submit_task(parameters={"version": "2.0.0"})
    with pytest.raises(StillOpenError, match=r"deployment 17 is open after 0\.1 s") as caught:
        await made.wait(0.1)
    assert isinstance(caught.value, TimeoutError)


async def test_a_node_that_lags_does_not_end_a_wait(
    played: PlayedNodes, client: AsyncClient
) -> None:
    """The node that took the order died; the next has not applied it yet."""

    def lags(request: httpx.Request) -> httpx.Response:
        strong = request.url.params.get("consistency") == "strong"
        return CLOSED if strong else problem(404, "no such deployment: 17")

    played.replies = {1: [CREATED, httpx.ConnectError("x")], 2: [lags]}
    made = await client.submit_task(parameters={"version": "2.0.0"})
    assert (await made.wait(5)).is_over


async def test_a_wait_for_what_is_forgotten_ends(played: PlayedNodes, client: AsyncClient) -> None:
    played.replies[1] = [CREATED, OPEN, problem(404, "no such deployment: 17")]
    made = await client.submit_task(parameters={"version": "2.0.0"})
    with pytest.raises(NotFoundError):
        await made.wait()


async def test_a_deployment_is_canceled_with_a_reason(
    played: PlayedNodes, client: AsyncClient
) -> None:
    played.replies[1] = [OPEN, done]
    made = await client.deployment(17)
    await made.cancel("wrong version")
    assert played.requests[-1].url.path == "/v1/deployments/17/cancel"
    assert played.body == {"reason": "wrong version"}


async def test_a_refused_submission_names_what_is_wrong(
    played: PlayedNodes, client: AsyncClient
) -> None:
    refused = problem(400, "no", field="parameters.target", value="x", rule="not beside a ring")
    played.replies[1] = [refused]
    with pytest.raises(RefusedError) as caught:
        await client.submit_task(parameters={"target": "x", "ring": "prod"})
    assert caught.value.field == "parameters.target"


def test_a_plain_program_waits_in_the_same_way(played: PlayedNodes) -> None:
    played.replies[1] = [CREATED, NO_QUORUM, OPEN, CLOSED]
    with Client(URLS) as master:
        made = master.submit_task("deployment", {"version": "2.0.0", "ring": "prod"})
        assert made.wait(5).is_over
