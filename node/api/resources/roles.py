"""The role table, its history, and the orders that change it."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from stationkeep.cluster.commands import Failover, Pause, Resume, Switchover
from stationkeep.cluster.state.state import RoleChange
from stationkeep.node.api.actor import is_admin
from stationkeep.node.api.bodies import Duration, Input, NodeName, Reason, milliseconds
from stationkeep.node.api.consistency import Reading
from stationkeep.node.api.openapi import answers, outcomes
from stationkeep.node.api.submission import NO_REASON, Submit
from stationkeep.node.http.paging import DEFAULT_LIMIT, Cursor, Limit, decode_cursor, page
from stationkeep.node.http.problems import Kind, Problem
from stationkeep.node.views import nodes as views
from stationkeep.node.views import records

router = APIRouter()

FAILOVER, PAUSE, RESUME = "/v1/failover", "/v1/pause", "/v1/resume"
RESCUES = (FAILOVER, PAUSE, RESUME)
"""Orders that end trouble (`state.operations.ends_trouble`), as far as a path tells them."""


class SwitchoverInput(Input):
    target: NodeName | None = None
    reason: Reason = ""


class FailoverInput(Input):
    target: NodeName
    force: bool = False
    reason: Reason = ""


class PauseInput(Input):
    duration: Duration
    reason: Reason = ""


class ResumeInput(Input):
    reason: Reason = ""


@router.get("/v1/roles", responses=answers(views.NodeRoleList))
async def list_roles(read: Reading) -> Response:
    """The role table: what each member should be and what it acts as."""
    members = sorted(read.state.members.values(), key=lambda member: member.id)
    return read.answer(views.NodeRoleList([views.node_role(read.service, m) for m in members]))


@router.get("/v1/roles/history", responses=answers(records.RoleChangeList))
async def list_role_changes(
    read: Reading, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Response:
    """Changes of roles, newest first."""

    def key(change: RoleChange) -> tuple[int, str]:
        return (change.index, change.node)

    before = decode_cursor(cursor, tuple[int, str]) if cursor is not None else None
    known = sorted(read.state.role_changes, key=key, reverse=True)
    shown, more = page((c for c in known if before is None or key(c) < before), limit, key)
    return read.answer(
        records.RoleChangeList(await read.render(shown, records.role_change_view), more)
    )


@router.post("/v1/switchover", responses=outcomes())
async def switchover(submit: Submit, body: SwitchoverInput) -> Response:
    """A planned change of PRIMARY, to a fit target or to the best candidate."""
    return await submit(Switchover(body.target), body.reason)


@router.post(FAILOVER, responses=outcomes())
async def failover(request: Request, submit: Submit, body: FailoverInput) -> Response:
    """A change of PRIMARY even when it is unhealthy; `force` accepts an unfit target, and is for
    administrators."""
    if body.force and not is_admin(request):
        detail = "force: a failover to a node that is unfit is for the role admin"
        raise Problem(Kind.FORBIDDEN, detail, rule="role")
    return await submit(Failover(body.target, body.force), body.reason)


@router.post(PAUSE, responses=outcomes())
async def pause(submit: Submit, body: PauseInput) -> Response:
    """No automatic changes for a while; a pause always expires."""
    return await submit(Pause(milliseconds("duration", body.duration)), body.reason)


@router.post(RESUME, responses=outcomes())
async def resume(submit: Submit, body: ResumeInput | None = None) -> Response:
    """Ends a pause."""
    return await submit(Resume(), body.reason if body else NO_REASON)
