"""Runs operators' commands: hooks of roles and actions, and the health command.

A command runs in a session of its own, so that at its timeout everything it started ends with
it. A command that ends in time may leave services running: starting one is what hooks are for.
What outlives its node is ended by the node's next life (`leftovers.py`).
Nothing here reaches a process that leaves the session (`setsid`) or that is another user's.
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
"""Bytes of output kept; the rest is read and thrown away, so that the command is not stuck."""
DRAIN = 0.2
"""Seconds for the rest of the output, which a service left behind may hold open for ever."""

BURIAL, LAST_BURIAL = 0.02, 1.0
"""Seconds between two looks at whether a killed group is gone: at first, and at most."""
PATIENCE = 5.0
"""Seconds until an orphan that was killed and is still there is somebody else's to end."""

GATED = 'read -r _ && exec "$@" </dev/null'
"""What a command's process does first; the end of the file fails the read."""

log = structlog.get_logger("node.hooks")


class HookResult(msgspec.Struct, frozen=True):
    """`detail` says in a few words why it is not `ok`; `output` is stdout and stderr together."""

    ok: bool
    detail: str = ""
    output: str = ""


class Hook(Protocol):
    """A command that was started."""

    @property
    def is_gone(self) -> bool:
        """Whether nothing of it runs any more. What a command that ended by itself left behind
        is not counted."""
        ...

    def cancel(self) -> None:
        """Kills it with all that it started, at once, unless it has ended. `done` is not called
        any more, but the loop is woken when `is_gone` comes true."""
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
        """Runs `command`, for at most `timeout` s, and calls `done` once, from the loop, when
        it is gone."""
        ...


class ProcessHook:
    """`Hook` of a process. Killing is done where `cancel` is called, not when the event loop
    gets to it: what is started next shall not run beside it."""

    def __init__(self) -> None:
        self.is_gone = False
        self.is_cancelled = False
        self._process: Process | None = None
        self._killed = False

    @property
    def pid(self) -> int | None:
        """Of its process, when there is one."""
        return self._process.pid if self._process is not None else None

    def started(self, process: Process) -> None:
        """Notes the process, which may have been cancelled while it was being started."""
        self._process = process
        if self.is_cancelled:
            self.kill()

    def cancel(self) -> None:
        self.is_cancelled = True
        self.kill()

    def kill(self) -> None:
        """Kills its group, unless it has ended and the number is no longer ours to signal."""
        if self._process is not None and self._process.returncode is None:
            self._killed = True
            _kill_group(self._process.pid)

    async def bury(self) -> None:
        """Called after the end: waits until all that was killed is gone."""
        if self._process is not None and self._killed:
            await _gone(self._process.pid)
        self.is_gone = True


class ProcessRunner:
    """Commands as processes of /bin/sh. `finished` is called after every `done`, and when a
    cancelled command is gone. `register`: where they are written down while they run."""

    def __init__(
        self, finished: Callable[[], None] = lambda: None, register: Leftovers | None = None
    ) -> None:
        self._finished = finished
        self._register = register
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

    def end_orphans(self) -> Hook | None:
        """Kills at once what an earlier life left running; None when it left nothing. What is
        returned says when all of it is gone: until then it may still act."""
        orphans = self._register.orphans() if self._register is not None else {}
        if not orphans:
            return None
        for group, command in orphans.items():
            log.warning("hook of an earlier life killed", pid=group, command=command)
            _kill_group(group)
        hook = ProcessHook()
        self._spawn(self._bury_orphans(hook, orphans))
        return hook

    async def _bury_orphans(self, hook: ProcessHook, orphans: Mapping[int, str]) -> None:
        for group, command in orphans.items():
            try:
                async with asyncio.timeout(PATIENCE):
                    await _gone(group)
            except TimeoutError:
                log.error("hook of an earlier life cannot be ended", pid=group, command=command,
                          action="end it by hand; until then no action runs here, and no PRIMARY",
                )  # fmt: skip
                await _gone(group)
            self._crossed_out(group)
        hook.is_gone = True
        self._finished()

    def _spawn(self, work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _written_down(self, hook: ProcessHook, command: str, process: Process) -> None:
        if self._register is not None:
            self._register.add(process.pid, command)
        hook.started(process)

    def _crossed_out(self, pid: int | None) -> None:
        if self._register is not None and pid is not None:
            self._register.remove(pid)

    async def _run(
        self,
        hook: ProcessHook,
        command: str,
        env: Mapping[str, str],
        timeout: float,  # noqa: ASYNC109 (counts for the command, not for this coroutine)
        done: Callable[[HookResult], None],
    ) -> None:
        try:
            result = await run(command, env, timeout, partial(self._written_down, hook, command))
            await hook.bury()
        finally:
            self._crossed_out(hook.pid)
        log.info("command ended", command=command, ok=result.ok, detail=result.detail,
                 cancelled=hook.is_cancelled, output=result.output[:500])  # fmt: skip
        if not hook.is_cancelled:
            done(result)
        self._finished()

    def kill(self) -> None:
        """Ends what still runs without waiting for anything: for a process that ends itself."""
        for hook in self._hooks:
            hook.kill()

    async def close(self) -> None:
        """Ends what still runs; their `done` is not called."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def run(
    command: str | Sequence[str],
    env: Mapping[str, str],
    timeout: float,  # noqa: ASYNC109 (counts for the command, not for this coroutine)
    started: Callable[[Process], None] = lambda _: None,
) -> HookResult:
    """Runs one command, a line for /bin/sh or a program with its arguments, with `env` on top of
    the process's environment; `started` is told of the process as soon as there is one, and
    before it does anything: it waits at a gate, which a node that dies meanwhile never opens.

    The pipe for its output is our own, not asyncio's: with that, waiting for a process means
    waiting for everyone who holds the other end, a service left behind included. Such a service
    should redirect its output, since nobody reads it once the command has ended.
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
    except BaseException as error:
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
    """A process that runs the command as soon as it reads a line from `gate`."""
    return await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", GATED, "sh", *argv,
        stdin=gate,
        stdout=output,
        stderr=output,
        env={**os.environ, **env},
        start_new_session=True,
    )  # fmt: skip


def _pipes() -> tuple[tuple[int, int], tuple[int, int]]:
    """Two pipes, or none."""
    first = os.pipe()
    try:
        return first, os.pipe()
    except OSError:
        for end in first:
            os.close(end)
        raise


async def _wait(process: Process, timeout: float) -> str:  # noqa: ASYNC109
    """Waits for the end and makes it come in time; what went wrong, or ""."""
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
    # Not permitted: the command became another user's; all that is left is to wait for its end.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


async def _gone(group: int) -> None:
    """Waits for the end of what was killed: a process in the middle of a system call takes its
    time. Nobody tells of the end of those that are not our children."""
    pause = BURIAL
    while lives(group):
        await asyncio.sleep(pause)
        pause = min(2 * pause, LAST_BURIAL)


def lives(group: int) -> bool:
    """Whether a process of the group runs. A zombie does not, though the system counts it as
    long as nobody reaps it, which in a container may be for ever."""
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
