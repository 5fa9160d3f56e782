"""What must hold after every turn of every node, seen from outside all of them.

Raft's safety properties (Ongaro & Ousterhout, figure 3), stated on what is on disk and what is
committed; the named invariants of `cluster.invariants`; never two effective PRIMARYs (each node's
own lease, compared in true time); equal digests at equal index; keyed commands applied once. All
checks are incremental: a turn in which nothing happened costs next to nothing.
"""

# ruff: noqa: N818  (exceptions say what is the case)

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from stationkeep.cluster.apply import Applied, Done
from stationkeep.cluster.commands import Entry, ReportTasks
from stationkeep.cluster.invariants import violations
from stationkeep.cluster.levels import needed
from stationkeep.cluster.state.codec import digest
from stationkeep.cluster.state.events import LeasesEchoed, SamplesRecorded
from stationkeep.node.raft.storage.seam import Row, Transaction
from stationkeep.node.simulation.agenda import Time
from stationkeep.node.simulation.checks import quorums
from stationkeep.node.simulation.checks.trouble import Trouble
from stationkeep.node.simulation.machine.node import SimulatedNode

DIGEST_EVERY = 32
STEP_DOWN_SLACK = 1.5
"""Seconds allowed for messages in flight, and for the turn that notices."""
MEMORY = 4_096
"""The checks remember everything of this many indices below the newest committed one."""
_ROUTINE = (LeasesEchoed, SamplesRecorded)


class Violation(Exception):
    """Something that must hold does not. `rule` names it, `detail` says how it was seen."""

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(f"{rule}: {detail}")
        self.rule, self.detail = rule, detail


