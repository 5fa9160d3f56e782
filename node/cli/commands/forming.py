"""`init`, `join`: makes this machine a node of a cluster, the first or one more."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stationkeep.cluster.names import NAME_RULE, name_fault
from stationkeep.cluster.settings import DEFAULT_PROFILE, PROFILES
from stationkeep.node.cli.confided import given
from stationkeep.node.cli.failures import CommandError, UsageError, see
from stationkeep.node.cli.output import note, say
from stationkeep.node.system.addresses import join_address, split_address

if TYPE_CHECKING:
    from stationkeep.cluster.commands import MemberSpec
    from stationkeep.node.forming.place import Place
    from stationkeep.node.security.invitations import Word

VARIABLE = "STATIONKEEP_JOIN_TOKEN"

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
    from stationkeep.node.forming.place import FormingError  # noqa: PLC0415

    _check_name("--cluster", cluster)
    if profile not in PROFILES:
        raise UsageError(f"--profile {profile!r} refused: one of {', '.join(PROFILES)}")
    own = _spec(_named(node), advertise, raft_port, http_port)
    try:
        place = _place(config, data_dir, own, listen)
        founded = found(place, cluster, profile)
    except FormingError as error:
        raise CommandError(str(error) + see("forming")) from error
    say(f"{own.id} is the first node of {cluster}: wrote {place.config} and {place.tls_dir}")
    say(f"uid {founded.uid}\npin {founded.pin}")
    say(f"start it:        stationkeep node run --config {place.config}")
    option = f"--config {place.config}"
    say(f"log in:          stationkeep login {option}")
    say(f"invite another:  stationkeep nodes invite {option}")


def join(
    address: Annotated[
        str, typer.Argument(metavar="HOST:PORT", help="The HTTP port of a node of the cluster.")
    ],
    *,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", help="Where the invitation is; - for standard input."),
    ] = None,
    node: NodeOption = None,
    advertise: Annotated[
        str | None,
        typer.Option(
            "--advertise",
            help="Name or address by which others reach this machine. Default: the address from "
            "which it reaches the other node.",
        ),
    ] = None,
    config: ConfigOption = CONFIG,
    data_dir: DataOption = DATA,
    listen: ListenOption = "",
    raft_port: RaftPort = 7_701,
    http_port: HttpPort = 8_701,
) -> None:
    """Makes this machine a node of the cluster that it was invited into (`nodes invite`). Run it as
    the user that the node will run as; interrupted, run it again."""
    from stationkeep.node.forming.joining import join as joined  # noqa: PLC0415
    from stationkeep.node.forming.place import FormingError, own_address  # noqa: PLC0415

    id_, there = _named(node), _address(address)
    word = _word(token_file)
    try:
        host = advertise or own_address(there)
        place = _place(config, data_dir, _spec(id_, host, raft_port, http_port), listen)
        done = joined(place, there, word, note)
    except FormingError as error:
        raise CommandError(str(error) + see("forming")) from error
    say(f"{id_} {'was' if done.before else 'is'} a member of {done.cluster}: {place.config}")
    say(f"start it:  stationkeep node run --config {place.config}")


def _address(text: str) -> str:
    """The address of a node; people paste what a browser shows."""
    bare = text.removeprefix("https://").rstrip("/")
    try:
        split_address(bare)
    except ValueError as error:
        raise UsageError(f"{text!r} refused: {error}") from error
    return bare


def _word(file: Path | None) -> "Word":
    """An invitation from the environment, a file, or a person who types it."""
    from stationkeep.node.security.invitations import parse  # noqa: PLC0415
    from stationkeep.node.security.tokens import TokenFault  # noqa: PLC0415

    text = os.environ.get(VARIABLE, "") if file is None else ""
    try:
        return parse(text.strip() or given(file, "invitation: "))
    except TokenFault as fault:
        raise UsageError(f"the invitation: {fault}") from None


def _place(config: Path, data_dir: Path, own: "MemberSpec", listen: str) -> "Place":
    from stationkeep.node.forming.place import Place, check_addresses  # noqa: PLC0415

    check_addresses(own, listen)
    return Place(config.absolute(), data_dir.absolute(), own, listen)


def _spec(node: str, host: str, raft_port: int, http_port: int) -> "MemberSpec":
    from stationkeep.cluster.commands import MemberSpec  # noqa: PLC0415 - numpy

    host = host.removeprefix("[").removesuffix("]")
    return MemberSpec(node, join_address(host, raft_port), join_address(host, http_port))


def _named(node: str | None) -> str:
    """The id of this machine's node."""
    found = node or os.uname().nodename.partition(".")[0]
    _check_name("--node", found)
    return found


def _check_name(option: str, name: str) -> None:
    if name_fault(name) is not None:
        raise UsageError(f"{option} {name!r} refused: {NAME_RULE}")
