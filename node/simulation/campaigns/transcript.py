"""A run as a file: what was done, what was seen; readable, versioned, replayable.

    stationkeep-transcript 1
    seed 7
    nodes 3
    …
    # what was done
    T+4.210 crash leader power
    # what was seen
    | T+4.210 sat-002 is down
    # the end
    = leader completeness: sat-001 leads term 3 without entry 12 of term 2, …

A replay performs the same actions and compares what is seen, line by line. A transcript of another
version is refused, because what a seed means changes with the simulator.
"""

# ruff: noqa: N818  (exceptions say what is the case)

from pathlib import Path

import msgspec

from stationkeep.node.simulation.actions import check_scenario
from stationkeep.node.simulation.campaigns.campaign import attempt, quiet
from stationkeep.node.simulation.scenario import Action, BadScenario, Scenario
from stationkeep.node.simulation.world import World

VERSION = 1
MAGIC = "stationkeep-transcript"
MAX_BYTES = 64 * 1024 * 1024
NOTHING = "everything held"
_FIELDS = (
    "seed",
    "nodes",
    "profile",
    "duration",
    "compact",
    "chunk",
    "batch",
    "level",
    "faults",
    "guards-off",
)


class BadTranscript(ValueError):
    """A file that is no transcript of this version; names the line and why."""


class Transcript(msgspec.Struct, frozen=True):
    """A scenario, what was seen of it, and how it ended."""

    scenario: Scenario
    seen: tuple[str, ...]
    end: str

    def text(self) -> str:
        """The file's content."""
        scenario = self.scenario
        lines = [
            f"{MAGIC} {VERSION}",
            f"seed {scenario.seed}",
            f"nodes {scenario.nodes}",
            f"profile {scenario.profile}",
            f"duration {scenario.duration:g}",
            f"compact {scenario.compact_entries}",
            f"chunk {scenario.chunk_bytes}",
            f"batch {scenario.batch_entries}",
            f"level {scenario.level}",
            f"faults {','.join(scenario.faults) or '-'}",
            f"guards-off {','.join(scenario.guards_off) or '-'}",
            "",
            "# what was done",
            *(str(action) for action in scenario.script),
            "",
            "# what was seen",
            *(f"| {line}" for line in self.seen),
            "",
            "# the end",
            f"= {self.end}",
        ]
        return "\n".join(lines) + "\n"


def record(scenario: Scenario) -> Transcript:
    """Runs a scenario and writes down what happens."""
    with quiet():
        world, outcome = attempt(scenario)
    end = f"{outcome.rule}: {outcome.detail}" if outcome.rule else NOTHING
    return Transcript(scenario, _seen(world), " ".join(end.split()))


def of(world: World) -> Transcript:
    """The transcript so far of a world that has broken nothing."""
    return Transcript(world.scenario, _seen(world), NOTHING)


def _seen(world: World | None) -> tuple[str, ...]:
    notes = world.notes if world is not None else []
    return tuple(note for note in notes if " > " not in note and "VIOLATION" not in note)


def difference(before: Transcript, after: Transcript) -> str:
    """The first line in which two transcripts of one scenario differ; empty if none does."""
    for number, (one, other) in enumerate(zip(before.seen, after.seen, strict=False), 1):
        if one != other:
            return f"line {number} of what was seen: {one!r} then, {other!r} now"
    if len(before.seen) != len(after.seen):
        return f"{len(before.seen)} lines were seen then, {len(after.seen)} now"
    if before.end != after.end:
        return f"it ended with {before.end!r} then, with {after.end!r} now"
    return ""


def read(path: Path) -> Transcript:
    """Reads a transcript from a file; raises `BadTranscript`, `OSError`."""
    if path.stat().st_size > MAX_BYTES:
        raise BadTranscript(f"{path}: longer than {MAX_BYTES} bytes")
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise BadTranscript(f"{path}: not a transcript: not UTF-8 text") from error


def parse(text: str, source: str = "transcript") -> Transcript:
    """Parses a transcript; raises `BadTranscript` that names the line."""
    lines = text.splitlines()
    _check_version(lines, source)
    head: dict[str, str] = {}
    script: list[Action] = []
    seen: list[str] = []
    end = NOTHING
    for number, line in enumerate(lines[1:], 2):
        if not line or line.startswith("#"):
            continue
        if line.startswith("| "):
            seen.append(line[2:])
        elif line.startswith("= "):
            end = line[2:]
        elif line.startswith("T+"):
            script.append(_action(line, f"{source}, line {number}"))
        else:
            name, _, value = line.partition(" ")
            if name not in _FIELDS:
                raise BadTranscript(f"{source}, line {number}: {line!r} is nothing known")
            head[name] = value
    return Transcript(_scenario(head, script, source), tuple(seen), end)


def _check_version(lines: list[str], source: str) -> None:
    magic, _, version = (lines[0] if lines else "").partition(" ")
    if magic != MAGIC:
        raise BadTranscript(f"{source}: not a transcript: it does not begin with {MAGIC!r}")
    if version != str(VERSION):
        raise BadTranscript(
            f"{source}: a transcript of version {version}; this release replays version {VERSION} "
            "(what a seed means changes with the simulator; use the release that wrote it)"
        )


def _action(line: str, where: str) -> Action:
    moment, *words = line.split()
    try:
        at = float(moment[2:])
    except ValueError:
        raise BadTranscript(f"{where}: {moment!r} is not a time such as T+1.5") from None
    if not words:
        raise BadTranscript(f"{where}: a time, and nothing to do")
    return Action(at, words[0], tuple(words[1:]))


def _scenario(head: dict[str, str], script: list[Action], source: str) -> Scenario:
    missing = [field for field in _FIELDS if field not in head]
    if missing:
        raise BadTranscript(f"{source}: {', '.join(missing)} not given")
    try:
        scenario = Scenario(
            seed=int(head["seed"]),
            nodes=int(head["nodes"]),
            profile=head["profile"],
            duration=float(head["duration"]),
            compact_entries=int(head["compact"]),
            chunk_bytes=int(head["chunk"]),
            batch_entries=int(head["batch"]),
            level=int(head["level"]),
            faults=_names(head["faults"]),
            guards_off=_names(head["guards-off"]),
            script=tuple(sorted(script, key=lambda action: action.at)),
        )
        check_scenario(scenario)
    except BadScenario as error:
        raise BadTranscript(f"{source}: {error}") from error
    except ValueError as error:
        raise BadTranscript(f"{source}: a number was expected in its head") from error
    return scenario


def _names(text: str) -> tuple[str, ...]:
    return () if text == "-" else tuple(text.split(","))
