"""`agent`: makes this machine a device of the fleet. And what it shares with simulated ones."""

import asyncio
import contextlib
import logging
import math
import os
import platform
import re
import signal
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.parse import quote

import typer

from stationkeep.cluster.settings import SettingsError, parse_duration
from stationkeep.node.cli import contexts
from stationkeep.node.cli.failures import CommandError, NotAuthorisedError, UsageError, see
from stationkeep.node.cli.options import pairs
from stationkeep.node.cli.output import note
from stationkeep.node.client.exchange import DEFAULT_URL
from stationkeep.node.local.manifest import DEFAULT_DATA_DIR, http_addresses
from stationkeep.node.security.credentials import VARIABLE, Access, Credentials

if TYPE_CHECKING:
    from stationkeep.node.agent.client import DeviceAgent
    from stationkeep.node.agent.device import Ringed
    from stationkeep.node.agent.readings import Readings
    from stationkeep.node.agent.tasks.commands import Commands

T = TypeVar("T")
UrlsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--url",
        envvar="STATIONKEEP_URL",
        help="Any node; repeatable. The others are learnt from it. Default: that of the context, "
        "else the nodes of the local cluster, else http://127.0.0.1:8701.",
    ),
]

TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        help="Where the token is; read anew when it is refused. Default: STATIONKEEP_TOKEN, else "
        "that of the context.",
    ),
]


def agent(
    *,
    url: UrlsOption = None,
    device_id: Annotated[
        str | None, typer.Option("--id", help="The device's id. Default: this host's name.")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="What people call the device.")] = "",
    os_version: Annotated[
        str | None, typer.Option("--os-version", help="Default: this system's.")
    ] = None,
    app_version: Annotated[str, typer.Option("--app-version", help="Of what it runs.")] = "",
    label: Annotated[
        list[str] | None, typer.Option("--label", help="NAME=VALUE, for selectors. Repeatable.")
    ] = None,
    capability: Annotated[
        list[str] | None, typer.Option("--capability", help="NAME=VALUE. Repeatable.")
    ] = None,
    on_ring: Annotated[
        str | None,
        typer.Option(
            "--on-ring",
            help="Program with arguments to run at each change of ring, without a shell; "
            "STATIONKEEP_RING says which.",
        ),
    ] = None,
    on_task: Annotated[
        str | None,
        typer.Option(
            "--on-task",
            help="Program with arguments that carries out what the cluster tells the device to do, "
            "such as to install an artifact, without a shell; `stationkeep guide agents` says how.",
        ),
    ] = None,
    on_rollback: Annotated[
        str | None,
        typer.Option(
            "--on-rollback",
            help="Program that goes back to STATIONKEEP_VERSION without an artifact. Default: that "
            "of --on-task, with the older artifact.",
        ),
    ] = None,
    version_command: Annotated[
        str | None,
        typer.Option(
            "--version-command",
            help="Program that prints the version that runs. Default: the exit status of --on-task "
            "is believed.",
        ),
    ] = None,
    reboot_command: Annotated[
        str | None,
        typer.Option(
            "--reboot-command",
            help="Program that restarts the machine. Default: somebody else does.",
        ),
    ] = None,
    spool: Annotated[
        Path | None,
        typer.Option(
            "--spool",
            help="Directory of this agent alone, for what must survive a crash. Default: "
            "~/.local/state/stationkeep/ID.",
        ),
    ] = None,
    trust: Annotated[
        Path | None,
        typer.Option(
            "--trust",
            help="Directory of Ed25519 public keys, NAME.pem; a signature must be of one of these.",
        ),
    ] = None,
    require_signature: Annotated[
        bool,
        typer.Option("--require-signature", help="Refuse artifacts without a signature."),
    ] = False,
    no_download: Annotated[
        bool,
        typer.Option("--no-download", help="The program of --on-task downloads, and verifies."),
    ] = False,
    token_file: TokenFileOption = None,
    credential_file: Annotated[
        Path | None,
        typer.Option(
            "--credential-file",
            help="Where the device keeps a credential of its own, which it gets with an enrolment "
            "token. Default: ~/.local/state/stationkeep/ID/credential.",
        ),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(
            "--certificate",
            help="The device's certificate with its key in one file, as `certs issue device` "
            "writes it; then no token is needed.",
        ),
    ] = None,
    disk: Annotated[
        Path, typer.Option("--disk", help="A path on the file system that is reported.")
    ] = Path("/"),
    pretend: Annotated[
        list[str] | None,
        typer.Option(
            "--pretend",
            help="METRIC=VALUE in place of what is read, to see what the cluster does: "
            "battery, cpu, memory, disk in percent, or a metric of your own. Repeatable.",
        ),
    ] = None,
    pretend_for: Annotated[
        str | None,
        typer.Option("--pretend-for", help="Such as 30s; then it is well again. Default: always."),
    ] = None,
) -> None:
    """Makes this machine a device: tells the cluster how it is, hears which ring it is in, and
    carries out what it is told to do.

    Goes on until Ctrl-C, from node to node. Of two agents of one id the one started last counts;
    the other ends with exit code 1.
    """
    id_ = device_id or _host_id()
    commands = _commands(
        {
            "--on-task": on_task,
            "--on-rollback": on_rollback,
            "--version-command": version_command,
            "--reboot-command": reboot_command,
            "--spool": spool,
            "--trust": trust,
            "--require-signature": require_signature,
            "--no-download": no_download,
        }
    )
    credential = credential_file or _state_of(id_) / "credential"
    asked, shown = _shown(url, token_file, certificate or credential)
    os.environ.pop(VARIABLE, None)  # the programs that it runs have no use for it
    device = _device(
        device_id=id_,
        urls=asked,
        device_name=name,
        os_version=os_version or f"{platform.system()} {platform.release()}",
        app_version=app_version,
        labels=pairs("--label", label),
        capabilities=pairs("--capability", capability),
        on_ring=on_ring,
        on_task=commands,
        spool=(spool or _state_of(id_)) if commands is not None else None,
        trust=trust,
        require_signature=require_signature,
        download=not no_download,
        read_status=_readings(disk, pairs("--pretend", pretend), pretend_for),
        credential_file=credential,
        certificate=certificate,
        **shown,
    )
    news = _News()
    news.setFormatter(logging.Formatter(f"{id_}: %(message)s"))
    log = logging.getLogger("stationkeep.agent")
    log.setLevel(logging.INFO)
    log.addHandler(news)
    try:
        run(_follow(device))
    finally:
        log.removeHandler(news)


