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


def judge(driver: FleetDriver, script: list[tuple[int, Command]], restore_at: int) -> None:
    """Whatever the commands are every invariant holds, and a replica restored in between has the
    same future as one that was not."""
    log, now = [], 0
    for wait, command in script:
        now += wait
        log.append(Entry(now, now, Draft(command)))  # type: ignore[arg-type]
    snapshot = codec.encode_snapshot(driver.state)
    whole, part = codec.decode_snapshot(snapshot), codec.decode_snapshot(snapshot)
    _run(whole, log)
    _run(part, log[:restore_at])
    rest = codec.decode_snapshot(codec.encode_snapshot(part))
    _run(rest, log[restore_at:])
    assert codec.digest(rest) == codec.digest(whole)


def _run(state: ClusterState, log: list[Entry]) -> None:
    for entry in log:
        encoded = codec.stamp(entry.at, entry.wall, codec.encode_draft(entry.draft))
        apply(state, codec.decode_entry(encoded), state.index + 1)
        assert list(violations(state)) == []


def scripts(commands: st.SearchStrategy[Command]) -> st.SearchStrategy[list[tuple[int, Command]]]:
    """Commands, and the milliseconds between them."""
    return st.lists(st.tuples(st.integers(0, 400_000), commands), max_size=14)


@settings(max_examples=150)
@given(scripts(fleet_commands()), st.integers(0, 14))
def test_any_commands_about_devices_in_any_order(
    script: list[tuple[int, Command]], restore_at: int
) -> None:
    driver = FleetDriver()
    driver.register(*[f"device-{n}" for n in range(5)])
    judge(driver, script, restore_at)
