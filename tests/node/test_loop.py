"""Whole nodes above a shared log, in virtual time: roles.md as it is lived."""

from typing import Any

import pytest
from msgspec.structs import replace

from stationkeep.cluster.commands import Draft, Pause, RunAction, SetMaintenance, Switchover
from stationkeep.cluster.explain import explain
from stationkeep.cluster.roles.candidates import unfitness
from stationkeep.cluster.settings import PROFILES
from stationkeep.cluster.state import codec
from stationkeep.cluster.state.decisions import Outcome, Reason
from stationkeep.cluster.state.state import ActionOutcome
from stationkeep.cluster.transitions import Role
from stationkeep.node.config.hooks import HookConfig
from stationkeep.node.hooks.runner import HookResult
from stationkeep.node.ports import Committed
from tests.node.world import World

BOUND = (3 + 1) * 1.0 + 2.0
"""Invariant 6 in profile demo: (3 + 1) evaluations and one proposal timeout, s."""


def settled(world: World) -> World:
    """Runs until PRIMARY and BACKUP are in office and every cool-down is over."""
    world.run_until(lambda: world.primary is not None, 5)
    world.run(16)
    return world


def roles(world: World, viewer: str = "sat-002") -> dict[str, int]:
    members = world.loops[viewer].replica.state.members.values()
    counts: dict[str, int] = {}
    for member in members:
        counts[member.role.value] = counts.get(member.role.value, 0) + 1
    return counts


def submit(world: World, command: object, key: str = "key") -> None:
    results: list[object] = []
    draft = codec.encode_draft(Draft(command, key, "me", "test"))  # type: ignore[arg-type]
    world.loops["sat-002"].consensus.propose(draft, results.append, 5)
    world.run_until(lambda: bool(results), 6)
    assert isinstance(results[0], Committed), results


@pytest.mark.parametrize("nodes", [3, 5, 7])
def test_a_fresh_cluster_finds_its_roles(nodes: int) -> None:
    world = World(nodes)
    assert world.run_until(lambda: world.primary is not None, 5) < 3
    world.run(10)
    assert roles(world) == {"PRIMARY": 1, "BACKUP": 1, "STANDBY": nodes - 2}


def test_a_killed_primary_is_replaced_within_the_bound() -> None:
    world = settled(World(5))
    first = world.primary
    assert first is not None
    world.kill(first)
    assert world.run_until(lambda: world.primary not in (None, first), 20) <= BOUND
    world.start(first)
    world.run(30)
    viewer = next(n for n in world.names if n != first)
    assert world.loops[viewer].replica.state.members[first].role is not Role.PRIMARY


def test_losing_the_raft_leader_costs_nobody_a_role() -> None:
    world = settled(World(5))
    before = world.primary
    for name in ("sat-004", "sat-003", None, "sat-002"):
        world.elect(name)
        world.run(1.2)
        if name is not None:
            assert world.primary == before
    world.run(10)
    assert world.primary == before
    assert len(world.loops["sat-002"].replica.state.role_changes) == 2


def test_a_primary_cut_off_fences_itself_before_another_acts() -> None:
    world = settled(World(5))
    first = world.primary
    assert first is not None
    world.partition(first)
    if world.leader == first:
        world.elect(next(n for n in world.names if n != first))
    world.run(2.6)
    assert world.loops[first].lease.effective_role() is Role.SAFE_MODE
    world.run_until(lambda: world.primary not in (None, first), BOUND)
    world.heal()
    world.run(15)
    assert world.primary != first


def test_random_loss_changes_nothing() -> None:
    world = settled(World(5))
    changes = len(world.loops["sat-002"].replica.state.role_changes)
    world.loss = 0.2
    world.run(120)
    assert len(world.loops["sat-002"].replica.state.role_changes) == changes


def test_a_sick_primary_is_replaced_once_and_does_not_come_back() -> None:
    world = settled(World(5))
    first = world.primary
    assert first is not None
    world.health[first].risk = 0.45
    world.run(60)
    state = world.loops["sat-002"].replica.state
    assert world.primary not in (None, first)
    failovers = [c for c in state.role_changes if c.rule == "primary_failed" and c.node == first]
    assert len(failovers) == 1


