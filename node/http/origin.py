"""Which web pages may speak with the cluster: the dashboards that its own nodes serve.

Until there are tokens, whoever reaches the port may write, and a browser reaches loopback for
any page it shows, with WebSockets as well. Browsers name the page's origin with every write;
people's tools name none. The origin must be one of this machine's own names, or the HTTP address
of a member: a foreign name that resolves to this address (DNS rebinding) is neither.

Reads carry no origin. A page of that foreign name could read everything, so every request has to
be for a host of ours: a name of this machine, that of a member, one that the node's file lists
(`http_hosts`), or an IP address, which nobody can have resolve to another one. What says no host
at all is no browser. Probes answer anybody: load balancers name whatever they like, and who reads
them learns who leads.

A member's page may also read what other nodes answer (CORS), so that a dashboard whose node died
goes on with the next. Nobody else's may: a page on another port of this machine may write, but
does not see what came of it.
"""

import ipaddress
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stationkeep.node.http.problems import Kind, Problem
from stationkeep.node.wire.faults import printable

OWN_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
EXPOSED = "Retry-After, Location, X-Stationkeep-Applied-Index, X-Stationkeep-Staleness-Ms"
PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE",
    "Access-Control-Allow-Headers": (
        "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-Stationkeep-Actor"
    ),
    "Access-Control-Max-Age": "600",
}
MAX_HOSTS = 64
"""Names of hosts that were taken apart lately: nearly all requests name the same few."""
_READS = frozenset({"GET", "HEAD", "OPTIONS"})

Members = Callable[[], Iterable[str]]
"""HTTP addresses of the members now, as `host:port`."""


class Origin:
    """ASGI middleware; reads of pages elsewhere pass. WebSockets do not come by here: they ask
    `refusal_of`, which is enough, since browsers name the origin of each. `hosts`: further names
    of ours, in lower case. `probes`: paths that answer under any name."""

    def __init__(
        self,
        app: ASGIApp,
        members: Members = tuple,
        hosts: Collection[str] = (),
        probes: Collection[str] = (),
    ) -> None:
        self._app, self._members, self._hosts, self._probes = app, members, hosts, probes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in self._probes:
            wrong = misdirected(_header(scope, b"host"), self._members(), self._hosts)
            if wrong is not None:
                await wrong.response()(scope, receive, send)
                return
        origin = _header(scope, b"origin") if scope["type"] == "http" else None
        if origin is None:
            await self._app(scope, receive, send)
            return
        ours = is_member(origin, self._members())
        if ours and _is_preflight(scope):
            answer: ASGIApp = Response(status_code=204, headers=PREFLIGHT)
        elif scope["method"] not in _READS and not ours and (refusal := refusal_of(origin)):
            answer = refusal.response()
        else:
            answer = self._app
        await answer(scope, receive, _readable(send, origin) if ours else send)


def refusal_of(origin: str | None, members: Iterable[str] = ()) -> Problem | None:
    """Why a page of this origin may not write or connect here; None when it may."""
    if origin is None or _host(origin) in OWN_HOSTS or is_member(origin, members):
        return None
    return Problem(Kind.FORBIDDEN, f"Origin: {printable(origin)[:200]!r} may not write here")


def misdirected(
    host: str | None, members: Iterable[str], hosts: Collection[str] = ()
) -> Problem | None:
    """Why a request with this `Host:` is not for us; None when it is."""
    if host is None:
        return None
    name = _host(f"//{host}")
    if name is not None and (_is_ip(name) or name in OWN_HOSTS or name in hosts):
        return None
    if name is not None and name in map(_host, (f"//{address}" for address in members)):
        return None
    detail = (
        f"Host: {printable(host)[:200]!r} is none of ours; http_hosts in a node's file adds one"
    )
    return Problem(Kind.MISDIRECTED, detail)


@lru_cache(MAX_HOSTS)
def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_member(origin: str, members: Iterable[str]) -> bool:
    """Whether a page was served by a member; the names of this machine count as one."""
    return (page := _site(origin)) is not None and page in _sites(members)


def _sites(members: Iterable[str]) -> Iterator[tuple[str, int] | None]:
    return (_site(f"//{address}") for address in members)


def _site(url: str) -> tuple[str, int] | None:
    """Host and port; None for what is no origin ("null" is what browsers call some pages)."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not host:
        return None
    default = 443 if parts.scheme == "https" else 80
    return "localhost" if host in OWN_HOSTS else host, default if port is None else port


@lru_cache(MAX_HOSTS)
def _host(origin: str) -> str | None:
    try:
        return urlsplit(origin).hostname
    except ValueError:
        return None


def _header(scope: Scope, name: bytes) -> str | None:
    value: bytes | None = dict(scope["headers"]).get(name)
    return None if value is None else value.decode("latin-1")


def _is_preflight(scope: Scope) -> bool:
    asked = _header(scope, b"access-control-request-method")
    return scope["method"] == "OPTIONS" and asked is not None


def _readable(send: Send, origin: str) -> Send:
    """A `send` whose answer the browser shows to the page of `origin`."""

    async def marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["Access-Control-Allow-Origin"] = origin
            headers["Access-Control-Expose-Headers"] = EXPOSED
            headers.add_vary_header("Origin")
        await send(message)

    return marked
