"""promtool, Prometheus, and the metrics that there are."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from stationkeep.node.api.app import build
from stationkeep.node.gateway.sessions import Sessions
from stationkeep.node.metrics.devices import AgentsCollector
from stationkeep.node.metrics.tls import TlsCollector
from stationkeep.node.metrics.traces import TracesCollector
from stationkeep.node.metrics.webhooks import WebhooksCollector
from tests.node.api.fake import FakeNode
from tests.node.api.rollout_story import RolloutStory

MONITORING = Path(__file__).parents[3] / "node" / "monitoring"


def installed(program: str) -> str:
    """Path of a program of Debian's package prometheus; without it tests are
    skipped, but never in CI."""
    path = shutil.which(program)
    if path is None:
        why = f"{program} is not installed (apt install prometheus)"
        (pytest.fail if os.environ.get("STATIONKEEP_SKIP_NOTHING") else pytest.skip)(why)
    return path


@pytest.fixture
def promtool() -> Callable[..., str]:
    """Runs promtool, which must find nothing to complain of; what it printed."""
    program = installed("promtool")

    def run(*arguments: str | Path, **options: Any) -> str:
        command = [program, *map(str, arguments)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, **options)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture
async def exposition() -> str:
    """What a leading node exports after a failover, while a version is rolled out and that is held:
    every metric that there is."""
    node = FakeNode().with_primary()
    story = RolloutStory(node).settle(4)
    story.begin()
    story.lead(3)
    story.pause()
    for _ in range(3):
        node.evaluate(sat_001=None)
    replica: Any = node
    webhooks: Any = SimpleNamespace(
        results={("pager", "delivered"): 1}, pending=lambda: {"pager": 0}
    )
    spans: Any = SimpleNamespace(results={"exported": 1})
    agents = AgentsCollector(Sessions(node.node, node.intake, node.errands, replica))
    tls: Any = SimpleNamespace(
        current=SimpleNamespace(node="sat-001", expiries={"node": 1.9e9}),
        handshakes={"raft": {"accepted": 1}},
        reloads={"accepted": 1},
    )
    more = (WebhooksCollector(webhooks), TracesCollector(spans), TlsCollector(tls))
    app = build(node, agents, *more)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8701") as client:
        return (await client.get("/metrics")).text


@pytest.fixture
def exported(exposition: str) -> set[str]:
    """Names of the series: for a histogram `_bucket`, `_count` and `_sum`, as it is queried."""
    families = text_string_to_metric_families(exposition)
    return set(_names(families)) | {"up"}


def _names(families: Any) -> Iterator[str]:
    for family in families:
        if family.type == "counter":
            yield f"{family.name}_total"
        yield from (sample.name for sample in family.samples)