class _News(logging.Handler):
    """What becomes of tasks, for people."""

    def emit(self, record: logging.LogRecord) -> None:
        note(self.format(record))


def _device(device_id: str, on_ring: str | None, **given: Any) -> "DeviceAgent":
    from stationkeep.node.agent.client import DeviceAgent  # noqa: PLC0415
    from stationkeep.node.agent.ring_command import RingCommand  # noqa: PLC0415

    try:
        command = None if on_ring is None else RingCommand(on_ring, device_id)
    except ValueError as error:
        raise UsageError(f"--on-ring {error}") from error

    async def tell(news: "Ringed") -> None:
        was = "" if news.previous is None else f", was {news.previous}"
        note(f"{device_id}: ring {news.ring} ({news.reason}{was})")
        if command is not None:
            result = await command(news)
            if not result.ok:
                note(f"{device_id}: --on-ring failed: {result.detail}")

    try:
        return DeviceAgent(device_id, on_ring=tell, **given)
    except ValueError as error:
        raise UsageError(_named_as_options(str(error))) from error


def _named_as_options(rule: str) -> str:
    """What an argument of `DeviceAgent` breaks, as a rule about the option that gives it."""
    for argument in ("token_file", "credential_file", "certificate"):
        if rule.startswith(argument):
            return rule.replace(argument, f"--{argument.replace('_', '-')}", 1)
    return f"--url {rule}"


def _commands(given: dict[str, Any]) -> "Commands | None":
    """What carries tasks out, if anything does; the other options are about that."""
    from stationkeep.node.agent.command_line import parsed  # noqa: PLC0415
    from stationkeep.node.agent.tasks.commands import Commands  # noqa: PLC0415

    if given["--on-task"] is None:
        extra = [option for option, value in given.items() if value]
        if extra:
            raise UsageError(f"{extra[0]} needs --on-task")
        return None
    if given["--require-signature"] and given["--trust"] is None:
        raise UsageError("--require-signature needs --trust")
    _check_keys(given["--trust"])
    lines = {"task": "--on-task", "rollback": "--on-rollback", "version": "--version-command",
             "reboot": "--reboot-command"}  # fmt: skip
    found: dict[str, list[str]] = {}
    for name, option in lines.items():
        try:
            if given[option] is not None:
                found[name] = parsed(given[option])
        except ValueError as error:
            raise UsageError(f"{option} {error}") from error
    return Commands(**found)


def _check_keys(trust: Path | None) -> None:
    from stationkeep.node.agent.tasks.signature import read_keys  # noqa: PLC0415

    try:
        if trust is not None:
            read_keys(trust)
    except ValueError as error:
        raise UsageError(f"--trust {error}") from error


