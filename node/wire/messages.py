"""What devices and nodes say to each other: messages, their limits, and what is wrong with one.

An envelope of `message_type`, `sender_id`, `receiver_id` and `payload`, in JSON or msgpack
(node/guide/agents.md). Optional are `session` and `sequence`, which order the messages of a
device, and `labels` and `metrics`, further facts about it. A batch over HTTP is a list of the same
payloads.

Every decoded message is within its limits, which are part of its type. `explain` turns a decoder's
complaint into a `Fault` that names field, value and rule. Nothing here knows sockets or HTTP:
agents use the module too.
"""

import enum
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from stationkeep.cluster import unreadable
from stationkeep.cluster.numbers import U32
from stationkeep.node.wire import tasks
from stationkeep.node.wire.faults import Fault, shown

MAX_MESSAGE_BYTES = 32 * 1024
"""Of one message; the largest registration of plain letters takes 22 KiB."""
MAX_FRAME_BYTES = 64 * 1024
"""Of one WebSocket message; beyond it nothing is read and the connection ends (code 1009)."""
MAX_STATUSES = 4_096
MAX_REGISTRATIONS = 256
MAX_TEXT = 256
"""Characters of a name, a version, the value of a label or capability."""
MAX_ENTRIES = 32
"""Labels, and capabilities, of one device."""
MAX_LISTED = 16
"""Items of a refused list or mapping that are shown back; a longer one is only counted."""
MAX_METRICS = 16
MAX_METRIC = 2_147_483
"""Custom metrics are kept in thousandths, 32 bits."""

ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:@+-]*\Z"
KEY_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_./-]*\Z"
METRIC_PATTERN = r"^(?!(?:battery|cpu|memory|disk)\Z)[a-z][a-z0-9_]*\Z"
_PATTERN_RULES = {
    ID_PATTERN: "letters, digits and . _ : @ + - beginning with a letter or digit",
    KEY_PATTERN: "letters, digits and _ . / - beginning with a letter or digit",
    METRIC_PATTERN: "a-z 0-9 _ beginning with a letter, and none of the built-in names",
    **tasks.TASK_PATTERN_RULES,
}

MAX_ID = 128
Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID, pattern=ID_PATTERN)]
Sender = Annotated[str, Meta(max_length=MAX_ID)]
"""Compared with the id that a connection registered, which was an `Id`."""
Text = Annotated[str, Meta(max_length=MAX_TEXT)]
Name = Annotated[str, Meta(min_length=1, max_length=64, pattern=KEY_PATTERN)]
MetricName = Annotated[str, Meta(max_length=32, pattern=METRIC_PATTERN)]
Percent = Annotated[float, Meta(ge=0, le=100)]
MAX_ORDINAL = U32
Ordinal = Annotated[int, Meta(ge=0, le=MAX_ORDINAL)]
"""A session or sequence number; 0: the device does not number its words."""
Metric = Annotated[float, Meta(ge=-MAX_METRIC, le=MAX_METRIC)]
Ring = Literal["canary", "dev", "stage", "prod"]
Labels = Annotated[dict[Name, Text], Meta(max_length=MAX_ENTRIES)]
Capabilities = Annotated[dict[Name, Text | bool | int | float], Meta(max_length=MAX_ENTRIES)]


class Code(enum.StrEnum):
    """Why something was refused, in an `error`."""

    INVALID = "invalid"
    """A field breaks a rule; nothing of the message is kept."""
    MALFORMED = "malformed"
    """No message at all."""
    TOO_LARGE = "too_large"
    UNREGISTERED = "unregistered"
    """Nothing was registered on this connection yet."""
    UNKNOWN = "unknown"
    """No such device: it is to register (again)."""
    OUTDATED = "outdated"
    """Older than what is known of the device; `session` says which session is known."""
    BUSY = "busy"
    """Not now; `retry_after` says when."""
    TOO_FAST = "too_fast"
    """More messages than a connection may send."""
    TOO_SLOW = "too_slow"
    """Nothing came for too long, or what was sent was not read."""
    SUPERSEDED = "superseded"
    """The device talks elsewhere now; nothing more will be said here."""
    REMOVED = "removed"
    """An operator removed the device; it may register anew."""
    STOPPING = "stopping"
    """The node stops; every other serves."""
    NOT_ENROLLED = "not_enrolled"
    """What the device came by does not take it in: its own credential has ended, or the enrolment
    token takes no more, or not this device."""
    UNKNOWN_TASK = "unknown_task"
    """The device has no such task."""
    ILLEGAL_TRANSITION = "illegal_transition"
    """A task in its state cannot come to what was said."""


class Close(enum.IntEnum):
    """Codes that a node closes a WebSocket with (RFC 6455, 7.4); the reason is a `Code`."""

    NORMAL = 1000
    PROTOCOL = 1002
    INVALID_DATA = 1007
    POLICY = 1008
    TOO_LARGE = 1009
    RESTART = 1012
    TRY_LATER = 1013
    SUPERSEDED = 4001
    REMOVED = 4002
    REFUSED = 4003


