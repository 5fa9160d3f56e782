"""Members: what they are and why, who joins and leaves, maintenance, priorities, policies."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import Field
from starlette.responses import Response

from stationkeep.cluster.commands import (
    AddMember,
    MemberSpec,
    MoveMember,
    PutPolicy,
    RemoveMember,
    RemovePolicy,
    SetMaintenance,
    SetPriority,
)
from stationkeep.cluster.explain import explain
from stationkeep.cluster.names import MAX_NAME, address_fault
from stationkeep.cluster.operators import MAX_PRIORITY
from stationkeep.cluster.settings import PPM
from stationkeep.node.api.bodies import (
    Address,
    Duration,
    Input,
    Label,
    NodeName,
    Ratio,
    Reason,
    following,
    milliseconds,
)
from stationkeep.node.api.consistency import Reading
from stationkeep.node.api.openapi import answers, outcomes
from stationkeep.node.api.submission import NO_REASON, Submit
from stationkeep.node.http.paging import DEFAULT_LIMIT, Cursor, Limit, decode_cursor, page
from stationkeep.node.views import nodes as views
from stationkeep.node.views import records

router = APIRouter()

MAX_EXPLAINED = 100
"""Decisions in one explanation."""
NodeId = Annotated[str, Path(min_length=1, max_length=MAX_NAME, description="Id of a node.")]
Pattern = Annotated[
    str, Field(min_length=1, max_length=128, description="`[NODE:]ORIGIN->TARGET`, `*` for any.")
]


class MaintenanceInput(Input):
    on: bool
    duration: Duration = "1h"
    reason: Reason = ""


class JoinInput(Input):
    id: NodeName
    raft: Annotated[Address, following(address_fault), Field(examples=["127.0.0.1:7706"])]
    http: Annotated[Address, following(address_fault), Field(examples=["127.0.0.1:8706"])]
    reason: Reason = ""


class MoveInput(Input):
    """What is left out stays as it is."""

    raft: Annotated[Address, following(address_fault)] | None = None
    http: Annotated[Address, following(address_fault)] | None = None
    reason: Reason = ""


class PriorityInput(Input):
    priority: Annotated[int, Field(ge=0, le=MAX_PRIORITY)]
    reason: Reason = ""


class PolicyInput(Input):
    name: Label
    priority: Literal["safety", "performance", "availability"]
    score: Ratio
    forbids: Annotated[list[Pattern], Field(min_length=1, max_length=32)]
    lifetime: Duration | None = None
    reason: Reason = ""


@router.get("/v1/nodes", responses=answers(views.NodeList))
async def list_nodes(
    read: Reading, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Response:
    """The members by id, each with the newest samples of its history."""
    after = decode_cursor(cursor, str) if cursor is not None else ""
    members = sorted(read.state.members.values(), key=lambda member: member.id)
    shown, more = page((m for m in members if m.id > after), limit, lambda member: member.id)
    items = await read.render(
        shown, lambda member: views.node_view(read.service, member, views.HISTORY_IN_LISTS)
    )
    return read.answer(views.NodeList(items, more))


@router.get("/v1/nodes/{node}", responses=answers(views.NodeView, 404))
async def get_node(read: Reading, node: NodeId) -> Response:
    """One member with its whole history."""
    return read.answer(views.node_view(read.service, read.member(node)))


@router.get("/v1/nodes/{node}/explain", responses=answers(records.ExplanationView, 404))
async def explain_node(read: Reading, node: NodeId) -> Response:
    """Why a node is what it is, and why it is not PRIMARY."""
    member = read.member(node)
    told = explain(read.state, node)
    view = records.ExplanationView(
        node=node,
        role=member.role,
        summary=list(told.summary),
        why_not_primary=list(told.why_not_primary),
        decisions=[records.decision_view(d) for d in told.decisions[:MAX_EXPLAINED]],
    )
    return read.answer(view)


@router.post("/v1/nodes", responses=outcomes())
async def join(submit: Submit, body: JoinInput) -> Response:
    """Takes a node in: it is sent the log, and has a vote as soon as it has caught up."""
    return await submit(AddMember(MemberSpec(body.id, body.raft, body.http)), body.reason)


@router.delete("/v1/nodes/{node}", responses=outcomes())
async def leave(
    submit: Submit, node: NodeId, compromised: Annotated[bool, Query()] = False
) -> Response:
    """Removes a node for good; never the PRIMARY, never so many that no majority is alive.
    `compromised`: its machine may be in foreign hands, and the CA's key with it: its links end at
    once, and an alarm stands until the CA is another."""
    return await submit(RemoveMember(node, compromised), NO_REASON)


@router.post("/v1/nodes/{node}/move", responses=outcomes())
async def move(submit: Submit, read: Reading, node: NodeId, body: MoveInput) -> Response:
    """A node is reached at other addresses from now on."""
    member = read.member(node)
    spec = MemberSpec(node, body.raft or member.raft, body.http or member.http)
    return await submit(MoveMember(spec), body.reason)


@router.post("/v1/nodes/{node}/maintenance", responses=outcomes())
async def set_maintenance(submit: Submit, node: NodeId, body: MaintenanceInput) -> Response:
    """Drains a node for a while, or ends its maintenance."""
    duration = milliseconds("duration", body.duration) if body.on else 0
    return await submit(SetMaintenance(node, duration), body.reason)


@router.post("/v1/nodes/{node}/priority", responses=outcomes())
async def set_priority(submit: Submit, node: NodeId, body: PriorityInput) -> Response:
    """A node's place among the candidates, higher first; 0 = never PRIMARY."""
    return await submit(SetPriority(node, body.priority), body.reason)


@router.post("/v1/nodes/{node}/policies", responses=outcomes())
async def put_policy(submit: Submit, node: NodeId, body: PolicyInput) -> Response:
    """Adds or replaces, by name, a policy by which a node votes."""
    command = PutPolicy(
        node,
        body.name,
        body.priority,
        round(body.score * PPM),
        tuple(body.forbids),
        milliseconds("lifetime", body.lifetime),
    )
    return await submit(command, body.reason)


@router.delete("/v1/nodes/{node}/policies/{name}", responses=outcomes())
async def remove_policy(
    submit: Submit, node: NodeId, name: Annotated[str, Path(min_length=1, max_length=MAX_NAME)]
) -> Response:
    """Removes a policy of a node."""
    return await submit(RemovePolicy(node, name), NO_REASON)
