"""Everything here runs on both event loops: each does TLS with code of its own."""

import asyncio
from collections.abc import Callable

import uvloop

from tests.node.peers.conftest import stations

__all__ = ["stations"]


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
