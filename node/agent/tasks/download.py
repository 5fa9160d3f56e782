"""Downloads an artifact to a file, however often the connection breaks on the way.

What has arrived is kept and the rest asked for (`Range`, with `If-Range` where the server names a
strong ETag). Nothing that a server says is believed: a body ends where the artifact's size ends, an
answer from another offset begins anew, and it sends nobody to a file, from HTTPS to plain HTTP, or
to plain HTTP elsewhere.
"""

import asyncio
import errno
import os
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urljoin, urlsplit

import httpx

from stationkeep.cluster.names import is_loopback
from stationkeep.node.system.operator_files import regular
from stationkeep.node.wire.unreached import why

PIECE = 64 * 1024
MOST_REDIRECTS = 5
MOST_FAILURES = 8
"""Tries in a row that brought nothing, until it is given up: the cluster tries again later."""
MOST_BEGINNINGS = 3
"""Times that it is begun anew, for a server that does not go on where it left off."""
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 30.0
"""Seconds before another try: after one that brought something, and at most."""
SILENCE = 30.0
"""Seconds without a byte, or for a connection to stand."""
SPARE_BYTES = 16 << 20
"""That stay free on the disk, for the spool and everybody else."""
ADDRESS_RULE = "https, http of this machine, or a file"


class DownloadError(Exception):
    """It cannot be had here and now; another attempt may fare better."""


class NotTheArtifactError(Exception):
    """What the server has is something else."""


class NoRoomError(Exception):
    """The disk is full, or refuses."""


class _Again(Exception):  # noqa: N818 - no error, an order
    """Another try, for this reason."""


