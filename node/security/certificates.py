"""A cluster's own CA: making it, issuing with it, and reading what others made.

The identity in a certificate is what the operator, or the node itself, asked for. Of a request for
a certificate (CSR) only the public key is used: a name in it is its author's claim.

Everything is P-256 (RFC 5480) and begins an hour ago, since the clocks of two machines differ. The
uid is taken from the CA's key: a CA whose making was interrupted is the same when it is made again.
"""

import hashlib
import ipaddress
from collections.abc import Container, Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from stationkeep.cluster.names import address_fault
from stationkeep.node.security.identity import GRACE, Facts, Identity, date
from stationkeep.node.system.addresses import join_address
from stationkeep.node.system.operator_files import regular
from stationkeep.node.system.printable import printable
from stationkeep.node.system.small_file import SmallFile
from stationkeep.node.version import RELEASED

CA_DAYS, LEAF_DAYS = 3_650, 90
BACKDATED = timedelta(hours=1)
MAX_FILE = 256 * 1024
"""Bytes of a file with certificates or keys; a bundle of a hundred takes less."""
MAX_CERTIFICATES = 64
"""In one file."""
MAX_SANS = 64
"""DNS names and addresses of one certificate."""
RSA_BITS = 2_048
MAX_CHAIN = 3
"""CAs between a certificate and a trusted one."""
MAX_SHOWN = 200
"""Characters of a name in somebody's certificate."""
KEY_MARK = b"PRIVATE KEY-----"
PUBLIC, PRIVATE = 0o644, 0o600
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
"""Every node's certificate is good for these, for browsers on its own machine."""

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey
_Name = TypeVar("_Name", bound=x509.GeneralName)
_UNREADABLE = (
    x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError, UnsupportedAlgorithm,
)  # fmt: skip
"""What the library raises for extensions."""
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)


class CertificateError(ValueError):
    """A file or a request that will not do. `str()` is a sentence without the file's name."""


class Authority(NamedTuple):
    """A CA that can issue."""

    certificate: x509.Certificate
    key: Key

    @property
    def uid(self) -> str:
        identity = facts_of(self.certificate).identity
        assert identity is not None, "checked by whoever made this"
        return identity.uid


# -- files


def read(path: Path) -> bytes:
    """The content of a file with certificates, keys or requests. Raises `CertificateError`, also
    when it cannot be read."""
    try:
        with open(path, "rb", opener=regular) as file:
            content = file.read(MAX_FILE + 1)
    except OSError as error:
        raise CertificateError(f"cannot be read: {error.strerror}") from error
    _check_size(content)
    if not content:
        raise CertificateError("is empty")
    return content


def _check_size(content: bytes) -> None:
    if len(content) > MAX_FILE:
        raise CertificateError(f"has more than {MAX_FILE} bytes: no certificate or key is so large")


def write(path: Path, content: bytes, mode: int) -> None:
    """Replaces a file by one that is whole on disk. Raises OSError; then the old one is there."""
    SmallFile(path, mode).save(content)


def certificates_in(content: bytes) -> list[x509.Certificate]:
    """The certificates in a PEM text, in its order, one at least. Raises `CertificateError`."""
    _check_size(content)
    try:
        found = x509.load_pem_x509_certificates(content)
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise CertificateError(_no_certificate(content)) from error
    if len(found) > MAX_CERTIFICATES:
        raise CertificateError(f"has more than {MAX_CERTIFICATES} certificates")
    try:
        for one in found:
            one.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateError("has a certificate whose key cannot be read") from error
    return found


def _no_certificate(content: bytes) -> str:
    """What is there instead, of what people mix up."""
    if b"-----BEGIN CERTIFICATE-----" in content:
        return "has a certificate that is cut off or damaged"
    if b"CERTIFICATE REQUEST-----" in content:
        return "is a request for a certificate: `certs issue --csr` makes a certificate of it"
    if KEY_MARK in content:
        return "has a private key and no certificate"
    if content[:1] == b"\x30":
        return "is DER or PKCS #12: PEM is wanted, the text with -----BEGIN CERTIFICATE-----"
    return "is no PEM: the text with -----BEGIN CERTIFICATE----- is wanted"


def key_in(content: bytes) -> Key:
    """The private key in a PEM text. Raises `CertificateError`."""
    blocks = _private_blocks(content)
    if len(blocks) != 1:
        raise CertificateError("has several private keys" if blocks else "has no private key")
    try:
        key = serialization.load_pem_private_key(blocks[0], None)
    except TypeError as error:
        raise CertificateError(
            "has a private key with a passphrase: nobody could type it"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateError("has a private key that is cut off or damaged") from error
    _check_kind(key.public_key())
    assert isinstance(key, Key)
    return key


def _private_blocks(content: bytes) -> list[bytes]:
    """A file may hold certificates beside the key."""
    parts = content.split(b"-----BEGIN ")[1:]
    return [b"-----BEGIN " + part for part in parts if KEY_MARK in part[:40]]


def _check_kind(key: object) -> PublicKey:
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= RSA_BITS:
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES):
        return key
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    raise CertificateError(f"has a key of another kind than EC, Ed25519 or RSA of {RSA_BITS} bits")


