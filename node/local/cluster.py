"""A cluster of node processes on this machine, for the commands `up`, `down`, `kill`, `start`.

The data directory contains `cluster.json` (nodes, ports and processes), a configuration file, a log
and a directory for each node, and the log of the simulated devices. A process is identified by its
pid *and* its start time, so that a pid which the system has reused is never signalled. Each process
has its own session: Ctrl-C in the terminal reaches only `up`, which then stops them in order.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from stationkeep.cluster.suggestion import unknown
from stationkeep.node.local.manifest import (
    DEVICES,
    MANIFEST,
    DevicesRecord,
    LocalError,
    Manifest,
    NodeRecord,
    Plan,
    Started,
    config_text,
    read_manifest,
)
from stationkeep.node.system.operator_files import private_directory
from stationkeep.node.system.process import birth, port_holder, send

HOST = "127.0.0.1"
MAX_NODES = 99
NODE_COMMAND = (sys.executable, "-m", "stationkeep")
DEVICE_SPEEDS = {"demo": 4.0}
"""By profile: how fast simulated devices become unhealthy and recover. In `demo` a verdict takes a
second and recovery ten, so half a minute of ill health shows everything."""
TERM_SECONDS = 10.0
"""Within which a process must end after SIGTERM."""
KILL_SECONDS = 5.0
"""Within which a process must end after SIGKILL."""
_PORT_SECONDS = 2.0
"""How long a process that was just killed may still hold its ports."""
_POLL_SECONDS = 0.05
_LOG_TAIL = 8
_NOT_INHERITED = frozenset(
    f"STATIONKEEP_{name}"
    for name in ("URL", "NODE", "CLUSTER", "RAFT", "HTTP", "DATA_DIR", "PROFILE")
)
"""Overrides that would make all nodes the same node, or contradict the files just written."""

_children: dict[tuple[int, str], subprocess.Popen[bytes]] = {}
"""Processes that this one has started and not yet reaped, by pid and birth; nodes may outlive it
(`up --detach`)."""


class LocalCluster:
    """The cluster in one data directory. `command` starts a node; tests use another."""

    def __init__(self, data_dir: Path, command: Iterable[str] | None = None) -> None:
        self.data_dir = data_dir.absolute()
        self._command = NODE_COMMAND if command is None else tuple(command)

    def manifest(self) -> Manifest:
        """The manifest; raises `LocalError` when no cluster was ever brought up here."""
        found = read_manifest(self.data_dir)
        if found is None:
            raise LocalError(f"no local cluster in {self.data_dir}; `stationkeep up` makes one")
        return found

    def running(self) -> list[str]:
        """Ids of the nodes whose processes are running."""
        self.reap()
        found = read_manifest(self.data_dir)
        return [] if found is None else [n for n, r in found.nodes.items() if r.running]

    def up(self, plan: Plan, *, fresh: bool = False) -> Manifest:
        """Writes configurations and starts every node; all or nothing.

        Raises `LocalError` when the cluster is already running, when the plan does not fit its
        data, or when a port is taken.
        """
        with self._locked():
            manifest = self._prepare(plan, fresh)
            taken = _taken_ports(manifest.nodes)
            if taken:
                raise LocalError("ports are taken:\n  " + "\n  ".join(taken))
            self._write_configs(manifest, plan)
            try:
                for record in manifest.nodes.values():
                    self._spawn_node(record)
                if manifest.devices is not None:
                    self._spawn_devices(manifest, manifest.devices)
            except OSError as error:
                self._stop(manifest.processes, TERM_SECONDS)
                raise LocalError(f"cannot start a node: {error}") from error
            finally:
                self._write(manifest)
        return manifest

    def start(self, node: str) -> NodeRecord:
        """Starts one node again, with the same arguments."""
        _record(self.manifest(), node)
        with self._locked():
            manifest = self.manifest()
            record = _record(manifest, node)
            if record.running:
                raise LocalError(
                    f"{node} runs already (pid {record.pid}); if it is stopped, "
                    f"`stationkeep kill {node} --signal CONT` wakes it"
                )
            taken = _taken_ports({node: record})
            freed = time.monotonic() + _PORT_SECONDS
            while taken and time.monotonic() < freed:
                time.sleep(_POLL_SECONDS)
                taken = _taken_ports({node: record})
            if taken:
                raise LocalError("ports are taken:\n  " + "\n  ".join(taken))
            self._spawn_node(record)
            self._write(manifest)
        return record

    def kill(self, node: str, signum: signal.Signals, seconds: float = TERM_SECONDS) -> bool:
        """Signals one node; after KILL and TERM waits until it is gone. False: it still runs."""
        record = _record(self.manifest(), node)
        if not _send(record, signum):
            raise LocalError(f"{node} does not run; `stationkeep start {node}` starts it")
        if signum not in {signal.SIGKILL, signal.SIGTERM}:
            return True
        return self._await_gone([record], seconds)

    def down(self, seconds: float = TERM_SECONDS) -> dict[str, str]:
        """Stops the devices and every node: SIGTERM, then SIGKILL for what still runs `seconds`
        later.

        Returns how each node, and `devices`, ended: `stopped`, `killed`, or `was not running`.
        """
        self.manifest()  # raises before a lock is created where there is no cluster
        with self._locked():
            manifest = self.manifest()
            ends = self._stop(manifest.processes, seconds)
            self._write(manifest)
        return ends

    def log_tail(self, node: str) -> str:
        """The last lines of the log of a node, or of the devices, indented."""
        path = self.log_of(node)
        try:
            lines = path.read_bytes()[-8_192:].decode(errors="replace").splitlines()
        except OSError as error:
            return f"    ({path}: {error.strerror})"
        return "\n".join(f"    {line}" for line in lines[-_LOG_TAIL:])

    def log_of(self, node: str) -> Path:
        """Where a node, or the devices, write their log."""
        manifest = self.manifest()
        fleet = manifest.devices if node == DEVICES else None
        return Path((fleet or _record(manifest, node)).log)

    def reap(self) -> None:
        """Reaps our own children that have exited, so that none stays a zombie."""
        for key, child in tuple(_children.items()):
            if child.poll() is not None:
                _children.pop(key, None)

    def _prepare(self, plan: Plan, fresh: bool) -> Manifest:
        """The manifest to bring up: the one in the data directory, or a new one."""
        old = read_manifest(self.data_dir)
        if old is not None:
            alive = [node for node, record in old.nodes.items() if record.running]
            if alive:
                raise LocalError(
                    f"already up: {', '.join(alive)} of {old.cluster} run from {self.data_dir}; "
                    "`stationkeep down` stops them, `stationkeep start NODE` starts one again"
                )
            if not fresh:
                _same_shape(old, plan, self.data_dir)
            self._stop(old.processes, TERM_SECONDS)  # the devices may still run
            if fresh:
                self._remove(old)
        manifest = self._new_manifest(plan) if old is None or fresh else old
        _set_arguments(manifest, plan)
        log = str(self.data_dir / "devices.log")
        manifest.devices = DevicesRecord(plan.devices, log) if plan.devices else None
        return manifest

    def _new_manifest(self, plan: Plan) -> Manifest:
        count = 5 if plan.nodes is None else plan.nodes
        raft = 7_701 if plan.base_port is None else plan.base_port
        http = 8_701 if plan.http_port is None else plan.http_port
        if not 1 <= count <= MAX_NODES:
            raise LocalError(f"--nodes {count}: must lie between 1 and {MAX_NODES}")
        for option, port in (("--base-port", raft), ("--http-port", http)):
            if not 1 <= port <= 65_536 - count:
                raise LocalError(f"{option} {port}: {count} ports from there must lie in 1..65535")
        if abs(raft - http) < count:
            raise LocalError(
                f"--base-port {raft} and --http-port {http}: the two ranges of {count} overlap"
            )
        nodes = {}
        for number in range(count):
            node = f"sat-{number + 1:03d}"
            nodes[node] = NodeRecord(
                raft=f"{HOST}:{raft + number}",
                http=f"{HOST}:{http + number}",
                config=str(self.data_dir / f"{node}.yaml"),
                data_dir=str(self.data_dir / node),
                log=str(self.data_dir / f"{node}.log"),
            )
        return Manifest("stationkeep-local", plan.profile or "demo", raft, http, nodes)

    def _remove(self, old: Manifest) -> None:
        """Deletes the files of the cluster `old`, and nothing else in the directory."""
        for record in old.nodes.values():
            shutil.rmtree(record.data_dir, ignore_errors=True)
            for path in (record.config, record.log):
                Path(path).unlink(missing_ok=True)
        if old.devices is not None:
            Path(old.devices.log).unlink(missing_ok=True)
        (self.data_dir / MANIFEST).unlink(missing_ok=True)

    def _write_configs(self, manifest: Manifest, plan: Plan) -> None:
        """Writes missing configuration files. Existing ones are kept: they may have been edited."""
        for node, record in manifest.nodes.items():
            path = Path(record.config)
            if not path.exists():
                path.write_text(
                    config_text(manifest, node, host_sensors=plan.host_sensors, tls=plan.tls)
                )

    def _spawn_node(self, record: NodeRecord) -> None:
        self._spawn(record, ["node", "run", "--config", record.config, *record.arguments])

    def _spawn_devices(self, manifest: Manifest, record: DevicesRecord) -> None:
        argv = ["devices", "simulate", "--count", str(record.count)]
        argv += ["--speed", str(DEVICE_SPEEDS.get(manifest.profile, 1.0))]
        for node in manifest.nodes.values():
            argv += ["--url", node.url]
        self._spawn(record, argv)

    def _spawn(self, record: Started, arguments: list[str]) -> None:
        argv = [*self._command, *arguments]
        env = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
        with Path(record.log).open("ab") as log:
            child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,
            )
        record.pid, record.birth = child.pid, birth(child.pid) or ""
        _children[record.pid, record.birth] = child

    def _stop(self, processes: Mapping[str, Started], seconds: float) -> dict[str, str]:
        ends = dict.fromkeys(processes, "was not running")
        for name, record in processes.items():
            if _send(record, signal.SIGTERM):
                _send(record, signal.SIGCONT)  # a stopped process would never see the TERM
                ends[name] = "stopped"
        if not self._await_gone(processes.values(), seconds):
            for name, record in processes.items():
                if _send(record, signal.SIGKILL):
                    ends[name] = "killed"
            self._await_gone(processes.values(), KILL_SECONDS)
        for name, record in processes.items():
            if record.running:
                ends[name] = f"STILL RUNS as pid {record.pid}"
            else:
                record.pid, record.birth = 0, ""
        return ends

    def _await_gone(self, records: Iterable[Started], seconds: float) -> bool:
        """Waits until none of them runs, and those of our own are reaped; False if one still does
        after `seconds`."""
        waiting = list(records)
        deadline = time.monotonic() + seconds
        while True:
            self.reap()
            waiting = [r for r in waiting if r.running or (r.pid, r.birth) in _children]
            if not waiting or time.monotonic() >= deadline:
                return not waiting
            time.sleep(_POLL_SECONDS)

    def _write(self, manifest: Manifest) -> None:
        """Replaces the manifest atomically."""
        path = self.data_dir / MANIFEST
        draft = path.with_suffix(".tmp")
        draft.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2))
        draft.replace(path)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Allows one `up`, `start` or `down` at a time: they rewrite the manifest."""
        try:
            private_directory(self.data_dir)
            lock = (self.data_dir / "cluster.lock").open("w")
        except FileExistsError as error:
            rule = "is not a directory; name another --data-dir"
            raise LocalError(f"{self.data_dir} {rule}") from error
        except OSError as error:
            raise LocalError(f"{self.data_dir}: {error.strerror}") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise LocalError(f"another command is using {self.data_dir}") from error
            try:
                yield
            except OSError as error:  # such as a full disk or missing permission
                raise LocalError(str(error)) from error


