"""The fleet as bytes: restore is replay, and damage is an error."""

import contextlib
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeep.cluster.commands import AssignRing, RemoveDevice, SetRingPolicies
from stationkeep.cluster.devices.fleet import Fleet
from stationkeep.cluster.devices.policies import RingPolicy
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.devices.snapshot_columns import (
    FrozenFleet,
    Room,
    array_header,
    map_header,
    thaw,
)
from stationkeep.cluster.devices.status import Reading
from stationkeep.cluster.devices.table import LATER, Texts
from stationkeep.cluster.state import codec
from tests.cluster.fleet.fleets import FleetDriver, restored


def lived() -> FleetDriver:
    """A fleet in which something of everything has happened."""
    driver = FleetDriver()
    driver.done(SetRingPolicies((RingPolicy("vip", "vip=yes", (Ring.PROD,)),)))
    rows = driver.crowd(40, reading=Reading(50, True, 100, 200, 300, {"heat": 7}))
    driver.crowd(3, labels={"vip": "yes"}, os_version="Android 14", name="Ünï")
    driver.sicken(*rows[:9])
    driver.done(AssignRing(driver.fleet.id(12), Ring.PROD, 700_000), actor="ann", reason="why")
    driver.check()
    driver.rest()
    driver.register(driver.fleet.id(20), os_version="Android 15")
    for device in (driver.fleet.id(3), driver.fleet.id(42)):
        driver.done(RemoveDevice(device))
    driver.clock += 60_000
    driver.silence([5, 6])
    driver.check()
    return driver


def test_a_restored_fleet_is_the_same_in_everything_that_can_be_asked() -> None:
    driver = lived()
    before, after = driver.fleet, restored(driver.state).fleet
    assert codec.digest(restored(driver.state)) == codec.digest(driver.state)
    for row in driver.rows:
        assert after.device(row) == before.device(row)
        assert after.history(row) == before.history(row)
    assert after.counts() == before.counts()
    assert after.pin_due == before.pin_due == 700_000
    assert (after.checks, after.checked_at) == (2, driver.clock)


def test_a_restored_fleet_has_the_same_future() -> None:
    driver, twin = lived(), lived()
    twin.state = restored(twin.state)
    for one in (driver, twin):
        one.crowd(5)
        one.wait(400_000)
        one.keep_alive()
        one.check()
    assert codec.digest(driver.state) == codec.digest(twin.state)


def test_a_frozen_fleet_does_not_see_what_comes_after() -> None:
    driver = lived()
    frozen, before = codec.FrozenState(driver.state), codec.encode_snapshot(driver.state)
    driver.crowd(30)
    driver.sicken(20, 21)
    driver.register(driver.fleet.id(0), session=9, name="renamed")
    driver.check()
    assert frozen.encode() == before


@pytest.mark.parametrize("count", range(1, len(LATER) + 1))
def test_a_snapshot_without_the_newest_columns_is_read_as_if_they_were_zero(count: int) -> None:
    decoded = image()
    for name in list(decoded["columns"])[-count:]:
        assert name in LATER
        assert any(decoded["columns"].pop(name)) or name != "changed_at"
    read = thaw(msgspec.msgpack.encode(decoded))
    for row in read.table.rows.values():
        assert read.device(row).changed_at is None
        assert read.table.task[row] == 0


@given(st.integers(0, 10**9), st.integers(0, 255))
def test_a_damaged_image_is_an_error_or_a_fleet_that_can_be_worked_with(
    at: int, value: int
) -> None:
    driver = lived()
    encoded = bytearray(codec.encode_snapshot(driver.state))
    start = encoded.index(b"\xa5fleet")
    encoded[start + at % (len(encoded) - start)] = value
    with contextlib.suppress(codec.CodecError):
        driver.state = codec.decode_snapshot(bytes(encoded))
        for row in driver.rows:
            driver.device(row)
        driver.plan_rings()


def image() -> dict[str, Any]:
    """An image as msgpack decodes it."""
    parts = b"".join(bytes(part) for part in FrozenFleet(lived().fleet).parts())
    decoded: dict[str, Any] = msgspec.msgpack.decode(parts)
    return decoded


def changed(column: str, row: int, value: int) -> Any:
    """Puts a value into a column of an image."""

    def change(decoded: dict[str, Any]) -> None:
        values = np.frombuffer(decoded["columns"][column], _DTYPES.get(column, "u1")).copy()
        values[row] = value
        decoded["columns"][column] = values.tobytes()

    return change


_DTYPES = {"birth": "<u4", "kind": "<u4", "served_by": "<u2"}


