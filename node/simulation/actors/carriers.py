"""Devices of a simulated cluster that carry out tasks.

What an agent makes of a task, and what it says of it, is the real `agent.tasks.machine`; its book
outlives restarts, as the spool of an agent does. How long a phase takes is drawn, and what comes of
it: it fails, is put off, needs a reboot, kills the agent, bricks the device; what was installed may
be gone again later. Words are late now and then, and old ones are said once more.
"""

import random
from collections import deque
from typing import Protocol

from msgspec.structs import replace

from stationkeep.cluster.commands import Registration
from stationkeep.cluster.delivery.reports import Answer
from stationkeep.cluster.rollouts.windows import TZ_LABEL
from stationkeep.node.agent.tasks.book import Book, Job, Moment
from stationkeep.node.agent.tasks.carrier import REPEAT
from stationkeep.node.agent.tasks.machine import (
    Acknowledged,
    CancelAsked,
    Confirmed,
    Done,
    Ended,
    Event,
    Expired,
    RebootNeeded,
    Result,
    Started,
    Told,
    Unwanted,
    said,
    step,
)
from stationkeep.node.fleet.task_words import TaskAnswer
from stationkeep.node.simulation.actors.windows import Window
from stationkeep.node.simulation.agenda import Agenda
from stationkeep.node.simulation.checks.checks import Violation
from stationkeep.node.simulation.checks.rollouts import HARMFUL
from stationkeep.node.wire.tasks import (
    Phase,
    TaskPayload,
    TaskReason,
    TaskState,
    TaskUpdatePayload,
)

FIRST_VERSIONS = ("1.0.0", "1.0.0", "1.0.0", "1.4.0", "")
CAPABILITIES = ("deployment", "rollback")
ZONES: tuple[dict[str, str], ...] = ({}, {TZ_LABEL: "Europe/Berlin"}, {TZ_LABEL: "Mars/Utopia"})
"""Labels that say by whose clock a device lives; of none, or of a place that nobody knows."""
OLD_WORDS = 16
"""Words that may be said once more."""
LONGEST = {Phase.INSTALLING: 6.0, Phase.REBOOTING: 3.0}
"""Seconds that these phases take at the most; the others `SHORT`."""
SHORT = 1.0
INSTANT = 1e-6
"""Seconds; what is to happen at a moment may happen so much before it, as sums are rounded."""
DELAY = 3.0
"""Seconds by which a word may be late."""


class Speaker(Protocol):
    """The device, as its tasks see it."""

    id: str

    def say(self, update: TaskUpdatePayload, after: float) -> None:
        """Says it in so many seconds, if a node serves the device now."""
        ...

    def renew(self) -> None:
        """Says which versions it runs now; `served` follows."""
        ...

    def restart(self) -> None:
        """Ends its agent and starts it again; `restarted` follows."""
        ...


