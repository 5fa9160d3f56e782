"""How a cluster comes about over machines, and how it comes up again somewhere else."""

import signal

import pytest

from tests.hosts.cluster import HTTP, RAFT, START_SECONDS, Cluster

MEETS = 15.0
"""Seconds in which processes that run become a cluster."""


@pytest.fixture
def cluster(fresh: Cluster) -> Cluster:
    return fresh


def running(cluster: Cluster) -> None:
    cluster.until("all run", lambda: all(cluster.view(m) for m in cluster.machines), START_SECONDS)


def test_nodes_that_start_before_their_names_exist_wait_for_them(cluster: Cluster) -> None:
    """They listen everywhere, since their files do not say where."""
    names = cluster.bed.names
    names.mood = "unknown"
    for machine in cluster.machines:
        cluster.configure(machine, raft=None, http=None)
    cluster.start(*reversed(cluster.machines))
    running(cluster)
    for machine in cluster.machines:
        for other in cluster.others(machine):
            assert cluster.obstacle(machine, other) == "no_such_host"
    names.mood = "silent"
    cluster.holds("all go on", lambda: all(p.running for p in cluster.nodes.values()), 2)
    names.mood = "answers"
    cluster.until("a PRIMARY", lambda: cluster.view(cluster.machines[0])["primary"], MEETS)
    cluster.settled()


def test_a_node_that_comes_back_under_another_address_says_so(cluster: Cluster) -> None:
    by_address = cluster.addresses(lambda m: m.address)
    for machine in cluster.machines:
        cluster.configure(machine, members=by_address)
    cluster.up()
    two = cluster.machines[1]
    cluster.nodes[two.name].stop()
    two.readdress("10.78.0.12")
    own = {"raft": f"{two.address}:{RAFT}", "http": f"{two.address}:{HTTP}"}
    cluster.configure(two, members=by_address, advertise=own)
    cluster.start(two)
    cluster.until("it runs", lambda: cluster.view(two), START_SECONDS)
    cluster.until("all links stand", cluster.linked, MEETS)
    moved = f"{two.name} moved to raft {own['raft']}, http {own['http']}"
    cluster.until("it has said so", lambda: moved in decisions(cluster), MEETS)
    for machine in cluster.machines:
        items = cluster.ask(machine, "/v1/nodes")["items"]
        assert next(node["address"] for node in items if node["id"] == two.name) == own


def decisions(cluster: Cluster) -> str:
    return str(cluster.ask(cluster.leader(), "/v1/decisions"))


def test_machines_that_all_get_other_addresses_while_off_are_the_same_cluster(
    cluster: Cluster,
) -> None:
    for machine in cluster.machines:
        cluster.configure(machine, members=cluster.addresses(lambda m: m.address))
    cluster.up()
    one, _, three = cluster.machines
    cluster.ask(one, f"/v1/nodes/{three.name}/priority", {"priority": 7})
    before = cluster.view(one)
    for machine in cluster.machines:
        cluster.nodes[machine.name].stop()
        machine.readdress(machine.address.replace("10.77.", "10.79."))
    for machine in cluster.machines:
        cluster.configure(machine, members=cluster.addresses(lambda m: m.address))
    cluster.start()
    running(cluster)
    after = cluster.until("a leader", lambda: leads(cluster), MEETS)
    assert after["uid"] == before["uid"]
    assert after["applied_index"] > before["applied_index"]
    nodes = cluster.ask(one, "/v1/nodes")["items"]
    assert next(node["priority"] for node in nodes if node["id"] == three.name) == 7
    cluster.settled()


def leads(cluster: Cluster) -> dict[str, object] | None:
    view = cluster.view(cluster.machines[0])
    return view if view["leader"] else None


def test_ipv6_is_as_good_and_one_that_leads_nowhere_does_no_harm(cluster: Cluster) -> None:
    for machine in cluster.machines:
        cluster.configure(machine, raft=f"[::]:{RAFT}", http=f"[::]:{HTTP}")
        cluster.bed.call(machine.name, machine.address6)
    cluster.up()
    old = cluster.acting()
    cluster.nodes[old.name].stop(signal.SIGKILL)
    cluster.acting(*cluster.others(old))

    for machine in cluster.machines:
        cluster.bed.call(machine.name, "fd77::dead", machine.address)
    cluster.start(old)
    cluster.until("it runs", lambda: cluster.view(old), START_SECONDS)
    cluster.until("all links stand", cluster.linked, 10)
