"""Stations that are closed at the end."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.node.peers.station import Station


@pytest.fixture
async def stations() -> AsyncIterator[Callable[..., Any]]:
    started: list[Station] = []

    async def start(name: str, peers: dict[str, str], **more: Any) -> Station:
        station = Station(name, peers, **more)
        await station.network.start()
        started.append(station)
        return station

    yield start
    for station in started:
        await station.network.close()
