"""One real cluster per test, in a network namespace of its own."""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from node.chaos.isolated import Isolated
from node.chaos.namespace import unavailable


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.network)


@cache
def reason() -> str | None:
    return unavailable()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Isolated]:
    """Five nodes to bring up; the thread of the test is in their namespace."""
    why = reason()
    if why is not None:
        (pytest.fail if os.environ.get("STATIONKEEP_SKIP_NOTHING") else pytest.skip)(why)
    with Isolated(tmp_path / "cluster") as isolated:
        yield isolated
