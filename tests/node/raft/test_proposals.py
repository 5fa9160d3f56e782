"""Every proposal gets its one answer, in the order of the deadlines whatever they are."""

from hypothesis import given
from hypothesis import strategies as st

from stationkeep.cluster.apply import Applied, Done
from stationkeep.node.ports import NotProposed
from stationkeep.node.raft.proposals import Proposals

seconds = st.integers(1, 40).map(float)


@given(st.lists(st.tuples(seconds, st.booleans()), max_size=40), st.randoms(use_true_random=False))
def test_deadlines_are_kept_in_any_mixture_of_timeouts(calls, random) -> None:
    """Against the dumb way: a list, looked through at each tick."""
    proposals = Proposals()
    waiting: dict[int, tuple[float, int]] = {}
    told: list[int] = []
    for number, (timeout, is_answered) in enumerate(calls):
        proposals.submit(b"", lambda _, n=number: told.append(n), number / 4, timeout, False)
        pending = proposals.take()
        assert pending is not None
        if is_answered:
            proposals.placed(pending, number + 1, 1)
        waiting[number] = (number / 4 + timeout, number)
    answered = [n for n, (_, is_answered) in enumerate(calls) if is_answered]
    random.shuffle(answered)
    for number in answered:
        proposals.applied(number + 1, 1, Applied(Done()))
        proposals.deliver()
        del waiting[number]
        first = min(waiting.values(), default=None)
        assert proposals.next_deadline() == (first and first[0])
    assert told == answered
    while waiting:
        at, number = min(waiting.values())
        assert proposals.next_deadline() == at
        due = sorted(place for place in waiting.values() if place[0] <= at)
        proposals.expire(at)
        proposals.deliver()
        assert told[-len(due) :] == [n for _, n in due]
        for _, gone in due:
            del waiting[gone]
    assert proposals.next_deadline() is None
    assert len(proposals) == 0


def test_what_was_answered_is_not_remembered_for_its_deadline() -> None:
    """A long timeout among many short ones must not keep them all."""
    proposals = Proposals()
    for number in range(5_000):
        proposals.submit(b"", lambda _: None, number / 100, 3_600.0 if number % 2 else 1.0, False)
        pending = proposals.take()
        assert pending is not None
        proposals.refuse(pending, "no_leader")
        proposals.deliver()
        proposals.expire(number / 100)
    assert len(proposals._deadlines) <= 1_024


def test_a_refusal_says_why() -> None:
    proposals, answers = Proposals(), []
    proposals.submit(b"", answers.append, 0.0, 1.0, False)
    proposals.expire(1.0)
    proposals.deliver()
    assert answers == [NotProposed("no_leader")]
