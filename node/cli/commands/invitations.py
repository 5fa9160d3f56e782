"""`nodes invite|invitations|uninvite`: who may become a member by a word."""

from pathlib import Path
from typing import Annotated

import typer

from stationkeep.node.cli import shapes
from stationkeep.node.cli.client import part
from stationkeep.node.cli.confided import kept
from stationkeep.node.cli.failures import CommandError
from stationkeep.node.cli.local_admin import ConfigOption, administrator
from stationkeep.node.cli.options import (
    Format,
    FormatOption,
    KeyOption,
    LimitOption,
    ReasonOption,
    UrlOption,
    duration,
)
from stationkeep.node.cli.output import note, note_more, say, show_table
from stationkeep.node.cli.sending import given, send

LONGEST = 7 * 86_400_000


def invite(
    *,
    uses: Annotated[int, typer.Option("--uses", min=1, help="How many nodes may come by it.")] = 1,
    for_: Annotated[str, typer.Option("--for", help="How long it is good, up to 7d.")] = "1h",
    node: Annotated[
        str | None, typer.Option("--node", help="The only id under which one may come.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Write the word to this new file, which only you can read."),
    ] = None,
    reason: ReasonOption = None,
    config: ConfigOption = None,
    url: UrlOption = None,
) -> None:
    """Prints a word, once, by which another machine becomes a member (`stationkeep join`). Only the
    hash of its secret leaves this machine."""
    from stationkeep.node.security.invitations import draw  # noqa: PLC0415

    asked = administrator(config, url)
    ca = asked.get("/v1/invitations", shapes.Invitations, limit=1)
    if ca["pin"] is None or ca["uid"] is None:
        raise CommandError(f"{asked.url} has not the CA's key, so nobody joins by it; ask another")
    first = asked.items("/v1/nodes", shapes.Node, 1)
    where = first[0]["address"]["http"] if first else "HOST:PORT"
    word = draw(ca["uid"], ca["pin"])
    body = given(
        invitation=word.id, sha256=word.hash.hex(), uses=uses, node=node, reason=reason,
        lifetime=duration("--for", for_, LONGEST),
    )  # fmt: skip
    with kept(out, word.text):
        asked.write("POST", "/v1/invitations", body, None)
    note(f"invitation {word.id} is good for {for_}; it is shown this once")
    note(f"on the other machine: stationkeep join {where}")
    say(word.text if out is None else f"wrote {out}")


def invitations_list(
    limit: LimitOption = 200,
    format_: FormatOption = Format.TABLE,
    config: ConfigOption = None,
    url: UrlOption = None,
) -> None:
    """Lists invitations: until when, and who has come by them."""
    asked = administrator(config, url)
    page = asked.page("/v1/invitations", shapes.Invitation, limit)
    show_table(page.items, format_, "invitations")
    note_more(page.more, limit, format_)


def uninvite(
    invitation: Annotated[
        str, typer.Argument(metavar="INVITATION", help="Id of an invitation, 8 characters.")
    ],
    *,
    reason: ReasonOption = None,
    key: KeyOption = None,
    config: ConfigOption = None,
    url: UrlOption = None,
) -> None:
    """Ends an invitation on every node. Who has come by it stays (`nodes leave`)."""
    path = f"/v1/invitations/{part(invitation)}"
    what = f"invitation {invitation} revoked"
    send(administrator(config, url), "DELETE", path, given(reason=reason), key=key, what=what)
