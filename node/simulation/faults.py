"""Fault profiles: each turns a seed into timed actions. They compose freely.

A profile knows its own rhythm: `gap` is the mean time between two of its faults, `unit` the
longest election timeout, `span` the evaluation interval, so that the same profile suits every
timing: what disturbs Raft is measured in units, what disturbs roles in spans.
"""

import random
from collections.abc import Iterable, Iterator
from itertools import permutations
from typing import Protocol

import msgspec

from node.simulation.disk import POINTS
from node.simulation.network import USER_TIMEOUT
from node.simulation.scenario import Action, BadScenario, Scenario

DEFAULT_LOAD = 1.0
"""Client calls per unit."""


class Setting(msgspec.Struct, frozen=True):
    """What a profile may know. `unit`, `span`, `gap`, `end` in seconds."""

    names: tuple[str, ...]
    spares: tuple[str, ...]
    unit: float
    span: float
    gap: float
    end: float


class Profile(Protocol):
    """`actions` need not be in order."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]: ...


def _moments(draw: random.Random, on: Setting, gap: float | None = None) -> Iterator[float]:
    """A Poisson process from the first unit to the end."""
    mean = on.gap if gap is None else gap
    at = on.unit + draw.expovariate(1 / mean)
    while at < on.end:
        yield at
        at += draw.expovariate(1 / mean)


def _act(at: float, verb: str, *words: str | float) -> Action:
    texts = tuple(word if isinstance(word, str) else f"{word:.4g}" for word in words)
    return Action(round(at, 3), verb, texts)


def _anyone(draw: random.Random, on: Setting) -> str:
    """Somebody; the leader and the PRIMARY more often than others."""
    roll = draw.random()
    if roll < 0.25:
        return "leader"
    return "primary" if roll < 0.4 else draw.choice(on.names)


def _pair(draw: random.Random, on: Setting) -> tuple[str, str]:
    a, b = draw.sample(on.names, 2)
    return a, b


class Weather(msgspec.Struct, frozen=True):
    """The links are bad from the beginning: now more, now less."""

    share: tuple[float, float] = (0.0, 0.0)
    burst: tuple[float, float] = (0.0, 0.0)
    delay: tuple[float, float] = (0.002, 0.01)
    jitter: tuple[float, float] = (0.001, 0.01)

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        for at in [0.0, *_moments(draw, on, 10 * on.unit)]:
            yield _act(
                at,
                "weather",
                draw.uniform(*self.delay) * on.unit,
                draw.uniform(*self.jitter) * on.unit,
                draw.uniform(*self.share),
                draw.uniform(*self.burst) * on.unit,
            )


class Far(msgspec.Struct, frozen=True):
    """Some ways are longer than others, and not the same there and back."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        for _ in range(len(on.names)):
            a, b = _pair(draw, on)
            yield _act(0.0, "far", a, b, draw.uniform(0.02, 0.25) * on.unit)


class Partition(msgspec.Struct, frozen=True):
    """Groups that do not reach each other, for a while."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        for at in _moments(draw, on):
            lasts = draw.uniform(0.5, 6) * on.span
            if draw.random() < 0.5:
                alone = draw.choice([*on.names, "leader"])
                if alone == "leader":
                    yield _act(at, "isolate", alone)
                    for name in on.names:  # whoever it was then
                        yield _act(at + lasts, "rejoin", name)
                else:
                    yield _act(at, "isolate", alone)
                    yield _act(at + lasts, "rejoin", alone)
                continue
            side = draw.sample(on.names, len(on.names) // 2)
            for a in side:
                for b in on.names:
                    if b not in side:
                        yield _act(at, "cut", a, b)
                        yield _act(at, "cut", b, a)
                        yield _act(at + lasts, "mend", a, b)
                        yield _act(at + lasts, "mend", b, a)


class Straggler(msgspec.Struct, frozen=True):
    """One node at a time is cut off for longer than an election takes, and comes back."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        at = 2 * on.unit
        while at < on.end:
            name = draw.choice(on.names)
            yield _act(at, "isolate", name)
            yield _act(at + draw.uniform(2, 5) * on.unit, "rejoin", name)
            at += draw.uniform(8, 12) * on.unit


