"""A CA, and what it issues: judged by OpenSSL as well, through Python's `ssl`."""

import base64
import datetime as dt
import os
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from stationkeep.node.security import certificates as made
from stationkeep.node.security.certificates import Authority, CertificateError
from stationkeep.node.security.identity import Identity
from stationkeep.node.system import small_file

NOW = dt.datetime(2027, 3, 1, 12, tzinfo=dt.UTC)
HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)


@pytest.fixture(scope="module")
def ca() -> Authority:
    return made.new_authority("my-fleet", NOW)


def node(ca: Authority, name: str = "sat-001") -> Identity:
    return Identity(ca.uid, "node", name)


def leaf(ca: Authority, identity: Identity, **more: object) -> tuple[x509.Certificate, made.Key]:
    key = made.new_key()
    return made.issue(ca, identity, key.public_key(), NOW, **more), key  # type: ignore[arg-type]


def test_a_ca_issues_and_cannot_make_another_ca(ca: Authority) -> None:
    constraints = ca.certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca) == (True, True)
    assert constraints.value.path_length == 0
    assert ca.certificate.not_valid_after_utc == NOW + 3_650 * DAY
    assert made.facts_of(ca.certificate).identity == Identity(ca.uid, "ca")


def test_a_ca_that_is_made_again_for_its_key_is_the_same_cluster(ca: Authority) -> None:
    again = made.new_authority("my-fleet", NOW + DAY, ca.key)
    assert (again.uid, made.pin(again.certificate)) == (ca.uid, made.pin(ca.certificate))
    other = made.new_authority("my-fleet", NOW)
    assert other.uid != ca.uid
    assert made.new_authority("my-fleet", NOW, uid=ca.uid).uid == ca.uid


def test_of_two_certificates_for_its_key_a_ca_issues_by_the_one_that_ends_last(
    ca: Authority,
) -> None:
    """As the runbook of `ca_expiring` has it, with the old one still in the file."""
    fresh = made.new_authority("my-fleet", NOW + 3_000 * DAY, ca.key)
    for bundle in ([ca, fresh], [fresh, ca]):
        pem = made.public_pem([each.certificate for each in bundle])
        found = made.authority(pem, made.private_pem(ca.key))
        assert found.certificate == fresh.certificate


