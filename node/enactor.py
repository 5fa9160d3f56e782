"""Makes this node do what its role and its open actions say: runs hooks, acknowledges.

Level-triggered and idempotent: what should be (effective role, epoch) is compared with what was
last enacted, which outlives a restart. Nothing is fired by an event, so a replayed log fires
nothing twice and a missed event loses nothing. One hook runs at a time.
Source: roles.md, "Action propagation and compliance (#408)".
"""

import re
from collections.abc import Callable
from typing import Protocol

import msgspec
import structlog

from cluster.actions import pending_for
from cluster.commands import Acknowledge
from cluster.roles.transitions import Role
from cluster.state import ROLE_CHANGE, Action
from node.config import HookConfig
from node.hooks import HookResult, HookRunner
from node.lease import Lease
from node.ports import Clock, Consensus
from node.replica import Replica

RETRY = 1.0
"""Seconds until an acknowledgement that is not in the log yet is proposed again."""
MAX_DETAIL = 200

log = structlog.get_logger("node.enactor")


class Enacted(msgspec.Struct):
    """What outlives a restart. `role`, `epoch`: enacted last with success. `attempted`: the role
    whose hook was started since and has not succeeded: whatever the node is now, it is not
    surely in `role` any more. `finished`: results of operators' actions not yet acknowledged,
    action id → (success, detail)."""

    role: Role | None = None
    epoch: int = 0
    attempted: Role | None = None
    finished: dict[str, tuple[bool, str]] = {}


class Memory(Protocol):
    """Where `Enacted` is kept: a small file, or a simulated one."""

    def load(self) -> bytes | None:
        """What was saved last; None where nothing was."""
        ...

    def save(self, content: bytes) -> None:
        """Durable and atomic."""
        ...


Order = tuple[Role, int]
"""A role to be enacted, and the seat's epoch."""


