"""A node's process, without what only a command line needs.

`stationkeep node run` with plain options comes here before the command line is imported. Typer and
Rich would otherwise stay in the memory of a process that runs for years and never prints a table;
structlog, uvicorn and FastAPI would import more of the kind: tracebacks in colour, contexts of
greenlets, servers that reload their code, models of Pydantic 1.

Whatever is not plain, or not right, is left to the command line, which has the words for it.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stationkeep.node.config.node_config import NodeConfig

COMMAND = ("node", "run")
OPTIONS = frozenset({"--config", "--durability"})
UNWANTED = ("rich", "pygments", "watchfiles", "greenlet", "pydantic.v1")
"""Optional to those who import them, which take them for not installed."""


def run_node(arguments: Sequence[str]) -> int | None:
    """Runs the node that a command line asks for, and returns its exit code; None when it asks
    for something else, or in a way that needs an answer."""
    options = _plain(arguments)
    if options is None:
        return None
    _leave_out()
    config = _valid(options)
    if config is None:
        _take_back()
        return None
    from stationkeep.node.runtime.node import run  # noqa: PLC0415 - the whole server

    return run(config)


def _plain(arguments: Sequence[str]) -> dict[str, str] | None:
    """The options of `node run`, each once and with its value; None for any other words."""
    words = list(arguments[len(COMMAND) :])
    names = words[::2]
    if tuple(arguments[: len(COMMAND)]) != COMMAND or len(words) % 2 or "--config" not in names:
        return None
    if len(set(names)) < len(names) or not OPTIONS.issuperset(names):
        return None
    return dict(zip(names, words[1::2], strict=True))


def _valid(options: dict[str, str]) -> "NodeConfig | None":
    from msgspec.structs import replace  # noqa: PLC0415

    from stationkeep.node.config import node_config as configuration  # noqa: PLC0415

    try:
        config = configuration.load(Path(options["--config"]))
    except configuration.ConfigError:
        return None
    durability = options.get("--durability", config.durability)
    return replace(config, durability=durability) if durability in ("sync", "os") else None


def _leave_out() -> None:
    sys.modules.update(dict.fromkeys(UNWANTED))  # type: ignore[arg-type]


def _take_back() -> None:
    for name in UNWANTED:
        del sys.modules[name]
