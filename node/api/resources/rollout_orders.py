"""What may be ordered of rollouts: laid down, begun, held, ended, turned back.

Every order may name the `revision` that its giver has seen; then it is refused where the rollout is
another by now. The rules are the state machine's: a refusal is a 409 with the rule's name, and says
what may be ordered instead (node/guide/reference/rollouts.md, "Orders").
"""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from stationkeep.cluster.commands import (
    AbortRollout,
    ApproveRollout,
    CreateRollout,
    PauseRollout,
    PromoteRollout,
    ResumeRollout,
    RetryTasks,
    RollBackRollout,
    StartRollout,
)
from stationkeep.cluster.deployments.deployment import MAX_TARGETS
from stationkeep.cluster.names import MAX_NAME, TEXT_PATTERN
from stationkeep.cluster.numbers import U32
from stationkeep.cluster.progression.orders import MAX_PAUSE
from stationkeep.cluster.rollouts.plan import Plan
from stationkeep.cluster.rollouts.rollout import Rollout
from stationkeep.cluster.settings import parse_duration
from stationkeep.cluster.state.decisions import Reason as Rule
from stationkeep.node.api.bodies import DurationText, Input, Label, Reason, in_words
from stationkeep.node.api.consistency import Reading
from stationkeep.node.api.openapi import created, outcomes
from stationkeep.node.api.resources.rollouts import RolloutName, existing
from stationkeep.node.api.submission import Submit
from stationkeep.node.config.yaml_document import ConfigError
from stationkeep.node.http.problems import Kind, Problem, invalid
from stationkeep.node.rollout_file.reading import parse
from stationkeep.node.views import rollouts as views
from stationkeep.node.wire.faults import Fault, printable, shown

router = APIRouter()

Id = Annotated[str, Field(min_length=1, max_length=128)]
StageName = Annotated[str, Field(max_length=MAX_NAME, pattern=TEXT_PATTERN)]
PauseLength = Annotated[
    DurationText | Annotated[float, Field(ge=0, le=MAX_PAUSE / 1_000, allow_inf_nan=False)],
    in_words(MAX_PAUSE),
]


class PlanInput(Input):
    """A rollout as it is laid down. `plan`: the keys of a rollout file. `replace`: a draft of that
    name, or one that waits for approval, is laid down anew; what was approved is void."""

    rollout: Label
    plan: dict[str, Any]
    replace: bool = False
    comment: Reason = ""

    def read(self) -> Plan:
        """Raises `Problem` with every fault of the plan."""
        try:
            return parse(self.plan)
        except ConfigError as error:
            faults = [_fault(each) for each in (error, *error.others)]
            raise Problem(Kind.INVALID, "; ".join(map(str, faults)), faults=faults) from error


class OrderInput(Input):
    """What every order may say. `revision`: that its giver has seen."""

    reason: Reason = ""
    revision: Annotated[int, Field(ge=1, le=U32)] | None = None


class StartInput(OrderInput):
    """`force`: although its artifact is blocked."""

    force: bool = False


class ApproveInput(OrderInput):
    """`digest`: of the plan that was seen. `stage`: what it has come to is granted, and not the
    start."""

    digest: Annotated[str, Field(min_length=1, max_length=64, pattern=TEXT_PATTERN)]
    stage: StageName = ""


class PauseInput(OrderInput):
    """`duration`: after which it goes on by itself."""

    duration: PauseLength | None = None


class PromoteInput(OrderInput):
    """`variant`: later stages get it alone. `force`: a stage that still deploys, or failed."""

    variant: StageName = ""
    force: bool = False


class RetryTasksInput(Input):
    """`stage`: else the first that is judged, or the way back. `devices`: else all whose tasks
    failed, timed out or were unreached."""

    stage: StageName = ""
    devices: Annotated[list[Id], Field(max_length=MAX_TARGETS)] = []  # noqa: RUF012
    reason: Reason = ""


