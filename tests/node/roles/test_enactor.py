"""Effects: level-triggered, in two lanes, retried, once per order, remembered across restarts."""

import pytest
from structlog.testing import capture_logs

from stationkeep.cluster.commands import ChangeSettings, Draft, Failover, RunAction
from stationkeep.cluster.state import codec
from stationkeep.cluster.state.state import Ack
from stationkeep.cluster.transitions import Role
from stationkeep.node.config.hooks import HookConfig
from stationkeep.node.hooks.runner import HookResult
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


def test_role_hooks_run_one_at_a_time() -> None:
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


def test_a_failed_hook_is_tried_again_at_once_after_a_restart() -> None:
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


def fail_over(world: World, target: str) -> None:
    draft = codec.encode_draft(Draft(Failover(target), f"op-{world.now}", "me", "why"))
    assert world.leader is not None
    world.loops[world.leader].consensus.propose(draft, lambda _: None, 5)
    world.run(1)


def holder_and_backup(world: World) -> tuple[str, str]:
    state = world.loops[world.names[0]].replica.state
    assert state.seat.holder is not None
    return state.seat.holder, next(m.id for m in state.members.values() if m.role is Role.BACKUP)


def test_a_demotion_is_not_acknowledged_before_its_hook_has_run_and_the_primary_hook_is_gone() -> (
    None
):
    world = settled()
    former, latter = holder_and_backup(world)
    hooks = world.hooks[latter]
    hooks.hold = hooks.linger = True
    fail_over(world, latter)
    fail_over(world, former)
    seat = world.loops[former].replica.state.seat
    assert commands(world, latter)[-2:] == ["be PRIMARY", "be BACKUP"]
    assert hooks.cancelled == ["be PRIMARY"]
    assert (seat.holder, seat.active) == (former, False)
    hooks.waiting.pop()(HookResult(True))
    world.run(0.2)
    assert not world.loops[former].replica.state.seat.active
    hooks.linger = False
    world.run(0.6)
    assert world.loops[former].replica.state.seat.active


def test_a_fence_cuts_in_on_the_primary_hook() -> None:
    world = settled()
    _, latter = holder_and_backup(world)
    hooks = world.hooks[latter]
    hooks.hold = True
    fail_over(world, latter)
    world.partition(latter)
    world.run(2.6)
    assert commands(world, latter)[-2:] == ["be PRIMARY", "be SAFE_MODE"]
    assert hooks.cancelled == ["be PRIMARY"]


def test_a_promotion_waits_for_the_demotion_before_it() -> None:
    world = settled()
    former, latter = holder_and_backup(world)
    hooks = world.hooks[former]
    hooks.hold = True
    fail_over(world, latter)
    fail_over(world, former)
    world.run_until(lambda: world.primary == former, 5)
    assert commands(world, former)[-1] == "be BACKUP"
    assert hooks.cancelled == []
    hooks.hold = False
    hooks.waiting.pop()(HookResult(True))
    world.run(0.6)
    assert commands(world, former)[-1] == "be PRIMARY"


def propose(world: World, command: RunAction) -> None:
    assert world.leader is not None
    draft = codec.encode_draft(Draft(command, f"op-{world.now}", "me", "why"))
    world.loops[world.leader].consensus.propose(draft, lambda _: None, 5)
    world.run(0.2)


def test_a_fence_does_not_wait_for_an_operators_action() -> None:
    hooks = HookConfig(roles=HOOKS.roles, actions={"backup": "take", "reboot": "do"})
    world = settled(hooks=hooks)
    primary, _ = holder_and_backup(world)
    world.hooks[primary].hold = True
    propose(world, RunAction("backup", targets=(primary,)))
    propose(world, RunAction("reboot", targets=(primary,)))
    assert commands(world, primary)[-1] == "take"
    world.partition(primary)
    world.run(2.6)
    assert commands(world, primary)[-2:] == ["take", "be SAFE_MODE"]
    assert world.loops[primary].enactor.running.startswith("role SAFE_MODE, action act-")
    assert world.hooks[primary].cancelled == []
    take = world.hooks[primary].waiting[0]
    take(HookResult(True))
    world.run(0.6)
    assert commands(world, primary)[-1] == "do"


def ack_of(world: World, node: str, role: Role) -> Ack:
    """The answer to the newest change of `node` to `role`."""
    state = world.loops[world.names[0]].replica.state
    actions = [*state.closed_actions, *state.actions.values()]
    return next(
        action.acks[node]
        for action in reversed(actions)
        if any(c.node == node and c.target is role for c in action.changes)
    )


