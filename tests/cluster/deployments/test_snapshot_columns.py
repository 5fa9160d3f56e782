"""The deployments as bytes: restore is replay, damage is an error, a snapshot holds nothing up."""

import contextlib
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeep.cluster.commands import CancelDeployment
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.deployment import Limits, Pace, Target
from stationkeep.cluster.deployments.lifecycle import TaskReason, TaskState, Word
from stationkeep.cluster.deployments.roster import COLUMNS
from stationkeep.cluster.deployments.snapshot_columns import FrozenBook, thaw_book
from stationkeep.cluster.state import codec
from tests.cluster.delivery.deliveries import DeliveryDriver
from tests.cluster.fleet.fleets import restored


def lived() -> DeliveryDriver:
    """Deployments in which something of everything has happened."""
    driver = DeliveryDriver()
    driver.crowd(12)
    driver.create(limits=Limits(5, Pace(60, 600), 10**7, 1), parameters={"a": "b"}, actor="ann")
    driver.offer()
    driver.say(Word.FAILED, *[r for r in driver.rows if driver.busy([r])[0]][:1],
               reason=TaskReason.INSTALL, detail="no space left")  # fmt: skip
    driver.create(Target(devices=("dev-0007",)), Artifact("3.0.0", "os"))
    driver.done(CancelDeployment(2))
    driver.create(Target(selector="app=1.0.0"), None, task_type="reboot")
    driver.offer()
    return driver


def test_restored_deployments_are_the_same_in_everything_that_can_be_asked() -> None:
    driver = lived()
    before, after = driver.state.deployments, restored(driver.state).deployments
    assert codec.digest(restored(driver.state)) == codec.digest(driver.state)
    assert list(after.known.values()) == list(before.known.values())
    assert [d.number for d in after.open_ones()] == [1, 3]
    assert (after.opened, after.closed, after.artifacts.known) == (
        before.opened, before.closed, before.artifacts.known,
    )  # fmt: skip


def test_what_is_frozen_stays_while_tasks_go_on() -> None:
    driver = lived()
    before = codec.encode_snapshot(driver.state)
    frozen = codec.FrozenState(driver.state)
    driver.clock += 60_000
    driver.keep_alive()
    driver.offer()
    driver.expire()
    driver.done(CancelDeployment(1))
    driver.create(artifact=Artifact("9.9.9"))
    assert frozen.encode() == before


def test_what_is_frozen_stays_while_the_same_fails_again() -> None:
    driver = DeliveryDriver()
    driver.crowd(2)
    driver.create()
    driver.offer()
    driver.say(Word.FAILED, 0, reason=TaskReason.HASH, detail="not that file")
    before = codec.encode_snapshot(driver.state)
    frozen = codec.FrozenState(driver.state)
    driver.say(Word.FAILED, 1, reason=TaskReason.HASH, detail="not that file")
    assert driver.deployment().failures[0].count == 2
    assert frozen.encode() == before


def test_deployments_are_written_one_by_one() -> None:
    """A thousand with all that they may hold are 60 MB: who writes them lets others work."""
    driver = DeliveryDriver()
    driver.crowd(1)
    text = "x" * 1_000
    for number in range(4):
        artifact = Artifact(f"1.{number}.0", notes=text)
        driver.create(artifact=artifact, parameters={f"p{n}": text for n in range(8)})
    pieces = [len(piece) for piece in FrozenBook(driver.state.deployments).parts()]
    assert sum(pieces) > 36_000
    assert max(pieces) < 9_000


@given(st.integers(0, 10**9), st.integers(0, 255))
def test_damage_is_an_error_or_deployments_that_can_be_worked_with(at: int, value: int) -> None:
    driver = lived()
    encoded = bytearray(codec.encode_snapshot(driver.state))
    start = encoded.index(b"\xabdeployments")
    encoded[start + at % (len(encoded) - start)] = value
    with contextlib.suppress(codec.CodecError):
        driver.state = codec.decode_snapshot(bytes(encoded))
        driver.offer()
        driver.expire()
        for row in driver.rows:
            driver.busy([row])


