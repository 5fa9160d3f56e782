"""Whose artifacts a device takes."""

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from stationkeep.node.agent.tasks.signature import SignatureFault, Trust, read_keys
from tests.node.agent.tasks.told import SHA, artifact

OURS, THEIRS = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
KEYS = {"release": OURS.public_key()}


def signed(by: Ed25519PrivateKey, key: str = "release", sha256: str = SHA) -> dict[str, str]:
    signature = by.sign(bytes.fromhex(sha256))
    return {"signature": base64.b64encode(signature).decode(), "key": key}


def pem(private: object) -> bytes:
    return private.public_key().public_bytes(  # type: ignore[attr-defined, no-any-return]
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )


def test_what_a_trusted_key_has_signed_is_taken() -> None:
    for required in (False, True):
        Trust(KEYS, required=required).check(artifact(**signed(OURS)))


@pytest.mark.parametrize(
    "wrong",
    [
        signed(THEIRS),
        signed(OURS, "other"),
        signed(OURS, "../release"),
        signed(OURS, sha256="cd" * 32),
        signed(OURS) | {"signature": ""},
        signed(OURS) | {"signature": "AAAA"},
        signed(OURS) | {"signature": "not base64!"},
        signed(OURS) | {"key": None},
    ],
)
def test_a_signature_that_is_wrong_is_worse_than_none(wrong: dict[str, str]) -> None:
    for required in (False, True):
        with pytest.raises(SignatureFault):
            Trust(KEYS, required=required).check(artifact(**wrong))


def test_what_bears_none_is_taken_unless_one_is_required() -> None:
    for unsigned in (None, artifact(), artifact(url=None, sha256=None, size=None)):
        Trust(KEYS).check(unsigned)
        with pytest.raises(SignatureFault, match="required"):
            Trust(KEYS, required=True).check(unsigned)


def test_without_keys_there_is_nothing_to_check_with() -> None:
    Trust({}).check(artifact(**signed(THEIRS)))


def test_keys_are_read_by_the_names_of_their_files(tmp_path: Path) -> None:
    (tmp_path / "release-2026.pem").write_bytes(pem(OURS))
    (tmp_path / "README").write_text("not a key")
    keys = read_keys(tmp_path)
    assert list(keys) == ["release-2026"]
    Trust(keys).check(artifact(**signed(OURS, "release-2026")))


@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"-----BEGIN PUBLIC KEY-----\n", pem(generate_private_key(SECP256R1()))],
    ids=["empty", "no PEM", "cut off", "another curve"],
)
def test_a_file_that_is_no_key_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.pem").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.pem refused: an Ed25519 public key"):
        read_keys(tmp_path)


def test_a_place_without_keys_is_a_mistake(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ValueError, match="refused: a directory with 1 to 64 files"):
            read_keys(place)
