"""Invitations in the state: who becomes a member by one, how often, and who does not."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stationkeep.cluster.access import HASH_BYTES
from stationkeep.cluster.apply import Done
from stationkeep.cluster.commands import (
    AcceptInvitation,
    AddMember,
    Invite,
    MemberSpec,
    RecordMembers,
    RemoveMember,
    RevokeInvitation,
)
from stationkeep.cluster.invariants import violations
from stationkeep.cluster.invitations import LONGEST_LIFE, SHORTEST_LIFE
from stationkeep.cluster.levels import HIGHEST, LOWEST
from stationkeep.cluster.sentences import sentence
from stationkeep.cluster.state import codec
from stationkeep.cluster.state.state import MAX_INVITATIONS, MAX_INVITATIONS_OF_ONE, MAX_MEMBERS
from tests.cluster.driver import WALL, Driver, settled

HOUR = 3_600_000
NEWCOMER = "sat-009"


def hashed(number: int = 1) -> bytes:
    return number.to_bytes(HASH_BYTES, "big")


def invited(invitation: str = "aaaaaaaa", **changes: Any) -> Invite:
    return Invite(invitation, **({"hash": hashed(), "uses": 1, "lifetime": HOUR} | changes))


def accept(node: str = NEWCOMER, key: int = 1, **changes: Any) -> AcceptInvitation:
    given = {"invitation": "aaaaaaaa", "lowest": LOWEST, "highest": HIGHEST}
    spec = changes.pop("member", MemberSpec(node, f"{node}:7701", f"{node}:8701"))
    return AcceptInvitation(member=spec, key=hashed(key), **(given | changes))


def order(driver: Driver, command: Any, actor: str = "ann") -> dict[str, Any]:
    return driver.done(command, key=f"k{len(driver.log)}", actor=actor)


@pytest.fixture
def driver() -> Driver:
    """A cluster with one invitation."""
    found = settled()
    order(found, invited())
    return found


def test_who_is_invited_becomes_a_member_without_a_vote(driver: Driver) -> None:
    answer = order(driver, accept(), actor="invitation#aaaaaaaa")
    assert answer["node"] == NEWCOMER
    assert driver.state.members[NEWCOMER].learner
    assert driver.state.members[NEWCOMER].raft == "sat-009:7701"
    assert driver.state.invitations["aaaaaaaa"].taken == {NEWCOMER: hashed()}
    assert "sat-009 joins as a learner" in sentence(driver.state.decisions[-1])
    assert driver.state.decisions[-1].actor == "invitation#aaaaaaaa"


def test_a_second_one_is_refused_and_nothing_changes(driver: Driver) -> None:
    order(driver, accept())
    before = driver.state.invitations
    assert driver.refused(accept("sat-010")) == ("closed", "invitation: aaaaaaaa is used up")
    assert "sat-010" not in driver.state.members
    assert driver.state.invitations == before


def test_who_asks_again_with_the_same_key_is_the_same_member(driver: Driver) -> None:
    first = order(driver, accept())
    made = driver.state.decisions_made
    assert order(driver, accept()) == first
    assert driver.state.decisions_made == made
    assert len(driver.state.invitations["aaaaaaaa"].taken) == 1


def test_who_asks_again_late_or_from_elsewhere_is_still_the_same_member(driver: Driver) -> None:
    order(driver, accept())
    driver.wait(2 * HOUR)
    assert driver.state.invitations["aaaaaaaa"].expired(WALL + driver.clock)
    order(driver, accept(member=MemberSpec(NEWCOMER, "new:7701", "new:8701")))
    assert driver.state.members[NEWCOMER].raft == "new:7701"


def test_another_key_never_takes_the_place_of_a_member(driver: Driver) -> None:
    order(driver, accept())
    assert driver.refused(accept(key=2))[0] == "duplicate"
    order(driver, invited("bbbbbbbb", uses=3))
    reason, detail = driver.refused(accept(key=2, invitation="bbbbbbbb"))
    assert (reason, detail) == ("duplicate", "id: sat-009 is a member already")
    founder = next(iter(driver.state.members))
    assert driver.refused(accept(founder, 2, invitation="bbbbbbbb"))[0] == "duplicate"


def test_who_has_left_does_not_come_back_by_the_old_invitation(driver: Driver) -> None:
    order(driver, invited("bbbbbbbb", uses=3))
    order(driver, accept(invitation="bbbbbbbb"))
    order(driver, RemoveMember(NEWCOMER))
    for key in (1, 2):
        reason, detail = driver.refused(accept(key=key, invitation="bbbbbbbb"))
        assert (reason, detail) == (
            "closed",
            "invitation: sat-009 came by bbbbbbbb, and has left, or has run since",
        )
    assert NEWCOMER not in driver.state.members


def test_who_has_run_is_not_answered_again(driver: Driver) -> None:
    """Its answer arrived. Who has its first key from a copy of its disk must not get another
    certificate, or move it."""
    order(driver, accept())
    voters = [m.id for m in driver.state.members.values() if not m.learner]
    driver.done(RecordMembers((*voters, NEWCOMER), ()))
    elsewhere = MemberSpec(NEWCOMER, "new:7701", "new:8701")
    for again in (accept(), accept(member=elsewhere), accept(key=2)):
        reason, detail = driver.refused(again)
        assert reason == "closed"
        assert detail == "invitation: sat-009 came by aaaaaaaa, and has left, or has run since"
    assert driver.state.members[NEWCOMER].raft == "sat-009:7701"


@pytest.mark.parametrize("by_hand", [False, True])
def test_who_has_left_does_not_take_the_place_of_its_successor(
    driver: Driver, by_hand: bool
) -> None:
    """A stolen machine has its key and its old word, and its id is another one's now."""
    order(driver, accept())
    order(driver, RemoveMember(NEWCOMER))
    if by_hand:
        order(driver, AddMember(MemberSpec(NEWCOMER, "a:1", "a:2")))
    else:
        order(driver, invited("bbbbbbbb"))
        order(
            driver, accept(key=2, invitation="bbbbbbbb", member=MemberSpec(NEWCOMER, "a:1", "a:2"))
        )
    reason, detail = driver.refused(accept())
    assert (reason, detail) == (
        "closed",
        "invitation: sat-009 came by aaaaaaaa, and has left, or has run since",
    )
    assert driver.state.members[NEWCOMER].raft == "a:1"


