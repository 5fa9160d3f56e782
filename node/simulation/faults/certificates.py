"""Fault profiles of links that ask for certificates: of dates, clocks, CAs, and who shows what."""

import random
from collections.abc import Iterator

import msgspec

from stationkeep.node.simulation.faults.rhythm import Setting, act, anyone, moments, pair
from stationkeep.node.simulation.machine.papers import DAY, Impostor, Kept
from stationkeep.node.simulation.scenario import Action


def secure(draw: random.Random) -> Iterator[Action]:
    yield act(0.0, "secure", draw.choice(list(Kept)))


def anew(draw: random.Random, on: Setting, at: float, name: str) -> Iterator[Action]:
    """What stands is dialled again: a connection breaks, or a process starts anew."""
    if draw.random() < 0.4:
        yield act(at, "crash", name, "process")
        for each in on.names:
            yield act(at + draw.uniform(0.2, 1) * on.span, "start", each)
        return
    for other in on.names:
        yield act(at, "reset", name, other)
        yield act(at, "reset", other, name)


class Expiry(msgspec.Struct, frozen=True):
    """Certificates are about to end, or ended some days ago; of one node, or of all at once. Where
    no node can issue, an operator does so, late."""

    days: tuple[float, ...] = (20.0, 1.0, -0.01, -3.0, -6.9, -8.0, -40.0)

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        yield from secure(draw)
        for at in moments(draw, on, on.gap / 2):
            days = draw.choice(self.days)
            names = on.names if draw.random() < 0.3 else (anyone(draw, on),)
            for name in names:
                yield act(at, "age", name, days)
                yield from anew(draw, on, at + draw.uniform(0.01, 1) * on.span, name)
            later = at + draw.uniform(2, 8) * on.span
            for name in on.names:
                yield act(later, "reissue", name)


class Clocks(msgspec.Struct, frozen=True):
    """A clock is days ahead or behind, even before the release, for a while: its node does not
    accept others, or they do not accept what it issues to itself."""

    days: tuple[float, ...] = (6.0, 8.0, 65.0, 400.0, -6.0, -8.0, -400.0, -6_500.0)

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        yield from secure(draw)
        for at in moments(draw, on):
            name, off = draw.choice(on.names), draw.choice(self.days) * DAY
            yield act(at, "wall", name, off)
            yield from anew(draw, on, at + draw.uniform(0.01, 2) * on.span, name)
            yield act(at + draw.uniform(2, 10) * on.span, "wall", name, -off)


class Rotation(msgspec.Struct, frozen=True):
    """Another CA takes the place of the one that is there, step by step, again and again, while
    nodes are down; certificates are revoked meanwhile."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        yield from secure(draw)
        for at in moments(draw, on, on.gap / 4):
            what = draw.choice(("rotate", "rotate", "rotate", "down", "reset", "revoke"))
            if what == "rotate":
                yield act(at, what)
            elif what == "down":
                who = draw.choice(on.names)
                yield act(at, "crash", who, "process")
                yield act(at + draw.uniform(1, 10) * on.span, "start", who)
            elif what == "reset":
                yield act(at, what, *pair(draw, on))
            else:
                name = draw.choice(on.names)
                yield act(at, what, anyone(draw, on), name)
                yield act(at + draw.uniform(1, 6) * on.span, "reissue", name)


class Impostors(msgspec.Struct, frozen=True):
    """Somebody else answers in the place of one member at a time, and dials the others."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        yield from secure(draw)
        at = draw.uniform(2, 8) * on.span
        while at < on.end:
            name = draw.choice(on.names)
            yield act(at, "impostor", name, draw.choice(list(Impostor)))
            at += draw.uniform(1, 12) * on.span
            yield act(at, "impostor", name, "off")
            at += draw.uniform(1, 6) * on.span


class Moved(msgspec.Struct, frozen=True):
    """Machines stop, and come back at other addresses, new ones or such as others had; also all of
    them one after the other."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        yield from secure(draw)
        for at in moments(draw, on):
            names = on.names if draw.random() < 0.2 else (draw.choice(on.names),)
            for each, name in enumerate(names):
                then = at + each * draw.uniform(0.1, 3) * on.span
                yield act(then, "readdress", name, draw.choice(("new", "used")))
                yield act(then + draw.uniform(0.2, 4) * on.span, "start", name)
