"""The cluster in one sentence, and what needs attention: one rule for page, `status` and `watch`.

`ok` means that nothing needs attention. So a cluster that is well but paused is not `ok`, nor is it
according to a node that cannot know: what a node sees for itself (`Sight`) counts beside the state,
and from a state older than `heartbeat_timeout` nothing is concluded about any node's health.
"""

import enum
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from stationkeep.cluster import alarms
from stationkeep.cluster.fleet import storm
from stationkeep.cluster.progression.explain import why_of
from stationkeep.cluster.registry import is_alive
from stationkeep.cluster.roles.candidates import unfitness
from stationkeep.cluster.roles.health import is_unhealthy
from stationkeep.cluster.rollouts.lifecycle import WAITING, RolloutState
from stationkeep.cluster.rollouts.rollout import Rollout
from stationkeep.cluster.state.state import Alarm, ClusterState, Member, alarm_id
from stationkeep.cluster.transitions import Role

SICK = 4
"""One in this many online devices may be unhealthy; more need attention."""
AWAY = 2
"""One in this many devices may be offline; more need attention."""


class Level(enum.StrEnum):
    """Ordered by gravity. `critical`: the cluster cannot do its work, or is about to be unable."""

    OK = "ok"
    ATTENTION = "attention"
    CRITICAL = "critical"


class Need(NamedTuple):
    """One problem that needs attention. `alarm`: its id if it is a raised alarm, else empty;
    `rollout`: the one that it is about, else empty."""

    level: Level
    sentence: str
    alarm: str = ""
    rollout: str = ""


class Verdict(NamedTuple):
    """`needs`: the gravest first; none exactly when `level` is ok. `barred`: why no order can be
    carried out now, else empty."""

    level: Level
    headline: str
    needs: tuple[Need, ...]
    barred: str


class Sight(NamedTuple):
    """What one node sees for itself. `age`: ms since it was last up to date; `acting`: what each
    member acts as, None if it was not heard; `late`: webhooks, and for how many ms each waits."""

    node: str
    leader: str | None
    has_quorum: bool
    connected: int
    age: int
    acting: Mapping[str, Role | None]
    removed: bool = False
    journal_fails: bool = False
    late: Mapping[str, int] = MappingProxyType({})


def is_current(state: ClusterState, age: int) -> bool:
    """Whether a state that is `age` ms old still says anything about a node's health."""
    return age <= state.settings.heartbeat_timeout


def judge(state: ClusterState, now: int, sight: Sight) -> Verdict:
    """The verdict at cluster time `now`, as one node gives it."""
    if not state.founded:
        needs = [Need(Level.ATTENTION, "its first members have not all found each other")]
        headline = "The cluster is not founded yet"
        return Verdict(Level.ATTENTION, headline, tuple(needs), f"{headline}.")
    needs = [
        *_of_the_node(state, sight),
        *_of_the_seat(state, now, sight),
        *_of_the_alarms(state),
        *_of_the_members(state, now, sight),
        *_of_the_switches(state, now),
        *_of_the_fleet(state),
        *_of_the_rollouts(state),
        *_of_the_webhooks(sight),
    ]
    needs.sort(key=lambda need: need.level is not Level.CRITICAL)
    level = needs[0].level if needs else Level.OK
    return Verdict(level, _headline(state, sight, len(needs)), tuple(needs), _barred(state, sight))


def _barred(state: ClusterState, sight: Sight) -> str:
    if sight.removed:
        return f"{sight.node} is no member any more: it cannot pass orders on."
    if not sight.has_quorum:
        return f"Nothing can be changed without a quorum: {_contacts(state, sight)}."
    return "" if sight.leader else "Nothing can be changed until a leader is elected."


def _contacts(state: ClusterState, sight: Sight) -> str:
    members = len(state.members)
    return (
        f"{sight.node} is in touch with {sight.connected} of {members} members, "
        f"{members // 2 + 1} are needed"
    )


# -- the headline ----------------------------------------------------------------------------------


def _headline(state: ClusterState, sight: Sight, needs: int) -> str:
    """The worst that can be said, else who is PRIMARY and how it is."""
    if sight.removed:
        return f"{sight.node} is no member any more"
    if not sight.has_quorum:
        return "The cluster has no quorum"
    if not is_current(state, sight.age):
        return f"{sight.node} is {_said(sight.age)} behind"
    primary, trouble = state.primary, _trouble(state, sight)
    if primary is None:
        return "There is no PRIMARY"
    if not state.seat.active:
        return f"{primary.id} takes over as PRIMARY"
    if trouble:
        return f"{primary.id} is PRIMARY but {trouble.removeprefix('is ')}"
    good = f"{primary.id} is PRIMARY and healthy"
    if not needs:
        return good
    return f"{good}, but {needs} {'thing needs' if needs == 1 else 'things need'} attention"


