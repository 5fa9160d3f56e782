"""What the Raft leader wants at an evaluation: a pure function of the state and cluster time.

It proposes and explains; it changes nothing. Rules are tried in the order of roles.md, "What
the leader does at each evaluation"; each one that fires becomes a `Motion`, each one that wanted
to fire and may not becomes a `Held` with the reason.
"""

import msgspec

from stationkeep.cluster.commands import Change, Held, Motion
from stationkeep.cluster.registry import cooldown_remaining, in_maintenance, is_alive
from stationkeep.cluster.roles.candidates import best_candidate, preference
from stationkeep.cluster.roles.health import has_recovered
from stationkeep.cluster.state.decisions import Reason
from stationkeep.cluster.state.state import ClusterState, Member
from stationkeep.cluster.transitions import Role, Rule


class Plan(msgspec.Struct, frozen=True):
    """Motions to vote on, and rules held back."""

    motions: tuple[Motion, ...] = ()
    held: tuple[Held, ...] = ()

    @property
    def holds(self) -> dict[str, str]:
        """The held-back rules as `ClusterState.holds` keeps them: "rule|node" → reason."""
        return {hold_key(held): held.reason for held in self.held}

    def differs_from(self, state: ClusterState) -> bool:
        """Whether adopting the plan would change anything."""
        return bool(self.motions) or self.holds != state.holds


def hold_key(held: Held) -> str:
    """Names the episode of a rule held back for a node."""
    return f"{held.rule}|{held.node}"


def touched_nodes(state: ClusterState) -> set[str]:
    """Nodes that an open proposal would change."""
    return {change.node for p in state.proposals.values() for change in p.changes}


def touches_seat(changes: tuple[Change, ...]) -> bool:
    """Whether these changes fill or empty the PRIMARY seat."""
    return any(Role.PRIMARY in (change.origin, change.target) for change in changes)


