"""The stages of a rollout as JSON: how far each has come, and how its gates stand.

Nothing here walks the devices of a stage: figures are tallies, and gates are as the newest check
(`rollout_check`) found them. So a stage of a million devices costs what one of ten costs.
"""

from collections.abc import Callable, Iterator
from itertools import islice

from stationkeep.cluster.deployments.deployment import FailureGroup
from stationkeep.cluster.deployments.lifecycle import STATES
from stationkeep.cluster.devices.rings import RINGS, Ring
from stationkeep.cluster.devices.selector import LIVE_KEYS, matches, parse
from stationkeep.cluster.devices.table import Kind
from stationkeep.cluster.progression.explain import (
    Held,
    ends_at,
    holds_of,
    say_holds,
    say_when,
)
from stationkeep.cluster.progression.sentences import say_gate
from stationkeep.cluster.progression.steps import gate_facts
from stationkeep.cluster.rollouts.gates import MILLI, Gate, Judgement
from stationkeep.cluster.rollouts.lifecycle import GOING, StageState
from stationkeep.cluster.rollouts.plan import FOLLOW
from stationkeep.cluster.rollouts.rollout import Rollout, Stage
from stationkeep.cluster.rollouts.twins import MAX_NAMED
from stationkeep.cluster.settings import PPM
from stationkeep.cluster.state.decisions import Decision
from stationkeep.cluster.state.state import ClusterState
from stationkeep.node.system.zones import opening
from stationkeep.node.views.base import View
from stationkeep.node.views.deployments import FailureView


class ExitView(View, frozen=True):
    """What something becomes by itself, and in how many seconds; null: nobody can say, as it is
    held, or waits for tasks to be over."""

    becomes: str
    reason: str
    in_s: float | None


class HoldView(View, frozen=True):
    """One thing on account of which nothing begins at present: for how many seconds at most
    (`until_s`), null: nobody can say. `when`: what ends it, as the words after "when"."""

    reason: str
    until_s: float | None
    sentence: str
    when: str


class HeldView(View, frozen=True):
    """Everything on account of which nothing begins at present. `reason`: that of the first of
    `holds`; `until_s`: seconds until all of them are over, null: nobody can say; `when`: what has
    to happen for that, "" where it is over by itself; `sentence`: all of them in words."""

    reason: str
    until_s: float | None
    sentence: str
    when: str
    holds: list[HoldView]


class GateView(View, frozen=True):
    """A gate beside its limit, as the newest check found it. `value`, `limit`: 0..1, of the devices
    that failed, were reached, or turned bad; `evidence`, and how much of it would be proof
    (`needed`): of approvals their number. `verdict` null: not judged yet."""

    name: str
    value: float | None
    limit: float | None
    evidence: float | None
    needed: float | None
    verdict: str | None
    cause: str | None
    sentence: str


class TwinsView(View, frozen=True):
    """Devices that were updated and are watched, how many of them turned bad, were watched for a
    whole soak and were compared with twins; and those twins."""

    updated: int
    bad: int
    whole: int
    compared: int
    twins: int
    bad_twins: int


class BadDeviceView(View, frozen=True):
    """A device that turned bad, and where it stands now; null: it was removed."""

    device: str
    ring: Ring | None


class StageView(View, frozen=True):
    """A stage of a rollout in a list. `share`: 0..1 of the devices of its ring, or of all;
    `since_s` null: it has not begun; `tallies`: tasks by state, of all its rounds; `proven`: the
    gate that was proven broken."""

    name: str
    ring: Ring | None
    share: float
    state: str
    reason: str
    since_s: float | None
    exit: ExitView | None
    held: HeldView | None
    deployment: int | None
    rounds: list[int]
    members: int
    tallies: dict[str, int]
    gates: list[GateView]
    twins: TwinsView | None
    proven: str | None
    promoted: bool


class StageDetailView(StageView, frozen=True):
    """The same with whom it is about: `turned_bad`, the first of them; groups of equal `failures`;
    `looks`: at updated devices and their twins, as (twins, bad, updated among the bad, how often);
    `series`: [cluster ms, evidence of harm] wherever that changed."""

    turned_bad: list[BadDeviceView]
    failures: list[FailureView]
    looks: list[tuple[int, int, int, int]]
    series: list[tuple[int, float]]


Complaint = Callable[[str, str], str]
"""Why the webhook of a stage (rollout, stage) has not answered yet: `Answering.gate_complaint`."""


def no_complaint(_rollout: str, _stage: str) -> str:
    """Of whoever asks no webhook."""
    return ""


