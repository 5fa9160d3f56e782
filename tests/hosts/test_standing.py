"""What happens between machines, to a cluster that stands, and stands again after each test.

Scenarios are those of the specification of deployment; `tests/README.md` has the list.
"""

import signal
from collections.abc import Iterator

import httpx
import pytest

from stationkeep.node.chaos.namespace import longer_than
from tests.hosts import endured
from tests.hosts.cluster import HTTP, START_SECONDS, Cluster

FAILOVER = 2 * (6.0 + 1.0)
"""Seconds, as in `tests/network/test_loss.py` where a member is cut off."""
ASKED_AGAIN = 5.0
"""Seconds after which a question that got no answer is asked again: resolv.conf(5)."""


@pytest.fixture
def cluster(standing: Cluster) -> Iterator[Cluster]:
    standing.settled()
    yield standing
    standing.bed.heal()


def test_a_node_that_gets_another_address_is_found_by_its_name(cluster: Cluster) -> None:
    before = cluster.standing()
    cluster.machines[1].readdress("10.78.0.12")
    then = heard(cluster)

    def again() -> bool:
        now = heard(cluster)
        return all(now[link] > then[link] + 3 for link in then)

    cluster.until("all hear each other again", again, 15)
    assert cluster.linked()
    assert cluster.undisturbed(before)


def heard(cluster: Cluster) -> dict[tuple[str, str], int]:
    """Who has received how many datagrams of whom."""
    return {
        (machine.name, link["peer"]): link["received_total"]
        for machine in cluster.machines
        for link in cluster.ask(machine, "/v1/links")["links"]
    }


def test_without_a_name_server_all_links_stand_and_a_node_returns_with_it(cluster: Cluster) -> None:
    before = cluster.standing()
    back = next(m for m in cluster.others(cluster.leader()) if m is not cluster.acting())
    others = cluster.others(back)
    cluster.bed.names.mood = "silent"
    cluster.nodes[back.name].stop(signal.SIGKILL)
    cluster.start(back)
    cluster.until("it runs again", lambda: cluster.links(back), START_SECONDS)
    cluster.holds("links stand", lambda: cluster.links(others[0])[others[1].name], 5)
    assert not any(cluster.links(back).values())
    cluster.bed.names.mood = "answers"
    cluster.until("it is linked again", cluster.linked, ASKED_AGAIN + 5)
    assert cluster.undisturbed(before)


def test_a_name_that_leads_to_another_node_is_no_way_in(cluster: Cluster) -> None:
    """Whoever answers there is a member, and the wrong one."""
    one, two, three = cluster.machines
    cluster.bed.call(three.name, two.address)
    cluster.nodes[one.name].stop()
    cluster.start(one)
    cluster.until("it notices", lambda: cluster.obstacle(one, three) == "wrong_node", START_SECONDS)
    assert not cluster.links(one)[three.name]
    cluster.bed.call(three.name, three.address)
    cluster.until("all links stand", cluster.linked, 10)


def test_a_leader_that_one_follower_does_not_hear_stays_leader(cluster: Cluster) -> None:
    leader = cluster.leader()
    before = cluster.standing()
    deaf = next(m for m in cluster.others(leader) if m is not cluster.acting())
    deaf.hears_nothing_of(leader)
    then = heard(cluster)

    def one_way() -> bool:
        now = heard(cluster)
        gained = {link: now[link] - then[link] for link in now}
        assert gained[deaf.name, leader.name] <= 1  # one may have been under way
        return gained[leader.name, deaf.name] > 10

    cluster.until("only one of the two hears the other", one_way, 20)
    assert cluster.undisturbed(before)


def test_a_fifth_of_all_packets_lost_between_machines_changes_nothing(cluster: Cluster) -> None:
    """`scripts/endure loss` watches for half an hour."""
    before = cluster.standing()
    tally, shares = endured.losing(cluster, 12)
    assert (tally.primary_changes, tally.two_primaries) == (0, 0)
    assert 0.1 < sum(shares) / len(shares) < 0.3, shares
    assert cluster.linked()
    assert cluster.undisturbed(before)


