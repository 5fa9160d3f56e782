"""What one evaluation sees of a node: matrices of missed and heard windows.

Each independent channel, or pair of channels, is a `Part`; a window is missed when every part
misses it. The parts' Kronecker product is the whole.
"""

from functools import reduce

import msgspec
import numpy as np

from stationkeep.cluster.odds.loss import BAD, GOOD, Loss, Matrix, Vector

MOST_RELAYS = 3
"""Relays counted one by one under bursts: 4 states each. More only make a miss rarer."""
STALE, FRESH, TOLD = 0, 1, 2


class Part(msgspec.Struct, frozen=True):
    """One way from X to the leader. Over one window, from channel state (row) to state (column):
    `missed` and `heard`. `stationary`: the long-run distribution. `silent[n]`: for each state the
    chance that a window is missed of whose reports X sends only the first n."""

    missed: Matrix
    heard: Matrix
    stationary: Vector
    silent: tuple[Vector, ...]

    def forgetful(self) -> "Part":
        """The same way when windows are independent: one state is enough."""
        one = self.stationary
        return Part(
            np.array([[float((one @ self.missed).sum())]]),
            np.array([[float((one @ self.heard).sum())]]),
            np.ones(1),
            tuple(np.array([float(one @ chance)]) for chance in self.silent),
        )

    def beside(self, other: "Part") -> "Part":
        """Both ways together. Heard: by the first, or missed by it and heard by the second."""
        stochastic = other.missed + other.heard
        return Part(
            np.kron(self.missed, other.missed),
            np.kron(self.heard, stochastic) + np.kron(self.missed, other.heard),
            np.kron(self.stationary, other.stationary),
            tuple(np.kron(a, b) for a, b in zip(self.silent, other.silent, strict=True)),
        )


class Observation(msgspec.Struct, frozen=True):
    """How X is watched: `reports` per evaluation, `spacing` s apart, `relays` peers counted."""

    part: Part
    reports: int
    spacing: float
    relays: int

    @property
    def miss(self) -> float:
        """Probability that a sample is missed, in the long run."""
        return float((self.part.stationary @ self.part.missed).sum())

    @property
    def start(self) -> Vector:
        """Channels of a healthy cluster: the long run, given that the last sample was heard."""
        heard = self.part.stationary @ self.part.heard
        return np.asarray(heard / heard.sum())

    def runs(self, length: int) -> list[Vector]:
        """For each run below `length`: its probability spread over the channel states, given
        that the run is below `length`. The run is r when r missed windows follow a heard one."""
        vectors = [self.part.stationary @ self.part.heard]
        for _ in range(length - 1):
            vectors.append(vectors[-1] @ self.part.missed)
        total = sum(float(vector.sum()) for vector in vectors)
        return [vector / total for vector in vectors]


def uplink(loss: Loss, reports: int, interval: float) -> Observation:
    """X's reports, this many per `interval` s, are lost to everybody at once."""
    part = _direct(loss, reports, interval / reports)
    return Observation(_whole([part], loss), reports, interval / reports, 0)


def links(loss: Loss, reports: int, interval: float, nodes: int) -> Observation:
    """Every link of `nodes` nodes loses on its own; X is heard directly or through a peer."""
    spacing = interval / reports
    relays = nodes - 2 if loss.burst is None else min(nodes - 2, MOST_RELAYS)
    parts = [_direct(loss, reports, spacing)]
    parts += [_relay(loss, reports, spacing)] * relays
    return Observation(_whole(parts, loss), reports, spacing, relays)


def _whole(parts: list[Part], loss: Loss) -> Part:
    if loss.burst is None:
        parts = [part.forgetful() for part in parts]
    return reduce(Part.beside, parts)


def _direct(loss: Loss, reports: int, spacing: float) -> Part:
    """X→L: missed when the channel is BAD at every report."""
    step = loss.transition(spacing)
    quiet = np.zeros((2, 2))
    quiet[:, BAD] = step[:, BAD]  # one report, lost
    missed, heard = np.eye(2), np.zeros((2, 2))
    silent = [np.ones(2)]
    for _ in range(reports):
        got = np.zeros((2, 2))
        got[:, GOOD] = missed @ step[:, GOOD]
        missed, heard = missed @ quiet, heard @ step + got
        silent.append(missed.sum(axis=1))
    return Part(missed, heard, loss.stationary, tuple(silent))


def _relay(loss: Loss, reports: int, spacing: float) -> Part:
    """X→P→L: state (X→P, P→L) × what P knows: nothing of this window yet, something it has not
    got through, or told. In each slot P speaks first, then X."""
    both = np.kron(loss.transition(spacing), loss.transition(spacing))
    speaking, dead = _slot(both, True), _slot(both, False)
    beginning = np.zeros((4, 12))
    beginning[:, STALE::3] = np.eye(4)
    window = beginning @ np.linalg.matrix_power(speaking, reports)
    missed = window[:, STALE::3] + window[:, FRESH::3]
    silent = []
    for sent in range(reports + 1):
        end = beginning @ np.linalg.matrix_power(speaking, sent)
        end = end @ np.linalg.matrix_power(dead, reports - sent)
        silent.append((end[:, STALE::3] + end[:, FRESH::3]).sum(axis=1))
    stationary = np.kron(loss.stationary, loss.stationary)
    return Part(missed, window[:, TOLD::3], stationary, tuple(silent))


def _slot(both: Matrix, alive: bool) -> Matrix:
    """One slot on channels (X→P, P→L) × knowledge: 12 states, knowledge last."""
    slot = np.zeros((12, 12))
    for origin in range(4):
        for to in range(4):
            first, second = divmod(to, 2)
            for known in (STALE, FRESH, TOLD):
                after = TOLD if known == FRESH and second == GOOD else known
                if after == STALE and alive and first == GOOD:
                    after = FRESH
                slot[3 * origin + known, 3 * to + after] = both[origin, to]
    return slot
