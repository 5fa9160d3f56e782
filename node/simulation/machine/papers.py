"""What a simulated machine has of certificates: whom it trusts, what it shows, a CA's key.

There is no cryptography: that a CA has issued a certificate is a field of it. What the certificate
is good for is asked of the real `node.security.identity`.
"""

from collections.abc import Container
from enum import StrEnum
from typing import NamedTuple

import msgspec

from stationkeep.node.security.certificates import BACKDATED, LEAF_DAYS
from stationkeep.node.security.identity import Door, Facts, Identity, Word, verdict
from stationkeep.node.version import RELEASED

DAY = 86_400.0
LIFE = LEAF_DAYS * DAY
UID, OTHER_UID = "51a7104bee900001", "51a7104bee900002"
"""Of the simulated cluster, and of one of the same name."""
FOREIGN = "foreign"
"""A CA that no member trusts."""


class Kept(StrEnum):
    """Where the CA's key is."""

    EVERYWHERE = "everywhere"
    """On each machine, which so issues its own certificate."""
    APART = "apart"
    """With an operator alone."""


class Impostor(StrEnum):
    """What somebody shows who answers in the place of a member."""

    FOREIGN = "foreign"
    OTHER_CLUSTER = "other-cluster"
    OTHER_NODE = "other-node"
    DEVICE = "device"
    NOTHING = "nothing"


class Certificate(NamedTuple):
    """`issuer`: the CA that signed it."""

    issuer: str
    facts: Facts


class Papers(msgspec.Struct):
    """The certificates of one machine. `trusts`: CAs; `key`: the CA whose key is there, or "".
    `impostor`: whether somebody else answers there, who looks at nobody's certificate."""

    trusts: tuple[str, ...] = ()
    key: str = ""
    shown: Certificate | None = None
    impostor: bool = False

    @property
    def genuine(self) -> bool:
        return not self.impostor and self.shown is not None

    @property
    def issuer(self) -> str:
        assert self.shown is not None
        return self.shown.issuer

    @property
    def facts(self) -> Facts:
        assert self.shown is not None
        return self.shown.facts

    def facts_of(self, other: "Papers") -> Facts | None:
        """What the certificate that another machine shows says to this one."""
        if other.shown is None:
            return None
        return other.shown.facts._replace(trusted=other.shown.issuer in self.trusts)


class View(NamedTuple):
    """One end of a handshake: its papers, its clock (seconds since 1970), and the serial numbers
    that were revoked, as far as it knows."""

    papers: Papers
    clock: float
    revoked: Container[str]

    def refuses(self, other: "View", door: Door, expected: Container[str]) -> Word | None:
        """Why this end ends the handshake; None if it does not."""
        if self.papers.impostor:
            return None
        facts = self.papers.facts_of(other.papers)
        return verdict(facts, self.clock, UID, door, expected, revoked=self.revoked)


def issued(issuer: str, identity: Identity, begins: float, serial: str) -> Certificate:
    """By a CA at `begins` of its clock, as `node.security.registrar` does it."""
    begins = max(begins, RELEASED)
    facts = Facts((identity.uri,), begins - BACKDATED.total_seconds(), begins + LIFE, serial=serial)
    return Certificate(issuer, facts)
