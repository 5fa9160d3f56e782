"""A node's certificates → what clients see of them."""

from collections.abc import Mapping

from stationkeep.node.security.contexts import Credentials
from stationkeep.node.views.base import View


class CaView(View, frozen=True):
    """The CAs that the node trusts. `pem`: their certificates; `pins`: the SHA-256 of each one's
    public key, in the same order; `issued_by`: of the one that issued the node's own. `uid`: of the
    cluster. Whoever asks without trust compares a pin of their own with what is in `pem`, and
    believes nothing else."""

    uid: str
    pins: list[str]
    issued_by: str
    pem: str


class CertificateView(View, frozen=True):
    """The certificate that a node shows from now on. `serial`: hexadecimal; `expires_wall_ms`: Unix
    ms."""

    node: str
    serial: str
    expires_wall_ms: int


class RevokedView(View, frozen=True):
    """A certificate that no member accepts. `serial`: hexadecimal; `at_ms`: cluster time."""

    serial: str
    at_ms: int


class RevokedList(View, frozen=True):
    """All of them, at most 1,000, in the order in which they were revoked."""

    items: list[RevokedView]


def ca_view(current: Credentials) -> CaView:
    return CaView(current.uid, current.pins, current.issued_by, current.trusted)


def revoked_list(revoked: Mapping[str, int]) -> RevokedList:
    return RevokedList([RevokedView(serial, at) for serial, at in revoked.items()])


def certificate_view(current: Credentials) -> CertificateView:
    return CertificateView(current.node, current.serial, int(current.pair.ends * 1_000))
