"""A node that issues its own certificate: when, what a crash leaves, and what is said of it."""

import stat
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeep.node.security import certificates as made
from stationkeep.node.security import renewal
from stationkeep.node.security.contexts import Contexts, Files
from stationkeep.node.security.identity import Facts, Identity
from stationkeep.node.security.renewal import Issuer, Renewal, ensure, renewal_at
from stationkeep.node.system import small_file
from stationkeep.node.version import RELEASED
from tests.node.security.issuing import DAY, at, authority, files

HOSTS = ("10.0.0.1", "a.example.net")


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    """Of a node that has the CA's key and no certificate yet."""
    ca = authority()
    (tmp_path / "ca.pem").write_bytes(made.public_pem([ca.certificate]))
    (tmp_path / "ca.key").write_bytes(made.private_pem(ca.key))
    file = tmp_path / "tls" / "node.pem"
    return Issuer(tmp_path / "ca.pem", tmp_path / "ca.key", file, "a", HOSTS)


def paths(tmp_path: Path) -> Files:
    file = tmp_path / "tls" / "node.pem"
    return Files(tmp_path / "ca.pem", file, file)


def put(tmp_path: Path, ends: float, hosts: tuple[str, ...] = HOSTS, days: float = 90) -> None:
    """A certificate in the place of the issued one."""
    key = made.new_key()
    identity = Identity(authority().uid, "node", "a")
    leaf = made.issue(
        authority(), identity, key.public_key(), at(ends - days), days=days, hosts=hosts
    )
    content = made.private_pem(key) + made.public_pem([leaf])
    (tmp_path / "tls").mkdir(exist_ok=True)
    made.write(tmp_path / "tls" / "node.pem", content, made.PRIVATE)


def test_the_first_certificate_is_issued_and_then_left_alone(
    issuer: Issuer, tmp_path: Path
) -> None:
    ensure(issuer)
    file = tmp_path / "tls" / "node.pem"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    content = file.read_bytes()
    ensure(issuer)
    assert file.read_bytes() == content
    assert Contexts(paths(tmp_path), "a").current.uid == authority().uid


def test_a_new_one_is_issued_when_the_old_will_not_do(issuer: Issuer, tmp_path: Path) -> None:
    now = time.time()
    for put_it, why in (
        (lambda: put(tmp_path, 89), None),
        (lambda: put(tmp_path, 20), "two thirds of its life are over"),
        (lambda: put(tmp_path, -3), "two thirds of its life are over"),
        (lambda: put(tmp_path, 60, hosts=HOSTS[:1]), "the addresses have changed"),
        (lambda: put(tmp_path, 400), "it is not valid yet: the clock was wrong, or is"),
        (lambda: files(tmp_path / "tls", "b"), "it is of node b, not of a"),
        (lambda: files(tmp_path / "tls", "a", authority("foreign")), "it was issued by"),
        (lambda: (tmp_path / "tls" / "node.pem").write_bytes(b"half"), "it is no PEM"),
        ((tmp_path / "tls" / "node.pem").unlink, "it cannot be read"),
    ):
        put_it()
        found = issuer.due(now)
        assert found == why or (why is not None and str(found).startswith(why))


@given(st.integers(1, 2**159))
def test_renewal_comes_at_two_thirds_of_a_life_give_or_take_a_tenth(serial: int) -> None:
    facts = Facts((), at(0).timestamp(), at(90).timestamp(), serial=f"{serial:x}")
    part = (renewal_at(facts) - at(0).timestamp()) / (90 * DAY)
    assert 0.6 <= part <= 0.7334


def test_a_clock_before_the_release_makes_a_certificate_that_others_take(
    issuer: Issuer, tmp_path: Path
) -> None:
    assert issuer.renew(0.0)
    (leaf,) = made.certificates_in((tmp_path / "tls" / "node.pem").read_bytes())
    assert made.facts_of(leaf).not_before == RELEASED - 3_600
    assert issuer.due(0.0) is None


def test_killed_while_it_writes_it_has_the_old_pair_or_the_new(
    issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, 20)
    before = (tmp_path / "tls" / "node.pem").read_bytes()

    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    for step in ("fsync", "fchmod"):
        with monkeypatch.context() as patch:
            patch.setattr(small_file.os, step, killed)
            with pytest.raises(Killed):
                issuer.renew(time.time())
        assert (tmp_path / "tls" / "node.pem").read_bytes() == before
        assert Contexts(paths(tmp_path), "a").current.node == "a"
    ensure(issuer)
    assert (tmp_path / "tls" / "node.pem").read_bytes() != before
    assert sorted(p.name for p in (tmp_path / "tls").iterdir()) == ["node.pem"]


def test_a_full_disk_is_said_after_two_tries_and_the_old_certificate_stays(
    issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, 20)
    looked_after = Renewal(Contexts(paths(tmp_path), "a"), issuer)
    before = looked_after.contexts.current
    monkeypatch.setattr(renewal, "RETRY_SECONDS", 0.0)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(small_file.os, "fsync", full)
        looked_after.look()
        assert looked_after.expiring() is None
        looked_after.look()
    assert "renewal failed 2 times: [Errno 28] No space" in str(looked_after.expiring())
    assert looked_after.contexts.current is before
    looked_after.look()
    assert looked_after.expiring() is None
    assert looked_after.contexts.current is not before


