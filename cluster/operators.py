"""Operators' commands, checked and applied at once.

They need no votes. Only those that must work against a sick cluster (failover; roles.md,
"Operator's hand") are exempt from the cool-down. All of them leave a decision.
"""

from stationkeep.cluster.commands import (
    AnnounceActions,
    Change,
    ChangeSettings,
    Failover,
    Pause,
    Policy,
    PutPolicy,
    RemovePolicy,
    Resume,
    RunAction,
    SetMaintenance,
    SetPriority,
    Switchover,
)
from stationkeep.cluster.names import name_fault
from stationkeep.cluster.registry import alive, cooldown_remaining, is_alive
from stationkeep.cluster.roles.actions import open_action, pending_for, release
from stationkeep.cluster.roles.candidates import best_candidate, unfitness
from stationkeep.cluster.roles.policies import PATTERN_RULE, PRIORITIES, is_pattern
from stationkeep.cluster.roles.seat import change_roles
from stationkeep.cluster.settings import PPM, SettingsError, merge
from stationkeep.cluster.state.decisions import Outcome, Reason
from stationkeep.cluster.state.events import MemberChanged, PauseChanged, SettingsChanged
from stationkeep.cluster.state.state import (
    MAX_ACTIONS_PER_NODE,
    MAX_OPEN_ACTIONS,
    MAX_OPEN_ACTIONS_OF_ONE,
    MAX_POLICIES_PER_NODE,
    ROLE_CHANGE,
    Member,
    PauseWindow,
)
from stationkeep.cluster.state.step import Refused, Step
from stationkeep.cluster.suggestion import suggestion, unknown
from stationkeep.cluster.transitions import Role, Rule, is_legal

MAX_PAUSE = 24 * 3_600_000
MAX_MAINTENANCE = 30 * 24 * 3_600_000
MAX_PRIORITY = 1_000
MAX_PARAMETERS = 32
MAX_TEXT = 1_024


def existing(step: Step, node: str) -> Member:
    """The member of that name; refused when there is none."""
    member = step.state.members.get(node)
    if member is None:
        raise Refused(Reason.UNKNOWN_NODE, unknown("node", node, step.state.members))
    return member


