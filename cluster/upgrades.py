"""Rolling upgrades: what each member runs, and when the cluster may use what all of them have.

While releases are mixed, the state stays at its level, and any member may be downgraded. Once every
member has reported a higher level the leader raises the state's to it, ten minutes after the last
one was upgraded; `level_hold` keeps it down for as long as one wants to be able to go back. After
that an older release cannot follow: it stops at the entry that raised the level, with exit code 8.
"""

from stationkeep.cluster.alarms import MEMBER_OUTDATED
from stationkeep.cluster.commands import Command, Measured, RaiseLevel
from stationkeep.cluster.levels import LARGEST, LOWEST, since
from stationkeep.cluster.names import RELEASE_RULE, is_release
from stationkeep.cluster.state.decisions import Outcome, Reason
from stationkeep.cluster.state.state import ClusterState, Member
from stationkeep.cluster.state.step import Refused, Step

SETTLED = 600_000
"""ms after the last member was upgraded until the leader raises the level by itself: time to see
whether the release is any good, and to go back."""


def note_releases(step: Step, samples: tuple[Measured, ...]) -> None:
    """Takes what members report of their release; of who was not heard, the last report stands."""
    for measured in samples:
        member = step.state.members[measured.node]
        if not LOWEST <= measured.highest <= LARGEST or not is_release(measured.release):
            continue
        if measured.highest != member.highest:
            member.upgraded_at = step.now
        member.release, member.highest = measured.release, measured.highest
        _watch(step, member)


def _watch(step: Step, member: Member) -> None:
    """The alarm of a member that cannot follow, because it was downgraded or joined with an old
    release: it stops as soon as it meets what raised the level."""
    if member.highest >= step.state.level:
        step.clear_alarm(MEMBER_OUTDATED, member.id)
    else:
        needed = f"the cluster is at level {step.state.level}: install {step.state.release}"
        step.raise_alarm(MEMBER_OUTDATED, f"{_say(member)}, {needed}", member.id)


def _say(member: Member) -> str:
    if not member.highest:
        return f"{member.id} has not reported its release yet"
    return f"{member.id} runs {member.release} and has levels up to {member.highest}"


def reachable(state: ClusterState) -> int:
    """The highest level that all members have; 0 as long as one has not reported any."""
    return min((member.highest for member in state.members.values()), default=0)


def obstacles(state: ClusterState, level: int, now: int) -> list[str]:
    """Why the level may not be raised to this now, a sentence each; none if it may."""
    hold = state.settings.level_hold
    found = [f"level_hold is {hold}"] if 0 < hold < level else []
    for member in sorted(state.members.values(), key=lambda member: member.id):
        heard = member.last_heard
        if member.highest < level:
            found.append(_say(member))
        elif heard is None or now - heard > state.settings.heartbeat_timeout:
            found.append(f"{member.id} is not heard")
    return found


def due_at(state: ClusterState) -> int | None:
    """Cluster ms at which the leader raises the level to what is `reachable`; None if it may
    not."""
    level = reachable(state)
    if level <= state.level or obstacles(state, level, state.time):
        return None
    upgraded = [m.upgraded_at for m in state.members.values() if m.upgraded_at is not None]
    return max(upgraded, default=state.time) + SETTLED


def refusal(state: ClusterState, command: Command, now: int) -> str | None:
    """Why the cluster's level, or its members', does not allow this command now; None if it does.
    Asked before a command enters the log, where it would stop older releases, and in apply."""
    if not isinstance(command, RaiseLevel):
        wanted = since(command)
        name = type(command).__name__
        below = f"{name} needs level {wanted}, and the cluster is at level {state.level}"
        return f"{below} (stationkeep level)" if wanted > state.level else None
    if command.level <= state.level:
        return f"level: {command.level} refused: the cluster is at level {state.level}"
    found = obstacles(state, command.level, now)
    return f"level: {command.level} refused: {'; '.join(found)}" if found else None


def raise_level(step: Step, command: RaiseLevel) -> dict[str, object]:
    """Raises the level, for good."""
    state = step.state
    if not is_release(command.release):
        raise Refused(Reason.INVALID, f"release: {command.release[:80]!r} is not {RELEASE_RULE}")
    facts = {"from": state.level, "to": command.level, "release": command.release}
    state.level, state.release = command.level, command.release
    step.changed()
    done = Outcome.DONE if step.actor else Outcome.NOTED
    step.decide("level", done, tuple(sorted(state.members)), facts=facts)
    return {"level": state.level}
