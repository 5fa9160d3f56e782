"""One real cluster per test; what still runs of it at the end is stopped."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stationkeep.node.chaos.constellation import Constellation


@pytest.fixture
def constellation(tmp_path: Path) -> Iterator[Constellation]:
    """A cluster to bring up."""
    cluster = Constellation(tmp_path / "cluster")
    yield cluster
    cluster.stop()
