"""The caller's trace, as a request names it, and what an operation's id says of it.

W3C Trace Context (https://www.w3.org/TR/trace-context/): a header `traceparent` of the form
`00-TRACE-SPAN-FLAGS` in hex. The id that a node gives to an operation carries the trace of a
caller who records one: it is in the log, so that every node knows it, in the audit file, and in
the answer. Nothing here needs OpenTelemetry, or tracing to be on.
"""

import re
from secrets import token_hex

import msgspec

_HEADER = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_OPERATION = re.compile(r"op-([0-9a-f]{32})(-[0-9a-f]{16})?")
_SAMPLED = 0x01


class Caller(msgspec.Struct, frozen=True):
    """The span that a request was sent from, in a trace that is recorded."""

    trace: int  # 128 bits, not 0
    span: int  # 64 bits, not 0


def parse(header: str | None) -> Caller | None:
    """The caller of a header; None without one, when it is malformed (the standard wants such a
    header ignored), and when the caller does not record its trace."""
    found = _HEADER.fullmatch(header or "")
    if found is None or found[1] == "ff" or (found[1] == "00" and found[5]):
        return None
    caller = Caller(int(found[2], 16), int(found[3], 16))
    valid = caller.trace and caller.span and int(found[4], 16) & _SAMPLED
    return caller if valid else None


def operation_id(caller: Caller | None) -> str:
    """A new operation's id: `op-` and 32 random hex digits, or the caller's trace and 16."""
    return f"op-{token_hex(16)}" if caller is None else f"op-{caller.trace:032x}-{token_hex(8)}"


def trace_named(key: str) -> tuple[int, bool] | None:
    """The trace that an operation's id names, and whether it is a caller's; None when the client
    chose an id of its own."""
    found = _OPERATION.fullmatch(key)
    if found is None or not int(found[1], 16):
        return None
    return int(found[1], 16), found[2] is not None
