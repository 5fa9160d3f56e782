"""What the kernel's TCP does to small messages under loss, measured in a network namespace.

`measure` needs root, `unshare` and `iptables`. Many streams share the time of one measurement,
since what TCP does at 20 % loss has a heavy tail: one stream for a minute says nothing. They are
dialled before anything is lost, and tuned as the links between members are, except that nothing
gives them up, so that the tail is seen.
"""

import asyncio
import json
import socket
import struct
import subprocess
import sys
import time

STAMP = struct.Struct(">Id")
DIAL_SECONDS = 12.0


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


async def _measure(loss: float, streams: int, seconds: float, interval: float) -> dict[str, object]:
    loop = asyncio.get_running_loop()
    arrivals: list[list[tuple[float, float]]] = [[] for _ in range(streams)]
    server = await loop.create_server(lambda: Sink(arrivals), "127.0.0.1", 0, backlog=4096)
    port = server.sockets[0].getsockname()[1]
    dialled = [
        (await loop.create_connection(asyncio.Protocol, "127.0.0.1", port))[0]
        for _ in range(streams)
    ]
    for transport in dialled:
        tune(transport.get_extra_info("socket"))
    lose(loss)
    dials = [loop.create_task(dial(port)) for _ in range(streams)]
    began = time.monotonic()
    sending = [
        loop.create_task(send(transport, stream, began + seconds, interval))
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


async def send(
    transport: asyncio.Transport, stream: int, end: float, interval: float
) -> list[float]:
    """One message each interval; when each was sent."""
    moments = []
    due = time.monotonic() + interval * ((stream * 0.618) % 1)
    while due < end:
        await asyncio.sleep(due - time.monotonic())
        moments.append(time.monotonic())
        transport.write(STAMP.pack(stream, moments[-1]))
        due += interval
    return moments


async def dial(port: int) -> float:
    """Seconds that a new connection takes; DIAL_SECONDS when it takes longer."""
    began = time.monotonic()
    with socket.socket() as sock:
        sock.setblocking(False)
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        except OSError:
            return DIAL_SECONDS
    return time.monotonic() - began


def tune(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, 16, 1)  # TCP_THIN_LINEAR_TIMEOUTS
    if len(sys.argv) > 5:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, sys.argv[5].encode())


def lose(share: float) -> None:
    """From now on this share of all packets is lost, each on its own."""
    subprocess.run(
        ["iptables", "-A", "INPUT", "-i", "lo", "-m", "statistic", "--mode", "random",
         "--probability", str(share), "-j", "DROP"],
        check=True,
    )  # fmt: skip


if __name__ == "__main__":
    loss_, streams_, seconds_, interval_ = map(float, sys.argv[1:5])
    json.dump(asyncio.run(_measure(loss_, int(streams_), seconds_, interval_)), sys.stdout)
