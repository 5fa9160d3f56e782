"""The Grafana dashboards: described here, written as JSON to node/monitoring/grafana/.

.venv/bin/pip install -e '.[dashboards]'
.venv/bin/python -m scripts.grafana

One dashboard answers "who is PRIMARY, and does failover work?", the other is for whoever looks
after the nodes. Panels read the series of rules.yml where there are some: those are one for each
cluster, whichever node leads. A job is a cluster.
"""

import json
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import VariableRefresh

from scripts.grafana import failover, fleet, operations
from scripts.grafana.panels import SOURCE

FOLDER = Path(__file__).resolve().parents[2] / "node" / "monitoring" / "grafana"


def _board(uid: str, title: str, about: str) -> dashboard.Dashboard:
    source = dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
    jobs = dashboard.QueryVariable("job").label("Cluster").datasource(SOURCE)
    jobs.query("label_values(stationkeep_build_info, job)")
    board = dashboard.Dashboard(title).uid(uid).description(about).tags(["stationkeep"])
    board.time("now-1h", "now").refresh("10s").timezone("browser")
    return board.with_variable(source).with_variable(
        jobs.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
    )


def _fill(board: dashboard.Dashboard, rows: dict[str, list[Any]]) -> dict[str, Any]:
    for title, panels in rows.items():
        board.with_row(dashboard.Row(title))
        for panel in panels:
            board.with_panel(panel)
    document: dict[str, Any] = json.loads(json.dumps(board.build(), cls=JSONEncoder))
    for number, panel in enumerate(document["panels"], 1):
        panel["id"] = number  # Grafana would give some itself, and other ones each time
    return document


def boards() -> dict[str, dict[str, Any]]:
    """File name → dashboard."""
    first = _board(
        "stationkeep-failover",
        "Stationkeep: failover",
        "Who is PRIMARY, how healthy the roles are, and how failovers went.",
    )
    second = _board(
        "stationkeep-operations",
        "Stationkeep: operations",
        "Votes, Raft, links, the fleet, webhooks and processes, for whoever looks after the nodes.",
    )
    rows = {
        "Votes": operations.votes(),
        "Raft": operations.raft(),
        "Links": operations.links(),
        "Fleet": fleet.devices(),
        "Deployments and rollouts": fleet.deployments(),
        "Webhooks and traces": operations.tellings(),
        "Processes": operations.processes(),
    }
    return {
        "failover.json": _fill(first, {"Now": failover.now(), "Roles": failover.seeds()}),
        "operations.json": _fill(second, rows),
    }


def text(document: dict[str, Any]) -> str:
    """A dashboard as it stands in the repository."""
    return json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def main() -> None:
    """Writes both."""
    FOLDER.mkdir(exist_ok=True)
    for name, document in boards().items():
        (FOLDER / name).write_text(text(document), encoding="utf-8")


if __name__ == "__main__":
    main()
