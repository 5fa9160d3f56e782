"""Artifacts: what is installed, and the numbered table of those that anything refers to.

An artifact is named by component, version and hash. The same version with another hash is another
file under one name, and is refused. Nodes never hold the file, only its address. Source:
tasks.md, "Artifacts".
"""

import base64
import binascii
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import msgspec

from stationkeep.cluster.deployments.versions import version_fault
from stationkeep.cluster.names import is_loopback, text_fault

MAX_ARTIFACTS = 4_096
MAX_SIZE = 1 << 40
MAX_URL = MAX_NOTES = 1_024
MAX_KEY = 64
COMPONENTS = ("app", "os")
"""Which of the versions that a device reports an artifact changes."""
URL_RULE = "https://…, http:// to loopback, or file:///…, without a user's name"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_URL = re.compile(r"[!-~]*")
_SIGNATURE_BYTES = 64


class Artifact(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What is to be installed: `version` of `component`, found at `url`.

    Without a `url` the device's own command knows what to do for the version. `sha256`: 64 hex
    digits; `size`: bytes; `signature`: base64 of an Ed25519 signature of the 32 bytes of the hash,
    by the key that devices know as `key`.
    """

    version: str
    component: str = "app"
    url: str = ""
    sha256: str = ""
    size: int = 0
    signature: str = ""
    key: str = ""
    notes: str = ""


def artifact_fault(artifact: Artifact) -> str | None:
    """What is wrong with an artifact (field, value, rule), or None."""
    return next(artifact_faults(artifact), None)


def artifact_faults(artifact: Artifact) -> Iterator[str]:
    """All that is wrong with an artifact: field, value, rule."""
    if artifact.component not in COMPONENTS:
        yield f"component: {artifact.component[:40]!r} is not one of {', '.join(COMPONENTS)}"
    rule = version_fault(artifact.version)
    if rule is not None:
        yield f"version: {artifact.version[:80]!r} is not {rule}"
    if artifact.url:
        yield from _faults_of_file(artifact)
    elif artifact.sha256 or artifact.size or artifact.signature or artifact.key:
        yield "url: '' is not the address that sha256, size, signature and key are about"
    for field, limit in (("key", MAX_KEY), ("notes", MAX_NOTES)):
        text = getattr(artifact, field)
        if len(text) > limit or text_fault(text) is not None:
            yield f"{field}: {text[:80]!r} is not at most {limit} printable characters"


def _faults_of_file(artifact: Artifact) -> Iterator[str]:
    if not is_address(artifact.url):
        yield f"url: {artifact.url[:80]!r} is not {URL_RULE}, of at most {MAX_URL} characters"
    if not _SHA256.fullmatch(artifact.sha256):
        yield f"sha256: {artifact.sha256[:80]!r} is not 64 of the digits 0-9 a-f"
    if not 1 <= artifact.size <= MAX_SIZE:
        yield f"size: {artifact.size} is not between 1 and {MAX_SIZE}"
    if artifact.signature and not _is_signature(artifact.signature):
        yield f"signature: {artifact.signature[:80]!r} is not base64 of {_SIGNATURE_BYTES} bytes"
    if bool(artifact.signature) is not bool(artifact.key):
        yield f"key: {artifact.key[:80]!r} and signature are given together or not at all"


def is_address(url: str) -> bool:
    """Whether something may be fetched from there by `URL_RULE`."""
    if len(url) > MAX_URL or not _URL.fullmatch(url):
        return False
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:  # brackets or a port that are none
        return False
    if "@" in parts.netloc:
        return False
    match parts.scheme:
        case "https":
            return bool(host)
        case "http":
            return host is not None and is_loopback(host)
        case "file":
            return not parts.netloc and parts.path.startswith("/")
    return False


def _is_signature(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == _SIGNATURE_BYTES
    except (binascii.Error, ValueError):  # not base64; not ASCII
        return False


class Artifacts:
    """Those that a deployment refers to, by number: 1 to `MAX_ARTIFACTS`."""

    def __init__(self, known: dict[int, Artifact] | None = None) -> None:
        self.known = known or {}

    def __getitem__(self, number: int) -> Artifact:
        return self.known[number]

    def differing(self, artifact: Artifact) -> Artifact | None:
        """A known artifact of the same component and version that is another file."""
        name = (artifact.component, artifact.version)
        for other in self.known.values():
            differs = artifact.sha256 and other.sha256 and other.sha256 != artifact.sha256
            if differs and (other.component, other.version) == name:
                return other
        return None

    def has_room_for(self, artifact: Artifact) -> bool:
        """Whether it is known or may be."""
        return len(self.known) < MAX_ARTIFACTS or artifact in self.known.values()

    def number(self, artifact: Artifact) -> int:
        """The number of an artifact that there is room for, a new one if need be."""
        for number, known in self.known.items():
            if known == artifact:
                return number
        free = next(n for n in range(1, MAX_ARTIFACTS + 1) if n not in self.known)
        self.known[free] = artifact
        return free

    def keep_only(self, used: set[int]) -> None:
        """Forgets what nothing refers to any more."""
        self.known = {number: known for number, known in self.known.items() if number in used}
