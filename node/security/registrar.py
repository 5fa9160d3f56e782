"""Issues certificates to machines that become members, where there is the CA's key.

Who a machine is, is what the cluster has taken it in as: of its request (CSR) only the public key
is used. The CA's key goes along, over TLS: every member can renew its own certificate, so that the
loss of one takes that ability from no other. Source: guide/forming.md.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from cryptography import x509

from stationkeep.node.security import certificates as made
from stationkeep.node.security.certificates import Authority, CertificateError, PublicKey
from stationkeep.node.security.contexts import FileError
from stationkeep.node.security.identity import Identity
from stationkeep.node.version import RELEASED

MAX_CSR = 8_192
"""Characters of a request for a certificate; one takes a tenth of them, with RSA a quarter."""


class Papers(NamedTuple):
    """What a new member is given, in PEM."""

    certificate: str
    ca: str
    ca_key: str


class Registrar:
    """Issues by the CA in these files, which are read each time: they may change."""

    def __init__(self, ca: Path, ca_key: Path) -> None:
        self._ca, self._ca_key = ca, ca_key

    def authority(self) -> Authority:
        """The CA. Raises `CertificateError` where its key is not, or does not fit."""
        return made.authority(_content(self._ca), _content(self._ca_key))

    def issue(
        self, authority: Authority, public: PublicKey, node: str, hosts: Sequence[str]
    ) -> Papers:
        """By the CA, for whoever has the private key, as this node. Raises `CertificateError`."""
        leaf = node_certificate(authority, public, node, hosts, time.time())
        trusted = made.certificates_in(_content(self._ca))
        ca_key = made.private_pem(authority.key)
        pems = (made.public_pem([leaf]), made.public_pem(trusted), ca_key)
        return Papers(*(pem.decode() for pem in pems))


def _content(file: Path) -> bytes:
    """Of several files one is meant."""
    try:
        return made.read(file)
    except CertificateError as error:
        raise FileError(file, str(error)) from error


def node_certificate(
    authority: Authority, public: PublicKey, node: str, hosts: Sequence[str], now: float
) -> x509.Certificate:
    """One that begins at `now`, in seconds since 1970. A clock that shows less than the day of this
    release is wrong, and would make what has expired already. Raises `CertificateError`."""
    begins = datetime.fromtimestamp(int(max(now, RELEASED)), UTC)
    identity = Identity(authority.uid, "node", node)
    return made.issue(authority, identity, public, begins, hosts=hosts)
