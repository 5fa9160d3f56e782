"""Who may become PRIMARY and who is best: roles.md, "Best candidate"."""

from collections.abc import Callable

import pytest

from stationkeep.cluster.commands import Failover, SetMaintenance, SetPriority
from stationkeep.cluster.roles.candidates import best_candidate, preference, unfitness
from stationkeep.cluster.state.decisions import Reason
from stationkeep.cluster.state.state import Member
from stationkeep.cluster.transitions import Role
from tests.cluster.driver import Driver, settled


def best(driver: Driver) -> str | None:
    return best_candidate(driver.state, driver.clock).node


def unfit(driver: Driver, node: str) -> Reason | None:
    return unfitness(driver.state, driver.member(node), driver.clock)


def test_a_backup_goes_before_a_standby() -> None:
    assert best(settled()) == "sat-002"


def change(member: Member, **fields: object) -> None:
    for name, value in fields.items():
        setattr(member, name, value)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda m: change(m, last_heard=None), Reason.JOINING),
        (lambda m: change(m, last_heard=-1), Reason.NOT_ALIVE),
        (lambda m: change(m, maintenance_until=10**9), Reason.MAINTENANCE),
        (lambda m: change(m, priority=0), Reason.PRIORITY_ZERO),
        (lambda m: change(m, role=Role.SAFE_MODE), Reason.NOT_A_CANDIDATE_ROLE),
        (lambda m: change(m, run=1), Reason.UNHEALTHY),
        (lambda m: change(m, history=[]), Reason.UNHEALTHY),
    ],
)
def test_each_unfitness_has_its_name(spoil: Callable[[Member], None], reason: Reason) -> None:
    driver = settled()
    spoil(driver.member("sat-002"))
    assert unfit(driver, "sat-002") is reason
    choice = best_candidate(driver.state, driver.clock)
    assert choice.node == "sat-003"
    assert ("sat-002", reason) in choice.rejected


def test_the_latest_risk_must_lie_below_the_backup_ceiling() -> None:
    driver = settled()
    driver.evaluate(of={"sat-002": 0.25})
    assert unfit(driver, "sat-002") is Reason.RISK_ABOVE_CEILING
    driver.evaluate(of={"sat-002": 0.249})
    assert unfit(driver, "sat-002") is None


def test_the_primary_is_no_candidate_and_not_listed_as_rejected() -> None:
    driver = settled()
    assert unfit(driver, "sat-001") is Reason.IS_PRIMARY
    assert best_candidate(driver.state, driver.clock).rejected == ()


def test_an_excluded_node_is_passed_over_for_the_reason_given() -> None:
    driver = settled()
    exclude = {"sat-002": Reason.NODE_BUSY}
    choice = best_candidate(driver.state, driver.clock, exclude)
    assert choice.node == "sat-003"
    assert choice.rejected == (("sat-002", Reason.NODE_BUSY),)


def test_order_priority_before_role() -> None:
    driver = settled()
    driver.done(SetPriority("sat-004", 101))
    assert best(driver) == "sat-004"


def test_order_role_before_mean_risk() -> None:
    driver = settled()
    driver.evaluate(of={"sat-002": 0.2, "sat-003": 0.01})
    assert best(driver) == "sat-002"


def test_order_mean_risk_before_time_in_health() -> None:
    driver = settled()
    driver.done(SetMaintenance("sat-002", 3_600_000))
    driver.evaluate(of={"sat-004": 0.4})  # shorter in health, but then
    for _ in range(9):
        driver.evaluate(of={"sat-004": 0.01})
    assert best(driver) == "sat-004"


def test_order_time_in_health_before_id() -> None:
    driver = settled()
    driver.done(SetMaintenance("sat-002", 3_600_000))
    driver.member("sat-004").healthy_since = 0
    driver.member("sat-003").healthy_since = 1
    assert best(driver) == "sat-004"


def test_order_id_last() -> None:
    driver = settled()
    driver.done(SetMaintenance("sat-002", 3_600_000))
    assert best(driver) == "sat-003"


def test_a_node_in_its_cool_down_is_taken_only_when_there_is_no_other() -> None:
    driver = settled(3)
    driver.done(Failover("sat-002"))  # sat-001 is BACKUP now, in its cool-down
    choice = best_candidate(driver.state, driver.clock)
    assert choice.node == "sat-003"
    assert choice.rejected == (("sat-001", Reason.COOLDOWN),)
    driver.done(SetPriority("sat-003", 0))
    assert best(driver) == "sat-001"


def test_without_any_there_is_none() -> None:
    choice = best_candidate(settled(1).state, 0)
    assert choice.node is None


def test_a_node_without_health_sorts_last_among_equals() -> None:
    one, other = Member("a", "", "", healthy_since=None), Member("b", "", "", healthy_since=5)
    assert preference(other, 10) < preference(one, 10)
