"""Able, not only alive: what is made of how far a member is, and of a seat that it leaves idle."""

from typing import Any

import pytest

from stationkeep.cluster.commands import Barrier, Draft
from stationkeep.cluster.settings import PROFILES
from stationkeep.cluster.state import codec
from stationkeep.cluster.state.state import Seat
from tests.node.health.test_gossip import Ear

DEMO = PROFILES["demo"]
LEASE = DEMO.primary_lease / 1_000
INTERVAL = DEMO.report_interval / 1_000


class Watcher(Ear):
    """Hears `b` once an interval, and applies an entry in each, as a cluster does at peace."""

    def __init__(self) -> None:
        super().__init__()
        self.index = self.seq = 0
        self.since = 0.0

    def entry(self) -> None:
        self.index += 1
        barrier = codec.stamp(0, 0, codec.encode_draft(Draft(Barrier())))
        self.replica.apply(barrier, self.index)

    def pass_time(self, seconds: float, **says: Any) -> None:
        """`says`: what `b` reports; `applied` is everything unless given."""
        for _ in range(round(seconds / INTERVAL)):
            self.clock.now += INTERVAL
            self.entry()
            self.seq += 1
            said = {"applied": self.index, "seq": self.seq, **says}
            if said.pop("through", None):
                heard = {"b": [1, self.seq, 0.1, 0.0, said["applied"]]}
                self.hear("c", seq=self.seq, applied=self.index, heard=heard)
            else:
                self.hear("b", **said)

    def unable(self, judged_from: float = float("-inf")) -> str:
        """Of `b`, by what was heard in the last evaluation interval."""
        since = self.clock.monotonic() - DEMO.evaluation_interval / 1_000
        samples = self.gossip.samples(since, 0, judged_from)
        return next(s.unable for s in samples if s.node == "b")

    def seat(self, holder: str, active: bool = True) -> None:
        self.replica.state.seat = Seat(holder=holder, epoch=1, active=active, fence_until=10**9)


@pytest.mark.parametrize("through", [False, True])
def test_a_node_a_lease_behind_is_unable_first_or_second_hand(through: bool) -> None:
    ear = Watcher()
    ear.pass_time(5.0, through=through)
    assert ear.unable() == ""
    stuck = ear.index
    ear.pass_time(LEASE, applied=stuck, through=through)
    assert ear.unable() == "", "what it lacks is younger than a lease"
    ear.pass_time(1.5, applied=stuck, through=through)
    assert "does not hear the log (at least " in ear.unable()
    ear.pass_time(0.4, through=through)
    assert ear.unable(), "most reports of the window still say so"
    ear.pass_time(0.4, through=through)
    assert ear.unable() == ""


@pytest.mark.parametrize("through", [False, True])
def test_whom_the_log_has_not_reached_yet_after_a_silence_is_able(through: bool) -> None:
    """A burst of losses, or a pause, longer than a lease: the first report may overtake the log."""
    ear = Watcher()
    ear.pass_time(5.0, through=through)
    before = ear.index
    for _ in range(round((LEASE + 0.6) / INTERVAL)):
        ear.clock.now += INTERVAL
        ear.entry()
    ear.pass_time(2 * INTERVAL, applied=before, through=through)
    assert ear.unable() == ""
    observed = ear.gossip.observations(ear.clock.monotonic() - 1.0)["b"]
    assert observed.risk == 100_000 or through
    ear.pass_time(1.5, applied=before, through=through)
    assert "does not hear the log" in ear.unable(), "it had time enough"


def test_a_slow_member_is_able_as_long_as_it_is_less_than_a_lease_behind() -> None:
    ear = Watcher()
    ear.pass_time(5.0)
    for _ in range(40):
        ear.pass_time(INTERVAL, applied=ear.index - round(0.9 * LEASE / INTERVAL))
        assert ear.unable() == ""


def test_nobody_is_behind_where_nothing_happens() -> None:
    ear = Watcher()
    ear.pass_time(5.0)
    last, ear.entry = ear.index, lambda: None  # type: ignore[method-assign]
    ear.pass_time(20.0, applied=last)
    assert ear.unable() == ""


def test_a_seat_left_idle_is_an_inability_after_two_renewals() -> None:
    ear = Watcher()
    ear.seat("b")
    ear.pass_time(2.0, role="PRIMARY")
    ear.pass_time(1.0, role="SAFE_MODE")
    assert ear.unable() == "", "right after it was unheard it waits for its lease"
    ear.pass_time(1.0, role="SAFE_MODE")
    assert ear.unable() == "is fenced (holds the seat and acts as SAFE_MODE)"
    ear.pass_time(1.0, role="PRIMARY")
    assert ear.unable() == ""


@pytest.mark.parametrize(("holder", "active"), [("c", True), ("b", False)])
def test_who_need_not_act_is_not_fenced(holder: str, active: bool) -> None:
    ear = Watcher()
    ear.seat(holder, active)
    ear.pass_time(10.0, role="SAFE_MODE")
    assert ear.unable() == ""


def test_nothing_is_held_against_anybody_in_a_leaders_first_interval() -> None:
    ear = Watcher()
    ear.seat("b")
    ear.pass_time(4.0, role="SAFE_MODE")
    assert ear.unable(judged_from=ear.clock.monotonic()) == ""
    assert ear.unable(judged_from=ear.clock.monotonic() - 1.0)


def test_voters_hear_no_health_from_who_is_unable() -> None:
    ear = Watcher()
    ear.pass_time(5.0)
    now = ear.clock.monotonic
    assert ear.gossip.observations(now() - 1.0)["b"].risk == 100_000
    ear.pass_time(LEASE + 1.5, applied=ear.index)
    assert ear.gossip.observations(now() - 1.0)["b"].risk == 1_000_000


def test_a_lease_is_renewed_for_those_whom_it_reaches() -> None:
    ear = Watcher()
    ear.pass_time(5.0)
    assert all(echo.renews for echo in ear.gossip.echoes())
    ear.pass_time(LEASE + 1.0, applied=ear.index)
    assert [echo.node for echo in ear.gossip.echoes() if not echo.renews] == ["b"]


def test_memory_is_bounded_and_reaches_back_far_enough() -> None:
    """A busy log: ten thousand entries a second."""
    ear = Watcher()
    for _ in range(100_000):
        ear.clock.now += 0.0001
        ear.entry()
    yardstick = ear.gossip._yardstick
    assert len(yardstick._marks) <= 256
    behind = yardstick.behind(0, ear.clock.monotonic() - LEASE)
    assert behind == pytest.approx(100_000 - 2 * LEASE * 10_000, rel=0.02)
