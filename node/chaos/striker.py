"""Applies the faults of a forecast to the nodes of a cluster, and undoes them."""

import random
import signal
import threading
import time
from collections.abc import Callable

from stationkeep.node.chaos.constellation import Constellation
from stationkeep.node.chaos.forecast import Strike
from stationkeep.node.chaos.ledger import Ledger
from stationkeep.node.local.cluster import TERM_SECONDS
from stationkeep.node.local.manifest import LocalError

_TICK = 0.05
_LOOK = 0.5
"""Seconds between two checks for nodes that died by themselves."""
_START_PATIENCE = 15.0


class Striker:
    """Applies faults. `down`: node → when to bring it back; a node in `frozen` is stopped, not
    dead."""

    def __init__(
        self, cluster: Constellation, ledger: Ledger, seed: int, primary: Callable[[], str | None]
    ) -> None:
        self._cluster, self._ledger, self._primary = cluster, ledger, primary
        self._draw = random.Random(seed)  # noqa: S311 (a storm, not a secret)
        self._names = list(cluster.addresses)
        self.majority = len(self._names) // 2 + 1
        self._lock = threading.Lock()
        self._looked = 0.0
        self.down: dict[str, float] = {}
        self.frozen: set[str] = set()

    def up(self) -> list[str]:
        """Nodes that are neither killed nor stopped now."""
        with self._lock:
            return [node for node in self._names if node not in self.down]

    def spell(self, strikes: list[Strike], seconds: float, stop: threading.Event) -> None:
        """Runs one spell, then undoes its faults."""
        began = time.monotonic()
        left = list(strikes)
        while not stop.is_set() and time.monotonic() < began + seconds:
            now = time.monotonic()
            while left and began + left[0].at <= now:
                self._strike(left.pop(0))
            self._heal(now)
            self._look(now)
            stop.wait(_TICK)
        self._heal(float("inf"))

    # -- hurting ---------------------------------------------------------------------------------

    def _strike(self, strike: Strike) -> None:
        victims = self._victims(strike)
        if not victims:
            self._ledger.count("skipped")
            return
        self._ledger.note(
            "strike", fault=strike.fault, nodes=victims, seconds=round(strike.seconds, 3)
        )
        self._ledger.count(strike.fault)
        back = time.monotonic() + strike.seconds
        if strike.fault in ("term", "restart"):
            self._end(victims[0], back)
            return
        freeze = strike.fault == "stop" or (strike.fault == "majority" and strike.freeze)
        for node in victims:
            self._hit(node, freeze, back)

    def _victims(self, strike: Strike) -> list[str]:
        up = self.up()
        self._draw.shuffle(up)
        if strike.fault == "blackout":
            return list(self._names)
        if strike.fault == "majority":
            return up[: max(0, self.majority - len(self.down))]
        if len(self.down) + 1 > len(self._names) - self.majority:
            return []  # one more, and there is no quorum: only `majority` does that
        aim = {"primary": self._primary, "leader": self._leader}.get(strike.aim, lambda: None)()
        return [aim] if aim in up else up[:1]

    def _leader(self) -> str | None:
        for node in self.up()[:2]:
            try:
                leader = self._cluster.ask(node, "/v1/cluster")["leader"]
            except (OSError, KeyError):
                continue
            return None if leader is None else str(leader)
        return None

    def _hit(self, node: str, freeze: bool, back: float) -> None:
        signum = signal.SIGSTOP if freeze else signal.SIGKILL
        with self._lock:
            dead = node in self.down and node not in self.frozen
            self.down[node] = back
        if dead:
            return
        self._signal(node, signum)
        if freeze:
            self.frozen.add(node)
        else:
            self.frozen.discard(node)
        self._ledger.count("stops" if freeze else "kills")

    def _end(self, node: str, back: float) -> None:
        with self._lock:
            self.down[node] = back
        if not self._signal(node, signal.SIGTERM):
            detail = f"{node} still lives {TERM_SECONDS:.0f} s after SIGTERM"
            self._ledger.violate("a node that is told to end does", detail)
            self._signal(node, signal.SIGKILL)
        self._ledger.count("terms")

    def _signal(self, node: str, signum: signal.Signals) -> bool:
        try:
            return self._cluster.local.kill(node, signum)
        except LocalError:
            self._died(node)
            return True

    # -- healing ---------------------------------------------------------------------------------

    def _heal(self, now: float) -> None:
        for node, back in list(self.down.items()):
            if back <= now:
                if node in self.frozen:
                    self._signal(node, signal.SIGCONT)
                    self.frozen.discard(node)
                else:
                    self._start(node)
                self._ledger.note("heal", node=node)
                with self._lock:
                    self.down.pop(node)

    def _start(self, node: str) -> None:
        """Starts a node. Remains of its previous process may still hold its ports for a moment."""
        deadline = time.monotonic() + _START_PATIENCE
        while True:
            try:
                self._cluster.local.start(node)
            except LocalError as error:
                if time.monotonic() > deadline:
                    self._ledger.violate("the harness works", f"{node} cannot be started: {error}")
                    return
                time.sleep(_TICK)
            else:
                self._ledger.count("starts")
                return

    def _look(self, now: float) -> None:
        if now < self._looked + _LOOK:
            return
        self._looked = now
        alive = self._cluster.local.running()
        for node in self.up():
            if node not in alive:
                self._died(node)

    def _died(self, node: str) -> None:
        detail = f"{node} ended by itself:\n{self._cluster.local.log_tail(node)}"
        self._ledger.violate("no node ends by itself", detail)
