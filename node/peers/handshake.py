"""The first frame in each direction of a stream: who it is, or why it is turned away.

The dialling side names the session that begins with this stream, and the key of its datagrams.
`life` is a random number of the sending process: if it changes, that process has restarted.

A connection from anybody but a member, or with an invalid hello, is closed and counted, and logged
now and then. Only a former member gets an answer: a node that was removed while it was away is told
so, with the index of the log entry, since nobody sends it the log any more.
"""

import secrets
import time
from collections.abc import Container
from typing import Any

import structlog

from stationkeep.cluster.numbers import CEILING
from stationkeep.node.peers.frames import pack
from stationkeep.node.peers.sessions import KEY_BYTES, Outgoing

PROTOCOL = 4
WARN_EVERY_SECONDS = 10.0
MAX_WARNED = 256
MAX_NAME = 1 << 63
ANSWERS = frozenset({"kind", "version", "cluster", "node", "life"})
DIALS = ANSWERS | {"session", "key"}

log = structlog.get_logger("node.peers")


class Hello:
    """Builds this node's hello, and checks those of others."""

    def __init__(self, cluster: str, node_id: str) -> None:
        self._cluster, self._node = cluster, node_id
        self.life = secrets.randbits(62) | 1

    def frame(self, session: Outgoing | None = None) -> bytes:
        """`session`: the session of the stream, if we dialled it."""
        begun = {"session": session.name, "key": session.key} if session else {}
        return pack({**self._said("hello"), "life": self.life, **begun})

    def farewell(self, index: int) -> bytes:
        """Sent instead of a hello to a node that the configuration at `index` removed."""
        return pack({**self._said("removed"), "index": index})

    def _said(self, kind: str) -> dict[str, Any]:
        return {"kind": kind, "version": PROTOCOL, "cluster": self._cluster, "node": self._node}

    def wrong_with(
        self, hello: dict[str, Any], members: Container[str], expected: str | None = None
    ) -> str | None:
        """Why a hello is refused, as a word for the counter; None if it is valid. `expected`: the
        peer that we dialled; None: the peer dialled us, and begins a session."""
        fields = ANSWERS if expected is not None else DIALS
        if hello.get("kind") != "hello" or "version" not in hello:
            return "no_hello"
        if hello["version"] != PROTOCOL or type(hello["version"]) is not int:
            return "wrong_version"
        if set(hello) != fields or not _is_name(hello["life"]):
            return "no_hello"
        if hello["cluster"] != self._cluster:
            return "other_cluster"
        node = hello["node"]
        if not isinstance(node, str) or node not in members:
            return "unknown_member"
        if expected is not None:
            return None if node == expected else "other_member"
        key = hello["key"]
        if not _is_name(hello["session"]) or type(key) is not bytes or len(key) != KEY_BYTES:
            return "no_hello"
        return None

    def removed_at(self, farewell: dict[str, Any], peer: str) -> int | None:
        """The log index in the farewell of `peer`; None if the farewell is invalid."""
        said = dict(farewell)
        index = said.pop("index", None)
        if said != self._said("removed") | {"node": peer} or type(said["version"]) is not int:
            return None
        return index if type(index) is int and 0 < index <= CEILING else None


def _is_name(value: Any) -> bool:
    """Whether it can name a session or a life: a random number, not 0."""
    return type(value) is int and 0 < value < MAX_NAME


class Refusals:
    """Refused connections: all are counted, one per host and interval is logged."""

    def __init__(self) -> None:
        self.counted: dict[str, int] = {}
        """By reason."""
        self._warned: dict[str, float] = {}

    def count(self, reason: str) -> None:
        self.counted[reason] = self.counted.get(reason, 0) + 1

    def note(self, address: str, reason: str, why: str = "") -> None:
        """`address`: "host:port", or a peer's id; `why`: the reason in a sentence."""
        self.count(reason)
        host = address.rpartition(":")[0] or address
        now = time.monotonic()
        if now - self._warned.get(host, -WARN_EVERY_SECONDS) < WARN_EVERY_SECONDS:
            return
        if len(self._warned) >= MAX_WARNED:
            self._warned.clear()
        self._warned[host] = now
        more = {"why": why} if why else {}
        log.warning("connection_refused", remote=address, reason=reason, **more)
