"""Machines whose clocks are wrong, and certificates whose dates are over."""

from tests.hosts.bed import Machine
from tests.hosts.cluster import HTTP, START_SECONDS, Cluster
from tests.node.security.issuing import files


def test_a_clock_that_jumps_by_a_year_costs_its_node_new_links_alone_and_it_heals(
    fresh: Cluster,
) -> None:
    cluster = fresh
    for machine in cluster.machines:
        machine.set_clock("+0")
    cluster.up()
    one, before = cluster.acting(), cluster.standing()
    two, three = cluster.others(one)
    three.set_clock("+400d")
    cluster.until("it renews", lambda: "two thirds of its life" in cluster.said(three), 15)
    cluster.holds("links that stand go on", lambda: cluster.linked(one, two), 3)

    cluster.nodes[two.name].stop()
    cluster.start(two)
    cluster.until("it runs again", lambda: cluster.links(two)[one.name], START_SECONDS)
    cluster.until("a clock is wrong", lambda: cluster.obstacle(two, three) == "clock", 15)
    assert not cluster.links(two)[three.name]
    assert cluster.acting(one, two) is one  # they are a majority

    three.set_clock("+0")
    cluster.until("all links stand", cluster.linked, 15)
    assert cluster.undisturbed(before)
    cluster.settled()


def test_certificates_that_ended_days_ago_still_make_a_cluster_for_a_week(fresh: Cluster) -> None:
    """Their makers are not here, so that nobody can renew them until somebody brings others."""
    cluster = fresh
    cluster.strict = False  # clients refuse such certificates
    one, two, _ = cluster.machines
    for machine in cluster.machines:
        bring(cluster, machine, ends=-3)
        (machine.folder / "tls" / "ca.key").unlink()
        own = {"dir": "tls", "certificate": "own/node.pem"}
        cluster.configure(machine, tls=own)
    cluster.up()
    cluster.until("each is accused", lambda: accused(cluster) == set(names(cluster)), 15)
    refused = ["stationkeep", "--ca", "tls/ca.pem", "status", "--url", f"https://{one.host}:{HTTP}"]
    assert "expired" in two.run(*refused, fails=4)

    cluster.nodes[two.name].stop()
    bring(cluster, two, ends=-8)
    cluster.start(two)
    cluster.until("it runs", lambda: cluster.view(two), START_SECONDS)
    expired = "certificate_expired"
    cluster.until("it is refused", lambda: cluster.obstacle(one, two) == expired, 15)
    assert not any(cluster.links(two).values())
    assert cluster.acting(*cluster.others(two))

    for machine in cluster.machines:
        bring(cluster, machine, ends=60)
    cluster.until("all links stand", cluster.linked, 15)
    cluster.until("nobody is accused", lambda: not accused(cluster), 15)


def bring(cluster: Cluster, machine: Machine, ends: float) -> None:
    """A certificate of this cluster, made elsewhere, that ends in so many days."""
    files(machine.folder / "own", machine.name, cluster.ca, ends)


def names(cluster: Cluster) -> list[str]:
    return [machine.name for machine in cluster.machines]


def accused(cluster: Cluster) -> set[str]:
    """Of whom it is said that their certificate has expired."""
    alarms = cluster.ask(cluster.leader(), "/v1/alarms")["items"]
    return {alarm["subject"] for alarm in alarms if alarm["name"] == "certificate_expired"}
