"""`tls:` in a node's file: where its certificates are. All that a node would choke on is refused
here, when the file is read."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from stationkeep.node.config.yaml_document import Value
from stationkeep.node.security import certificates as made
from stationkeep.node.security.certificates import CertificateError
from stationkeep.node.security.contexts import CA_FILE, CA_KEY_FILE, FileError, Files, check
from stationkeep.node.security.foreign_devices import IdFrom

CREDENTIALS = "$CREDENTIALS_DIRECTORY"
"""What systemd's LoadCredential provides is there: a path may be it, or begin with it."""
OWN_FILE = Path("tls") / "node.pem"
"""In the data directory: what the node issued to itself."""
MAX_PATH = 4_096
T = TypeVar("T")


class TlsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Certificates of a node, and of its cluster's CA."""

    dir: Path
    """The directory with `ca.pem`, and `ca.key` if this node is to issue its own certificate."""
    certificate: Path | None = None
    """A certificate of this node that was issued elsewhere. Then none is issued here."""
    key: Path | None = None
    """The key of `certificate`, if it is not in the same file."""
    http_certificate: Path | None = None
    """Another certificate for the HTTP port, of a CA that browsers know."""
    http_key: Path | None = None
    """The key of `http_certificate`, if it is not in the same file."""
    device_ca: Path | None = None
    """A CA of yours, whose certificates are of devices."""
    device_id_from: IdFrom = IdFrom.SAN_URI
    """Where a certificate of `device_ca` has the device's id: `san-uri`, behind the last `/` or `:`
    of its URI, or `cn`, its common name."""

    @property
    def ca(self) -> Path:
        return self.dir / CA_FILE

    @property
    def ca_key(self) -> Path:
        return self.dir / CA_KEY_FILE

    def files(self, data_dir: Path) -> Files:
        certificate = self.certificate or data_dir / OWN_FILE
        return Files(
            ca=self.ca,
            certificate=certificate,
            key=self.key or certificate,
            http_certificate=self.http_certificate,
            http_key=self.http_key or self.http_certificate,
            device_ca=self.device_ca,
        )


def uid_of(tls: TlsConfig) -> str:
    """The uid in the CA's certificate; empty if it cannot be read, or is of a CA that has none."""
    try:
        cas = made.certificates_in(made.read(tls.ca))
    except CertificateError:
        return ""
    return next((found.uid for ca in cas if (found := made.facts_of(ca).identity)), "")


def read_tls(value: Value | None, node: str, data_dir: Path) -> TlsConfig | None:
    """What a file says, None if it has no such section; errors go into its document."""
    if value is None:
        return None
    value.known(TlsConfig.__struct_fields__)
    directory = value.required("dir", "the directory with ca.pem")
    if directory is None:
        return None
    found = TlsConfig(
        dir=_path(directory),
        certificate=_given(value, "certificate"),
        key=_given(value, "key"),
        http_certificate=_given(value, "http_certificate"),
        http_key=_given(value, "http_key"),
        device_ca=_given(value, "device_ca"),
        device_id_from=_id_from(value),
    )
    beside = {"key": "certificate", "http_key": "http_certificate", "device_id_from": "device_ca"}
    for field, its in beside.items():
        child, what = value.child(field), "rule" if field == "device_id_from" else "key"
        if child is not None and value.child(its) is None:
            child.refuse(f"a {what} only beside `{its}`")
    if _usable(directory, lambda: made.certificates_in(made.read(found.ca)), found.ca):
        _check(value, directory, found, node, data_dir)
    return found


def _check(value: Value, directory: Value, found: TlsConfig, node: str, data_dir: Path) -> None:
    """Whether the files fit together."""
    files = found.files(data_dir)
    issues = found.certificate is None and (found.ca_key.exists() or not files.certificate.exists())
    if issues:

        def can_issue() -> object:
            return made.authority(made.read(found.ca), made.read(found.ca_key))

        _usable(directory, can_issue, found.ca_key)
    try:
        check(files, node, own=not issues)
    except FileError as error:
        field = "certificate"
        if error.file in (files.http_certificate, files.http_key):
            field = "http_certificate"
        elif error.file == files.device_ca:
            field = "device_ca"
        place = value.child(field)
        (place or directory).refuse(str(error))


def _usable(place: Value, read: Callable[[], object], file: Path) -> bool:
    try:
        read()
    except CertificateError as error:
        place.refuse(f"{file} {error}")
        return False
    return True


def _id_from(value: Value) -> IdFrom:
    child = value.child("device_id_from")
    return IdFrom.SAN_URI if child is None else IdFrom(child.choice([*IdFrom]))


def _given(value: Value, field: str) -> Path | None:
    child = value.child(field)
    return None if child is None else _path(child)


def _path(value: Value) -> Path:
    text = value.text("a path", MAX_PATH)
    first, slash, rest = text.partition("/")
    if first != CREDENTIALS:
        return Path(text)
    base = os.environ.get(CREDENTIALS.removeprefix("$"))
    if base is None:
        value.refuse("CREDENTIALS_DIRECTORY is not set: systemd sets it (LoadCredential)")
    return Path(f"{base or ''}{slash}{rest}")
