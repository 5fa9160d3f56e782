"""A busy device is moved by no check, and is expected to look ill: tasks.md, "Interplay"."""

from stationkeep.cluster.commands import AssignRing
from stationkeep.cluster.deployments.lifecycle import TaskState, Word
from stationkeep.cluster.devices.rings import Ring
from tests.cluster.delivery.deliveries import DeliveryDriver
from tests.cluster.fleet.fleets import recorded


def installing() -> DeliveryDriver:
    """Twenty devices, three a ring and more, all of which carry out a task."""
    driver = DeliveryDriver()
    driver.crowd(20)
    driver.create()
    driver.offer()
    return driver


def test_no_check_moves_a_device_that_a_task_has_not_even_an_ill_one() -> None:
    driver = installing()
    ill = driver.in_ring(Ring.PROD)[0]
    driver.say(Word.IN_PROGRESS, ill)
    driver.sicken(ill)
    driver.check()
    assert driver.ring(ill) is Ring.PROD
    driver.say(Word.FAILED, ill)
    driver.check()
    assert driver.ring(ill) in (Ring.CANARY, Ring.DEV)


def test_a_move_planned_before_the_offer_is_left_out() -> None:
    driver = DeliveryDriver()
    driver.crowd(20)
    ill = driver.in_ring(Ring.PROD)[0]
    driver.sicken(ill)
    plan = driver.plan_rings()
    assert ill in plan.rows
    driver.create(require=None)
    driver.offer()
    assert driver.done(recorded(plan, driver.fleet.checks))["moved"] == 0


def test_devices_that_turn_ill_while_they_install_make_no_storm() -> None:
    driver = installing()
    driver.sicken(*driver.rows)
    assert not driver.fleet.braked
    idle = DeliveryDriver()
    idle.crowd(20)
    idle.sicken(*idle.rows)
    assert idle.fleet.braked


def test_devices_that_recover_once_they_have_installed_hide_no_storm() -> None:
    """They were not counted when they turned ill."""
    driver = installing()
    driver.check()
    driver.clock += 1_000
    driver.sicken(0, 1, 2, 3)
    driver.say(Word.REJECTED, *range(16))
    driver.sicken(*range(4, 15))
    driver.heal(0, 1, 2, 3)
    assert not driver.fleet.braked, "eleven of twenty are no storm"
    driver.sicken(15)
    assert driver.fleet.braked


def test_a_pin_decides_the_ring_and_no_task() -> None:
    driver = installing()
    driver.done(AssignRing("dev-0003", Ring.CANARY))
    assert driver.ring(3) is Ring.CANARY
    assert driver.states(3) == [TaskState.OFFERED]


def test_a_device_keeps_its_task_while_it_is_offline() -> None:
    driver = installing()
    driver.say(Word.IN_PROGRESS, 3)
    driver.wait(60_000)
    driver.silence()
    assert driver.states(3) == [TaskState.IN_PROGRESS]
    assert driver.busy([3]) == [True]
