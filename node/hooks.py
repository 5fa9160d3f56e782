"""Runs operators' commands: hooks of roles and actions, and the health command.

A command runs in a session of its own, so that at its timeout everything it started ends with
it. A command that ends in time may leave services running: starting one is what hooks are for.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec
import structlog

MAX_OUTPUT = 16 * 1024
"""Bytes of output kept; the rest is read and thrown away, so that the command is not stuck."""
DRAIN = 0.2
"""Seconds for the rest of the output, which a service left behind may hold open for ever."""

log = structlog.get_logger("node.hooks")


class HookResult(msgspec.Struct, frozen=True):
    """`detail` says in a few words why it is not `ok`; `output` is stdout and stderr together."""

    ok: bool
    detail: str = ""
    output: str = ""


class HookRunner(Protocol):
    """Starts commands; the simulator has its own."""

    def start(
        self,
        command: str,
        env: Mapping[str, str],
        timeout: float,
        done: Callable[[HookResult], None],
    ) -> None:
        """Runs `command` and calls `done` once, from the loop, at the latest after `timeout` s."""
        ...


class ProcessRunner:
    """Commands as processes of /bin/sh. `finished` is called after every `done`."""

    def __init__(self, finished: Callable[[], None] = lambda: None) -> None:
        self._finished = finished
        self._tasks: set[asyncio.Task[None]] = set()
        self._groups: set[int] = set()

    def start(
        self,
        command: str,
        env: Mapping[str, str],
        timeout: float,
        done: Callable[[HookResult], None],
    ) -> None:
        task = asyncio.get_running_loop().create_task(self._run(command, env, timeout, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(
        self,
        command: str,
        env: Mapping[str, str],
        timeout: float,  # noqa: ASYNC109 (counts for the command, not for this coroutine)
        done: Callable[[HookResult], None],
    ) -> None:
        result = await run(command, env, timeout, self._groups)
        log.info("command ended", command=command, ok=result.ok, detail=result.detail,
                 output=result.output[:500])  # fmt: skip
        done(result)
        self._finished()

    def kill(self) -> None:
        """Ends what still runs without waiting for anything: for a process that ends itself."""
        for group in self._groups:
            _kill_group(group)

    async def close(self) -> None:
        """Ends what still runs; their `done` is not called."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def run(
    command: str,
    env: Mapping[str, str],
    timeout: float,  # noqa: ASYNC109 (counts for the command, not for this coroutine)
    groups: set[int] | None = None,
) -> HookResult:
    """Runs one command with `env` on top of the process's environment; while it runs, its
    process group is in `groups`.

    The pipe is our own, not asyncio's: with that, waiting for a process means waiting for
    everyone who holds the other end, a service left behind included. Such a service should
    redirect its output, since nobody reads it once the command has ended.
    """
    reader, output = asyncio.StreamReader(), bytearray()
    try:
        ours, theirs = os.pipe()
    except OSError as error:  # no descriptors left
        return HookResult(False, f"cannot be started: {error.strerror}")
    pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours, "rb", buffering=0)
    )
    try:
        process = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, **env},
            start_new_session=True,
        )  # fmt: skip
    except (OSError, ValueError) as error:  # ValueError: NUL in the environment
        pipe.close()
        return HookResult(False, f"cannot be started: {getattr(error, 'strerror', error)}")
    finally:
        os.close(theirs)
    groups = set() if groups is None else groups
    groups.add(process.pid)
    reading = asyncio.create_task(_read(reader, output))
    try:
        detail = await _wait(process, timeout)
        groups.discard(process.pid)  # no longer ours to signal
        await asyncio.wait({reading}, timeout=DRAIN)
    finally:
        groups.discard(process.pid)
        reading.cancel()
        pipe.close()
    return HookResult(not detail, detail, output.decode(errors="replace"))


async def _wait(process: asyncio.subprocess.Process, timeout: float) -> str:  # noqa: ASYNC109
    """Waits for the end and makes it come in time; what went wrong, or ""."""
    try:
        status = await asyncio.wait_for(process.wait(), timeout)
    except TimeoutError:
        _kill_group(process.pid)
        await process.wait()
        return f"timed out after {timeout:g} s"
    except asyncio.CancelledError:
        _kill_group(process.pid)
        await process.wait()
        raise
    return "" if status == 0 else _describe(status)


async def _read(stream: asyncio.StreamReader, into: bytearray) -> None:
    while chunk := await stream.read(4_096):
        into += chunk[: MAX_OUTPUT - len(into)]


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _describe(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
