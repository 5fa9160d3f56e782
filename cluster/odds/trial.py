"""Monte Carlo over the real core: samples, runs, plans and votes are those of `cluster`.

Only what the world does is played here: reports lost on their way, one by one, as `observation`
and `votes` assume (late relays, one channel per voter). The counting is `apply` on a real state,
the verdict `evaluate_roles`, `judge` and the votes applied. Chance comes from the caller: `draw`
returns uniform numbers in [0, 1).
"""

import math
from collections.abc import Callable, Iterator, Sequence

import msgspec

from stationkeep.cluster.apply import Applied, Done, apply
from stationkeep.cluster.commands import (
    AdoptPlan,
    CastVote,
    Command,
    Draft,
    Echo,
    Entry,
    FoundCluster,
    Measured,
    MemberSpec,
    Observation,
    RecordEvaluation,
)
from stationkeep.cluster.odds.forecast import Model, terms, watch
from stationkeep.cluster.odds.loss import BAD, GOOD, Loss
from stationkeep.cluster.odds.votes import Ballot
from stationkeep.cluster.roles.evaluate import Plan, evaluate_roles
from stationkeep.cluster.roles.proposals import judge
from stationkeep.cluster.settings import LEASE_DRIFT_PPM, PPM, Settings
from stationkeep.cluster.state import codec
from stationkeep.cluster.state.state import ClusterState
from stationkeep.cluster.transitions import Role, Rule

Draw = Callable[[], float]
HEALTHY_PPM = 100_000
CONFIDENCE = 0.999
HALF_WIDTH = 3.290526731491896
"""Of an interval of that confidence, in standard errors."""


class Estimate(msgspec.Struct, frozen=True):
    """A mean with its 99.9 % confidence interval, of so many cases; s."""

    mean: float
    low: float
    high: float
    cases: int

    def covers(self, value: float) -> bool:
        """Whether the interval contains a value."""
        return self.low <= value <= self.high


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and normal interval of at least two independent values."""
    n = len(values)
    mean = sum(values) / n
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1))
    half = HALF_WIDTH * deviation / math.sqrt(n)
    return Estimate(mean, mean - half, mean + half, n)


class Channel:
    """One channel, looked at from time to time."""

    def __init__(self, loss: Loss, draw: Draw) -> None:
        self._loss, self._draw = loss, draw
        self._chances: dict[float, tuple[float, float]] = {}  # seconds → chance of BAD, by state
        self.state = GOOD
        self.restart()

    def restart(self) -> None:
        """As in the long run, whatever was before."""
        self.state = BAD if self._draw() < self._loss.rate else GOOD

    def good_after(self, seconds: float) -> bool:
        """Lets time pass; whether a message gets through then."""
        if seconds not in self._chances:
            step = self._loss.transition(seconds)
            self._chances[seconds] = float(step[GOOD, BAD]), float(step[BAD, BAD])
        self.state = BAD if self._draw() < self._chances[seconds][self.state] else GOOD
        return self.state == GOOD


class Air:
    """What carries X's reports to the leader, slot by slot."""

    def __init__(self, loss: Loss, draw: Draw, relays: int, spacing: float) -> None:
        self._direct = Channel(loss, draw)
        self._relays = [(Channel(loss, draw), Channel(loss, draw)) for _ in range(relays)]
        self._spacing = spacing

    def restart(self) -> None:
        """All channels as in the long run."""
        for channel in (self._direct, *(c for pair in self._relays for c in pair)):
            channel.restart()

    def heard(self, reports: int, sent: int) -> bool:
        """One window; whether any of the first `sent` of `reports` reports came to the leader."""
        known = [False] * len(self._relays)
        got = False
        for slot in range(reports):
            speaks = slot < sent
            arrived = self._direct.good_after(self._spacing)
            got = got or (arrived and speaks)
            for i, (inbound, outbound) in enumerate(self._relays):
                told = outbound.good_after(self._spacing)
                got = got or (told and known[i])
                reached = inbound.good_after(self._spacing)
                known[i] = known[i] or (reached and speaks)
        return got


