"""A second, dumb implementation of the counting in roles.md, to compare `cluster` with.

Written from the words of "Failure modes" and "What the leader does at each evaluation", over the
whole series of samples at once: no state is carried from one evaluation to the next, nothing is
shared with `cluster`. Clarity is its only virtue.
"""

from collections.abc import Sequence

UNHEALTHY_ABOVE = 0.3
PROMOTABLE_BELOW = 0.2
PROMOTION_HOLD = 90
EVALUATION_INTERVAL = 30
WINDOW = 10

Risk = float | None
"""None: missed."""


def unhealthy(risk: Risk) -> bool:
    """Risk above 0.3, or missed."""
    return risk is None or risk > UNHEALTHY_ABOVE


def run(samples: Sequence[Risk]) -> int:
    """Unhealthy samples in a row, up to the newest."""
    count = 0
    for risk in reversed(samples):
        if not unhealthy(risk):
            break
        count += 1
    return count


def failure_mode(samples: Sequence[Risk]) -> str:
    """HEALTHY: none unhealthy in the window; then by the current run."""
    length = run(samples)
    if length >= 4:
        return "CRITICAL"
    if length == 3:
        return "DEGRADED"
    return "INTERMITTENT" if any(unhealthy(risk) for risk in samples[-WINDOW:]) else "HEALTHY"


def blocked_runs(samples: Sequence[Risk], trigger: int) -> int:
    """Runs that ended before reaching the trigger."""
    blocked = length = 0
    for risk in samples:
        if unhealthy(risk):
            length += 1
        else:
            blocked += 0 < length < trigger
            length = 0
    return blocked


def recovered(samples: Sequence[Risk]) -> bool:
    """All samples below 0.2 for at least 90 s up to the newest."""
    good = 0
    for risk in reversed(samples):
        if risk is None or risk >= PROMOTABLE_BELOW:
            break
        good += 1
    return good > 0 and (good - 1) * EVALUATION_INTERVAL >= PROMOTION_HOLD


def braked(table: Sequence[Sequence[Risk]]) -> bool:
    """Whether the brake is on after these evaluations: each a row with one sample a node.

    On when more than half have just turned unhealthy, off when no more than half are unhealthy.
    """
    on = False
    for number in range(1, len(table) + 1):
        columns = [list(column) for column in zip(*table[:number], strict=True)]
        turned = sum(run(column) == 1 for column in columns)
        sick = sum(run(column) > 0 for column in columns)
        if turned * 2 > len(columns):
            on = True
        elif sick * 2 <= len(columns):
            on = False
    return on


def wanted(roles: str, table: Sequence[Sequence[Risk]]) -> set[tuple[int, str]]:
    """Who should be moved where, in a rested and settled cluster: (number of the node, role).

    `roles` as in `PBSX`; one PRIMARY, nobody in maintenance, all priorities equal. Only triggers
    1, 3 and 4; the successor of a failed PRIMARY is a BACKUP, else a STANDBY, without a run and
    below 0.25 now, the one with the lowest mean risk.
    """
    columns = [list(column) for column in zip(*table, strict=True)]
    moves: set[tuple[int, str]] = set()
    primary = roles.index("P")
    if run(columns[primary]) >= 3:
        moves |= _failover(roles, columns, primary)
    if not braked(table):
        for node, role in enumerate(roles):
            if node not in {moved for moved, _ in moves}:
                if role in "BS" and run(columns[node]) >= 2:
                    moves.add((node, "X"))
                elif role == "X" and recovered(columns[node]):
                    moves.add((node, "S"))
    return moves


def _failover(roles: str, columns: list[list[Risk]], primary: int) -> set[tuple[int, str]]:
    def fit(node: int) -> bool:
        newest = columns[node][-1]
        return newest is not None and not unhealthy(newest) and newest < 0.25

    def mean(node: int) -> float:
        window = [1.0 if risk is None else risk for risk in columns[node][-WINDOW:]]
        return sum(window) / len(window)

    for role in "BS":
        fit_ones = [n for n, r in enumerate(roles) if r == role and fit(n)]
        if fit_ones:
            return {(primary, "B"), (min(fit_ones, key=lambda n: (round(mean(n), 6), n)), "P")}
    return set()
