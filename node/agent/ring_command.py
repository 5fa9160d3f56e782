"""A program that is run whenever the device's ring changes."""

from stationkeep.node.agent.command_line import parsed
from stationkeep.node.agent.device import Ringed
from stationkeep.node.hooks.runner import HookResult, run

TIMEOUT = 300.0
"""Seconds that the program may take; then it is killed with all it started."""


class RingCommand:
    """An `on_ring` that runs a program: `STATIONKEEP_RING` and its kin say what is new.

    The line is split as a shell would, but no shell runs it: what a ring or a reason contains is
    never code. Raises ValueError when it names no program that there is.
    """

    def __init__(self, line: str, device_id: str, timeout: float = TIMEOUT) -> None:
        self._argv = parsed(line)
        self._device_id = device_id
        self._timeout = timeout

    async def __call__(self, news: Ringed) -> HookResult:
        """Runs it to its end."""
        return await run(self._argv, self._environment(news), self._timeout)

    def _environment(self, news: Ringed) -> dict[str, str]:
        return {
            "STATIONKEEP_DEVICE": self._device_id,
            "STATIONKEEP_RING": news.ring,
            "STATIONKEEP_PREVIOUS_RING": news.previous or "",
            "STATIONKEEP_RING_REASON": news.reason,
            "STATIONKEEP_RING_SINCE": news.timestamp,
        }
