"""Why an HTTP request got no answer, in words of our own.

httpx hands on what the layers below it say, and the wording of each changes with its releases.
What the system says (`OSError`) stays: it is what people look for.
"""

import ssl
from collections.abc import Iterator

import httpx

from stationkeep.node.system.addresses import said_by_system
from stationkeep.node.wire.http_body import TooLarge

ADDRESS = "must be an address such as http://127.0.0.1:8701"
"""The rule that an address breaks for which httpx has no use."""

_WORDS: tuple[tuple[type[BaseException], str], ...] = (
    (httpx.InvalidURL, ADDRESS),
    (httpx.UnsupportedProtocol, ADDRESS),
    (ssl.SSLCertVerificationError, "its certificate is not trusted"),
    (ssl.SSLError, "no TLS could be agreed on"),
    (httpx.ConnectTimeout, "no connection in time"),
    (httpx.TimeoutException, "no answer in time"),
    (httpx.ConnectError, "no connection"),
    (httpx.RemoteProtocolError, "what answers does not speak HTTP, or broke off"),
    (httpx.NetworkError, "the connection broke"),
    (TooLarge, "the answer is too large"),
    (httpx.DecodingError, "the answer cannot be read"),
)
ELSE = "no answer"


def why(error: BaseException) -> str:
    """In few words, without the address."""
    causes = list(_causes(error))
    tls = next((cause for cause in causes if isinstance(cause, ssl.SSLError)), None)
    said = None if tls else next(filter(None, map(_system, causes)), None)
    return said or _ours(tls or error)


def _ours(error: BaseException) -> str:
    return next((words for kind, words in _WORDS if isinstance(error, kind)), ELSE)


def _system(error: BaseException) -> str | None:
    """What the system said, without what Python and asyncio put around it."""
    return said_by_system(error).lower() or None if isinstance(error, OSError) else None


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__
