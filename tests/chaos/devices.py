"""Devices of a constellation: a simulated fleet, and single ones whose health a test decides."""

import asyncio
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from stationkeep.node.agent import DeviceAgent, Readings
from stationkeep.node.agent.behaviour import behaviour
from stationkeep.node.agent.simulator import Fleet, Moment, Simulator
from stationkeep.node.chaos.constellation import Constellation
from tests.node.agent.threads import LoopThread

PAGE = 1_000
WELL = Readings(battery_level=90, battery_charging=False, cpu_usage=20, memory_usage=30)
ILL = Readings(battery_level=90, battery_charging=False, cpu_usage=97, memory_usage=30)


class Devices:
    """What runs beside the nodes; `end` ends all of it."""

    def __init__(self, constellation: Constellation) -> None:
        self._constellation = constellation
        self._thread = LoopThread()
        self._simulator: Simulator | None = None
        self._run: Future[Moment] | None = None
        self._agents: list[DeviceAgent] = []

    @property
    def urls(self) -> list[str]:
        return [f"http://{address}" for address in self._constellation.addresses.values()]

    def simulate(
        self, count: int, profile: str, *, data: tuple[Path, ...] = (), speed: float = 1.0
    ) -> None:
        """Starts a fleet; `moment` says how it is."""

        async def made() -> Simulator:
            fleet = Fleet(count=count, behaviour=behaviour(profile, 1, data), speed=speed)
            return Simulator(fleet, self.urls)

        self._simulator = self._thread.do(made())
        running = self._simulator.run(3_600, lambda _: None)
        self._run = asyncio.run_coroutine_threadsafe(running, self._thread.loop)

    def moment(self) -> Moment:
        async def look() -> Moment:
            assert self._simulator is not None
            return self._simulator.moment()

        return self._thread.do(look())

    def named(self, count: int, health: dict[str, Readings]) -> list[DeviceAgent]:
        """Registers agents; how each feels is what `health` says of its id, or well."""

        async def started() -> list[DeviceAgent]:
            agents = [
                DeviceAgent(
                    f"phone-{number:02d}",
                    self.urls,
                    read_status=lambda name=f"phone-{number:02d}": health.get(name, WELL),  # type: ignore[misc]
                )
                for number in range(1, count + 1)
            ]
            await asyncio.gather(*(agent.start() for agent in agents))
            return agents

        self._agents += self._thread.do(started())
        return self._agents

    def end(self) -> None:
        for agent in self._agents:
            self._thread.do(agent.stop())
        if self._simulator is not None and self._run is not None:
            self._thread.loop.call_soon_threadsafe(self._simulator.stop)
            self._run.result(20)
        self._thread.end()


def counts(constellation: Constellation, node: str) -> dict[str, Any]:
    """How one node sees the fleet."""
    fleet: dict[str, Any] = constellation.ask(node, "/v1/cluster")["fleet"]
    return fleet


def table(constellation: Constellation) -> dict[str, dict[str, Any]]:
    """Id → device, as the first node that answers has them all."""
    found: dict[str, dict[str, Any]] = {}
    cursor = ""
    while True:
        page = constellation.anyone(f"/v1/devices?limit={PAGE}{cursor}")
        found |= {device["id"]: device for device in page["items"]}
        if page["next"] is None:
            return found
        cursor = f"&cursor={page['next']}"
