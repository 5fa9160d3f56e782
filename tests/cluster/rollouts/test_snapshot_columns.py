"""The rollouts as bytes: restore is replay, damage is an error, a snapshot holds nothing up."""

import contextlib
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stationkeep.cluster.commands import SetFreeze
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.rollouts.plan import Plan
from stationkeep.cluster.rollouts.snapshot_columns import FrozenRollouts, thaw_rollouts
from stationkeep.cluster.state import codec
from tests.cluster.fleet.fleets import restored
from tests.cluster.progression.rollouts import NAME, RolloutDriver, one_stage


def lived() -> RolloutDriver:
    """Rollouts in which something of everything has happened."""
    driver = RolloutDriver.with_crowd(40)
    driver.failing = {1, 2, 3}
    bad = Plan(Artifact("1.1.0"), devices=("dev-0001", "dev-0002"), stages=one_stage())
    driver.begin(bad, "bad")
    driver.lead(10)
    driver.lay_down(Plan(Artifact("3.0.0"), approvals=1), "draft", actor="bob")
    driver.failing = set()
    driver.order(SetFreeze("xmas", 10**8, (), "model=a"))
    driver.begin()
    driver.until_stage("dev", "soaking")
    driver.ill = {driver.runs("2.0.0")[-1]}
    driver.lead(3)
    twins = driver.state.rollouts.twins[NAME, "dev"]
    assert twins.found
    assert driver.rollout("bad").state == "rolled_back"
    assert driver.state.rollouts.blocks
    return driver


def test_restored_rollouts_are_the_same_in_everything_that_can_be_asked() -> None:
    driver = lived()
    before, after = driver.state.rollouts, restored(driver.state).rollouts
    assert codec.digest(restored(driver.state)) == codec.digest(driver.state)
    assert after.known == before.known
    assert [r.name for r in after.open_ones()] == ["draft", NAME]
    assert (after.freezes, after.blocks, after.created) == (
        before.freezes, before.blocks, before.created,
    )  # fmt: skip
    assert (after.checks, after.checked_at) == (before.checks, before.checked_at)
    mine, theirs = before.twins[NAME, "dev"], after.twins[NAME, "dev"]
    assert (mine.found, mine.series) == (theirs.found, theirs.series)
    for name, column in mine.columns().items():
        assert np.array_equal(theirs.columns()[name], column)


def test_a_replica_that_was_restored_goes_on_as_the_others_do() -> None:
    driver = lived()
    twin = RolloutDriver()
    twin.__dict__ |= driver.__dict__ | {"log": list(driver.log), "ill": set(driver.ill)}
    twin.state = restored(driver.state)
    for one in (driver, twin):
        one.until("paused" if one.rollout().state == "paused" else "succeeded", 300)
    assert codec.digest(twin.state) == codec.digest(driver.state)


def test_what_is_frozen_stays_while_rollouts_go_on() -> None:
    driver = lived()
    before = codec.encode_snapshot(driver.state)
    frozen = codec.FrozenState(driver.state)
    driver.lead(3)
    driver.abort()
    assert frozen.encode() == before


def test_rollouts_are_written_one_by_one() -> None:
    driver = RolloutDriver.with_crowd(1)
    text = "x" * 1_000
    for n in range(6):
        plan = Plan(Artifact("2.0.0"), parameters={f"p{n}": text for n in range(8)})
        driver.lay_down(plan, f"r-{n}")
    pieces = [len(piece) for piece in FrozenRollouts(driver.state.rollouts).parts()]
    assert sum(pieces) > 48_000
    assert max(pieces) < 12_000


@settings(max_examples=60)
@given(st.integers(0, 10**9), st.integers(0, 255))
def test_damage_is_an_error_or_rollouts_that_can_be_worked_with(at: int, value: int) -> None:
    driver = _lived()
    encoded = bytearray(_ENCODED)
    start = encoded.index(b"\xa8rollouts")
    encoded[start + at % (len(encoded) - start)] = value
    with contextlib.suppress(codec.CodecError):
        driver.state = codec.decode_snapshot(bytes(encoded))
        driver.advance()


_LIVED = lived()
_ENCODED = codec.encode_snapshot(_LIVED.state)


def _lived() -> RolloutDriver:
    """Whatever is done to its state is done to a copy."""
    driver = RolloutDriver()
    driver.__dict__ |= _LIVED.__dict__ | {"log": list(_LIVED.log)}
    return driver


def image() -> dict[str, Any]:
    """An image as msgpack decodes it."""
    parts = b"".join(bytes(part) for part in FrozenRollouts(_LIVED.state.rollouts).parts())
    decoded: dict[str, Any] = msgspec.msgpack.Decoder(dict[str, Any], strict=False).decode(parts)
    return decoded


def whole(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda decoded: decoded.update(fields)


def running(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda decoded: decoded["known"][2].update(fields)


def dev(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda decoded: decoded["known"][2]["stages"][1].update(fields)


def twins(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda decoded: decoded["twins"][0].update(fields)


def column(name: str, content: bytes) -> Callable[[dict[str, Any]], None]:
    return lambda decoded: decoded["twins"][0]["columns"].update({name: content})


def filled(name: str, value: int) -> Callable[[dict[str, Any]], None]:
    return lambda decoded: column(name, bytes([value]) * len(decoded["twins"][0]["columns"][name]))(
        decoded
    )


@pytest.mark.parametrize(
    "damage",
    [
        whole(created=-1), whole(created=1), whole(checks=-1), whole(known=[{}]),
        whole(freezes=[["x", 1]] * 2), whole(freezes=[[f"f-{n}", 1] for n in range(17)]),
        whole(blocks=[[["a b"], "", "", "", 0]]),
        running(name="a b"), running(number=0), running(number=2), running(digest="0" * 32),
        running(plan=[]), running(stages=[]), running(deadline=5), running(salt=-1),
        running(timeline=[[0, 0, "", "", "", ""]] * 201), running(rollback=99),
        running(approvals=[["x", 0]] * 31),
        dev(tallies=[1]), dev(tallies=[-1] * 10), dev(deployment=-1), dev(deployment=77),
        dev(state="pending"), twins(rollout="x"), twins(stage="prod"), twins(stage="canary"),
        twins(found=[[0, 5, 1, 0, 1]]), twins(found=[[0, 1, 0, 0, 1]]), dev(arms=[[1, 1, []]]),
        twins(found=[[0, 1, 1, 1, 0]]), twins(found=[[1, 1, 1, 1, 1]]),
        twins(series=[[0, 0]] * 257), twins(columns={}), column("risk", b""),
        column("position", b"123"), filled("position", 200), filled("row", 200),
        filled("stage", 4), filled("risk", 64),
    ],
)  # fmt: skip
def test_an_image_that_no_replica_gave_is_refused(damage: Callable[[dict[str, Any]], None]) -> None:
    decoded, deployments = image(), _LIVED.state.deployments
    thaw_rollouts(msgspec.msgpack.encode(decoded), deployments)
    damage(decoded)
    with pytest.raises(ValueError):  # noqa: PT011 - whose words are checked by the codec's tests
        thaw_rollouts(msgspec.msgpack.encode(decoded), deployments)


def test_twins_that_are_no_devices_are_no_snapshot() -> None:
    state = restored(_LIVED.state)
    twins = state.rollouts.twins[NAME, "dev"]
    twins.row = np.full_like(twins.row, 10**6)
    with pytest.raises(codec.CodecError, match="twins that the device table has not"):
        codec.decode_snapshot(codec.encode_snapshot(state))
