"""What a device makes of what it is told, step by step; and what a crash at each step costs."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from stationkeep.node.agent.tasks.book import MAX_OUTCOMES, Book, SpoilError, read, written
from stationkeep.node.agent.tasks.machine import (
    Acknowledged,
    CancelAsked,
    Confirmed,
    Done,
    Ended,
    Event,
    Expired,
    Incomplete,
    RebootNeeded,
    Started,
    Told,
    Unsaved,
    Unwanted,
    said,
    step,
)
from stationkeep.node.wire.tasks import Phase, TaskPayload, TaskReason, TaskState
from tests.node.agent.tasks.told import DEVICE, artifact, at, task

GIVEN = {"app": "1.0.0", "os": ""}
FIRST = Book(device=DEVICE, given=GIVEN)


def after(*events: Event, book: Book = FIRST) -> Book:
    for event in events:
        book, _ = step(book, event)
    return book


def told(which: TaskPayload | None = None) -> Told:
    return Told(which or task(), at(100))


def phase(book: Book) -> Phase | None:
    return None if book.job is None else book.job.phase


def end(book: Book) -> Any:
    """The newest outcome, as it is said."""
    assert book.job is None
    return book.outcomes[-1].update


INSTALLING = (told(), Done(), Done(), Done())
RESTART = Started(at(5), GIVEN)
"""Of the agent, in the same boot: only `uptime` says less."""


def test_a_task_goes_through_all_its_phases() -> None:
    book, phases = FIRST, []
    for event in (*INSTALLING, Done(), Confirmed("2.0.0")):
        book = after(event, book=book)
        phases.append(phase(book))
    assert phases == [
        Phase.DOWNLOADING, Phase.VERIFYING, Phase.WAITING, Phase.INSTALLING, Phase.CONFIRMING, None,
    ]  # fmt: skip
    assert (end(book).state, end(book).installed_version) == (TaskState.SUCCEEDED, "2.0.0")
    assert book.version("app") == "2.0.0"


def test_without_anything_to_download_it_begins_with_the_checks() -> None:
    assert phase(after(told(task(artifact=artifact(url=None))))) is Phase.VERIFYING
    assert phase(after(told(task(artifact=None)))) is Phase.VERIFYING


def test_a_task_about_no_version_needs_none_to_be_done() -> None:
    book = after(told(task(artifact=None)), Done(), Done(), Done(), Confirmed())
    assert (end(book).state, end(book).installed_version) == (TaskState.SUCCEEDED, None)


def test_what_runs_already_is_done_at_once() -> None:
    book = after(told(task(artifact=artifact("1.0.0"))))
    assert (end(book).state, end(book).installed_version) == (TaskState.SUCCEEDED, "1.0.0")


def test_another_version_than_was_asked_for_is_a_failure_and_what_runs() -> None:
    book = after(*INSTALLING, Done(), Confirmed("1.9.0"))
    assert (end(book).state, end(book).reason) == (TaskState.FAILED, TaskReason.VERSION_MISMATCH)
    assert book.version("app") == "1.9.0"


def test_a_new_boot_is_what_a_reboot_waits_for() -> None:
    rebooting = after(*INSTALLING, RebootNeeded("first"))
    assert phase(rebooting) is Phase.REBOOTING
    assert phase(after(Started(at(3, "second"), GIVEN), book=rebooting)) is Phase.CONFIRMING
    same = after(RESTART, book=rebooting)
    assert phase(same) is Phase.REBOOTING
    tired = after(*[Started(at(200 + n), GIVEN) for n in range(4)], book=rebooting)
    assert (end(tired).state, end(tired).reason) == (TaskState.FAILED, TaskReason.REBOOT)


def test_a_command_is_started_again_three_times_and_told_so() -> None:
    book = after(*INSTALLING)
    resumed = []
    for _ in range(3):
        assert book.job is not None
        resumed.append(book.job.resumed)
        book = after(RESTART, book=book)
        assert phase(book) is Phase.VERIFYING  # what lies there is not believed
        book = after(Done(), Done(), book=book)
    assert book.job is not None
    assert [*resumed, book.job.resumed] == [False, True, True, True]
    lost = after(RESTART, Done(), Done(), book=book)
    assert (end(lost).state, end(lost).reason) == (TaskState.FAILED, TaskReason.AGENT_LOST)


@pytest.mark.parametrize(
    ("events", "state", "reason"),
    [
        ([told()], TaskState.FAILED, TaskReason.DOWNLOAD),
        ([told(), Done()], TaskState.FAILED, TaskReason.DOWNLOAD),
        ([told(), Done(), Done()], TaskState.POSTPONED, None),
        (INSTALLING, TaskState.FAILED, TaskReason.INSTALL),
        ([*INSTALLING, RESTART, Done()], TaskState.FAILED, TaskReason.INSTALL),
        ([*INSTALLING, RebootNeeded("first")], TaskState.FAILED, TaskReason.REBOOT),
        ([*INSTALLING, Done()], TaskState.FAILED, TaskReason.VERSION_MISMATCH),
    ],
)
def test_every_phase_ends_at_the_deadline(
    events: list[Event], state: TaskState, reason: TaskReason | None
) -> None:
    book = after(*events, Expired())
    assert (end(book).state, end(book).reason) == (state, reason)


@pytest.mark.parametrize(
    ("window", "says"),
    [
        ({}, "it waited to begin until its time was over"),
        ({"install_after": "2026-11-29T14:30:00Z"}, "its window did not open"),
    ],
    ids=["none", "later"],
)
def test_what_was_not_begun_in_time_blames_a_window_only_where_there_is_one(
    window: dict[str, str], says: str
) -> None:
    book = after(told(task(**window)), Done(), Done(), Expired())
    assert (end(book).state, end(book).detail) == (TaskState.POSTPONED, says)


@pytest.mark.parametrize("done", range(6))
def test_only_what_was_not_begun_can_be_canceled(done: int) -> None:
    events = (*INSTALLING, Done(), Confirmed("2.0.0"))[: done + 1]
    before = after(*events)
    book = after(CancelAsked("17/slave-001/1"), book=before)
    if done < 3:
        assert end(book).state is TaskState.CANCELED
    else:
        assert book.job == before.job


def test_a_resumed_task_waits_without_being_cancelable() -> None:
    book = after(*INSTALLING, RESTART)
    assert after(CancelAsked("17/slave-001/1"), book=book) == book


def test_a_cancel_of_what_nobody_knows_here_is_confirmed() -> None:
    book, answer = step(FIRST, CancelAsked("9/slave-001/1"))
    assert book == FIRST
    assert answer is not None
    assert (answer.task_id, answer.state) == ("9/slave-001/1", TaskState.CANCELED)


def test_a_known_attempt_is_answered_and_a_higher_one_runs_anew() -> None:
    failed = after(*INSTALLING, Ended(TaskState.FAILED, TaskReason.INSTALL, "no"))
    acked = after(Acknowledged("17/slave-001/1", "failed"), book=failed)
    assert said(acked) == []
    again = after(told(), book=acked)
    assert again.job is None
    assert [update.state for update in said(again)] == [TaskState.FAILED]
    assert phase(after(told(task(attempt=2)), book=acked)) is Phase.DOWNLOADING
    assert after(told(), book=after(told(task(attempt=2)), book=acked)).job is not None


def test_a_word_about_an_older_attempt_changes_nothing() -> None:
    second = after(told(task(attempt=2)))
    assert after(told(task(attempt=1)), book=second) == second


def test_the_same_number_of_a_cluster_that_was_built_anew_is_another_task() -> None:
    done = after(*INSTALLING, Done(), Confirmed("2.0.0"))
    other = after(told(task(artifact=artifact("3.0.0"))), book=done)
    assert phase(other) is Phase.DOWNLOADING
    assert all(update.state is TaskState.IN_PROGRESS for update in said(other))


def test_a_task_told_again_counts_its_times_anew() -> None:
    book = after(told(), Told(task(timestamp="2026-11-29T14:10:00Z"), at(700)))
    assert book.job is not None
    assert book.job.left(at(700)) == 50 * 60
    assert phase(book) is Phase.DOWNLOADING


def test_who_is_moved_to_another_ring_has_the_same_task_still() -> None:
    here, there = (task(parameters={"ring": ring}) for ring in ("dev", "stage"))
    done = after(told(here), Done(), Done(), Done(), Done(), Confirmed("2.0.0"))
    assert after(told(there), book=done).job is None
    begun = after(told(here), Done(), told(there))
    assert phase(begun) is Phase.VERIFYING


def test_another_task_takes_the_place_of_what_was_not_begun() -> None:
    book = after(told(), told(task(18)))
    assert book.job is not None
    assert book.job.task.deployment == 18
    assert [(u.task_id, u.state) for u in said(book)] == [
        ("17/slave-001/1", TaskState.CANCELED), ("18/slave-001/1", TaskState.IN_PROGRESS),
    ]  # fmt: skip


def test_another_task_is_put_off_while_a_command_runs() -> None:
    book = after(*INSTALLING)
    same, answer = step(book, told(task(18)))
    assert same == book
    assert answer is not None
    assert (answer.task_id, answer.state) == ("18/slave-001/1", TaskState.POSTPONED)
    assert "17/slave-001/1" in answer.detail


def put_off(seconds: int) -> Ended:
    return Ended(TaskState.POSTPONED, retry_after=seconds)


def test_what_was_put_off_is_begun_anew_once_nodes_know() -> None:
    book = after(*INSTALLING, put_off(600))
    assert end(book).retry_after == 600
    repeated = after(told(), book=book)  # by a node that does not know yet
    assert end(repeated).state is TaskState.POSTPONED
    known = after(Acknowledged("17/slave-001/1", "postponed"), book=book)
    anew = after(told(), book=known)
    assert phase(anew) is Phase.DOWNLOADING
    assert anew.job is not None
    assert anew.job.runs == 0


def test_a_deployment_is_put_off_for_a_day_in_all() -> None:
    book, given = FIRST, []
    for _ in range(5):
        book = after(*INSTALLING, put_off(30_000), book=book)
        given.append((end(book).state, end(book).retry_after))
        book = after(Acknowledged("17/slave-001/1", "postponed"), book=book)
    off = TaskState.POSTPONED
    assert given[:3] == [(off, 30_000), (off, 30_000), (off, 26_400)]
    assert given[3] == (TaskState.REJECTED, None)
    other = after(told(task(18)), Done(), Done(), Done(), put_off(60), book=book)
    assert end(other).state is off


def test_what_nobody_wants_is_said_no_more() -> None:
    waiting = after(told(), Unwanted("17/slave-001/1"))
    assert waiting.job is None
    assert said(waiting) == []
    running = after(*INSTALLING, Unwanted("17/slave-001/1"))
    assert phase(running) is Phase.INSTALLING


def test_what_nobody_wanted_is_begun_when_a_node_tells_it_again() -> None:
    """An offer had run out before the device could say that it had begun."""
    for events in ([told()], [told(), Done()], [told(), Done(), Done()]):
        again = after(*events, Unwanted("17/slave-001/1"), told())
        assert phase(again) is Phase.DOWNLOADING
    canceled = after(told(), CancelAsked("17/slave-001/1"), told())
    assert end(canceled).state is TaskState.CANCELED  # it is over, whoever tells it again


def test_an_end_is_said_until_exactly_it_is_acknowledged() -> None:
    book = after(*INSTALLING, Done(), Confirmed("2.0.0"))
    for wrong in (Acknowledged("17/slave-001/1", "in_progress"), Acknowledged("18/x/1", "failed")):
        book = after(wrong, book=book)
        assert [update.state for update in said(book)] == [TaskState.SUCCEEDED]
    assert said(after(Acknowledged("17/slave-001/1", "succeeded"), book=book)) == []


def test_nothing_is_begun_that_cannot_be_kept() -> None:
    for events in ([told()], [told(), Done()], INSTALLING):
        book = after(*events, Unsaved("No space left on device"))
        assert (end(book).state, end(book).reason) == (TaskState.FAILED, TaskReason.DISK)
    confirming = after(*INSTALLING, Done())
    assert after(Unsaved("full"), book=confirming) == confirming  # it is done, disk or not


def test_what_came_in_parts_and_is_wrong_is_fetched_anew_once() -> None:
    book = after(told(), Done(in_parts=True))
    assert book.job is not None
    assert book.job.in_parts
    again = after(Incomplete(refetched=True), Done(), book=book)
    assert again.job is not None
    assert (again.job.in_parts, again.job.refetched) == (False, True)


def test_a_version_that_was_installed_by_hand_counts() -> None:
    book = after(*INSTALLING, Done(), Confirmed("2.0.0"))
    assert after(RESTART, book=book).version("app") == "2.0.0"  # the option is an old one
    assert after(Started(at(9), {"app": "3.0.0"}), book=book).version("app") == "3.0.0"
    seen = Started(at(9), GIVEN, frozenset({"app"}))
    assert after(seen, book=book).version("app") == "1.0.0"  # it fell back, and was seen to


def test_only_the_newest_ends_are_remembered() -> None:
    book = FIRST
    for number in range(1, MAX_OUTCOMES + 5):
        book = after(told(task(number)), Ended(TaskState.CANCELED), book=book)
    assert len(book.outcomes) == MAX_OUTCOMES
    assert book.outcomes[-1].update.task_id == f"{MAX_OUTCOMES + 4}/slave-001/1"


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff", b'{"device":"slave-001","jobs":1}', b'{"device":"other"}'],
)
def test_a_spoilt_spool_is_refused(content: bytes) -> None:
    with pytest.raises(SpoilError, match="refused"):
        read(content, DEVICE)


# -- a crash at any step -------------------------------------------------------------------------

WORK = {
    Phase.DOWNLOADING: [Done(), Done(in_parts=True)],
    Phase.VERIFYING: [Done(), Incomplete()],
    Phase.WAITING: [Done()],
    Phase.INSTALLING: [
        Done(), RebootNeeded("boot"), Ended(TaskState.FAILED, TaskReason.INSTALL), put_off(600),
    ],
    Phase.REBOOTING: [Expired()],
    Phase.CONFIRMING: [Confirmed("2.0.0"), Confirmed("1.0.0")],
}  # fmt: skip
BEFALLS = st.sampled_from(["works", "works", "works", "dies", "reboots", "told", "cancel", "full"])


class Machine:
    """A device whose agent may die at any moment; `kept` is all that is left then."""

    def __init__(self) -> None:
        self.kept = written(FIRST)
        self.book = FIRST
        self.boot, self.starts, self.ends = 0, 0, []  # type: ignore[var-annotated]

    def take(self, event: Event) -> None:
        before = self.book
        self.book, _ = step(before, event)
        self.kept = written(self.book)
        self._check(before)

    def _check(self, before: Book) -> None:
        installing = phase(self.book) is Phase.INSTALLING
        if installing and phase(before) is not Phase.INSTALLING:
            assert not self.ends, "a command was started after the end"
            assert self.book.job is not None
            self.starts += 1
            assert self.book.job.runs >= self.starts
            assert self.book.job.resumed == (self.book.job.runs > 1)
        states = [outcome.update.state for outcome in self.book.outcomes]
        assert states[: len(self.ends)] == self.ends, "an end was taken back"
        self.ends = states
        assert len(self.ends) <= 1

    def die(self, *, reboots: bool) -> None:
        self.boot += reboots
        self.book = read(self.kept, DEVICE)
        self.take(Started(at(1, f"boot {self.boot}"), GIVEN))

    def work(self, choice: int) -> None:
        job = self.book.job
        if job is not None:
            events = WORK[job.phase]
            event = events[choice % len(events)]
            if isinstance(event, RebootNeeded):
                event = replace(event, boot=f"boot {self.boot}")
            self.take(event)


@given(st.lists(st.tuples(BEFALLS, st.integers(0, 3)), max_size=40))
def test_a_restart_at_any_step_leads_to_exactly_one_end(story: list[tuple[str, int]]) -> None:
    device = Machine()
    device.take(told())
    for what, choice in story:
        match what:
            case "works":
                device.work(choice)
            case "dies":
                device.die(reboots=False)
            case "reboots":
                device.die(reboots=True)
            case "told":
                device.take(told())
            case "cancel":
                device.take(CancelAsked("17/slave-001/1"))
            case "full":
                device.take(Unsaved("full"))
    for _ in range(20):
        device.work(0)
    assert device.book.job is None
    assert len(device.ends) == 1
    assert device.starts <= 4
    assert [update.state for update in said(device.book)] == device.ends
    device.take(told())
    assert device.book.job is None, "a task that has ended runs no more"
