"""The first frame in each direction of a stream: who it is, or why it is turned away.

The dialling side names the session that begins with this stream, and the key of its datagrams.
`life` is a random number of the sending process: if it changes, that process has restarted.

A connection from anybody but a member, or with an invalid hello, is closed and counted, and logged
now and then. Two get an answer. A node that was removed while it was away is told so, with the
index of the log entry, since nobody sends it the log any more. And where both ends must see the
same mistake (`ANSWERED`), the other is sent our hello, and finds it under the same word.

`uid` is the cluster's, "" of a node that does not know it yet: names may be the same, and no word
of another cluster counts. `founders` tells lists of founders apart until the cluster is founded, so
that those who do not agree found nothing.
"""

import hashlib
import secrets
import time
from collections.abc import Container, Iterable
from typing import Any

import structlog

from stationkeep.cluster.names import is_uid
from stationkeep.cluster.numbers import CEILING
from stationkeep.node.peers.frames import pack
from stationkeep.node.peers.sessions import KEY_BYTES, Outgoing

PROTOCOLS = (1, 1)
"""The lowest and the highest protocol that this release speaks with other members, of which two
speak the highest that both have. `node.peers` says what needs another one."""
WARN_EVERY_SECONDS = 10.0
MAX_WARNED = 256
MAX_NAME = 1 << 63
ANSWERED = frozenset({"version", "wrong_cluster", "founders_differ"})
"""Refusals of those who are sent our hello, and refuse us for the same reason."""
MAX_FOUNDERS = 32

log = structlog.get_logger("node.peers")


class Hello:
    """Builds this node's hello, and checks those of others."""

    def __init__(self, cluster: str, node_id: str, founders: str = "") -> None:
        """`founders`: what `digest_of` makes of our list, if we have one to found a cluster by."""
        self._cluster, self._node = cluster, node_id
        self.uid, self.founders = "", founders
        self.life = secrets.randbits(62) | 1

    def frame(self, session: Outgoing | None = None) -> bytes:
        """`session`: the session of the stream, if we dialled it."""
        begun = {"session": session.name, "key": session.key} if session else {}
        return pack({**self._said("hello"), "life": self.life, **begun})

    def farewell(self, index: int) -> bytes:
        """Sent instead of a hello to a node that the configuration at `index` removed."""
        return pack({**self._said("removed"), "index": index})

    def _said(self, kind: str) -> dict[str, Any]:
        return {
            "kind": kind, "protocols": PROTOCOLS, "cluster": self._cluster, "uid": self.uid,
            "founders": self.founders, "node": self._node,
        }  # fmt: skip

    def wrong_with(
        self, hello: dict[str, Any], members: Container[str], expected: str | None = None
    ) -> str | None:
        """Why a hello is refused, as a word for the counter; None if it is valid. `expected`: the
        peer that we dialled; None: the peer dialled us, and begins a session."""
        fault = self._fault(hello)
        if fault is not None:
            return fault
        node = hello.get("node")
        if not isinstance(node, str) or node not in members:
            return "not_member"
        if expected is not None:
            return None if node == expected else "wrong_node"
        key = hello.get("key")
        if not _is_name(hello.get("session")) or type(key) is not bytes or len(key) != KEY_BYTES:
            return "no_hello"
        return None

    def _fault(self, hello: dict[str, Any]) -> str | None:
        """What is wrong with a hello whoever sent it. Fields that a newer release adds are none of
        our concern."""
        if hello.get("kind") != "hello" or not _is_range(hello.get("protocols")):
            return "no_hello"
        if common(hello["protocols"]) is None:
            return "version"
        uid, founders = hello.get("uid"), hello.get("founders")
        if not isinstance(uid, str) or (uid and not is_uid(uid)) or not _is_name(hello.get("life")):
            return "no_hello"
        if hello.get("cluster") != self._cluster or (uid and self.uid and uid != self.uid):
            return "wrong_cluster"
        if not isinstance(founders, str) or len(founders) > MAX_FOUNDERS:
            return "no_hello"
        return "founders_differ" if self.founders and founders not in ("", self.founders) else None

    def removed_at(self, farewell: dict[str, Any], peer: str) -> int | None:
        """The log index in the farewell of `peer`; None if the farewell is invalid."""
        index, uid = farewell.get("index"), farewell.get("uid")
        ours = uid == self.uid if uid and self.uid else isinstance(uid, str)
        if (farewell.get("cluster"), farewell.get("node")) != (self._cluster, peer) or not ours:
            return None
        return index if type(index) is int and 0 < index <= CEILING else None


def digest_of(founders: Iterable[str]) -> str:
    """How many founders a list names, and 16 hex digits of which."""
    names = sorted(founders)
    digest = hashlib.blake2b("\n".join(names).encode(), digest_size=8).hexdigest()
    return f"{len(names)}:{digest}"


def common(protocols: tuple[int, int]) -> int | None:
    """The highest protocol that we and the other speak; None if there is none."""
    low, high = max(PROTOCOLS[0], protocols[0]), min(PROTOCOLS[1], protocols[1])
    return high if low <= high else None


def _is_range(value: Any) -> bool:
    """Whether it is the lowest and the highest of some numbers, as frames bring them."""
    if type(value) is not tuple or len(value) != 2 or {type(each) for each in value} != {int}:
        return False
    return bool(0 < value[0] <= value[1] < MAX_NAME)


def _is_name(value: Any) -> bool:
    """Whether it can name a session or a life: a random number, not 0."""
    return type(value) is int and 0 < value < MAX_NAME


class Refusals:
    """Refused connections: all are counted, one per host and interval is logged, of so many hosts
    at most."""

    def __init__(self) -> None:
        self.counted: dict[str, int] = {}
        """By reason."""
        self._warned: dict[str, float] = {}
        """By host, oldest first."""

    def count(self, reason: str) -> None:
        self.counted[reason] = self.counted.get(reason, 0) + 1

    def note(self, address: str, reason: str, why: str = "") -> None:
        """`address`: "host:port", or a peer's id; `why`: the reason in a sentence."""
        self.count(reason)
        host = address.rpartition(":")[0] or address
        now = time.monotonic()
        while self._warned and now - next(iter(self._warned.values())) >= WARN_EVERY_SECONDS:
            del self._warned[next(iter(self._warned))]
        if host in self._warned or len(self._warned) >= MAX_WARNED:
            return
        self._warned[host] = now
        more = {"why": why} if why else {}
        log.warning("connection_refused", remote=address, reason=reason, **more)
