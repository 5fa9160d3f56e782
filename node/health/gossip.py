"""Health reports that nodes exchange outside the Raft log, first hand and second hand.

Every node sends every other its own health and the newest report it has received from each of the
rest. A single broken link between two nodes therefore proves nothing: the others relay what they
receive.
Source: roles.md, "Health and registry".
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from stationkeep.cluster.alarms import MEMBER_LAGGING
from stationkeep.cluster.commands import Complaint, Echo, Measured, Observation
from stationkeep.cluster.numbers import BOOT
from stationkeep.cluster.roles.health import median
from stationkeep.cluster.settings import PPM
from stationkeep.cluster.transitions import Role
from stationkeep.node.health.ability import Yardstick, say_unable
from stationkeep.node.health.measurement import HealthSource
from stationkeep.node.health.neighbours import Neighbour, Observed, inability
from stationkeep.node.health.reports import (
    MAX_METRICS,
    Heard,
    Recurrence,
    Report,
    bounded,
    shortened,
)
from stationkeep.node.ports import Clock, Network
from stationkeep.node.replica import Replica
from stationkeep.node.version import VERSION
from stationkeep.node.wire.implausible import Implausible

JITTER = 0.1
"""Reports are sent up to this share of the interval early, so that nodes do not synchronise."""


class RoleStatus(msgspec.Struct, frozen=True):
    """What a node reports about its effective role."""

    role: Role
    epoch: int
    lease_ms: int
    """What remains of its lease."""
    fault: str = ""
    """Why it cannot do its part in the cluster, however healthy its host is; "" if it can."""


class Gossip:
    """Sends this node's reports and receives those of its peers. Synchronous: the loop calls
    `receive` and `turn`.

    `sent` is called with (boot, seq, monotonic s) just before a report leaves, because leases
    count from there.
    """

    def __init__(
        self,
        node: str,
        boot: int,
        *,
        peers: tuple[str, ...],
        clock: Clock,
        network: Network,
        replica: Replica,
        source: HealthSource,
        role_status: Callable[[], RoleStatus],
        sent: Callable[[int, int, float], None],
    ) -> None:
        self.node, self.boot = node, boot
        self._peers = peers
        self._clock, self._network, self._replica = clock, network, replica
        self._source, self._role_status, self._sent = source, role_status, sent
        self._yardstick = Yardstick(clock, replica)
        self._neighbours = {name: Neighbour() for name in (node, *peers)}
        self._recurrence = Recurrence()
        self._seq = 0
        self._offset = sum(node.encode()) * 0.382
        self._reported_at: float | None = None
        self._last_turn = self.listening_since = clock.monotonic()
        self.malformed = 0
        self.outdated = 0
        self.implausible = Implausible()
        self.received = 0

    def follow(self, peers: tuple[str, ...]) -> None:
        """Replaces the list of peers; the reports of those that left are forgotten."""
        self._peers = peers
        kept = {name: self._neighbours.get(name) or Neighbour() for name in (self.node, *peers)}
        self._neighbours = kept

    # -- sending --------------------------------------------------------------------------------

    def next_wakeup(self) -> float:
        """Monotonic moment of the next own report. Goes by the current interval, so that a
        shortened one takes effect at once."""
        if self._reported_at is None:
            return self.listening_since
        interval = self._replica.settings.report_interval / 1_000
        return self._reported_at + interval * (1 - JITTER * self._phase())

    def turn(self) -> None:
        """Sends the own report when it is due."""
        now = self._clock.monotonic()
        self._notice_pause(now)
        if now < self.next_wakeup():
            return
        self._reported_at = now
        message = msgspec.to_builtins(self._report(now))
        for peer in self._peers:
            self._network.send(peer, message)

    def _phase(self) -> float:
        """A number in [0, 1) that changes with every report and differs between nodes. Not random,
        so that a simulated run replays exactly."""
        return (self._seq * 0.618 + self._offset) % 1

    def _notice_pause(self, now: float) -> None:
        """Detects that this process was paused: what it did not receive meanwhile says nothing
        about the others."""
        settings = self._replica.settings
        if now - self._last_turn > max(0.5, 3 * settings.report_interval / 1_000):
            self.listening_since = now
        self._last_turn = now

    def _report(self, now: float) -> Report:
        measured, status = self._source.measure(), self._role_status()
        if status.fault:
            measured = replace(measured, risk=1.0, cause=status.fault)
        unhealthy = measured.risk * PPM > self._replica.settings.unhealthy_above
        recurrence = self._recurrence.update(unhealthy, now)
        self._outgrow()
        self._seq += 1
        report = Report(
            kind="gossip",
            node=self.node,
            boot_id=self.boot,
            seq=self._seq,
            risk=min(1.0, max(0.0, measured.risk)),
            cause=measured.cause[:200],
            recurrence=recurrence,
            metrics=dict(list(measured.metrics.items())[:MAX_METRICS]),
            heard=self._heard(now),
            role=status.role,
            epoch=status.epoch,
            lease_ms=status.lease_ms,
            applied=self._replica.state.index,
            complaints=bounded(measured.complaints),
            release=VERSION,
            highest=self._replica.highest,
        )
        report = shortened(report)
        self._sent(self.boot, self._seq, now)
        self._take(report, now)
        return report

    def _outgrow(self) -> None:
        """Moves our (boot, seq) above every one that is known of this node. A node that lost its
        disk counts its starts from 1 again, and somebody may have reported in our name: the others
        would drop all our reports as outdated. However large the gap is, we go in steps that the
        others accept."""
        claims = list(self._heard_of_us())
        known = self._replica.state.members.get(self.node)
        if known is not None:
            claims.append((known.boot, known.seq))
        newest = max(claims, default=(0, 0))
        if newest > (self.boot, self._seq):
            self.boot = min(max(self.boot, newest[0]), BOOT.stride(self.boot)) + 1

    def _heard_of_us(self) -> Iterator[tuple[int, int]]:
        """(boot, seq) of our newest report that each of the others has received, as it says."""
        for name, neighbour in self._neighbours.items():
            heard = neighbour.report.heard.get(self.node) if neighbour.report else None
            if heard is not None and name != self.node:
                yield heard.boot, heard.seq

    def _heard(self, now: float) -> dict[str, Heard]:
        """The second-hand reports to send. Starts with another neighbour each time: in a large
        cluster they do not all fit into one report, and so take turns."""
        heard: dict[str, Heard] = {}
        names = list(self._neighbours)
        first = self._seq % len(names)
        for name in names[first:] + names[:first]:
            neighbour = self._neighbours[name]
            report = neighbour.report
            age = (now - neighbour.heard_at) * 1_000
            if name != self.node and report is not None and age <= 86_400_000:
                heard[name] = Heard(
                    report.boot_id, report.seq, report.risk, round(age, 1), report.applied
                )
        return heard

    # -- receiving ------------------------------------------------------------------------------

    def receive(self, peer: str, message: Mapping[str, Any]) -> bool:
        """Processes a peer's message. One that is not a valid report by that peer about itself is
        counted and dropped, as is one older than a report received before."""
        try:
            report = msgspec.convert(message, Report)
        except msgspec.ValidationError:
            self.malformed += 1
            return False
        if report.node != peer or peer not in self._peers:
            self.malformed += 1
            return False
        now = self._clock.monotonic()
        if not self._credible(peer, peer, report.boot_id):
            return False
        if not self._neighbours[peer].accepts(report):
            self.outdated += 1
            return False
        self.received += 1
        self._take(report, now)
        return True

    def _credible(self, by: str, node: str, boot: int) -> bool:
        """Whether to believe `by` that `node` has reached this boot. Believing any number would
        make all true reports of the node outdated. The limit rises a step with each report that
        the node itself sends."""
        neighbour, member = self._neighbours[node], self._replica.state.members.get(node)
        known = max(neighbour.boot, member.boot if member is not None else 0)
        limit = BOOT.limit(known)
        if boot > limit:
            self.implausible.note(by, "boot", boot, limit)
        if by == node:
            neighbour.boot = max(neighbour.boot, min(boot, limit))
        return boot <= limit

    def _take(self, report: Report, now: float) -> None:
        neighbour = self._neighbours[report.node]
        neighbour.report, neighbour.heard_at = report, now
        key = (report.boot_id, report.seq)
        neighbour.note(key, self._judged(neighbour, report, now))
        for name, heard in report.heard.items():
            other = self._neighbours.get(name)
            strange = other is None or name in (self.node, report.node)
            if other is not None and not strange and self._credible(report.node, name, heard.boot):
                other.note((heard.boot, heard.seq), self._second_hand(other, heard, now))

    def _judged(self, neighbour: Neighbour, report: Report, now: float) -> Observed:
        """A first-hand report, and our judgement whether the node can do its part."""
        if not self._yardstick.is_idle(report.node, report.role):
            neighbour.idle_since = None
        elif neighbour.idle_since is None:
            neighbour.idle_since = now
        behind = self._yardstick.behind(report.applied, now)
        lags = self._lags(neighbour, (report.boot_id, report.seq), behind, now)
        since = neighbour.idle_since
        idle = since is not None and now - since > self._yardstick.patience_idle
        unable = say_unable(behind if lags else 0, report.role) if lags or idle else ""
        return Observed(_ppm(report.risk), now, now, True, behind, unable)

    def _second_hand(self, neighbour: Neighbour, heard: Heard, now: float) -> Observed:
        at = now - heard.age / 1_000
        behind = self._yardstick.behind(heard.applied, at)
        lags = self._lags(neighbour, (heard.boot, heard.seq), behind, at)
        unable = say_unable(behind, None) if lags else ""
        return Observed(_ppm(heard.risk), at, now, False, behind, unable)

    def _lags(self, neighbour: Neighbour, key: tuple[int, int], behind: int, at: float) -> bool:
        """Whether it has been behind for longer than `patience_behind`."""
        return neighbour.behind_for(key, behind, at) > self._yardstick.patience_behind

    # -- evaluating -----------------------------------------------------------------------------

    def samples(
        self, since: float, expected: int = 0, judged_from: float = float("-inf")
    ) -> tuple[Measured, ...]:
        """The leader's samples: for every node, the median of its reports received after `since`
        (monotonic s) by this node or by a peer that relayed them. A node that has applied less
        than `expected`, an index of about that moment, is lagging. Reports received before
        `judged_from` make no node unable."""
        return tuple(
            self._sample(name, since, expected, judged_from) for name in sorted(self._neighbours)
        )

    def _sample(self, name: str, since: float, expected: int, judged_from: float) -> Measured:
        neighbour = self._neighbours[name]
        heard = [o for o in neighbour.observed.values() if o.at > since]
        risks = [o.risk for o in heard]
        unable = inability(heard, judged_from)
        report = neighbour.report
        recurrence = round(report.recurrence * 1_000) if report is not None else 0
        if not risks:
            return Measured(name, 0, PPM, "not heard", recurrence)
        if report is None or neighbour.heard_at <= since:
            return Measured(name, len(risks), median(risks), "", recurrence, None, unable)
        return Measured(
            name,
            len(risks),
            median(risks),
            report.cause,
            recurrence,
            _complaints(report, expected),
            unable,
            report.release,
            report.highest,
        )

    def echoes(self) -> tuple[Echo, ...]:
        """The newest report known of every node, with the cluster time at which it arrived here.
        A lease would reach a node that is a lease behind only after it has expired: such a node is
        granted none, so that its successor need not wait for it to expire."""
        return tuple(sorted(self._echoes(), key=lambda echo: echo.node))

    def _echoes(self) -> Iterator[Echo]:
        for name, neighbour in self._neighbours.items():
            newest = neighbour.newest()
            if newest is not None:
                known = neighbour.observed[newest]
                at = self._replica.cluster_time_at(known.learnt)
                yield Echo(name, *newest, at, known.behind == 0)

    def observations(self, since: float) -> dict[str, Observation]:
        """A voter's view: for every node the median of the reports that this node received first
        hand after `since`. Nothing second hand, so that votes are independent of each other. A node
        that cannot do its part counts as unhealthy."""
        view: dict[str, Observation] = {}
        for name, neighbour in self._neighbours.items():
            heard = [o for o in neighbour.observed.values() if o.direct and o.at > since]
            well = heard and not inability(heard)
            view[name] = Observation(
                name, len(heard), median([o.risk for o in heard]) if well else PPM
            )
        return view

    def last_report(self, node: str) -> tuple[Report, float] | None:
        """The newest report received from `node` itself (or our own), and its age in s."""
        neighbour = self._neighbours.get(node)
        if neighbour is None or neighbour.report is None:
            return None
        return neighbour.report, self._clock.monotonic() - neighbour.heard_at


def _complaints(report: Report, expected: int) -> tuple[Complaint, ...]:
    """The node's own complaints, and one that it cannot know of: that it lags."""
    complaints = dict(report.complaints)
    if report.applied < expected:
        complaints[MEMBER_LAGGING] = f"at least {expected - report.applied:,} log entries behind"
    return tuple(Complaint(name, detail) for name, detail in sorted(complaints.items()))


def _ppm(share: float) -> int:
    return round(share * PPM)
