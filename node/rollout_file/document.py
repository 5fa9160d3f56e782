"""Rollout files: YAML with the keys of a plan, and `rollout`, its name."""

from typing import NamedTuple

from stationkeep.cluster.rollouts.plan import Plan
from stationkeep.node.config.yaml_document import ConfigError, parse
from stationkeep.node.rollout_file import units
from stationkeep.node.rollout_file.reading import read_plan

MAX_FILE_BYTES = 16 * 1_024


class RolloutFile(NamedTuple):
    """What a file says."""

    rollout: str
    plan: Plan
    comment: str


def load(file: str, content: bytes) -> RolloutFile:
    """The rollout that a file describes; `file` names it in errors. Raises `ConfigError`, the first
    fault with all others in `others`, each with line, path, value and rule."""
    document = parse(file, _text(file, content))
    document.raise_errors()
    root = document.root
    name = root.required("rollout", "its name")
    comment = root.child("comment")
    rollout = "" if name is None else name.through(units.name, "")
    said = "" if comment is None else comment.through(units.line, "")
    for own in ("rollout", "comment"):
        root.raw.pop(own, None)
    return RolloutFile(rollout, read_plan(document, root), said)


def _text(file: str, content: bytes) -> str:
    if len(content) > MAX_FILE_BYTES:
        rule = f"a rollout's file has at most {MAX_FILE_BYTES} bytes"
        raise ConfigError(file, None, "", len(content), rule)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{content[error.start]:02x}"
        raise ConfigError(file, line, "", found, "UTF-8 text") from error
