"""How simulated devices take updates: most well, some not, each always in the same way."""

import asyncio
from collections.abc import Callable

import msgspec

from stationkeep.node.agent.behaviour import chance
from stationkeep.node.agent.tasks.book import Job
from stationkeep.node.agent.tasks.carrier import Progress
from stationkeep.node.agent.tasks.machine import Confirmed, Done, Ended, Result
from stationkeep.node.wire.tasks import Phase, TaskReason, TaskState

MOST_SECONDS = 86_400.0
STEPS = 4
"""Words about the progress of an update."""
FAIL, BRICK, ILL, REVERT = range(20, 24)
"""What a device's draws are for; `behaviour` has smaller numbers for its own."""


class Updates(msgspec.Struct, frozen=True, kw_only=True):
    """An update takes `seconds`. Of devices that take one the share `fail` says that it failed,
    `brick` is never heard of again, `ill` is overloaded as long as it runs `ill_version` (any,
    where that is None), and `revert` runs the former version again after as long."""

    seconds: float = 5.0
    fail: float = 0.0
    brick: float = 0.0
    ill: float = 0.0
    ill_version: str | None = None
    revert: float = 0.0
    seed: int = 1

    def befalls(self, share: float, kind: int, device: int, version: str, attempt: int) -> bool:
        """Whether it is this device. Another version, or another attempt, is another draw; what
        makes a device ill, or lets it revert, does so at each attempt."""
        words = [int.from_bytes(version.encode()[n : n + 8]) for n in range(0, len(version), 8)]
        return chance(self.seed, device, kind, attempt, *words) < share


class SimulatedWork:
    """`carrier.Work` of a device that has nothing to download. `bricked` is called when it is to
    fall silent."""

    def __init__(self, updates: Updates, device: int, bricked: Callable[[], None]) -> None:
        self._updates, self._device, self._bricked = updates, device, bricked

    async def perform(self, job: Job, progress: Progress) -> Result:
        if job.phase is not Phase.INSTALLING:
            return Done()
        for step in range(STEPS):
            progress(100 * step // STEPS, "simulated")
            await asyncio.sleep(self._updates.seconds / STEPS)
        updates, attempt = self._updates, job.task.attempt
        if updates.befalls(updates.brick, BRICK, self._device, job.version, attempt):
            self._bricked()
            await asyncio.get_running_loop().create_future()
        if updates.befalls(updates.fail, FAIL, self._device, job.version, attempt):
            return Ended(TaskState.FAILED, TaskReason.INSTALL, "simulated")
        return Confirmed(job.version)

    def clear(self) -> None:
        pass
