"""What a node knows of another one by its reports."""

from collections import OrderedDict
from collections.abc import Iterable

import msgspec

from stationkeep.node.health.reports import Report

MAX_OBSERVATIONS = 256
"""Reports remembered per node: several evaluation windows of any sensible timing."""


class Observed(msgspec.Struct):
    """What one report says, as this node knows it."""

    risk: int
    """Parts per million."""
    at: float
    """When the node's report arrived first hand, here or at the peer that relays it; monotonic s
    of this node."""
    learnt: float
    """When it arrived at this node, by either way; monotonic s."""
    direct: bool
    """Whether this node received it first hand."""
    behind: int = 0
    """Log entries that the node lags by."""
    unable: str = ""
    """Why it cannot do its part; "" if it can."""


class Neighbour:
    """What is known of one node: its newest own report and a bounded history of risks."""

    def __init__(self) -> None:
        self.report: Report | None = None
        self.heard_at = 0.0
        self.boot = 0
        """The highest credible boot that was reported for it."""
        self.idle_since: float | None = None
        """Since when its reports show that it leaves its seat idle."""
        self._behind_since: float | None = None
        self._judged = (0, 0)
        """The newest report that `_behind_since` takes into account."""
        self.observed: OrderedDict[tuple[int, int], Observed] = OrderedDict()

    def accepts(self, report: Report) -> bool:
        """Whether the report is newer than every other received from the node itself."""
        if self.report is None:
            return True
        return (report.boot_id, report.seq) > (self.report.boot_id, self.report.seq)

    def behind_for(self, key: tuple[int, int], behind: int, at: float) -> float:
        """Seconds for which its reports have shown it to be behind, up to the report `key`."""
        if key > self._judged:
            self._judged = key
            if not behind:
                self._behind_since = None
            elif self._behind_since is None:
                self._behind_since = at
        return at - self._behind_since if behind and self._behind_since is not None else 0.0

    def note(self, key: tuple[int, int], observed: Observed) -> None:
        """Records an observation; a report received first hand replaces its second-hand copy."""
        known = self.observed.get(key)
        if known is None:
            self.observed[key] = observed
            if len(self.observed) > MAX_OBSERVATIONS:
                self.observed.popitem(last=False)
        elif observed.direct and not known.direct:
            known.direct, known.at = True, observed.at
            known.behind, known.unable = observed.behind, observed.unable

    def newest(self) -> tuple[int, int] | None:
        """(boot, seq) of the newest report known, first or second hand."""
        return max(self.observed, default=None)


def inability(heard: Iterable[Observed], judged_from: float = float("-inf")) -> str:
    """Why a node cannot do its part, if the majority of its reports show it; else ""."""
    judged = [o.unable if o.at > judged_from else "" for o in heard]
    faults = [fault for fault in judged if fault]
    return faults[-1] if 2 * len(faults) > len(judged) else ""
