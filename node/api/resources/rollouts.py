"""Rollouts as they are seen: which there are, how far each has come, and why."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, NamedTuple

import numpy as np
from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from stationkeep.cluster.deployments.deployment import Deployment
from stationkeep.cluster.deployments.lifecycle import TaskState
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.devices.table import Column
from stationkeep.cluster.names import MAX_NAME, NAME_PATTERN
from stationkeep.cluster.numbers import U32
from stationkeep.cluster.rollouts.lifecycle import RolloutState
from stationkeep.cluster.rollouts.rollout import Rollout
from stationkeep.cluster.suggestion import unknown
from stationkeep.node.api.consistency import Read, Reading
from stationkeep.node.api.openapi import answers
from stationkeep.node.api.resources.rosters import positions, task_there
from stationkeep.node.http.paging import DEFAULT_LIMIT, Cursor, Limit, decode_cursor, page
from stationkeep.node.http.problems import Kind, Problem, invalid
from stationkeep.node.views import rollouts as views
from stationkeep.node.views.comparison import ReportView, report_view

router = APIRouter()

LONGEST_PAGE = 200
"""Rollouts: with 18 stages each they are 3 MB."""
SLICE = 5
"""Of these that are rendered before the event loop has its turn."""
RolloutName = Annotated[
    str,
    Path(min_length=1, max_length=MAX_NAME, pattern=NAME_PATTERN, description="Of a rollout."),
]


def existing(read: Read, name: str) -> Rollout:
    """A rollout that is known, or 404."""
    found = read.state.rollouts.known.get(name)
    if found is None:
        raise Problem(Kind.NOT_FOUND, unknown("rollout", name, read.state.rollouts.known))
    return found


@router.get("/v1/rollouts", responses=answers(views.RolloutList))
async def list_rollouts(
    read: Reading,
    *,
    state: Annotated[
        frozenset[RolloutState], Query(description="Only those in one of these states.")
    ] = frozenset(),
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    """Rollouts, those that go on and those that are remembered, the newest first; 200 on a page at
    most."""
    after = decode_cursor(cursor, int) if cursor is not None else U32 + 1
    newest = sorted(read.state.rollouts.known.values(), key=lambda each: -each.number)
    found = (each for each in newest if each.number < after and (not state or each.state in state))
    shown, more = page(found, min(limit, LONGEST_PAGE), lambda each: each.number)
    now, complaint = read.service.cluster_time(), read.service.gate_complaint
    items = await read.render(
        shown, lambda each: views.rollout_summary_view(read.state, each, now, complaint), SLICE
    )
    return read.answer(views.RolloutList(items, more))


@router.get("/v1/rollouts/{rollout}", responses=answers(views.RolloutView, 404))
async def get_rollout(read: Reading, rollout: RolloutName) -> Response:
    """One rollout: how far, why, what next; its gates, its plan and what became of it so far."""
    found, service = existing(read, rollout), read.service
    shown = views.rollout_view(read.state, found, service.cluster_time(), service.gate_complaint)
    return read.answer(shown)


@router.get("/v1/rollouts/{rollout}/timeline", responses=answers(views.TimelineView, 404))
async def rollout_timeline(read: Reading, rollout: RolloutName) -> Response:
    """What became of a rollout and its stages, in sentences, the oldest first."""
    return read.answer(views.timeline_view(read.state, existing(read, rollout)))


@router.get("/v1/rollouts/{rollout}/explain", responses=answers(views.RolloutExplanationView, 404))
async def explain_rollout(read: Reading, rollout: RolloutName) -> Response:
    """Why a rollout is where it is, what would change that, and when it ends by itself."""
    return read.answer(views.explanation_view(read.state, existing(read, rollout)))


@router.get("/v1/rollouts/{rollout}/report", responses=answers(ReportView, 404))
async def report_rollout(read: Reading, rollout: RolloutName) -> Response:
    """What came of each variant, and what may be concluded from it."""
    found, now = existing(read, rollout), read.service.cluster_time()
    return read.answer(report_view(read.state, found, now))


@router.get("/v1/rollouts/{rollout}/tasks", responses=answers(views.RolloutTaskList, 404))
async def list_rollout_tasks(
    read: Reading,
    rollout: RolloutName,
    *,
    stage: Annotated[
        str | None, Query(max_length=MAX_NAME, description="Only of this stage.")
    ] = None,
    state: Annotated[TaskState | None, Query(description="Only those in this state.")] = None,
    ring: Annotated[Ring | None, Query(description="Only of devices in this ring.")] = None,
    variant: Annotated[
        str | None, Query(max_length=MAX_NAME, description="Only of this variant.")
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    """The tasks of a rollout, stage by stage; its way back is a deployment of its own."""
    found = existing(read, rollout)
    after = decode_cursor(cursor, tuple[int, int]) if cursor is not None else (0, -1)
    place = None if variant is None else _place_of(found, variant)
    now, known = read.service.cluster_time(), read.state.deployments.known
    find = partial(positions, read.state, wanted=state, ring=ring, variant=place)
    parts = [(known[n], name) for n, name in _parts(found, stage).items() if n in known]
    tasks = _tasks(find, parts, after, limit)
    shown, more = page(tasks, limit, lambda each: (each.number, each.position))

    def view(each: _Place) -> views.RolloutTaskView | None:
        task = task_there(read.state, each.number, each.position)
        if task is None:
            return None
        return views.rollout_task_view(read.state, found, each.stage, task, now)

    return read.answer(views.RolloutTaskList(await read.render(shown, view), more))


class _Place(NamedTuple):
    """Where a task stands."""

    number: int
    position: int
    stage: str


def _place_of(found: Rollout, variant: str) -> int:
    names = [each.name for each in found.plan.variants]
    if variant not in names:
        raise invalid("variant", variant, f"a variant of {found.name}")
    return names.index(variant)


def _parts(found: Rollout, stage: str | None) -> dict[int, str]:
    """The names of stages by the numbers of their deployments, ascending."""
    if stage is not None and found.stage(stage) is None:
        raise invalid("stage", stage, f"a stage of {found.name}")
    chosen = [each for each in found.stages if stage in (None, each.name)]
    numbers = {n: each.name for each in chosen for n in (*each.rounds, each.deployment) if n}
    return dict(sorted(numbers.items()))


def _tasks(
    find: Callable[[Deployment], Column | None],
    parts: list[tuple[Deployment, str]],
    after: tuple[int, int],
    limit: int,
) -> Iterator[_Place]:
    """The tasks behind `after`, as many as a page takes; rosters that are forgotten have none."""
    for deployment, stage in parts:
        places = find(deployment) if deployment.number >= after[0] else None
        if places is not None:
            first = after[1] + 1 if deployment.number == after[0] else 0
            chosen = places[np.searchsorted(places, first) :][: limit + 1].tolist()
            yield from (_Place(deployment.number, position, stage) for position in chosen)
