"""A fleet of simulated devices in one process, for demonstrations, tests and load.

Each is a real client (`link`) with made-up readings (`behaviour`): what nodes see is what they
would see of so many phones. One difference: a device that another agent spoke for, say one that
was started by hand to make it ill, comes back when that one is gone.
"""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Unpack

import httpx
import msgspec
from msgspec.structs import replace

from stationkeep.node.agent.addresses import Addresses
from stationkeep.node.agent.batches import MAX_BATCH, Batch, Member, open_http
from stationkeep.node.agent.behaviour import Behaviour
from stationkeep.node.agent.device import Identity, Ringed
from stationkeep.node.agent.link import OVERTAKEN, Link
from stationkeep.node.agent.readings import Readings
from stationkeep.node.agent.simulated_device import SimulatedDevice
from stationkeep.node.agent.tally import Tally
from stationkeep.node.agent.updates import Updates
from stationkeep.node.security.credentials import Access, Credentials
from stationkeep.node.wire.tasks import TaskState

MAX_DEVICES = 60_000
"""Of one process: about the ports that one address has for connections to another."""
STARTS_PER_SECOND = 1_000
"""Connections opened at the start; a node takes in some thousand a second."""
RETURN_SECONDS = 5.0
"""Between two looks at devices that another agent speaks for."""
LOOKS = 64
"""Devices looked at in one go."""

MODELS = (
    ("Pixel 8 Pro", "Android 14"),
    ("Galaxy S24", "Android 15"),
    ("iPhone 15", "iOS 17"),
    ("Pixel 9", "Android 14"),
    ("Xperia 1 V", "Android 13"),
    ("iPhone 13", "iOS 16"),
    ("Galaxy Tab S9", "Android 14"),
    ("OnePlus 12", "Android 14"),
)
APPS = ("1.0.0", "1.0.0", "0.9.4")
REGIONS = ("eu", "us", "apac")


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """What to simulate. `speed`: how much faster than life the devices' readings go by; when
    they speak is the nodes' to say. Ids are `prefix` and a number from 1."""

    count: int
    behaviour: Behaviour
    updates: Updates = Updates()
    speed: float = 1.0
    prefix: str = "device"

    def identity(self, index: int) -> Identity:
        """The same for the same number, always; selectors find something to select."""
        name, system = MODELS[index % len(MODELS)]
        width = max(3, len(str(self.count)))
        return Identity(
            device_id=f"{self.prefix}-{index + 1:0{width}d}",
            device_name=name,
            os_version=system,
            app_version=APPS[index % len(APPS)],
            capabilities={"deployment": True, "model": name},
            labels={"region": REGIONS[index % len(REGIONS)]},
        )


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """The fleet at one moment. Rates are per second since the moment before; `rings`: devices by
    the ring that they last heard of; `tasks`: ended ones by how they ended."""

    seconds: float
    devices: int
    connected: int
    ended: int
    statuses: int
    statuses_per_second: float
    heartbeats: int
    registrations: int
    reconnects: int
    ring_changes: int
    failed: dict[str, int]
    lost: dict[str, int]
    refused: dict[str, int]
    ended_because: dict[str, int]
    rings: dict[str, int]
    tasks: dict[str, int]


