"""`Raft`: the replicated log as the rest of the node uses it (`node.ports.Consensus`).

One turn, in this order and no other: messages in → tick → proposals appended → journal commit
→ **only then** messages out → committed entries applied → proposals answered. The README beside
this file says why.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog

from stationkeep.cluster.state.codec import MAX_DRAFT_BYTES
from stationkeep.node.ports import Host, ProposalResult, StateMachine
from stationkeep.node.raft.engine import pysyncobj_patch as library
from stationkeep.node.raft.engine.engine import Engine, Timings
from stationkeep.node.raft.engine.guards import STOCK_FLUSH_SECONDS, Guards
from stationkeep.node.raft.engine.membership import Configuration
from stationkeep.node.raft.engine.messages import MEMBERSHIP, REGULAR, BadMessage, TooFar, check
from stationkeep.node.raft.engine.transport import OutboxTransport
from stationkeep.node.raft.forwarding import Forwarding
from stationkeep.node.raft.proposals import Proposals
from stationkeep.node.raft.reconfiguration import Reconfiguration
from stationkeep.node.raft.shared import Shared
from stationkeep.node.raft.status import RaftStatus
from stationkeep.node.raft.storage.journal import Journal, JournalFailed
from stationkeep.node.raft.storage.snapshot_file import joined
from stationkeep.node.raft.storage.snapshot_store import SnapshotStore
from stationkeep.node.wire.implausible import Implausible

MAX_INBOX = 16_384
MESSAGES_PER_TURN = 512
APPENDS_PER_TURN = 128
"""Small enough that followers write one batch while the leader prepares the next."""
APPLIES_PER_TURN = 512
APPLY_SECONDS = 0.02
"""The next turn goes on: one entry about thousands of devices may take milliseconds."""
MAX_UNCOMMITTED = 16_384
JOURNAL_RETRY_SECONDS = 1.0
OBSERVATIONS = 8192

_TICK = 0.001
"""Deadlines are compared with `<`: a turn due at t runs a little later than t."""

log = structlog.get_logger("node.raft")


class Raft(RaftStatus):
    """One member. Synchronous, single-threaded; the owner calls `turn` when `wake` is called,
    and at `next_wakeup()` at the latest."""

    def __init__(
        self,
        *,
        node_id: str,
        members: Iterable[str],
        joining: bool = False,
        host: Host,
        machine: StateMachine,
        journal: Journal,
        snapshots: SnapshotStore,
        timings: Timings,
        guards: Guards = Guards(),  # noqa: B008 - frozen
    ) -> None:
        """Loads the log and the snapshot; raises `CorruptJournal`, `CorruptSnapshot`, or the
        machine's `CodecError` (`TooNew`) when they cannot be used.

        `members`: ids of the founding members; what log and snapshot say comes before that.
        `joining`: this node is no founder and waits until the others take it in. The host is
        woken from `propose`, `receive` and `connected`, when there is work for `turn`; it draws
        the election timeouts. `guards`: for the simulator alone.
        """
        network, clock = host.network, host.clock
        self._use_clock = clock.monotonic
        library.use(clock.monotonic)
        self.node_id = node_id
        self._network = network
        self._clock = clock
        self._machine = machine
        self._journal = journal
        self._wake = host.wake
        self._transport = OutboxTransport(network)
        voters = tuple(sorted(m for m in members if not (joining and m == node_id)))
        self._engine = Engine(
            node_id,
            Configuration(voters),
            journal=journal,
            snapshots=snapshots,
            transport=self._transport,
            timings=timings,
            prepare=machine.prepare,
            check=machine.check,
            draw=host.draw,
            guards=guards,
        )
        self._guards = guards
        snapshots.continuity = guards.s2
        self._flush_at = -math.inf
        self._engine.take_proposals = self._take_proposals
        self._snapshots = snapshots
        self._inbox: Shared[Mapping[str, Any]] = Shared(MAX_INBOX)
        self._proposals = Proposals()
        self._engine.installed = self._proposals.skipped_to
        self._forwarding = Forwarding(
            engine=self._engine,
            transport=self._transport,
            network=network,
            proposals=self._proposals,
            machine=machine,
            monotonic=clock.monotonic,
        )
        self._reconfiguration = Reconfiguration(
            engine=self._engine,
            network=network,
            machine=machine,
            monotonic=clock.monotonic,
            wake=host.wake,
        )
        self._retry_at = 0.0
        self._office = False
        self._seen = (self._engine.raftCurrentTerm, self._engine.leader())
        self._last_led: tuple[int, str | None] = (0, None)
        self.journal_error: str | None = None
        self.leader_changes = 0
        self.rejected: dict[str, int] = {}
        self.implausible = Implausible()
        self._commit_seconds: deque[float] = deque(maxlen=OBSERVATIONS)
        self._sync_seconds: deque[float] = deque(maxlen=OBSERVATIONS)
        self._closed = False
        journal.commit()
        for peer in sorted(self._engine.links()):
            if network.connected(peer):
                self.connected(peer)

    # -- node.ports.Consensus ------------------------------------------------------------------

    def propose(
        self,
        draft: bytes,
        done: Callable[[ProposalResult], None],
        timeout: float,
        retry: bool = False,
    ) -> None:
        """See `node.ports.Consensus.propose`. `done` is called from `turn`, never from here.

        `retry`: the draft carries a key; it is proposed again when its outcome is unknown.
        """
        now = self._clock.monotonic()
        if len(draft) > MAX_DRAFT_BYTES:
            self._proposals.refuse_at_once(draft, done, "too_large")
        elif self._closed:
            self._proposals.refuse_at_once(draft, done, "no_leader")
        else:
            self._proposals.submit(draft, done, now, timeout, retry)
        self._wake()

    def turn(self) -> None:
        """One turn; see the head of this file. An exception in it must stop the node (L10)."""
        library.use(self._use_clock)
        now = self._clock.monotonic()
        if self._guards.l7:
            self._proposals.expire(now)
        if self.journal_error is None or self._journal_is_back(now):
            self._engine.end_candidacy()
            self._take_messages()
            self._engine.install()
            self._engine.forget_dismissal()
            self._engine.stand()
            self._engine.commit_majority()
            self._engine.doTick()
            self._engine.compact()
            self._engine.replicate()
            self._engine.settle()
            if self._commit_journal(now):
                self._transport.flush()
                self._apply()
                self._engine_changed()
                self._forwarding.forward(now)  # to the leader of now: that one is not lost
        self._proposals.deliver()

    def next_wakeup(self) -> float:
        """Monotonic seconds; not later than now when there is work."""
        library.use(self._use_clock)
        now = self._clock.monotonic()
        deadline = self._proposals.next_deadline() if self._guards.l7 else None
        if self._proposals.has_answers:
            return now
        if self.journal_error is not None:
            return min(self._retry_at, deadline if deadline is not None else self._retry_at)
        if self._has_work(now):
            return now
        due = self._engine.next_deadline() + _TICK
        if self._journal.dirty:
            due = min(due, self._flush_at)
        if deadline is not None:
            due = min(due, deadline)
        if self._proposals.queue and now < self._forwarding.hold_until:
            due = min(due, self._forwarding.hold_until)
        due = min(due, max(self._forwarding.next_resend(), self._forwarding.hold_until))
        if self._snapshots.busy:
            due = min(due, now + 0.05)
        return due

    def transfer_leadership(self) -> bool:
        """Takes no more proposals until another leads, or an election timeout has passed.

        The follower that has most of the log is asked to start an election at once, as soon as it
        has all of it (dissertation, section 3.10, "leadership transfer extension").
        """
        return self._reconfiguration.transfer()

    # -- the node's own calls ------------------------------------------------------------------

    def receive(self, peer: str, message: Mapping[str, Any]) -> None:
        """A message of kind raft, propose or proposed; looked at in the next turn."""
        if self._inbox.put(peer, message):
            self._wake()
        else:
            self._count("inbox_full")

    def connected(self, peer: str) -> None:
        """There is a connection to send on."""
        library.use(self._use_clock)
        self._transport.connected(self._engine._node(peer))
        self._wake()

    def disconnected(self, peer: str) -> None:
        """The connection is gone: drafts that were forwarded to this peer as leader are lost, or
        their answers are."""
        library.use(self._use_clock)
        self._transport.disconnected(self._engine._node(peer))
        if peer == self.leader:
            self._proposals.leader_lost(self.term)
        self._wake()

    def told_removed(self, by: str, index: int) -> None:
        """A peer says that the configuration at `index` removed this node, which was away then and
        is not sent the entry. A newer configuration in its own log prevails."""
        if by in self._engine.configuration().members:
            library.use(self._use_clock)
            self._reconfiguration.told_removed(by, index)

    def configure(self, timings: Timings) -> None:
        """New timings, from the replicated settings; in force at once."""
        if timings != self._engine.timings:
            library.use(self._use_clock)
            self._engine.configure(timings)

    def limit_batches(self, entries: int) -> None:
        """Fewer entries in a message than usual; for the simulator."""
        self._engine.batch_entries = entries

    def snapshot_file(self) -> Callable[[], bytes] | None:
        """Takes the applied state; the function returned makes a snapshot file of it, on any
        thread. None before the first entry is applied."""
        entries = self._engine.applied_entries()
        if entries is None:
            return None
        make = self._snapshots.frozen(*entries)
        return lambda: joined(make())

    def close(self) -> None:
        """Answers every pending proposal, writes what waits, lets go of journal and files."""
        if self._closed:
            return
        self._closed = True
        self._proposals.close()
        self._proposals.deliver()
        self._snapshots.close()
        self._journal.close()

    # -- the parts of a turn -------------------------------------------------------------------

    def _take_messages(self) -> None:
        for _ in range(min(len(self._inbox), MESSAGES_PER_TURN)):
            self._take(*self._inbox.take())

    def _take(self, peer: str, message: Mapping[str, Any]) -> None:
        kind = message.get("kind")
        try:
            node = self._engine.sender(peer, str(message.get("type") if kind == "raft" else kind))
            if kind == "raft":
                self._transport.deliver(node, check(message))
            elif kind == "propose":
                self._forwarding.take_drafts(peer, message, leads=self._may_append())
            elif kind == "proposed":
                self._forwarding.take_answers(message)
            else:
                raise BadMessage("unknown kind")
        except TooFar as error:
            self.implausible.note(peer, error.number, error.value, error.limit)
            self._count(str(error))
        except BadMessage as error:
            self._count(str(error))

    def _may_append(self) -> bool:
        return self._office and self._engine._isLeader() and not self._reconfiguration.transferring

    def _take_proposals(self) -> None:
        """Called within the tick: drafts into our log, as leader in office."""
        self._reconfiguration.offer()
        self._reconfiguration.admit()
        if not self._may_append():
            self._forwarding.decline()
            return
        self._reconfiguration.step()
        room = min(
            APPENDS_PER_TURN, MAX_UNCOMMITTED + self.commit_index - self._engine.last_index()
        )
        room = self._forwarding.append(room)
        while room > 0 and (pending := self._proposals.take()) is not None:
            if not self._machine.admits(pending.draft):
                self._proposals.refuse(pending, "level")
                continue
            index, term = self._engine.append(self._machine.stamp(pending.draft))
            self._proposals.placed(pending, index, term)
            room -= 1

    def _commit_journal(self, now: float) -> bool:
        """True when everything that this turn's messages promise is on disk (S5, S11)."""
        if not self._guards.s5:
            if now < self._flush_at:
                return True
            self._flush_at = now + STOCK_FLUSH_SECONDS
        commits = self._journal.commits
        try:
            self._journal.commit()
        except JournalFailed as error:
            if not self._guards.s11:
                raise
            self._journal_failed(str(error), now)
            return False
        if self._journal.commits != commits:
            self._sync_seconds.append(self._journal.sync_seconds)
        return True

    def _journal_failed(self, why: str, now: float) -> None:
        """Steps down, ignores messages, and tries again in a second."""
        if self.journal_error is None:
            log.error("journal_failed", error=why, action="stepped down; trying again")
        self.journal_error, self._retry_at = why, now + JOURNAL_RETRY_SECONDS
        self._transport.discard()
        self._engine.step_down()
        self._forwarding.forget()
        self._engine_changed()

    def _journal_is_back(self, now: float) -> bool:
        """Whether pending changes could be written; until then the node ignores Raft messages."""
        self._inbox.clear()
        if now < self._retry_at or not self._commit_journal(now):
            return False
        log.info("journal_recovered")
        self.journal_error = None
        self._engine.step_down()
        return True

    def _apply(self) -> None:
        """Committed entries, in order; some per turn, bounded in number and time."""
        until = self._clock.monotonic() + APPLY_SECONDS
        for command, index, term in self._engine.committed(APPLIES_PER_TURN):
            applied = None
            if command[:1] == REGULAR:
                applied = self._machine.apply(command[1:], index)
            elif command[:1] == MEMBERSHIP:
                self._reconfiguration.apply(command[1:], index)
            self._engine.applied(index)
            for pending in self._proposals.applied(index, term, applied):
                self._commit_seconds.append(self._clock.monotonic() - pending.proposed_at)
            if self._clock.monotonic() >= until:
                break
        if not self._office and self._engine.in_office():
            self._office = True
            self._machine.took_office()

    def _engine_changed(self) -> None:
        """Notices another term or leader."""
        if self._office and not self._engine.in_office():
            self._office = False
        seen = (self._engine.raftCurrentTerm, self._engine.leader())
        if seen == self._seen:
            return
        if seen[1] is not None and seen != self._last_led:
            self.leader_changes += 1
            self._reconfiguration.led_anew()
            self._last_led = seen
            log.info("raft_leader", leader=seen[1], term=seen[0])
        if seen[0] != self._seen[0] or seen[1] != self._seen[1]:
            self._proposals.leader_lost(seen[0])
        self._seen = seen

    def _has_work(self, now: float) -> bool:
        engine = self._engine
        if self._inbox or engine.committed(1):
            return True
        if (
            (self._journal.dirty and now >= self._flush_at)
            or engine.more_to_send()
            or engine.compacting()
        ):
            return True
        alone = engine._isLeader() and engine.configuration().voters == (self.node_id,)
        if alone and engine.raftCommitIndex < engine.last_index():
            return True
        if not self._proposals.queue:
            return False
        if self._office:
            room = engine.last_index() - engine.raftCommitIndex < MAX_UNCOMMITTED
            return room and not self._reconfiguration.transferring
        leader = engine.leader()
        return leader not in (None, self.node_id) and (
            now >= self._forwarding.hold_until and self._network.connected(str(leader))
        )

    def _count(self, why: str) -> None:
        self.rejected[why] = self.rejected.get(why, 0) + 1
