"""The fleet against tests/fleet_model.py, the dumb version, whatever happens to the devices."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from stationkeep.cluster.commands import (
    AssignRing,
    ReleaseRing,
    RemoveDevice,
    SetRingPolicies,
    SetRingShares,
)
from stationkeep.cluster.devices.policies import RingPolicy
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.state import codec
from tests import fleet_model as model
from tests.cluster.driver import Replay
from tests.cluster.fleet.fleets import BAD, GOOD, FleetDriver

POLICIES: dict[str, tuple[RingPolicy, tuple[str, ...], tuple[int, ...] | None]] = {
    "low": (RingPolicy("low", "kind=low", (Ring.CANARY, Ring.DEV)), ("canary", "dev"), None),
    "prod": (RingPolicy("prod", "kind=prod", (Ring.PROD,)), ("prod",), None),
    "odd": (
        RingPolicy("odd", "kind=odd", (), (1, 0, 3, 1)),
        ("canary", "stage", "prod"),
        (1, 0, 3, 1),
    ),
}
EVEN = (1, 1, 1, 1)
kinds = st.sampled_from(["", "", "low", "prod", "odd"])
picks = st.lists(st.integers(0, 30), min_size=1, max_size=5)


class Life(RuleBasedStateMachine):
    """Devices come, fall ill, go silent, are pinned and removed; the leader checks the rings."""

    @initialize(
        crowd=st.lists(kinds, max_size=24),
        policies=st.booleans(),
        shares=st.sampled_from([EVEN, (5, 10, 25, 60), (0, 1, 1, 1)]),
    )
    def begin(self, crowd: list[str], policies: bool, shares: tuple[int, ...]) -> None:
        self.driver = FleetDriver()
        self.replay = Replay(self.driver)
        self.devices: dict[int, model.Dumb] = {}
        self.shares, self.policies = shares, policies
        self.driver.done(SetRingShares(shares))  # type: ignore[arg-type]
        if policies:
            self.driver.done(SetRingPolicies(tuple(p for p, _, _ in POLICIES.values())))
        for kind in sorted(set(crowd)):
            self.arrive([kind] * crowd.count(kind), True)

    def picked(self, numbers: list[int]) -> list[int]:
        rows = sorted(self.devices)
        return sorted({rows[n % len(rows)] for n in numbers}) if rows else []

    @rule(kind=kinds, healthy=st.booleans())
    def come(self, kind: str, healthy: bool) -> None:
        self.arrive([kind], healthy)

    def arrive(self, crowd: list[str], healthy: bool) -> None:
        """Devices of one kind register."""
        kind, now = crowd[0], self.driver.clock
        reading = GOOD if healthy else BAD
        for row in self.driver.crowd(len(crowd), reading, labels={"kind": kind}):
            self.devices[row] = model.Dumb(
                id=self.driver.fleet.id(row),
                statuses=[healthy],
                first=healthy,
                heard=now,
                group=kind if self.policies else "",
                ring_since=now,
            )
        self.look()

    @rule(numbers=picks, healthy=st.booleans(), times=st.integers(1, 4))
    def report(self, numbers: list[int], healthy: bool, times: int) -> None:
        for _ in range(times):
            rows = self.picked(numbers)
            self.driver.report(dict.fromkeys(rows, GOOD if healthy else BAD))
            for row in rows:
                self.devices[row].says(healthy, self.driver.clock)

    @rule(minutes=st.sampled_from([0.5, 1, 5, 6]))
    def time_passes(self, minutes: float) -> None:
        self.driver.wait(round(minutes * 60_000))

    @rule()
    def all_are_heard_of(self) -> None:
        self.driver.keep_alive()
        for device in self.devices.values():
            device.heard, device.offline = self.driver.clock, False

    @rule()
    def the_silent_are_noticed(self) -> None:
        self.driver.silence()
        for device in self.devices.values():
            device.offline |= self.driver.clock - device.heard >= 60_000

    @rule(number=st.integers(0, 30), ring=st.sampled_from(Ring))
    def pin(self, number: int, ring: Ring) -> None:
        for row in self.picked([number]):
            self.driver.done(AssignRing(self.devices[row].id, ring), actor="ann")
            self.devices[row].pinned, self.devices[row].home = True, None
            self.look()

    @rule(number=st.integers(0, 30))
    def release(self, number: int) -> None:
        for row in self.picked([number]):
            self.driver.done(ReleaseRing(self.devices[row].id))
            self.devices[row].pinned = False

    @rule(number=st.integers(0, 30))
    def remove(self, number: int) -> None:
        for row in self.picked([number]):
            self.driver.done(RemoveDevice(self.devices.pop(row).id))

    @rule()
    def check(self) -> None:
        braked = self.driver.fleet.braked
        was = {device.id: device.ring for device in self.devices.values()}
        since = {device.id: device.ring_since for device in self.devices.values()}
        self.driver.check()
        self.look()
        if braked:
            assert {device.id: device.ring for device in self.devices.values()} == was
            return
        complaints = model.complaints(
            list(self.devices.values()), self.groups, self.driver.clock, was, since
        )
        assert complaints == []
        for device in self.devices.values():
            self.remember_home(device, was[device.id])

    @property
    def groups(self) -> dict[str, model.Group]:
        groups = {"": model.Group(model.RINGS, self.shares)}
        for name, (_, allowed, weights) in POLICIES.items():
            within = [
                w if ring in allowed else 0
                for ring, w in zip(model.RINGS, self.shares, strict=True)
            ]
            if not any(within):
                within = [int(ring in allowed) for ring in model.RINGS]
            groups[name] = model.Group(allowed, weights or tuple(within))
        return groups

    def remember_home(self, device: model.Dumb, was: str) -> None:
        if device.ring not in model.LOW:
            device.home = None
        elif was not in model.LOW and not device.healthy:
            device.home = was

    def look(self) -> None:
        """Takes over where the devices stand: the rings are what is judged, not predicted."""
        for row, device in self.devices.items():
            ring = self.driver.ring(row).value
            if ring != device.ring:
                device.ring, device.ring_since = ring, self.driver.clock

    @rule()
    def restart(self) -> None:
        self.driver.state = codec.decode_snapshot(codec.encode_snapshot(self.driver.state))

    @invariant()
    def verdicts_and_presence_are_those_of_the_model(self) -> None:
        for row, device in getattr(self, "devices", {}).items():
            seen = self.driver.device(row)
            assert (seen.id, seen.healthy, seen.online) == (
                device.id,
                device.healthy,
                not device.offline,
            )
            assert (seen.pinned is not None) is device.pinned

    @invariant()
    def a_replica_that_was_never_restarted_is_the_same(self) -> None:
        if hasattr(self, "driver"):
            assert self.replay.agrees()


Life.TestCase.settings = settings(max_examples=30, stateful_step_count=30)
TestLife = Life.TestCase


def test_the_model_knows_the_words_of_the_specification() -> None:
    device, verdicts = model.Dumb("d"), []
    for healthy in (False, True, False, False, True, True, True):
        device.says(healthy, 0)
        verdicts.append(device.healthy)
    assert verdicts == [True, True, True, False, False, False, True]
    assert model.quota(10, (5, 10, 25, 60)) == [1, 1, 2, 6]
