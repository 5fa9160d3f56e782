"""Alarms: what an operator should look at, raised once, cleared once, acknowledged between.

Some follow from the replicated state alone and are raised where it changes (the seat, the brake,
the storm brake, compliance). Others only a member knows, as its disk and its clock, or the leader
of it: how far behind it is. They come with its health reports (`SELF_REPORTED`); the leader's
samples carry them into the log, and here they must last before they count: one complaint raises
nothing, one quiet evaluation clears nothing. Of a member that is not heard nothing is concluded
but its silence.

Every raising, clearing and acknowledgement is a decision too: that is the timeline, the audit
file and the outbox of the webhooks at once.
"""

from typing import NamedTuple

from stationkeep.cluster.commands import AcknowledgeAlarm, Measured
from stationkeep.cluster.registry import is_alive
from stationkeep.cluster.settings import format_duration
from stationkeep.cluster.state.decisions import Reason
from stationkeep.cluster.state.state import ClusterState, Member, alarm_id
from stationkeep.cluster.state.step import Refused, Step
from stationkeep.cluster.suggestion import unknown


class Kind(NamedTuple):
    """One alarm that exists. `confirm`, `calm`: evaluations in a row that must complain before
    it is raised, and be quiet before it is cleared; of no concern to alarms that the state
    raises by itself."""

    severity: str  # "critical": the cluster cannot do its work; "warning": it soon may not
    meaning: str
    confirm: int = 1
    calm: int = 1


NO_PRIMARY = "no_primary"
NO_CANDIDATE = "no_candidate"
PRIMARY_DEGRADED = "primary_degraded"
COMPLIANCE = "compliance"
BRAKE = "brake"
DEVICE_STORM = "device_storm"
PINNED_UNHEALTHY = "pinned_unhealthy"
MEMBER_UNREACHABLE = "member_unreachable"
MEMBER_LAGGING = "member_lagging"
DISK_LOW = "disk_low"
MEMBER_OUTDATED = "member_outdated"
CLOCK_JUMP = "clock_jump"
CERTIFICATE_EXPIRING = "certificate_expiring"
CERTIFICATE_EXPIRED = "certificate_expired"
CERTIFICATE_REJECTED = "certificate_rejected"
CA_EXPIRING = "ca_expiring"
TOKEN_EXPIRING = "token_expiring"  # noqa: S105 - an alarm
CA_EXPOSED = "ca_exposed"
INSECURE = "insecure"
NAME_UNRESOLVED = "name_unresolved"
IMPLAUSIBLE_NUMBER = "implausible_number"
WEBHOOK_MISSED = "webhook_missed"
ROLLOUT_FAILED = "rollout_failed"
ROLLOUT_HELD = "rollout_held"
ROLLOUT_WAITING = "rollout_waiting"
ROLLBACK_INCOMPLETE = "rollback_incomplete"
DEVICES_STRANDED = "devices_stranded"
SAMPLE_RATIO = "sample_ratio"

ALARMS: dict[str, Kind] = {
    NO_PRIMARY: Kind("critical", "The PRIMARY seat is empty for longer than one evaluation."),
    NO_CANDIDATE: Kind("critical", "A PRIMARY is wanted and no node is fit to be it."),
    PRIMARY_DEGRADED: Kind("critical", "The PRIMARY has failed and still holds the seat."),
    COMPLIANCE: Kind("warning", "Nodes missed the deadline of an action."),
    BRAKE: Kind("warning", "More than half of the members turned unhealthy at once."),
    DEVICE_STORM: Kind("warning", "Too many devices turned unhealthy within one check."),
    PINNED_UNHEALTHY: Kind("warning", "Unhealthy devices are pinned to PROD."),
    MEMBER_UNREACHABLE: Kind("warning", "A member was not heard for heartbeat_timeout.", calm=2),
    MEMBER_LAGGING: Kind("warning", "A member applies the log too slowly.", confirm=3, calm=2),
    MEMBER_OUTDATED: Kind("critical", "A member runs a release that cannot follow the log."),
    DISK_LOW: Kind("warning", "The disk of a member is nearly full.", confirm=2, calm=2),
    CLOCK_JUMP: Kind("warning", "The clock of a member jumped."),
    CERTIFICATE_EXPIRING: Kind("warning", "A certificate of a member expires soon."),
    CERTIFICATE_EXPIRED: Kind("critical", "A certificate of a member has expired."),
    CERTIFICATE_REJECTED: Kind("warning", "New certificate files of a member cannot be used."),
    CA_EXPIRING: Kind("warning", "The CA expires within half a year."),
    TOKEN_EXPIRING: Kind("warning", "A token expires soon, and nothing has replaced it."),
    CA_EXPOSED: Kind("critical", "A machine in foreign hands may have the CA's key."),
    INSECURE: Kind("warning", "A member listens beyond loopback to anybody."),
    NAME_UNRESOLVED: Kind(
        "warning", "A member cannot resolve the name of another.", confirm=3, calm=2
    ),
    IMPLAUSIBLE_NUMBER: Kind("warning", "A member was told a number that cannot be."),
    WEBHOOK_MISSED: Kind("warning", "A webhook missed decisions, and does not know it yet."),
    ROLLOUT_FAILED: Kind("critical", "A gate of a rollout is proven broken."),
    ROLLOUT_HELD: Kind("critical", "A failed rollout waits because automatic changes pause."),
    ROLLOUT_WAITING: Kind("warning", "A rollout has waited for people for an hour."),
    ROLLBACK_INCOMPLETE: Kind("warning", "Devices of a rollout that was rolled back are not back."),
    SAMPLE_RATIO: Kind("warning", "Devices do not come to the variants of a rollout by weight."),
    DEVICES_STRANDED: Kind("warning", "Devices of a rollout have nothing to go back to."),
}
"""Every alarm by name: a closed set, so that a metric of each can be 0."""
SELF_REPORTED = (
    *(MEMBER_LAGGING, DISK_LOW, CLOCK_JUMP, IMPLAUSIBLE_NUMBER, CERTIFICATE_EXPIRING),
    *(CERTIFICATE_EXPIRED, CERTIFICATE_REJECTED, CA_EXPIRING, INSECURE, NAME_UNRESOLVED),
)
"""Names that members report, or the leader about members; all others follow from the state."""
MAX_DETAIL = 200


