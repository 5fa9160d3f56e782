"""Fault profiles: each turns a seed into timed actions. They compose freely (see `rhythm`)."""

import random
from collections.abc import Iterable, Iterator

import msgspec

from stationkeep.cluster.devices.rings import RINGS
from stationkeep.cluster.levels import HIGHEST, LOWEST
from stationkeep.node.simulation.faults import extremes
from stationkeep.node.simulation.faults import links as link_faults
from stationkeep.node.simulation.faults.rhythm import Profile, Setting, act, anyone, moments
from stationkeep.node.simulation.machine.disk import POINTS
from stationkeep.node.simulation.scenario import Action, BadScenario, Scenario


class Crashes(msgspec.Struct, frozen=True):
    """Processes die, machines lose power, and come back; also all at once."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        for at in moments(draw, on):
            how = draw.choice(("process", "power"))
            if draw.random() < 0.1:
                victims = list(on.names)
            else:
                victims = [anyone(draw, on) for _ in range(draw.randint(1, 2))]
            for who in victims:
                yield act(at, "crash", who, how)
            for name in on.names:  # whoever it was
                yield act(at + draw.uniform(0.2, 5) * on.span, "start", name)


class CrashPoints(msgspec.Struct, frozen=True):
    """Crashes within the code of journal, snapshot and outbox, at the worst places."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        points = sorted(POINTS)
        for at in moments(draw, on, on.gap / 2):
            yield act(at, "crash-at", anyone(draw, on), draw.choice(points))
        for at in moments(draw, on, on.gap / 2):
            for name in on.names:
                yield act(at + draw.uniform(0, on.span), "start", name)


class Pauses(msgspec.Struct, frozen=True):
    """A process is stopped for a while: a full host, a debugger, a snapshot of the machine."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        for at in moments(draw, on):
            yield act(
                at,
                "pause",
                anyone(draw, on),
                draw.uniform(0.2, 8) * draw.choice((on.unit, on.span)),
            )


class Drift(msgspec.Struct, frozen=True):
    """Clocks of different speed, by up to `most` each; leases allow 5 % between two."""

    most: float = 0.02

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        for name in on.names:
            yield Action(0.0, "rate", (name, f"{1 + draw.uniform(-self.most, self.most):.5f}"))


class Jumps(msgspec.Struct, frozen=True):
    """Wall clocks are set, forwards and back."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        for at in moments(draw, on):
            yield act(at, "wall", anyone(draw, on), draw.choice((-86400.0, -3600.0, -1.0, 1e6)))


class SlowDisks(msgspec.Struct, frozen=True):
    """A synced write takes up to two election timeouts."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        for at in moments(draw, on):
            delay = draw.choice((0.01, 0.1, 0.5, 2.0)) * draw.random() * on.unit
            name = draw.choice(on.names)
            yield act(at, "slow", name, delay)
            yield act(at + draw.uniform(1, 6) * on.span, "slow", name, 0.0)


class FullDisks(msgspec.Struct, frozen=True):
    """A disk is full for a while."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        for at in moments(draw, on):
            yield act(at, "full", anyone(draw, on), "on")
            for name in on.names:
                yield act(at + draw.uniform(1, 6) * on.span, "full", name, "off")