def test_what_is_not_signed_by_the_key_of_a_pin_is_not_of_that_ca(ca: Authority) -> None:
    """Everybody has the public key, and may write another cluster beside it."""
    forger = made.new_key()
    whole = ca.certificate
    forged = (
        x509.CertificateBuilder()
        .subject_name(whole.subject)
        .issuer_name(whole.subject)
        .public_key(whole.public_key())
        .serial_number(1)
        .not_valid_before(whole.not_valid_before_utc)
        .not_valid_after(whole.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(forger, hashes.SHA256())
    )
    pins = {made.pin(whole)}
    assert made.pin(forged) in pins
    assert made.pinned(made.public_pem([forged, whole]), pins) == [whole]
    assert made.pinned(made.public_pem([forged]), pins) == []


EC_KEY, NO_KEY = bytes.fromhex("06072a8648ce3d0201"), bytes.fromhex("06072a8648ce3d027f")


@pytest.mark.parametrize("change", [(EC_KEY, NO_KEY), (b"\x03\x42\x00\x04", b"\x03\x42\x00\x09")])
def test_a_certificate_whose_key_cannot_be_read_is_named_and_nothing_more(
    ca: Authority, change: tuple[bytes, bytes]
) -> None:
    """It may come from anybody who is asked for a CA, or lie in a bundle of many CAs."""
    odd = ca.certificate.public_bytes(serialization.Encoding.DER).replace(*change)
    text = base64.encodebytes(odd).decode()
    pem = f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----\n".encode()
    with pytest.raises(CertificateError, match="whose key cannot be read"):
        made.pinned(pem, set())
    with pytest.raises(CertificateError, match="whose key cannot be read"):
        made.authority(made.public_pem([ca.certificate]) + pem, made.private_pem(ca.key))


def test_a_version_that_no_standard_has_is_refused_like_any_damage(ca: Authority) -> None:
    """The library has an exception of its own for it."""

    def forged(pem: bytes, old: str, new: str) -> bytes:
        begin, *lines, end = pem.splitlines()
        der = base64.b64decode(b"".join(lines)).replace(bytes.fromhex(old), bytes.fromhex(new), 1)
        return b"\n".join([begin, base64.encodebytes(der) + end, b""])

    odd = forged(made.public_pem([ca.certificate]), "a003020102", "a003020130")
    with pytest.raises(CertificateError, match="cut off or damaged"):
        made.certificates_in(odd)
    asked = forged(made.request(made.new_key(), "a"), "020100", "020110")
    with pytest.raises(CertificateError, match="no request for a certificate"):
        made.requested_key(asked)


def test_a_certificate_with_a_name_that_nobody_reads_is_of_nobody(ca: Authority) -> None:
    """An X.400 address (RFC 5280, GeneralName [3]), which the library does not know."""
    identity = node(ca)
    certificate, _ = leaf(ca, identity, hosts=["a.example"])
    der = certificate.public_bytes(serialization.Encoding.DER)
    host = b"\x82\x09a.example"  # dNSName, [2]
    assert der.count(host) == 1
    (odd,) = made.certificates_in(
        ssl.DER_cert_to_PEM_cert(der.replace(host, b"\xa3" + host[1:])).encode()
    )
    assert made.facts_of(odd).identity is None
    assert made.hosts_of(odd) == []
    with pytest.raises(CertificateError):
        made.check_chain([odd], [ca.certificate], identity.name)


def test_a_nodes_certificate_is_for_both_ends_of_a_link(ca: Authority) -> None:
    certificate, key = leaf(ca, node(ca), hosts=["sat-001.example.net", "10.0.0.1", "fd00::1"])
    assert certificate.not_valid_before_utc == NOW - HOUR
    assert certificate.not_valid_after_utc == NOW + 90 * DAY
    assert made.purposes_of(certificate) == ["server", "client"]
    assert made.facts_of(certificate).identity == node(ca)
    assert set(made.hosts_of(certificate)) == {
        "localhost", "127.0.0.1", "::1", "sat-001.example.net", "10.0.0.1", "fd00::1",
    }  # fmt: skip
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.curve.name == "secp256r1"
    assert made.check_chain([certificate], [ca.certificate], "sat-001") == node(ca)


def test_devices_and_clients_serve_nobody(ca: Authority) -> None:
    for identity in (
        Identity(ca.uid, "device", "phone-7"),
        Identity(ca.uid, "client", "prometheus", "metrics"),
    ):
        certificate, _ = leaf(ca, identity)
        assert made.purposes_of(certificate) == ["client"]
        assert made.hosts_of(certificate) == []


def test_no_certificate_outlives_its_ca_and_an_expired_ca_issues_nothing(ca: Authority) -> None:
    ends = ca.certificate.not_valid_after_utc
    key = made.new_key().public_key()
    late = made.issue(ca, node(ca), key, ends - DAY)
    assert late.not_valid_after_utc == ends
    with pytest.raises(CertificateError, match="expired on 2037-02-26"):
        made.issue(ca, node(ca), key, ends)


@pytest.mark.parametrize("host", ["", "a b", "*.example.net", "http://a", "a:1", "0.0.0.0", "::"])
def test_a_host_that_is_none_is_refused(ca: Authority, host: str) -> None:
    with pytest.raises(CertificateError, match="a host name or an IP address"):
        leaf(ca, node(ca), hosts=[host])


def request(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    """A CSR whose author would like to be another node, and a CA."""
    names = [
        x509.UniformResourceIdentifier("spiffe://sk-0000000000000000/node/sat-999"),
        x509.DNSName("bank.example"),
    ]
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sat-999")]))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


def test_of_a_request_only_the_key_is_believed(ca: Authority) -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    certificate = made.issue(ca, node(ca), made.requested_key(request(key)), NOW)
    assert certificate.public_key() == key.public_key()
    assert made.facts_of(certificate).identity == node(ca)
    assert "bank.example" not in made.hosts_of(certificate)
    assert made.purposes_of(certificate) == ["server", "client"]


def test_a_request_that_was_changed_or_has_a_weak_key_is_refused() -> None:
    body = request(made.new_key())  # type: ignore[arg-type]
    parsed = x509.load_pem_x509_csr(body)
    der = bytearray(parsed.public_bytes(serialization.Encoding.DER))
    der[der.index(b"sat-999")] = ord("x")
    changed = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM)
    with pytest.raises(CertificateError, match="did not sign"):
        made.requested_key(changed)
    weak = rsa.generate_private_key(65_537, 1_024)
    with pytest.raises(CertificateError, match="RSA of 2048 bits"):
        made.requested_key(request(weak))
    with pytest.raises(CertificateError, match="no request"):
        made.requested_key(b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n")


# -- pairs


def test_a_certificate_that_others_would_refuse_is_refused_with_the_reason(ca: Authority) -> None:
    stranger = made.new_authority("other", NOW)
    trusted = [ca.certificate]
    certificate, _ = leaf(ca, node(ca))
    device, _ = leaf(ca, Identity(ca.uid, "device", "phone-7"))
    foreign, _ = leaf(stranger, node(stranger))
    for shown, name, why in (
        (device, "phone-7", "is of device phone-7, not of a node"),
        (foreign, "sat-001", "was issued by CN=other CA, no CA that is trusted here"),
        (certificate, "sat-002", "is of node sat-001, not of sat-002"),
        (ca.certificate, "sat-001", "is of ca, not of a node"),
    ):
        with pytest.raises(CertificateError, match=why):
            made.check_chain([shown], trusted, name)


def test_what_a_leaf_signed_chains_to_nobody(ca: Authority) -> None:
    """A node's key makes no nodes."""
    above, key = leaf(ca, node(ca, "sat-002"))
    forged = made.issue(Authority(above, key), node(ca), made.new_key().public_key(), NOW)
    assert not made.chains(forged, [above], [ca.certificate])


# -- files


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (b"\x30\x82\x01\x00", "is DER or PKCS #12"),
        (b"\x00" * 100, "is no PEM"),
        (b"-----BEGIN CERTIFICATE-----\nMIIB", "cut off or damaged"),
        (b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n", "cut off or damaged"),
        (b"-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n", "a private key and no"),
        (b"x" * 10_000_000, "has more than 262144 bytes"),
    ],
)
def test_a_file_of_something_else_is_named_for_what_it_is(
    tmp_path: Path, content: bytes, why: str
) -> None:
    file = tmp_path / "a.pem"
    file.write_bytes(content)
    with pytest.raises(CertificateError, match=why):
        made.certificates_in(made.read(file))


def test_a_certificate_that_is_cut_off_anywhere_is_refused(ca: Authority) -> None:
    whole = made.public_pem([ca.certificate]).rstrip(b"\n")
    for length in range(0, len(whole) - 1, 37):
        with pytest.raises(CertificateError):
            made.certificates_in(whole[:length])


def test_a_pipe_does_not_stop_the_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CertificateError, match="not a regular file"):
        made.read(tmp_path / "pipe")


def test_keys_with_a_passphrase_and_several_keys_are_refused() -> None:
    key = made.new_key()
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"x"),
    )
    with pytest.raises(CertificateError, match="passphrase"):
        made.key_in(locked)
    with pytest.raises(CertificateError, match="several"):
        made.key_in(made.private_pem(key) * 2)
    with pytest.raises(CertificateError, match="cut off"):
        made.key_in(made.private_pem(key)[:100])


def test_a_key_is_its_owners_alone_from_the_first_byte_on(tmp_path: Path) -> None:
    """Whatever a crash, or somebody else, has left where it is written first."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"")
    elsewhere.chmod(0o666)
    (tmp_path / "a.key.new").symlink_to(elsewhere)
    made.write(tmp_path / "a.key", b"secret", made.PRIVATE)
    assert elsewhere.read_bytes() == b""
    assert (tmp_path / "a.key").read_bytes() == b"secret"
    assert stat.S_IMODE((tmp_path / "a.key").stat().st_mode) == 0o600


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "node.pem"
    made.write(file, b"old", made.PRIVATE)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(small_file.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        made.write(file, b"new", made.PRIVATE)
    assert file.read_bytes() == b"old"
