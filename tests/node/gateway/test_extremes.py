"""Whatever the types of devices' messages allow, up to their limits, passes a node's whole turn.

A number may be within its type and yet beyond the column that it ends in. So the messages are made
from their very types, and a node takes them in, has them in its log and answers them. Nothing may
raise, and the log may refuse no command: the words of others are in it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect

from stationkeep.cluster.apply import Applied, Rejected
from stationkeep.cluster.commands import CreateDeployment
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.deployment import Target
from stationkeep.cluster.state.state import Access
from stationkeep.node.api.app import build
from stationkeep.node.gateway.batch_bodies import RegistrationBatch, StatusBatch, TaskUpdateBatch
from stationkeep.node.gateway.conversation import Conversation
from stationkeep.node.gateway.websocket import Stage
from stationkeep.node.http.access import Caller
from stationkeep.node.wire import messages as wire
from tests.node.api.doorstep import STATUS, Doorstep
from tests.node.api.fake import FakeNode
from tests.node.extremes import made

T = TypeVar("T")
SAID = st.sampled_from(["slave-001", "slave-002"])
TASK_IDS = st.builds(
    "{}/{}/{}".format,
    st.sampled_from([1, 2, 2**31, 2**32 - 1, 2**32, 9_999_999_999]),
    SAID,
    st.sampled_from([1, 2, 15, 16, 99]),
)
NAMED = {"sender_id": SAID, "slave_id": SAID, "task_id": TASK_IDS}
"""Devices that there are; the rules of names have tests of their own."""
CODECS = st.sampled_from(list(wire.CODECS.values()))


class Line:
    """`AgentSocket` of which what is sent is kept."""

    def __init__(self) -> None:
        self.stage = Stage.UNREGISTERED
        self.sent: list[bytes] = []

    def admit(self, _due_in: float) -> None:
        self.stage = Stage.REGISTERED

    def send(self, message: bytes) -> None:
        self.sent.append(message)

    def end(self, *_: Any) -> None:
        self.stage = Stage.CLOSING


def no_refusal(listen: Callable[[Any], None]) -> list[Rejected]:
    """What the log refuses from now on."""
    refused: list[Rejected] = []

    def heard(_index: int, _entry: Any, applied: Applied) -> None:
        if isinstance(applied.outcome, Rejected):
            refused.append(applied.outcome)

    listen(heard)
    return refused


async def unharmed(said: Awaitable[T]) -> T:
    """What comes of it, if nothing that it set going raised either."""
    raised: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context))
    result = await said
    assert raised == []
    return result


REGISTRATION = {
    "message_type": "registration",
    "sender_id": "slave-001",
    "payload": {"device_status": STATUS, "capabilities": {"deployment": True}, "session": 1},
}
TASK = CreateDeployment(Target(everyone=True), artifact=Artifact("2.0.0"))


async def _talk(codec: wire.Codec, messages: list[Any]) -> None:
    door, line = Doorstep(), Line()
    socket: Any = line
    device = Conversation(door.agents, socket, codec, Caller(Access.ADMIN, "127.0.0.1"))
    refused = no_refusal(door.replica.listen)
    device.received(codec.encode(REGISTRATION))
    door.settle()
    door.commit(TASK)
    assert line.stage is Stage.REGISTERED
    for message in messages:
        before = len(line.sent)
        device.received(codec.encode(message))
        door.settle()
        await asyncio.sleep(0)
        if message["message_type"] not in {"device_status_update", "registration"}:
            assert len(line.sent) > before
    assert refused == []


@given(CODECS, st.lists(made(inspect.type_info(wire.Said), NAMED), min_size=1, max_size=6))
@settings(max_examples=100, deadline=None)
def test_what_a_connected_device_says_passes_the_turn(
    codec: wire.Codec, messages: list[Any]
) -> None:
    asyncio.run(unharmed(_talk(codec, messages)))


@pytest.fixture(scope="module")
def app() -> FastAPI:
    """An application whose node is changed, since building one takes its time."""
    return build(FakeNode())


async def _post(app: FastAPI, codec: wire.Codec, path: str, body: Any) -> dict[str, Any]:
    app.state.service = node = FakeNode().with_primary()
    refused = no_refusal(node.listen)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8701") as client:

        async def post(path: str, body: Any) -> httpx.Response:
            kind = {"Content-Type": codec.media_type}
            return await client.post(path, content=codec.encode(body), headers=kind)

        payload = REGISTRATION["payload"]
        assert (await post("/v1/devices:register", {"registrations": [payload]})).is_success
        node.commit(TASK)
        answer = await post(path, body)
        node.now += 1_000
        node._turn_intake()
        assert refused == []
        assert answer.is_success
        found: dict[str, Any] = codec.decode_any(answer.content)
        return found


BATCHES = {
    "/v1/devices:report": StatusBatch,
    "/v1/devices:register": RegistrationBatch,
    "/v1/tasks:report": TaskUpdateBatch,
}


@pytest.mark.parametrize("path", BATCHES)
@given(CODECS, st.data())
@settings(max_examples=60, deadline=None)
def test_what_is_said_in_a_batch_passes_the_turn(
    app: FastAPI, path: str, codec: wire.Codec, data: st.DataObject
) -> None:
    body = data.draw(made(inspect.type_info(BATCHES[path]), NAMED))
    (payloads,) = body.values()
    found = asyncio.run(unharmed(_post(app, codec, path, body)))
    assert found["accepted"] + found["refused"] == len(payloads)