def test_a_graceful_switchover_does_not_wait_for_the_lease() -> None:
    world = settled(World(5))
    first = world.primary
    submit(world, Switchover())
    assert world.run_until(lambda: world.primary not in (None, first), 2) < 0.5


def test_a_demotion_hook_that_hangs_delays_the_successor_no_longer_than_the_lease() -> None:
    world = settled(World(3, hooks=HookConfig(roles={"BACKUP": "demote"})))
    first = world.primary
    assert first is not None
    world.hooks[first].hold = True
    submit(world, Switchover())
    took = world.run_until(lambda: world.primary not in (None, first), 4)
    assert 1.0 < took < 3.0


def test_while_paused_nothing_changes_by_itself() -> None:
    world = settled(World(5))
    first = world.primary
    assert first is not None
    submit(world, Pause(20_000))
    world.health[first].risk = 0.9
    world.run(15)
    assert roles(world)["PRIMARY"] == 1
    assert world.primary == first
    world.run(15)
    assert world.primary != first


def test_maintenance_drains_and_ends() -> None:
    world = settled(World(5))
    first = world.primary
    assert first is not None
    submit(world, SetMaintenance(first, 15_000))
    world.run_until(lambda: world.primary not in (None, first), 3)
    assert world.loops["sat-002"].replica.state.members[first].role is Role.STANDBY


def test_hooks_get_role_epoch_and_reason() -> None:
    world = settled(World(3, hooks=HookConfig(roles={"PRIMARY": "promote"})))
    primary = world.primary
    assert primary is not None
    (started,) = world.hooks[primary].started
    assert started[0] == "promote"
    assert started[1]["STATIONKEEP_NODE"] == primary
    assert started[1]["STATIONKEEP_ROLE"] == "PRIMARY"
    assert started[1]["STATIONKEEP_PREVIOUS_ROLE"] == "STANDBY"
    assert started[1]["STATIONKEEP_EPOCH"] == "1"
    assert started[1]["STATIONKEEP_REASON"] == "seat_empty"
    assert started[1]["STATIONKEEP_ACTION_ID"].startswith("act-")


def test_a_restart_runs_no_hook_twice() -> None:
    hooks = HookConfig(roles={role.value: role.value for role in Role})
    world = settled(World(3, hooks=hooks))
    node = next(n for n in world.names if n != world.primary)
    before = len(world.hooks[node].started)
    world.kill(node)
    world.run(0.5)
    world.start(node)
    world.run(3)
    assert len(world.hooks[node].started) == before


def test_a_restarted_primary_is_fenced_until_its_lease_is_renewed() -> None:
    hooks = HookConfig(roles={role.value: role.value for role in Role})
    world = settled(World(3, hooks=hooks))
    primary = world.primary
    assert primary is not None
    world.kill(primary)
    world.run(0.2)
    world.start(primary)
    assert world.loops[primary].lease.effective_role() is not Role.PRIMARY
    world.run_until(lambda: world.primary == primary, 3)
    world.run(0.5)
    assert [c for c, _ in world.hooks[primary].started][-2:] == ["SAFE_MODE", "PRIMARY"]


def test_an_operators_action_is_run_everywhere_and_acknowledged() -> None:
    world = settled(World(3, hooks=HookConfig(actions={"reboot": "do reboot"})))
    submit(world, RunAction("reboot", parameters={"how-long": "5"}))
    world.run(2)
    action = world.loops["sat-002"].replica.state.closed_actions[-1]
    assert (action.outcome, action.compliance) == (ActionOutcome.COMPLIANT, 1_000_000)
    command, env = world.hooks["sat-001"].started[-1]
    assert (command, env["STATIONKEEP_ACTION"]) == ("do reboot", "reboot")
    assert env["STATIONKEEP_PARAMETER_HOW_LONG"] == "5"
    assert world.loops["sat-001"].enactor.enacted.finished == {}