def evidence_of(state: ClusterState, nodes: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """The newest risks (ppm, or `MISSED`) of these nodes, oldest first."""
    return {node: state.members[node].evidence for node in nodes}


def evaluate_roles(state: ClusterState, now: int) -> Plan:
    """The plan for this state at cluster time `now` (ms); empty while switched off or paused."""
    if not state.founded or not state.settings.swarm_mode or state.pause is not None:
        return Plan()
    return _Evaluation(state, now).plan()


class _Evaluation:
    """One pass over the rules; collects motions and holds."""

    def __init__(self, state: ClusterState, now: int) -> None:
        self.state = state
        self.settings = state.settings
        self.now = now
        self.busy = touched_nodes(state)
        self.motions: list[Motion] = []
        self.held: list[Held] = []

    def plan(self) -> Plan:
        if not any(touches_seat(p.changes) for p in self.state.proposals.values()):
            self.judge_seat()
        for node in sorted(self.state.members):
            member = self.state.members[node]
            if node not in self.busy and member.role is not Role.PRIMARY:
                self.judge_sick(member)
                self.judge_recovered(member)
        self.judge_backups()
        return Plan(tuple(self.motions), tuple(self.held))

    # Rules 1 to 3: the PRIMARY seat

    def judge_seat(self) -> None:
        primary = self.state.primary
        if primary is None:
            self.fill_seat(Rule.SEAT_EMPTY, None, None, {})
        elif primary.run >= self.settings.failures_to_fail_primary:
            threshold = self.settings.failures_to_fail_primary
            run: dict[str, int | str] = {"run": primary.run, "threshold": threshold}
            self.fill_seat(Rule.PRIMARY_FAILED, primary, Role.BACKUP, run)
        elif primary.escalated_by:
            facts: dict[str, int | str] = {"action": primary.escalated_by}
            self.fill_seat(Rule.PRIMARY_NONCOMPLIANT, primary, Role.STANDBY, facts)

    def fill_seat(
        self, rule: Rule, failed: Member | None, fate: Role | None, facts: dict[str, int | str]
    ) -> None:
        """Promotes the best candidate and, in the same motion, demotes the failed PRIMARY.

        A PRIMARY that only fails to enact still acts: its seat is not "otherwise unfillable", so
        no node in its cool-down gets it, and none that failed at the same action. Otherwise a hook
        that fails everywhere would move the seat at every evaluation.
        """
        exclude = dict.fromkeys(self.busy, Reason.NODE_BUSY)
        noncompliant = rule is Rule.PRIMARY_NONCOMPLIANT
        if noncompliant:
            alike = (m for m in self.state.members.values() if m.escalated_by == facts["action"])
            exclude |= {member.id: Reason.ESCALATED for member in alike}
        choice = best_candidate(self.state, self.now, exclude, rested_only=noncompliant)
        if choice.node is None:
            node = failed.id if failed is not None else ""
            held = Held(rule, node, Reason.NO_CANDIDATE, facts, choice.rejected)
            self.held.append(held)
            return
        changes = [Change(choice.node, self.state.members[choice.node].role, Role.PRIMARY)]
        if failed is not None and fate is not None:
            changes.insert(0, Change(failed.id, Role.PRIMARY, fate))
        self.move(rule, tuple(changes), facts, choice.rejected)

    # Trigger 3: isolate the sick

    def judge_sick(self, member: Member) -> None:
        if member.role is Role.SAFE_MODE or member.run < self.settings.failures_to_safe_mode:
            return
        facts: dict[str, int | str] = {"run": member.run}
        facts["threshold"] = self.settings.failures_to_safe_mode
        self.move_or_hold(Rule.ISOLATE, member, Role.SAFE_MODE, facts)

    # Trigger 4: bring the recovered back

    def judge_recovered(self, member: Member) -> None:
        if member.role is Role.SAFE_MODE and self.recovered(member):
            self.move_or_hold(Rule.RECOVER, member, Role.STANDBY, self.recovery_facts(member))

    def judge_backups(self) -> None:
        """STANDBY → BACKUP, as many as are missing, best first."""
        missing = self.settings.backup_count - self.healthy_backups()
        eligible = [m for m in self.state.members.values() if self.may_back_up(m)]
        primary = self.state.primary
        for member in sorted(eligible, key=lambda m: preference(m, self.now)):
            if missing <= 0 or primary is None:
                return
            facts = self.recovery_facts(member)
            resting = cooldown_remaining(self.state, member, self.now) > 0
            if primary.run > 0 and not resting:  # else the reason would waver with the PRIMARY
                self.hold(Rule.RECOVER, member.id, Reason.PRIMARY_UNHEALTHY, facts)
                missing -= 1  # only those that would have been moved are held back by this
            elif self.move_or_hold(Rule.RECOVER, member, Role.BACKUP, facts):
                missing -= 1

    def healthy_backups(self) -> int:
        """BACKUPs not failing, and nodes already on their way to be one.

        A run shorter than trigger 3's does not count as failing: one missed sample of the BACKUP
        must not change anybody's role (roles.md, "What must hold", 4).
        """
        moves = [p.changes for p in self.state.proposals.values()]
        moves += [motion.changes for motion in self.motions]
        coming = sum(change.target is Role.BACKUP for changes in moves for change in changes)
        standing = sum(
            m.role is Role.BACKUP
            and m.run < self.settings.failures_to_safe_mode
            and m.id not in self.busy
            for m in self.state.members.values()
        )
        return standing + coming

    def may_back_up(self, member: Member) -> bool:
        free = member.id not in self.busy and member.priority > 0
        return free and member.role is Role.STANDBY and self.recovered(member)

    def recovered(self, member: Member) -> bool:
        alive = is_alive(self.state, member, self.now)
        return alive and has_recovered(member, self.now, self.settings)

    def recovery_facts(self, member: Member) -> dict[str, int | str]:
        good_for = self.now - member.good_since if member.good_since is not None else 0
        return {"good_for_ms": good_for, "hold_ms": self.settings.promotion_hold}

    # Outcomes

    def move_or_hold(
        self, rule: Rule, member: Member, target: Role, facts: dict[str, int | str]
    ) -> bool:
        """Moves one node unless brake, maintenance or its cool-down forbid; True when moved."""
        if self.state.braked:
            self.hold(rule, member.id, Reason.BRAKE, facts)
        elif in_maintenance(member, self.now):
            self.hold(rule, member.id, Reason.MAINTENANCE, facts)
        elif cooldown_remaining(self.state, member, self.now) > 0:
            self.hold(rule, member.id, Reason.COOLDOWN, facts)
        else:
            self.move(rule, (Change(member.id, member.role, target),), facts, ())
            return True
        return False

    def hold(self, rule: Rule, node: str, reason: Reason, facts: dict[str, int | str]) -> None:
        self.held.append(Held(rule, node, reason, facts))

    def move(
        self,
        rule: Rule,
        changes: tuple[Change, ...],
        facts: dict[str, int | str],
        rejected: tuple[tuple[str, str], ...],
    ) -> None:
        nodes = tuple(change.node for change in changes)
        self.busy.update(nodes)
        evidence = evidence_of(self.state, nodes)
        self.motions.append(Motion(rule, changes, self.state.seat.epoch, evidence, facts, rejected))
