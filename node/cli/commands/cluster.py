"""`status`: a summary of the cluster."""

from typing import Annotated, Any

import typer

from stationkeep.node.cli import shapes
from stationkeep.node.cli.failures import CommandError
from stationkeep.node.cli.options import MOST_NODES, Format, FormatOption, UrlOption, client
from stationkeep.node.cli.output import show


def status(
    url: UrlOption = None,
    *,
    check: Annotated[bool, typer.Option("--check", help="Exit 1 unless all is well.")] = False,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Shows the cluster: verdict, PRIMARY, Raft leader, fleet, and every node with its role."""
    node = client(url)
    cluster = node.get("/v1/cluster", shapes.Cluster)
    items = node.items("/v1/nodes", shapes.Node, MOST_NODES)

    def table(answer: Any) -> Any:
        from stationkeep.node.cli.rendering import tables  # noqa: PLC0415

        return tables.status(answer["cluster"], answer["nodes"])

    show({"cluster": cluster, "nodes": items}, format_, table)
    if check and cluster["verdict"] != "ok":
        raise CommandError(f"{cluster['verdict']}: {cluster['headline']}")
