"""The rules are right, each alert is tested both ways, and the guide has a section for each."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from stationkeep.cluster.alarms import ALARMS
from stationkeep.cluster.transitions import OPERATOR_RULES
from stationkeep.node.guide.pages import find
from stationkeep.node.guide.rendering import article
from tests.node.monitoring.conftest import MONITORING
from tests.node.monitoring.promql import named

TESTS = Path(__file__).with_name("alerts.test.yml")
PAGE = (MONITORING.parent / "guide" / "alarms.md").read_text()
SEED = {
    "role_changes_total",
    "failover_time_seconds_p95",
    "flapping_events_blocked",
    "role_distribution",
}


def rules(file: str) -> Iterator[dict[str, Any]]:
    for group in yaml.safe_load((MONITORING / file).read_text())["groups"]:
        yield from group["rules"]


ALERTS = list(rules("alerts.yml"))
NAMES = sorted({alert["alert"] for alert in ALERTS})


def expressions(name: str) -> str:
    return "\n".join(alert["expr"] for alert in ALERTS if alert["alert"] == name)


def test_alerts_fire_when_they_should_and_only_then(promtool: Callable[..., str]) -> None:
    promtool("test", "rules", TESTS)


@pytest.mark.parametrize(
    ("file", "wrong", "right"),
    [
        ("rules.yml", "last_over_time(stationkeep_node_risk_score[1m])", "node_risk_score"),
        ("rules.yml", "or count by (job)", "and count by (job)"),
        (
            "alerts.yml",
            "job_le:stationkeep_failover_time_seconds_bucket:max",
            "stationkeep_failover_time_seconds_bucket",
        ),
        ("rules.yml", "sum by (job, instance, to) (stationkeep_task", "(stationkeep_task"),
        ("alerts.yml", "switchover|failover|maintenance", "nothing"),
        ("alerts.yml", "for: 3m", "for: 1m"),
    ],
)
def test_a_worse_rule_does_not_pass(
    tmp_path: Path, promtool: Callable[..., str], file: str, wrong: str, right: str
) -> None:
    """The cases would notice what is easily lost when a rule is made simpler."""
    folder = tmp_path / "node" / "monitoring"
    shutil.copytree(MONITORING, folder)
    cases = tmp_path / "tests" / "node" / "monitoring" / TESTS.name
    cases.parent.mkdir(parents=True)
    shutil.copy(TESTS, cases)
    text = (folder / file).read_text()
    assert wrong in text
    (folder / file).write_text(text.replace(wrong, right))
    with pytest.raises(AssertionError, match="FAILED"):
        promtool("test", "rules", cases)


def test_the_rules_and_the_examples_are_valid(promtool: Callable[..., str], tmp_path: Path) -> None:
    for file in MONITORING.glob("*.yml"):
        shutil.copy(file, tmp_path)
    for name in ("ca.pem", "metrics.token"):
        (tmp_path / name).write_text("promtool asks only whether it is there")
    promtool("check", "config", tmp_path / "prometheus.yml")
    promtool("check", "config", tmp_path / "prometheus-tls.yml")


def test_the_metrics_keep_prometheus_conventions(
    promtool: Callable[..., str], exposition: str
) -> None:
    """Help texts, base units, suffixes."""
    promtool("check", "metrics", input=exposition)


def test_rules_read_only_what_exists(exported: set[str]) -> None:
    recorded = {rule["record"] for rule in rules("rules.yml")}
    assert recorded >= SEED
    for rule in rules("rules.yml"):
        assert named(rule["expr"]) <= exported, rule["record"]
    for alert in ALERTS:
        assert named(alert["expr"]) <= exported | recorded, alert["alert"]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_every_alert_says_what_it_is_and_what_to_do(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
    assert alert["annotations"]["runbook_url"] == (f"node/guide/alarms.md#{alert['alert'].lower()}")
    section = re.search(rf"^## {alert['alert']}\n\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    assert section is not None
    assert len(section[1].split()) > 20


def test_the_page_has_no_section_of_an_alert_that_is_gone() -> None:
    assert set(re.findall(r"^## ([A-Z_]+)$", PAGE, re.M)) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_is_tested_both_ways(name: str) -> None:
    checks = [
        check
        for case in yaml.safe_load(TESTS.read_text())["tests"]
        for check in case["alert_rule_test"]
        if check["alertname"] == name
    ]
    assert any(check["exp_alerts"] for check in checks)
    assert any(not check["exp_alerts"] for check in checks)


def test_what_operators_order_is_not_flapping() -> None:
    found = re.search(r'reason!~"([^"]+)"', expressions("FLAPPING_DETECTED"))
    assert found is not None
    assert set(found[1].split("|")) == OPERATOR_RULES


def test_alarms_are_as_severe_as_the_cluster_says() -> None:
    critical = {name for name, kind in ALARMS.items() if kind.severity == "critical"}
    for pattern in re.findall(r'name[=!]~"([^"]+)"', expressions("ALARM_RAISED")):
        assert set(pattern.split("|")) == critical


def test_the_page_has_a_section_of_every_alarm_where_its_links_lead() -> None:
    """The dashboard makes the anchor in the same way (`alarms.js`)."""
    anchors = {section.anchor for section in article(find("alarms")).sections}
    assert {name.replace("_", "-") for name in ALARMS} <= anchors
    table = re.findall(r"^\| `(\w+)` \| (critical|warning) \|", PAGE, re.M)
    assert dict(table) == {name: kind.severity for name, kind in ALARMS.items()}