class Core:
    """A settled cluster's replicated state, and a leader who records what it is told."""

    def __init__(self, settings: Settings, nodes: int) -> None:
        self.settings = settings
        self.names = tuple(f"sat-{n:03d}" for n in range(1, nodes + 1))
        self.state = ClusterState()
        self._seq = self._index = 0
        specs = tuple(MemberSpec(name, f"{name}:1", f"{name}:2") for name in self.names)
        self.commit(FoundCluster("odds", specs, settings, 1, "0", "0" * 16))
        for number, name in enumerate(self.names):
            roles = {0: Role.PRIMARY, 1: Role.BACKUP}
            self.state.members[name].role = roles.get(number, Role.STANDBY)
        self.state.seat.holder, self.state.seat.active = self.names[0], True
        for _ in range(settings.history_length):
            self.evaluate(self.names[0], heard=True)
        self._settled = codec.encode_snapshot(self.state)

    def restart(self) -> None:
        """Back to the settled cluster."""
        self.state = codec.decode_snapshot(self._settled)

    def commit(self, command: Command, at: int | None = None) -> Applied:
        """One entry, applied."""
        self._index += 1
        at = self.state.time if at is None else at
        return apply(self.state, Entry(at, 0, Draft(command)), self._index)  # type: ignore[arg-type]

    def evaluate(self, subject: str, *, heard: bool) -> Plan:
        """The next evaluation: everybody is healthy, and `subject` heard or missed."""
        at = self.state.time + self.settings.evaluation_interval
        audible = [name for name in self.names if heard or name != subject]
        samples = tuple(
            Measured(name, int(name in audible), HEALTHY_PPM if name in audible else 0)
            for name in self.names
        )
        self._seq += 1
        echoes = tuple(Echo(name, 1, self._seq, at - 1) for name in audible)  # heard before it
        applied = self.commit(RecordEvaluation(self.state.evaluations, samples, echoes), at)
        assert isinstance(applied.outcome, Done), applied.outcome
        return evaluate_roles(self.state, self.state.time)


def _wants(plan: Plan, rule: Rule, subject: str) -> bool:
    return any(
        motion.rule is rule and any(change.node == subject for change in motion.changes)
        for motion in plan.motions
    )


def false_alarms(
    settings: Settings, loss: Loss, nodes: int, model: Model, *, rule: Rule, draw: Draw
) -> Iterator[float]:
    """Endless: s from a healthy cluster to a motion by `rule` against a healthy node, which
    the core itself makes. PRIMARY_FAILED: the PRIMARY; ISOLATE: a STANDBY or BACKUP."""
    seen = watch(settings, loss, nodes, model)
    air = Air(loss, draw, seen.relays, seen.spacing)
    core = Core(settings, nodes)
    subject = core.names[0] if rule is Rule.PRIMARY_FAILED else core.names[-1]
    while True:
        core.restart()
        air.restart()
        while not air.heard(seen.reports, seen.reports):
            air.restart()
        samples, plan = 0, Plan()
        while not _wants(plan, rule, subject):
            plan = core.evaluate(subject, heard=air.heard(seen.reports, seen.reports))
            samples += 1
        yield samples * settings.evaluation_interval / 1_000


def failures(
    settings: Settings, loss: Loss, nodes: int, model: Model, *, draw: Draw
) -> Iterator[tuple[float, float]]:
    """Endless: s from a PRIMARY's death to the motion that replaces it, and to an active
    successor, with votes judged and counted by the core."""
    seen = watch(settings, loss, nodes, model)
    vote = terms(settings, nodes, seen)
    air = Air(loss, draw, seen.relays, seen.spacing)
    voters = [_Voter(loss, vote, draw) for _ in range(nodes - 1)]
    core = Core(settings, nodes)
    victim = core.names[0]
    interval = settings.evaluation_interval / 1_000
    lease = settings.primary_lease * (PPM + LEASE_DRIFT_PPM) / PPM / 1_000 + seen.spacing
    while True:
        plan = _live(core, air, seen.reports, settings.failures_to_fail_primary)
        alive_for = draw() * interval
        phase = draw() * seen.spacing
        sent = sum(phase + j * seen.spacing < alive_for for j in range(seen.reports))
        noticed, reports = -alive_for, sent
        while not _wants(plan, Rule.PRIMARY_FAILED, victim):
            plan = core.evaluate(victim, heard=air.heard(seen.reports, reports))
            noticed, reports = noticed + interval, 0
        yield noticed, max(lease, noticed + _approval(core, plan, voters, vote))


