"""What is in a file of certificates, and what is wrong with it, for people."""

import socket
import ssl
from collections.abc import Sequence
from typing import Any

from cryptography import x509

from stationkeep.node.security import certificates as made
from stationkeep.node.security.identity import Door, Facts, date, sentence, verdict

DIAL_SECONDS = 3.0


def curious() -> ssl.SSLContext:
    """For dialling whoever is there, to look at what it shows and says, and to believe nothing."""
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    found.check_hostname = False
    found.verify_mode = ssl.CERT_NONE
    return found


def shown_at(host: str, port: int) -> bytes:
    """The certificate that a server shows, in PEM; nothing about it is believed. Raises OSError."""
    with (
        socket.create_connection((host, port), DIAL_SECONDS) as dialled,
        curious().wrap_socket(dialled) as secured,
    ):
        return ssl.DER_cert_to_PEM_cert(secured.getpeercert(binary_form=True) or b"").encode()


def inspect(
    content: bytes, bundle: Sequence[x509.Certificate] | None, node: str | None, now: float
) -> dict[str, Any]:
    """What is in a PEM text, and the faults of its first certificate, which is the one that is
    shown to others. `bundle`: the CA's; None: nothing is said about who issued it. `node`: whose
    certificate it is to be. Raises `CertificateError`."""
    found = made.certificates_in(content)
    leaf, *between = found
    faults = [*_fault_of_key(content, leaf)]
    facts = made.facts_of(leaf, bundle is None or made.chains(leaf, between, bundle))
    uid = next((i.uid for ca in bundle or () if (i := made.facts_of(ca).identity)), None)
    door = _door(facts, node)
    if door is not None:
        word = verdict(facts, now, uid, door, None if node is None else {node})
        if word is not None:
            faults.append(f"is refused ({word}): {sentence(word, facts, now, uid)}")
    return {"certificates": [_described(one, now) for one in found], "faults": faults}


def _fault_of_key(content: bytes, leaf: x509.Certificate) -> list[str]:
    """Of the key in the same text, if one is there."""
    if made.KEY_MARK not in content:
        return []
    try:
        fits = made.key_in(content).public_key() == leaf.public_key()
    except made.CertificateError as error:
        return [str(error)]
    return [] if fits else ["has the key of another certificate"]


def _door(facts: Facts, node: str | None) -> Door | None:
    """Where it is meant to be shown; None for a CA, which is shown nowhere."""
    kind = None if facts.identity is None else facts.identity.kind
    if node is not None or kind == "node":
        return Door.NODE
    return None if kind == "ca" else Door.CALLER


def _described(certificate: x509.Certificate, now: float) -> dict[str, Any]:
    facts = made.facts_of(certificate)
    return {
        "subject": made.subject_of(certificate),
        "uid": facts.identity.uid if facts.identity else None,
        "issuer": made.issuer_of(certificate),
        "serial": f"{certificate.serial_number:x}",
        "not_before": date(facts.not_before),
        "not_after": date(facts.not_after),
        "days_left": round((facts.not_after - now) / 86_400, 1),
        "hosts": made.hosts_of(certificate),
        "purposes": made.purposes_of(certificate),
        "pin": made.pin(certificate),
    }
