"""The end of everything that a task's command has started.

A session can be left, and a process can outlive the agent that started it. What all of them inherit
is their environment: a process that has these variables with these values is one of them, whoever
its parent is, and so is one of the command's session. Who leaves the session and throws the
variables away is not found; nor is another user's process.
"""

import asyncio
import os
import signal
from collections.abc import Mapping
from pathlib import Path

from stationkeep.node.system.process import birth, send

PATIENCE = 10.0
"""Seconds for what is killed to be gone: what keeps starting others may take several rounds, and
what is in the middle of a system call takes its time."""
FIRST_PAUSE, LONGEST_PAUSE = 0.01, 0.2
PARENT, SESSION = 1, 3


async def end_all(marks: Mapping[str, str], session: int | None = None) -> bool:
    """Kills every process with these variables or of this session, but not this one or those that
    it descends from; whether all are gone."""
    spared = _ancestry()
    ends = asyncio.get_running_loop().time() + PATIENCE
    pause = FIRST_PAUSE
    while _kill(marks, session, spared):
        if asyncio.get_running_loop().time() > ends:
            return False
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
    return True


def _kill(marks: Mapping[str, str], session: int | None, spared: set[int]) -> int:
    """Kills those that there are now; how many there were."""
    needed = {f"{name}={value}".encode() for name, value in marks.items()}
    found = 0
    for pid in (int(name) for name in os.listdir("/proc") if name.isdecimal()):
        if pid not in spared:
            born = birth(pid)
            ours = needed <= _environment(pid) or (session and _stat(pid, SESSION) == session)
            if born is not None and ours:
                found += send(pid, born, signal.SIGKILL)
    return found


def _environment(pid: int) -> set[bytes]:
    """Of a process as it was started; nothing where it is gone, or another user's."""
    try:
        return set(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
    except OSError:
        return set()


def _ancestry() -> set[int]:
    """This process, its parent, and so on: an agent may have been started by a task that
    installed it."""
    pids: set[int] = set()
    pid: int | None = os.getpid()
    while pid:
        pids.add(pid)
        pid = _stat(pid, PARENT)
    return pids


def _stat(pid: int, field: int) -> int | None:
    """One of the numbers that follow a process's name in its `stat`; None when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(stat[stat.rindex(")") + 2 :].split()[field])
