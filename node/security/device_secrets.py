"""The text of a device's own credential: drawn by the device, never by anybody else.

    skd_<device id>.<secret>

`secret`: 256 random bits in base32, of which the cluster keeps the SHA-256. It is written by one
program and read by another, so it has no checksum. Source: guide/access.md, "Enrolment".
"""

import re
from typing import NamedTuple

from stationkeep.cluster.names import DEVICE_ID
from stationkeep.node.security.tokens import TokenFault, draw_secret, hash_of, proves

PREFIX = "skd_"
_FORM = re.compile(rf"skd_({DEVICE_ID.pattern})\.([a-z2-7]{{52}})")


class DeviceSecret(NamedTuple):
    """A credential as its device shows it."""

    device: str
    secret: str

    @property
    def text(self) -> str:
        """What is shown to the cluster's nodes, and to nobody else."""
        return f"{PREFIX}{self.device}.{self.secret}"

    @property
    def hash(self) -> bytes:
        """What the cluster keeps of it."""
        return hash_of(self.secret)

    def proves(self, hash_: bytes) -> bool:
        """Whether this is the secret with that hash."""
        return proves(self.secret, hash_)

    def __repr__(self) -> str:
        return f"DeviceSecret({self.device})"


def draw(device: str) -> DeviceSecret:
    """A new one."""
    return DeviceSecret(device, draw_secret())


def parse(text: str) -> DeviceSecret:
    """The credential that a text is; raises `TokenFault`."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise TokenFault("a device's own credential is skd_, its id, a dot, 52 of a-z 2-7")
    return DeviceSecret(match[1], match[2])
