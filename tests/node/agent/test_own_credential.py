"""A device's own credential: its file, and an agent that enrols at a real door by itself."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from stationkeep.cluster.commands import CreateToken, ResetCredential, RevokeCredential, RevokeToken
from stationkeep.cluster.devices.credentials import Standing
from stationkeep.node.agent import addresses, link, own_credential, turned_away
from stationkeep.node.agent.client import DeviceAgent
from stationkeep.node.agent.own_credential import OwnCredentials, credentials_of
from stationkeep.node.agent.readings import Readings
from stationkeep.node.fleet.replies import Assignment
from stationkeep.node.gateway.conversation import Conversation
from stationkeep.node.security.device_secrets import DeviceSecret, draw, parse
from stationkeep.node.security.tokens import ENROLMENT_PREFIX
from stationkeep.node.security.tokens import draw as draw_token
from stationkeep.node.system.small_file import SmallFile
from tests.node.api.doorstep import Doorstep

TOKEN = draw_token(ENROLMENT_PREFIX)
URL = "http://127.0.0.1:8701"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(addresses, "LONGEST_PAUSE", 0.1)
    monkeypatch.setattr(turned_away, "LONGEST_AWAY", 0.1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "phone-1" / "credential"


@pytest.fixture
def doorstep() -> Doorstep:
    doorstep = Doorstep("demo", asks=True)
    doorstep.commit(CreateToken(TOKEN.id, "berlin", "enrol", TOKEN.hash, ids="phone-*", limit=2))
    return doorstep


@pytest.fixture
async def port(doorstep: Doorstep) -> AsyncIterator[int]:
    async with doorstep.serving() as port:
        yield port


def agent(port: int, file: Path, token: str = TOKEN.text, id_: str = "phone-1") -> DeviceAgent:
    url = f"http://127.0.0.1:{port}"
    return DeviceAgent(id_, url, credential_file=file, token=token, read_status=Readings)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def kept(file: Path) -> list[str]:
    return file.read_text().split()


async def killed_before_its_answer(
    doorstep: Doorstep, port: int, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that is enrolled, and does not know it."""
    monkeypatch.setattr(OwnCredentials, "enrolled", lambda _: None)
    starting = asyncio.create_task(agent(port, file).start())
    await until(lambda: doorstep.replica.state.tokens[TOKEN.id].used)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)


# -- at a door ------------------------------------------------------------------------------------


async def test_a_device_enrols_by_itself_and_needs_no_token_from_then_on(
    doorstep: Doorstep, port: int, file: Path
) -> None:
    async with agent(port, file) as device:
        assert device.ring is not None
        secret, word = kept(file)
        assert word == "enrolled"
        assert doorstep.fleet.credential("phone-1").hash == parse(secret).hash
        assert parse(secret).secret not in repr(vars(device)) + repr(device._addresses.credentials)
    async with agent(port, file, token="") as device:
        assert device.ring is not None
    assert kept(file) == [secret, "enrolled"]
    assert doorstep.replica.state.tokens[TOKEN.id].used == 1
    assert doorstep.admission.outcomes["unknown"] == 0


