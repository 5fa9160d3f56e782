"""A settings set's promises under a loss model: everything `stationkeep plan` shows."""

import enum
import math
from collections.abc import Sequence

import msgspec

from stationkeep.cluster.odds.chain import RAREST, samples_until_run
from stationkeep.cluster.odds.failover import Detection, Failover, Spread, spread
from stationkeep.cluster.odds.loss import Loss, LossError
from stationkeep.cluster.odds.observation import Observation, links, uplink
from stationkeep.cluster.odds.silence import (
    ROUNDING,
    Lane,
    Way,
    datagrams,
    in_turn,
    side_by_side,
    stream,
)
from stationkeep.cluster.odds.tenure import elections, elections_behind_uplink, lapsed
from stationkeep.cluster.odds.votes import Ballot, ballot, delays
from stationkeep.cluster.roles.proposals import quorum
from stationkeep.cluster.settings import LEASE_DRIFT_PPM, PPM, Settings
from stationkeep.cluster.state.state import MAX_MEMBERS

FEWEST = 3
"""With two nodes no majority outlives the loss of one: nothing fails over."""
MOST_REPORTS = 200
"""Reports per evaluation that are counted; more of them only make a miss rarer."""


class Model(enum.StrEnum):
    """Who loses together."""

    LINKS = "links"
    UPLINK = "uplink"


class Outlook(msgspec.Struct, frozen=True):
    """One model's figures. Times in s; `math.inf`: rarer than doubles can say, or never.

    `miss`: probability of a missed sample. `false_failover`, `false_safe_mode`: expected time
    until a healthy PRIMARY, or one healthy BACKUP or STANDBY, reaches its trigger by losses.
    `lapsed`: s an hour without a PRIMARY that may act, `elections`: an hour; both at most.
    `detection` and `failover`: None on streams, for which they are not computed.
    """

    miss: float
    false_failover: float
    false_safe_mode: float
    lapsed: float
    elections: float
    detection: Spread | None
    failover: Spread | None


class Forecast(msgspec.Struct, frozen=True):
    """Figures for both models. `reports` are counted per evaluation, and `relays` peers beside
    the leader. `election`: s that a failover takes longer, at most, when the PRIMARY also led
    Raft: an election, and the cluster time since the last entry, which is lost with the leader."""

    settings: Settings
    loss: Loss
    nodes: int
    lane: Lane
    reports: int
    relays: int
    election: float
    outlooks: dict[str, Outlook]


