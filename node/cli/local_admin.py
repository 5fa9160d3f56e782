"""A client that speaks with a node as the administrator of its own machine."""

import os
from pathlib import Path
from typing import Annotated

import typer

from stationkeep.node.cli import contexts
from stationkeep.node.cli.client import Client
from stationkeep.node.cli.failures import CommandError
from stationkeep.node.cli.options import client
from stationkeep.node.security.trust import VARIABLE
from stationkeep.node.system.addresses import join_address, split_address

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="A node's file, on its machine: act as local-admin, by the token that the node keeps "
        "for its own user.",
    ),
]
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - of whoever listens everywhere


def administrator(config: Path | None, url: str | None) -> Client:
    """The node to ask: that of a file, as its local administrator, or any."""
    if config is None:
        return client(url)
    from stationkeep.node.config.node_config import ConfigError, load  # noqa: PLC0415
    from stationkeep.node.security.local_door import NAME, local_token  # noqa: PLC0415

    try:
        own = load(config)
        token = local_token(own.data_dir)
    except ConfigError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        where = f"{error.filename}: {error.strerror}"
        raise CommandError(f"{where}; the node's own user can read it") from error
    if token is None:
        why = "the node has not run yet, or asks nobody for a token (auth: none)"
        raise CommandError(f"{own.data_dir / NAME}: there is none: {why}")
    elsewhere = contexts.by_option(url)
    contexts.check_private(elsewhere)
    if own.tls is not None and own.tls.http_certificate is None:
        os.environ.setdefault(VARIABLE, str(own.tls.ca))
    host, port = split_address(own.http)
    here = join_address(_ANYWHERE.get(host, host), port)
    return Client(elsewhere or f"{'http' if own.tls is None else 'https'}://{here}", token=token)
