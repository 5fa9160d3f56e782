"""Members: alive, joining, cooling down, in maintenance. roles.md, "Registry"."""

from stationkeep.cluster.commands import SetMaintenance
from stationkeep.cluster.registry import alive, cooldown_remaining, in_maintenance, is_alive
from stationkeep.cluster.state.state import DEFAULT_PRIORITY
from tests.cluster.driver import Driver, settled


def test_alive_is_heard_within_the_heartbeat_timeout() -> None:
    driver = settled()
    member = driver.member("sat-001")
    assert member.last_heard == driver.clock
    assert is_alive(driver.state, member, driver.clock + 90_000)
    assert not is_alive(driver.state, member, driver.clock + 90_001)


def test_whoever_was_never_heard_is_joining_and_not_alive() -> None:
    driver = Driver(3)
    driver.sample(0.1, None, 0.1)
    assert alive(driver.state, driver.clock) == ("sat-001", "sat-003")
    assert driver.member("sat-002").joining
    assert driver.member("sat-002").risk == 1_000_000


def test_the_cool_down_counts_from_the_last_change_of_role() -> None:
    driver = Driver(3)
    assert cooldown_remaining(driver.state, driver.member("sat-001"), 0) == 0
    driver.settle()
    changed = driver.clock
    member = driver.member("sat-001")
    assert cooldown_remaining(driver.state, member, changed) == 300_000
    assert cooldown_remaining(driver.state, member, changed + 299_999) == 1
    assert cooldown_remaining(driver.state, member, changed + 300_000) == 0


def test_maintenance_ends_by_itself() -> None:
    driver = settled()
    driver.done(SetMaintenance("sat-004", 60_000))
    member = driver.member("sat-004")
    assert in_maintenance(member, driver.clock + 59_999)
    assert not in_maintenance(member, driver.clock + 60_000)


def test_addresses_and_priority_are_kept() -> None:
    member = Driver(1).member("sat-001")
    assert (member.raft, member.http) == ("sat-001:7700", "sat-001:8700")
    assert member.priority == DEFAULT_PRIORITY
