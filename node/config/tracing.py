"""`tracing:` in a node's file: the collector that traces are sent to, and how many."""

from importlib.util import find_spec

import msgspec

from stationkeep.node.config.yaml_document import Value
from stationkeep.node.system.addresses import crosses_in_clear, split_url

EXTRA = "the extra is installed: pip install 'stationkeep[tracing]'"
_NEEDED = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")


class TracingConfig(msgspec.Struct, frozen=True):
    """Tracing that is on. `endpoint` means what it means in OTEL_EXPORTER_OTLP_ENDPOINT."""

    endpoint: str
    """Base address of an OTLP/HTTP collector; traces go to its `/v1/traces`. Tracing needs the
    extra: `pip install 'stationkeep[tracing]'`."""
    sample_ratio: float = 1.0
    """The share of traces that is recorded. Nodes with the same ratio record the same traces."""


def read_tracing(value: Value | None) -> TracingConfig | None:
    """The tracing that a file configures, None when it is off; errors go into its document."""
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
    """Unencrypted to loopback only: traces contain names of people, addresses and reasons."""
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
    except ModuleNotFoundError:  # a parent package is missing
        return False