def head(**fields: Any) -> Any:
    return lambda decoded: decoded["head"].update(fields)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (head(used=2**40), "larger than a fleet"),
        (head(used=1), "one length"),
        (head(births=-1), "counters"),
        (head(births=1), "births are not numbered"),
        (head(births=2**32), "births are not numbered"),
        (head(actors=[]), "actors"),
        (head(moves=1), "log of moves is not complete"),
        (head(free=[1, 2]), "free rows"),
        (head(free_kinds=[7]), "kinds do not fit"),
        (head(pins={}), "pins are not"),
        (head(nodes=[]), "nodes have codes"),
        (changed("ring", 0, 4), "rings have codes"),
        (changed("home", 0, 4), "homes have codes"),
        (changed("reason", 0, 11), "reasons have codes"),
        (changed("policy", 0, 1), "policies have codes"),
        (changed("known", 0, 9), "judgements"),
        (changed("healthy", 0, 2), "flags"),
        (changed("kind", 0, 1_000), "kinds are missing"),
        (changed("birth", 0, 0), "free rows"),
        (changed("served_by", 0, 5), "nodes have codes"),
        (changed("online", 3, 1), "free rows are online"),
        (lambda d: d["columns"].pop("cpu"), "columns are not those"),
        (lambda d: d["metrics"].update(Bad=b""), "names that are none"),
        (lambda d: d.update(ids=[]), "one a row"),
        (lambda d: d.update(moves=b"x"), "cut off"),
        (lambda d: d["head"]["rule"].__setitem__(0, []), "health rule"),
        (lambda d: d["head"]["shares"].update(weights=[0, 0, 0, 0]), "weights"),
        (lambda d: d["head"]["shares"].update(caps=[0, 0, 0, -1]), "caps"),
        (lambda d: d["head"]["shares"].update(policies=[["p", "=", [], None]]), "policies are no"),
    ],
)
def test_what_apply_relies_on_is_checked_when_an_image_is_read(damage: Any, words: str) -> None:
    decoded = image()
    damage(decoded)
    with pytest.raises(ValueError, match=words):
        thaw(msgspec.msgpack.encode(decoded))


def test_ids_that_come_twice_are_no_fleet() -> None:
    decoded = image()
    ids = msgspec.msgpack.decode(decoded["ids"][0])
    ids[1] = ids[0]
    decoded["ids"] = [msgspec.msgpack.encode(ids)]
    with pytest.raises(ValueError, match="come twice"):
        thaw(msgspec.msgpack.encode(decoded))


def test_an_empty_fleet_comes_back_empty() -> None:
    parts = b"".join(bytes(part) for part in FrozenFleet(Fleet()).parts())
    assert len(thaw(parts)) == 0


@pytest.mark.parametrize("length", [0, 15, 16, 65_535, 65_536])
def test_headers_are_those_of_msgpack(length: int) -> None:
    numbers = list(range(length))
    encoded = msgspec.msgpack.encode(numbers)
    assert encoded.startswith(array_header(length))
    assert msgspec.msgpack.encode(dict.fromkeys(numbers)).startswith(map_header(length))


@given(st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=60), st.integers(1, 5))
def test_texts_in_chunks_are_a_list_that_can_be_copied_for_nothing(
    writes: list[tuple[int, bool]], size: int
) -> None:
    plain = [str(n) for n in range(7)]

    class Small(Texts):
        CHUNK = size

    texts, copies = Small(plain), []
    for number, (place, copy) in enumerate(writes):
        if copy:
            copies.append((texts.chunks(), list(plain)))
        if place < len(plain):
            texts[place] = plain[place] = f"new {number}"
        else:
            texts.append(f"more {number}")
            plain.append(f"more {number}")
    assert [texts[n] for n in range(len(texts))] == plain
    assert all([text for chunk in chunks for text in chunk] == was for chunks, was in copies)


def test_room_that_was_made_takes_the_copy_and_room_that_is_too_small_does_no_harm() -> None:
    driver = lived()
    before = codec.encode_snapshot(driver.state)
    room = Room(driver.fleet)
    frozen = codec.FrozenState(driver.state, room)
    assert room.block[: len(driver.fleet.table.birth)].any()
    assert frozen.encode() == before == b"".join(frozen.pieces())
    room.block = room.block[:10]
    assert codec.FrozenState(driver.state, room).encode() == before


def test_texts_that_are_not_in_chunks_are_no_fleet() -> None:
    decoded = image()
    ids = msgspec.msgpack.decode(decoded["ids"][0])
    decoded["ids"] = [msgspec.msgpack.encode(part) for part in (ids[:1], ids[1:])]
    with pytest.raises(ValueError, match="not in chunks"):
        thaw(msgspec.msgpack.encode(decoded))
