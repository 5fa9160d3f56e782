"""What the Tab key offers: words of the command line, and names that the cluster knows.

A shell asks with the line up to the cursor and gets one candidate a line, or `FILES`. What goes
wrong is silence: a person who is typing wants no message. Names come from others, and a shell puts
them where it will run them: only those without a meaning to any shell are offered.
"""

import enum
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, Union

from stationkeep.node.cli.grammar import Callback, Parameter, parameters

FILES = ":files"
"""Tells a shell to offer files."""
MOST = 200
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+/=-]{0,127}")

Tree = Mapping[str, Union[Callback, "Tree"]]
"""Commands by their words."""


class Asked(NamedTuple):
    """A name is wanted of one of these kinds (`Parameter.stands_for`), by a command line that has
    these options so far."""

    kinds: tuple[str, ...]
    options: Mapping[str, str]


Lookup = Callable[[Asked], Iterable[str]]


def candidates(root: Callback, tree: Tree, line: str, lookup: Lookup) -> list[str]:
    """What may come at the end of a line, `stationkeep` included; `root` has the options that come
    before a command. `lookup` knows the names."""
    words = _words(line)
    typed = words.pop()
    place = _Place(root, tree)
    for word in words[1:]:
        if not place.read(word):
            return []
    found = place.offered(typed, lookup)
    return [word for word in dict.fromkeys(found) if word == FILES or word.startswith(typed)][:MOST]


def plain(names: Iterable[object]) -> list[str]:
    """Those that mean nothing but themselves in any shell."""
    return [name for name in names if isinstance(name, str) and _PLAIN.fullmatch(name)]


def _words(line: str) -> list[str]:
    """The words of an unfinished line; the last one is being typed, and may be empty."""
    for end in ("", '"', "'"):
        try:
            found = shlex.split(line + end)
        except ValueError:
            continue
        return found if line and not line[-1].isspace() else [*found, ""]
    return ["", ""]


class _Place:
    """Where in the grammar a line has come to."""

    def __init__(self, root: Callback, tree: Tree) -> None:
        self._here: Tree | Callback = tree
        self._known = list(parameters(root))
        self._options: dict[str, str] = {}
        self._arguments = 0
        self._open: Parameter | None = None
        """The option whose value comes next."""
        self._plain = False
        """Whether `--` has come: no word is an option any more."""

    def read(self, word: str) -> bool:
        """Goes on by a word; whether it makes sense."""
        if self._open is not None:
            self._options[self._open.name], self._open = word, None
        elif word == "--":
            self._plain = True
        elif word.startswith("-") and not self._plain:
            self._read_option(word)
        elif isinstance(self._here, Mapping):
            return self._enter(word)
        else:
            self._arguments += 1
        return True

    def _read_option(self, word: str) -> None:
        name, equals, value = word.partition("=")
        option = self._option(name)
        if option is not None and equals:
            self._options[option.name] = value
        elif option is not None and not option.is_flag:
            self._open = option

    def _enter(self, word: str) -> bool:
        assert isinstance(self._here, Mapping)
        found = self._here.get(word)
        if found is None:
            return False
        self._here = found
        if not isinstance(found, Mapping):
            self._known += parameters(found)
        return True

    def _option(self, name: str) -> Parameter | None:
        return next((one for one in reversed(self._known) if name in one.options), None)

    def offered(self, typed: str, lookup: Lookup) -> Iterable[str]:
        if self._open is not None:
            return self._values(self._open, lookup)
        if typed.startswith("-") and not self._plain:
            name, equals, _ = typed.partition("=")
            option = self._option(name) if equals else None
            if option is not None:
                return [f"{name}={value}" for value in self._values(option, lookup)]
            return self._names()
        if isinstance(self._here, Mapping):
            return self._here
        argument = self._argument()
        return () if argument is None else self._values(argument, lookup)

    def _names(self) -> list[str]:
        """Long names of options, of the command itself or, before it, of all."""
        own = self._known
        if not isinstance(self._here, Mapping):
            mine = {one.name for one in parameters(self._here)}
            own = [one for one in own if one.name in mine]
        return [text for one in own for text in one.options if text.startswith("--")] + ["--help"]

    def _argument(self) -> Parameter | None:
        open_ = [one for one in self._known if not one.options]
        if self._arguments < len(open_):
            return open_[self._arguments]
        return open_[-1] if open_ and open_[-1].repeated else None

    def _values(self, one: Parameter, lookup: Lookup) -> Iterable[str]:
        if issubclass(one.kind, enum.Enum):
            return [str(member.value) for member in one.kind]
        if issubclass(one.kind, Path):
            return [FILES]
        return plain(lookup(Asked(one.stands_for, self._options)))
