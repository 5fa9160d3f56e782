"""No web page may steer the cluster: a write that a browser sends for another site is refused.

Until there are tokens, whoever reaches the port may write, and a browser reaches loopback for
any page it shows, with WebSockets as well. Browsers name the page's origin with every write;
people's tools name none. The origin must be one of this machine's own names, so that a foreign
name that resolves to this address (DNS rebinding) is refused as well.
"""

from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from node.api.faults import printable
from node.api.problems import Kind, Problem

_OWN_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
_READS = frozenset({"GET", "HEAD", "OPTIONS"})


class Origin:
    """ASGI middleware; reads pass. WebSockets do not come by here: they ask `refusal_of`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in _READS:
            origin = dict(scope["headers"]).get(b"origin")
            refusal = refusal_of(None if origin is None else origin.decode("latin-1"))
            if refusal is not None:
                await refusal.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)


def refusal_of(origin: str | None) -> Problem | None:
    """Why a page of this origin may not write or connect here; None when it may."""
    if origin is None or _is_own(origin):
        return None
    return Problem(Kind.FORBIDDEN, f"Origin: {printable(origin)[:200]!r} may not write here")


def _is_own(origin: str) -> bool:
    try:
        return urlsplit(origin).hostname in _OWN_HOSTS
    except ValueError:
        return False
