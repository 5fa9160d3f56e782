"""Whatever the bytes say about deployments: a value, equal digests, every invariant."""

from hypothesis import given, settings
from hypothesis import strategies as st

from stationkeep.cluster.commands import Command
from tests.cluster.delivery.deliveries import CAPABLE, DeliveryDriver
from tests.cluster.fleet.test_totality import judge, scripts
from tests.strategies import delivery_commands


@settings(max_examples=150)
@given(scripts(delivery_commands()), st.integers(0, 14))
def test_any_commands_about_deployments_in_any_order(
    script: list[tuple[int, Command]], restore_at: int
) -> None:
    driver = DeliveryDriver()
    driver.register(*[f"device-{n}" for n in range(5)], capabilities=CAPABLE, app_version="1.0.0")
    driver.create()
    driver.offer()
    judge(driver, script, restore_at)
