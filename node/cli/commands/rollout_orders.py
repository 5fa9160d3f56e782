"""`rollout`: what may be ordered of one, from its start to the way back."""

import re
import sys
from typing import Annotated, Any

import typer

from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.suggestion import unknown
from stationkeep.node.cli import rollout_shapes
from stationkeep.node.cli.artifact_options import (
    ArtifactOption,
    ComponentOption,
    HashOption,
    SignatureOption,
    SigningKeyOption,
    SizeOption,
)
from stationkeep.node.cli.client import Client, part
from stationkeep.node.cli.commands.rollout_files import (
    DescribedRollout,
    RolloutArgument,
    previewed,
    rollout_path,
    send_draft,
)
from stationkeep.node.cli.failures import CommandError, UsageError
from stationkeep.node.cli.following import follow_rollout, rollout_line
from stationkeep.node.cli.options import (
    KeyOption,
    ReasonOption,
    UrlOption,
    client,
    duration,
)
from stationkeep.node.cli.output import note
from stationkeep.node.cli.rendering import rollout_wording
from stationkeep.node.cli.sending import given, send, tell
from stationkeep.node.system.printable import printable

_VERSION = re.compile(r"v?[0-9][A-Za-z0-9._+~-]*")
"""What is taken for a version and not for the name of a rollout that there is not."""
DONE = {
    "start": "is started",
    "approve": "is approved",
    "pause": "is paused",
    "resume": "goes on",
    "promote": "is promoted",
    "retry": "is tried again",
    "abort": "is aborted",
    "rollback": "is rolled back",
}
"""What became of a rollout by an order that the paths know by this name."""
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")]


def rollout_start(
    rollout: Annotated[
        str,
        typer.Argument(metavar="ROLLOUT|VERSION", help="A rollout, or a version to bring to all."),
    ],
    *,
    component: ComponentOption = None,
    artifact: ArtifactOption = None,
    sha256: HashOption = None,
    size: SizeOption = None,
    signature: SignatureOption = None,
    signing_key: SigningKeyOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Although its artifact is blocked.")
    ] = False,
    yes: YesOption = False,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait", help="Until it is over or waits for people; exit 1 unless it has succeeded."
        ),
    ] = False,
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Begins a rollout; of a version that has none lays one down first: `rollout start 2.1.0`."""
    node = client(url)
    details = given(
        component=component, url=artifact, sha256=sha256, size=size, signature=signature,
        key=signing_key,
    )  # fmt: skip
    known = None if details else node.find(rollout_path(rollout), rollout_shapes.Rollout)
    if known is None and not _VERSION.fullmatch(rollout):
        where = "`rollout create FILE` lays one down, `rollout list` shows them"
        raise CommandError(f"{unknown('rollout', rollout)}; {where}")
    plan = {"artifact": {"version": rollout, **details}} if known is None else known["plan"]
    found = DescribedRollout(rollout, plan, "", "")
    if not yes and at_a_terminal():
        confirm(_beginning(previewed(node, found)), yes=False)
    if known is None:
        send_draft(node, found, reason=reason, key=key and f"{key}.create", preliminary=True)
    body = given(force=force or None, reason=reason)
    _order(node, rollout, "start", body, key)
    if not wait:
        note(f"follow it: stationkeep rollout watch {printable(rollout)}")
        return
    ended = rollout_line(follow_rollout(node, rollout_path(rollout)))
    if not ended.startswith("succeeded"):
        raise CommandError(f"{ended}\n  see: stationkeep rollout explain {printable(rollout)}")
    tell(ended)


def rollout_approve(
    rollout: RolloutArgument,
    *,
    digest: Annotated[
        str | None,
        typer.Option("--digest", help="Of the plan that you looked at. Default: you are asked."),
    ] = None,
    stage: Annotated[
        str | None, typer.Option("--stage", help="Approve what this stage has come to.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask first: the plan as it is now.")
    ] = False,
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Grants a rollout's start, or what a stage has come to; of this plan, and of no other."""
    node = client(url)
    seen = digest or _shown(node, rollout, stage, yes=yes)
    body = given(digest=seen, stage=stage, reason=reason)
    _order(node, rollout, "approve", body, key)


