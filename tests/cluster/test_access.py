"""Tokens in the state: who gets one, how it ends, and that no secret is ever in it."""

from typing import Any

import pytest

from stationkeep.cluster.access import (
    HASH_BYTES,
    LONGEST_LIFE,
    LONGEST_OVERLAP,
    MAX_ADDRESS,
    MAX_NOTED,
)
from stationkeep.cluster.alarms import TOKEN_EXPIRING
from stationkeep.cluster.apply import apply
from stationkeep.cluster.commands import (
    AcknowledgeAlarm,
    CreateToken,
    Draft,
    NoteAccess,
    RevokeToken,
    Use,
)
from stationkeep.cluster.names import party, speaks_for
from stationkeep.cluster.sentences import sentence
from stationkeep.cluster.state import codec
from stationkeep.cluster.state.state import (
    MAX_ADDRESSES,
    MAX_TOKENS,
    MAX_TOKENS_OF_ONE,
    Access,
)
from tests.cluster.driver import WALL, Driver, settled

DAY = 86_400_000


def hashed(number: int = 1) -> bytes:
    return number.to_bytes(HASH_BYTES, "big")


def create(token: str = "aaaaaaaa", **changes: Any) -> CreateToken:
    given = {"name": "ci", "role": "operator", "hash": hashed(), "lifetime": 90 * DAY}
    return CreateToken(token, **(given | changes))


def order(driver: Driver, command: Any, actor: str = "ann") -> dict[str, Any]:
    return driver.done(command, key=f"k{len(driver.log)}", actor=actor)


def test_a_token_is_good_until_its_time_is_over() -> None:
    driver = settled()
    answer = order(driver, create())
    token = driver.state.tokens["aaaaaaaa"]
    expires = WALL + driver.clock + 90 * DAY
    assert answer == {"token": "aaaaaaaa", "expires_wall_ms": expires, "approves_as": "ci"}
    assert (token.actor, token.created_by, token.role) == ("ci#aaaaaaaa", "ann", Access.OPERATOR)
    assert token.good(expires - 1)
    assert not token.good(expires)


def test_a_token_without_a_lifetime_is_good_until_it_is_revoked() -> None:
    driver = settled()
    order(driver, create(lifetime=0))
    assert driver.state.tokens["aaaaaaaa"].good(2**60)
    assert order(driver, RevokeToken("aaaaaaaa")) == {"token": "aaaaaaaa", "name": "ci"}
    assert not driver.state.tokens["aaaaaaaa"].good(0)


def test_revoking_twice_is_one_revocation() -> None:
    driver = settled()
    order(driver, create())
    order(driver, RevokeToken("aaaaaaaa"))
    made, when = driver.state.decisions_made, driver.state.tokens["aaaaaaaa"].revoked_at
    driver.wait(1_000)
    order(driver, RevokeToken("aaaaaaaa"))
    assert driver.state.decisions_made == made
    assert driver.state.tokens["aaaaaaaa"].revoked_at == when


def test_a_replaced_token_goes_on_for_the_overlap_and_no_longer_than_before() -> None:
    driver = settled()
    order(driver, create())
    order(driver, create("bbbbbbbb", replaces="aaaaaaaa", overlap=3_600_000, hash=hashed(2)))
    now = WALL + driver.clock
    assert driver.state.tokens["aaaaaaaa"].expires_wall == now + 3_600_000
    order(driver, create("cccccccc", replaces="aaaaaaaa", overlap=DAY, hash=hashed(3)))
    assert driver.state.tokens["aaaaaaaa"].expires_wall == now + 3_600_000
    order(driver, create("dddddddd", replaces="bbbbbbbb", hash=hashed(4)))
    assert driver.state.tokens["bbbbbbbb"].revoked_at == driver.clock


