"""Every command of the app, as the app itself lists them, with arguments that it accepts."""

import enum
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from stationkeep.node.cli.grammar import Parameter, parameters
from stationkeep.node.cli.main import app, tree

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
    "thing": ["sat-003"],
    "token": ["k3jd92ma"],
    "address": ["http://127.0.0.1:8701"],
    "serial": ["4f:A0"],
    "selector": ["os=Android 14"],
    "condition": ["primary"],
    "setting": ["evaluation_interval"],
    "pins": ["sha256:" + 64 * "0"],
    "weights": ["canary=1", "dev=1", "stage=1", "prod=1"],
}
"""What a parameter must be given to be taken; any other gets a value of its type."""
ALWAYS = {
    "once": [], "forbid": ["*->PRIMARY"], "rings": ["canary"], "duration": ["0.3s"],
    "type_": ["restart"], "everyone": [], "count": ["1"], "timeout": ["10ms"],
}  # fmt: skip
"""Options without which a command would not end, or has nothing to do."""
NOT_TRIED = ("check", "wait", "watching")
"""Flags with which a command only computes, or has no end unless the answers change."""


def values(one: Parameter, file: Path) -> list[str]:
    if one.name in KNOWN:
        return KNOWN[one.name]
    if issubclass(one.kind, enum.Enum):
        return [str(next(iter(one.kind)).value)]
    if issubclass(one.kind, Path):
        return [str(file)]
    return ["1" if issubclass(one.kind, int | float) else "x"]


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
                    [*filter(None, [one.option]), *values(one, file)]
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
    return list(_walk(tree(app), ()))


def _walk(part: Mapping[str, Any], words: tuple[str, ...]) -> Iterator[Command]:
    for word, found in part.items():
        if isinstance(found, Mapping):
            yield from _walk(found, (*words, word))
        else:
            yield Command((*words, word), {one.name: one for one in parameters(found)})