class Enactor:
    """`propose` hands an acknowledgement to consensus."""

    def __init__(
        self,
        node: str,
        config: HookConfig,
        *,
        clock: Clock,
        consensus: Consensus,
        replica: Replica,
        lease: Lease,
        hooks: HookRunner,
        memory: Memory,
        propose: Callable[[Acknowledge], None],
    ) -> None:
        self._node, self._config = node, config
        self._clock, self._consensus, self._replica = clock, consensus, replica
        self._lease, self._hooks, self._memory = lease, hooks, memory
        self._propose = propose
        self.enacted = _remembered(memory)
        self.failed: tuple[Order, str] | None = None
        self.running = ""
        """What runs now, for display; empty when nothing does."""
        self._in_step = False
        self._retry_at: dict[str, float] = {}

    def turn(self) -> None:
        """Starts what is due and acknowledges what is done."""
        if not self.running:
            order = self._order()
            if order is not None and not self._is_enacted(order) and not self._has_failed(order):
                self._enact(order)
        if self._caught_up():
            if not self.running:
                self._run_next_action()
            self._acknowledge()

    def next_wakeup(self) -> float:
        """Monotonic moment of the next retry, or of the lease's end; else infinite."""
        now = self._clock.monotonic()
        moments = [at for at in self._retry_at.values() if at > now]
        if self._lease.until > now:
            moments.append(self._lease.until)
        return min(moments, default=float("inf"))

    # -- what should be -------------------------------------------------------------------------

    def _caught_up(self) -> bool:
        """After a start the log is replayed from the past, and old orders must not be carried
        out: true once a leader was heard and everything it says is committed is applied."""
        if not self._in_step:
            consensus = self._consensus
            self._in_step = (
                self._replica.state.founded
                and consensus.leader is not None
                and consensus.applied_index >= consensus.commit_index
            )
        return self._in_step

    def _order(self) -> Order | None:
        """The role to be in, None for "as it is"."""
        seat = self._replica.state.seat
        was_primary = Role.PRIMARY in (self.enacted.role, self.enacted.attempted)
        if not self._caught_up():
            return (Role.SAFE_MODE, self.enacted.epoch) if was_primary else None
        if seat.holder == self._node and not seat.active:
            # Elected, but the predecessor may still act: stay, unless still enacted as PRIMARY.
            return (Role.BACKUP, seat.epoch) if was_primary else None
        return self._lease.effective_role(), seat.epoch

    def _is_enacted(self, order: Order) -> bool:
        role, epoch = order
        if self.enacted.attempted is not None:
            return False
        same_epoch = self.enacted.epoch == epoch or role is not Role.PRIMARY
        return self.enacted.role is role and same_epoch

    def _has_failed(self, order: Order) -> bool:
        return self.failed is not None and self.failed[0] == order

    # -- roles ----------------------------------------------------------------------------------

    def _enact(self, order: Order) -> None:
        role, epoch = order
        self.failed = None
        command = self._config.roles.get(role)
        if command is None:
            self._on_enacted(order, HookResult(True))
            return
        self.running = f"role {role}"
        self.enacted.attempted = role
        self._save()
        env = self._environment(role, epoch, self._reason(role), self._role_action())
        self._hooks.start(
            command, env, self._config.timeout, lambda result: self._on_enacted(order, result)
        )

    def _on_enacted(self, order: Order, result: HookResult) -> None:
        self.running = ""
        role, epoch = order
        if result.ok:
            log.info("role enacted", role=role, epoch=epoch, previous=self.enacted.role)
            self.enacted.role, self.enacted.epoch = role, epoch
            self.enacted.attempted = None
            self._save()
        else:
            log.warning("role hook failed", role=role, epoch=epoch, detail=result.detail)
            self.failed = (order, f"{role} hook: {result.detail}")

    def _reason(self, role: Role) -> str:
        member = self._replica.state.members.get(self._node)
        if self._lease.is_fenced or member is None or member.role is not role:
            return "lease_lapsed"
        return member.role_rule or "joined"

    def _role_action(self) -> str:
        """Id of the newest open change of roles that names this node."""
        ids = [
            action.id
            for action in pending_for(self._replica.state, self._node)
            if any(change.node == self._node for change in action.changes)
        ]
        return ids[-1] if ids else ""

    # -- operators' actions ---------------------------------------------------------------------

    def _run_next_action(self) -> None:
        for action in pending_for(self._replica.state, self._node):
            if action.name != ROLE_CHANGE and action.id not in self.enacted.finished:
                self._start_action(action)
                return

    def _start_action(self, action: Action) -> None:
        command = self._config.actions.get(action.name)
        if command is None:
            self._on_action(action.id, HookResult(False, f"no hook for {action.name}"))
            return
        self.running = f"action {action.id}"
        role, epoch = self._lease.effective_role(), self._replica.state.seat.epoch
        env = self._environment(role, epoch, action.reason, action.id)
        env["STATIONKEEP_ACTION"] = action.name
        for name, value in sorted(action.parameters.items()):
            env[f"STATIONKEEP_PARAMETER_{re.sub(r'[^A-Za-z0-9]', '_', name).upper()}"] = value
        self._hooks.start(
            command, env, self._config.timeout, lambda result: self._on_action(action.id, result)
        )

    def _on_action(self, action: str, result: HookResult) -> None:
        self.running = ""
        self.enacted.finished[action] = (result.ok, result.detail[:MAX_DETAIL])
        self._save()

    def _environment(self, role: Role, epoch: int, reason: str, action: str) -> dict[str, str]:
        return {
            "STATIONKEEP_NODE": self._node,
            "STATIONKEEP_ROLE": role.value,
            "STATIONKEEP_PREVIOUS_ROLE": self.enacted.role.value if self.enacted.role else "",
            "STATIONKEEP_EPOCH": str(epoch),
            "STATIONKEEP_REASON": reason,
            "STATIONKEEP_ACTION_ID": action,
        }

    # -- acknowledgements -----------------------------------------------------------------------

    def _acknowledge(self) -> None:
        now = self._clock.monotonic()
        pending = {action.id: action for action in pending_for(self._replica.state, self._node)}
        self._retry_at = {id_: at for id_, at in self._retry_at.items() if id_ in pending}
        self._forget_finished()
        for id_, action in pending.items():
            verdict = self._verdict(action)
            if verdict is not None and now >= self._retry_at.get(id_, now):
                self._retry_at[id_] = now + RETRY
                self._propose(Acknowledge(id_, self._node, *verdict))

    def _forget_finished(self) -> None:
        """Results are remembered until their acknowledgement is in the log."""
        open_ = {action.id for action in pending_for(self._replica.state, self._node)}
        if not open_.issuperset(self.enacted.finished):
            kept = {id_: r for id_, r in self.enacted.finished.items() if id_ in open_}
            self.enacted.finished = kept
            self._save()

    def _verdict(self, action: Action) -> tuple[bool, str] | None:
        """What to acknowledge; None as long as there is nothing to say."""
        if action.name != ROLE_CHANGE:
            return self.enacted.finished.get(action.id)
        target = next((c.target for c in action.changes if c.node == self._node), None)
        if target is None:
            return True, ""
        if self._is_enacted((target, action.epoch)):
            return True, ""
        if self.failed is not None and self.failed[0][0] is target:
            return False, self.failed[1][:MAX_DETAIL]
        order = self._order()
        member = self._replica.state.members[self._node]
        overtaken = member.role is not target or self._replica.state.seat.epoch > action.epoch
        if overtaken and order is not None and self._is_enacted(order):
            return True, "overtaken by a later change"
        return None

    def _save(self) -> None:
        """Keeps what was done. A disk that refuses costs no more than a hook run again after a
        restart, which hooks allow; stopping the node for it would cost the node."""
        try:
            self._memory.save(msgspec.json.encode(self.enacted))
        except OSError as error:
            log.error("cannot be remembered across a restart", what="enacted", error=str(error))


def _remembered(memory: Memory) -> Enacted:
    """What was enacted before the restart; nothing where that cannot be read, so that the
    hook of the current role runs again."""
    saved = memory.load()
    if saved is None:
        return Enacted()
    try:
        return msgspec.json.decode(saved, type=Enacted)
    except msgspec.DecodeError as error:
        log.error("unreadable, taken for empty", what="enacted", error=str(error))
        return Enacted()
