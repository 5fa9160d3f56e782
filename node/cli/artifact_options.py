"""Options that describe an artifact: of `tasks submit` and `rollout start`."""

from typing import Annotated

import typer

WHAT = "What to install"
"""Their panel of `--help`."""

ComponentOption = Annotated[
    str | None,
    typer.Option(
        "--component", help="Which version it is: app (default) or os.", rich_help_panel=WHAT
    ),
]
ArtifactOption = Annotated[
    str | None,
    typer.Option(
        "--artifact",
        metavar="URL",
        help="Where devices download it. Without, they know what to do for the version.",
        rich_help_panel=WHAT,
    ),
]
HashOption = Annotated[
    str | None, typer.Option("--sha256", help="Of the file.", rich_help_panel=WHAT)
]
SizeOption = Annotated[
    int | None, typer.Option("--size", help="Bytes of the file.", rich_help_panel=WHAT)
]
SignatureOption = Annotated[
    str | None,
    typer.Option("--signature", help="Ed25519 over the hash, base64.", rich_help_panel=WHAT),
]
SigningKeyOption = Annotated[
    str | None,
    typer.Option("--signing-key", help="Name of the key that devices trust.", rich_help_panel=WHAT),
]
