"""`agent` and `devices simulate`: what a node says to devices reaches a terminal, too."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from stationkeep.node.agent import addresses, batches
from stationkeep.node.wire import messages as wire
from stationkeep.node.wire.messages import Code
from tests.node.agent.door import Door, ack
from tests.node.cli.canned import Run
from tests.node.cli.every_command import Command, every_command
from tests.node.cli.test_foreign_text import HOSTILE, MARKUP, check

DEVICES = [command for command in every_command() if command.is_device]


def refusing(_door: Door, said: wire.Said) -> wire.Told:
    """Ends every agent before it was taken in."""
    payload = wire.ErrorPayload(Code.INVALID, HOSTILE, HOSTILE, HOSTILE, closing=True)
    return wire.Error(HOSTILE, said.sender_id, payload)


def welcoming(_door: Door, said: wire.Said) -> wire.Told | None:
    """Takes every device in, into a ring that there is not."""
    if isinstance(said, wire.Registration):
        return ack(said.sender_id, HOSTILE, (HOSTILE,))
    return None


@pytest.fixture
def hostile_node(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Door]]:
    """Runs such a door beside the command, which has the main thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    doors: list[Door] = []
    monkeypatch.setattr(addresses, "FIRST_PAUSE", 0.01)

    def opened(answer: Callable[[Door, wire.Said], wire.Told]) -> Door:
        door = Door(answer)
        doors.append(door)
        asyncio.run_coroutine_threadsafe(door.open(), loop).result()
        return door

    yield opened
    for door in doors:
        asyncio.run_coroutine_threadsafe(door.close(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.mark.parametrize("command", DEVICES, ids=str)
def test_what_a_node_says_when_it_refuses_a_device(
    command: Command, hostile_node: Callable[..., Door], stationkeep: Run, tmp_path: Path
) -> None:
    result = stationkeep(*command.arguments(tmp_path), "--url", hostile_node(refusing).url)
    check(result, "")
    assert MARKUP in result.output


def test_what_a_node_says_to_a_device_that_it_takes_in(
    hostile_node: Callable[..., Door], stationkeep: Run
) -> None:
    url = hostile_node(welcoming).url
    result = stationkeep("devices", "simulate", "--duration", "0.5s", "--url", url)
    check(result, "")
    assert MARKUP in result.output


def nested(levels: int) -> bytes:
    return b"\x81\xa1a" * levels + b"\xc0"


BODIES = {
    "no msgpack": b"\xc1",
    "nested without end": nested(100_000),
    "another type": msgspec.msgpack.encode([1, 2]),
    "refusals of nobody": msgspec.msgpack.encode(
        {
            "accepted": 2**60,
            "refused": 1,
            "errors": [
                {"index": index, "code": code, "session": session}
                for index in (0, 11, 12, 2**40)
                for code in ("outdated", "unknown")
                for session in (None, 2**60)
            ],
            "assignments": [
                {"slave_id": name, "ring": HOSTILE, "reason": HOSTILE, "timestamp": HOSTILE,
                 "status_interval": 1e300}
                for name in (HOSTILE, "device-001")
            ],
        }
    ),
    "more than anybody reads": b"\xc4" * (batches.MAX_ANSWER + 1),
}  # fmt: skip


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_what_a_node_answers_to_a_batch(
    body: bytes, monkeypatch: pytest.MonkeyPatch, stationkeep: Run
) -> None:
    answer = httpx.MockTransport(lambda _: httpx.Response(200, content=body))
    monkeypatch.setattr(batches, "open_http", lambda _: httpx.AsyncClient(transport=answer))
    check(stationkeep("devices", "simulate", "--batch", "--duration", "0.2s"), "")
