"""A cluster of real processes, on its own ports and in its own directory."""

import os
import signal
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from stationkeep.node.chaos.access import OPEN, Access, make_ca, token_body
from stationkeep.node.chaos.seatwatch import PERIOD, SeatWatch
from stationkeep.node.local.cluster import LocalCluster
from stationkeep.node.local.manifest import MANIFEST, Plan
from stationkeep.node.security.local_door import local_token
from stationkeep.node.security.tokens import Shown, draw
from stationkeep.node.wire.unreached import why

START_SECONDS = 60.0
"""For what takes a few, on a machine that may stand still for a while."""
_LEADER_SECONDS = 10.0  # an election, on a machine that has much else to do
_POLL_SECONDS = 0.05
_ANSWER_SECONDS = 2.0
_WRITE_SECONDS = 15.0  # longer than a node itself waits for an outcome


def free_ports(count: int, lowest: int | None = None) -> int:
    """First of `count` consecutive free ports; each test process has its own range."""
    if lowest is None:
        lowest = 21_000 + 2_000 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    for first in range(lowest, lowest + 2_000 - count, count):
        sockets = [socket.socket() for _ in range(count)]
        try:
            for offset, probe in enumerate(sockets):
                probe.bind(("127.0.0.1", first + offset))
        except OSError:
            continue
        finally:
            for probe in sockets:
                probe.close()
        return first
    raise RuntimeError("no free ports")


