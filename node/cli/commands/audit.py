"""`audit verify`: checks from its files alone whether a node's history was tampered with."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stationkeep.node.cli.failures import CommandError, UsageError
from stationkeep.node.cli.options import DEFAULT_DATA_DIR, DataDirOption, Format, FormatOption
from stationkeep.node.cli.output import show

if TYPE_CHECKING:
    from stationkeep.node.audit.chain import Verdict


def verify(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Check only this audit file.")
    ] = None,
    *,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    head: Annotated[
        str | None, typer.Option("--head", help="A hash stored earlier; it must be in the chain.")
    ] = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Verifies the hash chain of audit files: one file, a node's directory, or all local nodes.

    Nodes are also compared with each other: they must have the same decisions. Store the head
    somewhere safe from time to time.
    """
    from stationkeep.node.audit import chain  # noqa: PLC0415

    chains = [[file]] if file is not None else _chains(data_dir)
    if head is not None and len(chains) > 1:
        raise UsageError("--head is for the files of one node: give its FILE or --data-dir")
    try:
        verdicts = [chain.verify(paths, head or "") for paths in chains]
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}") from error
    faults = [verdict.fault for verdict in verdicts if verdict.fault]
    faults += chain.contradictions(verdicts)
    show(_answer(verdicts, faults), format_, _lines)
    if faults:
        raise CommandError("; ".join(faults))


def _chains(directory: Path) -> list[list[Path]]:
    """The files of each node, oldest first: in this directory, or in the directories in it."""
    from stationkeep.node.audit import chain  # noqa: PLC0415

    nodes = [directory, *sorted(path for path in directory.glob("*") if path.is_dir())]
    chains = [
        [*chain.rotated(node), *(path for path in (node / chain.NAME,) if path.exists())]
        for node in nodes
    ]
    found = [paths for paths in chains if paths]
    if not found:
        raise CommandError(f"{directory}: no audit file here or in its directories")
    return found


def _answer(verdicts: Sequence["Verdict"], faults: list[str]) -> dict[str, Any]:
    fields = ("node", "files", "decisions", "refusals", "first", "last", "head", "fault", "notes")
    return {
        "intact": not faults,
        "faults": faults,
        "nodes": [{field: getattr(verdict, field) for field in fields} for verdict in verdicts],
    }


def _lines(answer: dict[str, Any]) -> Any:
    from rich.text import Text  # noqa: PLC0415

    lines = []
    for one in answer["nodes"]:
        state = "BROKEN" if one["fault"] else "intact"
        span = f" ({one['first']} to {one['last']})" if one["decisions"] else ""
        lines.append(f"{one['node'] or '?'}: {state}, {one['decisions']} decisions{span}")
        if one["refusals"]:
            lines.append(f"  {one['refusals']} refused orders")
        lines.append(f"  head {one['head']}")
        lines += [f"  {note}" for note in one["notes"]]
    return Text("\n".join(lines))
