"""Health reports between nodes, beside the Raft log: what is heard, directly and from others.

Every node tells every other how it is and what it last heard from each of the rest. One broken
link between two nodes therefore proves nothing: the others still pass on what they hear.
Source: roles.md, "Health and registry".
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any

import msgspec
from msgspec.structs import replace

from stationkeep.cluster.alarms import MAX_DETAIL, MEMBER_LAGGING
from stationkeep.cluster.commands import Complaint, Echo, Measured, Observation
from stationkeep.cluster.numbers import BOOT, CEILING
from stationkeep.cluster.roles.health import median
from stationkeep.cluster.settings import PPM
from stationkeep.cluster.transitions import Role
from stationkeep.node.health.ability import Yardstick, say_unable
from stationkeep.node.health.measurement import HealthSource
from stationkeep.node.ports import Clock, Network
from stationkeep.node.replica import Replica
from stationkeep.node.wire.implausible import Implausible

MAX_HEARD = 128
MAX_METRICS = 32
MAX_COMPLAINTS = 8
MAX_OBSERVATIONS = 256
"""Reports remembered per node: some evaluation windows of any sensible timing."""
RECURRENCE_HALF_LIFE = 3_600.0
MAX_RECURRENCE = 10.0
LONGEST_ITEM = 128
"""Bytes of a metric, or of what was heard of a node, at the most."""
MAX_REPORT = 1_100
"""Bytes of an encoded report: it must fit a datagram (`node.peers.sessions.MAX_BODY`), or at 20 %
loss it waits for a stream that may stand still."""
JITTER = 0.1
"""Reports go out up to this share early, so that nodes do not fall into step."""

Count = Annotated[int, msgspec.Meta(ge=0, le=CEILING)]
Boot = Annotated[int, msgspec.Meta(ge=0, le=BOOT.ceiling)]
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Identifier = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Milliseconds = Annotated[float, msgspec.Meta(ge=0, le=86_400_000)]


class Heard(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Second hand: the newest report of a node, `age` ms before the message that carries it, and
    the log index that it had applied."""

    boot: Boot
    seq: Count
    risk: Share
    age: Milliseconds
    applied: Count


class Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One node's word on itself. `risk` in [0, 1], `recurrence` in [0, 10]. `applied`: the log
    index that it has applied. `complaints`: alarm → why, of what is wrong and no risk yet."""

    kind: str
    node: Identifier
    boot_id: Boot
    seq: Count
    risk: Share
    cause: Annotated[str, msgspec.Meta(max_length=200)]
    recurrence: Annotated[float, msgspec.Meta(ge=0.0, le=MAX_RECURRENCE)]
    metrics: Annotated[
        dict[Annotated[str, msgspec.Meta(max_length=64)], float],
        msgspec.Meta(max_length=MAX_METRICS),
    ]
    heard: Annotated[dict[Identifier, Heard], msgspec.Meta(max_length=MAX_HEARD)]
    role: Role
    epoch: Count
    lease_ms: Milliseconds
    applied: Count = 0
    complaints: Annotated[
        dict[Identifier, Annotated[str, msgspec.Meta(max_length=MAX_DETAIL)]],
        msgspec.Meta(max_length=MAX_COMPLAINTS),
    ] = {}


class Observed(msgspec.Struct):
    """One report as known here. `at`: monotonic s of the report's arrival where it was heard
    first hand; `learnt`: when this node learnt of it; `direct`: heard by this node itself.
    `behind`: entries that the node lags by; `unable`: why it cannot do its part, "" if it can."""

    risk: int
    at: float
    learnt: float
    direct: bool
    behind: int = 0
    unable: str = ""


class Neighbour:
    """What is known of one node: its newest own report and a bounded memory of risks."""

    def __init__(self) -> None:
        self.report: Report | None = None
        self.heard_at = 0.0
        self.boot = 0
        """The highest boot that may be known of it."""
        self.idle_since: float | None = None
        """Since when it has been heard to leave its seat idle."""
        self._behind_since: float | None = None
        self._judged = (0, 0)
        """The newest report that was looked at for that."""
        self.observed: OrderedDict[tuple[int, int], Observed] = OrderedDict()

    def accepts(self, report: Report) -> bool:
        """Whether the report is newer than everything heard from the node itself."""
        if self.report is None:
            return True
        return (report.boot_id, report.seq) > (self.report.boot_id, self.report.seq)

    def behind_for(self, key: tuple[int, int], behind: int, at: float) -> float:
        """Seconds for which it has been heard to be behind, up to the report `key`."""
        if key > self._judged:
            self._judged = key
            if not behind:
                self._behind_since = None
            elif self._behind_since is None:
                self._behind_since = at
        return at - self._behind_since if behind and self._behind_since is not None else 0.0

    def note(self, key: tuple[int, int], observed: Observed) -> None:
        """Remembers an observation; the same report first hand replaces its second-hand copy."""
        known = self.observed.get(key)
        if known is None:
            self.observed[key] = observed
            if len(self.observed) > MAX_OBSERVATIONS:
                self.observed.popitem(last=False)
        elif observed.direct and not known.direct:
            known.direct, known.at = True, observed.at
            known.behind, known.unable = observed.behind, observed.unable

    def newest(self) -> tuple[int, int] | None:
        """(boot, seq) of the newest report known of, by whatever way."""
        return max(self.observed, default=None)


class Recurrence:
    """A decaying count of unhealthy episodes, half gone after an hour, at most 10."""

    def __init__(self) -> None:
        self._value = 0.0
        self._at = 0.0
        self._unhealthy = False

    def update(self, unhealthy: bool, now: float) -> float:
        """The count at `now` (monotonic s), an episode more when one begins."""
        self._value *= 0.5 ** ((now - self._at) / RECURRENCE_HALF_LIFE) if self._value else 0.0
        self._at = now
        if unhealthy and not self._unhealthy:
            self._value = min(MAX_RECURRENCE, self._value + 1)
        self._unhealthy = unhealthy
        return self._value


class Standing(msgspec.Struct, frozen=True):
    """What a node says of its own office in a report. `fault`: why it cannot do its part in the
    cluster, however well its host is; empty when it can."""

    role: Role
    epoch: int
    lease_ms: int
    fault: str = ""


class Gossip:
    """This node's voice and ears. Synchronous: `receive` and `turn` are called by the loop.

    `standing`: what to say of the own effective role; `sent`: told (boot, seq, monotonic s)
    just before a report leaves, because leases count from there.
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
        standing: Callable[[], Standing],
        sent: Callable[[int, int, float], None],
    ) -> None:
        self.node, self.boot = node, boot
        self._peers = peers
        self._clock, self._network, self._replica = clock, network, replica
        self._source, self._standing, self._sent = source, standing, sent
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
        """From now on these are the others; what was heard of who left is forgotten."""
        self._peers = peers
        kept = {name: self._neighbours.get(name) or Neighbour() for name in (self.node, *peers)}
        self._neighbours = kept

    # -- speaking -------------------------------------------------------------------------------

    def next_wakeup(self) -> float:
        """Monotonic moment of the next own report, by the interval in force now: a shorter one
        must not wait for the end of a longer one."""
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
        """A number in [0, 1) that wanders with every report and differs between nodes; no
        random source, so that a simulated run replays exactly."""
        return (self._seq * 0.618 + self._offset) % 1

    def _notice_pause(self, now: float) -> None:
        """A node that was stopped heard nothing meanwhile and must not judge others by that."""
        settings = self._replica.settings
        if now - self._last_turn > max(0.5, 3 * settings.report_interval / 1_000):
            self.listening_since = now
        self._last_turn = now

    def _report(self, now: float) -> Report:
        measured, standing = self._source.measure(), self._standing()
        if standing.fault:
            measured = replace(measured, risk=1.0, cause=standing.fault)
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
            role=standing.role,
            epoch=standing.epoch,
            lease_ms=standing.lease_ms,
            applied=self._replica.state.index,
            complaints=dict(measured.complaints),
        )
        report = shortened(report)
        self._sent(self.boot, self._seq, now)
        self._take(report, now)
        return report

    def _outgrow(self) -> None:
        """A node that lost its disk counts its starts from 1 again, and somebody may have spoken
        in our name: all that we say would be older than what was heard before. So we go on above
        what the cluster knows of us, and above what a peer says to have heard; however much that
        is, in steps that the others believe."""
        claims = list(self._heard_of_us())
        known = self._replica.state.members.get(self.node)
        if known is not None:
            claims.append((known.boot, known.seq))
        newest = max(claims, default=(0, 0))
        if newest > (self.boot, self._seq):
            self.boot = min(max(self.boot, newest[0]), BOOT.stride(self.boot)) + 1

    def _heard_of_us(self) -> Iterator[tuple[int, int]]:
        """(boot, seq) of the report of ours that each of the others says to have heard last."""
        for name, neighbour in self._neighbours.items():
            heard = neighbour.report.heard.get(self.node) if neighbour.report else None
            if heard is not None and name != self.node:
                yield heard.boot, heard.seq

    def _heard(self, now: float) -> dict[str, Heard]:
        """Begins with another neighbour each time: in a cluster so large that a report cannot tell
        of all, each is told of in turn."""
        heard: dict[str, Heard] = {}
        names = list(self._neighbours)
        first = self._seq % len(names)
        for name in names[first:] + names[:first]:
            neighbour = self._neighbours[name]
            report = neighbour.report
            age = (now - neighbour.heard_at) * 1_000
            if name != self.node and report is not None and age <= 86_400_000:
                said = (report.boot_id, report.seq, report.risk, round(age, 1), report.applied)
                heard[name] = Heard(*said)
        return heard

    # -- hearing --------------------------------------------------------------------------------

    def receive(self, peer: str, message: Mapping[str, Any]) -> bool:
        """Takes in a peer's message; one that is no valid report of that very peer is counted
        and dropped, as is one older than what was heard before."""
        try:
            report = msgspec.convert(message, Report)
        except msgspec.ValidationError:
            self.malformed += 1
            return False
        if report.node != peer or peer not in self._peers:
            self.malformed += 1
            return False
        now = self._clock.monotonic()
        if not self._reach(peer, peer, report.boot_id):
            return False
        if not self._neighbours[peer].accepts(report):
            self.outdated += 1
            return False
        self.received += 1
        self._take(report, now)
        return True

    def _reach(self, by: str, node: str, boot: int) -> bool:
        """Whether a boot of `node` that `by` tells of can be: else nothing that the node itself
        says would be new any more. With each word of its own we follow by a step."""
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
            if other is not None and not strange and self._reach(report.node, name, heard.boot):
                other.note((heard.boot, heard.seq), self._second_hand(other, heard, now))

    def _judged(self, neighbour: Neighbour, report: Report, now: float) -> Observed:
        """A report heard first hand: what the node says, and whether it can do its part."""
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
        """Whether it has been behind for longer than the log takes to reach it."""
        return neighbour.behind_for(key, behind, at) > self._yardstick.patience_behind

    # -- what follows from it -------------------------------------------------------------------

    def samples(
        self, since: float, expected: int = 0, judged_from: float = float("-inf")
    ) -> tuple[Measured, ...]:
        """The leader's samples: of every node, the median of reports heard after `since`
        (monotonic s) by this node or by a peer that told of it. Who has applied less of the log
        than up to `expected`, an index of about that moment, is lagging. Nobody is called unable
        by what was heard before `judged_from`."""
        return tuple(
            self._sample(name, since, expected, judged_from) for name in sorted(self._neighbours)
        )

    def _sample(self, name: str, since: float, expected: int, judged_from: float) -> Measured:
        neighbour = self._neighbours[name]
        heard = [o for o in neighbour.observed.values() if o.at > since]
        risks = [o.risk for o in heard]
        unable = _inability(heard, judged_from)
        report = neighbour.report
        recurrence = round(report.recurrence * 1_000) if report is not None else 0
        if not risks:
            return Measured(name, 0, PPM, "not heard", recurrence)
        if report is None or neighbour.heard_at <= since:
            return Measured(name, len(risks), median(risks), "", recurrence, None, unable)
        said = _complaints(report, expected)
        return Measured(name, len(risks), median(risks), report.cause, recurrence, said, unable)

    def echoes(self) -> tuple[Echo, ...]:
        """The newest report known of every node, with the cluster time at which it was learnt.
        Who is a lease behind hears of one when it is over: it is given none, so that who comes
        next need not wait for its end."""
        return tuple(sorted(self._echoes(), key=lambda echo: echo.node))

    def _echoes(self) -> Iterator[Echo]:
        for name, neighbour in self._neighbours.items():
            newest = neighbour.newest()
            if newest is not None:
                known = neighbour.observed[newest]
                at = self._replica.cluster_time_at(known.learnt)
                yield Echo(name, *newest, at, known.behind == 0)

    def observations(self, since: float) -> dict[str, Observation]:
        """A voter's view: of every node the median of what this node itself heard after
        `since`; nothing second hand, so that votes are independent of each other. Who cannot do
        its part is not healthy."""
        view: dict[str, Observation] = {}
        for name, neighbour in self._neighbours.items():
            heard = [o for o in neighbour.observed.values() if o.direct and o.at > since]
            well = heard and not _inability(heard)
            view[name] = Observation(
                name, len(heard), median([o.risk for o in heard]) if well else PPM
            )
        return view

    def last_report(self, node: str) -> tuple[Report, float] | None:
        """The newest report heard from `node` itself (also this node), and its age in s."""
        neighbour = self._neighbours.get(node)
        if neighbour is None or neighbour.report is None:
            return None
        return neighbour.report, self._clock.monotonic() - neighbour.heard_at