def test_what_replaces_a_token_is_the_same_in_all_but_its_secret() -> None:
    driver = settled()
    order(driver, create())
    for other in ({"name": "cd"}, {"role": "admin"}, {"role": "device", "ids": "a*"}):
        reason, detail = driver.refused(create("bbbbbbbb", replaces="aaaaaaaa", **other))
        assert (reason, detail.split(":")[0]) == ("invalid", "replaces")
    order(driver, RevokeToken("aaaaaaaa"))
    assert driver.refused(create("bbbbbbbb", replaces="aaaaaaaa"))[0] == "closed"
    assert driver.refused(create("bbbbbbbb", replaces="zzzzzzzz"))[0] == "unknown_token"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"token": "AAAAAAAA"}, "token"),
        ({"token": "aaaaaaa"}, "token"),
        ({"name": "a b"}, "name"),
        ({"name": "a#b"}, "name"),
        ({"role": "root"}, "role"),
        ({"hash": b"short"}, "hash"),
        ({"lifetime": 1}, "lifetime"),
        ({"lifetime": -1}, "lifetime"),
        ({"lifetime": LONGEST_LIFE + 1}, "lifetime"),
        ({"overlap": LONGEST_OVERLAP + 1}, "overlap"),
        ({"role": "device"}, "ids"),
        ({"ids": "sensor-*"}, "ids"),
        ({"role": "device", "ids": "*-sensor"}, "ids"),
    ],
)
def test_what_is_no_token_is_refused_by_field_and_rule(changes: dict[str, Any], field: str) -> None:
    reason, detail = settled().refused(create(**{"token": "aaaaaaaa"} | changes))
    assert (reason, detail.partition(":")[0]) == ("invalid", field)


def told(driver: Driver) -> str | None:
    """What the alarm about tokens says after one more evaluation, if it is raised."""
    driver.evaluate()
    alarm = driver.state.alarms.get(TOKEN_EXPIRING)
    return alarm.detail if alarm else None


def test_somebody_is_told_before_a_token_ends_and_until_another_takes_its_place() -> None:
    driver = settled()
    order(driver, create())
    order(driver, create("dddddddd", role="device", ids="a*", hash=hashed(3)))
    driver.clock += 75 * DAY
    assert told(driver) is None
    driver.clock += DAY
    assert told(driver) == "ci#aaaaaaaa (operator) ends within 14 days"
    made = driver.state.decisions_made
    told(driver)
    assert driver.state.decisions_made == made, "once"
    order(driver, create("bbbbbbbb", replaces="aaaaaaaa", overlap=DAY, hash=hashed(2)))
    assert told(driver) is None


def test_of_more_tokens_that_end_soon_somebody_is_told_anew() -> None:
    driver = settled()
    order(driver, create())
    order(driver, create("bbbbbbbb", name="bob", lifetime=91 * DAY, hash=hashed(2)))
    driver.clock += 76 * DAY
    told(driver)
    order(driver, AcknowledgeAlarm(TOKEN_EXPIRING))
    driver.clock += DAY
    assert told(driver) == "ci#aaaaaaaa (operator) ends within 14 days, and 1 more"
    assert driver.state.alarms[TOKEN_EXPIRING].acknowledged is None
    driver.clock += 13 * DAY
    assert told(driver) == "bob#bbbbbbbb (operator) ends within 14 days"
    driver.clock += DAY
    assert told(driver) is None


def test_nobody_is_told_of_the_end_of_what_was_made_for_a_short_time() -> None:
    driver = settled()
    order(driver, create(lifetime=28 * DAY))
    order(driver, create("bbbbbbbb", lifetime=0, hash=hashed(2)))
    driver.clock += 27 * DAY
    assert told(driver) is None


def uses(driver: Driver, *addresses: str) -> None:
    driver.done(NoteAccess(tuple(Use("aaaaaaaa", address) for address in addresses)))


def test_a_new_address_of_a_token_is_told_once_and_an_old_one_makes_room() -> None:
    driver = settled()
    order(driver, create())
    first = [f"192.0.2.{n}" for n in range(MAX_ADDRESSES)]
    uses(driver, *first)
    made = driver.state.decisions_made
    uses(driver, *first, "198.51.100.1")
    assert driver.state.decisions_made == made, "who has so many in a day moves about"
    driver.clock += DAY
    uses(driver, *first[1:])
    assert driver.state.decisions_made == made
    uses(driver, "198.51.100.1")
    assert set(driver.state.tokens["aaaaaaaa"].seen) == {*first[1:], "198.51.100.1"}
    told = "token aaaaaaaa (ci, operator) used from 198.51.100.1, for the first time"
    assert sentence(driver.state.decisions[-1]) == told


def test_guesses_are_told_and_an_ended_token_is_not_missed() -> None:
    driver = settled()
    driver.done(NoteAccess((Use("zzzzzzzz", "192.0.2.1"),), ("2001:db8::/64",)))
    told = "wrong tokens are shown again and again from 2001:db8::/64"
    assert sentence(driver.state.decisions[-1]) == told


