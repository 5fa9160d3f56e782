"""One node: everything that the cluster knows of it."""

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from stationkeep.node.cli.rendering import wording
from stationkeep.node.cli.rendering.tables import facts

Json = dict[str, Any]


def sheet(node: Json) -> RenderableType:
    """What it is, how it is, and where it is reached."""
    held = {
        "maintenance": (node.get("maintenance") or {}).get("reason") or "",
        "escalated by": node.get("escalated_by") or "",
        "cannot serve": node.get("unable") or "",
    }
    shown = {
        "role": node["role"],
        "acts as": wording.acts_as(node),
        "epoch": node.get("epoch"),
        "Raft leader": "yes" if node.get("raft_leader") else "no",
        "risk": f"{wording.risk(node)}  {wording.bar(node.get('history', []))}",
        "cause": node.get("cause") or "",
        "failures": (node.get("failure_mode") or "").lower(),
        "lease": wording.span(node.get("lease_remaining_s")),
        "cool-down": wording.span(node.get("cooldown_remaining_s")),
        "priority": node.get("priority"),
        "unusual": ", ".join(wording.flags(node)),
        **held,
        "HTTP": node["address"].get("http"),
        "Raft": node["address"].get("raft"),
    }
    kept = {name: value for name, value in shown.items() if value not in (None, "", "-")}
    return Group(Text(node["id"], style="bold"), facts(kept))
