"""Remembered outcomes of keyed commands: who may fill the memory, and who makes room.

A key belongs to whoever gave it: the same key of another actor is another operation. All who give
no name are one actor in this: a retry that comes by another way shows another address.

The memory has room for `MAX_OPERATIONS`. When it is full, whoever has the most in it makes room,
oldest first, so that nobody pays for what another uses. To forget a change that was made is to
risk that a retry makes it again: when whoever has the most asks for more, and that would cost an
own outcome younger than `MIN_RETENTION`, it is refused. Nobody else is, and no order that ends
trouble: to be able to give it is worth more than that risk, which is its giver's own.

An actor is what a client calls itself, so names can be invented. Beyond `MAX_ACCOUNTS` of them all
further ones are reckoned as one.
"""

import enum
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec.structs import replace

from stationkeep.cluster.commands import (
    Command,
    Failover,
    Pause,
    ReleaseBrake,
    Resume,
    SetMaintenance,
)
from stationkeep.cluster.names import party

MAX_OPERATIONS = 50_000
OPERATION_RETENTION = 15 * 60_000
"""Milliseconds of cluster time after which no client can still be retrying."""
MIN_RETENTION = 60_000
"""Milliseconds within which a change is not forgotten for its own actor's sake: longer than a
client waits for an outcome and repeats itself."""
MAX_ACCOUNTS = 400
"""With one in it for all others, whoever has the most has 124 at least when the memory is full."""
OTHERS = ""


class OperationStatus(enum.StrEnum):
    DONE = "done"
    REFUSED = "refused"


class Operation(msgspec.Struct, frozen=True, gc=False):
    """The remembered outcome of a keyed command; what makes a retry harmless. `account`: whose
    use of the memory it is; `digest`: of the command, so that a key reused for something else is
    refused; `problem`: a `decisions.Reason`, when refused."""

    key: str
    kind: str
    actor: str
    reason: str
    at: int
    index: int
    status: OperationStatus
    digest: str
    problem: str = ""
    detail: str = ""
    result: dict[str, Any] = {}
    account: str = OTHERS


def ends_trouble(command: Command) -> bool:
    """Whether a command is a rescue: it must be taken however much others have asked for."""
    match command:
        case Resume() | Failover() | ReleaseBrake() | Pause():
            return True
        case SetMaintenance(duration=duration):
            return duration == 0
        case _:
            return False


def identity(actor: str, key: str) -> str:
    """What tells an operation from all others; neither part can hold a line's end."""
    return f"{party(actor)}\n{key}"


class Operations:
    """The remembered outcomes, oldest first."""

    __slots__ = ("_accounts", "_by_use", "_known", "_most")

    def __init__(self) -> None:
        self._known: dict[str, Operation] = {}
        self._accounts: dict[str, dict[str, None]] = {}  # account → its operations, oldest first
        self._by_use: dict[int, set[str]] = {}  # how many → the accounts that have so many
        self._most = 0

    def __len__(self) -> int:
        return len(self._known)

    def keys(self) -> Iterator[str]:
        return iter(self._known)

    def values(self) -> Iterator[Operation]:
        return iter(self._known.values())

    def find(self, actor: str, key: str) -> Operation | None:
        """The outcome of this actor's operation."""
        return self._known.get(identity(actor, key))

    def make_room(self, actor: str, now: int, *, rescue: bool) -> str | None:
        """Readies a place for one more; or says why this actor gets none."""
        if len(self._known) < MAX_OPERATIONS:
            return None
        account = max(self._by_use[self._most])  # any rule will do, that is one
        oldest = next(iter(self._accounts[account]))
        record = self._known[oldest]
        kept = record.at + MIN_RETENTION - now
        own = account == self._account_of(actor)
        if own and kept > 0 and record.status is OperationStatus.DONE and not rescue:
            used = len(self._accounts[account])
            whose = "all who have asked lately" if account == OTHERS else "this actor"
            return (
                f"{MAX_OPERATIONS} operations are remembered, {used} of {whose}; "
                f"room in {-(-kept // 1_000)} s"
            )
        self._forget(oldest)
        return None

    def remember(self, record: Operation) -> None:
        """Enters an outcome into its actor's account."""
        self.restore(replace(record, account=self._account_of(record.actor)))

    def restore(self, record: Operation) -> None:
        """Enters one into the account that it had."""
        name = identity(record.actor, record.key)
        if name in self._known:  # only where nobody of ours has written it
            self._forget(name)
        self._known[name] = record
        own = self._accounts.setdefault(record.account, {})
        own[name] = None
        self._rank(record.account, len(own) - 1, len(own))

    def accounts(self) -> dict[str, int]:
        """How many operations each account has."""
        return {account: len(own) for account, own in self._accounts.items()}

    def forget_before(self, moment: int) -> None:
        """Drops what is older: oldest first."""
        while self._known:
            oldest, record = next(iter(self._known.items()))
            if record.at >= moment:
                return
            self._forget(oldest)

    def _account_of(self, actor: str) -> str:
        known = actor in self._accounts or len(self._accounts) < MAX_ACCOUNTS
        return actor if known else OTHERS

    def _forget(self, name: str) -> None:
        record = self._known.pop(name)
        own = self._accounts[record.account]
        del own[name]
        self._rank(record.account, len(own) + 1, len(own))
        if not own:
            del self._accounts[record.account]

    def _rank(self, account: str, before: int, now: int) -> None:
        if before:
            self._by_use[before].discard(account)
            if not self._by_use[before]:
                del self._by_use[before]
        if now:
            self._by_use.setdefault(now, set()).add(account)
        if now > self._most or self._most not in self._by_use:
            self._most = now
