"""The intake, above a real replica and in virtual time: what devices and the log come to know."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from stationkeep.cluster.apply import Done
from stationkeep.cluster.commands import (
    AnyCommand,
    AssignRing,
    Draft,
    Registration,
    RemoveDevice,
    ReportDevices,
)
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.devices.status import Reading
from stationkeep.cluster.numbers import SEQUENCE
from stationkeep.cluster.settings import PROFILES
from stationkeep.cluster.state import codec
from stationkeep.node.fleet import connected, intake
from stationkeep.node.fleet.replies import Assignment, Fault, IntakeRefusal
from stationkeep.node.fleet.report_outbox import SMALL_COMMANDS
from stationkeep.node.fleet.status_buffer import (
    REGISTRATION_EVERY,
    REGISTRATIONS_AT_ONCE,
    StatusColumns,
)
from stationkeep.node.peers.sessions import MAX_BODY
from stationkeep.node.ports import Committed
from stationkeep.node.raft.engine.leader import APPEND_BYTES, ENTRY_BYTES
from stationkeep.node.raft.engine.progress import SMALL_BYTES
from tests.node.fleet.proposing import Ears
from tests.node.world import World

WELL = Reading(80, False, 2_000, 4_000, 5_000)
ILL = Reading(80, False, 9_500, 4_000, 5_000)
A, B, C = "sat-001", "sat-002", "sat-003"


class Fleet(World):
    """Three nodes, and devices that talk to them. `C` leads."""

    def __init__(self, nodes: int = 3, **more: Any) -> None:
        super().__init__(nodes, **more)
        self.flushes: list[tuple[str, ReportDevices]] = []
        self.run(1.0)

    def append(self, leader: str, draft: bytes, token: int) -> None:
        command = codec.decode_draft(draft).command
        if isinstance(command, ReportDevices):
            self.flushes.append((command.node, command))
        super().append(leader, draft, token)

    def register(self, id_: str, node: str = A, session: int = 1, **more: Any) -> Ears:
        ears = Ears()
        more.setdefault("sequence", 1)
        self.loops[node].intake.register(Registration(id_, session=session, **more), ears)
        self.run(0.5)
        return ears

    def report(
        self, id_: str, sequence: int, reading: Reading = WELL, *, node: str = A, session: int = 1
    ) -> IntakeRefusal | None:
        return self.loops[node].intake.report(id_, session, sequence, reading)

    def order(self, command: AnyCommand, actor: str = "eve") -> Any:
        """An operator's command, committed."""
        results: list[Any] = []
        draft = codec.encode_draft(Draft(command, actor=actor, reason="so be it"))
        self.loops[self.leader or C].consensus.propose(draft, results.append, 5.0)
        self.run_until(lambda: bool(results), 5.0)
        self.run(0.3)
        assert isinstance(results[0], Committed)
        assert isinstance(results[0].applied.outcome, Done), results[0].applied.outcome
        return results[0].applied.outcome.result

    def device(self, id_: str, node: str = A) -> Any:
        fleet = self.loops[node].replica.state.fleet
        row = fleet.row(id_)
        assert row is not None
        return fleet.device(row)


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


# -- registering ---------------------------------------------------------------------------------


def test_an_acknowledged_registration_is_known_to_every_node(fleet: Fleet) -> None:
    ears = fleet.register("pixel", os_version="Android 14", reading=WELL)
    assert ears.heard == ["registered"]
    for node in fleet.names:
        assert fleet.device("pixel", node).ring == ears.assignments[0].ring
    assert fleet.device("pixel").os_version == "Android 14"
    assert ears.assignments[0].reason == "registered"
    assert abs(ears.assignments[0].at - fleet.clocks[A].wall()) < 1_000


def test_an_ill_device_begins_where_it_does_no_harm(fleet: Fleet) -> None:
    for number in range(4):
        ears = fleet.register(f"d{number}", reading=ILL)
        assert ears.assignments[0].ring in (Ring.CANARY, Ring.DEV)


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (Registration("white space"), "id"),
        (Registration("d", session=1 << 32), "session"),
        (Registration("d", reading=Reading(101, False, 0, 0, 0)), "battery"),
        (Registration("d", labels={"k": "x" * 1_000}), "labels.k"),
    ],
)
def test_a_bad_registration_is_refused_at_once(fleet: Fleet, bad: Registration, field: str) -> None:
    ears = Ears()
    fleet.loops[A].intake.register(bad, ears)
    assert ears.refusals[0].fault is Fault.INVALID
    assert ears.refusals[0].field == field