def _live(core: Core, air: Air, reports: int, failures: int) -> Plan:
    """A healthy life long enough to forget its beginning; lives that end in a false failover
    are not those we ask about."""
    victim = core.names[0]
    while True:
        core.restart()
        air.restart()
        plans = [core.evaluate(victim, heard=air.heard(reports, reports)) for _ in range(failures)]
        if not any(_wants(plan, Rule.PRIMARY_FAILED, victim) for plan in plans):
            return plans[-1]


class _Voter:
    """A survivor's channel: what it hears of the candidate, and its tries to vote."""

    def __init__(self, loss: Loss, terms: Ballot, draw: Draw) -> None:
        self._channel, self._terms, self._draw = Channel(loss, draw), terms, draw
        self._answer = 1.0 if loss.burst is not None else 1 - loss.rate
        self.heard = False

    def begin(self) -> None:
        """The evaluation before the first attempt."""
        self._channel.restart()
        self._follow(self._hearing(0.0))

    def attempt(self) -> list[float]:
        """Seconds of the tries that get through; leaves the voter at the next attempt."""
        last = (self._terms.period - 1) * self._terms.interval
        return self._follow(sorted([(at, True) for at in self._terms.tries] + self._hearing(last)))

    def _hearing(self, since: float) -> list[tuple[float, bool]]:
        reports = range(1, self._terms.reports + 1)
        return [(since + self._terms.spacing * j, False) for j in reports]

    def _follow(self, events: list[tuple[float, bool]]) -> list[float]:
        self.heard = False
        through, now = [], 0.0
        for at, is_try in events:
            good, now = self._channel.good_after(at - now), at
            if not is_try:
                self.heard = self.heard or good
            elif good and self._draw() < self._answer:
                through.append(at)
        return through


def _approval(core: Core, plan: Plan, voters: list[_Voter], terms: Ballot) -> float:
    """Seconds from the first motion to its approval, through as many attempts as it takes."""
    for voter in voters:
        voter.begin()
    waited = 0.0
    while True:
        settled = codec.encode_snapshot(core.state)
        tries = {
            name: (voter.heard, voter.attempt())
            for name, voter in zip(core.names[1:], voters, strict=True)
        }
        approved = _vote(core, plan, tries)
        if approved is not None:
            return waited + approved
        core.state = codec.decode_snapshot(settled)
        waited += terms.period * terms.interval


def _vote(core: Core, plan: Plan, tries: dict[str, tuple[bool, list[float]]]) -> float | None:
    """Puts the motions to the core's vote; s until the successor is chosen, None if it is not."""
    adopted = core.commit(AdoptPlan(core.state.revision, plan.motions, plan.held))
    assert isinstance(adopted.outcome, Done), adopted.outcome
    proposal = next(p for p in core.state.proposals.values() if p.rule is Rule.PRIMARY_FAILED)
    promoted = next(c.node for c in proposal.changes if c.target is Role.PRIMARY)
    opened = core.state.time
    cast = sorted((times[0], name) for name, (_, times) in tries.items() if times)
    for at, name in cast:
        reports = int(tries[name][0])
        views = {promoted: Observation(promoted, reports, HEALTHY_PPM)}
        verdict: CastVote = judge(core.state, proposal, name, views)
        if not verdict.approve and proposal.id in core.state.proposals:
            continue  # denials end a proposal sooner; that is not counted as a gain
        core.commit(verdict, opened + round(at * 1_000))
        if core.state.seat.holder == promoted:
            return at
    return None
