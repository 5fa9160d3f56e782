"""The exceptions of a client.

    StationkeepError
    ├── RefusedError           a rule says no; nothing has changed
    │   ├── NotFoundError      there is no such device, deployment or operation
    │   └── NotAuthorisedError no token, none that is good, or one that may not do this
    ├── BusyError              too many requests at once; nothing has changed
    ├── NoQuorumError          no leader or no majority; nothing has changed
    ├── UnreachableError       no node answers; nothing has changed
    ├── OutcomeUnknownError    a write was sent and not confirmed: it may or may not take effect
    ├── AnswerError            the answer is not one of a node, or the node failed
    └── StillOpenError         a deployment is still open when the wait for its end is over

A client raises no others, except `ValueError` for an argument that cannot be sent.
"""

from collections.abc import Mapping


class StationkeepError(Exception):
    """Base of all. `str()` is one printable line."""


class RefusedError(StationkeepError):
    """A rule of the cluster says no.

    If a field is at fault, `field` and `value` are its path and its value, and `rule` is what it
    must be. Otherwise `rule` is a stable word for programs (`unknown_device`, `cooldown`).
    `operation`: the idempotency key, if it was the log that refused. `status`: of HTTP.
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


class NotAuthorisedError(RefusedError):
    """Who asks may not. `rule`: `missing`, `malformed`, `unknown`, `revoked` or `expired` for the
    token, `role` for what it may."""


class BusyError(StationkeepError):
    """Too many requests at once, or the actor's share is used up (`rule` is then `quota`)."""

    def __init__(self, message: str, *, rule: str = "") -> None:
        super().__init__(message)
        self.rule = rule


class NoQuorumError(StationkeepError):
    """Nodes answer, but have no leader or no majority."""


class UnreachableError(StationkeepError):
    """No node answers. `failed`: address → why not."""

    def __init__(self, failed: Mapping[str, str]) -> None:
        line = "; ".join(f"no answer from {url}: {reason}" for url, reason in failed.items())
        super().__init__(line or "no node answered in time")
        self.failed = dict(failed)


class OutcomeUnknownError(StationkeepError):
    """The write may or may not take effect.

    The same call with `key=error.operation` cannot take effect twice. `client.operation(key)` says
    what became of it.
    """

    def __init__(self, operation: str, why: str) -> None:
        super().__init__(f"outcome of operation {operation} unknown: {why}")
        self.operation = operation
        self.why = why


class AnswerError(StationkeepError):
    """The answer cannot be understood, or the node says that it failed."""


class StillOpenError(StationkeepError, TimeoutError):
    """The wait is over before the deployment is."""
