"""The only writer of the state: one match over the commands.

Total: whatever the bytes said, the answer is a value. An exception here would stop every
replica at the same entry for ever (node/raft/README.md, "L1"). Each command checks everything
before it changes anything; a refusal leaves nothing behind but the passage of time.
"""

from typing import Any, assert_never

import msgspec

from stationkeep.cluster import (
    access,
    alarms,
    ca_rotation,
    certificates,
    invitations,
    membership,
    operators,
    upgrades,
    webhook_deliveries,
)
from stationkeep.cluster.commands import (
    AbortCa,
    AbortRollout,
    AcceptInvitation,
    Acknowledge,
    AcknowledgeAlarm,
    AddMember,
    AdoptPlan,
    AdvanceRollout,
    AdvanceTime,
    AnnounceActions,
    AnyCommand,
    ApproveRollout,
    AssignRing,
    Barrier,
    CancelDeployment,
    CastVote,
    ChangeSettings,
    CheckRollouts,
    CreateDeployment,
    CreateRollout,
    CreateToken,
    Entry,
    ExpireTasks,
    Failover,
    FollowCa,
    FoundCluster,
    Invite,
    LiftFreeze,
    MarkOffline,
    MoveMember,
    NoteAccess,
    OfferTasks,
    OpenStage,
    Pause,
    PauseRollout,
    PromoteRollout,
    PutPolicy,
    RaiseLevel,
    RecordDelivery,
    RecordEvaluation,
    RecordGate,
    RecordMembers,
    RecordRebalance,
    RegisterDevices,
    ReleaseBrake,
    ReleaseRing,
    RemoveDevice,
    RemoveMember,
    RemovePolicy,
    RenewLeases,
    ReportDevices,
    ReportTasks,
    RequestRebalance,
    ResetCredential,
    Resume,
    ResumeRollout,
    RetryTasks,
    RevokeCertificate,
    RevokeCredential,
    RevokeInvitation,
    RevokeToken,
    RollBackRollout,
    RunAction,
    SetFreeze,
    SetHealthRule,
    SetMaintenance,
    SetPriority,
    SetRingPolicies,
    SetRingShares,
    StartRollout,
    SwitchCa,
    Switchover,
    TrustCa,
    UnblockArtifact,
)
from stationkeep.cluster.deadlines import advance
from stationkeep.cluster.delivery import arrivals, expiries
from stationkeep.cluster.delivery import orders as deployments
from stationkeep.cluster.delivery import reports as tasks
from stationkeep.cluster.fleet import checks, enrolment, orders, reports, storm
from stationkeep.cluster.names import RELEASE_RULE, UID_RULE, is_release, is_uid, text_fault
from stationkeep.cluster.numbers import TIME
from stationkeep.cluster.progression import freezes, looks, openings, rollback, strays, twins
from stationkeep.cluster.progression import orders as rollouts
from stationkeep.cluster.progression.holds import keep_time
from stationkeep.cluster.roles.actions import acknowledge
from stationkeep.cluster.roles.apply_evaluation import adopt_plan, echo_leases, record_evaluation
from stationkeep.cluster.roles.proposals import cast
from stationkeep.cluster.roles.seat import acknowledge_demotion
from stationkeep.cluster.settings import check
from stationkeep.cluster.state.codec import command_digest
from stationkeep.cluster.state.decisions import Outcome, Reason
from stationkeep.cluster.state.events import AnyEvent, Founded
from stationkeep.cluster.state.operations import Operation, OperationStatus, ends_trouble
from stationkeep.cluster.state.state import MAX_MEMBERS, ClusterState, Member
from stationkeep.cluster.state.step import Refused, Step, count

_LONGEST = {"key": 128, "actor": 256, "reason": operators.MAX_TEXT, "origin": 256, "claim": 256}
_BEFORE_FOUNDING = (FoundCluster, AdvanceTime, Barrier)


