"""Why dialling a member came to nothing, under one word of a closed set: `ports.Obstacle`."""

import ssl

from stationkeep.node.ports import Obstacle
from stationkeep.node.security.handshake import word_for


class NotSecured(OSError):  # noqa: N818 (named after what is the case)
    """The peer is beyond this machine, and there are no certificates."""


_KINDS: tuple[tuple[type[OSError], Obstacle], ...] = (
    (NotSecured, Obstacle.NOT_SECURED),
    (TimeoutError, Obstacle.TIMEOUT),
    (ConnectionRefusedError, Obstacle.CONNECTION_REFUSED),
    (ConnectionAbortedError, Obstacle.HANDSHAKE_TIMEOUT),  # so asyncio says
    (ConnectionError, Obstacle.BROKEN_OFF),
)


def met(error: OSError) -> Obstacle:
    """What stood in the way of connecting to an address, TLS included."""
    if isinstance(error, ssl.SSLError):
        return named(word_for(error))
    return next((word for kind, word in _KINDS if isinstance(error, kind)), Obstacle.UNREACHABLE)


def named(reason: str) -> Obstacle:
    """As a refusal of a stream is counted; whatever is wrong with a frame is no hello."""
    return Obstacle(reason) if reason in _WORDS else Obstacle.NO_HELLO


_WORDS = frozenset(Obstacle)
