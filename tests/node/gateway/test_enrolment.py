"""Devices that enrol, and come with a credential of their own, on real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from websockets.exceptions import InvalidStatus

from stationkeep.cluster.commands import (
    CreateToken,
    RemoveDevice,
    ResetCredential,
    RevokeCredential,
    RevokeToken,
)
from stationkeep.cluster.devices.credentials import Standing
from stationkeep.node.security.device_secrets import DeviceSecret, draw
from stationkeep.node.security.tokens import ENROLMENT_PREFIX, Shown
from stationkeep.node.security.tokens import draw as draw_token
from tests.node.api.doorstep import STATUS, Doorstep, bearing, device

TOKEN = draw_token(ENROLMENT_PREFIX)
SECRET, OTHER = draw("phone-1"), draw("phone-1")


def create(doorstep: Doorstep, shown: Shown = TOKEN, role: str = "enrol", **more: int) -> None:
    limit = {"limit": 2} if role == "enrol" else {}
    doorstep.commit(CreateToken(shown.id, role, role, shown.hash, ids="phone-*", **limit | more))


@pytest.fixture
def doorstep() -> Doorstep:
    doorstep = Doorstep(asks=True)
    create(doorstep)
    return doorstep


@pytest.fixture
async def port(doorstep: Doorstep) -> AsyncIterator[int]:
    async with doorstep.serving() as port:
        yield port


async def enrol(port: int, secret: DeviceSecret = SECRET) -> tuple[str, tuple[int, str]]:
    """What a device hears that enrols, and how its connection ends."""
    async with device(port, secret.device, additional_headers=bearing(TOKEN.text)) as phone:
        answer = await phone.register(credential_sha256=secret.hash.hex())
        return answer.get("ring") or answer["rule"], await phone.ended()


async def comes(port: int, secret: DeviceSecret = SECRET) -> str:
    """The ring of a device that comes with its own credential, or the rule by which it is
    refused."""
    try:
        async with device(port, secret.device, additional_headers=bearing(secret.text)) as phone:
            answer = await phone.register()
            return str(answer.get("ring") or answer["rule"])
    except InvalidStatus as refused:
        return str(json.loads(refused.response.body or b"")["rule"])


async def test_a_device_enrols_and_comes_again_with_what_is_its_own(
    doorstep: Doorstep, port: int
) -> None:
    ring, end = await enrol(port)
    assert ring in ("canary", "dev", "stage", "prod")
    assert end == (1000, "connect with the credential of your own")
    assert doorstep.fleet.credential("phone-1") == (Standing.GOOD, SECRET.hash)
    assert await comes(port) == ring
    assert await comes(port, OTHER) == "unknown"
    assert await comes(port, DeviceSecret("phone-2", SECRET.secret)) == "unknown"
    assert doorstep.agents.ended["enrolled"] == 1


async def test_an_answer_that_was_lost_is_given_again(doorstep: Doorstep, port: int) -> None:
    assert (await enrol(port))[0] == (await enrol(port))[0]
    assert doorstep.replica.state.tokens[TOKEN.id].used == 1


async def test_who_enrols_once_more_disturbs_no_device_and_costs_no_entry_of_the_log(
    doorstep: Doorstep, port: int
) -> None:
    """They may have the hash from a disk, and the token from a delivery."""
    await enrol(port)
    async with device(port, "phone-1", additional_headers=bearing(SECRET.text)) as phone:
        ring = (await phone.register())["ring"]
        index = doorstep.replica.state.index
        for _ in range(2):
            assert (await enrol(port))[0] == ring
        assert doorstep.replica.state.index == index
        status = {"device_status": STATUS | {"slave_id": "phone-1"}}
        await phone.say("device_status_update", status)
        answer = await phone.ask("heartbeat", {})
        assert answer["message_type"] == "ack"


async def test_what_an_enrolment_token_opens_says_nothing_for_a_device(port: int) -> None:
    async with device(port, "phone-1", additional_headers=bearing(TOKEN.text)) as phone:
        status = {"device_status": STATUS | {"slave_id": "phone-1"}}
        answer = await phone.ask("device_status_update", status)
        assert answer["payload"]["code"] == "unregistered"
        answer = await phone.register()
        assert (answer["field"], answer["code"]) == ("payload.credential_sha256", "invalid")
        answer = await phone.register(credential_sha256="abc")
        assert answer["rule"] == "64 hex digits in lower case"


async def test_a_device_that_is_known_is_refused_with_an_enrolment_token(port: int) -> None:
    await enrol(port)
    rule, end = await enrol(port, OTHER)
    assert rule == "phone-1 is known already; an operator may reset its credential"
    assert end == (4003, rule)
    assert await comes(port) != "unknown"


async def test_one_more_than_the_limit_is_refused(port: int) -> None:
    for name in ("phone-1", "phone-2"):
        await enrol(port, draw(name))
    assert (await enrol(port, draw("phone-3")))[0].endswith("has enrolled 2 devices, its limit")
    async with device(port, "sensor-1", additional_headers=bearing(TOKEN.text)) as sensor:
        answer = await sensor.register(credential_sha256=SECRET.hash.hex())
        assert answer["rule"] == "the token of this connection speaks for phone-*"


async def test_a_credential_speaks_for_its_device_alone(port: int) -> None:
    await enrol(port)
    async with device(port, "phone-2", additional_headers=bearing(SECRET.text)) as phone:
        answer = await phone.register()
        assert (answer["field"], answer["value"]) == ("sender_id", "phone-2")
    async with device(port, "phone-1", additional_headers=bearing(SECRET.text)) as phone:
        answer = await phone.register(credential_sha256=OTHER.hash.hex())
        assert answer["rule"] == "only who comes with an enrolment token says one"


@pytest.mark.parametrize("order", [RevokeCredential, ResetCredential, RemoveDevice])
@pytest.mark.parametrize("registered", [True, False])
async def test_what_a_credential_has_opened_ends_with_it(
    doorstep: Doorstep, port: int, order: type, registered: bool
) -> None:
    await enrol(port)
    async with device(port, "phone-1", additional_headers=bearing(SECRET.text)) as phone:
        if registered:
            await phone.register()
        doorstep.commit(order("phone-1"))
        async with asyncio.timeout(2):
            code, _ = await phone.ended()
        assert code == (4002 if order is RemoveDevice and registered else 4003)
    assert await comes(port) == ("unknown" if order is RemoveDevice else "revoked")


async def test_a_registration_is_refused_when_the_credential_ended_on_the_way(
    doorstep: Doorstep, port: int
) -> None:
    await enrol(port)
    async with device(port, "phone-1", additional_headers=bearing(SECRET.text)) as phone:
        doorstep.commit(RemoveDevice("phone-1"))
        answer = await phone.register()
        assert answer["code"] == "not_enrolled"
    assert doorstep.fleet.row("phone-1") is None


async def test_after_a_reset_another_secret_is_taken(doorstep: Doorstep, port: int) -> None:
    await enrol(port)
    doorstep.commit(ResetCredential("phone-1"))
    assert (await enrol(port))[0] == "that secret of phone-1 has ended; it draws another one"
    await enrol(port, OTHER)
    assert await comes(port) == "unknown"
    assert await comes(port, OTHER) == doorstep.fleet.device(0).ring


async def test_a_connection_that_enrols_ends_with_its_token(doorstep: Doorstep, port: int) -> None:
    async with device(port, "phone-1", additional_headers=bearing(TOKEN.text)) as phone:
        doorstep.commit(RevokeToken(TOKEN.id))
        async with asyncio.timeout(2):
            assert (await phone.ended())[0] == 4003


async def test_a_node_that_asks_nobody_has_no_use_for_credentials() -> None:
    doorstep = Doorstep()
    async with (
        doorstep.serving() as port,
        device(port, "phone-1", additional_headers=bearing(SECRET.text)) as phone,
    ):
        assert (await phone.register(credential_sha256=SECRET.hash.hex()))["ring"]
    assert doorstep.fleet.credential("phone-1").standing is Standing.NONE


MALFORMED = {
    "no id": "skd_",
    "no secret": "skd_phone-1",
    "an empty secret": "skd_phone-1.",
    "an empty id": f"skd_.{SECRET.secret}",
    "long": f"{SECRET.text}a",
    "no name": f"skd_*.{SECRET.secret}",
    "a long name": f"skd_{'x' * 129}.{SECRET.secret}",
    "another alphabet": f"{SECRET.text[:-1]}0",
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
async def test_what_is_no_credential_is_malformed(port: int, text: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with device(port, additional_headers=bearing(text)):
            raise AssertionError("who shows no credential was let in")
    assert json.loads(refused.value.response.body or b"")["rule"] == "malformed"
