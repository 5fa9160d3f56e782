"""Devices of whole clusters in virtual time: nobody is lost, everybody hears, in bounded time.

The second half breaks the product on purpose: checks that notice nothing would prove nothing.
"""

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from stationkeep.cluster.commands import ReportDevices
from stationkeep.node.fleet.connected import ConnectedDevices
from stationkeep.node.fleet.intake import FLUSH, DeviceIntake
from stationkeep.node.fleet.registrations import PATIENCE, TIMEOUT, Registrations
from stationkeep.node.fleet.replies import Assignment
from stationkeep.node.fleet.report_outbox import Outbox
from stationkeep.node.ports import Committed
from stationkeep.node.simulation.actors.devices import HEARING
from stationkeep.node.simulation.campaigns.campaign import Plan, attempt, quiet, run
from stationkeep.node.simulation.scenario import Action, Scenario
from stationkeep.node.simulation.world import World

TROUBLES = (
    ("crash",),
    ("crashpoint", "slowdisk"),
    ("partition",),
    ("oneway", "lossy"),
    ("pause",),
    ("transfer", "straggler"),
    ("crash", "partition", "pause", "transfer"),
)


@pytest.mark.parametrize("faults", TROUBLES, ids=",".join)
def test_devices_live_through_the_troubles_of_their_nodes(faults: tuple[str, ...]) -> None:
    for seed in range(2):
        outcome = run(Plan(faults=("devices", *faults)), seed)
        assert outcome.ok, f"seed {seed}: {outcome.rule} at {outcome.at:.3f}: {outcome.detail}"


def world(*script: tuple[float, str, str], nodes: int = 3, seed: int = 7) -> World:
    """A run of this script, judged."""
    actions = tuple(Action(at, verb, tuple(words.split())) for at, verb, words in script)
    last = actions[-1].at + 3.0
    with quiet():
        made, outcome = attempt(Scenario(seed=seed, nodes=nodes, duration=last, script=actions))
    assert made is not None
    assert outcome.ok, f"{outcome.rule}: {outcome.detail}"
    return made


def heard(made: World) -> list[tuple[str, str]]:
    """What each device was told last: id, ring."""
    return [(d.id, d.newest.ring) for d in made.devices.all if d.newest is not None]


def stands(made: World) -> list[tuple[str, str]]:
    """Where each device is, by the leader's table."""
    leader = made.members.leader()
    assert leader is not None
    fleet = leader.replica.state.fleet
    rows = [(device.id, fleet.row(device.id)) for device in made.devices.all]
    return [(id_, fleet.device(row).ring.value) for id_, row in rows if row is not None]


def test_registrations_outlive_the_loss_of_every_node_in_turn() -> None:
    script: list[tuple[float, str, str]] = [(0.0, "devices", "20")]
    for turn in range(4):
        script.append((4.0 + 5 * turn, "crash", "leader process"))
        script += [(7.0 + 5 * turn, "start", f"sat-00{n}") for n in (1, 2, 3)]
    made = world(*script)
    assert len(made.leader_changes) > 3
    assert len(stands(made)) == 20
    assert heard(made) == stands(made)


def test_devices_of_a_node_cut_off_for_long_go_where_they_are_heard() -> None:
    made = world((0.0, "devices", "12"), (3.0, "isolate", "sat-001"), (30.0, "pin", "sat-002 prod"))
    assert heard(made) == stands(made)
    homes = {device.line.member.name for device in made.devices.all if device.line is not None}
    assert "sat-001" not in homes, "they left it, and had no reason to come back"


def test_restarted_agents_take_over_from_the_older_ones() -> None:
    made = world(
        (0.0, "devices", "12"), (3.0, "renew", "1"), (3.5, "renew", "1"), (4.0, "renew", "1")
    )
    assert {device.session for device in made.devices.all} == {4}
    assert sum(len(member.loop.intake.connected) for member in made.members.values()) == 12