def requested_key(content: bytes, name: str | None = None) -> PublicKey:
    """The public key in a CSR whose author has the private one. `name`: what it has to be for.
    Raises `CertificateError`."""
    try:
        request = x509.load_pem_x509_csr(content)
        signed = request.is_signature_valid
        is_for_it = name is None or request.subject == _called(name)
    except (ValueError, UnsupportedAlgorithm, InvalidSignature, x509.InvalidVersion) as error:
        raise CertificateError("is no request for a certificate (CSR) in PEM") from error
    if not signed:
        raise CertificateError("is a request that its key did not sign")
    if not is_for_it:
        raise CertificateError("is a request for something else")
    return _check_kind(request.public_key())


def request(key: Key, name: str) -> bytes:
    """A request for a certificate (CSR) in PEM, signed by `key`. What it says beside the public key
    is for people."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(_called(name))
    return builder.sign(key, _hash_for(key)).public_bytes(serialization.Encoding.PEM)


def _called(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def private_pem(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def public_pem(certificates: Iterable[x509.Certificate]) -> bytes:
    return b"".join(c.public_bytes(serialization.Encoding.PEM) for c in certificates)


def new_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


# -- making


def new_authority(
    cluster: str, now: datetime, key: Key | None = None, uid: str | None = None
) -> Authority:
    """A CA for a cluster. `uid`: of a cluster that has one already."""
    key = key or new_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{cluster} CA"[:64])])
    identity = Identity(uid or key_hash(key.public_key()).hex()[:16], "ca")
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity.uri)])
    builder = (
        _dated(now, now + timedelta(days=CA_DAYS))
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(names, critical=False)
    )
    return Authority(builder.sign(key, _hash_for(key)), key)


def authority(certificates: bytes, key: bytes) -> Authority:
    """The CA whose key this is; its certificate is one of the bundle, of several the one that ends
    last. Raises `CertificateError`."""
    private = key_in(key)
    public = private.public_key()
    own = [ca for ca in certificates_in(certificates) if ca.public_key() == public]
    if not own:
        raise CertificateError("is the key of none of the CA's certificates")
    newest = max(own, key=lambda ca: ca.not_valid_after_utc)
    check_issuer(newest)
    return Authority(newest, private)


def check_issuer(certificate: x509.Certificate) -> None:
    """Raises `CertificateError` for what is no CA of ours that may issue."""
    identity = facts_of(certificate).identity
    if identity is None or identity.kind != "ca" or not _is_issuer(certificate):
        raise CertificateError("is no CA that `certs ca` made: it does not say of which cluster")


def check_successor(certificate: x509.Certificate, now: datetime) -> None:
    """Raises `CertificateError` for a CA that may not take the place of another one: members would
    refuse what it issues, at once or within its life. A clock that is wrong for sure judges no
    date, as at every door."""
    _check_kind(certificate.public_key())
    facts, today = facts_of(certificate), now.timestamp()
    if today < RELEASED:
        return
    if facts.not_before > today + GRACE:
        here = f"and it is {date(today)} here"
        raise CertificateError(f"is not valid before {date(facts.not_before)}, {here}")
    if facts.not_after < (now + timedelta(days=LEAF_DAYS)).timestamp():
        rule = f"a CA outlasts the {LEAF_DAYS} days of what it issues"
        raise CertificateError(f"ends on {date(facts.not_after)}: {rule}")


def issue(
    ca: Authority,
    identity: Identity,
    key: PublicKey,
    now: datetime,
    *,
    days: float = LEAF_DAYS,
    hosts: Sequence[str] = (),
) -> x509.Certificate:
    """A certificate for this identity and this key. `hosts`: DNS names and addresses, for a node
    besides those of its own machine. Raises `CertificateError`."""
    ends = min(now + timedelta(days=days), ca.certificate.not_valid_after_utc)
    if ends <= now:
        raise CertificateError(f"is of a CA that expired on {date(ends.timestamp())}")
    is_node = identity.kind == "node"
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if is_node:
        purposes.insert(0, ExtendedKeyUsageOID.SERVER_AUTH)
    names = _alternative_names(identity, (*LOCAL_HOSTS, *hosts) if is_node else hosts)
    builder = (
        _dated(now, ends)
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, identity.name)]))
        .issuer_name(ca.certificate.subject)
        .public_key(key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(names, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(_check_kind(ca.key.public_key())),
            critical=False,
        )
    )
    return builder.sign(ca.key, _hash_for(ca.key))


def _dated(now: datetime, ends: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(ends)
    )


def _alternative_names(identity: Identity, hosts: Sequence[str]) -> x509.SubjectAlternativeName:
    different = list(dict.fromkeys(hosts))
    if len(different) > MAX_SANS:
        raise CertificateError(f"has more than {MAX_SANS} hosts")
    uri = x509.UniformResourceIdentifier(identity.uri)
    return x509.SubjectAlternativeName([uri, *map(host_name, different)])


def host_name(host: str) -> x509.GeneralName:
    """A DNS name, or an IP address of one machine. Raises `CertificateError`."""
    if address_fault(join_address(host, 1)) is not None:
        raise CertificateError(f"{host!r} refused: a host name or an IP address, without a port")
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host.lower())


def _usage(*allowed: str) -> x509.KeyUsage:
    names = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
        "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: name in allowed for name in names})


def _hash_for(key: Key) -> hashes.SHA256 | None:
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def key_hash(key: Any) -> bytes:
    """SHA-256 of a public key as a certificate carries it (SubjectPublicKeyInfo)."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    encoded: bytes = key.public_bytes(serialization.Encoding.DER, form)
    return hashlib.sha256(encoded).digest()


