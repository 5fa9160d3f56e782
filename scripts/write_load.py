"""Small writes at a steady rate, from a thread beside the one that measures."""

import asyncio
import itertools
import ssl
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import uvloop

from scripts.device_load import READ_SECONDS
from stationkeep.node.security.handshake import client_options
from stationkeep.node.system.addresses import split_address


class Door(NamedTuple):
    """A node, where it answers, `host:port`, and by which token."""

    node: str
    address: str
    token: str = ""


class Writes:
    """A context manager: so many writes a second, on so many connections to each door. Each that is
    not acknowledged counts as failed, by what was answered or happened instead."""

    def __init__(
        self, doors: Sequence[Door], rate: float, connections: int, tls: ssl.SSLContext | None
    ) -> None:
        self._doors = [door for door in doors for _ in range(connections)]
        self._every = len(self._doors) / rate
        self._options: dict[str, Any] = {} if tls is None else client_options(tls)
        self._numbers = itertools.count()
        self.done = 0
        self.failed: Counter[str] = Counter()
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._run()), name="writes")

    def __enter__(self) -> "Writes":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for door in self._doors:
                group.create_task(self._write(door))

    async def _write(self, door: Door) -> None:
        """One after the other, each when it is due; a connection that broke is made anew."""
        host, port = split_address(door.address)
        due = asyncio.get_running_loop().time()
        while not self._over.is_set():
            try:
                async with asyncio.timeout(READ_SECONDS):
                    reader, writer = await asyncio.open_connection(host, port, **self._options)
                while not self._over.is_set():
                    due = await self._until(due)
                    await self._one(door, reader, writer)
                writer.transport.abort()
            except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                self.failed[type(error).__name__] += 1
                await asyncio.sleep(0.1)

    async def _until(self, due: float) -> float:
        now = asyncio.get_running_loop().time()
        await asyncio.sleep(max(0.0, due - now))
        return max(due, now) + self._every

    async def _one(
        self, door: Door, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        body = b'{"priority":%d}' % (1 + next(self._numbers) % 500)
        shown = f"Authorization: Bearer {door.token}\r\n" if door.token else ""
        head = (
            f"POST /v1/nodes/{door.node}/priority HTTP/1.1\r\nHost: localhost\r\n{shown}"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        async with asyncio.timeout(READ_SECONDS):
            answer = await reader.readuntil(b"\r\n\r\n")
            length = answer.lower().partition(b"content-length:")[2].partition(b"\r")[0]
            told = await reader.readexactly(int(length))
        if answer.split(b" ", 2)[1] == b"200":
            self.done += 1
        else:
            self.failed[msgspec.json.decode(told).get("rule", told.decode())] += 1
