"""Actions and compliance: what nodes must enact, and what follows when they do not.

Source: roles.md, "Action propagation and compliance".
"""

from stationkeep.cluster.alarms import COMPLIANCE
from stationkeep.cluster.commands import Change
from stationkeep.cluster.registry import alive
from stationkeep.cluster.state.decisions import Outcome
from stationkeep.cluster.state.events import ActionAcknowledged, ActionClosed, ActionOpened
from stationkeep.cluster.state.state import (
    MAX_CLOSED_ACTIONS,
    ROLE_CHANGE,
    Ack,
    Action,
    ActionOutcome,
    ClusterState,
)
from stationkeep.cluster.state.step import Step
from stationkeep.cluster.transitions import Role, Rule


def open_action(
    step: Step,
    name: str,
    targets: tuple[str, ...],
    reason: str,
    *,
    changes: tuple[Change, ...] = (),
    parameters: dict[str, str] | None = None,
    deadline: int = 0,
) -> Action:
    """Opens an action; `deadline` in ms from now, 0 for the setting."""
    state = step.state
    state.actions_opened += 1
    action = Action(
        id=f"act-{state.actions_opened}",
        name=name,
        targets=targets,
        epoch=state.seat.epoch,
        opened_at=step.now,
        deadline=step.now + (deadline or state.settings.action_deadline),
        changes=changes,
        parameters=parameters or {},
        reason=reason,
        actor=step.actor,
    )
    state.actions[action.id] = action
    step.emit(ActionOpened(action.id))
    return action


def open_role_change(step: Step, rule: Rule, changes: tuple[Change, ...]) -> None:
    """Opens an action for every alive node; it supersedes an older role change of the same nodes.
    For a holder of the seat that must wait, the deadline counts from the end of that wait."""
    changed = {change.node for change in changes}
    for action in list(step.state.actions.values()):
        if changed & {change.node for change in action.changes}:
            _close(step, action, ActionOutcome.SUPERSEDED)
    seat = step.state.seat
    waits = any(change.node == seat.holder for change in changes) and not seat.active
    wait = max(0, seat.fence_until - step.now) if waits else 0
    deadline = wait + step.state.settings.action_deadline
    targets = alive(step.state, step.now)
    open_action(step, ROLE_CHANGE, targets, rule, changes=changes, deadline=deadline)


def end_wait(step: Step, holder: str) -> None:
    """The holder of the seat need not wait any longer: its deadline counts from now."""
    for action in step.state.actions.values():
        if holder in {change.node for change in action.changes}:
            action.deadline = step.now + step.state.settings.action_deadline


def acknowledge(step: Step, action: Action, node: str, success: bool, detail: str) -> None:
    """Notes a target's answer; complete success closes the action at once."""
    action.acks[node] = Ack(success, detail, step.now)
    step.emit(ActionAcknowledged(action.id, node, success))
    member = step.state.members[node]
    enacted = action.name != ROLE_CHANGE or node in {c.node for c in action.changes}
    if success and (enacted or member.role is not Role.PRIMARY):
        member.escalated_by = ""  # a PRIMARY must prove that it can enact; others, that they live
    if action.compliance == 1_000_000:
        _close(step, action, ActionOutcome.COMPLIANT)


def release(step: Step, action: Action, node: str) -> None:
    """Stops waiting for a target that has left the cluster."""
    if node not in action.targets:
        return
    action.targets = tuple(target for target in action.targets if target != node)
    action.acks.pop(node, None)
    if action.compliance == 1_000_000:
        _close(step, action, ActionOutcome.COMPLIANT)


def expire(step: Step, action: Action) -> None:
    """Closes an action at its deadline: below the threshold the missing nodes are escalated.

    A change of role also needs the nodes whose role it changes: in a large cluster the answers of
    all others would otherwise outweigh a new PRIMARY that could not take over.
    """
    state = step.state
    done = {node for node, ack in action.acks.items() if ack.success}
    missing = tuple(node for node in action.targets if node not in done)
    enacted = not {change.node for change in action.changes} & set(missing)
    if enacted and action.compliance >= state.settings.compliance_threshold:
        _close(step, action, ActionOutcome.COMPLIANT)
        return
    for node in missing:
        state.members[node].escalated_by = action.id
    failures = {n: action.acks[n].detail for n in missing if n in action.acks}
    facts = {
        "action": action.id,
        "name": action.name,
        "compliance": action.compliance,
        "threshold": state.settings.compliance_threshold,
        "failures": failures,
    }
    step.decide("escalation", Outcome.NOTED, missing, facts=facts)
    step.raise_alarm(COMPLIANCE, f"{action.id} ({action.name}) not done by {', '.join(missing)}")
    _close(step, action, ActionOutcome.NONCOMPLIANT)
    step.changed()


def _close(step: Step, action: Action, outcome: ActionOutcome) -> None:
    state = step.state
    action.outcome = outcome
    action.closed_at = step.now
    del state.actions[action.id]
    state.closed_actions.append(action)
    del state.closed_actions[:-MAX_CLOSED_ACTIONS]
    if outcome is ActionOutcome.COMPLIANT:
        step.clear_alarm(COMPLIANCE)
    step.emit(ActionClosed(action.id, outcome, action.compliance))


def pending_for(state: ClusterState, node: str) -> list[Action]:
    """Open actions that still wait for this node's answer, oldest first."""
    if not state.actions:  # nearly always, and asked in every turn
        return []
    return [
        action
        for action in state.actions.values()
        if node in action.targets and node not in action.acks
    ]
