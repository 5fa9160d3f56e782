"""A node without sockets, and a client that talks to its API in-process."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from stationkeep.node.api.app import build
from tests.node.api.fake import FakeNode


@pytest.fixture
def node() -> FakeNode:
    return FakeNode().with_primary()


@pytest.fixture
def app(node: FakeNode) -> FastAPI:
    return build(node)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8701") as client:
        yield client
