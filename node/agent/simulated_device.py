"""One device of a simulated fleet: it feels as its behaviour says, and takes updates."""

import asyncio
from collections.abc import Mapping
from typing import Protocol

from msgspec.structs import replace

from stationkeep.node.agent.device import Identity, Ringed
from stationkeep.node.agent.link import Link
from stationkeep.node.agent.readings import Readings
from stationkeep.node.agent.tasks.carrier import Carrier
from stationkeep.node.agent.tasks.spool import Unkept, present_moment
from stationkeep.node.agent.updates import ILL, REVERT, SimulatedWork, Updates
from stationkeep.node.wire import messages as wire
from stationkeep.node.wire.tasks import TaskState, TaskUpdatePayload

OVERLOADED = 97.0
"""Percent of its processor that an ill update keeps busy."""
BRICKED = "bricked by an update"


class Watcher(Protocol):
    """The fleet that a device is one of."""

    def readings(self, index: int, count: int) -> Readings: ...

    def moved(self, news: Ringed) -> None: ...

    def ended(self, index: int, why: str) -> None: ...

    def task_ended(self, state: TaskState) -> None: ...


class SimulatedDevice:
    """`link.Owner`, `link.TaskListener` and `carrier.Speaker`. What a task needs is made when the
    first one comes: most of ten thousand devices may never be told any."""

    __slots__ = (
        "_carrier",
        "_count",
        "_index",
        "_last_end",
        "_reverting",
        "_updates",
        "_watcher",
        "identity",
        "link",
    )  # fmt: skip

    def __init__(self, watcher: Watcher, index: int, identity: Identity, updates: Updates) -> None:
        self._watcher, self._index, self._updates = watcher, index, updates
        self.identity = identity
        self.link: Link | None = None
        self._count = 0
        self._carrier: Carrier | None = None
        self._last_end: str | None = None
        self._reverting: asyncio.TimerHandle | None = None

    async def stop(self) -> None:
        """Nothing of an update goes on."""
        if self._reverting is not None:
            self._reverting.cancel()
        if self._carrier is not None:
            await self._carrier.stop()

    # -- link.Owner -----------------------------------------------------------------------------

    def read(self) -> Readings:
        self._count += 1
        found = self._watcher.readings(self._index, self._count)
        return replace(found, cpu_usage=OVERLOADED) if self._is_ill else found

    def ringed(self, news: Ringed) -> None:
        self._watcher.moved(news)

    def turned_away(self, why: str) -> None:
        """What becomes of tries is counted (`Tally.failed`)."""

    def ended(self, why: str, *, unauthorised: bool = False) -> None:
        self._watcher.ended(self._index, why)

    # -- link.TaskListener ------------------------------------------------------------------------

    def served(self) -> None:
        if self._carrier is not None:
            self._carrier.served()

    def told(self, message: wire.Task | wire.TaskAck | wire.TaskCancel) -> None:
        if self._carrier is None:
            self._carrier = self._made()
        self._carrier.told(message)

    def refused(self, task_id: str) -> None:
        if self._carrier is not None:
            self._carrier.refused(task_id)

    def _made(self) -> Carrier:
        work = SimulatedWork(self._updates, self._index, self._brick)
        device = self.identity.device_id
        carrier = Carrier(device, Unkept(), work, self, present_moment)
        carrier.start({"app": self.identity.app_version, "os": self.identity.os_version})
        return carrier

    # -- carrier.Speaker --------------------------------------------------------------------------

    def say(self, update: TaskUpdatePayload) -> None:
        if self.link is None or self.link.url is None:
            return
        self.link.say(update)
        if update.state is not TaskState.IN_PROGRESS and self._last_end != update.task_id:
            self._last_end = update.task_id
            self._watcher.task_ended(update.state)

    def runs(self, versions: Mapping[str, str]) -> None:
        former = self.identity.app_version
        self.identity = replace(
            self.identity, app_version=versions["app"], os_version=versions["os"]
        )
        if self.link is not None:
            self.link.renew(self.identity)
        if self._happens(self._updates.revert, REVERT):
            later = asyncio.get_running_loop().call_later
            self._reverting = later(self._updates.seconds, self._revert, former)

    # -- what updates do to it --------------------------------------------------------------------

    @property
    def _is_ill(self) -> bool:
        only = self._updates.ill_version
        is_new = self._carrier is not None and self._carrier.book.installed != {}
        is_bad = is_new and only in {None, self.identity.app_version}
        return is_bad and self._happens(self._updates.ill, ILL)

    def _happens(self, share: float, kind: int) -> bool:
        version = self.identity.app_version
        return share > 0 and self._updates.befalls(share, kind, self._index, version, 0)

    def _revert(self, former: str) -> None:
        """As a device does whose watchdog goes back to the other slot."""
        assert self._carrier is not None
        given = {"app": former, "os": self.identity.os_version}
        self._carrier.start(given, certain=given)
        self.identity = replace(self.identity, app_version=former)
        if self.link is not None:
            self.link.renew(self.identity)

    def _brick(self) -> None:
        if self.link is not None:
            self.link.stop()
        self.ended(BRICKED)
