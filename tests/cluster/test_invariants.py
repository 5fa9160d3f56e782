"""Each invariant finds what it is there to find; none cries about a sound state."""

from collections.abc import Callable

import msgspec
import pytest

from stationkeep.cluster import invariants
from stationkeep.cluster.commands import Change
from stationkeep.cluster.invariants import INVARIANTS, violations
from stationkeep.cluster.settings import Settings
from stationkeep.cluster.state.decisions import Ballot
from stationkeep.cluster.state.state import (
    MAX_ROLE_CHANGES,
    Access,
    Alarm,
    CaPhase,
    CaRotation,
    CaStep,
    ClusterState,
    Delivery,
    Invitation,
    Token,
)
from stationkeep.cluster.transitions import Role, Rule
from tests.cluster.driver import Driver, settled

P, B, S, X = Role.PRIMARY, Role.BACKUP, Role.STANDBY, Role.SAFE_MODE


def eventful() -> Driver:
    """A failover behind it, an isolation open."""
    driver = settled()
    for _ in range(3):
        driver.settle(0.5)
    driver.settle(of={"sat-004": 0.5})
    driver.evaluate(of={"sat-004": 0.5})
    return driver


def two_primaries(state: ClusterState) -> None:
    state.members["sat-003"].role = P


def no_holder(state: ClusterState) -> None:
    state.seat.holder = None


def rapid(state: ClusterState) -> None:
    last = state.role_changes[-1]
    again = {"at": last.at + 1, "origin": B, "target": X, "rule": Rule.ISOLATE}
    state.role_changes.append(msgspec.structs.replace(last, **again))


def unvoted(state: ClusterState) -> None:
    state.closed_proposals[-1].ballots.clear()


def no_proposal(state: ClusterState) -> None:
    del state.closed_proposals[-2:]


def stranger_voted(state: ClusterState) -> None:
    proposal = state.closed_proposals[-1]
    proposal.ballots["nobody"] = Ballot("nobody", True, "", "", (), 0)


def illegal(state: ClusterState) -> None:
    state.role_changes[-1] = msgspec.structs.replace(state.role_changes[-1], origin=X, target=B)


def epoch_skipped(state: ClusterState) -> None:
    position = next(i for i, c in enumerate(state.role_changes) if c.target is P)
    changed = msgspec.structs.replace(state.role_changes[position], epoch=7)
    state.role_changes[position] = changed


def epoch_forgotten(state: ClusterState) -> None:
    state.seat.epoch += 1


def empty_but_active(state: ClusterState) -> None:
    state.members["sat-002"].role = B
    state.seat.holder = None


def waits_for_nothing(state: ClusterState) -> None:
    state.seat.active = False
    state.seat.fence_until = state.time


def node_twice(state: ClusterState) -> None:
    proposal = msgspec.structs.replace(next(iter(state.proposals.values())), id=99)
    state.proposals[99] = proposal


def seat_twice(state: ClusterState) -> None:
    for number, node in ((98, "sat-002"), (99, "sat-003")):
        proposal = msgspec.structs.replace(next(iter(state.proposals.values())), id=number)
        proposal.changes = (Change(node, S, P),)
        state.proposals[number] = proposal


def too_much(state: ClusterState) -> None:
    state.role_changes = state.role_changes[-1:] * (MAX_ROLE_CHANGES + 1)


def unheard_of_alarm(state: ClusterState) -> None:
    state.alarms["sunspots"] = Alarm("sunspots", 0, "")


def alarm_of_a_stranger(state: ClusterState) -> None:
    state.alarms["disk_low@nobody"] = Alarm("disk_low", 0, "", "nobody")


def told_of_the_future(state: ClusterState) -> None:
    state.deliveries["pager"] = Delivery(state.decisions_made + 1, 0)


def secret_kept(state: ClusterState) -> None:
    state.tokens["ab12cd34"] = Token("ab12cd34", "ci", Access.VIEWER, b"secret", 0, 0, "")


def one_too_many_came(state: ClusterState) -> None:
    taken = {"sat-002": bytes(32), "sat-003": bytes(32)}
    known = Invitation("ab12cd34", bytes(32), 1, "", 0, 0, "", 1, taken)
    state.invitations["ab12cd34"] = known


def secret_of_an_invitation_kept(state: ClusterState) -> None:
    state.invitations["ab12cd34"] = Invitation("ab12cd34", bytes(16), 1, "", 0, 0, "", 1)


def ca_in_its_own_place(state: ClusterState) -> None:
    state.rotation = CaRotation("sha256:2", "PEM", ("sha256:2",))


def ca_that_was_dropped(state: ClusterState) -> None:
    state.rotation = CaRotation("sha256:2", "PEM", ("sha256:1",), CaPhase.OVER)
    state.dropped["sha256:2"] = 0


def word_of_a_stranger(state: ClusterState) -> None:
    reached = {"stranger": CaStep.SHOWS}
    state.rotation = CaRotation("sha256:2", "PEM", ("sha256:1",), reached=reached)


def end_of_time(state: ClusterState) -> None:
    state.time = 2**53 - 1


def boot_without_a_next_one(state: ClusterState) -> None:
    state.members["sat-002"].boot = 2**63 - 1


def heard_tomorrow(state: ClusterState) -> None:
    state.members["sat-002"].last_heard = state.time + 1


def impossible_settings(state: ClusterState) -> None:
    state.settings = Settings(evaluation_interval=0)


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        (two_primaries, "one_primary"),
        (no_holder, "one_primary"),
        (rapid, "no_rapid_change"),
        (unvoted, "only_by_vote_or_order"),
        (no_proposal, "only_by_vote_or_order"),
        (stranger_voted, "only_by_vote_or_order"),
        (illegal, "legal_history"),
        (epoch_skipped, "epochs_rise"),
        (epoch_forgotten, "epochs_rise"),
        (empty_but_active, "handover_waits"),
        (waits_for_nothing, "handover_waits"),
        (node_twice, "one_motion_a_node"),
        (seat_twice, "one_motion_a_node"),
        (too_much, "within_limits"),
        (unheard_of_alarm, "alarms_are_known"),
        (alarm_of_a_stranger, "alarms_are_known"),
        (told_of_the_future, "deliveries_follow"),
        (secret_kept, "tokens_hold_no_secret"),
        (one_too_many_came, "invitations_hold"),
        (secret_of_an_invitation_kept, "invitations_hold"),
        (ca_in_its_own_place, "rotation_holds"),
        (ca_that_was_dropped, "rotation_holds"),
        (word_of_a_stranger, "rotation_holds"),
        (end_of_time, "numbers_hold"),
        (boot_without_a_next_one, "numbers_hold"),
        (heard_tomorrow, "numbers_hold"),
        (impossible_settings, "settings_hold"),
    ],
)
def test_each_finds_what_it_is_there_for(spoil: Callable[[ClusterState], None], name: str) -> None:
    state = eventful().state
    assert list(violations(state)) == []
    spoil(state)
    assert name in {line.split(":")[0] for line in violations(state)}


def test_every_invariant_is_tried_above_and_says_what_it_holds() -> None:
    assert len({check.__name__ for check in INVARIANTS}) == len(INVARIANTS) == 15
    assert all(check.__doc__ for check in INVARIANTS)


def test_a_proposal_that_has_left_the_books_is_not_missed() -> None:
    """With many nodes, proposals opened before an approved one may be closed after it."""
    state = eventful().state
    state.proposals_opened += invariants.MAX_CLOSED_PROPOSALS - 3
    del state.closed_proposals[:]
    assert list(violations(state)) == []
