"""How a command fails: a message for people and an exit code for scripts.

    CommandError              1  refused or failed
    ├── MissingError          1  what was asked about is not there
    ├── UsageError            2  invalid arguments
    ├── NoQuorumError         3  no leader, or no quorum
    ├── UnreachableError      4  no node answers at that address
    ├── ConfigurationError    5  a configuration that no node would start with
    ├── OutcomeUnknownError   6  it may or may not take effect; has the operation id
    └── NotAuthorisedError    7  no token, none that is good, or one that may not do this

Scripts rely on the numbers.
"""


def see(topic: str) -> str:
    """A line to add to a message, pointing to a page of the guide."""
    return f"\n  see: stationkeep guide {topic}"


class CommandError(Exception):
    """The command was refused or failed. `str()` is the line that is printed."""

    exit_code = 1


class MissingError(CommandError):
    """What was asked about is not there."""


class UsageError(CommandError):
    """The arguments are invalid."""

    exit_code = 2


class NoQuorumError(CommandError):
    """The node answers, but the cluster has no quorum or no leader."""

    exit_code = 3


class UnreachableError(CommandError):
    """No answer from the address; nothing was done."""

    exit_code = 4


class ConfigurationError(CommandError):
    """A configuration that is refused; names file, field and rule."""

    exit_code = 5


class OutcomeUnknownError(CommandError):
    """Sent, but not confirmed in time: it may or may not take effect."""

    exit_code = 6

    def __init__(self, operation: str, why: str) -> None:
        super().__init__(
            f"outcome unknown: {why}\n"
            f"  operation {operation}\n"
            f"  look it up:   stationkeep operation {operation}\n"
            f"  or repeat it: the same command with --idempotency-key {operation} "
            "cannot take effect twice"
        )
        self.operation = operation


class NotAuthorisedError(CommandError):
    """Who asks may not: without a token, with one that has ended, or by the rights of its role."""

    exit_code = 7
