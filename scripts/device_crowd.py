"""Many devices, each with a WebSocket of its own that it makes anew when it is lost, as agents do.

They run in a process or thread beside the one that measures, in one event loop, and are as cheap as
can be: what is asked is what the nodes do.
"""

import asyncio
import random
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, cast

import uvloop

from scripts.device_load import HANDSHAKE, PONG, registration, status
from stationkeep.node.agent.addresses import FIRST_PAUSE, LONGEST_PAUSE
from stationkeep.node.security.handshake import client_options
from stationkeep.node.system.addresses import split_address

CONNECT_SECONDS = 10.0
_PING, _CLOSE, _ACK = b"\x89\x00", b"\x88", b'"message_type":"ack"'


class Crowd:
    """A context manager: devices that keep a connection to one of these addresses, `host:port`.
    `source`: the address from which a device comes, by its number; `tls`: None: in clear."""

    def __init__(
        self,
        addresses: Sequence[str],
        count: int,
        *,
        tls: ssl.SSLContext | None = None,
        token: str = "",
        source: Callable[[int], str] | None = None,
        at_once: int = 32,
    ) -> None:
        """`at_once`: how many connect at the same time: no machine is as many as they are."""
        self.addresses, self.count = [split_address(a) for a in addresses], count
        shown = f"Authorization: Bearer {token}\r\n" if token else ""
        self.handshake = HANDSHAKE.replace(b"\r\n\r\n", f"\r\n{shown}\r\n".encode())
        self._options: dict[str, Any] = {} if tls is None else client_options(tls)
        self._source = source
        self.registered: dict[int, tuple[str, int]] = {}
        """Where each device is, by its number, once its registration was acknowledged."""
        self.lost: Counter[str] = Counter()
        """Connections that ended, by what the node said then, or `broke`; and those that came to
        nothing, by why."""
        self._connecting = asyncio.Semaphore(at_once)
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._run()), name="crowd")

    def at_home(self) -> bool:
        """Whether all devices are registered, at the present addresses."""
        where = [*self.registered.values()]
        return len(where) == self.count and set(where) <= set(self.addresses)

    def __enter__(self) -> "Crowd":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(self._keep(number)) for number in range(self.count)]
        await loop.run_in_executor(None, self._over.wait)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, number: int) -> None:
        """One device: tries one address after the other, with the pauses of our agent."""
        draw, failures, at = random.Random(number), 0, number
        while True:
            at += 1
            try:
                async with self._connecting:
                    device = await self._connect(number, *self.addresses[at % len(self.addresses)])
            except (OSError, TimeoutError) as error:
                self.lost[type(error).__name__] += 1
                failures += 1
            else:
                try:
                    await device.ended
                finally:
                    device.transport.abort()
                    self.registered.pop(number, None)
                self.lost[device.told or "broke" if device.acknowledged else "refused"] += 1
                failures = 0 if device.acknowledged else failures + 1
            bound = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures, 16))
            await asyncio.sleep(draw.uniform(0, bound))

    async def _connect(self, number: int, host: str, port: int) -> "Device":
        more = dict(self._options)
        if self._source is not None:
            more["local_addr"] = (self._source(number), 0)
        loop = asyncio.get_running_loop()
        made = loop.create_connection(lambda: Device(self, number), host, port, **more)
        _, device = await asyncio.wait_for(made, CONNECT_SECONDS)
        return device


class Device(asyncio.Protocol):
    """One connection: asks for a WebSocket, registers, and answers pings."""

    transport: asyncio.Transport

    def __init__(self, crowd: Crowd, number: int) -> None:
        self._crowd, self._number = crowd, number
        self._head: bytes | None = b""
        self.acknowledged = False
        self.told = ""
        """With the end of the connection."""
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._crowd.handshake)

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            self._upgrade(self._head + data)
            return
        if not self.acknowledged and _ACK in data:
            self.acknowledged = True
            self._crowd.registered[self._number] = self.transport.get_extra_info("peername")[:2]
        if (end := data.removeprefix(_PING)).startswith(_CLOSE):
            self.told = end[4:].decode(errors="replace")  # after a head, and a code
        if _PING in data:
            self.transport.write(PONG)

    def _upgrade(self, head: bytes) -> None:
        if b"\r\n\r\n" not in head:
            self._head = head
            return
        self._head = None
        if b" 101 " not in head:
            self.transport.abort()
            return
        name = f"device-{self._number:06d}"
        self.transport.write(registration(name, status(name, 0)))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)