FAULTS: dict[int, str] = {
    Close.PROTOCOL: "not a frame of a WebSocket",
    Close.INVALID_DATA: "text that is not UTF-8",
    Close.TOO_LARGE: "a frame too large",
}
"""Reasons for closing what breaks the rules of WebSockets themselves."""


class Closed(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """Base of what devices send: an unknown field is a mistake, not a wish."""


# -- what devices say ---------------------------------------------------------------------------


class DeviceStatus(Closed, gc=False):
    """The seed's `device_status`. `metrics`: further readings by name (temperature …)."""

    slave_id: Sender
    battery_level: Annotated[int, Meta(ge=0, le=100)]
    battery_charging: bool
    cpu_usage: Percent
    memory_usage: Percent
    disk_usage: Percent
    assigned_ring: Ring | None = None
    device_name: Text = ""
    os_version: Text = ""
    app_version: Text = ""
    last_updated: datetime | None = None
    metrics: Annotated[dict[MetricName, Metric], Meta(max_length=MAX_METRICS)] = {}


class RegistrationPayload(Closed, gc=False):
    """Metadata of a device. `session` rises with every start of its agent, `sequence` with every
    word of a session, this one included. `credential_sha256`: of the secret that the device has
    drawn for itself, in hex, where it comes with an enrolment token."""

    capabilities: Capabilities = {}
    labels: Labels = {}
    device_status: DeviceStatus | None = None
    session: Ordinal = 0
    sequence: Ordinal = 0
    credential_sha256: tasks.Sha256 | None = None


class StatusPayload(Closed, gc=False):
    device_status: DeviceStatus
    session: Ordinal = 0
    sequence: Ordinal = 0


class HeartbeatPayload(Closed, gc=False):
    session: Ordinal = 0
    sequence: Ordinal = 0


class Registration(Closed, tag_field="message_type", tag="registration", gc=False):
    sender_id: Id
    payload: RegistrationPayload
    receiver_id: Sender = ""


class StatusUpdate(Closed, tag_field="message_type", tag="device_status_update", gc=False):
    sender_id: Sender
    payload: StatusPayload
    receiver_id: Sender = ""


class Heartbeat(Closed, tag_field="message_type", tag="heartbeat", gc=False):
    sender_id: Sender
    payload: HeartbeatPayload = msgspec.field(default_factory=HeartbeatPayload)
    receiver_id: Sender = ""


class TaskUpdate(Closed, tag_field="message_type", tag="task_update", gc=False):
    sender_id: Sender
    payload: tasks.TaskUpdatePayload
    receiver_id: Sender = ""


Said = Registration | StatusUpdate | Heartbeat | TaskUpdate


class BatchedRegistration(Closed, gc=False):
    """A registration without a connection: its status names the device."""

    device_status: DeviceStatus
    capabilities: Capabilities = {}
    labels: Labels = {}
    session: Ordinal = 0
    sequence: Ordinal = 0
    credential_sha256: tasks.Sha256 | None = None


# -- what nodes say -----------------------------------------------------------------------------


class Intervals(msgspec.Struct, frozen=True):
    """When the device is to speak, in seconds; devices told at once are told differently."""

    status_interval: float
    heartbeat_interval: float


class RingPayload(msgspec.Struct, frozen=True):
    """A ring, why, since when; of two the one with the higher `revision` is the newer."""

    ring: str
    reason: str
    timestamp: str
    revision: int


class AckPayload(msgspec.Struct, frozen=True, omit_defaults=True):
    """`of`: "registration" (with the ring, and the addresses of all nodes) or "heartbeat"."""

    of: str
    status_interval: float
    heartbeat_interval: float
    ring: str | None = None
    reason: str | None = None
    timestamp: str | None = None
    revision: int | None = None
    nodes: Sequence[str] = ()


class ErrorPayload(msgspec.Struct, frozen=True, omit_defaults=True):
    """`closing`: the connection ends after this. `retry_after`: seconds. `session`: the newest
    session that is known of the device. `task_id`: of the update that was refused."""

    code: Code
    field: str
    value: str
    rule: str
    closing: bool = False
    retry_after: float | None = None
    session: int | None = None
    task_id: str | None = None


class TrustPayload(msgspec.Struct, frozen=True):
    """`ca`: the certificates of the CAs that the cluster's nodes have, in PEM."""

    ca: str


class Message(msgspec.Struct, frozen=True, tag_field="message_type"):
    """Base of what nodes send."""

    sender_id: str
    receiver_id: str


class Ack(Message, frozen=True, tag="ack"):
    payload: AckPayload


class RingAssignment(Message, frozen=True, tag="ring_assignment"):
    payload: RingPayload


class Error(Message, frozen=True, tag="error"):
    payload: ErrorPayload


class Task(Message, frozen=True, tag="task"):
    payload: tasks.TaskPayload


class TaskAck(Message, frozen=True, tag="task_ack"):
    payload: tasks.TaskAckPayload


class TaskCancel(Message, frozen=True, tag="task_cancel"):
    payload: tasks.TaskCancelPayload


class Trust(Message, frozen=True, tag="trust"):
    payload: TrustPayload


Told = Ack | RingAssignment | Error | Task | TaskAck | TaskCancel | Trust


# -- encodings ----------------------------------------------------------------------------------


class Codec:
    """One of the two encodings. `name` is the WebSocket subprotocol."""

    def __init__(self, name: str, media_type: str, module: Any, *, binary: bool) -> None:
        self.name, self.media_type, self.binary = name, media_type, binary
        self.encode: Callable[[Any], bytes] = module.Encoder().encode
        self.decode_said: Callable[[bytes], Said] = module.Decoder(Said).decode
        self.decode_told: Callable[[bytes], Told] = module.Decoder(Told).decode
        self.decoder: Callable[[Any], Any] = module.Decoder
        self.decode_any: Callable[[bytes], Any] = module.Decoder().decode


JSON = Codec("stationkeep.json", "application/json", msgspec.json, binary=False)
MSGPACK = Codec("stationkeep.msgpack", "application/msgpack", msgspec.msgpack, binary=True)
CODECS = {codec.name: codec for codec in (JSON, MSGPACK)}


LAST_MS = 253_402_300_799_999
"""The end of the year 9999. The wall clock is the leader's, and may say anything."""


def timestamp(unix_ms: int) -> str:
    """ISO 8601, UTC, whole seconds; of what a calendar cannot say, the nearest that it can."""
    said = min(max(0, unix_ms), LAST_MS)
    return datetime.fromtimestamp(said // 1_000, UTC).isoformat().replace("+00:00", "Z")


# -- what is wrong with it ----------------------------------------------------------------------

_STEP = re.compile(r"\.([A-Za-z_]+)|\[(\d+|\.\.\.)\]")
_RULES = {
    "assigned_ring": "canary, dev, stage or prod",
    "last_updated": "a time as 2025-10-16T12:34:56 (RFC 3339)",
    "message_type": "registration, device_status_update, heartbeat or task_update",
    **tasks.RULES,
}
"""Where what the decoder says would leave a reader guessing."""


def explain(error: Exception, data: bytes, codec: Codec, root: str = "message") -> Fault:
    """Field, value and rule of a message that `codec` would not decode."""
    wrong = unreadable.explain(error, codec.name.rpartition(".")[2], _PATTERN_RULES)
    if not isinstance(error, msgspec.ValidationError):
        return Fault(root, "", wrong.rule)
    if wrong.name:
        return Fault(_joined(wrong.where, shown(wrong.name)), "", wrong.rule)
    field = _joined(wrong.where)
    rule = _RULES.get(field.rpartition(".")[2], wrong.rule)
    return Fault(field or root, _value(data, wrong.where, codec), rule)


def _joined(where: str, last: str = "") -> str:
    """`$.payload.labels[...]` → `payload.labels`: a field as people write it."""
    path = where.removeprefix("$").removeprefix(".").replace("[...]", "")
    return ".".join(part for part in (path, last) if part)


def _value(data: bytes, where: str, codec: Codec) -> str:
    """What stands at the place that the decoder complained of, as far as it can be shown. Of a
    body that is larger than a message nothing is: a megabyte can be 300,000 objects."""
    if len(data) > MAX_MESSAGE_BYTES:
        return ""
    try:
        value = codec.decode_any(data)
    except unreadable.UNREADABLE:
        return ""
    for key, index in _STEP.findall(where):
        if index == "...":
            break
        try:
            value = value[int(index)] if index else value[key]
        except (LookupError, TypeError):
            return ""
    large = isinstance(value, list | dict) and len(value) > MAX_LISTED
    return f"{len(value)} items" if large else shown(value)


class _Named(msgspec.Struct):
    task_id: tasks.TaskId


class _SomeTask(msgspec.Struct, tag_field="message_type", tag="task"):
    payload: _Named


def rejection_of(data: bytes, error: Exception, codec: Codec) -> tasks.TaskUpdatePayload | None:
    """What a device says of a task that it cannot read, so that nobody waits for it; None for what
    is no task, or names none."""
    try:
        task = codec.decoder(_SomeTask).decode(data)
    except unreadable.UNREADABLE:
        return None
    return tasks.TaskUpdatePayload(
        task_id=task.payload.task_id,
        state=tasks.TaskState.REJECTED,
        reason=tasks.TaskReason.PRECONDITION,
        detail=str(explain(error, data, codec, "task")),
    )