class Checks:
    """All checks of one world."""

    def __init__(
        self, members: dict[str, SimulatedNode], time: Time, trouble: Trouble, durable: bool
    ) -> None:
        """`durable`: what is committed must be on disks; off when S5 is off, to see what
        follows."""
        self._members, self._time = members, time
        self._trouble, self._durable = trouble, durable
        self.moments: dict[int, float] = {}
        """Index → true time at which it was first applied; without routine entries."""
        self.commit = 0
        self.committed: dict[int, tuple[int, bytes]] = {}
        """Index → term and command of everything that any node has committed."""
        self._committed_in: dict[int, int] = {}
        """Index → term of the leader that committed it."""
        self.leaders: dict[int, str] = {}
        self._elected_at: dict[str, float] = {}
        self._entries: dict[tuple[int, int], tuple[bytes, int | None]] = {}
        self._votes: dict[tuple[str, int], list[str]] = {}
        """Voter and term → the candidates that it voted for; two if it forgot the first."""
        self._digests: dict[int, tuple[str, str]] = {}
        self._judged = 0
        self.effects: dict[str, int] = {}
        """Client operation → index at which it took effect."""
        self._walks: dict[str, tuple[int, int]] = {}
        """Follower → where it last sent its leader back to, and how often in a row."""
        self.longest_walk = 0
        self.checked_turns = 0

    # -- hooks ---------------------------------------------------------------------------------

    def born(self, member: SimulatedNode) -> None:
        """A process of this member has started."""
        member.replica.listen(self._listener(member))

    def sends(self, sender: str, peer: str, message: dict[str, Any]) -> None:
        """Looks at a message as it leaves: a vote is a promise (Raft paper, section 5.2)."""
        kind = message.get("type")
        if kind == "next_node_idx":
            self._walk(sender, message)
        elif kind == "response_vote":
            self._vote(sender, message["term"], peer)
        elif kind in {"pre_vote", "request_vote"}:
            self._may_stand(sender)
            if kind == "request_vote":
                self._vote(sender, message["term"], sender)

    def _walk(self, follower: str, message: dict[str, Any]) -> None:
        """Counts how often in a row a follower sends its leader further back (L3)."""
        if not message["reset"]:
            self._walks.pop(follower, None)
            return
        index, steps = self._walks.get(follower, (message["next_node_idx"], 0))
        if message["next_node_idx"] < index:
            index, steps = message["next_node_idx"], steps + 1
        self._walks[follower] = (index, steps)
        self.longest_walk = max(self.longest_walk, steps)

    def _may_stand(self, candidate: str) -> None:
        """Only voters campaign, and no removed members, learners, strangers (dissertation, section
        4.2.3; ours is stricter, as a leader hands over before it is removed)."""
        if candidate not in self._members[candidate].raft.configuration.voters:
            raise Violation("only voters stand", f"{candidate} campaigns and has no vote itself")

    def _vote(self, voter: str, term: int, candidate: str) -> None:
        """One vote in a term. A node that lost its disk may vote again in a term that it forgot:
        its vote says that it is not trusted, and does not count towards a majority."""
        known = self._votes.setdefault((voter, term), [])
        if candidate in known:
            return
        if known and self._members[voter].journal.trusted:
            raise Violation(
                "one vote a term",
                f"{voter} votes in term {term} for {known[0]} and for {candidate}",
            )
        known.append(candidate)

    def stored(self, member: SimulatedNode, transaction: Transaction, removed: list[Row]) -> None:
        """Log matching: an entry at an index and term is the same everywhere, and so is the
        one before it; by induction, everything before it (Raft paper, section 5.3)."""
        for index, term, _, command in transaction.rows:
            before = member.disk.term_at(index - 1)
            known = self._entries.setdefault((index, term), (command, before))
            if known[0] != command or (before is not None and known[1] not in (None, before)):
                raise Violation(
                    "log matching",
                    f"entry {index} of term {term} on {member.name} follows term {before}, "
                    f"elsewhere {known[1]}; same command: {known[0] == command}",
                )

        self._nothing_erased(member, removed)

    def _nothing_erased(self, member: SimulatedNode, removed: list[Row]) -> None:
        """What is committed stays on a disk that had it (Raft paper, AppendEntries 3)."""
        disk = member.disk
        for index, term, _, _ in removed:
            known = self.committed.get(index)
            covered = disk.rows and index < disk.rows[0][0]
            if known is None or known[0] != term or covered:
                continue
            if disk.term_at(index) != term:
                raise Violation(
                    "nothing committed is erased",
                    f"{member.name} no longer has entry {index} of term {term}",
                )

    def after_turn(self, member: SimulatedNode) -> None:
        """Checks everything that a turn of this member can have broken."""
        self.checked_turns += 1
        raft = member.raft
        commit = raft.commit_index
        if commit != member.seen_commit:
            self._committed(member, commit)
        if raft.leads:
            self._leads(member, raft.term)
            self._still_may(member)
            self._reconfigures(member)
        if member.is_primary():
            self._only_primary(member)
        if raft.unanswered:
            self._answered_in_time(member)
        if raft.answered_twice:
            raise Violation("answered once", f"{member.name} answered a proposal twice")

    @staticmethod
    def _answered_in_time(member: SimulatedNode) -> None:
        """The oldest proposal is not past its deadline: this turn would have answered it."""
        number, deadline = next(iter(member.raft.unanswered.items()))
        if member.clock.monotonic() > deadline + 0.001:
            raise Violation("answered in time", f"proposal {number} of {member.name} was not")

    # -- Raft ----------------------------------------------------------------------------------

    def _committed(self, member: SimulatedNode, commit: int) -> None:
        if commit < member.seen_commit:
            raise Violation(
                "commit never regresses", f"{member.name}: {member.seen_commit} to {commit}"
            )
        for index in range(member.seen_commit + 1, commit + 1):
            entry = self._entry(member, index)
            if entry is None:  # a snapshot has replaced it
                continue
            known = self.committed.get(index)
            if known is None and index > self.commit:
                self.committed[index] = entry
                self._committed_in[index] = member.raft.term
                if self._durable:
                    self._on_majority(member, index, entry[0])
            elif known is not None and known != entry:
                raise Violation(
                    "state machine safety",
                    f"entry {index} is of term {entry[0]} on {member.name}, "
                    f"but of term {known[0]} where it was committed first",
                )
        member.seen_commit = commit
        if commit > self.commit:
            self.commit = commit
            self._forget()

    @staticmethod
    def _entry(member: SimulatedNode, index: int) -> tuple[int, bytes] | None:
        journal = member.journal
        first = journal[0][1] if len(journal) else 0
        if not first or not first <= index < first + len(journal):
            return None
        command, _, term = journal[index - first]
        return term, command

    def _on_majority(self, member: SimulatedNode, index: int, term: int) -> None:
        """What is committed is on the disks of a majority (Raft paper, section 5.4.2): of the
        voters that its leader counted in this turn, in which it may have changed them."""
        leader = self._members[self.leaders.get(member.raft.term, member.name)]
        before, now = leader.configuration.voters, leader.raft.configuration.voters
        for voters in (now, before):
            disks = [self._members[name].disk for name in voters]
            if quorums.holding(index, term, disks) >= quorums.majority(voters):
                return
        if index > 1:
            raise Violation(
                "committed on a majority",
                f"{member.name} commits entry {index} of term {term}, on "
                f"{quorums.holding(index, term, disks)} of {len(disks)} disks",
            )

    def _reconfigures(self, leader: SimulatedNode) -> None:
        """A change of members keeps majorities overlapping, and its leader has committed an entry
        of its term (`quorums`). The admission of a voter's new journal is no such change."""
        known = leader.raft.configurations
        changes = [
            (term, after)
            for (_, before), (term, after) in pairwise(known)
            if before.members != after.members
        ]
        if not changes or changes[-1][0] != leader.raft.term:
            return
        applied = known[0][1].voters
        for _, configuration in changes:
            if not quorums.meet(applied, configuration.voters):
                raise Violation(
                    "majorities meet",
                    f"{leader.name} goes from {applied}, the last applied, to "
                    f"{configuration.voters}: two majorities need not meet",
                )
        committed = self._entry(leader, leader.raft.commit_index)
        if committed is None or committed[0] != leader.raft.term:
            raise Violation(
                "members change in office", f"{leader.name} has committed nothing of its term"
            )

    def _leads(self, member: SimulatedNode, term: int) -> None:
        known = self.leaders.get(term)
        if known == member.name:
            return
        if known is not None:
            raise Violation("election safety", f"{known} and {member.name} lead term {term}")
        self._elected(member, term)
        self.leaders[term] = member.name
        self._elected_at[member.name] = self._time.now
        self._complete(member, term)

    def _elected(self, member: SimulatedNode, term: int) -> None:
        """Elected by a majority of servers, each counted once (Raft paper, section 5.2)."""
        voters = member.raft.configuration.voters
        by = quorums.elected_by(member.name, term, voters, self._votes)
        if len(by) < quorums.majority(voters):
            raise Violation(
                "elected by a majority",
                f"{member.name} leads term {term}, elected by {', '.join(by)} of {len(voters)}",
            )

    def _still_may(self, member: SimulatedNode) -> None:
        """A leader that has lost its majority steps down (dissertation, section 6.2). For one that
        was elected while cut off, by votes in flight, the time begins with its election."""
        cut_off = self._trouble.cut_off_since(member.name)
        if cut_off is None:
            return
        cut_off = max(cut_off, self._elected_at.get(member.name, cut_off))
        patience = member.replica.settings.step_down_after / 1_000 + STEP_DOWN_SLACK
        if self._time.now - cut_off > patience:
            raise Violation(
                "a leader without a majority steps down",
                f"{member.name} has led for {self._time.now - cut_off:.1f} s without one",
            )

    def _complete(self, member: SimulatedNode, term: int) -> None:
        """Leader completeness (Raft paper, section 5.4)."""
        last = member.raft.last_index
        for index, (known, command) in self.committed.items():
            if self._committed_in[index] >= term:  # votes that came late: it leads nobody
                continue
            entry = self._entry(member, index)
            if (entry is None and index > last) or (
                entry is not None and entry != (known, command)
            ):
                raise Violation(
                    "leader completeness",
                    f"{member.name} leads term {term} without entry {index} of term {known}, "
                    f"which is committed; its log ends at {last}",
                )

    def _forget(self) -> None:
        if len(self.committed) > 2 * MEMORY:
            floor = self.commit - MEMORY
            self.committed = {i: e for i, e in self.committed.items() if i > floor}
            self._committed_in = {i: t for i, t in self._committed_in.items() if i > floor}
            self._entries = {k: e for k, e in self._entries.items() if k[0] > floor}
            self._digests = {i: d for i, d in self._digests.items() if i > floor}

    # -- state ---------------------------------------------------------------------------------

    def _only_primary(self, member: SimulatedNode) -> None:
        others = [m.name for m in self._members.values() if m is not member and m.is_primary()]
        if others:
            raise Violation(
                "never two effective PRIMARYs", f"{member.name} and {', '.join(others)} act"
            )

    def _listener(self, member: SimulatedNode) -> Callable[[int, Entry | None, Applied], None]:
        def applied(index: int, entry: Entry | None, what: Applied) -> None:
            highest = member.replica.highest  # of its process: what comes next is installed
            if entry is not None and needed(entry.draft.command) > highest:
                above = f"{member.name} applies entry {index}, and has levels to {highest}"
                raise Violation("nobody applies what is above its level", above)
            routine = all(isinstance(event, _ROUTINE) for event in what.events)
            if index > self._judged:
                self._judged = index
                if not routine:
                    self.moments[index] = self._time.now
                if not routine or _reports_tasks(entry):
                    self._invariants(member)
                if entry is not None and entry.draft.reason.startswith("op-"):
                    self._effect(member, index, entry, what)
            if index % DIGEST_EVERY == 0:
                self._same_digest(member, index)

        return applied

    def _invariants(self, member: SimulatedNode) -> None:
        for fault in violations(member.replica.state):
            raise Violation("invariant", f"{fault} ({member.name})")

    def _effect(self, member: SimulatedNode, index: int, entry: Entry, what: Applied) -> None:
        """Exactly once: a client's operation takes effect at one index."""
        draft = entry.draft
        if not isinstance(what.outcome, Done):
            return
        remembered = member.replica.state.operations.find(draft.actor, draft.key)
        if remembered is not None and remembered.index != index:
            return  # a retry, answered from memory
        known = self.effects.setdefault(draft.reason, index)
        if known != index:
            raise Violation(
                "applied once", f"{draft.reason} took effect at {known} and again at {index}"
            )

    def _same_digest(self, member: SimulatedNode, index: int) -> None:
        mine = digest(member.replica.state)
        name, known = self._digests.setdefault(index, (member.name, mine))
        if known != mine:
            raise Violation(
                "equal digests", f"at index {index}: {name} {known}, {member.name} {mine}"
            )

    def settled(self) -> None:
        """Compares whole states, once every member has applied the same entries."""
        running = [m for m in self._members.values() if m.up]
        for member in running:
            self._same_digest(member, member.replica.state.index)
            self._invariants(member)


def _reports_tasks(entry: Entry | None) -> bool:
    """Whether the entry reports tasks: progress within a task is no event, but moves the end of its
    wait."""
    return entry is not None and isinstance(entry.draft.command, ReportTasks)
