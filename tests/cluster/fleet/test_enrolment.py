"""Enrolment: devices with a credential of their own, exact counts, and no device taken over."""

from typing import Any

import pytest

from stationkeep.cluster.access import HASH_BYTES
from stationkeep.cluster.commands import (
    CreateToken,
    RegisterDevices,
    RemoveDevice,
    ResetCredential,
    RevokeCredential,
    RevokeToken,
)
from stationkeep.cluster.devices.credentials import Credential, Standing
from stationkeep.cluster.sentences import sentence
from stationkeep.cluster.state import codec
from tests.cluster.driver import WALL
from tests.cluster.fleet.fleets import NODE, FleetDriver

TOKEN, DAY = "aaaaaaaa", 86_400_000


def hashed(number: int) -> bytes:
    return number.to_bytes(HASH_BYTES, "big")


def order(driver: FleetDriver, command: Any) -> dict[str, Any]:
    return driver.done(command, key=f"k{len(driver.log)}", actor="ann")


def with_token(limit: int = 3, ids: str = "*", token: str = TOKEN, **more: Any) -> FleetDriver:
    driver = FleetDriver()
    given = {"lifetime": DAY, "ids": ids, "limit": limit}
    order(driver, CreateToken(token, "berlin", "enrol", hashed(99), **given | more))
    return driver


def enrol(driver: FleetDriver, device: str, secret: int = 1, **more: Any) -> str:
    """Why a device is not enrolled; "" when it is."""
    given = {"credential": hashed(secret), "enrolment": TOKEN} | more
    command = RegisterDevices(NODE, (driver.registration(device, **given),))
    refused: dict[str, str] = driver.done(command)["refused"]
    return refused.get("0", "")


def comes(driver: FleetDriver, device: str, secret: int) -> str:
    """Why a device is not taken in by its own credential; "" when it is."""
    return enrol(driver, device, secret, enrolment="")


def used(driver: FleetDriver) -> int:
    return driver.state.tokens[TOKEN].used


def test_an_enrolled_device_has_the_credential_that_it_drew() -> None:
    driver = with_token()
    assert enrol(driver, "phone-1") == ""
    assert driver.fleet.credential("phone-1") == Credential(Standing.GOOD, hashed(1))
    assert driver.device(0).credential == "good"
    assert comes(driver, "phone-1", 1) == ""
    assert comes(driver, "phone-1", 2).startswith("credential: that of phone-1")
    assert comes(driver, "phone-2", 1).startswith("credential: that of phone-2")


def test_each_device_counts_once_and_one_more_than_the_limit_is_refused() -> None:
    driver = with_token(limit=3)
    said = [driver.registration(f"phone-{n}", credential=hashed(n), enrolment=TOKEN)
            for n in range(1, 6)]  # fmt: skip
    answer = driver.done(RegisterDevices(NODE, tuple(said)))
    assert (used(driver), len(driver.fleet)) == (3, 3)
    assert sorted(answer["refused"]) == ["3", "4"]
    assert answer["refused"]["3"] == "enrolment: berlin#aaaaaaaa has enrolled 3 devices, its limit"
    assert enrol(driver, "phone-1", 1) == "", "its answer was lost"
    assert used(driver) == 3
    order(driver, RemoveDevice("phone-1"))
    assert "its limit" in enrol(driver, "phone-9", 9), "a place is not given twice"


def test_a_device_that_is_known_is_never_taken_over() -> None:
    driver = with_token()
    driver.register("old")
    enrol(driver, "phone-1", 1)
    for device in ("old", "phone-1"):
        assert "is known already" in enrol(driver, device, 2)
    assert driver.fleet.credential("old").standing is Standing.NONE
    assert driver.fleet.credential("phone-1").hash == hashed(1)
    assert used(driver) == 1
    assert [d.matter for d in driver.state.decisions].count("enrolment") == 1


def test_who_enrols_once_more_is_answered_and_says_nothing_new_of_the_device() -> None:
    """Whoever reads hashes off a disk, and has an enrolment token, is not the device for that."""
    driver = with_token()
    enrol(driver, "phone-1", 1)
    before = driver.device(0)
    said = {"session": 7, "labels": {"site": "mine"}, "app_version": "9"}
    assert enrol(driver, "phone-1", 1, **said) == ""
    assert driver.device(0) == before


def test_two_devices_of_one_id_in_one_command_are_one() -> None:
    driver = with_token()
    said = [driver.registration("phone-1", credential=hashed(n), enrolment=TOKEN) for n in (1, 2)]
    assert list(driver.done(RegisterDevices(NODE, tuple(said)))["refused"]) == ["1"]
    assert driver.fleet.credential("phone-1").hash == hashed(1)