def _send(record: Started, signum: signal.Signals) -> bool:
    return record.pid > 0 and send(record.pid, record.birth, signum)


def _record(manifest: Manifest, node: str) -> NodeRecord:
    try:
        return manifest.nodes[node]
    except KeyError:
        known = ", ".join(manifest.nodes)
        raise LocalError(f"{unknown('node', node)} in the local cluster ({known})") from None


def _same_shape(old: Manifest, plan: Plan, data_dir: Path) -> None:
    """Refuses options that contradict the data: a cluster keeps its members and addresses."""
    pairs = (
        ("--nodes", plan.nodes, len(old.nodes)),
        ("--profile", plan.profile, old.profile),
        ("--base-port", plan.base_port, old.base_port),
        ("--http-port", plan.http_port, old.http_port),
    )
    for option, wanted, present in pairs:
        if wanted is not None and wanted != present:
            raise LocalError(
                f"{option} {wanted}: {data_dir} has the data of a cluster with {option} {present}; "
                "omit the option, use another --data-dir, or start over with --fresh"
            )


def _set_arguments(manifest: Manifest, plan: Plan) -> None:
    """Sets the command-line arguments of each node."""
    for node in plan.replays:
        _record(manifest, node)
    for node, record in manifest.nodes.items():
        record.arguments = []
        if node in plan.replays:
            record.arguments += ["--health-replay", str(plan.replays[node].absolute())]
            if plan.replay_speed is not None:
                record.arguments += ["--replay-speed", str(plan.replay_speed)]


def _taken_ports(nodes: Mapping[str, NodeRecord]) -> list[str]:
    """Which of their ports are in use, and by which process if that is known."""
    taken = []
    for node, record in nodes.items():
        for what, address, kind in (
            ("Raft", record.raft, socket.SOCK_STREAM),
            ("Raft datagram", record.raft, socket.SOCK_DGRAM),
            ("HTTP", record.http, socket.SOCK_STREAM),
        ):
            host, _, port = address.rpartition(":")
            with socket.socket(type=kind) as probe:
                if kind == socket.SOCK_STREAM:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((host, int(port)))
                except OSError as error:
                    who = port_holder(int(port)) or error.strerror
                    taken.append(f"{address} ({what} port of {node}): {who}")
    return taken
