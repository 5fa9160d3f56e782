"""The TLS contexts of a node now, and how they change without a restart.

All files are read together, into one `Credentials`. What does not fit together is refused as a
whole and the old one stays in use: a file that is half written, a key of another pair, a
certificate of another node. Connections that stand keep what they began with.
"""

import os
import ssl
import time
from collections import Counter
from collections.abc import Callable, Container, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TypeVar

import structlog
from cryptography import x509

from stationkeep.node.security import certificates as made
from stationkeep.node.security.certificates import CertificateError
from stationkeep.node.security.foreign_devices import ForeignDevices, IdFrom
from stationkeep.node.security.handshake import ALPN, OUTCOMES, context, judge
from stationkeep.node.security.identity import Door, Facts, Identity, date

T = TypeVar("T")
RAFT, HTTP = "raft", "http"
"""The ports."""

MAX_CLIENTS = 256
"""Contexts for dialling, one a peer; they are made anew when they are needed."""
CA_FILE, CA_KEY_FILE = "ca.pem", "ca.key"
GIVEN = "it is given its certificates: issue another where the CA's key is (`certs issue`)"

log = structlog.get_logger("node.security")


class FileError(CertificateError):
    """What is wrong with a file; `str()` begins with its name."""

    def __init__(self, file: Path, why: str) -> None:
        super().__init__(f"{file} {why}")
        self.file = file


class Files(NamedTuple):
    """Where a node's certificates are. A key may be in the file of its certificate."""

    ca: Path
    certificate: Path
    key: Path
    http_certificate: Path | None = None
    """For the HTTP port, of a CA that browsers know. None: the node's own."""
    http_key: Path | None = None
    device_ca: Path | None = None
    """Of a foreign CA, certificates of which are of devices."""


class Pair(NamedTuple):
    """A certificate, those between it and its CA, and its key, as one PEM text."""

    chain: Sequence[x509.Certificate]
    pem: bytes

    @property
    def leaf(self) -> x509.Certificate:
        return self.chain[0]

    @property
    def ends(self) -> float:
        return made.facts_of(self.leaf).not_after


class Credentials:
    """What a node's files say, once they have been found to fit together."""

    def __init__(
        self,
        files: Files,
        node: str,
        members: Callable[[], Container[str]],
        revoked: Callable[[], Container[str]],
        id_from: IdFrom = IdFrom.SAN_URI,
    ) -> None:
        """`members`: who may dial this node; `revoked`: serial numbers of certificates that nobody
        may show. Both are asked at each handshake. `id_from`: of devices with certificates of a
        foreign CA. Raises `FileError`."""
        self.bundle = of_file(files.ca, made.certificates_in)
        self.pair, identity = _own_pair(files, self.bundle, node)
        self.uid, self.node = identity.uid, node
        self.http_pair = _http_pair(files) or self.pair
        self.trusted = made.public_pem(self.bundle).decode()
        """The CAs' certificates in PEM."""
        self._revoked = revoked
        self._clients: dict[str, ssl.SSLContext] = {}
        self._foreign: ForeignDevices | None = None
        self.server = self._of_member(True, Door.ACCEPTED, members)
        """For whoever dials this node."""
        self.http = self._of_http(files, id_from)
        """For the HTTP port, where devices may show a certificate."""

    def _of_http(self, files: Files, id_from: IdFrom) -> ssl.SSLContext:
        trusted = self.trusted
        if files.device_ca is not None:
            foreign = of_file(files.device_ca, made.certificates_in)
            trusted += made.public_pem(foreign).decode()
            self._foreign = ForeignDevices(foreign, self.uid, id_from)
        shown = judge(self.uid, Door.CALLER, None, self._revoked)
        found = context(True, trusted, shown, "http/1.1", optional=True, read=self._read_shown)
        load_pair(found, self.http_pair)
        return found

    def _read_shown(self, shown: bytes, facts: Facts) -> Facts:
        """The facts of a certificate in DER that chains to a CA of the cluster, or to a foreign
        one, whose word counts for devices alone."""
        try:
            leaf = x509.load_der_x509_certificate(shown)
        except ValueError:  # what cannot be read says nothing
            return Facts((), 0.0, 0.0)
        for pin, ca in zip(self.pins, self.bundle, strict=True):
            if made.chains(leaf, (), [ca]):
                return facts._replace(issuer=pin)
        return Facts((), 0.0, 0.0) if self._foreign is None else self._foreign.read(leaf, facts)

    def client(self, peer: str) -> ssl.SSLContext:
        """For dialling this member, and nobody else."""
        if peer not in self._clients:
            if len(self._clients) >= MAX_CLIENTS:
                self._clients.clear()
            self._clients[peer] = self._of_member(False, Door.DIALLED, lambda: {peer})
        return self._clients[peer]

    def _of_member(
        self, server: bool, door: Door, expected: Callable[[], Container[str]]
    ) -> ssl.SSLContext:
        found = context(server, self.trusted, judge(self.uid, door, expected, self._revoked), ALPN)
        load_pair(found, self.pair)
        return found

    @cached_property  # anybody may ask
    def pins(self) -> list[str]:
        """What identifies each CA to people."""
        return [made.pin(ca) for ca in self.bundle]

    @cached_property
    def issued_by(self) -> str:
        """The pin of the CA that issued the node's certificate."""
        leaf, *between = self.pair.chain
        return next(made.pin(ca) for ca in self.bundle if made.chains(leaf, between, [ca]))

    @property
    def serial(self) -> str:
        """Of the node's certificate, as people and OpenSSL write it."""
        return made.facts_of(self.pair.leaf).serial

    @property
    def expiries(self) -> dict[str, float]:
        """When what ends, in seconds since 1970: `node`, `http`, `ca`."""
        ca_ends = max(made.facts_of(ca).not_after for ca in self.bundle)
        return {"node": self.pair.ends, "http": self.http_pair.ends, "ca": ca_ends}


