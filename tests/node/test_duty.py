"""Duties of a leader, and what a node owes the log: paced, one at a time, none of an old term."""

from types import SimpleNamespace
from typing import Any

import pytest

from stationkeep.cluster.commands import AdvanceTime, AnyCommand, Barrier
from stationkeep.node.duty import AT_ONCE, NEVER, PACE, RETRY, Duty, Office, Owed, Workbench
from stationkeep.node.ports import Host
from stationkeep.node.replica import Replica
from tests.node.fleet.proposing import Proposals
from tests.node.world import ManualClock


class Post(Office):
    """An office with a duty, on a node whose log the test answers."""

    def __init__(self) -> None:
        self.clock, self.log = ManualClock(), Proposals()
        self.raft: Any = SimpleNamespace(is_leader=True, term=1)
        self.due, self.command = AT_ONCE, AdvanceTime()
        self.outcomes: list[Any] = []
        self.terms: list[str] = []
        nobody: Any = None
        self.bench = Workbench(
            "sat-001",
            Host(self.clock, nobody),
            self.raft,
            Replica(self.clock),
            self.log.propose,
        )
        super().__init__(
            self.bench,
            Duty(self.bench, lambda: self.due, lambda: self.command, self.outcomes.append),
        )

    def _begin(self) -> None:
        self.terms.append(f"begin {self.raft.term}")

    def _end(self) -> None:
        self.terms.append("end")

    def later(self, seconds: float) -> None:
        self.clock.now += seconds
        self.turn()


@pytest.fixture
def post() -> Post:
    return Post()


def test_one_at_a_time_and_the_next_a_moment_after_the_answer(post: Post) -> None:
    post.turn()
    post.later(60)
    assert len(post.log.waiting) == 1
    assert post.next_wakeup() == NEVER
    post.log.commit()
    assert post.next_wakeup() == post.clock.monotonic() + PACE
    post.later(0)
    assert not post.log.waiting
    post.later(PACE)
    assert len(post.log.waiting) == 1


@pytest.mark.parametrize("answer", ["lose", "no_leader", "reject"])
def test_no_answer_makes_a_busy_loop(post: Post, answer: str) -> None:
    tries = 0
    for _ in range(1_000):
        post.later(0.001)
        while post.log.waiting:
            tries += 1
            getattr(post.log, answer)(*["invalid"] * (answer == "reject"))
            post.turn()
    assert 1 < tries <= 1.0 / PACE + 1
    assert len(post.outcomes) == tries


def test_a_duty_that_is_due_and_has_nothing_to_say_proposes_nothing(post: Post) -> None:
    post.command = None  # type: ignore[assignment]
    post.turn()
    assert not post.log.waiting


def test_nothing_is_done_before_it_is_due(post: Post) -> None:
    post.due = post.clock.monotonic() + 5
    post.turn()
    assert post.next_wakeup() == post.due
    assert not post.log.waiting
    post.later(5)
    assert len(post.log.waiting) == 1


def test_a_node_that_does_not_lead_has_no_duties(post: Post) -> None:
    post.raft.is_leader = False
    post.turn()
    assert not post.log.waiting
    assert post.next_wakeup() == NEVER
    assert post.terms == []


@pytest.mark.parametrize("between", [True, False])
def test_what_a_former_term_proposed_holds_up_nothing_and_is_nobodys(
    post: Post, between: bool
) -> None:
    post.turn()
    if between:
        post.raft.is_leader = False
        post.turn()
        assert post.terms[-1] == "end"
    post.raft.is_leader, post.raft.term = True, 3
    post.turn()
    assert post.terms == ["begin 1", "end", "begin 3"]
    assert len(post.log.waiting) == 2
    post.log.lose()  # the answer to the older one
    assert post.outcomes == []
    assert post.next_wakeup() == NEVER, "the newer one is still under way"
    post.log.commit()
    assert len(post.outcomes) == 1


# -- what is owed --------------------------------------------------------------------------------


def test_a_word_is_repeated_until_it_is_not_owed_any_more(post: Post) -> None:
    owed, word = Owed(post.bench), Barrier()
    assert owed.next_wakeup() == NEVER
    said: list[AnyCommand] = []
    for _ in range(25):
        if owed.is_due("vote"):
            owed.propose("vote", word)
            said.append(word)
        assert owed.next_wakeup() == owed.due("vote")
        post.clock.now += RETRY / 10
    assert len(said) == len(post.log.waiting) == 3, "whatever becomes of the former ones"
    owed.keep({"another"})
    assert owed.due("vote") == AT_ONCE