def test_an_invitation_ends_by_the_calendar(driver: Driver) -> None:
    driver.wait(HOUR)
    reason, detail = driver.refused(accept())
    assert (reason, detail) == ("closed", "invitation: aaaaaaaa has expired")


def test_a_revoked_invitation_takes_in_nobody_and_answers_nobody_again(driver: Driver) -> None:
    order(driver, invited("bbbbbbbb", uses=2))
    order(driver, accept(invitation="bbbbbbbb"))
    assert order(driver, RevokeInvitation("bbbbbbbb")) == {
        "invitation": "bbbbbbbb", "taken": [NEWCOMER],
    }  # fmt: skip
    for again in (accept(invitation="bbbbbbbb"), accept("sat-010", invitation="bbbbbbbb")):
        assert driver.refused(again) == ("closed", "invitation: bbbbbbbb was revoked")
    assert NEWCOMER in driver.state.members
    made = driver.state.decisions_made
    order(driver, RevokeInvitation("bbbbbbbb"))
    assert driver.state.decisions_made == made


def test_an_invitation_for_one_id_is_for_no_other() -> None:
    driver = settled()
    order(driver, invited(node=NEWCOMER))
    assert driver.refused(accept("sat-010")) == ("invalid", "node: aaaaaaaa is for sat-009 alone")
    order(driver, accept())


def test_several_come_by_one_invitation_and_no_more_than_it_says() -> None:
    driver = settled()
    order(driver, invited(uses=2))
    order(driver, accept())
    order(driver, accept("sat-010", 2))
    assert driver.refused(accept("sat-011", 3))[0] == "closed"


def test_an_address_that_is_taken_uses_up_nothing(driver: Driver) -> None:
    taken = next(iter(driver.state.members.values()))
    spec = MemberSpec(NEWCOMER, taken.raft, "new:8701")
    assert driver.refused(accept(member=spec))[0] == "duplicate"
    assert driver.state.invitations["aaaaaaaa"].taken == {}
    order(driver, accept())


@pytest.mark.parametrize("levels", [(LOWEST, 0), (HIGHEST + 1, HIGHEST + 2)])
def test_a_release_that_lacks_the_level_does_not_come_in(
    driver: Driver, levels: tuple[int, int]
) -> None:
    lowest, highest = levels
    reason, detail = driver.refused(accept(lowest=lowest, highest=highest))
    assert (reason, detail.split(":")[0]) == ("level", "level")
    assert driver.state.invitations["aaaaaaaa"].taken == {}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"invitation": "AAAAAAAA"}, "invitation"),
        ({"hash": b"short"}, "hash"),
        ({"uses": 0}, "uses"),
        ({"uses": MAX_MEMBERS + 1}, "uses"),
        ({"node": "a b"}, "node"),
        ({"node": NEWCOMER, "uses": 2}, "uses"),
        ({"lifetime": SHORTEST_LIFE - 1}, "lifetime"),
        ({"lifetime": LONGEST_LIFE + 1}, "lifetime"),
    ],
)
def test_what_is_no_invitation_is_refused(changes: dict[str, Any], field: str) -> None:
    driver = settled()
    given = {"invitation": "aaaaaaaa", "hash": hashed(), "uses": 1, "lifetime": HOUR} | changes
    reason, detail = driver.refused(Invite(**given))
    assert (reason, detail.split(":")[0]) == ("invalid", field)
    assert driver.state.invitations == {}


