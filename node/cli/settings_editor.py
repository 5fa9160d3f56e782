"""Settings in a person's own editor: what is changed in the file is what is to be changed."""

import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml

from stationkeep.cluster.suggestion import unknown
from stationkeep.node.cli.failures import CommandError

MOST_BYTES = 64 * 1024
HEAD = "# Change values, and save. What you leave stays; a faulty set is refused as a whole.\n"


def edited(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that were changed, by name."""
    command = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory(prefix="stationkeep-") as directory:
        file = Path(directory) / "settings.yaml"
        file.write_text(HEAD + yaml.safe_dump(settings, sort_keys=False))
        try:
            _run([*shlex.split(command), str(file)])
            with file.open("rb") as saved:  # anew: editors put another file in its place
                content = saved.read(MOST_BYTES + 1)
        except (OSError, ValueError) as error:
            raise CommandError(f"{command}: {error}; EDITOR names another one") from error
    return changed(settings, _read(content))


def changed(settings: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """What `wanted` has otherwise than `settings`. Raises `CommandError` for what is no setting."""
    for name in wanted:
        if name not in settings:
            raise CommandError(unknown("setting", str(name), settings))
    return {name: value for name, value in wanted.items() if value != settings[name]}


def _read(content: bytes) -> dict[str, Any]:
    if len(content) > MOST_BYTES:
        raise CommandError(f"the edited settings have more than {MOST_BYTES:,} bytes")
    try:
        found = yaml.safe_load(content)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise CommandError(f"the edited settings are no YAML: {error}") from error
    if not isinstance(found, dict):
        raise CommandError("the edited settings are no mapping of names to values")
    odd = next((name for name, value in found.items() if not isinstance(value, _PLAIN)), None)
    if odd is not None:
        raise CommandError(f"{odd}: a text, a number, true or false")
    return found


_PLAIN = (str, int, float, bool)


def _run(command: list[str]) -> None:
    ended = subprocess.run(command, check=False).returncode
    if ended != 0:
        raise CommandError(f"{command[0]} ended with {ended}: nothing was changed")
