"""What TLS costs between two processes on loopback, beside the same in clear: an echo server in a
process of its own, asked by one client. Both are as the nodes' own connections: uvloop, TLS 1.3,
P-256, and certificates at both ends."""

import asyncio
import multiprocessing
import ssl
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, cast

import psutil
import uvloop

from stationkeep.node.security import certificates as made
from stationkeep.node.security.contexts import Contexts, Files
from stationkeep.node.security.handshake import client_options
from stationkeep.node.security.identity import Identity

REPEATS, SECONDS = 5, 0.6
LOADS = ((1, 300), (16, 300), (256, 300), (256, 16_384))
"""In flight, and bytes of each message."""
IDLE = 1_000
HANDSHAKES = 400
CONTEXTS = 100
NAMES = ("n1", "n2", "n3")
"""Of nodes with certificates."""


class Messages(NamedTuple):
    """`cpu_us`: processor time a message, of both ends together."""

    per_second: float
    p50_us: float
    cpu_us: float


def certified(directory: Path) -> dict[str, Contexts]:
    """Certificates of one CA for each of `NAMES`."""
    now = datetime.now(UTC).replace(microsecond=0)
    authority = made.new_authority("bench", now)
    for name in NAMES:
        (directory / name).mkdir(parents=True, exist_ok=True)
        key = made.new_key()
        identity = Identity(authority.uid, "node", name)
        leaf = made.issue(authority, identity, key.public_key(), now)
        pair = made.private_pem(key) + made.public_pem([leaf])
        made.write(directory / name / "node.pem", pair, made.PRIVATE)
        ca = made.public_pem([authority.certificate])
        made.write(directory / name / "ca.pem", ca, made.PUBLIC)
    return {name: contexts_of(directory, name) for name in NAMES}


def contexts_of(directory: Path, name: str) -> Contexts:
    """Those of `certified`, in another process."""
    pair = directory / name / "node.pem"
    return Contexts(Files(directory / name / "ca.pem", pair, pair), name, lambda: NAMES)


# -- the server ---------------------------------------------------------------------------------


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


def serve(told: Connection, directory: Path, runner: Callable[[Any], object]) -> None:
    """Echoes in clear and with TLS, on two ports that it tells, until the other end closes."""
    runner(_serve(told, contexts_of(directory, NAMES[0])))


async def _serve(told: Connection, own: Contexts) -> None:
    loop = asyncio.get_running_loop()
    servers = [
        await loop.create_server(Echo, "127.0.0.1", 0, ssl=tls, backlog=IDLE)
        for tls in (None, own.server())
    ]
    told.send([server.sockets[0].getsockname()[1] for server in servers])
    await loop.run_in_executor(None, told.poll, None)


@contextmanager
def server(
    directory: Path, runner: Callable[[Any], object] = uvloop.run
) -> Iterator[tuple[psutil.Process, list[int]]]:
    """A server's process, and its ports: in clear, with TLS."""
    spawning = multiprocessing.get_context("spawn")
    here, there = spawning.Pipe()
    process = spawning.Process(target=serve, args=(there, directory, runner), daemon=True)
    process.start()
    there.close()
    try:
        yield psutil.Process(process.pid), here.recv()
    finally:
        here.close()
        process.join(5.0)
        process.kill()


# -- the client ---------------------------------------------------------------------------------


class Asking(asyncio.Protocol):
    """Keeps some messages in flight, for a while."""

    def __init__(self, in_flight: int, size: int) -> None:
        self._in_flight, self._message = in_flight, b"x" * size
        self._open = bytearray()
        self._sent: list[float] = []
        self.taken: list[float] = []
        self.over = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def begin(self, seconds: float) -> None:
        self._end = time.perf_counter() + seconds
        for _ in range(self._in_flight):
            self._send(time.perf_counter())

    def _send(self, now: float) -> None:
        self._sent.append(now)
        self._transport.write(self._message)

    def data_received(self, data: bytes) -> None:
        self._open += data
        whole, rest = divmod(len(self._open), len(self._message))
        if not whole:
            return
        self._open = self._open[len(self._open) - rest :]
        now, first = time.perf_counter(), len(self.taken)
        self.taken += [now - sent for sent in self._sent[first : first + whole]]
        if now < self._end:
            for _ in range(whole):
                self._send(now)
        elif not self.over.done():
            self.over.set_result(None)