class Stolen(msgspec.Struct, frozen=True):
    """One disk is lost at the worst moment. A leader is cut off and another one elected, with the
    vote of that disk perhaps; before the first one notices, it and the node with the new disk are
    left alone with each other."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        name = draw.choice((*on.names, *on.spares))
        at = draw.choice((draw.uniform(0.2, 0.7) * on.end, draw.uniform(0.6, 2) * on.unit))
        back = at + draw.uniform(0.6, 1.0) * on.unit
        yield act(at, "isolate", "leader")
        yield act(back, "crash", name, "process")
        yield act(back, "erase", name)
        for each in on.names:
            yield act(back, "rejoin", each)
        yield act(back + 0.001, "isolate", "leader")
        yield act(back + 0.002, "start", name)
        for each in on.names:
            yield act(back + draw.uniform(2, 4) * on.unit, "rejoin", each)


class Rot(msgspec.Struct, frozen=True):
    """One disk is lost. Either it is damaged while its node is down: the node must not start from
    it, and comes back with an empty one. Or it is replaced at once, perhaps (by chance or by
    design) while a former leader does not know yet that it was deposed."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        if draw.random() < 0.3:
            yield from Stolen().actions(draw, on)
            return
        name = draw.choice(on.names)
        at = draw.uniform(0.2, 0.7) * on.end
        yield act(at, "crash", name, "process")
        if draw.random() < 0.4:
            yield act(at + 0.01 * on.span, "erase", name)
            yield act(at + draw.uniform(0.02, 1) * on.span, "start", name)
            return
        yield act(at + 0.1 * on.span, "rot", name, draw.choice(("journal", "snapshot")))
        yield act(at + 0.5 * on.span, "start", name)
        if draw.random() < 0.7:
            yield act(at + 1.5 * on.span, "erase", name)
            yield act(at + 2 * on.span, "start", name)


class Unhealthy(msgspec.Struct, frozen=True):
    """Nodes report high risk for a while."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        for at in moments(draw, on):
            name = anyone(draw, on)
            yield act(at, "risk", name, draw.choice((0.25, 0.5, 0.9)))
            for each in on.names:
                yield act(at + draw.uniform(2, 10) * on.span, "risk", each, 0.1)


class Hooks(msgspec.Struct, frozen=True):
    """Hooks fail, or hang until their timeout."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        for at in moments(draw, on):
            name = draw.choice(on.names)
            yield act(at, "hooks", name, draw.choice(("fail", "hang")))
            yield act(at + draw.uniform(2, 8) * on.span, "hooks", name, "work")


class Transfers(msgspec.Struct, frozen=True):
    """Leadership is handed over, by order or because its holder stops."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        for at in moments(draw, on):
            if draw.random() < 0.6:
                yield act(at, "transfer")
                continue
            yield act(at, "stop", anyone(draw, on))
            for name in on.names:
                yield act(at + draw.uniform(1, 4) * on.span, "start", name)


class Memberships(msgspec.Struct, frozen=True):
    """Operators add machines and remove members, also the leader; replace a member by another
    machine, or by the same with an empty disk."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        for at in moments(draw, on):
            what = draw.choice((self._join, self._join, self._leave, self._swap, self._replace))
            yield from what(draw, on, at)

    @staticmethod
    def _join(draw: random.Random, on: Setting, at: float) -> Iterator[Action]:
        yield act(at, "join", draw.choice(on.spares), anyone(draw, on))

    @staticmethod
    def _leave(draw: random.Random, on: Setting, at: float) -> Iterator[Action]:
        who = draw.choice(on.spares) if draw.random() < 0.2 else anyone(draw, on)
        yield act(at, "leave", who, anyone(draw, on))

    @staticmethod
    def _swap(draw: random.Random, on: Setting, at: float) -> Iterator[Action]:
        """One joins and one leaves at nearly the same time, in either order."""
        yield act(at + draw.random() * on.unit, "join", draw.choice(on.spares), anyone(draw, on))
        yield act(at + draw.random() * on.unit, "leave", anyone(draw, on), anyone(draw, on))

    @staticmethod
    def _replace(draw: random.Random, on: Setting, at: float) -> Iterator[Action]:
        """A member leaves, its machine loses power, and comes back as a newcomer."""
        name = draw.choice(on.names + on.spares)
        yield act(at, "leave", name, anyone(draw, on))
        at += draw.uniform(0.2, 2) * on.span
        yield act(at, "crash", name, "power")
        at += draw.uniform(0.2, 2) * on.span
        yield act(at, "join", name, anyone(draw, on))


class Fleet(msgspec.Struct, frozen=True):
    """Devices, with faults of their own: they fall ill, move between nodes, restart."""

    count: tuple[int, int] = (4, 24)

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        yield act(0.0, "devices", str(draw.randint(*self.count)))
        for at in moments(draw, on, on.gap / 2):
            what = draw.choice(("ill", "roam", "renew", "pin"))
            if what == "pin":
                ring = draw.choice([ring.value for ring in RINGS])
                yield act(at, "pin", draw.choice(on.names), ring)
            elif what == "ill":
                yield act(at, "ill", draw.uniform(0.1, 0.5), draw.uniform(0.5, 6) * on.span)
            else:
                yield act(at, what, draw.uniform(0.1, 1))


