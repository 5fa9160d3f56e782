"""State and figures of a `Raft`, for readers. Changes nothing."""

from collections import deque

from stationkeep.node.raft.engine.engine import Engine
from stationkeep.node.raft.engine.membership import Configuration
from stationkeep.node.raft.proposals import Proposals
from stationkeep.node.raft.storage.journal import Journal
from stationkeep.node.raft.storage.snapshot_store import SnapshotStore


class RaftStatus:
    """The read-only part of `node.ports.Consensus`, and more of its kind."""

    node_id: str
    _engine: Engine
    _journal: Journal
    _snapshots: SnapshotStore
    _proposals: Proposals
    _office: bool
    _commit_seconds: deque[float]
    _sync_seconds: deque[float]

    @property
    def is_leader(self) -> bool:
        return self._office

    @property
    def leader(self) -> str | None:
        return self._engine.leader()

    @property
    def term(self) -> int:
        return int(self._engine.raftCurrentTerm)

    @property
    def commit_index(self) -> int:
        return int(self._engine.raftCommitIndex)

    @property
    def applied_index(self) -> int:
        return int(self._engine.raftLastApplied)

    @property
    def has_quorum(self) -> bool:
        return self._engine.has_quorum()

    @property
    def configuration(self) -> Configuration:
        """Voters, learners and the last ones to have left, as the log says; the newest entry
        counts, committed or not."""
        return self._engine.configuration()

    @property
    def standing(self) -> str:
        """Of this node: voter, learner, leaving (its removal stands in its log, and may yet be
        truncated), removed (by its log, or by what a member says), or stranger (not taken in
        yet)."""
        present = self._engine.configuration()
        if self._engine.is_dismissed():
            return "removed"
        if self.node_id in present.voters:
            return "voter"
        if self.node_id in present.learners:
            return "learner"
        if self.node_id not in present.removed:
            return "stranger"
        return "removed" if self._engine.configured_at() <= self.applied_index else "leaving"

    @property
    def is_removed(self) -> bool:
        """Whether this node knows that it was removed."""
        return self.standing == "removed"

    @property
    def links(self) -> set[str]:
        """Ids that this node must be able to reach."""
        return self._engine.links()

    def removed_at(self, name: str) -> int | None:
        """Index of a committed configuration by which `name` was removed; None when the present
        one does not say so."""
        index = self._engine.configured_at()
        known = name in self._engine.configuration().removed and index <= self.applied_index
        return index if known else None

    # -- for metrics ---------------------------------------------------------------------------

    @property
    def log_entries(self) -> int:
        """Entries in the log, not compacted yet."""
        return len(self._journal)

    @property
    def pending_proposals(self) -> int:
        """Proposals made here and not answered yet; bounded by `proposals.MAX_PENDING`."""
        return len(self._proposals)

    @property
    def snapshot_seconds(self) -> float:
        """How long the last snapshot took, 0 when there was none."""
        return self._snapshots.seconds

    @property
    def snapshot_error(self) -> str | None:
        """Why the last snapshot failed, None when it did not."""
        return self._snapshots.error

    def drain_commit_seconds(self) -> list[float]:
        """Seconds from proposal to application, of own proposals, since the last call."""
        return _drain(self._commit_seconds)

    def drain_sync_seconds(self) -> list[float]:
        """Seconds of each journal commit since the last call."""
        return _drain(self._sync_seconds)


def _drain(observations: deque[float]) -> list[float]:
    drained = list(observations)
    observations.clear()
    return drained
