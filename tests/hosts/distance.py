"""A cable between two switches on which everything is under way for a while."""

import fcntl
import os
import random
import selectors
import struct
import threading
import time
from collections import deque

_TUNSETIFF, _TAP = 0x4004_54CA, 0x1002  # linux/if_tun.h: IFF_TAP | IFF_NO_PI
FRAME_BYTES = 65_536
MAX_UNDER_WAY = 20_000
"""Frames; more are lost, as in a router whose queue is full."""


class Distance:
    """Carries Ethernet frames between two network interfaces that it makes, of the network of the
    calling thread, until it is closed: each way in `seconds`, a little more or less, and in order.
    """

    def __init__(self, one: str, other: str, seconds: float, jitter: float) -> None:
        a, b = _tap(one), _tap(other)
        self._ends = {a: b, b: a}
        self._seconds, self._jitter = seconds, jitter
        self._draw = random.Random(1)
        self._under_way: deque[tuple[float, int, bytes]] = deque()
        self._closing, self._close = os.pipe()
        self._thread = threading.Thread(target=self._carry, name="distance", daemon=True)
        self._thread.start()

    def close(self) -> None:
        os.close(self._close)
        self._thread.join()
        for end in (*self._ends, self._closing):
            os.close(end)

    def _carry(self) -> None:
        with selectors.DefaultSelector() as selector:
            for end in (*self._ends, self._closing):
                selector.register(end, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select(self._until_next()):
                    if key.fd == self._closing:
                        return
                    self._take(key.fd)
                self._deliver()

    def _until_next(self) -> float | None:
        return max(0.0, self._under_way[0][0] - time.monotonic()) if self._under_way else None

    def _take(self, end: int) -> None:
        frame = os.read(end, FRAME_BYTES)
        if len(self._under_way) < MAX_UNDER_WAY:
            arrives = time.monotonic() + self._seconds
            arrives += self._draw.uniform(-self._jitter, self._jitter)
            last = self._under_way[-1][0] if self._under_way else 0.0
            self._under_way.append((max(last, arrives), self._ends[end], frame))

    def _deliver(self) -> None:
        now = time.monotonic()
        while self._under_way and self._under_way[0][0] <= now:
            _, end, frame = self._under_way.popleft()
            os.write(end, frame)


def _tap(name: str) -> int:
    """A new network interface whose cable ends here."""
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(end, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _TAP))
    return end
