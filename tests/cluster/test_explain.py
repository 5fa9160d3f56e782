"""Why a node is what it is, and why it is not PRIMARY: roles.md, "Decision log"."""

from stationkeep.cluster.commands import (
    ChangeSettings,
    Command,
    Pause,
    SetMaintenance,
    SetPriority,
    Switchover,
)
from stationkeep.cluster.explain import NEWEST, explain
from tests.cluster.driver import Driver, settled


def why_not(driver: Driver, node: str) -> str:
    return "; ".join(explain(driver.state, node).why_not_primary)


def summary(driver: Driver, node: str) -> str:
    return "; ".join(explain(driver.state, node).summary)


def test_the_primary_needs_no_excuse() -> None:
    story = explain(settled().state, "sat-001")
    assert story.why_not_primary == []
    assert story.decisions[-1].matter == "founding"


def test_who_holds_the_seat_and_who_would_be_next() -> None:
    driver = settled()
    assert why_not(driver, "sat-002") == (
        "sat-001 holds the seat (epoch 1); it would be next: it is the best candidate now"
    )
    assert "sat-002 would be next: BACKUP goes before STANDBY" in why_not(driver, "sat-003")


def test_why_another_goes_first() -> None:
    driver = settled()
    driver.done(SetMaintenance("sat-002", 3_600_000))
    assert "it is in maintenance" in why_not(driver, "sat-002")
    assert "equal in everything, the first by id" in why_not(driver, "sat-004")
    driver.member("sat-004").healthy_since = driver.clock
    assert "it has been healthy for longer" in why_not(driver, "sat-004")
    driver.evaluate(of={"sat-004": 0.19})
    assert "mean risk 0.10 against 0.11" in why_not(driver, "sat-004")
    driver.done(SetPriority("sat-003", 101))
    assert "priority 101 against 100" in why_not(driver, "sat-004")


def test_why_it_could_not_be_with_figures() -> None:
    driver = settled()
    driver.evaluate(of={"sat-003": 0.26, "sat-004": 0.5})
    assert "its risk is too high (0.26, the ceiling is 0.25)" in why_not(driver, "sat-003")
    assert "it is unhealthy (1 samples in a row)" in why_not(driver, "sat-004")
    assert "INTERMITTENT, 1 unhealthy in a row" in summary(driver, "sat-004")
    driver.done(SetPriority("sat-003", 0))
    assert "its priority is 0" in why_not(driver, "sat-003")


def test_a_cool_down_is_told() -> None:
    driver = settled()
    driver.done(Switchover("sat-003"))
    driver.acknowledge()
    assert "sat-001 is in its cool-down for another 300s" in why_not(driver, "sat-001")
    assert "not changed automatically for another 300s" in summary(driver, "sat-001")


def test_a_waiting_holder_says_for_whom() -> None:
    driver = settled()
    driver.renew()
    driver.done(Switchover("sat-002"))
    assert "it waits for sat-001 to step down, at most another 79s" in summary(driver, "sat-002")


def test_what_holds_the_cluster_still_is_told() -> None:
    cases: list[tuple[Command, str]] = [
        (Pause(60_000), "automatic changes pause for another 60s"),
        (ChangeSettings({"swarm_mode": False}), "switched off (swarm_mode)"),
        (SetMaintenance("sat-004", 60_000), "in maintenance for another 60s"),
    ]
    for command, words in cases:
        driver = settled()
        driver.done(command)
        assert words in summary(driver, "sat-004")


def test_escalation_and_silence_are_told() -> None:
    driver = settled()
    driver.member("sat-004").escalated_by = "act-9"
    driver.wait(100_000)
    assert "escalated: it missed the deadline of act-9" in summary(driver, "sat-004")
    assert "not heard lately, HEALTHY" in summary(driver, "sat-004")


def test_a_joining_node_and_an_empty_seat() -> None:
    driver = Driver(3)
    assert "never heard of yet: it is joining" in summary(driver, "sat-001")
    assert why_not(driver, "sat-001") == "it could not be: it is still joining"


def test_missed_samples_are_shown_as_missed() -> None:
    driver = settled()
    driver.evaluate(of={"sat-004": None})
    assert summary(driver, "sat-004").endswith("0.10 missed")


def test_only_the_newest_decisions_newest_first() -> None:
    driver = settled()
    for number in range(NEWEST + 5):
        driver.done(SetPriority("sat-004", number + 1))
    decisions = explain(driver.state, "sat-004").decisions
    assert len(decisions) == NEWEST
    assert decisions[0].facts["to"] == NEWEST + 5
