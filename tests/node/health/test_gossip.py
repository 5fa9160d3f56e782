"""Health reports: what is accepted, what a leader and a voter make of it."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect

from stationkeep.cluster.alarms import ALARMS, SELF_REPORTED
from stationkeep.cluster.commands import Complaint, Echo
from stationkeep.cluster.numbers import BOOT
from stationkeep.cluster.registry import hear
from stationkeep.cluster.settings import PROFILES
from stationkeep.cluster.state.state import Member
from stationkeep.cluster.transitions import Role
from stationkeep.node.health.gossip import Gossip, RoleStatus
from stationkeep.node.health.measurement import Measurement
from stationkeep.node.health.neighbours import MAX_OBSERVATIONS
from stationkeep.node.health.reports import (
    MAX_COMPLAINTS,
    MAX_REPORT,
    Heard,
    Recurrence,
    Report,
    shortened,
)
from stationkeep.node.peers.sessions import MAX_BODY
from stationkeep.node.replica import Replica
from tests.node.extremes import made
from tests.node.world import Health, ManualClock, World


class Post:
    """A network that keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []

    def send(self, peer: str, message: dict[str, Any]) -> bool:
        self.sent.append((peer, message))
        return True

    def connected(self, peer: str) -> bool:
        return True

    def comfortable(self, peer: str) -> int:
        return 1 << 23

    def subscribe(self, *_: Any) -> None: ...


class Ear:
    """A gossip of node `a`, with peers `b` and `c` unless others are named."""

    def __init__(self, *peers: str) -> None:
        self.clock = ManualClock()
        self.post = Post()
        self.health = Health()
        self.sent: list[tuple[int, float]] = []
        self.replica = Replica(self.clock, PROFILES["demo"])
        self.gossip = Gossip(
            "a", 1, peers=peers or ("b", "c"), clock=self.clock, network=self.post,
            replica=self.replica,
            source=self.health, role_status=lambda: RoleStatus(Role.STANDBY, 0, 0),
            sent=lambda _boot, seq, at: self.sent.append((seq, at)),
        )  # fmt: skip

    def hear(self, node: str = "b", **changes: Any) -> bool:
        return self.gossip.receive(node, report(node, **changes))

    def sample(self, node: str, since: float = 0.0) -> tuple[int, int]:
        found = next(s for s in self.gossip.samples(self.clock.offset + since) if s.node == node)
        return found.reports, found.risk


def report(node: str = "b", **changes: Any) -> dict[str, Any]:
    return {
        "kind": "gossip", "node": node, "boot_id": 1, "seq": 1, "risk": 0.1, "cause": "",
        "recurrence": 0.0, "metrics": {}, "heard": {}, "role": "STANDBY", "epoch": 0,
        "lease_ms": 0, **changes,
    }  # fmt: skip


def test_own_reports_go_to_every_peer_at_the_interval() -> None:
    ear = Ear()
    for _ in range(100):
        ear.gossip.turn()
        ear.clock.now += 0.02
    assert {peer for peer, _ in ear.post.sent} == {"b", "c"}
    assert 10 <= len(ear.sent) <= 12
    assert [seq for seq, _ in ear.sent] == list(range(1, len(ear.sent) + 1))
    assert ear.sample("a", -1) == (len(ear.sent), 100_000)


def test_a_report_round_trips() -> None:
    ear, other = Ear(), Ear()
    ear.hear(applied=7)
    ear.gossip.turn()
    message = ear.post.sent[0][1]
    assert Gossip.receive(other.gossip, "b", {**message, "node": "b", "heard": {}})
    assert {name: [*told] for name, told in message["heard"].items()} == {"b": [1, 1, 0.1, 0.0, 7]}


