"""A way to a node on which connections can be made to stand still, as TCP does under loss."""

import asyncio
from contextlib import suppress


class Proxy:
    """Listens on a port of its own and passes everything on to `address` (host:port)."""

    def __init__(self, address: str) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._asked, self._answered = _moving(), _moving()
        self._streams: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.url = ""

    @property
    def connections(self) -> int:
        """How many there are now."""
        return sum(not stream.done() for stream in self._streams) // 2

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def stand(self) -> None:
        """Connections there are stay open, and nothing passes on them; new ones are as ever."""
        self._asked.clear()
        self._asked = _moving()
        self.withhold()

    def withhold(self) -> None:
        """The same, but only of what the node says."""
        self._answered.clear()
        self._answered = _moving()

    async def cut(self) -> None:
        """Every connection there is ends."""
        for stream in self._streams:
            stream.cancel()
        await asyncio.gather(*self._streams, return_exceptions=True)
        self._streams.clear()

    async def end(self) -> None:
        if self._server is not None:
            self._server.close()
        await self.cut()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        further_reader, further_writer = await asyncio.open_connection(self._host, self._port)
        for source, target, moves in (
            (reader, further_writer, self._asked),
            (further_reader, writer, self._answered),
        ):
            self._streams.add(asyncio.create_task(_pass_on(source, target, moves)))


def _moving() -> asyncio.Event:
    moves = asyncio.Event()
    moves.set()
    return moves


async def _pass_on(
    source: asyncio.StreamReader, target: asyncio.StreamWriter, moves: asyncio.Event
) -> None:
    try:
        while data := await source.read(65_536):
            await moves.wait()
            target.write(data)
    finally:
        target.close()
        with suppress(ConnectionError):
            await target.wait_closed()