def _shown(node: Client, rollout: str, stage: str | None, *, yes: bool) -> str:
    """The digest of the plan that somebody has agreed to, or wants to have approved unseen."""
    if not yes and not at_a_terminal():
        where = f"`stationkeep rollout show {printable(rollout)}` says it, or --yes"
        raise UsageError(f"--digest: of the plan that is approved, as nobody can be asked: {where}")
    found = node.get(rollout_path(rollout), rollout_shapes.Rollout)
    if not yes:
        what = (
            f"approve plan {found['digest']} of {rollout}, by {found['author'] or 'nobody named'}"
        )
        confirm(f"{what}: {_granted(node, found, stage)}", yes=False)
    digest: str = found["digest"]
    return digest


def _granted(node: Client, found: dict[str, Any], stage: str | None) -> str:
    """What comes of it once everybody has approved."""
    if stage is not None:
        return f"let stage {stage} pass? {_then(found)}"
    plan = DescribedRollout(found["rollout"], found["plan"], "", found["digest"])
    return _beginning(previewed(node, plan))


def rollout_pause(
    rollout: RolloutArgument,
    *,
    for_: Annotated[
        str | None, typer.Option("--for", help="Go on by itself after this time, such as 30m.")
    ] = None,
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Has nothing more begin; what devices have begun goes on, and is judged."""
    from stationkeep.cluster.progression.orders import MAX_PAUSE  # noqa: PLC0415 - numpy

    length = None if for_ is None else duration("--for", for_, MAX_PAUSE)
    body = given(duration=length, reason=reason)
    _order(client(url), rollout, "pause", body, key)


def rollout_resume(
    rollout: RolloutArgument,
    *,
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Goes on. A stage that is inconclusive is watched for another soak."""
    _order(client(url), rollout, "resume", given(reason=reason), key)


def rollout_promote(
    rollout: RolloutArgument,
    *,
    variant: Annotated[
        str | None, typer.Option("--variant", help="Later stages get this variant alone.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="A stage that still deploys, or that failed.")
    ] = False,
    yes: YesOption = False,
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Lets the stage that is judged count as passed, by your word."""
    node = client(url)
    _ask(node, rollout, _promotion, yes=yes)
    body = given(variant=variant, force=force or None, reason=reason)
    _order(node, rollout, "promote", body, key)


def rollout_abort(
    rollout: RolloutArgument,
    *,
    yes: YesOption = False,
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Ends a rollout: nothing begins any more, and whoever is updated stays so."""
    node = client(url)
    _ask(node, rollout, _abortion, yes=yes)
    _order(node, rollout, "abort", given(reason=reason), key)


def rollout_rollback(
    rollout: RolloutArgument,
    *,
    yes: YesOption = False,
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Has every device run again what it ran before; also after a rollout has succeeded."""
    node = client(url)
    _ask(node, rollout, _way_back, yes=yes)
    _order(node, rollout, "rollback", given(reason=reason), key)


def rollout_retry(
    rollout: RolloutArgument,
    *,
    stage: Annotated[
        str | None, typer.Option("--stage", help="Of this stage. Default: the one that is judged.")
    ] = None,
    device: Annotated[
        list[str] | None, typer.Option("--device", help="Only this one. Repeatable. Default: all.")
    ] = None,
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Gives tasks that failed or were not reached another attempt; `resume` then deploys on."""
    body = given(stage=stage, devices=device, reason=reason)
    _order(client(url), rollout, "retry", body, key)


def rollout_freeze(
    freeze: Annotated[str, typer.Argument(metavar="FREEZE", help="Name of the freeze.")],
    duration_: Annotated[
        str, typer.Option("--for", metavar="DURATION", help="For how long, such as 14d.")
    ],
    *,
    ring: Annotated[
        list[Ring] | None, typer.Option("--ring", help="A ring. Repeatable. Default: all.")
    ] = None,
    selector: Annotated[
        str | None, typer.Option("--selector", help="Only devices such as 'site=harbour'.")
    ] = None,
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Installs nothing new for a while: `rollout freeze xmas --for 14d --ring prod`."""
    from stationkeep.cluster.progression.freezes import MAX_FREEZE  # noqa: PLC0415 - numpy

    length = duration("--for", duration_, MAX_FREEZE)
    rings = [each.value for each in ring] if ring else None
    body = given(duration=length, rings=rings, selector=selector, reason=reason)
    path, what = f"/v1/freezes/{part(freeze)}", f"freeze {printable(freeze)} is set"
    send(client(url), "PUT", path, body, key=key, what=what)


def rollout_unfreeze(
    freeze: Annotated[str, typer.Argument(metavar="FREEZE", help="Name of the freeze.")],
    *,
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Ends a freeze at once."""
    path, what = f"/v1/freezes/{part(freeze)}", f"freeze {printable(freeze)} is lifted"
    send(client(url), "DELETE", path, given(reason=reason), key=key, what=what)


def rollout_unblock(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Of the artifact.")],
    *,
    component: Annotated[str, typer.Option("--component", help="app or os.")] = "app",
    sha256: Annotated[str | None, typer.Option("--sha256", help="Only this file.")] = None,
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Lets what a gate was proven broken with be rolled out again."""
    path = f"/v1/artifacts/{part(component)}/{part(version)}:unblock"
    what = f"{printable(component)} {printable(version)} is unblocked"
    send(client(url), "POST", path, given(sha256=sha256, reason=reason), key=key, what=what)


def at_a_terminal() -> bool:
    """Whether somebody could answer."""
    return sys.stdin.isatty()


def confirm(question: str, *, yes: bool) -> None:
    """Asks people, and no programs. Raises `CommandError` unless the answer is yes."""
    if yes or not at_a_terminal():
        return
    if not typer.confirm(printable(question), err=True):
        raise CommandError("nothing was done")


def _ask(node: Client, rollout: str, question: Any, *, yes: bool) -> None:
    """Asks with the figures of the rollout as it is now."""
    if not yes and at_a_terminal():
        confirm(question(node.get(rollout_path(rollout), rollout_shapes.Rollout)), yes=False)


def _beginning(seen: dict[str, Any]) -> str:
    """Of a dry run."""
    reach = seen["scope"] - seen["incapable"]
    first = next((stage for stage in seen["stages"] if stage["members"]), None)
    begins = f", {first['members']:,} of {first['name']} first" if first else ""
    return f"bring {rollout_wording.what(seen)} to {reach:,} devices{begins}?"


def _promotion(found: dict[str, Any]) -> str:
    return f"let the stage of {found['rollout']} that is judged pass? {_then(found)}"


def _then(found: dict[str, Any]) -> str:
    later = [stage["name"] for stage in found["stages"] if stage["state"] == "pending"]
    return f"then {later[0]} opens" if later else "then all of it has succeeded"


def _abortion(found: dict[str, Any]) -> str:
    stay = f"{found['updated']:,} updated devices stay so, {found['in_flight']:,} are at it"
    return f"abort {found['rollout']}? {stay}"


def _way_back(found: dict[str, Any]) -> str:
    return f"roll back {found['updated'] + found['in_flight']:,} devices of {found['rollout']}?"


def _order(node: Client, rollout: str, order: str, body: dict[str, Any], key: str | None) -> None:
    what = f"rollout {printable(rollout)} {DONE[order]}"
    send(node, "POST", rollout_path(rollout, f"/{order}"), body, key=key, what=what)
