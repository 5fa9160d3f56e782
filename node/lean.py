"""A node's process, without what only a command line needs.

`stationkeep node run` checks what it was given and becomes this program: the same process, by
`exec`. Typer, Click and Rich would otherwise stay in the memory of a process that runs for years
and never prints a table; structlog, uvicorn and FastAPI would import more of the kind: tracebacks
in colour, contexts of greenlets, servers that reload their code, models of Pydantic 1.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

PACKAGES = Path(__file__).resolve().parent.parent
"""Where this very program lies."""
FLAGS = {"ignore_environment": "-E", "no_user_site": "-s", "optimize": "-O"}
"""Of the interpreter, by which it was told what to trust and what to check."""
UNWANTED = ("rich", "watchfiles", "greenlet", "pydantic.v1")
"""Optional to those who import them, which take them for not installed."""


def become(options: Mapping[str, str]) -> NoReturn:
    """Turns this process into a node with these options of `node run`, which are valid."""
    words = [word for option in options.items() for word in option]
    sys.stdout.flush()
    sys.stderr.flush()
    program = [sys.executable, *_flags(), "-m", __spec__.name, "node", "run", *words]
    os.execv(program[0], program)  # noqa: S606 - no shell is wanted


def _flags() -> list[str]:
    """As this process was begun. `-m` would look into the working directory first, where anything
    may lie under the name of one of our modules; only who works in a checkout means that."""
    kept = [flag for name, flag in FLAGS.items() if getattr(sys.flags, name)]
    in_checkout = bool(sys.path) and sys.path[0] == str(PACKAGES)
    return kept if in_checkout and not sys.flags.safe_path else [*kept, "-P"]


def main(arguments: list[str]) -> int:
    """Runs the node; `arguments`: as `become` gives them."""
    options = dict(zip(arguments[2::2], arguments[3::2], strict=True))
    for name in UNWANTED:
        sys.modules[name] = None  # type: ignore[assignment]
    from msgspec.structs import replace  # noqa: PLC0415

    from node import config as configuration  # noqa: PLC0415
    from node.runtime import run  # noqa: PLC0415

    config = configuration.load(Path(options["--config"]))
    if "--durability" in options:
        config = replace(config, durability=options["--durability"])
    recording = options.get("--health-replay")
    speed = float(options.get("--replay-speed", "1"))
    return run(config, Path(recording) if recording else None, speed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
