"""What the benches of devices are made of: requests and frames written beforehand, and meters.

The load generator shares the two cores with the nodes that it measures, so it does as little as
can be: every byte that it sends is made before the clock starts.
"""

import contextlib
import json
import re
import selectors
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import httpx
import msgspec

from stationkeep.node.chaos.constellation import Constellation
from stationkeep.node.gateway.sessions import PATH

BOUND = 0.25
"""Seconds: what the 99th percentile of commits, and of loop lag, may be."""
READ_SECONDS = 30.0
LAG = "event_loop_lag_seconds"
_SAMPLE = re.compile(r"^(?:stationkeep_)?(\w+?)(?:\{(.*?)\})? ([0-9.e+-]+)$", re.MULTILINE)
HANDSHAKE = (
    f"GET {PATH} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
).encode()


def status(device: str, variant: int, ring: str | None = None) -> dict[str, Any]:
    """The seed's status of a healthy device, which knows its ring or none."""
    return {
        "slave_id": device,
        "battery_level": 85,
        "battery_charging": True,
        "cpu_usage": 40.0 + variant,
        "memory_usage": 62.5,
        "disk_usage": 55.0,
        "assigned_ring": ring,
        "device_name": "Pixel 8 Pro",
        "os_version": "Android 14",
        "app_version": "1.0.0",
        "last_updated": "2025-10-16T12:34:56",
    }


# -- meters -------------------------------------------------------------------------------------


_Scrape = dict[str, dict[tuple[str, str], float]]
"""Node → (metric, labels) → value."""


def _metrics(address: str) -> str:
    return httpx.get(f"http://{address}/metrics", timeout=READ_SECONDS).text


class Meter:
    """What all nodes' metrics say of a stretch of time: the difference of two scrapes."""

    def __init__(
        self, addresses: Mapping[str, str], metrics: Callable[[str], str] = _metrics
    ) -> None:
        """`metrics`: what a node says at its address."""
        self._addresses, self._metrics = addresses, metrics
        self._before = self._scrape()
        self._began, self._own = time.monotonic(), time.process_time()

    def _scrape(self) -> _Scrape:
        return {
            node: {
                (name, labels): float(value)
                for name, labels, value in _SAMPLE.findall(self._metrics(address))
            }
            for node, address in self._addresses.items()
        }

    def read(self) -> dict[str, float]:
        """Statuses taken a second by all nodes; p99 of commits and loop lag, of the worst node;
        processor time that a status costs, µs: all nodes together, and the load generator."""
        seconds, own = time.monotonic() - self._began, time.process_time() - self._own
        after = self._scrape()
        taken = self._rise(after, ("device_reports_total", 'result="taken"'))
        return {
            "per_second": taken / seconds,
            "commit_p99": max(self._bound(after, node, "raft_commit_seconds") for node in after),
            "lag_p99": max(self._bound(after, node, LAG) for node in after),
            "nodes_us": self._rise(after, ("process_cpu_seconds_total", "")) / max(taken, 1) * 1e6,
            "load_us": own / max(taken, 1) * 1e6,
        }

    def spent(self) -> float:
        """Processor seconds of all nodes together."""
        return self._rise(self._scrape(), ("process_cpu_seconds_total", ""))

    def lags(self) -> dict[str, dict[str, float]]:
        """Node → lag of its event loop, s: as bounds of buckets."""
        after = self._scrape()
        shares = {"lag_p50": 0.5, "lag_p99": 0.99, "lag_max": 1.0}
        return {
            node: {name: self._bound(after, node, LAG, share) for name, share in shares.items()}
            for node in after
        }

    def _rise(self, after: _Scrape, key: tuple[str, str]) -> float:
        return sum(
            samples.get(key, 0) - self._before[node].get(key, 0) for node, samples in after.items()
        )

    def _bound(self, after: _Scrape, node: str, name: str, share: float = 0.99) -> float:
        """The bound of the bucket below which so much of a histogram lies."""
        counts = sorted(
            (float(labels[4:-1].replace("+Inf", "inf")), value - self._before[node].get(key, 0))
            for key, value in after[node].items()
            for found, labels in [key]
            if found == f"{name}_bucket"
        )
        if not counts or counts[-1][1] == 0:
            return 0.0
        return next(bound for bound, count in counts if count >= share * counts[-1][1])


