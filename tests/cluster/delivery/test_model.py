"""Tasks against tests/delivery_model.py, the dumb version, whatever devices say (scenario 16)."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from stationkeep.cluster.apply import Done
from stationkeep.cluster.commands import (
    CancelDeployment,
    Pause,
    RemoveDevice,
    Resume,
    RetryTasks,
)
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.deployment import Limits, Target
from stationkeep.cluster.deployments.lifecycle import SAID_BY_DEVICES, TaskReason, Word
from stationkeep.cluster.devices.status import Reading
from stationkeep.cluster.state import codec
from tests import delivery_model as model
from tests.cluster.delivery.deliveries import DeliveryDriver
from tests.cluster.driver import Replay
from tests.cluster.fleet.fleets import GOOD

LOW = Reading(battery=15, charging=False, cpu=100, memory=100, disk=100)
VERSIONS = ("1.0.0", "2.0.0", "3.0.0", "blue", "")
numbers = st.integers(0, 30)
several = st.lists(numbers, min_size=1, max_size=5)


orders = st.fixed_dictionaries(
    {
        "version": st.sampled_from(("2.0.0", "2.0.0", "3.0.0", "")),
        "cap": st.integers(1, 5),
        "retries": st.integers(0, 3),
        "priority": st.sampled_from([500, 500, 900]),
        "downgrade": st.booleans(),
        "time": st.sampled_from([model.DEADLINE, 5_400_000]),
    }
)


class Life(RuleBasedStateMachine):
    """Devices come, say what they like in any order, go silent and are removed; the leader offers
    and expires; operators create, cancel and retry."""

    @initialize(count=st.integers(1, 4), order=orders)
    def begin(self, count: int, order: dict[str, Any]) -> None:
        self.driver = DeliveryDriver()
        self.replay = Replay(self.driver)
        self.fleet = model.Fleet()
        for _ in range(count):
            self.come("1.0.0")
        self.create([0, 1, 2, 3], order)
        self.offer()

    @rule(version=st.sampled_from(VERSIONS))
    def come(self, version: str) -> None:
        if len(self.fleet.devices) < 4:
            (row,) = self.driver.crowd(1, app_version=version)
            name = self.driver.fleet.id(row)
            self.fleet.devices[name] = model.Device(name, version, heard=self.driver.clock)

    @rule(several=several, order=orders)
    def create(self, several: list[int], order: dict[str, Any]) -> None:
        members = self.picked(several)
        if not members or len(self.fleet.open()) >= 3:
            return
        self.driver.create(
            Target(devices=tuple(device.id for device in members)),
            Artifact(order["version"]) if order["version"] else None,
            priority=order["priority"],
            limits=Limits(order["cap"], None, order["time"], order["retries"]),
            allow_downgrade=order["downgrade"],
        )
        self.fleet.create(members, **order)

    @rule(
        what=st.sampled_from(["cancel", "retry", "retry", "remove", "pause", "resume", "resume"]),
        number=numbers,
    )
    def order(self, what: str, number: int) -> None:
        match what:
            case "cancel" | "retry":
                for deployment in self.deployment(number):
                    command = CancelDeployment if what == "cancel" else RetryTasks
                    outcome = self.driver.do(command(deployment.number)).outcome
                    assert isinstance(outcome, Done) is getattr(self.fleet, what)(deployment)
            case "remove":
                for device in self.picked([number]):
                    self.driver.done(RemoveDevice(device.id))
                    self.fleet.remove(device)
            case "pause":
                self.driver.done(Pause(3_600_000))
                self.fleet.pause(3_600_000)
            case _:
                self.driver.done(Resume())
                self.fleet.resume()

    @rule(number=numbers, version=st.sampled_from(VERSIONS))
    def register(self, number: int, version: str) -> None:
        for device in self.picked([number]):
            self.driver.run(version, self.row(device))
            self.fleet.register(device, version)

    @rule(
        number=numbers,
        of=numbers,
        back=st.sampled_from([0, 1, 1, -1]),
        word=st.sampled_from(Word),
        reason=st.sampled_from(SAID_BY_DEVICES),
    )
    def say_anything(self, number: int, of: int, back: int, word: Word, reason: TaskReason) -> None:
        """A word that may be late, early, or of nobody's task."""
        for device in self.picked([number]):
            for deployment in self.deployment(of):
                task = deployment.tasks.get(device.id)
                attempt = max(1, (task.attempt if task else 1) - back)
                self.say(deployment, device, attempt, model.Said(word, reason, 60))

    @rule(
        number=numbers,
        words=st.lists(
            st.builds(
                model.Said,
                st.sampled_from([Word.IN_PROGRESS, Word.IN_PROGRESS, Word.FAILED, *Word]),
                st.just(TaskReason.INSTALL) | st.sampled_from(SAID_BY_DEVICES),
                st.sampled_from([0, 60, 86_400]),
            ),
            min_size=1,
            max_size=3,
        ),
    )
    def answer(self, number: int, words: list[model.Said]) -> None:
        """A device that a task has says how it goes, and may repeat itself."""
        busy = [
            (deployment, task)
            for deployment in self.fleet.open()
            for task in deployment.tasks.values()
            if task.state in model.BUSY
        ]
        if busy:
            deployment, task = busy[number % len(busy)]
            for said in words:
                self.say(deployment, task.device, task.attempt, said)

    def say(
        self, deployment: model.Deployment, device: model.Device, attempt: int, said: model.Said
    ) -> None:
        expected = self.fleet.say(deployment, device, attempt, said)
        answer = self.driver.say(
            Word(said.word),
            self.row(device),
            deployment=deployment.number,
            attempt=attempt,
            reason=TaskReason(said.reason),
            retry_after=said.wait,
        )
        assert answer == expected

    @rule(
        waits=st.lists(st.sampled_from([30, 60, 600, 1_800, 4_400]), min_size=1, max_size=9),
        silent=several | st.just([]),
        charged=st.booleans(),
    )
    def lead(self, waits: list[int], silent: list[int], charged: bool) -> None:
        """Time passes, some devices are heard of, and the leader does its duties."""
        for seconds in waits:
            self.driver.wait(seconds * 1_000)
            self.fleet.pass_time(self.driver.clock)
            heard = [d for d in self.fleet.devices.values() if d not in self.picked(silent)]
            reading = GOOD if charged else LOW
            self.driver.report({self.row(device): reading for device in heard})
            for device in heard:
                device.charged, device.online, device.heard = charged, True, self.driver.clock
            self.driver.silence()
            for device in self.fleet.devices.values():
                device.online &= self.driver.clock - device.heard < 60_000
            assert self.driver.expire() == self.fleet.expire()
            self.tallies_and_states_are_those_of_the_model()
            self.offer()

    def offer(self) -> None:
        self.fleet.held = self.driver.state.pause is not None or self.driver.fleet.braked
        self.driver.offer()
        new = [
            (deployment, task)
            for deployment in self.fleet.open()
            for task in deployment.tasks.values()
            if task.state == "queued" and self.seen(deployment, task).state == "offered"
        ]
        assert [self.fleet.obstacle(*one) for one in new] == [""] * len(new)
        assert len({task.device.id for _, task in new}) == len(new)
        for deployment, task in new:
            self.fleet.offered(deployment, task)
        for deployment in self.fleet.open():
            assert deployment.in_flight <= deployment.cap
            left = [t for t in deployment.tasks.values() if t.state == "queued"]
            if deployment.in_flight < deployment.cap:
                assert all(self.fleet.obstacle(deployment, task) for task in left)

    @rule()
    def restart(self) -> None:
        self.driver.state = codec.decode_snapshot(codec.encode_snapshot(self.driver.state))

    # -- looking --------------------------------------------------------------------------------

    def picked(self, numbers: list[int]) -> list[model.Device]:
        devices = list(self.fleet.devices.values())
        chosen = {devices[n % len(devices)].id for n in numbers} if devices else set()
        return [device for device in devices if device.id in chosen]

    def deployment(self, number: int) -> list[model.Deployment]:
        known = self.fleet.deployments
        return [known[number % len(known)]] if known else []

    def row(self, device: model.Device) -> int:
        row = self.driver.fleet.row(device.id)
        assert row is not None
        return row

    def seen(self, deployment: model.Deployment, task: model.Task) -> Any:
        return self.driver.task(self.row(task.device), deployment.number)

    @invariant()
    def tallies_and_states_are_those_of_the_model(self) -> None:
        for deployment in getattr(self, "fleet", model.Fleet()).deployments:
            known = self.driver.deployment(deployment.number)
            assert (known.state, known.reason) == (deployment.state, deployment.reason)
            assert self.driver.tallies(deployment.number) == deployment.tallies()
            for task in deployment.tasks.values():
                if not task.device.gone:
                    self.compare(deployment, task)

    def compare(self, deployment: model.Deployment, task: model.Task) -> None:
        seen = self.seen(deployment, task)
        told = seen.told_to_cancel and seen.state == "in_progress"
        assert (seen.state, seen.reason, seen.attempt, seen.previous, told) == (
            task.state,
            task.reason,
            task.attempt,
            task.previous,
            task.told_to_cancel and task.state == "in_progress",
        )
        if task.wait is not None:
            assert task.wait[0] - 100 <= seen.due <= task.wait[1] + 100
            task.not_before, task.wait = seen.due, None

    @invariant()
    def a_replica_that_was_never_restarted_is_the_same(self) -> None:
        if hasattr(self, "driver"):
            assert self.replay.agrees()