def test_every_node_announces_what_it_has_hooks_for_once_and_again_when_that_changes() -> None:
    world = settled(World(3, hooks=HookConfig(actions={"reboot": "do", "dance": "do"})))
    state = world.loops["sat-002"].replica.state
    assert {m.actions for m in state.members.values()} == {("dance", "reboot")}
    announced = [entry for entry, _ in world.log if b"AnnounceActions" in entry]
    assert len(announced) == 3
    world._hook_config = HookConfig(actions={"dance": "do"})
    world.kill("sat-001")
    world.start("sat-001")
    world.run(3)
    state = world.loops["sat-002"].replica.state
    assert state.members["sat-001"].actions == ("dance",)


def test_a_mistyped_action_is_refused_and_costs_nobody_anything() -> None:
    world = settled(World(3, hooks=HookConfig(actions={"rotate-keys": "do"})))
    primary, results = world.primary, []
    draft = codec.encode_draft(Draft(RunAction("rotat-keys", (primary or "",)), "k", "me", ""))
    world.loops["sat-002"].consensus.propose(draft, results.append, 5)
    world.run(10)
    (result,) = results
    assert "did you mean rotate-keys?" in result.applied.outcome.detail
    members = world.loops["sat-002"].replica.state.members.values()
    assert world.primary == primary
    assert not any(member.escalated_by for member in members)


def test_a_failing_role_hook_is_acknowledged_as_failed_and_tried_again() -> None:
    world = World(3, hooks=HookConfig(roles={"BACKUP": "demote"}))
    for name in world.names:
        world.hooks[name].result = HookResult(False, "exit status 3")
    settled(world)
    state = world.loops["sat-002"].replica.state
    details = {a.detail for action in state.closed_actions for a in action.acks.values()}
    assert "BACKUP hook: exit status 3" in details
    starts = sum(len(hooks.started) for hooks in world.hooks.values())
    assert 1 < starts < 10
    world.run(60)
    assert {ack.success for a in state.closed_actions for ack in a.acks.values() if ack.detail} == {
        False
    }


def test_votes_carry_what_the_voter_heard_itself() -> None:
    world = settled(World(5))
    decisions = world.loops["sat-002"].replica.state.decisions
    approved = next(d for d in decisions if d.outcome is Outcome.APPROVED)
    assert len(approved.ballots) >= 4
    assert all(b.evidence and b.evidence[0].reports > 0 for b in approved.ballots)


def test_nodes_that_were_just_stopped_abstain() -> None:
    world = settled(World(5))
    loop = world.loops["sat-002"]
    assert loop.voter.next_wakeup() == float("inf")
    began = loop.gossip.listening_since
    world.kill("sat-002")
    world.run(5)
    world.down.discard("sat-002")  # like SIGCONT: the same process goes on
    world.run(0.01)
    assert loop.gossip.listening_since > began


def test_what_others_act_as_is_known_by_their_last_word() -> None:
    world = settled(World(3))
    primary = world.primary
    assert primary is not None
    viewer = world.loops[next(n for n in world.names if n != primary)]
    assert viewer.effective_role_of(primary) is Role.PRIMARY
    assert (viewer.lease_remaining_of(primary) or 0) > 0
    assert viewer.connected() == 3
    world.kill(primary)
    world.run(2.6)
    assert viewer.effective_role_of(primary) is None
    world.run(1)
    assert viewer.lease_remaining_of(primary) is None
    assert viewer.connected() == 2
    assert viewer.effective_role_of("nobody") is None


def test_a_node_that_lost_the_seat_is_not_taken_for_primary_by_its_last_word() -> None:
    world = settled(World(3))
    primary = str(world.primary)
    viewer = world.loops[next(n for n in world.names if n != primary)]
    assert viewer.effective_role_of(primary) is Role.PRIMARY
    submit(world, Switchover())
    while viewer.replica.state.seat.holder == primary:
        world.run(0.01)
    assert viewer.effective_role_of(primary) is not Role.PRIMARY


