"""`config show|set|explain|diff`: the settings that all nodes share."""

import re
from typing import Annotated, Any

import msgspec
import typer

from stationkeep.cluster.settings import PROFILES, to_user
from stationkeep.cluster.suggestion import unknown
from stationkeep.cluster.unreadable import UNREADABLE
from stationkeep.node.cli import shapes
from stationkeep.node.cli.commands.rollout_orders import YesOption, at_a_terminal, confirm
from stationkeep.node.cli.failures import CommandError, UsageError
from stationkeep.node.cli.options import (
    Format,
    FormatOption,
    KeyOption,
    ReasonOption,
    UrlOption,
    client,
    pairs,
)
from stationkeep.node.cli.output import note, say, show, show_table
from stationkeep.node.cli.sending import given, send


def config_show(url: UrlOption = None, format_: FormatOption = Format.TABLE) -> None:
    """Shows the settings that all nodes share."""
    show_table(client(url).get("/v1/config", shapes.Config), format_, "settings")


def config_set(
    assignments: Annotated[list[str], typer.Argument(help="Such as evaluation_interval=2s.")],
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Changes settings on all nodes at once; an invalid combination is refused as a whole."""
    changes = {name: scalar(value) for name, value in pairs("", assignments).items()}
    if reason is not None:
        changes["reason"] = reason
    send(client(url), "PATCH", "/v1/config", changes, key=key, what="settings changed")


def config_edit(
    *,
    yes: YesOption = False,
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Opens the settings in your editor (VISUAL, EDITOR), shows what you changed, and changes it on
    all nodes at once."""
    if not at_a_terminal():
        raise UsageError("there is no terminal to edit in; stationkeep config set SETTING=VALUE")
    from stationkeep.node.cli.settings_editor import edited  # noqa: PLC0415 - yaml

    node = client(url)
    here = node.get("/v1/config", shapes.Config)["settings"]
    changes = edited(here)
    if not changes:
        note("nothing is changed")
        return
    for name, value in changes.items():
        note(f"{name}: {here[name]} → {value}")
    confirm("change this on all nodes?", yes=yes)
    body = changes | given(reason=reason)
    send(node, "PATCH", "/v1/config", body, key=key, what="settings changed")


def config_explain(
    setting: Annotated[str, typer.Argument(help="Its name.")],
    url: UrlOption = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Explains a setting: what it does, what it may be, in the profiles, and here."""
    told = _told(setting)
    here = client(url).get("/v1/config", shapes.Config)["settings"].get(setting)
    answer = {"setting": setting, "value": here, "explanation": told}
    show(answer, format_, lambda found: f"{setting}: {found['value']}\n\n{told}")


def config_diff(
    profile: Annotated[
        str | None,
        typer.Option("--profile", metavar="PROFILE", help="Default: the one that is nearest."),
    ] = None,
    *,
    url: UrlOption = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Shows how the settings differ from those of a profile."""
    if profile is not None and profile not in PROFILES:
        raise UsageError(f"--profile: {unknown('profile', profile)}; known: {', '.join(PROFILES)}")
    here = client(url).get("/v1/config", shapes.Config)["settings"]
    wanted = [profile] if profile else list(PROFILES)
    name = min(wanted, key=lambda one: len(_differing(here, one)))
    answer = {"profile": name, "settings": _differing(here, name)}
    if format_ is Format.TABLE and not answer["settings"]:
        say(f"as in the profile {name}")
        return
    show_table(answer, format_, "settings_differing", "link_tables")


def _differing(here: dict[str, Any], profile: str) -> dict[str, dict[str, Any]]:
    theirs = to_user(PROFILES[profile])
    return {
        name: {"here": value, "profile": theirs[name]}
        for name, value in here.items()
        if name in theirs and value != theirs[name]
    }


def _told(setting: str) -> str:
    """The words of the guide about a setting, without its heading."""
    from stationkeep.node.guide.pages import find, for_terminal  # noqa: PLC0415

    known = to_user(PROFILES["orbit"])
    if setting not in known:
        raise CommandError(f"{unknown('setting', setting, known)}; stationkeep config show")
    page = for_terminal(find("configuration"))
    found = re.search(rf"^#### {re.escape(setting)}\n+(.*?)(?=^#)", f"{page}\n#", re.M | re.S)
    return found[1].strip() if found else "the guide does not tell"


def scalar(text: str) -> str | int | float | bool:
    """Parses `0.3` as a number, `true` as a flag, `5s` as text."""
    try:
        value = msgspec.json.decode(text)
    except (*UNREADABLE, UnicodeEncodeError):
        return text
    return value if isinstance(value, int | float) else text