@pytest.mark.parametrize("credential", [b"", b"short", bytes(32), bytes(33)])
def test_what_is_no_hash_is_no_credential(credential: bytes) -> None:
    driver = with_token()
    assert enrol(driver, "phone-1", credential=credential).startswith("credential: ")
    assert len(driver.fleet) == used(driver) == 0


def test_a_token_enrols_the_ids_that_it_names_alone() -> None:
    driver = with_token(ids="phone-*")
    assert "enrols phone-*, not sensor-1" in enrol(driver, "sensor-1")
    assert enrol(driver, "phone-1") == ""


def test_a_token_that_has_ended_or_is_for_something_else_enrols_nobody() -> None:
    driver = with_token()
    order(driver, CreateToken("bbbbbbbb", "b", "device", hashed(98), ids="*"))
    for other in ("bbbbbbbb", "zzzzzzzz"):
        assert enrol(driver, "phone-1", enrolment=other) == "enrolment: the token has ended"
    driver.wait(DAY - 1)
    assert enrol(driver, "phone-1") == ""
    driver.wait(1)
    assert enrol(driver, "phone-2") == "enrolment: the token has ended"
    assert enrol(driver, "phone-1") == "", "it is enrolled already"
    assert driver.state.tokens[TOKEN].expires_wall == WALL + driver.clock
    driver = with_token()
    order(driver, RevokeToken(TOKEN))
    assert enrol(driver, "phone-1") == "enrolment: the token has ended"


def test_a_revoked_credential_is_no_way_in_and_none_to_another() -> None:
    driver = with_token()
    enrol(driver, "phone-1", 1)
    assert order(driver, RevokeCredential("phone-1")) == {"credential": "revoked"}
    assert driver.fleet.credential("phone-1") == Credential(Standing.REVOKED, hashed(1))
    assert comes(driver, "phone-1", 1).startswith("credential: ")
    for secret in (1, 2):
        assert "is known already" in enrol(driver, "phone-1", secret)
    assert (driver.fleet.credentials_ended, used(driver)) == (1, 1)


def test_a_reset_takes_in_whoever_is_next_with_another_secret() -> None:
    driver = with_token()
    enrol(driver, "phone-1", 1)
    assert order(driver, ResetCredential("phone-1")) == {"credential": "reset"}
    assert "draws another one" in enrol(driver, "phone-1", 1)
    assert enrol(driver, "phone-1", 2) == ""
    assert "is known already" in enrol(driver, "phone-1", 3)
    assert comes(driver, "phone-1", 2) == ""
    assert (used(driver), len(driver.fleet), driver.fleet.credentials_ended) == (2, 1, 1)


def test_a_device_of_a_shared_token_gets_a_credential_by_a_reset() -> None:
    driver = with_token()
    driver.register("old")
    assert driver.refused(RevokeCredential("old"), key="k", actor="ann")[0] == "not_in_state"
    order(driver, ResetCredential("old"))
    assert enrol(driver, "old") == ""
    assert driver.fleet.credentials_ended == 0


def test_a_reset_is_taken_back_by_a_revocation() -> None:
    driver = with_token()
    enrol(driver, "phone-1", 1)
    order(driver, ResetCredential("phone-1"))
    order(driver, RevokeCredential("phone-1"))
    assert "is known already" in enrol(driver, "phone-1", 2)


@pytest.mark.parametrize("command", [RevokeCredential, ResetCredential])
def test_an_order_given_twice_is_one(command: Any) -> None:
    driver = with_token()
    enrol(driver, "phone-1", 1)
    order(driver, command("phone-1"))
    made = driver.state.decisions_made
    order(driver, command("phone-1"))
    assert (driver.state.decisions_made, driver.fleet.credentials_ended) == (made, 1)
    assert driver.refused(command("nobody"), key="k", actor="ann")[0] == "unknown_device"


def test_a_device_that_is_removed_enrols_as_a_new_one() -> None:
    driver = with_token()
    enrol(driver, "phone-1", 1)
    order(driver, RemoveDevice("phone-1"))
    assert driver.fleet.credentials_ended == 1
    assert comes(driver, "phone-1", 1).startswith("credential: ")
    assert enrol(driver, "phone-1", 1) == ""
    assert used(driver) == 2