@router.post("/v1/rollouts", responses=created(views.LaidDownView), status_code=201)
async def create_rollout(submit: Submit, body: PlanInput) -> Response:
    """Lays a rollout down, as a draft: nothing begins before it is started."""
    plan = await asyncio.to_thread(body.read)  # of thousands of faults, it takes 0.1 s
    command = CreateRollout(body.rollout, plan, body.replace)
    return await submit.create(command, body.comment, views.LaidDownView)


@router.post("/v1/rollouts/{rollout}/start", responses=outcomes())
async def start_rollout(submit: Submit, rollout: RolloutName, body: StartInput) -> Response:
    """Begins it, or asks for the approvals that it needs first."""
    return await submit(StartRollout(rollout, body.revision, body.force), body.reason)


@router.post("/v1/rollouts/{rollout}/approve", responses=outcomes())
async def approve_rollout(submit: Submit, rollout: RolloutName, body: ApproveInput) -> Response:
    """Grants the start of this plan, or what one of its stages has come to."""
    command = ApproveRollout(rollout, body.revision, body.digest, body.stage)
    return await submit(command, body.reason)


@router.post("/v1/rollouts/{rollout}/pause", responses=outcomes())
async def pause_rollout(submit: Submit, rollout: RolloutName, body: PauseInput) -> Response:
    """Has nothing more begin; what devices have begun goes on, and is judged."""
    given = body.duration
    duration = 0 if given is None else parse_duration("duration", given, MAX_PAUSE)
    return await submit(PauseRollout(rollout, body.revision, duration), body.reason)


@router.post("/v1/rollouts/{rollout}/resume", responses=outcomes())
async def resume_rollout(submit: Submit, rollout: RolloutName, body: OrderInput) -> Response:
    """Goes on. A stage that is inconclusive is watched for another soak."""
    return await submit(ResumeRollout(rollout, body.revision), body.reason)


@router.post("/v1/rollouts/{rollout}/promote", responses=outcomes())
async def promote_rollout(submit: Submit, rollout: RolloutName, body: PromoteInput) -> Response:
    """Lets the stage that is judged count as passed."""
    command = PromoteRollout(rollout, body.revision, body.variant, body.force)
    return await submit(command, body.reason)


@router.post("/v1/rollouts/{rollout}/abort", responses=outcomes())
async def abort_rollout(submit: Submit, rollout: RolloutName, body: OrderInput) -> Response:
    """Ends it: nothing begins any more, and whoever is updated stays so."""
    return await submit(AbortRollout(rollout, body.revision), body.reason)


@router.post("/v1/rollouts/{rollout}/rollback", responses=outcomes())
async def roll_back_rollout(submit: Submit, rollout: RolloutName, body: OrderInput) -> Response:
    """Has every device run again what it ran before."""
    return await submit(RollBackRollout(rollout, body.revision), body.reason)


@router.post("/v1/rollouts/{rollout}/retry", responses=outcomes())
async def retry_rollout(
    submit: Submit, read: Reading, rollout: RolloutName, body: RetryTasksInput
) -> Response:
    """Another attempt for tasks of a stage that is judged, or of the way back, that failed or were
    not reached."""
    number = _to_retry(existing(read, rollout), body.stage)
    return await submit(RetryTasks(number, tuple(body.devices)), body.reason)


def _to_retry(rollout: Rollout, name: str) -> int:
    """The deployment whose tasks are meant; whether they may be tried again is for the log to say,
    or a repetition would be answered otherwise than the first time."""
    if name:
        place = rollout.stage(name)
        if place is None:
            raise invalid("stage", name, f"a stage of {rollout.name}")
        number = rollout.stages[place].deployment
    else:
        judged = [stage.deployment for stage in rollout.stages if stage.is_judged]
        number = next(filter(None, [*judged, rollout.rollback, *rollout.deployments]), 0)
    if not number:
        detail = f"stage: {name or 'none'} of {rollout.name} has not opened: nothing was tried yet"
        raise Problem(Kind.REFUSED, detail, rule=Rule.NOT_IN_STATE)
    return number


def _fault(error: ConfigError) -> Fault:
    """As the plan is a part of the body."""
    where = f"plan.{error.field}" if error.field else "plan"
    return Fault(printable(where), shown(error.value), error.rule)
