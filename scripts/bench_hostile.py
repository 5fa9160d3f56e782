"""What a hostile neighbour costs: few bytes that are much work. Run through scripts/bench.

A cluster of three on loopback; each attack goes to its Raft leader, while another connection asks
that node for /livez again and again. Whoever waits for the answer waits for the event loop: its
longest wait is how long the loop was held, or the machine was busy with something else: what an
idle node had is beside it. While the attack still holds what it got, probes and the orders that
end trouble are tried, each on a connection of its own: their statuses are `meanwhile`.
"""

import secrets
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import httpx
import psutil

from scripts.bench_cluster import running
from stationkeep.node.chaos.constellation import Constellation
from stationkeep.node.peers.frames import numbered
from stationkeep.node.peers.hello import Hello
from stationkeep.node.peers.sessions import Outgoing
from stationkeep.node.system.addresses import split_address

CONNECTIONS, PIPELINED = 20, 2_000
READERS, READING_SECONDS = 256, 10.0
BOMBS = 4
HELD, HOLDING_SECONDS, HOLD_SECONDS = 1_250, 12.0, 1.5
SENDERS, REFUSING_SECONDS = 150, 18.0
REMEMBERED = 55_000
CALM_SECONDS = 15.0
"""After an attack, until the memory is measured and the next one begins."""
ASK_SECONDS = 0.01
PATIENCE = 60.0
_GET = b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

_ORDER = b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
_ORDER += b"Content-Length: %d\r\n\r\n%s"

Attack = Callable[[Constellation, str, Callable[[], None]], int]
"""Calls the function while it holds what it got; returns the bytes that it sent."""


def run() -> dict[str, Any]:
    """Figures of each attack, by its name."""
    attacks: tuple[Attack, ...] = (pipe, load, bomb, held, refused, remembered)
    return {f"hostile_{attack.__name__}": measured(attack) for attack in attacks}


def measured(attack: Attack) -> dict[str, Any]:
    """One attack on the leader of a fresh cluster."""
    with running(3, "demo") as cluster:
        cluster.settled()
        leader = cluster.leader()
        process = psutil.Process(cluster.local.manifest().nodes[leader].pid)
        before = cluster.anyone("/v1/cluster")
        idle = process.memory_info().rss
        with Watch(cluster.addresses[leader], process) as quiet:
            time.sleep(CALM_SECONDS)
        with Watch(cluster.addresses[leader], process) as watch:
            meanwhile: dict[str, int] = {}
            sent = attack(cluster, leader, lambda: meanwhile.update(rescues(cluster, leader)))
            time.sleep(CALM_SECONDS)
        after = cluster.anyone("/v1/cluster")
        return {
            "sent_kb": sent // 1_000,
            "longest_hold_ms_idle": round(quiet.longest * 1_000, 1),
            "longest_hold_ms": round(watch.longest * 1_000, 1),
            "rss_mb_before": idle // 1_000_000,
            "rss_mb_highest": watch.rss // 1_000_000,
            "rss_mb_after": process.memory_info().rss // 1_000_000,
            "leader_changes": after["term"] - before["term"],
            "primary_changes": after["primary"]["epoch"] - before["primary"]["epoch"] - 1,
            "meanwhile": meanwhile,
        }


def rescues(cluster: Constellation, leader: str) -> dict[str, int]:
    """The status of each probe and of each order that ends trouble; the failover is real."""
    target = next(
        node
        for node, facts in cluster.nodes().items()
        if facts["role"] != "PRIMARY" and node != leader
    )
    orders: dict[str, dict[str, Any] | None] = {
        "/livez": None,
        "/primary": None,
        "/metrics": None,
        "/v1/pause": {"duration": "1m"},
        "/v1/failover": {"target": target, "force": True},
        "/v1/rings/release-brake": {},
        "/v1/resume": {},
    }
    statuses = {}
    for path, body in orders.items():
        with httpx.Client(base_url=f"http://{cluster.addresses[leader]}", timeout=20) as client:
            answer = client.get(path) if body is None else client.post(path, json=body)
            statuses[path] = answer.status_code
    return statuses


class Watch:
    """Asks a node for /livez without a pause; notes the longest wait and the most memory."""

    def __init__(self, address: str, process: psutil.Process) -> None:
        self._address, self._process = split_address(address), process
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="watch")
        self.longest = 0.0
        self.rss = 0

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        with socket.create_connection(self._address, timeout=PATIENCE) as asking:
            while not self._over.wait(ASK_SECONDS):
                began = time.perf_counter()
                asking.sendall(_GET % b"/livez")
                if not asking.recv(65_536):
                    raise ConnectionError(f"{self._address} closed the connection")
                self.longest = max(self.longest, time.perf_counter() - began)
                self.rss = max(self.rss, self._process.memory_info().rss)


