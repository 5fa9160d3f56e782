"""Whatever the bytes say about deployments: a value, equal digests, every invariant."""

from hypothesis import given, settings
from hypothesis import strategies as st

from stationkeep.cluster.commands import Command, Draft, Entry
from stationkeep.cluster.state import codec
from tests.cluster.delivery.deliveries import CAPABLE, DeliveryDriver
from tests.cluster.fleet.test_totality import run
from tests.strategies import delivery_commands


@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.integers(0, 400_000), delivery_commands()), max_size=14),
    st.integers(0, 14),
)
def test_any_commands_about_deployments_in_any_order(
    script: list[tuple[int, Command]], restore_at: int
) -> None:
    """And a replica restored in between has the same future as one that was not."""
    driver = DeliveryDriver()
    driver.register(*[f"device-{n}" for n in range(5)], capabilities=CAPABLE, app_version="1.0.0")
    driver.create()
    driver.offer()
    log, now = [], 0
    for wait, command in script:
        now += wait
        log.append(Entry(now, now, Draft(command)))  # type: ignore[arg-type]
    snapshot = codec.encode_snapshot(driver.state)
    whole, part = codec.decode_snapshot(snapshot), codec.decode_snapshot(snapshot)
    run(whole, log)
    run(part, log[:restore_at])
    rest = codec.decode_snapshot(codec.encode_snapshot(part))
    run(rest, log[restore_at:])
    assert codec.digest(rest) == codec.digest(whole)
