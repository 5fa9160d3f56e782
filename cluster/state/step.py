"""One entry being applied: what it may see, and the record it leaves.

Every function that changes the state takes the `Step`, so that each change is stamped with the
same time, index and actor and none can forget to say what it did.
"""

from typing import Any

from msgspec.structs import replace

from stationkeep.cluster.commands import Change, Draft, Entry
from stationkeep.cluster.state.decisions import Ballot, Decision, Outcome, kind_of, make_room
from stationkeep.cluster.state.events import (
    AlarmAcknowledged,
    AlarmCleared,
    AlarmRaised,
    AnyEvent,
    Decided,
    Event,
)
from stationkeep.cluster.state.state import (
    MAX_DECISIONS,
    Acknowledgement,
    Alarm,
    ClusterState,
    alarm_id,
)


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
        self.key = self.actor = self.comment = self.origin = self.claim = ""
        self.events: list[AnyEvent] = []

    def attribute(self, draft: Draft) -> None:
        """Attributes everything from here on to the draft's actor. What fell due with the entry's
        time has no actor."""
        self.key, self.actor = draft.key, draft.actor
        self.comment, self.origin, self.claim = draft.reason, draft.origin, draft.claim

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
            origin=self.origin,
            claim=self.claim,
        )
        decision = replace(decision, kind=kind_of(decision).value)
        state.decisions.append(decision)
        make_room(state.decisions, state.forgotten, MAX_DECISIONS)
        self.emit(Decided(decision))

    def raise_alarm(self, name: str, detail: str, subject: str = "") -> None:
        """Raises an alarm that is not raised yet; `subject`: the node that it is about."""
        alarm = Alarm(name, self.now, detail, subject, self.wall)
        if self.state.alarms.setdefault(alarm.id, alarm) is alarm:
            self._note_alarm(alarm, "raised", Outcome.NOTED)
            self.emit(AlarmRaised(name, detail, subject))

    def clear_alarm(self, name: str, subject: str = "", why: str = "") -> None:
        """Clears an alarm that is raised; `why` it is over, where that is not plain."""
        alarm = self.state.alarms.pop(alarm_id(name, subject), None)
        if alarm is not None:
            self._note_alarm(alarm, "cleared", Outcome.NOTED, why)
            self.emit(AlarmCleared(name, subject))

    def acknowledge_alarm(self, alarm: Alarm) -> None:
        """The actor of this entry has seen a raised alarm."""
        seen = Acknowledgement(self.actor, self.now, self.comment)
        self.state.alarms[alarm.id] = replace(alarm, acknowledged=seen)
        self._note_alarm(alarm, "acknowledged", Outcome.DONE)
        self.emit(AlarmAcknowledged(alarm.name, alarm.subject, self.actor, self.comment))

    def _note_alarm(self, alarm: Alarm, change: str, outcome: Outcome, why: str = "") -> None:
        facts = {"name": alarm.name, "change": change, "detail": alarm.detail}
        if why:
            facts["why"] = why
        self.decide("alarm", outcome, (alarm.subject,) if alarm.subject else (), facts=facts)


def count(table: dict[str, int], key: str) -> None:
    """Adds one to a counter."""
    table[key] = table.get(key, 0) + 1
