"""All of PySyncObj's time comes from the node's `Clock`.

The library looks `monotonicTime` up in its module at each call. Importing this module replaces
it, once and for the process, by `_now`, which asks the clock of the engine at work: `use(clock)`
at every entrance into an engine (`Raft.__init__`, `Raft.turn`, …). One process may so run many
engines on simulated clocks, as all of this is single-threaded. Until the first `use` it is the
library's own time. The simulator needs to patch nothing.
"""

from collections.abc import Callable

import pysyncobj.syncobj

_source: Callable[[], float] = pysyncobj.syncobj.monotonicTime


def _now() -> float:
    return _source()


def use(monotonic: Callable[[], float]) -> None:
    """From here on the library's time is `monotonic()`, in seconds."""
    global _source  # noqa: PLW0603
    _source = monotonic


pysyncobj.syncobj.monotonicTime = _now
