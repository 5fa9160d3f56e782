"""Whatever the bytes say about devices: a value, equal digests, every invariant."""

from hypothesis import given, settings
from hypothesis import strategies as st

from stationkeep.cluster.apply import apply
from stationkeep.cluster.commands import Command, Draft, Entry
from stationkeep.cluster.invariants import violations
from stationkeep.cluster.state import codec
from stationkeep.cluster.state.state import ClusterState
from tests.cluster.fleet.fleets import FleetDriver
from tests.strategies import fleet_commands


def run(state: ClusterState, log: list[Entry]) -> None:
    for entry in log:
        encoded = codec.stamp(entry.at, entry.wall, codec.encode_draft(entry.draft))
        apply(state, codec.decode_entry(encoded), state.index + 1)
        assert list(violations(state)) == []


@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.integers(0, 400_000), fleet_commands()), max_size=14),
    st.integers(0, 14),
)
def test_any_commands_about_devices_in_any_order(
    script: list[tuple[int, Command]], restore_at: int
) -> None:
    """And a replica restored in between has the same future as one that was not."""
    driver = FleetDriver()
    driver.register(*[f"device-{n}" for n in range(5)])
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
