"""Simulated devices that are told to update."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from stationkeep.node.agent.behaviour import behaviour
from stationkeep.node.agent.simulated_device import BRICKED, OVERLOADED
from stationkeep.node.agent.simulator import Fleet, Simulator
from stationkeep.node.agent.tasks import carrier
from stationkeep.node.agent.updates import FAIL, ILL, Updates
from stationkeep.node.wire import messages as wire
from stationkeep.node.wire.tasks import TaskState
from tests.node.agent.door import Door
from tests.node.agent.tasks.told import artifact, task
from tests.node.agent.test_on_tasks import acknowledging
from tests.node.agent.test_simulator import Watched

COUNT = 20


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carrier, "REPEAT", 0.2)


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    async with Door(acknowledging) as made:
        yield made


def simulated(door: Door, **updates: Any) -> Watched:
    more = {"seconds": 0.05} | updates
    fleet = Fleet(count=COUNT, behaviour=behaviour("healthy", 1), updates=Updates(**more))
    return Watched(Simulator(fleet, [door.url]))


async def tell_all(door: Door, version: str = "2.0.0") -> None:
    """Each device, on whichever connection is its: a device leaves tasks of others alone."""
    for number in range(1, COUNT + 1):
        device = f"device-{number:03d}"
        which = artifact(version, url=None, sha256=None, size=None)
        payload = task(task_id=f"17/{device}/1", artifact=which)
        await door.tell(wire.Task("sat-001", device, payload))


def versions(door: Door) -> dict[str, str]:
    """What each device registered with last."""
    said = door.of(wire.Registration)
    return {one.sender_id: one.payload.device_status.app_version for one in said}


async def test_they_install_and_say_what_they_run(door: Door) -> None:
    run = simulated(door)
    await run.until(lambda m: m.connected == COUNT)
    await tell_all(door)
    await run.until(lambda m: m.tasks == {TaskState.SUCCEEDED: COUNT})
    assert set(versions(door).values()) == {"2.0.0"}
    await run.end()


async def test_some_fail_and_some_are_never_heard_of_again(door: Door) -> None:
    run = simulated(door, fail=0.3, brick=0.3)
    await run.until(lambda m: m.connected == COUNT)
    await tell_all(door)

    def over(moment: Any) -> bool:
        return sum(moment.tasks.values()) + moment.ended == COUNT

    moment = await run.until(over)
    assert moment.ended_because == {BRICKED: moment.ended}
    assert moment.connected == COUNT - moment.ended
    assert 0 < moment.tasks[TaskState.FAILED] < COUNT / 2
    assert 0 < moment.ended < COUNT / 2
    await run.end()


async def test_an_ill_version_overloads_some_of_those_that_run_it(door: Door) -> None:
    run = simulated(door, ill=0.5, ill_version="2.1.0")
    await run.until(lambda m: m.connected == COUNT)

    async def ill_after(version: str) -> int:
        await tell_all(door, version)
        await run.until(lambda m: set(versions(door).values()) == {version})
        door.said.clear()
        await door.heard(lambda _: len({s.sender_id for s in door.of(wire.StatusUpdate)}) == COUNT)
        said = door.of(wire.StatusUpdate)
        loads = {s.sender_id: s.payload.device_status.cpu_usage for s in said}
        return sum(load == OVERLOADED for load in loads.values())

    assert 0 < await ill_after("2.1.0") < COUNT
    await run.end()


async def test_some_go_back_to_what_they_ran_before(door: Door) -> None:
    run = simulated(door, revert=1.0)
    await run.until(lambda m: m.connected == COUNT)
    before = versions(door)
    await tell_all(door)
    await run.until(lambda m: m.tasks.get(TaskState.SUCCEEDED, 0) == COUNT)
    await run.until(lambda _: versions(door) == before)
    await run.end()


def test_the_same_device_takes_the_same_update_in_the_same_way() -> None:
    updates = Updates(fail=0.2, seed=7)
    draws = [updates.befalls(0.2, FAIL, device, "2.0.0", 1) for device in range(5_000)]
    assert draws == [updates.befalls(0.2, FAIL, device, "2.0.0", 1) for device in range(5_000)]
    assert 0.17 < sum(draws) / 5_000 < 0.23
    others = [updates.befalls(0.2, ILL, device, "2.0.0", 1) for device in range(5_000)]
    assert sum(a and b for a, b in zip(draws, others, strict=True)) < 300