def pin(certificate: x509.Certificate) -> str:
    """Identifies a CA to people, whatever certificate is made for its key; kubeadm's pins do so."""
    return pin_of_key(certificate.public_key())


def pin_of_key(key: Any) -> str:
    """The pin of a CA that has this public key."""
    return f"sha256:{key_hash(key).hex()}"


def pinned(content: bytes, pins: Container[str]) -> list[x509.Certificate]:
    """Of the certificates in a PEM text of nobody in particular those of CAs with one of these
    pins. A pin is of a key: that what is said beside it is the CA's own word, its signature proves.
    Raises `CertificateError`."""
    found = certificates_in(content)
    return [ca for ca in found if pin(ca) in pins and _issued(ca, ca)]


# -- reading


def facts_of(certificate: x509.Certificate, trusted: bool = True) -> Facts:
    """What the verdict is about. A certificate whose names cannot be read has none."""
    return Facts(
        uris=tuple(name.value for name in _names(certificate, x509.UniformResourceIdentifier)),
        not_before=certificate.not_valid_before_utc.timestamp(),
        not_after=certificate.not_valid_after_utc.timestamp(),
        trusted=trusted,
        serial=f"{certificate.serial_number:x}",
    )


def hosts_of(certificate: x509.Certificate) -> list[str]:
    """DNS names and addresses."""
    found = _names(certificate, x509.DNSName) + _names(certificate, x509.IPAddress)
    return [str(name.value) for name in found]


def _names(certificate: x509.Certificate, kind: type[_Name]) -> list[_Name]:
    names = _extension(certificate, x509.SubjectAlternativeName)
    return [name for name in names or () if isinstance(name, kind)]


def purposes_of(certificate: x509.Certificate) -> list[str]:
    """`ca`, or `server` and `client` as far as it may be used so."""
    if _is_issuer(certificate):
        return ["ca"]
    usage = _extension(certificate, x509.ExtendedKeyUsage)
    if usage is None:
        return ["server", "client"]
    known = {
        ExtendedKeyUsageOID.SERVER_AUTH: "server",
        ExtendedKeyUsageOID.CLIENT_AUTH: "client",
    }
    return [name for purpose, name in known.items() if purpose in usage]


def _is_issuer(certificate: x509.Certificate) -> bool:
    constraints = _extension(certificate, x509.BasicConstraints)
    return constraints is not None and constraints.ca


def _extension(certificate: x509.Certificate, kind: type[Any]) -> Any:
    """None if it is absent, or such that it cannot be read."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except (x509.ExtensionNotFound, *_UNREADABLE):
        return None


def chains(
    leaf: x509.Certificate, between: Sequence[x509.Certificate], bundle: Sequence[x509.Certificate]
) -> bool:
    """Whether a CA of the bundle issued the leaf, with some of `between` in between at most."""
    above, steps = leaf, 0
    while steps <= MAX_CHAIN:
        if any(_issued(above, ca) for ca in bundle):
            return True
        found = next((ca for ca in between if ca != above and _issued(above, ca)), None)
        if found is None:
            return False
        above, steps = found, steps + 1
    return False


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return _is_issuer(issuer)


def check_chain(
    certificates: Sequence[x509.Certificate], bundle: Sequence[x509.Certificate], node: str
) -> Identity:
    """Who a node's certificate, the first of these, says it is. Raises `CertificateError` for one
    that others would refuse, whatever the date."""
    leaf, *between = certificates
    identity = facts_of(leaf).identity
    if not chains(leaf, between, bundle):
        raise CertificateError(f"was issued by {issuer_of(leaf)}, no CA that is trusted here")
    if identity is None or identity.kind != "node":
        raise CertificateError(f"is of {subject_of(leaf)}, not of a node")
    if identity.name != node:
        raise CertificateError(f"is of node {identity.name}, not of {node}")
    if purposes_of(leaf) != ["server", "client"]:
        raise CertificateError("may not be used as server and as client: a node is both")
    return identity


def subject_of(certificate: x509.Certificate) -> str:
    """Who it is of, for people: the identity, or what else it says."""
    identity = facts_of(certificate).identity
    return str(identity) if identity is not None else _readable(certificate, "subject")


def issuer_of(certificate: x509.Certificate) -> str:
    return _readable(certificate, "issuer")


def _readable(certificate: x509.Certificate, which: str) -> str:
    try:
        name: x509.Name = getattr(certificate, which)
        return printable(name.rfc4514_string(), MAX_SHOWN) or "nobody"
    except ValueError:
        return "a name that cannot be read"