def test_what_accepts_nothing_is_refused(driver: Driver) -> None:
    assert driver.refused(accept(invitation="zzzzzzzz"))[0] == "unknown_invitation"
    assert driver.refused(RevokeInvitation("zzzzzzzz"))[0] == "unknown_invitation"
    assert driver.refused(invited())[0] == "duplicate"
    short = AcceptInvitation("aaaaaaaa", MemberSpec("x", "x:1", "x:2"), b"", LOWEST, HIGHEST)
    assert driver.refused(short)[1] == "key: 0 bytes, a SHA-256 has 32"


def test_ended_ones_make_room_and_open_ones_do_not() -> None:
    driver = settled()
    for number in range(MAX_INVITATIONS):
        actor = "ann" if number < MAX_INVITATIONS_OF_ONE else "bob"
        order(driver, invited(f"{number:08d}"), actor)
    assert driver.refused(invited(), actor="ann")[0] == "quota"
    assert driver.refused(invited(), actor="cat")[0] == "limit"
    order(driver, RevokeInvitation("00000003"))
    order(driver, invited(), "cat")
    assert "00000003" not in driver.state.invitations
    assert len(driver.state.invitations) == MAX_INVITATIONS
    assert list(violations(driver.state)) == []


def test_a_member_that_was_added_by_hand_is_a_member_already(driver: Driver) -> None:
    order(driver, AddMember(MemberSpec(NEWCOMER, "a:1", "a:2")))
    assert driver.refused(accept())[0] == "duplicate"


def test_invitations_survive_a_snapshot(driver: Driver) -> None:
    order(driver, accept())
    restored = codec.decode_snapshot(codec.encode_snapshot(driver.state))
    assert restored.invitations == driver.state.invitations


def test_people_read_whom_an_invitation_is_for() -> None:
    driver = settled()
    told = []
    for number, more in enumerate(({}, {"uses": 3}, {"node": NEWCOMER})):
        order(driver, invited(f"{number:08d}", **more))
        told.append(sentence(driver.state.decisions[-1]))
    order(driver, RevokeInvitation("00000000"))
    told.append(sentence(driver.state.decisions[-1]))
    for text, words in zip(
        told,
        ("for one node, good for 3600s", "for 3 nodes", "for sat-009,", "revoked"),
        strict=True,
    ):
        assert words in text


ORDERS = st.one_of(
    st.tuples(st.just("accept"), st.sampled_from("aab"), st.sampled_from("xy"), st.integers(1, 2)),
    st.tuples(st.just("leave"), st.sampled_from("xy")),
    st.tuples(st.sampled_from(["invite", "revoke"]), st.just("b")),
    st.tuples(st.just("wait"), st.sampled_from([1_000, HOUR])),
)


def command_of(order: tuple[Any, ...]) -> Any:
    kind, name = order[0], order[1]
    match kind:
        case "invite":
            return invited(name * 8)
        case "accept":
            return accept(f"sat-{order[2]}", order[3], invitation=name * 8)
        case "revoke":
            return RevokeInvitation(name * 8)
    return RemoveMember(f"sat-{name}")


@given(st.lists(ORDERS, max_size=25))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_whatever_comes_in_which_order_no_key_takes_the_place_of_another(
    orders: list[tuple[Any, ...]],
) -> None:
    driver = settled()
    driver.do(invited("aaaaaaaa", uses=2, lifetime=LONGEST_LIFE), key="k", actor="ann")
    founders = set(driver.state.members)
    holders: dict[str, int] = {}
    admitted: Counter[str] = Counter()
    for order in orders:
        if order[0] == "wait":
            driver.wait(order[1])
            continue
        known = dict(driver.state.invitations)
        before = set(driver.state.members)
        applied = driver.do(command_of(order), key=f"k{len(driver.log)}", actor="ann")
        came = set(driver.state.members) - before
        for gone in before - set(driver.state.members):
            holders.pop(gone, None)
        if came:
            _, name, node, key = order
            assert came == {f"sat-{node}"}
            assert known[name * 8].open(WALL + driver.clock)
            holders[f"sat-{node}"] = key
            admitted[name] += 1
            assert admitted[name] <= known[name * 8].uses
        if order[0] == "accept" and isinstance(applied.outcome, Done):
            assert holders[f"sat-{order[2]}"] == order[3]
        assert set(driver.state.members) == founders | set(holders)
        assert list(violations(driver.state)) == []
    for node, key in holders.items():
        keys = {i.taken[node] for i in driver.state.invitations.values() if node in i.taken}
        assert hashed(key) in keys
