"""Errors as clients see them: RFC 9457 problem documents, and nothing else.

A `Problem` is raised by whoever knows what is wrong; the handlers here also translate what
FastAPI and Starlette raise by themselves. A bug becomes a 500 that says nothing of its inside:
the trace goes to the log.
"""

import enum
import http
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

import msgspec
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from stationkeep.cluster.settings import SettingsError
from stationkeep.node.http.rules import rule
from stationkeep.node.system.confidential import hide
from stationkeep.node.wire.faults import Fault, printable, shown

MEDIA_TYPE = "application/problem+json"
MAX_ERRORS = 10
"""Faults of one request that its problem document lists."""
MAX_TRACE = 8_000
"""Characters of a trace that go to the log."""

_log = structlog.get_logger("node.api")


class Kind(enum.Enum):
    """The problem types: name in the type URI, HTTP status, title."""

    INVALID = ("invalid", 400, "The request is not valid")
    UNAUTHENTICATED = ("unauthenticated", 401, "Who asks is not known")
    FORBIDDEN = ("forbidden", 403, "This is not allowed")
    NOT_FOUND = ("not-found", 404, "There is no such thing")
    METHOD = ("method-not-allowed", 405, "This method is not allowed here")
    SLOW = ("request-timeout", 408, "The request took too long to arrive")
    REFUSED = ("refused", 409, "A rule refuses this")
    TOO_LARGE = ("too-large", 413, "The request is too large")
    MISDIRECTED = ("misdirected", 421, "This host is none of ours")
    BUSY = ("too-many-requests", 429, "Too many requests at once")
    INTERNAL = ("internal", 500, "The node made a mistake")
    NO_QUORUM = ("no-quorum", 503, "No leader or no quorum")

    @property
    def uri(self) -> str:
        return f"urn:stationkeep:problem:{self.value[0]}"

    @property
    def status(self) -> int:
        return self.value[1]

    @property
    def title(self) -> str:
        return self.value[2]


class ProblemView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A problem document; the members after `detail` are Stationkeep's own."""

    type: str
    title: str
    status: int
    detail: str
    rule: str | None = None
    operation: str | None = None
    field: str | None = None
    value: str | None = None
    errors: tuple[Fault, ...] = ()


class Problem(Exception):  # noqa: N818 (named as in RFC 9457)
    """What a client is told instead of an answer."""

    def __init__(
        self,
        kind: Kind,
        detail: str,
        *,
        rule: str | None = None,
        operation: str | None = None,
        faults: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.rule = rule
        self.operation = operation
        self.faults = tuple(faults[:MAX_ERRORS])
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """The problem document as a response."""
        first = self.faults[0] if self.faults else None
        view = ProblemView(
            type=self.kind.uri,
            title=self.kind.title,
            status=self.kind.status,
            detail=self.detail,
            rule=self.rule or (first.rule if first else None),
            operation=self.operation,
            field=first.field if first else None,
            value=first.value if first else None,
            errors=self.faults,
        )
        headers = {"Cache-Control": "no-store", **self.headers}
        # A problem is shown, logged and passed on by whoever gets it.
        body = hide(msgspec.json.encode(view).decode())
        return Response(body, self.kind.status, headers=headers, media_type=MEDIA_TYPE)


def invalid(field: str, value: object, rule: str) -> Problem:
    """400: one field, its value, and the rule it breaks."""
    fault = Fault(printable(field), shown(value), rule)
    return Problem(Kind.INVALID, str(fault), faults=(fault,))


def _fault(error: dict[str, Any]) -> Fault:
    place = [str(part) for part in error["loc"]]
    if error["type"] == "json_invalid":  # its place is a position, its input nothing
        return Fault("body", "", f"malformed JSON, at character {place[-1]}")
    return Fault(
        printable(".".join(place[1:]) or place[0]),
        "" if error["type"] == "missing" else shown(error.get("input", "")),
        rule(error),
    )


_VALUELESS = frozenset({"missing", "json_invalid"})


def _from_validation(invalid_request: RequestValidationError) -> Problem:
    errors = invalid_request.errors()[:MAX_ERRORS]
    faults = [_fault(fault) for fault in errors]
    detail = "; ".join(
        f"{fault.field}: {fault.rule}" if kind in _VALUELESS else str(fault)
        for kind, fault in zip((error["type"] for error in errors), faults, strict=True)
    )
    return Problem(Kind.INVALID, detail, faults=faults)


_BY_STATUS = {kind.status: kind for kind in Kind}


def _from_http(error: HTTPException, request: Request) -> Problem:
    kind = _BY_STATUS.get(error.status_code)
    if kind is None:
        kind = Kind.INVALID if error.status_code < 500 else Kind.INTERNAL
    if error.status_code == 400:  # FastAPI's, where its JSON parser failed in an odd way
        broken = (
            "malformed JSON: UTF-8, with neither deep nesting nor numbers of thousands of digits"
        )
        return Problem(kind, f"body: {broken}", faults=(Fault("body", "", broken),))
    detail = {
        Kind.NOT_FOUND: f"no such path: {printable(request.url.path)}",
        Kind.METHOD: f"{request.method} is not allowed on {printable(request.url.path)}",
    }.get(kind, http.HTTPStatus(error.status_code).phrase)
    return Problem(kind, detail, headers=error.headers)


def _of(error: Exception, request: Request) -> Problem:
    match error:
        case Problem():
            return error
        case RequestValidationError():
            return _from_validation(error)
        case SettingsError():
            return invalid(error.field, error.value, error.rule)
        case HTTPException():
            return _from_http(error, request)
        case _:
            _log.error("api_bug", path=printable(request.url.path), trace=_trace(error))
            return Problem(Kind.INTERNAL, "see the log of the node that answered")


def _trace(error: Exception) -> str:
    """As text and bounded: a renderer that adds local variables would hold the loop for long."""
    return "".join(traceback.format_exception(error))[-MAX_TRACE:]


KNOWN = (Problem, RequestValidationError, SettingsError, HTTPException)
"""Errors that are no bugs."""


async def answer(request: Request, error: Exception) -> Response:
    """What a client is told of an error."""
    return _of(error, request).response()


Handler = Callable[[Request, Any], Awaitable[Response]]


def install(app: FastAPI) -> None:
    """Makes every error of `app` a problem document."""
    handler = cast("Handler", answer)
    for error in (*KNOWN, Exception):
        app.add_exception_handler(error, handler)
