"""Certificates of a CA that is not the cluster's: of which device each is, and of whom none is."""

from collections.abc import Sequence

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from stationkeep.node.security import certificates as made
from stationkeep.node.security.certificates import Key
from stationkeep.node.security.foreign_devices import ForeignDevices, IdFrom
from stationkeep.node.security.identity import Identity
from tests.node.security.issuing import at, authority

FOREIGN = authority("factory")
UID = authority().uid


def certificate(
    uris: Sequence[str] = (), names: Sequence[str] = (), key: Key | None = None
) -> x509.Certificate:
    """As a factory's CA issues one."""
    key = key or made.new_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, n) for n in names]))
        .issuer_name(FOREIGN.certificate.subject)
        .public_key(key.public_key())
        .serial_number(4_711)
        .not_valid_before(at(-1))
        .not_valid_after(at(1))
    )
    if uris:
        found = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(u) for u in uris])
        builder = builder.add_extension(found, critical=False)
    return builder.sign(FOREIGN.key, made._hash_for(FOREIGN.key))


def read(shown: x509.Certificate, id_from: IdFrom) -> Identity | None:
    foreign = ForeignDevices([FOREIGN.certificate], UID, id_from)
    return foreign.read(shown, made.facts_of(shown)).identity


@pytest.mark.parametrize(
    "uri", ["urn:device:phone-7", "https://factory.example/devices/phone-7", "tag:x/y:phone-7"]
)
def test_the_id_is_the_end_of_the_one_uri(uri: str) -> None:
    assert read(certificate([uri]), IdFrom.SAN_URI) == Identity(UID, "device", "phone-7")


def test_or_the_one_common_name() -> None:
    assert read(certificate([], ["phone-7"]), IdFrom.CN) == Identity(UID, "device", "phone-7")


@pytest.mark.parametrize(
    ("uris", "names"),
    [
        ([], []),
        (["urn:a", "urn:b"], ["a", "b"]),
        (["urn:device:"], ["phone 7"]),
        (["urn:device:phone%207"], ["a/b"]),
        (["urn:" + "x" * 200], ["é"]),
    ],
    ids=["none", "two", "empty", "strange", "long"],
)
def test_what_says_no_id_is_of_nobody(uris: list[str], names: list[str]) -> None:
    for id_from in IdFrom:
        assert read(certificate(uris, names), id_from) is None


@pytest.mark.parametrize("path", ["node/sat-001", "client/admin/root", "device/sat-001"])
def test_a_foreign_ca_speaks_of_devices_alone_whatever_it_writes(path: str) -> None:
    found = read(certificate([f"spiffe://sk-{UID}/{path}"]), IdFrom.SAN_URI)
    assert found is not None
    assert (found.kind, found.role) == ("device", "")
