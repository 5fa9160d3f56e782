"""Every command of the app, as the app itself lists them, with arguments that it accepts."""

import enum
import inspect
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

import typer
from typer.models import ArgumentInfo

from stationkeep.node.cli.main import app

KNOWN: dict[str, list[str]] = {
    "assignments": ["evaluation_interval=2s"],
    "device": ["slave-001"],
    "duration_": ["90s"],
    "for_": ["90s"],
    "invitation": ["q7w2e9ab"],
    "http": ["127.0.0.1:8704"],
    "node": ["sat-003"],
    "number": ["17"],
    "pace": ["10:1000:2"],
    "operation_id": ["op-7"],
    "raft": ["127.0.0.1:7704"],
    "plan": [str(Path(__file__).with_name("rollout.yaml"))],
    "rollout": ["fw-2.1"],
    "rule": ["battery > 20"],
    "token": ["k3jd92ma"],
    "address": ["http://127.0.0.1:8701"],
    "serial": ["4f:A0"],
    "selector": ["os=Android 14"],
    "pins": ["sha256:" + 64 * "0"],
    "weights": ["canary=1", "dev=1", "stage=1", "prod=1"],
}
"""What a parameter must be given to be taken; any other gets a value of its type."""
ALWAYS = {
    "once": [], "forbid": ["*->PRIMARY"], "rings": ["canary"], "duration": ["0.3s"],
    "type_": ["restart"], "everyone": [],
}  # fmt: skip
"""Options without which a command would not end, or has nothing to do."""
NOT_TRIED = ("check", "wait")
"""Flags with which a command only computes, or has no end unless the answers change."""


class Parameter(NamedTuple):
    """One argument (no `option`) or option of a command."""

    name: str
    option: str
    kind: type
    required: bool
    repeated: bool

    def values(self, file: Path) -> list[str]:
        if self.name in KNOWN:
            return KNOWN[self.name]
        if issubclass(self.kind, enum.Enum):
            return [str(next(iter(self.kind)).value)]
        if issubclass(self.kind, Path):
            return [str(file)]
        return ["1" if issubclass(self.kind, int | float) else "x"]


class Command(NamedTuple):
    """One command: its words and its parameters."""

    words: tuple[str, ...]
    parameters: dict[str, Parameter]

    def __str__(self) -> str:
        return " ".join(self.words)

    @property
    def asks(self) -> bool:
        """Whether it talks to nodes."""
        return "url" in self.parameters

    @property
    def is_device(self) -> bool:
        """Whether it does so as devices do, to any of several until told to end."""
        return self.asks and self.parameters["url"].repeated

    def arguments(self, file: Path) -> list[str]:
        """The least that it takes; `file` stands for any file."""
        options, plain = [], []
        for one in self.parameters.values():
            if one.name in ALWAYS:
                options += [one.option, *ALWAYS[one.name]]
            elif one.required:
                (options if one.option else plain).extend(
                    [*filter(None, [one.option]), *one.values(file)]
                )
        return [*self.words, *options, *plain]

    def variants(self, file: Path) -> Iterator[list[str]]:
        """As `arguments`, then once with each of its flags."""
        least = self.arguments(file)
        yield least
        for one in self.parameters.values():
            if one.kind is bool and one.name not in {*ALWAYS, *NOT_TRIED}:
                yield [*least, one.option]


def every_command() -> list[Command]:
    return list(_walk(app, ()))


def _walk(part: typer.Typer, words: tuple[str, ...]) -> Iterator[Command]:
    for command in part.registered_commands:
        assert command.callback is not None
        name = command.name or command.callback.__name__.replace("_", "-")
        yield Command((*words, name), {one.name: one for one in _parameters(command.callback)})
    for group in part.registered_groups:
        assert group.typer_instance is not None
        yield from _walk(group.typer_instance, (*words, str(group.name)))


def _parameters(callback: Callable[..., Any]) -> Iterator[Parameter]:
    hints = get_type_hints(callback, include_extras=True)
    for name, given in inspect.signature(callback).parameters.items():
        annotation, info = get_args(hints[name])[:2]
        kinds = [kind for kind in _plain(annotation) if kind is not type(None)]
        said = (info.default, *(info.param_decls or ()))  # within `Annotated` a name comes first
        long = [text for text in said if isinstance(text, str) and text.startswith("--")]
        yield Parameter(
            name,
            "" if isinstance(info, ArgumentInfo) else (long or [f"--{name}"])[0].split("/")[0],
            next(kind for kind in kinds if kind is not list),
            given.default is inspect.Parameter.empty,
            list in kinds,
        )


def _plain(annotation: Any) -> Iterator[type]:
    """The classes that a hint such as `list[str] | None` is made of."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from _plain(part)
    elif origin is list:
        yield list
        yield from _plain(get_args(annotation)[0])
    else:
        yield annotation