class Tasks(msgspec.Struct, frozen=True):
    """Devices that carry out tasks, and operators who deploy, cancel, and retry."""

    count: tuple[int, int] = (3, 12)

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        yield act(0.0, "carriers", str(draw.randint(*self.count)))
        targets = ("all", "all", "few", "selected", *(ring.value for ring in RINGS))
        yield act(draw.uniform(1, 3) * on.span, "deploy", draw.choice(on.names), "all")
        for at in moments(draw, on, on.gap / 2):
            what = draw.choice(("deploy", "deploy", "withdraw", "retry", "renew"))
            if what == "renew":
                yield act(at, what, draw.uniform(0.1, 0.5))
            elif what == "deploy":
                yield act(at, what, anyone(draw, on), draw.choice(targets))
            else:
                yield act(at, what, anyone(draw, on))


class Mischief(msgspec.Struct, frozen=True):
    """What may come beside tasks: devices that poll, are too busy for a while, or are removed, and
    nodes that say of tasks what no device has said."""

    count: tuple[int, int] = (1, 5)

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        yield act(0.0, "pollers", str(draw.randint(*self.count)))
        for at in moments(draw, on, on.gap / 4):
            what = draw.choice(("remove", "lie", "lie", "ill", "deploy"))
            if what == "ill":
                yield act(at, "ill", draw.uniform(0.1, 0.8), draw.uniform(1, 8) * on.span)
            elif what == "deploy":
                yield act(at, "deploy", draw.choice(on.names), "ready")
            else:
                yield act(at, what, anyone(draw, on))


class Deceit(msgspec.Struct, frozen=True):
    """What may come beside tasks: nodes that send devices tasks, cancellations and acknowledgements
    that are in no log, and windows in which alone devices begin to install."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        yield act(0.1, "windows", draw.choice((0.0, 0.5, 1.0)))
        for at in moments(draw, on, on.gap / 8):
            yield act(at, "deceive", anyone(draw, on))


ROLLING = (
    "draft", "redraft", "start", "start", "approve", "approve", "pause", "interrupt", "interrupt",
    "resume", "resume", "promote", "promote", "promote", "force", "force", "abort", "rollback",
    "repeat", "unblock", "freeze", "freeze", "lift", "halt", "unhalt", "switch", "flood",
)  # fmt: skip
"""What is ordered of rollouts, some of it more often."""


class Rolling(msgspec.Struct, frozen=True):
    """What may come beside tasks: operators who roll versions out, in any order; devices that go
    back by themselves, fall ill, go away, or are changed by hand."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        yield act(0.2, "able", draw.choice((0.0, 0.5, 1.0)))
        yield act(0.5, "hurry", draw.choice(on.names))
        yield act(draw.uniform(1, 12) * on.span, "roll", anyone(draw, on), "launch")
        for at in moments(draw, on, on.gap / 4):
            what = draw.choice(("launch", "roll", "roll", "roll", "roll", "device"))
            if what == "launch":
                yield act(at, "roll", anyone(draw, on), what)
            elif what == "roll":
                yield act(at, "roll", anyone(draw, on), draw.choice(ROLLING))
            else:
                yield from self._device(draw, on, at)

    @staticmethod
    def _device(draw: random.Random, on: Setting, at: float) -> Iterator[Action]:
        what = draw.choice(("ill", "roam", "renew", "tamper"))
        share = draw.uniform(0.1, 0.4)
        if what == "ill":
            yield act(at, what, share, draw.uniform(0.5, 6) * on.span)
        else:
            yield act(at, what, share)


