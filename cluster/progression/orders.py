"""The operator's hand on rollouts: laid down, approved, started, paused, promoted, ended.

Source: rollouts.md, "Rollouts" and "Orders".
"""

from collections.abc import Iterator

import numpy as np
from msgspec.structs import replace

from stationkeep.cluster.commands import (
    AbortRollout,
    ApproveRollout,
    CreateRollout,
    PauseRollout,
    PromoteRollout,
    RecordGate,
    ResumeRollout,
    StartRollout,
)
from stationkeep.cluster.delivery.members import INCAPABLE, beginnings
from stationkeep.cluster.delivery.offers import salt_of
from stationkeep.cluster.delivery.openings import artifact_fault, check_artifact
from stationkeep.cluster.names import party, text_fault
from stationkeep.cluster.operators import check_name
from stationkeep.cluster.progression.advance import is_held
from stationkeep.cluster.progression.alarms import watch
from stationkeep.cluster.progression.looks import fail
from stationkeep.cluster.progression.members import in_scope, rivals
from stationkeep.cluster.progression.openings import complete, room_fault
from stationkeep.cluster.progression.steps import (
    abandon,
    about,
    cause_of,
    change,
    existing,
    finish,
    instead,
    move,
    noted,
    standing,
)
from stationkeep.cluster.progression.twins import look_on, soak_of
from stationkeep.cluster.rollouts.book import MAX_OPEN_OF_ONE, MAX_OPEN_ROLLOUTS
from stationkeep.cluster.rollouts.lifecycle import (
    DRAFT_KEPT,
    GOING,
    WAITING,
    RolloutCause,
    RolloutState,
    StageCause,
    StageState,
)
from stationkeep.cluster.rollouts.plan import plan_faults
from stationkeep.cluster.rollouts.rollout import Answer, Approval, Rollout, Stage, with_stage
from stationkeep.cluster.settings import LONGEST
from stationkeep.cluster.state.decisions import Outcome, Reason
from stationkeep.cluster.state.events import RolloutChanged
from stationkeep.cluster.state.state import ClusterState, person
from stationkeep.cluster.state.step import Refused, Step

MAX_PAUSE = 30 * LONGEST
MAX_DETAIL = 200


def create_rollout(step: Step, command: CreateRollout) -> dict[str, object]:
    """Lays a rollout down. A draft, or one that waits for approval, may be laid down anew by its
    name; whoever approved must look again."""
    check_name("rollout", command.rollout)
    for fault in plan_faults(command.plan):
        raise Refused(Reason.INVALID, fault)
    for artifact in command.plan.installed:
        check_artifact(step, artifact)
    known = step.state.rollouts.known.get(command.rollout)
    rollout = _drafted(step, command) if known is None else _redrafted(step, command, known)
    step.state.rollouts.put(rollout)
    facts = about(rollout) | {"digest": rollout.digest, "replaced": known is not None}
    facts |= {"overrides": list(rollout.plan.overrides), "emergency": rollout.plan.emergency}
    step.decide("create_rollout", Outcome.DONE, (), facts=facts)
    step.emit(RolloutChanged(rollout.name, rollout.state, rollout.reason))
    watch(step)
    return {"rollout": rollout.name, "digest": rollout.digest, "revision": rollout.revision}


def _check_shares(step: Step, name: str) -> None:
    """Whether there is room for a rollout of this name, if it becomes this actor's."""
    others = [one for one in step.state.rollouts.open_ones() if one.name != name]
    own = sum(party(rollout.author) == party(step.actor) for rollout in others)
    end = "abort one, or wait until one is over"
    if own >= MAX_OPEN_OF_ONE:
        raise Refused(Reason.QUOTA, f"rollout: {own} of this actor are open: {end}")
    if len(others) >= MAX_OPEN_ROLLOUTS:
        raise Refused(Reason.LIMIT, f"rollout: {len(others)} are open: {end}")


def _drafted(step: Step, command: CreateRollout) -> Rollout:
    """Deployments outlive rollouts that are forgotten, and are parts of nothing else."""
    for deployment in step.state.deployments.known.values():
        if deployment.rollout == command.rollout:
            part = f"deployment {deployment.number} of an earlier one of this name is remembered"
            raise Refused(Reason.DUPLICATE, f"rollout: {part}: choose another name")
    book = step.state.rollouts
    _check_shares(step, command.rollout)
    book.created += 1
    rollout = Rollout(
        name=command.rollout,
        plan=command.plan,
        digest=command.plan.digest,
        author=step.actor,
        comment=step.comment,
        created_at=step.now,
        wall=step.wall,
        salt=salt_of(step.state.cluster_id, command.rollout),
        stages=tuple(Stage(plan) for plan in command.plan.all_stages()),
        number=book.created,
        since=step.now,
        deadline=step.now + DRAFT_KEPT,
        revision=1,
    )
    return replace(rollout, timeline=noted(step, rollout, "", rollout.state, ""))