class Carrier:
    """The tasks of one device."""

    def __init__(self, agenda: Agenda, speaker: Speaker, draw: random.Random) -> None:
        self._agenda, self._speaker, self._draw = agenda, speaker, draw
        self.bricked = False
        """Whether it is silent until the heal."""
        self._sound = False
        """Whether it bricks no more."""
        self.reversible = False
        """Whether it can go back by itself."""
        self.misled = False
        """Whether a node has ever lied to it."""
        self.changed_at = float("-inf")
        """When somebody, and no task, last changed what it runs; s."""
        self.window: Window | None = None
        """When it may begin to install; None: always."""
        self._labels = random.Random(f"zone {speaker.id}").choice(ZONES)  # noqa: S311
        self._first = {"app": draw.choice(FIRST_VERSIONS), "os": "13"}
        self._registered: dict[str, str] = {}
        """Versions in the newest registration."""
        self._boot = 0
        self._work = 0
        """Number of what is being done; of anything else the end concerns nobody."""
        self._begun: set[str] = set()
        """Tasks whose installation it has begun, and would remember."""
        self._said_at = float("-inf")
        self._old: deque[TaskUpdatePayload] = deque(maxlen=OLD_WORDS)
        self.book = Book(device=speaker.id)
        self._take(Started(self._now(), self._first))

    def described(self, registration: Registration) -> Registration:
        """The same, with what the device can do and runs."""
        self._registered = self._versions()
        return replace(
            registration,
            app_version=self._registered["app"],
            os_version=self._registered["os"],
            labels=self._labels,
            capabilities=dict.fromkeys(CAPABILITIES[: 1 + self.reversible], "true"),
        )

    @property
    def is_harmed(self) -> bool:
        """Whether what it runs makes it ill."""
        return self.book.version("app") in HARMFUL

    # -- what it hears -------------------------------------------------------------------------

    def served(self) -> None:
        """A node serves the device, and knows which versions it runs; unless these have become
        others meanwhile."""
        if self._registered == self._versions():
            self._say()
        else:
            self._speaker.renew()

    def told(self, task: TaskPayload) -> None:
        """A node sends a task, perhaps not for the first time."""
        if self.window is not None:
            task = self.window.told(task, self._agenda.time.now)
        self._take(Told(task, self._now()))

    def told_to_cancel(self, task_id: str) -> None:
        """A task is no longer wanted."""
        self._take(CancelAsked(task_id))

    def answered(self, answer: TaskAnswer) -> None:
        """What became of a word; that nobody wants it is believed sometimes."""
        if answer.answer not in (Answer.ILLEGAL, Answer.UNKNOWN):
            self._take(Acknowledged(answer.task_id, answer.said))
        elif self._draw.random() < 0.1:
            self._begun.discard(answer.task_id)
            self._take(Unwanted(answer.task_id))

    def restarted(self) -> None:
        """Its agent has started anew, and reads its book."""
        self._take(Started(self._now(), self.book.given))

    def heal(self) -> None:
        """It bricks no more. If it has, somebody sees to it, and now and then gives it a new
        disk."""
        self._sound = True
        if not self.bricked:
            return
        self.bricked = False
        if self._draw.random() < 0.5:
            self.book = Book(device=self._speaker.id, given=self._first)
            self.changed_at = self._agenda.time.now
            self._begun.clear()
        self._boot += 1
        self._speaker.restart()

    # -- one event after the other -------------------------------------------------------------

    def tick(self) -> None:
        """Says again what nobody has answered, and now and then what was answered long ago."""
        if self._agenda.time.now - self._said_at >= REPEAT:
            self._say()
        if self._old and self._draw.random() < 0.05:
            self._speaker.say(self._draw.choice(self._old), 0.0)

    def _take(self, event: Event) -> None:
        before, ran = _work(self.book.job), self._versions()
        self.book, answer = step(self.book, event)
        if _work(self.book.job) != before or isinstance(event, Started):
            self._begin()
        if isinstance(event, Started) or self.bricked:
            return
        if answer is not None:
            self._speaker.say(answer, 0.0)
        if self._versions() != ran:
            self._renewed(ran)
        elif not isinstance(event, Acknowledged):
            self._say()

    def _renewed(self, former: dict[str, str]) -> None:
        """It runs something else now; for a while, where a watchdog goes back."""
        self._speaker.renew()
        if self._draw.random() < 0.1:
            back = self._agenda.time.now + self._draw.uniform(1, 8)
            self._agenda.at(back, self._revert, former)

    def _revert(self, former: dict[str, str]) -> None:
        self.changed_at = self._agenda.time.now
        self._take(Started(self._now(), former, frozenset(former)))
        self._speaker.renew()

    def tamper(self, version: str) -> None:
        """Somebody installs another version by hand."""
        self._revert(self._versions() | {"app": version})

    def _say(self) -> None:
        self._said_at = self._agenda.time.now
        for update in said(self.book):
            self._old.append(update)
            late = self._draw.random() < 0.1
            self._speaker.say(update, self._draw.uniform(0, DELAY) if late else 0.0)

    def _versions(self) -> dict[str, str]:
        return {name: self.book.version(name) for name in self.book.given}

    def _now(self) -> Moment:
        return Moment(str(self._boot), self._agenda.time.now)

    # -- doing ---------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._work += 1
        job = self.book.job
        if job is not None:
            self._check(job)
            takes = self._draw.uniform(0.0, LONGEST.get(job.phase, SHORT))
            if job.phase is Phase.WAITING:
                takes += job.opens_in(self._now())
            takes = max(0.0, min(takes, job.left(self._now())))
            self._agenda.at(self._agenda.time.now + takes, self._end, self._work)

    def _check(self, job: Job) -> None:
        """Whoever begins to install does so in his window, and an attempt only once."""
        if job.phase is not Phase.INSTALLING or job.resumed:
            return
        now, id_ = self._agenda.time.now, job.task.task_id
        said = f"{self.book.device} begins {id_} at {now:.3f}"
        if self.window is not None and not self.window.is_open(now):
            raise Violation("installing begins in its window", said)
        if id_ in self._begun and not self.misled:
            raise Violation("an attempt is installed once", said)
        self._begun.add(id_)

    def _end(self, work: int) -> None:
        job = self.book.job
        if work != self._work or job is None or self.bricked:
            return
        if job.left(self._now()) < INSTANT:
            self._take(Expired())
            return
        result = self._result(job)
        if isinstance(result, Ended) and result.state is TaskState.POSTPONED:
            self._begun.discard(job.task.task_id)  # also when the agent ended in its midst
        if result is not None:
            self._take(result)

    def _result(self, job: Job) -> Result | None:
        """What comes of the phase; None when the agent, or more, comes to its end with it."""
        roll = self._draw.random()
        barred = job.barred(self._now()) if job.phase is Phase.WAITING else ""
        if barred:
            return Ended(TaskState.POSTPONED, detail=barred, retry_after=1)
        match job.phase:
            case Phase.DOWNLOADING if roll < 0.1:
                return Ended(TaskState.FAILED, TaskReason.DOWNLOAD, "the server hung up")
            case Phase.VERIFYING if roll < 0.03:
                return Ended(TaskState.FAILED, TaskReason.HASH, "it is another file")
            case Phase.WAITING if roll < 0.1:
                return Ended(TaskState.POSTPONED, retry_after=self._draw.choice((1, 2, 8)))
            case Phase.WAITING if roll < 0.13:
                return Ended(TaskState.REJECTED, TaskReason.PRECONDITION, "not on this device")
            case Phase.INSTALLING:
                return self._installed(roll)
            case Phase.REBOOTING:
                self._boot += 1
                self._speaker.restart()
                return None
            case Phase.CONFIRMING:
                return Confirmed(job.previous if roll < 0.05 else job.version)
        return Done()

    def _installed(self, roll: float) -> Result | None:
        if roll < 0.05 and not self._sound:
            self.bricked = True
            return None
        if roll < 0.15:
            self._speaker.restart()
            return None
        if roll < 0.3:
            return Ended(TaskState.FAILED, TaskReason.INSTALL, "simulated")
        return RebootNeeded(str(self._boot)) if roll < 0.5 else Done()


def _work(job: Job | None) -> tuple[object, ...] | None:
    """What is being done for a job. Who waits for a window does so anew when its times are told
    anew."""
    if job is None:
        return None
    told = job.told if job.phase is Phase.WAITING else None
    return job.task.task_id, job.phase, job.runs, told
