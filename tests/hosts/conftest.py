"""Machines for each file of tests, and a cluster across three of them."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path

import pytest

from tests.hosts.bed import Bed, missing
from tests.hosts.cluster import Cluster


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            for mark in (pytest.mark.processes, pytest.mark.hosts, pytest.mark.timeout(300)):
                item.add_marker(mark)


@cache
def reason() -> str | None:
    return missing()


@contextmanager
def laid(folder: Path) -> Iterator[Bed]:
    """A bed. Skips where no machines can be made, but never in CI."""
    why = reason()
    if why is not None:
        (pytest.fail if os.environ.get("STATIONKEEP_SKIP_NOTHING") else pytest.skip)(why)
    with Bed(folder) as made:
        yield made


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    with laid(tmp_path) as made:
        yield made


@pytest.fixture
def fresh(bed: Bed) -> Iterator[Cluster]:
    """Three nodes with their files, not started."""
    with closing(Cluster(bed)) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes that run, for all tests of a file."""
    with laid(tmp_path_factory.mktemp("bed")) as bed, closing(Cluster(bed)) as cluster:
        cluster.up()
        yield cluster