def watch(settings: Settings, loss: Loss, nodes: int, model: Model) -> Observation:
    """How a node is observed under one model."""
    reports = min(MOST_REPORTS, settings.evaluation_interval // settings.report_interval)
    interval = settings.evaluation_interval / 1_000
    if model is Model.UPLINK:
        return uplink(loss, reports, interval)
    return links(loss, reports, interval, nodes)


def check(settings: Settings, loss: Loss, nodes: int, lane: Lane) -> None:
    """Raises `LossError` for a loss or a number of nodes that cannot be meant."""
    loss.check(settings.report_interval)
    if lane is Lane.STREAM and loss.burst is not None:
        raise LossError("burst", loss.burst, "streams are computed for independent losses only")
    if not FEWEST <= nodes <= MAX_MEMBERS:
        rule = f"{FEWEST} to {MAX_MEMBERS}: fewer cannot fail over when one is lost"
        raise LossError("nodes", nodes, rule)


def forecast(settings: Settings, loss: Loss, nodes: int, lane: Lane = Lane.DATAGRAM) -> Forecast:
    """All figures for a valid settings set."""
    check(settings, loss, nodes, lane)
    observations = {model: watch(settings, loss, nodes, model) for model in Model}
    if lane is Lane.STREAM:
        outlooks = {m.value: _on_streams(settings, loss, nodes, m) for m in Model}
    else:
        outlooks = {m.value: _outlook(settings, loss, nodes, m) for m in Model}
    return Forecast(
        settings=settings,
        loss=loss,
        nodes=nodes,
        lane=lane,
        reports=observations[Model.LINKS].reports,
        relays=observations[Model.LINKS].relays,
        election=(settings.election_timeout_max + settings.lease_renewal) / 1_000,
        outlooks=outlooks,
    )


def _outlook(settings: Settings, loss: Loss, nodes: int, model: Model) -> Outlook:
    seen = watch(settings, loss, nodes, model)
    detection, healed = healing(settings, loss, nodes, seen)
    report, beat = settings.report_interval / 1_000, settings.raft_heartbeat / 1_000

    def through_links(seconds: float) -> float:
        reports = math.floor(seconds / report + ROUNDING)
        return links(loss, min(MOST_REPORTS, reports), seconds, nodes).miss if reports else 1.0

    reported = through_links if model is Model.LINKS else datagrams(loss, report)
    told, answered = datagrams(loss, beat), datagrams(loss, beat, legs=2)
    return Outlook(
        miss=seen.miss,
        false_failover=false_alarm(settings, seen, settings.failures_to_fail_primary),
        false_safe_mode=false_alarm(settings, seen, settings.failures_to_safe_mode),
        lapsed=lapsed(settings, nodes, reported, told, answered),
        elections=_elections(settings, nodes, model, told, answered),
        detection=spread(detection),
        failover=spread(healed),
    )


def _on_streams(settings: Settings, loss: Loss, nodes: int, model: Model) -> Outlook:
    """What holds while only streams get through. A healthy node reaches its trigger at an
    evaluation when as many windows were silent, and not one more."""
    report, beat = settings.report_interval / 1_000, settings.raft_heartbeat / 1_000
    told, aside = stream(loss, min(report, beat)), stream(loss, report)
    reported = told
    if model is Model.LINKS:
        reported = side_by_side(told, *[in_turn(aside, told)] * (nodes - 2))
    answered = in_turn(told, told)
    interval = settings.evaluation_interval / 1_000

    def every(failures: int) -> float:
        begins = reported(failures * interval) - reported((failures + 1) * interval)
        return interval / begins if begins > RAREST else math.inf

    return Outlook(
        miss=reported(interval),
        false_failover=every(settings.failures_to_fail_primary),
        false_safe_mode=every(settings.failures_to_safe_mode),
        lapsed=lapsed(settings, nodes, reported, told, answered),
        elections=_elections(settings, nodes, model, told, answered),
        detection=None,
        failover=None,
    )


def _elections(settings: Settings, nodes: int, model: Model, told: Way, answered: Way) -> float:
    if model is Model.UPLINK:
        return elections_behind_uplink(settings, told)
    return elections(settings, nodes, told, answered)


def false_alarm(settings: Settings, seen: Observation, failures: int) -> float:
    """Expected s until a healthy node has this many missed samples in a row."""
    part = seen.part
    samples = samples_until_run(part.missed, part.heard, seen.start, failures)
    return samples * settings.evaluation_interval / 1_000


def healing(
    settings: Settings, loss: Loss, nodes: int, seen: Observation
) -> tuple[Detection, Failover]:
    """Distributions of detection and failover time of the PRIMARY."""
    detection = Detection(seen, settings.failures_to_fail_primary)
    lease = settings.primary_lease * (PPM + LEASE_DRIFT_PPM) / PPM / 1_000 + seen.spacing
    return detection, Failover(detection, delays(loss, terms(settings, nodes, seen)), lease)


def terms(settings: Settings, nodes: int, seen: Observation) -> Ballot:
    """The vote on a failed PRIMARY. It still counts among the electors while it has been heard
    of within `heartbeat_timeout`."""
    noticed = settings.failures_to_fail_primary * settings.evaluation_interval
    electors = nodes - 1 if settings.heartbeat_timeout <= noticed else nodes
    return ballot(
        electors=electors,
        voters=nodes - 1,
        quorum=quorum(electors),
        timeout=settings.proposal_timeout / 1_000,
        interval=settings.evaluation_interval / 1_000,
        reports=seen.reports,
    )


def curve(
    settings: Settings, burst: float | None, nodes: int, model: Model, rates: Sequence[float]
) -> list[float]:
    """Expected s between false failovers at each loss rate."""
    times = []
    for rate in rates:
        seen = watch(settings, Loss(rate, burst if rate > 0 else None), nodes, model)
        times.append(false_alarm(settings, seen, settings.failures_to_fail_primary))
    return times


def frequent(
    settings: Settings, loss: Loss, nodes: int, model: Model, *, failures: int, samples: float
) -> Loss:
    """The smallest loss, at least `loss`, at which alarms come every `samples` samples or more
    often: where counting them takes no patience. By bisection; the burst stays."""
    wanted = samples * settings.evaluation_interval / 1_000

    def often(rate: float) -> bool:
        seen = watch(settings, Loss(rate, loss.burst), nodes, model)
        return false_alarm(settings, seen, failures) <= wanted

    low, high = loss.rate, 0.999
    if often(low):
        return loss
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (low, middle) if often(middle) else (middle, high)
    return Loss(math.ceil(high * 1_000) / 1_000, loss.burst)