def test_what_was_done_is_told() -> None:
    driver = with_token(limit=500)
    said = [driver.registration(f"phone-{n:03}", credential=hashed(n), enrolment=TOKEN)
            for n in range(1, 24)]  # fmt: skip
    driver.done(RegisterDevices(NODE, tuple(said)))
    order(driver, RevokeCredential("phone-001"))
    order(driver, ResetCredential("phone-001"))
    told = [sentence(decision) for decision in driver.state.decisions[-3:]]
    assert told[0].startswith("phone-001, phone-002, ")
    assert told[0].endswith(" and 3 more enrolled by token aaaaaaaa (berlin), 23 of 500")
    assert told[1] == "phone-001: its credential is revoked (by ann)"
    assert told[2].startswith("phone-001: its credential is reset, whoever enrols")


def test_credentials_survive_a_snapshot_and_cost_nothing_where_there_are_none() -> None:
    driver = with_token()
    driver.register("old")
    assert b"proof" not in codec.encode_snapshot(driver.state)
    enrol(driver, "phone-1", 1)
    enrol(driver, "phone-2", 2)
    order(driver, RevokeCredential("phone-2"))
    restored = codec.decode_snapshot(codec.encode_snapshot(driver.state))
    for device in ("old", "phone-1", "phone-2"):
        assert restored.fleet.credential(device) == driver.fleet.credential(device)
    assert restored.fleet.credentials_ended == 1
    assert codec.digest(restored) == codec.digest(driver.state)


@pytest.mark.parametrize("limit", [0, -1, 2**20 + 1])
def test_an_enrolment_token_says_how_many_it_takes(limit: int) -> None:
    driver = FleetDriver()
    command = CreateToken(TOKEN, "berlin", "enrol", hashed(1), ids="*", limit=limit)
    assert driver.refused(command, key="k", actor="ann")[1].startswith("limit: ")
    other = CreateToken(TOKEN, "berlin", "viewer", hashed(1), limit=1)
    assert driver.refused(other, key="j", actor="ann")[1].startswith("limit: ")


def labels_of(driver: FleetDriver, device: str) -> dict[str, str]:
    row = driver.fleet.row(device)
    assert row is not None
    return driver.device(row).labels


def test_a_device_cannot_change_the_labels_of_its_enrolment() -> None:
    driver = with_token(labels={"site": "berlin"})
    enrol(driver, "phone-1", labels={"site": "paris", "model": "x"})
    assert labels_of(driver, "phone-1") == {"site": "berlin", "model": "x"}
    driver.state = codec.decode_snapshot(codec.encode_snapshot(driver.state))
    enrol(driver, "phone-1", enrolment="", labels={"site": "rome", "model": "y"}, session=2)
    assert labels_of(driver, "phone-1") == {"site": "berlin", "model": "y"}
    order(driver, CreateToken("bbbbbbbb", "b", "enrol", hashed(98), ids="*", limit=1))
    enrol(driver, "phone-1", 1, enrolment="bbbbbbbb", labels={"site": "oslo"}, session=2)
    assert labels_of(driver, "phone-1") == {"site": "berlin", "model": "y"}, "it has enrolled"
    order(driver, ResetCredential("phone-1"))
    enrol(driver, "phone-1", 2, enrolment="bbbbbbbb", labels={"site": "rome"}, session=3)
    assert labels_of(driver, "phone-1") == {"site": "rome"}, "another token, other labels"
    device = driver.device(0)
    order(driver, ResetCredential("phone-1"))
    last = {"session": device.session, "sequence": device.sequence, "labels": {"site": "rome"}}
    for secret, sequence in ((3, 0), (4, device.sequence)):
        enrol(driver, "phone-1", secret, **last | {"sequence": sequence})
        assert labels_of(driver, "phone-1") == {"site": "berlin"}, "also with an old word"
        assert driver.device(0).sequence == device.sequence
        order(driver, ResetCredential("phone-1"))
        enrol(driver, "phone-1", secret + 10, **last | {"enrolment": "bbbbbbbb"})


@pytest.mark.parametrize(
    ("role", "labels", "why"),
    [
        ("viewer", {"site": "berlin"}, "labels: an enrolment token has them"),
        ("enrol", {"": "berlin"}, "labels: '' is not a key"),
        ("enrol", {"site": "x" * 257}, "labels.site: "),
        ("enrol", {f"k{n}": "" for n in range(33)}, "labels: 33 given, at most 32"),
    ],
)
def test_labels_of_a_token_are_labels(role: str, labels: dict[str, str], why: str) -> None:
    enrols = {"ids": "*", "limit": 1} if role == "enrol" else {}
    command = CreateToken(TOKEN, "b", role, hashed(1), labels=labels, **enrols)  # type: ignore[arg-type]
    refusal = FleetDriver().refused(command, key="k", actor="ann")
    assert (refusal[0], refusal[1][: len(why)]) == ("invalid", why)