def test_ill_devices_leave_the_upper_rings_while_leaders_come_and_go() -> None:
    made = world(
        (0.0, "devices", "16"),
        (4.0, "ill", "0.4 30"),
        (6.0, "transfer", ""),
        (9.0, "crash", "leader process"),
        (14.0, "transfer", ""),
    )
    moves = made.members["sat-002"].replica.state.fleet.moves.in_order()
    assert len(moves) > 16, "somebody moved after the registrations"
    assert heard(made) == stands(made)


def test_one_seed_is_one_run_with_devices_as_well() -> None:
    scenario = Plan(faults=("devices", "crash", "partition")).scenario(11)
    with quiet():
        one, other = (attempt(scenario)[0] for _ in range(2))
    assert one is not None
    assert other is not None
    assert one.notes == other.notes
    assert one.agenda.events == other.agenda.events
    assert heard(one) == heard(other)


def test_mixed_campaigns_have_devices_now_and_then() -> None:
    with_devices = ["devices" in Plan().scenario(seed).faults for seed in range(100)]
    assert 10 < sum(with_devices) < 40


# -- what the checks are good for ------------------------------------------------------------------


def broken(
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    name: str,
    wrong: Any,
    faults: tuple[str, ...] = ("crash", "pause"),
) -> str:
    """The rule that is violated when a part of the product is replaced by a wrong one."""
    monkeypatch.setattr(owner, name, wrong)
    for seed in range(12):
        outcome = run(Plan(faults=("devices", *faults), nodes=3), seed)
        if not outcome.ok:
            return outcome.rule
    return ""


def test_a_desk_that_does_not_tell_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def mute(self: ConnectedDevices) -> None:
        self._outdated.clear()

    assert broken(monkeypatch, ConnectedDevices, "tell", mute) == "every device hears"


def test_a_desk_that_keeps_what_is_not_its_own_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgiving(self: ConnectedDevices) -> None:
        rows = np.flatnonzero(self._buffer.connected)
        rows = rows[self._buffer.revision[rows] != self._fleet.table.revision[rows]]
        self._outdated.extend(rows.tolist())

    assert broken(monkeypatch, ConnectedDevices, "compare", forgiving) == "every device hears"


def test_an_answer_before_the_log_has_it_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registration is acknowledged with whatever outcome its proposal had."""
    answer = Registrations._on_done

    def hasty(self: Registrations, batch: Any, result: Any) -> None:
        if isinstance(result, Committed):
            answer(self, batch, result)
            return
        self._in_flight -= 1
        for arrival in filter(self._awaits, batch):
            self._drop(arrival.registration.id)
            id_ = arrival.registration.id
            arrival.listener.registered(Assignment(id_, "dev", "registered", 0, 1))

    rule = broken(monkeypatch, Registrations, "_on_done", hasty)
    assert rule in ("acknowledged is applied", "one revision, one ring"), "the one seen first"


def test_assignments_that_differ_between_nodes_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    true = ConnectedDevices.assignment

    def confused(self: ConnectedDevices, row: int) -> Any:
        said = true(self, row)
        return replace(said, ring="prod") if self._replica.state.index % 2 else said

    assert broken(monkeypatch, ConnectedDevices, "assignment", confused) == "one revision, one ring"


def test_a_flush_that_is_merged_instead_of_repeated_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first rule of `node.fleet.report_outbox`."""
    intakes: dict[Outbox, DeviceIntake] = {}
    flush = DeviceIntake._flush

    def flushing(self: DeviceIntake) -> None:
        intakes[self._outbox] = self
        flush(self)

    def merging(self: Outbox, command: ReportDevices, result: Any) -> None:
        self._in_flight -= 1
        if isinstance(result, Committed):
            return
        intake = intakes[self]
        rows = np.frombuffer(command.rows, "<u4")
        counts = np.frombuffer(command.counts, np.uint8)
        intake._buffer.count[rows] = np.minimum(intake._buffer.count[rows] + counts, 8)
        intake._buffer.dirty[rows] = True
        intake._awake()

    monkeypatch.setattr(DeviceIntake, "_flush", flushing)
    rule = broken(monkeypatch, Outbox, "_on_done", merging, faults=("oneway",))
    assert rule == "a status counts once"


def test_the_bound_is_more_than_a_registration_takes() -> None:
    assert 2 * PATIENCE + TIMEOUT + FLUSH < HEARING
