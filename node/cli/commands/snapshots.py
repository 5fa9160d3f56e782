"""`snapshot save|verify|restore`: copies of the replicated state as checksummed files."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stationkeep.node.cli.failures import CommandError, ConfigurationError, UsageError
from stationkeep.node.cli.options import UrlOption, client
from stationkeep.node.cli.output import say

if TYPE_CHECKING:
    from stationkeep.cluster.state.state import ClusterState
    from stationkeep.node.raft.storage.snapshot_file import Snapshot

MAX_FAULTS = 1_000
"""Characters shown of the violations in a state."""
FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A snapshot file.")]


def save(
    file: FileArgument,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    url: UrlOption = None,
) -> None:
    """Saves a node's state to a file, verified before it is put in place."""
    if file.exists() and not force:
        raise UsageError(f"{file} exists; --force replaces it")
    from stationkeep.node.raft.storage import snapshot_file as snapshot  # noqa: PLC0415

    node = client(url)
    data = node.download("/v1/snapshot", snapshot.MAX_BYTES)
    try:
        taken = snapshot.decode(data, f"the answer of {node.url}")
        snapshot.write_file(file, data)
    except snapshot.CorruptSnapshot as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}") from error
    say(f"{file}: {taken.cluster} up to log index {taken.index}, {len(data)} bytes")


def verify(file: FileArgument) -> None:
    """Checks a snapshot file: checksum, format, ranges, and the invariants of its state."""
    found, state = _read(file)
    say(
        f"{file}: valid; {found.cluster}, members {', '.join(found.members)}, "
        f"log index {found.index}, term {found.term}, cluster time {state.time / 1_000:.1f} s"
    )


def _read(file: Path) -> "tuple[Snapshot, ClusterState]":
    """A snapshot that nodes can start from; raises `CommandError` with the reason otherwise."""
    from stationkeep.cluster.invariants import violations  # noqa: PLC0415
    from stationkeep.cluster.state.codec import CodecError, decode_snapshot  # noqa: PLC0415
    from stationkeep.node.raft.storage import snapshot_file as snapshot  # noqa: PLC0415

    try:
        found = snapshot.read_snapshot(file)
        state = decode_snapshot(found.state)
    except (snapshot.CorruptSnapshot, CodecError) as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}") from error
    faults = list(violations(state))
    if state.index > found.index:
        faults.append(f"its state has log index {state.index}, but the file says {found.index}")
    if faults:
        raise CommandError(f"{file}: not a usable snapshot: {'; '.join(faults)[:MAX_FAULTS]}")
    return found, state


def restore(
    file: FileArgument,
    configs: Annotated[
        list[Path], typer.Argument(metavar="CONFIG", help="The YAML files of all members.")
    ],
) -> None:
    """Prepares stopped nodes with empty data directories to start from a snapshot.

    Every member must be restored from the same file before any of them is started:
    stationkeep snapshot restore FILE .stationkeep/*.yaml
    """
    from stationkeep.node.config import node_config as configuration  # noqa: PLC0415
    from stationkeep.node.raft.storage import snapshot_file as snapshot  # noqa: PLC0415
    from stationkeep.node.raft.storage.journal import JournalError  # noqa: PLC0415

    try:
        nodes = [configuration.load(path) for path in configs]
    except configuration.ConfigError as error:
        raise ConfigurationError(str(error)) from error
    missing = {member.id for node in nodes for member in node.members} - {n.node for n in nodes}
    if missing:
        raise UsageError(
            f"all members must be restored together; missing: {', '.join(sorted(missing))}"
        )
    used = [
        node.data_dir for node in nodes if node.data_dir.exists() and any(node.data_dir.iterdir())
    ]
    if used:
        raise CommandError(
            f"not empty: {', '.join(map(str, used))}; nothing was restored. Move them away first"
        )
    _read(file)
    for node in nodes:
        try:
            done = snapshot.restore_into(node.data_dir, file, node.cluster, node.node)
        except (snapshot.CorruptSnapshot, snapshot.NotEmpty, JournalError) as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(f"{node.data_dir}: {error.strerror}: {error.filename}") from error
        say(f"{node.node}: starts from log index {done.index} ({node.data_dir})")