def _trouble(state: ClusterState, sight: Sight) -> str:
    """What is wrong with a PRIMARY in office; empty when nothing is."""
    primary = state.primary
    if primary is None or not state.seat.active:
        return ""
    acting = sight.acting.get(primary.id)
    ill = primary.run > 0 and is_current(state, sight.age)
    if acting is None or (ill and primary.history[-1].missed):
        return "is not heard"
    if acting is Role.SAFE_MODE:
        return "is fenced"
    if ill:
        return "is unhealthy"
    return "" if acting is Role.PRIMARY else f"still acts as {acting}"


# -- what needs somebody ---------------------------------------------------------------------------


def _of_the_node(state: ClusterState, sight: Sight) -> Iterator[Need]:
    """What concerns the node that answers, and what it shows."""
    if sight.removed:
        yield Need(Level.CRITICAL, f"{sight.node} was removed: what it shows is old")
    elif not sight.has_quorum:
        yield Need(Level.CRITICAL, f"{_contacts(state, sight)}: nothing can be changed")
    elif sight.leader is None:
        yield Need(Level.ATTENTION, "nobody leads Raft: nothing is decided before an election")
    if sight.journal_fails:
        yield Need(Level.CRITICAL, f"{sight.node} cannot write its log and takes no part in Raft")
    if not sight.removed and not is_current(state, sight.age):
        yield Need(Level.ATTENTION, f"what {sight.node} shows is {_said(sight.age)} old")


def _of_the_seat(state: ClusterState, now: int, sight: Sight) -> Iterator[Need]:
    seat, primary = state.seat, state.primary
    if primary is None:
        if alarms.NO_PRIMARY not in state.alarms:
            yield Need(Level.CRITICAL, "the PRIMARY seat is empty")
        return
    if not seat.active:
        left = _said(max(0, seat.fence_until - now))
        waits = f"{primary.id} waits for its predecessor to step down, {left} at the most"
        yield Need(Level.ATTENTION, waits)
        return
    trouble, acting = _trouble(state, sight), sight.acting.get(primary.id)
    if primary.run and is_current(state, sight.age):
        level = Level.ATTENTION if primary.run == 1 else Level.CRITICAL
        yield Need(level, f"{primary.id} {trouble}: {_countdown(state, primary)}")
    elif trouble:
        level = Level.CRITICAL if acting in (None, Role.SAFE_MODE) else Level.ATTENTION
        yield Need(level, f"{primary.id}, PRIMARY by the table (epoch {seat.epoch}), {trouble}")
    else:
        yield from _off_and_on(state, primary)


def _countdown(state: ClusterState, primary: Member) -> str:
    """How far it is from being replaced, and why."""
    limit = state.settings.failures_to_fail_primary
    samples = f"{primary.run} of the {limit} bad samples in a row after which it is replaced"
    cause = primary.history[-1].cause
    return f"{samples} ({cause})" if cause else samples


def _off_and_on(state: ClusterState, primary: Member) -> Iterator[Need]:
    """As many bad samples as would have cost it the seat, had they come in a row."""
    bad = sum(is_unhealthy(sample, state.settings) for sample in primary.history)
    if bad >= state.settings.failures_to_fail_primary:
        lately = f"{bad} of the last {len(primary.history)} samples of {primary.id} were bad"
        yield Need(Level.ATTENTION, f"{lately}, though never enough in a row to replace it")


def _of_the_alarms(state: ClusterState) -> Iterator[Need]:
    for alarm in sorted(state.alarms.values(), key=lambda alarm: (alarm.since, alarm.id)):
        critical = alarms.ALARMS[alarm.name].severity == "critical"
        yield Need(Level.CRITICAL if critical else Level.ATTENTION, _say_alarm(alarm), alarm.id)


def _say_alarm(alarm: Alarm) -> str:
    name = " ".join(filter(None, [alarm.name.replace("_", " "), alarm.subject]))
    seen = f" (seen by {alarm.acknowledged.actor})" if alarm.acknowledged else ""
    return f"{name}: {alarm.detail or alarms.ALARMS[alarm.name].meaning}{seen}"


