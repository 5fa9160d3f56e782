"""Windows by the clock of a wall: whether one is open in a time zone, and when that changes.

Local time leaps: what begins in an hour that does not exist begins with the next that does, and an
hour that comes twice is open both times, since all that is asked is what a clock there shows.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from stationkeep.cluster.rollouts.windows import DAY, open_minutes, spans_of, zone_fault
from stationkeep.cluster.rollouts.windows import UTC as UTC_NAME

MOST_ZONES = 32
"""Zones of which the next change is looked for at once: half a millisecond each."""
_AHEAD = 9
"""Days in which whatever changes every week changes, and one for zones on the other side."""
_FIRST, _LAST = 86_400_000, 250_000_000_000_000
"""Unix ms within which calendars can count, whatever a clock says."""
_MINUTE, _MINUTE_MS = timedelta(minutes=1), 60_000


def zone(name: str) -> ZoneInfo | None:
    """The zone of that name, None: the system knows none. Each device may make another one up: so
    names are looked up, and not looked for on the disk."""
    return _read(name) if name in names() else None


@cache
def names() -> frozenset[str]:
    """Of all zones that the system knows; the first call takes a tenth of a second."""
    return frozenset(name for name in available_timezones() if zone_fault(name) is None)


@lru_cache(maxsize=1_024)
def _read(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # removed since
        return None


def zone_or_utc(name: str) -> str:
    """The name itself where the system knows the zone: people label devices as they like."""
    return name if name and zone(name) is not None else UTC_NAME


def is_open(window: str, zone_name: str, wall: int) -> bool:
    """Whether a window is open at a moment, Unix ms, in a zone that there is."""
    return _is_open(window, _zone(zone_name), _moment(wall))


def next_change(window: str, zone_name: str, wall: int) -> int | None:
    """When a window opens that is closed, or closes that is open: Unix ms; None: never."""
    return _next_change(window, zone_name, wall // _MINUTE_MS * _MINUTE_MS)


def opening(window: str, zones: Iterable[str], wall: int) -> int | None:
    """When a window is open next in one of some zones: `wall` itself if it is somewhere. None: it
    takes too long to say, as there are more zones than `MOST_ZONES`."""
    places = {zone_or_utc(name) for name in zones}
    if any(is_open(window, place, wall) for place in places):
        return wall
    if len(places) > MOST_ZONES:
        return None
    changes = [next_change(window, place, wall) for place in places]
    return min(change for change in changes if change is not None)


@lru_cache(maxsize=4_096)
def _next_change(window: str, zone_name: str, wall: int) -> int | None:
    place, now = _zone(zone_name), _moment(wall)
    open_now = _is_open(window, place, now)
    for moment in sorted({*_borders(window, place, now), *_leaps(place, now)}):
        if moment > now and _is_open(window, place, moment) is not open_now:
            return int(moment.timestamp() * 1_000)
    return None


def _zone(name: str) -> ZoneInfo:
    found = zone(name)
    assert found is not None, "a zone that there is"
    return found


def _moment(wall: int) -> datetime:
    return datetime.fromtimestamp(min(max(_FIRST, wall), _LAST) / 1_000, UTC)


def _is_open(window: str, place: ZoneInfo, moment: datetime) -> bool:
    local = moment.astimezone(place)
    return open_minutes(window)[local.weekday() * DAY + local.hour * 60 + local.minute] > 0


def _borders(window: str, place: ZoneInfo, now: datetime) -> Iterator[datetime]:
    """Moments at which a clock may show what a window begins or ends with."""
    today = now.astimezone(place).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    monday = today - timedelta(days=today.weekday())
    minutes = {minute for span in spans_of(window) for minute in span}
    shown = [monday + timedelta(weeks=week, minutes=m) for week in (-1, 0, 1) for m in minutes]
    for time in shown:
        if time >= today - timedelta(days=1):
            for fold in (0, 1):
                yield time.replace(tzinfo=place, fold=fold).astimezone(UTC)


def _leaps(place: ZoneInfo, now: datetime) -> Iterator[datetime]:
    """Moments of the next days at which the clocks of a zone are set, to the minute."""
    for day in range(_AHEAD):
        low = now.replace(second=0, microsecond=0) + timedelta(days=day)
        high = low + timedelta(days=1)
        if _offset(place, low) == _offset(place, high):
            continue
        while high - low > _MINUTE:
            middle = low + (high - low) // 2
            middle -= timedelta(seconds=middle.second, microseconds=middle.microsecond)
            if _offset(place, middle) == _offset(place, low):
                low = middle
            else:
                high = middle
        yield high


def _offset(place: ZoneInfo, moment: datetime) -> timedelta | None:
    return moment.astimezone(place).utcoffset()