async def _asked(port: int, tls: ssl.SSLContext | None, load: tuple[int, int]) -> Asking:
    options = {} if tls is None else client_options(tls)
    made_with = asyncio.get_running_loop().create_connection
    transport, asking = await made_with(lambda: Asking(*load), "127.0.0.1", port, **options)
    asking.begin(SECONDS)
    await asking.over
    transport.abort()
    return asking


def exchanged(
    process: psutil.Process, port: int, tls: ssl.SSLContext | None, load: tuple[int, int]
) -> Messages:
    """One load, on a connection of its own."""
    server_before, own = sum(process.cpu_times()[:2]), time.process_time()
    asking = uvloop.run(_asked(port, tls, load))
    spent = time.process_time() - own + sum(process.cpu_times()[:2]) - server_before
    count = len(asking.taken)
    return Messages(
        count / SECONDS, statistics.median(asking.taken) * 1e6, spent / count * 1e6
    )  # the last of it ends a little later than the time is over, with and without TLS


# -- figures ------------------------------------------------------------------------------------


def run() -> dict[str, Any]:
    """Each load in clear and with TLS in turns; then what a connection takes, and a handshake."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        client = certified(directory)[NAMES[1]].client(NAMES[0])
        with server(directory) as (process, ports):
            found = {
                f"{size} bytes, {in_flight} in flight": _beside(
                    process, ports, client, (in_flight, size)
                )
                for in_flight, size in LOADS
            }
            cost = _handshakes(process, ports[1], client)
        memory = {
            name: _memory(directory, client, runner)
            for name, runner in (("uvloop", uvloop.run), ("asyncio", asyncio.run))
        }
        return {
            "messages": found,
            "handshake_server_ms": cost,
            "connection_kib": memory,
            "context_ms": _contexts(directory),
        }


def _beside(
    process: psutil.Process, ports: Sequence[int], client: ssl.SSLContext, load: tuple[int, int]
) -> dict[str, Any]:
    """Medians in clear and with TLS, and the median, lowest and highest ratio of a pair."""
    pairs = [
        (exchanged(process, ports[0], None, load), exchanged(process, ports[1], client, load))
        for _ in range(REPEATS)
    ]
    figures: dict[str, Any] = {}
    for name, place in (("per_second", 0), ("p50_us", 1), ("cpu_us", 2)):
        ratios = sorted(tls[place] / plain[place] for plain, tls in pairs)
        figures[name] = {
            "plain": statistics.median(plain[place] for plain, _ in pairs),
            "tls": statistics.median(tls[place] for _, tls in pairs),
            "ratio": statistics.median(ratios),
            "low": ratios[0],
            "high": ratios[-1],
        }
    return figures


async def _opened(
    port: int, tls: ssl.SSLContext | None, count: int
) -> Sequence[asyncio.BaseTransport]:
    options = {} if tls is None else client_options(tls)
    made_with = asyncio.get_running_loop().create_connection
    return [
        (await made_with(asyncio.Protocol, "127.0.0.1", port, **options))[0] for _ in range(count)
    ]


def _handshakes(process: psutil.Process, port: int, client: ssl.SSLContext) -> float:
    """Processor time of the server for one, its certificate and the client's; ms."""

    async def shake() -> None:
        for transport in await _opened(port, client, HANDSHAKES):
            transport.close()

    before = sum(process.cpu_times()[:2])
    uvloop.run(shake())
    return (sum(process.cpu_times()[:2]) - before) / HANDSHAKES * 1e3


def _memory(
    directory: Path, client: ssl.SSLContext, runner: Callable[[Any], object]
) -> dict[str, float]:
    """KiB of the server for an idle connection."""

    async def hold(process: psutil.Process, port: int, tls: ssl.SSLContext | None) -> float:
        await _opened(port, tls, 50)  # what is made once
        before = process.memory_info().rss
        held = await _opened(port, tls, IDLE)
        await asyncio.sleep(0.5)  # the server's ends of them
        size = process.memory_info().rss - before
        for transport in held:
            cast("asyncio.Transport", transport).abort()
        return size / IDLE / 1_024

    sizes = {}
    for name, tls in (("plain", None), ("tls", client)):
        with server(directory, runner) as (process, ports):
            sizes[name] = uvloop.run(hold(process, ports[tls is not None], tls))
    return sizes


def _contexts(directory: Path) -> float:
    """ms to read and check the files of a node, and make what it accepts and dials with."""
    began = time.process_time()
    for _ in range(CONTEXTS):
        own = contexts_of(directory, NAMES[0])
        own.client(NAMES[1])
    return (time.process_time() - began) / CONTEXTS * 1e3
