"""Who asks: what a client calls itself, and nothing that a proxy says for it.

Until there are tokens nobody proves who they are, so the address of the connection is kept beside
the name (`Draft.origin`). What headers like `X-Forwarded-For` say is believed by nothing here.
"""

from typing import Annotated

from fastapi import Depends, Header, Request

from stationkeep.cluster.names import ANONYMOUS
from stationkeep.node.http.patterns import PRINTABLE

Actor = Annotated[
    str | None,
    Header(
        alias="X-Stationkeep-Actor",
        min_length=1,
        max_length=128,
        pattern=PRINTABLE,
        description="Who asks; kept in the history.",
    ),
]


def address_of(request: Request) -> str:
    """The other end of a client's connection."""
    return request.client.host if request.client else "unknown"


async def actor_of(request: Request, actor: Actor = None) -> str:
    """Whom a write of this caller is put down to."""
    return actor or f"{ANONYMOUS}{address_of(request)}"


Who = Annotated[str, Depends(actor_of)]
