"""A device's own credential, as the table keeps it: a hash, and what has become of it."""

import enum
from typing import NamedTuple

HASH_BYTES = 32
"""Of a SHA-256, kept and compared whole: 32 MB for a million devices."""


class Standing(enum.IntEnum):
    """What a device's own credential is worth."""

    NONE = 0
    """It never had one."""
    GOOD = 1
    REVOKED = 2
    """For good; the device cannot enrol until an operator resets it."""
    RESET = 3
    """As revoked, but whoever enrols under this id next, with another secret, is taken in."""


class Credential(NamedTuple):
    """`hash`: SHA-256 of the secret, kept of one that has ended, so that it is told apart from one
    that never was; zero where there was none."""

    standing: Standing
    hash: bytes


NO_CREDENTIAL = Credential(Standing.NONE, bytes(HASH_BYTES))
