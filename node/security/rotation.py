"""The files of a CA that another one takes the place of, in the directory of `ca.pem`.

    ca.pem            the CAs that are trusted
    ca.key            the key of the one that issues
    ca.next.key       the key of the second CA, until the first is gone
    ca.previous.key   the key of the first one, since the second issues

What they should be, the replicated state says; `follow` makes them so, whatever they are, and may
be interrupted anywhere, and repeated. A node whose directory is not its own to write to says so,
and somebody else puts the files there: what a node says of itself is what it has read. Source:
`cluster.ca_rotation`.
"""

import hashlib
from collections.abc import Container, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.x509.oid import NameOID

from stationkeep.cluster.state.state import CaPhase, CaRotation
from stationkeep.node.security import certificates as made
from stationkeep.node.security.certificates import CertificateError
from stationkeep.node.security.contexts import CA_KEY_FILE, of_file
from stationkeep.node.version import RELEASED

NEXT_KEY_FILE, PREVIOUS_KEY_FILE = "ca.next.key", "ca.previous.key"


class Second(NamedTuple):
    """A CA to take the place of others: its pin, its certificate, and theirs."""

    pin: str
    pem: str
    first: tuple[str, ...]


class CaFiles:
    """Those beside `ca`. Methods raise `CertificateError`, whose sentence names a file, and
    OSError; then what they do may be repeated."""

    def __init__(self, ca: Path) -> None:
        self._ca, self._key = ca, ca.with_name(CA_KEY_FILE)
        self._next = ca.with_name(NEXT_KEY_FILE)
        self._previous = ca.with_name(PREVIOUS_KEY_FILE)

    @property
    def issues(self) -> bool:
        """Whether this node issues certificates."""
        return self._key.exists()

    def make(self, now: datetime, dropped: Container[str]) -> Second:
        """A second CA of the same cluster, whose key is on disk. One that was begun and never
        ordered is taken; `dropped`: CAs that were given up."""
        bundle = self._bundle()
        first = of_file(self._key, lambda key: made.authority(made.public_pem(bundle), key))
        pin = _pin_of(self._next)
        if pin is None or pin in dropped or pin in map(made.pin, bundle):
            made.write(self._next, made.private_pem(made.new_key()), made.PRIVATE)
        key = of_file(self._next, made.key_in)
        begins = max(now, datetime.fromtimestamp(RELEASED, UTC))  # else that clock is wrong
        second = made.new_authority(_cluster(first.certificate), begins, key, first.uid)
        return _second(second.certificate, bundle)

    def given(self, pem: str, now: datetime) -> Second:
        """A second CA that was made elsewhere."""
        found = made.certificates_in(pem.encode())
        if len(found) != 1 or not made.pinned(pem.encode(), [made.pin(found[0])]):
            raise CertificateError("is not the certificate of one CA")
        self._check_uid(found[0])
        made.check_successor(found[0], now)
        return _second(found[0], self._bundle())

    def key(self, pin: str) -> bytes | None:
        """The private key of this CA, in PEM, if it is here."""
        file = self._file_of(pin)
        return None if file is None else made.private_pem(of_file(file, made.key_in))

    def lacks(self, pin: str) -> bool:
        """Whether this node issues, and has not the key of this CA."""
        return self.issues and self._file_of(pin) is None

    def claim(self, node: str, pin: str) -> bytes:
        """What proves that this node issues, and so is to have the key of this CA."""
        return made.request(of_file(self._key, made.key_in), _claimed(node, pin))

    def take(self, content: bytes, pin: str) -> None:
        """Keeps the key of a second CA, which a member has sent."""
        key = made.key_in(content)
        if made.pin_of_key(key.public_key()) != pin:
            raise CertificateError("is the key of another CA than was asked for")
        made.write(self._next, made.private_pem(key), made.PRIVATE)

    def follow(self, rotation: CaRotation, dropped: Container[str], now: datetime) -> None:
        """Makes the files what the state says."""
        self._trust(rotation, dropped, now)
        if not self.issues:
            return
        by_second = rotation.phase in (CaPhase.ISSUING, CaPhase.OVER)
        if (_pin_of(self._key) == rotation.pin) is not by_second:
            self._issue_by((rotation.pin,) if by_second else rotation.first)
        issues_now = _pin_of(self._key) == rotation.pin
        if not rotation.under_way and issues_now is by_second:
            self._next.unlink(missing_ok=True)
            self._previous.unlink(missing_ok=True)

    def _trust(self, rotation: CaRotation, dropped: Container[str], now: datetime) -> None:
        """A bundle of nobody would be no way out for anybody; nor would a second CA whose
        certificates are refused: once it issues, there is no quorum to go back with."""
        bundle = self._bundle()
        wanted = [ca for ca in bundle if made.pin(ca) not in dropped]
        if rotation.pin not in dropped and rotation.pin not in map(made.pin, wanted):
            second = made.pinned(rotation.pem.encode(), [rotation.pin])
            for ca in second:
                self._check(ca, rotation.phase, now)
            wanted += second
        if wanted and wanted != bundle:
            made.write(self._ca, made.public_pem(wanted), made.PUBLIC)

    def _issue_by(self, pins: Sequence[str]) -> None:
        """By the first of these CAs whose key is here; by none, it is as it was."""
        found = next((file for pin in pins if (file := self._file_of(pin)) is not None), None)
        if found is None:
            return
        content = made.read(found)
        if found == self._next:
            made.write(self._previous, made.read(self._key), made.PRIVATE)
        else:  # back
            made.write(self._next, made.read(self._key), made.PRIVATE)
        made.write(self._key, content, made.PRIVATE)

    def _file_of(self, pin: str) -> Path | None:
        files = (self._key, self._next, self._previous)
        return next((file for file in files if _pin_of(file) == pin), None)

    def _bundle(self) -> list[x509.Certificate]:
        return of_file(self._ca, made.certificates_in)

    def _check(self, second: x509.Certificate, phase: CaPhase, now: datetime) -> None:
        try:
            self._check_uid(second)
            if phase is CaPhase.TRUSTING:
                made.check_successor(second, now)
        except CertificateError as error:
            raise CertificateError(f"the second CA {error}") from error

    def _check_uid(self, second: x509.Certificate) -> None:
        """Nobody is made to trust the CA of another cluster."""
        uids = [_uid(ca) for ca in self._bundle()]
        if _uid(second) not in uids:
            raise CertificateError(f"is of uid {_uid(second) or 'none'}, not of {uids[0]}")


