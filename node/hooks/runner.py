"""Runs operators' commands: hooks of roles and actions, and the health command.

A command runs in its own session, so that at its timeout it can be killed with everything that it
started. A command that exits in time may leave services running: starting one is what hooks are
for. A command that survives its node is killed when the node starts again (`leftovers.py`).
Processes that leave the session (`setsid`) or belong to another user are out of reach.
"""

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Protocol

import msgspec
import psutil
import structlog

from stationkeep.node.hooks.leftovers import Leftovers

MAX_OUTPUT = 16 * 1024
"""Bytes of output kept; the rest is read and discarded, so that the command does not block."""
DRAIN = 0.2
"""Seconds to wait for the end of the output, which a service left behind may hold open for ever."""

POLL, SLOWEST_POLL = 0.02, 1.0
"""Seconds between two checks whether a killed process group is gone: at first, and at most."""
PATIENCE = 5.0
"""Seconds after which a leftover that survives its kill is reported to the operator."""

GATED = 'read -r _ && exec "$@" </dev/null'
"""What a command's process does first; if the pipe is closed, the read fails and nothing runs."""

log = structlog.get_logger("node.hooks")


class HookResult(msgspec.Struct, frozen=True):
    """How a command ended."""

    ok: bool
    """Whether it exited with status 0 in time."""
    detail: str = ""
    """Why it is not `ok`, in a few words."""
    output: str = ""
    """Its stdout and stderr together, at most `MAX_OUTPUT`."""


class Hook(Protocol):
    """A command that was started."""

    @property
    def is_gone(self) -> bool:
        """Whether none of its processes runs any more. Services that it left running when it
        exited by itself do not count."""
        ...

    def cancel(self) -> None:
        """Kills it at once with all that it started, unless it has ended. `done` will not be
        called, but the loop is woken when `is_gone` becomes true."""
        ...


class HookRunner(Protocol):
    """Starts commands; the simulator has its own."""

    def start(
        self,
        command: str,
        env: Mapping[str, str],
        timeout: float,
        done: Callable[[HookResult], None],
    ) -> Hook:
        """Runs `command` for at most `timeout` s. When it is gone, calls `done` once, from the
        event loop."""
        ...

    def kill_leftovers(self) -> Hook | None:
        """Kills what the previous run left running; None if there is nothing. The hook returned
        says when all of it is gone: until then it may still act."""
        ...


class ProcessHook:
    """`Hook` of a process. `cancel` kills synchronously, not in a task of the event loop: what is
    started next must not run beside it."""

    def __init__(self) -> None:
        self.is_gone = False
        self.is_cancelled = False
        self._process: Process | None = None
        self._killed = False

    @property
    def pid(self) -> int | None:
        """The pid of its process, once there is one."""
        return self._process.pid if self._process is not None else None

    def started(self, process: Process) -> None:
        """Stores the process, and kills it if the hook was cancelled while it was being started."""
        self._process = process
        if self.is_cancelled:
            self.kill()

    def cancel(self) -> None:
        self.is_cancelled = True
        self.kill()

    def kill(self) -> None:
        """Kills its process group, unless the process has been reaped and its pid may be reused."""
        if self._process is not None and self._process.returncode is None:
            self._killed = True
            _kill_group(self._process.pid)

    async def ended(self) -> None:
        """Call once the process has ended: waits until all that was killed with it is gone."""
        if self._process is not None and self._killed:
            await _gone(self._process.pid)
        self.is_gone = True


