"""How a storm comes to the nodes of its cluster: in clear, or over TLS and with a token."""

import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from stationkeep.node.security import certificates as made
from stationkeep.node.security.contexts import CA_FILE, CA_KEY_FILE
from stationkeep.node.security.tokens import Shown
from stationkeep.node.security.trust import of_file


class Access(NamedTuple):
    """`tls`: the context for nodes that are asked over https; `token`: what they are shown."""

    tls: ssl.SSLContext | None = None
    token: str = ""

    def url(self, address: str) -> str:
        return f"{'http' if self.tls is None else 'https'}://{address}"

    def client(self, caller: str | None = None, **options: Any) -> httpx.Client:
        """One that takes no proxy from the environment. `caller`: the address to connect from."""
        transport = httpx.HTTPTransport(verify=self.tls or True, local_address=caller)
        headers = options.pop("headers", {}) | self.headers
        return httpx.Client(transport=transport, headers=headers, **options)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


OPEN = Access()


def make_ca(directory: Path, cluster: str) -> ssl.SSLContext:
    """Writes a CA and its key for all nodes of a cluster; the context for those who ask them."""
    ca = made.new_authority(cluster, datetime.now(UTC).replace(microsecond=0))
    directory.mkdir(parents=True)
    made.write(directory / CA_KEY_FILE, made.private_pem(ca.key), made.PRIVATE)
    made.write(directory / CA_FILE, made.public_pem([ca.certificate]), made.PUBLIC)
    return of_file(str(directory / CA_FILE))


def token_body(shown: Shown) -> dict[str, Any]:
    """POST /v1/tokens: a token by which a storm may do everything."""
    return {"token": shown.id, "name": "storm", "role": "admin", "sha256": shown.hash.hex()}
