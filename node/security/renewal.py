"""A node issues its own certificate and renews it, if it has the CA's key, and complains in time.

Renewal is level-triggered: at each look the certificate that is there is compared with what it
should be. It is due at two thirds of its life, a little earlier or later by its serial number, so
that the nodes of a cluster do not all renew at once; and at once when it cannot be used, when the
node's addresses have changed, or when told. Key and certificate are one file, replaced as a whole:
a crash leaves the old pair or the new one.
"""

import asyncio
import time
from collections.abc import Callable, Container, Sequence
from pathlib import Path

import structlog
from cryptography import x509

from stationkeep.node.security import certificates as made
from stationkeep.node.security.certificates import CertificateError
from stationkeep.node.security.contexts import GIVEN, Contexts
from stationkeep.node.security.identity import Facts, date
from stationkeep.node.security.registrar import Registrar, node_certificate
from stationkeep.node.system.operator_files import private_directory
from stationkeep.node.version import RELEASED

DUE, JITTER = 2 / 3, 0.1
"""The part of its life at which a certificate is renewed, give or take a part of that."""
EXPIRING, CA_EXPIRING = 14 * 86_400.0, 180 * 86_400.0
"""Seconds before an end that is announced."""
LEFT_OF_OTHERS = 1 / 3
"""The part of its life that a certificate issued elsewhere has left when its end is announced."""
LOOK_SECONDS, RETRY_SECONDS = 5.0, 60.0
"""Between two looks at the files, and until a renewal that failed is tried again. A look takes less
than a millisecond; it is as frequent because a clock that jumps makes one due."""
FAILURES = 2
"""Renewals that fail in a row before that is announced."""

log = structlog.get_logger("node.security")


class Issuer:
    """Issues to `node` from the CA's files into `file`. `hosts`: DNS names and addresses, for
    browsers."""

    def __init__(self, ca: Path, ca_key: Path, file: Path, node: str, hosts: Sequence[str]) -> None:
        self._ca, self._ca_key, self._file = ca, ca_key, file
        self._node, self._hosts = node, hosts
        self._retry_at = 0.0
        self.failures = 0
        """Since a certificate was last issued."""
        self.failed = ""
        """Why, the last time."""

    def due(self, now: float, revoked: Container[str] = ()) -> str | None:
        """Why a certificate should be issued now; None if the one that is there will do.
        `revoked`: serial numbers."""
        try:
            return self._why_due(made.read(self._file), now, revoked)
        except CertificateError as error:
            return f"it {error}"

    def _why_due(self, content: bytes, now: float, revoked: Container[str] = ()) -> str | None:
        """As `due`, of the content of a file; raises `CertificateError` for one to be replaced."""
        leaf, *_ = made.certificates_in(content)
        if made.key_in(content).public_key() != leaf.public_key():
            return "it does not belong to its key"
        bundle = made.certificates_in(made.read(self._ca))
        made.check_chain([leaf], bundle, self._node)
        if not {str(made.host_name(host).value) for host in self._hosts} <= set(
            made.hosts_of(leaf)
        ):
            return "the addresses have changed"
        if not self._is_of_the_issuing_ca(leaf, bundle):
            return "another CA issues by now"
        ca_ends = max(made.facts_of(ca).not_after for ca in bundle)
        return why_over(made.facts_of(leaf), ca_ends, now, revoked)

    def _is_of_the_issuing_ca(
        self, leaf: x509.Certificate, bundle: Sequence[x509.Certificate]
    ) -> bool:
        """Of several CAs, as while one replaces another, that is the one whose key is here. Where
        it is not, what is there will do."""
        try:
            key = made.key_in(made.read(self._ca_key)).public_key()
        except CertificateError:
            return True
        issuing = [ca for ca in bundle if ca.public_key() == key]
        return not issuing or made.chains(leaf, [], issuing)

    @property
    def rests(self) -> bool:
        """Whether the last renewal failed a short time ago."""
        return time.monotonic() < self._retry_at

    def renew(self, now: float) -> bool:
        """Issues a certificate with a new key. When that fails, the old pair is there."""
        try:
            authority, key = Registrar(self._ca, self._ca_key).authority(), made.new_key()
            leaf = node_certificate(authority, key.public_key(), self._node, self._hosts, now)
            content = made.private_pem(key) + made.public_pem([leaf])
            why = self._why_due(content, now)
            if why is not None:  # for ever then, at each look
                raise CertificateError(f"a new one would be replaced at once: {why}")
            private_directory(self._file.parent)
            made.write(self._file, content, made.PRIVATE)
        except (CertificateError, OSError) as error:
            self.failures += 1
            self._retry_at = time.monotonic() + RETRY_SECONDS
            self.failed = str(error)
            log.error("certificate_not_renewed", why=self.failed, times=self.failures)
            return False
        self.settle()
        return True

    def settle(self) -> None:
        """Nothing is due; what failed before does not matter any more."""
        self.failures, self.failed, self._retry_at = 0, "", 0.0


