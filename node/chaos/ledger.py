"""Requests of a storm's clients and their answers: the evidence that is judged.

Registers are local policies of members: a write sets the policy with a score that no other write
has, a read looks it up behind a barrier. Each is used between two checks, so that its history is
short enough to be judged, and then removed. The policies forbid what cannot happen, and so have no
effect.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from stationkeep.node.checking.linearizability import Operation

PPM = 1_000_000
"""Values of a register: a score between 0 and 1, kept in parts per million."""


class Register(msgspec.Struct):
    """One policy of one node, and all operations on it."""

    name: str
    node: str
    history: list[Operation] = []
    pending: int = 0
    """Operations in flight."""
    open: bool = True
    """Whether clients may begin new operations."""

    @property
    def path(self) -> str:
        return f"/v1/nodes/{self.node}/policies"


class Order(msgspec.Struct):
    """A keyed write."""

    key: str
    method: str
    path: str
    body: dict[str, Any] | None
    index: int | None = None
    """The log index in the acknowledgement."""
    refused: str | None = None
    """The rule that refused it."""
    tries: int = 0


class Ledger:
    """The evidence, shared by all threads. Each line also goes to `file` at once."""

    def __init__(self, file: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.RLock()
        self._file = file.open("w", encoding="utf-8", buffering=1)
        self._clock, self._began = clock, clock()
        self._numbers = 0
        self._open = threading.Event()
        self._open.set()
        self.counts: Counter[str] = Counter()
        self.registers: list[Register] = []
        self.chores: list[Order] = []
        self.orders: dict[str, Order] = {}
        self.violations: list[str] = []

    def close(self) -> None:
        with self._lock:
            self._file.close()

    def note(self, what: str, **facts: Any) -> None:
        """Writes one line to the history file."""
        with self._lock:
            if not self._file.closed:
                line = {"at": round(self._clock() - self._began, 4), "what": what, **facts}
                self._file.write(json.dumps(line) + "\n")

    def count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1

    def violate(self, rule: str, detail: str) -> None:
        """Records a violation, each only once."""
        with self._lock:
            text = f"{rule}: {detail}"
            if text not in self.violations:
                self.violations.append(text)
                self.note("violation", rule=rule, detail=detail)

    # -- the clients' gate -----------------------------------------------------------------------

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within it, clients begin nothing."""
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    def wait_open(self, seconds: float) -> bool:
        return self._open.wait(seconds)

    # -- registers -------------------------------------------------------------------------------

    def open_registers(self, nodes: list[str]) -> None:
        """Closes those in use and opens one at each of `nodes`."""
        with self._lock:
            for register in self.registers:
                register.open = False
            for node in nodes:
                self._numbers += 1
                self.registers.append(Register(f"storm-{self._numbers}", node))

    def in_use(self) -> list[Register]:
        with self._lock:
            return [register for register in self.registers if register.open]

    def take_finished(self) -> list[Register]:
        """Removes and returns closed registers without operations in flight, to be judged."""
        with self._lock:
            done = [r for r in self.registers if not r.open and r.pending == 0]
            self.registers = [r for r in self.registers if r not in done]
            return done

    def begin(self, register: Register, *, write: bool) -> Operation:
        """Begins an operation on a register; `end` or `drop` ends it."""
        with self._lock:
            self._numbers += 1
            value = self._numbers % PPM + 1 if write else None
            operation = Operation(self._numbers, register.name, write, value, self._clock())
            register.history.append(operation)
            register.pending += 1
            return operation

    def begin_again(self, operation: Operation) -> None:
        """An unanswered read has observed nothing: its start is that of its last try."""
        operation.invoked = self._clock()

    def end(self, register: Register, operation: Operation, *, known: bool) -> None:
        """The operation returned, or (if not `known`) its outcome will never be known."""
        with self._lock:
            register.pending -= 1
            if known:
                operation.returned = self._clock()
            self.note(
                "operation",
                number=operation.number,
                register=operation.register,
                write=operation.write,
                value=operation.value,
                invoked=round(operation.invoked - self._began, 4),
                known=known,
            )

    def drop(self, register: Register, operation: Operation) -> None:
        """The operation was refused: it had no effect, and is no evidence."""
        with self._lock:
            register.pending -= 1
            register.history.remove(operation)

    # -- orders ----------------------------------------------------------------------------------

    def order(self, method: str, path: str, body: dict[str, Any] | None, key: str) -> Order:
        """Records a keyed write that is about to be sent."""
        with self._lock:
            order = Order(key, method, path, body)
            self.orders[key] = order
            return order

    def acknowledged(self) -> list[Order]:
        """Orders that have been acknowledged so far."""
        with self._lock:
            return [o for o in self.orders.values() if o.index is not None]

    def forget(self, orders: list[Order]) -> None:
        """Removes orders that were found in the log."""
        with self._lock:
            for order in orders:
                self.orders.pop(order.key, None)