def test_without_a_leader_a_device_is_told_to_come_back(fleet: Fleet) -> None:
    fleet.elect(None)
    ears = fleet.register("pixel")
    fleet.run(12.0)
    assert ears.heard == ["refused"]
    assert ears.refusals[0].fault is Fault.BUSY
    assert ears.refusals[0].retry_after


def test_a_registration_outlives_a_change_of_leader(fleet: Fleet) -> None:
    fleet.elect(None)
    ears = fleet.register("pixel")
    fleet.run(3.0)
    assert ears.heard == []
    fleet.elect(B)
    fleet.run(6.0)
    assert ears.heard == ["registered"]


def test_a_paused_cluster_still_takes_devices_in(fleet: Fleet) -> None:
    from stationkeep.cluster.commands import Pause

    fleet.order(Pause(60_000))
    assert fleet.register("pixel").heard == ["registered"]


# -- one connection a device ---------------------------------------------------------------------


def test_a_device_that_moves_on_is_served_by_its_new_node_alone(fleet: Fleet) -> None:
    old = fleet.register("pixel", A)
    new = fleet.register("pixel", B, sequence=2)
    fleet.run(0.5)
    assert old.heard == ["registered", "superseded"]
    assert new.heard == ["registered"]
    assert [len(fleet.loops[n].intake.connected) for n in fleet.names] == [0, 1, 0]
    assert new.assignments[0].ring == old.assignments[0].ring
    refusal = fleet.report("pixel", 2, node=A)
    assert refusal is not None
    assert refusal.fault is Fault.OUTDATED


def test_a_newer_agent_ends_the_older_one(fleet: Fleet) -> None:
    older = fleet.register("pixel", session=1)
    newer = fleet.register("pixel", session=2)
    assert older.heard == ["registered", "superseded"]
    assert newer.heard == ["registered"]
    refused = fleet.register("pixel", session=1)
    assert refused.refusals[0].fault is Fault.OUTDATED


def test_the_same_agent_on_a_new_connection_takes_over(fleet: Fleet) -> None:
    first = fleet.register("pixel")
    second = fleet.register("pixel", sequence=2)
    assert first.heard == ["registered", "superseded"]
    fleet.loops[A].intake.leave("pixel", first)
    assert len(fleet.loops[A].intake.connected) == 1, "the first one's end is not the second's"
    fleet.loops[A].intake.leave("pixel", second)
    assert len(fleet.loops[A].intake.connected) == 0


def test_late_words_of_a_connection_that_stood_change_nothing(fleet: Fleet) -> None:
    """They come to the node before, which does not know yet that the device talks elsewhere."""
    old, new = fleet.register("pixel", A, reading=WELL), Ears()
    again = Registration("pixel", session=1, sequence=5, reading=WELL)
    fleet.loops[B].intake.register(again, new)
    assert fleet.report("pixel", 4, ILL, node=A) is None
    fleet.run(2.5)
    assert any(node == A for node, _ in fleet.flushes)
    assert (old.heard, new.heard) == (["registered", "superseded"], ["registered"])
    for node in fleet.names:
        device = fleet.device("pixel", node)
        assert (device.served_by, device.cpu, device.online) == (B, 20.0, True)
    assert fleet.report("pixel", 6, node=B) is None


def test_agents_that_do_not_number_move_between_nodes_too(fleet: Fleet) -> None:
    old = fleet.register("pixel", A, session=0, sequence=0)
    assert fleet.report("pixel", 0, session=0) is None
    fleet.run(1.2)
    new = fleet.register("pixel", B, session=0, sequence=0)
    assert old.heard == ["registered", "superseded"]
    assert new.heard == ["registered"]
    assert fleet.report("pixel", 0, session=0, node=B) is None
    assert fleet.report("pixel", 0, session=0, node=B) is None


