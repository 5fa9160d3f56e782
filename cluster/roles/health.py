"""Health: risk, samples by median, histories and failure modes.

A sample is one evaluation's verdict on one node; a run is the number of unhealthy samples in a
row up to the newest. Only runs trigger anything: that is the hysteresis.
Source: roles.md, "Health and registry" and "Failure modes".
"""

import enum
from collections.abc import Sequence

from stationkeep.cluster.commands import Measured
from stationkeep.cluster.settings import PPM, Settings
from stationkeep.cluster.state.state import Member, Sample
from stationkeep.cluster.transitions import Role

DEGRADED_RUN = 3
MAX_RECURRENCE = 10_000
"""Thousandths: recurrence lies between 0 and 10."""


class FailureMode(enum.StrEnum):
    """How a node has been failing over its history window."""

    HEALTHY = "HEALTHY"
    INTERMITTENT = "INTERMITTENT"
    DEGRADED = "DEGRADED"
    CRITICAL = "CRITICAL"


def median(values: Sequence[int]) -> int:
    """Median of at least one integer; of an even number, the floored mean of the middle two."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) // 2


def is_unhealthy(sample: Sample, settings: Settings) -> bool:
    """Missed, or risk (ppm) above `unhealthy_above`."""
    return sample.missed or sample.risk > settings.unhealthy_above


def failure_mode(member: Member, settings: Settings) -> FailureMode:
    """The mode of the current history."""
    if member.run > DEGRADED_RUN:
        return FailureMode.CRITICAL
    if member.run == DEGRADED_RUN:
        return FailureMode.DEGRADED
    if any(is_unhealthy(sample, settings) for sample in member.history):
        return FailureMode.INTERMITTENT
    return FailureMode.HEALTHY


def trigger_length(role: Role, settings: Settings) -> int | None:
    """Unhealthy samples in a row that cost this role something; None where nothing is left."""
    if role is Role.PRIMARY:
        return settings.failures_to_fail_primary
    return None if role is Role.SAFE_MODE else settings.failures_to_safe_mode


def record_sample(member: Member, measured: Measured, at: int, settings: Settings) -> bool:
    """Appends a sample to the history; True when an unhealthy run ended before its trigger."""
    _note_ability(member, measured, at)
    risk, cause = max(0, min(measured.risk, PPM)), measured.cause
    if measured.reports <= 0:
        risk = PPM
    elif _fails_by_inability(member, at, settings):
        risk, cause = PPM, member.unable
    sample = Sample(at, risk, max(0, measured.reports), cause[:200])
    member.history.append(sample)
    del member.history[: -settings.history_length]
    member.recurrence = max(0, min(measured.recurrence, MAX_RECURRENCE))
    trigger = trigger_length(member.role, settings)
    blocked = trigger is not None and 0 < member.run < trigger
    if risk >= settings.promotable_below or member.unable:
        member.good_since = None
    elif member.good_since is None:
        member.good_since = at
    if is_unhealthy(sample, settings):
        member.run += 1
        member.run_since = at if member.run_since is None else member.run_since
        member.healthy_since = None
        return False
    member.run = 0
    member.run_since = None
    member.healthy_since = at if member.healthy_since is None else member.healthy_since
    return blocked


def _note_ability(member: Member, measured: Measured, at: int) -> None:
    """A sample without reports says nothing of it."""
    if measured.reports <= 0:
        return
    member.unable = measured.unable[:200]
    if not member.unable:
        member.unable_since = None
    elif member.unable_since is None:
        member.unable_since = at


def _fails_by_inability(member: Member, at: int, settings: Settings) -> bool:
    """A PRIMARY must be able to act; the others are no candidates meanwhile (`candidates`), and
    are isolated only when they have not been able for a whole hysteresis_window: one link that is
    dead for a while costs no node its role."""
    if member.unable_since is None:
        return False
    return member.role is Role.PRIMARY or at - member.unable_since >= settings.hysteresis_window


def mean_risk(member: Member) -> int:
    """Mean risk (ppm) over the history; 1.0 for a node without samples."""
    if not member.history:
        return PPM
    return sum(sample.risk for sample in member.history) // len(member.history)


def has_recovered(member: Member, now: int, settings: Settings) -> bool:
    """All samples below `promotable_below` for at least `promotion_hold`."""
    return member.good_since is not None and now - member.good_since >= settings.promotion_hold
