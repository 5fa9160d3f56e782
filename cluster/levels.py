"""Levels: what a release can do with the log, so that releases meet in one cluster and agree.

A level is a number. A release has all levels from `LOWEST` to `HIGHEST`, the cluster is at one of
them (`ClusterState.level`), and every draft in the log begins with the level that it needs. A node
that meets a draft above its highest level stops before it has written it: stopping is a crash,
skipping would be divergence.

What was released never changes. So whatever changes the meaning of an entry, the bytes of a
snapshot or the digest of a state is of a new level:

- *a command, or a new field of one*, as a command of its own, in `SINCE`; a field is never appended
  to a command that was released, since the older release would refuse what the newer one applies;
- *a setting*: `needed` then looks at the names in a `ChangeSettings`;
- *a field of the state*, which is left out of snapshots until the state is at its level.

`HIGHEST` rises by one in a release that does any of these, and `LOWEST` follows so that a cluster
may skip one release at most. How a level is raised: `upgrades`.
"""

from stationkeep.cluster.commands import Command, FoundCluster, MoveMember, RaiseLevel

LOWEST = 1
HIGHEST = 2
LARGEST = 255
"""A level is one byte of a draft."""

SINCE: dict[type[Command], int] = {
    MoveMember: 2,
}
"""The level from which on a command may be ordered, where that is not 1."""


def since(command: Command) -> int:
    """The level at which the cluster must be for this command."""
    return SINCE.get(type(command), 1)


def needed(command: Command) -> int:
    """The level that whoever applies this command must have. What brings a level needs it: the
    first entry that an older release must not pass is that one."""
    if isinstance(command, FoundCluster | RaiseLevel):
        return command.level
    return since(command)
