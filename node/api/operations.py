"""POST, PATCH, DELETE: every write is one keyed command in the replicated log.

The idempotency key is the operation's id. Repeating a key returns the first outcome, because
the state remembers it (node/guide/internals.md, "How data flows").
"""

from typing import Annotated, Any, assert_never
from urllib.parse import quote

import msgspec
from fastapi import APIRouter, Depends, Header, Path, Request
from starlette.responses import Response

from cluster.apply import Applied, Rejected
from cluster.commands import (
    AcknowledgeAlarm,
    AddMember,
    AnyCommand,
    ChangeSettings,
    Failover,
    MemberSpec,
    Pause,
    PutPolicy,
    RemoveMember,
    RemovePolicy,
    Resume,
    RunAction,
    SetMaintenance,
    SetPriority,
    Switchover,
)
from cluster.decisions import Reason
from cluster.names import MAX_NAME
from cluster.settings import PPM, parse_changes
from node.api import inputs
from node.api.actor import Who, address_of
from node.api.consistency import Serving, no_quorum, patience
from node.api.limits import RETRY_AFTER
from node.api.port import Service
from node.api.problems import Kind, Problem, invalid
from node.api.reads import NodeId
from node.api.records import DoneView, UnknownView
from node.api.schema import JSON, outcomes
from node.ports import Committed, NotProposed, OutcomeUnknown
from node.tracing.traceparent import operation_id, parse

NO_REASON = ""
FAILOVER, PAUSE, RESUME = "/v1/failover", "/v1/pause", "/v1/resume"
RESCUES = (FAILOVER, PAUSE, RESUME)
"""Orders that end trouble (`cluster.operations.ends_trouble`), as far as a path tells them."""

router = APIRouter()

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=128,
        pattern=inputs.PRINTABLE,
        description="Makes a repetition by the same actor harmless; the operation's id.",
    ),
]
Traceparent = Annotated[
    str | None,
    Header(description="W3C Trace Context: the caller's span, which the operation continues."),
]


class Submission:
    """One write: who asks and from where, under which key, and how its result is told."""

    def __init__(
        self,
        request: Request,
        service: Serving,
        actor: Who,
        key: Key = None,
        traceparent: Traceparent = None,
    ) -> None:
        self._service: Service = service
        self._origin = f"{address_of(request)} via {service.node}"
        self._caller = parse(traceparent)
        self._key = key or operation_id(self._caller)
        self._actor = actor

    async def __call__(self, command: AnyCommand, reason: str) -> Response:
        """Proposes `command`, waits, and answers; raises `Problem` unless it was done."""
        outcome = await self._service.submit(
            command,
            key=self._key,
            actor=self._actor,
            reason=reason,
            origin=self._origin,
            caller=self._caller,
            timeout=patience(self._service.settings),
        )
        match outcome:
            case Committed(index, applied):
                return self._applied(index, applied)
            case NotProposed(why):
                raise _not_proposed(why)
            case OutcomeUnknown(why):
                return self._unknown(why)
            case _:
                assert_never(outcome)

    def _applied(self, index: int, applied: Applied) -> Response:
        if isinstance(applied.outcome, Rejected):
            raise _refused(applied.outcome, self._key)
        first = self._service.state.operations.find(self._actor, self._key)
        done = DoneView(self._key, "done", first.index if first else index, applied.outcome.result)
        return Response(msgspec.json.encode(done), media_type=JSON)

    def _unknown(self, why: str) -> Response:
        view = UnknownView(self._key, "unknown", f"it may or may not be applied: {why}")
        headers = {"Location": f"/v1/operations/{quote(self._key, safe='')}"}
        return Response(msgspec.json.encode(view), 202, headers, JSON)


def _not_proposed(why: str) -> Problem:
    """The command has certainly not entered the log."""
    match why:
        case "queue_full":
            return Problem(
                Kind.BUSY,
                "too many commands wait for the log",
                headers={"Retry-After": RETRY_AFTER},
            )
        case "too_large":
            return Problem(Kind.TOO_LARGE, "the command is larger than the log takes")
        case _:
            return no_quorum(why)


_KINDS = {
    Reason.UNKNOWN_NODE: Kind.NOT_FOUND,
    Reason.UNKNOWN_DEVICE: Kind.NOT_FOUND,
    Reason.UNKNOWN_ALARM: Kind.NOT_FOUND,
    Reason.INVALID: Kind.INVALID,
    Reason.NOT_FOUNDED: Kind.NO_QUORUM,
    Reason.QUOTA: Kind.BUSY,
}