class Simulator:
    """Runs a fleet on the current event loop; `in_batches`: over HTTP, without connections."""

    def __init__(
        self,
        fleet: Fleet,
        urls: Sequence[str],
        *,
        in_batches: bool = False,
        **access: Unpack[Access],
    ) -> None:
        self._fleet = fleet
        self._addresses = Addresses(urls, credentials=Credentials(urls, **access))
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._tally = Tally()
        self._rings: Counter[str] = Counter()
        self._ended: Counter[str] = Counter()
        self._tasks: Counter[str] = Counter()
        self._away: deque[int] = deque()  # of those that ended, who may come back
        self._over = asyncio.Event()
        self._before = (0.0, 0)
        self._speaking = self._in_batches if in_batches else self._on_connections

    async def run(
        self, seconds: float, told: Callable[[Moment], None], every: float = 1.0
    ) -> Moment:
        """Runs for so long, or until `stop`, or until no device is left; `told` hears how it
        goes. Returns how it stood at the end, before anything was closed."""
        async with self._speaking():
            await self._watch(seconds, told, every)
            return self.moment()

    @contextlib.asynccontextmanager
    async def _on_connections(self) -> AsyncIterator[None]:
        devices = [self._device(index) for index in range(self._fleet.count)]
        links = [self._link(device) for device in devices]
        for index, link in enumerate(links):
            link.start(index / STARTS_PER_SECOND)
        returning = asyncio.create_task(self._bring_back(devices, links))
        try:
            yield
        finally:
            returning.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await returning
            for device, link in zip(devices, links, strict=True):
                link.stop()
                await device.stop()
            await asyncio.gather(*(link.closed() for link in links))

    def _device(self, index: int) -> SimulatedDevice:
        fleet = self._fleet
        return SimulatedDevice(self, index, fleet.identity(index), fleet.updates)

    def _link(self, device: SimulatedDevice) -> Link:
        device.link = Link(device.identity, self._addresses, device, self._tally, device)
        return device.link

    async def _bring_back(self, devices: list[SimulatedDevice], links: list[Link]) -> None:
        """Starts devices anew whose other agent has gone. As long as it is there it is left in
        peace: two fleets of the same names would else throw each other out without end."""
        async with open_http(self._addresses.credentials) as http:
            while True:
                await asyncio.sleep(RETURN_SECONDS)
                for _ in range(min(len(self._away), LOOKS)):
                    index = self._away.popleft()
                    if not await self._abandoned(http, self._fleet.identity(index).device_id):
                        self._away.append(index)
                        continue
                    former, links[index] = links[index], self._link(devices[index])
                    links[index].ring = former.ring
                    links[index].start()
                    self._ended[OVERTAKEN] -= 1

    async def _abandoned(self, http: httpx.AsyncClient, device: str) -> bool:
        """Whether nobody speaks for a device, as far as any node can be asked."""
        try:
            url = f"{self._addresses.pick()}/v1/devices/{device}"
            answer = await http.get(url, headers={"Accept": "application/json"})
            return answer.status_code == 404 or answer.json().get("online") is False
        except (httpx.HTTPError, ValueError):
            return False

    @contextlib.asynccontextmanager
    async def _in_batches(self) -> AsyncIterator[None]:
        fleet = self._fleet
        members = [
            Member(_without_tasks(fleet.identity(index)), self._device(index))
            for index in range(fleet.count)
        ]
        batches = [
            Batch(members[first : first + MAX_BATCH], self._addresses, self._tally)
            for first in range(0, fleet.count, MAX_BATCH)
        ]
        async with asyncio.TaskGroup() as group:
            speaking = [group.create_task(batch.run()) for batch in batches]
            yield
            for task in speaking:
                task.cancel()

    def stop(self) -> None:
        """Ends `run`."""
        self._over.set()

    async def _watch(self, seconds: float, told: Callable[[Moment], None], every: float) -> None:
        ends = self._loop.time() + seconds
        while not self._over.is_set() and self._loop.time() < ends:
            try:
                async with asyncio.timeout_at(min(ends, self._loop.time() + every)):
                    await self._over.wait()
            except TimeoutError:
                told(self.moment())

    def moment(self) -> Moment:
        """How it stands now."""
        tally, now = self._tally, self._loop.time() - self._began
        since, (then, sent) = now, self._before
        self._before = (now, tally.statuses)
        return Moment(
            seconds=now,
            devices=self._fleet.count,
            connected=tally.connected,
            ended=self._ended.total(),
            statuses=tally.statuses,
            statuses_per_second=(tally.statuses - sent) / max(since - then, 1e-3),
            heartbeats=tally.heartbeats,
            registrations=tally.registrations,
            reconnects=tally.reconnects,
            ring_changes=tally.rings,
            failed=dict(tally.failed),
            lost=dict(tally.lost),
            refused=dict(tally.errors),
            ended_because=dict(+self._ended),
            tasks=dict(self._tasks),
            rings={ring: count for ring, count in sorted(self._rings.items()) if count},
        )

    # -- what devices ask and tell --------------------------------------------------------------

    def readings(self, index: int, count: int) -> Readings:
        at = (self._loop.time() - self._began) * self._fleet.speed
        return self._fleet.behaviour(index, at, count)

    def moved(self, news: Ringed) -> None:
        self._rings[news.ring] += 1
        if news.previous is not None:
            self._rings[news.previous] -= 1

    def task_ended(self, state: TaskState) -> None:
        self._tasks[state] += 1

    def ended(self, index: int, why: str) -> None:
        self._ended[why] += 1
        if why == OVERTAKEN:
            self._away.append(index)
        elif self._ended.total() - len(self._away) == self._fleet.count:
            self._over.set()


def _without_tasks(identity: Identity) -> Identity:
    """Who has no connection is told none."""
    able = {name: can for name, can in identity.capabilities.items() if name != "deployment"}
    return replace(identity, capabilities=able)
