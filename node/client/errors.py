"""How a call ends when it does not end well.

    StationkeepError
    ├── RefusedError           a rule says no; nothing has changed
    │   └── NotFoundError      there is no such device, deployment or operation
    ├── BusyError              too many requests at once; nothing has changed
    ├── NoQuorumError          the nodes cannot agree on anything now; nothing has changed
    ├── UnreachableError       no node answers; nothing has changed
    ├── OutcomeUnknownError    sent, but not confirmed: it may or may not take effect
    ├── AnswerError            what answers is no node, or says what cannot be read
    └── StillOpenError         waited for as long as was wanted (also a `TimeoutError`)

A client raises nothing else, except `ValueError` for an argument that cannot be sent at all.
"""

from collections.abc import Mapping


class StationkeepError(Exception):
    """Base of all. `str()` is a sentence for people, on one line."""


class RefusedError(StationkeepError):
    """A rule of the cluster says no.

    `rule` is a word for programs (`unknown_device`, `quota`) or, where a field is at fault, what
    the field must be; `field` and `value` are then its path and what stood there. `operation` is
    the id under which the log remembers the refusal, if it got that far. `status`: of HTTP.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        rule: str = "",
        field: str = "",
        value: str = "",
        operation: str = "",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.rule = rule
        self.field = field
        self.value = value
        self.operation = operation


class NotFoundError(RefusedError):
    """There is no such thing."""


class BusyError(StationkeepError):
    """Too many requests at once, or the own share is used up (`rule` is then `quota`)."""

    def __init__(self, message: str, *, rule: str = "") -> None:
        super().__init__(message)
        self.rule = rule


class NoQuorumError(StationkeepError):
    """Nodes answer, but have no leader, or no majority."""


class UnreachableError(StationkeepError):
    """No node answers. `failed`: address → why not."""

    def __init__(self, failed: Mapping[str, str]) -> None:
        told = "; ".join(f"no answer from {url}: {reason}" for url, reason in failed.items())
        super().__init__(told or "no node answered in time")
        self.failed = dict(failed)


class OutcomeUnknownError(StationkeepError):
    """The change may or may not take effect.

    The same call again with `key=error.operation` cannot take effect twice; `operation` of a
    client says what became of it.
    """

    def __init__(self, operation: str, why: str) -> None:
        super().__init__(f"outcome of operation {operation} unknown: {why}")
        self.operation = operation
        self.why = why


class AnswerError(StationkeepError):
    """The answer is not one that a node gives."""


class StillOpenError(StationkeepError, TimeoutError):
    """What was waited for goes on."""
