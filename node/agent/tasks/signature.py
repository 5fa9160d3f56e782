"""Whose an artifact is: Ed25519 over the 32 bytes of its SHA-256, by a key that is trusted here."""

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from stationkeep.node.system.operator_files import regular
from stationkeep.node.wire.tasks import Artifact

MAX_KEYS = 64
MAX_KEY_BYTES = 4 * 1024
KEY_RULE = "an Ed25519 public key in PEM, as openssl pkey -pubout writes it"


class SignatureFault(ValueError):  # noqa: N818 - said of an artifact, not of this program
    """Why an artifact is not trusted."""


class Trust:
    """`keys` by name. `required`: what bears no signature of one of them is refused."""

    def __init__(self, keys: Mapping[str, Ed25519PublicKey], *, required: bool = False) -> None:
        self._keys, self._required = dict(keys), required

    def check(self, artifact: Artifact | None) -> None:
        """Raises `SignatureFault`. Without keys, and where none is required, nothing is checked:
        there is nothing to check it with."""
        if artifact is None or artifact.signature is None or artifact.sha256 is None:
            if self._required:
                raise SignatureFault("a signed artifact is required here")
        elif self._keys or self._required:
            _verify(self._key(artifact), artifact.signature, artifact.sha256)

    def _key(self, artifact: Artifact) -> Ed25519PublicKey:
        key = self._keys.get(artifact.key or "")
        if key is None:
            raise SignatureFault(f"key: {artifact.key!r} refused: a key that this device trusts")
        return key


def _verify(key: Ed25519PublicKey, signature: str, sha256: str) -> None:
    try:
        key.verify(base64.b64decode(signature, validate=True), bytes.fromhex(sha256))
    except (InvalidSignature, binascii.Error) as error:
        raise SignatureFault("the signature is not that of this artifact") from error


def read_keys(directory: Path) -> dict[str, Ed25519PublicKey]:
    """The keys NAME.pem in a directory. Raises ValueError naming file and rule."""
    files = sorted(directory.glob("*.pem"))
    if not 1 <= len(files) <= MAX_KEYS:
        raise ValueError(f"{directory} refused: a directory with 1 to {MAX_KEYS} files NAME.pem")
    return {file.stem: _read_key(file) for file in files}


def _read_key(file: Path) -> Ed25519PublicKey:
    try:
        with open(file, "rb", opener=regular) as opened:
            key = load_pem_public_key(opened.read(MAX_KEY_BYTES))
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(f"{file} refused: {KEY_RULE}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError(f"{file} refused: {KEY_RULE}")
    return key
