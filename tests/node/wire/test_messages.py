"""Every field of every message, wrong in every way: refused by its name, whatever the encoding."""

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeep.cluster.unreadable import UNREADABLE
from stationkeep.node.wire import messages as wire
from stationkeep.node.wire.messages import Codec
from tests.node.api.doorstep import STATUS

TEXTS = st.text(max_size=40)
NO_TEXT = st.one_of(
    st.integers(-5, 5), st.floats(), st.booleans(), st.lists(st.integers(0, 9), max_size=2)
)
NO_NUMBER = st.one_of(TEXTS, st.booleans(), st.none(), st.lists(st.floats(), max_size=2))
LONG = st.integers(wire.MAX_TEXT + 1, wire.MAX_TEXT + 9).map(lambda size: "x" * size)
OUTSIDE = st.one_of(
    st.floats(max_value=0, exclude_max=True, allow_infinity=True),
    st.floats(min_value=100, exclude_min=True, allow_infinity=True),
    st.just(math.nan),
)
NO_COUNT = st.one_of(
    st.integers(-(2**63), -1), st.integers(2**32, 2**64 - 1), st.floats(), TEXTS, st.none()
)
BAD_TEXT = st.one_of(NO_TEXT, st.none(), LONG)
BAD_PERCENT = st.one_of(OUTSIDE, NO_NUMBER)

WRONG: dict[str, st.SearchStrategy[Any]] = {
    "slave_id": BAD_TEXT,
    "battery_level": st.one_of(
        st.integers(-(2**63), -1), st.integers(101, 2**64 - 1), st.just(50.5), NO_NUMBER
    ),
    "battery_charging": st.one_of(st.integers(0, 1), TEXTS, st.none(), st.floats()),
    "cpu_usage": BAD_PERCENT,
    "memory_usage": BAD_PERCENT,
    "disk_usage": BAD_PERCENT,
    "assigned_ring": st.one_of(TEXTS, NO_TEXT),
    "device_name": BAD_TEXT,
    "os_version": BAD_TEXT,
    "app_version": BAD_TEXT,
    "last_updated": st.one_of(st.just("yesterday"), st.booleans(), st.just([])),
    "metrics": st.one_of(
        st.none(),
        st.integers(0, 9),
        st.dictionaries(st.just("temperature"), st.one_of(NO_NUMBER, st.just(1e300)), min_size=1),
        st.dictionaries(st.sampled_from(["cpu", "", "Ä", "x y"]), st.just(1.0), min_size=1),
        st.just({f"m{n}": 1.0 for n in range(wire.MAX_METRICS + 1)}),
    ),
}
"""For each field of a status what it must not be."""
CODECS = st.sampled_from(list(wire.CODECS.values()))


def _update(status: Any, **payload: Any) -> dict[str, Any]:
    return {
        "message_type": "device_status_update",
        "sender_id": "slave-001",
        "receiver_id": "master-orchestrator",
        "payload": {"device_status": status, **payload},
    }


def _refusal(message: Any, codec: Codec) -> wire.Fault | None:
    """What is wrong with a message; None when nothing is. JSON as Python writes it: NaN too."""
    data = codec.encode(message) if codec.binary else _json(message)
    try:
        codec.decode_said(data)
    except UNREADABLE as error:
        return wire.explain(error, data, codec)
    return None


def _json(message: Any) -> bytes:
    return json.dumps(message).encode()


@st.composite
def wrong_fields(draw: st.DrawFn) -> tuple[str, Any]:
    field = draw(st.sampled_from(sorted(WRONG)))
    return field, draw(WRONG[field])


def test_the_seeds_own_message_is_right() -> None:
    for codec in wire.CODECS.values():
        assert _refusal(_update(STATUS), codec) is None


@given(wrong_fields(), CODECS)
def test_a_field_that_is_wrong_is_named(wrong: tuple[str, Any], codec: Codec) -> None:
    field, value = wrong
    fault = _refusal(_update(STATUS | {field: value}), codec)
    assert fault is not None
    nan_in_json = codec is wire.JSON and fault.field == "message"  # no JSON at all
    assert nan_in_json or fault.field == f"payload.device_status.{field}"
    assert fault.rule
    assert len(fault.value) <= 200