def pipe(cluster: Constellation, leader: str, meanwhile: Callable[[], None]) -> int:
    """Many requests on each of a few connections, sent at once, and no answer read."""
    stream = _GET % b"/x" * PIPELINED
    with ExitStack() as held:
        for _ in range(CONNECTIONS):
            connection = held.enter_context(_connected(cluster.addresses[leader]))
            threading.Thread(target=_send, args=(connection, stream), daemon=True).start()
        time.sleep(CALM_SECONDS)
        meanwhile()
    return len(stream) * CONNECTIONS


def load(cluster: Constellation, leader: str, meanwhile: Callable[[], None]) -> int:
    """Many connections that ask for a list again as soon as they have it."""
    request, sent = _GET % b"/v1/nodes", 0
    with ExitStack() as held, selectors.DefaultSelector() as selector:
        for _ in range(READERS):
            connection = held.enter_context(_connected(cluster.addresses[leader]))
            connection.sendall(request)
            selector.register(connection, selectors.EVENT_READ)
        end = time.monotonic() + READING_SECONDS
        while time.monotonic() < end:
            for key, _ in selector.select(0.1):
                asking: Any = key.fileobj
                if asking.recv(65_536).endswith((b"}", b"]")):
                    asking.sendall(request)
                    sent += len(request)
        meanwhile()
    return sent


def bomb(cluster: Constellation, leader: str, meanwhile: Callable[[], None]) -> int:
    """Frames of 8 MB with eight million empty maps, in the name of a member."""
    record = cluster.local.manifest()
    member = next(node for node in record.nodes if node != leader)
    hello = Hello(record.cluster, member)
    maps = b"\xdc\xff\xff" + b"\x80" * 65_535
    frame = numbered(1, b"\x82\xa4kind\xa4raft\xa1x\xdc" + struct.pack(">H", 125) + maps * 125)
    for _ in range(BOMBS):
        with _connected(record.nodes[leader].raft) as connection:
            hello.life = secrets.randbits(62) | 1
            _send(connection, hello.frame(Outgoing()) + frame)
            _until_closed(connection)
    meanwhile()
    return BOMBS * len(frame)


def held(cluster: Constellation, leader: str, meanwhile: Callable[[], None]) -> int:
    """More connections than there are places, each of which asks for something now and then."""
    request, sent = _GET % b"/livez", 0
    address = cluster.addresses[leader]
    connections = [_connected(address) for _ in range(HELD)]
    try:
        end = time.monotonic() + HOLDING_SECONDS
        while time.monotonic() < end:
            for number, connection in enumerate(connections):
                sent += len(request)
                if not _ask_again(connection, request):
                    connection.close()
                    connections[number] = _connected(address)
            time.sleep(HOLD_SECONDS)
        meanwhile()
    finally:
        for connection in connections:
            connection.close()
    return sent


def _ask_again(connection: socket.socket, request: bytes) -> bool:
    """Whether it is still open; takes what was answered meanwhile."""
    try:
        connection.sendall(request)
        return bool(connection.recv(65_536, socket.MSG_DONTWAIT))
    except BlockingIOError:
        return True
    except OSError:
        return False


def refused(cluster: Constellation, leader: str, meanwhile: Callable[[], None]) -> int:
    """Orders that no rule allows, as fast as they are answered."""
    body = b'{"target": "nope1"}'
    order = _ORDER % (b"/v1/failover", len(body), body)
    end = time.monotonic() + REFUSING_SECONDS
    return _ordering(cluster, leader, order, lambda _: time.monotonic() > end, meanwhile)


def remembered(cluster: Constellation, leader: str, meanwhile: Callable[[], None]) -> int:
    """More orders than a node remembers, all of which are carried out."""
    order = _ORDER % (b"/v1/resume", 2, b"{}")
    enough = len(order) * REMEMBERED
    return _ordering(cluster, leader, order, lambda sent: sent >= enough, meanwhile)


def _ordering(
    cluster: Constellation,
    leader: str,
    order: bytes,
    over: Callable[[int], bool],
    meanwhile: Callable[[], None],
) -> int:
    """The same order again on each connection, as soon as its answer is there; bytes sent."""
    sent = 0
    with ExitStack() as opened, selectors.DefaultSelector() as selector:
        for _ in range(SENDERS):
            connection = opened.enter_context(_connected(cluster.addresses[leader]))
            connection.sendall(order)
            selector.register(connection, selectors.EVENT_READ)
        while not over(sent):
            for key, _ in selector.select(0.1):
                asking: Any = key.fileobj
                if asking.recv(65_536).endswith(b"}"):
                    asking.sendall(order)
                    sent += len(order)
        meanwhile()
    return sent


def _connected(address: str) -> socket.socket:
    return socket.create_connection(split_address(address), timeout=PATIENCE)


def _until_closed(connection: socket.socket) -> None:
    """What was sent is lost to a reader that learns of a reset first."""
    try:
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65_536):
            pass
    except OSError:
        return


def _send(connection: socket.socket, data: bytes) -> None:
    """As far as it is taken: being turned away is an answer."""
    try:
        connection.sendall(data)
    except OSError:
        return
