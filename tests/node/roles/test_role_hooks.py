"""Role hooks: retried with back-off, cut short by what takes authority away; then for real."""

import asyncio
import time
from pathlib import Path

import pytest

from stationkeep.cluster.transitions import Role
from stationkeep.node.config.hooks import HookConfig
from stationkeep.node.hooks.runner import HookResult, HookRunner, ProcessRunner
from stationkeep.node.ports import Clock
from stationkeep.node.roles.enacted import Enacted
from stationkeep.node.roles.role_hooks import Order, RoleHooks
from stationkeep.node.system.clock import SystemClock
from tests.node.hooks.test_runner import runs
from tests.node.world import Hooks, ManualClock

FAILED = HookResult(False, "exit status 1")
BACKUP: Order = (Role.BACKUP, 4)
PRIMARY: Order = (Role.PRIMARY, 5)
SAFE: Order = (Role.SAFE_MODE, 5)
ALL = HookConfig({role.value: f"be {role}" for role in Role})


def lane(clock: Clock, hooks: HookRunner, config: HookConfig = ALL) -> RoleHooks:
    return RoleHooks(
        config,
        clock=clock,
        hooks=hooks,
        enacted=Enacted(),
        save=lambda: None,
        environment=lambda _: {},
    )


class Bench:
    """A lane on simulated hooks."""

    def __init__(self, config: HookConfig = ALL) -> None:
        self.clock, self.hooks = ManualClock(offset=0.0), Hooks()
        self.lane = lane(self.clock, self.hooks, config)

    @property
    def started(self) -> list[str]:
        return [command.removeprefix("be ") for command, _ in self.hooks.started]

    def tries(self, order: Order | None, seconds: float) -> list[float]:
        """Moments at which a hook is started, from now on; turns only when the lane asks."""
        began, moments = self.clock.now, list[float]()
        while self.clock.now - began <= seconds:
            before = len(self.started)
            self.lane.pursue(order)
            moments += [self.clock.now - began] * (len(self.started) - before)
            self.clock.now = min(self.lane.next_wakeup(), began + seconds + 1)
        return moments


def test_a_failed_hook_is_tried_again_ever_more_slowly() -> None:
    bench = Bench()
    bench.hooks.result = FAILED
    assert bench.tries(BACKUP, 190) == [0, 2, 6, 14, 30, 62, 122, 182]


def test_success_ends_the_tries() -> None:
    bench = Bench()
    bench.hooks.result = FAILED
    bench.lane.pursue(BACKUP)
    assert bench.lane.failure is not None
    bench.hooks.result = HookResult(True)
    assert bench.tries(BACKUP, 100) == [2]
    assert bench.lane.is_enacted(BACKUP)
    assert bench.lane.failure is None


@pytest.mark.parametrize("order", [SAFE, (Role.BACKUP, 6)])
def test_another_role_or_epoch_begins_anew(order: Order) -> None:
    bench = Bench()
    bench.hooks.result = FAILED
    bench.tries(BACKUP, 20)
    assert bench.tries(order, 10) == [0, 2, 6]


def test_without_an_order_nothing_is_tried() -> None:
    bench = Bench()
    bench.hooks.result = FAILED
    bench.lane.pursue(BACKUP)
    assert bench.tries(None, 100) == []


@pytest.mark.parametrize("order", [SAFE, BACKUP, (Role.STANDBY, 6)])
def test_what_takes_authority_away_cuts_the_primary_hook_short(order: Order) -> None:
    bench = Bench()
    bench.hooks.hold = True
    bench.lane.pursue(PRIMARY)
    bench.lane.pursue(order)
    assert bench.hooks.cancelled == ["be PRIMARY"]
    assert bench.started == ["PRIMARY", order[0]]
    primary, other = bench.hooks.waiting
    primary(HookResult(True))  # too late to mean anything
    assert not bench.lane.is_enacted(PRIMARY)
    assert bench.lane.running is order[0]
    other(HookResult(True))
    assert bench.lane.is_enacted(order)