def _refused(rejected: Rejected, key: str) -> Problem:
    """A rule of the state machine said no; the same on every repetition of the key."""
    kind = next((k for r, k in _KINDS.items() if r.value == rejected.reason), Kind.REFUSED)
    detail = rejected.detail or f"refused by the rule {rejected.reason}"
    headers = {"Retry-After": RETRY_AFTER} if kind is Kind.BUSY else {}
    return Problem(kind, detail, rule=rejected.reason, operation=key, headers=headers)


Submit = Annotated[Submission, Depends()]


@router.post("/v1/switchover", responses=outcomes())
async def switchover(submit: Submit, body: inputs.SwitchoverInput) -> Response:
    """A planned change of PRIMARY, to a fit target or to the best candidate."""
    return await submit(Switchover(body.target), body.reason)


@router.post(FAILOVER, responses=outcomes())
async def failover(submit: Submit, body: inputs.FailoverInput) -> Response:
    """A change of PRIMARY even when it is unhealthy; `force` accepts an unfit target."""
    return await submit(Failover(body.target, body.force), body.reason)


@router.post(PAUSE, responses=outcomes())
async def pause(submit: Submit, body: inputs.PauseInput) -> Response:
    """No automatic changes for a while; a pause always expires."""
    return await submit(Pause(inputs.milliseconds("duration", body.duration)), body.reason)


@router.post(RESUME, responses=outcomes())
async def resume(submit: Submit, body: inputs.ResumeInput | None = None) -> Response:
    """Ends a pause."""
    return await submit(Resume(), body.reason if body else NO_REASON)


@router.post("/v1/nodes", responses=outcomes())
async def join(submit: Submit, body: inputs.JoinInput) -> Response:
    """Takes a node in: it is sent the log, and has a vote as soon as it has caught up."""
    return await submit(AddMember(MemberSpec(body.id, body.raft, body.http)), body.reason)


@router.delete("/v1/nodes/{node}", responses=outcomes())
async def leave(submit: Submit, node: NodeId) -> Response:
    """Removes a node for good; never the PRIMARY, never so many that no majority is alive."""
    return await submit(RemoveMember(node), NO_REASON)


@router.post("/v1/nodes/{node}/maintenance", responses=outcomes())
async def set_maintenance(submit: Submit, node: NodeId, body: inputs.MaintenanceInput) -> Response:
    """Drains a node for a while, or ends its maintenance."""
    duration = inputs.milliseconds("duration", body.duration) if body.on else 0
    return await submit(SetMaintenance(node, duration), body.reason)


@router.post("/v1/nodes/{node}/priority", responses=outcomes())
async def set_priority(submit: Submit, node: NodeId, body: inputs.PriorityInput) -> Response:
    """A node's place among the candidates, higher first; 0 = never PRIMARY."""
    return await submit(SetPriority(node, body.priority), body.reason)


@router.post("/v1/nodes/{node}/policies", responses=outcomes())
async def put_policy(submit: Submit, node: NodeId, body: inputs.PolicyInput) -> Response:
    """Adds or replaces, by name, a policy by which a node votes."""
    command = PutPolicy(
        node,
        body.name,
        body.priority,
        round(body.score * PPM),
        tuple(body.forbids),
        inputs.milliseconds("lifetime", body.lifetime),
    )
    return await submit(command, body.reason)


@router.delete("/v1/nodes/{node}/policies/{name}", responses=outcomes())
async def remove_policy(
    submit: Submit, node: NodeId, name: Annotated[str, Path(min_length=1, max_length=MAX_NAME)]
) -> Response:
    """Removes a policy of a node."""
    return await submit(RemovePolicy(node, name), NO_REASON)


@router.post("/v1/alarms/{alarm}/ack", responses=outcomes())
async def acknowledge_alarm(
    submit: Submit,
    alarm: Annotated[
        str,
        Path(min_length=1, max_length=128, description="An alarm's id, or a name for all of it."),
    ],
    body: inputs.AcknowledgeInput | None = None,
) -> Response:
    """Says that an alarm was seen; it stays until what it is about is over."""
    return await submit(AcknowledgeAlarm(alarm), body.reason if body else NO_REASON)


@router.patch("/v1/config", responses=outcomes())
async def change_config(submit: Submit, body: inputs.SettingsInput) -> Response:
    """Changes settings; refused as a whole when a relation between them would break."""
    given: dict[str, Any] = body.model_dump(
        exclude={"reason"}, exclude_unset=True, exclude_none=True
    )
    if not given:
        raise invalid("body", given, "at least one setting to change")
    return await submit(ChangeSettings(parse_changes(given)), body.reason)


@router.post("/v1/actions", responses=outcomes())
async def run_action(submit: Submit, body: inputs.ActionInput) -> Response:
    """Has nodes run their hook of that name, and watches over their acknowledgements."""
    command = RunAction(
        body.name,
        tuple(body.targets),
        dict(body.parameters),
        inputs.milliseconds("deadline", body.deadline),
    )
    return await submit(command, body.reason)
