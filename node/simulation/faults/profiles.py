"""Fault profiles: each turns a seed into timed actions. They compose freely (see `rhythm`).

Here are their names, and the script of a run that has some of them.
"""

import random
from collections.abc import Iterable, Iterator

from stationkeep.node.simulation.faults import certificates, extremes, links, nodes, populations
from stationkeep.node.simulation.faults.rhythm import Profile, Setting, act, moments
from stationkeep.node.simulation.scenario import Action, BadScenario, Scenario

PROFILES: dict[str, Profile] = {
    "lossy": links.BadWeather(share=(0.02, 0.3)),
    "bursty": links.BadWeather(share=(0.02, 0.25), burst=(0.2, 3.0)),
    "delay": links.BadWeather(delay=(0.02, 0.2)),
    "jitter": links.BadWeather(jitter=(0.05, 0.4)),
    "far": links.Far(),
    "partition": links.Partition(),
    "straggler": links.Straggler(),
    "oneway": links.OneWay(),
    "inbound": links.Inbound(),
    "partial": links.Partial(),
    "reset": links.Resets(),
    "udp": links.OneLane("udp", "off", "on"),
    "standing": links.OneLane("standing", "on", "off"),
    "stray": links.Stray(),
    "crash": nodes.Crashes(),
    "crashpoint": nodes.CrashPoints(),
    "pause": nodes.Pauses(),
    "drift": nodes.Drift(),
    "jump": nodes.Jumps(),
    "slowdisk": nodes.SlowDisks(),
    "fulldisk": nodes.FullDisks(),
    "rot": nodes.Rot(),
    "unhealthy": nodes.Unhealthy(),
    "hooks": nodes.Hooks(),
    "transfer": nodes.Transfers(),
    "membership": nodes.Memberships(),
}
"""In default campaigns, alone and together."""

CERTIFICATES: dict[str, Profile] = {
    "expiry": certificates.Expiry(),
    "clocks": certificates.Clocks(),
    "rotation": certificates.Rotation(),
    "impostor": certificates.Impostors(),
    "moved": certificates.Moved(),
}
"""With certificates, which a run has from its beginning then."""

POPULATIONS: dict[str, Profile] = {
    "devices": populations.Fleet(),
    "tasks": populations.Tasks(),
    "mischief": populations.Mischief(),
    "deceit": populations.Deceit(),
    "rollouts": populations.Rolling(),
    "upgrade": populations.Upgrades(),
    "invitation": populations.Invitations(),
}
"""What a run may have beside its faults."""

EXTREMES: dict[str, Profile] = {
    "datagram": extremes.Datagrams(),
    "echo": extremes.Echoes(),
    "deaf": extremes.Deaf(),
    "steal": nodes.Stolen(),
    "unsynced": extremes.Unsynced(),
    "wilddrift": nodes.Drift(most=0.45),
}
"""Beyond what is promised or likely; only by name, to see that the checks notice."""

KNOWN = PROFILES | CERTIFICATES | POPULATIONS | EXTREMES


def parse(names: str) -> tuple[str, ...]:
    """`"lossy,crash"` → the names, checked; `"all"` and `"none"` → none in particular.

    Raises `BadScenario` that lists the known names.
    """
    if names in ("all", ""):
        return ()
    wanted = tuple(name.strip() for name in names.split(",") if name.strip())
    known = {*KNOWN, "none"}
    for name in wanted:
        if name not in known:
            raise BadScenario(
                f"faults: {name!r} refused: known are {', '.join(PROFILES)}; with certificates "
                f"{', '.join(CERTIFICATES)}; beside them {', '.join(POPULATIONS)}; beyond what is "
                f"promised {', '.join(EXTREMES)}; or all, none"
            )
    if not wanted:
        raise BadScenario(f"faults: {names!r} refused: it names none")
    return wanted


def mixture(draw: random.Random) -> tuple[str, ...]:
    """One to four profiles."""
    names = list(PROFILES)
    return tuple(sorted(draw.sample(names, draw.choice((1, 2, 2, 3, 3, 4)))))


def calls(draw: random.Random, on: Setting, load: float, orders: bool) -> Iterator[Action]:
    """What clients do: writes of values never written before, reads, now and then an order."""
    if not load:
        return
    registers = on.names[: 1 + len(on.names) // 3]
    values = dict.fromkeys(registers, 100)
    for at in moments(draw, on, on.unit / load):
        node, register = draw.choice(on.names), draw.choice(registers)
        roll = draw.random()
        if roll < 0.5 and values[register] < 1_000:
            values[register] += 1
            yield act(at, "write", node, register, str(values[register]))
        elif roll < 0.93:
            yield act(at, "read", node, register)
        elif orders:
            what = draw.choice(("switchover", "maintenance", "action", "action"))
            yield act(at, "order", node, what)


def script(
    names: Iterable[str],
    scenario: Scenario,
    *,
    gap: float | None = None,
    load: float,
    orders: bool = True,
) -> tuple[Action, ...]:
    """The actions of these profiles, and the clients' calls, in order of time. Each has its own
    random source, so that the others stay the same if one profile is left out."""
    unit = scenario.settings.election_timeout_max / 1_000
    span = max(unit, scenario.settings.evaluation_interval / 1_000)
    on = Setting(
        tuple(scenario.names),
        tuple(scenario.spares),
        unit,
        span,
        gap or 4 * span,
        scenario.duration,
    )
    actions: list[Action] = []
    for name in names:
        if name != "none":
            actions.extend(KNOWN[name].actions(_source(scenario, name), on))
    actions.extend(calls(_source(scenario, "clients"), on, load, orders))
    within = [action for action in actions if action.at < scenario.duration]
    return tuple(sorted(within, key=lambda action: action.at))


def _source(scenario: Scenario, purpose: str) -> random.Random:
    return random.Random(f"{scenario.seed} faults {purpose}")  # noqa: S311