def stage_view(
    state: ClusterState, rollout: Rollout, place: int, now: int, complaint: Complaint = no_complaint
) -> StageView:
    """A stage at cluster time `now`."""
    stage = rollout.stages[place]
    why = complaint(rollout.name, stage.name) if stage.state is StageState.VALIDATING else ""
    tallies, held = tallied(state, stage), held_of(state, rollout, place, now)
    return StageView(
        name=stage.name,
        ring=stage.plan.ring,
        share=stage.plan.share / PPM,
        state=stage.state,
        reason=f"waiting: {why}" if why else stage.reason,
        since_s=_seconds(now - stage.since) if stage.since else None,
        exit=_exit(state, rollout, stage, now, held),
        held=held,
        deployment=stage.deployment or None,
        rounds=list(stage.rounds),
        members=sum(tallies.values()),
        tallies=tallies,
        gates=list(_gates(rollout, stage, why)),
        twins=_twins(state, rollout, stage),
        proven=stage.proven or None,
        promoted=stage.promoted,
    )


def stage_detail_view(
    state: ClusterState,
    rollout: Rollout,
    place: int,
    now: int,
    *,
    verdict: Decision | None,
    complaint: Complaint = no_complaint,
) -> StageDetailView:
    """The same with whom it is about. `verdict`: the decision that ended it, if it is over and that
    is remembered."""
    stage, known = rollout.stages[place], state.deployments.known
    deployment = known.get(stage.deployment)
    twins = state.rollouts.twins.get((rollout.name, stage.name))
    if twins is None:
        looks, series = list(stage.looks), stage.series
    else:
        looks, series = [(*look, n) for look, n in sorted(twins.table.items())], twins.series
    shown = stage_view(state, rollout, place, now, complaint)
    return StageDetailView(
        **{field: getattr(shown, field) for field in StageView.__struct_fields__},
        turned_bad=list(_turned_bad(state, rollout, stage, verdict)),
        failures=[_failure(group) for group in (deployment.failures if deployment else [])],
        looks=looks,
        series=[(at, evidence / MILLI) for at, evidence in series],
    )


def tallied(state: ClusterState, stage: Stage) -> dict[str, int]:
    """Tasks of a stage by state, of all its rounds."""
    tallies = stage.tallies
    if stage.is_judged:
        now = state.deployments.known[stage.deployment].tallies
        tallies = tuple(before + added for before, added in zip(tallies, now, strict=True))
    return {each.value: count for each, count in zip(STATES, tallies, strict=True)}


# What it waits for


def held_of(state: ClusterState, rollout: Rollout, place: int, now: int) -> HeldView | None:
    """What holds a stage. Freezes, other rollouts and windows hold back what begins; pauses also
    what is judged."""
    stage = rollout.stages[place]
    begins = stage.state is StageState.DEPLOYING or place == rollout.next_stage
    watched = stage.state in (StageState.SOAKING, StageState.VALIDATING)
    if rollout.state not in GOING or not (begins or watched):
        return None
    holds = holds_of(state, rollout, stage)
    if stage.state is StageState.DEPLOYING or (holds and begins):
        holds += _closed(state, rollout, now)
    return held_view(holds, now)


def _closed(state: ClusterState, rollout: Rollout, now: int) -> list[Held]:
    """The window of a rollout, while it is closed for every kind of device that it may be about, by
    the clock that the leader has written into the log."""
    ahead = state.wall - state.time
    wall, zones = now + ahead, set()
    if rollout.plan.hours:
        terms = [term for term in parse(rollout.plan.scope) if term.key not in LIVE_KEYS]
        kinds = _kinds(state, rollout)
        zones = {rollout.plan.zone_of(k) for k in kinds if matches(terms, k.value_of)}
    opens = opening(rollout.plan.hours, zones, wall) if zones else wall
    if opens is not None and opens <= wall:
        return []
    sentence = f"its window is closed: {rollout.plan.hours_in_words}"
    until = None if opens is None else opens - ahead
    return [Held("window_closed", sentence, "its window opens", until)]


def _kinds(state: ClusterState, rollout: Rollout) -> Iterator[Kind]:
    """The kinds of devices, or of those alone that a plan names."""
    table = state.fleet.table
    if not rollout.plan.devices:
        yield from (kind for kind in table.kinds.all if kind is not None)
        return
    rows = [table.rows[device] for device in rollout.plan.devices if device in table.rows]
    yield from (table.kinds[number] for number in set(table.kind[rows].tolist()))


def held_view(holds: list[Held], now: int) -> HeldView | None:
    """Everything that holds one thing; None: nothing does."""
    if not holds:
        return None
    end, when = ends_at(holds), say_when(holds)
    return HeldView(
        holds[0].reason,
        None if when or end is None else _seconds(end - now),
        say_holds(holds),
        when,
        [HoldView(h.reason, _until(h, now), h.says, h.when) for h in holds],
    )


def _until(hold: Held, now: int) -> float | None:
    return None if hold.until is None else _seconds(hold.until - now)


