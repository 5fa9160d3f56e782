"""A real Prometheus scrapes a real cluster, with the rules as they are shipped: the PRIMARY is
killed, the alerts see it, and see that it is over. What the dashboards ask has an answer."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from stationkeep.node.chaos.constellation import Constellation, free_ports
from tests.node.monitoring.conftest import MONITORING, installed
from tests.node.monitoring.prometheus import Prometheus
from tests.node.monitoring.test_grafana import PANELS, queries

pytestmark = [pytest.mark.processes, pytest.mark.timeout(240)]

QUICK = "200ms"
SHORT = "1s"
"""How long an alert waits here: the cluster's evaluations come every second, not every thirty."""
MAY_BE_EMPTY = {
    "stationkeep-failover/Alarms",
    "stationkeep-failover/Flapping prevention",
    "stationkeep-failover/Last flapping event blocked",
    "stationkeep-operations/Moves",
    "stationkeep-operations/Messages refused",
    "stationkeep-operations/Newest snapshot took",
    "stationkeep-operations/Messages waiting",
    "stationkeep-operations/Attempts to deliver",
    "stationkeep-operations/Spans of traces",
    "stationkeep-operations/Orders refused, operations remembered",
    "stationkeep-operations/TLS",
    "stationkeep-operations/Certificates",
}
"""Panels that show only what happened, none of which need happen here."""


def _configure(folder: Path, targets: list[str]) -> Path:
    """The example with these targets; of the rules nothing is changed but the patience."""
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": QUICK, "scrape_timeout": QUICK}
    config["global"]["evaluation_interval"] = QUICK
    config["scrape_configs"][0]["static_configs"] = [{"targets": targets}]
    alerts = yaml.safe_load((MONITORING / "alerts.yml").read_text())
    for group in alerts["groups"]:
        for rule in group["rules"]:
            rule["for"] = SHORT
    (folder / "alerts.yml").write_text(yaml.safe_dump(alerts))
    (folder / "rules.yml").write_text((MONITORING / "rules.yml").read_text())
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture
def watched(constellation: Constellation, tmp_path: Path) -> Iterator[Prometheus]:
    """Three nodes with devices, settled, and a Prometheus that has scraped all of them."""
    installed("prometheus")
    constellation.up(nodes=3, devices=4)
    folder = tmp_path / "prometheus"
    folder.mkdir()
    taken = [int(each.rpartition(":")[2]) for each in constellation.addresses.values()]
    port = free_ports(1, max(taken) + 1)  # the nodes may not listen yet
    config = _configure(folder, list(constellation.addresses.values()))
    prometheus = Prometheus(folder, config, port)
    try:
        constellation.until("Prometheus is ready", prometheus.ready)
        constellation.until(
            "all are scraped", lambda: prometheus.value('sum(up{job="stationkeep"})') == 3
        )
        yield prometheus
    finally:
        prometheus.close()


def test_the_alerts_see_a_killed_primary_and_that_it_is_over(
    constellation: Constellation, watched: Prometheus
) -> None:
    primary = constellation.seat_primary(beside_leader=True)
    address = constellation.addresses[primary]
    constellation.until(
        "Prometheus knows the PRIMARY",
        lambda: watched.value("job:stationkeep_effective_primary:sum") == 1,
    )
    constellation.until(  # it did, if the first PRIMARY took long
        "NO_PRIMARY does not fire", lambda: not watched.firing("NO_PRIMARY")
    )
    failed = 'sum(role_changes_total{reason="primary_failed"})'
    constellation.until("no failover is counted yet", lambda: watched.value(failed) == 0)
    constellation.kill(primary)

    nobody = constellation.until("NO_PRIMARY fires", lambda: watched.firing("NO_PRIMARY"))
    assert nobody[0]["annotations"]["summary"] == "No node of stationkeep acts as PRIMARY."
    constellation.until("it clears", lambda: not watched.firing("NO_PRIMARY"))
    acts = watched.ask("stationkeep_effective_primary == 1")
    assert [each["metric"]["instance"] for each in acts] != [address]

    constellation.until(
        "the names of the first description tell the failover, though the leader died as well",
        lambda: watched.value(failed) == 2,
    )
    constellation.until(
        "so does its duration", lambda: (watched.value("failover_time_seconds_p95") or 0) > 0
    )
    assert watched.value("sum(role_distribution)") == 3
    assert watched.ask("flapping_events_blocked")

    down = constellation.until("MEMBER_DOWN fires", lambda: watched.firing("MEMBER_DOWN"))
    assert [each["labels"]["instance"] for each in down] == [address]
    constellation.local.start(primary)
    constellation.until("it clears", lambda: not watched.firing("MEMBER_DOWN"))


def test_every_panel_shows_something(constellation: Constellation, watched: Prometheus) -> None:
    primary = constellation.seat_primary(beside_leader=True)
    with constellation.watch() as watch:
        epoch = watch.wait(lambda acts: acts.node == primary, 5.0).epoch
        constellation.kill(primary)
        watch.wait(lambda acts: acts.epoch > epoch, 10.0)
    constellation.until(
        "the failover is scraped", lambda: watched.value("failover_time_seconds_p95")
    )
    node = next(iter(constellation.local.running()))
    made = constellation.ask(node, "/v1/tasks", {"all": True, "artifact": {"version": "9.0.0"}})
    assert made["members"] > 0, made
    stages = [{"name": "all", "ring": "all", "soak": "10m"}]
    plan = {"artifact": {"version": "9.1.0"}, "stages": stages}
    constellation.ask(node, "/v1/rollouts", {"rollout": "fw", "plan": plan})
    begun = constellation.ask(node, "/v1/rollouts/fw/start", {})
    assert begun["status"] == "done", begun

    for panel in PANELS:
        if panel.id not in MAY_BE_EMPTY:
            constellation.until(
                f"{panel.id} is not blank",
                lambda panel=panel: any(watched.ask(each) for each in queries(panel.values[0])),
            )
        else:
            assert all(isinstance(watched.ask(each), list) for each in queries(panel.values[0]))
