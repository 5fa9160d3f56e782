"""Certificates that are revoked: for good, and never more than there is room for."""

import pytest

from stationkeep.cluster.commands import RevokeCertificate
from stationkeep.cluster.invariants import violations
from stationkeep.cluster.sentences import sentence
from stationkeep.cluster.state import codec
from stationkeep.cluster.state.state import MAX_REVOKED
from tests.cluster.driver import Driver, settled


@pytest.fixture
def driver() -> Driver:
    return settled()


def revoke(driver: Driver, serial: str) -> dict[str, object]:
    return driver.done(RevokeCertificate(serial), key=f"k{len(driver.log)}", actor="ann")


def test_a_revoked_serial_stays_and_is_told_once(driver: Driver) -> None:
    first = revoke(driver, "5f3a9c")
    driver.wait(60_000)
    assert revoke(driver, "5f3a9c") == first
    assert list(driver.state.revoked) == ["5f3a9c"]
    (told,) = driver.decided("certificate")
    assert "certificate 5f3a9c revoked (by ann)" in sentence(told)
    restored = codec.decode_snapshot(codec.encode_snapshot(driver.state))
    assert restored.revoked == driver.state.revoked


@pytest.mark.parametrize("serial", ["", "0", "05", "5F", "5g", "f" * 41, "5f\n", "é"])
def test_what_is_no_serial_is_refused(driver: Driver, serial: str) -> None:
    assert driver.refused(RevokeCertificate(serial), key="k", actor="ann")[0] == "invalid"
    assert driver.state.revoked == {}


def test_none_makes_room_for_another(driver: Driver) -> None:
    """It would be good again."""
    driver.state.revoked = {f"{n:x}": 0 for n in range(1, MAX_REVOKED + 1)}
    assert driver.refused(RevokeCertificate("ffffff"), key="k", actor="ann")[0] == "limit"
    revoke(driver, "1")
    assert len(driver.state.revoked) == MAX_REVOKED
    assert list(violations(driver.state)) == []
