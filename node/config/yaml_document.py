"""A YAML document whose every value knows its line, so that errors can point to it.

`parse` turns a file into a tree of `Value`s, `plain` a JSON value that came without lines. The
reading methods of `Value` do not raise when a value is invalid: they record a `ConfigError` in the
document and return a placeholder, so that one run reports all errors of a file together.
"""

import difflib
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import yaml

from stationkeep.cluster.names import MAX_NAME, NAME_RULE, name_fault
from stationkeep.cluster.settings import parse_duration
from stationkeep.node.system.confidential import HIDDEN, hide

MAX_BYTES = 256 * 1024
MAX_DEPTH = 16
DEPTH_RULE = f"at most {MAX_DEPTH} levels of nesting"
MAX_ERRORS = 64
"""Of one document: the first are enough to mend, and a thousand would cost as much as they tell."""
MAX_SHOWN = 200
"""Characters of a text that an error repeats."""
_CONFIDENTIAL = re.compile("secret|://")
"""What precedes a secret in a line: with many services, whoever knows a URL may post."""

T = TypeVar("T")


class ConfigError(ValueError):
    """A configured value that is refused: where it is, what it is and the rule it breaks.

    `file` is a path, or names an environment variable; `line` counts from 1, or is None. `others`:
    further errors found in the same file.
    """

    def __init__(self, file: str, line: int | None, field: str, value: object, rule: str) -> None:
        field, rule = hide(field), hide(rule)
        value = hide(value) if isinstance(value, str) else value
        self.file, self.line, self.field, self.value, self.rule = file, line, field, value, rule
        self.others: tuple[ConfigError, ...] = ()
        place = file if line is None else f"{file}:{line}"
        shown = field if field.isprintable() else ascii(field)
        what = f"{shown}: " if field else ""
        super().__init__(f"{place}: {what}{value!r} refused: {rule}")