def address_fault(url: str, *, redirected: bool = False) -> str | None:
    """The rule that an artifact's address breaks."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return ADDRESS_RULE
    if parts.scheme == "https" and host:
        return None
    if parts.scheme == "http" and is_loopback(host):
        return None
    is_path = not host and "\0" not in unquote(parts.path)
    is_file = parts.scheme == "file" and is_path and not redirected
    return None if is_file else ADDRESS_RULE


def open_http() -> httpx.AsyncClient:
    """Of one download. Redirects are judged here, one by one."""
    return httpx.AsyncClient(timeout=SILENCE, follow_redirects=False)


class Download:
    """Of `size` bytes from `url` to `path`. `told`: bytes that are there."""

    def __init__(self, url: str, path: Path, size: int, told: Callable[[int], None]) -> None:
        self._url, self._path, self._size, self._told = url, path, size, told
        self._tag = ""
        self._beginnings = 0
        self.resumed = False
        """Whether what is there came in more than one piece."""

    async def run(self) -> None:
        """Returns when all bytes are there. Raises `DownloadError`, `NotTheArtifactError`,
        `NoRoomError`."""
        fault = address_fault(self._url)
        if fault is not None:
            raise NotTheArtifactError(f"url: {self._url} refused: {fault}")
        try:
            with _opened(self._path) as file:
                self.resumed = _length(file) > 0
                self._check_room(_length(file))
                if self._url.startswith("file:"):
                    await self._copy(file)
                else:
                    await self._fetch(file)
                await asyncio.to_thread(os.fsync, file.fileno())
        except OSError as error:
            raise NoRoomError(f"{self._path.name}: {error.strerror}") from error

    def _check_room(self, there: int) -> None:
        found = os.statvfs(self._path.parent)
        free = found.f_bavail * found.f_frsize
        if free < self._size - there + SPARE_BYTES:
            raise OSError(errno.ENOSPC, f"{free} bytes are free, {self._size} are to come")

    async def _copy(self, file: BinaryIO) -> None:
        """From a file of this machine."""
        self.resumed = False
        file.truncate(0)
        with _source(unquote(urlsplit(self._url).path)) as source:
            while piece := await asyncio.to_thread(source.read, PIECE):
                await self._write(file, piece)
        if _length(file) < self._size:
            raise NotTheArtifactError(f"{_length(file)} bytes, the artifact has {self._size}")

    async def _fetch(self, file: BinaryIO) -> None:
        """Tries until it is all there, ever more slowly while nothing comes."""
        failures = 0
        async with open_http() as http:
            while (there := _length(file)) < self._size:
                self.resumed |= there > 0
                broken = await self._try(http, file, there)
                now = _length(file)
                failures = 0 if now > there else failures + 1
                if failures >= MOST_FAILURES or self._beginnings > MOST_BEGINNINGS:
                    raise DownloadError(broken)
                if now < self._size:
                    await asyncio.sleep(min(LONGEST_PAUSE, FIRST_PAUSE * 2**failures))

    async def _try(self, http: httpx.AsyncClient, file: BinaryIO, there: int) -> str:
        """One try; why not all of it came."""
        try:
            async with aclosing(self._pieces(http, file, there)) as pieces:
                async for piece in pieces:
                    await self._write(file, piece)
        except (httpx.HTTPError, httpx.InvalidURL, _Again) as error:
            return str(error) if isinstance(error, _Again) else why(error)
        return f"the answer ended after {_length(file)} of {self._size} bytes"

    async def _pieces(
        self, http: httpx.AsyncClient, file: BinaryIO, there: int
    ) -> AsyncGenerator[bytes, None]:
        headers = {"Accept-Encoding": "identity"}
        if there:
            headers |= {"Range": f"bytes={there}-"} | ({"If-Range": self._tag} if self._tag else {})
        url = self._url
        for _ in range(MOST_REDIRECTS + 1):
            async with http.stream("GET", url, headers=headers) as answer:
                if answer.is_redirect:
                    url = self._redirected(url, answer)
                    continue
                self._begin(answer, file, there)
                async for piece in answer.aiter_raw():  # as it comes: what is held back is lost
                    yield piece
                return
        raise _Again(f"more than {MOST_REDIRECTS} redirects")

    def _redirected(self, url: str, answer: httpx.Response) -> str:
        place = answer.headers.get("location", "")
        try:
            there: str = urljoin(url, place)
        except ValueError as error:
            raise NotTheArtifactError(f"redirect to {place} refused: {ADDRESS_RULE}") from error
        fault = address_fault(there, redirected=True)
        if fault is None and (urlsplit(url).scheme, urlsplit(there).scheme) == ("https", "http"):
            fault = "https, as before"
        if fault is not None:
            raise NotTheArtifactError(f"redirect to {there} refused: {fault}")
        return there

    def _begin(self, answer: httpx.Response, file: BinaryIO, there: int) -> None:
        """Judges an answer by its head, and makes the file end where its body begins."""
        if answer.headers.get("content-encoding", "identity") != "identity":
            raise _Again("the answer is compressed, which was not asked for")
        tag = answer.headers.get("etag", "")
        self._tag = tag if re.fullmatch(r'"[!#-~]*"', tag) else ""
        match answer.status_code:
            case httpx.codes.PARTIAL_CONTENT if there:
                said = answer.headers.get("content-range", "")
                if not said.startswith(f"bytes {there}-"):
                    self._begin_anew(file, there)
                    raise _Again("the server went on elsewhere than it was asked to")
            case httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                self._begin_anew(file, there)
                raise _Again("the server has fewer bytes than were downloaded")
            case httpx.codes.OK:
                length = answer.headers.get("content-length", "")
                if length.isdecimal() and int(length) != self._size:
                    raise NotTheArtifactError(f"{length} bytes, the artifact has {self._size}")
                self._begin_anew(file, there)
            case status:
                raise _Again(f"the server answered {status} {answer.reason_phrase}")

    def _begin_anew(self, file: BinaryIO, there: int) -> None:
        self._beginnings += there > 0
        file.truncate(0)

    async def _write(self, file: BinaryIO, piece: bytes) -> None:
        there = _length(file)
        if there + len(piece) > self._size:
            raise NotTheArtifactError(f"more than the artifact's {self._size} bytes")
        await asyncio.to_thread(_append, file, piece)
        self._told(there + len(piece))


def _opened(path: Path) -> BinaryIO:
    """For writing, without losing what is there; through no link."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o600), "r+b")


def _source(path: str) -> BinaryIO:
    try:
        return open(path, "rb", opener=regular)
    except OSError as error:
        raise DownloadError(f"{path}: {error.strerror}") from error


def _append(file: BinaryIO, piece: bytes) -> None:
    file.seek(0, os.SEEK_END)
    file.write(piece)
    file.flush()


def _length(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size
