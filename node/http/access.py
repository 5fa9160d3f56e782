"""Who asks, and whether they may: before anything else is looked at.

A node asks everybody for a token (`auth: required`), or nobody (`auth: none`, on loopback alone):
then whoever reaches the port is an administrator. A header that only a proxy writes says that the
port is reached from elsewhere, so an open node refuses what has one.

The right token always opens. Only failures are counted, and what is too much is told with another
status: 2^256 secrets need no help against guessing, and a limit on everybody at an address would
let one of them lock out the others. Who has come in by a token may ask only so often (`rates.py`),
but for devices, which have limits of their own, and for the node's own administrator.

An address is that of the connection, unless that is one of `trusted_proxies`: then it is the last
one of `X-Forwarded-For` that is none of those. Source: guide/access.md.
"""

import ipaddress
import math
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from starlette.types import ASGIApp, Receive, Scope, Send

from stationkeep.cluster.access import OF_DEVICES
from stationkeep.cluster.devices.credentials import Standing
from stationkeep.cluster.devices.fleet import Fleet
from stationkeep.cluster.names import speaks_for
from stationkeep.cluster.state.state import Access, Token
from stationkeep.node.http.limits import RETRY_AFTER
from stationkeep.node.http.problems import Kind, Problem
from stationkeep.node.http.rates import ORDERS_A_SECOND, READS_A_SECOND, Rates
from stationkeep.node.security import device_secrets
from stationkeep.node.security.authorisation import (
    ADMINISTER,
    LADDER,
    READ,
    REGISTER,
    REPORT,
    Right,
    right_to,
    route_of,
)
from stationkeep.node.security.device_secrets import DeviceSecret
from stationkeep.node.security.identity import Facts
from stationkeep.node.security.tokens import TokenFault, parse
from stationkeep.node.system.addresses import subscriber

MAX_FAILURES, FAILURE_SECONDS = 10, 60.0
"""Failed attempts of an address within so many seconds; beyond them each is told to wait."""
MAX_FAILURES_OF_ALL = 100
"""Within a second."""
MAX_SUSPECTS = 4_096
"""Addresses of which failures are remembered."""
SCHEME = "bearer "
CALLER = "stationkeep.caller"
"""Where a scope has its `Caller`."""
CERTIFICATE = "stationkeep.certificate"
"""Where the state of a scope has the `Facts` of what was shown when the connection began."""
OUTCOMES = (
    "admitted", "forbidden", "limited", "missing", "malformed", "unknown", "revoked", "expired",
)  # fmt: skip

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Headers = Iterable[tuple[bytes, bytes]]
"""Names in lower case."""


def _always() -> bool:
    return True


class Caller(NamedTuple):
    """Who asks. `role` None: nobody in particular, `because` says why. `name` "": whoever they say
    they are. `ids`: the devices for which they speak. `good`: whether they still may. `token`: the
    id of theirs, unless it is the node's own; `credential`: the hash of the device's own by which
    they come."""

    role: Access | None
    address: str
    name: str = ""
    ids: str = "*"
    because: str = ""
    good: Callable[[], bool] = _always
    token: str = ""
    credential: bytes = b""

    @property
    def proof(self) -> tuple[str, bytes]:
        """What they have shown; the same of all who have shown the same."""
        return self.name, self.credential

    @property
    def enrolment(self) -> str:
        """The id of the token that enrols them; "" where none does."""
        return self.token if self.role is Access.ENROL else ""


