"""`login`, `context list|use|remove`: which cluster is asked, and as whom."""

from pathlib import Path
from typing import Annotated

import typer

from stationkeep.cluster.names import name_fault
from stationkeep.node.cli import contexts, shapes
from stationkeep.node.cli.client import Client, named
from stationkeep.node.cli.confided import given
from stationkeep.node.cli.failures import NotAuthorisedError, UsageError
from stationkeep.node.cli.local_admin import administrator
from stationkeep.node.cli.options import Format, FormatOption
from stationkeep.node.cli.output import say, show_table
from stationkeep.node.client.exchange import actor
from stationkeep.node.security.tokens import draw
from stationkeep.node.system.addresses import member_urls
from stationkeep.node.system.printable import printable

_NO_PEOPLE = frozenset({"metrics", "device", "enrol"})
"""Roles that may ask for nothing about the cluster."""
LIFE = "365d"
"""Of a token that is made here."""
NameArgument = Annotated[str, typer.Argument(metavar="CONTEXT", help="Its name.")]


def login(
    address: Annotated[str | None, typer.Argument(help="Any node of the cluster.")] = None,
    *,
    name: Annotated[
        str | None, typer.Option("--name", help="Of the context. Default: that of the cluster.")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", help="Where the token is; - for standard input."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            help="A node's file, on its machine, instead of URL and token: makes a token of an "
            "administrator, by the one that the node keeps for its own user.",
        ),
    ] = None,
) -> None:
    """Keeps a cluster and the token for it, and uses them from now on. Asks for the token without
    showing it."""
    if config is None:
        where, token = _given(address, token_file)
    else:
        where, token = _of_machine(config, address, name)
    node = Client(where, token=token)
    me = node.get("/v1/me", dict[str, str])
    role, actor = printable(me.get("role", "")), printable(me.get("actor", ""))
    if role == "none":
        raise NotAuthorisedError(f"{where}: {printable(me.get('because', ''))}")
    if role in _NO_PEOPLE and name is None:
        raise UsageError("--name: this token may not ask for the name of the cluster")
    known = name or _name_of(node)
    contexts.check_name(known)
    ca = contexts.keep_ca(known) if where.startswith("https:") else ""
    others = () if role in _NO_PEOPLE else _others(node)
    contexts.put(known, contexts.Context(where, token, ca, others))
    say(f"context {known}: {where} as {actor}, {role}")


def _given(address: str | None, token_file: Path | None) -> tuple[str, str]:
    """The address and the token that somebody has."""
    if address is None:
        raise UsageError("URL is missing; or --config, on the machine of a node")
    where = named(address)
    contexts.check_private(where)
    token = contexts.checked_token(given(token_file, "token: "), "the token")
    contexts.trust_known(where)
    return where, token


def _of_machine(config: Path, address: str | None, name: str | None) -> tuple[str, str]:
    """The address of this machine's node, and a new token for whoever is its administrator."""
    if address is not None:
        raise UsageError("--config: the node is that of this machine; leave URL out")
    node, shown = administrator(config, None), draw()
    contexts.check_name(name or _name_of(node))  # before there is a token that nobody keeps
    body = {"token": shown.id, "sha256": shown.hash.hex(), "name": _user(), "role": "admin"}
    node.write("POST", "/v1/tokens", body | {"lifetime": LIFE}, None)
    return node.url, shown.text


def _user() -> str:
    """Whose the token is, as the history shows it."""
    user = actor().partition("@")[0]
    return "admin" if name_fault(user) else user


def _others(node: Client) -> tuple[str, ...]:
    """Where a node says that the other members are."""
    members = node.items("/v1/nodes", shapes.Node, contexts.MOST_OTHERS)
    told = member_urls((member["address"]["http"] for member in members), node.url)
    return tuple(url for url in told if url != node.url)


def _name_of(node: Client) -> str:
    """What a cluster calls itself, unless that is the name of another one."""
    name: str = node.get("/v1/cluster", shapes.Cluster)["cluster_id"]
    before = contexts.load().known.get(name)
    if before is not None and before.url != node.url:
        rule = f"it says that it is {printable(name)}, which is known at {before.url}"
        raise UsageError(f"--name: {rule}; say whether to replace that, by --name")
    return name


def context_list(format_: FormatOption = Format.TABLE) -> None:
    """Lists contexts; the one in use is marked."""
    found = contexts.load()
    items = [
        {"name": name, "url": context.url, "current": name == found.current}
        for name, context in sorted(found.known.items())
    ]
    show_table(items, format_, "contexts")


def context_use(name: NameArgument) -> None:
    """Uses a context from now on."""
    contexts.use(name)
    say(f"context {name}")


def context_remove(name: NameArgument) -> None:
    """Forgets a context and its token, which stays good until it is revoked."""
    contexts.remove(name)
    say(f"context {name} is forgotten")
