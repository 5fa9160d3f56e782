"""Where secrets of a cluster must not be, and what they look like there."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from stationkeep.node.api.resources.events import PATH as EVENTS
from stationkeep.node.security import device_secrets as own
from stationkeep.node.security import local_door
from stationkeep.node.security.authorisation import RIGHTS
from stationkeep.node.security.tokens import parse
from tests.node.tls.guarded import FIRST, NODES, Guarded, bearer

SECRET = re.compile(rb"\b(sk[a-z]|whsec)_[A-Za-z0-9._:@+/-]{20,}")
"""Whatever looks like one, so that none is forgotten here."""


def of_token(text: str) -> list[bytes]:
    """Its secret as it is shown, and as the bytes that were drawn."""
    secret = (own.parse if text.startswith(own.PREFIX) else parse)(text).secret
    return [secret.encode(), base64.b32decode(secret.upper() + "====")]


def of_key(file: Path) -> list[bytes]:
    """A private key as its file has it, and as a number."""
    begin, end = b"-----BEGIN PRIVATE KEY-----\n", b"-----END PRIVATE KEY-----"
    text = file.read_bytes().partition(begin)[2].partition(end)[0]
    key = load_pem_private_key(begin + text + end, None)
    assert isinstance(key, EllipticCurvePrivateKey)
    return [text.split()[1], key.private_numbers().private_value.to_bytes(32, "big")]


def places(cluster: Guarded, admin: Path, without: list[Path]) -> Iterator[tuple[object, bytes]]:
    """All that nodes write, keep, answer and send; but for files that are there for a secret."""
    for file in cluster.folder.rglob("*"):
        secretive = file in without or file.name == local_door.NAME or file.suffix == ".yaml"
        if file.is_file() and not secretive and not {"tokens", "config"} & set(file.parts):
            yield file, file.read_bytes()
    for name in NODES:
        process = Path("/proc") / str(cluster.processes[name].pid)
        yield process / "cmdline", (process / "cmdline").read_bytes()
        yield process / "environ", (process / "environ").read_bytes()
    with httpx.Client(verify=cluster._trusted, headers=bearer(admin), timeout=30) as http:
        for method, route in RIGHTS:
            if method == "GET" and "{" not in route and route != EVENTS:
                yield route, http.get(cluster.url(FIRST) + route).content
    cluster.wait_until(cluster.collector.traces)
    yield "traces", repr(cluster.collector.traces()).encode()
