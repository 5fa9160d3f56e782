"""Gates: what must hold before a stage has passed, and what ends it at once.

One rule for all of them. FAILED needs proof, evidence that holds however often one looks. PASSED
needs the figure within its limit, and enough seen. Everything else is INCONCLUSIVE, and for people
to decide. Source: gates.md, "Verdicts".
"""

import enum
from collections.abc import Iterator
from decimal import ROUND_FLOOR, Decimal

import msgspec

from stationkeep.cluster.rollouts import evidence
from stationkeep.cluster.rollouts.evidence import EXACT, Table
from stationkeep.cluster.settings import PPM

MILLI = 1_000
"""Evidence in judgements is in thousandths, rounded down."""
SUSPICIOUS = 5 * MILLI
"""With this much evidence of harm no stage passes."""
CONFIDENCE = 800_000, 999_999
"""Below, what is suspicious would be proof already."""
MARGIN = PPM + 1, 64 * PPM
"""Beyond, no interval has an end."""
MAX_MIN_DEVICES = 1_000_000


class Verdict(enum.StrEnum):
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    PASSED = "passed"


class Gate(enum.StrEnum):
    FAILURES = "failures"
    COVERAGE = "coverage"
    HEALTH = "health"


class Cause(enum.StrEnum):
    """Why a verdict is what it is."""

    PROVEN = "proven"  # evidence as needed: FAILED
    # INCONCLUSIVE
    ABOVE_LIMIT = "above_limit"  # without proof
    BELOW_LIMIT = "below_limit"  # too few were reached
    TOO_FEW_OBSERVED = "too_few_observed"
    SUSPICIOUS = "suspicious"  # evidence of harm, and no proof
    MARGIN_OPEN = "margin_open"  # it may be worse than the margin allows
    # PASSED
    WITHIN_LIMIT = "within_limit"
    NOT_COMPARED = "not_compared"  # within the limit, and no twins were left to compare with
    NOTHING_TO_DO = "nothing_to_do"  # every member had the version, or was canceled


