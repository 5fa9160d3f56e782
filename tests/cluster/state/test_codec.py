"""Bytes: what is encoded comes back, what is not ours is a CodecError, snapshots are canonical."""

import contextlib
import struct
import typing

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeep.cluster.commands import (
    AnyCommand,
    Barrier,
    ChangeSettings,
    Draft,
    Entry,
    RemovePolicy,
    RenewLeases,
    SetPriority,
)
from stationkeep.cluster.state import codec
from stationkeep.cluster.state.codec import CodecError
from stationkeep.cluster.state.state import ClusterState
from tests.cluster.driver import settled
from tests.strategies import covered_commands, drafts, entries


def test_the_strategies_draw_every_command() -> None:
    assert covered_commands() == set(typing.get_args(AnyCommand))


@given(drafts())
def test_a_draft_comes_back_as_it_was(draft: Draft) -> None:
    assert codec.decode_draft(codec.encode_draft(draft)) == draft


@given(entries())
def test_an_entry_comes_back_as_it_was_stamped(entry: Entry) -> None:
    encoded = codec.stamp(entry.at, entry.wall, codec.encode_draft(entry.draft))
    assert codec.decode_entry(encoded) == entry


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_a_codec_error_or_a_draft(noise: bytes) -> None:
    for decode in (codec.decode_draft, codec.decode_entry, codec.decode_snapshot):
        with contextlib.suppress(CodecError):
            decode(noise)


@given(drafts(), st.data())
def test_damaged_drafts_are_a_codec_error_or_a_draft(draft: Draft, data: st.DataObject) -> None:
    encoded = bytearray(codec.encode_draft(draft))
    for _ in range(data.draw(st.integers(1, 4))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(encoded)))
    for damaged in (bytes(encoded), bytes(encoded[:cut])):
        with contextlib.suppress(CodecError):
            codec.decode_draft(damaged)


@given(st.integers(0, 10**6), st.integers(0, 255))
def test_damaged_snapshots_are_a_codec_error_or_a_state(at: int, value: int) -> None:
    encoded = bytearray(codec.encode_snapshot(settled().state))
    encoded[at % len(encoded)] = value
    with contextlib.suppress(CodecError):
        codec.decode_snapshot(bytes(encoded))


LEVEL = b"\x01"
HEAD = b"\x91\x92" + msgspec.msgpack.encode("RenewLeases")


@pytest.mark.parametrize(
    "encoded",
    [
        HEAD + b"\xdd\xff\xff\xff\xff",  # an array of four billion echoes, announced
        HEAD + b"\xdb\xff\xff\xff\xff",  # a text of four gigabytes, announced
        HEAD + b"\x91\x95\xa1a\x01\x01\x01" + b"\x91" * 100_000 + b"\xc0",  # nested very deep
        HEAD + b"\x91" * 100_000,
        b"\x91" * 100_000,
        b"\x91\x91\xa7unknown",
        b"\x91\x91\xa7Barrier\xff",
        msgspec.msgpack.encode([["Barrier"], *Draft.__struct_fields__[1:], "one too many"]),
        msgspec.msgpack.encode([["Barrier", 1]]),
        msgspec.msgpack.encode([["Pause", 1.5]]),
        msgspec.msgpack.encode([["Pause", True]]),
        b"\x91\x92\xa5Pause\xa2\xff\xfe",
        b"\x91\x93\xacRemovePolicy\xa2\xff\xfe\xa1x",  # not UTF-8
        b"",
    ],
)
def test_hostile_bytes_are_a_codec_error(encoded: bytes) -> None:
    with pytest.raises(CodecError):
        codec.decode_draft(encoded)
    with pytest.raises(CodecError):
        codec.decode_draft(LEVEL + encoded)


