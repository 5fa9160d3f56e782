"""State → what clients see of tokens: everything but what proves one."""

from typing import Literal

from stationkeep.cluster.access import ends_soon
from stationkeep.cluster.state.state import Access, Token
from stationkeep.node.views.base import View


class TokenView(View, frozen=True):
    """One token. `created_wall_ms`, `expires_wall_ms`: Unix ms; null: until it is revoked.
    `ends_soon`: it was made for long and ends within two weeks. `approves_as`: as whom, where two
    people have to agree. `ids`: the devices that it is about, "" where it is about none. `limit`,
    `used`: how many devices one enrols at most, and has; `labels`: what they have from it.
    `seen_from`: addresses from which it was used, or networks of IPv6, the last one first, and when
    that was (Unix ms, to the day); those of devices are not kept."""

    token: str
    name: str
    role: Access
    state: Literal["good", "expired", "revoked"]
    ids: str
    created_by: str
    created_wall_ms: int
    expires_wall_ms: int | None
    ends_soon: bool
    approves_as: str
    limit: int
    used: int
    labels: dict[str, str]
    seen_wall_ms: int | None
    seen_from: list[str]


class TokenList(View, frozen=True):
    items: list[TokenView]
    next: str | None


def token_view(token: Token, wall: int) -> TokenView:
    """A token at `wall`, Unix ms."""
    state: Literal["good", "expired", "revoked"] = "good"
    if not token.good(wall):
        state = "expired" if token.revoked_at is None else "revoked"
    return TokenView(
        token.id, token.name, token.role, state, token.ids, token.created_by, token.wall,
        token.expires_wall, state == "good" and ends_soon(token, wall), token.person, token.limit,
        token.used, token.labels, max(token.seen.values(), default=None),
        sorted(token.seen, key=lambda address: -token.seen[address]),
    )  # fmt: skip
