"""`DeviceAgent` against a node's door that the test plays."""

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from stationkeep.node.agent import (
    AgentEndedError,
    DeviceAgent,
    Readings,
    Ringed,
    addresses,
    channel,
    link,
    patience,
    tally,
    turned_away,
)
from stationkeep.node.agent.addresses import Addresses
from stationkeep.node.security.tokens import draw
from stationkeep.node.wire import messages as wire
from stationkeep.node.wire.messages import Code
from tests.node.agent.door import Door, assignment, error, welcoming


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(addresses, "LONGEST_PAUSE", 0.1)
    monkeypatch.setattr(turned_away, "LONGEST_AWAY", 0.1)
    monkeypatch.setattr(patience, "SHORTEST_PATIENCE", 0.3)


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    async with Door() as made:
        yield made


def agent(*doors: Door, **more: object) -> DeviceAgent:
    given = {"device_name": "Pixel 8 Pro", "os_version": "Android 14", "app_version": "1.0.0"}
    read = {"read_status": lambda: Readings(battery_level=84.6, battery_charging=False)}
    return DeviceAgent("slave-001", [door.url for door in doors], **(given | read | more))  # type: ignore[arg-type]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_it_registers_with_everything_and_learns_its_ring(door: Door) -> None:
    device = agent(door, capabilities={"deployment": True}, labels={"region": "eu"})
    await device.start()
    assert device.ring == "prod"
    assert device.assignment == Ringed("prod", None, "registered", "2026-01-01T00:00:00Z")
    assert device.status is not None
    assert device.node == door.url
    said = door.of(wire.Registration)[0]
    assert said.sender_id == "slave-001"
    assert said.payload.capabilities == {"deployment": True}
    assert said.payload.labels == {"region": "eu"}
    status = said.payload.device_status
    assert (status.device_name, status.os_version, status.app_version) == (
        "Pixel 8 Pro", "Android 14", "1.0.0",
    )  # fmt: skip
    assert (status.battery_level, status.battery_charging) == (85, False)
    await device.stop()
    await device.wait()
    assert device.node is None


async def test_it_reports_and_beats_as_often_as_it_is_told(door: Door) -> None:
    device = await agent(door).start()
    await door.heard(lambda _: len(door.of(wire.StatusUpdate)) >= 3)
    await door.heard(lambda _: len(door.of(wire.Heartbeat)) >= 3)
    words = "".join(type(said).__name__[0] for said in door.said)
    assert words.startswith("RHSHSHS")  # a heartbeat between two statuses, never two
    assert door.of(wire.StatusUpdate)[-1].payload.device_status.assigned_ring == "prod"
    assert device.tally.statuses >= 3
    await device.stop()


async def test_every_word_is_newer_than_the_one_before(door: Door) -> None:
    device = await agent(door).start()
    await door.heard(lambda said: len(said) >= 5)
    await door.close()
    await door.open()
    await door.heard(lambda _: len(door.of(wire.Registration)) >= 2)
    await device.stop()
    again = await agent(door).start()  # a restart within the same second
    await again.stop()
    words = [(said.payload.session, said.payload.sequence) for said in door.said]
    assert words == sorted(set(words))


async def test_it_moves_to_a_node_that_it_was_told_of(door: Door) -> None:
    async with Door() as other:
        door.nodes = (f"127.0.0.1:{other.port}",)
        device = await agent(door).start()
        assert device.node == door.url
        await door.close()
        await other.heard(lambda _: bool(other.of(wire.Registration)))
        await until(lambda: device.node == other.url)
        assert device.ring == "prod"
        assert device.tally.reconnects == 1
        await device.stop()


async def test_its_ring_is_kept_while_nobody_is_in_reach(door: Door) -> None:
    device = await agent(door).start()
    await door.close()
    await until(lambda: device.node is None and device.tally.failed.total() >= 2)
    assert device.ring == "prod"
    door.ring = "dev"
    await door.open()
    await until(lambda: device.ring == "dev")
    await device.stop()


async def test_a_frozen_node_is_left(door: Door) -> None:
    """It keeps its sockets and answers nothing."""
    async with Door() as other:
        device = await agent(door).start()
        door.answer = lambda _door, _said: None
        device._addresses.learn([other.url], door.url)
        await until(lambda: device.node == other.url)
        assert device.tally.lost == {link.REPLACED: 1}
        await device.stop()


async def test_a_node_that_never_answers_a_registration_is_left(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "REGISTER_SECONDS", 0.1)
    door.answer = lambda _door, _said: None
    starting = asyncio.create_task(agent(door).start())
    await door.heard(lambda said: len(said) >= 2)
    door.answer = welcoming
    await (await starting).stop()