def _inability(heard: Iterable[Observed], judged_from: float = float("-inf")) -> str:
    """Why a node cannot do its part, by most of what was heard of it; empty when it can."""
    said = [o.unable if o.at > judged_from else "" for o in heard]
    faults = [fault for fault in said if fault]
    return faults[-1] if 2 * len(faults) > len(said) else ""


def _complaints(report: Report, expected: int) -> tuple[Complaint, ...]:
    """What the node says is wrong with it, and what it cannot know itself: that it lags."""
    said = dict(report.complaints)
    if report.applied < expected:
        said[MEMBER_LAGGING] = f"at least {expected - report.applied:,} log entries behind"
    return tuple(Complaint(name, detail) for name, detail in sorted(said.items()))


def shortened(report: Report) -> Report:
    """The report so that it fits a datagram: without the last of its metrics, which are for
    people, then without the last of what it heard, then with its cause and complaints in fewer
    words."""
    for field, least in (("metrics", 0), ("heard", 4)):
        told = list(getattr(report, field).items())
        while len(told) > least and (excess := _excess(report)) > 0:
            told = told[: max(least, len(told) - max(1, excess // LONGEST_ITEM))]
            report = replace(report, **{field: dict(told)})
    for most in (100, 50, 20):
        if _excess(report) > 0:
            complaints = {name: detail[:most] for name, detail in report.complaints.items()}
            report = replace(report, cause=report.cause[:most], complaints=complaints)
    return report


def _excess(report: Report) -> int:
    return len(msgspec.msgpack.encode(report)) - MAX_REPORT


def _ppm(share: float) -> int:
    return round(share * PPM)