class OneWay(msgspec.Struct, frozen=True):
    """Packets pass one way only."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        for at in _moments(draw, on):
            a, lasts = draw.choice(on.names), draw.uniform(0.5, 6) * on.span
            others = [b for b in on.names if b != a]
            inbound = draw.random() < 0.5
            for b in draw.sample(others, draw.randint(1, len(others))):
                way = (b, a) if inbound else (a, b)
                yield _act(at, "cut", *way)
                yield _act(at + lasts, "mend", *way)


class Partial(msgspec.Struct, frozen=True):
    """Two do not reach each other, everybody reaches both."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        for at in _moments(draw, on):
            (a, b), lasts = _pair(draw, on), draw.uniform(1, 8) * on.span
            yield _act(at, "cut", a, b)
            yield _act(at, "cut", b, a)
            yield _act(at + lasts, "mend", a, b)
            yield _act(at + lasts, "mend", b, a)


class Resets(msgspec.Struct, frozen=True):
    """Connections break; what was in flight is lost."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        for at in _moments(draw, on, on.gap / 4):
            yield _act(at, "reset", *_pair(draw, on))


class Crashes(msgspec.Struct, frozen=True):
    """Processes die, machines lose power, and come back; also all at once."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        for at in _moments(draw, on):
            how = draw.choice(("process", "power"))
            if draw.random() < 0.1:
                victims = list(on.names)
            else:
                victims = [_anyone(draw, on) for _ in range(draw.randint(1, 2))]
            for who in victims:
                yield _act(at, "crash", who, how)
            for name in on.names:  # whoever it was
                yield _act(at + draw.uniform(0.2, 5) * on.span, "start", name)


