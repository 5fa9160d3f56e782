"""`up`, `down`, `kill`, `start`: a cluster of processes on this machine; `watch`: the live view."""

import enum
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from stationkeep.cluster.settings import PROFILES, Settings
from stationkeep.node.cli.failures import CommandError, UsageError
from stationkeep.node.cli.options import DEFAULT_DATA_DIR, DataDirOption, UrlOption
from stationkeep.node.cli.output import note, say
from stationkeep.node.cli.readiness import await_devices, await_node, await_primary, await_roles
from stationkeep.node.local.cluster import LocalCluster
from stationkeep.node.local.manifest import Manifest, Plan


class Profile(enum.StrEnum):
    """Sets of timings; `demo` is quick enough to watch."""

    DEMO = "demo"
    GROUND = "ground"
    LAN = "lan"
    ORBIT = "orbit"


class Signal(enum.StrEnum):
    """Signals that `kill` can send."""

    KILL = "KILL"
    STOP = "STOP"
    CONT = "CONT"
    TERM = "TERM"


LocalNode = Annotated[str, typer.Argument(metavar="NODE", help="Node id, such as sat-003.")]


def up(
    *,
    nodes: Annotated[int | None, typer.Option("--nodes", help="Default: 5.")] = None,
    devices: Annotated[
        int, typer.Option("--devices", min=0, max=5_000, help="Simulated devices; 0: none.")
    ] = 12,
    profile: Annotated[Profile | None, typer.Option("--profile", help="Default: demo.")] = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    base_port: Annotated[
        int | None, typer.Option("--base-port", help="First Raft port. Default: 7701.")
    ] = None,
    http_port: Annotated[
        int | None, typer.Option("--http-port", help="First HTTP port. Default: 8701.")
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Leave the nodes running and return.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Delete the previous cluster's data first.")
    ] = False,
    host_sensors: Annotated[
        bool,
        typer.Option("--host-sensors", help="Also use this machine's sensors (the same for all)."),
    ] = False,
    health_replay: Annotated[
        list[str] | None,
        typer.Option("--health-replay", help="NODE=FILE.csv: recorded health. Repeatable."),
    ] = None,
    replay_speed: Annotated[
        float | None,
        typer.Option("--replay-speed", min=0.001, help="Recorded seconds per second."),
    ] = None,
) -> None:
    """Starts a cluster on this machine, waits for a PRIMARY, and shows the live view.

    Ctrl-C stops everything that it started. Data of an earlier run is used again.
    """
    if replay_speed is not None and not health_replay:
        raise UsageError("--replay-speed needs --health-replay")
    plan = Plan(
        nodes=nodes,
        profile=None if profile is None else profile.value,
        base_port=base_port,
        http_port=http_port,
        host_sensors=host_sensors,
        replays=_replays(health_replay or []),
        replay_speed=replay_speed,
        devices=devices,
    )
    cluster = LocalCluster(data_dir)
    with _stopping_on_signals():
        manifest = cluster.up(plan, fresh=fresh)
        try:
            note(
                f"started {len(manifest.nodes)} nodes and {devices} simulated devices, "
                f"profile {manifest.profile}, data in {cluster.data_dir}"
            )
            settings = PROFILES[manifest.profile]
            await_primary(cluster, manifest, _patience(settings))
            await_devices(cluster, manifest)
            if detach:
                await_roles(cluster, manifest, settings)
                _farewell(manifest, data_dir)
                return
            note(f"dashboard: {next(iter(manifest.nodes.values())).url}/")
            _foreground(cluster, manifest)
        except BaseException:  # Ctrl-C above all: no process is left behind
            _take_down(cluster)
            raise
        _take_down(cluster)


def down(data_dir: DataDirOption = DEFAULT_DATA_DIR) -> None:
    """Stops all nodes of the local cluster, and its devices; the data is kept."""
    ends = LocalCluster(data_dir).down()
    for node, end in ends.items():
        say(f"{node}: {end}")
    if any(end.startswith("STILL") for end in ends.values()):
        raise CommandError("not everything could be stopped")