class Contexts:
    """The credentials in use, and their replacement."""

    def __init__(
        self,
        files: Files,
        node: str,
        members: Callable[[], Container[str]] = lambda: (),
        id_from: IdFrom = IdFrom.SAN_URI,
    ) -> None:
        """Raises `FileError` if what is there cannot be used at all."""
        self.files, self._node, self._id_from = files, node, id_from
        self.members = members
        self.revoked: Callable[[], Container[str]] = tuple
        """Serial numbers of certificates that were revoked. Set by the owner."""
        self.dropped: Callable[[], Container[str]] = tuple
        """Pins of CAs that nobody trusts any more. Set by the owner."""
        self.renew: Callable[[], str | None] = lambda: GIVEN
        """Issues another certificate to this node and uses it; why that cannot be done, or None.
        Set by the owner."""
        self._seen = _signature(files)
        self.current = self._read()
        self.rejected: str | None = None
        """Why the files as they are now are not in use."""
        self.narrowed = 0
        """How often a CA that had been trusted was not any more."""
        self.reloads: Counter[str] = Counter({"accepted": 0, "rejected": 0})
        none = dict.fromkeys(OUTCOMES, 0)
        self.handshakes: dict[str, Counter[str]] = {RAFT: Counter(none), HTTP: Counter(none)}
        """How handshakes of connections to a port ended."""

    def _read(self) -> Credentials:
        file = self.files.certificate
        try:
            return Credentials(self.files, self._node, self._expected, self._refused, self._id_from)
        except ssl.SSLError as error:  # what OpenSSL does not like, and we have no rule for
            raise FileError(file, f"cannot be used: {error}") from error
        except OSError as error:  # as when descriptors are short
            raise FileError(file, f"cannot be used: {error.strerror}") from error

    def _expected(self) -> Container[str]:
        return self.members()

    def _refused(self) -> Container[str]:
        return self.revoked()

    def server(self) -> ssl.SSLContext:
        return self.current.server

    def http(self) -> ssl.SSLContext:
        return self.current.http

    def client(self, peer: str) -> ssl.SSLContext:
        return self.current.client(peer)

    def look(self) -> None:
        """Reads the files anew if any has changed since they were read, or is not in use: what was
        wrong may have been the owner of a file, or this machine, which no file shows."""
        if self.rejected is not None or _signature(self.files) != self._seen:
            self.reload()

    def reload(self) -> bool:
        """Reads the files anew; whether they are in use now."""
        self._seen = _signature(self.files)
        try:
            fresh = self._read()
            self._check_may_replace(fresh)
        except FileError as error:
            self._reject(str(error))
            return False
        self.narrowed += any(ca not in fresh.bundle for ca in self.current.bundle)
        self.current, self.rejected = fresh, None
        self.reloads["accepted"] += 1
        log.info("certificate_loaded", serial=fresh.serial, until=date(fresh.pair.ends))
        return True

    def _check_may_replace(self, fresh: Credentials) -> None:
        """Nobody puts an expired certificate, one of another cluster, or a CA that was dropped, in
        the place of what stands on purpose."""
        if fresh.uid != self.current.uid:
            why = f"is of the cluster with uid {fresh.uid}, not {self.current.uid}"
            raise FileError(self.files.certificate, why)
        dropped = self.dropped()
        for pin in fresh.pins:
            if pin in dropped and pin not in self.current.pins:
                raise FileError(self.files.ca, f"has a CA that was dropped: {pin}")
        _check_date(self.files.certificate, fresh.pair)
        _check_date(self.files.http_certificate or self.files.certificate, fresh.http_pair)

    def _reject(self, why: str) -> None:
        if why != self.rejected:
            self.rejected = why
            self.reloads["rejected"] += 1
            log.error("certificate_rejected", why=why)


