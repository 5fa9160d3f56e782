"""The PRIMARY lease: counted from sending, granted by the log, answered for the instant."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stationkeep.cluster.commands import (
    AnyCommand,
    Draft,
    Echo,
    Failover,
    MemberSpec,
    RenewLeases,
)
from stationkeep.cluster.settings import PROFILES
from stationkeep.cluster.state import codec
from stationkeep.cluster.state.state import Seat
from stationkeep.cluster.transitions import Role
from stationkeep.node.replica import Replica
from stationkeep.node.roles.lease import MAX_SENT, Lease
from tests.founding import founding
from tests.node.world import ManualClock, World

LEASE = PROFILES["demo"].primary_lease / 1_000


class Bench:
    """Node `a` (boot 1) in a founded cluster, holding the seat."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.replica = Replica(self.clock)
        self.lease = Lease("a", self.clock, self.replica)
        self._index = 0
        members = (MemberSpec("a", "a:1", "a:2"), MemberSpec("b", "b:1", "b:2"))
        self.apply(founding("c", members, PROFILES["demo"]))
        self.hold()

    def apply(self, command: AnyCommand) -> None:
        self._index += 1
        at = self.replica.cluster_time()
        self.replica.apply(codec.stamp(at, 0, codec.encode_draft(Draft(command))), self._index)

    def hold(self, holder: str = "a", active: bool = True) -> None:
        state = self.replica.state
        state.seat = Seat(holder=holder, epoch=1, active=active)
        for member in state.members.values():
            member.role = Role.PRIMARY if member.id == holder else Role.STANDBY

    def send(self, seq: int) -> None:
        self.lease.sent(1, seq, self.clock.monotonic())

    def echo(self, seq: int, boot: int = 1, node: str = "a") -> None:
        self.apply(RenewLeases((Echo(node, boot, seq, self.replica.cluster_time()),)))


def test_a_holder_without_a_lease_is_fenced() -> None:
    bench = Bench()
    assert bench.lease.effective_role() is Role.SAFE_MODE
    assert bench.lease.is_fenced


def test_the_lease_runs_from_sending_not_from_the_echo() -> None:
    bench = Bench()
    bench.send(1)
    bench.clock.now = 1.0
    bench.echo(1)
    assert bench.lease.effective_role() is Role.PRIMARY
    assert abs(bench.lease.remaining() - (LEASE - 1.0)) < 1e-6
    bench.clock.now = LEASE - 0.001
    assert bench.lease.effective_role() is Role.PRIMARY
    bench.clock.now = LEASE
    assert bench.lease.effective_role() is Role.SAFE_MODE


def test_only_an_echo_of_this_boot_and_node_counts() -> None:
    bench = Bench()
    bench.send(1)
    bench.echo(1, boot=2)
    bench.echo(1, node="b")
    bench.echo(2)
    assert bench.lease.remaining() == 0


def test_an_older_echo_does_not_shorten_the_lease() -> None:
    bench = Bench()
    bench.send(1)
    bench.clock.now = 1.0
    bench.send(2)
    bench.echo(2)
    before = bench.lease.until
    bench.echo(1)
    assert bench.lease.until == before


def test_memory_of_sent_reports_is_bounded() -> None:
    bench = Bench()
    for seq in range(1, MAX_SENT + 2):
        bench.send(seq)
    bench.echo(1)
    assert bench.lease.remaining() == 0
    bench.echo(2)
    assert bench.lease.remaining() > 0


def test_a_waiting_holder_acts_as_backup_and_others_as_the_table_says() -> None:
    bench = Bench()
    bench.send(1)
    bench.echo(1)
    bench.hold(active=False)
    assert bench.lease.effective_role() is Role.BACKUP
    bench.hold(holder="b")
    assert bench.lease.effective_role() is Role.STANDBY


def test_before_founding_a_node_is_standby() -> None:
    clock = ManualClock()
    assert Lease("a", clock, Replica(clock)).effective_role() is Role.STANDBY


FAULTS = st.lists(
    st.tuples(
        st.sampled_from([
            "isolate the PRIMARY", "usurp", "cut", "heal", "elect", "no leader", "kill", "start",
            "sick", "well",
        ]),
        st.integers(0, 4),
        st.integers(0, 4),
        st.floats(0.05, 7.0),
    ),
    min_size=3,
    max_size=12,
)  # fmt: skip


