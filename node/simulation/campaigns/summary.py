"""What an operator wants to know of a run: how well the PRIMARY seat was filled."""

from collections.abc import Iterable

import msgspec

from stationkeep.cluster.rollouts.lifecycle import ENDED
from stationkeep.cluster.state.state import RoleChange
from stationkeep.cluster.transitions import OPERATOR_RULES, Role, Rule
from stationkeep.node.simulation.world import World

PRIMARY = Role.PRIMARY.value


class Span(msgspec.Struct, frozen=True):
    """A node was `what` (a role, "down", "paused") from `start` to `end`, seconds; or a rollout, by
    its name, was in that state."""

    node: str
    what: str
    start: float
    end: float


class Summary(msgspec.Struct, kw_only=True):
    """Figures of one run, or of several together."""

    runs: int = 1
    seconds: float = 0.0
    failovers: int = 0
    """Changes of the seat's holder that no operator ordered, the first one aside."""
    false_failovers: int = 0
    """Of these, how many took the seat from a node that was running, healthy by its own reports,
    and in touch with a majority, all the time for which it was considered failed."""
    elections: int = 0
    """Changes of the Raft leader, the first one aside."""
    unneeded_elections: int = 0
    """Of these, how many deposed a leader that was running and in touch with a majority."""
    flaps: int = 0
    """Times that a node, not by an order, went back to the role that it had left less than
    hysteresis_window before."""
    served: float = 0.0
    """Seconds with an effective PRIMARY, from the first one on."""
    measured: float = 0.0
    """Seconds from the first effective PRIMARY to the end."""
    longest_gap: float = 0.0

    @property
    def availability(self) -> float:
        """Share of the time in which the seat was served."""
        return self.served / self.measured if self.measured else 0.0


def spans(world: World) -> list[Span]:
    """What each node was (a role, "down", "paused"), from beginning to end."""
    return _spans(world.timeline, world.time.now)


def courses(world: World) -> list[Span]:
    """What each rollout was, from when it was laid down until it was over, by name."""
    found = _spans(world.rollout_checks.timeline, world.time.now)
    return [span for span in found if span.what not in ENDED]


def _spans(timeline: Iterable[tuple[float, str, str]], end: float) -> list[Span]:
    since: dict[str, tuple[float, str]] = {}
    found = []
    for moment, node, what in timeline:
        before = since.get(node)
        if before is not None and moment > before[0]:
            found.append(Span(node, before[1], before[0], moment))
        since[node] = (moment, what)
    found.extend(Span(n, w, at, end) for n, (at, w) in since.items())
    return sorted(found, key=lambda span: (span.start, span.node))


def summarise(world: World) -> Summary:
    """The figures of one run."""
    history = world.members.newest_state().role_changes
    served, gap, began = _service(spans(world))
    seats = [c for c in history if c.target is Role.PRIMARY]
    unordered = [c for c in seats[1:] if c.rule not in OPERATOR_RULES]
    return Summary(
        seconds=world.time.now,
        failovers=len(unordered),
        false_failovers=sum(_was_false(world, change, history) for change in unordered),
        elections=max(0, len(world.leader_changes) - 1),
        unneeded_elections=world.unneeded_elections,
        flaps=_flaps(history),
        served=served,
        measured=max(0.0, world.time.now - began),
        longest_gap=gap,
    )


def _service(found: Iterable[Span]) -> tuple[float, float, float]:
    """Seconds served, longest gap, and when the seat was first served."""
    primary = [span for span in found if span.what == PRIMARY]
    if not primary:
        return 0.0, 0.0, 0.0
    served, gap, end = 0.0, 0.0, primary[0].start
    for span in primary:
        gap = max(gap, span.start - end)
        served += max(0.0, span.end - max(span.start, end))
        end = max(end, span.end)
    return served, gap, primary[0].start


def _flaps(history: list[RoleChange]) -> int:
    flaps = 0
    latest: dict[str, RoleChange] = {}
    for change in history:
        before = latest.get(change.node)
        latest[change.node] = change
        if before is None or change.rule in OPERATOR_RULES or before.rule in OPERATOR_RULES:
            continue
        back = change.target is before.origin
        flaps += back and change.at - before.at < change.window
    return flaps


def _was_false(world: World, change: RoleChange, history: list[RoleChange]) -> bool:
    """Whether the seat was taken from a node that was not in trouble."""
    taken = [
        c for c in history
        if c.index == change.index and c.origin is Role.PRIMARY and c.rule is Rule.PRIMARY_FAILED
    ]  # fmt: skip
    if not taken:
        return False
    settings = world.scenario.settings
    window = settings.failures_to_fail_primary * settings.evaluation_interval / 1_000
    moment = world.checks.moments.get(change.index, 0.0)
    return not world.trouble.was(taken[0].node, moment - window, moment)


def together(summaries: Iterable[Summary]) -> Summary:
    """The sums of several summaries, and their worst gap."""
    total = Summary(runs=0)
    for one in summaries:
        for field in Summary.__struct_fields__:
            mine, theirs = getattr(total, field), getattr(one, field)
            worst = field == "longest_gap"
            setattr(total, field, max(mine, theirs) if worst else mine + theirs)
    return total
