"""Tasks of whole clusters in virtual time: carried out once, never lost, over by their deadlines.

The second half switches rules off on purpose, one at a time: each check is seen to notice.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from stationkeep.cluster.commands import RemoveDevice
from stationkeep.cluster.delivery import arrivals, expiries, offers, orders, reports, steps
from stationkeep.cluster.delivery.members import present
from stationkeep.cluster.delivery.reports import Answer
from stationkeep.cluster.deployments.book import Book
from stationkeep.cluster.deployments.deployment import Deployment
from stationkeep.cluster.deployments.lifecycle import Cause, TaskReason, TaskState
from stationkeep.cluster.deployments.roster import Roster
from stationkeep.cluster.deployments.step_table import TARGETS
from stationkeep.cluster.devices.fleet import Fleet
from stationkeep.cluster.devices.table import Kind
from stationkeep.cluster.fleet import registration
from stationkeep.node.agent.tasks.book import Job
from stationkeep.node.fleet import conductor
from stationkeep.node.fleet.task_words import TaskWords
from stationkeep.node.ports import Committed
from stationkeep.node.simulation.actors.carriers import Carrier
from stationkeep.node.simulation.actors.deceivers import NOWHERE
from stationkeep.node.simulation.actors.deployments import REQUIRED
from stationkeep.node.simulation.actors.device import Device
from stationkeep.node.simulation.campaigns.campaign import Plan, attempt, quiet, run
from stationkeep.node.simulation.scenario import Action, Scenario
from stationkeep.node.simulation.world import World
from stationkeep.node.wire import tasks as wire

TROUBLES = (
    ("crash",),
    ("crashpoint", "slowdisk"),
    ("partition", "jump"),
    ("oneway", "lossy"),
    ("pause", "devices"),
    ("transfer", "membership"),
    ("mischief", "crash", "lossy"),
    ("crash", "partition", "pause", "transfer"),
)


@pytest.mark.parametrize("faults", TROUBLES, ids=",".join)
def test_tasks_live_through_the_troubles_of_nodes(faults: tuple[str, ...]) -> None:
    for seed in range(2):
        outcome = run(Plan(faults=("tasks", *faults)), seed)
        assert outcome.ok, f"seed {seed}: {outcome.rule} at {outcome.at:.3f}: {outcome.detail}"


def world(*script: tuple[float, str, str], seed: int = 7) -> World:
    """A run of this script on three nodes, judged."""
    actions = tuple(Action(at, verb, tuple(words.split())) for at, verb, words in script)
    last = actions[-1].at + 3.0
    with quiet():
        made, outcome = attempt(Scenario(seed=seed, nodes=3, duration=last, script=actions))
    assert made is not None
    assert outcome.ok, f"{outcome.rule}: {outcome.detail}"
    return made


def ways(made: World) -> dict[str, int]:
    """How often each step was taken: from, to, reason."""
    return made.members.newest_state().counters.task_transitions


def test_a_deployment_is_carried_out_while_every_node_dies_in_turn() -> None:
    script = [(0.0, "carriers", "12"), (4.0, "deploy", "sat-001 all")]
    for turn in range(4):
        script.append((5.0 + 5 * turn, "crash", "leader process"))
        script += [(8.0 + 5 * turn, "start", f"sat-00{n}") for n in (1, 2, 3)]
    made = world(*script, seed=1)
    (deployment,) = made.members.newest_state().deployments.known.values()
    assert len(made.leader_changes) > 3
    assert (deployment.members, deployment.unfinished) == (12, 0)
    assert deployment.count(TaskState.SUCCEEDED) > 6


def test_devices_without_the_capability_are_left_alone() -> None:
    made = world((0.0, "devices", "6"), (1.0, "carriers", "3"), (5.0, "deploy", "sat-001 all"))
    (deployment,) = made.members.newest_state().deployments.known.values()
    assert (deployment.members, deployment.incapable) == (3, 6)


def test_a_campaign_sees_tasks_come_to_every_end() -> None:
    """What is never drawn is never checked."""
    seen: set[str] = set()
    for seed in range(16):
        with quiet():
            made, outcome = attempt(Plan(faults=("tasks", "crash")).scenario(seed))
        assert made is not None
        assert outcome.ok, f"seed {seed}: {outcome.rule}: {outcome.detail}"
        seen |= ways(made).keys()
    assert seen >= {
        "in_progress>queued>postponed",
        "in_progress>succeeded>",
        "in_progress>failed>install",
        "in_progress>rejected>precondition",
        "in_progress>canceled>canceled",
        "succeeded>failed>reverted",
        "failed>queued>retry",
        "queued>timed_out>silent",
        "queued>canceled>canceled",
        "queued>unreached>unreached",
    }


def test_a_campaign_sees_devices_go_and_come_back_and_such_as_are_not_ready() -> None:
    seen: set[str] = set()
    held_back = 0
    for seed in range(3):
        with quiet():
            made, outcome = attempt(Plan(faults=("tasks", "mischief")).scenario(seed))
        assert made is not None
        assert outcome.ok, f"seed {seed}: {outcome.rule}: {outcome.detail}"
        seen |= ways(made).keys()
        known = made.members.newest_state().deployments.known.values()
        held_back += sum(one.require == REQUIRED for one in known)
        assert any(len(device.births) > 1 for device in made.devices.all)
    assert seen >= {"queued>canceled>removed", "in_progress>canceled>removed"}
    assert held_back > 2


def test_whoever_polls_carries_out_tasks_without_a_connection() -> None:
    made = world(
        (0.0, "pollers", "5"), (4.0, "deploy", "sat-001 all"), (30.0, "transfer", ""), seed=1
    )
    (deployment,) = made.members.newest_state().deployments.known.values()
    assert (deployment.members, deployment.unfinished) == (5, 0)
    assert deployment.count(TaskState.SUCCEEDED) > 2


def test_whoever_is_removed_comes_back_as_another_and_has_no_task() -> None:
    deploy = [(4.0, "deploy", "sat-001 all")]
    remove = [(4.2 + 0.1 * n, "remove", "sat-002") for n in range(20)]
    made = world((0.0, "carriers", "4"), *deploy, *remove, seed=1)
    state = made.members.newest_state()
    assert all(len(device.births) > 1 for device in made.devices.all)
    assert ways(made).keys() & {f"{s}>canceled>removed" for s in ("offered", "in_progress")}
    assert len(state.fleet) == 4


def test_words_that_no_device_said_end_no_more_than_they_are_about() -> None:
    lies = [(4.0 + 0.05 * n, "lie", f"sat-00{1 + n % 3}") for n in range(200)]
    made = world((0.0, "carriers", "6"), (3.5, "deploy", "sat-001 all"), *lies, seed=1)
    said = made.members.newest_state().deployments.known[1].failures
    assert {group.text for group in said} >= {"it is invented"}


def test_one_seed_is_one_run_with_tasks_as_well() -> None:
    scenario = Plan(faults=("tasks", "mischief", "crash", "partition")).scenario(11)
    with quiet():
        one, other = (attempt(scenario)[0] for _ in range(2))
    assert one is not None
    assert other is not None
    assert one.notes == other.notes
    assert one.agenda.events == other.agenda.events
    assert ways(one) == ways(other)


def test_mixed_campaigns_have_tasks_now_and_then() -> None:
    faults = [Plan().scenario(seed).faults for seed in range(100)]
    assert 5 < sum("tasks" in names for names in faults) < 30
    assert any({"tasks", "devices"} <= {*names} for names in faults)
    assert any("mischief" in names for names in faults)
    assert all("tasks" in names for names in faults if "mischief" in names)


# -- what the checks are good for ------------------------------------------------------------------


def violated(faults: Sequence[str] = ("crash", "pause"), seeds: int = 12) -> str:
    """The rule that the first run breaks which breaks any; of a state its invariant."""
    for seed in range(seeds):
        outcome = run(Plan(faults=("tasks", *faults), nodes=3), seed)
        if not outcome.ok:
            invariant = outcome.rule == "invariant"
            return outcome.detail.partition(":")[0] if invariant else outcome.rule
    return ""


Patch = pytest.MonkeyPatch


def test_steps_that_are_not_tallied_are_found(monkeypatch: Patch) -> None:
    count = steps._count

    def careless(step: Any, deployment: Deployment, *more: Any) -> None:
        before = [*deployment.tallies]
        count(step, deployment, *more)
        deployment.tallies[:] = before

    monkeypatch.setattr(steps, "_count", careless)
    assert violated() == "delivery.tallies_recount"


def test_a_device_that_is_not_noted_as_taken_is_found(monkeypatch: Patch) -> None:
    monkeypatch.setattr(steps, "_occupy", lambda *_: None)
    assert violated() == "delivery.one_task_a_device"


def test_two_tasks_at_once_are_found(monkeypatch: Patch) -> None:
    """Offers do not ask whether another task has the device."""
    ready = offers._ready

    def blind(state: Any, deployment: Any, positions: Any, now: int) -> Any:
        table = state.fleet.table
        kept, table.task = table.task, np.zeros_like(table.task)
        try:
            return ready(state, deployment, positions, now)
        finally:
            table.task = kept

    monkeypatch.setattr(offers, "_ready", blind)
    assert violated() == "delivery.one_task_a_device"


def test_more_in_flight_than_there_may_be_is_found(monkeypatch: Patch) -> None:
    monkeypatch.setattr(offers, "room", lambda _state, deployment, _now: 500 * deployment.open)
    assert violated() == "delivery.within_limits"


def test_a_deployment_that_does_not_close_is_found(monkeypatch: Patch) -> None:
    for module in (reports, expiries, arrivals, orders):
        monkeypatch.setattr(module, "close_if_over", lambda *_: None)
    assert violated() == "delivery.closed_are_over"


def test_a_wait_without_an_end_is_found(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Deployment, "after", lambda *_: 0)
    assert violated() == "delivery.every_wait_ends"


def test_a_success_that_no_device_reported_is_found(monkeypatch: Patch) -> None:
    """The word of a device counts, which does not register with what it runs."""
    monkeypatch.setattr(Device, "renew", lambda _: None)
    monkeypatch.setattr(reports, "running", lambda _fleet, _roster, places, _: places >= 0)
    assert violated() == "delivery.only_reported_successes"


def test_a_roster_without_attempts_is_found(monkeypatch: Patch) -> None:
    add = Book.add

    def blank(self: Book, deployment: Deployment, roster: Roster) -> None:
        roster.attempt[:] = 0
        add(self, deployment, roster)

    monkeypatch.setattr(Book, "add", blank)
    assert violated() == "delivery.rosters_hold"


def test_an_attempt_that_begins_twice_is_found(monkeypatch: Patch) -> None:
    """Whoever takes longer than a second is sent the same attempt again."""
    silence = expiries._silence

    def again(step: Any, deployment: Deployment, roster: Roster, positions: Any) -> None:
        if not deployment.open:
            silence(step, deployment, roster, positions)
            return
        wait = steps.Wait(TaskReason.RETRY.code, deployment.tenths(step.now))
        steps.take(step, deployment, positions, Cause.POSTPONEMENT, wait)

    def soon(self: Any, positions: Any) -> Any:
        return np.full(len(positions), self.deployment.tenths(self.step.now) + 10)

    monkeypatch.setattr(expiries, "_silence", again)
    monkeypatch.setattr(reports._Reported, "_over_at", soon)
    assert violated() == "an attempt begins once"


def test_a_step_that_is_not_in_the_table_is_found(monkeypatch: Patch) -> None:
    """An old word begins what is to be offered again later."""
    more = TARGETS.copy()
    more[Cause.PROGRESS.code, TaskState.QUEUED.code] = TaskState.IN_PROGRESS.code
    for module in (reports, steps):
        monkeypatch.setattr(module, "TARGETS", more)
    rules = ("steps are in the table", "delivery.one_task_a_device")
    assert violated() in rules, "the one seen first"


def test_an_end_that_does_not_stay_is_found(monkeypatch: Patch) -> None:
    close = Book.close

    def forgetful(self: Book, deployment: Deployment) -> None:
        roster = self.rosters[deployment.number]
        roster.own()
        roster.state[roster.in_state(TaskState.SUCCEEDED)] = TaskState.FAILED.code
        deployment.tallies[:] = roster.tally()
        close(self, deployment)

    monkeypatch.setattr(Book, "close", forgetful)
    assert violated() in ("an end stays", "steps follow one another"), "the one seen first"


def test_an_answer_before_the_log_has_the_end_is_found(monkeypatch: Patch) -> None:
    done = TaskWords._on_done

    def hasty(self: TaskWords, batch: Any, result: Any) -> None:
        if isinstance(result, Committed):
            done(self, batch, result)
            return
        self._under_way = False
        for row, word in batch:
            self._answer(row, word, Answer.TAKEN)

    monkeypatch.setattr(TaskWords, "_on_done", hasty)
    assert violated() == "an acknowledged end is in the log"


def test_a_leader_that_lets_waits_go_on_is_found(monkeypatch: Patch) -> None:
    monkeypatch.setattr(conductor, "plan_expiries", lambda *_: [])
    assert violated() == "every wait ends in time"


MISCHIEF = ("mischief",)


def test_tasks_of_the_removed_that_wait_on_are_found(monkeypatch: Patch) -> None:
    monkeypatch.setattr(arrivals, "_cancel_all", lambda *_: None)
    rules = ("delivery.unfinished_are_there", "delivery.one_task_a_device")
    assert violated(MISCHIEF) in rules, "the one seen first"


def test_an_offer_to_whoever_is_not_ready_is_found(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Fleet, "meeting", lambda _, __, rows: np.ones(len(rows), bool))
    assert violated(MISCHIEF) == "offers go to the ready"


def test_a_word_that_counts_for_another_attempt_is_found(monkeypatch: Patch) -> None:
    made = reports._Reported.__init__

    def careless(self: Any, *given: Any) -> None:
        *others, roster, batch, places = given
        made(self, *others, roster, batch._replace(attempts=roster.attempt[places]), places)

    monkeypatch.setattr(reports._Reported, "__init__", careless)
    assert violated(MISCHIEF) == "a word is about its own attempt"


def test_a_word_that_counts_for_another_device_is_found(monkeypatch: Patch) -> None:
    """Of the one that had the row before."""

    def careless(fleet: Fleet, roster: Roster, rows: Any, _: Any) -> Any:
        return present(fleet, roster, rows, fleet.table.birth[rows])

    monkeypatch.setattr(reports, "present", careless)
    assert violated(MISCHIEF) == "a word is about its own attempt"


def test_a_removal_of_more_than_was_ordered_is_found(monkeypatch: Patch) -> None:
    remove = arrivals.remove_device

    def greedy(step: Any, command: RemoveDevice) -> Any:
        answer = remove(step, command)
        for other in [*step.state.fleet.table.rows][:1]:
            remove(step, RemoveDevice(other))
        return answer

    monkeypatch.setattr(arrivals, "remove_device", greedy)
    rules = ("no registration is lost", "a registration is kept", "nobody is forgotten")
    assert violated(MISCHIEF) in rules, "the one seen first"


def test_a_word_about_a_task_to_whoever_can_carry_out_none_is_found(monkeypatch: Patch) -> None:
    true = registration.kind_of

    def capable(*one: Any) -> Kind:
        return replace(true(*one), capabilities=(("deployment", "true"),))

    monkeypatch.setattr(registration, "kind_of", capable)
    assert violated(("devices",)) == "only the capable are told"


def test_replicas_that_draw_differently_are_found(monkeypatch: Patch) -> None:
    """Whoever is tried again is so at another moment on each replica."""
    backoff = expiries.backoff

    def own(step: Any, *more: Any) -> Any:
        return backoff(step, *more) + id(step.state) // 64 % 16

    monkeypatch.setattr(expiries, "backoff", own)
    assert violated() == "equal digests"


def test_agents_that_lose_their_ends_are_no_trouble_to_the_cluster(monkeypatch: Patch) -> None:
    """Whatever a device does, tasks come to their ends by themselves."""
    monkeypatch.setattr(Carrier, "_say", lambda self: None)
    assert violated(seeds=2) == ""


DECEIT, SAID = ("deceit",), wire.TaskState


def test_what_devices_report_decides_whatever_nodes_send_them() -> None:
    for seed in range(3):
        outcome = run(Plan(faults=("tasks", "deceit", "crash")), seed)
        assert outcome.ok, f"seed {seed}: {outcome.rule} at {outcome.at:.3f}: {outcome.detail}"


def test_devices_believe_what_they_are_sent() -> None:
    """What is never believed is never checked."""
    lies = [(4.0 + n, "deceive", f"sat-00{1 + n % 3}") for n in range(60)]
    made = world((0.0, "carriers", "6"), (3.5, "deploy", "sat-001 all"), *lies, seed=1)
    books = [device.carrier.book for device in made.devices.all if device.carrier is not None]
    known = [outcome.update for book in books for outcome in book.outcomes]
    invented = [update for update in known if update.task_id.startswith(f"{NOWHERE}/")]
    assert {update.state for update in invented} >= {SAID.SUCCEEDED, SAID.FAILED}


def test_devices_wait_for_their_windows() -> None:
    made = world(
        (0.0, "carriers", "8"), (0.1, "windows", "1"), (4.0, "deploy", "sat-001 all"),
        (30.0, "transfer", ""), seed=1,
    )  # fmt: skip
    taken = ways(made)
    assert any(way.startswith("in_progress>succeeded") for way in taken)


def test_a_success_that_is_only_said_is_found(monkeypatch: Patch) -> None:
    monkeypatch.setattr(reports, "running", lambda _fleet, _roster, places, _: places >= 0)
    rules = ("what devices report decides", "delivery.only_reported_successes")
    assert violated(DECEIT) in rules, "the one seen first"


def test_an_installation_outside_of_its_window_is_found(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Job, "opens_in", lambda *_: 0.0)
    assert violated(DECEIT) == "installing begins in its window"
