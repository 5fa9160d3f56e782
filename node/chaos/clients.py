"""Clients during a storm: keyed writes and strong reads, retried until they are answered.

Each is a thread with its own connection pool. A write with an unknown outcome is retried with the
same key at another node, which must not apply it twice.
"""

import random
import threading
from collections.abc import Mapping
from typing import Any

import httpx

from stationkeep.node.chaos.access import Access
from stationkeep.node.chaos.ledger import PPM, Ledger, Order, Register
from stationkeep.node.checking.linearizability import Operation
from stationkeep.node.client.problems import LATER

TRY_SECONDS = 4.0
"""Time-out of one try; a stopped node never answers."""
PAUSE = 0.15
"""Seconds between two tries."""
THINK = 0.15
"""Mean seconds between two operations."""
READS, SWITCHOVERS = 0.4, 0.01
"""Shares of all operations; the rest are writes."""
NEVER = ("nobody:SAFE_MODE->PRIMARY",)
"""What the policy of a register forbids: it has no effect, as there is no such node."""
_REFUSALS = frozenset({400, 404, 409})


class Client(threading.Thread):
    """Works until `closing` is set, then finishes what it has begun, or gives up at `abandon`."""

    def __init__(
        self,
        name: str,
        addresses: Mapping[str, str],
        access: Access,
        ledger: Ledger,
        seed: str,
        *,
        closing: threading.Event,
        abandon: threading.Event,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._urls = [access.url(address) for address in addresses.values()]
        self._ledger = ledger
        self._draw = random.Random(f"{seed}/{name}")  # noqa: S311 (a load, not a secret)
        self._closing, self._abandon = closing, abandon
        self._orders = 0
        self._http = access.client(timeout=TRY_SECONDS, headers={"X-Stationkeep-Actor": name})

    def run(self) -> None:
        try:
            with self._http:
                while not self._closing.is_set():
                    if self._ledger.wait_open(0.2):
                        self._one()
                        self._closing.wait(self._draw.expovariate(1 / THINK))
        except Exception as error:  # on a thread: nobody else would hear of it
            self._ledger.violate("the harness works", f"{self.name}: {error!r}")
            raise

    def _one(self) -> None:
        if self._ledger.chores:
            self._chore()
            return
        registers = self._ledger.in_use()
        dice = self._draw.random()
        if not registers or dice < SWITCHOVERS:
            self._settle(self._ordered("POST", "/v1/switchover", {}))
        elif dice < SWITCHOVERS + READS:
            self._read(self._draw.choice(registers))
        else:
            self._write(self._draw.choice(registers))

    def _chore(self) -> None:
        try:
            order = self._ledger.chores.pop(0)
        except IndexError:
            return  # another client was faster
        self._ledger.orders[order.key] = order
        self._settle(order)

    def _ordered(self, method: str, path: str, body: dict[str, Any]) -> Order:
        self._orders += 1
        return self._ledger.order(method, path, body, f"{self.name}-{self._orders}")

    def _write(self, register: Register) -> None:
        operation = self._ledger.begin(register, write=True)
        assert operation.value is not None
        body = {
            "name": register.name,
            "priority": "performance",
            "score": operation.value / PPM,
            "forbids": list(NEVER),
        }
        order = self._ordered("POST", register.path, body)
        known = self._settle(order)
        if known and order.refused:
            self._ledger.drop(register, operation)
        else:
            self._ledger.end(register, operation, known=known)

    def _read(self, register: Register) -> None:
        operation = self._ledger.begin(register, write=False)
        while not self._abandon.is_set():
            self._ledger.begin_again(operation)
            answer = self._ask("GET", f"/v1/nodes/{register.node}?consistency=strong")
            if answer is not None and answer.status_code == 200:
                self._found(operation, register, answer.json())
                self._ledger.end(register, operation, known=True)
                self._ledger.count("reads")
                return
            if answer is not None and answer.status_code not in LATER:
                self._unexpected("GET", answer)
            self._ledger.count("read_retries")
            self._abandon.wait(PAUSE)
        self._ledger.end(register, operation, known=False)

    @staticmethod
    def _found(operation: Operation, register: Register, node: dict[str, Any]) -> None:
        scores = [p["score"] for p in node["policies"] if p["name"] == register.name]
        operation.value = round(scores[0] * PPM) if scores else None

    def _settle(self, order: Order) -> bool:
        """Retries until the outcome is known; False if the storm was aborted before."""
        while not self._abandon.is_set():
            order.tries += 1
            if order.tries > 1:
                self._ledger.count("retried")
            answer = self._ask(order.method, order.path, order.body, order.key)
            if answer is not None and self._outcome(order, answer):
                self._ledger.note("order", key=order.key, index=order.index, tries=order.tries)
                return True
            self._abandon.wait(PAUSE)
        return False

    def _outcome(self, order: Order, answer: httpx.Response) -> bool:
        """Whether the answer ends the order."""
        status = answer.status_code
        if status == 200:
            order.index = int(answer.json()["index"])
            self._ledger.count("acknowledged")
        elif status in _REFUSALS and "rule" in answer.json():
            order.refused = str(answer.json()["rule"])
            self._ledger.count("refused")
        elif status == 202:
            self._ledger.count("unknown")
            return False
        elif status in LATER:
            self._ledger.count("turned_away")
            return False
        else:
            self._unexpected(order.method, answer)
        return status != 202

    def _unexpected(self, method: str, answer: httpx.Response) -> None:
        detail = f"{method} {answer.url.path}: {answer.status_code} {answer.text[:300]}"
        self._ledger.violate("every answer makes sense", detail)

    def _ask(
        self, method: str, path: str, body: dict[str, Any] | None = None, key: str | None = None
    ) -> httpx.Response | None:
        """One try at a random node; None: no answer (a write may have been applied)."""
        url = f"{self._draw.choice(self._urls)}{path}"
        headers = {"Idempotency-Key": key} if key else {}
        try:
            return self._http.request(method, url, json=body, headers=headers)
        except httpx.ConnectError:
            self._ledger.count("unreached")
        except httpx.TransportError:
            self._ledger.count("unknown" if key else "unanswered_reads")
        return None
