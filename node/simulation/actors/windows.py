"""Moments at which a simulated device may begin to install: some seconds, again and again.

Nodes send windows with a task as distances from now (`install_after`, `install_before`), and send
others each time that they send it. A device must begin inside of one, whatever it was sent when.
"""

import math
from datetime import datetime, timedelta
from typing import NamedTuple

from msgspec.structs import replace

from stationkeep.node.wire.tasks import TaskPayload

PERIOD, OPEN = 12.0, 5.0
"""Seconds from one opening to the next, and how long each lasts."""


class Window(NamedTuple):
    """Of one device: opens `since` seconds before each period begins."""

    since: float

    def is_open(self, now: float) -> bool:
        return self._into(now) < OPEN

    def told(self, task: TaskPayload, now: float) -> TaskPayload:
        """The task as a node sends it at a moment; in whole seconds, within the window."""
        into = self._into(now)
        closes = math.floor(OPEN - into)
        if closes >= 1:
            return replace(task, install_after=None, install_before=_after(task, closes))
        opens = math.ceil(PERIOD - into)
        closes = math.floor(PERIOD - into + OPEN)
        return replace(task, install_after=_after(task, opens), install_before=_after(task, closes))

    def _into(self, now: float) -> float:
        """Seconds since it opened."""
        return (now + self.since) % PERIOD


def _after(task: TaskPayload, seconds: int) -> str:
    moment = datetime.fromisoformat(task.timestamp) + timedelta(seconds=seconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
