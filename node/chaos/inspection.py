"""Judges a storm: compares the answers to clients with the decision log and the replicas.

Nothing acknowledged is lost, nothing is applied twice, decisions never change, replicas that have
applied the same entries are equal, and histories are linearizable.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from stationkeep.node.chaos.constellation import Constellation
from stationkeep.node.chaos.ledger import Ledger, Order, Register
from stationkeep.node.chaos.seatwatch import SeatWatch
from stationkeep.node.checking.linearizability import Undecided, is_linearizable

PAGE = 500
SAMPLING_SECONDS = 4.0
"""How long replicas are compared at each check; they are rarely at the same index at once."""
_BETWEEN = 0.1
_PATIENCE = 15.0
"""Seconds to look for a node that answers a strong read."""


class Inspector:
    """Checks the cluster. `nodes()`: ids of the nodes that should answer now."""

    def __init__(
        self,
        cluster: Constellation,
        ledger: Ledger,
        watch: SeatWatch,
        nodes: Callable[[], list[str]],
    ) -> None:
        self._cluster, self._ledger, self._watch, self._nodes = cluster, ledger, watch, nodes
        self._indexes: dict[int, tuple[int, str]] = {}
        self._ends: dict[str, tuple[int, int]] = {}
        self._digests: dict[int, tuple[str, str]] = {}
        self._removals = 0
        self.newest = 0
        """Id of the newest decision that was read."""
        self.compared = self.judged = self.undecided = self.checks = 0

    def check(self) -> None:
        """Checks everything that can be judged during the storm."""
        self.checks += 1
        self.seat()
        self.decisions()
        self.registers()
        with self._ledger.held():
            self.digests(wanted=len(self._nodes()), seconds=SAMPLING_SECONDS)

    def seat(self) -> None:
        for violation in self._watch.violations():
            self._ledger.violate("never two PRIMARYs", violation)

    # -- the decision log --------------------------------------------------------------------------

    def decisions(self) -> bool:
        """Reads new decisions, and looks for every acknowledged order among them. False if no
        node answered."""
        acknowledged = self._ledger.acknowledged()
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            for node in self._nodes():
                try:
                    fresh = list(self._fresh(node))
                except OSError:
                    continue
                self._enter(fresh)
                self._find(acknowledged)
                return True
            time.sleep(_BETWEEN)
        return False

    def _fresh(self, node: str) -> Iterator[dict[str, Any]]:
        """New decisions and the newest one read before, newest first, from one node; raises OSError
        if it does not answer. The first page is a strong read."""
        path = f"/v1/decisions?limit={PAGE}"
        page = self._page(node, f"{path}&consistency=strong")
        while True:
            for decision in page["items"]:
                yield decision
                if decision["id"] <= self.newest:
                    return
            if page["next"] is None:
                return
            page = self._page(node, f"{path}&cursor={page['next']}")

    def _page(self, node: str, path: str) -> dict[str, Any]:
        page: dict[str, Any] = self._cluster.ask(node, path)
        if "items" not in page:
            raise ConnectionError(f"{node}: {page.get('detail')}")
        return page

    def _enter(self, fresh: list[dict[str, Any]]) -> None:
        violate = self._ledger.violate
        if self.newest and not (fresh and fresh[-1]["id"] <= self.newest <= fresh[0]["id"]):
            violate("nothing decided is lost", f"decision {self.newest} is no longer to be seen")
        for decision in reversed(fresh):
            number, index, key = decision["id"], decision["index"], decision["operation"]
            before = self._indexes.setdefault(number, (index, key))
            if before != (index, key):
                violate("what is decided stays", f"decision {number} was {before}: {(index, key)}")
            if number > self.newest + 1 and self.newest:
                violate("nothing decided is lost", f"after {self.newest} comes {number}")
            self.newest = max(self.newest, number)
            if key and decision["outcome"] in ("done", "refused"):
                end = self._ends.setdefault(key, (number, index))
                if end != (number, index):
                    violate("nothing is applied twice", f"{key}: at {end[1]} and at {index}")

    def _find(self, acknowledged: list[Order]) -> None:
        found = []
        for order in acknowledged:
            end = self._ends.get(order.key)
            if end is None:
                detail = f"{order.key} was acknowledged at {order.index} and left no decision"
                self._ledger.violate("nothing acknowledged is lost", detail)
            elif end[1] != order.index:
                detail = f"{order.key} was acknowledged at {order.index}, decided at {end[1]}"
                self._ledger.violate("nothing acknowledged is lost", detail)
            else:
                found.append(order)
        self._ledger.forget(found)

    # -- registers -------------------------------------------------------------------------------

    def registers(self) -> None:
        """Judges the complete histories, and lets clients remove their registers."""
        for register in self._ledger.take_finished():
            self.judged += 1
            try:
                if not is_linearizable(register.history, None):
                    self._blame(register)
            except Undecided:
                self.undecided += 1
            self._removals += 1
            path = f"{register.path}/{register.name}"
            self._ledger.chores.append(
                Order(f"storm-removal-{self._removals}", "DELETE", path, None)
            )

    def _blame(self, register: Register) -> None:
        for op in register.history:
            self._ledger.note(
                "not_linearizable",
                register=register.name,
                number=op.number,
                write=op.write,
                value=op.value,
                took=[op.invoked, None if op.returned == float("inf") else op.returned],
            )
        detail = f"the history of {register.name} at {register.node} is not"
        self._ledger.violate("histories are linearizable", detail)

    # -- replicas --------------------------------------------------------------------------------

    def digests(self, wanted: int, seconds: float) -> int:
        """Compares replicas until `wanted` of them were seen at the same index; returns the most
        that were."""
        deadline = time.monotonic() + seconds
        seen: dict[int, set[str]] = {}
        most = 0
        with ThreadPoolExecutor(max_workers=16) as pool:
            while most < wanted and time.monotonic() < deadline:
                names = self._nodes()
                for node, view in zip(names, pool.map(self._view, names), strict=True):
                    if view is not None:
                        self._compare(node, *view)
                        seen.setdefault(view[0], set()).add(node)
                        most = max(most, len(seen[view[0]]))
                time.sleep(_BETWEEN)
        return most

    def _view(self, node: str) -> tuple[int, str] | None:
        try:
            view = self._cluster.ask(node, "/v1/cluster?digest=true")
            return int(view["applied_index"]), str(view["digest"])
        except (OSError, KeyError):
            return None

    def _compare(self, node: str, index: int, digest: str) -> None:
        other, before = self._digests.setdefault(index, (node, digest))
        if other != node:
            self.compared += 1
        if before != digest:
            detail = f"{other} and {node} differ at index {index}: {before}, {digest}"
            self._ledger.violate("replicas are equal", detail)
