"""A storm: kills, stops and starts the nodes of a real cluster under load, and judges the results.

Spells of faults alternate with calms. During a spell there is a check every `CHECK_EVERY` seconds;
in a calm all faults are undone, and the cluster must recover within `bound`.
"""

import math
import random
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from stationkeep.cluster.settings import PROFILES, Settings
from stationkeep.node.chaos.clients import Client
from stationkeep.node.chaos.constellation import Constellation
from stationkeep.node.chaos.forecast import FAULTS, SPELL, Strike, forecast
from stationkeep.node.chaos.inspection import Inspector
from stationkeep.node.chaos.ledger import Ledger
from stationkeep.node.chaos.seatwatch import Answer
from stationkeep.node.chaos.striker import Striker
from stationkeep.node.simulation.checks import convergence

PROFILE = "demo"
CHECK_EVERY = 20.0
WATCH_PERIOD = 0.05
REGISTERS = 3
CLIENTS = 6
HISTORY = "history.jsonl"
START_SECONDS = 10.0
"""Time that a process may need on a busy machine from its start to its first message."""
PORTS = 31_000
"""First port of storms; those of tests are below, ephemeral ones above."""
EQUAL_SECONDS = 15.0
FINISH_SECONDS = 20.0
_TICK = 0.1


def bound(settings: Settings) -> float:
    """Seconds within which the cluster must recover: as in the simulator, and a process start."""
    return convergence.bound(settings) + START_SECONDS


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a storm; the caller has checked them."""

    seconds: float
    nodes: int = 5
    seed: int = 1
    faults: tuple[str, ...] = tuple(FAULTS)
    plain: bool = False
    """Whether nodes have no certificates, and ask nobody for a token."""


class Report(msgspec.Struct, frozen=True):
    """The results. Times in seconds; `counts`: the ledger's counters."""

    plan: Plan
    seconds: float
    counts: dict[str, int]
    seat_changes: int
    terms: int
    longest_gap: float
    recoveries: list[float]
    checks: int
    registers: int
    undecided: int
    decisions: int
    compared: int
    violations: list[str]


Progress = Callable[[float, dict[str, int]], None]
"""Called a few times a second with the seconds since the start and the counters."""


def longest_gap(answers: list[Answer], began: float, ended: float) -> float:
    """Seconds: the longest time between two answers of a PRIMARY."""
    moments = sorted(a.received for a in answers if began <= a.received <= ended)
    return max(b - a for a, b in pairwise([began, *moments, ended]))


def storm(plan: Plan, folder: Path, progress: Progress) -> Report:
    """Runs one storm and stops all its processes; violations are in the report.

    `folder` receives the cluster's data and the history. Raises TimeoutError or LocalError if the
    cluster does not come up.
    """
    cluster = Constellation(folder / "cluster")
    ledger = Ledger(folder / HISTORY)
    try:
        begin = cluster.up if plan.plain else cluster.up_secured
        begin(plan.nodes, PROFILE, lowest_port=PORTS)
        cluster.acting()
        return _Course(plan, cluster, ledger, progress).run()
    finally:
        cluster.stop()
        ledger.close()


