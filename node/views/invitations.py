"""State → what clients see of invitations, and what a new member is given."""

from typing import Literal

from stationkeep.cluster.state.state import ClusterState, Invitation
from stationkeep.node.views.base import View


class InvitationView(View, frozen=True):
    """One invitation. `node`: the only id under which one may come, "" for any. `taken`: who has
    come by it. `created_wall_ms`, `expires_wall_ms`: Unix ms."""

    invitation: str
    state: Literal["open", "used", "expired", "revoked"]
    node: str
    uses: int
    taken: list[str]
    created_by: str
    created_wall_ms: int
    expires_wall_ms: int


class InvitationList(View, frozen=True):
    """`uid`, `pin`: of the cluster's CA, which an invitation names; null at a node that has not the
    CA's key, and so takes in nobody."""

    items: list[InvitationView]
    next: str | None
    uid: str | None
    pin: str | None


class AddressesView(View, frozen=True):
    id: str
    raft: str
    http: str


class AdmittedView(View, frozen=True):
    """What a new member needs, certificates and the CA's key in PEM. `certificate`: for the key of
    the request. `level`: of the cluster."""

    node: str
    cluster: str
    uid: str
    level: int
    certificate: str
    ca: str
    ca_key: str
    members: list[AddressesView]


def invitation_view(found: Invitation, wall: int) -> InvitationView:
    """An invitation at `wall`, Unix ms."""
    return InvitationView(
        found.id, _state(found, wall), found.node, found.uses, list(found.taken), found.created_by,
        found.wall, found.expires_wall,
    )  # fmt: skip


def _state(found: Invitation, wall: int) -> Literal["open", "used", "expired", "revoked"]:
    if found.revoked_at is not None:
        return "revoked"
    if found.used_up:
        return "used"
    return "expired" if found.expired(wall) else "open"


def addresses_view(state: ClusterState) -> list[AddressesView]:
    """Where the members are reached."""
    return [AddressesView(each.id, each.raft, each.http) for each in state.members.values()]
