"""Real nodes and a kernel that loses their packets.

Bounds as in `tests/chaos/test_failover.py`, and a second for what is lost on the way.
"""

import time

import pytest
from msgspec import convert

from stationkeep.cluster.settings import PROFILES
from stationkeep.node.chaos.isolated import Isolated
from stationkeep.node.chaos.namespace import loss, without
from stationkeep.node.chaos.seatwatch import SeatWatch, Tally
from stationkeep.node.cli.links_seen import Seen

pytestmark = pytest.mark.timeout(150)

FIFTH = loss(0.2)
BOUND = 6.0 + 1.0
LEASE = PROFILES["demo"].primary_lease / 1_000
BURST, PERIOD = 3.0, 15.0
WRITE_SECONDS = 1.0


def watched(cluster: Isolated, seconds: float) -> SeatWatch:
    """What is seen while nobody touches anything for so long."""
    with cluster.watch() as watch:
        time.sleep(seconds)
    return watch


def undisturbed(tally: Tally) -> bool:
    return not (tally.primary_changes or tally.longest_gap or tally.two_primaries)


def write(cluster: Isolated, node: str, priority: int) -> float:
    """Seconds until a small write is acknowledged."""
    began = time.monotonic()
    answer = cluster.ask(node, f"/v1/nodes/{node}/priority", {"priority": priority})
    assert answer["status"] == "done", answer
    return time.monotonic() - began


def losses(cluster: Isolated) -> list[float | None]:
    """Of every link, as its receiving node tells it."""
    answers = [cluster.ask(node, "/v1/links") for node in cluster.ports]
    found = [link.loss for answer in answers for link in convert(answer, Seen).links]
    assert len(found) == len(cluster.ports) * (len(cluster.ports) - 1)
    return found


def test_a_fifth_of_all_packets_lost_changes_nothing(cluster: Isolated) -> None:
    cluster.up()
    cluster.settled()
    cluster.network.impose(FIFTH)
    tally = watched(cluster, 40.0).tally()
    assert undisturbed(tally), tally
    assert tally.leader_changes <= 1, tally
    shares = losses(cluster)
    assert all(share is not None and 0.1 < share < 0.3 for share in shares), shares


def test_a_killed_primary_is_replaced_under_loss(cluster: Isolated) -> None:
    """The loss has lasted for a while by then: streams take seconds to come to a standstill."""
    cluster.up()
    cluster.seat_primary(beside_leader=False)
    cluster.network.impose(FIFTH)
    assert undisturbed(watched(cluster, 8.0).tally())
    with cluster.watch() as watch:
        reign = watch.wait(lambda a: True, BOUND)
        cluster.kill(reign.node)
        watch.wait(lambda a: a.epoch > reign.epoch, BOUND)
    assert watch.violations() == []


def test_bursts_that_silence_the_primary_leave_it_in_its_seat(cluster: Isolated) -> None:
    """In lan a report is missed only when nobody is heard for a whole evaluation."""
    assert PROFILES["lan"].evaluation_interval > BURST * 1_000
    cluster.up(profile="lan")
    primary = cluster.acting()
    with cluster.watch() as watch:
        for _ in range(2):
            cluster.network.impose(cluster.muted(primary), cluster.deafened(primary))
            time.sleep(BURST)
            cluster.network.impose()
            time.sleep(PERIOD - BURST)
    assert undisturbed(watch.tally()), watch.tally()


@pytest.mark.parametrize("way", ["muted", "deafened"])
def test_a_primary_cut_off_one_way_never_acts_beside_another(cluster: Isolated, way: str) -> None:
    cluster.up()
    primary = cluster.acting()
    with cluster.watch() as watch:
        reign = watch.wait(lambda a: a.node == primary, 5.0)
        cluster.network.impose(getattr(cluster, way)(primary))
        watch.wait(lambda a: a.epoch > reign.epoch, 2 * BOUND)
        cluster.network.impose()
        cluster.acting()
    assert watch.violations() == []
    write(cluster, primary, 7)


def test_a_primary_whose_port_is_closed_is_replaced_while_it_is(cluster: Isolated) -> None:
    """It hears nobody and all hear it: a seat that is held by who cannot act."""
    cluster.up()
    primary = cluster.seat_primary(beside_leader=False)
    with cluster.watch() as watch:
        reign = watch.wait(lambda a: a.node == primary, 5.0)
        cluster.network.impose(cluster.closed(primary))
        watch.wait(lambda a: a.node != primary and a.epoch > reign.epoch, LEASE + BOUND)
        decisions = cluster.ask(cluster.leader(), "/v1/decisions")["items"]
        cluster.network.impose()
    assert watch.violations() == []
    assert any("does not hear the log" in str(d) for d in [cluster.nodes()[primary], decisions])
    write(cluster, primary, 7)


def test_a_backup_whose_port_is_closed_does_not_get_the_seat(cluster: Isolated) -> None:
    cluster.up()
    cluster.settled()
    primary = cluster.seat_primary(beside_leader=False)
    cluster.settled()
    backup = next(n for n, node in cluster.nodes().items() if node["role"] == "BACKUP")
    cluster.network.impose(cluster.closed(backup))
    leader = next(node for node in cluster.ports if node not in (primary, backup))
    cluster.until("it is known", lambda: cluster.ask(leader, f"/v1/nodes/{backup}")["unable"], 15.0)
    with cluster.watch() as watch:
        reign = watch.wait(lambda a: a.node == primary, 5.0)
        cluster.kill(primary)
        successor = watch.wait(lambda a: a.epoch > reign.epoch, BOUND)
    assert successor.node not in (primary, backup)
    assert watch.violations() == []


def test_a_ring_of_one_way_cuts_stops_nobody_for_good(cluster: Isolated) -> None:
    """Each node does not hear its neighbour; everybody still hears three others."""
    cluster.up()
    cluster.settled()
    nodes = list(cluster.ports)
    ring = zip(nodes, nodes[1:] + nodes[:1], strict=True)
    with cluster.watch() as watch:
        cluster.network.impose(*(cluster.cut(a, b) for a, b in ring))
        time.sleep(10.0)
        cluster.network.impose()
        cluster.acting()
    assert watch.violations() == []
    write(cluster, cluster.leader(), 7)


def test_without_datagrams_all_works_as_it_did(cluster: Isolated) -> None:
    cluster.network.impose(without("udp"))
    cluster.up()
    primary = cluster.seat_primary(beside_leader=False)
    tally = watched(cluster, 10.0).tally()
    assert undisturbed(tally), tally
    assert tally.leader_changes == 0
    assert set(losses(cluster)) == {1.0}
    write(cluster, cluster.leader(), 7)
    with cluster.watch() as watch:
        reign = watch.wait(lambda a: a.node == primary, 5.0)
        cluster.kill(primary)
        watch.wait(lambda a: a.node != primary and a.epoch > reign.epoch, BOUND)
    assert watch.violations() == []


def test_streams_that_stand_still_cost_nothing(cluster: Isolated) -> None:
    """The connections between the nodes stay open, and nothing comes through."""
    cluster.up()
    cluster.settled()
    cluster.network.impose(without("tcp"))
    with cluster.watch() as watch:
        taken = [write(cluster, node, 7) for node in cluster.ports]
        time.sleep(20.0)
        taken += [write(cluster, node, 8) for node in cluster.ports]
    tally = watch.tally()
    assert undisturbed(tally), tally
    assert tally.leader_changes == 0, tally
    assert max(taken) <= WRITE_SECONDS, taken
