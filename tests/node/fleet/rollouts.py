"""Whole nodes in virtual time, and devices that install what they are told: for rollouts."""

from typing import Any

from stationkeep.cluster.commands import CreateRollout, Registration, StartRollout
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.rollouts.plan import Plan
from stationkeep.cluster.rollouts.rollout import Rollout, Stage
from stationkeep.cluster.settings import PROFILES, Settings, merge
from stationkeep.cluster.state import codec
from stationkeep.cluster.state.state import ClusterState
from stationkeep.node.views.stages import StageView, stage_view
from stationkeep.node.wire.tasks import TaskPayload, TaskState
from tests.node.fleet.proposing import Ears
from tests.node.fleet.test_errands import Delivery
from tests.node.fleet.test_intake import ILL, WELL

CALM = merge(PROFILES["demo"], {"redistribution": "off", "rebalance_interval": 10_000})
V1, V2 = Artifact("1.0.0"), Artifact("2.0.0")
NAME = "fw"
BEAT = 0.5


class Rolling(Delivery):
    """Devices spread over the nodes; whoever loses its node goes to the next. `ill`: versions that
    make every device ill. `deaf`: devices that do nothing of what they are told."""

    def __init__(
        self, devices: int = 12, nodes: int = 5, settings: Settings = CALM, **more: Any
    ) -> None:
        super().__init__(nodes=nodes, settings=settings, **more)
        self.homes = {f"d{n:02}": self.names[n % nodes] for n in range(devices)}
        self.versions = dict.fromkeys(self.homes, "1.0.0")
        self.labels: dict[str, dict[str, str]] = {}
        self.ill: set[str] = set()
        self.deaf: set[str] = set()
        self.told: dict[str, list[tuple[float, str]]] = {id_: [] for id_ in self.homes}
        """By device the tasks that it was seen to have first: world seconds and id."""

    def settle_in(self) -> None:
        """All register, and are well for long enough to be compared."""
        for id_ in self.homes:
            self.enter(id_)
        self.live(20.0)

    def enter(self, id_: str) -> None:
        session = self.sessions[id_] = self.sessions.get(id_, 0) + 1
        registration = Registration(
            id_, session=session, sequence=1, app_version=self.versions[id_],
            capabilities={"deployment": "true"}, labels=self.labels.get(id_, {}),
        )  # fmt: skip
        self.loops[self.homes[id_]].intake.register(registration, Ears())

    def live(self, seconds: float) -> None:
        """Time passes while devices report, and do what they are told."""
        for _ in range(round(seconds / BEAT)):
            for id_ in self.homes:
                self._beat(id_)
            self.run(BEAT)

    def _beat(self, id_: str) -> None:
        if self.homes[id_] in self.down:
            self.homes[id_] = next(name for name in self.names if name not in self.down)
            self.enter(id_)
            return
        loop = self.loops[self.homes[id_]]
        reading = ILL if self.versions[id_] in self.ill else WELL
        loop.intake.report(id_, 0, 0, reading)
        task = loop.errands.task(id_)
        if isinstance(task, TaskPayload) and id_ not in self.deaf:
            self._carry_on(id_, task)

    def _carry_on(self, id_: str, task: TaskPayload) -> None:
        """Begins with it, and has installed it the next time."""
        assert task.artifact is not None
        known = [name for _, name in self.told[id_]]
        if task.task_id not in known:
            self.told[id_].append((self.now, task.task_id))
            self.say(task.task_id, TaskState.IN_PROGRESS, self.homes[id_])
        elif self.versions[id_] != task.artifact.version:
            self.versions[id_] = task.artifact.version
            self.enter(id_)
        else:
            self.say(task.task_id, TaskState.SUCCEEDED, self.homes[id_])

    # Orders

    def begin(self, plan: Plan | None = None) -> None:
        self.order(CreateRollout(NAME, plan or Plan(V2)))
        self.order(StartRollout(NAME))

    def hand_over(self) -> str:
        """The leader dies, and another node leads; the name of the dead."""
        dead = self.leader
        assert dead is not None
        self.kill(dead)
        self.elect(None)
        self.live(1.0)
        self.lead(next(name for name in self.names if name not in self.down))
        return dead

    def lead(self, name: str) -> None:
        """A node leads, and knows it at once."""
        self.elect(name)
        self._wakeups[name] = self.now
        self.run(0.1)

    # Looking

    @property
    def state(self) -> ClusterState:
        """As the leader has it."""
        assert self.leader is not None
        return self.loops[self.leader].replica.state

    @property
    def rollout(self) -> Rollout:
        return self.state.rollouts.known[NAME]

    def stage(self, name: str) -> Stage:
        found = self.rollout.stage(name)
        assert found is not None
        return self.rollout.stages[found]

    def shown(self, stage: str) -> StageView:
        """A stage as the leader shows it to clients."""
        place = self.rollout.stage(stage)
        assert place is not None
        assert self.leader is not None
        complaint = self.loops[self.leader].gatekeeper.complaint
        return stage_view(self.state, self.rollout, place, self.state.time, complaint)

    def complaint(self, stage: str) -> str:
        """What the leader knows against the webhook of a stage."""
        assert self.leader is not None
        return self.loops[self.leader].gatekeeper.complaint(NAME, stage)

    def until(self, state: str, seconds: float = 120.0) -> float:
        """Lives until the rollout is in a state; the seconds that took."""
        return self._until(lambda: self.rollout.state, state, seconds)

    def until_stage(self, name: str, state: str, seconds: float = 60.0) -> float:
        return self._until(lambda: self.stage(name).state, state, seconds)

    def _until(self, ask: Any, wanted: str, seconds: float) -> float:
        began = self.now
        while ask() != wanted:
            assert self.now - began < seconds, f"{ask()} ({self.rollout.reason}), not {wanted}"
            self.live(BEAT)
        return self.now - began

    def running(self, version: str) -> list[str]:
        """Devices that run a version, by the state."""
        fleet = self.state.fleet
        return [
            id_ for id_, row in fleet.table.rows.items() if fleet.spec(row).app_version == version
        ]

    def kept_by(self, *nodes: str) -> dict[str, str]:
        """The tasks that the devices of these nodes have, as their own nodes tell them."""
        found = {}
        for id_, home in self.homes.items():
            task = self.loops[home].errands.task(id_) if home in nodes else None
            if isinstance(task, TaskPayload):
                found[id_] = task.task_id
        return found

    def digests(self) -> set[str]:
        """Of the states of all nodes, once they have applied the same."""
        self.run(1.0)
        return {codec.digest(loop.replica.state) for loop in self.loops.values()}