class ProcessRunner:
    """Commands as processes of /bin/sh. `finished` is called after every `done`, and when a
    cancelled command is gone. `leftovers` records them while they run."""

    def __init__(
        self, finished: Callable[[], None] = lambda: None, leftovers: Leftovers | None = None
    ) -> None:
        self._finished = finished
        self._leftovers = leftovers
        self._tasks: set[asyncio.Task[None]] = set()
        self._hooks: set[ProcessHook] = set()

    def start(
        self,
        command: str,
        env: Mapping[str, str],
        timeout: float,
        done: Callable[[HookResult], None],
    ) -> Hook:
        hook = ProcessHook()
        self._hooks.add(hook)
        task = self._spawn(self._run(hook, command, env, timeout, done))
        task.add_done_callback(lambda _: self._hooks.discard(hook))
        return hook

    def kill_leftovers(self) -> Hook | None:
        left = self._leftovers.load() if self._leftovers is not None else {}
        if not left:
            return None
        for group, command in left.items():
            log.warning("hook of the previous run killed", pid=group, command=command)
            _kill_group(group)
        hook = ProcessHook()
        self._spawn(self._await_leftovers(hook, left))
        return hook

    async def _await_leftovers(self, hook: ProcessHook, left: Mapping[int, str]) -> None:
        for group, command in left.items():
            try:
                async with asyncio.timeout(PATIENCE):
                    await _gone(group)
            except TimeoutError:
                log.error("hook of the previous run cannot be killed", pid=group, command=command,
                          action="end it by hand; until then no action runs here, and no PRIMARY",
                )  # fmt: skip
                await _gone(group)
            self._forget(group)
        hook.is_gone = True
        self._finished()

    def _spawn(self, work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _record(self, hook: ProcessHook, command: str, process: Process) -> None:
        if self._leftovers is not None:
            self._leftovers.add(process.pid, command)
        hook.started(process)

    def _forget(self, pid: int | None) -> None:
        if self._leftovers is not None and pid is not None:
            self._leftovers.remove(pid)

    async def _run(
        self,
        hook: ProcessHook,
        command: str,
        env: Mapping[str, str],
        timeout: float,  # noqa: ASYNC109 (counts for the command, not for this coroutine)
        done: Callable[[HookResult], None],
    ) -> None:
        try:
            result = await run(command, env, timeout, partial(self._record, hook, command))
            await hook.ended()
        finally:
            self._forget(hook.pid)
        log.info("command ended", command=command, ok=result.ok, detail=result.detail,
                 cancelled=hook.is_cancelled, output=result.output[:500])  # fmt: skip
        if not hook.is_cancelled:
            done(result)
        self._finished()

    def kill(self) -> None:
        """Kills what still runs without waiting: for a node that is about to exit."""
        for hook in self._hooks:
            hook.kill()

    async def close(self) -> None:
        """Kills what still runs and waits; `done` is not called."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def run(
    command: str | Sequence[str],
    env: Mapping[str, str],
    timeout: float,  # noqa: ASYNC109 (counts for the command, not for this coroutine)
    started: Callable[[Process], None] = lambda _: None,
) -> HookResult:
    """Runs one command, a line for /bin/sh or a program with its arguments, with `env` added to
    this process's environment. `started` is called with the process before the command runs: the
    process waits at a gate, which stays shut if this process dies meanwhile.

    The pipe for its output is our own: asyncio's would wait for every process that holds the other
    end, including a service left behind. Such a service should redirect its output, since nobody
    reads it once the command has ended.
    """
    argv = ("/bin/sh", "-c", command) if isinstance(command, str) else command
    reader, output = asyncio.StreamReader(), bytearray()
    try:
        (ours, theirs), (gate, opener) = _pipes()
    except OSError as error:  # no descriptors left
        return HookResult(False, f"cannot be started: {error.strerror}")
    pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours, "rb", buffering=0)
    )
    try:
        process = await _at_the_gate(argv, env, gate, theirs)
    except BaseException as error:  # cancelled, too: both ends are closed
        pipe.close()
        os.close(opener)
        if not isinstance(error, (OSError, ValueError)):  # ValueError: NUL in the environment
            raise
        return HookResult(
            False, f"cannot be started: {getattr(error, 'strerror', 'NUL in its environment')}"
        )
    finally:
        os.close(theirs)
        os.close(gate)
    reading = asyncio.create_task(_read(reader, output))
    try:
        with os.fdopen(opener, "wb", buffering=0) as out, contextlib.suppress(BrokenPipeError):
            started(process)
            out.write(b"\n")
        detail = await _wait(process, timeout)
        await asyncio.wait({reading}, timeout=DRAIN)
    finally:
        reading.cancel()
        pipe.close()
    return HookResult(not detail, detail, output.decode(errors="replace"))


async def _at_the_gate(
    argv: Sequence[str], env: Mapping[str, str], gate: int, output: int
) -> Process:
    """Starts a process that runs the command once it reads a line from `gate`."""
    return await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", GATED, "sh", *argv,
        stdin=gate,
        stdout=output,
        stderr=output,
        env={**os.environ, **env},
        start_new_session=True,
    )  # fmt: skip


def _pipes() -> tuple[tuple[int, int], tuple[int, int]]:
    """Two pipes. Raises OSError and leaves none open."""
    first = os.pipe()
    try:
        return first, os.pipe()
    except OSError:
        for end in first:
            os.close(end)
        raise


async def _wait(process: Process, timeout: float) -> str:  # noqa: ASYNC109
    """Waits for the process and kills it at its timeout; returns what went wrong, or ""."""
    try:
        async with asyncio.timeout(timeout):
            status = await process.wait()
    except TimeoutError:
        _kill_group(process.pid)
        await process.wait()
        await _gone(process.pid)
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
    # Not permitted: the command runs as another user now; we can only wait for it to end.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


async def _gone(group: int) -> None:
    """Waits until a killed process group is gone: a process in a system call may take a while.
    Polls, because only the exit of a child is announced."""
    pause = POLL
    while lives(group):
        await asyncio.sleep(pause)
        pause = min(2 * pause, SLOWEST_POLL)


def lives(group: int) -> bool:
    """Whether a process of the group runs. Zombies do not count, though the system keeps them
    until they are reaped, which in a container may be never."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return any(_runs_in(group, pid) for pid in psutil.pids())


def _runs_in(group: int, pid: int) -> bool:
    try:
        return os.getpgid(pid) == group and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


def _describe(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