class Upgrades(msgspec.Struct, frozen=True):
    """Members of different releases: they are upgraded one by one, and some go back. Operators hold
    the level, let it go and raise it, and order all the while what only the higher one has."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        at = draw.uniform(0.1, 0.6) * on.end
        for name in on.names:
            yield from self._install(draw, on, at, name, HIGHEST)
            at += draw.uniform(0.5, 2) * on.span
        for at in moments(draw, on, on.gap / 4):
            what = draw.choice(("release", "raise", "raise", "hold", "free", "move", "move"))
            if what == "move":
                yield act(at, what, anyone(draw, on), draw.choice(on.names))
            elif what == "release":
                name = draw.choice(on.names + on.spares)
                level = draw.choice((LOWEST, HIGHEST, HIGHEST))
                yield from self._install(draw, on, at, name, level)
            else:
                yield act(at, "level", anyone(draw, on), what)

    @staticmethod
    def _install(
        draw: random.Random, on: Setting, at: float, name: str, level: int
    ) -> Iterator[Action]:
        yield act(at, "release", name, str(level))
        yield act(at, "stop", name)
        yield act(at + draw.uniform(0.7, 1.5) * on.span, "start", name)


PROFILES: dict[str, Profile] = {
    "lossy": link_faults.BadWeather(share=(0.02, 0.3)),
    "bursty": link_faults.BadWeather(share=(0.02, 0.25), burst=(0.2, 3.0)),
    "delay": link_faults.BadWeather(delay=(0.02, 0.2)),
    "jitter": link_faults.BadWeather(jitter=(0.05, 0.4)),
    "far": link_faults.Far(),
    "partition": link_faults.Partition(),
    "straggler": link_faults.Straggler(),
    "oneway": link_faults.OneWay(),
    "inbound": link_faults.Inbound(),
    "partial": link_faults.Partial(),
    "reset": link_faults.Resets(),
    "udp": link_faults.OneLane("udp", "off", "on"),
    "standing": link_faults.OneLane("standing", "on", "off"),
    "stray": link_faults.Stray(),
    "crash": Crashes(),
    "crashpoint": CrashPoints(),
    "pause": Pauses(),
    "drift": Drift(),
    "jump": Jumps(),
    "slowdisk": SlowDisks(),
    "fulldisk": FullDisks(),
    "rot": Rot(),
    "unhealthy": Unhealthy(),
    "hooks": Hooks(),
    "transfer": Transfers(),
    "membership": Memberships(),
}
"""In default campaigns, alone and together."""

POPULATIONS: dict[str, Profile] = {
    "devices": Fleet(),
    "tasks": Tasks(),
    "mischief": Mischief(),
    "deceit": Deceit(),
    "rollouts": Rolling(),
    "upgrade": Upgrades(),
}
"""What a run may have beside its faults."""

EXTREMES: dict[str, Profile] = {
    "datagram": extremes.Datagrams(),
    "echo": extremes.Echoes(),
    "deaf": extremes.Deaf(),
    "steal": Stolen(),
    "unsynced": extremes.Unsynced(),
    "wilddrift": Drift(most=0.45),
}
"""Beyond what is promised or likely; only by name, to see that the checks notice."""


def parse(names: str) -> tuple[str, ...]:
    """`"lossy,crash"` → the names, checked; `"all"` and `"none"` → none in particular.

    Raises `BadScenario` that lists the known names.
    """
    if names in ("all", ""):
        return ()
    wanted = tuple(name.strip() for name in names.split(",") if name.strip())
    known = {**PROFILES, **POPULATIONS, **EXTREMES, "none": None}
    for name in wanted:
        if name not in known:
            raise BadScenario(
                f"faults: {name!r} refused: known are {', '.join(PROFILES)}, and "
                f"{', '.join(POPULATIONS)}; beyond what is "
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
    known = {**PROFILES, **POPULATIONS, **EXTREMES}
    actions: list[Action] = []
    for name in names:
        if name != "none":
            actions.extend(known[name].actions(_source(scenario, name), on))
    actions.extend(calls(_source(scenario, "clients"), on, load, orders))
    within = [action for action in actions if action.at < scenario.duration]
    return tuple(sorted(within, key=lambda action: action.at))


def _source(scenario: Scenario, purpose: str) -> random.Random:
    return random.Random(f"{scenario.seed} faults {purpose}")  # noqa: S311
