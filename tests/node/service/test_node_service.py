"""The asynchronous face: submissions are bounded and always answered, followers never block."""

import asyncio
from contextlib import aclosing

import pytest

from stationkeep.cluster.commands import AnyCommand, Barrier, Draft, Pause, RunAction
from stationkeep.node import replica as replica_module
from stationkeep.node.ports import Committed, NotProposed, OutcomeUnknown, ProposalResult
from stationkeep.node.service import node_service as module
from stationkeep.node.service.node_service import NodeService
from stationkeep.node.service.port import TooManyFollowers
from tests.node.world import World


class Live:
    """A settled world of one, driven by hand."""

    def __init__(self) -> None:
        self.world = World(1)
        self.world.run_until(lambda: self.world.primary is not None, 5)
        self.woken = 0
        self.service = NodeService(self.world.loops["sat-001"], self.wake)

    def wake(self) -> None:
        self.woken += 1

    async def submit(self, command: AnyCommand, *identity: str) -> ProposalResult:
        """`identity`: key, actor, reason."""
        task = asyncio.create_task(self.service.submit(Draft(command, *identity)))
        await asyncio.sleep(0)
        self.world.run(0.1)
        return await task


async def test_a_command_is_answered_once_applied() -> None:
    live = Live()
    result = await live.submit(Pause(60_000), "k", "me", "why")
    assert isinstance(result, Committed)
    assert live.woken == 1
    operation = live.world.loops["sat-001"].replica.state.operations.find("me", "k")
    assert operation is not None
    assert operation.kind == "Pause"
    assert isinstance(await live.submit(Barrier()), Committed)


async def test_barriers_of_one_turn_share_an_entry_also_when_one_gives_up() -> None:
    live = Live()
    index = live.world.loops["sat-001"].replica.state.index
    first, gone, last = (asyncio.create_task(live.service.barrier(5)) for _ in range(3))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    later = asyncio.create_task(live.service.barrier(5))
    for _ in range(3):
        await asyncio.sleep(0)
    live.world.run(0.05)
    found = await first, await last, await later
    assert [type(result) for result in found] == [Committed] * 3
    assert found[0] == found[1]
    assert (found[0].index, found[2].index) == (index + 1, index + 2)


async def test_submissions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    live = Live()
    monkeypatch.setattr(module, "MAX_SUBMISSIONS", 0)
    assert await live.service.submit(Draft(Barrier())) == NotProposed("queue_full")


async def test_a_command_too_large_and_one_too_late() -> None:
    live = Live()
    huge = RunAction("x", parameters={"x": "y" * 300_000})
    assert await live.service.submit(Draft(huge)) == NotProposed("too_large")
    live.service.draining = True
    assert await live.service.submit(Draft(Barrier())) == NotProposed("stopping")


async def test_closing_answers_everyone() -> None:
    live = Live()
    waiting = asyncio.create_task(live.service.submit(Draft(Barrier())))
    following = asyncio.create_task(anext(live.service.events(), None))
    await asyncio.sleep(0)
    live.service.close()
    assert isinstance(await waiting, OutcomeUnknown)
    assert await following is None


async def test_events_come_live_and_can_be_resumed() -> None:
    live = Live()
    async with aclosing(live.service.events()) as events:
        first = asyncio.create_task(anext(events))
        await asyncio.sleep(0)
        await live.submit(Pause(60_000), "k")
        seen = [await first, await anext(events)]
    assert {e.kind for e in seen} == {"pause_changed", "decided"}
    async with aclosing(live.service.events(seen[0].id)) as events:
        assert await anext(events) == seen[1]


async def test_a_gap_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica_module, "MAX_EVENTS", 3)
    live = Live()
    live.world.run(5)
    async with aclosing(live.service.events("1.0")) as events:
        assert (await anext(events)).kind == "gap"
        assert (await anext(events)).event is not None


async def test_a_slow_follower_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica_module, "MAX_EVENTS", 4)
    live = Live()
    async with aclosing(live.service.events()) as events:
        first = asyncio.create_task(anext(events))
        await asyncio.sleep(0)
        await live.submit(Pause(60_000), "k")
        await first
        live.world.run(20)
        kinds = [event.kind async for event in events]
    assert kinds[-1] == "overrun"
    assert len(kinds) < 5


async def test_followers_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FOLLOWERS", 0)
    with pytest.raises(TooManyFollowers):
        await anext(Live().service.events())
