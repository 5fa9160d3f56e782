"""Whether clients can have seen one register that changes at single moments.

Wing & Gong's search (1993) with Lowe's memory of visited configurations: some order of the
operations must agree with real time (an operation that ended before another began comes first)
and with a register's behaviour. An operation whose outcome nobody learnt may have happened at any
moment since it began, or never.
"""

# ruff: noqa: N818  (exceptions say what is the case)

import math
from collections.abc import Sequence

import msgspec

MAX_CONFIGURATIONS = 20_000


class Undecided(Exception):
    """The search was given up; the history is too concurrent."""


class Operation(msgspec.Struct):
    """One call of a client. A write has its value before, a read when it returns."""

    number: int
    register: str
    write: bool
    value: int | None
    invoked: float
    returned: float = math.inf


def is_linearizable(operations: Sequence[Operation], initial: int | None) -> bool:
    """Whether a single register explains these operations. Raises `Undecided`."""
    history = sorted(_relevant(operations), key=lambda op: op.invoked)
    certain = sum(1 << i for i, op in enumerate(history) if op.returned < math.inf)
    seen: set[tuple[int, int | None]] = set()
    stack: list[tuple[int, int | None]] = [(0, initial)]
    while stack:
        done, value = stack.pop()
        if done & certain == certain:
            return True
        if (done, value) in seen:
            continue
        seen.add((done, value))
        if len(seen) > MAX_CONFIGURATIONS:
            raise Undecided
        stack.extend(_next(history, done, value))
    return False


def _relevant(operations: Sequence[Operation]) -> list[Operation]:
    """Without reads that never returned, and without writes of unknown outcome that nobody
    saw: such a write may as well have come after everything else."""
    seen = {op.value for op in operations if not op.write and op.returned < math.inf}
    return [op for op in operations if op.returned < math.inf or (op.write and op.value in seen)]


def _next(history: list[Operation], done: int, value: int | None) -> list[tuple[int, int | None]]:
    """Configurations after one more operation that may come next."""
    limit = math.inf
    after: list[tuple[int, int | None]] = []
    for i, op in enumerate(history):
        if done >> i & 1:
            continue
        if op.invoked > limit:
            break
        limit = min(limit, op.returned)
        if op.write:
            after.append((done | 1 << i, op.value))
        elif op.value == value:  # nothing is lost by letting it come first: it changes nothing
            return [(done | 1 << i, value)]
    return after