@pytest.mark.parametrize(
    "address", ["a" * (MAX_ADDRESS + 1), "\x1b[2J", "\n"], ids=["long", "a terminal's", "a line"]
)
def test_what_is_no_address_is_not_kept(address: str) -> None:
    driver = settled()
    order(driver, create())
    for command in (NoteAccess((Use("aaaaaaaa", address),)), NoteAccess((), (address,))):
        assert driver.refused(command)[0] == "invalid"
    crowd = tuple(Use("aaaaaaaa", str(n)) for n in range(MAX_NOTED + 1))
    assert driver.refused(NoteAccess(crowd))[0] == "invalid"


def test_an_id_is_used_once() -> None:
    driver = settled()
    order(driver, create())
    order(driver, RevokeToken("aaaaaaaa"))
    assert driver.refused(create())[0] == "duplicate"
    assert driver.refused(RevokeToken("bbbbbbbb"))[0] == "unknown_token"


def named(number: int) -> str:
    return f"t{number:07d}"


def test_tokens_that_have_ended_make_room_and_good_ones_do_not() -> None:
    driver = settled()
    for number in range(MAX_TOKENS_OF_ONE):
        order(driver, create(named(number), lifetime=DAY if number else 60_000))
    assert driver.refused(create("aaaaaaaa"), key="x", actor="Ann#bbbbbbbb")[0] == "quota"
    for number in range(MAX_TOKENS_OF_ONE, MAX_TOKENS):
        order(driver, create(named(number)), "bob")
    assert driver.refused(create("aaaaaaaa"), key="y", actor="cyd")[0] == "limit"
    driver.clock += 60_000
    order(driver, create("aaaaaaaa"), "cyd")
    assert named(0) not in driver.state.tokens
    assert len(driver.state.tokens) == MAX_TOKENS


def test_what_a_revoked_token_has_ordered_at_a_node_that_lagged_is_not_carried_out() -> None:
    """Whoever stole it would have made another one just in time."""
    driver = settled()
    order(driver, create(role="admin"))
    thief = "ci#aaaaaaaa"
    order(driver, create("bbbbbbbb"), thief)
    order(driver, RevokeToken("aaaaaaaa"))
    before = driver.state.tokens
    reason, detail = driver.refused(create("cccccccc"), key="late", actor=thief)
    assert (reason, detail) == ("revoked", "the token ci#aaaaaaaa has been revoked")
    assert driver.state.tokens == before


def test_the_history_says_who_made_which_token_and_ended_it() -> None:
    driver = settled()
    order(driver, create())
    order(driver, create("bbbbbbbb", replaces="aaaaaaaa", overlap=3_600_000, lifetime=0))
    order(driver, RevokeToken("bbbbbbbb"))
    assert [sentence(decision) for decision in driver.state.decisions[-3:]] == [
        "token aaaaaaaa (ci, operator) created, good for 90 days (by ann)",
        "token bbbbbbbb (ci, operator) created, good until it is revoked; aaaaaaaa ends in 3600s "
        "(by ann)",
        "token bbbbbbbb (ci, operator) revoked (by ann)",
    ]


def test_tokens_survive_a_snapshot() -> None:
    driver = settled()
    order(driver, create(role="device", ids="sensor-*"))
    again = codec.decode_snapshot(codec.encode_snapshot(driver.state))
    assert again.tokens == driver.state.tokens


def test_a_device_s_token_speaks_for_its_id_or_for_what_begins_so() -> None:
    assert speaks_for("sensor-*", "sensor-17")
    assert speaks_for("*", "anything")
    assert speaks_for("phone-7", "phone-7")
    assert not speaks_for("phone-7", "phone-70")
    assert not speaks_for("sensor-*", "phone-7")


def test_whoever_has_several_tokens_of_one_name_is_one() -> None:
    assert party("Ann#aaaaaaaa") == party("ann#bbbbbbbb") == party("ann")


def test_a_claim_is_shown_as_one() -> None:
    driver = settled()
    draft = Draft(create(), "k", "ci#bbbbbbbb", "nightly", "::1 via sat-001", "ann@ground")
    entry = codec.stamp(driver.clock, WALL, codec.encode_draft(draft))
    apply(driver.state, codec.decode_entry(entry), len(driver.log) + 1)
    said = sentence(driver.state.decisions[-1])
    assert said.endswith("(by ci#bbbbbbbb, who says for ann@ground: nightly)")
    assert driver.state.decisions[-1].claim == "ann@ground"
