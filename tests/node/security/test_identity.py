"""Names in certificates, and the verdict (guide/certificates.md, "Why one is refused")."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeep.node.security.identity import (
    GRACE,
    Door,
    Facts,
    Identity,
    Word,
    parse,
    sentence,
    verdict,
)
from stationkeep.node.version import RELEASED

DAY = 86_400.0
OURS, OTHER = "0123456789abcdef", "fedcba9876543210"
NOW = RELEASED + 400 * DAY
NODE = Identity(OURS, "node", "sat-001")
DEVICE = Identity(OURS, "device", "phone-7")
CLIENT = Identity(OURS, "client", "prometheus", "metrics")
MEMBERS = ("sat-001", "sat-002")

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
uids = st.text(string.hexdigits.lower()[:16], min_size=16, max_size=16)
identities = st.one_of(
    st.tuples(uids, st.just("ca")),
    st.tuples(uids, st.sampled_from(["node", "device"]), names),
    st.tuples(uids, st.just("client"), names, names),
).map(lambda parts: Identity(*parts))
doors = st.sampled_from(Door)
MEMBERS_DOORS = (Door.DIALLED, Door.ACCEPTED)


def facts(identity: Identity, before: float = -30 * DAY, after: float = 60 * DAY) -> Facts:
    """Of a certificate whose dates are so far from `NOW`."""
    return Facts((identity.uri,), NOW + before, NOW + after)


@given(identities)
def test_an_identity_is_read_as_it_was_written(identity: Identity) -> None:
    assert parse(identity.uri) == identity


@given(st.text() | st.from_regex(r"spiffe://sk-[0-9a-f]{15,17}(/[a-z]*){0,5}", fullmatch=True))
def test_only_what_we_would_write_is_read(uri: str) -> None:
    identity = parse(uri)
    assert identity is None or identity.uri == uri


@pytest.mark.parametrize(
    "uri",
    [
        "spiffe://sk-0123456789abcdef/node/", "spiffe://sk-0123456789abcdef/node/a/b",
        "spiffe://sk-0123456789ABCDEF/node/a", "SPIFFE://sk-0123456789abcdef/node/a",
        "spiffe://sk-0123456789abcdef/node/a%2fb", "spiffe://sk-0123456789abcdef/node/a\n",
        "spiffe://sk-0123456789abcdef/node/..", "spiffe://sk-0123456789abcdef/ca/a",
        "spiffe://sk-0123456789abcdef/client/a", "spiffe://sk-0123456789abcdef/",
        "spiffe://sk-0123456789abcdef/node/a?b", "spiffe://sk-٠123456789abcdef/node/a",
    ],
)  # fmt: skip
def test_what_is_nearly_an_identity_is_none(uri: str) -> None:
    assert parse(uri) is None


def test_of_two_identities_none_is_meant() -> None:
    both = Facts((NODE.uri, DEVICE.uri), 0, NOW + DAY)
    assert both.identity is None
    assert verdict(both, NOW, OURS, Door.DIALLED, {"sat-001"}) is Word.NOT_A_NODE
    assert Facts(("https://example.net", NODE.uri), 0, 0).identity == NODE


# -- the table


@given(doors, st.floats(-20, 89.9))
def test_a_good_certificate_is_accepted_within_its_dates(door: Door, age: float) -> None:
    who = DEVICE if door is Door.CALLER else NODE
    good = facts(who, -20 * DAY - age * DAY, (90 - age) * DAY)
    assert verdict(good, NOW, OURS, door, {who.name}) is None


@given(doors, st.floats(0.001, 4_000), st.booleans())
def test_beyond_its_dates_members_alone_have_seven_days(
    door: Door, days: float, is_early: bool
) -> None:
    who = DEVICE if door is Door.CALLER else NODE
    far = days * DAY
    shown = facts(who, far, far + DAY) if is_early else facts(who, -far - DAY, -far)
    found = verdict(shown, NOW, OURS, door, {who.name})
    expected = Word.CLOCK if is_early else Word.CERTIFICATE_EXPIRED
    if door in MEMBERS_DOORS and far <= GRACE:
        assert found is None
    else:
        assert found is expected


@given(identities, doors, st.floats(0, RELEASED - 1))
def test_a_clock_before_this_release_proves_nothing(
    identity: Identity, door: Door, now: float
) -> None:
    shown = Facts((identity.uri,), RELEASED, RELEASED + DAY)
    assert verdict(shown, now, None, door) == verdict(shown, RELEASED + 1, None, door)


@given(identities, doors, st.floats(-4_000, 4_000))
def test_a_foreign_ca_is_the_first_thing_wrong(identity: Identity, door: Door, days: float) -> None:
    shown = facts(identity, days * DAY, days * DAY + DAY)._replace(trusted=False)
    assert verdict(shown, NOW, OURS, door) is Word.UNTRUSTED_CA


@given(identities, doors)
def test_another_cluster_is_refused_whoever_it_is(identity: Identity, door: Door) -> None:
    assert verdict(facts(identity._replace(uid=OTHER)), NOW, OURS, door) is Word.WRONG_CLUSTER


@given(identities, doors)
def test_what_is_revoked_is_refused_whoever_it_is_and_no_other(
    identity: Identity, door: Door
) -> None:
    shown = facts(identity._replace(uid=OURS))._replace(serial="5f")
    assert verdict(shown, NOW, OURS, door, None, revoked={"5f"}) is Word.REVOKED
    assert verdict(shown, NOW, OURS, door, None, revoked={"5e"}) is not Word.REVOKED
    assert "serial 5f" in sentence(Word.REVOKED, shown, NOW, OURS)


@given(doors)
def test_without_a_certificate_nobody_is_anybody(door: Door) -> None:
    assert verdict(None, NOW, OURS, door) is Word.NO_CERTIFICATE


@pytest.mark.parametrize("who", [DEVICE, CLIENT, Identity(OURS, "ca")])
@pytest.mark.parametrize("door", [Door.DIALLED, Door.ACCEPTED, Door.NODE])
def test_nobody_else_passes_for_a_node(who: Identity, door: Door) -> None:
    assert verdict(facts(who), NOW, OURS, door, {who.name}) is Word.NOT_A_NODE


@pytest.mark.parametrize("who", [NODE, Identity(OURS, "ca")])
def test_nobody_else_passes_for_a_caller(who: Identity) -> None:
    assert verdict(facts(who), NOW, OURS, Door.CALLER) is Word.NOT_A_CALLER


def test_another_node_than_the_one_dialled_is_refused_and_a_stranger_who_dials() -> None:
    assert verdict(facts(NODE), NOW, OURS, Door.DIALLED, {"sat-002"}) is Word.WRONG_NODE
    assert verdict(facts(NODE), NOW, OURS, Door.ACCEPTED, {"sat-002"}) is Word.NOT_MEMBER
    assert verdict(facts(NODE), NOW, OURS, Door.ACCEPTED, set(MEMBERS)) is None


def test_to_a_client_every_node_of_the_cluster_is_as_good_as_another() -> None:
    assert verdict(facts(NODE), NOW, OURS, Door.NODE) is None
    assert verdict(facts(NODE), NOW, None, Door.NODE) is None  # a CA that does not say of which


@given(st.none() | st.builds(facts, identities), st.sampled_from(Word))
def test_every_verdict_is_a_sentence(shown: Facts | None, word: Word) -> None:
    said = sentence(word, shown, NOW, OURS)
    assert said.startswith(("it ", "its "))
    assert said.isprintable()


def test_both_dates_are_named_where_it_is_about_dates() -> None:
    late = facts(NODE, -90 * DAY, -10 * DAY)
    assert "expired on 2027-12-25 00:00 UTC" in sentence(Word.CERTIFICATE_EXPIRED, late, NOW, OURS)
    assert "it is 2028-01-04 00:00 UTC here" in sentence(Word.CERTIFICATE_EXPIRED, late, NOW, OURS)
