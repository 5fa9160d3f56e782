"""A simulated fleet against a node's door that the test plays."""

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import cycle

import httpx
import pytest

from stationkeep.node.agent import addresses, patience, simulator
from stationkeep.node.agent.behaviour import behaviour
from stationkeep.node.agent.simulator import Fleet, Moment, Simulator
from stationkeep.node.wire import messages as wire
from stationkeep.node.wire.messages import Code
from tests.node.agent.door import Door, ack, assignment, error, welcoming


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(addresses, "LONGEST_PAUSE", 0.1)
    monkeypatch.setattr(patience, "SHORTEST_PATIENCE", 0.3)


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    async with Door() as made:
        rings = cycle(("canary", "dev", "stage", "prod"))

        def dealing(door: Door, said: wire.Said) -> wire.Told | None:
            if isinstance(said, wire.Registration):
                return ack(said.sender_id, next(rings))
            return welcoming(door, said)

        made.answer = dealing
        yield made


def fleet(count: int = 20, profile: str = "mixed", **more: object) -> Fleet:
    return Fleet(count=count, behaviour=behaviour(profile, 1), **more)  # type: ignore[arg-type]


class Watched:
    """A run in the background; `until` waits for a moment that is so."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self._task = asyncio.create_task(simulator.run(60, self._told, every=0.02))
        self._news = asyncio.Event()
        self._moment: Moment | None = None

    def _told(self, moment: Moment) -> None:
        self._moment = moment
        self._news.set()

    async def until(self, condition: Callable[[Moment], object]) -> Moment:
        async with asyncio.timeout(10):
            while self._moment is None or not condition(self._moment):
                self._news.clear()
                await self._news.wait()
        return self._moment

    async def over(self) -> Moment:
        async with asyncio.timeout(10):
            return await self._task

    async def end(self) -> Moment:
        self.simulator.stop()
        return await self.over()


async def test_every_device_registers_reports_and_hears_its_ring(door: Door) -> None:
    run = Watched(Simulator(fleet(), [door.url]))
    await run.until(lambda m: m.connected == 20 and m.statuses > 40 and m.heartbeats > 20)
    end = await run.end()
    assert end.rings == {"canary": 5, "dev": 5, "prod": 5, "stage": 5}
    assert (end.registrations, end.reconnects, end.ring_changes) == (20, 0, 20)
    assert {s.sender_id for s in door.of(wire.StatusUpdate)} == {
        f"device-{number:03d}" for number in range(1, 21)
    }
    async with asyncio.timeout(5):
        while door.connections:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_devices_come_back_after_the_node_does(door: Door) -> None:
    run = Watched(Simulator(fleet(), [door.url]))
    await run.until(lambda m: m.connected == 20)
    await door.close()
    await run.until(lambda m: m.connected == 0 and "nobody there: Connection refused" in m.failed)
    await door.open()
    moment = await run.until(lambda m: m.connected == 20)
    assert moment.reconnects == 20
    assert sum(moment.lost.values()) == 20
    assert sum((await run.end()).rings.values()) == 20


async def test_ring_changes_and_refusals_are_counted(door: Door) -> None:
    run = Watched(Simulator(fleet(2), [door.url]))
    before = await run.until(lambda m: m.connected == 2)
    assert before.rings == {"canary": 1, "dev": 1}
    await door.tell(assignment("", "prod"))
    await door.tell(error("", Code.TOO_FAST))
    moment = await run.until(lambda m: m.rings == {"prod": 2} and m.refused == {"too_fast": 2})
    assert moment.ring_changes == 4
    await run.end()


async def test_it_is_over_when_no_device_is_left(door: Door) -> None:
    door.answer = lambda _, said: error(said.sender_id, Code.INVALID)
    moment = await Watched(Simulator(fleet(3), [door.url])).over()
    assert (moment.ended, moment.connected) == (3, 0)


@pytest.mark.parametrize(
    "answer", [httpx.Response(404), httpx.Response(200, json={"online": False})]
)
async def test_a_device_comes_back_when_its_other_agent_is_gone(
    door: Door, monkeypatch: pytest.MonkeyPatch, answer: httpx.Response
) -> None:
    others = [httpx.Response(503), httpx.Response(200, json={"online": True}), answer]
    asked: list[str] = []

    def taken(_door: Door, said: wire.Said) -> wire.Told:
        return error(said.sender_id, Code.OUTDATED, closing=True, session=wire.MAX_ORDINAL)

    def say(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        if len(asked) == len(others):
            door.answer = welcoming
        return others[len(asked) - 1]

    monkeypatch.setattr(
        simulator, "open_http", lambda _: httpx.AsyncClient(transport=httpx.MockTransport(say))
    )
    monkeypatch.setattr(simulator, "RETURN_SECONDS", 0.01)
    run = Watched(Simulator(fleet(1), [door.url]))
    await run.until(lambda m: m.connected == 1)
    door.answer = taken
    await door.tell(error("", Code.SUPERSEDED, closing=True))
    moment = await run.until(lambda m: m.connected == 1 and m.registrations == 2)
    assert asked == ["/v1/devices/device-001"] * 3
    assert (moment.ended, moment.ended_because) == (0, {})
    assert sum(moment.rings.values()) == 1
    await run.end()


async def test_it_ends_when_its_time_is_over(door: Door) -> None:
    end = await Simulator(fleet(2), [door.url]).run(0.3, lambda _: None)
    assert end.connected == 2
    assert 0.3 <= end.seconds < 5


async def test_the_same_seed_is_the_same_fleet_again(door: Door) -> None:
    for _ in range(2):
        run = Watched(Simulator(fleet(8, "flapping"), [door.url]))
        await run.until(lambda m: m.connected == 8)
        await run.end()
    ill: dict[str, list[bool]] = {}
    for registration in door.of(wire.Registration):
        status = registration.payload.device_status
        ill.setdefault(registration.sender_id, []).append(status.cpu_usage > 80)
    assert all(first == second for first, second in ill.values())
    assert {first for first, _ in ill.values()} == {True, False}


def test_identities_are_stable_and_differ() -> None:
    made = [fleet(12).identity(index) for index in range(12)]
    assert made == [fleet(12).identity(index) for index in range(12)]
    assert [made[0].device_id, made[11].device_id] == ["device-001", "device-012"]
    assert fleet(12_000, prefix="load").identity(0).device_id == "load-00001"
    assert len({one.device_name for one in made}) == 8
    assert len({one.labels["region"] for one in made}) == 3