def kill(
    node: LocalNode,
    sig: Annotated[
        Signal, typer.Option("--signal", help="STOP freezes the node, CONT resumes it.")
    ] = Signal.KILL,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Sends a signal to one node of the local cluster, KILL by default."""
    signum = signal.Signals[f"SIG{sig.value}"]
    if not LocalCluster(data_dir).kill(node, signum):
        raise CommandError(f"{node} got SIG{sig.value} and still runs")
    verbs = {"KILL": "killed", "TERM": "stopped cleanly", "STOP": "frozen", "CONT": "resumed"}
    say(f"{node}: {verbs[sig.value]}")


def start(node: LocalNode, data_dir: DataDirOption = DEFAULT_DATA_DIR) -> None:
    """Starts one node of the local cluster again."""
    cluster = LocalCluster(data_dir)
    record = cluster.start(node)
    await_node(cluster, node, record)
    say(f"{node}: running (pid {record.pid}), {record.url}")


def watch(
    url: UrlOption = None,
    once: Annotated[bool, typer.Option("--once", help="Print one frame and exit.")] = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Shows roles, risks, leases, votes and decisions, live. Switches nodes if one fails."""
    from stationkeep.node.cli import watch as live  # noqa: PLC0415

    live.run(live.starting_points(url, data_dir), once=once)


def _replays(texts: list[str]) -> dict[str, Path]:
    replays = {}
    for text in texts:
        node, equals, file = text.partition("=")
        if not equals or not node or not file:
            raise UsageError(f"--health-replay {text}: must have the form NODE=FILE.csv")
        if not Path(file).is_file():
            raise UsageError(f"--health-replay {text}: no such file: {file}")
        replays[node] = Path(file)
    return replays


def _patience(settings: Settings) -> float:
    """Seconds within which a healthy cluster must have a PRIMARY.

    An election, one evaluation_interval of collecting reports, two evaluations, and a vote; plus
    half a minute for a slow machine to start the processes.
    """
    rounds = 4 * settings.evaluation_interval + settings.proposal_timeout
    return (rounds + 2 * settings.election_timeout_max) / 1_000 + 30


def _foreground(cluster: LocalCluster, manifest: Manifest) -> None:
    """Shows the live view until Ctrl-C; without a terminal prints one frame and waits."""
    from stationkeep.node.cli import watch as live  # noqa: PLC0415

    addresses = [record.url for record in manifest.nodes.values()]
    if sys.stdout.isatty():
        live.run(addresses, once=False, on_tick=cluster.reap)
        return
    live.run(addresses, once=True)
    note("running; Ctrl-C or SIGTERM stops all nodes")
    while cluster.running():
        time.sleep(0.5)
    note("every node has ended")


def _farewell(manifest: Manifest, data_dir: Path) -> None:
    from stationkeep.node.cli.commands import cluster  # noqa: PLC0415

    first = next(iter(manifest.nodes.values()))
    cluster.status(url=first.url)
    me = _command()
    where = "" if data_dir == DEFAULT_DATA_DIR else f" --data-dir {data_dir}"
    say(
        f"\nTry next:\n"
        f"  {me} watch{where}            live view\n"
        f"  {me} kill NODE{where}        kill -9: try the PRIMARY and watch the failover\n"
        f"  {me} explain NODE     why it has its role\n"
        f"  {me} start NODE{where}       start it again\n"
        f"{_fleet_hints(manifest, me)}"
        f"  {me} down{where}             stop all nodes\n"
        f"Dashboard: {first.url}/   Guide: {first.url}/guide/   REST: {first.url}/docs"
    )


def _fleet_hints(manifest: Manifest, me: str) -> str:
    if manifest.devices is None:
        return ""
    first = f"device-{1:0{max(3, len(str(manifest.devices.count)))}d}"
    return (
        f"  {me} devices list     the simulated devices and their rings\n"
        f"  {me} agent --id {first} --pretend cpu=95 --pretend-for 20s\n"
        f"  {me} devices history {first}    where it was moved while it was unhealthy, and why\n"
        f"  {me} tasks submit 2.0.0 --all --wait    have them install a version\n"
    )


def _command() -> str:
    """How to run this command from here: its name if that is on the PATH, else its path."""
    if shutil.which("stationkeep"):
        return "stationkeep"
    script = Path(sys.argv[0]).absolute()
    if script.name == "__main__.py":
        return f"{sys.executable} -m stationkeep"
    return str(script.relative_to(Path.cwd()) if script.is_relative_to(Path.cwd()) else script)


def _take_down(cluster: LocalCluster) -> None:
    """Stops all nodes. Further signals are ignored meanwhile: it takes a bounded time."""
    previous = {s: signal.signal(s, signal.SIG_IGN) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        note("stopping all nodes and devices …")
        ends = cluster.down()
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
    odd = {node: end for node, end in ends.items() if end not in {"stopped", "was not running"}}
    note("stopped" + "".join(f"\n  {node}: {end}" for node, end in odd.items()))


@contextmanager
def _stopping_on_signals() -> Iterator[None]:
    """Makes SIGTERM and SIGHUP act like Ctrl-C, so that `up` stops what it started."""

    def interrupt(_signum: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous: dict[signal.Signals, Any] = {
        s: signal.signal(s, interrupt) for s in (signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
