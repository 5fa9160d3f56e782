"""Tasks between the log and connected devices, above real replicas and in virtual time."""

from typing import Any

import pytest

from stationkeep.cluster.commands import (
    CancelDeployment,
    CreateDeployment,
    Pause,
    RemoveDevice,
    Resume,
)
from stationkeep.cluster.delivery.reports import Answer
from stationkeep.cluster.delivery.tasks import Task, task_at
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.deployment import Limits, Target
from stationkeep.cluster.deployments.lifecycle import TaskReason, TaskState
from stationkeep.node.fleet import errands
from stationkeep.node.fleet import task_words as module
from stationkeep.node.fleet.replies import Fault, IntakeRefusal
from stationkeep.node.fleet.task_words import TaskAnswer
from stationkeep.node.wire import tasks as wire
from tests.node.fleet.proposing import Ears
from tests.node.fleet.test_intake import WELL, A, B, C, Fleet

ALL = Target(everyone=True)
V2 = Artifact("2.0.0")
Said = wire.TaskState


class Delivery(Fleet):
    """Capable devices that talk to `A`, unless it is said otherwise; `C` leads."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.answers: dict[str, list[TaskAnswer | None]] = {}
        self.sessions: dict[str, int] = {}

    def connect(self, id_: str, node: str = A, app: str = "1.0.0") -> Ears:
        session = self.sessions[id_] = self.sessions.get(id_, 0) + 1
        return self.register(
            id_, node, session, app_version=app, capabilities={"deployment": "true"}, reading=WELL
        )

    def create(self, target: Target = ALL, artifact: Artifact | None = V2, **more: Any) -> int:
        number: int = self.order(CreateDeployment(target, artifact=artifact, **more))["deployment"]
        return number

    def say(
        self, task_id: str, state: Said, node: str = A, device: str = "", **more: Any
    ) -> IntakeRefusal | None:
        heard = self.answers.setdefault(task_id, [])
        update = wire.TaskUpdatePayload(task_id=task_id, state=state, **more)
        return self.loops[node].errands.words.say(
            device or task_id.split("/")[1], update, heard.append
        )

    def carry_out(self, id_: str, task_id: str, node: str = A) -> None:
        """As an agent does it: begun, installed, registered with what runs now, and said so."""
        self.say(task_id, Said.IN_PROGRESS, node, phase=wire.Phase.INSTALLING)
        self.run(0.3)
        self.connect(id_, node, app="2.0.0")
        self.say(task_id, Said.SUCCEEDED, node, installed_version="2.0.0")
        self.run(0.3)

    def live(self, seconds: float) -> None:
        """Time passes while devices report."""
        for _ in range(round(seconds / 0.5)):
            for id_ in self.sessions:
                self.report(id_, 0, session=0)
            self.run(0.5)

    def task(self, id_: str, deployment: int = 1, node: str = C) -> Task:
        state = self.loops[node].replica.state
        row = state.fleet.row(id_)
        positions = state.deployments.rosters[deployment].row.tolist()
        return task_at(state, state.deployments.known[deployment], positions.index(row))

    def said(self, task_id: str) -> list[Answer]:
        return [answer.answer for answer in self.answers[task_id] if answer is not None]


@pytest.fixture
def fleet() -> Delivery:
    return Delivery()


# -- what a device is sent -----------------------------------------------------------------------


def test_a_device_is_sent_its_task_and_its_success_counts_once(fleet: Delivery) -> None:
    ears = fleet.connect("pixel")
    fleet.create()
    (task,) = ears.tasks
    assert task.task_id == "1/pixel/1"
    assert task.artifact == wire.Artifact("app", "2.0.0")
    assert task.parameters == {"version": "2.0.0", "ring": ears.assignments[0].ring}
    assert task.seconds_until(task.deadline) == fleet.settings.task_timeout / 1_000
    fleet.carry_out("pixel", task.task_id)
    assert fleet.task("pixel").state is TaskState.SUCCEEDED
    assert fleet.said(task.task_id) == [Answer.TAKEN, Answer.REPEATED]
    assert ears.tasks == [task]


def test_every_node_offers_by_what_the_leader_put_into_the_log(fleet: Delivery) -> None:
    ears = [fleet.connect(f"d{n}", node) for n, node in enumerate(fleet.names)]
    fleet.create()
    assert [len(one.tasks) for one in ears] == [1, 1, 1]


def test_a_device_that_connects_elsewhere_is_sent_its_task_there(fleet: Delivery) -> None:
    fleet.connect("pixel")
    fleet.create()
    fleet.say("1/pixel/1", Said.IN_PROGRESS, phase=wire.Phase.DOWNLOADING)
    fleet.run(0.5)
    ears = fleet.connect("pixel", B)
    assert [task.task_id for task in ears.tasks] == ["1/pixel/1"]
    fleet.carry_out("pixel", "1/pixel/1", B)
    assert fleet.task("pixel").state is TaskState.SUCCEEDED


def test_devices_that_come_and_go_leave_nothing_to_look_at(fleet: Delivery) -> None:
    """As they do between two turns, or where no tasks are looked at."""
    connected = fleet.loops[A].intake.connected
    stay, go = fleet.connect("stay"), fleet.connect("go")
    rows = [fleet.loops[A].replica.state.fleet.table.rows[id_] for id_ in ("stay", "go")]
    for _ in range(100):
        for row, ears in zip(rows, (stay, go), strict=True):
            connected.admit(row, ears)
        connected.leave(rows[1], go)
    assert list(connected.admitted) == rows[:1]


def test_an_offer_left_unanswered_is_made_again_and_costs_no_attempt(fleet: Delivery) -> None:
    ears = fleet.connect("pixel")
    fleet.create()
    fleet.live(20.0)
    assert len(ears.tasks) > 1
    assert {task.task_id for task in ears.tasks} == {"1/pixel/1"}


def test_a_task_goes_on_after_the_leader_is_another_one(fleet: Delivery) -> None:
    ears = fleet.connect("pixel")
    fleet.create()
    fleet.elect(B)
    fleet.run(1.0)
    fleet.carry_out("pixel", "1/pixel/1")
    assert fleet.task("pixel").state is TaskState.SUCCEEDED
    assert len(ears.tasks) == 1


def test_a_canceled_deployment_is_taken_back_from_its_devices(fleet: Delivery) -> None:
    began, idle = fleet.connect("began"), fleet.connect("idle")
    number = fleet.create()
    fleet.say("1/began/1", Said.IN_PROGRESS, phase=wire.Phase.DOWNLOADING)
    fleet.run(0.5)
    fleet.order(CancelDeployment(number))
    assert began.heard[-1].startswith("cancel 1/began/1")
    assert idle.heard[-1] == "cancel 1/idle/1 canceled"
    fleet.say("1/began/1", Said.CANCELED)
    fleet.run(0.5)
    assert fleet.task("began").state is TaskState.CANCELED
    assert fleet.said("1/began/1") == [Answer.TAKEN, Answer.TAKEN]


def test_who_goes_on_with_what_was_canceled_hears_so_wherever_it_says_it(fleet: Delivery) -> None:
    """The node that sent it the task died before it heard that the device had begun."""
    fleet.connect("pixel")
    number = fleet.create()
    fleet.order(CancelDeployment(number))
    ears = fleet.connect("pixel", B)
    fleet.say("1/pixel/1", Said.IN_PROGRESS, B, phase=wire.Phase.DOWNLOADING)
    fleet.run(0.5)
    assert fleet.said("1/pixel/1") == [Answer.OUTDATED]
    assert ears.heard[-1] == "cancel 1/pixel/1 canceled"
    fleet.say("1/pixel/1", Said.CANCELED, B)
    fleet.run(0.5)
    assert fleet.said("1/pixel/1") == [Answer.OUTDATED, Answer.REPEATED]
    assert ears.heard.count("cancel 1/pixel/1 canceled") == 1


def test_who_was_away_when_its_task_was_canceled_hears_so_when_it_goes_on(fleet: Delivery) -> None:
    fleet.connect("pixel")
    number = fleet.create()
    fleet.say("1/pixel/1", Said.IN_PROGRESS, phase=wire.Phase.DOWNLOADING)
    fleet.run(0.5)
    fleet.partition(A)
    fleet.order(CancelDeployment(number))
    fleet.run(fleet.settings.progress_timeout / 1_000 + 5)
    assert fleet.task("pixel").state is TaskState.TIMED_OUT
    fleet.heal()
    ears = fleet.connect("pixel", B)
    fleet.say("1/pixel/1", Said.IN_PROGRESS, B, phase=wire.Phase.DOWNLOADING)
    fleet.run(0.5)
    assert ears.heard[-1] == f"cancel 1/pixel/1 {errands.CALLED_OFF}"


def test_who_registers_with_a_newer_version_hears_that_its_task_is_over(fleet: Delivery) -> None:
    fleet.connect("pixel")
    fleet.create()
    ears = fleet.connect("pixel", app="3.0.0")
    fleet.say("1/pixel/1", Said.IN_PROGRESS, phase=wire.Phase.DOWNLOADING)
    fleet.run(0.5)
    assert ears.heard[-1] == "cancel 1/pixel/1 newer_installed"


def test_nothing_is_offered_during_a_pause(fleet: Delivery) -> None:
    ears = fleet.connect("pixel")
    fleet.order(Pause(60_000))
    fleet.create()
    fleet.live(2.0)
    assert not ears.tasks
    fleet.order(Resume())
    fleet.live(1.0)
    assert len(ears.tasks) == 1


def test_no_more_tasks_are_out_than_may_be(fleet: Delivery) -> None:
    ears = {f"d{n}": fleet.connect(f"d{n}") for n in range(9)}
    fleet.live(0.5)
    fleet.create(limits=Limits(max_in_flight=3))
    deployment = fleet.loops[C].replica.state.deployments.known[1]
    while deployment.closed_at is None:
        assert deployment.in_flight <= 3
        offered = [id_ for id_ in ears if fleet.task(id_).state is TaskState.OFFERED]
        for id_ in offered[:1]:
            fleet.carry_out(id_, f"1/{id_}/1")
        fleet.live(0.5)
    assert deployment.count(TaskState.SUCCEEDED) == len(ears)


# -- what a device says --------------------------------------------------------------------------


def test_an_answer_comes_only_when_the_word_is_in_the_log(fleet: Delivery) -> None:
    fleet.connect("pixel")
    fleet.create(artifact=None)
    fleet.elect(None)
    fleet.say("1/pixel/1", Said.SUCCEEDED)
    fleet.run(5.0)
    assert fleet.answers["1/pixel/1"] == []
    fleet.elect(B)
    fleet.run(1.0)
    assert fleet.said("1/pixel/1") == [Answer.TAKEN]
    assert fleet.task("pixel").state is TaskState.SUCCEEDED


def test_a_word_of_which_nobody_knows_what_became_is_said_again(
    fleet: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 1.0)
    fleet.connect("pixel")
    fleet.create(artifact=None)
    fleet.partition(A)
    fleet.say("1/pixel/1", Said.FAILED, reason=wire.TaskReason.HASH, detail="log\nnot the file\n")
    fleet.run(1.5)
    fleet.heal()
    fleet.run(1.0)
    assert fleet.said("1/pixel/1") == [Answer.TAKEN]
    assert fleet.task("pixel").reason is TaskReason.HASH
    (group,) = fleet.loops[C].replica.state.deployments.known[1].failures
    assert (group.text, group.device) == ("not the file", "pixel")


def test_a_word_said_again_elsewhere_is_answered_and_taken_once(fleet: Delivery) -> None:
    """The node that served the device died between the entry and the answer."""
    fleet.connect("pixel")
    fleet.create(artifact=None)
    fleet.say("1/pixel/1", Said.SUCCEEDED)
    fleet.run(0.3)
    fleet.connect("pixel", B)
    fleet.say("1/pixel/1", Said.SUCCEEDED, B)
    fleet.run(0.3)
    assert fleet.said("1/pixel/1") == [Answer.TAKEN, Answer.REPEATED]


def test_the_newest_word_takes_the_place_of_one_that_waits(fleet: Delivery) -> None:
    fleet.connect("pixel")
    fleet.create(artifact=None)
    fleet.elect(None)
    fleet.say("1/pixel/1", Said.IN_PROGRESS, phase=wire.Phase.INSTALLING, progress=10)
    fleet.say("1/pixel/1", Said.SUCCEEDED)
    fleet.elect(C)
    fleet.run(1.0)
    assert fleet.answers["1/pixel/1"][0] is None
    assert fleet.said("1/pixel/1") == [Answer.TAKEN]


@pytest.mark.parametrize("under_way", [False, True])
def test_progress_of_one_task_does_not_take_the_place_of_the_end_of_another(
    fleet: Delivery, monkeypatch: pytest.MonkeyPatch, under_way: bool
) -> None:
    """A device that is busy with what the cluster knows to be over puts the next task off, once,
    and goes on to say how far it is."""
    monkeypatch.setattr(module, "TIMEOUT", 1.0)
    fleet.connect("pixel")
    fleet.create(artifact=None)
    fleet.create(artifact=None, priority=1)
    fleet.run(0.5)
    fleet.say("1/pixel/1", Said.SUCCEEDED)
    fleet.run(0.5)
    if under_way:
        fleet.partition(A)
    fleet.say("2/pixel/1", Said.POSTPONED, retry_after=30)
    if under_way:
        fleet.run(0.1)
    fleet.say("1/pixel/1", Said.IN_PROGRESS, phase=wire.Phase.CONFIRMING)
    fleet.run(1.5)
    fleet.heal()
    fleet.run(1.0)
    assert fleet.said("2/pixel/1") == [Answer.TAKEN]
    assert fleet.task("pixel", 2).reason is TaskReason.POSTPONED


def test_words_that_are_wrong_are_answered_and_change_nothing(fleet: Delivery) -> None:
    fleet.connect("pixel")
    fleet.create(artifact=None)
    before = fleet.task("pixel")
    cases = {
        "1/pixel/2": Answer.UNKNOWN,
        "7/pixel/1": Answer.UNKNOWN,
        "9999999999/pixel/99": Answer.UNKNOWN,  # more than any column holds
        "1/pixel/1": Answer.ILLEGAL,
    }
    for task_id, answer in cases.items():
        state = Said.CANCELED if answer is Answer.ILLEGAL else Said.SUCCEEDED
        fleet.say(task_id, state)
        fleet.run(0.3)
        assert fleet.said(task_id) == [answer]
    assert fleet.task("pixel") == before


def test_a_refusal_says_what_a_device_may_say_now(fleet: Delivery) -> None:
    fleet.connect("pixel")
    fleet.create(artifact=None)
    fleet.say("1/pixel/1", Said.SUCCEEDED)
    fleet.run(0.3)
    fleet.say("1/pixel/1", Said.FAILED)
    fleet.run(0.3)
    answer = fleet.answers["1/pixel/1"][-1]
    assert answer is not None
    assert answer.answer is Answer.ILLEGAL
    assert answer.rule == "a task that is succeeded can be nothing else any more"


def test_a_word_of_a_device_that_was_removed_is_not_its_heirs(fleet: Delivery) -> None:
    fleet.connect("pixel")
    fleet.create(artifact=None)
    fleet.order(RemoveDevice("pixel"))
    fleet.connect("heir")
    fleet.say("1/pixel/1", Said.SUCCEEDED, device="heir")
    fleet.run(0.5)
    assert fleet.said("1/pixel/1") == [Answer.UNKNOWN]


def test_nobody_waits_beyond_the_limit(fleet: Delivery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WORDS", 1)
    fleet.connect("d0")
    fleet.connect("d1")
    fleet.create(artifact=None)
    fleet.elect(None)
    assert fleet.say("1/d0/1", Said.SUCCEEDED) is None
    refusal = fleet.say("1/d1/1", Said.SUCCEEDED)
    assert refusal is not None
    assert (refusal.fault, refusal.retry_after) == (Fault.BUSY, module.COME_BACK)
    stranger = fleet.say("1/nobody/1", Said.SUCCEEDED)
    assert stranger is not None
    assert stranger.fault is Fault.UNKNOWN


def test_who_keeps_talking_holds_nobody_else_up(
    fleet: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    for id_ in ("loud", "quiet"):
        fleet.connect(id_)
    fleet.create(artifact=None)
    monkeypatch.setattr(module, "MAX_BATCH", 1)
    fleet.elect(None)
    for id_ in ("loud", "quiet"):
        fleet.say(f"1/{id_}/1", Said.IN_PROGRESS, phase=wire.Phase.INSTALLING)

    def again(_: TaskAnswer | None) -> None:
        update = wire.TaskUpdatePayload(task_id="1/loud/1", state=Said.IN_PROGRESS)
        fleet.loops[A].errands.words.say("loud", update, again)

    fleet.run(0.1)
    again(None)
    fleet.elect(C)
    fleet.run(1.0)
    assert fleet.said("1/quiet/1") == [Answer.TAKEN]


def test_progress_waits_for_the_next_flush_and_a_new_phase_does_not(fleet: Delivery) -> None:
    fleet.connect("pixel")
    fleet.create()
    fleet.say("1/pixel/1", Said.IN_PROGRESS, phase=wire.Phase.DOWNLOADING)
    fleet.run(0.1)
    assert fleet.task("pixel").phase == wire.Phase.DOWNLOADING
    fleet.say("1/pixel/1", Said.IN_PROGRESS, phase=wire.Phase.DOWNLOADING, progress=40)
    fleet.run(0.1)
    assert fleet.task("pixel").progress == 0
    fleet.run(module.FLUSH)
    assert fleet.task("pixel").progress == 40
    fleet.say("1/pixel/1", Said.IN_PROGRESS, phase=wire.Phase.INSTALLING)
    fleet.run(0.1)
    assert fleet.task("pixel").phase == wire.Phase.INSTALLING


def test_a_status_with_another_version_sends_the_device_to_register_again(
    fleet: Delivery,
) -> None:
    fleet.connect("pixel", app="1.0.0")
    intake = fleet.loops[A].intake
    assert intake.other_version("pixel", "", "1.0.0") is None
    assert intake.other_version("pixel", "", "") is None
    refusal = intake.other_version("pixel", "", "2.0.0")
    assert refusal is not None
    assert (refusal.fault, refusal.field, refusal.value) == (
        Fault.UNKNOWN,
        "device_status.app_version",
        "2.0.0",
    )


def test_a_device_without_a_connection_asks_for_its_task(fleet: Delivery) -> None:
    ears = fleet.connect("pixel")
    fleet.loops[A].intake.leave("pixel", ears)
    errands = fleet.loops[B].errands
    assert errands.task("pixel") is None
    fleet.create()
    task = errands.task("pixel")
    assert isinstance(task, wire.TaskPayload)
    assert task.task_id == "1/pixel/1"
    assert isinstance(errands.task("nobody"), IntakeRefusal)


def test_a_crowd_is_sent_and_answered_in_portions(
    fleet: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    ears = {f"d{n}": fleet.connect(f"d{n}") for n in range(5)}
    fleet.live(0.5)
    monkeypatch.setattr(errands, "TELLS_PER_TURN", 2)
    monkeypatch.setattr(module, "ANSWERS_PER_TURN", 2)
    fleet.create(artifact=None)
    assert all(len(one.tasks) == 1 for one in ears.values())
    for id_ in ears:
        fleet.say(f"1/{id_}/1", Said.SUCCEEDED)
    at_once: list[int] = []
    turn = fleet.loops[A].errands.turn

    def watched() -> None:
        before = sum(map(len, fleet.answers.values()))
        turn()
        at_once.append(sum(map(len, fleet.answers.values())) - before)

    monkeypatch.setattr(fleet.loops[A].errands, "turn", watched)
    fleet.run(1.0)
    assert sum(at_once) == 5
    assert max(at_once) == 2
