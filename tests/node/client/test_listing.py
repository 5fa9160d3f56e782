"""Lists page by page, whatever a node makes of them."""

import httpx
import pytest

from stationkeep.node.client import AnswerError, AsyncClient, listing
from tests.node.cli.canned import device
from tests.node.client.conftest import Json, PlayedNodes


def pages_of(played: PlayedNodes, *sizes: int) -> None:
    """A list of pages of so many devices, numbered from 1."""
    first = 1
    replies = []
    for place, size in enumerate(sizes, 1):
        items = [device(n, "prod") for n in range(first, first + size)]
        first += size
        page: Json = {"items": items, "next": f"after-{place}" if place < len(sizes) else None}
        replies.append(httpx.Response(200, json=page))
    played.replies[1] = replies


async def test_a_list_goes_on_over_short_and_empty_pages(
    played: PlayedNodes, client: AsyncClient
) -> None:
    pages_of(played, 3, 0, 0, 2)
    found = [one.slave_id async for one in client.devices(ring="prod", healthy=True)]
    assert found == [f"slave-{n:03d}" for n in range(1, 6)]
    queries = [dict(request.url.params) for request in played.requests]
    common = {"ring": "prod", "healthy": "true", "limit": "200"}
    assert queries == [common, *({**common, "cursor": f"after-{n}"} for n in (1, 2, 3))]


async def test_no_more_is_asked_for_than_is_wanted(
    played: PlayedNodes, client: AsyncClient
) -> None:
    pages_of(played, 3, 3, 3)
    assert len([one async for one in client.devices(limit=5)]) == 5
    assert [request.url.params["limit"] for request in played.requests] == ["5", "2"]


async def test_a_page_longer_than_was_asked_for_is_cut(
    played: PlayedNodes, client: AsyncClient
) -> None:
    pages_of(played, 9)
    assert len([one async for one in client.devices(limit=5)]) == 5


@pytest.mark.parametrize(
    "page",
    [
        {"items": [], "next": "x"},
        {"items": [device(1, "prod")], "next": "x"},
    ],
)
async def test_a_list_that_goes_round_in_a_circle_is_left(
    played: PlayedNodes, client: AsyncClient, page: Json
) -> None:
    played.replies[1] = [httpx.Response(200, json=page)]
    with pytest.raises(AnswerError, match="does not end"):
        [one async for one in client.devices()]
    assert len(played.requests) == 2


async def test_a_list_of_nothing_but_empty_pages_is_left(
    played: PlayedNodes, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MOST_EMPTY", 3)
    pages_of(played, *([0] * 10))
    with pytest.raises(AnswerError, match="does not end"):
        [one async for one in client.devices()]


async def test_a_list_longer_than_a_fleet_can_be_is_left(
    played: PlayedNodes, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MOST_ITEMS", 5)
    pages_of(played, 3, 3, 3)
    with pytest.raises(AnswerError, match="more than 5 items"):
        [one async for one in client.devices()]
