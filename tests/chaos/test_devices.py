"""Real processes: nodes are killed under thousands of devices, and devices fall ill."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stationkeep.node.agent.behaviour import behaviour
from stationkeep.node.agent.simulator import Fleet
from stationkeep.node.chaos.constellation import Constellation
from tests.chaos.devices import ILL, WELL, Devices, counts, table

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]

FLEET = 2_000
HOLD_SECONDS = 10.0  # profile demo: recovery_hold
RECORDINGS = sorted(Path("/work/shared/data/nab").glob("*.csv"))


@pytest.fixture
def devices(constellation: Constellation) -> Iterator[Devices]:
    """Devices of five nodes."""
    constellation.up()
    made = Devices(constellation)
    yield made
    made.end()


def configure(constellation: Constellation, **settings: object) -> None:
    node = constellation.leader()
    constellation.until(
        f"{settings} taken",
        lambda: constellation.ask(node, "/v1/config", settings, "PATCH")["status"] == "done",
    )


def test_a_fleet_outlives_any_two_of_five_nodes(
    constellation: Constellation, devices: Devices
) -> None:
    """And no assignment changes by that: not in the log, and not as the devices hear of it."""
    configure(constellation, device_status_interval="2s", device_offline_after="10s",
              redistribution="off")  # fmt: skip
    devices.simulate(FLEET, "healthy")
    constellation.until("devices come in", lambda: devices.moment().connected > FLEET / 4)
    first = constellation.leader()
    constellation.kill(first)
    constellation.until("all are in", lambda: devices.moment().connected == FLEET)
    constellation.local.start(first)
    before = agreed(constellation)
    assert before == dict.fromkeys(before, FLEET / 4)
    rings = {name: (one["ring"], one["revision"]) for name, one in table(constellation).items()}
    assert len(rings) == FLEET

    for take in (constellation.leader, constellation.acting):
        pair = two_of(constellation, take)
        served = [one["served_by"] for one in table(constellation).values()]
        orphans = sum(served.count(node) for node in pair)
        back = devices.moment().reconnects + orphans
        for node in pair:
            constellation.kill(node)
        constellation.until(
            f"{orphans} devices talk to another node",
            lambda back=back: devices.moment().reconnects >= back,
        )
        for node in pair:
            constellation.local.start(node)
        assert agreed(constellation) == before

    after = {name: (one["ring"], one["revision"]) for name, one in table(constellation).items()}
    assert after == rings
    end = devices.moment()
    assert end.rings == before
    assert end.ring_changes == FLEET  # each heard of its ring once, at the start
    assert end.reconnects > FLEET / 4
    assert end.connected == FLEET
    assert end.ended == 0
    digests = constellation.until(
        "all replicas are equal",
        lambda: len(set((known := constellation.digests()).values())) == 1 and known,
    )
    assert len(digests) == 5


def two_of(constellation: Constellation, take: Callable[[], str]) -> tuple[str, str]:
    """That one, and the node after it."""
    first = take()
    nodes = sorted(constellation.addresses)
    return first, nodes[(nodes.index(first) + 1) % len(nodes)]


def agreed(constellation: Constellation) -> dict[str, int]:
    """Devices by ring, once all five nodes count the whole fleet online and the same."""

    def same() -> dict[str, int] | None:
        seen = [counts(constellation, node) for node in constellation.addresses]
        whole = all(
            one["total_slaves"] == one["healthy_devices"] == FLEET and not one["offline_devices"]
            for one in seen
        )
        return seen[0]["ring_distribution"] if whole and seen.count(seen[0]) == 5 else None

    found: dict[str, int] = constellation.until("all nodes count the same", same)
    return found


def test_an_ill_device_leaves_prod_and_comes_back_when_it_has_been_well_for_long(
    constellation: Constellation, devices: Devices
) -> None:
    configure(constellation, redistribution="off")
    health = {}
    agents = devices.named(12, health)
    agent = next(agent for agent in agents if agent.ring == "prod")
    phone = agent.identity.device_id
    rings = [agent.ring for agent in agents]
    assert {rings.count(ring) for ring in rings} == {3}

    health[phone] = ILL
    ill = constellation.until("it counts as ill", lambda: not seen(constellation, phone)["healthy"])
    assert ill
    checks = constellation.anyone("/v1/rings")["checks"]
    constellation.until("it is told to leave", lambda: agent.ring in ("canary", "dev"))
    assert constellation.anyone("/v1/rings")["checks"] <= checks + 2

    health[phone] = WELL
    constellation.until("it counts as well", lambda: seen(constellation, phone)["healthy"])
    constellation.until("it is told to come back", lambda: agent.ring == "prod")
    moves = constellation.anyone(f"/v1/devices/{phone}/history")["items"]
    assert [(m["origin"], m["target"], m["reason"]) for m in reversed(moves)] == [
        (None, "prod", "registered"),
        ("prod", moves[0]["origin"], "unhealthy"),
        (moves[0]["origin"], "prod", "recovered"),
    ]
    assert moves[0]["at_ms"] - moves[1]["at_ms"] >= HOLD_SECONDS * 1_000
    assert [one.ring for one in agents] == rings  # and nobody else had to move


def seen(constellation: Constellation, device: str) -> dict[str, object]:
    found: dict[str, object] = constellation.anyone(f"/v1/devices/{device}")
    return found


@pytest.mark.skipif(not RECORDINGS, reason="the recordings are not on this machine")
def test_recorded_servers_are_judged_by_their_load(
    constellation: Constellation, devices: Devices
) -> None:
    """One of five recordings is of a server that is overloaded nearly all of the time."""
    assert len(RECORDINGS) == 5
    count = 200
    devices.simulate(count, "replay", data=tuple(RECORDINGS), speed=60)
    identity = Fleet(count=count, behaviour=behaviour("healthy", 1)).identity
    overloaded = next(i for i, path in enumerate(RECORDINGS) if "825cc2" in path.name)
    busy = {identity(index).device_id for index in range(overloaded, count, 5)}

    def judged() -> bool:
        known = table(constellation)
        ill = {name for name, one in known.items() if not one["healthy"]}
        upper = {name for name, one in known.items() if one["ring"] in ("stage", "prod")}
        return len(known) == count and ill <= busy and len(ill) > 30 and not ill & upper

    constellation.until("the overloaded are ill, and in no upper ring", judged)
    rings = counts(constellation, constellation.leader())["ring_distribution"]
    assert sum(rings.values()) == count
    assert all(abs(number - count / 4) <= 4 for number in rings.values())  # the band: 2 %


def test_eight_named_devices_print_the_clusters_status(constellation: Constellation) -> None:
    constellation.up(nodes=1)
    constellation.until("it takes devices in", lambda: constellation.anyone("/v1/rings"))
    (address,) = constellation.addresses.values()
    script = Path(__file__).parents[2] / "scripts" / "eight_devices.py"
    done = subprocess.run(
        [sys.executable, script, f"http://{address}"], capture_output=True, text=True, timeout=60,
        check=True,
    )  # fmt: skip
    lines = [line.partition(" - INFO - ")[2] for line in done.stdout.splitlines()]
    assert lines[-7:] == [
        "Total Slaves: 8",
        "Healthy Devices: 7",
        "Ring Distribution:",
        *(f"  - {ring}: 2 devices" for ring in ("canary", "dev", "stage", "prod")),
    ]
    assert "iPhone 13: slave-006" in lines


def test_devices_start_and_end_with_the_cluster(constellation: Constellation) -> None:
    constellation.up(nodes=1, devices=12)
    fleet = constellation.local.manifest().devices
    assert fleet is not None
    constellation.until(
        "twelve devices are known",
        lambda: constellation.anyone("/v1/cluster")["fleet"]["total_slaves"] == 12,
    )
    assert constellation.local.down()["devices"] == "stopped"
    assert not fleet.running
    assert "connected at the end" in Path(fleet.log).read_text()
