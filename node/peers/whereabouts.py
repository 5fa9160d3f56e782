"""Who the peers are, and where each may be: as the cluster has it, as our own file had it, as the
peer says itself, and as others say of it. An address is only a hint, so all of them are ways to it.

A node that was away when another joined learns of that one from its peers, or it could not be
reached by a leader that it has never heard of. What is only hearsay is dialled, and may be wrong:
so there is little of it at a time, and it makes room.
"""

from collections.abc import Mapping, Set
from typing import Any, NamedTuple

from stationkeep.cluster.names import address_fault, name_fault
from stationkeep.node.system.addresses import join_address, split_address

MAX_PEERS = 256
MAX_HEARSAY = 32
"""Peers known only from another peer's list; a newer one replaces the oldest."""
HEARSAY_SECONDS = 10.0
"""For which such a peer is looked for before a newer one may take its place."""

Address = tuple[str, int]


class Table(NamedTuple):
    """Ids and addresses as a peer tells them, and the index that it had applied."""

    version: int
    peers: dict[str, str]


class Changes(NamedTuple):
    """Peers that are none any more, and new ones; one that moved is both."""

    gone: list[str]
    new: list[str]


class Whereabouts:
    """Of the peers of one node. `members`: id → "host:port", as its file has them; the node may be
    among them."""

    def __init__(self, node: str, members: Mapping[str, str]) -> None:
        self._node = node
        self._own = members.get(node, "")
        """Where others reach us: as our file says, which knows of a move before the state does."""
        self._peers = self._parsed(members)
        self._file = dict(self._peers)
        self._said: dict[str, Address] = {}
        """Where a peer says that it is itself, newest word."""
        self._told: dict[str, Address] = {}
        """The same by another peer, which may not know better than we do."""
        self._hearsay: dict[str, float] = {}
        """Peers that only another peer has named, and when, oldest first. They are dialled; a
        connection from one of them is not accepted until we have reached it at its given
        address."""
        self._unlisted: dict[str, int] = {}
        """Peers that are not in the cluster's list as we know it, and the index up to which whoever
        named them had applied the log."""
        self._version = -1

    @property
    def peers(self) -> dict[str, str]:
        """Id → address of every peer."""
        return {peer: join_address(*address) for peer, address in self._peers.items()}

    @property
    def hearsay(self) -> Set[str]:
        """Those of them that were not met yet, and of which the state does not know."""
        return self._hearsay.keys()

    @property
    def table(self) -> Table | None:
        """What peers are told: before it has the cluster's list, where it is itself. (Who has it at
        a wrong address cannot send it the list.) None if it does not know even that."""
        own = {self._node: self._own} if self._own else {}
        if self._version < 0:
            return Table(0, own) if own else None
        return Table(self._version, {**self.peers, **own})

    def ways_to(self, peer: str) -> list[Address]:
        """Where to dial a peer, one after another. All may have changed at once, in files that were
        edited while the cluster was down."""
        known = (where.get(peer) for where in (self._peers, self._file, self._said, self._told))
        return list(dict.fromkeys(way for way in known if way is not None))

    def replace(self, members: Mapping[str, str], version: int) -> Changes:
        """As the cluster has it at `version`, the applied index. Of whom others have told from a
        newer list it says nothing: one of those may be the leader, who alone can send the rest."""
        self._version = max(self._version, version)
        self._own = self._own or members.get(self._node, "")
        wanted = self._parsed(members)
        self._unlisted = {
            p: at for p, at in self._unlisted.items() if at > version and p not in wanted
        }
        wanted |= {peer: self._peers[peer] for peer in self._unlisted}
        gone = [p for p, address in self._peers.items() if wanted.get(p) != address]
        for peer in gone:
            self._forget(peer)
        new = sorted(set(wanted) - set(self._peers))
        self._peers |= {peer: wanted[peer] for peer in new}
        self._hearsay = {p: at for p, at in self._hearsay.items() if p in self._unlisted}
        return Changes(gone, new)

    def hear(self, teller: str, told: Table, now: float) -> Changes:
        """A peer tells what it knows, at `now` of a monotonic clock."""
        for name in sorted(set(told.peers) & set(self._peers)):
            source = self._said if name == teller else self._told
            source[name] = split_address(told.peers[name])
        changes = Changes([], [])
        if told.version > self._version:
            for name in told.peers.keys() & self._unlisted.keys():
                self._unlisted[name] = max(self._unlisted[name], told.version)
            unknown = sorted(set(told.peers) - set(self._peers) - {self._node})
            for name in unknown[:MAX_HEARSAY]:
                self._hear_of(name, told, now, changes)
        return changes

    def _hear_of(self, name: str, told: Table, now: float, changes: Changes) -> None:
        if len(self._hearsay) >= MAX_HEARSAY:
            oldest, since = next(iter(self._hearsay.items()))
            if now - since < HEARSAY_SECONDS:
                return
            self._forget(oldest)
            changes.gone.append(oldest)
        self._hearsay[name], self._unlisted[name] = now, told.version
        self._peers[name] = split_address(told.peers[name])
        changes.new.append(name)

    def met(self, peer: str) -> None:
        """It was reached where it was said to be."""
        self._hearsay.pop(peer, None)

    def _forget(self, peer: str) -> None:
        del self._peers[peer]
        for where in (self._said, self._told, self._hearsay, self._unlisted):
            where.pop(peer, None)

    def _parsed(self, members: Mapping[str, str]) -> dict[str, Address]:
        return {p: split_address(a) for p, a in members.items() if p != self._node}


def checked_table(message: Mapping[str, Any]) -> Table | None:
    """What a message of kind "peers" tells; None if that is invalid."""
    version, peers = message.get("version"), message.get("peers")
    if type(version) is not int or not isinstance(peers, dict) or len(peers) > MAX_PEERS:
        return None
    for name, address in peers.items():
        if not isinstance(name, str) or name_fault(name) is not None:
            return None
        if not isinstance(address, str) or address_fault(address) is not None:
            return None
    return Table(version, peers)
