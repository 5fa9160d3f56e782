"""`node/LIMITS.md` names everything finite: what is new and not in it was not thought about."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from stationkeep.cluster.state.state import ClusterState

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "node" / "LIMITS.md").read_text()
SHARED, _, SIZES = TABLE.partition("\n## Sizes of one thing\n")
LEFT_OUT = (
    "node/simulation",
    "node/checking",
    "node/chaos",
    "node/cli",
    "node/agent",
    "node/client",
    "cluster/odds",
)
"""What serves nobody but its own process."""
_LIMIT = re.compile(r"(MAX|MOST)_[A-Z_]+")
_QUEUES = {"deque", "Queue"}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for package in ("cluster", "node"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = path.relative_to(ROOT).with_suffix("").as_posix()
            if not name.startswith(LEFT_OUT):
                yield name.replace("/", "."), ast.parse(path.read_text())


def limits() -> Iterator[str]:
    """Each constant that says how much there may be of something, as `module.NAME`."""
    for module, tree in modules():
        for node in tree.body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            for target in targets:
                for name in ast.walk(target):
                    if isinstance(name, ast.Name) and _LIMIT.fullmatch(name.id):
                        yield f"{module}.{name.id}"


def queues() -> Iterator[str]:
    """Each attribute that is a queue, as `module.attribute`."""
    for module, tree in modules():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
                continue
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            called = node.value.func if isinstance(node.value, ast.Call) else None
            made = getattr(called, "id", getattr(called, "attr", ""))
            if made in _QUEUES and isinstance(target, ast.Attribute):
                yield f"{module}.{target.attr}"


def named(text: str) -> set[str]:
    return set(re.findall(r"`((?:cluster|node|state)\.[\w.]+)`", text))


def test_every_limit_is_in_the_table() -> None:
    assert set(limits()) - named(TABLE) == set()


def test_every_queue_is_in_the_table_of_what_all_share() -> None:
    assert set(queues()) - named(SHARED) == set()


def test_every_table_of_the_state_is_in_the_table_of_what_all_share() -> None:
    fresh = ClusterState()
    plain = (int, str, bool, type(None), msgspec.Struct)
    kept = {
        f"state.{f}" for f in fresh.__struct_fields__ if not isinstance(getattr(fresh, f), plain)
    }
    kept |= {f"state.{f.name}" for f in msgspec.structs.fields(ClusterState) if f.name == "seat"}
    assert kept - {"state.seat"} - named(SHARED) == set()


def test_the_table_names_nothing_that_is_gone() -> None:
    known = {*limits(), *queues(), *(f"state.{f}" for f in ClusterState.__struct_fields__)}
    assert named(TABLE) - known == set()


@pytest.mark.parametrize("column", ["Who fills it", "Whose share", "When it is full"])
def test_every_row_says_all_of_it(column: str) -> None:
    rows = [line.split("|")[1:-1] for line in SHARED.splitlines() if line.startswith("|")]
    head = [cell.strip() for cell in rows[0]]
    place = head.index(column)
    assert all(len(row) == len(head) and row[place].strip() for row in rows)