@pytest.mark.parametrize("codec", wire.CODECS.values(), ids=lambda codec: str(codec.name))
def test_what_is_missing_is_named(codec: Codec) -> None:
    required = [name for name in WRONG if name in list(WRONG)[:6]]
    for field in required:
        status = {name: value for name, value in STATUS.items() if name != field}
        assert _refusal(_update(status), codec) == wire.Fault(
            f"payload.device_status.{field}", "", "required"
        )
    for field in ("message_type", "sender_id", "payload"):
        message = {name: value for name, value in _update(STATUS).items() if name != field}
        assert _refusal(message, codec) == wire.Fault(field, "", "required")


@given(CODECS, st.sampled_from(["message", "payload", "device_status"]))
def test_an_unknown_field_is_no_wish(codec: Codec, place: str) -> None:
    message = _update(dict(STATUS))
    inside = {"message": message, "payload": message["payload"]}
    target = inside.get(place, message["payload"]["device_status"])
    target["batery_level"] = 3
    fault = _refusal(message, codec)
    assert fault is not None
    assert fault.field.endswith("batery_level")
    assert fault.rule == "no such field"


def _messages_with_numbers(session: Any) -> Iterator[dict[str, Any]]:
    yield _update(STATUS, session=session)
    yield {"message_type": "heartbeat", "sender_id": "x", "payload": {"session": session}}
    yield {"message_type": "registration", "sender_id": "x", "payload": {"session": session}}


@given(NO_COUNT, CODECS)
def test_session_numbers_are_32_bits(session: Any, codec: Codec) -> None:
    for message in _messages_with_numbers(session):
        fault = _refusal(message, codec)
        assert fault is not None
        nan_in_json = codec is wire.JSON and fault.field == "message"
        assert nan_in_json or fault.field == "payload.session"


@given(
    st.sampled_from(["", "a b", "-a", "a\n", "ä", "x" * 129, "a/b"]),
    CODECS,
)
def test_ids_are_checked_where_they_enter(id_: str, codec: Codec) -> None:
    fault = _refusal({"message_type": "registration", "sender_id": id_, "payload": {}}, codec)
    assert fault is not None
    assert fault.field == "sender_id"
    assert "regex" not in fault.rule


@pytest.mark.parametrize("field", ["labels", "capabilities"])
@given(
    st.one_of(
        st.just({"": "x"}),
        st.just({"a b": "x"}),
        st.just({"x" * 65: "x"}),
        st.just({"a": "x" * 257}),
        st.just({"a": ["x"]}),
        st.just({f"k{n}": "x" for n in range(33)}),
        st.lists(st.integers(0, 9), max_size=2),
        st.none(),
    ),
    CODECS,
)
def test_labels_and_capabilities(field: str, value: Any, codec: Codec) -> None:
    message = {"message_type": "registration", "sender_id": "x", "payload": {field: value}}
    fault = _refusal(message, codec)
    assert fault is not None
    assert fault.field == f"payload.{field}"
    assert "regex" not in fault.rule


@given(st.binary(max_size=200), CODECS)
def test_any_bytes_are_a_message_or_refused(data: bytes, codec: Codec) -> None:
    try:
        codec.decode_said(data)
    except UNREADABLE as error:
        fault = wire.explain(error, data, codec)
        assert fault.field
        assert fault.rule
        wire.JSON.encode(fault)  # whatever came in can go out


_ANY = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.floats(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=8,
)


@given(_ANY, st.sampled_from(["message_type", "sender_id", "receiver_id", "payload"]), CODECS)
def test_anything_in_any_place_of_the_envelope(value: Any, place: str, codec: Codec) -> None:
    fault = _refusal(_update(STATUS) | {place: value}, codec)
    if fault is not None:
        assert fault.field.split(".")[0] in (place, "message")
        wire.JSON.encode(fault)


@given(_ANY)
def test_what_nodes_say_can_be_read(value: Any) -> None:
    fault = wire.ErrorPayload(wire.Code.INVALID, "x", wire.shown(value), "rule", retry_after=1.5)
    for codec in wire.CODECS.values():
        told = wire.Error("sat-001", "slave-001", fault)
        assert codec.decode_told(codec.encode(told)) == told


def test_a_clock_that_says_what_no_calendar_has_ends_nothing() -> None:
    assert wire.timestamp(2**53) == wire.timestamp(2**63) == "9999-12-31T23:59:59Z"
    assert wire.timestamp(-(2**53)) == "1970-01-01T00:00:00Z"