def test_a_path_that_swallows_what_is_long_is_no_obstacle(cluster: Cluster) -> None:
    """No packet of more than 1,280 bytes passes, and nobody is told: a tunnel whose ICMP is lost.
    What is there to be dialled, sent and read is longer than that."""
    hole = longer_than(endured.SMALLEST_MTU)
    for machine in cluster.machines:
        machine.impose(hole)
    cluster.bed.network.impose(hole)
    back = cluster.others(cluster.leader())[0]
    cluster.nodes[back.name].stop()
    cluster.start(back)
    cluster.until("all links stand", cluster.linked, START_SECONDS)
    assert len(str(cluster.ask(back, "/openapi.json"))) > 10 * endured.SMALLEST_MTU


def test_certificates_that_are_renewed_all_the_time_cost_nobody_anything(cluster: Cluster) -> None:
    """`scripts/endure renewals` does it for longer, under more load."""
    before = cluster.standing()
    found = endured.renewing(cluster, 4, rate=40, devices=60)
    assert (found.failed, found.lost) == ({}, {})
    assert found.writes > 0
    assert found.renewals >= 2 * len(cluster.machines)
    assert (found.tally.primary_changes, found.tally.two_primaries) == (0, 0)
    assert all(mb < 5 and files < 5 for mb, files in found.growth.values()), found.growth
    assert cluster.undisturbed(before)


def test_when_the_machine_of_the_primary_is_cut_off_another_takes_over(cluster: Cluster) -> None:
    """Nobody tells anybody: no connection is closed. The old one has stopped by itself."""
    old, (epoch, _) = cluster.acting(), cluster.standing()
    old.unplug()
    cluster.acting(*cluster.others(old), seconds=FAILOVER)
    alone = old.run(
        "stationkeep", "--ca", "tls/ca.pem", "status", "--format", "json",
        "--url", f"https://127.0.0.1:{HTTP}", fails=None,
        STATIONKEEP_TOKEN=(old.folder / "data" / "local-admin").read_text(),
    )  # fmt: skip
    assert '"effective_role":"PRIMARY"' not in alone.replace(" ", ""), alone
    old.plug()
    cluster.settled()
    assert cluster.standing()[0] == epoch + 1


def test_who_shows_no_token_is_told_nothing_from_anywhere(cluster: Cluster) -> None:
    one, two, _ = cluster.machines
    ask = ["stationkeep", "--ca", "tls/ca.pem", "status", "--url"]
    assert "is missing" in two.run(*ask, f"https://{one.host}:{HTTP}", fails=7)
    assert "is missing" in one.run(*ask, f"https://127.0.0.1:{HTTP}", fails=7)
    with httpx.Client(verify=False) as stranger:
        url = f"https://{one.address}:{HTTP}"
        assert stranger.get(f"{url}/livez").status_code == 200
        for path in ("/v1/cluster", "/v1/snapshot", "/metrics", "/v1/tokens"):
            refused = stranger.get(url + path)
            assert (refused.status_code, refused.json()["rule"]) == (401, "missing")
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://{one.address}:{HTTP}/livez")


def test_a_token_made_on_one_machine_is_good_on_another_until_it_is_revoked(
    cluster: Cluster,
) -> None:
    one, two, _ = cluster.machines
    url = f"https://{one.host}:{HTTP}"
    create = ["stationkeep", "tokens", "create", "--name", "ann", "--role", "viewer"]
    one.run(*create, "--config", "node.yaml", "--out", "ann.token")
    made = (one.folder / "ann.token").read_text()
    login = ["stationkeep", "--ca", "tls/ca.pem", "login", url, "--token-file", "-"]
    assert "ann" in two.run(*login, text=made)
    assert "PRIMARY" in two.run("stationkeep", "status")
    assert "role" in two.run("stationkeep", "pause", "--for", "1m", fails=7)
    nobody = {"XDG_CONFIG_HOME": "nothing-there"}  # trusts no CA of ours
    assert "not trusted" in two.run("stationkeep", "status", "--url", url, fails=4, **nobody)
    token = made.split("_")[1]
    one.run("stationkeep", "tokens", "revoke", token, "--config", "node.yaml")
    assert "revoked" in two.run("stationkeep", "status", fails=7)