def inflict(world: World, fault: str, one: str, other: str) -> None:
    """One fault. What cuts off the Raft leader is followed by an election."""
    if fault in ("isolate the PRIMARY", "usurp"):
        world.partition(world.primary or one)
        if fault == "usurp":
            usurp(world, other)
    elif fault == "cut":
        world.partition(one, other)
    elif fault == "heal":
        world.heal()
    elif fault == "elect" and world.reaches_majority(one):
        world.elect(one)
    elif fault == "no leader":
        world.elect(None)
        return
    elif fault == "kill":
        world.kill(one)
    elif fault == "start" and one in world.down:
        world.start(one)
    elif fault in ("sick", "well"):
        world.health[one].risk = 0.9 if fault == "sick" else 0.1
    elect_where_possible(world)


def elect_where_possible(world: World) -> None:
    if world.leader is None or not world.reaches_majority(world.leader):
        able = [name for name in world.names if world.reaches_majority(name)]
        world.elect(able[0] if able else None)


def usurp(world: World, target: str) -> None:
    """An operator gives the seat to another while its holder cannot be told: the one change
    that does not wait for three samples, so that the fence alone stands between the two."""
    elect_where_possible(world)
    if world.leader is not None:
        draft = codec.encode_draft(Draft(Failover(target, True), f"op-{world.now}", "me", "why"))
        world.loops[world.leader].consensus.propose(draft, lambda _: None, 5)


def endure(faults: list[tuple[str, int, int, float]], seed: int, loss: float, slow: float) -> None:
    """A cluster under faults; `World.check_primaries` asserts at every step. At the end all is
    healed and there must be a PRIMARY again."""
    world = World(5, seed=seed, drift=0.024)
    world.run(6)
    world.loss, world.delay = loss, (0.001, slow)
    for fault, a, b, seconds in faults:
        inflict(world, fault, world.names[a], world.names[b])
        world.run(seconds)
    world.heal()
    for name in sorted(world.down):
        world.start(name)
    world.loss, world.delay = 0.0, (0.001, 0.01)
    for name in world.names:
        world.health[name].risk = 0.1
    world.elect(world.names[seed % 5])
    world.run_until(lambda: world.primary is not None, 60)


ENDURE = given(
    FAULTS, st.integers(0, 1_000), st.sampled_from([0.0, 0.2]), st.sampled_from([0.01, 0.8])
)
EXAMPLES = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


@EXAMPLES
@ENDURE
def test_never_two_effective_primaries(
    faults: list[tuple[str, int, int, float]], seed: int, loss: float, slow: float
) -> None:
    """Random partitions, elections, usurpations, crashes, sickness, loss, delay, and clocks that
    differ by 2.4 % either way."""
    endure(faults, seed, loss, slow)


def test_a_seat_taken_by_force_waits_for_the_fence() -> None:
    endure([("usurp", 0, 3, 6.0), ("heal", 0, 0, 3.0)], 0, 0.0, 0.01)


def from_the_echo(lease: Lease, boot: int, seq: int) -> None:
    """A wrong lease: it begins when the echo is applied."""
    if (boot, seq) in lease._sent:
        lease._until = lease._clock.monotonic() + lease._replica.settings.primary_lease / 1_000


@pytest.mark.parametrize(
    ("attribute", "wrong"),
    [("remaining", lambda self: 1.0), ("_grant", from_the_echo)],
    ids=["never lapses", "begins at the echo"],
)
def test_the_search_finds_a_lease_that_is_wrong(
    monkeypatch: pytest.MonkeyPatch, attribute: str, wrong: Any
) -> None:
    """A search that cannot find a planted fault proves nothing about there being none."""
    monkeypatch.setattr(Lease, attribute, wrong)
    faults = [("usurp", a, a, 6.0) for a in range(5)]
    caught = 0
    for seed in range(20):
        try:
            endure(faults, seed, 0.2, 0.8)
        except AssertionError as error:
            caught += "act as PRIMARY" in str(error)
    assert caught > 0


def test_an_echo_that_only_tells_that_one_was_heard_renews_nothing() -> None:
    """On both sides: neither the node's lease nor what a successor waits for."""
    bench = Bench()
    bench.send(1)
    bench.echo(1)
    until, told = bench.lease.until, bench.replica.state.members["a"].lease_until
    bench.clock.now += 1.0
    bench.send(2)
    bench.apply(RenewLeases((Echo("a", 1, 2, bench.replica.cluster_time(), renews=False),)))
    member = bench.replica.state.members["a"]
    assert member.last_heard == bench.replica.state.time
    assert (bench.lease.until, member.lease_until) == (until, told)
