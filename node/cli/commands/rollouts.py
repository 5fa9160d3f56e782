"""`rollout`: describe one, see what it would do, and what it does."""

from pathlib import Path
from typing import Annotated

import typer

from stationkeep.cluster.deployments.lifecycle import TaskState
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.rollouts.lifecycle import RolloutState
from stationkeep.node.cli import rollout_shapes, shapes
from stationkeep.node.cli.client import part
from stationkeep.node.cli.commands.rollout_files import (
    RolloutArgument,
    described,
    preview,
    rollout_path,
    send_draft,
)
from stationkeep.node.cli.options import (
    DEFAULT_DATA_DIR,
    Format,
    FormatOption,
    KeyOption,
    LimitOption,
    ReasonOption,
    UrlOption,
    client,
)
from stationkeep.node.cli.output import note, note_more, say, show_table
from stationkeep.node.cli.sending import given

TABLES = "rollout_tables"
FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="YAML: `stationkeep guide rollout-file`.")
]


def rollout_create(
    plan: FileArgument,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would happen; change nothing.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Lay a draft of that name down anew.")
    ] = False,
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Lays a rollout down, as a draft: `rollout create fw-2.1.yaml`; nothing begins yet."""
    found = described(plan)
    if dry_run:
        preview(client(url), found, format_)
        return
    send_draft(client(url), found, replace=replace, reason=reason, key=key)
    note(f"nothing has begun: stationkeep rollout start {found.rollout}")


def rollout_validate(
    plan: FileArgument,
    *,
    offline: Annotated[
        bool, typer.Option("--offline", help="Only read the file; ask no node.")
    ] = False,
    url: UrlOption = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Names every fault of a file, then whom it would reach, and what its gates can see."""
    found = described(plan)
    if offline:
        say(f"{plan}: valid; rollout {found.rollout}, digest {found.digest}")
    else:
        preview(client(url), found, format_)


def rollout_list(
    *,
    state: Annotated[
        list[RolloutState] | None,
        typer.Option("--state", help="Only rollouts in this state; repeatable."),
    ] = None,
    limit: LimitOption = 20,
    url: UrlOption = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Lists rollouts, the newest first: what, in which stage, and why one waits."""
    found = client(url).page("/v1/rollouts", rollout_shapes.Summary, limit, state=state)
    show_table(found.items, format_, "rollouts", TABLES)
    note_more(found.more, limit, format_)


def rollout_show(
    rollout: RolloutArgument, *, url: UrlOption = None, format_: FormatOption = Format.TABLE
) -> None:
    """Shows one rollout: its stages, each gate beside its limit, failures, and what happened."""
    found = client(url).get(rollout_path(rollout), rollout_shapes.Rollout)
    show_table(found, format_, "rollout", TABLES)


def rollout_timeline(
    rollout: RolloutArgument, *, url: UrlOption = None, format_: FormatOption = Format.TABLE
) -> None:
    """Shows what became of a rollout and its stages, in sentences, the oldest first."""
    found = client(url).get(rollout_path(rollout, "/timeline"), rollout_shapes.Timeline)
    show_table(found["items"], format_, "timeline", TABLES)


def rollout_watch(
    rollout: RolloutArgument,
    *,
    once: Annotated[bool, typer.Option("--once", help="Print one frame and exit.")] = False,
    url: UrlOption = None,
) -> None:
    """Shows a rollout, live, from whichever node answers. Ctrl-C leaves; the rollout goes on."""
    from stationkeep.node.cli import watch  # noqa: PLC0415 - imports Rich
    from stationkeep.node.cli.rendering import rollout_screen  # noqa: PLC0415

    client(url).get(rollout_path(rollout), rollout_shapes.Rollout)  # there is such a rollout
    watch.run(
        watch.starting_points(url, DEFAULT_DATA_DIR),
        once=once,
        take=watch.take_rollout(part(rollout)),
        draw=rollout_screen.frame,
    )


def rollout_report(
    rollout: RolloutArgument, *, url: UrlOption = None, format_: FormatOption = Format.TABLE
) -> None:
    """Compares the variants of a rollout, and says what may be concluded."""
    found = client(url).get(rollout_path(rollout, "/report"), rollout_shapes.Report)
    show_table(found, format_, "report", TABLES)


def rollout_explain(
    rollout: RolloutArgument, *, url: UrlOption = None, format_: FormatOption = Format.TABLE
) -> None:
    """Answers why a rollout is where it is, what would change that, and when it ends by itself."""
    found = client(url).get(rollout_path(rollout, "/explain"), rollout_shapes.Explained)
    show_table(found, format_, "explained", TABLES)


def rollout_tasks(
    rollout: RolloutArgument,
    *,
    stage: Annotated[str | None, typer.Option("--stage", help="Only tasks of this stage.")] = None,
    variant: Annotated[
        str | None, typer.Option("--variant", help="Only tasks of this variant.")
    ] = None,
    state: Annotated[
        TaskState | None, typer.Option("--state", help="Only tasks in this state.")
    ] = None,
    ring: Annotated[
        Ring | None, typer.Option("--ring", help="Only tasks of devices in this ring.")
    ] = None,
    limit: LimitOption = 20,
    url: UrlOption = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Lists the tasks of a rollout's devices: `rollout tasks fw-2.1 --state failed`."""
    filters = given(stage=stage, variant=variant, state=state, ring=ring)
    found = client(url).page(rollout_path(rollout, "/tasks"), shapes.Task, limit, **filters)
    show_table(found.items, format_, "tasks", "task_tables")
    if found.more and format_ is Format.TABLE:
        note(f"… and more tasks: --stage, --state, --ring, or raise --limit {limit}")


def rollout_freezes(
    *, limit: LimitOption = 20, url: UrlOption = None, format_: FormatOption = Format.TABLE
) -> None:
    """Lists the freezes that are set, and when each ends."""
    found = client(url).page("/v1/freezes", rollout_shapes.Freeze, limit)
    show_table(found.items, format_, "freezes", TABLES)