@pytest.mark.parametrize(
    ("running", "order"), [(BACKUP, PRIMARY), (SAFE, PRIMARY), (BACKUP, SAFE), (PRIMARY, PRIMARY),
                           (PRIMARY, (Role.PRIMARY, 7)), (PRIMARY, None)]
)  # fmt: skip
def test_everything_else_waits(running: Order, order: Order | None) -> None:
    bench = Bench()
    bench.hooks.hold = True
    bench.lane.pursue(running)
    bench.lane.pursue(order)
    assert bench.hooks.cancelled == []
    assert bench.started == [running[0]]
    bench.hooks.waiting.pop()(HookResult(True))
    bench.lane.pursue(order)
    expected = [running[0]] if order in (running, None) else [running[0], order[0]]
    assert bench.started == expected


@pytest.mark.parametrize("config", [ALL, HookConfig({"PRIMARY": "be PRIMARY"})])
def test_nothing_is_enacted_until_the_killed_hook_is_gone(config: HookConfig) -> None:
    bench = Bench(config)
    bench.hooks.hold = bench.hooks.linger = True
    bench.lane.pursue(PRIMARY)
    bench.hooks.hold = False
    bench.lane.pursue(SAFE)
    bench.lane.pursue(SAFE)
    assert not bench.lane.is_enacted(SAFE)
    bench.lane.pursue(PRIMARY)
    assert bench.started.count("PRIMARY") == 1
    bench.hooks.linger = False
    bench.lane.pursue(SAFE)
    assert bench.lane.is_enacted(SAFE)
    bench.lane.pursue(PRIMARY)
    assert bench.started.count("PRIMARY") == 2


def test_a_fence_that_fails_is_tried_again_beside_what_cannot_be_killed() -> None:
    bench = Bench()
    bench.hooks.hold = bench.hooks.linger = True
    bench.lane.pursue(PRIMARY)
    bench.hooks.hold, bench.hooks.result = False, FAILED
    assert bench.tries(SAFE, 7) == [0, 2, 6]
    assert bench.tries(PRIMARY, 7) == []
    bench.hooks.linger = False
    assert bench.tries(PRIMARY, 1) == [0]


def test_a_failure_to_undo_primary_does_not_make_one_forget_it() -> None:
    bench = Bench()
    bench.hooks.result = FAILED
    for order in (PRIMARY, BACKUP):
        bench.lane.pursue(order)
    enacted = bench.lane._enacted
    assert enacted.may_be_primary
    bench.hooks.result = HookResult(True)
    bench.tries(BACKUP, 3)
    assert not enacted.may_be_primary


async def until(lane: RoleHooks, order: Order, woken: asyncio.Event) -> None:
    """Pursues an order as the driver does: when woken, and when the lane asks."""
    async with asyncio.timeout(30):
        lane.pursue(order)
        while not lane.is_enacted(order):
            wanted = min(lane.next_wakeup() - time.monotonic(), 10.0)
            await asyncio.wait({asyncio.ensure_future(woken.wait())}, timeout=max(wanted, 0.0))
            woken.clear()
            lane.pursue(order)


async def test_real_processes_are_gone_when_the_fence_is_enacted(tmp_path: Path) -> None:
    pids, fenced, woken = tmp_path / "pids", tmp_path / "fenced", asyncio.Event()
    config = HookConfig(
        {
            "PRIMARY": f"trap '' TERM; sleep 60 & echo $! $$ > {pids}.new; mv {pids}.new {pids};"
            " wait",
            "SAFE_MODE": f"touch {fenced}",
        },
        timeout=60,
    )
    real = lane(SystemClock(), ProcessRunner(woken.set), config)
    real.pursue(PRIMARY)
    while not pids.exists():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    began = time.monotonic()
    await until(real, SAFE, woken)
    assert not any(runs(int(pid)) for pid in pids.read_text().split())
    assert fenced.exists()
    assert time.monotonic() - began < 30


async def test_a_real_hook_that_failed_once_is_run_again(tmp_path: Path) -> None:
    mark, woken = tmp_path / "mark", asyncio.Event()
    config = HookConfig({"BACKUP": f"test -e {mark} || {{ touch {mark}; exit 1; }}"})
    real = lane(SystemClock(), ProcessRunner(woken.set), config)
    await until(real, BACKUP, woken)
    assert mark.exists()
