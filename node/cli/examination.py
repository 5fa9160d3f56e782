"""What `doctor` looks at: the cluster, its links and certificates, its settings against the loss
that is measured, and a node's own file and machine. Each finding says what to do.

Every examination stands for itself: one that cannot be made is a finding, too.
"""

import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from stationkeep.node.cli import shapes
from stationkeep.node.cli.client import Client
from stationkeep.node.cli.failures import CommandError
from stationkeep.node.cli.links_seen import Seen, ask_each
from stationkeep.node.system.printable import printable

OK, ATTENTION, CRITICAL = "ok", "attention", "critical"
MOST_CLOCK = 60.0
"""Seconds by which this machine's clock may be off the leader's."""
MOST_LOSS = 0.3
"""Of a link's datagrams: what every profile stands."""
LEAST_FREE = 0.1
"""Of the file system that a node keeps its data on."""
FEWEST_DAYS = 21
"""That a certificate is still good: it is renewed 30 days before, and somebody has to notice."""
RAREST = 30 * 86_400.0
"""Seconds between two needless failovers that are expected, at least."""
MOST_FAULTS = 5
WAYS = {
    "no_such_host": "mend its name, or `nodes move` it",
    "connection_refused": "start it, or open its Raft port",
    "timeout": "open its Raft port, or mend the network between the two",
    "unreachable": "mend the route between the two",
    "untrusted_ca": "`certs list` on both: they have certificates of different CAs",
    "certificate_expired": "`certs renew NODE`, or set the clock of its machine",
    "revoked": "its certificate was revoked: `certs renew NODE`, or `nodes leave NODE`",
    "clock": "set the clock of its machine (chrony)",
    "plain_text": "give both a `tls` section, or neither",
    "not_secured": "give both a `tls` section: `stationkeep guide certificates`",
    "wrong_cluster": "somebody else's node answers there: `nodes move` it",
    "wrong_node": "another node answers there: `nodes move` it",
    "not_member": "that node is no member: `nodes invite`",
    "version": "bring both to releases that know each other: `stationkeep guide upgrade`",
}
"""By the obstacle that a link met."""


class Finding(NamedTuple):
    """One thing that was looked at. `remedy`: what to do; empty where all is well."""

    about: str
    level: str
    found: str
    remedy: str = ""


Examination = Callable[[], Iterable[Finding]]


def examined(about: str, look: Examination) -> list[Finding]:
    """What was found; that it could not be looked at, if so; that all is well, if nothing was."""
    try:
        found = list(look())
    except CommandError as error:
        why = str(error).partition("\n")[0]
        return [Finding(about, ATTENTION, f"could not be examined: {why}", "try again")]
    return found or [Finding(about, OK, "nothing to be done")]


def cluster(node: Client) -> Iterator[Finding]:
    """What the cluster itself says that it needs, and the leader's clock."""
    seen = node.get("/v1/cluster", shapes.Cluster)
    for need in seen["needs"]:
        alarm = need.get("alarm")
        where = (
            f"`stationkeep guide alarms`: {alarm}" if alarm else "`stationkeep status`, `explain`"
        )
        level = CRITICAL if need["level"] == CRITICAL else ATTENTION
        yield Finding("cluster", level, need["sentence"], where)
    leader = seen.get("wall_ms") or 0
    off = time.time() - leader / 1_000
    if leader and seen["age_ms"] < MOST_CLOCK * 1_000 and abs(off) > MOST_CLOCK:
        said = f"this machine's clock is {off:+,.0f} s off the leader's"
        yield Finding("clock", ATTENTION, said, "set both clocks (chrony)")


def links(node: Client) -> Iterator[Finding]:
    """Who does not answer, and what gets lost between those who do."""
    found, silent = ask_each(node)
    for name, why in silent.items():
        remedy = "is it running? On its machine: `journalctl -u stationkeep`, or `logs NODE`"
        yield Finding("nodes", CRITICAL, f"{name} does not answer: {why}", remedy)
    for one in found:
        yield from _of_links(one)


