"""The machine's clocks."""

import time

_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", None)


class SystemClock:
    """`node.ports.Clock` of a real node.

    CLOCK_BOOTTIME where the system has it, because it also advances while the machine sleeps: a
    node that was suspended must not wake up and trust a lease that has expired meanwhile.
    """

    def monotonic(self) -> float:
        if _BOOTTIME is None:
            return time.monotonic()
        return time.clock_gettime(_BOOTTIME)

    def wall(self) -> int:
        return time.time_ns() // 1_000_000
