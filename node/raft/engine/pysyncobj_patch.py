"""What importing PySyncObj does to a process, and where its time comes from.

Time: the library looks `monotonicTime` up in its module at each call. Importing this module
replaces it, once and for the process, by `_now`, which asks the clock of the engine at work:
`use(clock)` at every entrance into an engine (`Raft.__init__`, `Raft.turn`, …). One process may
so run many engines on simulated clocks, as all of this is single-threaded; the simulator needs
to patch nothing. Until the first `use` it is the library's own time.

Damage: `pysyncobj.win_inet_pton` replaces `socket.inet_ntop` by its Windows version on every
system (a line lost its indentation), which breaks whoever formats an address, psutil among
them. The original is put back.
"""

import _socket
import socket
from collections.abc import Callable

import pysyncobj.syncobj

_source: Callable[[], float] = pysyncobj.syncobj.monotonicTime


def _now() -> float:
    return _source()


def use(monotonic: Callable[[], float]) -> None:
    """From now on the library's time is `monotonic()`, in seconds."""
    global _source  # noqa: PLW0603
    _source = monotonic


pysyncobj.syncobj.monotonicTime = _now
socket.inet_ntop = _socket.inet_ntop
