"""Data directories of earlier releases go on."""

from pathlib import Path

import msgspec
import pytest

from stationkeep.cluster.commands import ChangeSettings, Draft
from stationkeep.cluster.deployments.lifecycle import TaskState
from stationkeep.cluster.invariants import violations
from stationkeep.cluster.settings import RETIRED, SettingsError, as_written, check, parse
from stationkeep.cluster.state import codec
from tests.cluster.delivery.deliveries import CAPABLE, DeliveryDriver
from tests.cluster.driver import found, settled

OFFERED, IN_PROGRESS, FAILED = TaskState.OFFERED, TaskState.IN_PROGRESS, TaskState.FAILED
FORMAT_2 = Path(__file__).parent / "format_2.snapshot"
"""Seven devices, one of them pinned, one unhealthy, one with a metric, and one that was removed;
written by d64c4d1, before there were deployments."""
FORMAT_3 = FORMAT_2.with_name("format_3.snapshot")
"""Four devices with a deployment to all: two tasks are offered, one is in progress, one has failed;
written by acaa655, when all that is small in deployments was one piece."""


def test_a_snapshot_from_before_deployments_is_read_with_every_device_free() -> None:
    state = codec.decode_snapshot(FORMAT_2.read_bytes())
    assert list(violations(state)) == []
    assert len(state.fleet) == 7
    assert len(state.deployments) == 0
    assert state.fleet.table.task[: state.fleet.table.used].tolist() == [0] * 8
    device = state.fleet.device(0)
    assert (device.app_version, device.metrics) == ("1.0.0", {"temperature": 41.5})
    assert [row for row in range(8) if row in state.fleet.pins] == [2]


def test_a_snapshot_with_the_small_parts_of_deployments_in_one_piece_is_read() -> None:
    state = codec.decode_snapshot(FORMAT_3.read_bytes())
    assert list(violations(state)) == []
    deployment = state.deployments.known[1]
    assert [deployment.count(each) for each in (OFFERED, IN_PROGRESS, FAILED)] == [2, 1, 1]
    assert [group.text for group in deployment.failures] == ["not that file"]
    assert codec.digest(codec.decode_snapshot(codec.encode_snapshot(state))) == codec.digest(state)


def test_settings_that_are_no_more_are_read_over_in_snapshots() -> None:
    encoded = FORMAT_2.read_bytes()
    assert all(name.encode() in encoded for name in RETIRED)
    assert check(codec.decode_snapshot(encoded).settings) is None


def test_an_entry_that_changes_a_setting_that_is_no_more_changes_the_others() -> None:
    """Whoever raised a ceiling had to raise the one above it, too."""
    driver = settled()
    changes = {"unhealthy_above": 400_000, "backup_ceiling": 350_000, "standby_ceiling": 400_000}
    assert driver.done(ChangeSettings(changes))["changed"] == ["backup_ceiling", "unhealthy_above"]
    assert driver.state.settings.backup_ceiling == 350_000
    driver.done(ChangeSettings(dict.fromkeys(RETIRED, 0)))
    assert as_written("standby_ceiling", 400_000) == 0.4, "in decisions from then"
    with pytest.raises(SettingsError, match="no such setting"):
        parse({"standby_ceiling": 0.4})


def test_an_entry_that_founds_a_cluster_with_settings_that_are_no_more_is_read() -> None:
    draft = codec.encode_draft(Draft(found(("a", "b", "c"))))
    told = msgspec.msgpack.decode(draft)
    (given,) = (part for part in told[0] if isinstance(part, dict))
    given |= dict.fromkeys(RETIRED, 200_000)
    assert codec.decode_draft(msgspec.msgpack.encode(told)) == codec.decode_draft(draft)


def test_such_a_cluster_takes_deployments_and_writes_what_it_can_read() -> None:
    driver = DeliveryDriver()
    driver.state = codec.decode_snapshot(FORMAT_2.read_bytes())
    driver.log = [b""] * driver.state.index
    driver.clock, driver.sequence = driver.state.time, 10_000
    driver.register("fresh", capabilities=CAPABLE)
    driver.create()
    assert driver.offer() == 4  # the battery of one is low
    again = codec.decode_snapshot(codec.encode_snapshot(driver.state))
    assert codec.digest(again) == codec.digest(driver.state)
