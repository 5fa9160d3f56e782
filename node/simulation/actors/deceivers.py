"""Nodes of a simulated cluster that lie to devices: they send what is in no log.

A device cannot know better. It carries out a task that nobody ordered, leaves one that it was to
do, or takes an end for acknowledged that nobody has heard of. Yet what a device reports that it
runs goes on to decide (`checks.tasks`), and once nobody lies every task comes to its end.
"""

import random
from collections.abc import Callable

from stationkeep.cluster.delivery.reports import Answer
from stationkeep.node.agent.tasks.machine import said
from stationkeep.node.fleet.task_words import TaskAnswer
from stationkeep.node.simulation.actors.carriers import Carrier
from stationkeep.node.simulation.actors.devices import Devices
from stationkeep.node.simulation.machine.members import Members
from stationkeep.node.wire.tasks import (
    MAX_ATTEMPT,
    ROLLBACK,
    Artifact,
    TaskPayload,
    identity_of,
    task_id,
)

NOWHERE = 1_000_000
"""A deployment that there is not."""
VERSIONS = ("0.0.1", "2.0.0", "6.6.6")
NOW = "2026-11-29T14:00:00Z"
DEADLINES = ("2026-11-29T13:59:00Z", "2026-11-29T14:00:05Z", "2026-11-29T14:01:00Z")

Lie = Callable[[Carrier], None]


class Deceivers:
    """Of one world."""

    def __init__(self, members: Members, devices: Devices, seed: int) -> None:
        self._members, self._devices, self._seed = members, devices, seed
        self._lies = 0

    def deceive(self, node: str) -> None:
        """Has a node lie to a device that is connected to it."""
        member = self._members[node]
        lines = [device.line for device in self._devices.all if device.carrier is not None]
        here = [line for line in lines if line is not None and line.member is member]
        here = [line for line in here if line.is_registered and not line.is_dead]
        if not member.runs or not here:
            return
        self._lies += 1
        draw = random.Random(f"{self._seed} deceit {self._lies}")  # noqa: S311
        draw.choice(here).lied_to(_lie(draw))


def _lie(draw: random.Random) -> Lie:
    return draw.choice((_sends, _sends, _cancels, _acknowledges, _denies))(draw)


def _sends(draw: random.Random) -> Lie:
    """A task that nobody ordered, perhaps by the number of one that somebody did."""
    component = draw.choice(("app", "app", "os"))
    what = draw.choice((None, Artifact(component, draw.choice(VERSIONS))))
    type_, deadline = draw.choice(("deployment", ROLLBACK)), draw.choice(DEADLINES)

    def lie(carrier: Carrier) -> None:
        id_ = _number(carrier, draw)
        deployment, _, attempt = identity_of(id_)
        carrier.told(
            TaskPayload(
                task_id=id_, deployment=deployment, attempt=attempt, task_type=type_,
                artifact=what, deadline=deadline, timestamp=NOW,
            )
        )  # fmt: skip

    return lie


def _cancels(draw: random.Random) -> Lie:
    return lambda carrier: carrier.told_to_cancel(_number(carrier, draw))


def _acknowledges(_: random.Random) -> Lie:
    """All that the device has to say: nobody has heard it."""
    return lambda carrier: _answer_all(carrier, Answer.TAKEN)


def _denies(_: random.Random) -> Lie:
    """That there is such a task."""
    return lambda carrier: _answer_all(carrier, Answer.UNKNOWN)


def _answer_all(carrier: Carrier, answer: Answer) -> None:
    for update in said(carrier.book):
        carrier.answered(TaskAnswer(update.task_id, update.state, answer, ""))


def _number(carrier: Carrier, draw: random.Random) -> str:
    """That of a task the device knows, of its next attempt, or of one that there is not."""
    book = carrier.book
    known = [outcome.update.task_id for outcome in book.outcomes]
    known += [] if book.job is None else [book.job.task.task_id]
    deployment, _, attempt = identity_of(draw.choice((*known, task_id(NOWHERE, book.device, 1))))
    return task_id(deployment, book.device, min(MAX_ATTEMPT, attempt + draw.choice((0, 0, 1))))
