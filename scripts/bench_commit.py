#!/usr/bin/env python3
"""Acknowledged commands per second and latency on 3 nodes: ours against stock PySyncObj.

Both run as three processes on loopback. The load is generated inside the leader's process:
N commands of the same size in flight, each acknowledged command proposes the next. Ours has
fsync on; stock has its journal file (it never syncs) and its own transport, in both batch modes.
`run()` returns the figures; `main()` prints them.
"""

# ruff: noqa: PLC0415  (the measured systems are imported by their own processes only)

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
IN_FLIGHT = (1, 16, 256)
COMMAND_BYTES = 100
SYSTEMS = ("ours", "stock-batch", "stock-nobatch")
WITH_TLS = "ours-tls"
NODES = 3
MAX_WAIT = 20.0
MAX_STALLS = 5
"""Stock may lose a callback when its leader changes (hazard L7); such a run is measured anew."""


class Load:
    """Keeps N commands in flight for some seconds, through `propose(data, acknowledged)`."""

    def __init__(self, propose: Callable[[bytes, Callable[[bool], None]], None]) -> None:
        self._propose = propose
        self._latencies: list[float] = []
        self._open = 0
        self.finished: Callable[[dict[str, Any]], None] = lambda _: None

    def start(self, in_flight: int, seconds: float) -> None:
        self._latencies = []
        self._begin, self._spent = time.perf_counter(), time.process_time()
        self._end = self._begin + seconds
        for _ in range(in_flight):
            self._next()

    def _next(self) -> None:
        sent = time.perf_counter()
        self._open += 1
        self._propose(b"x" * COMMAND_BYTES, lambda ok: self._answered(sent, ok))

    def _answered(self, sent: float, acknowledged: bool) -> None:
        now = time.perf_counter()
        self._open -= 1
        if not acknowledged:
            raise RuntimeError("a command was refused: the figures would mean nothing")
        self._latencies.append(now - sent)
        if now < self._end:
            self._next()
        elif self._open == 0:
            self.finished(self._figures(now - self._begin))

    def _figures(self, elapsed: float) -> dict[str, Any]:
        ordered = sorted(self._latencies)
        count = len(ordered)
        return {
            "per_second": count / elapsed,
            "p50_ms": 1000 * ordered[count // 2],
            "p99_ms": 1000 * ordered[min(count - 1, count * 99 // 100)],
            # Of the leader and its load; other than a rate it is not slower beside other work.
            "cpu_us": 1e6 * (time.process_time() - self._spent) / count,
        }


# -- one member, as a process: commands on stdin, answers on stdout, one JSON line each ---------


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


async def commands() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    return reader


async def ours(name: str, peers: dict[str, str], directory: Path, *, tls: bool) -> None:
    """Our whole stack below the node's loop: links, Raft, journal with fsync."""
    from scripts.tls_echo import contexts_of
    from stationkeep.cluster.apply import Applied, Done
    from stationkeep.node.peers.network import PeerNetwork
    from stationkeep.node.ports import Committed, Host
    from stationkeep.node.raft import Journal, Raft, SnapshotStore, Timings
    from stationkeep.node.system import garbage

    class Nothing:
        """A state machine that does the least."""

        _done = Applied(Done())

        def admits(self, draft: bytes) -> bool:
            return True

        def stamp(self, draft: bytes) -> bytes:
            return draft

        def check(self, entry: bytes) -> None: ...

        def took_office(self) -> None:
            say(leader=name)

        def apply(self, entry: bytes, index: int) -> Applied:
            return self._done

        def members(self) -> None: ...

        def configured(self, voters: tuple[str, ...], learners: tuple[str, ...]) -> bytes:
            return b""

        def snapshot(self) -> bytes:
            return b""

        def prepare(self, snapshot: bytes) -> Callable[[], None]:
            raise AssertionError("nobody is that far behind here")

    class SystemClock:
        monotonic = staticmethod(time.monotonic)

        def wall(self) -> int:
            return time.time_ns() // 1_000_000

    loop = asyncio.get_running_loop()
    machine = Nothing()
    network = PeerNetwork(
        node_id=name,
        cluster="bench",
        listen=peers[name],
        peers=peers,
        tls=contexts_of(directory.parent / "tls", name) if tls else None,
    )
    journal = Journal(directory, cluster="bench", node=name)
    turning = Turning(loop)
    raft = Raft(
        node_id=name,
        members=peers,
        host=Host(SystemClock(), network, turning.wake),
        machine=machine,
        journal=journal,
        snapshots=SnapshotStore(
            directory,
            cluster="bench",
            encode_state=machine.snapshot,
            submit=lambda work: loop.run_in_executor(None, work),
        ),
        timings=Timings(),
    )
    turning.raft = raft
    network.subscribe(raft.receive, raft.connected, raft.disconnected)
    await network.start()
    garbage.tune()
    turning.wake()

    def propose(data: bytes, answered: Callable[[bool], None]) -> None:
        raft.propose(data, lambda result: answered(type(result) is Committed), 30.0)

    load = Load(propose)
    load.finished = lambda figures: say(figures=figures)
    reader = await commands()
    while line := await reader.readline():
        order = json.loads(line)
        load.start(order["in_flight"], order["seconds"])
    await network.close()
    raft.close()


class Turning:
    """The least loop around `Raft.turn`: once per loop iteration when woken, else on time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._soon = False
        self._timer: asyncio.TimerHandle | None = None
        self.raft: Any = None

    def wake(self) -> None:
        if not self._soon:
            self._soon = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._soon = False
        if self.raft is None:
            return
        self.raft.turn()
        wait = self.raft.next_wakeup() - time.monotonic()
        if wait <= 0:
            self.wake()
        else:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_later(wait, self.wake)


def stock(name: str, peers: dict[str, str], directory: Path, batch: bool) -> None:
    """PySyncObj as it comes, with its own transport and journal file."""
    from pysyncobj import FAIL_REASON, SyncObj, SyncObjConf, replicated

    class Stock(SyncObj):
        @replicated
        def put(self, data: bytes) -> None: ...

    directory.mkdir(parents=True, exist_ok=True)
    conf = SyncObjConf(
        journalFile=str(directory / "journal"),
        fullDumpFile=str(directory / "dump"),
        appendEntriesUseBatch=batch,
    )
    node = Stock(peers[name], [a for n, a in peers.items() if n != name], conf)
    while not node._isLeader() and node._getLeader() is None:
        time.sleep(0.05)
    if node._isLeader():
        say(leader=name)

    def propose(data: bytes, answered: Callable[[bool], None]) -> None:
        node.put(data, callback=lambda _, error: answered(error == FAIL_REASON.SUCCESS))

    load = Load(propose)
    load.finished = lambda figures: say(figures=figures)
    for line in sys.stdin:
        order = json.loads(line)
        load.start(order["in_flight"], order["seconds"])
    node.destroy()


def member(system: str, name: str, peers: dict[str, str], directory: Path) -> None:
    if system not in ("ours", WITH_TLS):
        stock(name, peers, directory, batch=system == "stock-batch")
        return
    try:
        import uvloop

        runner = uvloop.run
    except ImportError:
        runner = asyncio.run
    runner(ours(name, peers, directory, tls=system == WITH_TLS))


# -- the measuring process ----------------------------------------------------------------------


def free_addresses() -> dict[str, str]:
    import socket

    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(NODES)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return {f"n{i}": f"127.0.0.1:{port}" for i, port in enumerate(ports, 1)}


def measure(system: str, in_flight: tuple[int, ...], seconds: float) -> dict[int, dict[str, Any]]:
    """One fresh cluster; figures by commands in flight."""
    with tempfile.TemporaryDirectory(prefix="stationkeep-bench-") as directory:
        return asyncio.run(_measure(system, in_flight, seconds, Path(directory)))


async def _measure(
    system: str, in_flight: tuple[int, ...], seconds: float, directory: Path
) -> dict[int, dict[str, Any]]:
    peers = free_addresses()
    if system == WITH_TLS:
        from scripts.tls_echo import certified

        certified(directory / "tls")
    processes = {
        name: await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "scripts.bench_commit", "--member"),
            *(system, name, json.dumps(peers), str(directory / name)), cwd=ROOT,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )
        for name in peers
    }  # fmt: skip
    try:
        leader = await _leader(list(processes.values()))
        figures = {}
        for count in in_flight:
            await _load(leader, count, min(0.5, seconds))  # warm-up
            figures[count] = await _load(leader, count, seconds)
        return figures
    finally:
        for process in processes.values():
            if process.returncode is None:
                process.kill()
        await asyncio.gather(*(process.wait() for process in processes.values()))


async def _leader(processes: list[asyncio.subprocess.Process]) -> asyncio.subprocess.Process:
    """The first process that says that it leads."""
    waiting = {asyncio.create_task(_answer(p, "leader")): p for p in processes}
    done, rest = await asyncio.wait(waiting, timeout=MAX_WAIT, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    if not done:
        raise TimeoutError(f"no leader within {MAX_WAIT:g} s")
    first = done.pop()
    first.result()
    await asyncio.sleep(1.0)  # the others connect and catch up; not part of any figure
    return waiting[first]


async def _load(
    process: asyncio.subprocess.Process, in_flight: int, seconds: float
) -> dict[str, Any]:
    assert process.stdin is not None
    process.stdin.write(json.dumps({"in_flight": in_flight, "seconds": seconds}).encode() + b"\n")
    async with asyncio.timeout(MAX_WAIT + seconds):
        return await _answer(process, "figures")


async def _answer(process: asyncio.subprocess.Process, field: str) -> Any:
    assert process.stdout is not None
    while line := await process.stdout.readline():
        try:
            answer = json.loads(line)
        except ValueError:
            continue
        if isinstance(answer, dict) and field in answer:
            return answer[field]
    raise RuntimeError("a member ended early")


def run(
    repeats: int = 3,
    seconds: float = 3.0,
    in_flight: tuple[int, ...] = IN_FLIGHT,
    systems: tuple[str, ...] = SYSTEMS,
) -> dict[str, Any]:
    """{system: {in_flight: {figure: {median, low, high}}}} and, when all systems ran, `ratios`
    against the better stock mode. Systems take turns, so that all see the same noise."""
    samples: dict[str, dict[int, list[dict[str, Any]]]] = {
        system: {count: [] for count in in_flight} for system in systems
    }
    stalls = dict.fromkeys(systems, 0)
    for _ in range(repeats):
        for system in systems:
            for count, figures in _measure_patiently(system, in_flight, seconds, stalls).items():
                samples[system][count].append(figures)
    result: dict[str, Any] = {
        system: {count: _spread(found) for count, found in by_count.items()}
        for system, by_count in samples.items()
    }
    result["stalls"] = stalls
    if set(SYSTEMS) <= set(systems):
        result["ratios"] = {count: _ratio(result, count) for count in in_flight}
    return result


def _measure_patiently(
    system: str, in_flight: tuple[int, ...], seconds: float, stalls: dict[str, int]
) -> dict[int, dict[str, Any]]:
    """As `measure`; a stock cluster that stops answering is counted and started again."""
    while True:
        try:
            return measure(system, in_flight, seconds)
        except TimeoutError:
            stalls[system] += 1
            if system == "ours" or stalls[system] > MAX_STALLS:
                raise


def _spread(found: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    return {
        name: {
            "median": statistics.median(f[name] for f in found),
            "low": min(f[name] for f in found),
            "high": max(f[name] for f in found),
        }
        for name in found[0]
    }


def _ratio(result: dict[str, Any], count: int) -> dict[str, float]:
    def median(system: str, figure: str) -> float:
        return float(result[system][count][figure]["median"])

    stocks = SYSTEMS[1:]
    return {
        "throughput_over_better_stock": median("ours", "per_second")
        / max(median(s, "per_second") for s in stocks),
        "p50_stock_default_over_ours": median("stock-batch", "p50_ms") / median("ours", "p50_ms"),
        "p50_better_stock_over_ours": min(median(s, "p50_ms") for s in stocks)
        / median("ours", "p50_ms"),
    }


def show(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"3 nodes, {COMMAND_BYTES}-byte commands: medians, and range of commands/s")
    for column in ("in flight", "system", "commands/s", "range", "p50 ms", "p99 ms"):
        table.add_column(column, justify="left" if column == "system" else "right")
    systems = [system for system in (*SYSTEMS, WITH_TLS) if system in result]
    for count in result[systems[0]]:
        for system in systems:
            rate, p50, p99, _ = result[system][count].values()
            table.add_row(
                str(count),
                system,
                f"{rate['median']:,.0f}",
                f"{rate['low']:,.0f} … {rate['high']:,.0f}",
                f"{p50['median']:.2f}",
                f"{p99['median']:.2f}",
            )
        table.add_section()
    console = Console(width=120)
    console.print(table)
    stalled = {system: count for system, count in result["stalls"].items() if count}
    if stalled:
        console.print(f"runs that stopped answering and were measured anew: {stalled}")
    for count, ratios in result.get("ratios", {}).items():
        shown = ", ".join(f"{name} {value:.1f}" for name, value in ratios.items())
        console.print(f"{count} in flight: {shown}")


def main() -> None:
    if sys.argv[1:2] == ["--member"]:
        system, name, peers, directory = sys.argv[2:]
        member(system, name, json.loads(peers), Path(directory))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--systems", nargs="+", choices=(*SYSTEMS, WITH_TLS), default=SYSTEMS)
    parser.add_argument("--json", action="store_true", help="print figures instead of a table")
    options = parser.parse_args()
    result = run(options.repeats, options.seconds, systems=tuple(options.systems))
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        show(result)


if __name__ == "__main__":
    main()
