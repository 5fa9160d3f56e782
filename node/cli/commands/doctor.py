"""`doctor`: looks at everything once, and says of each trouble what to do."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stationkeep.node.cli.client import Client
from stationkeep.node.cli.commands.certs import inspected_at
from stationkeep.node.cli.failures import CommandError
from stationkeep.node.cli.options import Format, FormatOption, UrlOption, client
from stationkeep.node.cli.output import show_table

if TYPE_CHECKING:
    from stationkeep.node.cli.examination import Finding


def doctor(
    config: Annotated[
        Path | None, typer.Option("--config", help="A node's file, on its machine: that, too.")
    ] = None,
    *,
    check: Annotated[bool, typer.Option("--check", help="Exit 1 unless all is well.")] = False,
    url: UrlOption = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Looks at the cluster, its links, releases, certificates, and settings against the measured
    loss, and at a node's file and disk; says of each trouble what to do."""
    from stationkeep.node.cli import examination as look  # noqa: PLC0415

    findings = [] if config is None else look.examined("file", lambda: look.file(config))
    try:
        findings += _of_cluster(client(url))
    finally:  # also when nobody answers
        if findings:
            show_table([found._asdict() for found in findings], format_, "findings", "link_tables")
    ill = sum(found.level != look.OK for found in findings)
    if check and ill:
        raise CommandError(f"{ill} {'thing is' if ill == 1 else 'things are'} to be done")


def _of_cluster(node: Client) -> Iterator["Finding"]:
    from stationkeep.node.cli import examination as look  # noqa: PLC0415

    found = [*look.cluster(node)]  # if nobody answers to this, nobody does to the others
    yield from found or look.examined("cluster", tuple)
    yield from look.examined("links", lambda: look.links(node))
    yield from look.examined("releases", lambda: look.releases(node))
    yield from look.examined("settings", lambda: look.settings(node))
    if node.url.startswith("https:"):
        yield from look.examined("certificates", lambda: look.certificates(node, inspected_at))
