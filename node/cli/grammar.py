"""What each command takes, as its signature says it: for `--help`, completion and tests."""

import inspect
from collections.abc import Callable, Iterator
from types import UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from typer.models import ArgumentInfo, OptionInfo

Callback = Callable[..., None]

METAVARS = {
    "address": "URL",
    "alarm": "ALARM",
    "assignments": "SETTING=VALUE",
    "ca": "FILE",
    "config": "FILE",
    "context": "CONTEXT",
    "deadline": "DURATION",
    "device": "DEVICE",
    "expires": "DURATION",
    "for_": "DURATION",
    "freeze": "FREEZE",
    "invitation": "INVITATION",
    "key": "KEY",
    "node": "NODE",
    "number": "DEPLOYMENT",
    "out": "FILE",
    "overlap": "DURATION",
    "parameter": "NAME=VALUE",
    "reason": "TEXT",
    "rollout": "ROLLOUT",
    "selector": "SELECTOR",
    "setting": "SETTING",
    "subject": "NODE|DEVICE",
    "target": "NODE",
    "to": "NODE",
    "token": "TOKEN",
    "token_file": "FILE",
    "topic": "TOPIC",
    "url": "URL",
}
"""What stands for a value in `--help`, by the parameter's name: one thing has one word, wherever it
is asked for. What is not here, or says its own, is special to a command."""


class Parameter(NamedTuple):
    """One argument (no `options`) or option of a command."""

    name: str
    options: tuple[str, ...]
    kind: type
    required: bool
    repeated: bool
    info: Any

    @property
    def option(self) -> str:
        """Its long name; empty for an argument."""
        return next((text for text in self.options if text.startswith("--")), "")

    @property
    def is_flag(self) -> bool:
        """Whether it is an option without a value."""
        return bool(self.options) and self.kind is bool

    @property
    def stands_for(self) -> tuple[str, ...]:
        """The kinds of thing that its value may be, in capitals: `("NODE", "DEVICE")`."""
        said = self.info.metavar or METAVARS.get(self.name, "")
        return tuple(said.split("|"))


def parameters(command: Callback) -> Iterator[Parameter]:
    """The parameters of a command, in order."""
    hints = get_type_hints(command, include_extras=True)
    for name, given in inspect.signature(command).parameters.items():
        annotation, info = get_args(hints[name])[:2]
        kinds = [kind for kind in _plain(annotation) if kind is not type(None)]
        yield Parameter(
            name,
            () if isinstance(info, ArgumentInfo) else _options(name, info),
            next(kind for kind in kinds if kind is not list),
            given.default is inspect.Parameter.empty,
            list in kinds,
            info,
        )


def name_values(command: Callback) -> None:
    """Gives every parameter that says no word of its own that of `METAVARS`."""
    for one in parameters(command):
        if one.info.metavar is None and not one.is_flag:
            one.info.metavar = METAVARS.get(one.name)


def _options(name: str, info: OptionInfo) -> tuple[str, ...]:
    # Within `Annotated` the first of several names is taken for the default.
    said = (info.default, *(info.param_decls or ()))
    found = [text for text in said if isinstance(text, str) and text.startswith("-")]
    return tuple(part for text in found for part in text.split("/")) or (
        f"--{name.replace('_', '-')}",
    )


def _plain(annotation: Any) -> Iterator[type]:
    """The classes that a hint such as `list[str] | None` is made of."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        for part in get_args(annotation):
            yield from _plain(part)
    elif origin is list:
        yield list
        yield from _plain(get_args(annotation)[0])
    else:
        yield annotation
