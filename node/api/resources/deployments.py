"""Tasks for devices: given, followed, canceled, tried again."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Path, Query
from pydantic import Field
from starlette.responses import Response

from stationkeep.cluster.commands import CancelDeployment, CreateDeployment, RetryTasks
from stationkeep.cluster.delivery.tasks import tasks_of
from stationkeep.cluster.deployments.artifacts import MAX_NOTES, MAX_SIZE, MAX_URL, Artifact
from stationkeep.cluster.deployments.deployment import (
    MAX_DEADLINE,
    MAX_FACTOR,
    MAX_PARAMETER,
    MAX_PARAMETERS,
    MAX_PRIORITY,
    MAX_RATE,
    MAX_RETRIES,
    MAX_TARGETS,
    REQUIRE,
    Deployment,
    DeploymentState,
    Limits,
    Pace,
    Target,
)
from stationkeep.cluster.deployments.lifecycle import TaskState
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.devices.selector import MAX_SELECTOR
from stationkeep.cluster.devices.status import HealthRule, RuleError, parse_rule
from stationkeep.cluster.devices.table import MAX_DEVICES, Column
from stationkeep.cluster.names import TEXT_PATTERN
from stationkeep.cluster.numbers import U32
from stationkeep.cluster.settings import parse_duration
from stationkeep.cluster.suggestion import unknown
from stationkeep.node.api.bodies import DurationText, Input, Label, Reason, in_words
from stationkeep.node.api.consistency import Read, Reading
from stationkeep.node.api.openapi import answers, created, outcomes
from stationkeep.node.api.resources.devices import DeviceId, row_of
from stationkeep.node.api.resources.rosters import positions, task_there
from stationkeep.node.api.submission import Submit
from stationkeep.node.http.paging import DEFAULT_LIMIT, Cursor, Limit, decode_cursor, page
from stationkeep.node.http.problems import Kind, Problem, invalid
from stationkeep.node.views import deployments as views
from stationkeep.node.wire.messages import Ring as RingName

router = APIRouter()

DEFAULT_TYPE = "deployment"
Number = Annotated[int, Path(ge=1, le=U32, description="Number of a deployment.")]
Id = Annotated[str, Field(min_length=1, max_length=128)]
Text = Annotated[str, Field(max_length=64)]
Deadline = Annotated[
    DurationText | Annotated[float, Field(ge=0, le=MAX_DEADLINE / 1_000, allow_inf_nan=False)],
    in_words(MAX_DEADLINE),
]


class ArtifactInput(Input):
    """What is to be installed. Without a `url` the device knows what to do for the version."""

    version: Text
    component: Literal["app", "os"] = "app"
    url: Annotated[str, Field(max_length=MAX_URL)] = ""
    sha256: Text = ""
    size: Annotated[int, Field(ge=0, le=MAX_SIZE)] = 0
    signature: Annotated[str, Field(max_length=128)] = ""
    key: Text = ""
    notes: Annotated[str, Field(max_length=MAX_NOTES)] = ""


class PaceInput(Input):
    """Offers a minute: `from` at first, times `factor` whenever as many have succeeded."""

    start: Annotated[int, Field(ge=1, le=MAX_RATE, alias="from")] = 10
    most: Annotated[int, Field(ge=1, le=MAX_RATE, alias="to")] = 1_000
    factor: Annotated[int, Field(ge=1, le=MAX_FACTOR)] = 2


class TaskInput(Input):
    """A task for `devices`, a `ring`, a `selector` or `all`: exactly one; or as `parameters` name
    a `target` or a `ring`. A deployment whose parameters name a `version` needs no `artifact`."""

    task_type: Label = DEFAULT_TYPE
    parameters: Annotated[
        dict[Label, Annotated[str, Field(max_length=MAX_PARAMETER)]],
        Field(max_length=MAX_PARAMETERS),
    ] = {}  # noqa: RUF012 (pydantic copies it)
    devices: Annotated[list[Id], Field(max_length=MAX_TARGETS)] = []  # noqa: RUF012
    ring: RingName | None = None
    selector: Annotated[str, Field(max_length=MAX_SELECTOR, pattern=TEXT_PATTERN)] = ""
    all: bool = False
    artifact: ArtifactInput | None = None
    priority: Annotated[int, Field(ge=0, le=MAX_PRIORITY)] = 500
    max_in_flight: Annotated[int, Field(ge=1, le=MAX_DEVICES)] | None = None
    pace: PaceInput | None = None
    deadline: Deadline | None = None
    retries: Annotated[int, Field(ge=0, le=MAX_RETRIES)] | None = None
    require: Annotated[str, Field(max_length=1_000, pattern=TEXT_PATTERN)] | None = str(REQUIRE)
    allow_downgrade: bool = False
    reason: Reason = ""

    def command(self) -> CreateDeployment:
        """Raises `Problem` for what contradicts itself."""
        return CreateDeployment(
            target=self._target(),
            task_type=self.task_type,
            parameters=dict(self.parameters),
            artifact=self._artifact(),
            priority=self.priority,
            limits=Limits(
                self.max_in_flight,
                None if self.pace is None else Pace(**self.pace.model_dump()),
                None if self.deadline is None else parse_duration(
                    "deadline", self.deadline, MAX_DEADLINE
                ),
                self.retries,
            ),
            require=self._require(),
            allow_downgrade=self.allow_downgrade,
        )  # fmt: skip

    def _target(self) -> Target:
        given = list(self._targets())
        if len(given) != 1:
            named = ", ".join(field for field, _ in given) or "none"
            rule = "exactly one of devices, ring, selector, all, parameters.target, parameters.ring"
            raise invalid(given[-1][0] if given else "devices", named, rule)
        return given[0][1]

    def _targets(self) -> Iterator[tuple[str, Target]]:
        if self.devices:
            yield "devices", Target(devices=tuple(self.devices))
        if self.ring is not None:
            yield "ring", Target(ring=Ring(self.ring))
        if self.selector:
            yield "selector", Target(selector=self.selector)
        if self.all:
            yield "all", Target(everyone=True)
        ring = self.parameters.get("ring")
        if ring is not None:
            yield "parameters.ring", Target(ring=_ring(ring))
        if "target" in self.parameters:
            yield "parameters.target", Target(devices=(self.parameters["target"],))

    def _artifact(self) -> Artifact | None:
        if self.artifact is not None:
            return Artifact(**self.artifact.model_dump())
        version = self.parameters.get("version")
        return Artifact(version) if version and self.task_type == DEFAULT_TYPE else None

    def _require(self) -> HealthRule | None:
        if self.require in (None, "", str(REQUIRE)):
            return REQUIRE if self.require else None
        try:
            return parse_rule(self.require)
        except RuleError as error:
            raise invalid("require", self.require, str(error)) from error


class RetryInput(Input):
    devices: Annotated[list[Id], Field(max_length=MAX_TARGETS)] = []  # noqa: RUF012
    reason: Reason = ""


class CancelInput(Input):
    reason: Reason = ""


def _ring(name: str) -> Ring:
    try:
        return Ring(name)
    except ValueError:
        rule = f"one of {', '.join(Ring)}"
        raise invalid("parameters.ring", name, rule) from None


def _deployment(read: Read, number: int) -> Deployment:
    """A deployment that is known, or 404."""
    found = read.state.deployments.known.get(number)
    if found is None:
        raise Problem(Kind.NOT_FOUND, unknown("deployment", str(number)))
    return found


@router.post("/v1/tasks", responses=created(views.CreatedView), status_code=201)
async def submit_task(submit: Submit, body: TaskInput) -> Response:
    """Has devices do something: each gets a task of one new deployment."""
    return await submit.create(body.command(), body.reason, views.CreatedView)


@router.get("/v1/deployments", responses=answers(views.DeploymentList))
async def list_deployments(
    read: Reading,
    *,
    state: Annotated[
        frozenset[DeploymentState], Query(description="Only those in one of these states.")
    ] = frozenset(),
    of_rollouts: Annotated[
        bool | None, Query(description="Only what rollouts opened, or only what people did.")
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    """Deployments, open and remembered, the newest first."""
    after = decode_cursor(cursor, int) if cursor is not None else U32 + 1
    known = read.state.deployments.known
    newest = (known[number] for number in sorted(known, reverse=True) if number < after)
    chosen = (each for each in newest if of_rollouts in (None, bool(each.rollout)))
    found = (each for each in chosen if not state or each.state in state)
    shown, more = page(found, limit, lambda each: each.number)
    now = read.service.cluster_time()
    items = await read.render(shown, lambda each: views.deployment_view(read.state, each, now))
    return read.answer(views.DeploymentList(items, more))


@router.get("/v1/deployments/{number}", responses=answers(views.DeploymentView, 404))
async def get_deployment(read: Reading, number: Number) -> Response:
    """One deployment: what, to whom, how far, and what failed."""
    found = _deployment(read, number)
    return read.answer(views.deployment_view(read.state, found, read.service.cluster_time()))


@router.get("/v1/deployments/{number}/tasks", responses=answers(views.TaskList, 404))
async def list_tasks(
    read: Reading,
    number: Number,
    *,
    state: Annotated[TaskState | None, Query(description="Only those in this state.")] = None,
    ring: Annotated[Ring | None, Query(description="Only of devices in this ring.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    """The tasks of a deployment."""
    found, after = _deployment(read, number), -1
    if cursor is not None:
        after = decode_cursor(cursor, int)
    places = _places(read, found, state, ring)
    places = places[np.searchsorted(places, after, side="right") :]
    shown, more = page(iter(places[: limit + 1].tolist()), limit, int)
    now = read.service.cluster_time()

    def view(place: int) -> views.TaskView | None:
        task = task_there(read.state, number, place)
        return None if task is None else views.task_view(read.state, task, now)

    return read.answer(views.TaskList(await read.render(shown, view), more))


def _places(read: Read, found: Deployment, state: TaskState | None, ring: Ring | None) -> Column:
    """Positions in its roster, ascending, of devices that are still registered."""
    places = positions(read.state, found, state, ring)
    if places is None:
        detail = f"the tasks of deployment {found.number} are forgotten, its tallies are not"
        raise Problem(Kind.NOT_FOUND, detail)
    return places


@router.post("/v1/deployments/{number}/cancel", responses=outcomes())
async def cancel_deployment(submit: Submit, number: Number, body: CancelInput) -> Response:
    """Offers nothing more; devices that have begun to install run to their end."""
    return await submit(CancelDeployment(number), body.reason)


@router.post("/v1/deployments/{number}/retry", responses=outcomes())
async def retry_tasks(submit: Submit, number: Number, body: RetryInput) -> Response:
    """Another attempt for tasks that failed or were not reached: of these devices, or of all."""
    return await submit(RetryTasks(number, tuple(body.devices)), body.reason)


@router.get("/v1/devices/{device}/tasks", responses=answers(views.TaskList, 404))
async def device_tasks(read: Reading, device: DeviceId) -> Response:
    """What a device was told to do, and what became of it, the newest first."""
    row, now = row_of(read, device), read.service.cluster_time()
    found: list[Any] = [
        views.task_view(read.state, task, now) for task in tasks_of(read.state, row)
    ]
    return read.answer(views.TaskList(found, None))
