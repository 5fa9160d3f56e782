"""Which nodes must have agreed: majorities of the configuration in force, as it changes.

Elections and commits are judged by the voters in the log of the node that elects or commits
(dissertation, section 4.1). What makes that safe is judged as well: two majorities that may decide
at the same time must share a node, and a leader changes nothing before it has committed an entry of
its own term (the correction of July 2015 to single-server changes).
"""

from collections.abc import Collection, Mapping

from stationkeep.node.simulation.machine.disk import SimulatedDisk


def majority(of: Collection[str]) -> int:
    """The smallest number that is more than half."""
    return len(of) // 2 + 1


def meet(one: Collection[str], other: Collection[str]) -> bool:
    """Whether every majority of the one shares a member with every majority of the other."""
    return majority(one) + majority(other) > len({*one, *other})


def elected_by(
    candidate: str,
    term: int,
    voters: Collection[str],
    votes: Mapping[tuple[str, int], Collection[str]],
) -> list[str]:
    """The `voters` that voted for the candidate in that term."""
    return [name for name in voters if candidate in votes.get((name, term), ())]


def holding(index: int, term: int, disks: Collection[SimulatedDisk]) -> int:
    """How many voters keep an entry from being lost: they have it on their disk, or had it and
    acknowledged it before they lost that disk. The leader that hears of it later may count the
    latter: before their new journal is admitted they are trusted with no majority (S5), so every
    majority that elects is still one of the other voters and has another of these."""
    return sum(disk.holds(index, term) or (index, term) in disk.replaced for disk in disks)
