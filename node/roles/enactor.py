"""Makes this node do what its role and its open actions say: runs hooks, acknowledges.

The rules:

- Level-triggered and idempotent: what should be (effective role, epoch) is compared with what
  was last enacted, which outlives a restart. Nothing is fired by an event, so a replayed log
  fires nothing twice and a missed event loses nothing.
- Two lanes, one hook at a time in each: an operator's action never holds up a role.
- Role hooks are retried and fences cut in: `role_hooks.py` has those rules.
- What this node has hooks for is announced whenever the log says otherwise; an action is ordered
  of those only that can run it.
- Operators' actions run once each, oldest first; a failed one is not tried again. One that ended
  with its node begins anew, when nothing of it runs any more. None runs beyond its deadline, so
  that one which hangs costs the next ones no more than the order allowed it.
- What is acknowledged of a role is the newest attempt, success or failure, while none is under
  way; what the log has already is not taken back.

Source: roles.md, "Action propagation and compliance".
"""

import re

import structlog

from stationkeep.cluster.commands import Acknowledge, AnnounceActions
from stationkeep.cluster.roles.actions import pending_for
from stationkeep.cluster.state.state import ROLE_CHANGE, Action
from stationkeep.cluster.transitions import Role
from stationkeep.node.config.hooks import HookConfig
from stationkeep.node.duty import NEVER, Owed, Workbench
from stationkeep.node.hooks.runner import HookResult, HookRunner
from stationkeep.node.ports import Memory
from stationkeep.node.roles.enacted import recall, remember
from stationkeep.node.roles.lease import Lease
from stationkeep.node.roles.role_hooks import Order, RoleHooks

MAX_DETAIL = 200
_OFFERS = "offers"
"""Key of the announcement among what is owed to the log; all others are ids of actions."""

log = structlog.get_logger("node.enactor")


class Enactor:
    """Of one node, whose last enactment is in `memory`. What the previous run left running is
    killed first, and this node is no PRIMARY before that is gone."""

    def __init__(
        self, bench: Workbench, config: HookConfig, lease: Lease, hooks: HookRunner, memory: Memory
    ) -> None:
        self._node, self._clock, self._replica = bench.node, bench.host.clock, bench.replica
        self._consensus, self._config = bench.consensus, config
        self._lease, self._hooks, self._memory = lease, hooks, memory
        self.enacted = recall(memory)
        self._leftover = hooks.kill_leftovers()
        self._roles = RoleHooks(
            config,
            clock=self._clock,
            hooks=hooks,
            enacted=self.enacted,
            save=self._save,
            environment=self._role_environment,
            leftover=self._leftover,
        )
        self._action = ""
        """Id of the operator's action whose hook runs."""
        self._in_step = False
        self._deadline = 0
        """The `action_deadline` that the timeout of the hooks was compared with, ms."""
        self._offers = tuple(sorted(config.actions))
        self._owed = Owed(bench)

    @property
    def running(self) -> str:
        """What runs now, for display; empty when nothing does."""
        role = f"role {self._roles.running}" if self._roles.running else ""
        action = f"action {self._action}" if self._action else ""
        return ", ".join(filter(None, (role, action)))

    def turn(self) -> None:
        """Starts what is due and acknowledges what is done."""
        self._roles.pursue(self._order())
        if self._caught_up():
            self._compare_times()
            self._announce()
            if not self._action:
                self._run_next_action()
            self._acknowledge()

    def next_wakeup(self) -> float:
        """Monotonic moment of the next retry, or of the lease's end; else infinite."""
        lapse = self._lease.until
        return min(
            self._roles.next_wakeup(),
            self._owed.next_wakeup(),
            lapse if lapse > self._clock.monotonic() else NEVER,
        )

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
        if not self._caught_up():
            return (Role.SAFE_MODE, self.enacted.epoch) if self.enacted.may_be_primary else None
        if seat.holder == self._node and not seat.active:
            # Elected, but the predecessor may still act: stay, unless still enacted as PRIMARY.
            return (Role.BACKUP, seat.epoch) if self.enacted.may_be_primary else None
        return self._lease.effective_role(), seat.epoch

    def _role_environment(self, order: Order) -> dict[str, str]:
        role, epoch = order
        return self._environment(role, epoch, self._reason(role), self._role_action())

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

    def _compare_times(self) -> None:
        """A role hook that may hang for longer than the cluster waits is no mistake in a file: the
        deadline is the cluster's and may change while it runs. So its owner is told."""
        deadline = self._replica.settings.action_deadline
        if deadline == self._deadline:
            return
        self._deadline = deadline
        if self._config.roles and self._config.timeout * 1_000 >= deadline:
            log.warning(
                "hooks_outlast_deadline",
                timeout=f"{self._config.timeout:g} s",
                action_deadline=f"{deadline / 1_000:g} s",
                action="a role hook that hangs is noticed too late to be reported: set "
                "hooks.timeout below action_deadline, or raise that. "
                "See: stationkeep guide hooks",
            )

    # -- operators' actions ---------------------------------------------------------------------

    def _announce(self) -> None:
        """Says what it can run, if the log does not say so."""
        member = self._replica.state.members.get(self._node)
        if member is None or member.actions == self._offers:
            return
        if self._owed.is_due(_OFFERS):
            self._owed.propose(_OFFERS, AnnounceActions(self._node, self._offers))

    def _run_next_action(self) -> None:
        if self._leftover is not None and not self._leftover.is_gone:
            return
        for action in pending_for(self._replica.state, self._node):
            command = self._config.actions.get(action.name)
            if command is not None and action.id not in self.enacted.finished:
                self._start_action(action, command)
                return

    def _start_action(self, action: Action, command: str) -> None:
        self._action = action.id
        role, epoch = self._lease.effective_role(), self._replica.state.seat.epoch
        env = self._environment(role, epoch, action.reason, action.id)
        env["STATIONKEEP_ACTION"] = action.name
        for name, value in sorted(action.parameters.items()):
            env[f"STATIONKEEP_PARAMETER_{re.sub(r'[^A-Za-z0-9]', '_', name).upper()}"] = value
        # Once the action is closed nobody takes its result, and others wait for their turn.
        left = (action.deadline - self._replica.state.time) / 1_000
        timeout = min(self._config.timeout, left)
        self._hooks.start(command, env, timeout, lambda result: self._on_action(action.id, result))

    def _on_action(self, action: str, result: HookResult) -> None:
        self._action = ""
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
        pending = {action.id: action for action in pending_for(self._replica.state, self._node)}
        self._owed.keep({_OFFERS, *pending})
        self._forget_finished()
        for id_, action in pending.items():
            verdict = self._verdict(action)
            if verdict is not None and self._owed.is_due(id_):
                self._owed.propose(id_, Acknowledge(id_, self._node, *verdict))

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
        if self._roles.is_enacted((target, action.epoch)):
            return True, ""
        failure = self._roles.failure
        if failure is not None and failure.order[0] is target:
            return False, failure.detail[:MAX_DETAIL]
        order = self._order()
        member = self._replica.state.members[self._node]
        overtaken = member.role is not target or self._replica.state.seat.epoch > action.epoch
        if overtaken and order is not None and self._roles.is_enacted(order):
            return True, "overtaken by a later change"
        return None

    def _save(self) -> None:
        remember(self._memory, self.enacted)