async def test_a_node_that_accepts_nobody_is_left(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that is frozen: its system takes the connection, nobody the WebSocket."""
    monkeypatch.setattr(channel, "CONNECT_SECONDS", 0.1)
    frozen = socket.create_server(("127.0.0.1", 0))
    device = agent(door)
    device._addresses = Addresses([f"http://127.0.0.1:{frozen.getsockname()[1]}"])
    starting = asyncio.create_task(device.start())
    await until(lambda: device.tally.failed["nobody there: no answer"] >= 2)
    device._addresses.learn([door.url], door.url)
    await starting
    assert device.node == door.url
    await device.stop()
    frozen.close()


async def test_a_new_ring_calls_back_plainly(door: Door) -> None:
    heard: list[Ringed] = []
    device = await agent(door, on_ring=heard.append).start()
    await until(lambda: heard)
    await door.tell(assignment("slave-001", "canary", "unhealthy"))
    await door.tell(assignment("slave-001", "canary", "unhealthy"))  # repeated: no news
    await door.tell(assignment("slave-001", "dev"))
    await until(lambda: device.ring == "dev")
    assert device.tally.rings == 3
    await until(lambda: heard[-1].ring == "dev")
    assert heard[0].previous is None
    assert [b.previous for b in heard[1:]] == [a.ring for a in heard[:-1]]
    await device.stop()


async def test_of_the_rings_that_come_during_a_call_only_the_newest_counts(door: Door) -> None:
    heard, release = list[Ringed](), asyncio.Event()

    async def slow(news: Ringed) -> None:
        heard.append(news)
        await release.wait()

    device = await agent(door, on_ring=slow).start()
    await until(lambda: heard)
    for ring in ("canary", "dev", "stage"):
        await door.tell(assignment("slave-001", ring))
    await until(lambda: device.ring == "stage")
    assert len(heard) == 1
    release.set()
    await until(lambda: len(heard) == 2)
    assert [(news.previous, news.ring) for news in heard] == [(None, "prod"), ("prod", "stage")]
    await device.stop()


async def waits_for_what_is_cancelled() -> None:
    theirs = asyncio.create_task(asyncio.Event().wait())
    theirs.cancel()
    await theirs


@pytest.mark.parametrize(
    ("fate", "said"),
    [
        (lambda: 1 / 0, "division by zero"),
        (waits_for_what_is_cancelled, "what it waited for was cancelled"),
    ],
)
async def test_a_callback_that_raises_is_reported_and_the_device_goes_on(
    door: Door, fate: Callable[[], object], said: str
) -> None:
    reported: list[str] = []
    called: list[int] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: reported.append(str(context["exception"]))
    )
    fates = itertools.chain([fate], itertools.repeat(lambda: called.append(1)))
    device = await agent(door, on_ring=lambda _: next(fates)()).start()
    await until(lambda: reported)
    await door.tell(assignment("slave-001", "dev"))
    await until(lambda: device.ring == "dev")
    await until(lambda: called)
    assert reported == [said]
    await device.stop()


async def test_it_ends_when_a_newer_agent_takes_over(door: Door) -> None:
    device = await agent(door).start()
    newer = door.of(wire.Registration)[0].payload.session + 1
    door.answer = lambda _door, said: error(
        said.sender_id, Code.OUTDATED, closing=True, session=newer
    )
    await door.tell(error("slave-001", Code.SUPERSEDED, closing=True))
    with pytest.raises(AgentEndedError, match="another agent speaks for this device now"):
        await device.wait()
    assert len(door.of(wire.Registration)) == 2


async def test_it_stays_when_it_was_its_own_connection_that_took_over(door: Door) -> None:
    device = await agent(door).start()
    await door.tell(error("slave-001", Code.SUPERSEDED, closing=True))
    await until(lambda: device.tally.registrations == 2)
    assert device.node == door.url
    await device.stop()


async def test_a_registration_that_breaks_a_rule_is_not_tried_again(door: Door) -> None:
    door.answer = lambda _door, said: error(said.sender_id, Code.INVALID, closing=True)
    with pytest.raises(AgentEndedError, match="invalid: slave_id: slave-001 refused: a rule"):
        await agent(door).start()
    assert len(door.said) == 1


async def test_a_busy_node_is_asked_again_when_it_said(door: Door) -> None:
    moments: list[float] = []

    def busy_once(_door: Door, said: wire.Said) -> wire.Told | None:
        moments.append(asyncio.get_running_loop().time())
        if len(moments) == 1:
            return error(said.sender_id, Code.BUSY, closing=True, retry_after=0.3)
        return welcoming(_door, said)

    door.answer = busy_once
    device = await agent(door).start()
    assert moments[1] - moments[0] >= 0.3
    await device.stop()


async def test_the_agent_that_was_started_last_wins_whatever_its_clock_says(door: Door) -> None:
    def ahead(_door: Door, said: wire.Said) -> wire.Told | None:
        if isinstance(said, wire.Registration) and said.payload.session <= 4_000_000_000:
            return error(said.sender_id, Code.OUTDATED, closing=True, session=4_000_000_000)
        return welcoming(_door, said)

    door.answer = ahead
    device = await agent(door).start()
    assert door.of(wire.Registration)[-1].payload.session == 4_000_000_001
    await door.close()

    def taken(_door: Door, said: wire.Said) -> wire.Told | None:
        return error(said.sender_id, Code.OUTDATED, closing=True, session=4_000_000_002)

    door.answer = taken
    await door.open()
    with pytest.raises(AgentEndedError, match=link.OVERTAKEN):
        await device.wait()


async def test_a_device_nobody_knows_registers_again(door: Door) -> None:
    device = await agent(door).start()
    await door.tell(error("slave-001", Code.UNKNOWN))
    await door.heard(lambda _: len(door.of(wire.Registration)) == 2)
    await until(lambda: device.node)
    await device.stop()


async def test_a_status_that_is_refused_costs_nothing(door: Door) -> None:
    device = await agent(door).start()
    await door.tell(error("slave-001", Code.TOO_FAST))
    await until(lambda: device.tally.errors == {"too_fast": 1})
    assert device.node == door.url
    await device.stop()


async def test_what_it_cannot_read_is_left_alone(door: Door) -> None:
    device = await agent(door).start()
    for connection in door.connections:
        await connection.send(b"\xc1")
        await connection.send('{"message_type": "task"}')
    await until(lambda: device.tally.errors == {"unreadable": 2})
    assert device.node == door.url
    await device.stop()


@pytest.mark.parametrize(
    ("named", "taken"),
    [(0.0, 0.01), (-5.0, 0.01), (float("nan"), 0.01), (2.5, 2.5), (float("inf"), 3_600.0)],
)
def test_no_node_makes_a_device_spin_or_fall_silent(named: float, taken: float) -> None:
    assert patience.sensible(named) == taken


async def test_reasons_are_counted_within_a_limit(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tally, "MAX_REASONS", 3)
    device = await agent(door).start()
    for number in range(6):
        for connection in list(door.connections):
            await connection.close(4000, f"reason {number}")
        await until(lambda number=number: device.tally.registrations == number + 2)
    assert device.tally.lost == {
        **{f"the node closed it: 4000 reason {number}": 1 for number in range(3)},
        "other reasons": 3,
    }
    await device.stop()


async def test_start_can_be_given_up_while_nobody_answers(door: Door) -> None:
    await door.close()
    device = agent(door)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await device.start()
    await device.wait()
    await door.open()
    assert door.said == []


async def test_eight_named_devices_are_short_to_write(door: Door) -> None:
    names = (
        "Pixel 8 Pro",
        "Galaxy S24",
        "iPhone 15",
        "Xperia 1",
        "Fold 5",
        "Moto",
        "OnePlus",
        "Zen",
    )
    devices = [
        DeviceAgent(f"slave-{number:03d}", door.url, device_name=name, read_status=Readings)
        for number, name in enumerate(names)
    ]
    await asyncio.gather(*(device.start() for device in devices))
    assert {device.ring for device in devices} == {"prod"}
    await asyncio.gather(*(device.stop() for device in devices))


# -- who it is


async def test_a_token_is_shown_to_the_nodes_that_were_named_and_to_no_other(door: Door) -> None:
    async with Door() as other:
        door.nodes = (f"127.0.0.1:{other.port}",)
        door.token = draw().text
        device = await agent(door, token=door.token).start()
        await door.close()
        await until(lambda: device.tally.failed.total() >= 4)
        assert (other.shown, device.ring) == ([], "prod")
        await door.open()
        await until(lambda: device.node is not None)
        await device.stop()


async def test_a_file_that_was_replaced_is_enough_for_another_token(
    door: Door, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old, door.token = draw().text, draw().text
    file = tmp_path / "token"
    file.write_text(old)
    device = agent(door, token_file=file)
    starting = asyncio.create_task(device.start())
    await until(lambda: caplog.messages)
    assert "trying again: the node answered 401: Authorization: it will not do" in caplog.text
    file.write_text(door.token)
    await starting
    assert device.ring == "prod"
    for token in (old, door.token):
        assert token not in caplog.text + repr(vars(device))
    await device.stop()


async def test_a_token_that_was_revoked_ends_the_agent_and_says_so(door: Door) -> None:
    token = draw().text
    device = await agent(door, token=token).start()
    door.token, door.rule = draw().text, "revoked"
    await door.close()
    await door.open()
    with pytest.raises(AgentEndedError, match=r"it will not do \(rule: revoked\)") as ended:
        await device.wait()
    assert ended.value.unauthorised
    assert len(door.shown) == 2
    await device.stop()


async def test_who_shows_nothing_where_something_is_asked_for_does_not_wait_for_ever(
    door: Door,
) -> None:
    door.token, door.rule = draw().text, "missing"
    with pytest.raises(AgentEndedError, match="rule: missing"):
        await agent(door, token="").start()
    assert len(door.shown) == 1
