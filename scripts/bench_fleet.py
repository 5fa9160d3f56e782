"""The pure core of the fleet: planning, applying, snapshots, memory. Run through scripts/bench.

Times are CPU seconds of this process, the least of several runs: what the work costs, whatever
else the machine is doing. Stalls are wall time, since that is what a loop feels.
"""

import gc
import itertools
import sys
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from stationkeep.cluster.apply import Done, apply
from stationkeep.cluster.commands import (
    MAX_BATCH,
    Draft,
    Entry,
    FoundCluster,
    MemberSpec,
    RecordRebalance,
    RegisterDevices,
    Registration,
    ReportDevices,
    SetRingPolicies,
)
from stationkeep.cluster.devices.fleet import Fleet, Pin
from stationkeep.cluster.devices.moves import MOVE, MoveReason
from stationkeep.cluster.devices.policies import RingPolicy
from stationkeep.cluster.devices.rings import UNSET, Ring
from stationkeep.cluster.devices.shares import Shares
from stationkeep.cluster.devices.status import Reading
from stationkeep.cluster.devices.table import COLUMNS, NEVER, Kind, Texts
from stationkeep.cluster.fleet.rebalance import plan_rebalance
from stationkeep.cluster.levels import HIGHEST
from stationkeep.cluster.settings import PROFILES, Settings, merge
from stationkeep.cluster.state import codec
from stationkeep.cluster.state.state import ClusterState
from stationkeep.node.raft.storage.snapshot_file import Snapshot, pieces, read_snapshot, write_file
from stationkeep.node.replica import Replica
from stationkeep.node.system.clock import SystemClock

NOW = 10_000_000
ORBIT = PROFILES["orbit"]
READING = Reading(80, False, 2_000, 3_000, 4_000)
POLICIES = (
    RingPolicy("beta", "channel=beta", (Ring.CANARY, Ring.DEV)),
    RingPolicy("kiosk", "model in (Kiosk 1, Kiosk 2)", (Ring.STAGE, Ring.PROD)),
    RingPolicy("new-os", "os=Android 15", (), (50, 30, 15, 5)),
    RingPolicy("vip", "channel=vip", (Ring.PROD,)),
)
_MODELS = ("Pixel 8", "Pixel 9", "Galaxy S24", "Kiosk 1", "Kiosk 2")
_CHANNELS = ("stable", "stable", "stable", "beta", "vip")


def founded(settings: Settings = ORBIT) -> ClusterState:
    """A cluster of one node, ready for devices."""
    state = ClusterState()
    members = (MemberSpec("sat-001", "127.0.0.1:1", "127.0.0.1:2"),)
    _apply(state, FoundCluster("bench", members, settings, HIGHEST, "0", "0" * 16))
    return state


