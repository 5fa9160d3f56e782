"""Clusters that are closed at the end of a test."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.node.raft.harness import Cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    made: list[Cluster] = []

    def make(size: int = 3, **more: Any) -> Cluster:
        made.append(Cluster(tmp_path / str(len(made)), size, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()
