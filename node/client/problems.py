"""Problem documents (RFC 9457), which nodes send instead of an answer. Nothing in them is trusted.

Source: node/guide/api.md, "Errors".
"""

import msgspec

from stationkeep.cluster.unreadable import UNREADABLE
from stationkeep.node.client.errors import (
    AnswerError,
    BusyError,
    NoQuorumError,
    NotAuthorisedError,
    NotFoundError,
    RefusedError,
    StationkeepError,
)
from stationkeep.node.client.exchange import Answer
from stationkeep.node.system.printable import printable

OURS = "urn:stationkeep:problem:"
KINDS: dict[int, type[RefusedError]] = {
    401: NotAuthorisedError, 403: NotAuthorisedError, 404: NotFoundError,
}  # fmt: skip
"""By status."""
LATER = frozenset({408, 429, 503})
"""Statuses by which a node says that it has done nothing and that the request may be repeated."""


class Problem(msgspec.Struct, frozen=True):
    """What was in the document; every text is printable. `ours`: a node of ours sent it."""

    status: int
    ours: bool = False
    detail: str = ""
    rule: str = ""
    field: str = ""
    value: str = ""
    operation: str = ""

    @property
    def line(self) -> str:
        """What is wrong, and which rule says so."""
        said = self.detail or f"the node answered {self.status}"
        return said if not self.rule or self.rule in said else f"{said} (rule: {self.rule})"

    @property
    def is_final(self) -> bool:
        """Whether a repetition would get the same answer, as it does once the log has refused."""
        return self.status < 500 and (self.status not in LATER or bool(self.operation))

    @property
    def undone(self) -> bool:
        """Whether the write has certainly not taken effect."""
        return self.is_final or (self.ours and self.status in LATER)


def problem_of(answer: Answer) -> Problem | None:
    """The problem in an answer, None if it is a good one."""
    if answer.status < 400:
        return None
    try:
        body = msgspec.json.decode(answer.content)
    except UNREADABLE:
        body = None
    if not isinstance(body, dict):
        return Problem(answer.status, detail=f"the node answered {answer.status} without a reason")
    said = {name: _text(body, name) for name in ("detail", "rule", "field", "value", "operation")}
    said["detail"] = said["detail"] or _text(body, "title")
    return Problem(answer.status, ours=_text(body, "type").startswith(OURS), **said)


def error_of(problem: Problem) -> StationkeepError:
    """The exception for a problem."""
    if problem.status == 429:
        return BusyError(problem.line, rule=problem.rule)
    if problem.status == 503:
        return NoQuorumError(problem.line)
    if problem.status >= 500:
        return AnswerError(problem.line)
    return KINDS.get(problem.status, RefusedError)(
        problem.line,
        status=problem.status,
        rule=problem.rule,
        field=problem.field,
        value=problem.value,
        operation=problem.operation,
    )


def _text(body: dict[str, object], name: str) -> str:
    value = body.get(name)
    return printable(value) if isinstance(value, str) else ""
