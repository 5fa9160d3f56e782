"""A client's order at the node that received it, from request to response."""

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
    """Traces one request. `trace` and `sampled` are set once it is answered."""

    def __init__(
        self,
        spans: Spans,
        story_of: Callable[[str], Story | None],
        draft: Draft,
        caller: Caller | None,
    ) -> None:
        """`story_of`: finds the story of an operation (`identity`), if this node still has it."""
        self._spans, self._story_of = spans, story_of
        self._draft, self._caller = draft, caller
        self._operation = identity(draft.actor, draft.key)
        self._id = randbits(64)
        self._began = self._spans.now()
        self._proposed: float | None = None
        self._resolved: float | None = None
        self._story: Story | None = None
        self.trace, self.sampled = 0, False

    def watch(self, done: Done) -> Done:
        """Call when the order is proposed, and pass on the result in place of `done`."""
        self._proposed = self._spans.now()
        return partial(self._on_result, done)

    def _on_result(self, done: Done, result: ProposalResult) -> None:
        """The story is ours only if this request was applied, not an earlier one with its key."""
        self._resolved = self._spans.now()
        story = self._story_of(self._operation)
        ours = story is not None and isinstance(result, Committed) and story.index == result.index
        self._story = story if ours else None
        done(result)

    def answered(self, result: ProposalResult) -> None:
        """Call when the response is sent; records the spans of this request."""
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
        self._spans.record(
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
            self._record_story(story, apart)
        elif self._proposed is not None and self._resolved is not None:
            first, last = self._proposed, self._resolved
            self._spans.record(
                "propose", self, first, last, parent=self._id, attributes={}, failed=failed
            )

    def _choose_trace(self) -> tuple[int, bool]:
        """The caller's trace, else the operation's, else a new one."""
        if self._caller is not None:
            return self._caller.trace, True
        known = self._story_of(self._operation)
        if known is not None:
            return known.trace, known.sampled
        named = trace_named(self._draft.key)
        trace = named[0] if named else randbits(128)
        return trace, self._spans.samples(trace)

    def _record_story(self, story: Story, apart: bool) -> None:
        assert self._proposed is not None
        assert self._resolved is not None
        self._spans.record(
            "propose",
            story,
            self._proposed,
            self._resolved,
            parent=None if apart else self._id,
            attributes=story.attributes,
            id_=story.anchor,
            link=(self.trace, self._id) if apart else None,
        )
        self._spans.record_commit(
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