def _of_the_members(state: ClusterState, now: int, sight: Sight) -> Iterator[Need]:
    """Those without the seat."""
    others = [m for _, m in sorted(state.members.items()) if m.id != state.seat.holder]
    if not is_current(state, sight.age):
        silent = ", ".join(m.id for m in others if sight.acting.get(m.id) is None)
        if silent:
            yield Need(Level.ATTENTION, f"{sight.node} does not hear {silent}")
        return
    for member in others:
        wrong = _wrong_with(state, member, now)
        if wrong:
            yield Need(Level.ATTENTION, f"{member.id} {wrong}")
    fit = any(unfitness(state, member, now) is None for member in others)
    if state.seat.holder and others and not fit and alarms.NO_CANDIDATE not in state.alarms:
        yield Need(Level.ATTENTION, f"no node is fit to take over from {state.seat.holder}")


def _wrong_with(state: ClusterState, member: Member, now: int) -> str:
    """What is wrong with a member, unless an alarm says it."""
    if member.joining:
        return "is joining"
    if not is_alive(state, member, now):
        told = alarm_id(alarms.MEMBER_UNREACHABLE, member.id) in state.alarms
        return "" if told else f"is not heard, for {_said(now - (member.last_heard or 0))}"
    cause = f" ({member.history[-1].cause})" if member.history and member.history[-1].cause else ""
    if member.role is Role.SAFE_MODE:
        return f"keeps still in SAFE_MODE until it is well{cause}"
    if member.run:
        samples = "1 sample" if member.run == 1 else f"{member.run} samples in a row"
        how = "not heard" if member.history[-1].missed else "unhealthy"
        return f"is {how} for {samples}{cause}"
    if member.unable and alarm_id(alarms.MEMBER_LAGGING, member.id) not in state.alarms:
        return member.unable
    return ""


def _of_the_switches(state: ClusterState, now: int) -> Iterator[Need]:
    """What an operator holds up; the brakes are alarms."""
    pause = state.pause
    if pause is not None and pause.until > now:
        why = f"{pause.actor or 'nobody named'}: {pause.reason or 'no reason given'}"
        left = _said(pause.until - now)
        yield Need(
            Level.ATTENTION,
            f"automatic changes pause for {left} ({why}): {_held_up(state)}",
        )
    if not state.settings.swarm_mode:
        off = "automatic changes are switched off (swarm_mode)"
        yield Need(Level.ATTENTION, f"{off}: {_held_up(state)}")


def _held_up(state: ClusterState) -> str:
    begun = (each for each in state.rollouts.open_ones() if each.state not in WAITING)
    rollouts = ", and no rollout goes on" if any(begun) else ""
    return f"a PRIMARY that fails is not replaced{rollouts}"


def _of_the_fleet(state: ClusterState) -> Iterator[Need]:
    total = len(state.fleet)
    online, sick = storm.figures(state.fleet)
    if sick * SICK > online:
        yield Need(Level.ATTENTION, f"{sick:,} of {online:,} devices online are unhealthy")
    if (total - online) * AWAY > total:
        yield Need(Level.ATTENTION, f"{total - online:,} of {total:,} devices are offline")


def _of_the_rollouts(state: ClusterState) -> Iterator[Need]:
    """Those that wait for people, unless an alarm says so."""
    told = {
        state.alarms[name].detail.partition(":")[0]
        for name in (alarms.ROLLOUT_WAITING, alarms.ROLLOUT_FAILED)
        if name in state.alarms
    }
    for rollout in state.rollouts.open_ones():
        wait = "" if rollout.name in told else _waits(state, rollout)
        if wait:
            sentence = f"rollout {rollout.name} {wait}"
            yield Need(Level.ATTENTION, sentence, rollout=rollout.name)


def _waits(state: ClusterState, rollout: Rollout) -> str:
    """What a rollout waits for that only people can give."""
    match rollout.state:
        case RolloutState.AWAITING_APPROVAL:
            return "waits to be approved before it begins"
        case RolloutState.PAUSED if not rollout.resumes:
            return f"is paused: {why_of(state, rollout)}"
        case RolloutState.RUNNING:
            asking = (stage for stage in rollout.stages if rollout.needs_approval(stage))
            return next((f"waits to be approved in stage {stage.name}" for stage in asking), "")
    return ""


def _of_the_webhooks(sight: Sight) -> Iterator[Need]:
    for name, waited in sorted(sight.late.items()):
        yield Need(Level.ATTENTION, f"webhook {name} has not taken a message for {_said(waited)}")


def _said(milliseconds: int) -> str:
    """In the largest unit that leaves two figures: 45 s, 12 min, 3 h, 9 d."""
    seconds = milliseconds // 1_000
    for unit, length, most in (("s", 1, 120), ("min", 60, 7_200), ("h", 3_600, 172_800)):
        if seconds < most:
            return f"{seconds // length} {unit}"
    return f"{seconds // 86_400} d"
