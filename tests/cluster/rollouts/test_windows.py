"""Windows as people write them."""

import pytest

from stationkeep.cluster.rollouts.windows import (
    DAY,
    WEEK,
    Span,
    open_minutes,
    spans_of,
    window_fault,
    zone_fault,
)


def opened(window: str) -> set[int]:
    return {minute for minute, is_open in enumerate(open_minutes(window)) if is_open}


def test_days_and_times_are_spans_of_the_week() -> None:
    found = spans_of("Mon-Fri 01:00-05:00, Sat 00:00-24:00")
    assert found == (
        *(Span(day * DAY + 60, day * DAY + 300) for day in range(5)),
        Span(5 * DAY, 6 * DAY),
    )
    assert len(opened("Mon-Fri 01:00-05:00, Sat 00:00-24:00")) == 5 * 240 + DAY


def test_without_days_it_is_every_day() -> None:
    assert opened("01:00-05:00") == opened("Mon-Sun 01:00-05:00")
    assert len(opened("00:00-24:00")) == WEEK


def test_what_ends_before_it_begins_ends_on_the_next_day() -> None:
    assert opened("Sun 23:00-01:00") == {*range(6 * DAY + 23 * 60, WEEK), *range(60)}


def test_days_go_round_the_end_of_the_week() -> None:
    assert opened("Sat-Mon 01:00-02:00") == opened(
        "Sat 01:00-02:00, Sun 01:00-02:00, Mon 01:00-02:00"
    )


def test_the_minute_of_the_end_is_closed() -> None:
    assert opened("Mon 00:05-00:07") == {5, 6}


@pytest.mark.parametrize(
    "text",
    [
        " ",
        ",",
        "Mon",
        "01:00",
        "Mon 1:00-5:00",
        "Mon 01:00-25:00",
        "Mon 24:00-05:00",
        "Mon 01:60-05:00",
        "Mon 01:00-01:00",
        "mon 01:00-05:00",
        "Mon-Fri, Sat 01:00-05:00",
        "Mon–Fri 01:00-05:00",
        "Mon 01:00-05:00;",
        "Mon 01:00-05:00,",
        "Mon ٠١:00-05:00",
        "Mon 01:00-05:00, " * 20 + "Mon 01:00-05:00",
    ],
)
def test_what_is_no_window_says_the_rule(text: str) -> None:
    assert window_fault(text)


def test_no_window_is_no_fault() -> None:
    assert window_fault("") is None
    assert window_fault("Mon-Fri 01:00-05:00, Sat 00:00-24:00") is None


@pytest.mark.parametrize(
    ("zone", "good"),
    [
        ("UTC", True),
        ("device", True),
        ("Europe/Berlin", True),
        ("America/Argentina/Buenos_Aires", True),
        ("Etc/GMT+3", True),
        ("", False),
        ("../etc/passwd", False),
        ("/etc/localtime", False),
        ("Europe//Berlin", False),
        ("Europe/Berlin/", False),
        ("Europe/Ber lin", False),
        ("x" * 65, False),
    ],
)
def test_a_zone_is_a_name_and_no_path(zone: str, good: bool) -> None:
    assert (zone_fault(zone) is None) is good
