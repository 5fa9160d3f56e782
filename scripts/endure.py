"""What machines and the network between them do to a cluster, for longer than a test may take.

Every run has machines of its own (`tests/hosts`): namespaces on this one, with certificates, tokens
and names. Needs root, iproute2, iptables and faketime.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from stationkeep.cluster.settings import PROFILES
from tests.hosts import endured
from tests.hosts.bed import Bed, missing
from tests.hosts.cluster import Cluster

Figures = dict[str, Any]


@contextmanager
def laid() -> Iterator[Bed]:
    """Machines whose files are gone with them."""
    with tempfile.TemporaryDirectory() as folder, Bed(Path(folder)) as bed:
        yield bed


def up(cluster: Cluster, profile: str) -> None:
    """With some profiles every role is filled minutes later; who acts is enough."""
    for machine in cluster.machines:
        cluster.configure(machine, profile=profile)
    cluster.start()
    cluster.acting()


def loss(options: argparse.Namespace) -> Figures:
    """Every fifth packet between machines is lost."""
    with laid() as bed, closing(Cluster(bed)) as cluster:
        up(cluster, options.profile)
        tally, shares = endured.losing(cluster, 60 * options.minutes)
        return {**msgspec.to_builtins(tally), "lost": shares}


def regions(options: argparse.Namespace) -> Figures:
    """One node is 40 ms away from the two others, each way."""
    with laid() as bed, closing(endured.apart(bed)) as cluster:
        up(cluster, options.profile)
        tally = endured.watched(cluster, 60 * options.minutes)
        return {**msgspec.to_builtins(tally), "write_s": endured.write(cluster, 7)}


def snapshot(options: argparse.Namespace) -> Figures:
    """A machine behind NAT, on a path that swallows long packets, is sent a whole fleet."""
    with laid() as bed, closing(Cluster(bed)) as cluster:
        return {"votes_after_s": endured.sent_a_fleet(cluster, options.devices)}


def renewals(options: argparse.Namespace) -> Figures:
    """Every node renews its certificate every two seconds, with 2,000 devices and 250 writes a
    second: with more, what a node remembers of orders is full within the minute."""
    with laid() as bed, closing(Cluster(bed)) as cluster:
        up(cluster, options.profile)
        found = endured.renewing(cluster, 60 * options.minutes, options.writes, options.devices)
        return {**found._asdict(), "tally": msgspec.to_builtins(found.tally)}


RUNS: dict[str, Callable[[argparse.Namespace], Figures]] = {
    run.__name__: run for run in (loss, regions, snapshot, renewals)
}


def main() -> None:
    """Runs one of them, and prints figures as JSON."""
    parser = argparse.ArgumentParser(prog="scripts/endure", description=__doc__)
    parts = parser.add_subparsers(dest="run", required=True)
    for name, run in RUNS.items():
        part = parts.add_parser(name, help=run.__doc__, description=run.__doc__)
        part.add_argument("--minutes", type=float, default=10.0)
        part.add_argument("--profile", choices=PROFILES, default="demo")
        part.add_argument("--devices", type=int, default=2_000)
        part.add_argument("--writes", type=float, default=250.0, help="a second")
    options = parser.parse_args()
    if (why := missing()) is not None:
        parser.error(why)
    print(json.dumps(RUNS[options.run](options), indent=2))


if __name__ == "__main__":
    main()