def _of_links(one: Seen) -> Iterator[Finding]:
    for link in one.links:
        heard, lost = f"{one.node} hears {link.peer}", link.loss
        if not link.connected:
            why, way = (
                link.error or "no link",
                WAYS.get(link.error or "", "look at the logs of both"),
            )
            said = f"{one.node} does not hear {link.peer}: {why}"
            yield Finding("links", CRITICAL, said, way)
        elif link.in_doubt:
            way = "open the Raft port for UDP, too: `stationkeep guide forming`"
            yield Finding("links", ATTENTION, f"{heard} by TCP alone: no datagrams arrive", way)
        elif lost is not None and lost > MOST_LOSS:
            way = "mend the network, or see what it costs: `plan --measured`"
            yield Finding("links", ATTENTION, f"{heard}, and loses {lost:.0%}", way)


def releases(node: Client) -> Iterator[Finding]:
    """Members with different releases, and what keeps the level down."""
    level = node.get("/v1/level", shapes.Level)
    kinds = sorted({str(member["release"]) for member in level["members"] if member["release"]})
    if len(kinds) > 1:
        said = f"members run {', '.join(kinds)}"
        yield Finding(
            "releases", ATTENTION, said, "upgrade the others: `stationkeep guide upgrade`"
        )
    for obstacle in level["obstacles"]:
        yield Finding("releases", ATTENTION, obstacle, "`stationkeep level`")


def settings(node: Client) -> Iterator[Finding]:
    """Whether the settings stand the loss that is measured."""
    from stationkeep.cluster import odds  # noqa: PLC0415 - numpy
    from stationkeep.cluster.settings import SettingsError, parse  # noqa: PLC0415
    from stationkeep.node.cli import plan_measured  # noqa: PLC0415

    members = len(node.get("/v1/cluster", shapes.Cluster)["members"])
    try:
        own = parse(node.get("/v1/config", shapes.Config)["settings"])
        worst = plan_measured.measure(node, own).losses()[0]
        outlooks = odds.forecast(own, worst, members).outlooks.values()
    except (SettingsError, odds.LossError) as error:
        raise CommandError(str(error)) from error
    rarest = min(outlook.false_failover for outlook in outlooks)
    if rarest < RAREST:
        said = f"at {worst.rate:.0%} loss a needless failover every {rarest / 86_400:.1f} days"
        yield Finding("settings", ATTENTION, said, "`plan --measured`, `stationkeep guide tuning`")


def certificates(node: Client, shown: Callable[[str], dict[str, Any]]) -> Iterator[Finding]:
    """How long certificates are good; `shown`: what is at an address."""
    from stationkeep.node.cli.members import ask_each as each  # noqa: PLC0415

    for name, seen in each(node, shown)[0].items():
        faults = [*seen["faults"]]
        days = min((one["days_left"] for one in seen["certificates"]), default=0)
        if days < FEWEST_DAYS:
            faults.append(f"has a certificate for {days} days more")
        for fault in faults:
            way = f"`stationkeep certs renew {printable(name)}`"
            yield Finding(
                "certificates", CRITICAL if days <= 1 else ATTENTION, f"{name} {fault}", way
            )


def file(path: Path) -> Iterator[Finding]:
    """A node's file with its hooks, and the disk that it names."""
    from stationkeep.node.config import node_config as configuration  # noqa: PLC0415

    faults = configuration.validate(path)
    for fault in faults[:MOST_FAULTS]:
        yield Finding("file", CRITICAL, str(fault), "`stationkeep guide configuration`")
    if faults:
        return
    directory = configuration.load(path).data_dir
    try:
        disk = shutil.disk_usage(directory)
    except OSError as error:
        said, way = f"{directory}: {error.strerror}", "has the node run? As its user, look again"
        yield Finding("disk", ATTENTION, said, way)
        return
    if disk.free < LEAST_FREE * disk.total:
        said = f"{directory}: {disk.free / disk.total:.0%} of the disk are free"
        yield Finding("disk", ATTENTION, said, "make room: a node without any stops")
