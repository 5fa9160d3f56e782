"""What nodes and devices say of tasks: the form of it, in both encodings."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeep.cluster.unreadable import UNREADABLE
from stationkeep.node.wire import messages as wire
from stationkeep.node.wire import tasks
from stationkeep.node.wire.messages import Codec

CODECS = st.sampled_from(list(wire.CODECS.values()))
TASK = {
    "message_type": "task",
    "sender_id": "sat-001",
    "receiver_id": "slave-001",
    "payload": {
        "task_id": "17/slave-001/1",
        "deployment": 17,
        "attempt": 1,
        "task_type": "deployment",
        "parameters": {"version": "2.0.0", "ring": "prod"},
        "rollout": "fw-2.1",
        "variant": "A",
        "artifact": {
            "component": "app",
            "version": "2.0.0",
            "url": "https://updates.example/fw.bin",
            "sha256": "9f" * 32,
            "size": 18_874_368,
            "signature": "MEUC",
            "key": "release-2026",
        },
        "deadline": "2026-11-29T15:00:00Z",
        "install_after": None,
        "install_before": None,
        "timestamp": "2026-11-29T14:00:00Z",
    },
}
UPDATE = {
    "message_type": "task_update",
    "sender_id": "slave-001",
    "receiver_id": "sat-001",
    "payload": {
        "task_id": "17/slave-001/1",
        "state": "in_progress",
        "phase": "downloading",
        "progress": 40,
        "reason": None,
        "detail": "",
        "installed_version": None,
        "retry_after": None,
    },
}
MISSING = object()
NO_TEXT = st.one_of(st.integers(), st.booleans(), st.lists(st.integers(), max_size=1))
WRONG: dict[str, st.SearchStrategy[Any]] = {
    "task_id": st.one_of(
        NO_TEXT, st.none(), st.just(MISSING),
        st.sampled_from(["", "17", "0/a/1", "17/a", "17//1", "17/a/0", "17/../1/1", "17/a/1\n"]),
    ),
    "state": st.one_of(NO_TEXT, st.none(), st.just(MISSING), st.sampled_from(["", "queued"])),
    "phase": st.one_of(NO_TEXT, st.sampled_from(["", "sleeping"])),
    "progress": st.one_of(st.integers(max_value=-1), st.integers(101, 2**63), st.just("4")),
    "reason": st.one_of(NO_TEXT, st.sampled_from(["", "because"])),
    "detail": st.one_of(NO_TEXT, st.none(), st.just("x" * (tasks.MAX_TASK_DETAIL + 1))),
    "installed_version": st.one_of(NO_TEXT, st.sampled_from(["", "2 0", "2\n", "v" * 65])),
    "retry_after": st.one_of(st.integers(max_value=0), st.integers(86_401, 2**63), st.just("9")),
}  # fmt: skip
"""For each field of an update what it must not be."""


def encoded(message: Any, codec: Codec) -> bytes:
    return codec.encode(message) if codec.binary else json.dumps(message).encode()


@pytest.mark.parametrize("codec", wire.CODECS.values(), ids=lambda codec: str(codec.name))
def test_a_task_has_exactly_the_fields_of_the_protocol(codec: Codec) -> None:
    task = codec.decode_told(encoded(TASK, codec))
    assert isinstance(task, wire.Task)
    assert codec.decode_any(codec.encode(task)) == TASK


@pytest.mark.parametrize("codec", wire.CODECS.values(), ids=lambda codec: str(codec.name))
def test_an_update_has_exactly_the_fields_of_the_protocol(codec: Codec) -> None:
    update = codec.decode_said(encoded(UPDATE, codec))
    assert isinstance(update, wire.TaskUpdate)
    assert codec.decode_any(codec.encode(update)) == UPDATE


@given(st.sampled_from(sorted(WRONG)).flatmap(lambda f: st.tuples(st.just(f), WRONG[f])), CODECS)
def test_a_field_of_an_update_that_is_wrong_is_named(wrong: tuple[str, Any], codec: Codec) -> None:
    field, value = wrong
    payload = {name: v for name, v in UPDATE["payload"].items() if name != field}  # type: ignore[attr-defined]
    if value is not MISSING:
        payload[field] = value
    data = encoded(UPDATE | {"payload": payload}, codec)
    with pytest.raises(UNREADABLE) as refused:
        codec.decode_said(data)
    fault = wire.explain(refused.value, data, codec)
    assert fault.field == f"payload.{field}"
    assert fault.rule
    assert "regex" not in fault.rule


def _with(path: str, value: Any) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(json.dumps(TASK))
    *steps, last = path.split(".")
    target = message["payload"]
    for step in steps:
        target = target[step]
    target[last] = value
    return message


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("task_id", "18/slave-001/1"),  # of another deployment
        ("task_id", "17/slave-001/2"),  # of another attempt
        ("attempt", 16),
        ("deployment", 2**32),
        ("task_type", "rm -rf"),
        ("deadline", "tomorrow"),
        ("deadline", "2026-13-01T00:00:00Z"),
        ("deadline", "2026-11-29T15:00:00"),
        ("install_after", 5),
        ("timestamp", None),
        ("parameters", {"version": "x" * 1_025}),
        ("parameters", {str(n): "" for n in range(33)}),
        ("artifact.version", "../2"),
        ("artifact.component", "kernel"),
        ("artifact.sha256", "9F" * 32),
        ("artifact.size", 0),
        ("artifact.size", 2**40 + 1),
        ("artifact.url", "https://" + "x" * 1_024),
    ],
)
@pytest.mark.parametrize("codec", wire.CODECS.values(), ids=lambda codec: str(codec.name))
def test_a_task_outside_its_limits_is_none(path: str, value: Any, codec: Codec) -> None:
    with pytest.raises(UNREADABLE):
        codec.decode_told(encoded(_with(path, value), codec))


def test_the_identity_of_a_task_is_written_and_read() -> None:
    for device in ("slave-001", "a", "A:b@c+d.e-f_"):
        written = tasks.task_id(17, device, 2)
        assert tasks.identity_of(written) == (17, device, 2)


def test_times_count_from_when_the_node_wrote_them() -> None:
    payload = wire.JSON.decode_told(json.dumps(TASK).encode()).payload
    assert isinstance(payload, tasks.TaskPayload)
    assert payload.seconds_until(payload.deadline) == 3_600
    assert payload.seconds_until("2026-11-29T13:59:00Z") == -60
