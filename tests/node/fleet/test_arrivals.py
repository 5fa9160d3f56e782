"""Registrations on their way into the log: batched, bounded, each answered exactly once."""

from typing import Any

import pytest

from stationkeep.cluster.commands import Registration
from stationkeep.cluster.decisions import Reason
from stationkeep.node.fleet import arrivals as module
from stationkeep.node.fleet.answers import Fault
from stationkeep.node.fleet.arrivals import Arrival, Arrivals
from tests.node.fleet.proposing import Ears, Proposals
from tests.node.world import ManualClock


class Desk:
    """A queue of arrivals, and who landed."""

    def __init__(self) -> None:
        self.clock, self.log = ManualClock(), Proposals()
        self.landed: list[tuple[str, int, int]] = []
        self.queue = Arrivals("sat-001", self.clock, self.log.propose, self._on_landed)

    def _on_landed(self, arrival: Arrival, row: int, birth: int) -> None:
        self.landed.append((arrival.registration.id, row, birth))

    def arrive(self, id_: str, session: int = 1, **more: Any) -> Ears:
        ears = Ears()
        refusal = self.queue.add(Registration(id_, session=session, **more), ears)
        if refusal is not None:
            ears.refused(refusal)
        return ears

    def proposed(self) -> list[list[str]]:
        return [[device.id for device in command.devices] for command in self.log.commands]

    def later(self, seconds: float) -> None:
        self.clock.now += seconds
        self.queue.turn()


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_those_who_came_between_two_turns_share_a_command(desk: Desk) -> None:
    for number in range(300):
        desk.arrive(f"d{number}")
    desk.queue.turn()
    assert [len(batch) for batch in desk.proposed()] == [128, 128], "the rest waits its turn"
    desk.log.commit(rows=list(range(128)), births=[9] * 128, refused={})
    assert desk.landed[0] == ("d0", 0, 9)
    assert len(desk.queue) == 172
    desk.queue.turn()
    assert [len(batch) for batch in desk.proposed()] == [128, 44]


def test_a_command_stays_within_what_the_log_takes(desk: Desk) -> None:
    labels = {f"key-{n}": "x" * 200 for n in range(30)}
    for number in range(100):
        desk.arrive(f"d{number}", labels=labels)
    proposed = []
    for _ in range(10):
        desk.queue.turn()
        proposed += desk.log.commands
        while desk.log.waiting:
            count = len(desk.log.commands[0].devices)
            desk.log.commit(rows=[0] * count, births=[1] * count, refused={})
    sizes = [sum(map(len, map(module._encode, c.devices))) for c in proposed]
    assert len(sizes) > 1
    assert max(sizes) <= module.BATCH_BYTES
    assert len(desk.landed) == 100


@pytest.mark.parametrize("failure", ["lose", "no_leader"])
def test_whose_outcome_is_unknown_is_proposed_again(desk: Desk, failure: str) -> None:
    ears = desk.arrive("d")
    desk.queue.turn()
    getattr(desk.log, failure)()
    desk.later(module.RETRY)
    assert desk.proposed() == [["d"]]
    desk.log.commit(rows=[3], births=[4], refused={})
    assert desk.landed == [("d", 3, 4)]
    assert ears.heard == []


def test_whoever_waits_too_long_is_told_when_to_come_back(desk: Desk) -> None:
    ears = desk.arrive("d")
    desk.queue.turn()
    assert desk.queue.next_wakeup() == desk.clock.monotonic() + module.PATIENCE
    desk.later(module.PATIENCE)
    assert ears.heard == ["refused"]
    assert ears.refusals[0].fault is Fault.BUSY
    assert ears.refusals[0].retry_after == module.COME_BACK
    desk.log.commit(rows=[3], births=[4], refused={})
    assert desk.landed == [], "it was answered already"


def test_many_are_refused_in_portions(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REFUSALS_PER_TURN", 2)
    everyone = [desk.arrive(f"d{number}") for number in range(5)]
    desk.later(module.PATIENCE)
    for refused in (2, 4, 5):
        assert sum(ears.heard == ["refused"] for ears in everyone) == refused
        desk.later(0.0)


def test_a_full_queue_refuses_with_a_time(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    desk.arrive("a")
    desk.arrive("b")
    late = desk.arrive("c")
    assert late.refusals[0].fault is Fault.BUSY
    assert late.refusals[0].retry_after
    again = desk.arrive("a", session=2)
    assert again.heard == [], "who waits already may come again"


def test_the_newer_agent_takes_the_place_of_the_older_one(desk: Desk) -> None:
    older = desk.arrive("d", session=1)
    desk.queue.turn()
    newer = desk.arrive("d", session=2)
    assert older.heard == ["superseded"]
    desk.log.commit(rows=[0], births=[1], refused={})
    assert desk.landed == [], "that was the older one's registration"
    desk.queue.turn()
    assert [c.devices[0].session for c in desk.log.commands] == [2]
    oldest = desk.arrive("d", session=1)
    assert oldest.refusals[0].fault is Fault.OUTDATED
    assert newer.heard == []


def test_one_bad_registration_does_not_spoil_the_others(desk: Desk) -> None:
    bad, good = desk.arrive("bad"), desk.arrive("good")
    desk.queue.turn()
    desk.log.reject(Reason.INVALID, "devices: whatever it was")
    desk.queue.turn()
    assert desk.proposed() == [["bad"], ["good"]]
    desk.log.reject(Reason.INVALID, "devices: whatever it was")
    desk.log.commit(rows=[0], births=[1], refused={})
    assert bad.refusals[0].fault is Fault.INVALID
    assert desk.landed == [("good", 0, 1)]
    assert good.heard == []


def test_each_is_told_what_apply_found_wrong_with_it(desk: Desk) -> None:
    old, full = desk.arrive("old"), desk.arrive("full")
    desk.queue.turn()
    refused = {"0": "session: 1 is older than 2, which is known", "1": "id: the fleet is full"}
    desk.log.commit(rows=[-1, -1], births=[0, 0], refused=refused)
    assert [ears.refusals[0].fault for ears in (old, full)] == [Fault.OUTDATED, Fault.INVALID]
    assert str(full.refusals[0]) == "id: the fleet is full"
    assert len(desk.queue) == 0


def test_before_the_founding_registrations_wait(desk: Desk) -> None:
    ears = desk.arrive("d")
    desk.queue.turn()
    desk.log.reject(Reason.NOT_FOUNDED, "the cluster is not founded yet")
    assert ears.heard == []
    desk.later(module.RETRY)
    assert desk.proposed() == [["d"]]


def test_who_left_is_not_answered(desk: Desk) -> None:
    ears = desk.arrive("d")
    desk.queue.turn()
    desk.queue.leave("d", Ears())
    assert len(desk.queue) == 1, "another connection's leaving is none of ours"
    desk.queue.leave("d", ears)
    desk.log.commit(rows=[0], births=[1], refused={})
    assert desk.landed == []
    assert desk.queue.next_wakeup() == float("inf")