def test_a_pause_stops_the_deadline_of_who_was_not_told() -> None:
    """Seldom drawn: there must be somebody left to tell when the time would be over."""
    life = Life()
    order = {"version": "2.0.0", "cap": 1, "retries": 0, "priority": 500, "downgrade": False}
    life.begin(1, order | {"time": 5_400_000})
    life.create([0], order | {"time": model.DEADLINE})
    life.order("pause", 0)
    life.lead([1_800, 4_400], [0], False)
    assert life.fleet.deployments[0].tasks["dev-0000"].state == "queued"
    life.lead([600, 4_400, 4_400], [0], False)
    assert life.fleet.deployments[0].tasks["dev-0000"].state == "unreached"


Life.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestLife = Life.TestCase


def test_the_model_knows_the_words_of_the_guide() -> None:
    assert model.newer("1.10.0", "1.9.9")
    assert not model.newer("blue", "2.0.0")
    fleet, device = model.Fleet(), model.Device("d", "1.0.0")
    deployment = fleet.create([device], version="2.0.0")
    fleet.offered(deployment, deployment.tasks["d"])
    assert fleet.say(deployment, device, 1, model.Said("succeeded")) == "taken"
    assert deployment.tasks["d"].state == "in_progress"
    fleet.register(device, "2.0.0")
    assert (deployment.state, deployment.tallies()) == ("closed", {"succeeded": 1})