def check(files: Files, node: str, *, own: bool) -> None:
    """Whether the files fit together. `own`: also those of the node's own certificate, which may
    be missing while it is to be issued. Raises `FileError`."""
    bundle = of_file(files.ca, made.certificates_in)
    _http_pair(files)
    if files.device_ca is not None:
        of_file(files.device_ca, made.certificates_in)
    if own:
        _own_pair(files, bundle, node)


def _own_pair(files: Files, bundle: Sequence[x509.Certificate], node: str) -> tuple[Pair, Identity]:
    pair = read_pair(files.certificate, files.key)
    try:
        return pair, made.check_chain(pair.chain, bundle, node)
    except CertificateError as error:
        raise FileError(files.certificate, str(error)) from error


def _http_pair(files: Files) -> Pair | None:
    if files.http_certificate is None:
        return None
    return read_pair(files.http_certificate, files.http_key or files.http_certificate)


def read_pair(certificate: Path, key: Path) -> Pair:
    chain, private = of_file(certificate, made.certificates_in), of_file(key, made.key_in)
    if chain[0].public_key() != private.public_key():
        raise FileError(certificate, f"does not belong to the key in {key}")
    return Pair(chain, made.private_pem(private) + made.public_pem(chain))


def _check_date(file: Path, pair: Pair) -> None:
    if pair.ends < time.time():
        raise FileError(file, f"expired on {date(pair.ends)}")


def of_file(file: Path, reader: Callable[[bytes], T]) -> T:
    """What `reader` makes of a file. Raises `FileError`."""
    try:
        return reader(made.read(file))
    except CertificateError as error:
        raise FileError(file, str(error)) from error


def load_pair(found: ssl.SSLContext, pair: Pair) -> None:
    """What was checked is what is used: OpenSSL reads files alone, and one on the disk may have
    changed since."""
    handle = os.memfd_create("certificate", os.MFD_CLOEXEC)
    with open(handle, "wb") as file:
        file.write(pair.pem)
        file.flush()
        found.load_cert_chain(f"/proc/self/fd/{handle}")


def _signature(files: Files) -> list[tuple[int, int, int] | None]:
    """What changes when a file does, also when a link leads elsewhere; None for one that is not
    there."""
    found: list[tuple[int, int, int] | None] = []
    for path in files:
        if path is None:
            continue
        try:
            stat = path.stat()
            found.append((stat.st_size, stat.st_mtime_ns, stat.st_ino))
        except OSError:
            found.append(None)
    return found