def test_a_certificate_that_is_revoked_is_replaced_once(issuer: Issuer, tmp_path: Path) -> None:
    assert issuer.renew(time.time())
    looked_after = Renewal(Contexts(paths(tmp_path), "a"), issuer)
    before = looked_after.contexts.current.serial
    looked_after.contexts.revoked = lambda: {before}
    by_hand = Renewal(looked_after.contexts, None)
    assert f"was revoked, serial {before}" in str(by_hand.rejected())
    looked_after.look()
    after = looked_after.contexts.current.serial
    assert (after != before, looked_after.rejected(), by_hand.rejected()) == (True, None, None)
    looked_after.look()
    assert looked_after.contexts.current.serial == after


def test_what_failed_while_a_file_was_half_there_is_no_alarm_once_it_is_whole(
    issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is to be renewed then for two months."""
    assert issuer.renew(time.time())
    looked_after = Renewal(Contexts(paths(tmp_path), "a"), issuer)
    monkeypatch.setattr(renewal, "RETRY_SECONDS", 0.0)
    whole = (tmp_path / "ca.pem").read_bytes()
    (tmp_path / "ca.pem").write_bytes(whole[:200])
    for _ in range(3):
        looked_after.look()
    assert "renewal failed 3 times" in str(looked_after.expiring())
    assert looked_after.rejected() is not None
    (tmp_path / "ca.pem").write_bytes(whole)
    looked_after.look()
    assert looked_after.expiring() is None
    assert looked_after.rejected() is None


@pytest.mark.parametrize(
    "host", ["2001:db8:0:0::1", "2001:DB8::1", "::ffff:10.0.0.1", "B.example.net", "a_b.example"]
)
def test_however_an_address_is_written_a_certificate_for_it_is_issued_once(
    issuer: Issuer, host: str
) -> None:
    issuer._hosts = (host,)
    assert issuer.renew(time.time()), issuer.failed
    assert issuer.due(time.time()) is None


def test_a_certificate_that_ends_with_its_ca_is_not_replaced_by_another_such(
    issuer: Issuer,
) -> None:
    ends = authority().certificate.not_valid_after_utc.timestamp()
    for before in (30 * DAY, 1_200, 60, 1):
        assert issuer.renew(ends - before), issuer.failed
        assert issuer.due(ends - before) is None
        assert issuer.due(ends - 1) is None


def test_nothing_is_replaced_by_what_would_be_replaced_at_once(
    issuer: Issuer, tmp_path: Path
) -> None:
    """At each look it would be written and synced again: here by a CA in its last minutes, beside
    one whose key is elsewhere."""
    put(tmp_path, 20)
    before = (tmp_path / "tls" / "node.pem").read_bytes()
    old, fresh = authority().certificate, made.new_authority("next", at(0)).certificate
    (tmp_path / "ca.pem").write_bytes(made.public_pem([old, fresh]))
    assert not issuer.renew(old.not_valid_after_utc.timestamp() - 600)
    assert issuer.rests
    assert issuer.failed.endswith("would be replaced at once: two thirds of its life are over")
    assert (tmp_path / "tls" / "node.pem").read_bytes() == before


def test_a_renewal_that_failed_is_not_tried_at_each_look(issuer: Issuer, tmp_path: Path) -> None:
    put(tmp_path, 20)
    looked_after = Renewal(Contexts(paths(tmp_path), "a"), issuer)
    (tmp_path / "ca.key").unlink()
    for _ in range(5):
        looked_after.look()
    assert issuer.failures == 1


def test_what_is_renewed_is_in_use_at_once(issuer: Issuer, tmp_path: Path) -> None:
    put(tmp_path, 20)
    looked_after = Renewal(Contexts(paths(tmp_path), "a"), issuer)
    before = looked_after.contexts.current.pair.leaf
    looked_after.look()
    assert looked_after.contexts.current.pair.leaf != before


@pytest.mark.parametrize(
    ("ends", "expiring", "expired"),
    [(60, False, False), (29, True, False), (13, True, False), (-1, False, True)],
)
def test_the_end_of_a_certificate_from_elsewhere_is_announced(
    tmp_path: Path, ends: float, expiring: bool, expired: bool
) -> None:
    looked_after = Renewal(Contexts(files(tmp_path, "a", ends=ends), "a"), None)
    assert (looked_after.expiring() is not None) is expiring
    assert (looked_after.expired() is not None) is expired


def test_a_ca_that_ends_within_half_a_year_is_announced(
    issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure(issuer)
    looked_after = Renewal(Contexts(paths(tmp_path), "a"), issuer)
    assert looked_after.ca_expiring() is None
    late = authority().certificate.not_valid_after_utc.timestamp() - 179 * DAY
    monkeypatch.setattr(renewal.time, "time", lambda: late)
    assert "the CA expires on" in str(looked_after.ca_expiring())