def _check_range(field: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise Refused(Reason.INVALID, f"{field}: {value} is not between {low} and {high}")


def check_name(field: str, value: str) -> None:
    """Refuses what cannot name a node, an action, a policy or a parameter."""
    fault = name_fault(value)
    if fault is not None:
        raise Refused(Reason.INVALID, f"{field}: {value[:80]!r} is not a name ({fault})")


def _take_seat(step: Step, rule: Rule, target: Member) -> dict[str, object]:
    """Moves the PRIMARY seat to `target`, demoting its holder to BACKUP."""
    changes = [Change(target.id, target.role, Role.PRIMARY)]
    if step.state.seat.holder is not None:
        changes.insert(0, Change(step.state.seat.holder, Role.PRIMARY, Role.BACKUP))
    for change in changes:
        if not is_legal(change.origin, change.target, rule):
            raise Refused(Reason.ILLEGAL_TRANSITION, f"{change.origin} to {change.target}")
    _record(step, rule, tuple(change.node for change in changes), changes=tuple(changes))
    change_roles(step, rule, tuple(changes))
    return {"primary": target.id, "epoch": step.state.seat.epoch}


def _record(
    step: Step,
    matter: str,
    subjects: tuple[str, ...],
    facts: dict[str, object] | None = None,
    changes: tuple[Change, ...] = (),
) -> None:
    step.decide(matter, Outcome.DONE, subjects, facts=facts, changes=changes)


def switchover(step: Step, command: Switchover) -> dict[str, object]:
    """Planned change: a living, healthy PRIMARY hands over to a fit and rested target."""
    state = step.state
    primary = state.primary
    if primary is None:
        raise Refused(Reason.NO_PRIMARY, "there is nobody to switch over from: use failover")
    if not is_alive(state, primary, step.now) or primary.run > 0:
        raise Refused(Reason.PRIMARY_UNHEALTHY, f"{primary.id} is not healthy: use failover")
    if command.target is None:
        choice = best_candidate(state, step.now)
        if choice.node is None:
            raise Refused(Reason.NO_CANDIDATE, _passed_over(choice.rejected))
        target = state.members[choice.node]
    else:
        target = existing(step, command.target)
        unfit = unfitness(state, target, step.now)
        if unfit is not None:
            raise Refused(unfit, f"target: {target.id} is unfit: {unfit}")
    for member in (primary, target):
        resting = cooldown_remaining(state, member, step.now)
        if resting > 0:
            detail = f"{member.id} changed role lately; {resting} ms of its cool-down remain"
            raise Refused(Reason.COOLDOWN, detail)
    return _take_seat(step, Rule.SWITCHOVER, target)


def _passed_over(rejected: tuple[tuple[str, str], ...]) -> str:
    passed = ", ".join(f"{node} {why}" for node, why in rejected)
    return f"no fit candidate: {passed or 'there is no other node'}"


def failover(step: Step, command: Failover) -> dict[str, object]:
    """Change of PRIMARY whatever its state; `force` takes a target that is unfit as well."""
    target = existing(step, command.target)
    unfit = unfitness(step.state, target, step.now)
    if unfit is Reason.IS_PRIMARY:
        raise Refused(unfit, f"target: {target.id} is PRIMARY already")
    if unfit is Reason.JOINING:
        raise Refused(unfit, f"target: {target.id} was never heard of")
    if unfit is not None and not command.force:
        raise Refused(unfit, f"target: {target.id} is unfit: {unfit}; force overrides this")
    return _take_seat(step, Rule.FAILOVER, target)


def pause(step: Step, command: Pause) -> dict[str, object]:
    """No automatic changes for a while; a later pause replaces an earlier one."""
    _check_range("duration", command.duration, 1_000, MAX_PAUSE)
    until = step.now + command.duration
    step.state.pause = PauseWindow(until, step.actor, step.comment)
    step.changed()
    step.emit(PauseChanged(until))
    _record(step, "pause", (), {"duration_ms": command.duration})
    return {"until_ms": until}


def resume(step: Step, _: Resume) -> dict[str, object]:
    """Ends a pause; without one there is nothing to do, and that is fine."""
    was_paused = step.state.pause is not None
    step.state.pause = None
    if was_paused:
        step.changed()
        step.emit(PauseChanged(None))
        _record(step, "resume", ())
    return {"was_paused": was_paused}


def set_maintenance(step: Step, command: SetMaintenance) -> dict[str, object]:
    """Drains a node to STANDBY and keeps it there for `duration` ms; 0 ends it."""
    member = existing(step, command.node)
    if command.duration == 0:
        was_in = member.maintenance_until is not None
        end_maintenance(step, member)
        if was_in:
            _record(step, "maintenance", (member.id,), {"on": False})
        return {"role": member.role.value}
    _check_range("duration", command.duration, 1_000, MAX_MAINTENANCE)
    changes = _drain(step, member)
    member.maintenance_until = step.now + command.duration
    facts: dict[str, object] = {"on": True, "duration_ms": command.duration}
    _record(step, "maintenance", (member.id,), facts, changes)
    if changes:
        change_roles(step, Rule.MAINTENANCE, changes)
    step.changed()
    step.emit(MemberChanged(member.id))
    return {"role": member.role.value, "until_ms": member.maintenance_until}


def _drain(step: Step, member: Member) -> tuple[Change, ...]:
    """The changes that free a node of its role; refused when nobody could be PRIMARY instead."""
    if member.role is Role.BACKUP:
        return (Change(member.id, Role.BACKUP, Role.STANDBY),)
    if member.role is not Role.PRIMARY:
        return ()
    choice = best_candidate(step.state, step.now)
    if choice.node is None:
        raise Refused(Reason.NO_CANDIDATE, _passed_over(choice.rejected))
    successor = step.state.members[choice.node]
    return (
        Change(member.id, Role.PRIMARY, Role.STANDBY),
        Change(successor.id, successor.role, Role.PRIMARY),
    )


def end_maintenance(step: Step, member: Member) -> None:
    """The node may hold roles again."""
    if member.maintenance_until is not None:
        member.maintenance_until = None
        step.changed()
        step.emit(MemberChanged(member.id))


def set_priority(step: Step, command: SetPriority) -> dict[str, object]:
    """Sets candidate order; the seat's holder cannot be excluded from being PRIMARY."""
    member = existing(step, command.node)
    _check_range("priority", command.priority, 0, MAX_PRIORITY)
    if command.priority == 0 and member.role is Role.PRIMARY:
        raise Refused(Reason.IS_PRIMARY, f"{member.id} is PRIMARY: switch over first")
    previous, member.priority = member.priority, command.priority
    step.changed()
    step.emit(MemberChanged(member.id))
    _record(step, "priority", (member.id,), {"from": previous, "to": command.priority})
    return {"priority": command.priority}


def put_policy(step: Step, command: PutPolicy) -> dict[str, object]:
    """Adds a local policy to a node, or replaces the one of the same name."""
    member = existing(step, command.node)
    check_name("name", command.name)
    if command.priority not in PRIORITIES:
        one_of = ", ".join(PRIORITIES)
        raise Refused(Reason.INVALID, f"priority: {command.priority[:80]!r} is none of {one_of}")
    _check_range("score", command.score, 0, PPM)
    _check_range("lifetime", command.lifetime, 0, MAX_MAINTENANCE)
    _check_range("forbids", len(command.forbids), 1, 32)
    for pattern in command.forbids:
        if not is_pattern(pattern):
            raise Refused(Reason.INVALID, f"forbids: {pattern[:80]!r} is not {PATTERN_RULE}")
    if command.name not in member.policies and len(member.policies) >= MAX_POLICIES_PER_NODE:
        raise Refused(Reason.LIMIT, f"a node may hold {MAX_POLICIES_PER_NODE} policies")
    expires = step.now + command.lifetime if command.lifetime else None
    member.policies[command.name] = Policy(
        command.name, command.priority, command.score, command.forbids, expires, step.now
    )
    step.emit(MemberChanged(member.id))
    facts: dict[str, object] = {"name": command.name, "priority": command.priority}
    facts |= {"score": command.score, "forbids": list(command.forbids)}
    _record(step, "policy", (member.id,), facts)
    return {"policies": sorted(member.policies)}


def remove_policy(step: Step, command: RemovePolicy) -> dict[str, object]:
    """Removes a local policy of a node."""
    member = existing(step, command.node)
    if command.name not in member.policies:
        raise Refused(Reason.INVALID, f"name: {member.id} holds no policy {command.name[:80]!r}")
    del member.policies[command.name]
    step.emit(MemberChanged(member.id))
    _record(step, "policy", (member.id,), {"name": command.name, "removed": True})
    return {"policies": sorted(member.policies)}


def change_settings(step: Step, command: ChangeSettings) -> dict[str, object]:
    """All of the changes or none: a set that breaks a relation is refused with the relation."""
    if not command.changes:
        raise Refused(Reason.INVALID, "changes: name at least one setting")
    before = step.state.settings
    try:
        step.state.settings = merge(before, command.changes)
    except SettingsError as error:
        raise Refused(Reason.SETTINGS, str(error)) from error
    fields = tuple(sorted(command.changes))
    step.changed()
    step.emit(SettingsChanged(fields))
    facts = {f: [getattr(before, f), command.changes[f]] for f in fields}
    _record(step, "settings", (), {"changed": facts})
    return {"changed": list(fields)}


def run_action(step: Step, command: RunAction) -> dict[str, object]:
    """Has nodes run their hook for an action."""
    state = step.state
    check_name("name", command.name)
    if command.name == ROLE_CHANGE:
        raise Refused(Reason.INVALID, f"name: {ROLE_CHANGE} is the cluster's own")
    for node in command.targets:
        existing(step, node)
    if len(set(command.targets)) < len(command.targets):
        raise Refused(Reason.INVALID, "targets: a node is named twice")
    targets = tuple(sorted(command.targets)) or alive(state, step.now)
    if not targets:
        raise Refused(Reason.NOT_ALIVE, "targets: no node is alive")
    if command.deadline:
        _check_range("deadline", command.deadline, 100, 24 * 3_600_000)
    _check_range("parameters", len(command.parameters), 0, MAX_PARAMETERS)
    for name, value in command.parameters.items():
        check_name("parameters", name)
        _check_range(f"length of parameters.{name}", len(value), 0, MAX_TEXT)
        if "\0" in value:
            detail = f"parameters.{name}: no process can be given the character NUL"
            raise Refused(Reason.INVALID, detail)
    _check_able(step, command.name, targets)
    if len(state.actions) >= MAX_OPEN_ACTIONS:
        raise Refused(Reason.LIMIT, f"{MAX_OPEN_ACTIONS} actions are open already")
    if sum(a.actor == step.actor for a in state.actions.values()) >= MAX_OPEN_ACTIONS_OF_ONE:
        detail = f"{MAX_OPEN_ACTIONS_OF_ONE} actions of this actor are open already"
        raise Refused(Reason.QUOTA, detail)
    action = open_action(
        step,
        command.name,
        targets,
        step.comment,
        parameters=command.parameters,
        deadline=command.deadline,
    )
    parameters: object = command.parameters
    facts = {"action": action.id, "name": action.name, "parameters": parameters}
    _record(step, "action", targets, facts)
    return {"action": action.id, "targets": list(targets), "deadline_ms": action.deadline}


def _check_able(step: Step, name: str, targets: tuple[str, ...]) -> None:
    """Refuses targets without a hook for the action: no node is escalated for what it cannot do."""
    members = step.state.members
    lacking = [node for node in targets if name not in (members[node].actions or ())]
    if not lacking:
        return
    known = {action for member in members.values() for action in member.actions or ()}
    if name not in known:
        detail = f"name: no node has a hook for {name}{suggestion(name, known)}"
        raise Refused(Reason.UNKNOWN_ACTION, detail)
    rest = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
    which = ", ".join(lacking[:5]) + rest
    raise Refused(Reason.UNKNOWN_ACTION, f"targets: {which} cannot run {name}: no hook for it")


def announce_actions(step: Step, command: AnnounceActions) -> dict[str, object]:
    """Records the actions that a node has hooks for; open actions no longer wait for it where it
    has none any more."""
    member = existing(step, command.node)
    _check_range("names", len(command.names), 0, MAX_ACTIONS_PER_NODE)
    for name in command.names:
        check_name("names", name)
    names = tuple(sorted(set(command.names)))
    if names == member.actions:
        return {"actions": list(names)}
    member.actions = names
    for action in pending_for(step.state, member.id):
        if action.name != ROLE_CHANGE and action.name not in names:
            release(step, action, member.id)
    step.emit(MemberChanged(member.id))
    return {"actions": list(names)}
