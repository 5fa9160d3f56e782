"""Replaces a CA by another with a new key, in steps on the directory of `ca.pem` and `ca.key`.

    start    a second CA is made: `ca.pem` has both, its key waits in `ca.next.key`
    switch   the second CA issues: its key is `ca.key` now, the first one's `ca.previous.key`
    finish   `ca.pem` has the second CA alone, and the key of the first is gone
    abort    one step back

Everybody must trust both CAs before the switch, and show a certificate of the second before the
end; whoever calls these asks for that. A node renews its certificate by itself when another CA
issues than its own is of. Every step may be interrupted anywhere, and is then repeated.
"""

import enum
import os
import stat
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

from stationkeep.node.security import certificates as made
from stationkeep.node.security.certificates import CertificateError
from stationkeep.node.security.contexts import CA_FILE, CA_KEY_FILE, of_file

NEXT_KEY_FILE, PREVIOUS_KEY_FILE = "ca.next.key", "ca.previous.key"


class Phase(enum.StrEnum):
    """How far a rotation is."""

    NONE = "none"
    STARTED = "started"
    SWITCHED = "switched"


class Rotation:
    """The rotation in a directory. Methods raise `CertificateError`, whose sentence names a file,
    and OSError; then the step may be repeated."""

    def __init__(self, directory: Path) -> None:
        self._ca, self._key = directory / CA_FILE, directory / CA_KEY_FILE
        self._next, self._previous = directory / NEXT_KEY_FILE, directory / PREVIOUS_KEY_FILE

    @property
    def phase(self) -> Phase:
        if self._next.exists():
            return Phase.STARTED
        return Phase.SWITCHED if self._previous.exists() else Phase.NONE

    @property
    def incoming(self) -> x509.Certificate:
        """The second CA."""
        key = self._next if self._next.exists() else self._key
        return self._authority(key).certificate

    def start(self, now: datetime) -> None:
        """Makes the second CA, of the same cluster."""
        self._check(Phase.NONE, Phase.STARTED)
        first = self._authority(self._key)
        whose = self._key.stat()  # the node reads it, under whatever name
        if not self._next.exists():
            mode = stat.S_IMODE(whose.st_mode)
            made.write(self._next, made.private_pem(made.new_key()), mode)
        os.chown(self._next, whose.st_uid, whose.st_gid)
        key = of_file(self._next, made.key_in)
        bundle = of_file(self._ca, made.certificates_in)
        if all(ca.public_key() != key.public_key() for ca in bundle):
            second = made.new_authority(_cluster(first.certificate), now, key, first.uid)
            self._trust([*bundle, second.certificate])

    def switch(self) -> None:
        self._check(Phase.STARTED, Phase.SWITCHED)
        if self.phase is Phase.STARTED:
            self._authority(self._next)
            self._key.replace(self._previous)
            self._next.replace(self._key)
            self._sync()

    def finish(self) -> None:
        self._check(Phase.SWITCHED)
        key = self._authority(self._key).certificate.public_key()
        bundle = of_file(self._ca, made.certificates_in)
        self._trust([ca for ca in bundle if ca.public_key() == key])
        self._previous.unlink()
        self._sync()

    def abort(self) -> None:
        """One step back."""
        self._check(Phase.STARTED, Phase.SWITCHED)
        bundle = of_file(self._ca, made.certificates_in)
        if self.phase is Phase.SWITCHED:
            self._check_trusted(bundle)
            self._key.replace(self._next)
            self._previous.replace(self._key)
        else:
            key = of_file(self._next, made.key_in).public_key()
            if self._authority(self._key).certificate.public_key() == key:
                raise CertificateError(f"{self._next} is the key of the CA that issues: delete it")
            self._trust([ca for ca in bundle if ca.public_key() != key])
            self._next.unlink()
        self._sync()

    def _check_trusted(self, bundle: Sequence[x509.Certificate]) -> None:
        """The first CA is not, once the end has begun: nobody could issue with its key."""
        key = of_file(self._previous, made.key_in).public_key()
        if all(ca.public_key() != key for ca in bundle):
            raise CertificateError(f"{self._ca} has the second CA alone: `finish` is next")

    def _check(self, *phases: Phase) -> None:
        if not self._key.exists() and self._previous.exists():
            self._previous.replace(self._key)  # a step was interrupted between two renames
        if self.phase not in phases:
            raise CertificateError(f"{self._ca.parent}: {_WHY_NOT[self.phase]}")

    def _authority(self, key: Path) -> made.Authority:
        bundle = of_file(self._ca, bytes)
        return of_file(key, lambda content: made.authority(bundle, content))

    def _trust(self, bundle: Sequence[x509.Certificate]) -> None:
        made.write(self._ca, made.public_pem(bundle), made.PUBLIC)

    def _sync(self) -> None:
        """Of renames alone."""
        directory = os.open(self._ca.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


_WHY_NOT = {
    Phase.NONE: "no rotation has been started",
    Phase.STARTED: "the second CA does not issue yet: `switch` is next",
    Phase.SWITCHED: "the second CA issues already: `finish` is next",
}


def _cluster(ca: x509.Certificate) -> str:
    """The name in a CA that we made."""
    for name in ca.subject.get_attributes_for_oid(NameOID.COMMON_NAME):
        return str(name.value).removesuffix(" CA")
    return "cluster"