def test_agents_that_throw_each_other_out_are_slowed_down(fleet: Fleet) -> None:
    fleet.register("pixel", session=0, sequence=0)
    fleet.register("other", session=0, sequence=0)
    fights = [fleet.register("pixel", session=0, sequence=0) for _ in range(40)]  # 20 s of it
    taken = sum(ears.heard[0] == "registered" for ears in fights)
    assert taken == REGISTRATIONS_AT_ONCE + 19.5 // REGISTRATION_EVERY
    (refusal,) = fights[-1].refusals
    assert refusal.fault is Fault.BUSY
    assert "another agent" in refusal.rule
    assert 0 < (refusal.retry_after or 0) <= REGISTRATION_EVERY
    assert fleet.register("other", session=0, sequence=0).heard == ["registered"]
    fleet.run(refusal.retry_after or 0)
    assert fleet.register("pixel", session=0, sequence=0).heard == ["registered"]


def test_a_session_that_has_used_its_numbers_up_registers_anew(fleet: Fleet) -> None:
    fleet.register("pixel")
    word = 1
    while word < 2**32 - 1:  # as a device would come to it in many years, in longer steps
        word = SEQUENCE.limit(word)
        assert fleet.report("pixel", word) is None
    refusal = fleet.report("pixel", 0, session=0)
    assert refusal is not None
    assert (refusal.fault, refusal.rule) == (Fault.UNKNOWN, "a new session registers")
    assert fleet.register("pixel", session=0, sequence=0).heard == ["registered"]
    assert fleet.report("pixel", 0, session=0) is None


def test_a_removed_device_is_told_and_may_come_back(fleet: Fleet) -> None:
    ears = fleet.register("pixel")
    fleet.order(RemoveDevice("pixel"))
    assert ears.heard == ["registered", "removed"]
    refusal = fleet.report("pixel", 2)
    assert refusal is not None
    assert refusal.fault is Fault.UNKNOWN
    assert fleet.register("pixel", sequence=3).heard == ["registered"]


def test_a_row_with_a_new_tenant_says_nothing_to_the_old_one(fleet: Fleet) -> None:
    old = fleet.register("old")
    assert fleet.report("old", 2, ILL) is None
    fleet.order(RemoveDevice("old"))
    new = fleet.register("new")
    assert fleet.device("new").row == 0, "the row is given out again"
    fleet.order(AssignRing("new", Ring.STAGE))
    assert old.heard == ["registered", "removed"]
    assert new.assignments[-1].ring == Ring.STAGE
    fleet.run(2.0)
    assert fleet.device("new").cpu != 95.0, "what the old one said is not the new one's"


# -- hearing of a new ring -----------------------------------------------------------------------


def test_a_device_hears_of_its_new_ring_wherever_it_was_decided(fleet: Fleet) -> None:
    ears = fleet.register("pixel", A)
    bystander = fleet.register("galaxy", A)
    fleet.order(AssignRing("pixel", Ring.PROD))
    newest = ears.assignments[-1]
    assert (newest.ring, newest.reason) == (Ring.PROD, "pinned")
    assert newest.revision > ears.assignments[0].revision
    assert bystander.heard == ["registered"]
    told = fleet.loops[B].intake.assignment("pixel")
    assert isinstance(told, Assignment)
    assert (told.ring, told.revision) == (newest.ring, newest.revision)


def test_a_device_elsewhere_costs_nothing_and_hears_when_it_comes(fleet: Fleet) -> None:
    ears = fleet.register("pixel", A)
    fleet.loops[A].intake.leave("pixel", ears)
    fleet.order(AssignRing("pixel", Ring.PROD))
    assert ears.heard == ["registered"]
    assert fleet.register("pixel", B, sequence=2).assignments[0].ring == Ring.PROD


def test_many_moves_are_told_in_bounded_portions(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connected, "TELLS_PER_TURN", 2)
    everyone = [fleet.register(f"d{number}") for number in range(5)]
    for number in range(5):
        ring = Ring.PROD if everyone[number].assignments[0].ring != Ring.PROD else Ring.DEV
        fleet.loops[C].consensus.propose(
            codec.encode_draft(Draft(AssignRing(f"d{number}", ring))), lambda _: None, 5.0
        )
    counts = []
    fleet.on_step = lambda: counts.append(sum(ears.heard.count("assigned") for ears in everyone))
    fleet.run(1.0)
    assert counts[-1] == 5
    assert max(b - a for a, b in pairwise(counts)) <= 2