class Value:
    """One value: a scalar, a list of `Value`s or a dict of name → `Value`."""

    def __init__(
        self, document: "Document", path: str, raw: Any, line: int | None, file: str | None = None
    ) -> None:
        self._document = document
        self.path = path
        self.raw = raw
        self.line = line
        self.file = file or document.file

    def refuse(self, rule: str, value: object = None, member: str = "") -> None:
        """Records that this value breaks `rule`, or that its absent `member` does."""
        if self._document.full:  # what is not kept need not be put into words
            return
        shown = self.shown if value is None else value
        path = self.child_path(member) if member else self.path
        error = ConfigError(self.file, self.line, path, shown, rule)
        errors = self._document.errors
        if not errors or str(errors[-1]) != str(error):  # a value read twice is refused once
            self._document.add(error)

    @property
    def shown(self) -> object:
        """The value for a message: a scalar itself, a container only by its kind."""
        if isinstance(self.raw, dict):
            return "a mapping"
        if isinstance(self.raw, str) and len(self.raw) > MAX_SHOWN:
            return self.raw[:MAX_SHOWN] + "…"
        return "a list" if isinstance(self.raw, list) else self.raw

    def child_path(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def child(self, name: str) -> "Value | None":
        """The member called `name` of a mapping; None if it is absent or null."""
        if not isinstance(self.raw, dict):
            return None
        found: Value | None = self.raw.get(name)
        return None if found is None or found.raw is None else found

    def at(self, path: str) -> "Value":
        """The value at a path such as `stages[1].soak`, or the nearest that there is above it."""
        found = self
        for step in re.findall(r"[^.\[\]]+", path):
            if isinstance(found.raw, dict) and step in found.raw:
                found = found.raw[step]
            elif isinstance(found.raw, list) and step.isdecimal() and int(step) < len(found.raw):
                found = found.raw[int(step)]
        return found

    def required(self, name: str, rule: str) -> "Value | None":
        """`child`, but its absence is an error."""
        found = self.child(name)
        if found is None:
            self._document.add(
                ConfigError(self.file, self.line, self.child_path(name), None, f"required: {rule}")
            )
        return found

    def known(self, names: Iterable[str]) -> "Value":
        """Refuses members that are not in `names`, suggesting the nearest; returns itself. Their
        values are not shown: one may be a secret whose name was mistyped."""
        allowed = sorted(names)
        for name, child in self.mapping().items():
            if name not in allowed and not self._document.full:
                near = difflib.get_close_matches(name[:MAX_NAME], allowed, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(allowed)}"
                child.refuse(f"no such field; {hint}", HIDDEN)
        return self

    def mapping(self) -> dict[str, "Value"]:
        """The members of a mapping, in the order of the file."""
        if isinstance(self.raw, dict):
            return self.raw
        self.refuse("a mapping (name: value)")
        return {}

    def items(self, most: float = math.inf, what: str = "") -> Sequence["Value"]:
        """The elements of a list, of which there may be so many; `what`: as people call them."""
        if not isinstance(self.raw, list):
            self.refuse("a list")
            return ()
        if len(self.raw) > most:
            self.refuse(f"at most {most} {what}", len(self.raw))
        return self.raw

    def text(self, rule: str = "a text", limit: int = 1_024) -> str:
        """A non-empty string of at most `limit` characters."""
        if isinstance(self.raw, str) and 0 < len(self.raw) <= limit:
            return self.raw
        self.refuse(rule)
        return ""

    def choice(self, names: Sequence[str]) -> str:
        """One of `names`; the first if the value is invalid."""
        if isinstance(self.raw, str) and self.raw in names:
            return self.raw
        self.refuse(f"one of {', '.join(names)}")
        return names[0]

    def number(self, low: float, high: float) -> float:
        """A number within [low, high]."""
        numeric = isinstance(self.raw, int | float) and not isinstance(self.raw, bool)
        if numeric and low <= self.raw <= high:
            return float(self.raw)
        self.refuse(f"a number between {low:g} and {high:g}")
        return low

    def flag(self) -> bool:
        """Whether it is true."""
        if not isinstance(self.raw, bool):
            self.refuse("true or false")
        return self.raw is True

    def name(self) -> str:
        """The name of something in the cluster; empty if it is none."""
        if isinstance(self.raw, str) and name_fault(self.raw) is None:
            return self.raw
        self.refuse(NAME_RULE)
        return ""

    def seconds(self) -> float:
        """A duration."""
        return self.through(lambda raw: parse_duration(self.path, raw), 1_000) / 1_000

    def through(self, parser: Callable[[Any], T], placeholder: T) -> T:
        """The raw value parsed by `parser`, whose ValueError states the broken rule."""
        try:
            return parser(self.raw)
        except ValueError as error:
            self.refuse(getattr(error, "rule", str(error)))
            return placeholder


class Document:
    """One file being read, and the errors found in it so far."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.errors: list[ConfigError] = []
        self.root = Value(self, "", {}, 1)

    @property
    def full(self) -> bool:
        """Whether it takes no more errors."""
        return len(self.errors) >= MAX_ERRORS

    def add(self, error: ConfigError) -> None:
        """Records an error, unless there are many already."""
        if not self.full:
            self.errors.append(error)

    def override(self, path: Sequence[str], value: Any, source: str) -> None:
        """Replaces the value at `path`; messages name `source` as its origin."""
        at = self.root
        for depth, name in enumerate(path[:-1], start=1):
            inner = at.raw.get(name) if isinstance(at.raw, dict) else None
            if inner is None or not isinstance(inner.raw, dict):
                inner = Value(self, ".".join(path[:depth]), {}, None)
                at.raw[name] = inner
            at = inner
        at.raw[path[-1]] = Value(self, ".".join(path), value, None, source)

    def raise_errors(self) -> None:
        """Raises the first error of the file, with the others attached, if there is any."""
        if self.errors:
            first, *others = sorted(self.errors, key=lambda error: error.line or 0)
            first.others = tuple(others)
            raise first


def plain(file: str, raw: object) -> Document:
    """The tree of a JSON value that came without lines; `file` says what it is."""
    document = Document(file)
    document.root = _planted(document, raw, "", 0)
    return document


def _planted(document: Document, raw: object, path: str, depth: int) -> Value:
    value = Value(document, path, raw, None)
    if depth > MAX_DEPTH and isinstance(raw, dict | list):
        document.add(ConfigError(document.file, None, path, depth, DEPTH_RULE))
        value.raw = None
    elif isinstance(raw, dict):
        members = {str(name): inner for name, inner in raw.items()}
        value.raw = {
            name: _planted(document, inner, value.child_path(name), depth + 1)
            for name, inner in members.items()
        }
    elif isinstance(raw, list):
        value.raw = [
            _planted(document, inner, f"{path}[{position}]", depth + 1)
            for position, inner in enumerate(raw)
        ]
    return value


def parse(file: str, text: str) -> Document:
    """The tree of a YAML text; syntax errors are in `errors` of the result."""
    document = Document(file)
    if len(text) > MAX_BYTES:
        document.root.refuse(f"a configuration has at most {MAX_BYTES} characters", len(text))
        return document
    try:
        _check_events(document, text)
        if not document.errors:
            _compose(document, text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        rule = f"not YAML{_column(error.problem_mark)}; indent with spaces, quote a text with `: `"
        document.errors.append(ConfigError(file, line, "", _line_of(text, line), rule))
    except yaml.YAMLError:
        document.errors.append(ConfigError(file, None, "", "", "not YAML: a control character"))
    return document


def _column(mark: Any) -> str:
    return "" if mark is None else f" from column {mark.column + 1}"


def _line(mark: Any) -> int:
    """Line of a YAML mark, counted from 1; the library's types allow None."""
    return 1 if mark is None else int(mark.line) + 1


def _line_of(text: str, line: int | None) -> str:
    """A line that is not YAML, cut where a secret may begin."""
    lines = text.splitlines()
    if line is None or line > len(lines):
        return ""
    shown = lines[line - 1].strip()
    found = _CONFIDENTIAL.search(shown)
    return shown[:80] if found is None else f"{shown[: found.end()][:80]} {HIDDEN}"


def _check_events(document: Document, text: str) -> None:
    """Refuses aliases and deep nesting before anything recursive sees the text: a few aliases
    of aliases expand to gigabytes, and a thousand brackets exhaust the stack."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = _line(event.start_mark)
        trick = _trick(event)
        if trick:
            rule = "anchors, aliases and tags are not used: say what is meant where it is meant"
            document.errors.append(ConfigError(document.file, line, "", trick, rule))
            return
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            document.errors.append(ConfigError(document.file, line, "", depth, DEPTH_RULE))
            return


def _trick(event: yaml.Event) -> str:
    """What an event has that makes a text mean something else than it says, as it is written."""
    if isinstance(event, yaml.AliasEvent):
        return f"*{event.anchor}"
    if not isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
        return ""
    return f"&{event.anchor}" if event.anchor else event.tag or ""


def _compose(document: Document, text: str) -> None:
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if isinstance(node, yaml.MappingNode):
            document.root = _convert(document, loader, node, "")
        else:
            shown = "" if node is None else _line_of(text, _line(node.start_mark))
            document.root.refuse("a mapping at the top level (name: value)", shown)
    finally:
        loader.dispose()


def _convert(document: Document, loader: yaml.SafeLoader, node: yaml.Node, path: str) -> Value:
    line = _line(node.start_mark)
    if isinstance(node, yaml.MappingNode):
        raw: Any = {}
        value = Value(document, path, raw, line)
        for key_node, child_node in node.value:
            _convert_member(document, loader, value, key_node, child_node)
        return value
    if isinstance(node, yaml.SequenceNode):
        elements = [
            _convert(document, loader, element, f"{path}[{position}]")
            for position, element in enumerate(node.value)
        ]
        return Value(document, path, elements, line)
    return Value(document, path, _scalar(document, loader, node, path), line)


def _convert_member(
    document: Document,
    loader: yaml.SafeLoader,
    parent: Value,
    key_node: yaml.Node,
    child_node: yaml.Node,
) -> None:
    name = key_node.value if isinstance(key_node, yaml.ScalarNode) else ""
    line = _line(key_node.start_mark)
    path = parent.child_path(name)
    if not name or name in parent.raw:
        rule = f"given twice, first in line {parent.raw[name].line}" if name else "a plain name"
        document.add(ConfigError(document.file, line, path, name, rule))
        return
    child = _convert(document, loader, child_node, path)
    child.line = line
    parent.raw[name] = child


def _scalar(document: Document, loader: yaml.SafeLoader, node: yaml.Node, path: str) -> Any:
    rule = "a plain YAML value: a text, a number, true, false or null"
    try:
        value = loader.construct_object(node)
        if not isinstance(value, int | float) or ":" not in node.value:
            return value
        rule = "90s if it is a duration, or quoted if it is a text: YAML takes 1:30 for 90"
    except (yaml.YAMLError, ValueError):
        pass
    document.add(ConfigError(document.file, _line(node.start_mark), path, node.value, rule))
    return None
