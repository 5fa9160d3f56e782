"""Effects: level-triggered, one at a time, once per order, remembered across restarts."""

import pytest

from cluster.roles.transitions import Role
from node.config import HookConfig
from node.hooks import HookResult
from tests.node.world import World

HOOKS = HookConfig(roles={role.value: f"be {role}" for role in Role})


def settled(nodes: int = 3, hooks: HookConfig = HOOKS) -> World:
    world = World(nodes, hooks=hooks)
    world.run_until(lambda: world.primary is not None, 5)
    world.run(16)
    return world


def commands(world: World, node: str) -> list[str]:
    return [command for command, _ in world.hooks[node].started]


def test_a_role_without_a_hook_is_enacted_at_once() -> None:
    world = settled(hooks=HookConfig())
    enacted = {name: loop.enactor.enacted.role for name, loop in world.loops.items()}
    assert sorted(role.value for role in enacted.values() if role) == [
        "BACKUP",
        "PRIMARY",
        "STANDBY",
    ]


def test_hooks_run_one_at_a_time() -> None:
    world = World(1, hooks=HOOKS)
    hooks = world.hooks["sat-001"]
    hooks.hold = True
    world.run(6)
    assert commands(world, "sat-001") == ["be STANDBY"]
    assert world.loops["sat-001"].enactor.running == "role STANDBY"
    hooks.hold = False
    hooks.waiting.pop()(HookResult(True))
    world.run(1)
    assert commands(world, "sat-001") == ["be STANDBY", "be PRIMARY"]


def test_a_lapsed_lease_runs_the_safe_mode_hook_in_time() -> None:
    world = settled()
    primary = world.primary
    assert primary is not None
    world.partition(primary)
    world.run(2.6)
    assert commands(world, primary)[-1] == "be SAFE_MODE"
    assert world.hooks[primary].started[-1][1]["STATIONKEEP_REASON"] == "lease_lapsed"


def test_nothing_is_enacted_before_a_leader_is_heard() -> None:
    world = settled()
    node = next(n for n in world.names if n != world.primary)
    before = len(commands(world, node))
    world.kill(node)
    world.elect(None)
    world.start(node)
    world.run(5)
    assert len(commands(world, node)) == before


def test_a_primary_that_comes_back_to_no_leader_fences_itself() -> None:
    world = settled()
    primary = world.primary
    assert primary is not None
    world.kill(primary)
    world.elect(None)
    world.start(primary)
    world.run(1)
    assert commands(world, primary)[-1] == "be SAFE_MODE"


def test_a_failed_hook_is_tried_again_after_a_restart() -> None:
    world = World(1, hooks=HOOKS)
    hooks = world.hooks["sat-001"]
    hooks.result = HookResult(False, "exit status 1")
    world.run(3)
    tries = commands(world, "sat-001").count("be STANDBY")
    assert tries == 1
    hooks.result = HookResult(True)
    world.kill("sat-001")
    world.start("sat-001")
    world.run(5)
    assert commands(world, "sat-001")[-1] == "be PRIMARY"


@pytest.mark.parametrize("content", [b"", b"{", b'{"role": "KING"}'])
def test_an_unreadable_memory_counts_as_empty(content: bytes) -> None:
    world = settled()
    node = next(n for n in world.names if n != world.primary)
    before = len(commands(world, node))
    world.kill(node)
    world.memories[node].content = content
    world.start(node)
    world.run(2)
    assert len(commands(world, node)) == before + 1


def test_a_disk_that_refuses_does_not_stop_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(1, hooks=HOOKS)

    def refuse(_: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(world.memories["sat-001"], "save", refuse)
    world.run(5)
    assert world.primary == "sat-001"
