"""Observes what this node does for orders and proposals: `Tracing` listens to the replica, and
sees every command that the node proposes. It changes nothing and keeps little.
"""

from collections import OrderedDict
from functools import partial

import msgspec

from stationkeep.cluster.apply import Applied
from stationkeep.cluster.commands import Acknowledge, AdoptPlan, CastVote, Draft, Entry
from stationkeep.cluster.state.events import (
    ActionAcknowledged,
    ActionClosed,
    ActionOpened,
    ProposalClosed,
    ProposalOpened,
    RoleChanged,
    SeatActivated,
    VoteCounted,
)
from stationkeep.cluster.state.operations import identity
from stationkeep.cluster.state.state import Proposal, ProposalOutcome
from stationkeep.cluster.transitions import Role
from stationkeep.node.ports import Committed, Done, ProposalResult
from stationkeep.node.replica import Replica
from stationkeep.node.tracing.request import Request
from stationkeep.node.tracing.spans import Attributes, Spans, Story, remember
from stationkeep.node.wire.traceparent import Caller


class _Action(msgspec.Struct):
    """An action that this node is a target of."""

    story: Story
    learned: float
    name: str
    acknowledged: float | None = None
    """When its acknowledgement was proposed."""


class _Succession(msgspec.Struct):
    """This node is the new PRIMARY and waits until it may act."""

    story: Story
    learned: float
    predecessor: str


