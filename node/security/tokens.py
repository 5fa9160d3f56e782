"""The text of a token: drawn, parsed, compared.

    skt_<id>_<secret>_<checksum>

`ske_` begins those that enrol devices, so that a device knows what it was given.
`id`: 8 characters, shown everywhere. `secret`: 256 random bits in base32, shown once. `checksum`:
CRC-32 of everything before, by which whoever scans files and logs knows a token that was lost
there, and we know one that was copied in part. Of the secret the cluster keeps the SHA-256. Source:
guide/access.md.
"""

import base64
import hashlib
import hmac
import re
import secrets
import string
import zlib
from typing import NamedTuple

PREFIX, ENROLMENT_PREFIX = "skt_", "ske_"
ID_CHARACTERS, ID_LENGTH = string.ascii_lowercase + string.digits, 8
SECRET_BYTES = 32
CHECKSUM_LENGTH = 8
LENGTH = len(PREFIX) + ID_LENGTH + len("_") + 52 + len("_") + CHECKSUM_LENGTH
_FORM = re.compile(r"(sk[te]_)([a-z0-9]{8})_([a-z2-7]{52})_([0-9a-f]{8})")


class TokenFault(ValueError):  # noqa: N818 - what a text has, no error of ours
    """Why a text is no token. Never says what the text is."""


class Shown(NamedTuple):
    """A token as whoever has it shows it."""

    id: str
    secret: str
    prefix: str = PREFIX

    @property
    def text(self) -> str:
        """What is given to whoever is to have it, and to nobody else."""
        body = f"{self.prefix}{self.id}_{self.secret}_"
        return f"{body}{checksum(body)}"

    @property
    def hash(self) -> bytes:
        """What the cluster keeps of it."""
        return hash_of(self.secret)

    def proves(self, hash_: bytes) -> bool:
        """Whether this is the secret with that hash."""
        return proves(self.secret, hash_)

    def __repr__(self) -> str:
        return f"Shown({self.id})"


def draw(prefix: str = PREFIX) -> Shown:
    """A new one."""
    id_ = "".join(secrets.choice(ID_CHARACTERS) for _ in range(ID_LENGTH))
    return Shown(id_, draw_secret(), prefix)


def draw_secret() -> str:
    """256 random bits, in 52 characters."""
    return base64.b32encode(secrets.token_bytes(SECRET_BYTES)).decode().rstrip("=").lower()


def hash_of(secret: str) -> bytes:
    """What the cluster keeps of a secret."""
    return hashlib.sha256(secret.encode()).digest()


def proves(secret: str, hash_: bytes) -> bool:
    """Whether a secret has that hash; takes as long whatever the difference is."""
    return hmac.compare_digest(hash_of(secret), hash_)


def parse(text: str) -> Shown:
    """The token that a text is; raises `TokenFault` with the rule that it breaks."""
    if not text.startswith((PREFIX, ENROLMENT_PREFIX)):
        raise TokenFault(f"a token begins with {PREFIX} or {ENROLMENT_PREFIX}")
    if len(text) != LENGTH:
        raise TokenFault(f"a token has {LENGTH} characters, this has {len(text)}")
    match = _FORM.fullmatch(text)
    if match is None:
        raise TokenFault("a token is skt_ or ske_, 8 of a-z 0-9, _, 52 of a-z 2-7, _, 8 of 0-9 a-f")
    if checksum(text[:-CHECKSUM_LENGTH]) != match[4]:
        raise TokenFault("its checksum does not match: a character is wrong")
    return Shown(match[2], match[3], match[1])


def enrols(text: str) -> bool:
    """Whether a token enrols devices, as far as one can see."""
    return text.startswith(ENROLMENT_PREFIX)


def checksum(body: str) -> str:
    """What stands after the last `_`: CRC-32 in 8 hexadecimal digits."""
    return f"{zlib.crc32(body.encode()):08x}"