def _redrafted(step: Step, command: CreateRollout, known: Rollout) -> Rollout:
    if not command.replace or known.state not in WAITING:
        what = "create it under another name" if known.state not in WAITING else "replace it"
        raise Refused(Reason.DUPLICATE, f"rollout: {standing(known)}: {what}")
    _check_shares(step, command.rollout)
    return replace(
        known,
        plan=command.plan,
        digest=command.plan.digest,
        author=step.actor,
        comment=step.comment,
        stages=tuple(Stage(plan) for plan in command.plan.all_stages()),
        revision=known.revision + 1,
        forced=known.forced and command.plan.installed == known.plan.installed,
        approvals=(),
        timeline=noted(step, known, "", known.state, "replaced"),
    )


# Beginning


def start_rollout(step: Step, command: StartRollout) -> dict[str, object]:
    """Begins a rollout, or asks for the approvals that it needs first."""
    rollout = existing(step, command.rollout, command.revision)
    cause_of(rollout, "start")
    rollout = replace(rollout, forced=command.force)
    _check_start(step, rollout)
    asked = rollout.plan.approvals > 0
    rollout = change(step, rollout, RolloutCause.REQUEST if asked else RolloutCause.START)
    watch(step)
    return _answer(rollout)


def _check_start(step: Step, rollout: Rollout) -> None:
    for reason, detail in start_faults(step.state, rollout):
        raise Refused(reason, detail)


def start_faults(state: ClusterState, rollout: Rollout) -> Iterator[tuple[Reason, str]]:
    """Why a rollout must not begin now, or would come to nothing."""
    plan, fleet = rollout.plan, state.fleet
    for artifact in plan.installed:
        fault = artifact_fault(state, artifact)
        if fault is not None:
            yield fault
    blocked = block_fault(state, rollout)
    if blocked is not None:
        yield Reason.ARTIFACT_BLOCKED, blocked
    mine = in_scope(fleet, plan)
    rows = np.flatnonzero(mine)
    if not (beginnings(fleet, rows, None, True) != INCAPABLE).any():
        none = f"none of {len(rows)} devices in it can carry out tasks"
        yield Reason.INCAPABLE, f"scope: {none}: choose another"
    for other in rivals(state, rollout):
        both = int((mine & in_scope(fleet, other.plan)).sum())
        if both:
            rule = f"{other.name} changes {plan.component} on {both} of its devices, too"
            yield Reason.OVERLAPS, f"priority: {rule}: give it another priority, or another scope"
    full = room_fault(state, 0)
    if full is not None:
        yield Reason.LIMIT, f"{full}: wait until a rollout is over"


def check_blocks(step: Step, rollout: Rollout) -> None:
    """Refuses to go on with what a gate was proven broken with."""
    fault = block_fault(step.state, rollout)
    if fault is not None:
        raise Refused(Reason.ARTIFACT_BLOCKED, fault)


def block_fault(state: ClusterState, rollout: Rollout) -> str | None:
    """The gate that was proven broken with what a rollout installs, unless it is forced."""
    block = state.rollouts.in_the_way(rollout)
    if block is None:
        return None
    proof = f"{block.artifact.component} {block.artifact.version} failed {block.gate} in"
    return f"artifact: {proof} stage {block.stage} of {block.rollout}: unblock it, or force this"


