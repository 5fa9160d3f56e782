"""The word by which a machine is invited into a cluster: drawn, parsed, compared.

    skj_<id>_<uid, pin and secret>_<checksum>

`id`: 8 characters, shown everywhere. Then in base32 the uid of the cluster (8 bytes), the SHA-256
of its CA's public key (32 bytes), and the secret (16 random bytes). `checksum`: as of a token. By
the pin the machine knows whom to believe before it says anything; of the secret the cluster keeps
the SHA-256. Source: guide/forming.md.
"""

import base64
import hashlib
import hmac
import re
import secrets
from typing import NamedTuple

from stationkeep.cluster.names import is_uid
from stationkeep.node.security import tokens
from stationkeep.node.security.tokens import CHECKSUM_LENGTH, ID_LENGTH, TokenFault, checksum

PREFIX = "skj_"
UID_BYTES, PIN_BYTES, SECRET_BYTES = 8, 32, 16
_BODY = 90
"""Characters of base32 for all of these."""
LENGTH = len(PREFIX) + ID_LENGTH + len("_") + _BODY + len("_") + CHECKSUM_LENGTH
_FORM = re.compile(rf"skj_([a-z0-9]{{8}})_([a-z2-7]{{{_BODY}}})_([0-9a-f]{{8}})")
_PIN = "sha256:"


class Word(NamedTuple):
    """An invitation as whoever is invited has it. `uid`: 16 hex digits. `pin`: as
    `certificates.pin` has it."""

    id: str
    uid: str
    pin: str
    secret: bytes

    @property
    def text(self) -> str:
        """What is given to whoever is invited, and to nobody else."""
        pin = bytes.fromhex(self.pin.removeprefix(_PIN))
        encoded = base64.b32encode(bytes.fromhex(self.uid) + pin + self.secret)
        body = f"{PREFIX}{self.id}_{encoded.decode().rstrip('=').lower()}_"
        return f"{body}{checksum(body)}"

    @property
    def hash(self) -> bytes:
        """What the cluster keeps of it."""
        return hashlib.sha256(self.secret).digest()

    def proves(self, hash_: bytes) -> bool:
        """Whether this is the secret with that hash; takes as long whatever the difference is."""
        return hmac.compare_digest(self.hash, hash_)

    def __repr__(self) -> str:
        return f"Word({self.id})"


def draw(uid: str, pin: str) -> Word:
    """A new one, for the cluster with this uid and this CA."""
    assert is_uid(uid) and len(pin) == len(_PIN) + 2 * PIN_BYTES, (uid, pin)  # noqa: PT018
    return Word(tokens.draw().id, uid, pin, secrets.token_bytes(SECRET_BYTES))


def parse(text: str) -> Word:
    """The word that a text is; raises `TokenFault` with the rule that it breaks."""
    if not text.startswith(PREFIX):
        raise TokenFault(f"an invitation begins with {PREFIX}")
    if len(text) != LENGTH:
        raise TokenFault(f"an invitation has {LENGTH} characters, this has {len(text)}")
    match = _FORM.fullmatch(text)
    if match is None or checksum(text[:-CHECKSUM_LENGTH]) != match[3]:
        raise TokenFault("its checksum does not match: a character is wrong")
    whole = base64.b32decode(match[2].upper() + "=" * (-_BODY % 8))
    pin = whole[UID_BYTES : UID_BYTES + PIN_BYTES]
    return Word(
        match[1], whole[:UID_BYTES].hex(), f"{_PIN}{pin.hex()}", whole[UID_BYTES + PIN_BYTES :]
    )