def populated(count: int, unhealthy: float = 0.05, seed: int = 1) -> ClusterState:
    """So many devices, as if they had registered long ago: shares 5/10/25/60, caps, policies,
    pins, 2 % offline, a quarter that moved lately, and a fifth of PROD missing."""
    state = founded()
    fleet, draw = state.fleet, np.random.default_rng(seed)
    fleet.shares = Shares((5, 10, 25, 60), (0, count // 8, 0, 0), POLICIES)
    fleet.nodes = ["sat-001"]
    kinds = [
        Kind(os, app, (), (("channel", channel), ("model", model)))
        for os in ("Android 14", "Android 15")
        for app in ("1.0.0", "1.1.0", "2.0.0")
        for channel in _CHANNELS
        for model in _MODELS
    ]
    table = fleet.table
    table.grow(count)
    table.used = table.births = count
    ids = [f"device-{n:07d}" for n in range(count)]
    table.ids, table.names = Texts(ids), Texts([""] * count)
    table.rows = {device: row for row, device in enumerate(ids)}
    table.kind[:count] = [
        table.kinds.take(kinds[n]) for n in draw.integers(len(kinds), size=count).tolist()
    ]
    table.birth[:count] = np.arange(1, count + 1)
    table.revision[:count] = table.session[:count] = table.sequence[:count] = 1
    table.ring[:count] = np.array([0, 1, 1, 2, 2, 2, 3, 3, 3, 3])[draw.integers(10, size=count)]
    table.home[:count] = UNSET
    sick = draw.random(count) < unhealthy
    table.healthy[:count], table.bits[:count], table.known[:count] = (
        ~sick,
        np.where(sick, 0, 255),
        8,
    )
    table.home[:count][sick & (table.ring[:count] < 2)] = 3
    table.online[:count] = draw.random(count) > 0.02
    table.turned_at[:count] = np.where(draw.random(count) < 0.9, NEVER, NOW - 200_000)
    table.ring_since[:count] = np.where(draw.random(count) < 0.75, 1_000, NOW - 1_000)
    table.ring_since[:count] += draw.integers(0, 1_000_000, size=count)
    table.seen_at[:count] = table.updated_at[:count] = NOW - 5_000
    table.lot[:count] = draw.integers(1 << 32, size=count, dtype=np.uint32)
    table.battery[:count], table.cpu[:count], table.memory[:count] = 80, 2_000, 3_000
    for row in draw.choice(count, count // 1_000, replace=False).tolist():
        fleet.pins[row] = Pin("ann", "", NOW, None)
        table.pinned[row] = True
        table.reason[row] = MoveReason.PINNED.code
    table.count(np.arange(count), 1)
    fleet.regroup()
    moves = np.zeros(count, MOVE)
    moves["row"], moves["birth"], moves["origin"] = np.arange(count), table.birth[:count], UNSET
    moves["target"] = table.ring[:count]
    fleet.moves.add(moves[-262_144:])
    state.time = NOW
    return state


def _apply(state: ClusterState, command: Any) -> dict[str, Any]:
    applied = apply(state, Entry(state.time, 0, Draft(command)), state.index + 1)
    assert isinstance(applied.outcome, Done), applied.outcome
    return applied.outcome.result


def _least(work: Callable[[], object], runs: int) -> float:
    """CPU seconds of the quickest run."""
    taken = []
    for _ in range(runs):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return min(taken)


def plans(count: int, runs: int) -> dict[str, float]:
    """A whole check's plan by mode of redistribution, and the copy of the columns before it."""
    fleet = populated(count).fleet
    view = fleet.view()
    taken: dict[str, float] = {}
    for mode in ("budget", "rotate", "random"):
        settings = merge(ORBIT, {"redistribution": mode})
        draw = np.random.default_rng(7)
        taken[mode] = _least(lambda s=settings, d=draw: plan_rebalance(view, s, NOW, d), runs)
    return {
        "devices": float(count),
        **{f"{mode}_ms": took * 1e3 for mode, took in taken.items()},
        "ns_a_device": max(taken.values()) / count * 1e9,
        "copy_ms": _least(fleet.view, runs) * 1e3,
    }


def batch(fleet: Fleet, rows: np.ndarray[Any, Any], sequence: int, bits: int) -> ReportDevices:
    """A status of each of these rows, as a node flushes them."""
    count, draw = len(rows), np.random.default_rng(sequence)
    rows = np.sort(rows)

    def figures(most: int, dtype: str) -> bytes:
        return draw.integers(most, size=count).astype(dtype).tobytes()

    return ReportDevices(
        "sat-001",
        rows.astype("<u4").tobytes(),
        fleet.table.birth[rows].astype("<u4").tobytes(),
        fleet.table.session[rows].astype("<u4").tobytes(),
        np.full(count, sequence, "<u4").tobytes(),
        figures(100, "u1"),
        figures(2, "u1"),
        figures(8_000, "<u2"),
        figures(8_000, "<u2"),
        figures(8_000, "<u2"),
        np.full(count, bits, "u1").tobytes(),
        np.ones(count, "u1").tobytes(),
    )


def applies(statuses: int = 10_000, count: int = 1_000_000) -> dict[str, float]:
    """ms to apply statuses spread over a fleet (decoding the entry included), and the rest."""
    state = populated(count)
    draw, sequence = np.random.default_rng(3), 1
    state.time = NOW + 1

    def flush(bits: int) -> float:
        nonlocal sequence
        sequence += 1
        rows = draw.choice(count, statuses, replace=False)
        parts = [rows[:MAX_BATCH], rows[MAX_BATCH:]]
        entries = [
            codec.stamp(
                state.time, 0, codec.encode_draft(Draft(batch(state.fleet, p, sequence, bits)))
            )
            for p in parts
        ]
        began = time.process_time()
        for entry in entries:
            apply(state, codec.decode_entry(entry), state.index + 1)
        return time.process_time() - began

    figures = {"statuses": float(statuses)}
    figures["healthy_ms"] = min(flush(1) for _ in range(20)) * 1e3
    figures["mixed_ms"] = min(flush(n % 2) for n in range(20)) * 1e3
    plan = plan_rebalance(state.fleet.view(), ORBIT, state.time, draw)
    part = slice(0, MAX_BATCH)
    command = RecordRebalance(
        state.fleet.checks, False, plan.rows[part].tobytes(), plan.revisions[part].tobytes(),
        plan.rings[part].tobytes(), plan.reasons[part].tobytes(),
    )  # fmt: skip
    figures["moves_8192_ms"] = _least(lambda: _apply(state, command), 1) * 1e3
    figures["register_256_ms"] = _registering(state) * 1e3
    turns = itertools.cycle((POLICIES[::-1], POLICIES))
    figures["policies_ms"] = _least(lambda: _apply(state, SetRingPolicies(next(turns))), 4) * 1e3
    return figures


def _registering(state: ClusterState) -> float:
    taken = []
    for n in range(10):
        devices = tuple(
            Registration(
                f"new-{n}-{k}", "Pixel 8 Pro", "Android 14", "1.0.0", {"deployment": "true"},
                {"site": "x"}, 1, 1, READING,
            )
            for k in range(256)
        )  # fmt: skip
        taken.append(_least(lambda d=devices: _apply(state, RegisterDevices("sat-001", d)), 1))
    return min(taken)


class _Pulse:
    """A loop that only wants to be let run: the longest that it was kept waiting, s."""

    def __init__(self) -> None:
        self.worst = 0.0
        self._on = True
        self._thread = threading.Thread(target=self._beat)

    def _beat(self) -> None:
        last = time.perf_counter()
        while self._on:
            time.sleep(0.0005)
            now = time.perf_counter()
            self.worst = max(self.worst, now - last)
            last = now

    def __enter__(self) -> "_Pulse":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._on = False
        self._thread.join()


class _Taken:
    """CPU and wall s of each run of one step, and how long a loop beside it was kept waiting
    (wall time: what the machine does besides is in it, least in the best run)."""

    def __init__(self) -> None:
        self.cpu: list[float] = []
        self.wall: list[float] = []
        self.stalls: list[float] = []

    def __call__(self, work: Callable[[], Any]) -> Any:
        began, clock = time.process_time(), time.perf_counter()
        with _Pulse() as pulse:
            result = work()
        self.cpu.append(time.process_time() - began)
        self.wall.append(time.perf_counter() - clock)
        self.stalls.append(pulse.worst)
        return result


def snapshots(count: int = 1_000_000, runs: int = 5) -> dict[str, float]:
    """A snapshot's whole way. On the loop: freezing, and putting a state that was read in place
    of the former one. On the thread, while a loop beats beside it: making room, encoding into a
    synced file, reading the file. Bytes a device."""
    replica = Replica(SystemClock())
    replica.state = populated(count)
    ids = sum(len(device) + 1 for device in replica.state.fleet.table.rows)
    gc.collect()
    gc.freeze()
    roomy, written, read = _Taken(), _Taken(), _Taken()
    freezes, replaced = [], []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "snapshot"
        for _ in range(runs):
            roomy(replica.make_room)
            began = time.process_time()
            make = replica.frozen()
            freezes.append(time.process_time() - began)
            written(lambda make=make: write_file(file, *pieces(_ABOUT, make())))
            del make
            put = read(lambda: replica.prepare(read_snapshot(file).state))
            began = time.process_time()
            put()
            replaced.append(time.process_time() - began)
            replica._former.clear()
            del put
        size = file.stat().st_size
    return {
        "devices": float(count),
        "cpu_s": min(freezes) + min(written.cpu),
        "wall_s": min(freezes) + min(written.wall),
        "freeze_cpu_ms": min(freezes) * 1e3,
        "freeze_cpu_ms_worst": max(freezes) * 1e3,
        "stall_ms": min(written.stalls) * 1e3,
        "room_stall_ms": min(roomy.stalls) * 1e3,
        "restore_s": min(read.cpu),
        "restore_stall_ms": min(read.stalls) * 1e3,
        "replace_cpu_ms_worst": max(replaced) * 1e3,
        "bytes_a_device": size / count,
        "bytes_a_device_without_names": (size - ids) / count,
    }


_ABOUT = Snapshot("bench", ("sat-001",), (b"", 9, 3), (b"", 10, 3), memoryview(b""))


def memory(count: int = 1_000_000) -> dict[str, float]:
    """Bytes a device that the table takes beside ids and metadata, by what is allocated."""
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    state = populated(count)
    gc.collect()
    whole = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    texts = sum(map(sys.getsizeof, state.fleet.table.rows))
    columns = sum(np.dtype(dtype).itemsize for dtype in COLUMNS.values())
    return {
        "devices": float(count),
        "bytes_a_device": (whole - texts) / count,
        "of_them_columns": float(columns),
        "ids": texts / count,
    }


def run() -> dict[str, dict[str, float]]:
    """All of them."""
    return {
        **{f"fleet_plan_{n}": plans(n, r) for n, r in ((10**4, 20), (10**5, 10), (10**6, 5))},
        "fleet_apply": applies(),
        "fleet_snapshot": snapshots(),
        "fleet_memory": memory(),
    }


if __name__ == "__main__":
    print(msgspec.json.format(msgspec.json.encode(run())).decode())