def image() -> dict[str, Any]:
    """An image as msgpack decodes it."""
    parts = b"".join(bytes(part) for part in FrozenBook(lived().state.deployments).parts())
    decoded: dict[str, Any] = msgspec.msgpack.Decoder(dict[str, Any], strict=False).decode(parts)
    return decoded


def changed(column: str, place: int, value: int) -> Callable[[dict[str, Any]], None]:
    """Puts a value into a column of the first roster."""

    def change(decoded: dict[str, Any]) -> None:
        values = np.frombuffer(decoded["rosters"][1][column], COLUMNS[column]).copy()
        values[place] = value
        decoded["rosters"][1][column] = values.tobytes()

    return change


def whole(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda decoded: decoded.update(fields)


def first(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda decoded: decoded["known"][0].update(fields)


def detail(decoded: dict[str, Any], state: str, value: int) -> None:
    """Puts the first task into a state, with this detail."""
    deployment, code = decoded["known"][0], TaskState(state).code
    was = decoded["rosters"][1]["state"][0]
    deployment["tallies"][was] -= 1
    deployment["tallies"][code] += 1
    changed("state", 0, code)(decoded)
    changed("detail", 0, value)(decoded)


@pytest.mark.parametrize(
    "damage",
    [
        changed("state", 3, 10), changed("reason", 3, 99), changed("version", 3, 9),
        changed("attempt", 3, 16), changed("row", 0, 7), changed("row", 11, 2**21),
        changed("state", 3, 5), lambda d: d["rosters"].pop(1),
        lambda d: d["rosters"].update({9: {}}),
        lambda d: d["rosters"][1].pop("due"), lambda d: d["rosters"][1].update(due=b"123"),
        lambda d: d.update(versions=[["x"]]), whole(opened=2), whole(closed=[1]), whole(closed=[]),
        whole(artifacts={}), whole(artifacts={0: {}}), first(slot=0), first(slot=129),
        first(slot=2),
        first(number=3), first(tallies=[12]), first(members=2**21), first(artifact=7),
        first(parameters={"a b": ""}), first(rate=-1), first(opened_at=-1),
        first(failures=[["install", "x", 1, "d"]] * 65), first(state="closed"),
        # what apply would fall over, each replica at the same entry
        changed("attempt", 3, 0), first(rate=0), first(rate=601), first(closed_at=5),
        first(limits=[None, [60, 600, 2], 10**7, 1]), first(limits=[5, [60, 600, 2], None, 1]),
        first(limits=[5, [60, 600, 2], 10**7, None]),
        whole(opened=-1, known=[], closed=[], artifacts={}),
        lambda d: detail(d, "in_progress", 0x06), lambda d: detail(d, "in_progress", 0xB0),
        lambda d: detail(d, "offered", 8), changed("variant", 3, 1), first(variants=[9]),
        first(variants=[0] * 256), first(standing=True), first(kept=True), first(held="paused"),
        first(held_at=-1),
    ],
)  # fmt: skip
def test_an_image_that_no_replica_gave_is_refused(damage: Callable[[dict[str, Any]], None]) -> None:
    decoded = image()
    thaw_book(msgspec.msgpack.encode(decoded))
    damage(decoded)
    with pytest.raises(ValueError):  # noqa: PT011 - whose words are checked by the codec's tests
        thaw_book(msgspec.msgpack.encode(decoded))


def test_a_fleet_and_deployments_that_disagree_are_no_snapshot() -> None:
    driver = lived()
    (busy, *_) = [row for row in driver.rows if driver.busy([row])[0]]
    driver.fleet.table.task[busy] = 0
    with pytest.raises(codec.CodecError, match="names other tasks"):
        codec.decode_snapshot(codec.encode_snapshot(driver.state))
