"""Composition root of one process: puts a node together, starts it, stops it.

Start: ports first (a port in use says so at once), then journal and snapshot (verified before
the engine sees them), then the loop and the HTTP server on one event loop. Stop, at SIGTERM or
SIGINT: refuse writes, hand over Raft leadership, answer what waits, close. A second signal ends
the process at once, which is always safe: everything acknowledged is in the journal.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from stationkeep.cluster.alarms import (
    CA_EXPIRING,
    CERTIFICATE_EXPIRED,
    CERTIFICATE_EXPIRING,
    CERTIFICATE_REJECTED,
    CLOCK_JUMP,
    DISK_LOW,
    IMPLAUSIBLE_NUMBER,
    INSECURE,
    NAME_UNRESOLVED,
)
from stationkeep.cluster.levels import HIGHEST, LOWEST
from stationkeep.cluster.state.codec import CodecError, TooNew
from stationkeep.node.audit import chain
from stationkeep.node.audit.file import AuditFile
from stationkeep.node.config.node_config import NodeConfig
from stationkeep.node.config.tls import TlsConfig
from stationkeep.node.duty import Workbench, proposing
from stationkeep.node.health.measurement import HealthSource
from stationkeep.node.health.replay import HealthReplay, ReplayError, read_recording
from stationkeep.node.health.self_checks import (
    ClockWatch,
    DiskWatch,
    NumberWatch,
    SelfChecked,
    Watch,
)
from stationkeep.node.health.sensors import CommandSensor, HostSensors
from stationkeep.node.hooks.leftovers import Leftovers
from stationkeep.node.hooks.runner import ProcessRunner
from stationkeep.node.loop import NodeLoop
from stationkeep.node.peers.network import LinkError, PeerNetwork
from stationkeep.node.ports import Host
from stationkeep.node.raft import (
    CorruptSnapshot,
    Journal,
    JournalError,
    Raft,
    SnapshotStore,
    Timings,
)
from stationkeep.node.replica import Replica
from stationkeep.node.runtime.ca_follower import MESSAGE as CA_KEY
from stationkeep.node.runtime.ca_follower import CaFollower
from stationkeep.node.runtime.certificates import renewal_of
from stationkeep.node.runtime.driver import Driver
from stationkeep.node.runtime.member_links import MemberLinks
from stationkeep.node.runtime.server import Server, StartError, bind
from stationkeep.node.security.contexts import Contexts
from stationkeep.node.security.local_door import open_local_door
from stationkeep.node.security.renewal import Renewal
from stationkeep.node.service.node_service import NodeService
from stationkeep.node.system import garbage, logs
from stationkeep.node.system.clock import SystemClock
from stationkeep.node.system.printable import printable_lines
from stationkeep.node.system.small_file import SmallFile
from stationkeep.node.webhooks.outward import Outward

if TYPE_CHECKING:
    from stationkeep.node.tracing.watching import Tracing

TOO_NEW = 8
"""The exit code of a node that met what only a newer release can apply."""
HIGHEST_LEVEL = "STATIONKEEP_HIGHEST_LEVEL"
"""Environment variable, for tests alone: makes this release act as an older one."""
HANDOVER = 1.0
"""Seconds for handing over Raft leadership, beyond the longest election timeout."""

log = structlog.get_logger("node")


def run(config: NodeConfig, health_replay: Path | None = None, replay_speed: float = 1.0) -> int:
    """Runs a node until it is told to stop; the process's exit code.

    0: stopped on request. 1: could not start, or a fault stopped it. 5: unusable recording
    or certificate. 8: the log needs a newer release.
    """
    logs.configure(config.node, config.log.level, config.log.format)
    with asyncio.Runner(loop_factory=_event_loop_factory()) as runner:
        try:
            return runner.run(_serve(config, health_replay, replay_speed))
        except ReplayError as error:
            return _refuse(str(error), 5)
        except TooNew as error:
            return _refuse(str(error), TOO_NEW)
        except StartError as error:
            return _refuse(str(error), error.code)
        except (LinkError, JournalError, CorruptSnapshot, CodecError) as error:
            return _refuse(str(error), 1)
        except FileExistsError:
            return _refuse(f"data_dir: {config.data_dir} is no directory; name another", 1)
        except OSError as error:
            return _refuse(f"{error.filename or config.data_dir}: {error.strerror or error}", 1)


def _highest_level() -> int:
    """This release's, or a lower one that it is told to act by."""
    text = os.environ.get(HIGHEST_LEVEL, str(HIGHEST))
    if not (text.isdecimal() and LOWEST <= int(text) <= HIGHEST):
        raise StartError(f"{HIGHEST_LEVEL}: {text!r} refused: from {LOWEST} to {HIGHEST}")
    return int(text)