class Tracing:
    """Records the spans of one node."""

    def __init__(self, node: str, replica: Replica, spans: Spans, history: int = 0) -> None:
        """`history`: log index up to which entries may have been applied in a previous run."""
        self.spans = spans
        self._node, self._replica, self._history = node, replica, history
        self._began = 0.0
        self._orders: OrderedDict[str, Story] = OrderedDict()
        self._proposals: OrderedDict[int, Story] = OrderedDict()
        self._actions: OrderedDict[str, _Action] = OrderedDict()
        self._succession: _Succession | None = None
        replica.on_applying(self._on_applying)
        replica.listen(self._on_applied)
        replica.on_restored(self._on_restored)

    # -- what this node proposes ----------------------------------------------------------------

    def request(self, draft: Draft, caller: Caller | None) -> Request:
        """Starts tracing a client's order."""
        return Request(self.spans, self._orders.get, draft, caller)

    def watch(self, draft: Draft, done: Done) -> Done:
        """Observes a command that the node itself proposes; see `node.ports.Watch`."""
        now = self.spans.now()
        match draft.command:
            case AdoptPlan(motions=motions) if motions:
                return partial(self._on_plan, now, done)
            case CastVote(proposal=id_) if id_ in self._proposals:
                story = self._proposals[id_]
                story.cast = story.cast or now  # of several attempts, the first
            case Acknowledge(action=id_) if id_ in self._actions:
                action = self._actions[id_]
                action.acknowledged = action.acknowledged or now
        return done

    def _on_plan(self, proposed: float, done: Done, result: ProposalResult) -> None:
        """Records the plan only now that it was ours: two leaders may have proposed the same."""
        if isinstance(result, Committed):
            for event in result.applied.events:
                if isinstance(event, ProposalOpened) and event.proposal in self._proposals:
                    self._record_plan(self._proposals[event.proposal], proposed)
        done(result)

    def _record_plan(self, story: Story, proposed: float) -> None:
        story.proposed = proposed
        about, now = story.attributes, self.spans.now()
        propose = self.spans.record(
            "propose", story, proposed, now, parent=story.anchor, attributes=about
        )
        self.spans.record_commit(story, proposed, story.began, parent=propose, index=story.index)

    # -- what is applied here -------------------------------------------------------------------

    def _on_applying(self) -> None:
        self._began = self.spans.now()

    def _on_applied(self, index: int, entry: Entry | None, applied: Applied) -> None:
        if entry is None or index <= self._history:
            return
        story = self._story_of(index, entry)
        for event in applied.events:
            match event:
                case ProposalOpened():
                    self._on_opened(event.proposal, index, entry)
                case VoteCounted() if event.voter == self._node:
                    self._on_vote(event, entry, index)
                case ProposalClosed():
                    self._on_closed(event, index)
                case RoleChanged() if event.node == self._node and event.target is Role.PRIMARY:
                    self._on_seated(story, event, applied)
                case SeatActivated():
                    self._on_activated(event)
                case ActionOpened():
                    self._on_action(story, event.action)
                case ActionAcknowledged() if event.node == self._node:
                    self._on_acknowledged(event, entry, index)
                case ActionClosed():
                    self._actions.pop(event.action, None)
                case _:
                    pass

    def _on_restored(self) -> None:
        """A snapshot skips entries, so nothing is known about the end of what had begun."""
        self._orders.clear()
        self._proposals.clear()
        self._actions.clear()
        self._succession = None

    def _story_of(self, index: int, entry: Entry) -> Story | None:
        """The story that role changes and actions of this entry belong to. (What becomes due by
        the entry's time changes no role and opens no action.)"""
        draft = entry.draft
        if isinstance(draft.command, CastVote):
            return self._proposals.get(draft.command.proposal)
        operations = self._replica.state.operations
        first = operations.find(draft.actor, draft.key) if draft.key else None
        if first is None or first.index != index:  # a retry has no effect
            return None
        about: Attributes = {
            "stationkeep.operation": draft.key,
            "stationkeep.command": type(draft.command).__name__,
        }
        name = identity(draft.actor, draft.key)
        story = self._begin(f"operation\0{name}", draft.key, index, entry, about)
        remember(self._orders, name, story)
        return story

    def _on_opened(self, proposal: int, index: int, entry: Entry) -> None:
        record = self._replica.state.proposals.get(proposal)
        if record is None:
            return
        about: Attributes = {
            "stationkeep.proposal": proposal,
            "stationkeep.rule": record.rule.value,
            "stationkeep.changes": _changes(record),
        }
        story = self._begin(f"proposal\0{proposal}", "", index, entry, about)
        remember(self._proposals, proposal, story)

    def _begin(
        self, matter: str, key: str, index: int, entry: Entry, attributes: Attributes
    ) -> Story:
        """Begins a story. The wall time of the entry is part of its identity, so that the traces
        of a cluster that is founded again under the same name do not mix with the old ones."""
        identity = f"{self._replica.state.cluster_id}\0{matter}\0{entry.wall}"
        story = self.spans.begin(identity, key, index, self._began, attributes)
        self._record_apply(story, index)
        return story

    def _record_apply(self, story: Story, index: int) -> None:
        about: Attributes = {**story.attributes, "stationkeep.log.index": index}
        now = self.spans.now()
        self.spans.record("apply", story, self._began, now, parent=story.anchor, attributes=about)

    def _on_vote(self, event: VoteCounted, entry: Entry, index: int) -> None:
        story, vote = self._proposals.get(event.proposal), entry.draft.command
        if story is None or not isinstance(vote, CastVote):
            return
        about: Attributes = {
            "stationkeep.proposal": event.proposal,
            "stationkeep.approve": event.approve,
            "stationkeep.grounds": vote.policy or str(vote.grounds),
        }
        now = self.spans.now()
        id_ = self.spans.record(
            "vote", story, story.learned, now, parent=story.anchor, attributes=about
        )
        if story.cast is not None:
            self.spans.record_commit(story, story.cast, self._began, parent=id_, index=index)

    def _on_closed(self, event: ProposalClosed, index: int) -> None:
        story = self._proposals.pop(event.proposal, None)
        if story is None:
            return
        if event.outcome == ProposalOutcome.APPROVED:
            self._record_apply(story, index)
        if story.proposed is not None:
            about = {**story.attributes, "stationkeep.outcome": str(event.outcome)}
            self.spans.record(
                "proposal",
                story,
                story.proposed,
                self.spans.now(),
                parent=None,
                attributes=about,
                id_=story.anchor,
            )

    def _on_seated(self, story: Story | None, event: RoleChanged, applied: Applied) -> None:
        self._succession = None  # if there was one, it never became effective
        if story is None:
            return
        left = (e for e in applied.events if isinstance(e, RoleChanged) and e is not event)
        former = next((e.node for e in left if e.origin is Role.PRIMARY), "")
        self._succession = _Succession(story, self.spans.now(), former)

    def _on_activated(self, event: SeatActivated) -> None:
        mine = self._succession
        if mine is None or event.holder != self._node:
            return
        self._succession = None
        about: Attributes = {"stationkeep.epoch": event.epoch}
        if mine.predecessor:
            about["stationkeep.predecessor"] = mine.predecessor
        if event.failover_ms is not None:
            about["stationkeep.failover_ms"] = event.failover_ms
        now, anchor = self.spans.now(), mine.story.anchor
        self.spans.record(
            "handover", mine.story, mine.learned, now, parent=anchor, attributes=about
        )

    def _on_action(self, story: Story | None, id_: str) -> None:
        action = self._replica.state.actions.get(id_)
        if story is not None and action is not None and self._node in action.targets:
            remember(self._actions, id_, _Action(story, self.spans.now(), action.name))

    def _on_acknowledged(self, event: ActionAcknowledged, entry: Entry, index: int) -> None:
        action, answer = self._actions.pop(event.action, None), entry.draft.command
        if action is None or not isinstance(answer, Acknowledge):
            return
        about: Attributes = {
            "stationkeep.action": event.action,
            "stationkeep.action.name": action.name,
            "stationkeep.role": self._replica.state.members[self._node].role.value,
        }
        story = action.story
        id_ = self.spans.record(
            "acknowledge",
            story,
            action.learned,
            self.spans.now(),
            parent=story.anchor,
            attributes=about,
            failed="" if event.success else answer.detail or "failed",
        )
        if action.acknowledged is not None:
            self.spans.record_commit(
                story, action.acknowledged, self._began, parent=id_, index=index
            )


def _changes(proposal: Proposal) -> str:
    return ", ".join(f"{c.node} {c.origin} → {c.target}" for c in proposal.changes)