def within_bounds(figures: Mapping[str, float], wanted: float) -> bool:
    """Whether a load was carried: all of it taken, and nothing waited for long."""
    timely = figures["commit_p99"] <= BOUND and figures["lag_p99"] <= BOUND
    return timely and figures["per_second"] >= 0.95 * wanted


# -- HTTP ---------------------------------------------------------------------------------------


def post(path: str, body: Mapping[str, Any]) -> bytes:
    """A whole request with a msgpack body."""
    packed = msgspec.msgpack.encode(body)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/msgpack\r\n"
        f"Content-Length: {len(packed)}\r\n\r\n"
    )
    return head.encode() + packed


class Caller:
    """One connection on which whole requests are sent, one at a time; a new one when the node has
    closed it, as it does when nothing is asked for a while."""

    def __init__(self, address: str) -> None:
        host, port = address.split(":")
        self._address = (host, int(port))
        self.socket = socket.create_connection(self._address)

    def send(self, request: bytes) -> None:
        if self._is_closed():
            self.socket.close()
            self.socket = socket.create_connection(self._address)
        self.socket.sendall(request)

    def _is_closed(self) -> bool:
        try:
            return not self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False

    def answer(self) -> dict[str, Any]:
        """Reads the answer of the last request; raises unless it is 200."""
        status, body = self._read()
        if status != httpx.codes.OK:
            raise RuntimeError(body[:500])
        view: dict[str, Any] = msgspec.msgpack.decode(body)
        return view

    def found(self) -> dict[str, Any] | None:
        """The same of JSON; None when there is nothing, 204."""
        status, body = self._read()
        if status == httpx.codes.NO_CONTENT:
            return None
        if status != httpx.codes.OK:
            raise RuntimeError(body[:500])
        view: dict[str, Any] = msgspec.json.decode(body)
        return view

    def _read(self) -> tuple[int, bytes]:
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._received()
        head, _, body = data.partition(b"\r\n\r\n")
        match = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        size = int(match[1]) if match is not None else 0
        while len(body) < size:
            body += self._received()
        return int(head.split(b" ", 2)[1]), body

    def _received(self) -> bytes:
        data = self.socket.recv(65_536)
        if not data:
            raise ConnectionError(f"{self._address} has closed the connection")
        return data


def register_all(addresses: Sequence[str], devices: Sequence[str]) -> dict[str, str]:
    """Registers devices in batches of 256, spread over the nodes; the ring of each."""
    rings: dict[str, str] = {}
    callers = [Caller(address) for address in addresses]
    parts = [devices[at : at + 256] for at in range(0, len(devices), 256)]
    for at in range(0, len(parts), len(callers)):
        busy = list(zip(callers, parts[at : at + len(callers)], strict=False))
        for caller, part in busy:
            payloads = [{"device_status": status(device, 0)} for device in part]
            caller.send(post("/v1/devices:register", {"registrations": payloads}))
        for caller, part in busy:
            answer = caller.answer()
            if answer["accepted"] != len(part):
                raise RuntimeError(answer["errors"][:3])
            rings |= {one["slave_id"]: one["ring"] for one in answer["assignments"]}
    for caller in callers:
        caller.socket.close()
    return rings


# -- WebSockets ---------------------------------------------------------------------------------


def frame(message: Mapping[str, Any]) -> bytes:
    """A text frame, masked with zeros: as long as any other, and made of no work."""
    data = json.dumps(message, separators=(",", ":")).encode()
    size = len(data)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2)
    return b"\x81" + length + bytes(4) + data