class _Course:
    """The course of one storm over a cluster that is up."""

    def __init__(
        self, plan: Plan, cluster: Constellation, ledger: Ledger, progress: Progress
    ) -> None:
        self._plan, self._cluster, self._ledger, self._progress = plan, cluster, ledger, progress
        self._stop, self._closing, self._abandon = (threading.Event() for _ in range(3))
        names = cluster.addresses
        self._watch = cluster.watch(WATCH_PERIOD)
        self._striker = Striker(cluster, ledger, plan.seed, self._seated)
        self._inspector = Inspector(cluster, ledger, self._watch, self._striker.up)
        self._draw = random.Random(plan.seed)  # noqa: S311 (a load, not a secret)
        self._bound = bound(PROFILES[PROFILE])
        self._recoveries: list[float] = []
        self._began = time.monotonic()
        self._clients = [
            Client(
                f"client-{n}",
                names,
                cluster.access,
                ledger,
                str(plan.seed),
                closing=self._closing,
                abandon=self._abandon,
            )
            for n in range(CLIENTS)
        ]

    def run(self) -> Report:
        before = self._cluster.anyone("/v1/cluster")
        self._turn_registers()
        self._began = time.monotonic()
        with self._watch:
            try:
                for client in self._clients:
                    client.start()
                self._spells()
            finally:
                for event in (self._stop, self._closing, self._abandon):
                    event.set()
                for client in self._clients:
                    client.join()
        return self._report(before)

    def _spells(self) -> None:
        spells = math.ceil(self._plan.seconds / SPELL)
        for number in range(spells):
            self._spell(number, min(SPELL, self._plan.seconds - number * SPELL))
            if not self._ledger.violations:
                self._calm(last=number == spells - 1)
            if self._ledger.violations:
                return

    def _spell(self, number: int, seconds: float) -> None:
        strikes = forecast(self._plan.seed, number, seconds, self._plan.faults)
        thread = threading.Thread(target=self._hurt, args=(strikes, seconds), name="striker")
        thread.start()
        try:
            due = time.monotonic() + CHECK_EVERY
            while thread.is_alive():
                thread.join(_TICK)
                self._report_progress()
                if time.monotonic() >= due:
                    self._turn_registers()
                    self._inspector.check()
                    due = time.monotonic() + CHECK_EVERY
                if self._ledger.violations:
                    self._stop.set()
        finally:
            if sys.exc_info()[0] is not None:
                self._stop.set()
            thread.join()

    def _hurt(self, strikes: list[Strike], seconds: float) -> None:
        try:
            self._striker.spell(strikes, seconds, self._stop)
        except Exception as error:  # on a thread: nobody else would hear of it
            self._ledger.violate("the harness works", f"striker: {error!r}")
            raise

    def _calm(self, *, last: bool) -> None:
        """All faults are undone: the cluster must recover, and then all replicas must be equal."""
        began = time.monotonic()
        try:
            self._cluster.until("well again", self._well, self._bound)
        except TimeoutError as error:
            self._ledger.violate(f"well {self._bound:.0f} s after the last fault", str(error))
            return
        self._recoveries.append(time.monotonic() - began)
        self._ledger.note("well", after=round(self._recoveries[-1], 3))
        self._turn_registers()
        if last:
            self._finish_clients()
        self._inspector.check()
        with self._ledger.held():
            nodes = len(self._cluster.addresses)
            seen = self._inspector.digests(nodes, EQUAL_SECONDS)
        if seen < nodes:
            detail = f"only {seen} of {nodes} were seen at one index in {EQUAL_SECONDS:.0f} s"
            self._ledger.violate("replicas catch up", detail)

    def _well(self) -> bool:
        """Whether every node answers, knows a leader and reports, and one PRIMARY acts; raises
        OSError if a node does not answer. (A node that has just died still counts as alive.)"""
        self._report_progress()
        ready = [self._cluster.ask(node, "/readyz")["ok"] for node in self._cluster.addresses]
        nodes = self._cluster.nodes().values()
        acting = [n["id"] for n in nodes if n["role"] == n["effective_role"] == "PRIMARY"]
        heard = all(n["alive"] and n["effective_role"] for n in nodes)
        if not (all(ready) and heard and len(acting) == 1):
            return False
        return bool(self._cluster.ask(acting[0], "/primary")["ok"])

    def _finish_clients(self) -> None:
        self._closing.set()
        deadline = time.monotonic() + FINISH_SECONDS
        for client in self._clients:
            client.join(max(0.0, deadline - time.monotonic()))
            if client.is_alive():
                detail = f"{client.name} waits for one still, {FINISH_SECONDS:.0f} s into the calm"
                self._ledger.violate("every call gets an answer", detail)

    def _turn_registers(self) -> None:
        self._ledger.open_registers(self._draw.sample(sorted(self._cluster.addresses), REGISTERS))

    def _seated(self) -> str | None:
        answers = self._watch.answers
        return answers[-1].node if answers else None

    def _report_progress(self) -> None:
        self._progress(time.monotonic() - self._began, dict(self._ledger.counts))

    def _report(self, before: dict[str, Any]) -> Report:
        ended = time.monotonic()
        try:
            after = self._cluster.anyone("/v1/cluster")
        except OSError:
            after = before
        seats = [view["primary"]["epoch"] for view in (before, after) if view["primary"]]
        return Report(
            plan=self._plan,
            seconds=ended - self._began,
            counts=dict(self._ledger.counts),
            seat_changes=max(seats, default=0) - min(seats, default=0),
            terms=after["term"] - before["term"],
            longest_gap=longest_gap(self._watch.answers, self._began, ended),
            recoveries=self._recoveries,
            checks=self._inspector.checks,
            registers=self._inspector.judged,
            undecided=self._inspector.undecided,
            decisions=self._inspector.newest,
            compared=self._inspector.compared,
            violations=list(self._ledger.violations),
        )
