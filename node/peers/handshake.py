"""The first frame each way on a stream: who speaks, and what is said to those who may not.

Who dials names the session that begins with this stream, and the key of its datagrams. `life` is a
random number of the process that speaks: another one means that it has restarted.

Whoever is not a member, or does not speak like one, is disconnected, counted and logged once in
a while. Only who was a member is answered: one that was removed while it was away is told so,
and by which entry of the log, since nobody sends that to it any more.
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
    """What one node says of itself, and what it expects of others."""

    def __init__(self, cluster: str, node_id: str) -> None:
        self._cluster, self._node = cluster, node_id
        self.life = secrets.randbits(62) | 1

    def frame(self, session: Outgoing | None = None) -> bytes:
        """`session`: that of the stream, when we dialled it."""
        begun = {"session": session.name, "key": session.key} if session else {}
        return pack({**self._said("hello"), "life": self.life, **begun})

    def farewell(self, index: int) -> bytes:
        """For who was removed by the configuration at `index`, instead of a hello."""
        return pack({**self._said("removed"), "index": index})

    def _said(self, kind: str) -> dict[str, Any]:
        return {"kind": kind, "version": PROTOCOL, "cluster": self._cluster, "node": self._node}

    def wrong_with(
        self, hello: dict[str, Any], members: Container[str], expected: str | None = None
    ) -> str | None:
        """Why this hello is refused, as a word for the counter; None when it is right.
        `expected`: whom we dialled; None: it dialled us, and begins a session."""
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
        """The log index in the farewell of `peer`; None when that makes no sense."""
        said = dict(farewell)
        index = said.pop("index", None)
        if said != self._said("removed") | {"node": peer} or type(said["version"]) is not int:
            return None
        return index if type(index) is int and 0 < index <= CEILING else None


def _is_name(value: Any) -> bool:
    """Of a session or a life: a random number that is not 0."""
    return type(value) is int and 0 < value < MAX_NAME


class Refusals:
    """Refused connections: every one is counted, of each host one in a while is logged."""

    def __init__(self) -> None:
        self.counted: dict[str, int] = {}
        """By reason."""
        self._warned: dict[str, float] = {}

    def count(self, reason: str) -> None:
        self.counted[reason] = self.counted.get(reason, 0) + 1

    def note(self, address: str, reason: str) -> None:
        """`address`: "host:port", or a peer's id."""
        self.count(reason)
        host = address.rpartition(":")[0] or address
        now = time.monotonic()
        if now - self._warned.get(host, -WARN_EVERY_SECONDS) < WARN_EVERY_SECONDS:
            return
        if len(self._warned) >= MAX_WARNED:
            self._warned.clear()
        self._warned[host] = now
        log.warning("connection_refused", remote=address, reason=reason)
