"""Why an HTTP request got no response, in our own words.

httpx passes on the messages of the layers below it, and their wording changes between releases.
Messages of the operating system (`OSError`) are kept: they are what people search for.
"""

import ssl
from collections.abc import Iterator

import httpx

from stationkeep.node.security.handshake import Refused
from stationkeep.node.system.addresses import URL_RULE, system_message
from stationkeep.node.wire.http_body import TooLarge

_WORDS: tuple[tuple[type[BaseException], str], ...] = (
    (httpx.InvalidURL, URL_RULE),
    (httpx.UnsupportedProtocol, URL_RULE),
    (
        ssl.SSLCertVerificationError,
        "its certificate is not trusted; --ca or STATIONKEEP_CA names the cluster's CA",
    ),
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
    """The reason in a few words, without the address."""
    tls = next((cause for cause in _causes(error) if isinstance(cause, ssl.SSLError)), None)
    system = None if tls else next(filter(None, map(_system, _causes(error))), None)
    return system or _ours(tls or error)


def untrusted(error: BaseException) -> bool:
    """Whether whoever is there did not prove to be who was meant."""
    kinds = Refused | ssl.SSLCertVerificationError
    return any(isinstance(cause, kinds) for cause in _causes(error))


def _ours(error: BaseException) -> str:
    if isinstance(error, Refused):
        return f"its certificate is refused ({error.word}): {error.strerror}"
    return next((words for kind, words in _WORDS if isinstance(error, kind)), ELSE)


def _system(error: BaseException) -> str | None:
    """The system's message, without what Python and asyncio put around it."""
    return system_message(error).lower() or None if isinstance(error, OSError) else None


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if not isinstance(cause, ssl.SSLWantReadError | ssl.SSLWantWriteError):
            yield cause  # those are how a connection with TLS waits
        cause = cause.__cause__ or cause.__context__