def test_however_much_a_node_complains_it_is_heard_and_what_is_critical_too() -> None:
    """Whoever is not heard is replaced; a path in a sentence is as long as an operator likes."""
    ear, other = Ear(), Ear()
    said = dict.fromkeys(SELF_REPORTED, "/etc/long/path" * 40)
    ear.health.measure = lambda: Measurement(0.1, complaints=said)  # type: ignore[method-assign]
    ear.gossip.turn()
    message = ear.post.sent[0][1]
    assert other.gossip.receive("b", {**message, "node": "b"})
    assert len(message["complaints"]) == MAX_COMPLAINTS
    critical = {name for name in SELF_REPORTED if ALARMS[name].severity == "critical"}
    assert critical <= message["complaints"].keys()


@pytest.mark.parametrize(
    "changes",
    [
        {"risk": 1.5}, {"risk": -0.1}, {"risk": float("nan")}, {"risk": "0.1"}, {"risk": None},
        {"node": "c"}, {"node": ""}, {"seq": -1}, {"seq": 2**60}, {"boot_id": True},
        {"cause": "x" * 201}, {"recurrence": 11.0}, {"role": "KING"},
        {"release": "x" * 65}, {"highest": 256}, {"highest": -1},
        {"metrics": {str(n): 0.0 for n in range(33)}}, {"metrics": {"x" * 65: 0.0}},
        {"heard": {"c": [1, 1]}}, {"heard": {"c": [1, 1, 2.0, 0, 0]}},
        {"heard": {"c": [1, 1, 0.1, -1, 0]}},
        {"heard": {str(n): [1, 1, 0.1, 0, 0] for n in range(129)}}, {"lease_ms": float("inf")},
        {"applied": -1}, {"complaints": {"disk_low": "x" * 201}}, {"complaints": {"": "x"}},
        {"complaints": {str(n): "x" for n in range(9)}}, {"complaints": ["disk_low"]},
    ],
)  # fmt: skip
def test_malformed_reports_are_counted_and_dropped(changes: dict[str, Any]) -> None:
    ear = Ear()
    assert not ear.gossip.receive("b", {**report(), **changes})
    assert ear.gossip.malformed == 1
    assert ear.sample("b") == (0, 1_000_000)


def test_what_a_newer_release_adds_to_its_reports_is_ignored() -> None:
    ear = Ear()
    newer = {"heard": {"c": [1, 1, 0.1, 0, 0, "more"]}, "stranger": [1, {"x": None}]}
    assert ear.gossip.receive("b", {**report(), **newer})
    assert (ear.gossip.received, ear.gossip.malformed) == (1, 0)


def test_complaints_and_lag_count_only_from_first_hand_reports() -> None:
    ear = Ear()
    ear.clock.now = 1.0
    ear.hear("b", applied=7, complaints={"disk_low": "full"}, heard={"c": [1, 1, 0.1, 0, 0]})
    since = ear.clock.offset
    said = {s.node: s.complaints for s in ear.gossip.samples(since, 10)}
    assert said["b"] == (
        Complaint("disk_low", "full"),
        Complaint("member_lagging", "at least 3 log entries behind"),
    )
    assert said["c"] is None, "of whom another heard nothing is known but its risk"
    assert said["a"] is None, "nor of whom nobody heard"
    level = {s.node: s.complaints for s in ear.gossip.samples(since, 7)}
    assert level["b"] == (Complaint("disk_low", "full"),)


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8)
)
json_like = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(report())), json_like))
def test_no_message_breaks_it(changes: dict[str, Any]) -> None:
    ear = Ear()
    accepted = ear.gossip.receive("b", {**report(), **changes})
    assert accepted is (ear.gossip.received == 1)
    assert ear.gossip.received + ear.gossip.malformed == 1
    ear.gossip.turn()
    assert all(0 <= sample.risk <= 1_000_000 for sample in ear.gossip.samples(0.0))


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 5)), max_size=20))
def test_older_reports_are_discarded(keys: list[tuple[int, int]]) -> None:
    ear = Ear()
    newest = (0, 0)
    for boot, seq in keys:
        assert ear.hear(boot_id=boot, seq=seq) is ((boot, seq) > newest)
        newest = max(newest, (boot, seq))


