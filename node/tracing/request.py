"""A client's order at the node that took it, from its acceptance to the answer."""

from collections.abc import Callable
from functools import partial
from secrets import randbits

from stationkeep.cluster.apply import Rejected
from stationkeep.cluster.commands import Draft
from stationkeep.cluster.state.operations import identity
from stationkeep.node.ports import Committed, Done, NotProposed, ProposalResult
from stationkeep.node.tracing.spans import Attributes, Spans, Story
from stationkeep.node.wire.traceparent import Caller, trace_named


class Request:
    """`trace` and `sampled` are known when it is answered."""

    def __init__(
        self,
        spans: Spans,
        story_of: Callable[[str], Story | None],
        draft: Draft,
        caller: Caller | None,
    ) -> None:
        """`story_of`: what an operation (`identity`) did, as far as it is remembered here."""
        self._spans, self._story_of = spans, story_of
        self._draft, self._caller = draft, caller
        self._operation = identity(draft.actor, draft.key)
        self._id = randbits(64)
        self._began = self._spans.now()
        self._proposed: float | None = None
        self._settled: float | None = None
        self._story: Story | None = None
        self.trace, self.sampled = 0, False

    def watch(self, done: Done) -> Done:
        """Sees the order as it is proposed; returns what to call in place of `done`."""
        self._proposed = self._spans.now()
        return partial(self._on_settled, done)

    def _on_settled(self, done: Done, result: ProposalResult) -> None:
        """An order that was carried out before, under the same key, is another one's story."""
        self._settled = self._spans.now()
        story = self._story_of(self._operation)
        ours = story is not None and isinstance(result, Committed) and story.index == result.index
        self._story = story if ours else None
        done(result)

    def answered(self, result: ProposalResult) -> None:
        """The client is told now."""
        self.trace, self.sampled = self._choose_trace()
        story = self._story if self._story is not None and self._story.sampled else None
        apart = story is not None and story.trace != self.trace
        about: Attributes = {
            "stationkeep.operation": self._draft.key,
            "stationkeep.command": type(self._draft.command).__name__,
            "stationkeep.actor": self._draft.actor,
            **_outcome(result),
        }
        failed = "" if isinstance(result, Committed) else result.why
        self._spans.tell(
            "request",
            self,
            self._began,
            self._spans.now(),
            parent=self._caller.span if self._caller else None,
            attributes=about,
            id_=self._id,
            link=(story.trace, story.anchor) if story is not None and apart else None,
            failed=failed,
        )
        if story is not None:
            self._tell_of_story(story, apart)
        elif self._proposed is not None and self._settled is not None:
            first, last = self._proposed, self._settled
            self._spans.tell(
                "propose", self, first, last, parent=self._id, attributes={}, failed=failed
            )

    def _choose_trace(self) -> tuple[int, bool]:
        """The caller's; else that of the operation; else one of the request's own."""
        if self._caller is not None:
            return self._caller.trace, True
        known = self._story_of(self._operation)
        if known is not None:
            return known.trace, known.sampled
        named = trace_named(self._draft.key)
        trace = named[0] if named else randbits(128)
        return trace, self._spans.samples(trace)

    def _tell_of_story(self, story: Story, apart: bool) -> None:
        assert self._proposed is not None
        assert self._settled is not None
        self._spans.tell(
            "propose",
            story,
            self._proposed,
            self._settled,
            parent=None if apart else self._id,
            attributes=story.attributes,
            id_=story.anchor,
            link=(self.trace, self._id) if apart else None,
        )
        self._spans.tell_commit(
            story, self._proposed, story.began, parent=story.anchor, index=story.index
        )


def _outcome(result: ProposalResult) -> Attributes:
    if not isinstance(result, Committed):
        kind = "not_proposed" if isinstance(result, NotProposed) else "unknown"
        return {"stationkeep.outcome": kind}
    if isinstance(result.applied.outcome, Rejected):
        reason = str(result.applied.outcome.reason)
        return {"stationkeep.outcome": "refused", "stationkeep.reason": reason}
    return {"stationkeep.outcome": "done"}