class Constellation:
    """A local cluster, with the queries and orders that tests need.

    `caller`: the address to connect from, if that matters.
    """

    def __init__(self, data_dir: Path, caller: str | None = None) -> None:
        self.local = LocalCluster(data_dir)
        self.data_dir = data_dir
        self._caller = caller
        self.access = OPEN
        self._http = self.access.client(caller)

    def up(
        self, nodes: int = 5, profile: str = "demo", lowest_port: int | None = None, **plan: Any
    ) -> None:
        first = free_ports(2 * nodes, lowest_port)
        self.local.up(
            Plan(nodes=nodes, profile=profile, base_port=first, http_port=first + nodes, **plan)
        )

    def up_secured(self, nodes: int, profile: str, lowest_port: int) -> None:
        """As `up`, of nodes that have certificates, and that ask everybody for a token."""
        directory = self.data_dir.absolute() / "tls"
        tls, shown = make_ca(directory, "stationkeep-local"), draw()
        self.up(nodes, profile, lowest_port, tls=directory)
        self.until("a token", lambda: self._admitted(tls, shown))

    def _admitted(self, tls: ssl.SSLContext, shown: Shown) -> bool:
        """Has a node make the token good, as the administrator of its machine may, until every node
        takes it."""
        self._use(Access(tls, shown.text))
        nodes = self.local.manifest().nodes
        if all("leader" in self.ask(node, "/v1/cluster") for node in nodes):
            return True
        for node, record in nodes.items():
            self._use(Access(tls, local_token(Path(record.data_dir)) or ""))
            self.ask(node, "/v1/tokens", token_body(shown))
        return False

    def _use(self, access: Access) -> None:
        self._http.close()
        self.access, self._http = access, access.client(self._caller)

    @property
    def addresses(self) -> dict[str, str]:
        return {node: record.http for node, record in self.local.manifest().nodes.items()}

    def ask(self, node: str, path: str, body: Any = None, method: str | None = None) -> Any:
        """The JSON answer of one node, whatever its status; raises OSError when unreachable."""
        url = f"{self.access.url(self.addresses[node])}{path}"
        verb = method or ("GET" if body is None else "POST")
        try:
            timeout = _ANSWER_SECONDS if body is None else _WRITE_SECONDS
            return self._http.request(verb, url, json=body, timeout=timeout).json()
        except (httpx.TransportError, ValueError) as error:
            raise ConnectionError(f"{verb} {url}: {why(error)}") from error

    def anyone(self, path: str) -> Any:
        """The answer of the first node that is in touch with a leader, as soon as there is one. (A
        node that has just started answers from its own journal, which may be outdated.)"""
        (answer,) = self.until(f"an answer to {path}", lambda: self._answer(path), _LEADER_SECONDS)
        return answer

    def _answer(self, path: str) -> tuple[Any] | None:
        for node in self.local.running():
            try:
                if self.ask(node, "/v1/cluster?consistency=strong").get("leader"):
                    return (self.ask(node, path),)
            except OSError:
                continue
        return None

    def nodes(self) -> dict[str, dict[str, Any]]:
        """Id → node as GET /v1/nodes shows it."""
        return {n["id"]: n for n in self.anyone("/v1/nodes")["items"]}

    def until(self, what: str, holds: Callable[[], Any], seconds: float = START_SECONDS) -> Any:
        """Waits for a condition that a user could observe; returns its first true value."""
        deadline = time.monotonic() + seconds
        seen: object = None
        while time.monotonic() < deadline:
            try:
                seen = holds()
            except OSError as error:
                seen = error
            else:
                if seen:
                    return seen
            time.sleep(_POLL_SECONDS)
        raise TimeoutError(f"not within {seconds} s: {what} (last seen: {seen!r})\n{self.logs()}")

    def roles(self) -> dict[str, list[str]]:
        """Role → ids of the nodes that have it, in the table and in effect."""
        found: dict[str, list[str]] = {}
        for node in self.nodes().values():
            if node["effective_role"] == node["role"]:
                found.setdefault(node["role"], []).append(node["id"])
        return found

    def settled(self) -> str:
        """Waits for one PRIMARY, one BACKUP and the rest STANDBY, all effective."""

        def shape() -> str | None:
            roles = {role: len(ids) for role, ids in self.roles().items()}
            count = len(self.addresses)
            wanted = {"PRIMARY": 1, "BACKUP": 1, "STANDBY": count - 2}
            if roles != {role: number for role, number in wanted.items() if number}:
                return None
            return self.roles()["PRIMARY"][0]

        return str(self.until("every role is filled and effective", shape))

    def acting(self) -> str:
        """Waits until a node acts as PRIMARY and every node reports; returns the PRIMARY."""

        def primary() -> str | None:
            heard = all(node["effective_role"] for node in self.nodes().values())
            acting = self.roles().get("PRIMARY")
            return acting[0] if acting and heard else None

        return str(self.until("a PRIMARY acts and all nodes report", primary))

    def leader(self) -> str:
        return str(self.until("a Raft leader", lambda: self.anyone("/v1/cluster")["leader"]))

    def seat_primary(self, *, beside_leader: bool) -> str:
        """Makes the Raft leader PRIMARY, or another node; returns the PRIMARY."""
        primary = self.acting()
        leader = self.leader()
        if (primary == leader) is beside_leader:
            return primary
        others = [node for node in self.addresses if node not in (primary, leader)]
        self.give_seat(leader if beside_leader else others[0])
        return self.acting()

    def give_seat(self, target: str) -> None:
        """Waits until `target` acts as PRIMARY; orders a failover to it if need be."""

        def ordered() -> bool:
            answer = self.ask(target, "/v1/failover", {"target": target, "force": True})
            return "done" in answer.values() or "is_primary" in answer.values()

        if self.acting() != target:
            self.until(f"failover to {target}", ordered)
        self.until(f"{target} acts", lambda: self.ask(target, "/primary")["ok"])

    def kill(self, node: str, signum: signal.Signals = signal.SIGKILL) -> None:
        self.local.kill(node, signum)

    def digests(self) -> dict[str, tuple[int, str]]:
        """Node → (applied index, digest of the state)."""
        views = {n: self.ask(n, "/v1/cluster?digest=true") for n in self.local.running()}
        return {n: (v["applied_index"], v["digest"]) for n, v in views.items()}

    def watch(self, period: float = PERIOD) -> SeatWatch:
        tokens = dict.fromkeys(self.addresses, self.access.token) if self.access.token else None
        return SeatWatch(self.addresses, period, self._caller, self.access.tls, tokens)

    def logs(self) -> str:
        nodes = self.local.manifest().nodes
        return "\n".join(f"{node}:\n{self.local.log_tail(node)}" for node in nodes)

    def stop(self) -> None:
        """Ends all its processes, also stopped ones."""
        self._http.close()
        if (self.data_dir / MANIFEST).exists():
            self.local.down(seconds=5.0)
