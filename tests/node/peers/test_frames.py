"""The bytes of messages on a stream."""

import gc
import struct
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stationkeep.node.peers.frames import MAX_FRAME, BadFrame, FrameReader, decode, encode, numbered
from stationkeep.node.raft.engine.messages import MAX_ENTRIES


@given(st.lists(st.binary(max_size=300)))
def test_any_bytes_are_messages_or_a_bad_frame(pieces: list[bytes]) -> None:
    reader = FrameReader()
    try:
        for piece in pieces:
            for number, message in reader.feed(piece):
                assert number == 0
                assert isinstance(message, dict)
    except BadFrame as refused:
        reason = refused.reason
        assert reason in {"garbage", "frame_too_large", "tls"}


_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=9)
    | st.binary(max_size=20) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4).map(tuple)
    | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=50)
@given(st.lists(st.dictionaries(st.text(max_size=5), _values, max_size=4)), st.data())
def test_messages_survive_any_fragmentation(messages: list[dict[str, Any]], data: Any) -> None:
    stream = b"".join(numbered(n, encode(message)) for n, message in enumerate(messages))
    reader = FrameReader()
    reader.greeted()
    found: list[tuple[int, dict[str, Any]]] = []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        found += reader.feed(stream[:cut])
        stream = stream[cut:]
    assert found == list(enumerate(messages))


def test_frames_up_to_the_limit_pass_one_after_another() -> None:
    reader = FrameReader()
    reader.greeted()
    overhead = len(encode({"d": b"x" * 70_000})) - 70_000
    message = {"d": b"x" * (MAX_FRAME - overhead)}
    for _ in range(3):
        assert list(reader.feed(numbered(7, encode(message)))) == [(7, message)]
    with pytest.raises(ValueError, match="a message may take"):
        encode({"d": b"x" * MAX_FRAME})


@pytest.mark.parametrize(
    "body",
    [
        b"\x91" * 5000 + b"\xc0",  # nesting without end
        b"\x81\xa1a\xd6\xff\x00\x00\x00\x00",  # a timestamp, which is an extension type
        b"\x81\xa1a\xc7\x01\x05x",  # another extension
        b"\x81\x01\x02",  # a key that is not a string
        b"\x81\xa1a\xdd\xff\xff\xff\xff",  # four billion elements announced
        b"\x80\x80",  # two messages in one frame
        b"\x81\xa1a\xa1\xff",  # not UTF-8
        b"\x80\x05\x95pickle",
    ],
)
def test_dangerous_msgpack_is_garbage(body: bytes) -> None:
    reader = FrameReader()
    reader.greeted()
    with pytest.raises(BadFrame, match="garbage"):
        list(reader.feed(numbered(1, body)))
    with pytest.raises(BadFrame, match="garbage"):
        decode(body)


_EMPTY = b"\xdc\x0f\xff" + b"\x80" * 4_095
"""4,095 empty maps."""


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\x81\xa1x\xdc\x07\xd0" + _EMPTY * 2_000, "too_many_objects"),  # 8 MB
        (b"\x81\xa1x\x99" + _EMPTY * 9, "too_many_objects"),
        (b"\x81\xa1x\x99" + (b"\xdc\x0f\xff" + bytes(4_095)) * 9, "too_many_objects"),
        (b"\x81\xa1x\xdc\x27\x10" + bytes(10_000), "garbage"),  # one long array
        (b"\x81\xa1x" + b"\xdc\x0f\xff" * 1_000 + bytes(40_000), "too_many_objects"),
    ],
)
def test_a_frame_has_only_so_many_objects(body: bytes, reason: str) -> None:
    reader = FrameReader()
    reader.greeted()
    gc.freeze()  # as a node does: what other tests have left is not looked at again
    began = time.thread_time()
    with pytest.raises(BadFrame, match=reason):
        list(reader.feed(numbered(1, body)))
    assert time.thread_time() - began < 0.25  # before: 1.7 s


def test_as_many_objects_as_a_message_of_ours_has_pass() -> None:
    entries = tuple((b"x" * 20, index, 7) for index in range(MAX_ENTRIES))
    message = {"kind": "raft", "entries": entries}
    assert decode(encode(message)) == message


@pytest.mark.parametrize(
    "nested", [b"\xdc\x0f\xff" * 1_000, b"\xdc\x00\x11", b"\xde\x00\x21" * 900]
)
def test_a_hello_has_short_arrays_and_few_fields(nested: bytes) -> None:
    body = b"\x81\xa1x" + nested
    with pytest.raises(BadFrame, match="garbage"):
        list(FrameReader().feed(struct.pack(">I", len(body)) + body))


def test_what_is_not_taken_comes_next_time() -> None:
    reader = FrameReader()
    reader.greeted()
    stream = b"".join(numbered(n, encode({"n": n})) for n in range(5))
    first = next(iter(reader.feed(stream)))
    assert [first, *reader.feed(b"")] == [(n, {"n": n}) for n in range(5)]


def test_a_frame_too_short_for_its_number_is_garbage() -> None:
    reader = FrameReader()
    reader.greeted()
    with pytest.raises(BadFrame, match="garbage"):
        list(reader.feed(struct.pack(">I", 7) + bytes(7)))
