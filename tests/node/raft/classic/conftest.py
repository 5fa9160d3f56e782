"""One member of three whose peers the test plays."""

import pytest

from tests.node.raft.classic.staging import Puppet


@pytest.fixture
def puppet(cluster) -> Puppet:
    return Puppet(cluster(3))
