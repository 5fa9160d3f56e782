"""An artifact server that a test plays, byte by byte: honest, forgetful or hostile."""

import asyncio
import re
from collections.abc import Callable
from typing import Self

Answer = Callable[["Server", dict[str, str]], bytes]
"""The whole answer to a request with these headers; then the connection ends."""


HELD = 4


class Server:
    """`requests`: the headers of each, in lower case, its path as `path`."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[dict[str, str]] = []
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for serving in self._serving:
            serving.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await asyncio.sleep(0)  # connections that were ended are closed by then
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/fw.bin"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.current_task()
        assert serving is not None
        self._serving.add(serving)
        try:
            await self._take(reader, writer)
        finally:
            writer.transport.abort()
            self._serving.discard(serving)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        pairs = (line.partition(": ") for line in lines)
        request = {name.lower(): value for name, _, value in pairs} | {"path": first.split()[1]}
        self.requests.append(request)
        try:
            await self._reply(writer, self.answer(self, request))
            writer.close()
            await writer.wait_closed()
        except ConnectionError:
            pass

    async def _reply(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(data)
        await writer.drain()


class HeldServer(Server):
    """Keeps the last bytes of every answer back until it is let go on."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer)
        self._goes_on = asyncio.Event()

    def go_on(self) -> None:
        self._goes_on.set()

    async def _reply(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        await super()._reply(writer, data[:-HELD])
        await self._goes_on.wait()
        await super()._reply(writer, data[-HELD:])


def answer(status: str, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def offset(request: dict[str, str]) -> int:
    found = re.fullmatch(r"bytes=(\d+)-", request.get("range", ""))
    return 0 if found is None else int(found[1])


def whole(content: bytes, etag: str = '"one"') -> Answer:
    """An honest server."""
    return dropping(content, len(content), etag)


def dropping(content: bytes, at_most: int, etag: str = '"one"') -> Answer:
    """One whose connections break after so many bytes."""

    def reply(_: Server, request: dict[str, str]) -> bytes:
        first = offset(request)
        part = content[first:]
        head = {"Content_Length": str(len(part)), "ETag": etag}
        if first and request.get("if-range", etag) == etag:
            head["Content_Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
            return answer("206 Partial Content", part[:at_most], **head)
        head["Content_Length"] = str(len(content))
        return answer("200 OK", content[:at_most], **head)

    return reply