def is_entitled(claim: bytes, node: str, rotation: CaRotation) -> bool:
    """Whether this is the claim to the second CA's key of a node that has the key of the first. One
    that was overheard is of no use to another node."""
    try:
        key = made.requested_key(claim, _claimed(node, rotation.pin))
    except CertificateError:
        return False
    return made.pin_of_key(key) in rotation.first


def _claimed(node: str, pin: str) -> str:
    """As short as the name in a request has to be."""
    return hashlib.sha256(f"{node} {pin}".encode()).hexdigest()


def _second(second: x509.Certificate, bundle: Sequence[x509.Certificate]) -> Second:
    pin = made.pin(second)
    first = tuple(dict.fromkeys(other for ca in bundle if (other := made.pin(ca)) != pin))
    return Second(pin, made.public_pem([second]).decode(), first)


def _pin_of(file: Path) -> str | None:
    """The pin of the CA whose key is in a file; None if there is none."""
    try:
        return made.pin_of_key(made.key_in(made.read(file)).public_key())
    except CertificateError:
        return None


def _uid(ca: x509.Certificate) -> str:
    identity = made.facts_of(ca).identity
    return identity.uid if identity else ""


def _cluster(ca: x509.Certificate) -> str:
    """The name in a CA that we made."""
    for name in ca.subject.get_attributes_for_oid(NameOID.COMMON_NAME):
        return str(name.value).removesuffix(" CA")
    return "cluster"