class Gates(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Limits of a stage; ratios in ppm."""

    max_failures: int = 50_000
    """Of the finished that may have failed."""
    min_coverage: int = 500_000
    """Of the members that must be finished or have had the version."""
    confidence: int = 950_000
    """Proof is evidence of 1 / (1 - confidence): so seldom is a version stopped that does no
    harm, by each gate of each stage."""
    max_bad: int = 200_000
    """Of the observed that may have turned bad."""
    min_devices: int = 1
    """That must have been observed for a whole soak."""
    margin: int | None = None
    """If given, the hazard of updated devices must be proven to be less than so many times that
    of their twins."""

    @property
    def needed(self) -> int:
        """Evidence that is proof, in thousandths."""
        return -(-MILLI * PPM // (PPM - self.confidence))


class Tally(msgspec.Struct, frozen=True, array_like=True):
    """Every member of a stage, once."""

    already: int = 0
    """Reported the version when the stage opened."""
    canceled: int = 0
    succeeded: int = 0
    failed: int = 0
    """For good: failed, rejected, timed out or reverted."""
    begun: int = 0
    """Accepted by the device, and not over: installing, or waiting for another attempt."""
    waiting: int = 0
    """Not begun yet."""
    unreached: int = 0

    @property
    def finished(self) -> int:
        return self.succeeded + self.failed

    @property
    def members(self) -> int:
        return self.finished + self.begun + self.waiting + self.unreached + self.skipped

    @property
    def skipped(self) -> int:
        return self.already + self.canceled


class Watched(msgspec.Struct, frozen=True, array_like=True):
    """Updated devices that were well before, and have been looked at since they settled."""

    observed: int = 0
    bad: int = 0
    """Of these, turned bad."""
    whole: int = 0
    """Of these, looked at until their soak was over or they turned bad."""
    compared: int = 0
    """Of these, had twins."""
    twins: int = 0
    """That sets were given, looked at or not."""


class Observed(msgspec.Struct, frozen=True, array_like=True):
    """What was seen of the devices that got one variant."""

    observed: int = 0
    bad: int = 0
    """Of these, turned bad."""
    looks: tuple[tuple[int, int, int, int], ...] = ()
    """The table of their looks: (twins, bad, updated, count)."""


class Judgement(msgspec.Struct, frozen=True, array_like=True):
    """A verdict with what it rests on."""

    gate: Gate
    verdict: Verdict
    cause: Cause
    value: int | None
    """ppm: the share that failed, was reached, or turned bad, rounded to the side of the limit
    that it is on; None of nobody."""
    limit: int
    """ppm: the value's."""
    evidence: int | None = None
    """In thousandths; None where a gate weighs none."""
    needed: int | None = None
    """Evidence that would have been proof, in thousandths."""


def failures(tally: Tally, gates: Gates) -> Judgement:
    """Whether too many installations fail. Devices that have begun count as if they would succeed:
    a failure is often known sooner than a success, and evidence from those alone that are finished
    would stop versions that do no harm."""
    others = tally.succeeded + tally.begun
    found = _thousandths(evidence.failing(tally.failed, others, gates.max_failures))
    value = _share(tally.failed, tally.finished)
    if found >= gates.needed:
        verdict, cause = Verdict.FAILED, Cause.PROVEN
    elif value is None or value <= gates.max_failures:
        verdict, cause = Verdict.PASSED, Cause.WITHIN_LIMIT
    else:
        verdict, cause = Verdict.INCONCLUSIVE, Cause.ABOVE_LIMIT
    return Judgement(Gate.FAILURES, verdict, cause, value, gates.max_failures, found, gates.needed)


def coverage(tally: Tally, gates: Gates) -> Judgement:
    """Whether enough devices have been reached. Nothing is proven by their absence."""
    due = tally.members - tally.canceled
    value = (tally.finished + tally.already) * PPM // due if due else None
    if value is None or value >= gates.min_coverage:
        verdict, cause = Verdict.PASSED, Cause.WITHIN_LIMIT
    else:
        verdict, cause = Verdict.INCONCLUSIVE, Cause.BELOW_LIMIT
    return Judgement(Gate.COVERAGE, verdict, cause, value, gates.min_coverage)


def health(tally: Tally, watched: Watched, table: Table, gates: Gates) -> Judgement:
    """Whether updated devices turn bad more often than their twins."""
    found = _thousandths(evidence.harm(table))
    value = _share(watched.bad, watched.observed)
    if found >= gates.needed:
        verdict, cause = Verdict.FAILED, Cause.PROVEN
    elif tally.members == tally.skipped:
        verdict, cause = Verdict.PASSED, Cause.NOTHING_TO_DO
    elif watched.whole < gates.min_devices:
        verdict, cause = Verdict.INCONCLUSIVE, Cause.TOO_FEW_OBSERVED
    elif value is not None and value > gates.max_bad:
        verdict, cause = Verdict.INCONCLUSIVE, Cause.ABOVE_LIMIT
    elif found >= SUSPICIOUS:
        verdict, cause = Verdict.INCONCLUSIVE, Cause.SUSPICIOUS
    elif gates.margin is not None and not _is_within(gates.margin, table, gates.confidence):
        verdict, cause = Verdict.INCONCLUSIVE, Cause.MARGIN_OPEN
    else:
        verdict = Verdict.PASSED
        cause = Cause.WITHIN_LIMIT if watched.compared else Cause.NOT_COMPARED
    return Judgement(Gate.HEALTH, verdict, cause, value, gates.max_bad, found, gates.needed)


def _is_within(margin: int, table: Table, confidence: int) -> bool:
    high = evidence.hazard(table, confidence).high
    return high is not None and EXACT.multiply(high, PPM) <= margin


def _thousandths(found: Decimal) -> int:
    return int(EXACT.multiply(found, MILLI).to_integral_value(ROUND_FLOOR))


def _share(part: int, whole: int) -> int | None:
    """ppm, rounded up: what must not be above a limit."""
    return -(-part * PPM // whole) if whole else None


def gate_faults(gates: Gates) -> Iterator[str]:
    """What is wrong with the limits of a stage."""
    ranges = {
        "max_failures": (gates.max_failures, 0, PPM),
        "min_coverage": (gates.min_coverage, 0, PPM),
        "confidence": (gates.confidence, *CONFIDENCE),
        "max_bad": (gates.max_bad, 0, PPM),
        "min_devices": (gates.min_devices, 1, MAX_MIN_DEVICES),
        "margin": (gates.margin, *MARGIN),
    }
    for field, (value, low, high) in ranges.items():
        if value is not None and not low <= value <= high:
            yield f"gates.{field}: {value} is not between {low} and {high}"
