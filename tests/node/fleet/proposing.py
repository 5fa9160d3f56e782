"""A log that answers when and how the test says."""

from collections.abc import Callable
from typing import Any

from stationkeep.cluster.apply import Applied, Done, Rejected
from stationkeep.cluster.commands import AnyCommand
from stationkeep.node.duty import Workbench
from stationkeep.node.fleet.replies import Assignment, IntakeRefusal
from stationkeep.node.ports import (
    Clock,
    Committed,
    Host,
    NotProposed,
    OutcomeUnknown,
    ProposalResult,
)
from stationkeep.node.wire.tasks import TaskPayload


class Proposals:
    """What was proposed and waits for its outcome, oldest first."""

    def __init__(self) -> None:
        self.waiting: list[tuple[AnyCommand, Callable[[ProposalResult], None]]] = []

    def propose(
        self, command: AnyCommand, _timeout: float, done: Callable[[ProposalResult], None]
    ) -> None:
        self.waiting.append((command, done))

    @property
    def commands(self) -> list[Any]:
        return [command for command, _ in self.waiting]

    def commit(self, **result: Any) -> None:
        self._answer(Committed(1, Applied(Done(result))))

    def reject(self, reason: str, detail: str = "") -> None:
        self._answer(Committed(1, Applied(Rejected(reason, detail))))

    def lose(self) -> None:
        self._answer(OutcomeUnknown("leader_lost"))

    def no_leader(self) -> None:
        self._answer(NotProposed("no_leader"))

    def _answer(self, result: ProposalResult) -> None:
        self.waiting.pop(0)[1](result)


def bench(clock: Clock, log: Proposals) -> Workbench:
    """That of a node which does nothing but propose."""
    nobody: Any = None
    return Workbench("sat-001", Host(clock, nobody), nobody, nobody, log.propose)


class Ears:
    """`Listener` that remembers."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.assignments: list[Assignment] = []
        self.refusals: list[IntakeRefusal] = []
        self.tasks: list[TaskPayload] = []

    def registered(self, assignment: Assignment) -> None:
        self.heard.append("registered")
        self.assignments.append(assignment)

    def refused(self, refusal: IntakeRefusal) -> None:
        self.heard.append("refused")
        self.refusals.append(refusal)

    def assigned(self, assignment: Assignment) -> None:
        self.heard.append("assigned")
        self.assignments.append(assignment)

    def task_sent(self, task: TaskPayload) -> None:
        self.heard.append("task")
        self.tasks.append(task)

    def task_canceled(self, task_id: str, reason: str) -> None:
        self.heard.append(f"cancel {task_id} {reason}")

    def superseded(self) -> None:
        self.heard.append("superseded")

    def removed(self) -> None:
        self.heard.append("removed")
