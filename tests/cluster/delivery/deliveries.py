"""Deployments driven by hand: a leader that offers and expires, devices that answer."""

from collections.abc import Mapping, Sequence
from typing import Any

from stationkeep.cluster.commands import (
    CreateDeployment,
    RegisterDevices,
    ReportTasks,
    TaskNote,
)
from stationkeep.cluster.delivery.expiries import plan_expiries
from stationkeep.cluster.delivery.offers import plan_offers
from stationkeep.cluster.delivery.reports import ANSWERS, Answer
from stationkeep.cluster.delivery.tasks import Task, position_of, task_at, task_of_device
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.deployment import Deployment, Limits, Target
from stationkeep.cluster.deployments.lifecycle import Phase, TaskReason, TaskState, Word
from stationkeep.cluster.devices.status import Reading
from tests.cluster.fleet.fleets import GOOD, NODE, FleetDriver, u8, u32

CAPABLE = {"deployment": "true"}
ALL = Target(everyone=True)
V2 = Artifact("2.0.0")


class DeliveryDriver(FleetDriver):
    """A fleet of capable devices, and what they are told to do."""

    def crowd(self, count: int, reading: Reading | None = GOOD, **more: Any) -> list[int]:
        """Capable devices `dev-0000` and so on, which run 1.0.0."""
        return super().crowd(
            count, reading, **{"app_version": "1.0.0", "capabilities": CAPABLE} | more
        )

    def create(
        self, target: Target = ALL, artifact: Artifact | None = V2, actor: str = "", **more: Any
    ) -> Deployment:
        """A deployment that must be taken."""
        given = {"limits": Limits()} | more
        origin = {"actor": actor, "key": f"key-{len(self.log)}"} if actor else {}
        result = self.done(CreateDeployment(target, artifact=artifact, **given), **origin)
        return self.deployment(result["deployment"])

    # The leader

    def offer(self) -> int:
        """Everything that may be offered now; how many tasks that was."""
        return sum(self.done(part)["offered"] for part in plan_offers(self.state, self.clock))

    def expire(self) -> int:
        """Everything whose wait is over; how many tasks that was."""
        return sum(self.done(part)["expired"] for part in plan_expiries(self.state, self.clock))

    # Devices

    def say(
        self,
        word: Word,
        *rows: int,
        deployment: int = 0,
        attempt: int = 0,
        phase: Phase = Phase.INSTALLING,
        progress: int = 0,
        reason: TaskReason = TaskReason.NONE,
        detail: str = "",
        retry_after: int = 0,
    ) -> Answer:
        """The word of these devices about their tasks; the answer, which must be one for all."""
        noted = range(len(rows)) if detail or retry_after else ()
        answers = self.done(
            ReportTasks(
                NODE,
                u32(sorted(rows)),
                u32(int(self.fleet.table.birth[row]) for row in sorted(rows)),
                u32([deployment or self.state.deployments.opened] * len(rows)),
                u8(attempt or self.attempt(row, deployment) for row in sorted(rows)),
                u8([word.code] * len(rows)),
                u8([phase.code] * len(rows)),
                u8([progress] * len(rows)),
                u8([reason.code] * len(rows)),
                tuple(TaskNote(n, detail, retry_after) for n in noted),
            )
        )["answers"]
        (answer,) = {ANSWERS[code] for code in answers}
        return answer

    def attempt(self, row: int, deployment: int = 0) -> int:
        return self.task(row, deployment).attempt

    def run(self, version: str, *rows: int, **more: Any) -> None:
        """These devices register again, and run a version now."""
        given = {"app_version": version, "capabilities": CAPABLE} | more
        devices = [self.registration(self.fleet.id(row), None, **given) for row in rows]
        self.done(RegisterDevices(NODE, tuple(devices)))

    # Looking

    def deployment(self, number: int = 0) -> Deployment:
        """One by its number, or the newest."""
        return self.state.deployments.known[number or self.state.deployments.opened]

    def task(self, row: int, deployment: int = 0) -> Task:
        """The task of a device in a deployment, or in the newest."""
        chosen = self.deployment(deployment)
        position = position_of(self.state, chosen, row)
        assert position is not None, f"row {row} is no member"
        return task_at(self.state, chosen, position)

    def states(self, *rows: int, deployment: int = 0) -> list[TaskState]:
        return [self.task(row, deployment).state for row in rows]

    def tallies(self, number: int = 0) -> Mapping[str, int]:
        """Tasks by state, those that there are."""
        return {state: n for state, n in self.deployment(number).tallied().items() if n}

    def busy(self, rows: Sequence[int]) -> list[bool]:
        return [task_of_device(self.state, row) is not None for row in rows]
