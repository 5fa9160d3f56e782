"""`describe`: one thing, whatever it is; and `nodes show`."""

from typing import Annotated

import typer

from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.suggestion import unknown
from stationkeep.node.cli import rollout_shapes, shapes
from stationkeep.node.cli.client import part
from stationkeep.node.cli.commands.devices import devices_list, show_device
from stationkeep.node.cli.commands.rollout_files import rollout_path
from stationkeep.node.cli.commands.tasks import tasks_show
from stationkeep.node.cli.failures import CommandError, UsageError
from stationkeep.node.cli.options import (
    MOST_NODES,
    Format,
    FormatOption,
    NodeArgument,
    UrlOption,
    client,
    whole,
)
from stationkeep.node.cli.output import show_table


def nodes_show(
    node: NodeArgument, url: UrlOption = None, format_: FormatOption = Format.TABLE
) -> None:
    """Shows everything that is known about one node. Why it has its role: `explain`."""
    found = client(url).get(f"/v1/nodes/{part(node)}", shapes.Node)
    show_table(found, format_, "sheet", "node_sheet")


def describe(
    thing: Annotated[
        str,
        typer.Argument(metavar="NODE|DEVICE|ROLLOUT|DEPLOYMENT|RING", help="Its name, or number."),
    ],
    url: UrlOption = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Shows a node, a device, a rollout, a deployment, or the devices of a ring, by its name."""
    if not thing:
        raise UsageError("'' is no name")
    if thing.lower() in set(Ring):
        devices_list(ring=Ring(thing.lower()), url=url, format_=format_)
        return
    if thing.isdecimal():
        tasks_show(whole("DEPLOYMENT", thing), url=url, format_=format_)
        return
    node = client(url)
    if found := node.find(f"/v1/nodes/{part(thing)}", shapes.Node):
        show_table(found, format_, "sheet", "node_sheet")
    elif node.find(f"/v1/devices/{part(thing)}", shapes.Device):
        show_device(node, thing, format_)
    elif found := node.find(rollout_path(thing), rollout_shapes.Rollout):
        show_table(found, format_, "rollout", "rollout_tables")
    else:
        members = (member["id"] for member in node.items("/v1/nodes", shapes.Node, MOST_NODES))
        raise CommandError(unknown("node, device or rollout", thing, members))
