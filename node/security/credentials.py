"""What programs and devices show to a cluster's nodes, and whom they trust: a token, and a CA.

A token goes to the addresses that somebody has said, and over TLS to whoever proves by the CA to be
a node of the cluster: what a node tells of others is not to be believed. In plain text it never
leaves this machine. One that is in a file is read anew when a node refuses it, so that whoever
replaces the file replaces the token. Source: guide/access.md.
"""

import os
import pathlib
import ssl
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypedDict

from stationkeep.node.security import trust
from stationkeep.node.security.handshake import client_options
from stationkeep.node.security.tokens import TokenFault, parse
from stationkeep.node.system.addresses import crosses_in_clear, origin_of, split_url
from stationkeep.node.system.operator_files import regular
from stationkeep.node.system.small_file import SmallFile

if TYPE_CHECKING:
    import httpx

VARIABLE = "STATIONKEEP_TOKEN"
"""Of the environment: a token."""
MAX_TOKEN_FILE = 4_096
"""Bytes of a file with a token."""
PLAIN_RULE = "a token goes over https, or over http to this machine alone"

Path = str | os.PathLike[str]


class Access(TypedDict, total=False):
    """What a program is given to show and to trust; see `Credentials`."""

    token: str | None
    token_file: Path | None
    ca: Path | None
    certificate: Path | None


class Credentials:
    """For a cluster of which somebody has said these addresses.

    `token`, or a file that has one; with neither it is that of the environment, and "" is none.
    `ca`: the file of the cluster's CA certificates, by default that of the environment.
    `certificate`: of a device, in a file with its key, as `certs issue device` writes it. Raises
    ValueError, which names the argument and never says what a token is.
    """

    def __init__(
        self,
        said: Iterable[str] = (),
        *,
        token: str | None = None,
        token_file: Path | None = None,
        ca: Path | None = None,
        certificate: Path | None = None,
    ) -> None:
        if token is not None and token_file is not None:
            raise ValueError("token_file: there is a token already")
        said = tuple(said)
        self._said = frozenset(map(origin_of, said))
        self._ca = os.fspath(ca or os.environ.get(trust.VARIABLE) or "")
        self._file = None if token_file is None else os.fspath(token_file)
        self._learnt: dict[bytes, str] = {}
        """What has taken the place of which content of the CA's file."""
        self._certificate = None if certificate is None else os.fspath(certificate)
        if self._certificate is not None and not self._ca:
            raise ValueError("certificate: it is shown to nodes that a CA proves; ca is missing")
        if self._ca:
            self._context()
        if self._file is not None:
            self._token = _read(self._file)
        else:
            given = os.environ.get(VARIABLE, "") if token is None else token
            self._token = given and _checked(given, VARIABLE if token is None else "token")
        if self.token:
            _check_private(said)

    def __repr__(self) -> str:
        return f"Credentials({'a token' if self.token else 'no token'})"

    @property
    def token(self) -> str:
        """The one that is shown now; "" when there is none."""
        return self._token

    def may_go(self, url: str) -> bool:
        """Whether the token, if there is one, may be shown at this address."""
        asked = origin_of(url)
        proves = asked is not None and asked[0] == "https" and bool(self._ca)
        return not self.token or proves or asked in self._said

    def token_for(self, url: str) -> str:
        """What to show there; "" for nothing."""
        return self.token if self.may_go(url) else ""

    def show(self, request: "httpx.Request") -> "httpx.Request":
        """A request with the token, if it may go where that goes; httpx takes this as `auth`."""
        if token := self.token_for(str(request.url)):
            request.headers["Authorization"] = bearer(token)
        return request

    def renewed(self, refused: str) -> bool:
        """Whether there is another token than the one that was refused; the file is read anew. Who
        was shown none gets none."""
        if self._file is not None and self._token == refused:
            try:
                self._token = _read(self._file)
            except ValueError:
                return False
        return refused not in ("", self._token)

    @property
    def own(self) -> bool:
        """Whether a device has or gets a credential of its own (`node.agent.own_credential`): then
        no refusal is for good, since operators can let it enrol anew."""
        return False

    def sha256_for(self, shown: str) -> str | None:
        """What a device registers with that has shown this: of its own secret, in hex."""
        return None

    def enrolled(self) -> None:
        """The cluster knows the device's own credential."""

    def turned_away(self, shown: str, rule: str) -> None:
        """A node will not have what it was shown, by this rule."""

    def learn(self, ca: str) -> None:
        """Takes the word of a node of the cluster for whom to trust from now on, in PEM. The file
        follows; where it is not ours to write to, it is remembered until the file is another."""
        if not self._ca:
            return
        try:
            content = trust.content_of(self._ca)
            ca = trust.followed(content, ca)
            trust.of_ca(ca)
            if content == ca.encode() or self._learnt.get(content) == ca:
                return
            self._learnt = {content: ca}
            SmallFile(pathlib.Path(self._ca), 0o644).save(ca.encode())
        except (OSError, ValueError):  # also what is no CA at all
            return

    def verification(self) -> ssl.SSLContext | bool:
        """What httpx's transports take as `verify`. Raises `TrustError`."""
        return self._context() if self._ca else True

    def connection_options(self, *, secure: bool) -> dict[str, Any]:
        """Arguments of `create_connection` to a node's HTTP port. Raises `TrustError`."""
        if not secure:
            return {}
        return client_options(self._context()) if self._ca else {"ssl": True}

    def _context(self) -> ssl.SSLContext:
        if self._certificate is None:
            return trust.of_file(self._ca, self._learnt)
        return trust.showing(self._certificate, self._ca, self._learnt)


def bearer(token: str) -> str:
    """The value of the header in which a token is shown."""
    return f"Bearer {token}"


def _read(path: str) -> str:
    try:
        with open(path, "rb", opener=regular) as file:
            content = file.read(MAX_TOKEN_FILE)
    except OSError as error:
        raise ValueError(f"token_file: {path}: {error.strerror or error}") from error
    return _checked(content.decode("latin-1").strip(), f"token_file: {path}")


def _checked(token: str, source: str) -> str:
    try:
        return parse(token).text
    except TokenFault as fault:
        raise ValueError(f"{source}: {fault}") from None


def _check_private(said: Iterable[str]) -> None:
    for url in said:
        parts = split_url(url)
        if parts is not None and crosses_in_clear(parts):
            raise ValueError(f"{url} refused: {PLAIN_RULE}")
