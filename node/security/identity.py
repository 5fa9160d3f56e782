"""Who a certificate says its holder is, and whether that will do: pure, and the one rule for it.

Identity is a URI among the certificate's subject alternative names, as SPIFFE has it:

    spiffe://sk-UID/node/ID     spiffe://sk-UID/device/ID     spiffe://sk-UID/client/ROLE/NAME

`UID`: 16 hexadecimal digits that are drawn with the CA. A CA's own certificate has the URI without
a path. Common names, DNS names and addresses are for browsers and foreign tools: nothing here reads
them, so that a node that moves stays who it is.

Members are lenient about dates, and only they: for `GRACE` seconds beyond them a certificate still
opens their links, since a cluster that falls apart over a date cannot renew anything. Everything
else that reads a date is strict.
"""

import enum
from collections.abc import Container
from datetime import UTC, datetime
from typing import NamedTuple

from stationkeep.cluster.names import is_uid, name_fault
from stationkeep.node.version import RELEASED

GRACE = 7 * 86_400.0
"""Seconds beyond its dates for which members accept each other's certificates."""
_DOMAIN = "spiffe://sk-"


class Identity(NamedTuple):
    """What the URI of a certificate says. `kind`: `node`, `device`, `client`, or `ca` for the
    issuer itself, which has no `name`; `role`: of a client only."""

    uid: str
    kind: str
    name: str = ""
    role: str = ""

    @property
    def uri(self) -> str:
        path = [part for part in (self.role, self.name) if part]
        return "/".join([f"{_DOMAIN}{self.uid}", *([self.kind, *path] if self.name else [])])

    def __str__(self) -> str:
        return " ".join(part for part in (self.kind, self.role, self.name) if part)


def parse(uri: str) -> Identity | None:
    """The identity in a URI; None if it is none of ours, in the exact form that we write."""
    if not uri.startswith(_DOMAIN):
        return None
    uid, *path = uri.removeprefix(_DOMAIN).split("/")
    if not is_uid(uid) or any(name_fault(part) is not None for part in path):
        return None
    match path:
        case []:
            return Identity(uid, "ca")
        case ["node" | "device" as kind, name]:
            return Identity(uid, kind, name)
        case ["client", role, name]:
            return Identity(uid, "client", name, role)
    return None


class Facts(NamedTuple):
    """What is read from a certificate. Dates in seconds since 1970, `serial` in hexadecimal.
    `trusted`: whether it chains to a CA that we trust; TLS never gets as far as asking for facts of
    one that does not. `issuer`: the pin of the CA of the cluster that issued it, where that was
    asked; "" for another one."""

    uris: tuple[str, ...]
    not_before: float
    not_after: float
    trusted: bool = True
    serial: str = ""
    issuer: str = ""

    @property
    def identity(self) -> Identity | None:
        """None unless exactly one of the URIs is an identity: of two, which is meant?"""
        found = [identity for uri in self.uris if (identity := parse(uri)) is not None]
        return found[0] if len(found) == 1 else None


class Door(enum.Enum):
    """Where a certificate is shown, which decides who is expected behind it."""

    DIALLED = enum.auto()
    """To a member, by the one that it dialled."""
    ACCEPTED = enum.auto()
    """To a member, by the one that dialled it."""
    NODE = enum.auto()
    """To a client or a device, by the node that it asked."""
    CALLER = enum.auto()
    """To a node, by the client or device that asks it."""


class Word(enum.StrEnum):
    """Why a certificate is refused: in logs, in metrics, on both ends of a link."""

    NO_CERTIFICATE = "no_certificate"
    UNTRUSTED_CA = "untrusted_ca"
    WRONG_CLUSTER = "wrong_cluster"
    NOT_A_NODE = "not_a_node"
    NOT_A_CALLER = "not_a_caller"
    WRONG_NODE = "wrong_node"
    NOT_MEMBER = "not_member"
    REVOKED = "revoked"
    CERTIFICATE_EXPIRED = "certificate_expired"
    CLOCK = "clock"
    """It is not valid yet: one of the two clocks is wrong."""


def verdict(
    facts: Facts | None,
    now: float,
    uid: str | None,
    door: Door,
    expected: Container[str] | None = None,
    *,
    revoked: Container[str] = (),
) -> Word | None:
    """None if the certificate will do, else why not.

    `facts`: None if none was shown. `uid`: of the own cluster; None if a foreign CA does not tell.
    `expected`: the names that will do; None: all. `revoked`: serial numbers that will not.
    """
    if facts is None:
        return Word.NO_CERTIFICATE
    if not facts.trusted:
        return Word.UNTRUSTED_CA
    identity = facts.identity
    if identity is not None and uid is not None and identity.uid != uid:
        return Word.WRONG_CLUSTER
    if facts.serial in revoked:
        return Word.REVOKED
    if door is Door.CALLER:
        if identity is None or identity.kind not in ("device", "client"):
            return Word.NOT_A_CALLER
    elif identity is None or identity.kind != "node":
        return Word.NOT_A_NODE
    if expected is not None and identity.name not in expected:
        return Word.NOT_MEMBER if door is Door.ACCEPTED else Word.WRONG_NODE
    return _on_time(facts, now, GRACE if door in (Door.DIALLED, Door.ACCEPTED) else 0.0)


def _on_time(facts: Facts, now: float, grace: float) -> Word | None:
    """A clock that shows a time before this release was made is wrong, and proves nothing."""
    if now < RELEASED:
        return None
    if now > facts.not_after + grace:
        return Word.CERTIFICATE_EXPIRED
    if now < facts.not_before - grace:
        return Word.CLOCK
    return None


def sentence(word: Word, facts: Facts | None, now: float, uid: str | None) -> str:
    """The verdict for people: what is wrong with the certificate, with dates where it is dates."""
    if facts is None:
        return "it shows no certificate"
    who = str(facts.identity or "nobody of a cluster")
    match word:
        case Word.UNTRUSTED_CA:
            return "its CA is not trusted here"
        case Word.WRONG_CLUSTER:
            return (
                f"it is of another cluster: uid {facts.identity and facts.identity.uid}, not {uid}"
            )
        case Word.REVOKED:
            return f"it was revoked: serial {facts.serial}"
        case Word.CERTIFICATE_EXPIRED:
            return f"it expired on {date(facts.not_after)}, and it is {date(now)} here"
        case Word.CLOCK:
            return f"it is not valid before {date(facts.not_before)}, and it is {date(now)} here"
        case Word.NOT_A_NODE:
            return f"it is of {who}, not of a node"
        case Word.NOT_A_CALLER:
            return f"it is of {who}, not of a device or a client"
        case Word.NOT_MEMBER:
            return f"it is of {who}, which is no member"
        case Word.WRONG_NODE:
            return f"it is of {who}: another node is expected here"
        case Word.NO_CERTIFICATE:
            return "it shows no certificate"


def date(seconds: float) -> str:
    """For people, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