def test_a_sample_is_the_median_of_direct_and_indirect_reports() -> None:
    ear = Ear()
    ear.hear("b", seq=1, risk=0.9)
    ear.hear("c", seq=1, heard={"b": [1, 2, 0.1, 0.0, 0]})
    ear.hear("c", seq=2, heard={"b": [1, 3, 0.2, 0.0, 0]})
    assert ear.sample("b", -1) == (3, 200_000)


def test_one_report_heard_twice_counts_once() -> None:
    ear = Ear()
    ear.hear("c", heard={"b": [1, 1, 0.5, 0.0, 0]})
    ear.hear("b", seq=1, risk=0.5)
    ear.hear("c", seq=2, heard={"b": [1, 1, 0.5, 100.0, 0]})
    assert ear.sample("b", -1) == (1, 500_000)


def test_only_what_was_heard_since_the_last_evaluation_counts() -> None:
    ear = Ear()
    ear.hear("b", seq=1, risk=0.9)
    ear.clock.now = 5.0
    ear.hear("c", heard={"b": [1, 2, 0.9, 4_000.0, 0]})
    assert ear.sample("b", 2.0) == (0, 1_000_000)
    ear.hear("b", seq=3, risk=0.2)
    assert ear.sample("b", 2.0) == (1, 200_000)


def test_a_voter_hears_only_for_itself() -> None:
    ear = Ear()
    ear.hear("c", heard={"b": [1, 1, 0.1, 0.0, 0]})
    view = ear.gossip.observations(0.0)
    assert (view["b"].reports, view["c"].reports) == (0, 1)


def test_echoes_name_the_newest_report_and_when_it_was_learnt() -> None:
    ear = Ear()
    ear.replica.took_office()
    ear.clock.now = 1.0
    ear.hear("c", heard={"b": [1, 7, 0.1, 900.0, 0]})
    ear.clock.now = 2.0
    ear.hear("b", seq=7)
    echo = next(e for e in ear.gossip.echoes() if e.node == "b")
    assert (echo.boot, echo.seq, echo.received_at) == (1, 7, 1_000)


def test_memory_of_reports_is_bounded() -> None:
    ear = Ear()
    for seq in range(1, 2 * MAX_OBSERVATIONS):
        ear.hear("b", seq=seq)
    assert ear.sample("b", -1)[0] == MAX_OBSERVATIONS


def test_a_stopped_node_begins_to_listen_anew() -> None:
    ear = Ear()
    ear.gossip.turn()
    began = ear.gossip.listening_since
    ear.clock.now = 10.0
    ear.gossip.turn()
    assert ear.gossip.listening_since == began + 10.0


def test_a_shorter_interval_does_not_wait_for_the_end_of_a_longer_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ear = Ear()
    monkeypatch.setattr(ear.replica, "_born_with", PROFILES["orbit"])
    ear.gossip.turn()
    assert ear.gossip.next_wakeup() > ear.clock.monotonic() + 4
    monkeypatch.setattr(ear.replica, "_born_with", PROFILES["demo"])
    assert ear.gossip.next_wakeup() <= ear.clock.monotonic() + 0.2
    ear.clock.now = 0.21
    ear.gossip.turn()
    assert len(ear.sent) == 2


def test_recurrence_counts_episodes_and_halves_in_an_hour() -> None:
    recurrence = Recurrence()
    for n in range(3):
        recurrence.update(True, n)
        recurrence.update(True, n + 0.3)
        recurrence.update(False, n + 0.5)
    assert recurrence.update(False, 2.5) == pytest.approx(3, rel=0.01)
    assert recurrence.update(False, 3_602.5) == pytest.approx(1.5, rel=0.01)
    for n in range(100):
        recurrence.update(n % 2 == 0, 3_603.0)
    assert recurrence.update(False, 3_603.0) == 10.0


