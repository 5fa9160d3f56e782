"""`tracing:` in a node's file: which collector is told, and of how many traces."""

from importlib.util import find_spec

import msgspec

from stationkeep.node.config.yaml_document import Value
from stationkeep.node.system.addresses import crosses_in_clear, split_url

EXTRA = "the extra is installed: pip install 'stationkeep[tracing]'"
_NEEDED = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")


class TracingConfig(msgspec.Struct, frozen=True):
    """`endpoint`: base address of an OTLP/HTTP collector; traces go to its `/v1/traces`, as with
    OTEL_EXPORTER_OTLP_ENDPOINT. `sample_ratio`: the share of traces that is recorded, 0 to 1;
    the same trace by every node that has the same ratio."""

    endpoint: str
    """Base address of an OTLP/HTTP collector; traces go to its `/v1/traces`. Tracing needs the
    extra: `pip install 'stationkeep[tracing]'`."""
    sample_ratio: float = 1.0
    """The share of all traces that is recorded. Nodes with the same ratio record the same ones."""


def read_tracing(value: Value | None) -> TracingConfig | None:
    """The tracing of a file, None when it is off; faults are noted in its document."""
    if value is None:
        return None
    value.known(TracingConfig.__struct_fields__)
    endpoint = value.required("endpoint", "the collector's address, http://127.0.0.1:4318")
    ratio = value.child("sample_ratio")
    if not _installed():
        value.refuse(f"tracing only where {EXTRA}")
    return TracingConfig(
        endpoint=_endpoint(endpoint) if endpoint else "",
        sample_ratio=ratio.number(0, 1) if ratio else 1.0,
    )


def _endpoint(value: Value) -> str:
    """In clear text to this machine alone: traces name people, addresses and reasons."""
    url = value.text("an address https://…", 2_048)
    parts = split_url(url)
    if parts is None or parts.query or parts.fragment:
        value.refuse("an address https://HOST[:PORT], or http:// to loopback")
    elif crosses_in_clear(parts):
        value.refuse("https; in clear text to loopback only")
    return url.rstrip("/")


def _installed() -> bool:
    try:
        return all(find_spec(name) is not None for name in _NEEDED)
    except ModuleNotFoundError:  # of a parent
        return False
