"""What the kernel's TCP does to small messages under loss, measured in a network namespace.

Run as a program within one (`begin` does that; it needs root, `unshare`, `iptables`). Many streams
share the time of one measurement, since what TCP does at 20 % loss has a heavy tail: one stream
for a minute says nothing. They are dialled before anything is lost, and tuned as the links between
members are, except that nothing gives them up, so that the tail is seen.
"""

import asyncio
import json
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

from stationkeep.node.simulation.links.dialling import HELLO_BYTES, HELLO_SECONDS
from tests.simulation.delays import Delays

STAMP = struct.Struct(">Id")
INTERVAL = 0.1
"""Seconds between two messages of one stream."""
DIALS = 200


def begin(loss: float, streams: int, seconds: float, congestion: str) -> subprocess.Popen[bytes]:
    """A measurement in a namespace of its own; what it writes is for `end`."""
    command = [sys.executable, "-m", "tests.simulation.kernel"]
    words = [*command, str(loss), str(streams), str(seconds), congestion]
    return subprocess.Popen(
        ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *words],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
    )


def end(measurement: subprocess.Popen[bytes], seconds: float) -> tuple[Delays, list[float]]:
    """What came of it: of messages, and of dials, in seconds. Raises `TimeoutExpired`."""
    output, _ = measurement.communicate(timeout=seconds)
    raw = json.loads(output)
    arrivals = [[(sent, at) for sent, at in stream] for stream in raw["arrivals"]]
    return Delays(raw["began"], raw["ended"], raw["sent"], arrivals), sorted(raw["dials"])


class Sink(asyncio.Protocol):
    """The accepted end of a stream: notes when each message arrived."""

    def __init__(self, arrivals: list[list[tuple[float, float]]]) -> None:
        self._arrivals, self._rest = arrivals, b""

    def data_received(self, data: bytes) -> None:
        now, data = time.monotonic(), self._rest + data
        whole = len(data) - len(data) % STAMP.size
        for stream, sent in STAMP.iter_unpack(data[:whole]):
            self._arrivals[stream].append((sent, now))
        self._rest = data[whole:]


class Greeter(asyncio.Protocol):
    """Answers a hello."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


async def measure(loss: float, streams: int, seconds: float) -> dict[str, object]:
    loop = asyncio.get_running_loop()
    arrivals: list[list[tuple[float, float]]] = [[] for _ in range(streams)]
    sink = await loop.create_server(lambda: Sink(arrivals), "127.0.0.1", 0, backlog=4096)
    greeter = await loop.create_server(Greeter, "127.0.0.1", 0, backlog=4096)
    port = sink.sockets[0].getsockname()[1]
    dialled = [
        (await loop.create_connection(asyncio.Protocol, "127.0.0.1", port))[0]
        for _ in range(streams)
    ]
    for transport in dialled:
        tune(transport.get_extra_info("socket"))
    lose(loss)
    began = time.monotonic()
    port = greeter.sockets[0].getsockname()[1]
    dials = [loop.create_task(dial(port, seconds / 2 * n / DIALS)) for n in range(DIALS)]
    sending = [
        loop.create_task(send(transport, stream, began + seconds))
        for stream, transport in enumerate(dialled)
    ]
    sent = await asyncio.gather(*sending)
    return {
        "began": began,
        "ended": time.monotonic(),
        "sent": sent,
        "arrivals": arrivals,
        "dials": await asyncio.gather(*dials),
    }


async def send(transport: asyncio.Transport, stream: int, end: float) -> list[float]:
    """One message each interval; when each was sent."""
    moments = []
    due = time.monotonic() + INTERVAL * ((stream * 0.618) % 1)
    while due < end:
        await asyncio.sleep(due - time.monotonic())
        moments.append(time.monotonic())
        transport.write(STAMP.pack(stream, moments[-1]))
        due += INTERVAL
    return moments


async def dial(port: int, after: float) -> float:
    """Seconds until a new connection is greeted; HELLO_SECONDS when it takes longer."""
    await asyncio.sleep(after)
    loop, began = asyncio.get_running_loop(), time.monotonic()
    with socket.socket() as sock:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                await loop.sock_connect(sock, ("127.0.0.1", port))
                await loop.sock_sendall(sock, bytes(HELLO_BYTES))
                await loop.sock_recv(sock, HELLO_BYTES)
        except OSError:  # TimeoutError is one
            return HELLO_SECONDS
    return time.monotonic() - began


def tune(sock: socket.socket) -> None:
    """As `node.system.streams.tune` does, as far as it matters here."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, THIN_LINEAR_TIMEOUTS, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, sys.argv[4].encode())


THIN_LINEAR_TIMEOUTS = 16
"""Python does not name it (tcp(7))."""


def lose(share: float) -> None:
    """From now on this share of all packets is lost, each on its own."""
    subprocess.run(
        ["iptables", "-A", "INPUT", "-i", "lo", "-m", "statistic", "--mode", "random",
         "--probability", str(share), "-j", "DROP"],
        check=True,
    )  # fmt: skip


if __name__ == "__main__":
    found = measure(float(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
    json.dump(asyncio.run(found), sys.stdout)