def approve_rollout(step: Step, command: ApproveRollout) -> dict[str, object]:
    """Grants what somebody has seen: this plan, and no other."""
    rollout = existing(step, command.rollout, command.revision)
    place = _place_to_approve(rollout, command.stage)
    if command.digest != rollout.digest:
        seen = f"{command.digest[:32]!r}, the plan is {rollout.digest} by now"
        raise Refused(Reason.DIGEST_CHANGED, f"digest: {seen}: look at it again")
    who = person(step.state, step.actor)
    if who == person(step.state, rollout.author) and not rollout.plan.allow_self_approval:
        detail = f"actor: {rollout.author} wrote the plan: somebody else has to approve it"
        raise Refused(Reason.SELF_APPROVAL, detail + _same(step, rollout.author))
    before = [a for a in rollout.approvals if a.stage == command.stage]
    needed = rollout.plan.approvals if place is None else rollout.stages[place].checks.approvals
    for one in before:
        if person(step.state, one.actor) == who:
            detail = "actor: has approved already: it takes another one"
            raise Refused(Reason.DUPLICATE, detail + _same(step, one.actor))
    if len(before) >= max(1, needed):
        raise Refused(Reason.DUPLICATE, f"approvals: all {needed} are granted already")
    approval = Approval(step.actor, step.now, command.stage)
    rollout = replace(
        rollout,
        approvals=(*rollout.approvals, approval),
        revision=rollout.revision + 1,
        timeline=noted(step, rollout, command.stage, "approved", ""),
    )
    granted = len(before) + 1
    if place is None and granted >= needed:
        _check_start(step, rollout)
    step.state.rollouts.put(rollout)
    facts = about(rollout) | {"stage": command.stage, "granted": granted, "digest": rollout.digest}
    step.decide("approve_rollout", Outcome.DONE, (), facts=facts)
    if place is None and granted >= needed:
        change(step, rollout, RolloutCause.APPROVAL)
    watch(step)
    return _answer(step.state.rollouts.known[rollout.name])


def _same(step: Step, other: str) -> str:
    """Why the actor counts as another one, where their names do not say it."""
    if party(step.actor) == party(other):
        return ""
    return (
        f"; {step.actor} counts as {other}: one of them made the other's token, or somebody made "
        "both by theirs; tokens of people are made on the machine of a node, with --config"
    )


def _place_to_approve(rollout: Rollout, name: str) -> int | None:
    """The place of the stage that is approved; None: the start is."""
    if not name:
        cause_of(rollout, "approve")
        return None
    place = rollout.stage(name)
    if place is None:
        raise Refused(Reason.INVALID, f"stage: {name[:64]!r} is none of {rollout.name}")
    stage = rollout.stages[place]
    if stage.state is not StageState.VALIDATING or not stage.checks.approvals:
        detail = f"stage: {name} is {stage.state}, and waits for no approval"
        raise Refused(Reason.NOT_IN_STATE, detail)
    return place


def record_gate(step: Step, command: RecordGate) -> dict[str, object]:
    """What a webhook answered about a stage: a no is proof."""
    rollout = existing(step, command.rollout, command.revision)
    place = rollout.stage(command.stage)
    stage = None if place is None else rollout.stages[place]
    if stage is None or place is None or stage.state is not StageState.VALIDATING:
        raise Refused(Reason.NOT_IN_STATE, f"stage: {command.stage[:64]!r} is not being validated")
    if not stage.checks.webhook or stage.answer is not None:
        raise Refused(Reason.NOT_IN_STATE, f"stage: {stage.name} waits for no webhook")
    if len(command.detail) > MAX_DETAIL or text_fault(command.detail) is not None:
        rule = f"{command.detail[:80]!r} is not at most {MAX_DETAIL} printable characters"
        raise Refused(Reason.INVALID, f"detail: {rule}")
    proven = stage.proven if command.passed else stage.proven or "webhook"
    answer = Answer(command.passed, command.detail, step.now)
    rollout = with_stage(rollout, place, replace(stage, answer=answer, proven=proven))
    rollout = replace(rollout, revision=rollout.revision + 1)
    step.state.rollouts.put(rollout)
    facts = about(rollout) | {"stage": stage.name, "passed": command.passed}
    step.decide("webhook_gate", Outcome.NOTED, (), facts=facts | {"detail": command.detail})
    if not command.passed and not is_held(step.state):
        fail(step, rollout, place)
    watch(step)
    return _answer(step.state.rollouts.known[rollout.name])


# Going on


def pause_rollout(step: Step, command: PauseRollout) -> dict[str, object]:
    """Nothing more begins; what devices have begun goes on, and is judged."""
    rollout = existing(step, command.rollout, command.revision)
    cause = cause_of(rollout, "pause")
    if not 0 <= command.duration <= MAX_PAUSE:
        rule = f"{command.duration} is not between 0 and {MAX_PAUSE}"
        raise Refused(Reason.INVALID, f"duration: {rule}")
    until = {"deadline": step.now + command.duration, "resumes": True} if command.duration else {}
    facts = {"duration_ms": command.duration}
    rollout = change(step, rollout, cause, "operator", facts=facts, **until)
    watch(step)
    return _answer(rollout)


