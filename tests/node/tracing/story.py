"""What the nodes of a played cluster tell, collected; and what of it hangs together."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from stationkeep.cluster.commands import AnyCommand, Draft
from stationkeep.cluster.state import codec
from stationkeep.node.config.hooks import HookConfig
from stationkeep.node.ports import ProposalResult, Watch
from stationkeep.node.replica import Replica
from stationkeep.node.tracing.spans import Span, Spans
from stationkeep.node.tracing.watching import Tracing
from stationkeep.node.wire.traceparent import Caller
from tests.node.world import ManualClock, SharedLog, World


class Told:
    """`Sink` of one node."""

    results: Mapping[str, int] = {}

    def __init__(self, node: str, spans: list[tuple[str, Span]]) -> None:
        self._node, self._spans = node, spans

    def put(self, span: Span) -> None:
        assert span.begin <= span.end, span
        self._spans.append((self._node, span))


class Traced:
    """A world whose nodes are traced. `spans`: (node, span) in the order of their telling."""

    def __init__(self, nodes: int = 3, ratio: float = 1.0) -> None:
        self.spans: list[tuple[str, Span]] = []
        self.tracings: dict[str, Tracing] = {}
        self._ratio = ratio
        self.world = World(nodes, watcher=self._watch, hooks=HookConfig(actions={"beacon": "do"}))

    def _watch(self, name: str, clock: ManualClock, replica: Replica, log: SharedLog) -> Watch:
        def wall() -> int:
            return int(clock.now * 1e9)

        consensus: Any = log
        spans = Spans(self._ratio, clock, consensus, Told(name, self.spans), wall)
        self.tracings[name] = Tracing(name, replica, spans, len(log.world.log))
        return self.tracings[name].watch

    def failed_over(self) -> str:
        """Kills the PRIMARY, which does not lead; its successor, once all have acknowledged."""
        world = self.world
        world.run_until(lambda: world.primary is not None, 10)
        world.run(1)
        former = world.primary
        assert former is not None
        world.kill(former)
        world.run_until(lambda: world.primary not in (None, former), 10)
        world.run(1)
        return str(world.primary)

    def order(
        self,
        node: str,
        command: AnyCommand,
        key: str,
        caller: Caller | None = None,
    ) -> ProposalResult:
        """An order that `node` takes, carried out everywhere."""
        draft = Draft(command, key, "eve")
        request = self.tracings[node].request(draft, caller)
        results: list[ProposalResult] = []
        consensus = self.world.loops[node].consensus
        consensus.propose(codec.encode_draft(draft), request.watch(results.append), 5, True)
        self.world.run_until(lambda: bool(results), 10)
        request.answered(results[0])
        self.world.run(1)
        return results[0]

    def traces(self) -> dict[int, list[tuple[str, Span]]]:
        """Trace id → its spans."""
        found: dict[int, list[tuple[str, Span]]] = defaultdict(list)
        for node, span in self.spans:
            found[span.trace].append((node, span))
        return found

    def trace_with(self, **attributes: Any) -> list[tuple[str, Span]]:
        """The one trace that has a span with these attributes."""
        wanted = {f"stationkeep.{name}": value for name, value in attributes.items()}
        (found,) = (
            spans
            for spans in self.traces().values()
            if any(wanted.items() <= span.attributes.items() for _, span in spans)
        )
        return found


def named(spans: list[tuple[str, Span]], name: str) -> dict[str, list[Span]]:
    """Node → its spans of that name."""
    found: dict[str, list[Span]] = defaultdict(list)
    for node, span in spans:
        if span.name == name:
            found[node].append(span)
    return found


def check_whole(spans: list[tuple[str, Span]]) -> None:
    """Every parent is there, is told once, and began no later than its children."""
    by_id = {span.id: span for _, span in spans}
    assert len(by_id) == len(spans)
    for _, span in spans:
        if span.parent is not None:
            assert by_id[span.parent].begin <= span.begin, span