def test_a_draft_beyond_the_limit_is_refused_both_ways() -> None:
    huge = Draft(RemovePolicy("x" * codec.MAX_DRAFT_BYTES, "y"))
    with pytest.raises(CodecError, match="262144 bytes"):
        codec.encode_draft(huge)
    with pytest.raises(CodecError, match="262144 bytes"):
        codec.decode_draft(msgspec.msgpack.encode(huge))


def test_an_entry_shorter_than_its_stamp_is_refused() -> None:
    with pytest.raises(CodecError, match="at least 16 bytes"):
        codec.decode_entry(b"\x00" * 15)


@pytest.mark.parametrize("times", [(codec.MAX_TIME, 0), (0, codec.MAX_TIME), (2**64 - 1, 0)])
def test_a_time_out_of_range_is_refused(times: tuple[int, int]) -> None:
    entry = struct.pack(">QQ", *times) + codec.encode_draft(Draft(Barrier()))
    with pytest.raises(CodecError, match="times lie below"):
        codec.decode_entry(entry)


def test_a_snapshot_of_a_level_that_is_not_read_is_refused_by_number() -> None:
    encoded = codec.encode_snapshot(ClusterState(release="9.1"))
    with pytest.raises(codec.TooNew, match=r"level 99, .* levels 1 to 2: install release 9\.1 or"):
        codec.decode_snapshot(b"\x63" + encoded[1:])
    with pytest.raises(CodecError, match="snapshot of level 0; this release reads 1 to 2"):
        codec.decode_snapshot(b"\x00" + encoded[1:])
    with pytest.raises(CodecError, match="names another level than its state"):
        codec.decode_snapshot(b"\x02" + encoded[1:])
    with pytest.raises(CodecError, match="this one is empty"):
        codec.decode_snapshot(b"")


def test_a_snapshot_gives_the_same_bytes_and_digest_after_a_restore() -> None:
    state = settled().state
    restored = codec.decode_snapshot(codec.encode_snapshot(state))
    tables = {
        "fleet": state.fleet,
        "operations": state.operations,
        "deployments": state.deployments,
        "rollouts": state.rollouts,
    }
    assert msgspec.structs.replace(restored, **tables) == state
    assert [*restored.operations.values()] == [*state.operations.values()]
    assert codec.digest(restored) == codec.digest(state)
    assert len(codec.digest(state)) == 32


def test_a_command_digest_depends_on_content_and_not_on_the_order_of_a_table() -> None:
    one, other = {"backup_count": 1, "swarm_mode": True}, {"swarm_mode": True, "backup_count": 1}
    assert codec.command_digest(ChangeSettings(one)) == codec.command_digest(ChangeSettings(other))
    assert codec.command_digest(ChangeSettings(one)) != codec.command_digest(RenewLeases(()))


@pytest.mark.parametrize("more", [0, 1, 15, 16, 300])
def test_long_tables_are_written_in_pieces_and_read_as_one(more: int) -> None:
    driver = settled()
    for n in range(more):
        driver.done(SetPriority("sat-002", n + 1), key=f"k{n}", actor="ann")
    state = driver.state
    encoded = codec.encode_snapshot(state)
    operations = dict(zip(state.operations.keys(), state.operations.values(), strict=True))
    assert msgspec.msgpack.encode(operations) in encoded
    assert msgspec.msgpack.encode(state.decisions) in encoded


@pytest.mark.parametrize("more", [0, 1, 15, 16, 300])
def test_a_frozen_state_gives_the_same_bytes_though_the_state_goes_on(more: int) -> None:
    driver = settled()
    for n in range(more):
        driver.done(SetPriority("sat-002", n + 1), key=f"k{n}", actor="ann")
    frozen, before = codec.FrozenState(driver.state), codec.encode_snapshot(driver.state)
    driver.done(SetPriority("sat-003", 7), key="after", actor="ann")
    driver.sample(0.9, 0.9, 0.9, 0.9)
    assert frozen.encode() == before
    assert frozen.digest() == codec.digest(codec.decode_snapshot(before))
    assert codec.encode_snapshot(driver.state) != before
