"""What logs and snapshots are made of, in words: so that nobody changes it without noticing.

`layout.txt` names each record that is written, with its fields in their order, and each word of
which only the place in its list is written. When this fails and the layout was meant to change: see
to it that nothing changes below a level that no release has yet (`cluster.levels` says what that
means), and run with STATIONKEEP_REWRITE=1.
"""

import enum
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect

from stationkeep.cluster.commands import Draft
from stationkeep.cluster.deployments import snapshot_columns as deployments
from stationkeep.cluster.deployments.deployment import Deployment
from stationkeep.cluster.deployments.lifecycle import PHASES, STATES, TASK_REASONS, WORDS
from stationkeep.cluster.deployments.roster import COLUMNS as ROSTER
from stationkeep.cluster.devices import snapshot_columns as devices
from stationkeep.cluster.devices.rings import RINGS
from stationkeep.cluster.devices.table import COLUMNS as DEVICES
from stationkeep.cluster.devices.table import Kind
from stationkeep.cluster.levels import HIGHEST, LOWEST, SINCE
from stationkeep.cluster.rollouts import snapshot_columns as rollouts
from stationkeep.cluster.rollouts.rollout import Rollout
from stationkeep.cluster.rollouts.twins import COLUMNS as TWINS
from stationkeep.cluster.state.decisions import Decision
from stationkeep.cluster.state.operations import Operation
from stationkeep.cluster.state.state import ClusterState

FILE = Path(__file__).parent / "layout.txt"
TABLES = ("fleet", "deployments", "rollouts", "decisions", "operations")
"""Fields of a state that are written for themselves."""
ROOTS = (
    Draft, Decision, Operation, Kind, devices.Head, devices.Image, Deployment, deployments.Head,
    deployments.Image, Rollout, rollouts.Sets, rollouts.Image,
)  # fmt: skip
COLUMNS = {
    "devices": DEVICES, "roster": ROSTER,
    "twins": {name: f"{kind} by {width}" for name, (kind, width) in TWINS.items()},
}  # fmt: skip
BY_PLACE = {
    "Phase": PHASES, "Ring": RINGS, "TaskReason": TASK_REASONS, "TaskState": STATES, "Word": WORDS,
}  # fmt: skip


def layout() -> str:
    """Everything that is written, a record or a list of words a line."""
    hints = msgspec.structs.fields(ClusterState)
    kept = [field.type for field in hints if field.name not in TABLES]
    found: dict[str, str] = {}
    for root in inspect.multi_type_info([*ROOTS, *kept]):
        for name, line in _records(root, set()):
            assert found.setdefault(name, line) == line, f"two records are called {name}"
    state = ", ".join(field.name for field in hints)
    words = [f"{name} = {', '.join(map(str, words))}" for name, words in BY_PLACE.items()]
    return "\n".join([
        f"levels {LOWEST} to {HIGHEST}", *(f"{c.__name__}: from {n}" for c, n in SINCE.items()),
        f"ClusterState: {state}",
        *(f"{table}: columns: {_columns(of)}" for table, of in COLUMNS.items()),
        *(found[name] for name in sorted(found)), *words, "",
    ])  # fmt: skip


def _columns(columns: dict[str, str]) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in columns.items())


def _records(type_: Any, seen: set[type]) -> Iterator[tuple[str, str]]:
    """The records that a type is made of, each by its name."""
    cls = getattr(type_, "cls", None)
    if isinstance(type_, inspect.StructType) and cls not in seen:
        seen.add(type_.cls)
        shape = "array" if type_.array_like else "map"
        fields = ", ".join(f"{f.encode_name} {_word(f.type)}" for f in type_.fields)
        tag = f" tag {type_.tag}" if type_.tag else ""
        name = f"{type_.cls.__module__.partition('cluster.')[2]}.{type_.cls.__qualname__}"
        yield name, f"{name}: {shape}{tag}: {fields}"
        for field in type_.fields:
            yield from _records(field.type, seen)
    elif isinstance(type_, inspect.EnumType) and cls not in seen:
        seen.add(type_.cls)
        values = [member.value for member in type_.cls if isinstance(member, enum.Enum)]
        yield type_.cls.__qualname__, f"{type_.cls.__qualname__}: {', '.join(map(str, values))}"
    for inner in _inner(type_):
        yield from _records(inner, seen)


def _inner(type_: Any) -> list[Any]:
    parts = [getattr(type_, name, None) for name in ("item_type", "key_type", "value_type")]
    parts += [*getattr(type_, "types", ()), *getattr(type_, "item_types", ())]
    return [part for part in parts if isinstance(part, inspect.Type)]


def _word(type_: Any) -> str:
    """A type in a few words, without its limits."""
    name = type(type_).__name__.removesuffix("Type").lower()
    inner = [_word(part) for part in _inner(type_)]
    cls = getattr(type_, "cls", None)
    own = cls.__qualname__ if isinstance(cls, type) else name
    return f"{own}[{' '.join(sorted(inner))}]" if inner else own


def test_what_logs_and_snapshots_are_made_of_is_as_it_was_written_down() -> None:
    found = layout()
    if os.environ.get("STATIONKEEP_REWRITE"):
        FILE.write_text(found)
    assert found.splitlines() == FILE.read_text().splitlines(), __doc__