def _refuse(message: str, code: int) -> int:
    sys.stderr.write(printable_lines(f"stationkeep: {message}\n"))
    return code


def _event_loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's where it exists, else asyncio's own."""
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def _serve(config: NodeConfig, health_replay: Path | None, replay_speed: float) -> int:
    node = Node(config)
    try:
        await node.start(health_replay, replay_speed)
        return await node.serve()
    finally:
        await node.close()


class Node:
    """The parts of one running node, and their life."""

    def __init__(self, config: NodeConfig) -> None:
        self._config = config
        self._clock = SystemClock()
        self._replica = Replica(self._clock, config.settings, _highest_level())
        self._stop = asyncio.Event()
        self._closers = contextlib.AsyncExitStack()
        self._driver = Driver()
        self._hooks = ProcessRunner(
            self._driver.wake, Leftovers(SmallFile(config.data_dir / "running.json"))
        )
        self._probes = ProcessRunner(self._driver.wake)
        self._renewal: Renewal | None = None
        self._ca: CaFollower | None = None
        self._raft: Raft
        self._journal: Journal
        self._audit: AuditFile
        self._stood = 0
        """Log index of the newest entry in the journal at the start."""
        self._links: MemberLinks
        self._loop: NodeLoop
        self._service: NodeService
        self._server: Server
        self._http: socket.socket

    # -- start ----------------------------------------------------------------------------------

    async def start(self, health_replay: Path | None, replay_speed: float) -> None:
        """Everything up to the first turn. Raises what makes a start impossible."""
        config = self._config
        source = self._replay(health_replay, replay_speed)
        self._http = self._closers.enter_context(bind("http", config.http))
        tls = None if config.tls is None else self._opened(config.tls)
        network = PeerNetwork(
            node_id=config.node,
            cluster=config.cluster,
            listen=config.raft,
            peers={member.id: member.raft for member in config.members},
            founds=not config.join,
            tls=tls,
            insecure=config.insecure,
        )
        network.subscribe(self._on_message, self._on_connected, self._on_disconnected)
        # From here to the end nothing yields to the event loop: no message can come too early.
        await network.start()
        self._closers.push_async_callback(network.close)
        planning = ThreadPoolExecutor(1, thread_name_prefix="rebalance")
        host = Host(self._clock, network, self._driver.wake, planning.submit)
        boot = self._open_raft(host)
        if self._journal.uid:
            network.know(self._journal.uid)
        network.removed, network.on_removed = self._raft.removed_at, self._raft.told_removed
        self._links = MemberLinks(network, self._raft, self._journal, self._replica)
        self._closers.push_async_callback(self._hooks.close)
        self._closers.callback(planning.shutdown, cancel_futures=True)
        self._closers.push_async_callback(self._probes.close)
        tracing = self._tracing()
        propose = proposing(self._raft, tracing.watch if tracing else None)
        outward, leaps = Outward(self._driver.wake), ClockWatch(self._clock)
        self._closers.push_async_callback(outward.close)
        bench = Workbench(config.node, host, self._raft, self._replica, propose)
        if self._renewal is not None:
            self._ca = CaFollower(bench, self._renewal, network)
        self._loop = NodeLoop(
            config,
            boot,
            bench,
            source=self._complaining(source or self._sensors(), leaps, network.unresolved),
            leaps=leaps,
            hooks=self._hooks,
            memory=SmallFile(config.data_dir / "enacted.json"),
            poster=outward,
            asker=outward,
        )
        self._service = NodeService(
            self._loop, self._driver.wake, tracing=tracing, raft=self._raft, network=network
        )
        local = open_local_door(config.data_dir) if config.auth == "required" else None
        self._server = Server(self._service, tls, local)
        log.info("started", boot=boot, raft=config.raft, http=config.http, pid=os.getpid())

    def _opened(self, tls: TlsConfig) -> Contexts:
        """The node's certificates, the first issued here if need be; looked after from now on."""
        if "uvloop" not in type(asyncio.get_running_loop()).__module__:
            log.warning("no uvloop here: a TLS connection takes 280 KiB instead of 25")
        self._renewal = renewal_of(self._config, tls)
        self._closers.callback(self._renewal.watch())
        self._renewal.contexts.revoked = lambda: self._replica.state.revoked
        self._renewal.contexts.dropped = lambda: self._replica.state.dropped
        return self._renewal.contexts

    def _open_raft(self, host: Host) -> int:
        """Journal, snapshot, engine; the number of this start."""
        config = self._config
        if config.durability == "os":
            log.warning(
                "durability os: nothing is synced; a power cut loses what was acknowledged, and "
                "this node must then rejoin (stationkeep node rejoin). "
                "See: stationkeep guide backup"
            )
        journal = Journal(
            config.data_dir,
            cluster=config.cluster,
            node=config.node,
            durability=config.durability,
        )
        self._journal = journal
        with contextlib.ExitStack() as undo:
            undo.callback(journal.abandon)  # nothing is written to what cannot be used
            threads = ThreadPoolExecutor(1, thread_name_prefix="snapshot")
            snapshots = SnapshotStore(
                config.data_dir,
                cluster=config.cluster,
                encode_state=self._replica.frozen,
                make_room=self._replica.make_room,
                submit=threads.submit,
            )
            self._audit = AuditFile(config.data_dir / chain.NAME, self._replica, config.node)
            self._raft = Raft(
                node_id=config.node,
                members=[member.id for member in config.members],
                joining=config.join,
                host=host,
                machine=self._replica,
                journal=journal,
                snapshots=snapshots,
                timings=Timings.of(self._replica.settings),
            )
            boot = journal.next_boot(self._clock.wall() // 1_000)
            self._audit.catch_up()
            self._stood = journal[-1][1]
            undo.pop_all()
        self._closers.callback(self._raft.close)
        # First, since with the journal the directory is let go, which a thread may be writing to.
        self._closers.callback(threads.shutdown)
        return boot

    def _replay(self, health_replay: Path | None, speed: float) -> HealthSource | None:
        if health_replay is None:
            return None
        recording = read_recording(health_replay)
        return HealthReplay(recording, speed, self._config.sensors.cpu, self._clock)

    def _sensors(self) -> HealthSource:
        config = self._config.sensors
        command = None
        if config.command:
            command = CommandSensor(config, self._clock, self._probes, self._config.node)
        lags = {
            "loop_lag": self._driver.take_worst_lag,
            "replication_lag": lambda: float(self._raft.commit_index - self._raft.applied_index),
        }
        return HostSensors(
            config, clock=self._clock, data_dir=self._config.data_dir, lags=lags, command=command
        )

    def _tracing(self) -> "Tracing | None":
        """None when it is off; OpenTelemetry's SDK is then not even imported."""
        config = self._config.tracing
        if config is None:
            return None
        from stationkeep.node.tracing.otlp import Exports  # noqa: PLC0415
        from stationkeep.node.tracing.spans import Spans  # noqa: PLC0415
        from stationkeep.node.tracing.watching import Tracing  # noqa: PLC0415

        exports = Exports(config, self._config.cluster, self._config.node)
        self._closers.push_async_callback(exports.close)
        spans = Spans(config.sample_ratio, self._clock, self._raft, exports)
        return Tracing(self._config.node, self._replica, spans, history=self._stood)

    def _complaining(self, source: HealthSource, leaps: Watch, unresolved: Watch) -> HealthSource:
        """Also beside a replayed recording: disk and clock are this node's own, and what it hears
        of others."""
        watches: dict[str, Watch] = {
            DISK_LOW: DiskWatch(self._config.data_dir, self._clock),
            CLOCK_JUMP: leaps,
            IMPLAUSIBLE_NUMBER: NumberWatch(
                self._clock, lambda: (self._raft.implausible, self._loop.gossip.implausible)
            ),
            NAME_UNRESOLVED: unresolved,
        }
        if self._renewal is not None:
            watches |= {
                CERTIFICATE_EXPIRING: self._renewal.expiring,
                CERTIFICATE_EXPIRED: self._renewal.expired,
                CERTIFICATE_REJECTED: self._rejected,
                CA_EXPIRING: self._renewal.ca_expiring,
            }
        if self._config.insecure:
            watches[INSECURE] = lambda: "`insecure: true`: whoever reaches a port may give orders"
        return SelfChecked(source, watches)

    def _rejected(self) -> str | None:
        assert self._renewal is not None
        own = self._renewal.rejected()
        return own if own or self._ca is None else self._ca.rejected()

    def _on_message(self, peer: str, message: dict[str, Any]) -> None:
        kind = message.get("kind")
        if kind == "gossip":
            self._loop.on_message(peer, message)
        elif kind == CA_KEY:
            if self._ca is not None:
                self._ca.receive(peer, message)
        else:
            self._raft.receive(peer, message)

    def _on_connected(self, peer: str) -> None:
        self._raft.connected(peer)

    def _on_disconnected(self, peer: str) -> None:
        self._raft.disconnected(peer)

    def _after_turn(self) -> None:
        """What is replicated and concerns sockets, timers and files."""
        self._raft.configure(Timings.of(self._replica.settings))
        self._links.follow()
        if self._ca is not None:
            self._ca.turn()
        self._audit.turn()
        if self._audit.behind:
            self._driver.wake()

    # -- life -----------------------------------------------------------------------------------

    async def serve(self) -> int:
        """Turns and answers until a signal or a fault; the exit code."""
        event_loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            event_loop.add_signal_handler(number, self._on_signal, number)
        event_loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        turning = asyncio.create_task(self._driver.run(self._loop, self._after_turn), name="turns")
        serving = asyncio.create_task(self._server.serve(sockets=[self._http]), name="http")
        stopping = asyncio.create_task(self._stop.wait(), name="stop")
        garbage.tune()
        await asyncio.wait({turning, serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        failed = _fault(turning) or _fault(serving)
        if failed is None and self._stop.is_set():
            await self._server.agents.drain()
            await self._hand_over(turning)
            failed = _fault(turning)
        self._service.close()
        self._server.should_exit = True
        self._driver.stop()
        stopping.cancel()
        await asyncio.gather(turning, serving, stopping, return_exceptions=True)
        if failed is None and not self._stop.is_set():
            log.critical("stopped by itself")
            return 1
        if isinstance(failed, TooNew):
            log.critical("stopped", why=str(failed))
            return TOO_NEW
        if failed is not None:
            log.critical("stopped by a fault", exc_info=failed)
            return 1
        log.info("stopped")
        return 0

    def _on_signal(self, number: signal.Signals) -> None:
        if self._stop.is_set():
            self._hooks.kill()
            self._probes.kill()
            os._exit(1)
        log.info("stopping", signal=signal.Signals(number).name)
        self._service.draining = True
        self._loop.intake.stop()
        self._stop.set()

    def _on_hangup(self) -> None:
        """What is read anew while a node runs are its certificates."""
        if self._renewal is None:
            log.info("hangup", why="no `tls` here: there are no certificates to be read anew")
        else:
            self._renewal.contexts.reload()

    async def _hand_over(self, turning: "asyncio.Task[None]") -> None:
        """What devices said is in the log, and another leads, before this node goes; roles are
        not touched. Neither is waited for for long."""
        event_loop = asyncio.get_running_loop()
        patience = self._replica.settings.election_timeout_max / 1_000 + HANDOVER
        deadline = event_loop.time() + patience
        # Polled, since nobody is told when the last word of a device is in the log.
        while not self._loop.intake.idle and not turning.done() and event_loop.time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        if not self._raft.is_leader or not self._raft.transfer_leadership():
            return
        # Polled, since Raft tells nobody of a change of office.
        while self._raft.is_leader and not turning.done() and event_loop.time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        log.info("handed over", leader=self._raft.leader)

    async def close(self) -> None:
        """Lets go of everything that was opened, in reverse order."""
        await self._closers.aclose()


def _fault(task: "asyncio.Task[Any]") -> BaseException | None:
    """What ended a task, when that was an exception."""
    if not task.done() or task.cancelled():
        return None
    return task.exception()