def test_a_former_primary_whose_demotion_failed_is_demoted_later_and_the_ack_stays() -> None:
    world = settled()
    former, latter = holder_and_backup(world)
    world.hooks[former].results["be BACKUP"] = HookResult(False, "exit 1")
    fail_over(world, latter)
    assert world.loops[former].enactor.enacted.role is Role.PRIMARY
    world.hooks[former].results.clear()
    world.run(1.5)
    assert commands(world, former)[-2:] == ["be BACKUP", "be BACKUP"]
    assert world.loops[former].enactor.enacted.role is Role.BACKUP
    world.run(3)
    assert ack_of(world, former, Role.BACKUP).detail == "BACKUP hook: exit 1"


def test_a_retry_that_succeeds_before_the_failure_is_in_the_log_is_a_success() -> None:
    world = settled()
    former, latter = holder_and_backup(world)
    hooks = world.hooks[former]
    hooks.hold = True
    fail_over(world, latter)
    world.elect(None)
    hooks.hold = False
    hooks.waiting.pop()(HookResult(False, "exit 1"))
    world.run(2.6)
    assert commands(world, former)[-2:] == ["be BACKUP", "be BACKUP"]
    world.elect(world.names[-1])
    world.run(1.5)
    assert ack_of(world, former, Role.BACKUP).success


@pytest.mark.parametrize("restart", [False, True])
def test_a_primary_hook_that_failed_or_died_halfway_is_undone_by_the_demotion(
    restart: bool,
) -> None:
    world = settled()
    former, latter = holder_and_backup(world)
    world.hooks[latter].hold, world.hooks[latter].result = restart, HookResult(False, "exit 1")
    fail_over(world, latter)
    world.hooks[latter].hold, world.hooks[latter].result = False, HookResult(True)
    if restart:
        world.kill(latter)
        world.start(latter)
    fail_over(world, former)
    world.run(2)
    assert commands(world, latter)[-1] == "be BACKUP"


def test_a_fence_that_failed_once_is_tried_again_at_the_next_lapse() -> None:
    world = settled()
    primary, _ = holder_and_backup(world)
    world.hooks[primary].result = HookResult(False, "exit 1")
    for _ in range(2):
        world.elect(None)
        world.run(3)
        world.elect(primary)
        world.run_until(lambda: world.primary == primary, 5)
    assert commands(world, primary).count("be SAFE_MODE") == 2


# -- time ----------------------------------------------------------------------------------------


def test_an_action_that_hangs_costs_the_next_one_no_more_than_its_own_deadline() -> None:
    world = World(1, hooks=HookConfig(actions={"backup": "take", "rotate": "turn"}, timeout=60))
    world.run(5)
    hooks = world.hooks["sat-001"]
    hooks.hold = True
    for name, deadline in (("backup", 2_000), ("rotate", 5_000)):
        draft = codec.encode_draft(Draft(RunAction(name, ("sat-001",), deadline=deadline)))
        world.loops["sat-001"].consensus.propose(draft, lambda _: None, 5.0)
        world.run(0.1)
    assert commands(world, "sat-001") == ["take"]
    assert 1.8 < hooks.timeouts[0] <= 2.0
    world.run(hooks.timeouts[0])
    hooks.waiting.pop()(HookResult(False, "timed out"))
    world.run(0.1)
    assert commands(world, "sat-001") == ["take", "turn"]
    assert 2.5 < hooks.timeouts[1] < 3.2, "what it has left"
    hooks.waiting.pop()(HookResult(True))
    world.run(0.5)
    closed = world.loops["sat-001"].replica.state.closed_actions
    assert [(a.name, a.outcome.value) for a in closed if a.name != "role_change"] == [
        ("backup", "noncompliant"),
        ("rotate", "compliant"),
    ]


@pytest.mark.parametrize(("timeout", "warned"), [(10.0, True), (3.0, True), (2.9, False)])
def test_hooks_that_may_outlast_the_deadline_are_said_at_the_start(
    timeout: float, warned: bool
) -> None:
    """`demo` waits 3 s for the word that a role is enacted."""
    with capture_logs() as logs:
        World(1, hooks=HookConfig(roles=HOOKS.roles, timeout=timeout)).run(3)
    said = [line for line in logs if line["event"] == "hooks_outlast_deadline"]
    assert [line["action_deadline"] for line in said] == ["3 s"] * warned


def test_a_deadline_that_is_shortened_under_the_hooks_is_said_too() -> None:
    world = World(1, hooks=HookConfig(roles=HOOKS.roles, timeout=2.0))
    world.run(3)
    draft = codec.encode_draft(Draft(ChangeSettings({"action_deadline": 1_500})))
    with capture_logs() as logs:
        world.loops["sat-001"].consensus.propose(draft, lambda _: None, 5.0)
        world.run(1)
    assert [line["event"] for line in logs].count("hooks_outlast_deadline") == 1
