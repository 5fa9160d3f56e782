"""Routes of tasks on top of a `FakeNode`'s real state, in the shapes that the client expects."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Header, Response

from stationkeep.cluster.apply import Rejected
from stationkeep.cluster.commands import AnyCommand, CancelDeployment, CreateDeployment
from stationkeep.cluster.delivery.tasks import tasks_of
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.deployment import Deployment, Target
from stationkeep.cluster.devices.rings import Ring
from tests.node.api.fake import FakeNode

Json = dict[str, Any]
Key = Annotated[str, Header(alias="Idempotency-Key")]


def routes(node: FakeNode) -> APIRouter:
    router = APIRouter()

    @router.post("/v1/tasks")
    async def submit(body: Json, key: Key, response: Response) -> Json:
        parameters = body["parameters"]
        target = (
            Target(ring=Ring(parameters["ring"]))
            if "ring" in parameters
            else Target(devices=(parameters["target"],))
        )
        artifact = Artifact(parameters["version"])
        command = CreateDeployment(target, body["task_type"], parameters, artifact)
        return answer(node, command, key, response, status=201)

    @router.post("/v1/deployments/{number}/cancel")
    async def cancel(number: int, key: Key, response: Response) -> Json:
        def done(result: Json) -> Json:
            return {"operation": key, "status": "done", "index": 1, "result": result}

        return answer(node, CancelDeployment(number), key, response, done)

    @router.get("/v1/deployments")
    async def deployments() -> Json:
        known = node.state.deployments.known
        return {"items": [view(known[number]) for number in sorted(known, reverse=True)]}

    @router.get("/v1/deployments/{number}")
    async def deployment(number: int, response: Response) -> Json:
        found = node.state.deployments.known.get(number)
        if found is None:
            response.status_code = 404
            return {"detail": f"no such deployment: {number}"}
        return view(found)

    @router.get("/v1/devices/{device}/tasks")
    async def tasks(device: str) -> Json:
        row = node.state.fleet.row(device)
        assert row is not None
        return {
            "items": [
                {
                    "task_id": f"{task.deployment}/{device}/{task.attempt}",
                    "deployment": task.deployment,
                    "state": task.state,
                    "attempt": task.attempt,
                    "phase": task.phase,
                    "progress": task.progress,
                    "reason": task.reason,
                }
                for task in tasks_of(node.state, row)
            ]
        }

    return router


def answer(
    node: FakeNode,
    command: AnyCommand,
    key: str,
    response: Response,
    done: Callable[[Json], Json] = lambda result: result,
    *,
    status: int = 200,
) -> Json:
    outcome = node.commit(command, key, "ann")
    if isinstance(outcome, Rejected):
        response.status_code = 409
        return {"detail": outcome.detail, "rule": outcome.reason, "operation": key}
    response.status_code = status
    return done(outcome.result)


def view(found: Deployment) -> Json:
    return {
        "deployment": found.number,
        "task_type": found.task_type,
        "parameters": found.parameters,
        "state": found.state,
        "reason": found.reason,
        "members": found.members,
        "tallies": found.tallied(),
    }
