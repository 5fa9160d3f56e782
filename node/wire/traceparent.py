"""The caller's trace context in a request header, and how operation ids carry it.

W3C Trace Context (https://www.w3.org/TR/trace-context/): a header `traceparent` of the form
`00-TRACE-SPAN-FLAGS` in hex. If the caller records its trace, the id that a node gives to an
operation contains it. The id is in the log, so every node knows it, in the audit file, and in the
response. Nothing here needs OpenTelemetry, or tracing to be on.
"""

import re
from secrets import token_hex

import msgspec

_HEADER = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_OPERATION = re.compile(r"op-([0-9a-f]{32})(-[0-9a-f]{16})?")
_SAMPLED = 0x01


class Caller(msgspec.Struct, frozen=True):
    """The span that sent a request, in a trace that is recorded."""

    trace: int  # 128 bits, not 0
    span: int  # 64 bits, not 0


def parse(header: str | None) -> Caller | None:
    """The caller that a header names. None without a header, when it is malformed (the standard
    says to ignore it), and when the caller does not record its trace."""
    found = _HEADER.fullmatch(header or "")
    if found is None or found[1] == "ff" or (found[1] == "00" and found[5]):
        return None
    caller = Caller(int(found[2], 16), int(found[3], 16))
    valid = caller.trace and caller.span and int(found[4], 16) & _SAMPLED
    return caller if valid else None


def operation_id(caller: Caller | None) -> str:
    """A new operation's id: `op-` and 32 random hex digits, or `op-`, the caller's trace id and
    16 random hex digits."""
    return f"op-{token_hex(16)}" if caller is None else f"op-{caller.trace:032x}-{token_hex(8)}"


def trace_named(key: str) -> tuple[int, bool] | None:
    """The trace id in an operation's id, and whether it is a caller's; None when the client chose
    the operation's id."""
    found = _OPERATION.fullmatch(key)
    if found is None or not int(found[1], 16):
        return None
    return int(found[1], 16), found[2] is not None
