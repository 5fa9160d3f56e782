"""`demo`: shows what Stationkeep does, on a cluster that runs already."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from stationkeep.node.cli import rollout_shapes, shapes
from stationkeep.node.cli.client import Client
from stationkeep.node.cli.commands.rollout_files import DescribedRollout, rollout_path, send_draft
from stationkeep.node.cli.failures import CommandError
from stationkeep.node.cli.following import follow_rollout, has_halted
from stationkeep.node.cli.options import UrlOption, client
from stationkeep.node.cli.output import note, say
from stationkeep.node.cli.rendering.wording import clock
from stationkeep.node.cli.sending import send
from stationkeep.node.local.cluster import NODE_COMMAND
from stationkeep.node.system.printable import all_printable

GOOD, BAD = "2.0.0", "2.1.0-bad"
PREFIX = "demo"
PATIENCE = 60.0
"""Seconds within which the devices must be there."""
SPARED = 10.0
"""Seconds that their process has to end by itself."""
MOST_NAMES = 1_000


def demo_rollout(
    *,
    devices: Annotated[
        int, typer.Option("--devices", min=8, max=64, help="That the demo brings along.")
    ] = 40,
    url: UrlOption = None,
) -> None:
    """Rolls out a good version, then a bad one, which is stopped and taken back by itself.

    Run it beside `scripts/up`. It brings devices of its own, which fall ill with the bad version,
    and removes them in the end; other devices are left alone. Ctrl-C leaves.
    """
    node = client(url)
    node.get("/v1/cluster", shapes.Cluster)  # there is one
    ids = [f"{PREFIX}-{number:03d}" for number in range(1, devices + 1)]
    with _devices(node, ids):
        note(f"{devices} devices have come: version {GOOD} is good, {BAD} makes them ill")
        for version, wanted in ((GOOD, "succeeded"), (BAD, "rolled_back")):
            found = _roll_out(node, version, ids)
            _tell(found)
            if found["state"] != wanted:
                note(f"see: stationkeep rollout explain {found['rollout']}")
                return


@contextlib.contextmanager
def _devices(node: Client, ids: list[str]) -> Iterator[None]:
    """Simulated devices, until they are not needed any more; then nobody knows them."""
    urls = [part for address in node.addresses for part in ("--url", address)]
    process = subprocess.Popen(
        [
            *NODE_COMMAND, "devices", "simulate", "--count", str(len(ids)), "--prefix", PREFIX,
            "--profile", "healthy", "--update-seconds", "2", "--ill", "1", "--ill-version", BAD,
            *urls,
        ],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        _await(node, ids, process)
        try:
            yield
        finally:
            note("the devices of the demo are removed")
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(SPARED)
        process.kill()
        process.wait()
        for device in ids:
            with contextlib.suppress(CommandError):
                node.write("DELETE", f"/v1/devices/{device}", None, None)


def _await(node: Client, ids: list[str], process: "subprocess.Popen[bytes]") -> None:
    """Until all are online and healthy."""
    wanted = f"id in ({', '.join(ids)}), health=healthy"
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        page = node.page("/v1/devices", shapes.Device, len(ids), selector=wanted)
        if len(page.items) == len(ids):
            return
        time.sleep(0.5)
    raise CommandError(f"the devices of the demo did not come within {PATIENCE:.0f} s")


def _roll_out(node: Client, version: str, ids: list[str]) -> dict[str, Any]:
    """What became of a version. If somebody leaves before that is clear, nothing goes on."""
    name = _free_name(node, f"{PREFIX}-{version}")
    plan = {"artifact": {"version": version}, "devices": ids, "priority": 900}
    send_draft(node, DescribedRollout(name, plan, "stationkeep demo rollout", ""))
    path = rollout_path(name)
    try:
        # An earlier demo has proven that the bad one is.
        send(node, "POST", f"{path}/start", {"force": True}, key=None, what=f"{name} is started")
        _watch(node, path, name)
        found: dict[str, Any] = all_printable(node.get(path, rollout_shapes.Rollout))
    except BaseException:  # Ctrl-C above all
        _abort(node, path)
        raise
    if not has_halted(found):
        _abort(node, path)
        raise KeyboardInterrupt
    return found


def _watch(node: Client, path: str, name: str) -> None:
    """As a live view on a terminal, in lines elsewhere."""
    if not sys.stdout.isatty():
        follow_rollout(node, path)
        return
    from stationkeep.node.cli import watch  # noqa: PLC0415 - imports Rich
    from stationkeep.node.cli.rendering import rollout_screen  # noqa: PLC0415

    watch.run(
        node.addresses,
        once=False,
        take=watch.take_rollout(name),
        draw=rollout_screen.frame,
        over=lambda picture: picture.rollout is not None and has_halted(picture.rollout),
    )


def _abort(node: Client, path: str) -> None:
    with contextlib.suppress(CommandError):
        node.write("POST", f"{path}/abort", {"reason": "the demo was left"}, None)


def _tell(found: dict[str, Any]) -> None:
    """What happened, in the words of the decisions."""
    say(f"\n{found['rollout']}: {found['state'].replace('_', ' ')}")
    for moment in found["timeline"]:
        say(f"  {clock(moment['wall_ms'])} {moment['sentence']}")


def _free_name(node: Client, name: str) -> str:
    for number in range(1, MOST_NAMES):
        free = name if number == 1 else f"{name}.{number}"
        if node.find(rollout_path(free), rollout_shapes.Rollout) is None:
            return free
    raise CommandError(f"there are {MOST_NAMES} rollouts called {name} already")
