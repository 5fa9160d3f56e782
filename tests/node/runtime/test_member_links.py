"""Whom a node is linked to: members, and those who do not know yet that they are none any more."""

from types import SimpleNamespace
from typing import Any

import pytest

from stationkeep.node.runtime.member_links import MemberLinks


class World:
    """Three members, as the network, Raft and the state have them."""

    def __init__(self) -> None:
        addresses = {name: f"{name}:7701" for name in ("a", "b", "c")}
        self.network: Any = SimpleNamespace(peers=addresses, set_peers=self._set)
        self.raft: Any = SimpleNamespace(links=("a", "b", "c"), applied_index=7)
        members = {name: SimpleNamespace(id=name, raft=at) for name, at in addresses.items()}
        self.state = SimpleNamespace(founded=True, uid="u", members=members, exposed={})
        journal: Any = SimpleNamespace(uid="u")
        replica: Any = SimpleNamespace(state=self.state)
        self.links = MemberLinks(self.network, self.raft, journal, replica)
        self.linked: list[str] = []

    def _set(self, peers: dict[str, str], _version: int) -> None:
        self.linked = sorted(peers)


@pytest.mark.parametrize(
    ("exposed", "linked"), [({}, ["a", "b", "c"]), ({"c": 1}, ["a", "b"])], ids=["left", "stolen"]
)
def test_who_left_is_told_so_unless_it_is_in_foreign_hands(
    exposed: dict[str, int], linked: list[str]
) -> None:
    world = World()
    world.links.follow()
    del world.state.members["c"]
    world.state.exposed = exposed
    world.links.follow()
    assert world.linked == linked
