"""Who asks: who a token says they are, else what a client calls itself.

A node that asks nobody for a token (`node.http.access`) keeps the address of the connection beside
the name, since nobody proves it (`Draft.origin`). Where a token is asked for, it says who acts, and
what the client says is kept as what it is: on whose behalf, as they claim.
"""

from typing import Annotated, NamedTuple

from fastapi import Depends, Header, Request

from stationkeep.cluster.names import ANONYMOUS, speaks_for
from stationkeep.cluster.state.state import Access
from stationkeep.node.http.access import CALLER, Caller
from stationkeep.node.http.patterns import PRINTABLE
from stationkeep.node.http.problems import Kind, Problem

HEADER = "X-Stationkeep-Actor"
Actor = Annotated[
    str | None,
    Header(
        alias=HEADER,
        min_length=1,
        max_length=128,
        pattern=PRINTABLE,
        description="Who asks; with a token, on whose behalf. Kept in the history.",
    ),
]


def caller_of(request: Request) -> Caller:
    """Who asks, as `node.http.access.Entrance` found."""
    caller: Caller = request.scope[CALLER]
    return caller


async def actor_of(request: Request, actor: Actor = None) -> str:
    """Whom a write of this caller is put down to."""
    return caller_of(request).name or actor or f"{ANONYMOUS}{caller_of(request).address}"


class Asker(NamedTuple):
    """To whom a write is put down. `claim`: on whose behalf a caller who is known says to act.
    `address`: where from."""

    actor: str
    claim: str
    address: str


async def asker_of(request: Request, actor: Actor = None) -> Asker:
    """Whom a write of this caller is put down to, and what else is kept of them."""
    caller = caller_of(request)
    claim = (actor or "") if caller.name else ""
    return Asker(await actor_of(request, actor), claim, caller.address)


def is_admin(request: Request) -> bool:
    """Whether whoever asks may do everything."""
    return caller_of(request).role is Access.ADMIN


def check_speaks_for(request: Request, device: str) -> None:
    """403 unless whoever asks speaks for a device."""
    caller = caller_of(request)
    if not speaks_for(caller.ids, device):
        detail = f"device: {device}, but {caller.name} speaks for {caller.ids}"
        raise Problem(Kind.FORBIDDEN, detail, rule="ids")


Who = Annotated[str, Depends(actor_of)]
Asking = Annotated[Asker, Depends(asker_of)]
