"""Processes that we may not have started: is a pid still the same process, and who holds a port."""

import _socket
import os
import signal
import socket
from pathlib import Path


def birth(pid: int) -> str | None:
    """When a process was started, in a form that no other process with this pid can share.

    None when there is no such process, or only its zombie. On Linux the boot's id and clock ticks
    since boot: the wall-clock time that psutil computes changes when the clock is set.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None if Path("/proc/self/stat").exists() else _birth_without_proc(pid)
    fields = stat[stat.rindex(")") + 2 :].split()
    state, started = fields[0], fields[19]
    return None if state in {"Z", "X"} else f"{boot}:{started}"


def _birth_without_proc(pid: int) -> str | None:
    import psutil  # noqa: PLC0415

    try:
        process = psutil.Process(pid)
        dead = process.status() == psutil.STATUS_ZOMBIE
        return None if dead else f"{process.create_time():.2f}"
    except psutil.Error:
        return None


def send(pid: int, born: str, signum: signal.Signals) -> bool:
    """Signals process `pid` if its `birth` is `born`; False when that process no longer runs.

    Where the system has pidfds, one is opened before the check, so that the pid cannot be reused
    between the check and the signal.
    """
    try:
        if not hasattr(os, "pidfd_open"):
            if birth(pid) != born:
                return False
            os.kill(pid, signum)
            return True
        handle = os.pidfd_open(pid)
        try:
            if birth(pid) != born:
                return False
            signal.pidfd_send_signal(handle, signum)
        finally:
            os.close(handle)
    except ProcessLookupError:
        return False
    return True


def port_holder(port: int) -> str | None:
    """The process that listens on a TCP or UDP port of this machine; None if we may not know."""
    import psutil  # noqa: PLC0415

    # Importing PySyncObj replaces this function of the standard library with one that works on
    # Windows only (pysyncobj/win_inet_pton.py, its last line); psutil needs the real one.
    socket.inet_ntop = _socket.inet_ntop
    try:
        connections = psutil.net_connections(kind="inet")
        pid = next(
            c.pid
            for c in connections
            if (c.status == psutil.CONN_LISTEN or c.type == socket.SOCK_DGRAM)
            and c.laddr
            and c.laddr.port == port
        )
        if pid is None:
            return None
        command = " ".join(psutil.Process(pid).cmdline())[:120]
    except (psutil.Error, StopIteration, PermissionError):
        return None
    return f"pid {pid}: {command}"
