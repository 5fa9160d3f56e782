"""Every hazard that a guard keeps off, and the weather in which it shows without the guard.

A harness that can no longer find an old bug is broken: for each hazard there is a plan whose runs
find it again when its guard alone is off, and find nothing with it on.
"""

from collections.abc import Iterator
from enum import StrEnum

import msgspec

from stationkeep.node.raft.engine.leader import FLYING_REQUESTS
from stationkeep.node.simulation.campaigns.campaign import Outcome, Plan, run, run_all


class Sign(StrEnum):
    """How it shows that a hazard struck."""

    VIOLATION = "violation"
    ELECTION = "unneeded election"
    WALK = "long walk back"
    QUEUE = "long queue"


LONGEST_WALK = 2
"""Steps back of one follower in a row, without a success between them, that are normal."""
LONGEST_QUEUE = FLYING_REQUESTS
"""Appends with entries that may wait for one follower that reads nothing. (Entries in a simulation
are small; `FLYING_BYTES` bounds their bytes in the same place.)"""


class Hazard(msgspec.Struct, frozen=True, kw_only=True):
    """One guard, and how to see what it prevents. `seed`: one whose run shows the hazard without
    the guard."""

    guard: str
    what: str
    remedy: str
    plan: Plan
    sign: Sign = Sign.VIOLATION
    seed: int | None = None

    def struck(self, outcome: Outcome) -> bool:
        """Whether a run shows it. A violation always counts."""
        if not outcome.ok:
            return True
        if self.sign is Sign.ELECTION:
            return outcome.unneeded_elections > 0
        if self.sign is Sign.WALK:
            return outcome.longest_walk > LONGEST_WALK
        return self.sign is Sign.QUEUE and outcome.longest_queue > LONGEST_QUEUE

    def without(self) -> Plan:
        """The plan with the guard off."""
        return msgspec.structs.replace(self.plan, guards_off=(self.guard,))


HAZARDS: tuple[Hazard, ...] = (
    Hazard(
        guard="s1",
        what="snapshot chunks raise the commit index over an unverified log",
        remedy="chunks and signs of life commit nothing",
        plan=Plan(faults=("crash", "delay", "partition"), compact=(8,), load=4.0, nodes=3),
    ),
    Hazard(
        guard="s2",
        what="a stale or mixed snapshot is installed over a newer log",
        remedy="chunks name their snapshot; what the log covers is not installed",
        plan=Plan(faults=("crash", "crashpoint", "lossy"), compact=(16,), nodes=3),
    ),
    Hazard(
        guard="s3",
        what="a repeated batch truncates entries that were acknowledged",
        remedy="only what conflicts is deleted",
        plan=Plan(faults=("datagram",), load=4.0, compact=(1_000,)),
    ),
    Hazard(
        guard="s4",
        what="an answer from an earlier term counts for entries that its sender never had",
        remedy="replies carry term and request; other terms are dropped",
        plan=Plan(faults=("echo",), nodes=5, compact=(1_000,), load=0.5),
        seed=1,
    ),
    Hazard(
        guard="s5",
        what="term, vote and log are lost in a crash after they were promised",
        remedy="one synced transaction before anything is sent",
        plan=Plan(faults=("crash", "partition"), nodes=3),
    ),
    Hazard(
        guard="births",
        what="a new disk makes a majority with a leader that its lost vote had deposed",
        remedy="a journal counts once an entry that is committed without it admits it",
        plan=Plan(faults=("steal",), nodes=3, duration=10.0, load=20.0),
        seed=47,
    ),
    Hazard(
        guard="s6",
        what="a restart clears a journal that is not compacted to the snapshot",
        remedy="compaction is a transaction; a journal that covers the snapshot is kept",
        plan=Plan(faults=("crash", "crashpoint"), compact=(16,)),
    ),
    Hazard(
        guard="s7",
        what="a damaged snapshot is an empty state beside a live log",
        remedy="checksummed, verified before the engine exists; the node does not start",
        plan=Plan(faults=("rot", "crash"), compact=(16,)),
        seed=12,
    ),
    Hazard(
        guard="s8",
        what="a vote that arrives twice counts twice",
        remedy="one vote for each voter and term",
        plan=Plan(faults=("datagram", "pause", "transfer"), nodes=5, load=0.5),
        seed=0,
    ),
    Hazard(
        guard="s9",
        what="changes of members overlap, and who was removed goes on campaigning",
        remedy="one applied change after another; who has no vote does not stand",
        plan=Plan(faults=("membership",)),
    ),
    Hazard(
        guard="s10",
        what="a command retried after an unknown outcome is applied twice",
        remedy="keys, remembered in the state",
        plan=Plan(faults=("crash", "partition", "lossy")),
    ),
    Hazard(
        guard="s11",
        what="a full disk ends the process",
        remedy="it steps down, is silent, and tries again",
        plan=Plan(faults=("fulldisk",)),
    ),
    Hazard(
        guard="l2",
        what="whoever comes back with a higher term deposes a healthy leader",
        remedy="pre-vote, and votes are refused while a leader is heard",
        plan=Plan(faults=("straggler",), nodes=5),
        sign=Sign.ELECTION,
    ),
    Hazard(
        guard="l3",
        what="a conflict is walked back one entry per round trip",
        remedy="the reply names the first index of the conflicting term",
        plan=Plan(faults=("far", "partition"), load=8.0, compact=(1_000,), nodes=3),
        sign=Sign.WALK,
    ),
    Hazard(
        guard="l6",
        what="a leader without a majority believes for 30 s",
        remedy="it steps down after twice the election timeout",
        plan=Plan(faults=("partition",)),
    ),
    Hazard(
        guard="l7",
        what="proposals whose leader was lost are never answered",
        remedy="every proposal has a deadline",
        plan=Plan(faults=("partition",)),
    ),
    Hazard(
        guard="l8",
        what="what is sent to a follower that reads nothing has no limit",
        remedy="so many requests and bytes in flight to each, and no more",
        plan=Plan(faults=("deaf",), nodes=3, load=40.0, batch=(1,), duration=13.0),
        sign=Sign.QUEUE,
    ),
)


def search(hazard: Hazard, limit: int, first: int = 0) -> Outcome | None:
    """The first run without the guard in which the hazard strikes; None within the limit."""
    for seed in range(first, first + limit):
        outcome = run(hazard.without(), seed)
        if hazard.struck(outcome):
            return outcome
    return None


class Strikes(msgspec.Struct, frozen=True):
    """Of so many runs each, in how many a hazard struck without its guard, and with it."""

    hazard: Hazard
    runs: int
    without: int
    with_it: int


def count_strikes(hazard: Hazard, runs: int, jobs: int = 1) -> Strikes:
    """Counts both ways over the same seeds."""
    counts = [
        sum(hazard.struck(outcome) for outcome in run_all(plan, range(runs), jobs))
        for plan in (hazard.without(), hazard.plan)
    ]
    return Strikes(hazard, runs, *counts)


def table(strikes: Iterator[Strikes] | list[Strikes]) -> list[str]:
    """Lines of Markdown."""
    lines = [
        "| # | hazard | guard | seen as | without it | with it |",
        "|---|---|---|---|---|---|",
    ]
    for one in strikes:
        hazard = one.hazard
        lines.append(
            f"| {hazard.guard.upper()} | {hazard.what} | {hazard.remedy} | {hazard.sign} | "
            f"{_per_thousand(one.without, one.runs)} | {_per_thousand(one.with_it, one.runs)} |"
        )
    return lines


def _per_thousand(count: int, runs: int) -> str:
    return f"{count * 1_000 / runs:.0f}"