class Done(msgspec.Struct, frozen=True):
    """The command had its effect; `result` is the answer to a client."""

    result: dict[str, Any] = {}


class Rejected(msgspec.Struct, frozen=True):
    """A rule refused the command; nothing changed but time. `reason` is a `decisions.Reason`."""

    reason: str
    detail: str = ""


class Applied(msgspec.Struct, frozen=True):
    """What one entry did."""

    outcome: Done | Rejected
    events: tuple[AnyEvent, ...] = ()


def apply(state: ClusterState, entry: Entry, index: int) -> Applied:
    """Applies a committed entry at its log index.

    Time advances by a step at most, or one entry could take it to its end, after which none could
    be stamped. If that holds it back, it is late, and the next entries make up for it.
    """
    state.index = index
    state.time = max(state.time, min(entry.at, TIME.limit(state.time)))
    state.wall = entry.wall
    step = Step(state, entry, index)
    advance(step)
    step.attribute(entry.draft)
    outcome = _order(step, entry) if entry.draft.key else _attempt(step, entry.draft.command)
    return Applied(outcome, tuple(step.events))


def _order(step: Step, entry: Entry) -> Done | Rejected:
    """Counts a refused order. It is not a decision: there may be any number of refusals, and they
    must not push decisions out of the log."""
    outcome = _once(step, entry)
    if isinstance(outcome, Rejected):
        count(step.state.counters.refused, outcome.reason)
    return outcome


def _once(step: Step, entry: Entry) -> Done | Rejected:
    """Applies a keyed command: its outcome is remembered, and a retry is answered from memory."""
    key, actor, command = entry.draft.key, entry.draft.actor, entry.draft.command
    for field, limit in _LONGEST.items():  # they are kept and shown
        if len(getattr(entry.draft, field)) > limit:
            return Rejected(Reason.INVALID, f"{field}: more than {limit} characters")
        fault = text_fault(getattr(entry.draft, field))
        if fault is not None:
            return Rejected(Reason.INVALID, f"{field}: not {fault}")
    operations = step.state.operations
    digest = command_digest(command)
    known = operations.find(actor, key)
    if known is not None:
        if known.digest != digest:
            return Rejected(Reason.DUPLICATE, f"key {key[:80]!r} was used for another command")
        if known.status is OperationStatus.DONE:
            return Done(known.result)
        return Rejected(known.problem, known.detail)
    full = operations.make_room(actor, step.now, rescue=ends_trouble(command))
    if full is not None:
        return Rejected(Reason.QUOTA, full)
    outcome = _attempt(step, command)
    if step.state.founded:  # "not founded yet" is no outcome: the same order may come again
        operations.remember(_record(step, entry, digest, outcome))
    return outcome


def _record(step: Step, entry: Entry, digest: str, outcome: Done | Rejected) -> Operation:
    done = isinstance(outcome, Done)
    return Operation(
        key=entry.draft.key,
        kind=type(entry.draft.command).__name__,
        actor=entry.draft.actor,
        reason=entry.draft.reason,
        at=step.now,
        index=step.index,
        status=OperationStatus.DONE if done else OperationStatus.REFUSED,
        digest=digest,
        problem="" if isinstance(outcome, Done) else outcome.reason,
        detail="" if isinstance(outcome, Done) else outcome.detail,
        result=outcome.result if isinstance(outcome, Done) else {},
    )


def _attempt(step: Step, command: AnyCommand) -> Done | Rejected:
    if not step.state.founded and not isinstance(command, _BEFORE_FOUNDING):
        return Rejected(Reason.NOT_FOUNDED, "the cluster is not founded yet")
    lacking = upgrades.refusal(step.state, command, step.now)
    if lacking is not None:
        return Rejected(Reason.LEVEL, lacking)
    if ended := access.revoked_on_the_way(step):
        return Rejected(Reason.REVOKED, ended)
    try:
        done = Done(_dispatch(step, command))
        keep_time(step)
        return done
    except Refused as refusal:
        return Rejected(str(refusal.reason), refusal.detail)


