"""Spans on their way out: what they become, and what a slow collector costs the node (nothing)."""

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import CollectorRegistry, generate_latest

from stationkeep.node.chaos.constellation import free_ports
from stationkeep.node.config.tracing import TracingConfig
from stationkeep.node.metrics.traces import TracesCollector
from stationkeep.node.tracing.otlp import LAST_FLUSH, MAX_QUEUE, Exports
from stationkeep.node.tracing.spans import Span

CONFIG = TracingConfig("http://127.0.0.1:9")
SPAN = Span("vote", 0xABC, 0x12, 0x34, 1_000, 2_500, {"stationkeep.approve": True})


class Hanging(SpanExporter):
    """A collector that does not answer until it is let go."""

    def __init__(self) -> None:
        self.entered, self.gate = threading.Event(), threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.entered.set()
        self.gate.wait()
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None: ...


class Broken(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        raise OSError("no such collector")

    def shutdown(self) -> None: ...


@pytest.fixture
async def hanging() -> AsyncIterator[Hanging]:
    exporter = Hanging()
    yield exporter
    exporter.gate.set()


async def exported(*spans: Span) -> list[ReadableSpan]:
    exporter = InMemorySpanExporter()
    exports = Exports(CONFIG, "fleet", "sat-001", exporter)
    for span in spans:
        exports.put(span)
    await exports.close()
    assert exports.results == {"dropped": 0, "exported": len(spans), "failed": 0}
    return list(exporter.get_finished_spans())


async def test_a_span_keeps_its_ids_times_and_attributes() -> None:
    (span,) = await exported(SPAN)
    assert (span.name, span.start_time, span.end_time) == ("vote", 1_000, 2_500)
    assert span.context is not None
    assert (span.context.trace_id, span.context.span_id) == (0xABC, 0x12)
    assert span.parent is not None
    assert (span.parent.trace_id, span.parent.span_id) == (0xABC, 0x34)
    assert dict(span.attributes or {}) == {"stationkeep.approve": True}
    assert (span.kind, span.status.status_code) == (SpanKind.INTERNAL, StatusCode.UNSET)
    resource = span.resource.attributes
    assert resource["service.name"] == "stationkeep"
    assert resource["service.namespace"] == "fleet"
    assert resource["service.instance.id"] == "sat-001"


async def test_a_root_a_link_and_a_failure() -> None:
    (span,) = await exported(
        Span("request", 0xABC, 0x12, None, 1, 2, {}, link=(0xDEF, 0x56), failed="no_leader")
    )
    assert span.parent is None
    assert span.context is not None
    assert (span.context.trace_id, span.kind) == (0xABC, SpanKind.SERVER)
    (link,) = span.links
    assert (link.context.trace_id, link.context.span_id) == (0xDEF, 0x56)
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "no_leader")


async def test_a_collector_that_hangs_makes_nobody_wait_and_costs_spans(hanging: Hanging) -> None:
    exports = Exports(CONFIG, "fleet", "sat-001", hanging)
    exports.put(SPAN)
    await asyncio.to_thread(hanging.entered.wait)
    for _ in range(MAX_QUEUE + 7):
        exports.put(SPAN)
    assert exports.results == {"dropped": 7, "exported": 0, "failed": 0}
    began = time.monotonic()
    await exports.close()
    assert time.monotonic() - began < 2 * LAST_FLUSH  # the SDK alone: 30 s


async def test_an_exporter_that_raises_is_counted_and_goes_on() -> None:
    exports = Exports(CONFIG, "fleet", "sat-001", Broken())
    exports.put(SPAN)
    exports.put(SPAN)
    await exports.close()
    assert exports.results == {"dropped": 0, "exported": 0, "failed": 2}


async def test_what_became_of_spans_is_a_metric() -> None:
    exports = Exports(CONFIG, "fleet", "sat-001", InMemorySpanExporter())
    exports.put(SPAN)
    await exports.close()
    registry = CollectorRegistry()
    registry.register(TracesCollector(exports))
    text = generate_latest(registry).decode()
    assert 'stationkeep_trace_spans_total{outcome="exported"} 1.0' in text
    assert 'stationkeep_trace_spans_total{outcome="dropped"} 0.0' in text


OFF = """
import sys
import fastapi
theirs = {name for name in sys.modules if name.startswith("opentelemetry")}
from pathlib import Path
from stationkeep.node.config.node_config import load
from stationkeep.node.runtime.node import Node
import asyncio

async def life():
    node = Node(load(sys.argv[1], {}))
    await node.start(None, 1.0)
    await node.close()

asyncio.run(life())
names = ("opentelemetry", "google.protobuf", "requests", "stationkeep.node.tracing.")
found = {name for name in sys.modules if name.startswith(names)} - theirs
print(sorted(found))
"""


@pytest.mark.parametrize("on", [False, True], ids=["off", "on"])
def test_a_node_without_tracing_imports_nothing_for_it(tmp_path: Path, on: bool) -> None:
    """FastAPI brings OpenTelemetry's API, which does nothing by itself, for its own use."""
    tracing = "tracing: {endpoint: http://127.0.0.1:9}\n" if on else ""
    port = free_ports(2)
    (tmp_path / "node.yaml").write_text(
        f"node: a\ncluster: c\ndata_dir: {tmp_path}/data\n{tracing}"
        f"members: {{a: {{raft: '127.0.0.1:{port}', http: '127.0.0.1:{port + 1}'}}}}\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", OFF, str(tmp_path / "node.yaml")],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()[-1]  # after what it logs
    assert ("opentelemetry.sdk.trace" in found) is on
    assert (found == "[]") is not on


async def test_a_resolver_that_is_mute_holds_up_the_exporters_thread_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, answers, threads = threading.Event(), threading.Event(), list[str]()

    def look_up(*_: object, **__: object) -> list[object]:
        threads.append(threading.current_thread().name)
        asked.set()
        answers.wait()
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    exports = Exports(TracingConfig("http://collector.example:4318"), "fleet", "sat-001")
    try:
        for _ in range(MAX_QUEUE):
            exports.put(SPAN)
        assert await asyncio.to_thread(asked.wait, 10)
        assert not any(name.startswith("asyncio") for name in threads)
        await exports.close()
    finally:
        answers.set()