_NAMES = st.text("abc-", min_size=1, max_size=64)


@given(
    st.dictionaries(
        _NAMES,
        st.builds(
            Heard,
            st.just(2**53),
            st.just(2**53),
            st.just(0.5),
            st.just(86_400_000.0),
            st.just(2**53),
        ),
        max_size=128,
    ),
    st.dictionaries(_NAMES, st.floats(0, 1), max_size=32),
    st.dictionaries(st.text("abc_", min_size=1, max_size=20), st.text(max_size=200), max_size=8),
)
def test_every_report_fits_a_datagram(heard, metrics, complaints) -> None:
    full = Report(
        kind="gossip", node="n" * 64, boot_id=2**53, seq=2**53, risk=1.0, cause="\u2713" * 200,
        recurrence=10.0, metrics=metrics, heard=heard, role=Role.SAFE_MODE, epoch=2**53,
        lease_ms=86_400_000.0, applied=2**53, complaints=complaints,
    )  # fmt: skip
    short = shortened(full)
    assert len(msgspec.msgpack.encode(short)) <= MAX_BODY
    assert len(short.heard) >= min(4, len(heard))
    assert set(short.complaints) == set(complaints)
    if len(msgspec.msgpack.encode(full)) <= MAX_REPORT:
        assert short == full


def test_in_a_large_cluster_second_hand_reports_take_turns() -> None:
    names = [f"satellite-with-a-long-name-{n:03}" for n in range(98)]
    ear = Ear(*names)
    for name in names:
        assert ear.hear(name)
    told: set[str] = set()
    for _ in range(len(names)):
        ear.clock.now += 0.2
        ear.gossip.turn()
        told |= ear.post.sent[-1][1]["heard"].keys()
    assert told == set(names)
    assert max(len(msgspec.msgpack.encode(m)) for _, m in ear.post.sent) <= MAX_BODY


# -- numbers that somebody else said -------------------------------------------------------------


class Pair:
    """Gossips `a` and `b`; what each sends to the other arrives at once."""

    def __init__(self) -> None:
        self.a, self.b = Ear("b", "c"), Ear("a", "c")
        self.b.gossip.node = "b"
        self.b.gossip.follow(("a", "c"))
        self.b.gossip.boot = 50 << 45
        self.heard = 0

    def run(self, seconds: float) -> None:
        for _ in range(int(seconds / 0.05)):
            for ear in (self.a, self.b):
                ear.clock.now += 0.05
                ear.gossip.turn()
            for sender, ear, name in ((self.a, self.b, "a"), (self.b, self.a, "b")):
                posted, sender.post.sent = sender.post.sent, []
                for message in [m for peer, m in posted if peer == ear.gossip.node]:
                    self.heard += ear.gossip.receive(name, message) and name == "b"


@pytest.mark.parametrize(
    "poison",
    [
        {"boot_id": 2**53, "seq": 2**53},
        {"boot_id": 50 << 45, "seq": 2**53},
        {"boot_id": 2**53 + BOOT.step, "seq": 1},
        {"boot_id": 2**53 + BOOT.step + 1, "seq": 1},
        {"boot_id": BOOT.ceiling, "seq": 2**53},
    ],
)
def test_who_speaks_in_the_name_of_another_bans_it_for_two_reports_at_most(
    poison: dict[str, int],
) -> None:
    pair = Pair()
    pair.run(2)
    interval = pair.a.replica.settings.report_interval / 1_000
    for _ in range(5):
        pair.a.hear("b", **poison)
        pair.run(3 * interval)
        before = pair.heard
        pair.run(10 * interval)
        assert pair.heard - before >= 9
    assert pair.b.gossip.boot < 2**53 + 10 * BOOT.step