def test_staleness_grows_without_a_leader() -> None:
    world = settled(World(3))
    loop = world.loops["sat-001"]
    assert loop.staleness_ms() < 700
    world.elect(None)
    world.run(3)
    assert loop.staleness_ms() > 2_000


def test_equal_indices_mean_equal_digests() -> None:
    world = settled(World(5))
    world.run(1)
    by_index: dict[int, set[str]] = {}
    for loop in world.loops.values():
        digest = codec.digest(loop.replica.state)
        by_index.setdefault(loop.replica.state.index, set()).add(digest)
    assert all(len(digests) == 1 for digests in by_index.values())


def test_a_node_that_lost_its_disk_is_heard_again() -> None:
    world = settled(World(3))
    node = next(n for n in world.names if n not in (world.primary, world.leader))
    world.kill(node)
    world.start(node)
    world.run(3)
    world.kill(node)
    world._boots[node] = 0  # it will count its starts from 1 again
    world.memories[node].content = None
    world.start(node)
    world.run(4)
    member = world.loops[world.names[0]].replica.state.members[node]
    assert member.run == 0
    assert world.loops[node].lease.remaining() > 0


def test_a_primary_that_hears_nothing_of_the_log_but_reports_well_is_replaced() -> None:
    """Such as one whose disk refuses the journal: deaf to Raft, its gossip goes on."""
    world = settled(World(5))
    former = world.primary
    assert former is not None
    world.elect(next(name for name in world.names if name != former))
    log: Any = world.loops[former].consensus
    log.learn = lambda _: None
    lease = world.settings.primary_lease / 1_000
    world.run_until(lambda: world.primary not in (None, former), lease + BOUND)


def test_a_primary_unheard_for_longer_than_its_lease_but_not_for_three_samples_stays() -> None:
    """Heard again, it is still fenced: it says so by its role, and no sample calls it unhealthy."""
    world = settled(World(5))
    former = world.primary
    assert former is not None
    world.elect(next(name for name in world.names if name != former))
    world.run(2.0)
    for delay in (0.0, 0.2, 0.4, 0.6, 0.8):
        others = {(former, name) for name in world.names if name != former}
        world.cuts |= others
        world.run(world.settings.primary_lease / 1_000 + 0.1)
        assert world.loops[former].lease.is_fenced
        world.cuts -= others
        world.run(8.0 + delay)
        assert world.primary == former


def test_a_node_that_cannot_write_its_log_is_isolated_and_says_why() -> None:
    world = settled(World(5))
    sick = next(name for name in world.names if name != world.primary)
    consensus: Any = world.loops[sick].consensus
    consensus.journal_error = "disk full"
    viewer = world.loops[next(name for name in world.names if name != sick)].replica
    world.run_until(lambda: viewer.state.members[sick].role is Role.SAFE_MODE, 30)
    assert viewer.state.members[sick].history[-1].cause == "the disk refuses the journal"


def test_leaders_that_come_and_go_cost_nobody_a_role() -> None:
    world = settled(World(5))
    viewer = world.loops[world.names[0]].replica
    before = len(viewer.state.role_changes)
    for number in range(6):
        world.elect(None)
        world.run(8)  # longer than a lease
        world.elect(world.names[number % 5])
        world.run(1.2)
    assert len(viewer.state.role_changes) == before


def deafen(world: World, node: str) -> None:
    """Nothing arrives at it any more; what it says is heard."""
    world.cuts |= {(other, node) for other in world.names if other != node}


LEASE = PROFILES["demo"].primary_lease / 1_000


@pytest.mark.parametrize("leads", [False, True])
def test_a_primary_that_hears_nobody_is_replaced_though_all_hear_it(leads: bool) -> None:
    world = settled(World(5))
    former = world.primary
    assert former is not None
    others = [name for name in world.names if name != former]
    world.elect(former if leads else others[0])
    world.run(2.0)
    deafen(world, former)
    if leads:  # who hears no follower steps down
        world.run(1.0)
        world.elect(others[0])
    viewer = world.loops[others[0]].replica
    took = world.run_until(lambda: world.primary not in (None, former), 20)
    assert took <= LEASE + BOUND + leads
    world.run(0.5)
    assert "does not hear the log" in viewer.state.members[former].history[-1].cause