class CrashPoints(msgspec.Struct, frozen=True):
    """Crashes within the code of journal, snapshot and outbox, where it hurts most."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        points = sorted(POINTS)
        for at in _moments(draw, on, on.gap / 2):
            yield _act(at, "crash-at", _anyone(draw, on), draw.choice(points))
        for at in _moments(draw, on, on.gap / 2):
            for name in on.names:
                yield _act(at + draw.uniform(0, on.span), "start", name)


class Pauses(msgspec.Struct, frozen=True):
    """A process is stopped for a while: a full host, a debugger, a snapshot of the machine."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        for at in _moments(draw, on):
            yield _act(
                at,
                "pause",
                _anyone(draw, on),
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
        for at in _moments(draw, on):
            yield _act(at, "wall", _anyone(draw, on), draw.choice((-86400.0, -3600.0, -1.0, 1e6)))


class SlowDisks(msgspec.Struct, frozen=True):
    """A synced write takes up to two election timeouts."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        for at in _moments(draw, on):
            delay = draw.choice((0.01, 0.1, 0.5, 2.0)) * draw.random() * on.unit
            name = draw.choice(on.names)
            yield _act(at, "slow", name, delay)
            yield _act(at + draw.uniform(1, 6) * on.span, "slow", name, 0.0)


class FullDisks(msgspec.Struct, frozen=True):
    """A disk takes no more, and later does again."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        for at in _moments(draw, on):
            yield _act(at, "full", _anyone(draw, on), "on")
            for name in on.names:
                yield _act(at + draw.uniform(1, 6) * on.span, "full", name, "off")


class Rot(msgspec.Struct, frozen=True):
    """One disk is damaged while its node is down: the node must not start from it, and comes
    back with an empty one."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        name = draw.choice(on.names)
        at = draw.uniform(0.2, 0.7) * on.end
        yield _act(at, "crash", name, "process")
        yield _act(at + 0.1 * on.span, "rot", name, draw.choice(("journal", "snapshot")))
        yield _act(at + 0.5 * on.span, "start", name)
        if draw.random() < 0.7:
            yield _act(at + 1.5 * on.span, "erase", name)
            yield _act(at + 2 * on.span, "start", name)


class Unhealthy(msgspec.Struct, frozen=True):
    """Nodes report high risk for a while."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        for at in _moments(draw, on):
            name = _anyone(draw, on)
            yield _act(at, "risk", name, draw.choice((0.25, 0.5, 0.9)))
            for each in on.names:
                yield _act(at + draw.uniform(2, 10) * on.span, "risk", each, 0.1)


class Hooks(msgspec.Struct, frozen=True):
    """Hooks fail, or hang until their timeout."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        for at in _moments(draw, on):
            name = draw.choice(on.names)
            yield _act(at, "hooks", name, draw.choice(("fail", "hang")))
            yield _act(at + draw.uniform(2, 8) * on.span, "hooks", name, "work")


class Transfers(msgspec.Struct, frozen=True):
    """Leadership is handed over, by order or because its holder stops."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        for at in _moments(draw, on):
            if draw.random() < 0.6:
                yield _act(at, "transfer")
                continue
            yield _act(at, "stop", _anyone(draw, on))
            for name in on.names:
                yield _act(at + draw.uniform(1, 4) * on.span, "start", name)


class Memberships(msgspec.Struct, frozen=True):
    """Operators take machines in and send members away, also the leader; replace one by another,
    and one by itself with an empty disk."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        for at in _moments(draw, on):
            what = draw.choice((self._join, self._join, self._leave, self._swap, self._replace))
            yield from what(draw, on, at)

    @staticmethod
    def _join(draw: random.Random, on: Setting, at: float) -> Iterator[Action]:
        yield _act(at, "join", draw.choice(on.spares), _anyone(draw, on))

    @staticmethod
    def _leave(draw: random.Random, on: Setting, at: float) -> Iterator[Action]:
        who = draw.choice(on.spares) if draw.random() < 0.2 else _anyone(draw, on)
        yield _act(at, "leave", who, _anyone(draw, on))

    @staticmethod
    def _swap(draw: random.Random, on: Setting, at: float) -> Iterator[Action]:
        """Both at nearly the same time, in either order."""
        yield _act(at + draw.random() * on.unit, "join", draw.choice(on.spares), _anyone(draw, on))
        yield _act(at + draw.random() * on.unit, "leave", _anyone(draw, on), _anyone(draw, on))

    @staticmethod
    def _replace(draw: random.Random, on: Setting, at: float) -> Iterator[Action]:
        """A member leaves, its machine loses power, and comes back as a newcomer."""
        name = draw.choice(on.names + on.spares)
        yield _act(at, "leave", name, _anyone(draw, on))
        at += draw.uniform(0.2, 2) * on.span
        yield _act(at, "crash", name, "power")
        at += draw.uniform(0.2, 2) * on.span
        yield _act(at, "join", name, _anyone(draw, on))


class Echoes(msgspec.Struct, frozen=True):
    """Answers that are late by a reign. A leader is cut off and still reaches one follower, whose
    answers hang; what it wrote is replaced by another leader; it leads again, and hears them.
    (Whoever alone reaches everybody is elected.)"""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        at = 0.0
        while at < on.end:
            yield from self._echo(draw, on, at)
            at += draw.uniform(10, 11) * on.unit

    @staticmethod
    def _echo(draw: random.Random, on: Setting, at: float) -> Iterator[Action]:
        leader, echo, *others = draw.sample(on.names, len(on.names))

        def ways(after: float, verb: str, ways: Iterable[tuple[str, str]]) -> Iterator[Action]:
            for a, b in ways:
                yield _act(at + after * on.unit, verb, a, b)

        among = list(permutations((echo, *others), 2))
        near = [way for other in others for way in ((leader, other), (other, leader))]
        yield from ways(0.0, "cut", among)
        yield from ways(4.0, "cut", [*near, (echo, leader)])
        yield from ways(4.0, "mend", among)
        for steps, other in enumerate(others):  # nobody has an entry when the next one has
            yield _act(at + 7 * on.unit, "far", leader, other, 0.15 * steps * on.unit)
            yield _act(at + 8.5 * on.unit, "far", leader, other, 0.0)
        for _ in range(100):
            yield _act(at + draw.uniform(4.02, 4.1) * on.unit, "read", leader, leader)
        yield _act(at + 4.7 * on.unit, "cut", leader, echo)
        yield from ways(5.4, "mend", near)
        yield from ways(5.4, "cut", among)
        yield _act(at + 6.1 * on.unit, "isolate", "leader")
        yield _act(at + draw.uniform(6.2, 6.9) * on.unit, "mend", echo, leader)
        for name in on.names:
            yield _act(at + 8.5 * on.unit, "rejoin", name)


class Deaf(msgspec.Struct, frozen=True):
    """One node at a time reads nothing, for nearly as long as its connections bear it."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        at = 2 * on.unit
        while at < on.end:
            deaf = draw.choice(on.names)
            for name in on.names:
                if name != deaf:
                    yield _act(at, "cut", name, deaf)
                    yield _act(at + 0.95 * USER_TIMEOUT, "mend", name, deaf)
            at += 1.5 * USER_TIMEOUT


class Unsynced(msgspec.Struct, frozen=True):
    """Every node runs with `--durability os`, and the power fails everywhere at once."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        for name in on.names:
            yield Action(0.0, "durability", (name, "os"))
        for at in _moments(draw, on):
            for name in on.names:
                yield _act(at, "crash", name, "power")
                yield _act(at + draw.uniform(0.2, 2) * on.span, "start", name)


class Datagrams(msgspec.Struct, frozen=True):
    """What a Raft link must not be: reordering, duplicating, losing."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        yield Action(0.0, "datagrams", ("on",))
        yield _act(0.0, "weather", 0.01 * on.unit, 0.2 * on.unit, 0.05, 0.0)


PROFILES: dict[str, Profile] = {
    "lossy": Weather(share=(0.02, 0.3)),
    "bursty": Weather(share=(0.02, 0.25), burst=(0.2, 3.0)),
    "delay": Weather(delay=(0.02, 0.2)),
    "jitter": Weather(jitter=(0.05, 0.4)),
    "far": Far(),
    "partition": Partition(),
    "straggler": Straggler(),
    "oneway": OneWay(),
    "partial": Partial(),
    "reset": Resets(),
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

EXTREMES: dict[str, Profile] = {
    "datagram": Datagrams(),
    "echo": Echoes(),
    "deaf": Deaf(),
    "unsynced": Unsynced(),
    "wilddrift": Drift(most=0.45),
}
"""Beyond what is promised; only by name, to see that the checks notice."""


def parse(names: str) -> tuple[str, ...]:
    """`"lossy,crash"` → the names, checked; `"all"` and `"none"` → none in particular.

    Raises `BadScenario` that lists what there is.
    """
    if names in ("all", ""):
        return ()
    wanted = tuple(name.strip() for name in names.split(",") if name.strip())
    known = {**PROFILES, **EXTREMES, "none": None}
    for name in wanted:
        if name not in known:
            raise BadScenario(
                f"faults: {name!r} refused: known are {', '.join(PROFILES)}; beyond what is "
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
    for at in _moments(draw, on, on.unit / load):
        node, register = draw.choice(on.names), draw.choice(registers)
        roll = draw.random()
        if roll < 0.5 and values[register] < 1_000:
            values[register] += 1
            yield _act(at, "write", node, register, str(values[register]))
        elif roll < 0.93:
            yield _act(at, "read", node, register)
        elif orders:
            what = draw.choice(("switchover", "maintenance", "action", "action"))
            yield _act(at, "order", node, what)


def script(
    names: Iterable[str],
    scenario: Scenario,
    *,
    gap: float | None = None,
    load: float,
    orders: bool = True,
) -> tuple[Action, ...]:
    """The actions of these profiles, and the clients' calls, in order of time. Each has its own
    source, so that leaving one profile out leaves the others as they were."""
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
    known = {**PROFILES, **EXTREMES}
    actions: list[Action] = []
    for name in names:
        if name != "none":
            actions.extend(known[name].actions(_source(scenario, name), on))
    actions.extend(calls(_source(scenario, "clients"), on, load, orders))
    within = [action for action in actions if action.at < scenario.duration]
    return tuple(sorted(within, key=lambda action: action.at))


def _source(scenario: Scenario, purpose: str) -> random.Random:
    return random.Random(f"{scenario.seed} faults {purpose}")  # noqa: S311