def why_over(facts: Facts, ca_ends: float, now: float, revoked: Container[str]) -> str | None:
    """Why a certificate should be replaced by another of the same CA, which ends at `ca_ends`; None
    if it will do. `revoked`: serial numbers. Times in seconds since 1970."""
    if facts.serial in revoked:
        return "it was revoked"
    if RELEASED <= now < facts.not_before:
        return "it is not valid yet: the clock was wrong, or is"
    if facts.not_after >= ca_ends:
        return None  # with its CA: another one would end no later
    return "two thirds of its life are over" if now >= renewal_at(facts) else None


def renewal_at(facts: Facts) -> float:
    """When a certificate is to be renewed, in seconds since 1970."""
    draw = int(facts.serial, 16) % 1_000 / 1_000
    part = DUE * (1 + JITTER * (2 * draw - 1))
    return facts.not_before + part * (facts.not_after - facts.not_before)


def ensure(issuer: Issuer, revoked: Container[str] = ()) -> None:
    """Renews if that is due."""
    now = time.time()
    why = issuer.due(now, revoked)
    if why is None:
        issuer.settle()
    elif issuer.renew(now):
        log.info("certificate_renewed", why=why)


class Renewal:
    """Looks after the certificates of a running node. `issuer`: None if it has not the CA's key, or
    brings its own certificate."""

    def __init__(self, contexts: Contexts, issuer: Issuer | None) -> None:
        self.contexts, self._issuer = contexts, issuer
        self._timer: asyncio.TimerHandle | None = None
        contexts.renew = self.renew

    def watch(self) -> Callable[[], None]:
        """Looks after them from now on, until the function that is returned is called."""
        loop = asyncio.get_running_loop()

        def again() -> None:
            self._timer = loop.call_later(LOOK_SECONDS, again)
            self.look()

        self._timer = loop.call_later(LOOK_SECONDS, again)
        return self._unwatch

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def look(self) -> None:
        """Renews what is due, and uses what has changed."""
        if self._issuer is not None and not self._issuer.rests:
            ensure(self._issuer, self.contexts.revoked())
        self.contexts.look()

    def renew(self) -> str | None:
        """Issues another certificate now, and uses it. Why not, or None."""
        if self._issuer is None:
            return GIVEN
        if not self._issuer.renew(time.time()):
            return self._issuer.failed
        log.info("certificate_renewed", why="an administrator said so")
        return None if self.contexts.reload() else self.contexts.rejected

    # -- what is wrong with them, for alarms

    def expiring(self) -> str | None:
        """Of the certificates in use, the one that ends first; or that they are not renewed."""
        if self._issuer is not None and self._issuer.failures >= FAILURES:
            return f"renewal failed {self._issuer.failures} times: {self._issuer.failed}"
        now = time.time()
        current = self.contexts.current
        for what, pair in (("node", current.pair), ("http", current.http_pair)):
            facts = made.facts_of(pair.leaf)
            notice = EXPIRING
            if self._issuer is None or pair is not current.pair:
                notice = max(notice, LEFT_OF_OTHERS * (facts.not_after - facts.not_before))
            if now < facts.not_after < now + notice:
                return f"the {what} certificate expires on {date(facts.not_after)}"
        return None

    def expired(self) -> str | None:
        now = time.time()
        for what, ends in self.contexts.current.expiries.items():
            if now >= max(RELEASED, ends):
                return (
                    f"the {what} certificate expired on {date(ends)}; members accept a node's "
                    "for seven days"
                )
        return None

    def rejected(self) -> str | None:
        """Of the files, or of a certificate in use that is not replaced by itself."""
        serial = self.contexts.current.serial
        if self._issuer is None and serial in self.contexts.revoked():
            return f"the node's certificate was revoked, serial {serial}: give it another"
        return self.contexts.rejected

    def ca_expiring(self) -> str | None:
        ends = self.contexts.current.expiries["ca"]
        return f"the CA expires on {date(ends)}" if ends < time.time() + CA_EXPIRING else None
