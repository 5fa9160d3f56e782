"""`tokens create|list|show|revoke|rotate`: who may do what."""

import enum
from pathlib import Path
from typing import Annotated, Any

import typer

from stationkeep.node.cli import shapes
from stationkeep.node.cli.client import Client, part
from stationkeep.node.cli.confided import kept
from stationkeep.node.cli.failures import UsageError
from stationkeep.node.cli.local_admin import ConfigOption, administrator
from stationkeep.node.cli.options import (
    Format,
    FormatOption,
    KeyOption,
    LimitOption,
    ReasonOption,
    UrlOption,
    duration,
    pairs,
)
from stationkeep.node.cli.output import note, note_more, say, show_table
from stationkeep.node.cli.sending import given, send
from stationkeep.node.security.tokens import ENROLMENT_PREFIX, PREFIX, draw

LONGEST = 3_650 * 86_400_000
ALL = 1_000
"""More tokens than these no cluster has."""
NEVER = "never"


class Role(enum.StrEnum):
    """What a token opens."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"
    METRICS = "metrics"
    DEVICE = "device"
    ENROL = "enrol"


TokenArgument = Annotated[str, typer.Argument(metavar="TOKEN", help="Id of a token, 8 characters.")]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", help="Write the token to this new file, which only you can read."),
]
ExpiresOption = Annotated[
    str, typer.Option("--expires", help="When it ends: such as 90d, or never.")
]
ENROLMENT_LIFE, LIFE = "30d", "365d"
LimitOfDevices = Annotated[
    int | None,
    typer.Option("--limit", min=1, help="Of role enrol: devices that it takes."),
]


def create(
    name: Annotated[str, typer.Option("--name", help="Whose it is, as the history shows it.")],
    role: Annotated[Role, typer.Option("--role", help="What it may do.")],
    *,
    expires: Annotated[
        str | None,
        typer.Option(
            "--expires",
            help="When it ends: such as 24h, or never. Default: 365d, of role enrol 30d.",
        ),
    ] = None,
    ids: Annotated[
        str | None,
        typer.Option(
            "--ids",
            help="Of roles device and enrol: the id of a device, or what ids begin with and a *.",
        ),
    ] = None,
    limit: LimitOfDevices = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            help="Of role enrol: NAME=VALUE that its devices have, whatever they say. Repeatable.",
        ),
    ] = None,
    revoke_other_admins: Annotated[
        bool,
        typer.Option(
            "--revoke-other-admins",
            help="End all other tokens of administrators: with --config, if they were lost.",
        ),
    ] = False,
    out: OutOption = None,
    reason: ReasonOption = None,
    config: ConfigOption = None,
    url: UrlOption = None,
) -> None:
    """Makes a token and prints it, once. Only its hash leaves this machine."""
    if revoke_other_admins and (role is not Role.ADMIN or config is None):
        raise UsageError("--revoke-other-admins: with --role admin, and with --config")
    enrols = role is Role.ENROL
    if enrols is not (limit is not None):
        raise UsageError("--limit: how many devices an enrolment token takes, and no other has one")
    if enrols and ids is None:
        ids = "*"
    if (ids is not None) is not (enrols or role is Role.DEVICE):
        raise UsageError("--ids: a token for devices says for which ids it is, and no other does")
    life = _life(expires or (ENROLMENT_LIFE if enrols else LIFE))
    labels = pairs("--label", label) or None
    if labels is not None and not enrols:
        raise UsageError("--label: an enrolment token has them, and no other does")
    body = given(
        name=name, role=role.value, lifetime=life, ids=ids, limit=limit, labels=labels,
        reason=reason,
    )  # fmt: skip
    node = administrator(config, url)
    made = _make(node, body, out)
    if revoke_other_admins:
        _revoke_admins(node, made, reason)


def rotate(
    token: TokenArgument,
    *,
    overlap: Annotated[
        str, typer.Option("--overlap", help="How long the old one goes on: such as 1h, or 0.")
    ] = "1h",
    expires: ExpiresOption = "365d",
    out: OutOption = None,
    reason: ReasonOption = None,
    config: ConfigOption = None,
    url: UrlOption = None,
) -> None:
    """Makes a token that replaces another one, and prints it, once."""
    node = administrator(config, url)
    old = node.get(f"/v1/tokens/{part(token)}", shapes.Token)
    later = None if overlap == "0" else duration("--overlap", overlap, 7 * 86_400_000)
    body = given(
        name=old["name"], role=old["role"], lifetime=_life(expires), ids=old.get("ids") or None,
        limit=old.get("limit") or None, labels=old.get("labels") or None, replaces=token,
        overlap=later, reason=reason,
    )  # fmt: skip
    _make(node, body, out)


def tokens_list(
    limit: LimitOption = 200,
    format_: FormatOption = Format.TABLE,
    config: ConfigOption = None,
    url: UrlOption = None,
) -> None:
    """Lists tokens: whose, what they may do, until when."""
    page = administrator(config, url).page("/v1/tokens", shapes.Token, limit)
    show_table(page.items, format_, "tokens")
    note_more(page.more, limit, format_)


def tokens_show(
    token: TokenArgument,
    format_: FormatOption = Format.TABLE,
    config: ConfigOption = None,
    url: UrlOption = None,
) -> None:
    """Shows one token."""
    found = administrator(config, url).get(f"/v1/tokens/{part(token)}", shapes.Token)
    show_table([found] if format_ is Format.TABLE else found, format_, "tokens")


def revoke(
    token: TokenArgument,
    *,
    reason: ReasonOption = None,
    key: KeyOption = None,
    config: ConfigOption = None,
    url: UrlOption = None,
) -> None:
    """Ends a token, and what is open by it, on every node."""
    path = f"/v1/tokens/{part(token)}"
    send(
        administrator(config, url),
        "DELETE",
        path,
        given(reason=reason),
        key=key,
        what=f"{token} revoked",
    )


def _revoke_admins(node: Client, but: str, reason: str | None) -> None:
    """Whoever is interrupted here has the new one, and says it again."""
    for token in node.items("/v1/tokens", shapes.Token, ALL):
        if token["role"] == Role.ADMIN and token["state"] == "good" and token["token"] != but:
            node.write("DELETE", f"/v1/tokens/{part(token['token'])}", given(reason=reason), None)
            note(f"token {token['token']} ({token['name']}, admin) revoked")


def _make(node: Client, body: dict[str, Any], out: Path | None) -> str:
    """Draws a token, has the cluster know it, and hands it over; its id."""
    shown = draw(ENROLMENT_PREFIX if body["role"] == Role.ENROL else PREFIX)
    body |= {"token": shown.id, "sha256": shown.hash.hex()}
    with kept(out, shown.text):
        answer = node.write("POST", "/v1/tokens", body, None)
    note(f"token {shown.id} ({body['name']}, {body['role']}) is good; it is shown this once")
    if body["role"] in (Role.OPERATOR, Role.ADMIN):
        _say_who_approves(answer.get("result"), body["name"])
    if out is None:
        say(shown.text)
    else:
        say(f"wrote {out}")
    return shown.id


def _say_who_approves(result: Any, name: str) -> None:
    person = result.get("approves_as") if isinstance(result, dict) else None
    if isinstance(person, str) and person != name:
        note(f"where two people have to agree it counts as {person}, who has seen it;")
        note("what is made on the machine of a node, with --config, counts as itself")


def _life(expires: str) -> str | None:
    return None if expires == NEVER else duration("--expires", expires, LONGEST)
