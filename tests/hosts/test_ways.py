"""Clusters whose machines are far away from each other, or do not know their own address."""

from contextlib import closing

from tests.hosts import endured
from tests.hosts.bed import Bed
from tests.hosts.cluster import Cluster


def test_behind_nat_and_a_path_that_swallows_what_is_long_a_machine_is_sent_the_whole_fleet(
    fresh: Cluster,
) -> None:
    """`scripts/endure snapshot` sends one of a million devices."""
    cluster = fresh
    endured.sent_a_fleet(cluster, 20_000)
    cluster.machines.append(cluster.bed.machines["sat-004"])
    cluster.until("all links stand", cluster.linked, 10)

    def heard() -> bool:
        links = [link for m in cluster.machines for link in cluster.ask(m, "/v1/links")["links"]]
        return all(link["received_total"] for link in links)

    cluster.until("datagrams pass, too", heard, 10)


def test_two_regions_are_one_cluster_even_with_short_timeouts(bed: Bed) -> None:
    """40 ms each way are far less than the shortest election timeout there is, 500 ms.
    `scripts/endure regions` watches for longer, and other profiles."""
    with closing(endured.apart(bed)) as cluster:
        cluster.up()
        tally = endured.watched(cluster, 5)
        assert endured.write(cluster, 7) > 2 * (endured.AWAY - endured.JITTER)
    assert (tally.primary_changes, tally.two_primaries) == (0, 0)
    assert tally.leader_changes <= 1  # the machine may be busy