def _dispatch(step: Step, command: AnyCommand) -> dict[str, Any]:
    match command:
        case RecordEvaluation():
            done = record_evaluation(step, command)
            access.watch_tokens(step)
            return done
        case RenewLeases():
            return echo_leases(step, command.echoes)
        case AdoptPlan():
            return adopt_plan(step, command)
        case CastVote():
            return _vote(step, command)
        case Acknowledge():
            return _acknowledge(step, command)
        case AdvanceTime() | Barrier():
            return {}
        case FoundCluster():
            return _found(step, command)
        case Switchover():
            return operators.switchover(step, command)
        case Failover():
            return operators.failover(step, command)
        case Pause():
            return operators.pause(step, command)
        case Resume():
            return operators.resume(step, command)
        case SetMaintenance():
            return operators.set_maintenance(step, command)
        case SetPriority():
            return operators.set_priority(step, command)
        case PutPolicy():
            return operators.put_policy(step, command)
        case RemovePolicy():
            return operators.remove_policy(step, command)
        case ChangeSettings():
            return operators.change_settings(step, command)
        case RunAction():
            return operators.run_action(step, command)
        case AnnounceActions():
            return operators.announce_actions(step, command)
        case AddMember():
            return membership.add_member(step, command)
        case RemoveMember():
            return membership.remove_member(step, command)
        case MoveMember():
            return membership.move_member(step, command)
        case RaiseLevel():
            return upgrades.raise_level(step, command)
        case RecordMembers():
            return membership.record_members(step, command)
        case RegisterDevices():
            return strays.register_devices(step, command)
        case ReportDevices():
            return reports.report_devices(step, command)
        case MarkOffline():
            return reports.mark_offline(step, command)
        case RecordRebalance():
            return checks.record_rebalance(step, command)
        case RequestRebalance():
            return checks.request_rebalance(step, command)
        case AssignRing():
            return orders.assign_ring(step, command)
        case ReleaseRing():
            return orders.release_ring(step, command)
        case RemoveDevice():
            return arrivals.remove_device(step, command)
        case RevokeCredential():
            return enrolment.revoke_credential(step, command)
        case ResetCredential():
            return enrolment.reset_credential(step, command)
        case SetRingShares():
            return orders.set_ring_shares(step, command)
        case SetHealthRule():
            return orders.set_health_rule(step, command)
        case SetRingPolicies():
            return orders.set_ring_policies(step, command)
        case ReleaseBrake():
            return storm.release_brake(step, command)
        case CreateDeployment():
            return deployments.create_deployment(step, command)
        case CancelDeployment():
            return deployments.cancel_deployment(step, command)
        case RetryTasks():
            return deployments.retry_tasks(step, command)
        case OfferTasks():
            return twins.offer_tasks(step, command)
        case ExpireTasks():
            return expiries.expire_tasks(step, command)
        case ReportTasks():
            return tasks.report_tasks(step, command)
        case CreateRollout():
            return rollouts.create_rollout(step, command)
        case StartRollout():
            return rollouts.start_rollout(step, command)
        case ApproveRollout():
            return rollouts.approve_rollout(step, command)
        case PauseRollout():
            return rollouts.pause_rollout(step, command)
        case ResumeRollout():
            return rollouts.resume_rollout(step, command)
        case PromoteRollout():
            return rollouts.promote_rollout(step, command)
        case AbortRollout():
            return rollouts.abort_rollout(step, command)
        case RollBackRollout():
            return rollback.roll_back(step, command)
        case SetFreeze():
            return freezes.set_freeze(step, command)
        case LiftFreeze():
            return freezes.lift_freeze(step, command)
        case UnblockArtifact():
            return freezes.unblock_artifact(step, command)
        case OpenStage():
            return openings.open_stage(step, command)
        case AdvanceRollout():
            return looks.advance_rollout(step, command)
        case CheckRollouts():
            return looks.check_rollouts(step, command)
        case RecordGate():
            return rollouts.record_gate(step, command)
        case AcknowledgeAlarm():
            return alarms.acknowledge_alarm(step, command)
        case RecordDelivery():
            return webhook_deliveries.record_delivery(step, command)
        case CreateToken():
            return access.create_token(step, command)
        case RevokeToken():
            return access.revoke_token(step, command)
        case NoteAccess():
            return access.note_access(step, command)
        case RevokeCertificate():
            return certificates.revoke_certificate(step, command)
        case TrustCa():
            return ca_rotation.trust_ca(step, command)
        case FollowCa():
            return ca_rotation.follow_ca(step, command)
        case SwitchCa():
            return ca_rotation.switch_ca(step, command)
        case AbortCa():
            return ca_rotation.abort_ca(step, command)
        case Invite():
            return invitations.invite(step, command)
        case AcceptInvitation():
            return invitations.accept_invitation(step, command)
        case RevokeInvitation():
            return invitations.revoke_invitation(step, command)
    assert_never(command)


