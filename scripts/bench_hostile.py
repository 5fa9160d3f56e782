"""What a hostile neighbour costs: few bytes that are much work. Run through scripts/bench.

A cluster of three on loopback; each attack goes to its Raft leader, while another connection asks
that node for /livez again and again. Whoever waits for the answer waits for the event loop: its
longest wait is how long the loop was held, or the machine was busy with something else: what an
idle node had is beside it.
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

import psutil

from node.addresses import split_address
from node.chaos.constellation import Constellation
from node.peers.frames import numbered
from node.peers.handshake import Hello
from node.peers.sessions import Outgoing
from scripts.bench_cluster import running

CONNECTIONS, PIPELINED = 20, 2_000
READERS, READING_SECONDS = 256, 10.0
BOMBS = 4
CALM_SECONDS = 15.0
"""After an attack, until the memory is measured and the next one begins."""
ASK_SECONDS = 0.01
PATIENCE = 60.0
_GET = b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

Attack = Callable[[Constellation, str], int]
"""Returns the bytes that it sent."""


def run() -> dict[str, Any]:
    """Figures of each attack, by its name."""
    return {f"hostile_{attack.__name__}": measured(attack) for attack in (pipe, load, bomb)}


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
            sent = attack(cluster, leader)
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
            "primary_changes": after["primary"]["epoch"] - before["primary"]["epoch"],
        }


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


def pipe(cluster: Constellation, leader: str) -> int:
    """Many requests on each of a few connections, sent at once, and no answer read."""
    stream = _GET % b"/x" * PIPELINED
    with ExitStack() as held:
        for _ in range(CONNECTIONS):
            connection = held.enter_context(_connected(cluster.addresses[leader]))
            threading.Thread(target=_send, args=(connection, stream), daemon=True).start()
        time.sleep(CALM_SECONDS)
    return len(stream) * CONNECTIONS


def load(cluster: Constellation, leader: str) -> int:
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
    return sent


def bomb(cluster: Constellation, leader: str) -> int:
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
    return BOMBS * len(frame)


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
