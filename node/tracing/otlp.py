"""Exports spans to a collector over OTLP/HTTP. The only module that knows OpenTelemetry.

The SDK's batching thread sends; the event loop only creates the spans. While the collector is down
or slow, at most `MAX_QUEUE` spans wait; further ones are dropped and counted.
"""

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Sequence

import requests
import structlog
from opentelemetry import trace as api
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from stationkeep.node.config.tracing import TracingConfig
from stationkeep.node.tracing.spans import Span
from stationkeep.node.version import VERSION

MAX_QUEUE = 2_048
MAX_BATCH = 512
EVERY = 1.0
"""Seconds between two batches."""
TIMEOUT = 5.0
"""Seconds for a batch, retries included."""
LAST_FLUSH = 2.0
"""Seconds for the last batch when the node stops."""

_SAMPLED = api.TraceFlags(api.TraceFlags.SAMPLED)

log = structlog.get_logger("node.otlp")


class Exports:
    """Implements `node.tracing.spans.Sink`. `exporter` is for tests."""

    def __init__(
        self, config: TracingConfig, cluster: str, node: str, exporter: SpanExporter | None = None
    ) -> None:
        # The SDK logs every failure, without figures; `_Counted` logs each change once.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._counted = _Counted(exporter or _otlp(config))
        self._processor = BatchSpanProcessor(
            self._counted,
            max_queue_size=MAX_QUEUE,
            schedule_delay_millis=EVERY * 1_000,
            max_export_batch_size=MAX_BATCH,
        )
        self._ids = _Ids()
        provider = TracerProvider(
            sampler=ALWAYS_ON,  # `node.tracing` has sampled
            resource=Resource.create(
                {
                    "service.name": "stationkeep",
                    "service.namespace": cluster,
                    "service.instance.id": node,
                    "service.version": VERSION,
                }
            ),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        provider.add_span_processor(self._processor)
        self._tracer = provider.get_tracer("stationkeep", VERSION)
        self._queued = 0
        self._dropped = 0

    @property
    def results(self) -> dict[str, int]:
        return {"dropped": self._dropped, **self._counted.results}

    def put(self, span: Span) -> None:
        if self._queued - self._counted.taken >= MAX_QUEUE:
            self._dropped += 1
            return
        self._queued += 1
        self._ids.trace, self._ids.span = span.trace, span.id
        made = self._tracer.start_span(
            span.name,
            context=api.set_span_in_context(_remote(span.trace, span.parent)),
            kind=api.SpanKind.SERVER if span.name == "request" else api.SpanKind.INTERNAL,
            attributes=span.attributes,
            links=[api.Link(_remote(*span.link).get_span_context())] if span.link else (),
            start_time=span.begin,
        )
        if span.failed:
            made.set_status(api.StatusCode.ERROR, span.failed)
        made.end(span.end)

    async def close(self) -> None:
        """Sends what waits, for at most `LAST_FLUSH`; the SDK by itself would wait 30 s."""
        ending = threading.Thread(target=self._processor.shutdown, daemon=True)
        ending.start()
        await asyncio.to_thread(ending.join, LAST_FLUSH)


class _Ids(IdGenerator):
    """Gives a span the ids that `node.tracing` has chosen for it."""

    trace = span = 0

    def generate_trace_id(self) -> int:
        return self.trace

    def generate_span_id(self) -> int:
        return self.span


class _Counted(SpanExporter):
    """Counts an exporter's results and logs when they change. Called on the SDK's thread."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.taken = 0
        self.results: Counter[str] = Counter(exported=0, failed=0)
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.taken += len(spans)
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            failed = result is not SpanExportResult.SUCCESS
            self.results["failed" if failed else "exported"] += len(spans)
            if failed and not self._failing:
                log.warning("traces are lost: the collector does not accept them")
            elif self._failing and not failed:
                log.info("traces are accepted again", lost=self.results["failed"])
            self._failing = failed
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


def _remote(trace: int, span: int | None) -> api.Span:
    """A span that is known only by its ids; without a span id it is not a parent."""
    context = api.SpanContext(trace, span or 0, is_remote=True, trace_flags=_SAMPLED)
    return api.NonRecordingSpan(context)


def _otlp(config: TracingConfig) -> SpanExporter:
    """An exporter that uses no proxy from the environment: spans go only where the file says."""
    session = requests.Session()
    session.trust_env = False
    return OTLPSpanExporter(f"{config.endpoint}/v1/traces", timeout=TIMEOUT, session=session)
