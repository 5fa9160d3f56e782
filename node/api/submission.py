"""Writes: each is one keyed command in the replicated log.

The idempotency key is the operation's id. Repeating a key returns the first outcome, because
the state remembers it (node/guide/internals.md, "How data flows").
"""

from typing import Annotated, assert_never
from urllib.parse import quote

import msgspec
from fastapi import Depends, Header
from starlette.responses import Response

from stationkeep.cluster import upgrades
from stationkeep.cluster.apply import Applied, Rejected
from stationkeep.cluster.commands import AnyCommand, Draft
from stationkeep.cluster.state.decisions import Reason
from stationkeep.node.api.actor import HEADER as ACTOR
from stationkeep.node.api.actor import Asker, Asking
from stationkeep.node.api.consistency import Serving, patience, undecided
from stationkeep.node.api.openapi import JSON
from stationkeep.node.http.access import unauthenticated
from stationkeep.node.http.limits import RETRY_AFTER
from stationkeep.node.http.patterns import PRINTABLE
from stationkeep.node.http.problems import Kind, Problem, invalid
from stationkeep.node.ports import Committed, NotProposed, OutcomeUnknown
from stationkeep.node.service.port import Service
from stationkeep.node.system.confidential import holds_secret
from stationkeep.node.views.records import DoneView, UnknownView
from stationkeep.node.wire.traceparent import Caller, operation_id, parse

NO_REASON = ""
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=128,
        pattern=PRINTABLE,
        description="Makes a repetition by the same actor harmless; the operation's id.",
    ),
]
Traceparent = Annotated[
    str | None,
    Header(description="W3C Trace Context: the caller's span, which the operation continues."),
]


class Submission:
    """One write: who asks, from where and for whom, under which key, and how its result is told."""

    def __init__(
        self, service: Service, asker: Asker, key: str | None, caller: Caller | None
    ) -> None:
        """`caller`: the span that the write came from."""
        self._service, self._asker, self._caller = service, asker, caller
        self._key = key or operation_id(caller)

    async def __call__(self, command: AnyCommand, reason: str) -> Response:
        """Proposes `command`, waits, and answers; raises `Problem` unless it was done."""
        actor, claim, address = self._asker
        kept = {"reason": reason, "Idempotency-Key": self._key, ACTOR: claim or actor}
        for field, text in kept.items():
            if holds_secret(text):
                raise invalid(field, text, "no token: what is given here is kept for all to read")
        origin = f"{address} via {self._service.node}"
        draft = Draft(command, self._key, actor, reason, origin, claim)
        timeout = patience(self._service.settings)
        outcome = await self._service.submit(draft, self._caller, timeout)
        match outcome:
            case Committed(index, applied):
                return self._applied(index, applied)
            case NotProposed("level"):
                raise self._above_level(command)
            case NotProposed(why):
                raise _not_proposed(self._service, why)
            case OutcomeUnknown(why):
                return self._unknown(why)
            case _:
                assert_never(outcome)

    async def create(
        self, command: AnyCommand, reason: str, view: type[msgspec.Struct]
    ) -> Response:
        """As a call; done, it is 201 with a `view` of the result."""
        answer = await self(command, reason)
        if answer.status_code != 200:
            return answer
        done = msgspec.json.decode(answer.body, type=DoneView)
        made = msgspec.convert({"operation": done.operation, **done.result}, view)
        return Response(msgspec.json.encode(made), 201, media_type=JSON)

    def _applied(self, index: int, applied: Applied) -> Response:
        if isinstance(applied.outcome, Rejected):
            raise _refused(applied.outcome, self._key)
        first = self._service.state.operations.find(self._asker.actor, self._key)
        done = DoneView(self._key, "done", first.index if first else index, applied.outcome.result)
        return Response(msgspec.json.encode(done), media_type=JSON)

    def _above_level(self, command: AnyCommand) -> Problem:
        """The leader refused it unwritten, since releases that lack its level would stop at it."""
        state, now = self._service.state, self._service.cluster_time()
        why = upgrades.refusal(state, command, now) or "not every member had its level just now"
        return Problem(Kind.REFUSED, why, rule=Reason.LEVEL, operation=self._key)

    def _unknown(self, why: str) -> Response:
        view = UnknownView(self._key, "unknown", f"it may or may not be applied: {why}")
        headers = {"Location": f"/v1/operations/{quote(self._key, safe='')}"}
        return Response(msgspec.json.encode(view), 202, headers, JSON)


def _not_proposed(service: Service, why: str) -> Problem:
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
            return undecided(service, why)


_KINDS = {
    Reason.UNKNOWN_NODE: Kind.NOT_FOUND,
    Reason.UNKNOWN_DEVICE: Kind.NOT_FOUND,
    Reason.UNKNOWN_ALARM: Kind.NOT_FOUND,
    Reason.UNKNOWN_DEPLOYMENT: Kind.NOT_FOUND,
    Reason.UNKNOWN_ROLLOUT: Kind.NOT_FOUND,
    Reason.UNKNOWN_FREEZE: Kind.NOT_FOUND,
    Reason.UNKNOWN_TOKEN: Kind.NOT_FOUND,
    Reason.UNKNOWN_INVITATION: Kind.NOT_FOUND,
    Reason.REVOKED: Kind.UNAUTHENTICATED,
    Reason.INVALID: Kind.INVALID,
    Reason.NOT_FOUNDED: Kind.NO_QUORUM,
    Reason.QUOTA: Kind.BUSY,
}


def _refused(rejected: Rejected, key: str) -> Problem:
    """A rule of the state machine said no; the same on every repetition of the key."""
    kind = next((k for r, k in _KINDS.items() if r.value == rejected.reason), Kind.REFUSED)
    detail = rejected.detail or f"refused by the rule {rejected.reason}"
    if kind is Kind.UNAUTHENTICATED:
        return unauthenticated(rejected.reason, detail)
    headers = {"Retry-After": RETRY_AFTER} if kind is Kind.BUSY else {}
    return Problem(kind, detail, rule=rejected.reason, operation=key, headers=headers)


async def submission(
    service: Serving,
    asker: Asking,
    key: Key = None,
    traceparent: Traceparent = None,
) -> Submission:
    """Dependency of every write."""
    return Submission(service, asker, key, parse(traceparent))


Submit = Annotated[Submission, Depends(submission)]
