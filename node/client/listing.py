"""Lists, which nodes send in pages, and the mappings that a client has as attributes."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import TypeVar

from stationkeep.cluster.devices.rings import Ring
from stationkeep.node.client.errors import AnswerError, NotFoundError
from stationkeep.node.client.results import DeviceStatus, Page

T = TypeVar("T")
PAGE = 200
"""Items of a page; `exchange.MOST_BYTES` has room for them however long their texts are."""
MOST_ITEMS = 1 << 20
"""Of a list: as many as a fleet can have devices."""
MOST_EMPTY = 100
"""Empty pages in a row. A node that finds nothing in a full fleet sends four."""

Fetch = Callable[[int, str | None], Awaitable[Page[T]]]
"""Fetches a page: at most so many items, after this cursor."""


async def pages(fetch: Fetch[T], limit: int | None) -> AsyncIterator[list[T]]:
    """The pages of a list, up to `limit` items (None: all). A page may be short, even empty, and
    still have a next one. Raises `AnswerError` if the list has no end."""
    left, empty, cursor = MOST_ITEMS if limit is None else limit, 0, None
    while left > 0:
        page = await fetch(min(left, PAGE), cursor)
        left -= len(page.items)
        empty = 0 if page.items else empty + 1
        yield page.items[: left or None] if left < 0 else page.items
        if page.next is None:
            return
        if page.next == cursor or empty > MOST_EMPTY:
            raise AnswerError("a list that does not end")
        cursor = page.next
    if limit is None:
        raise AnswerError(f"a list of more than {MOST_ITEMS} items")


class RingAssignments(Mapping[str, tuple[str, ...]]):
    """Ring → ids of its devices. A ring is fetched when it is first used, and then kept."""

    def __init__(self, fetch: Callable[[Ring], tuple[str, ...]]) -> None:
        self._fetch = fetch
        self._known: dict[Ring, tuple[str, ...]] = {}

    def __getitem__(self, ring: str) -> tuple[str, ...]:
        try:
            named = Ring(ring)
        except ValueError:
            raise KeyError(ring) from None
        if named not in self._known:
            self._known[named] = self._fetch(named)
        return self._known[named]

    def __iter__(self) -> Iterator[Ring]:
        return iter(Ring)

    def __len__(self) -> int:
        return len(Ring)


class DeviceStatuses(Mapping[str, DeviceStatus]):
    """Id → device. A single one is fetched when it is first used; iterating fetches all."""

    def __init__(
        self, fetch: Callable[[str], DeviceStatus], fetch_all: Callable[[], list[DeviceStatus]]
    ) -> None:
        self._fetch, self._fetch_all = fetch, fetch_all
        self._known: dict[str, DeviceStatus] = {}
        self._whole = False

    def __getitem__(self, slave_id: str) -> DeviceStatus:
        if slave_id not in self._known and not self._whole:
            try:
                self._known[slave_id] = self._fetch(slave_id)
            except NotFoundError:
                raise KeyError(slave_id) from None
        return self._known[slave_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[str, DeviceStatus]:
        if not self._whole:
            self._known = {device.slave_id: device for device in self._fetch_all()}
            self._whole = True
        return self._known
