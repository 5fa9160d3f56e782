"""The caller's trace, and what an operation's id says of it."""

import pytest

from stationkeep.node.wire.traceparent import Caller, operation_id, parse, trace_named

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize("header", [f"00-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-03-later"])
def test_a_recorded_trace_is_continued(header: str) -> None:
    assert parse(header) == Caller(int(TRACE, 16), int(SPAN, 16))


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        f"00-{TRACE}-{SPAN}-00",  # not recorded
        f"00-{TRACE}-{SPAN}-01-more",  # version 00 ends there
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}",
    ],
)
def test_anything_else_is_ignored(header: str | None) -> None:
    assert parse(header) is None


def test_an_operation_of_a_caller_names_its_trace_and_differs_from_its_others() -> None:
    caller = Caller(int(TRACE, 16), int(SPAN, 16))
    first, second = operation_id(caller), operation_id(caller)
    assert first != second
    assert first.startswith(f"op-{TRACE}-")
    assert trace_named(first) == (caller.trace, True)


def test_an_operation_of_nobody_is_a_trace_of_its_own() -> None:
    key = operation_id(None)
    assert trace_named(key) == (int(key.removeprefix("op-"), 16), False)


@pytest.mark.parametrize("key", ["", "nightly-7", f"op-{'0' * 32}", f"op-{TRACE}-12", "op-xyz"])
def test_a_key_of_the_clients_own_names_none(key: str) -> None:
    assert trace_named(key) is None
