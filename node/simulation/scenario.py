"""What a run consists of: a seed, a cluster, and a script of timed actions.

Everything else (delays, losses, election timeouts) is drawn from the seed. So a scenario replays
exactly, and an action may be left out of the script to see whether the failure needs it.
"""

# ruff: noqa: N818  (exceptions say what is the case)

from collections.abc import Callable

import msgspec

from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.settings import PROFILES, Settings
from stationkeep.node.raft.engine.guards import Guards
from stationkeep.node.simulation.links.network import LANES
from stationkeep.node.simulation.machine.disk import POINTS

MAX_NODES = 9
SPARES = 2
"""Machines beside the founders' that operators may take into the cluster."""
MAX_HOURS = 10_000
WHO = ("leader", "primary")
"""Names that mean whoever it is at that moment."""


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
    """Of a snapshot on its way: small, so that one takes many messages."""
    batch_entries: int = 1_024
    """Entries in one message at the most."""

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
        return Guards(**{name: False for name in self.guards_off if name != "s10"})


def _number(word: str, _: Scenario) -> str | None:
    try:
        value = float(word)
    except ValueError:
        return "a number"
    return None if abs(value) < 1e9 else "a number"


def _node(word: str, scenario: Scenario) -> str | None:
    return None if word in WHO else _machine(word, scenario, ", leader, primary")


def _machine(word: str, scenario: Scenario, or_else: str = "") -> str | None:
    first, last = scenario.names[0], scenario.spares[-1]
    fits = word in scenario.names or word in scenario.spares
    return None if fits else f"a node ({first} … {last}){or_else}"


def _one_of(*choices: str) -> Callable[[str, Scenario], str | None]:
    return lambda word, _: None if word in choices else "one of " + ", ".join(choices)


VERBS: dict[str, tuple[Callable[[str, Scenario], str | None], ...]] = {
    "crash": (_node, _one_of("process", "power")),
    "crash-at": (_node, _one_of(*POINTS)),
    "start": (_node,),
    "stop": (_node,),
    "cut": (_node, _node),
    "mend": (_node, _node),
    "isolate": (_node,),
    "rejoin": (_node,),
    "reset": (_node, _node),
    "pause": (_node, _number),
    "rate": (_node, _number),
    "wall": (_node, _number),
    "slow": (_node, _number),
    "durability": (_node, _one_of("sync", "os")),
    "full": (_node, _one_of("on", "off")),
    "rot": (_node, _one_of("journal", "snapshot")),
    "erase": (_node,),
    "risk": (_node, _number),
    "hooks": (_node, _one_of("work", "fail", "hang")),
    "weather": (_number, _number, _number, _number),
    "far": (_node, _node, _number),
    "stray": (_number, _number, _number),
    "udp": (_node, _node, _one_of("on", "off")),
    "standing": (_node, _node, _one_of("on", "off")),
    "lane": (_one_of(*LANES), _one_of("on", "off")),
    "datagrams": (_one_of("on", "off"),),
    "devices": (_number,),
    "ill": (_number, _number),
    "roam": (_number,),
    "renew": (_number,),
    "pin": (_node, _one_of(*Ring)),
    "transfer": (),
    "write": (_node, _node, _number),
    "read": (_node, _node),
    "order": (_node, _one_of("switchover", "maintenance", "action")),
    "join": (_machine, _node),
    "leave": (_node, _node),
}
"""What each verb wants behind it. `weather`: delay s, jitter s, share lost, mean burst s.
`stray`, of datagrams: share that is late, by up to s, share that arrives twice.
`join`, `leave`: who, and the node that the operator asks."""


def check_action(action: Action, scenario: Scenario) -> None:
    """Raises `BadScenario` when the world would not know what to do."""
    wanted = VERBS.get(action.verb)
    if wanted is None:
        raise BadScenario(f"{action}: no such verb; known are {', '.join(sorted(VERBS))}")
    if len(wanted) != len(action.words):
        raise BadScenario(f"{action}: {action.verb} takes {len(wanted)} words")
    for check, word in zip(wanted, action.words, strict=True):
        fault = check(word, scenario)
        if fault is not None:
            raise BadScenario(f"{action}: {word!r} is not {fault}")
    if not 0 <= action.at < MAX_HOURS * 3600:
        raise BadScenario(f"{action}: not a moment of a simulation")


def check_scenario(scenario: Scenario) -> None:
    """Raises `BadScenario` at the first part that makes no sense."""
    if not 0 <= scenario.seed < 2**63:
        raise BadScenario(f"seed: {scenario.seed} refused: a whole number from 0 to 2^63 - 1")
    if not 3 <= scenario.nodes <= MAX_NODES:
        raise BadScenario(f"nodes: {scenario.nodes} refused: between 3 and {MAX_NODES}")
    if scenario.profile not in PROFILES:
        known = ", ".join(sorted(PROFILES))
        raise BadScenario(f"profile: {scenario.profile!r} refused: one of {known}")
    if not 0 < scenario.duration <= MAX_HOURS * 3600:
        raise BadScenario(
            f"duration: {scenario.duration} s refused: more than 0 and at most {MAX_HOURS} h"
        )
    switches = {*Guards.__struct_fields__, "s10"}
    for guard in scenario.guards_off:
        if guard not in switches:
            raise BadScenario(f"guard: {guard!r} refused: one of {', '.join(sorted(switches))}")
    for action in scenario.script:
        check_action(action, scenario)
