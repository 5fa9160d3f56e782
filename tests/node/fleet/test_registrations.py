"""Registrations on their way into the log: batched, bounded, each answered exactly once."""

from typing import Any

import pytest

from stationkeep.cluster.commands import Registration
from stationkeep.cluster.state.decisions import Reason
from stationkeep.node.fleet import registrations as module
from stationkeep.node.fleet.registrations import PendingRegistration, Registrations
from stationkeep.node.fleet.replies import Fault
from tests.node.fleet.proposing import Ears, Proposals, bench
from tests.node.world import ManualClock


class Desk:
    """A queue of registrations, and who is registered."""

    def __init__(self) -> None:
        self.clock, self.log = ManualClock(), Proposals()
        self.registered: list[tuple[str, int, int]] = []
        self.queue = Registrations(bench(self.clock, self.log), self._on_registered)

    def _on_registered(self, pending: PendingRegistration, row: int, birth: int) -> None:
        self.registered.append((pending.registration.id, row, birth))

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
def intake() -> Desk:
    return Desk()


def test_those_who_came_between_two_turns_share_a_command(intake: Desk) -> None:
    for number in range(300):
        intake.arrive(f"d{number}")
    intake.queue.turn()
    assert [len(batch) for batch in intake.proposed()] == [128, 128], "the rest waits its turn"
    intake.log.commit(rows=list(range(128)), births=[9] * 128, refused={})
    assert intake.registered[0] == ("d0", 0, 9)
    assert len(intake.queue) == 172
    intake.queue.turn()
    assert [len(batch) for batch in intake.proposed()] == [128, 44]


def test_a_command_stays_within_what_the_log_takes(intake: Desk) -> None:
    labels = {f"key-{n}": "x" * 200 for n in range(30)}
    for number in range(100):
        intake.arrive(f"d{number}", labels=labels)
    proposed = []
    for _ in range(10):
        intake.queue.turn()
        proposed += intake.log.commands
        while intake.log.waiting:
            count = len(intake.log.commands[0].devices)
            intake.log.commit(rows=[0] * count, births=[1] * count, refused={})
    sizes = [sum(map(len, map(module._encode, c.devices))) for c in proposed]
    assert len(sizes) > 1
    assert max(sizes) <= module.BATCH_BYTES
    assert len(intake.registered) == 100


@pytest.mark.parametrize("failure", ["lose", "no_leader"])
def test_whose_outcome_is_unknown_is_proposed_again(intake: Desk, failure: str) -> None:
    ears = intake.arrive("d")
    intake.queue.turn()
    getattr(intake.log, failure)()
    intake.later(module.RETRY)
    assert intake.proposed() == [["d"]]
    intake.log.commit(rows=[3], births=[4], refused={})
    assert intake.registered == [("d", 3, 4)]
    assert ears.heard == []


def test_whoever_waits_too_long_is_told_when_to_come_back(intake: Desk) -> None:
    ears = intake.arrive("d")
    intake.queue.turn()
    assert intake.queue.next_wakeup() == intake.clock.monotonic() + module.PATIENCE
    intake.later(module.PATIENCE)
    assert ears.heard == ["refused"]
    assert ears.refusals[0].fault is Fault.BUSY
    assert ears.refusals[0].retry_after == module.COME_BACK
    intake.log.commit(rows=[3], births=[4], refused={})
    assert intake.registered == [], "it was answered already"


def test_many_are_refused_in_portions(intake: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REFUSALS_PER_TURN", 2)
    everyone = [intake.arrive(f"d{number}") for number in range(5)]
    intake.later(module.PATIENCE)
    for refused in (2, 4, 5):
        assert sum(ears.heard == ["refused"] for ears in everyone) == refused
        intake.later(0.0)


def test_a_full_queue_refuses_with_a_time(intake: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    intake.arrive("a")
    intake.arrive("b")
    late = intake.arrive("c")
    assert late.refusals[0].fault is Fault.BUSY
    assert late.refusals[0].retry_after
    again = intake.arrive("a", session=2)
    assert again.heard == [], "who waits already may come again"


def test_the_newer_agent_takes_the_place_of_the_older_one(intake: Desk) -> None:
    older = intake.arrive("d", session=1)
    intake.queue.turn()
    newer = intake.arrive("d", session=2)
    assert older.heard == ["superseded"]
    intake.log.commit(rows=[0], births=[1], refused={})
    assert intake.registered == [], "that was the older one's registration"
    intake.queue.turn()
    assert [c.devices[0].session for c in intake.log.commands] == [2]
    oldest = intake.arrive("d", session=1)
    assert oldest.refusals[0].fault is Fault.OUTDATED
    assert newer.heard == []


def test_one_bad_registration_does_not_spoil_the_others(intake: Desk) -> None:
    bad, good = intake.arrive("bad"), intake.arrive("good")
    intake.queue.turn()
    intake.log.reject(Reason.INVALID, "devices: whatever it was")
    intake.queue.turn()
    assert intake.proposed() == [["bad"], ["good"]]
    intake.log.reject(Reason.INVALID, "devices: whatever it was")
    intake.log.commit(rows=[0], births=[1], refused={})
    assert bad.refusals[0].fault is Fault.INVALID
    assert intake.registered == [("good", 0, 1)]
    assert good.heard == []


def test_each_is_told_what_apply_found_wrong_with_it(intake: Desk) -> None:
    old, full = intake.arrive("old"), intake.arrive("full")
    intake.queue.turn()
    refused = {"0": "session: 1 is older than 2, which is known", "1": "id: the fleet is full"}
    intake.log.commit(rows=[-1, -1], births=[0, 0], refused=refused)
    assert [ears.refusals[0].fault for ears in (old, full)] == [Fault.OUTDATED, Fault.INVALID]
    assert str(full.refusals[0]) == "id: the fleet is full"
    assert len(intake.queue) == 0


def test_before_the_founding_registrations_wait(intake: Desk) -> None:
    ears = intake.arrive("d")
    intake.queue.turn()
    intake.log.reject(Reason.NOT_FOUNDED, "the cluster is not founded yet")
    assert ears.heard == []
    intake.later(module.RETRY)
    assert intake.proposed() == [["d"]]


def test_who_left_is_not_answered(intake: Desk) -> None:
    ears = intake.arrive("d")
    intake.queue.turn()
    intake.queue.leave("d", Ears())
    assert len(intake.queue) == 1, "another connection's leaving is none of ours"
    intake.queue.leave("d", ears)
    intake.log.commit(rows=[0], births=[1], refused={})
    assert intake.registered == []
    assert intake.queue.next_wakeup() == float("inf")