async def test_a_device_that_was_killed_before_its_answer_enrols_with_the_same_secret(
    doorstep: Doorstep, port: int, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await killed_before_its_answer(doorstep, port, file, monkeypatch)
    secret = kept(file)
    assert len(secret) == 1, "it does not know that it is enrolled"
    monkeypatch.undo()
    async with agent(port, file):
        assert kept(file) == [*secret, "enrolled"]
    assert doorstep.replica.state.tokens[TOKEN.id].used == 1


async def test_who_enrolled_unawares_by_a_token_that_was_revoked_since_shows_its_own_soon(
    doorstep: Doorstep, port: int, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only who has nothing else to show waits for long. It was killed before its answer."""
    await killed_before_its_answer(doorstep, port, file, monkeypatch)
    doorstep.commit(RevokeToken(TOKEN.id))

    def pause(times: int) -> float:
        return 300.0 if times >= turned_away.AWAY_FOR_LONG else 0.01

    monkeypatch.setattr(link, "away_pause", pause)
    async with asyncio.timeout(10), agent(port, file) as device:
        assert device.ring is not None


async def test_one_too_many_waits_and_says_why(
    doorstep: Doorstep, port: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("phone-1", "phone-2"):
        async with agent(port, tmp_path / name, id_=name):
            pass
    third = agent(port, tmp_path / "phone-3", id_="phone-3")
    starting = asyncio.create_task(third.start())
    await until(lambda: "has enrolled 2 devices, its limit" in caplog.text)
    assert not starting.done()
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    assert doorstep.fleet.row("phone-3") is None


async def test_many_enrol_at_once_though_answers_are_lost_and_one_more_does_not(
    doorstep: Doorstep, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tried with 500 of them, too, which takes 20 s."""
    token, many = draw_token(ENROLMENT_PREFIX), 50
    doorstep.commit(CreateToken(token.id, "many", "enrol", token.hash, ids="phone-*", limit=many))
    ids = [f"phone-{number:03}" for number in range(many + 1)]
    unlucky = set(ids[::10])
    answer = Conversation.registered

    def registered(self: Conversation, assignment: Assignment) -> None:
        if assignment.device in unlucky:
            unlucky.remove(assignment.device)
            self._socket.abort()
        else:
            answer(self, assignment)

    monkeypatch.setattr(Conversation, "registered", registered)
    agents = [agent(port, tmp_path / id_, token.text, id_) for id_ in ids]
    starting = [asyncio.create_task(each.start()) for each in agents]
    async with asyncio.timeout(60):
        while sum(task.done() for task in starting) < many:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    credentials = {id_: doorstep.fleet.credential(id_) for id_ in ids}
    out = [id_ for id_ in ids if credentials[id_].standing is Standing.NONE]
    assert (len(out), len(doorstep.fleet), len(unlucky - {*out})) == (1, many, 0)
    assert doorstep.replica.state.tokens[token.id].used == many
    for id_ in set(ids) - {*out}:
        assert credentials[id_].hash == parse(kept(tmp_path / id_)[0]).hash
    for task, each in zip(starting, agents, strict=True):
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await each.stop()


async def test_a_revoked_device_comes_back_after_a_reset_with_another_secret(
    doorstep: Doorstep, port: int, file: Path
) -> None:
    async with agent(port, file) as device:
        dead = kept(file)[0]
        doorstep.commit(RevokeCredential("phone-1"))
        await until(lambda: device.node is None)
        await until(lambda: kept(file)[0] != dead)
        doorstep.commit(ResetCredential("phone-1"))
        await until(lambda: device.node is not None)
        assert doorstep.fleet.credential("phone-1").hash == parse(kept(file)[0]).hash
    assert any("4003" in why for why in device.tally.lost)


async def test_nobody_takes_over_a_device_with_the_token_alone(
    doorstep: Doorstep, port: int, file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with agent(port, file) as device:
        thief = agent(port, tmp_path / "thief")
        starting = asyncio.create_task(thief.start())
        await until(lambda: "is known already" in caplog.text)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        assert (device.node is not None, thief.ring) == (True, None)
        assert device.tally.reconnects == 0


# -- the file -------------------------------------------------------------------------------------


def own(file: Path, device: str = "phone-1", **access: Any) -> OwnCredentials:
    return OwnCredentials(device, file, [URL], **({"token": TOKEN.text} | access))


def test_the_secret_is_on_disk_before_anything_is_shown(file: Path) -> None:
    shown = own(file)
    secret = parse(kept(file)[0])
    assert (shown.token, shown.sha256_for(TOKEN.text)) == (TOKEN.text, secret.hash.hex())
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert own(file).sha256_for(TOKEN.text) == secret.hash.hex(), "it is drawn once"


def test_of_two_agents_that_start_at_once_both_have_what_is_on_disk(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one enrols with what nobody keeps, and after its end an operator has to reset it."""
    found = list[OwnCredentials]()

    def meanwhile(device: str) -> DeviceSecret:
        monkeypatch.setattr(own_credential, "draw", draw)
        found.append(own(file))
        return draw(device)

    monkeypatch.setattr(own_credential, "draw", meanwhile)
    found.append(own(file))
    mine = parse(kept(file)[0]).hash.hex()
    assert [each.sha256_for(TOKEN.text) for each in found] == [mine, mine]
    assert list(file.parent.iterdir()) == [file]


def test_where_nobody_may_link_a_secret_is_kept_all_the_same(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(_source: Path, _target: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "link", forbidden)
    assert own(file).sha256_for(TOKEN.text) == parse(kept(file)[0]).hash.hex()
    assert list(file.parent.iterdir()) == [file]


def test_what_cannot_be_kept_is_not_used(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = own(file)
    shown.enrolled()
    mine = shown.token

    def full(_file: SmallFile, _content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SmallFile, "save", full)
    monkeypatch.setattr(SmallFile, "create", full)
    shown.turned_away(mine, "revoked")
    assert (shown.token, kept(file)[0]) == (mine, mine)
    with pytest.raises(ValueError, match=r"^credential_file: .*No space left"):
        own(file.with_name("other"))


@pytest.mark.parametrize("had", [True, False])
def test_whose_token_of_many_is_replaced_by_one_that_enrols_enrols(
    file: Path, tmp_path: Path, had: bool
) -> None:
    """Nobody starts 500 agents anew for that. What one has already is not thrown away."""
    secret = own(file)._own if had else None
    shared, token = draw_token(), tmp_path / "token"
    token.write_text(shared.text)
    shown = own(file, token=None, token_file=token)
    assert (shown.token, shown.sha256_for(shared.text)) == (shared.text, None)
    token.write_text(TOKEN.text)
    assert shown.renewed(shared.text)
    assert shown.token == TOKEN.text
    mine = parse(kept(file)[0])
    assert shown.sha256_for(TOKEN.text) == mine.hash.hex()
    assert secret in (None, mine)


def test_a_token_that_was_revoked_costs_no_secret_however_many_connections_showed_it(
    file: Path,
) -> None:
    """A node that is behind did not know the device's own, so that two showed the token."""
    shown = own(file)
    shown.enrolled()
    mine = shown.token
    shown.turned_away(mine, "unknown")
    assert shown.token == TOKEN.text
    for _ in range(2):
        shown.turned_away(TOKEN.text, "revoked")
    assert (shown.token, kept(file)) == (mine, [mine, "enrolled"])


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [
        (draw("phone-2").text, 0o600, "it is that of phone-2, not of phone-1"),
        (draw("phone-1").text, 0o640, r"others can read it \(chmod 600\)"),
        ("", 0o600, "a device's own credential is skd_"),
        (TOKEN.text, 0o600, "a device's own credential is skd_"),
        ("x" * 2_000, 0o600, "has more than 1,024 bytes"),
    ],
    ids=["of another", "open to others", "empty", "a token", "long"],
)
def test_a_file_that_is_not_its_own_is_refused(
    file: Path, content: str, mode: int, why: str
) -> None:
    file.parent.mkdir(parents=True)
    file.write_text(content)
    file.chmod(mode)
    with pytest.raises(ValueError, match=f"^credential_file: {file}: {why}") as refused:
        own(file)
    assert draw("phone-1").secret not in str(refused.value)


def test_a_pipe_is_no_file(file: Path) -> None:
    file.parent.mkdir(parents=True)
    os.mkfifo(file, 0o600)
    with pytest.raises(ValueError, match="not a regular file"):
        own(file)


def test_an_enrolment_token_that_is_gone_is_not_missed_once_it_has_done_its_work(
    file: Path, tmp_path: Path
) -> None:
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN.text)
    own(file, token=None, token_file=token_file).enrolled()
    token_file.unlink()
    assert own(file, token=None, token_file=token_file).token == kept(file)[0]
    with pytest.raises(ValueError, match="token_file"):
        own(file.with_name("other"), token=None, token_file=token_file)


def test_a_token_of_many_devices_is_shown_as_it_is(file: Path) -> None:
    token = draw_token().text
    shown = own(file, token=token)
    assert (shown.token, shown.own, shown.sha256_for(token)) == (token, False, None)
    assert not file.exists()
    own(file).enrolled()
    assert own(file, token=token).token == token


def test_a_credential_goes_in_plain_text_to_this_machine_alone(file: Path) -> None:
    own(file).enrolled()
    with pytest.raises(ValueError, match="refused: a token goes over https"):
        OwnCredentials("phone-1", file, ["http://10.0.0.1:8701"], token="")


def test_who_enrols_says_where_the_credential_is_to_be() -> None:
    with pytest.raises(ValueError, match=r"^credential_file: "):
        credentials_of("phone-1", None, [URL], token=TOKEN.text)
    assert credentials_of("phone-1", None, [URL], token="").token == ""
