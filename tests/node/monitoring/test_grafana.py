"""The dashboards are what the code says, can be queried, and show what exists."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.grafana.__main__ import FOLDER, boards, text
from tests.node.monitoring.promql import named
from tests.node.monitoring.test_rules import rules

BOARDS = {path.name: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
PANELS = [
    pytest.param(panel, id=f"{board['uid']}/{panel['title']}")
    for board in BOARDS.values()
    for panel in board["panels"]
    if panel["type"] != "row"
]


def queries(panel: dict[str, Any], window: str = "1m") -> list[str]:
    """Expressions as Grafana sends them for a job named stationkeep."""
    given = {"$__rate_interval": window, "$job": "stationkeep"}
    found = [target["expr"] for target in panel["targets"]]
    for name, value in given.items():
        found = [expression.replace(name, value) for expression in found]
    return found


def test_the_files_are_what_the_code_writes() -> None:
    """Else: python -m scripts.grafana"""
    written = {name: text(document) for name, document in boards().items()}
    assert {path.name: path.read_text() for path in FOLDER.glob("*.json")} == written


def test_every_expression_parses(tmp_path: Path, promtool: Callable[..., str]) -> None:
    expressions = [each for panel in PANELS for each in queries(panel.values[0])]
    assert not [each for each in expressions if "$" in each]
    numbered = enumerate(expressions)
    recorded = [{"record": f"panel:{number}", "expr": each} for number, each in numbered]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}))
    promtool("check", "rules", file)


def test_every_expression_names_what_exists(exported: set[str]) -> None:
    known = exported | {rule["record"] for rule in rules("rules.yml")}
    for panel in PANELS:
        for expression in queries(panel.values[0]):
            assert named(expression), expression
            assert named(expression) <= known, expression


def test_every_metric_is_shown_somewhere(exported: set[str]) -> None:
    """What nobody looks at need not be exported: in a panel, or in the rule that it reads."""
    recorded = {rule["record"]: named(rule["expr"]) for rule in rules("rules.yml")}
    shown = {name for panel in PANELS for each in queries(panel.values[0]) for name in named(each)}
    shown |= {name for rule in shown & recorded.keys() for name in recorded[rule]}
    ours = {name for name in exported if name.startswith("stationkeep_")}
    # A histogram is shown by its buckets.
    assert not [name for name in ours - shown if not re.search(r"_(sum|count)$", name)]


@pytest.mark.parametrize("panel", PANELS)
def test_every_panel_explains_itself(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert all(target["legendFormat"] for target in panel["targets"])


def test_the_panels_of_the_first_description_are_there() -> None:
    titles = {panel["title"] for panel in BOARDS["failover.json"]["panels"]}
    assert titles >= {
        "Role distribution",
        "Failover time (p95)",
        "Role changes over time",
        "Health by role",
        "Flapping prevention",
    }


def test_no_two_panels_lie_on_each_other() -> None:
    for board in BOARDS.values():
        taken: set[tuple[int, int]] = set()
        for panel in board["panels"]:
            at = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(at["x"], at["x"] + at["w"])
                for y in range(at["y"], at["y"] + at["h"])
            }
            assert not cells & taken, panel["title"]
            assert at["x"] + at["w"] <= 24
            taken |= cells
        assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