def test_who_hears_no_leader_is_no_candidate_and_has_no_vote() -> None:
    """PRIMARY and BACKUP both: with their votes counted, two thirds could not be reached."""
    world = settled(World(5))
    former = world.primary
    members = world.loops[world.names[0]].replica.state.members
    backup = next(m.id for m in members.values() if m.role is Role.BACKUP)
    leader = next(name for name in world.names if name not in (former, backup))
    world.elect(leader)
    viewer = world.loops[leader].replica
    deafen(world, backup)
    world.run(5.0)
    assert unfitness(viewer.state, viewer.state.members[backup], 0) is Reason.UNABLE
    assert "does not hear the log" in " ".join(explain(viewer.state, backup).summary)
    assert former is not None
    deafen(world, former)
    world.run_until(lambda: world.primary not in (None, former), LEASE + BOUND)
    assert world.primary != backup
    (proposal,) = [p for p in viewer.state.closed_proposals if p.rule == "primary_failed"]
    assert {former, backup}.isdisjoint(proposal.electorate)
    assert (backup, Reason.UNABLE) in proposal.rejected


def test_who_has_heard_no_leader_for_a_whole_window_is_isolated_and_comes_back() -> None:
    world = settled(World(5))
    deaf = next(n for n in world.names if n not in (world.primary, world.leader))
    world.elect(next(n for n in world.names if n != deaf))
    deafen(world, deaf)
    viewer = world.loops[world.leader or ""].replica
    member = viewer.state.members[deaf]
    world.run(8.0)
    assert member.unable
    assert member.run == 0, "a link that is dead for a while costs no role"
    world.run_until(lambda: member.role is Role.SAFE_MODE, 12)
    assert "does not hear the log" in member.history[-1].cause
    world.heal()
    world.run_until(lambda: not member.unable, 4)
    world.run_until(lambda: member.role is not Role.SAFE_MODE, 30)


def test_the_links_between_leader_and_primary_may_be_dead_for_less_than_a_lease() -> None:
    world = settled(World(5))
    primary = world.primary
    assert primary is not None
    leader = next(n for n in world.names if n != primary)
    world.elect(leader)
    for _ in range(20):
        world.cuts |= {(leader, primary), (primary, leader)}
        world.run(0.9 * LEASE)
        world.heal()
        world.run(1.0)
    members = world.loops[leader].replica.state.members.values()
    assert not any(sample.risk > 300_000 for m in members for sample in m.history)


TENTH_OF_ORBIT = replace(
    PROFILES["orbit"], report_interval=500, evaluation_interval=3_000, promotion_hold=9_000,
    hysteresis_window=30_000, heartbeat_timeout=9_000, proposal_timeout=1_000,
    action_deadline=3_000, primary_lease=7_500, raft_heartbeat=100, election_timeout_min=600,
    election_timeout_max=1_200,
)  # fmt: skip
"""A lease that is longer than an action's deadline, as in orbit."""


def test_a_successor_that_waits_for_a_frozen_predecessor_keeps_the_seat() -> None:
    world = World(5, settings=TENTH_OF_ORBIT)
    world.run_until(lambda: world.primary is not None, 60)
    world.run(45)
    source = world.primary
    world.elect(next(n for n in world.names if n not in (source, "sat-002", "sat-005")))
    world.run(4)
    assert source is not None
    world.kill(source)
    submit(world, Switchover("sat-005"))
    seen = len(world.loops["sat-002"].replica.state.role_changes)
    world.run_until(lambda: world.primary == "sat-005", 9)
    world.run(60)
    state = world.loops["sat-002"].replica.state
    assert world.primary == state.seat.holder == "sat-005"
    assert not any(Role.PRIMARY in (c.origin, c.target) for c in state.role_changes[seen:])
