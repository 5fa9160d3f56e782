"""Carries tasks out: keeps each book, does what it says, and says how it goes.

Three rules, and a crash at any moment is survived. A book is kept before anything is done or said
because of it. What is done follows from the book that was kept. What nodes have not acknowledged
is said again: now and then, and whenever a node begins to serve the device.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from stationkeep.node.agent.tasks.book import Book, Job, Moment, content_of, read, written
from stationkeep.node.agent.tasks.machine import (
    LATE,
    Acknowledged,
    CancelAsked,
    Ended,
    Event,
    Expired,
    Result,
    Started,
    Told,
    Unsaved,
    Unwanted,
    said,
    step,
)
from stationkeep.node.system.printable import printable
from stationkeep.node.wire import messages as wire
from stationkeep.node.wire.tasks import (
    MAX_TASK_DETAIL,
    Phase,
    TaskReason,
    TaskState,
    TaskUpdatePayload,
    identity_of,
)

if TYPE_CHECKING:
    from stationkeep.node.ports import Memory

REPEAT = 5.0
"""Seconds after which everything is said again that nodes have not acknowledged: a node takes a
device that says nothing of a task for one that has lost it."""
PROGRESS_EVERY = 1.0
"""Seconds from one word about the same phase to the next, at the least."""
SHOWN = 200
"""Characters of a failure's account that are logged."""
MOST_REFUSALS = 12
"""Times in a row that nodes know no such task, until it is believed: one that lags behind the
others does not know the newest."""
TOLD_AT_ONCE, TOLD_EVERY = 32, 0.25
"""Words of nodes that are taken in at once, and seconds until one more is: each may have the book
kept, and no disk bears that without end. No cluster has so much to say."""

log = logging.getLogger("stationkeep.agent")


class FailedError(Exception):
    """Raised by what a phase does: the task has failed, or is rejected, for this reason."""

    def __init__(
        self, reason: TaskReason, detail: str, state: TaskState = TaskState.FAILED
    ) -> None:
        super().__init__(detail)
        self.end = Ended(state, reason, detail[-MAX_TASK_DETAIL:])


class Progress(Protocol):
    def __call__(self, percent: int | None, detail: str = "") -> None:
        """How far the present phase is, and what it is about."""
        ...


class Work(Protocol):
    """What the phases of a job consist of."""

    async def perform(self, job: Job, progress: Progress) -> Result:
        """Does the job's present phase; it is cancelled at the deadline. When it returns or
        raises, nothing of it goes on. Raises `FailedError`."""
        ...

    def clear(self) -> None:
        """No task is left that needs what was downloaded."""
        ...


class Speaker(Protocol):
    """The device's tie to the nodes."""

    def say(self, update: TaskUpdatePayload) -> None:
        """Says it, if a node serves the device now."""
        ...

    def runs(self, versions: Mapping[str, str]) -> None:
        """The device runs other versions, by component: it says so first, and `served` follows."""
        ...


class Clock(Protocol):
    def __call__(self) -> Moment: ...


