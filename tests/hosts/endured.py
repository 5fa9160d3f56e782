"""What a cluster across machines lives through, for as long as is asked: seconds in tests, hours in
`scripts/endure`."""

import math
import time
from functools import partial
from typing import NamedTuple

from msgspec import convert

from scripts.device_crowd import Crowd
from scripts.write_load import Door, Writes
from stationkeep.node.chaos.namespace import longer_than, loss
from stationkeep.node.chaos.seatwatch import Tally
from stationkeep.node.cli.links_seen import Seen
from stationkeep.node.security.certificates import certificates_in, facts_of
from stationkeep.node.security.inspection import shown_at
from stationkeep.node.security.trust import of_file
from tests.hosts.bed import Bed, Machine
from tests.hosts.cluster import HTTP, RAFT, START_SECONDS, Cluster
from tests.hosts.fleets import restored

SMALLEST_MTU = 1_280
"""Of IPv6, RFC 8200."""
AWAY, JITTER = 0.040, 0.005
"""Seconds, each way."""
LOST = 0.2
RENEWED_EVERY = 2.0
SPREAD = "other nodes have fewer devices"
"""What a node says to devices that it sends away for that."""


def watched(cluster: Cluster, seconds: float) -> Tally:
    """What is seen while nobody touches anything for so long."""
    with cluster.watch() as watch:
        time.sleep(seconds)
    return watch.tally()


def losing(cluster: Cluster, seconds: float) -> tuple[Tally, list[float]]:
    """Every fifth packet between machines is lost. What came of it, and what share each link says
    that it loses."""
    for machine in cluster.machines:
        machine.impose(loss(LOST))
    tally = watched(cluster, seconds)
    answers = [cluster.ask(machine, "/v1/links") for machine in cluster.machines]
    return tally, [link.loss or 0.0 for seen in answers for link in convert(seen, Seen).links]


def apart(bed: Bed) -> Cluster:
    """Three nodes, the first of which is near and the others far away."""
    near, far = bed.machine("sat-001"), bed.distance(AWAY, JITTER)
    return Cluster(bed, near, bed.machine("sat-002", far), bed.machine("sat-003", far))


def write(cluster: Cluster, priority: int) -> float:
    """Seconds until the first node has acknowledged a small write."""
    first, began = cluster.machines[0], time.monotonic()
    cluster.ask(first, f"/v1/nodes/{first.name}/priority", {"priority": priority})
    return time.monotonic() - began


def sent_a_fleet(cluster: Cluster, devices: int) -> float:
    """Seconds until a machine behind NAT, which joins by a word on a path that swallows long
    packets, has a vote. It needs the snapshot: no log has what was before."""
    bed, hole = cluster.bed, longer_than(SMALLEST_MTU)
    restored(cluster, devices)
    cluster.up()
    hidden = bed.hide("sat-004", bed.machine("router"), RAFT, HTTP)
    for machine in (*cluster.machines, hidden):
        machine.impose(hole)
    bed.network.impose(hole)
    began = time.monotonic()
    cluster.take_in(hidden)

    def votes() -> bool:
        nodes = cluster.ask(hidden, "/v1/nodes")["items"]
        return any(node["id"] == hidden.name and not node["joining"] for node in nodes)

    cluster.until("it has a vote", votes, START_SECONDS)
    took = time.monotonic() - began
    assert cluster.view(hidden)["fleet"]["total_slaves"] == devices
    assert (hidden.folder / "data" / "snapshot").exists()
    return took


class Renewed(NamedTuple):
    """`growth`: megabytes and descriptors by which each node has grown more than it did under the
    same load before, for as long, when nobody renewed anything: writes stay in its log for a while.
    `lost`: connections of devices that did not last, but for those that were sent to another node
    since that has fewer."""

    tally: Tally
    renewals: int
    writes: int
    failed: dict[str, int]
    lost: dict[str, int]
    growth: dict[str, tuple[float, int]]


def renewing(cluster: Cluster, seconds: float, rate: float, devices: int) -> Renewed:
    """Every node renews its certificate every two seconds, under a load of writes and devices that
    was there for as long before."""
    tls = of_file(str(cluster.machines[0].folder / "tls" / "ca.pem"))
    doors = [Door(m.name, f"{m.address}:{HTTP}", cluster.token(m)) for m in cluster.machines]
    addresses, connections = [door.address for door in doors], math.ceil(rate / 20 / len(doors))
    token, source = cluster.device_token(), cluster.bed.guest
    crowd = Crowd(addresses, devices, tls=tls, token=token, source=source)
    with crowd, Writes(doors, rate, connections, tls) as load:
        cluster.until("devices", crowd.at_home, START_SECONDS)
        crowd.lost.clear()
        sizes = [_sizes(cluster)]
        time.sleep(seconds)
        sizes.append(_sizes(cluster))
        with cluster.watch() as watch:
            renewals = _renew(cluster, seconds)
        sizes.append(_sizes(cluster))
        lost = {why: count for why, count in crowd.lost.items() if why != SPREAD}
    growth = {
        machine.name: (after[0] - 2 * before[0] + first[0], after[1] - 2 * before[1] + first[1])
        for machine, first, before, after in zip(cluster.machines, *sizes, strict=True)
    }
    return Renewed(watch.tally(), renewals, load.done, dict(load.failed), lost, growth)


def _sizes(cluster: Cluster) -> list[tuple[float, int]]:
    return [cluster.size(machine) for machine in cluster.machines]


def _renew(cluster: Cluster, seconds: float) -> int:
    """How many there were."""
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        due = time.monotonic() + RENEWED_EVERY
        for machine in cluster.machines:
            cluster.until("it is renewed", partial(_shows_another, cluster, machine), 15)
            count += 1
        time.sleep(max(0.0, due - time.monotonic()))
    return count


def _shows_another(cluster: Cluster, machine: Machine) -> bool:
    """Renews a certificate; whoever connects next is shown the new one."""
    serial = cluster.ask(machine, "/v1/tls/renew", method="POST")["serial"]
    leaf, *_ = certificates_in(shown_at(machine.address, HTTP))
    return facts_of(leaf).serial == str(serial)
