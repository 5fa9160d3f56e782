"""What goes wrong with nodes, their clocks and disks, and what is ordered of them."""

import random
from collections.abc import Iterator

import msgspec

from stationkeep.node.simulation.faults.rhythm import Setting, act, anyone, moments
from stationkeep.node.simulation.machine.disk import POINTS
from stationkeep.node.simulation.scenario import Action


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
