"""What a run consists of: a seed, a cluster, and a script of timed actions.

Everything else (delays, losses, election timeouts) is drawn from the seed. So a scenario replays
exactly, and an action may be left out of the script to see whether the failure needs it.
"""

# ruff: noqa: N818  (exceptions say what is the case)

import msgspec

from stationkeep.cluster.levels import HIGHEST
from stationkeep.cluster.settings import PROFILES, Settings
from stationkeep.node.raft.engine.guards import Guards

MAX_NODES = 9
SPARES = 2
"""Machines beside the founders' that operators may add to the cluster."""
MAX_HOURS = 10_000
RULES = ("s10", "levels")
"""What may be switched off beside the guards of the engine: keys of commands, and that a member
stops at what is above its level, instead of skipping it."""


class BadScenario(ValueError):
    """A scenario that makes no sense; says which part and why."""


class Action(msgspec.Struct, frozen=True):
    """A verb and its words, `at` seconds after the world's beginning."""

    at: float
    verb: str
    words: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join((f"T+{self.at:.3f}", self.verb, *self.words))


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """One run. `duration`: seconds until everything is healed."""

    seed: int
    nodes: int = 5
    profile: str = "demo"
    faults: tuple[str, ...] = ()
    """Names of the profiles that wrote the script; for people."""
    duration: float = 30.0
    script: tuple[Action, ...] = ()
    guards_off: tuple[str, ...] = ()
    compact_entries: int = 64
    chunk_bytes: int = 2_048
    """Bytes of one chunk of a snapshot: small, so that a snapshot takes many messages."""
    batch_entries: int = 1_024
    """Entries in one message, at most."""
    level: int = HIGHEST
    """The highest level of the release that all members begin with."""

    @property
    def names(self) -> list[str]:
        """The founders."""
        return [f"sat-{number:03}" for number in range(1, self.nodes + 1)]

    @property
    def spares(self) -> list[str]:
        """Machines that do nothing before they join."""
        return [f"sat-{self.nodes + number:03}" for number in range(1, SPARES + 1)]

    @property
    def settings(self) -> Settings:
        return PROFILES[self.profile]

    @property
    def guards(self) -> Guards:
        return Guards(**{name: False for name in self.guards_off if name not in RULES})
