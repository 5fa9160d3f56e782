"""Operators' commands that carry a task out: how they are started, what they say, how they end.

No shell. The task is JSON on standard input, and its main points are in the environment. Lines
`progress 40 installing`, `postpone 600` and `detail TEXT` of the output are understood; the rest is
a log, of which the end goes with a failure (node/guide/agents.md, "Tasks").
"""

import asyncio
import enum
import os
import re
from asyncio.subprocess import Process
from collections.abc import Callable, Mapping, Sequence

import msgspec

from stationkeep.node.agent.tasks.processes import end_all
from stationkeep.node.system.printable import printable, printable_lines

MAX_LOG = 2_048
"""Bytes of the end of the output that are kept; the rest is read and thrown away."""
MAX_LINE = 512
"""Bytes of one line that are looked at."""
MOST_LINES = 64
"""Lines of one read that are looked at, the newest: who prints gigabytes says nothing with them."""
READ_BYTES = 64 * 1024
POSTPONE_SECONDS = 600
"""Of a command that does not say for how long."""
DRAIN = 0.2
"""Seconds for the rest of the output, which a service left behind may hold open for ever."""


class Exit(enum.IntEnum):
    """What a command's exit status says; any other is a failure."""

    DONE = 0
    REBOOT = 10
    REJECTED = 20
    POSTPONED = 75


class Finished(msgspec.Struct, frozen=True):
    """`status`: None when it could not be started. `log`: the end of its output, printable.
    `detail`, `postpone`: what it last said with a line of that name."""

    status: int | None
    log: str
    detail: str = ""
    postpone: int | None = None


class Output:
    """What a command says: bounded, however much that is."""

    def __init__(self, progress: Callable[[int | None, str], None]) -> None:
        self._progress = progress
        self._line = bytearray()
        self._log = bytearray()
        self.detail = ""
        self.postpone: int | None = None

    def take(self, chunk: bytes) -> None:
        """Some more of it."""
        self._log = (self._log + chunk[-MAX_LOG:])[-MAX_LOG:]
        lines = chunk.split(b"\n", 1)
        if len(lines) > 1:
            self._end(lines[0])
            *others, rest = lines[1].rsplit(b"\n", MOST_LINES)
            for line in others[1 - MOST_LINES :]:
                self._end(line)
            lines = [rest]
        self._line += lines[0][: MAX_LINE - len(self._line)]

    def close(self) -> None:
        """There is no more; the last line may lack its end."""
        self._read()

    @property
    def log(self) -> str:
        text = self._log.decode(errors="replace").rstrip("\n")
        return printable_lines(text.expandtabs())[-MAX_LOG:]

    def _end(self, line: bytes) -> None:
        """Of a line, which may have begun in an earlier chunk."""
        self._line += line[: MAX_LINE - len(self._line)]
        self._read()
        self._line.clear()

    def _read(self) -> None:
        word, _, rest = self._line.decode(errors="replace").strip().partition(" ")
        first, _, text = rest.partition(" ")
        if word == "progress" and re.fullmatch("[0-9]{1,3}", first) and int(first) <= 100:
            self._progress(int(first), printable(text))
        elif word == "postpone" and re.fullmatch("[0-9]*", first):
            self.postpone = int(first or POSTPONE_SECONDS)
        elif word == "detail":
            self.detail = printable(rest)
            self._progress(None, self.detail)


async def run(
    argv: Sequence[str],
    environment: Mapping[str, str],
    given: bytes,
    marks: Mapping[str, str],
    output: Output,
) -> Finished:
    """Runs a command to its end, `given` on its standard input; `marks` are variables that its
    processes are known by. When it is cancelled, or the command failed, everything that it has
    started is killed before this returns: what a command leaves running that succeeded is a
    service."""
    ours, theirs = os.pipe()
    reader = asyncio.StreamReader(limit=READ_BYTES)
    pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours, "rb", buffering=0)
    )
    reading = asyncio.create_task(_read(reader, output))
    process, status = None, None
    try:
        try:
            process = await _started(argv, {**environment, **marks}, given, theirs)
        finally:
            os.close(theirs)
        status = await process.wait()
        await asyncio.wait({reading}, timeout=DRAIN)
    except (OSError, ValueError) as error:  # ValueError: NUL in the environment
        output.take(f"cannot be started: {getattr(error, 'strerror', error)}\n".encode())
    finally:
        reading.cancel()
        pipe.close()
        if status not in {Exit.DONE, Exit.REBOOT}:
            await _end(process, marks, output)
    output.close()
    return Finished(status, output.log, output.detail, output.postpone)


async def _end(process: Process | None, marks: Mapping[str, str], output: Output) -> None:
    if await end_all(marks, None if process is None else process.pid):
        if process is not None:
            await process.wait()
    else:
        output.take(b"some of its processes cannot be ended\n")


async def _started(
    argv: Sequence[str], environment: Mapping[str, str], given: bytes, output: int
) -> Process:
    """Standard input is a file in memory: who does not read it holds nobody up."""
    with os.fdopen(os.memfd_create("task"), "w+b", buffering=0) as file:
        file.write(given)
        file.seek(0)
        return await asyncio.create_subprocess_exec(
            *argv,
            stdin=file,
            stdout=output,
            stderr=output,
            env={**os.environ, **environment},
            start_new_session=True,
        )


async def _read(stream: asyncio.StreamReader, output: Output) -> None:
    while chunk := await stream.read(READ_BYTES):
        output.take(chunk)
