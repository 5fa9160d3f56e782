"""One entry being applied: what it may see, and the record it leaves.

Every function that changes the state takes the `Step`, so that each change is stamped with the
same time, index and actor and none can forget to say what it did.
"""

from typing import Any

from cluster.commands import Change, Entry
from cluster.decisions import Ballot, Decision, Outcome
from cluster.events import AlarmCleared, AlarmRaised, AnyEvent, Decided, Event
from cluster.state import MAX_DECISIONS, Alarm, ClusterState


class Refused(Exception):  # noqa: N818 - a refusal is an answer, not an error
    """Control flow inside apply: raised before anything is changed, caught by `apply` alone."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class Step:
    """The state, the entry's stamp and origin, and the events so far."""

    def __init__(self, state: ClusterState, entry: Entry, index: int) -> None:
        self.state = state
        self.index = index
        self.now = state.time
        self.wall = entry.wall
        self.key = entry.draft.key
        self.actor = entry.draft.actor
        self.comment = entry.draft.reason
        self.events: list[AnyEvent] = []

    def emit(self, event: AnyEvent) -> None:
        assert isinstance(event, Event)
        self.events.append(event)

    def changed(self) -> None:
        """Something that a plan looks at has changed: plans made before are refused."""
        self.state.revision += 1

    def decide(
        self,
        matter: str,
        outcome: Outcome,
        subjects: tuple[str, ...],
        *,
        changes: tuple[Change, ...] = (),
        reason: str = "",
        evidence: dict[str, tuple[int, ...]] | None = None,
        facts: dict[str, Any] | None = None,
        rejected: tuple[tuple[str, str], ...] = (),
        ballots: tuple[Ballot, ...] = (),
        proposal: int = 0,
    ) -> None:
        """Appends to the decision log."""
        state = self.state
        state.decisions_made += 1
        decision = Decision(
            id=state.decisions_made,
            index=self.index,
            at=self.now,
            wall=self.wall,
            matter=str(matter),
            outcome=outcome,
            subjects=subjects,
            changes=changes,
            reason=str(reason),
            evidence=evidence or {},
            facts=facts or {},
            rejected=rejected,
            ballots=ballots,
            proposal=proposal,
            actor=self.actor,
            comment=self.comment,
            key=self.key,
        )
        state.decisions.append(decision)
        if len(state.decisions) > MAX_DECISIONS:
            del state.decisions[0]
        self.emit(Decided(decision))

    def raise_alarm(self, name: str, detail: str) -> None:
        """Raises an alarm that is not raised yet."""
        if name not in self.state.alarms:
            self.state.alarms[name] = Alarm(name, self.now, detail)
            self.emit(AlarmRaised(name, detail))

    def clear_alarm(self, name: str) -> None:
        """Clears an alarm that is raised."""
        if self.state.alarms.pop(name, None) is not None:
            self.emit(AlarmCleared(name))


def count(table: dict[str, int], key: str) -> None:
    """Adds one to a counter."""
    table[key] = table.get(key, 0) + 1
