"""A collector that prints: OTLP/HTTP on loopback, each trace as text once nothing more comes.

.venv/bin/python -m scripts.traces [PORT]   (4318 unless given)
"""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

QUIET = 3.0
"""Seconds without a further span after which a trace is printed."""
MAX_SPANS = 100_000
"""More than these are not kept."""


class Received(msgspec.Struct, frozen=True):
    """A span as it came. `node`: its resource's service.instance.id. Ids in hex, times Unix ns."""

    node: str
    name: str
    trace: str
    id: str
    parent: str
    begin: int
    end: int
    attributes: dict[str, Any]


class Collector(ThreadingHTTPServer):
    """Keeps what nodes send; while `let_go` is not set it does not answer."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.posts = threading.Semaphore(0)
        self.let_go = threading.Event()
        self.let_go.set()
        self._spans: list[tuple[float, Received]] = []
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def take(self, body: bytes) -> None:
        """Keeps the spans of an ExportTraceServiceRequest."""
        now = time.monotonic()
        spans = _spans(ExportTraceServiceRequest.FromString(body))
        with self._lock:
            self._spans = [*self._spans, *((now, span) for span in spans)][-MAX_SPANS:]

    def traces(self, quiet: float = 0.0) -> dict[str, list[Received]]:
        """Trace id → its spans, the earliest first; those that got none for `quiet` seconds."""
        found: dict[str, list[Received]] = {}
        with self._lock:
            before = time.monotonic() - quiet
            busy = {span.trace for at, span in self._spans if at > before}
            spans = [span for _, span in self._spans if span.trace not in busy]
        for span in sorted(spans, key=lambda s: s.begin):
            found.setdefault(span.trace, []).append(span)
        return found

    def forget(self, trace: str) -> None:
        """Lets go of a trace."""
        with self._lock:
            self._spans = [(at, span) for at, span in self._spans if span.trace != trace]


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts.release()
        self.server.let_go.wait()
        known = self.path == "/v1/traces"
        if known:
            self.server.take(body)
        self.send_response(200 if known else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


def _spans(request: ExportTraceServiceRequest) -> Iterator[Received]:
    for batch in request.resource_spans:
        node = str(_attributes(batch.resource.attributes)["service.instance.id"])
        for span in (span for scope in batch.scope_spans for span in scope.spans):
            yield Received(
                node,
                span.name,
                span.trace_id.hex(),
                span.span_id.hex(),
                span.parent_span_id.hex(),
                span.start_time_unix_nano,
                span.end_time_unix_nano,
                _attributes(span.attributes),
            )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


@contextmanager
def collecting(port: int = 0) -> Iterator[Collector]:
    """A collector that listens until the end of the block."""
    with Collector(port) as collector:
        thread = threading.Thread(target=collector.serve_forever, daemon=True)
        thread.start()
        try:
            yield collector
        finally:
            collector.let_go.set()
            collector.shutdown()
            thread.join()


def tree(spans: list[Received]) -> str:
    """A trace as text: a line for each span, below its parent, with its node, when it began after
    the first and how long it took (both in ms), and what it says."""
    zero, known = spans[0].begin, {span.id for span in spans}
    lines = []

    def draw(span: Received, depth: int) -> None:
        name = "  " * depth + span.name
        begin, took = (span.begin - zero) / 1e6, (span.end - span.begin) / 1e6
        lines.append(f"{name:<15} {span.node} {begin:7.1f} {took:6.1f}  {_said(span)}".rstrip())
        for child in spans:
            if child.parent == span.id:
                draw(child, depth + 1)

    for root in spans:
        if root.parent not in known:
            draw(root, 0)
    return "\n".join(lines)


_SAID = {
    "request": ("command", "actor", "outcome"),
    "proposal": ("rule", "outcome"),
    "vote": ("approve", "grounds"),
    "handover": ("predecessor", "epoch"),
    "acknowledge": ("role",),
    "commit": ("log.index",),
    "apply": ("log.index",),
}


def _said(span: Received) -> str:
    told = ((name, span.attributes.get(f"stationkeep.{name}")) for name in _SAID.get(span.name, ()))
    return " ".join(f"{name}={value}" for name, value in told if value is not None)


def main() -> None:
    """Prints until Ctrl-C."""
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 4318
    with collecting(port) as collector:
        print(f"collecting at {collector.url}", flush=True)
        while True:
            time.sleep(1)
            for trace, spans in collector.traces(QUIET).items():
                collector.forget(trace)
                print(f"\ntrace {trace}\n{tree(spans)}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(0)