def raised_by_name(state: ClusterState) -> dict[str, int]:
    """How many alarms of each name are raised; 0 for those that are not."""
    counted = dict.fromkeys(ALARMS, 0)
    for alarm in state.alarms.values():
        counted[alarm.name] += 1
    return counted


def unacknowledged_by_name(state: ClusterState) -> dict[str, int]:
    """How many raised alarms are not acknowledged yet."""
    counted = dict.fromkeys(ALARMS, 0)
    for alarm in state.alarms.values():
        counted[alarm.name] += alarm.acknowledged is None
    return counted


def watch_members(step: Step, samples: tuple[Measured, ...]) -> None:
    """Takes what an evaluation's samples say of each member, beside its risk."""
    for measured in samples:
        member = step.state.members[measured.node]
        if member.joining:
            continue
        _weigh(step, member, MEMBER_UNREACHABLE, _silence(step, member))
        if measured.complaints is not None:
            said = {c.name: c.detail[:MAX_DETAIL] for c in measured.complaints}
            for name in SELF_REPORTED:
                _weigh(step, member, name, said.get(name))


def _silence(step: Step, member: Member) -> str | None:
    if is_alive(step.state, member, step.now):
        return None
    assert member.last_heard is not None  # else it were joining
    return f"not heard for {format_duration((step.now - member.last_heard) // 1_000 * 1_000)}"


def _weigh(step: Step, member: Member, name: str, complaint: str | None) -> None:
    """Raises or clears a member's alarm after enough evaluations that say so."""
    raised = alarm_id(name, member.id) in step.state.alarms
    if raised is (complaint is not None):
        member.doubts.pop(name, None)
        return
    doubts = member.doubts.get(name, 0) + 1
    if doubts < (ALARMS[name].calm if raised else ALARMS[name].confirm):
        member.doubts[name] = doubts
        return
    member.doubts.pop(name, None)
    if complaint is None:
        step.clear_alarm(name, member.id)
    else:
        step.raise_alarm(name, complaint, member.id)


def forget_member(step: Step, node: str) -> None:
    """Clears the alarms of a node that has left."""
    for alarm in list(step.state.alarms.values()):
        if alarm.subject == node:
            step.clear_alarm(alarm.name, node)


def acknowledge_alarm(step: Step, command: AcknowledgeAlarm) -> dict[str, object]:
    """Acknowledges one alarm by its id, or all raised alarms of a name."""
    wanted = command.alarm
    meant = [a for a in step.state.alarms.values() if wanted in (a.id, a.name)]
    if not meant:
        raised = (alarm.id for alarm in step.state.alarms.values())
        raise Refused(Reason.UNKNOWN_ALARM, unknown("alarm", wanted, raised))
    fresh = [alarm for alarm in meant if alarm.acknowledged is None]
    if not fresh:
        by = ", ".join(sorted({a.acknowledged.actor for a in meant if a.acknowledged}))
        raise Refused(Reason.DUPLICATE, f"alarm: {wanted} was acknowledged already, by {by}")
    for alarm in fresh:
        step.acknowledge_alarm(alarm)
    return {"acknowledged": [alarm.id for alarm in fresh]}
