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
from stationkeep.node.api.app import build
from stationkeep.node.gateway.batch_bodies import RegistrationBatch, StatusBatch, TaskUpdateBatch
from stationkeep.node.gateway.sessions import Conversation
from stationkeep.node.gateway.websocket import Stage
from stationkeep.node.wire import messages as wire
from stationkeep.node.wire.tasks import TASK_ID_PATTERN
from tests.node.api.doorstep import STATUS, Doorstep
from tests.node.api.fake import FakeNode

T = TypeVar("T")
SAID = st.sampled_from(["slave-001", "slave-002"])
TASK_IDS = st.builds(
    "{}/{}/{}".format,
    st.sampled_from([1, 2, 2**31, 2**32 - 1, 2**32, 9_999_999_999]),
    SAID,
    st.sampled_from([1, 2, 15, 16, 99]),
)
NAMED = {"sender_id": SAID, "slave_id": SAID}
"""Devices that there are; the rules of names have tests of their own."""
DATES = ["0001-01-01T00:00:00", "9999-12-31T23:59:59.999999+23:59", "1969-12-31T23:59:59Z"]
CODECS = st.sampled_from(list(wire.CODECS.values()))


def made(kind: inspect.Type) -> st.SearchStrategy[Any]:
    """Values of a type, its bounds above all."""
    match kind:
        case inspect.BoolType():
            return st.booleans()
        case inspect.IntType(ge=least, le=most):
            least, most = -(2**63) if least is None else least, 2**64 - 1 if most is None else most
            return st.sampled_from([least, least + 1, most - 1, most])
        case inspect.FloatType(ge=least, le=most):
            least, most = -1.7e308 if least is None else least, 1.7e308 if most is None else most
            return st.sampled_from([least, most]) | st.floats(least, most)
        case inspect.StrType(pattern=pattern) if pattern == TASK_ID_PATTERN:
            return TASK_IDS
        case inspect.StrType(pattern=None, max_length=most):
            return st.text(st.characters(codec="utf-8"), max_size=8) | st.just("ü" * (most or 99))
        case inspect.StrType(pattern=pattern):
            return st.sampled_from(["a", "temperature", "deployment", "b_1"])
        case inspect.EnumType(cls=cls):
            return st.sampled_from([item.value for item in cls])
        case inspect.LiteralType(values=values):
            return st.sampled_from(values)
        case inspect.NoneType():
            return st.none()
        case inspect.DateTimeType():
            return st.sampled_from(DATES)
        case inspect.UnionType(types=types):
            return st.one_of([made(each) for each in types])
        case inspect.DictType(key_type=key, value_type=value):
            return st.dictionaries(made(key), made(value), max_size=3)
        case inspect.ListType(item_type=item, min_length=least):
            return st.lists(made(item), min_size=least or 0, max_size=4)
        case inspect.StructType():
            return _struct(kind)
        case _:
            raise AssertionError(f"nothing here makes {kind}")


def _struct(kind: inspect.StructType) -> st.SearchStrategy[Any]:
    fields = {
        field.encode_name: NAMED[field.name] if field.name in NAMED else made(field.type)
        for field in kind.fields
    }
    needed = {field.encode_name for field in kind.fields if field.required}
    tag = {} if kind.tag_field is None else {kind.tag_field: st.just(kind.tag)}
    return st.fixed_dictionaries(
        {name: value for name, value in fields.items() if name in needed} | tag,
        optional={name: value for name, value in fields.items() if name not in needed},
    )


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
    device = Conversation(door.agents, socket, codec)
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


@given(CODECS, st.lists(made(inspect.type_info(wire.Said)), min_size=1, max_size=6))
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
    body = data.draw(made(inspect.type_info(BATCHES[path])))
    (payloads,) = body.values()
    found = asyncio.run(unharmed(_post(app, codec, path, body)))
    assert found["accepted"] + found["refused"] == len(payloads)