class Carrier:
    """The tasks of one device. Raises `SpoilError`, or OSError where `memory` is unreadable."""

    def __init__(
        self,
        device: str,
        memory: "Memory",
        work: Work,
        speaker: Speaker,
        clock: Clock,
    ) -> None:
        self._device, self._memory = device, memory
        self._work, self._speaker, self._clock = work, speaker, clock
        self._loop = asyncio.get_running_loop()
        self.book = read(memory.load(), device)
        self._kept = self.book
        self._held = _identity(self.book.job)
        """The task for which something may be downloaded."""
        self._why = ""
        self._at_work: asyncio.Task[None] | None = None
        self._working: set[asyncio.Task[None]] = set()
        self._one_at_a_time = asyncio.Lock()
        self._say_at: asyncio.TimerHandle | None = None
        self._said_at = float("-inf")
        self._noted: object = None
        """The step that was logged last: one that is begun anew with other times is no other."""
        self._progress: int | None = None
        self._detail = ""
        self._refusals: Counter[str] = Counter()
        self._heard_until = float("-inf")

    @property
    def versions(self) -> dict[str, str]:
        """What runs now, by component."""
        return {name: self.book.version(name) for name in self.book.given}

    def start(self, given: Mapping[str, str], certain: Collection[str] = ()) -> None:
        """Goes on with what the book says. `given`: versions by component, as the device was told
        that it runs them; those of `certain` components it has seen itself."""
        self._take(Started(self._clock(), dict(given), frozenset(certain)))

    async def stop(self) -> None:
        """Leaves the job as it is, for the next start; nothing of it goes on."""
        for task in self._working:
            task.cancel()
        if self._working:
            await asyncio.wait(self._working)
        if self._say_at is not None:
            self._say_at.cancel()

    # -- what nodes say -------------------------------------------------------------------------

    def served(self) -> None:
        """A node serves the device, and knows which versions it runs."""
        self._say()

    def told(self, message: wire.Task | wire.TaskAck | wire.TaskCancel) -> None:
        """A node said something of a task."""
        if not self._hears():
            return
        match message:
            case wire.Task():
                if identity_of(message.payload.task_id)[1] != self._device:
                    log.warning("a task of another device: %s", message.payload.task_id)
                    return
                self._take(Told(message.payload, self._clock()))
            case wire.TaskAck():
                del self._refusals[message.payload.task_id]
                self._take(Acknowledged(message.payload.task_id, message.payload.state))
            case wire.TaskCancel():
                self._take(CancelAsked(message.payload.task_id))

    def _hears(self) -> bool:
        """Counts a word; whether it is not one too many."""
        now = self._loop.time()
        until = max(now, self._heard_until) + TOLD_EVERY
        if until > now + TOLD_AT_ONCE * TOLD_EVERY:
            return False
        self._heard_until = until
        return True

    def refused(self, task_id: str) -> None:
        """A node will not take what was said of a task."""
        known = {update.task_id for update in said(self.book)}
        self._refusals = Counter({id_: n for id_, n in self._refusals.items() if id_ in known})
        if task_id not in known:
            return
        self._refusals[task_id] += 1
        if self._refusals[task_id] >= MOST_REFUSALS:
            del self._refusals[task_id]
            self._take(Unwanted(task_id))

    # -- one event after the other --------------------------------------------------------------

    def _take(self, event: Event) -> None:
        before, ran = self.book.job, self.versions
        book, answer = step(self.book, event)
        self.book = self._keep(book)
        if not _is_same_work(before, self.book.job) or isinstance(event, Started):
            self._note(before)
            self._progress, self._detail = None, ""
            self._begin()
        if isinstance(event, Started):
            return
        if answer is not None:
            self._speaker.say(answer)
        if self.versions != ran:
            self._speaker.runs(self.versions)
        elif not isinstance(event, Acknowledged):
            self._say()

    def _note(self, before: Job | None) -> None:
        """For who runs the agent: how what was done before has ended, and what is done now."""
        job, newest = self.book.job, self.book.outcomes[-1:]
        if before is not None and newest and newest[0].update.task_id == before.task.task_id:
            end = newest[0].update
            why = ": ".join(part for part in (end.reason, end.detail[-SHOWN:]) if part)
            log.info("task %s: %s%s", end.task_id, end.state, f" ({why})" if why else "")
        step = None if job is None else (_identity(job), job.phase, job.runs)
        if job is not None and step != self._noted:
            resumed = ", resumed" if job.resumed else ""
            log.info("task %s: %s%s", job.task.task_id, job.phase, resumed)
        self._noted = step

    def _keep(self, book: Book) -> Book:
        """The book, once it is kept; the one that follows where it cannot be."""
        if book == self._kept or self._saved(book):
            return book
        if book.job is None:  # what fills the disk may be what was downloaded
            self._work.clear()
        if self._saved(book) or book.job is None:
            return book
        book, _ = step(book, Unsaved(self._why))
        if book.job is None:
            self._work.clear()
            self._saved(book)
        return book

    def _saved(self, book: Book) -> bool:
        try:
            self._memory.save(written(book))
        except OSError as error:
            self._why = error.strerror or "it fails"
            log.error("the spool cannot be written: %s", self._why)
            return False
        self._kept = book
        return True

    # -- doing ----------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Does what the book says, once what was done before has ended."""
        if self._at_work is not None and self._at_work is not asyncio.current_task():
            self._at_work.cancel()
        task = self._at_work = self._loop.create_task(self._do(self.book.job))
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _do(self, job: Job | None) -> None:
        async with self._one_at_a_time:
            if job is None or self._held != _identity(job):
                self._work.clear()
                self._held = _identity(job)
            if job is None:
                return
            result = await self._result(job)
        if _is_same_work(job, self.book.job):
            self._take(result)

    async def _result(self, job: Job) -> Result:
        left = job.left(self._clock())
        if left <= 0:
            return Expired()
        try:
            async with asyncio.timeout(left):
                return await self._work.perform(job, self._advance)
        except TimeoutError as error:  # whose cause may bear a note: what a command said
            return Expired("\n".join(getattr(error.__cause__, "__notes__", ())))
        except FailedError as error:
            return error.end
        except Exception as error:  # told to whoever runs us; nodes need not wait for the deadline
            context = {"message": f"{job.phase} raised", "exception": error}
            self._loop.call_exception_handler(context)
            reason = LATE.get(job.phase, TaskReason.PRECONDITION)
            return Ended(TaskState.FAILED, reason, f"{type(error).__name__}: {error}")

    def _advance(self, percent: int | None, detail: str = "") -> None:
        """The present phase is so far."""
        if percent is not None:
            self._progress = min(100, max(0, percent))
        self._detail = printable(detail, MAX_TASK_DETAIL) or self._detail
        self._say_after(self._said_at + PROGRESS_EVERY - self._loop.time())

    # -- saying ---------------------------------------------------------------------------------

    def _say(self) -> None:
        """Says all that is to be said, and again later as long as there is anything."""
        updates = said(self.book)
        if self.book.job is not None:
            updates[-1] = replace(updates[-1], progress=self._progress, detail=self._detail)
        for update in updates:
            self._speaker.say(update)
        self._said_at = self._loop.time()
        if self._say_at is not None:
            self._say_at.cancel()
            self._say_at = None
        if updates or self.book != self._kept:
            self._say_after(REPEAT)

    def _say_after(self, seconds: float) -> None:
        """At the latest in so many seconds."""
        moment = self._loop.time() + max(0.0, seconds)
        if self._say_at is not None:
            if self._say_at.when() <= moment:
                return
            self._say_at.cancel()
        self._say_at = self._loop.call_at(moment, self._repeat)

    def _repeat(self) -> None:
        self._say_at = None
        if self.book != self._kept:
            self._saved(self.book)
        self._say()


def _is_same_work(one: Job | None, other: Job | None) -> bool:
    """Whether what is being done for one is what is to be done for the other."""
    return one is other or (one is not None and other is not None and _work(one) == _work(other))


def _identity(job: Job | None) -> tuple[str, str] | None:
    """Number and content: what was verified for a task must not count for another one that a node
    tells under its number."""
    return None if job is None else (job.task.task_id, content_of(job.task))


def _work(job: Job) -> tuple[object, ...]:
    """Who waits for a window does so anew when its times are told anew."""
    told = job.told if job.phase is Phase.WAITING else None
    return _identity(job), job.phase, job.runs, told
