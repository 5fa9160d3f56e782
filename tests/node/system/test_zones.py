"""Windows by the clocks of the world, those that leap above all."""

from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stationkeep.node.system import zones
from stationkeep.node.system.zones import is_open, next_change, opening, zone, zone_or_utc

BERLIN, TOKYO = "Europe/Berlin", "Asia/Tokyo"
PLACES = (BERLIN, TOKYO, "UTC", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia")


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000)


def test_a_window_is_open_by_the_clock_of_its_zone() -> None:
    assert is_open("01:00-05:00", TOKYO, at("2026-01-10T16:30"))
    assert not is_open("01:00-05:00", BERLIN, at("2026-01-10T16:30"))
    assert is_open("01:00-05:00", BERLIN, at("2026-01-10T00:30"))


def test_days_are_those_of_the_zone() -> None:
    saturday_in_tokyo = at("2026-01-09T15:00")
    assert is_open("Sat 00:00-24:00", TOKYO, saturday_in_tokyo)
    assert not is_open("Sat 00:00-24:00", BERLIN, saturday_in_tokyo)


def test_what_begins_in_an_hour_that_does_not_exist_begins_with_the_next_that_does() -> None:
    """2026-03-29 in Berlin goes from 01:59:59 to 03:00:00."""
    window = "02:30-04:00"
    assert not is_open(window, BERLIN, at("2026-03-29T00:59"))
    assert is_open(window, BERLIN, at("2026-03-29T01:00"))
    assert next_change(window, BERLIN, at("2026-03-28T23:00")) == at("2026-03-29T01:00")
    assert next_change(window, BERLIN, at("2026-03-29T01:00")) == at("2026-03-29T02:00")


def test_an_hour_that_comes_twice_is_open_both_times() -> None:
    """2026-10-25 in Berlin has 02:00 to 02:59 twice."""
    window = "02:30-03:00"
    opened = [
        is_open(window, BERLIN, at(f"2026-10-25T{time}")) for time in ("00:30", "01:00", "01:30")
    ]
    assert opened == [True, False, True]
    changes, moment = [], at("2026-10-25T00:00")
    for _ in range(4):
        moment = next_change(window, BERLIN, moment) or 0
        changes.append(moment)
    assert changes == [at(f"2026-10-25T{time}") for time in ("00:30", "01:00", "01:30", "02:00")]


@pytest.mark.parametrize("window", ["00:00-24:00", "Mon-Sun 00:00-12:00, Mon-Sun 12:00-24:00"])
def test_what_is_always_open_never_changes(window: str) -> None:
    assert next_change(window, BERLIN, at("2026-03-28T12:00")) is None


MOMENTS = st.integers(at("2026-01-01T00:00"), at("2027-01-01T00:00"))
WINDOWS = st.sampled_from([
    "01:00-05:00", "02:15-02:45", "Sun 02:30-03:30", "Mon-Fri 22:00-04:00, Sat 00:00-24:00",
    "Sat-Mon 23:59-00:01", "Sun 00:00-24:00", "Sat 23:30-23:45",
])  # fmt: skip


@given(WINDOWS, st.sampled_from(PLACES), MOMENTS)
@example("02:15-02:45", BERLIN, at("2026-03-28T12:00"))
@example("Sun 02:30-03:30", BERLIN, at("2026-10-25T00:31"))
@example("Sun 01:30-02:15", "Australia/Lord_Howe", at("2026-04-04T12:00"))
def test_the_next_change_is_the_first_minute_that_differs(
    window: str, place: str, wall: int
) -> None:
    """Against somebody who looks at the clock every minute."""
    minute = wall // 60_000
    now = is_open(window, place, wall)
    ahead = range(minute + 1, minute + 8 * 24 * 60)
    wanted = next(m for m in ahead if is_open(window, place, m * 60_000) is not now)
    assert next_change(window, place, wall) == wanted * 60_000


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Europe",
        "Europe/Atlantis",
        "device",
        "../../etc/passwd",
        "/etc/localtime",
        "posixrules/x",
    ],
)
def test_what_the_system_does_not_know_is_no_zone(name: str) -> None:
    assert zone(name) is None
    assert zone_or_utc(name) == "UTC"


def test_names_that_devices_make_up_are_not_looked_for_on_the_disk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    zones.names()
    monkeypatch.setattr(zones, "ZoneInfo", lambda name: pytest.fail(f"looks for {name}"))
    assert {zone_or_utc(f"Made/Up{n}") for n in range(10_000)} == {"UTC"}


@pytest.mark.parametrize("wall", [-(10**18), 0, 10**18, zones._LAST])
def test_a_clock_that_says_anything_does_no_harm(wall: int) -> None:
    for place in PLACES:
        is_open("Mon 01:00-05:00", place, wall)
        next_change("Mon 01:00-05:00", place, wall)


def test_a_window_opens_where_it_opens_first() -> None:
    both = {TOKYO, BERLIN, "Atlantis"}
    assert opening("01:00-05:00", both, at("2026-01-10T12:00")) == at("2026-01-10T16:00")
    assert opening("01:00-05:00", both, at("2026-01-10T16:30")) == at("2026-01-10T16:30")
    assert opening("01:00-05:00", both, at("2026-01-10T21:00")) == at("2026-01-11T00:00")