def _state_of(device_id: str) -> Path:
    """A directory of this agent alone, where services of a user keep their state (XDG Base
    Directory Specification)."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return state / "stationkeep" / quote(device_id, safe="")


def _host_id() -> str:
    """This host's name in the characters that an id may have."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", socket.gethostname()).lstrip("._-")[:64] or "device"


def _readings(
    disk: Path, pretended: dict[str, str], duration: str | None
) -> "Callable[[], Readings]":
    from msgspec.structs import replace  # noqa: PLC0415

    from stationkeep.node.agent.host import HostReadings  # noqa: PLC0415
    from stationkeep.node.agent.readings import Readings  # noqa: PLC0415

    fields = {"battery": "battery_level", "cpu": "cpu_usage", "memory": "memory_usage",
              "disk": "disk_usage"}  # fmt: skip
    values = {name: _number(name, text) for name, text in pretended.items()}
    known: dict[str, Any] = {fields[name]: values[name] for name in values if name in fields}
    if "battery" in values:
        known["battery_charging"] = False
    metrics = {name: value for name, value in values.items() if name not in fields}
    try:
        host = HostReadings(disk)
        Readings(**known, metrics=metrics)
    except OSError as error:
        raise UsageError(f"--disk {disk}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"--pretend {error}") from error

    length = math.inf if duration is None else seconds("--pretend-for", duration)
    until: float | None = None

    def read() -> Readings:
        nonlocal until
        found, now = host(), time.monotonic()
        until = now + length if until is None else until  # however long the start took
        if now >= until:
            return found
        return replace(found, **known, metrics=found.metrics | metrics)

    return read


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise UsageError(f"--pretend {name}={text} refused: a number") from error


async def _follow(device: "DeviceAgent") -> None:
    from stationkeep.node.agent.client import AgentEndedError  # noqa: PLC0415
    from stationkeep.node.agent.tasks.spool import SpoolError  # noqa: PLC0415

    identity = device.identity.device_id
    note(f"{identity}: looking for a node")
    living = asyncio.create_task(_live(device))
    try:
        with stopping(living.cancel):
            await living
    except AgentEndedError as error:
        if error.unauthorised:
            raise NotAuthorisedError(f"{identity}: {error}{see('access')}") from error
        raise CommandError(f"{identity}: {error}") from error
    except SpoolError as error:
        raise UsageError(f"--spool {error}") from error
    except asyncio.CancelledError:
        note(f"{identity}: ended")
    finally:
        await device.stop()


async def _live(device: "DeviceAgent") -> None:
    await device.start()
    note(f"{device.identity.device_id}: registered at {device.node}; Ctrl-C ends")
    await device.wait()


def _shown(url: list[str] | None, token_file: Path | None, own: Path) -> tuple[list[str], Access]:
    """As `reached`. A device with something of its `own` needs no token, nor the file of the one by
    which it enrolled; that of a person who has logged in here is nothing to it."""
    given = VARIABLE in os.environ or (token_file is not None and token_file.exists())
    if given or not own.exists():
        return reached(url, token_file)
    urls, _ = reached(url, None)
    return urls, Access(token="")


# -- shared with `devices simulate` -------------------------------------------------------------


def reached(given: list[str] | None, token_file: Path | None) -> tuple[list[str], Access]:
    """Which nodes devices talk to, and what they show there: what any command does (`contexts`),
    unless a file has the token."""
    found = [contexts.access(url) for url in given] if given else [contexts.access(None)]
    urls = [one.url for one in found if one.url is not None]
    token = next((one.token for one in found if one.token), "")
    if not urls:
        local = [] if token or token_file else http_addresses(DEFAULT_DATA_DIR).values()
        urls = [*local] or [DEFAULT_URL]
    shown = Access(token_file=token_file) if token_file is not None else Access(token=token)
    try:
        Credentials(urls, **shown)
    except ValueError as error:
        raise UsageError(str(error).replace("token_file", "--token-file", 1)) from error
    return urls, shown


def seconds(option: str, text: str) -> float:
    """A duration that was typed."""
    try:
        return parse_duration(option, text) / 1_000
    except SettingsError as error:
        raise UsageError(str(error)) from error


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs it on uvloop where that exists: thousands of devices then cost half as much."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        factory = None
    else:
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work)


@contextlib.contextmanager
def stopping(stop: Callable[[], object]) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the work in good order; a second one ends the process."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)

    def ignore_no_more() -> None:
        for signum in signals:
            loop.remove_signal_handler(signum)

    def once() -> None:
        ignore_no_more()
        stop()

    for signum in signals:
        loop.add_signal_handler(signum, once)
    try:
        yield
    finally:
        ignore_no_more()