def _exit(
    state: ClusterState, rollout: Rollout, stage: Stage, now: int, held: HeldView | None
) -> ExitView | None:
    at: int | None
    match stage.state:
        case StageState.PENDING if stage.name == FOLLOW:
            becomes, reason, at = "passed", "followed", rollout.follows_until
        case StageState.DEPLOYING:
            becomes, reason = "soaking", "deadline"
            at = state.deployments.known[stage.deployment].deadline
        case StageState.SOAKING:
            becomes, reason, at = "judged", "soak", stage.deadline
        case StageState.VALIDATING:
            becomes, reason, at = "inconclusive", "unanswered", stage.deadline
        case _:
            return None
    return ExitView(becomes, reason, _seconds(at - now) if at is not None and not held else None)


# How it is judged


def _gates(rollout: Rollout, stage: Stage, why: str) -> Iterator[GateView]:
    judged = {judgement.gate: judgement for judgement in stage.judged}
    asked = list(Gate) if stage.checks.health else [Gate.FAILURES, Gate.COVERAGE]
    for gate in asked:
        yield _judged(judged[gate]) if gate in judged else _unjudged(stage, gate)
    if stage.checks.webhook:
        yield _webhook(stage, why)
    if stage.checks.approvals:
        yield _approval(rollout, stage)


def _judged(judgement: Judgement) -> GateView:
    return GateView(
        name=judgement.gate,
        value=_ratio(judgement.value),
        limit=_ratio(judgement.limit),
        evidence=_evidence(judgement.evidence),
        needed=_evidence(judgement.needed),
        verdict=judgement.verdict,
        cause=judgement.cause,
        sentence=say_gate(gate_facts(judgement)),
    )


def _unjudged(stage: Stage, gate: Gate) -> GateView:
    gates = stage.checks.gates
    limits = {
        Gate.FAILURES: gates.max_failures,
        Gate.COVERAGE: gates.min_coverage,
        Gate.HEALTH: gates.max_bad,
    }
    needed = None if gate is Gate.COVERAGE else gates.needed / MILLI
    sentence = say_gate({"gate": gate, "limit": limits[gate], "cause": ""})
    return GateView(gate, None, limits[gate] / PPM, None, needed, None, None, sentence)


def _webhook(stage: Stage, why: str) -> GateView:
    answer, url = stage.answer, stage.checks.webhook
    if answer is None:
        verdict = None
        said = f"webhook: {url} {why.removeprefix('webhook ') or 'has not answered'}"
    else:
        verdict = "passed" if answer.passed else "failed"
        said = f"webhook: {url} says {'pass' if answer.passed else 'fail'}"
        said += f": {answer.detail}" if answer.detail else ""
    return GateView("webhook", None, None, None, None, verdict, None, said)


def _approval(rollout: Rollout, stage: Stage) -> GateView:
    needed = stage.checks.approvals
    granted = sum(approval.stage == stage.name for approval in rollout.approvals)
    verdict = "passed" if granted >= needed else None
    said = f"approval: {granted} of {needed} are granted"
    return GateView("approval", None, None, granted, needed, verdict, None, said)


def _ratio(ppm: int | None) -> float | None:
    return None if ppm is None else ppm / PPM


def _evidence(thousandths: int | None) -> float | None:
    return None if thousandths is None else thousandths / MILLI


# Who was watched


def _twins(state: ClusterState, rollout: Rollout, stage: Stage) -> TwinsView | None:
    if not stage.checks.health or stage.state is StageState.PENDING:
        return None
    twins = state.rollouts.twins.get((rollout.name, stage.name))
    watched = stage.watched if twins is None else twins.watched
    looks = stage.looks if twins is None else [(*look, n) for look, n in twins.table.items()]
    return TwinsView(
        updated=watched.observed,
        bad=watched.bad,
        whole=watched.whole,
        compared=watched.compared,
        twins=watched.twins,
        bad_twins=sum((bad - updated) * count for _, bad, updated, count in looks),
    )


def _turned_bad(
    state: ClusterState, rollout: Rollout, stage: Stage, verdict: Decision | None
) -> Iterator[BadDeviceView]:
    """The first devices that turned bad: a demoted one counts wherever it stands by now."""
    fleet = state.fleet
    twins = state.rollouts.twins.get((rollout.name, stage.name))
    if twins is None:
        for device, _ in verdict.facts.get("turned_bad", []) if verdict is not None else []:
            row = fleet.row(device)
            yield BadDeviceView(device, None if row is None else RINGS[fleet.table.ring[row]])
        return
    roster = state.deployments.rosters[stage.deployment]
    for position in islice(twins.turned(), MAX_NAMED):
        row = int(roster.row[position])
        if fleet.table.birth[row] == roster.birth[position]:
            yield BadDeviceView(fleet.id(row), RINGS[fleet.table.ring[row]])


def _failure(group: FailureGroup) -> FailureView:
    return FailureView(group.reason, group.text, group.count, group.device)


def _seconds(milliseconds: int) -> float:
    return max(0, milliseconds) / 1_000
