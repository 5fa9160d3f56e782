"""What all tests of a node share."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import structlog
from fastapi import FastAPI

from stationkeep.node.api.app import build
from tests.node.api.fake import FakeNode


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """No log lines: virtual time makes thousands of them in a second."""
    before = structlog.get_config()
    structlog.configure(
        logger_factory=structlog.ReturnLoggerFactory(), cache_logger_on_first_use=False
    )
    yield
    structlog.configure(**before)


@pytest.fixture
def node() -> FakeNode:
    """A node without sockets."""
    return FakeNode().with_primary()


@pytest.fixture
def app(node: FakeNode) -> FastAPI:
    return build(node)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Talks to its API in-process."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8701") as client:
        yield client
