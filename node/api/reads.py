"""GET: what the cluster is, was, and why."""

from collections.abc import Callable, Iterable
from typing import Annotated

from fastapi import APIRouter, Path, Query
from msgspec.structs import replace
from starlette.responses import Response

from stationkeep.cluster.explain import explain
from stationkeep.cluster.names import MAX_NAME
from stationkeep.cluster.settings import PROFILES, to_user
from stationkeep.cluster.state.codec import FrozenState
from stationkeep.cluster.state.decisions import Decision, Outcome
from stationkeep.cluster.state.state import Action, Proposal, RoleChange
from stationkeep.node.api.actor import Who
from stationkeep.node.api.consistency import Reading, Threaded, render
from stationkeep.node.api.openapi import answers
from stationkeep.node.http.paging import DEFAULT_LIMIT, Cursor, Limit, decode_cursor, page
from stationkeep.node.http.problems import Kind, Problem
from stationkeep.node.views import links as link_views
from stationkeep.node.views import nodes as views
from stationkeep.node.views import records

MAX_EXPLAINED = 100
"""Decisions in one explanation."""

router = APIRouter()

NodeId = Annotated[str, Path(min_length=1, max_length=MAX_NAME, description="Id of a node.")]


@router.get("/v1/cluster", responses=answers(views.ClusterView))
async def get_cluster(
    read: Reading,
    worker: Threaded,
    digest: Annotated[bool, Query(description="Also the digest of the state.")] = False,
) -> Response:
    """The cluster at a glance: time, leader, quorum, PRIMARY, pause, alarms."""
    if not digest:
        return read.answer(views.cluster_view(read.service))

    def take() -> Callable[[], tuple[views.ClusterView, dict[str, str]]]:
        state, view = FrozenState(read.state), views.cluster_view(read.service)
        headers = read.headers()
        return lambda: (replace(view, digest=state.digest()), headers)

    return read.answer(*await worker.run(take))


@router.get("/v1/nodes", responses=answers(views.NodeList))
async def list_nodes(
    read: Reading, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Response:
    """The members by id, each with the newest samples of its history."""
    after = decode_cursor(cursor, str) if cursor is not None else ""
    members = sorted(read.state.members.values(), key=lambda member: member.id)
    shown, more = page((m for m in members if m.id > after), limit, lambda member: member.id)
    items = await render(
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
    return read.answer(records.RoleChangeList(await render(shown, records.role_change_view), more))


def _matching(
    decisions: Iterable[Decision],
    subject: str | None,
    outcome: Outcome | None,
    about: records.About | None,
    before: int | None,
) -> Iterable[Decision]:
    return (
        decision
        for decision in decisions
        if (before is None or decision.id < before)
        and (subject is None or subject in decision.subjects)
        and (outcome is None or decision.outcome is outcome)
        and (about is None or records.is_about(decision, about))
    )


@router.get("/v1/decisions", responses=answers(records.DecisionList))
async def list_decisions(
    read: Reading,
    *,
    subject: Annotated[
        str | None, Query(max_length=128, description="A node's id, or a device's.")
    ] = None,
    outcome: Annotated[Outcome | None, Query(description="What became of it.")] = None,
    about: Annotated[records.About | None, Query(description="What it is about.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    """The decision log, newest first: what was done or held back, and on which evidence."""
    before = decode_cursor(cursor, int) if cursor is not None else None
    matching = _matching(reversed(read.state.decisions), subject, outcome, about, before)
    shown, more = page(matching, limit, lambda decision: decision.id)
    return read.answer(records.DecisionList(await render(shown, records.decision_view), more))


@router.get("/v1/proposals", responses=answers(records.ProposalList))
async def list_proposals(
    read: Reading, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Response:
    """Proposals and their votes: open ones first, then the newest closed."""

    def key(proposal: Proposal) -> tuple[int, int]:
        return (0 if proposal.closed_at is None else 1, -proposal.id)

    after = decode_cursor(cursor, tuple[int, int]) if cursor is not None else None
    known = sorted([*read.state.proposals.values(), *read.state.closed_proposals], key=key)
    shown, more = page((p for p in known if after is None or key(p) > after), limit, key)
    return read.answer(records.ProposalList(await render(shown, records.proposal_view), more))


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
    return read.answer(records.ActionList(await render(shown, records.action_view), more))


@router.get("/v1/alarms", responses=answers(views.AlarmList))
async def list_alarms(read: Reading) -> Response:
    """What an operator should look at now; what is over is in the decisions (matter `alarm`)."""
    return read.answer(views.AlarmList(views.alarm_views(read.state)))


@router.get("/v1/links", responses=answers(link_views.LinksView))
async def list_links(read: Reading) -> Response:
    """The links to the other members as this node alone sees them: loss, longest silence."""
    service = read.service
    return read.answer(link_views.links_view(service.node, service.links()))


@router.get("/v1/config", responses=answers(views.ConfigView))
async def get_config(read: Reading) -> Response:
    """The replicated settings as people write them."""
    settings = read.service.settings
    profile = next((name for name, known in PROFILES.items() if known == settings), None)
    return read.answer(views.ConfigView(to_user(settings), profile))


@router.get("/v1/operations/{operation:path}", responses=answers(records.OperationView, 404))
async def get_operation(
    read: Reading, actor: Who, operation: Annotated[str, Path(min_length=1, max_length=128)]
) -> Response:
    """What became of a write, by its operation id (its idempotency key): of the caller's own, or
    else of the newest that anyone has given this id."""
    operations = read.state.operations
    known = operations.find(actor, operation) or operations.newest(operation)
    if known is None:
        index = read.service.consensus.applied_index
        detail = f"no operation {operation} is remembered at index {index}: it was not applied"
        raise Problem(Kind.NOT_FOUND, f"{detail} so far, or is long past", operation=operation)
    return read.answer(records.operation_view(known))
