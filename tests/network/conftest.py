"""A network namespace of its own for each test, and a real cluster in it."""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from stationkeep.node.chaos.isolated import Isolated
from stationkeep.node.chaos.namespace import unavailable


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.network)


@cache
def reason() -> str | None:
    return unavailable()


@pytest.fixture
def able() -> None:
    """Skips where no namespace can be made, but never in CI."""
    why = reason()
    if why is not None:
        (pytest.fail if os.environ.get("STATIONKEEP_SKIP_NOTHING") else pytest.skip)(why)


@pytest.fixture
def cluster(tmp_path: Path, able: None) -> Iterator[Isolated]:
    """Five nodes to bring up; the thread of the test is in their namespace."""
    with Isolated(tmp_path / "cluster") as isolated:
        yield isolated
