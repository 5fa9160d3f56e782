"""Whom clients and devices trust: any node of their cluster, by the cluster's CA.

No host name is checked. Only a node has a certificate of this CA that serves, whatever its address
is now, and a node may be asked under any name. Without a CA, a node's certificate is checked as
those of web sites are.
"""

import os
import ssl
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from stationkeep.node.security.handshake import context, judge
from stationkeep.node.security.identity import Door, parse
from stationkeep.node.system.operator_files import regular

VARIABLE = "STATIONKEEP_CA"
"""Of the environment: the path of the cluster's CA certificates, `ca.pem`."""
MAX_CA = 256 * 1024
"""Bytes of that file."""


class TrustError(ValueError):
    """The CA's certificates cannot be used; `str()` names the file."""


def trusted() -> ssl.SSLContext | None:
    """The context for nodes of the CA that the environment names; None if it names none. Raises
    `TrustError`."""
    path = os.environ.get(VARIABLE)
    return None if not path else of_file(path)


def of_file(path: str, learnt: Mapping[bytes, str] = MappingProxyType({})) -> ssl.SSLContext:
    """The context for nodes of the CA in a file; one for each content. `learnt`: what is to be in
    the place of which content. Raises `TrustError`."""
    return _of_file(path, learnt, of_ca)


def showing(certificate: str, path: str, learnt: Mapping[bytes, str]) -> ssl.SSLContext:
    """The same, which shows a certificate that is in a file with its key; both are read anew each
    time, so that whoever replaces the file replaces the certificate. Raises `TrustError`."""
    made = _of_file(path, learnt, of_ca.__wrapped__)
    try:
        with open(certificate, "rb", opener=regular):  # of a pipe OpenSSL would wait for its end
            made.load_cert_chain(certificate, password="")  # nobody is asked for one
    except ssl.SSLError as error:
        raise TrustError(f"{certificate} is not a certificate and its key in PEM") from error
    except OSError as error:
        raise TrustError(f"{certificate} cannot be read: {error.strerror}") from error
    return made


def _of_file(
    path: str, learnt: Mapping[bytes, str], made: Callable[[str], ssl.SSLContext]
) -> ssl.SSLContext:
    content = content_of(path)
    try:
        return made(learnt.get(content) or content.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise TrustError(f"{path} has no CA's certificates in PEM") from error


def content_of(path: str) -> bytes:
    """Of a CA's file. Raises `TrustError`."""
    try:
        with open(path, "rb", opener=regular) as file:
            return file.read(MAX_CA + 1)
    except OSError as error:
        raise TrustError(f"{path} cannot be read: {error.strerror}") from error


@lru_cache(8)
def of_ca(pem: str) -> ssl.SSLContext:
    """The context for nodes with certificates of this CA. Raises `ssl.SSLError`, ValueError."""
    uids = {uid for uid, _ in _cas(pem) if uid}
    # A foreign CA does not say of which cluster it is; then that of the node is believed.
    uid = uids.pop() if len(uids) == 1 else None
    return context(False, pem, judge(uid, Door.NODE, None), None)


@lru_cache(8)
def followed(content: bytes, told: str) -> str:
    """What is to be in the place of a CA file's content when nodes say whom to trust: of their own
    cluster what they say, of others what was there. Raises `ssl.SSLError`, ValueError."""
    had, clusters = _cas(content.decode("ascii")), {uid for uid, _ in _cas(told)}
    if clusters.isdisjoint(uid for uid, _ in had):
        raise ValueError("is of a cluster that was not trusted")
    return told + "".join(pem for uid, pem in had if uid not in clusters)


def _cas(pem: str) -> list[tuple[str, str]]:
    """The uid of the cluster of each CA, "" where it says none, and its certificate in PEM."""
    probe = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if len(pem) > MAX_CA or not pem.isascii():
        raise ValueError(f"a CA file has at most {MAX_CA} bytes, in ASCII")
    probe.load_verify_locations(cadata=pem)
    facts: list[Any] = probe.get_ca_certs()
    pems = map(ssl.DER_cert_to_PEM_cert, probe.get_ca_certs(binary_form=True))
    return list(zip(map(_uid, facts), pems, strict=True))


def _uid(ca: Any) -> str:
    uris = [name for kind, name in ca.get("subjectAltName", ()) if kind == "URI"]
    return next((found.uid for uri in uris if (found := parse(uri)) is not None), "")


def verification() -> ssl.SSLContext | bool:
    """What httpx's transports take as `verify`. Raises `TrustError`."""
    return trusted() or True