def test_what_a_snapshot_skipped_is_told_all_the_same(fleet: Fleet) -> None:
    """A node that was away gets the state as a whole, without one event."""
    moved, gone, stays = (fleet.register(id_, A) for id_ in ("moved", "gone", "stays"))
    elsewhere = fleet.register("elsewhere", A)
    fleet.cuts |= {(A, B), (B, A), (A, C), (C, A)}
    fleet.order(AssignRing("moved", Ring.PROD))
    fleet.order(RemoveDevice("gone"))
    fleet.register("elsewhere", B, sequence=2)
    loop = fleet.loops[A]
    loop.replica.prepare(fleet.loops[C].replica.snapshot())()
    loop.intake.turn()
    assert moved.assignments[-1].ring == Ring.PROD
    assert gone.heard == ["registered", "removed"]
    assert elsewhere.heard == ["registered", "superseded"]
    assert stays.heard == ["registered"]


@pytest.mark.parametrize("profile", ["orbit", "ground", "lan"])
def test_a_node_out_of_touch_sends_devices_away_while_they_still_count_as_online(
    profile: str,
) -> None:
    """Half of the time is theirs, to be taken in elsewhere; and they may at once."""
    settings = PROFILES[profile]
    interval, after = settings.device_status_interval / 1_000, settings.device_offline_after / 1_000
    fleet = Fleet(settings=settings)
    ears = fleet.register("d", A, reading=WELL)
    fleet.partition(A)
    for sequence in range(2, 2 + int(after / 2 / interval)):
        assert not ears.refusals, "a flush may be late"
        fleet.report("d", sequence, Reading(80, False, sequence, 4_000, 5_000))
        fleet.run(interval)
    fleet.run(interval)
    (refusal,) = ears.refusals
    assert refusal.fault is Fault.BUSY
    assert refusal.retry_after == 0.0
    assert fleet.device("d", B).online
    fleet.register("d", B, sequence=1_000, reading=WELL)
    fleet.run(after / 2)
    assert fleet.device("d", B).online


def test_whoever_left_while_the_node_was_away_is_dismissed_in_portions_too(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connected, "TELLS_PER_TURN", 2)
    everyone = [fleet.register(f"d{number}", A) for number in range(5)]
    fleet.cuts |= {(A, B), (B, A), (A, C), (C, A)}
    for number in range(5):
        fleet.register(f"d{number}", B, sequence=2)
    loop = fleet.loops[A]
    loop.replica.prepare(fleet.loops[C].replica.snapshot())()
    for gone in (2, 4, 5):
        assert loop.intake.next_wakeup() <= loop.clock.monotonic()
        loop.intake.turn()
        assert sum(ears.heard[-1] == "superseded" for ears in everyone) == gone
    assert len(loop.intake.connected) == 0


