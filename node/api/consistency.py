"""Reads: local by default and marked with their age, or strong behind a barrier."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from fastapi import Depends, Query, Request
from starlette.responses import Response

from stationkeep.cluster.settings import Settings
from stationkeep.cluster.state.state import ClusterState, Member
from stationkeep.cluster.suggestion import unknown
from stationkeep.node.api.actor import caller_of
from stationkeep.node.api.openapi import JSON
from stationkeep.node.fleet.registrations import COME_BACK
from stationkeep.node.http.access import unauthenticated
from stationkeep.node.http.problems import Kind, Problem
from stationkeep.node.http.worker import Worker
from stationkeep.node.ports import Committed
from stationkeep.node.service.port import Service
from stationkeep.node.system.turns import Gate

APPLIED_INDEX = "X-Stationkeep-Applied-Index"
STALENESS = "X-Stationkeep-Staleness-Ms"
SLICE = 50
"""Records rendered before the event loop has its turn."""

MOST_NAMED = 5
"""Members that are named as missing."""

T = TypeVar("T")
Consistency = Annotated[
    Literal["local", "strong"],
    Query(description="`strong` first makes sure to see every write acknowledged before."),
]


def patience(settings: Settings) -> float:
    """Seconds a request waits for the log: long enough to survive one change of leader."""
    return 2 * settings.election_timeout_max / 1_000 + 2.0


def no_quorum(why: str) -> Problem:
    """503: the log cannot be written now."""
    return Problem(
        Kind.NO_QUORUM, f"nothing can be agreed now: {why}", headers={"Retry-After": "1"}
    )


def undecided(service: Service, why: str) -> Problem:
    """The same for a word of the log's (`NotProposed`, `OutcomeUnknown`), said as a person would:
    who is missing, and what to do."""
    said = _leaderless(service) if why == "no_leader" else _SAID.get(why, why)
    return no_quorum(said)


_SAID = {
    "stopping": "this node is stopping: ask another one",
    "deadline": "the log has not confirmed it in time: ask again, and see who leads",
}


def _leaderless(service: Service) -> str:
    members = service.state.members
    touch = f"{service.node} is in touch with {service.connected()} of {len(members)} members"
    if service.consensus.has_quorum:
        return f"no leader is elected yet; {touch}, which is enough: repeat it in a moment"
    missing = [link.peer for link in service.links() if not link.connected and link.peer in members]
    rest = f" and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
    named = f"; missing: {', '.join(sorted(missing)[:MOST_NAMED])}{rest}" if missing else ""
    return f"no leader; {touch}, {len(members) // 2 + 1} are needed{named}: start or reach them"


class Read:
    """One read of the state; `answer` marks what it returns with the state's index and age."""

    def __init__(self, service: Service, parts: Gate | None = None) -> None:
        """`parts`: in which all reads wait for the turn of their next part."""
        self.service, self._parts = service, parts or Gate(1)

    @property
    def state(self) -> ClusterState:
        return self.service.state

    def member(self, node: str) -> Member:
        """A member, or 404."""
        member = self.state.members.get(node)
        if member is None:
            raise Problem(Kind.NOT_FOUND, unknown("node", node, self.state.members))
        return member

    def answer(self, view: msgspec.Struct, headers: dict[str, str] | None = None) -> Response:
        """200 with `view` as JSON; `headers`: of the moment at which the state was seen, when
        that is not this one."""
        headers = self.headers() if headers is None else headers
        return Response(msgspec.json.encode(view), headers=headers, media_type=JSON)

    async def breathe(self) -> None:
        """Lets everything else have its turn, before the next part of what takes long. Of all reads
        together one part is looked at in a turn: hundreds would hold it up as a large one would."""
        await asyncio.sleep(0)
        await self._parts.wait()

    async def render(
        self, records: Iterable[T], view: Callable[[T], Any], every: int = SLICE
    ) -> list[Any]:
        """`view` of each record, without those of which it is None: they have gone meanwhile. A
        long list is rendered in parts of `every` so many."""
        views = []
        for number, record in enumerate(records, 1):
            found = view(record)
            if found is not None:
                views.append(found)
            if number % every == 0:
                await self.breathe()
        return views

    def headers(self) -> dict[str, str]:
        """What every read says of the state that it saw."""
        return {
            APPLIED_INDEX: str(self.service.consensus.applied_index),
            STALENESS: str(self.service.staleness_ms()),
            "Cache-Control": "no-store",
        }


async def service_of(request: Request) -> Service:
    """The node that this application speaks for."""
    service: Service = request.app.state.service
    return service


async def able_to_serve(service: Annotated[Service, Depends(service_of)]) -> Service:
    """Dependency of what devices without a connection ask: 503 when nothing that they say would
    come into the log, so that they ask another node."""
    if why := service.intake.unable():
        raise Problem(Kind.NO_QUORUM, why, headers={"Retry-After": f"{COME_BACK:.0f}"})
    return service


async def worker_of(request: Request) -> Worker:
    """Where this application does what takes long."""
    worker: Worker = request.app.state.worker
    return worker


async def read(
    request: Request,
    service: Annotated[Service, Depends(service_of)],
    consistency: Consistency = "local",
) -> Read:
    """Dependency of every read; passes a barrier first when asked to, 503 when it cannot. That is
    an entry of the log, which nobody in particular must be able to have written: 401."""
    if consistency == "strong":
        caller = caller_of(request)
        if caller.role is None:
            detail = f"consistency: strong is for who shows a token; {caller.because}"
            raise unauthenticated("missing", detail)
        outcome = await service.barrier(patience(service.settings))
        if not isinstance(outcome, Committed):
            raise undecided(service, outcome.why)
    return Read(service, request.app.state.parts)


Reading = Annotated[Read, Depends(read)]
Threaded = Annotated[Worker, Depends(worker_of)]
Serving = Annotated[Service, Depends(service_of)]
ServingDevices = Annotated[Service, Depends(able_to_serve)]
