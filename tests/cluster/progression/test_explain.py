"""Why a rollout is where it is, what would change that, and when it ends by itself."""

import pytest

from stationkeep.cluster.commands import Pause, SetFreeze, StartRollout
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.progression.explain import explain_rollout, held_by
from stationkeep.cluster.rollouts.plan import Checks, Plan
from tests.cluster.progression.rollouts import NAME, V2, RolloutDriver, one_stage


@pytest.fixture
def driver() -> RolloutDriver:
    return RolloutDriver.with_crowd(12)


def told(driver: RolloutDriver) -> str:
    return "\n".join(explain_rollout(driver.state, driver.rollout()))


def test_a_draft_says_when_it_is_forgotten(driver: RolloutDriver) -> None:
    driver.lay_down()
    assert told(driver) == (
        "fw is draft for 0s\nif nothing happens it is aborted in 30d\nyou may order: start, abort"
    )


def test_an_approval_that_is_waited_for(driver: RolloutDriver) -> None:
    driver.lay_down(Plan(V2, approvals=2))
    driver.order(StartRollout(NAME))
    driver.approve("ines")
    assert "1 of 2 approvals are granted" in told(driver)


def test_a_paused_rollout_says_why_and_what_to_press(driver: RolloutDriver) -> None:
    driver.failing = {driver.in_ring(Ring.CANARY)[1]}
    driver.begin()
    driver.until("paused")
    text = told(driver)
    assert "fw is paused for 0s: stage canary is inconclusive (failures)" in text
    assert "failures: 33.3 % failed, 5 % may; evidence 1.9" in text
    assert "if nothing happens it is aborted in 7d" in text
    assert text.endswith("you may order: resume, abort, roll back, promote")


def test_devices_that_are_waited_for_are_counted_by_what_keeps_them(
    driver: RolloutDriver,
) -> None:
    driver.away = {0, 1}
    driver.deaf = {2}
    driver.lead(4)
    driver.begin(Plan(V2, stages=one_stage()))
    driver.lead(8)
    assert "of the devices that wait 2 offline" in told(driver)
    assert "is unreached" in told(driver)


@pytest.mark.parametrize(
    ("hold", "words"),
    [("storm", "storm brake"), ("freeze:all", "freeze all lies on it"), ("paused", "is paused"),
     ("cluster_paused", "automatic changes are paused")],
)  # fmt: skip
def test_whatever_holds_a_stage_is_named(driver: RolloutDriver, hold: str, words: str) -> None:
    driver.deaf = set(driver.rows)
    driver.begin()
    driver.lead(2)
    if hold == "storm":
        driver.fleet.braked = True
    elif hold == "paused":
        driver.pause()
    elif hold == "cluster_paused":
        driver.done(Pause(60_000))
    else:
        driver.order(SetFreeze("all", 60_000))
    assert held_by(driver.state, driver.rollout(), driver.stage("canary")) == hold
    assert words in told(driver)


def test_a_stage_that_waits_to_open_says_for_what(driver: RolloutDriver) -> None:
    driver.order(SetFreeze("xmas", 90_000, (Ring.CANARY,)))
    driver.begin()
    assert "stage canary waits: freeze xmas lies on it, for another 1m30s" in told(driver)


def test_whoever_is_asked_is_named(driver: RolloutDriver) -> None:
    checks = Checks(webhook="https://ci/x", approvals=1)
    driver.begin(Plan(V2, stages=one_stage(), checks=checks))
    driver.until_stage("all", "soaking")
    assert "it is judged in" in told(driver)
    driver.until_stage("all", "validating")
    assert "it waits for 1 approvals and the answer of https://ci/x" in told(driver)


def test_a_way_back_says_when_it_is_over(driver: RolloutDriver) -> None:
    driver.begin()
    driver.until("succeeded")
    driver.roll_back()
    assert "counts as rolled back, whoever is not back yet in 5m" in told(driver)
