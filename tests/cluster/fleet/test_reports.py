"""Statuses in batches: what is taken, verdicts with hysteresis, presence. rings.md, "Devices"."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeep.cluster.commands import MetricColumn, RemoveDevice, ReportDevices
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.devices.status import Reading
from stationkeep.cluster.fleet.verdicts import Verdicts, follow
from stationkeep.cluster.state.events import DevicesTurned, DevicesWentOffline, DevicesWentOnline
from tests import fleet_model as model
from tests.cluster.fleet.fleets import BAD, GOOD, FleetDriver, u8, u16, u32


def test_two_unhealthy_statuses_in_a_row_make_a_device_unhealthy() -> None:
    driver = FleetDriver()
    (row,) = driver.crowd(1)
    driver.report({row: BAD})
    driver.report({row: GOOD})
    driver.report({row: BAD})
    assert driver.device(row).healthy
    driver.report({row: BAD})
    assert not driver.device(row).healthy
    (turned,) = [event for event in driver.events if isinstance(event, DevicesTurned)]
    assert (turned.turned_healthy, turned.turned_unhealthy) == (0, 1)


def test_three_healthy_ones_in_a_row_make_it_healthy_again() -> None:
    driver = FleetDriver()
    (row,) = driver.crowd(1)
    driver.sicken(row)
    driver.report({row: GOOD}, 2)
    driver.report({row: BAD})
    driver.report({row: GOOD}, 2)
    assert not driver.device(row).healthy
    driver.clock += 7_000
    driver.report({row: GOOD})
    assert driver.device(row).healthy
    assert driver.device(row).healthy_since == 7_000


def test_the_first_status_decides_the_first_verdict() -> None:
    driver = FleetDriver()
    well, sick, silent = driver.register("well"), driver.register("sick", reading=BAD), []
    silent += driver.register("silent", reading=None)
    verdicts = [driver.device(*row).healthy for row in (well, sick, silent)]
    assert verdicts == [True, False, True]
    assert [driver.device(*row).reported for row in (well, sick, silent)] == [True, True, False]


@given(st.booleans(), st.lists(st.lists(st.booleans(), max_size=8), max_size=6))
def test_batches_of_statuses_give_the_verdicts_of_the_model(
    first: bool, batches: list[list[bool]]
) -> None:
    dumb = model.Dumb("d", [first], first)
    now = Verdicts(np.array([first], np.uint8), np.array([1], np.uint8), np.array([first]))
    for batch in batches:
        dumb.statuses += batch
        bits = sum(healthy << n for n, healthy in enumerate(reversed(batch)))
        now = follow(now, np.array([bits], np.uint8), np.array([len(batch)], np.uint8), 2, 3)
        assert bool(now.healthy[0]) is dumb.healthy


def test_the_figures_of_the_newest_status_are_kept() -> None:
    driver = FleetDriver()
    (row,) = driver.crowd(1)
    driver.clock = 5_000
    command = driver.batch({row: Reading(42, True, 4_520, 6_250, 5_500)})
    metrics = (MetricColumn("temperature", u32([0]), np.array([36_600], "<i4").tobytes()),)
    driver.done(msgspec.structs.replace(command, metrics=metrics))
    seen = driver.device(row)
    assert (seen.battery, seen.charging, seen.cpu) == (42, True, 45.2)
    assert (seen.memory, seen.disk, seen.metrics) == (62.5, 55.0, {"temperature": 36.6})
    assert (seen.updated_at, seen.seen_at, seen.served_by) == (5_000, 5_000, "sat-001")


def test_a_heartbeat_tells_of_presence_and_nothing_else() -> None:
    driver = FleetDriver()
    (row,) = driver.crowd(1)
    driver.clock = 5_000
    driver.report({row: None})
    assert (driver.device(row).seen_at, driver.device(row).updated_at) == (5_000, 0)
    driver.report({row: BAD})
    driver.report({row: None})
    driver.report({row: BAD})
    assert not driver.device(row).healthy


def test_what_is_not_newer_is_left_out_and_the_others_stand() -> None:
    driver = FleetDriver()
    rows = driver.crowd(4)
    command = driver.batch(dict.fromkeys(rows, BAD))
    births = driver.fleet.table.birth[rows]
    changed = msgspec.structs.replace(
        command,
        births=u32([births[0], births[1] + 9, births[2], births[3]]),
        sessions=u32([1, 1, 2, 1]),
        sequences=u32([99, 99, 99, 1]),
    )
    assert driver.done(changed) == {"applied": 1, "outdated": 2, "unknown": 1}
    assert [driver.device(row).battery for row in rows] == [BAD.battery] + [GOOD.battery] * 3


def test_a_batch_that_comes_twice_counts_once() -> None:
    driver = FleetDriver()
    (row,) = driver.crowd(1)
    command = driver.batch({row: BAD})
    driver.done(command)
    assert driver.done(command) == {"applied": 0, "outdated": 1, "unknown": 0}
    assert driver.device(row).healthy


def test_rows_that_nobody_has_are_unknown() -> None:
    driver = FleetDriver()
    driver.crowd(2)
    command = driver.batch({0: GOOD, 1: GOOD})
    far = msgspec.structs.replace(command, rows=u32([1, 2**32 - 1]))
    assert driver.done(far) == {"applied": 0, "outdated": 0, "unknown": 2}


def _faulty(**fields: object) -> dict[str, object]:
    return fields


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (_faulty(rows=u32([1, 0])), "rows: not strictly ascending"),
        (_faulty(rows=u32([0, 0])), "rows: not strictly ascending"),
        (_faulty(rows=b"\x00"), "rows: 1 bytes"),
        (_faulty(rows=bytes(4 * 8_193)), "rows: 32772 bytes are not 0 to 8192"),
        (_faulty(births=u32([1])), "births: 4 bytes, 2 values of 4 bytes are due"),
        (_faulty(sessions=b""), "sessions: 0 bytes"),
        (_faulty(sequences=u32([1, 2, 3])), "sequences: 12 bytes"),
        (_faulty(battery=u8([101, 0])), "battery: 101 is above 100"),
        (_faulty(charging=u8([0, 2])), "charging: 2 is above 1"),
        (_faulty(cpu=u16([0, 10_001])), "cpu: 10001 is above 10000"),
        (_faulty(memory=u16([10_001, 0])), "memory: 10001 is above 10000"),
        (_faulty(disk=u8([0])), "disk: 1 bytes"),
        (_faulty(bits=u8([1])), "bits: 1 bytes"),
        (_faulty(counts=u8([9, 0])), "counts: 9 is above 8"),
        (_faulty(node="sat-999"), "no such node: 'sat-999'"),
        (_faulty(metrics=(MetricColumn("Temp", b"", b""),)), "'Temp' is not a metric's name"),
        (_faulty(metrics=(MetricColumn("t", u32([2]), u32([1])),)), "position 2 of 2 rows"),
        (_faulty(metrics=(MetricColumn("t", u32([1, 0]), u32([1, 1])),)), "strictly ascending"),
        (_faulty(metrics=(MetricColumn("t", u32([1]), b""),)), "metrics.t: 0 bytes"),
        (_faulty(metrics=(MetricColumn("t", u32([1]), u32([2**31])),)), "stands for no value"),
        (_faulty(metrics=(MetricColumn("t", b"", b""),) * 17), "17 columns, at most 16"),
    ],
)
def test_a_batch_that_cannot_be_is_refused_as_a_whole(
    fields: dict[str, object], words: str
) -> None:
    driver = FleetDriver()
    driver.crowd(2)
    command = msgspec.structs.replace(driver.batch({0: BAD, 1: BAD}), **fields)
    reason, detail = driver.refused(command)
    assert reason in ("invalid", "unknown_node")
    assert words in detail


def test_metrics_beyond_what_a_fleet_may_know_are_left_out_and_told() -> None:
    driver = FleetDriver()
    driver.crowd(2)

    def report(*names: str) -> dict[str, object]:
        values = np.array([1, 2], "<i4").tobytes()
        columns = tuple(MetricColumn(name, u32([0, 1]), values) for name in names)
        command = driver.batch({0: GOOD, 1: GOOD})
        return driver.done(msgspec.structs.replace(command, metrics=columns))

    report(*[f"m{n}" for n in range(15)])
    assert report("m3", "new", "newer")["ignored_metrics"] == ["newer"]
    assert driver.fleet.metrics[-1] == "new"
    assert driver.device(1).metrics["new"] == 0.002


def test_a_metric_is_forgotten_with_the_last_device_that_reported_it() -> None:
    driver = FleetDriver()
    rows = driver.register("inventive", "sober")

    def report(row: int, *names: str) -> dict[str, Any]:
        columns = tuple(MetricColumn(name, u32([0]), u32([1])) for name in names)
        return driver.done(msgspec.structs.replace(driver.batch({row: GOOD}), metrics=columns))

    report(rows[0], *[f"m{n}" for n in range(16)])
    report(rows[1], "m0")
    assert report(rows[1], "temperature")["ignored_metrics"] == ["temperature"]
    driver.done(RemoveDevice("inventive"))
    assert driver.fleet.metrics == ("m0",)
    assert "ignored_metrics" not in report(rows[1], "temperature")
    assert driver.device(rows[1]).metrics == {"m0": 0.001, "temperature": 0.001}


def test_a_metric_that_nobody_newly_reports_takes_no_place() -> None:
    driver = FleetDriver()
    (row,) = driver.register("d")
    columns = (MetricColumn("t", u32([0]), u32([1])),)
    command = msgspec.structs.replace(driver.batch({row: GOOD}), births=u32([7]), metrics=columns)
    assert driver.done(command)["unknown"] == 1
    assert driver.fleet.metrics == ()


# Presence


def test_a_device_not_heard_of_for_a_minute_is_offline_and_keeps_its_ring() -> None:
    driver = FleetDriver()
    rows = driver.crowd(8)
    before = driver.distribution
    driver.clock += 59_999
    assert driver.silence() == {"offline": 0}
    driver.clock += 1
    driver.report({rows[0]: None})
    assert driver.silence() == {"offline": 7}
    (gone,) = [event for event in driver.events if isinstance(event, DevicesWentOffline)]
    assert gone.rows == u32(rows[1:])
    assert driver.distribution == before
    assert driver.silence() == {"offline": 0}


def test_who_is_offline_counts_in_no_figure_of_health() -> None:
    driver = FleetDriver()
    rows = driver.crowd(4)
    driver.sicken(rows[0])
    driver.clock += 60_000
    driver.silence()
    counts = driver.fleet.counts().values()
    assert sum(c.healthy + c.unhealthy for c in counts) == 0
    assert sum(c.offline for c in counts) == sum(c.total for c in counts) == 4


def test_any_word_from_a_device_brings_it_back() -> None:
    driver = FleetDriver()
    rows = driver.crowd(2)
    driver.clock += 60_000
    driver.silence()
    driver.report({rows[0]: None})
    (back,) = [event for event in driver.events if isinstance(event, DevicesWentOnline)]
    assert back.rows == u32([rows[0]])
    assert [driver.device(row).online for row in rows] == [True, False]


def test_the_whole_is_told_in_the_words_of_the_seed() -> None:
    driver = FleetDriver()
    rows = driver.crowd(8)
    driver.sicken(rows[0])
    assert driver.fleet.summary() == {
        "total_slaves": 8,
        "healthy_devices": 7,
        "ring_distribution": {ring.value: 2 for ring in Ring},
    }


def test_an_empty_batch_is_fine() -> None:
    driver = FleetDriver()
    answer = driver.done(ReportDevices("sat-001", *[b""] * 11))
    assert answer == {"applied": 0, "outdated": 0, "unknown": 0}