class Admission:
    """The rule of one node, for requests and WebSockets. `local`: a token that is this node's own.
    `rescues`: paths of orders that end trouble, which are taken however often they come. `fleet`:
    the devices, with the credentials of their own; `revoked`: serial numbers of certificates;
    `dropped`: pins of CAs that are trusted no more.
    `known`: called with the address of a connection when somebody of the ladder comes in by it.
    `used`: with a token and an address, when somebody comes in who is no device; `guessed`: with an
    address from which too many fail. `outcomes`: how many came in, or why not."""

    def __init__(
        self,
        tokens: Callable[[], Mapping[str, Token]] = dict,
        *,
        required: bool = False,
        local: Token | None = None,
        node: str = "",
        proxies: Sequence[Network] = (),
        probes: Iterable[str] = (),
        rescues: Iterable[str] = (),
        fleet: Callable[[], Fleet] = Fleet,
        revoked: Callable[[], Container[str]] = tuple,
        dropped: Callable[[], Container[str]] = tuple,
        known: Callable[[str], None] = lambda _: None,
        used: Callable[[str, str], None] = lambda *_: None,
        guessed: Callable[[str], None] = lambda _: None,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.required = required
        self._tokens, self._local, self._node = tokens, local, node
        self._fleet, self._known = fleet, known
        self._revoked, self._dropped = revoked, dropped
        self._used, self._guessed = used, guessed
        self._wall, self._clock, self._probes = wall, clock, frozenset(probes)
        self._failures, self._rates = Failures(), Rates(clock)
        self._rescues = frozenset(rescues)
        self._is_proxy = lru_cache(64)(lambda address: _is_in(address, proxies))
        self.outcomes = dict.fromkeys(OUTCOMES, 0)

    def admit(
        self, method: str, path: str, headers: Headers, peer: str, shown: Facts | None = None
    ) -> Caller:
        """Who asks for this; raises `Problem` for who may not. `shown`: their certificate, which
        was good when the connection began."""
        headers = list(headers)
        if not self.required:
            if path not in self._probes:
                _refuse_proxies(headers)
            return Caller(Access.ADMIN, peer)
        address = self._address(headers, peer)
        route = route_of(method, path)
        right = right_to(method, route) if route is not None else ADMINISTER
        try:
            caller = self._caller(headers, address, shown)
        except Problem as problem:
            if not right.nobody:
                raise
            return Caller(None, address, because=problem.detail)
        free = right.nobody or right in (REPORT, REGISTER) or path in self._rescues
        if caller.token and caller.role in LADDER and not free:
            self._pace(caller, order=method not in ("GET", "HEAD") and right is not READ)
        if not right.allows(caller.role):
            self.outcomes["forbidden"] += 1
            raise _forbidden(method, path, route, right, caller)
        self.outcomes["admitted"] += 1
        if caller.token and caller.role not in OF_DEVICES:
            self._used(caller.token, address)
        if caller.role in LADDER:
            self._known(peer)
        return caller

    def _pace(self, caller: Caller, *, order: bool) -> None:
        wait = self._rates.take(caller.token, order=order)
        if wait:
            self.outcomes["limited"] += 1
            most = f"{ORDERS_A_SECOND} orders" if order else f"{READS_A_SECOND} reads"
            detail = f"{caller.name} has asked for more than {most} a second for some time"
            headers = {"Retry-After": str(math.ceil(wait))}
            raise Problem(Kind.BUSY, detail, rule="rate", headers=headers)

    def _caller(self, headers: Headers, address: str, shown: Facts | None) -> Caller:
        """Who proves to be whom: by a device's certificate, by what they show beside it, or by
        both, which have to agree."""
        given = [value for name, value in headers if name == b"authorization"]
        certified = None if shown is None else self._certified(shown, address)
        if given:
            caller = self._bearer(given, address)
            if certified is not None and not speaks_for(caller.ids, certified.ids):
                self.outcomes["forbidden"] += 1
                detail = f"{caller.name} does not speak for {certified.name}"
                raise Problem(Kind.FORBIDDEN, detail, rule="ids")
            return caller
        if certified is not None:
            return certified
        self.outcomes["missing"] += 1
        raise unauthenticated("missing", "Authorization: Bearer TOKEN is missing")

    def _certified(self, shown: Facts, address: str) -> Caller | None:
        """The device whose certificate this is."""
        identity = shown.identity
        if identity is None or identity.kind != "device":
            return None
        if self._is_void(shown):
            self.outcomes["revoked"] += 1
            why = f"the certificate of {identity} is revoked, or its CA was replaced"
            raise unauthenticated("revoked", why)
        return Caller(
            Access.DEVICE, address, f"{identity}, certificate {shown.serial}", identity.name,
            good=lambda: not self._is_void(shown),
        )  # fmt: skip

    def _is_void(self, shown: Facts) -> bool:
        return shown.serial in self._revoked() or shown.issuer in self._dropped()

    def _bearer(self, given: Sequence[bytes], address: str) -> Caller:
        """Who has the token, or the credential, that is shown."""
        value = given[0].decode("latin-1")
        if len(given) > 1 or not value.lower().startswith(SCHEME):
            raise self.failed("malformed", "Authorization: it says Bearer TOKEN, once", address)
        text = value[len(SCHEME) :].strip()
        try:
            if text.startswith(device_secrets.PREFIX):
                return self._device(device_secrets.parse(text), address)
            shown = parse(text)
        except TokenFault as fault:
            raise self.failed("malformed", f"Authorization: {fault}", address) from None
        token = self._find(shown.id)
        if token is None or not shown.proves(token.hash):
            raise self.failed("unknown", "Authorization: no such token", address)
        if not token.good(self._now()):
            word = "expired" if token.revoked_at is None else "revoked"
            self.outcomes[word] += 1
            raise unauthenticated(word, f"Authorization: the token {token.actor} is {word}")
        return Caller(
            token.role, address, self._name(token), token.ids or "*",
            good=lambda: (now := self._find(token.id)) is not None and now.good(self._now()),
            token="" if token is self._local else token.id,
        )  # fmt: skip

    def _device(self, shown: DeviceSecret, address: str) -> Caller:
        """The device whose own credential this is."""
        had, device = self._fleet().credential(shown.device), shown.device
        if not shown.proves(had.hash):
            raise self.failed("unknown", "Authorization: no such credential", address)
        if had.standing is not Standing.GOOD:
            self.outcomes["revoked"] += 1
            raise unauthenticated("revoked", f"Authorization: that of {device} is revoked")
        return Caller(
            Access.DEVICE, address, f"device {device}", device,
            good=lambda: self._fleet().credential(device) == had, credential=had.hash,
        )  # fmt: skip

    def _name(self, token: Token) -> str:
        return f"{token.name}@{self._node}" if token is self._local else token.actor

    def _find(self, id_: str) -> Token | None:
        if self._local is not None and id_ == self._local.id:
            return self._local
        return self._tokens().get(id_)

    def _now(self) -> int:
        return int(self._wall() * 1_000)

    def failed(self, word: str, detail: str, address: str) -> Problem:
        """What whoever fails to prove a secret is told; counted as `word`."""
        self.outcomes[word] += 1
        if self._failures.too_many(address, self._clock()):
            if self._failures.many_of(address):
                self._guessed(address)
            rule = f"{MAX_FAILURES} failed attempts in {FAILURE_SECONDS:g} s from {address}"
            # Over TLS another connection costs a handshake, of which an address has few a second.
            headers = {"Retry-After": RETRY_AFTER, "Connection": "close"}
            return Problem(Kind.BUSY, f"more than {rule}, or too many elsewhere", headers=headers)
        return unauthenticated(word, detail)

    def _address(self, headers: Headers, peer: str) -> str:
        """Where a request comes from."""
        if not self._is_proxy(peer):
            return peer
        said = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
        for hop in reversed(",".join(said).split(",")):
            if _parsed(hop.strip()) is None:
                return peer
            if not self._is_proxy(hop.strip()):
                return hop.strip()
        return peer


class Failures:
    """Failed attempts of late, by address; of IPv6 a /64 is one, since one client has all of it."""

    def __init__(self) -> None:
        self._of: dict[str, tuple[float, int]] = {}
        self._of_all = (0.0, 0)

    def many_of(self, address: str) -> bool:
        """Whether it is this address that has failed too often, and not all together."""
        return self._of.get(subscriber(address), (0.0, 0))[1] > MAX_FAILURES

    def too_many(self, address: str, now: float) -> bool:
        """Counts one more; whether that is too many."""
        who = subscriber(address)
        since, number = self._of.pop(who, (now, 0))
        if now - since >= FAILURE_SECONDS:
            since, number = now, 0
        self._of[who] = since, number + 1
        if len(self._of) > MAX_SUSPECTS:
            del self._of[next(iter(self._of))]
        second, of_all = self._of_all
        if now - second >= 1.0:
            second, of_all = now, 0
        self._of_all = second, of_all + 1
        return number >= MAX_FAILURES or of_all >= MAX_FAILURES_OF_ALL


class Entrance:
    """ASGI middleware: who may not is answered here; of all others the scope says who they are."""

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self._app, self._admission = app, admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        peer, port = scope.get("client") or ("unknown", 0)
        try:
            shown = scope.get("state", {}).get(CERTIFICATE)
            asked = scope["method"], scope["path"], scope["headers"]
            caller = self._admission.admit(*asked, peer, shown)
        except Problem as problem:
            await problem.response()(scope, receive, send)
            return
        if caller.address != peer:
            port = 0
        scope = {**scope, CALLER: caller, "client": (caller.address, port)}
        await self._app(scope, receive, send)


def unauthenticated(word: str, detail: str) -> Problem:
    """401; `word` is the rule."""
    challenge = 'Bearer realm="stationkeep"'
    if word != "missing":
        challenge += ', error="invalid_token"'
    return Problem(Kind.UNAUTHENTICATED, detail, rule=word, headers={"WWW-Authenticate": challenge})


def _forbidden(method: str, path: str, route: str | None, right: Right, caller: Caller) -> Problem:
    """403, which names the roles that would do; 404 where there is nothing anyway."""
    if route is None:
        return Problem(Kind.NOT_FOUND, f"nothing is at this path for {caller.role}")
    roles = " or ".join(right.roles)
    detail = f"{method} {route} is for the role {roles}; {caller.name} is {caller.role}"
    return Problem(Kind.FORBIDDEN, detail, rule="role")


def _refuse_proxies(headers: Headers) -> None:
    for name, _ in headers:
        if name in (b"forwarded", b"via") or name.startswith(b"x-forwarded-"):
            detail = (
                f"{name.decode('latin-1')}: a proxy stands before a node that asks nobody who they "
                "are; set auth: required in its file"
            )
            raise Problem(Kind.FORBIDDEN, detail, rule="proxy")


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _is_in(address: str, networks: Iterable[Network]) -> bool:
    found = _parsed(address)
    return found is not None and any(found in network for network in networks)