def resume_rollout(step: Step, command: ResumeRollout) -> dict[str, object]:
    """Goes on. Of a stage that was proven bad nothing goes on: it takes another order."""
    rollout = existing(step, command.rollout, command.revision)
    cause_of(rollout, "resume")
    failed = next((s for s in rollout.stages if s.state is StageState.FAILED), None)
    if failed is not None:
        detail = f"stage: {failed.name} failed ({failed.reason}): roll back, abort, or force it on"
        raise Refused(Reason.NOT_IN_STATE, detail)
    check_blocks(step, rollout)
    rollout = resume(step, rollout)
    watch(step)
    return _answer(rollout)


def resume(step: Step, rollout: Rollout) -> Rollout:
    """Stages that are inconclusive are watched for another soak; evidence goes on, and webhooks and
    people are asked anew."""
    for place, stage in enumerate(rollout.stages):
        if stage.state is not StageState.INCONCLUSIVE:
            continue
        others = tuple(a for a in rollout.approvals if a.stage != stage.name)
        rollout = replace(rollout, approvals=others)
        if step.state.deployments.known[stage.deployment].unfinished:
            rollout = move(step, rollout, place, StageCause.AGAIN, answer=None)
        else:
            look_on(step.state, rollout, stage)
            until = step.now + soak_of(step.state, stage)
            rollout = move(
                step, rollout, place, StageCause.LOOK_ON, deadline=until, watched_until=until,
                answer=None,
            )  # fmt: skip
    return change(step, rollout, RolloutCause.RESUME)


def promote_rollout(step: Step, command: PromoteRollout) -> dict[str, object]:
    """The stage that is judged counts as passed, by the word of whoever orders it."""
    rollout = existing(step, command.rollout, command.revision)
    place = _place_to_promote(rollout, command.force)
    installing = {v.name for v in rollout.plan.variants if v.artifact is not None}
    if command.variant and command.variant not in installing:
        detail = f"variant: {command.variant[:64]!r} is none of the plan's that installs something"
        raise Refused(Reason.INVALID, detail)
    forced = rollout.forced or command.force
    rollout = replace(rollout, variant=command.variant or rollout.variant, forced=forced)
    check_blocks(step, rollout)
    stage = rollout.stages[place]
    if stage.state is StageState.DEPLOYING:
        rollout = with_stage(rollout, place, replace(stage, promoted=True))
        timeline = noted(step, rollout, stage.name, "promoted", "")
        rollout = replace(rollout, revision=rollout.revision + 1, timeline=timeline)
        step.state.rollouts.put(rollout)
        facts = about(rollout) | {"stage": stage.name}
        step.decide("promote_rollout", Outcome.DONE, (), facts=facts)
    else:
        rollout = finish(step, rollout, place, StageCause.PROMOTION, "operator")
    failed = any(one.state is StageState.FAILED for one in rollout.stages)
    if rollout.state is RolloutState.PAUSED and not failed:  # which takes an order of its own
        rollout = resume(step, rollout)
    rollout = complete(step, rollout)
    watch(step)
    return _answer(rollout)


def _place_to_promote(rollout: Rollout, force: bool) -> int:
    if rollout.state not in GOING:
        raise Refused(Reason.NOT_IN_STATE, f"rollout: {standing(rollout)}, {instead(rollout)}")
    for place, stage in enumerate(rollout.stages):
        deploys = stage.state is StageState.DEPLOYING
        if deploys and not stage.promoted:
            if not force:
                detail = f"stage: {stage.name} still deploys: wait, or force the next one to open"
                raise Refused(Reason.PROMOTE_WHILE_DEPLOYING, detail)
            return place
        if deploys or not (stage.is_judged or stage.state is StageState.FAILED):
            continue
        if stage.proven and not force:
            detail = f"stage: {stage.name} failed ({stage.proven}): only force promotes it"
            raise Refused(Reason.NOT_IN_STATE, detail)
        return place
    raise Refused(Reason.NOT_IN_STATE, f"rollout: no stage of {rollout.name} is judged now")


# Ending


def abort_rollout(step: Step, command: AbortRollout) -> dict[str, object]:
    """Ends it: nothing begins any more, and who is updated stays so."""
    rollout = existing(step, command.rollout, command.revision)
    cause = cause_of(rollout, "abort")
    rollout = change(step, abandon(step, rollout), cause, "operator")
    watch(step)
    return _answer(rollout)


def _answer(rollout: Rollout) -> dict[str, object]:
    return {
        "rollout": rollout.name,
        "state": rollout.state.value,
        "reason": rollout.reason,
        "revision": rollout.revision,
    }
