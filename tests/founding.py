"""The command that gives birth to a cluster, for tests that found one."""

from collections.abc import Iterable

from stationkeep.cluster.commands import FoundCluster, MemberSpec
from stationkeep.cluster.levels import HIGHEST
from stationkeep.cluster.settings import Settings

UID = "0123456789abcdef"
RELEASE = "0.1"


def founding(
    cluster: str, members: Iterable[MemberSpec], settings: Settings, level: int = HIGHEST
) -> FoundCluster:
    """A founding at the highest level of this release, unless told otherwise."""
    return FoundCluster(cluster, tuple(members), settings, level, RELEASE, UID)
