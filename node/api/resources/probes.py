"""Health probes: 200 or 503 with a small body, computed at the instant of the request.

They are polled many times a second, by load balancers that must send nothing to a PRIMARY that
has lost its lease: no cache, no validation, no dependency stands between question and answer.
"""

from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stationkeep.cluster.transitions import Role
from stationkeep.node.api.actor import caller_of
from stationkeep.node.service.port import Service


class HealthView(msgspec.Struct, frozen=True):
    """Body of every probe; `ok` alone for who shows no token where one is asked for. `role` is null
    while the node is not (yet) in the cluster's state; `removed`: it knows that it is no member any
    more."""

    ok: bool
    node: str
    role: Role | None
    effective_role: Role | None
    epoch: int
    lease_remaining_s: float
    leader: str | None
    term: int
    applied_index: int
    removed: bool


Probe = Callable[[Service], bool]


def _acts_as(role: Role) -> Probe:
    return lambda service: service.effective_role(service.node) is role


def _ready(service: Service) -> bool:
    state = service.state
    belongs = service.node in state.members
    leader = service.consensus.leader
    return state.founded and belongs and leader is not None and not service.removed()


PROBES: dict[str, tuple[Probe, str]] = {
    "/livez": (lambda _: True, "The process serves requests."),
    "/readyz": (_ready, "The node belongs to the cluster and knows its leader."),
    "/leader": (lambda service: service.consensus.is_leader, "The node leads Raft."),
    "/primary": (_acts_as(Role.PRIMARY), "The node acts as PRIMARY: it holds seat and lease."),
    "/backup": (_acts_as(Role.BACKUP), "The node acts as BACKUP."),
    "/standby": (_acts_as(Role.STANDBY), "The node acts as STANDBY."),
    "/safe-mode": (_acts_as(Role.SAFE_MODE), "The node is in SAFE_MODE, ordered or fenced."),
}
_HEADERS = {"Cache-Control": "no-store"}


def health_view(service: Service, ok: bool) -> HealthView:
    """What a probe says beside its status."""
    state, consensus = service.state, service.consensus
    member = state.members.get(service.node)
    return HealthView(
        ok=ok,
        node=service.node,
        role=member.role if member else None,
        effective_role=service.effective_role(service.node),
        epoch=state.seat.epoch,
        lease_remaining_s=round(service.lease_remaining(service.node) or 0.0, 3),
        leader=consensus.leader,
        term=consensus.term,
        applied_index=consensus.applied_index,
        removed=service.removed(),
    )


def routes(service: Service) -> list[Route]:
    """Plain Starlette routes, one per probe."""
    return [_route(path, probe, service) for path, (probe, _) in PROBES.items()]


def _route(path: str, probe: Probe, service: Service) -> Route:
    async def answer(request: Request) -> Response:
        ok = probe(service)
        known = caller_of(request).role is not None
        body = msgspec.json.encode(health_view(service, ok) if known else {"ok": ok})
        return Response(body, 200 if ok else 503, _HEADERS, "application/json")

    return Route(path, answer, methods=["GET", "HEAD"], name=path[1:])
