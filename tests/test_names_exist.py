"""What comments, docstrings and documents name exists: files, and sections of documents."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEST = re.compile(r"`(test_\w+)`")
FOLDERS = (".ci", "cluster", "node", "scripts", "tests")
OURS = ("cluster", "node")
WRITTEN = (".md", ".yml", ".yaml", ".toml", ".sh", ".js", ".css", ".html", ".txt", ".ini", ".cfg")
"""Suffixes of files that are read as a whole; of Python only comments and docstrings."""
NAME = re.compile(r"(?<![\w/.*<{$-])((?:\.\./)*(?:[\w-]+/)*[\w-]+\.(?:py|md))\b(?![\w/(])")
SECTION = re.compile(r'\b([\w/]+\.md), "([^"]+)"(?:(?:,| and| to) "([^"]+)")*')
MODULE = re.compile(r"(?:`|-- )((?:node|cluster)(?:\.\w+)+)")
"""A module or package of ours, by its name below `stationkeep`; or a file such as cluster.json."""
BESIDE = re.compile(r"`((?!node\.|cluster\.)[a-z]\w*(?:\.\w+)+)`")
"""The same by its name below a package of ours that the naming file is in."""
FOREIGN = {"syncobj.py", "pysyncobj/win_inet_pton.py"}
"""Named, and not ours: files of PySyncObj."""


def sources() -> list[Path]:
    found = [file for file in ROOT.iterdir() if file.is_file()]
    for folder in FOLDERS:
        found += (ROOT / folder).rglob("*")
    return sorted(
        file
        for file in found
        if file.is_file() and (file.suffix in (".py", *WRITTEN) or _is_script(file))
    )


def _is_script(file: Path) -> bool:
    return file.suffix == "" and file.parent != ROOT and file.read_bytes()[:2] == b"#!"


SOURCES = sources()
MODULES = [f for f in SOURCES if f.suffix == ".py" and f.relative_to(ROOT).parts[0] in OURS]
PATHS = {file.relative_to(ROOT).as_posix() for file in SOURCES}


@cache
def prose(file: Path) -> str:
    text = file.read_text(encoding="utf-8")
    return "\n".join(_prose_of_python(text)) if file.suffix == ".py" else text


def _prose_of_python(text: str) -> Iterator[str]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.string.lstrip("# ")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield str(node.value.value)


def exists(name: str, beside: Path) -> bool:
    """Whether a file is meant by `name`: from the top, from where it is named, or by its end."""
    if (beside.parent / name).resolve().is_file() or name in FOREIGN:
        return True
    return any(f"/{path}".endswith(f"/{name}") for path in PATHS)


def named(file: Path) -> set[str]:
    return set(NAME.findall(prose(file)))


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_every_file_that_is_named_exists(file: Path) -> None:
    missing = {name for name in named(file) if not exists(name, file)}
    assert not missing


def is_ours(dotted: str) -> bool:
    """Whether a dotted name is a folder or module of ours, or something that one defines."""
    place = ROOT
    names = dotted.split(".")
    while names and (place / names[0]).is_dir():
        place /= names.pop(0)
    module = place / (
        f"{names.pop(0)}.py" if names and _is_module(place, names[0]) else "__init__.py"
    )
    return not names or (module.is_file() and names[0] in _defined(module))


def _is_module(folder: Path, name: str) -> bool:
    return (folder / f"{name}.py").is_file()


@cache
def _defined(file: Path) -> frozenset[str]:
    """Every name that stands in a module."""
    text = file.read_text(encoding="utf-8")
    return frozenset(
        token.string
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.NAME
    )


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_every_module_that_is_named_exists(file: Path) -> None:
    found = {name for name in MODULE.findall(prose(file)) if not name.endswith(".json")}
    assert {name for name in found if not is_ours(name)} == set()


def meant(name: str, by: Path) -> list[str]:
    """The full names that `name` may stand for in a file; none when it begins with no module."""
    first = name.partition(".")[0]
    packages = [folder for folder in by.parents if ROOT in folder.parents]
    return [
        ".".join((*folder.relative_to(ROOT).parts, name))
        for folder in packages
        if (folder / first).is_dir() or _is_module(folder, first)
    ]


@pytest.mark.parametrize("file", MODULES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_every_module_that_is_named_from_beside_it_exists(file: Path) -> None:
    found = {name for name in BESIDE.findall(prose(file)) if not name.endswith(".py")}
    assert {n for n in found if meant(n, file) and not any(map(is_ours, meant(n, file)))} == set()


def sections(name: str) -> list[str]:
    """The headings of the documents that a name may mean, in lower case."""
    return [
        line.lstrip("#").strip().lower()
        for path in PATHS
        if f"/{path}".endswith(f"/{name}")
        for line in (ROOT / path).read_text(encoding="utf-8").splitlines()
        if line.startswith("#")
    ]


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_every_section_that_is_cited_exists(file: Path) -> None:
    words = " ".join(prose(file).split())
    for document, *titles in SECTION.findall(words):
        for title in filter(None, titles):
            assert any(title.lower() in heading for heading in sections(document)), (
                document,
                title,
            )


def test_names_are_found() -> None:
    text = "see `a/b.py`, c.md (d.py), ../e.md#f; not x.pyc, y.mdx, *.md, https://h/i.md"
    assert set(NAME.findall(text)) == {"a/b.py", "c.md", "d.py", "../e.md"}


def test_tests_that_their_readme_names_exist() -> None:
    defined = {
        found
        for file in (ROOT / "tests").rglob("test_*.py")
        for found in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE)
    }
    named = set(TEST.findall((ROOT / "tests" / "README.md").read_text(encoding="utf-8")))
    assert named - defined == set()
    assert len(named) > 20


def test_every_scenario_names_what_sees_it() -> None:
    """Those of tasks, then those of rollouts, without a gap."""
    text = (ROOT / "tests" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (.+) \| (.+) \|$", text, re.MULTILINE)
    assert [int(number) for number, _, _ in rows] == list(range(1, 43))
    assert [number for number, _, seen in rows if "`" not in seen and "the same" not in seen] == []


@pytest.mark.parametrize(
    ("map_", "room"), [("CONTRIBUTING.md", "{}/{}/"), ("node/guide/internals.md", "`{1}/`")]
)
def test_every_room_is_on_the_map(map_: str, room: str) -> None:
    text = (ROOT / map_).read_text(encoding="utf-8")
    rooms = {
        room.format(package, file.parent.name)
        for package in ("cluster", "node")
        for file in (ROOT / package).glob("*/__init__.py")
    }
    assert {room for room in rooms if room not in text} == set()
    assert len(rooms) > 30