def said(kind: str, device: str, **payload: Any) -> bytes:
    """A device's message as a frame."""
    return frame({
        "message_type": kind, "sender_id": device, "receiver_id": "master-orchestrator",
        "payload": payload,
    })  # fmt: skip


def registration(device: str, reading: Mapping[str, Any], **capabilities: bool) -> bytes:
    """A device's registration as a frame."""
    return said("registration", device, device_status=reading, capabilities=capabilities)


PONG = b"\x8a\x80" + bytes(4)


def _connected(address: str) -> socket.socket:
    """A connection on which a WebSocket was asked for."""
    host, port = address.split(":")
    connection = socket.create_connection((host, int(port)))
    connection.sendall(HANDSHAKE)
    return connection


def _upgraded(connection: socket.socket) -> None:
    seen = b""
    while b"\r\n\r\n" not in seen:
        seen += connection.recv(4_096)
    assert b" 101 " in seen, seen


class Sockets:
    """Many devices' WebSockets, opened and registered; `heard` counts messages by kind."""

    def __init__(self) -> None:
        self.sockets: list[socket.socket] = []
        self._selector = selectors.DefaultSelector()
        self.heard = dict.fromkeys((b"ack", b"ring_assignment", b"error"), 0)

    def open(
        self,
        addresses: Sequence[str],
        devices: Sequence[str],
        at_once: int = 128,
        **capabilities: bool,
    ) -> float:
        """Connects and registers; seconds it took."""
        began = time.monotonic()
        for at in range(0, len(devices), at_once):
            part = devices[at : at + at_once]
            opened = [_connected(addresses[n % len(addresses)]) for n in range(len(part))]
            for connection in opened:
                _upgraded(connection)
            for number, (connection, device) in enumerate(zip(opened, part, strict=True), at):
                connection.sendall(registration(device, status(device, 0), **capabilities))
                connection.setblocking(False)
                self._selector.register(connection, selectors.EVENT_READ, number)
            self.sockets += opened
            self.until(b"ack", at + len(part))
        return time.monotonic() - began

    def beat(self, devices: Sequence[str]) -> None:
        """A heartbeat of every device, answered: all are online once it is in the log."""
        before = self.heard[b"ack"]
        for connection, device in zip(self.sockets, devices, strict=True):
            connection.send(said("heartbeat", device))
        self.until(b"ack", before + len(devices))

    def until(self, kind: bytes, count: int, seconds: float = READ_SECONDS) -> float:
        """Reads until so many messages of a kind came; the moment at which the last one did."""
        deadline = time.monotonic() + seconds
        while self.heard[kind] < count:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.heard} after {seconds} s, {count} {kind!r} awaited")
            self.read(0.05)
        return time.monotonic()

    def read(
        self, seconds: float, heard: Callable[[int, bytes], None] = lambda _number, _data: None
    ) -> None:
        """Reads what has come, and answers pings; `heard` is called with a device's number and
        what it was sent."""
        for key, _ in self._selector.select(seconds):
            connection: Any = key.fileobj
            data = connection.recv(65_536)
            if not data:
                raise RuntimeError(f"a connection was closed; heard {self.heard}")
            for kind in self.heard:
                self.heard[kind] += data.count(b'"message_type":"' + kind + b'"')
            if b"\x89\x00" in data:
                connection.send(PONG)
            heard(key.data, data)

    def close(self) -> None:
        self._selector.close()
        for connection in self.sockets:
            connection.close()


@contextlib.contextmanager
def device_sockets() -> Iterator[Sockets]:
    """Sockets that are closed at the end."""
    sockets = Sockets()
    try:
        yield sockets
    finally:
        sockets.close()


def ready(cluster: Constellation) -> list[str]:
    """The addresses of a cluster's nodes, once it can agree on something."""
    deadline = time.monotonic() + READ_SECONDS
    while True:
        try:
            cluster.anyone("/v1/cluster")
            return list(cluster.addresses.values())
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
