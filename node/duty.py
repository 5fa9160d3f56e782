"""How the parts of a node propose: what each is given, and the two ways to go on about a command.

- A **duty** of the leader waits for its outcome: one command at a time, and the next try a moment
  after the answer. An **office** holds a leader's duties in their order; each term begins with
  none under way, and whatever is answered later belongs to an office that is over.
- What any node **owes** the log (a vote, an acknowledgement) is repeated until the state shows it.
  Nobody waits for an outcome: a word that got lost is a word that is still owed.

In both a refusal does not become a busy loop. What is proposed late, twice or for a former term
does no harm, since `cluster.apply` checks everything again.
"""

from collections.abc import Callable, Collection, Hashable

import msgspec
import structlog

from stationkeep.cluster.apply import Rejected
from stationkeep.cluster.commands import AnyCommand, Draft
from stationkeep.cluster.state import codec
from stationkeep.node.ports import (
    Committed,
    Consensus,
    Host,
    NotProposed,
    ProposalResult,
    Propose,
    Watch,
)
from stationkeep.node.replica import Replica

PACE = 0.05
"""Seconds from the outcome of a duty to its next try."""
RETRY = 1.0
"""Seconds until what is owed and not in the log yet is proposed again."""
OWED_TIMEOUT = 5.0
AT_ONCE, NEVER = float("-inf"), float("inf")
"""Moments at which something is due."""

log = structlog.get_logger("node.duty")


class Workbench(msgspec.Struct, frozen=True):
    """What every part of a node works with; `node` is its own id."""

    node: str
    host: Host
    consensus: Consensus
    replica: Replica
    propose: Propose


def proposing(consensus: Consensus, watch: Watch | None = None) -> Propose:
    """How the parts of a node propose; `watch` sees every draft."""

    def propose(
        command: AnyCommand, timeout: float, done: Callable[[ProposalResult], None]
    ) -> None:
        draft = Draft(command)
        try:
            encoded = codec.encode_draft(draft)
        except codec.CodecError:
            done(NotProposed("too_large"))
            return
        consensus.propose(encoded, done if watch is None else watch(draft, done), timeout)

    return propose


class Duty:
    """One kind of command that the leader proposes whenever it is due.

    `due`: the monotonic moment, `AT_ONCE` or `NEVER`. `make`: the command; None when there is
    nothing to propose after all, and then `due` has moved. `then` takes the outcome.
    """

    def __init__(
        self,
        bench: Workbench,
        due: Callable[[], float],
        make: Callable[[], AnyCommand | None],
        then: Callable[[ProposalResult], None] = lambda _: None,
    ) -> None:
        self._bench, self._clock = bench, bench.host.clock
        self._due, self._make, self._then = due, make, then
        self._under_way: int | None = None
        """The term in which the command was proposed whose outcome is not known yet."""
        self._not_before = AT_ONCE

    def turn(self) -> None:
        """Proposes when it is due. The clock is read after `due`, which may be this moment."""
        moment = self.next_wakeup()
        if moment != NEVER and moment <= self._clock.monotonic():
            command = self._make()
            if command is not None:
                self._propose(command)

    def next_wakeup(self) -> float:
        """Monotonic moment of the next try; infinite while one is under way."""
        if self._under_way is not None:
            return NEVER
        due = self._due()
        return due if due > self._not_before else self._not_before

    def begin_anew(self) -> None:
        """Another term: nothing is under way."""
        self._under_way, self._not_before = None, AT_ONCE

    def _propose(self, command: AnyCommand) -> None:
        term = self._under_way = self._bench.consensus.term
        timeout = max(1.0, self._bench.replica.settings.proposal_timeout / 1_000)
        self._bench.propose(command, timeout, lambda result: self._on_done(term, result))

    def _on_done(self, term: int, result: ProposalResult) -> None:
        if self._under_way != term:
            return
        self._under_way, self._not_before = None, self._clock.monotonic() + PACE
        if isinstance(result, Committed) and isinstance(result.applied.outcome, Rejected):
            refused = result.applied.outcome
            log.debug("refused", reason=refused.reason, detail=refused.detail)
        self._then(result)


class Office:
    """The duties of a leader, done in their order; none on a node that does not lead."""

    def __init__(self, bench: Workbench, *duties: Duty) -> None:
        self._bench, self._consensus, self._duties = bench, bench.consensus, duties
        self._term: int | None = None
        """The term of the office held; None on a node that does not lead."""

    def turn(self) -> None:
        """Proposes what is due."""
        if self._holds_office() and self._is_needed():
            for duty in self._duties:
                duty.turn()

    def next_wakeup(self) -> float:
        """Monotonic moment of the next duty; infinite when not in office."""
        if self._term is None or not self._is_needed():
            return NEVER
        return min([duty.next_wakeup() for duty in self._duties])

    def _holds_office(self) -> bool:
        term = self._consensus.term if self._consensus.is_leader else None
        if term != self._term:
            if self._term is not None:
                self._end()
            self._term = term
            for duty in self._duties:
                duty.begin_anew()
            if term is not None:
                self._begin()
        return term is not None

    def _is_needed(self) -> bool:
        """Whether any duty can be due; asked twice in every turn."""
        return True

    def _begin(self) -> None:
        """A term of office begins."""

    def _end(self) -> None:
        """It is over: whatever is still planned or answered concerns nobody."""


class Owed:
    """Words that this node owes the log, each known by a key."""

    def __init__(self, bench: Workbench) -> None:
        self._clock, self._propose = bench.host.clock, bench.propose
        self._again: dict[Hashable, float] = {}
        """Monotonic moment at which a word is proposed again."""

    def keep(self, keys: Collection[Hashable]) -> None:
        """Forgets all words but these: they are in the log, or not owed any more."""
        if self._again:  # hardly ever, and asked in every turn
            self._again = {key: at for key, at in self._again.items() if key in keys}

    def due(self, key: Hashable) -> float:
        """Monotonic moment at which to propose a word."""
        return self._again.get(key, AT_ONCE)

    def is_due(self, key: Hashable) -> bool:
        return self.due(key) <= self._clock.monotonic()

    def propose(self, key: Hashable, command: AnyCommand) -> None:
        """Proposes a word, and notes when to repeat it."""
        self._again[key] = self._clock.monotonic() + RETRY
        self._propose(command, OWED_TIMEOUT, lambda _: None)

    def next_wakeup(self) -> float:
        """Monotonic moment of the next repetition; infinite when none is to come."""
        if not self._again:
            return NEVER
        now = self._clock.monotonic()
        return min((at for at in self._again.values() if at > now), default=NEVER)