def _found(step: Step, command: FoundCluster) -> dict[str, Any]:
    """Founds the cluster: every configured member is STANDBY and has not reported yet."""
    state = step.state
    if state.founded:
        raise Refused(Reason.ALREADY_FOUNDED, f"this is {state.cluster_id}")
    ids = [spec.id for spec in command.members]
    if not command.cluster_id or not 1 <= len(ids) <= MAX_MEMBERS or len(set(ids)) < len(ids):
        raise Refused(Reason.INVALID, f"a cluster has an id and 1 to {MAX_MEMBERS} members")
    for node in ids:
        operators.check_name("members", node)
    fault = check(command.settings)
    if fault is not None:
        raise Refused(Reason.SETTINGS, str(fault))
    if not is_release(command.release):
        raise Refused(Reason.INVALID, f"release: {command.release[:80]!r} is not {RELEASE_RULE}")
    if not is_uid(command.uid):
        raise Refused(Reason.INVALID, f"uid: {command.uid[:80]!r} is not {UID_RULE}")
    state.cluster_id, state.uid = command.cluster_id, command.uid
    state.level, state.release = command.level, command.release
    state.settings = command.settings
    specs = sorted(command.members, key=lambda spec: spec.id)
    state.members = {spec.id: Member(spec.id, spec.raft, spec.http) for spec in specs}
    step.changed()
    step.decide("founding", Outcome.NOTED, tuple(sorted(ids)))
    step.emit(Founded(command.cluster_id))
    return {"members": sorted(ids)}


def _vote(step: Step, command: CastVote) -> dict[str, Any]:
    proposal = step.state.proposals.get(command.proposal)
    if proposal is None:
        raise Refused(Reason.CLOSED, f"proposal: {command.proposal} is not open")
    if command.voter not in proposal.electorate:
        raise Refused(Reason.NOT_AN_ELECTOR, f"voter: {command.voter[:80]!r}")
    if command.voter in proposal.ballots:
        raise Refused(Reason.DUPLICATE, f"voter: {command.voter} has voted")
    cast(step, proposal, command)
    return {"outcome": proposal.outcome.value}


def _acknowledge(step: Step, command: Acknowledge) -> dict[str, Any]:
    action = step.state.actions.get(command.action)
    if action is None:
        raise Refused(Reason.CLOSED, f"action: {command.action[:80]!r} is not open")
    if command.node not in action.targets:
        raise Refused(Reason.NOT_A_TARGET, f"node: {command.node[:80]!r}")
    if command.node in action.acks:
        raise Refused(Reason.DUPLICATE, f"node: {command.node} has answered")
    acknowledge(step, action, command.node, command.success, command.detail[:500])
    # A node that is not among the changed only says that it knows; its own demotion may still run.
    if command.success and command.node in {change.node for change in action.changes}:
        acknowledge_demotion(step, command.node, action.epoch)
    return {"compliance": action.compliance}