def test_a_removed_device_hears_of_it_before_its_row_speaks_for_another(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its turn to be told has not come when a report for the row's new tenant does."""
    old = fleet.register("old", A)
    monkeypatch.setattr(connected, "TELLS_PER_TURN", 0)
    fleet.order(RemoveDevice("old"))
    fleet.register("new", B)
    assert fleet.device("new").row == 0
    assert old.heard == ["registered"]
    assert fleet.report("new", 2, ILL, node=A) is None
    assert old.heard == ["registered", "removed"]
    monkeypatch.setattr(connected, "TELLS_PER_TURN", 256)
    fleet.order(AssignRing("new", Ring.STAGE))
    assert old.heard == ["registered", "removed"]


# -- reporting -----------------------------------------------------------------------------------


def test_statuses_reach_every_node_in_at_most_one_flush_a_second(fleet: Fleet) -> None:
    for number in range(3):
        fleet.register(f"d{number}", A, reading=WELL)
    fleet.flushes.clear()
    for sequence in range(2, 42):  # each device ten times a second, for four seconds
        for number in range(3):
            reading = Reading(80, False, 1_000 + sequence, 4_000, 5_000)
            assert fleet.report(f"d{number}", sequence, reading) is None
        fleet.run(0.1)
    assert len(fleet.flushes) <= 5
    fleet.run(1.5)
    for node in fleet.names:
        assert fleet.device("d2", node).cpu == 10.41
        assert fleet.device("d2", node).sequence == 41


def test_a_status_out_of_range_is_refused_with_its_field(fleet: Fleet) -> None:
    fleet.register("pixel")
    refusal = fleet.report("pixel", 2, Reading(80, False, 10_001, 0, 0))
    assert refusal is not None
    assert (refusal.fault, refusal.field) == (Fault.INVALID, "cpu")
    fleet.run(2.0)
    assert fleet.device("pixel").sequence == 1, "nothing of it was kept"


@pytest.mark.parametrize(
    ("session", "sequence", "fault"),
    [
        (1, 1, Fault.OUTDATED),
        (1, 0, None),
        (2, 1, Fault.UNKNOWN),
        (1, 1 << 32, Fault.INVALID),
        (1, (1 << 32) - 1, Fault.INVALID),
        (1, SEQUENCE.limit(1) + 1, Fault.INVALID),
        (1, SEQUENCE.limit(1), None),
    ],
)
def test_only_a_newer_word_of_the_registered_session_counts(
    fleet: Fleet, session: int, sequence: int, fault: Fault | None
) -> None:
    fleet.register("pixel")
    refusal = fleet.report("pixel", sequence, session=session)
    assert (None if refusal is None else refusal.fault) == fault


@pytest.mark.parametrize("numbers", [(2**32 - 1, 1), (2**32 - 1, 2**32 - 1), (2, 2**32 - 1)])
@pytest.mark.parametrize("known", [True, False])
def test_who_registers_in_a_devices_name_does_not_lock_it_out(
    fleet: Fleet, numbers: tuple[int, int], known: bool
) -> None:
    if known:
        fleet.register("pixel", session=1, sequence=1)
    session, sequence = numbers
    (refused,) = fleet.register("pixel", session=session, sequence=sequence).heard
    assert refused == "refused"
    fleet.run(10.0)  # it registered very often of late, whoever it was
    assert fleet.register("pixel", session=2, sequence=1).heard == ["registered"]
    assert fleet.report("pixel", 2, session=2) is None


def test_what_nobody_knows_of_is_to_register_first(fleet: Fleet) -> None:
    refusal = fleet.report("stranger", 1)
    assert refusal is not None
    assert refusal.fault is Fault.UNKNOWN
    told = fleet.loops[A].intake.assignment("stranger")
    assert isinstance(told, IntakeRefusal)
    assert fleet.loops[A].intake.results["unknown"] == 1


def test_a_status_that_says_nothing_new_is_not_flushed_but_shows_presence(fleet: Fleet) -> None:
    fleet.register("pixel", reading=WELL)
    fleet.flushes.clear()
    for sequence in range(2, 42):
        fleet.report("pixel", sequence)
        fleet.run(0.25)
    assert 3 <= len(fleet.flushes) <= 14, "ten seconds; a quarter of device_offline_after each"
    assert all(command.counts == b"\0" for _, command in fleet.flushes)
    assert fleet.device("pixel").online


def test_the_second_unhealthy_status_turns_a_device_though_it_repeats_the_first(
    fleet: Fleet,
) -> None:
    fleet.register("pixel", reading=WELL)
    fleet.report("pixel", 2, ILL)
    fleet.run(1.5)
    assert fleet.device("pixel").healthy
    fleet.report("pixel", 3, ILL)
    fleet.run(1.5)
    assert not fleet.device("pixel").healthy


def test_heartbeats_alone_keep_a_device_online(fleet: Fleet) -> None:
    fleet.register("pixel", A)
    fleet.register("silent", A)
    for sequence in range(2, 30):
        fleet.loops[A].intake.heartbeat("pixel", 1, sequence)
        fleet.run(0.25)
    assert fleet.device("pixel").online
    assert not fleet.device("silent").online
    fleet.loops[A].intake.heartbeat("silent", 1, 2)
    fleet.run(1.5)
    assert fleet.device("silent").online, "at once, since it was thought offline"


def test_a_flush_of_unknown_outcome_counts_once(fleet: Fleet) -> None:
    """One unhealthy status, three unhealthy ones make a device unhealthy: committed twice, and
    with a newer one heard meanwhile, it is still one, then two."""
    fleet.register("pixel", A, reading=WELL)
    fleet.run(1.0)
    fleet.report("pixel", 2, ILL)
    log = fleet.loops[A].consensus
    proposed: list[Any] = []
    propose, log.propose = log.propose, lambda *args: proposed.append(args)
    fleet.run(0.2)
    (draft, done, *_), *others = [
        args for args in proposed if isinstance(codec.decode_draft(args[0]).command, ReportDevices)
    ]
    assert not others
    log.propose = propose
    fleet.loops[C].consensus.propose(draft, lambda _: None, 5.0)  # it did come into the log …
    from stationkeep.node.ports import OutcomeUnknown

    done(OutcomeUnknown("leader_lost"))  # … but nobody can say so
    fleet.run(3.0)
    assert len(fleet.flushes) >= 2, "it was proposed again"
    device = fleet.device("pixel")
    assert device.healthy, "one unhealthy status; two make it unhealthy"
    assert device.cpu == 95.0


def test_the_status_of_a_registration_counts_once_whatever_waited_before_it(
    fleet: Fleet,
) -> None:
    fleet.register("pixel", reading=WELL)
    fleet.run(1.0)
    fleet.report("pixel", 2, WELL)
    fleet.run(0.1)  # flushed; the next ones wait
    fleet.report("pixel", 3, Reading(81, False, 0, 0, 0))
    fleet.register("pixel", session=2, reading=ILL)
    fleet.loops[A].intake.heartbeat("pixel", 2, 2)
    fleet.run(2.0)
    assert fleet.device("pixel").healthy, "one unhealthy status; two make it unhealthy"
    assert fleet.device("pixel").cpu == 95.0


def test_without_a_leader_the_newest_status_of_each_is_kept(fleet: Fleet) -> None:
    fleet.register("pixel", A, reading=WELL)
    fleet.elect(None)
    for sequence in range(2, 60):
        fleet.report("pixel", sequence, Reading(80, False, sequence, 0, 0))
        fleet.run(0.05)
    fleet.flushes.clear()
    assert fleet.loops[A].intake.results["taken"] == 58
    fleet.elect(B)
    fleet.run(7.0)
    assert fleet.device("pixel").cpu == 0.59
    assert {command.sequences for _, command in fleet.flushes} == {(59).to_bytes(4, "little")}


def test_devices_of_a_node_that_is_cut_off_are_sent_to_others(fleet: Fleet) -> None:
    ears = fleet.register("pixel", A, reading=WELL)
    fleet.partition(A)
    for sequence in range(2, 60):
        fleet.report("pixel", sequence, Reading(80, False, sequence, 0, 0))
        fleet.run(0.25)
        if ears.heard[-1] == "refused":
            break
    assert ears.heard == ["registered", "refused"]
    assert ears.refusals[0].fault is Fault.BUSY
    assert not fleet.device("pixel", C).online
    assert fleet.register("pixel", C, sequence=100).heard == ["registered"]
    assert fleet.device("pixel", C).online


def test_no_device_is_sent_away_while_all_look_for_a_leader(fleet: Fleet) -> None:
    ears = fleet.register("pixel", A, reading=WELL)
    fleet.elect(None)
    fleet.report("pixel", 2, ILL)
    fleet.run(9)
    fleet.elect(B)
    fleet.run(2)
    assert fleet.device("pixel", C).online
    fleet.run(6)
    assert ears.heard == ["registered"]


def test_a_node_that_was_removed_serves_no_device(fleet: Fleet) -> None:
    ears = fleet.register("pixel", A, reading=WELL)
    fleet.partition(A)
    consensus: Any = fleet.loops[A].consensus
    consensus.is_removed = True
    fleet.report("pixel", 2, ILL)
    assert fleet.register("other", A).heard == ["refused"], "at once, not when its patience is over"
    assert ears.heard == ["registered", "refused"]
    assert ears.refusals[0].fault is Fault.BUSY
    assert fleet.register("pixel", C, sequence=3).heard == ["registered"]


def test_a_stopping_node_flushes_at_once_and_takes_nobody_in(fleet: Fleet) -> None:
    fleet.register("pixel", A, reading=WELL)
    fleet.report("pixel", 2, ILL)
    fleet.run(0.6)  # flushed
    fleet.report("pixel", 3, ILL)
    here = fleet.loops[A].intake
    assert not here.idle
    here.stop()
    fleet.run_until(lambda: here.idle, 0.6)
    assert not fleet.device("pixel").healthy
    assert fleet.register("late", A).refusals[0].fault is Fault.STOPPING


# -- batches -------------------------------------------------------------------------------------


def batch(*statuses: tuple[str, int, int, Reading]) -> StatusColumns:
    ids, sessions, sequences, readings = zip(*statuses, strict=True)
    metrics: dict[str, list[tuple[int, int]]] = {}
    for position, reading in enumerate(readings):
        for name, value in reading.metrics.items():
            metrics.setdefault(name, []).append((position, value))

    def column(field: str, kind: Any) -> Any:
        return np.array([getattr(reading, field) for reading in readings], kind)

    return StatusColumns(
        ids=ids,
        sessions=np.array(sessions, np.uint32),
        sequences=np.array(sequences, np.uint32),
        battery=column("battery", np.uint8),
        charging=column("charging", np.uint8),
        cpu=column("cpu", np.uint16),
        memory=column("memory", np.uint16),
        disk=column("disk", np.uint16),
        metrics=tuple(
            (
                name,
                np.array([p for p, _ in pairs], np.uint32),
                np.array([v for _, v in pairs], "i4"),
            )
            for name, pairs in metrics.items()
        ),
    )


def test_of_a_batch_each_status_is_answered_by_itself(fleet: Fleet) -> None:
    for id_ in ("a", "b", "c"):
        fleet.register(id_)
    results = fleet.loops[A].intake.report_many(
        batch(
            ("a", 1, 2, ILL),
            ("nobody", 1, 2, WELL),
            ("b", 1, 1, WELL),
            ("c", 1, 2, Reading(101, False, 0, 0, 0)),
            ("c", 0, 0, WELL),
            ("a", 1, 3, ILL),
        )
    )
    assert results.tolist() == [
        intake.TAKEN, intake.UNKNOWN, intake.OUTDATED, intake.REFUSED, intake.TAKEN, intake.TAKEN,
    ]  # fmt: skip
    assert fleet.loops[A].intake.results == {"taken": 3, "outdated": 1, "unknown": 1, "refused": 1}
    fleet.run(1.5)
    assert not fleet.device("a").healthy, "both of its statuses counted"
    assert (fleet.device("c").session, fleet.device("c").sequence) == (1, 2)


def test_a_batch_is_the_same_as_one_by_one(fleet: Fleet) -> None:
    rule = fleet.loops[A].replica.state.fleet.rule
    readings = [
        Reading(battery, charging, cpu, 4_000, 5_000, {"temperature": 41_000})
        for battery in (20, 21)
        for charging in (False, True)
        for cpu in (7_999, 8_000)
    ]
    for number in range(len(readings)):
        fleet.register(f"one{number}")
        fleet.register(f"many{number}")
    many = batch(*((f"many{n}", 1, 2, reading) for n, reading in enumerate(readings)))
    for number, reading in enumerate(readings):
        fleet.report(f"one{number}", 2, reading)
    fleet.loops[A].intake.report_many(many)
    fleet.run(1.5)
    for number in range(len(readings)):
        one, same = fleet.device(f"one{number}"), fleet.device(f"many{number}")
        assert (one.cpu, one.battery, one.charging) == (same.cpu, same.battery, same.charging)
        assert one.metrics == same.metrics == {"temperature": 41.0}
        table = fleet.loops[A].replica.state.fleet.table
        assert table.bits[one.row] == table.bits[same.row]
    assert many.judge(rule).tolist() == [False, False, False, False, True, False, True, False]


def test_a_batch_of_one_device_over_and_over_is_as_its_newest_eight(fleet: Fleet) -> None:
    """More than eight are not judged anyway; each of them would cost a pass over the batch."""
    for id_ in ("a", "b"):
        fleet.register(id_)
    words = [("a", 1, 2 + n, ILL if n < 99 else WELL) for n in range(100)]
    results = fleet.loops[A].intake.report_many(batch(("b", 1, 2, WELL), *words, ("b", 1, 3, ILL)))
    assert results.tolist() == [intake.TAKEN] * 102
    fleet.run(1.5)
    assert (fleet.device("a").sequence, fleet.device("a").cpu) == (101, 20.0)
    assert not fleet.device("a").healthy, "all but the newest were ill"
    assert (fleet.device("b").sequence, fleet.device("b").healthy) == (3, True)


def test_custom_metrics_without_end_stay_within_a_command(fleet: Fleet) -> None:
    """Each status names sixteen new ones; the fleet learns sixteen, and nothing gets stuck."""
    fleet.register("pixel")
    for sequence in range(2, 30):
        metrics = {f"m{sequence}_{n}": n for n in range(16)}
        assert fleet.report("pixel", sequence, Reading(80, False, sequence, 0, 0, metrics)) is None
    fleet.report("pixel", 30, Reading(80, False, 30, 0, 0, {"m2_0": 7_000}))
    fleet.run(1.5)
    fleet.report("pixel", 31, Reading(80, False, 31, 0, 0, {"late": 1}))
    fleet.run(1.5)
    assert fleet.device("pixel").cpu == 0.31
    assert fleet.device("pixel").metrics["m2_0"] == 7.0
    assert len(fleet.device("pixel").metrics) == 16
    assert max(len(command.metrics) for _, command in fleet.flushes) == 16


def test_thousands_of_statuses_are_a_few_commands(fleet: Fleet) -> None:
    count = 3_000
    for start in range(0, count, 100):
        for number in range(start, start + 100):
            fleet.loops[A].intake.register(
                Registration(f"d{number}", session=1, sequence=1), Ears()
            )
        fleet.run(0.1)
    fleet.run(2.0)
    assert len(fleet.loops[B].replica.state.fleet) == count
    rich = Reading(80, False, 2_000, 4_000, 5_000, {f"m{n}": n for n in range(16)})
    fleet.flushes.clear()
    fleet.loops[A].intake.report_many(batch(*((f"d{n}", 1, 2, rich) for n in range(count))))
    fleet.run(3.0)
    assert sorted(len(command.counts) for _, command in fleet.flushes) == [1_464, 1_536]
    assert fleet.device("d2999", B).metrics["m15"] == 0.015


@pytest.mark.parametrize(("count", "metrics"), [(400, 0), (300, 1), (200, 3), (50, 16)])
def test_what_some_hundred_devices_say_travels_in_datagrams_to_the_leader_and_from_there(
    count: int, metrics: int
) -> None:
    """A stream alone stands still for seconds where packets are lost."""
    fleet = Fleet()
    ids = [f"d{number}" for number in range(count)]
    for id_ in ids:
        fleet.loops[A].intake.register(Registration(id_, session=1, sequence=1), Ears())
    fleet.run(3.0)
    fleet.flushes.clear()
    full = Reading(80, False, 2_000, 4_000, 5_000, {f"m{n}": n for n in range(metrics)})
    fleet.loops[A].intake.report_many(batch(*((id_, 1, 2, full) for id_ in ids)))
    fleet.run(1.5)
    for id_ in ids:
        assert fleet.device(id_, B).sequence == 2
        assert len(fleet.device(id_, B).metrics) == metrics
    commands = [command for _, command in fleet.flushes]
    assert len(commands) <= SMALL_COMMANDS
    for command in commands:
        draft = codec.encode_draft(Draft(command))
        assert len(draft) <= SMALL_BYTES, "what is not sent again within moments"
        assert len(draft) + APPEND_BYTES + ENTRY_BYTES <= MAX_BODY


def test_custom_metrics_of_many_are_flushed_some_at_a_time_and_nobody_is_left_behind(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "RICH", 4)
    ids = [f"d{n}" for n in range(10)]
    for id_ in ids:
        fleet.register(id_)
    fleet.run(2.0)
    fleet.flushes.clear()
    for sequence in range(2, 8):  # the first ones are always there again
        warm = Reading(80, False, 2_000, 4_000, 5_000, {"temperature": sequence * 1_000})
        fleet.loops[A].intake.report_many(batch(*((id_, 1, sequence, warm) for id_ in ids)))
        fleet.run(0.12)
    fleet.run(2.0)
    assert {len(command.counts) for _, command in fleet.flushes} <= {1, 2, 3, 4}
    for id_ in ids:
        assert (fleet.device(id_, B).sequence, fleet.device(id_, B).metrics) == (
            7,
            {"temperature": 7.0},
        )
    assert fleet.loops[A].intake.idle
