"""What a run may have beside its faults: devices, tasks, rollouts, and releases that differ."""

import random
from collections.abc import Iterator

import msgspec

from stationkeep.cluster.devices.rings import RINGS
from stationkeep.cluster.levels import HIGHEST, LOWEST
from stationkeep.node.simulation.faults.rhythm import Setting, act, anyone, moments
from stationkeep.node.simulation.scenario import Action

LATE = 90.0
"""Seconds by which clocks are set forward, that an invitation is over."""


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


class Invitations(msgspec.Struct, frozen=True):
    """Machines come by a word: once, again while they are not told, two by a word for one, another
    one under the same id, too late, or only to be never seen again; and nodes die at which they
    have just asked."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        for at in moments(draw, on, on.gap / 2):
            yield act(at, "invite", anyone(draw, on), draw.choice((1.0, 1.0, 2.0)))
            then = at + draw.uniform(0.1, 2) * on.unit
            if draw.random() < 0.15:
                for name in on.names:
                    yield act(then, "wall", name, LATE)
            yield from self._come(draw, on, then)
            if draw.random() < 0.3:
                after = then + draw.uniform(0.1, 4) * on.span
                yield act(after, "leave", draw.choice(on.spares), anyone(draw, on))

    @staticmethod
    def _come(draw: random.Random, on: Setting, at: float) -> Iterator[Action]:
        what = draw.choice(("once", "again", "both", "double", "unseen", "dies", "dies"))
        name, through = draw.choice(on.spares), draw.choice(on.names)
        soon = at + draw.uniform(0.0, 0.3) * on.unit
        if what != "unseen":
            yield act(at, "come", name, through)
        if what == "again":
            yield act(soon, "come", name, draw.choice(on.names))
        elif what == "both":
            yield act(soon, "come", draw.choice(on.spares), draw.choice(on.names))
        elif what in ("double", "unseen"):
            yield act(soon, "double", name, draw.choice(on.names))
        elif what == "dies":
            yield act(soon, "crash", through, draw.choice(("process", "power")))
            yield act(soon + draw.uniform(0.2, 5) * on.span, "start", through)


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
