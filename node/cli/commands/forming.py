"""`init`, `join`: makes this machine a node of a cluster, the first or one more."""

import os
from pathlib import Path
from typing import Annotated

import typer

from stationkeep.cluster.commands import MemberSpec
from stationkeep.cluster.names import NAME_RULE, name_fault
from stationkeep.cluster.settings import DEFAULT_PROFILE, PROFILES
from stationkeep.node.cli.failures import CommandError, UsageError, see
from stationkeep.node.cli.output import say
from stationkeep.node.system.addresses import join_address

CONFIG, DATA = Path("/etc/stationkeep/node.yaml"), Path("/var/lib/stationkeep")
NodeOption = Annotated[
    str | None, typer.Option("--node", help="The node's id. Default: this machine's name.")
]
ConfigOption = Annotated[
    Path, typer.Option("--config", help="The node's file to write; the CA goes to tls/ beside it.")
]
DataOption = Annotated[
    Path, typer.Option("--data-dir", help="The node's data: missing yet, or empty.")
]
ListenOption = Annotated[
    str, typer.Option("--listen", help="An address of this machine. Default: all that it has.")
]
RaftPort = Annotated[int, typer.Option("--raft-port", min=1, max=65_535, help="For members.")]
HttpPort = Annotated[int, typer.Option("--http-port", min=1, max=65_535, help="For clients.")]


def init(
    cluster: Annotated[str, typer.Option("--cluster", help="The name of the new cluster.")],
    advertise: Annotated[
        str, typer.Option("--advertise", help="Name or address by which others reach this machine.")
    ],
    *,
    node: NodeOption = None,
    config: ConfigOption = CONFIG,
    data_dir: DataOption = DATA,
    profile: Annotated[
        str, typer.Option("--profile", help=f"Settings to begin with: {', '.join(PROFILES)}.")
    ] = DEFAULT_PROFILE,
    listen: ListenOption = "",
    raft_port: RaftPort = 7_701,
    http_port: HttpPort = 8_701,
) -> None:
    """Makes this machine the first node of a new cluster: a CA, a certificate, the node's file. Run
    it as the user that the node will run as; interrupted, run it again."""
    from stationkeep.node.forming.founding import found  # noqa: PLC0415
    from stationkeep.node.forming.place import FormingError, Place, check_addresses  # noqa: PLC0415

    _check_name("--cluster", cluster)
    if profile not in PROFILES:
        raise UsageError(f"--profile {profile!r} refused: one of {', '.join(PROFILES)}")
    own = MemberSpec(
        _named(node), join_address(advertise, raft_port), join_address(advertise, http_port)
    )
    place = Place(config.absolute(), data_dir.absolute(), own, listen)
    try:
        check_addresses(own, listen)
        founded = found(place, cluster, profile)
    except FormingError as error:
        raise CommandError(str(error) + see("forming")) from error
    say(f"{own.id} is the first node of {cluster}: wrote {place.config} and {place.tls_dir}")
    say(f"uid {founded.uid}\npin {founded.pin}")
    say(f"start it:        stationkeep node run --config {place.config}")
    option = f"--config {place.config}"
    say(f"your token:      stationkeep tokens create --name NAME --role admin {option}")
    say(f"invite another:  stationkeep nodes invite {option}")


def _named(node: str | None) -> str:
    """The id of this machine's node."""
    found = node or os.uname().nodename.partition(".")[0]
    _check_name("--node", found)
    return found


def _check_name(option: str, name: str) -> None:
    if name_fault(name) is not None:
        raise UsageError(f"{option} {name!r} refused: {NAME_RULE}")