def test_what_a_peer_says_to_have_heard_of_us_bans_nobody() -> None:
    pair = Pair()
    pair.run(2)
    lie = {"b": [BOOT.ceiling, 2**53, 0.1, 5.0, 0]}
    for seq in range(5):
        pair.b.hear("c", seq=seq + 1, heard=lie)
        pair.a.hear("c", seq=seq + 1, heard=lie)
        pair.run(2)
    before = pair.heard
    pair.run(2)
    assert pair.heard - before >= 9
    said = f"c sent boot {BOOT.ceiling}, above the limit of "
    assert pair.a.gossip.implausible.newest.startswith(said)


def test_a_node_that_was_lied_of_for_long_is_reached_by_steps() -> None:
    """One that missed all of it hears it again after as many reports as steps lie between."""
    ear = Ear()
    far = 2**53 + 5 * BOOT.step
    heard = [ear.hear(boot_id=far, seq=seq) for seq in range(1, 8)]
    assert heard == [False, False, False, False, True, True, True]
    assert ear.gossip.implausible.counted == {"boot": 4}


def test_the_log_is_reached_by_steps_as_well() -> None:
    ear = Ear()
    state = ear.replica.state
    state.members["b"] = Member("b", "b:1", "b:2")
    far = 2**53 + 5 * BOOT.step
    heard = [hear(state, Echo("b", far, seq, 0)) for seq in range(1, 8)]
    assert heard == [False, False, False, False, True, True, True]


GOSSIP_EXTREMES = (0, 1, 2**31, 2**53 - 1, 2**53, 2**53 + BOOT.step, BOOT.ceiling, 2**63, -1)


@given(
    numbers=st.fixed_dictionaries(
        {},
        optional={
            "boot_id": st.sampled_from(GOSSIP_EXTREMES), "seq": st.sampled_from(GOSSIP_EXTREMES),
            "epoch": st.sampled_from(GOSSIP_EXTREMES), "applied": st.sampled_from(GOSSIP_EXTREMES),
            "lease_ms": st.sampled_from((0, 1, 86_400_000, 2**53)),
            "risk": st.sampled_from((0.0, 1.0, 2.0)),
            "heard": st.dictionaries(
                st.sampled_from("abc"),
                st.tuples(
                    st.sampled_from(GOSSIP_EXTREMES), st.sampled_from(GOSSIP_EXTREMES),
                    st.sampled_from((0.0, 1.0)), st.sampled_from((0.0, 86_400_000.0)),
                ),
            ),
        },
    ),
    name=st.sampled_from("bc"),
)  # fmt: skip
@settings(max_examples=60)
def test_after_any_one_report_the_real_node_is_believed(numbers: dict[str, Any], name: str) -> None:
    pair = Pair()
    pair.run(1)
    pair.a.hear(name, **numbers)
    pair.run(1)
    before = pair.heard
    pair.run(2)
    assert pair.heard - before >= 9
    lately = pair.a.clock.offset + 4.0 - 1.0
    (sample,) = [one for one in pair.a.gossip.samples(lately) if one.node == "b"]
    assert (sample.reports >= 4, sample.risk) == (True, round(pair.b.health.risk * 1_000_000))


CLUSTER = st.sampled_from(["sat-001", "sat-002", "sat-003"])
HEARD = made(inspect.type_info(Heard), {})
NAMED = {"node": st.just("sat-002"), "heard": st.dictionaries(CLUSTER, HEARD)}


@given(st.lists(made(inspect.type_info(Report), NAMED), max_size=6))
@settings(max_examples=40, deadline=None)
def test_whatever_a_report_may_say_passes_the_turns_of_a_cluster(said: list[Any]) -> None:
    world = World(3)
    world.run(1.0)
    for report in said:
        for loop in (world.loops["sat-001"], world.loops["sat-003"]):
            loop.on_message("sat-002", report | {"kind": "gossip"})
        world.run(0.2)
    assert not any(loop.gossip.malformed for loop in world.loops.values())
    world.run_until(lambda: world.primary is not None, 15.0)
