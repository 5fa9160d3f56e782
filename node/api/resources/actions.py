"""Actions: hooks that nodes are to run, and their acknowledgements."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from stationkeep.cluster.commands import RunAction
from stationkeep.cluster.state.state import Action
from stationkeep.node.api.bodies import Duration, Input, Label, NodeName, Reason, milliseconds
from stationkeep.node.api.consistency import Reading
from stationkeep.node.api.openapi import answers, outcomes
from stationkeep.node.api.submission import Submit
from stationkeep.node.http.paging import DEFAULT_LIMIT, Cursor, Limit, decode_cursor, page
from stationkeep.node.http.patterns import NO_NUL
from stationkeep.node.views import records

router = APIRouter()


class ActionInput(Input):
    name: Label
    targets: Annotated[list[NodeName], Field(max_length=99)] = []  # noqa: RUF012 (pydantic copies it)
    parameters: Annotated[
        dict[Label, Annotated[str, Field(max_length=1_000, pattern=NO_NUL)]], Field(max_length=32)
    ] = {}  # noqa: RUF012 (pydantic copies it)
    deadline: Duration | None = None
    reason: Reason = ""


@router.get("/v1/actions", responses=answers(records.ActionList))
async def list_actions(
    read: Reading, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Response:
    """Actions and their acknowledgements: open ones first, then the newest closed."""

    def key(action: Action) -> tuple[int, int, str]:
        return (0 if action.closed_at is None else 1, -action.opened_at, action.id)

    after = decode_cursor(cursor, tuple[int, int, str]) if cursor is not None else None
    known = sorted([*read.state.actions.values(), *read.state.closed_actions], key=key)
    shown, more = page((a for a in known if after is None or key(a) > after), limit, key)
    return read.answer(records.ActionList(await read.render(shown, records.action_view), more))


@router.post("/v1/actions", responses=outcomes())
async def run_action(submit: Submit, body: ActionInput) -> Response:
    """Has nodes run their hook of that name, and watches over their acknowledgements."""
    command = RunAction(
        body.name,
        tuple(body.targets),
        dict(body.parameters),
        milliseconds("deadline", body.deadline),
    )
    return await submit(command, body.reason)
