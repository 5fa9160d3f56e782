"""Webhooks: role changes and alarms, told to whoever is configured, at least once, in order.

The decision log is the outbox: it is numbered, replicated and bounded. The leader sends what
follows a webhook's cursor (`cluster.webhook_deliveries`), one message at a time, and moves the
cursor when it was accepted. A new leader goes on behind the cursor; what was accepted and not
recorded is sent again under the same id. A webhook that is new begins with what comes next.

A message follows standardwebhooks.com: the headers `webhook-id`, `webhook-timestamp` (Unix
seconds of this attempt) and `webhook-signature`, `v1,` and the base64 of HMAC-SHA256 over
`id.timestamp.body` by the secret. Any answer of 2xx accepts it. After any other, or none, it is
sent again, ever later. It is given up, and the next one has its turn,
- when the receiver refuses it (3xx, 4xx) `MAX_REFUSALS` times in a row: it was understood, and what
  comes behind it must not wait a day for a mistake that only people mend;
- at once after 410 Gone, which is the receiver's word that it wants no more of it;
- when it fails and is a day old, whatever the reason.
408, 425 and 429 say "later", and are no refusals. So each message is tried at least once, and what
is given up is counted and logged.

A webhook that is deaf for so long that the log has turned past its cursor is told of that first: a
message of the type `decisions.lost` names the range in which some are missing.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Protocol, assert_never

import msgspec
import structlog

from stationkeep.cluster.alarms import WEBHOOK_MISSED
from stationkeep.cluster.commands import RecordDelivery
from stationkeep.cluster.state.decisions import Decision, Kind, kind_of
from stationkeep.cluster.state.state import ClusterState, Delivery
from stationkeep.node.config.webhooks import TOPICS, WebhookConfig
from stationkeep.node.duty import AT_ONCE, NEVER, Duty, Office, Workbench
from stationkeep.node.version import VERSION
from stationkeep.node.views.records import decision_view

FIRST_RETRY, LAST_RETRY = 1.0, 300.0
"""Seconds before a message is sent again; twice as long each time."""
MAX_REFUSALS = 8
"""Refusals in a row after which a message is given up: two minutes, as long as a receiver takes
to be restarted."""
MAX_AGE = 24 * 3_600_000
"""Milliseconds of cluster time after which a message that fails is given up."""
CHECKPOINT = 1_000
"""Decisions that concern a webhook in nothing, after which its cursor is moved all the same:
behind the oldest one that is kept, it could not be told from one that missed something."""
RECORD_PACE = 0.5
"""Seconds between two tries to record a cursor."""

OUTCOMES = ("delivered", "failed", "abandoned", "lost")
"""Attempts that were accepted or not, messages given up, and times that the log had turned past a
cursor."""

log = structlog.get_logger("node.webhooks")


class Verdict(StrEnum):
    """What a receiver says to a message."""

    ACCEPTED = "accepted"
    LATER = "later"  # it could not take it, or was not there
    REFUSED = "refused"  # it will not take it as it is
    GONE = "gone"  # it wants no more


class Answer(msgspec.Struct, frozen=True):
    """What came of an attempt; `why` it was not accepted, for people."""

    verdict: Verdict = Verdict.ACCEPTED
    why: str = ""


class Poster(Protocol):
    """Sends over HTTP; implemented by `node.webhooks.posting.HttpPoster`."""

    def post(
        self, url: str, headers: dict[str, str], body: bytes, done: Callable[[Answer], None]
    ) -> None:
        """Sends in the background; calls `done` once, later, whatever happens."""
        ...


class Message(msgspec.Struct, frozen=True):
    """The body. `type`: `role.changed`, `seat.handed_over`, `alarm.raised`, `alarm.cleared`,
    `alarm.acknowledged` or `decisions.lost`; `timestamp`: when it was decided, or noticed, RFC
    3339; `data.decision` is an element of `GET /v1/decisions`, `data.lost` a range of their
    numbers in which the webhook was not told of all."""

    type: str
    timestamp: str
    data: dict[str, Any]


class Loss(msgspec.Struct, frozen=True):
    """Decisions between `first` and `last` that were forgotten before their webhook was told of
    them. `at`, `wall`: when that was noticed."""

    first: int
    last: int
    at: int
    wall: int

    @property
    def id(self) -> str:
        return f"lost-{self.last}"


Told = Decision | Loss


def topic_of(decision: Decision) -> str | None:
    """The topic that a decision belongs to; None for those that nobody is told of."""
    kind = kind_of(decision)
    return kind.value if kind in _TOPICS else None


_TOPICS = frozenset({Kind.ROLES, Kind.ALARMS})
assert sorted(kind.value for kind in _TOPICS) == sorted(TOPICS)


def type_of(told: Told) -> str:
    """The type of the message about a decision that somebody is told of."""
    match told:
        case Loss():
            return "decisions.lost"
        case Decision(matter="alarm"):
            return f"alarm.{told.facts['change']}"
        case Decision(matter="handover"):
            return "seat.handed_over"
        case Decision():
            return "role.changed"
        case _:
            assert_never(told)


def body_of(told: Told, cluster: str, node: str) -> bytes:
    """The message about a decision, or about the loss of some, as sent by `node`."""
    moment = datetime.fromtimestamp(told.wall / 1_000, UTC).isoformat(timespec="milliseconds")
    data: dict[str, Any] = {"cluster": cluster, "sent_by": node}
    if isinstance(told, Loss):
        data["lost"] = {"first": told.first, "last": told.last}
    else:
        data["decision"] = decision_view(told)
    return msgspec.json.encode(Message(type_of(told), moment, data))


def headers_of(
    webhook: WebhookConfig, told: Told, cluster: str, body: bytes, seconds: int
) -> dict[str, str]:
    """The signed headers. The id is the same at every attempt and of every node; the wall time
    in it tells clusters apart that are founded anew under an old name."""
    id_ = f"{cluster}.{told.id}.{told.wall}"
    signature = webhook.secret.sign(f"{id_}.{seconds}.".encode() + body)
    return {
        "Content-Type": "application/json",
        "User-Agent": f"stationkeep/{VERSION}",
        "webhook-id": id_,
        "webhook-timestamp": str(seconds),
        "webhook-signature": f"v1,{signature}",
    }


class _Route:
    """One webhook in one term of office."""

    def __init__(self, bench: Workbench, webhook: WebhookConfig, cursor: Delivery) -> None:
        self._clock, self._replica = bench.host.clock, bench.replica
        self.webhook = webhook
        self.settled = cursor.upto  # newest decision that is accepted, given up or of no concern
        self.missed, self.confessed = cursor.missed, cursor.confessed
        self.waiting: Told | None = None  # what it is the turn of
        self.sending = False
        self.failures = 0  # in a row
        self.refusals = 0  # in a row, of the one whose turn it is
        self.not_before = float("-inf")  # monotonic s
        self.wanted = cursor.upto  # what the cursor should say
        self.cursor = Duty(bench, self._record_due, self._record)
        self._record_at = AT_ONCE

    def next_wakeup(self) -> float:
        """Monotonic moment of the next attempt, or of recording the cursor."""
        waits = self.waiting is not None and not self.sending
        return min(self.not_before if waits else NEVER, self.cursor.next_wakeup())

    def _record_due(self) -> float:
        known = self._replica.state.deliveries.get(self.webhook.name)
        behind = known is None or (
            known.upto < self.wanted
            or known.missed < self.missed
            or known.confessed < self.confessed
        )
        return self._record_at if behind else NEVER

    def _record(self) -> RecordDelivery:
        self._record_at = self._clock.monotonic() + RECORD_PACE
        return RecordDelivery(self.webhook.name, self.wanted, self.missed, self.confessed)


class Webhooks(Office):
    """The leader's duty to tell; silent on a node that does not lead. Synchronous."""

    def __init__(
        self, bench: Workbench, webhooks: Sequence[WebhookConfig], poster: Poster | None
    ) -> None:
        """`poster` may be None where there are no webhooks."""
        assert poster is not None or not webhooks
        super().__init__(bench, Duty(bench, self._forgetting_due, self._forgotten))
        self._webhooks, self._poster = webhooks, poster
        self._clock, self._replica = bench.host.clock, bench.replica
        self._names = {webhook.name for webhook in webhooks}
        self._routes: list[_Route] = []
        self.results: Counter[tuple[str, str]] = Counter(
            {(w.name, o): 0 for w in webhooks for o in OUTCOMES}
        )
        """By (webhook, outcome), on this node since its start."""

    def turn(self) -> None:
        """Sends what is due and records what was accepted."""
        super().turn()
        if self._term is None or not self._replica.state.founded:
            return
        if not self._routes:
            self._routes = [self._route(webhook) for webhook in self._webhooks]
        for route in self._routes:
            self._choose(route)
            self._send(route)
            route.cursor.turn()

    def next_wakeup(self) -> float:
        """Monotonic moment of the next attempt; infinite when there is nothing to tell."""
        routes = [route.next_wakeup() for route in self._routes]
        return min([super().next_wakeup(), *routes])

    def _end(self) -> None:
        self._routes = []

    def pending(self) -> dict[str, int]:
        """Messages that each webhook has not accepted yet; empty on a node that does not lead."""
        if not self._routes:
            return {}
        told: dict[str, list[int]] = {topic: [] for topic in TOPICS}
        oldest = min(route.settled for route in self._routes)
        for decision in _after(oldest, self._replica.state.decisions):
            topic = topic_of(decision)
            if topic is not None:
                told[topic].append(decision.id)
        return {
            route.webhook.name: sum(
                len(told[topic]) - bisect_right(told[topic], route.settled)
                for topic in set(route.webhook.topics)
            )
            for route in self._routes
        }

    def _route(self, webhook: WebhookConfig) -> _Route:
        state = self._replica.state
        known = state.deliveries.get(webhook.name)
        return _Route(self._bench, webhook, known or Delivery(state.decisions_made, state.time))

    def _forgotten(self) -> RecordDelivery | None:
        """A webhook that is in no file any more and missed something, taken for one that knows:
        nobody but us could clear the alarm."""
        state = self._replica.state
        if WEBHOOK_MISSED not in state.alarms:
            return None
        for name, cursor in state.deliveries.items():
            if name not in self._names and cursor.missed > cursor.confessed:
                return RecordDelivery(name, cursor.upto, cursor.missed, cursor.missed)
        return None

    def _forgetting_due(self) -> float:
        return NEVER if self._forgotten() is None else AT_ONCE

    # -- sending --------------------------------------------------------------------------------

    def _choose(self, route: _Route) -> None:
        """The next thing that the webhook is told of: first that it missed something."""
        state = self._replica.state
        self._notice_loss(route, state)
        if route.waiting is not None:
            return
        if route.missed > route.confessed:
            route.waiting = _loss(state, route.webhook.name)
        else:
            self._choose_decision(route, state)

    def _choose_decision(self, route: _Route, state: ClusterState) -> None:
        if route.settled == state.decisions_made:
            return
        for decision in _after(route.settled, state.decisions):
            if topic_of(decision) in route.webhook.topics:
                route.waiting = decision
                return
            route.settled = decision.id
        if route.settled - route.wanted >= CHECKPOINT:
            route.wanted = route.settled

    def _notice_loss(self, route: _Route, state: ClusterState) -> None:
        """Where the log turned past the cursor in one of its topics; what waits is held here."""
        waiting = route.waiting.id if isinstance(route.waiting, Decision) else 0
        reached = max(route.settled, route.missed, waiting)
        missed = max((state.forgotten.get(topic, 0) for topic in route.webhook.topics), default=0)
        if missed > reached:
            name = route.webhook.name
            log.error("webhook missed decisions", webhook=name, first=reached + 1, last=missed)
            self.results[name, "lost"] += 1
            route.missed = missed

    def _send(self, route: _Route) -> None:
        told, webhook = route.waiting, route.webhook
        if told is None or route.sending or self._clock.monotonic() < route.not_before:
            return
        assert self._poster is not None
        route.sending = True
        cluster = self._replica.state.cluster_id
        body = body_of(told, cluster, self._bench.node)
        headers = headers_of(webhook, told, cluster, body, self._clock.wall() // 1_000)
        self._poster.post(
            webhook.url, headers, body, lambda answer: self._on_answer(route, told, answer)
        )

    def _on_answer(self, route: _Route, told: Told, answer: Answer) -> None:
        if route not in self._routes:
            return  # of a former office: the cursor is the present leader's to move
        route.sending = False
        name = route.webhook.name
        if answer.verdict is Verdict.ACCEPTED:
            self.results[name, "delivered"] += 1
            route.failures = 0
        else:
            self.results[name, "failed"] += 1
            self._put_off(route, answer)
            if not self._is_hopeless(route, told, answer):
                return
            log.error("webhook message is given up", webhook=name, decision=told.id)
            self.results[name, "abandoned"] += 1
        route.waiting, route.refusals = None, 0
        if isinstance(told, Loss):
            route.confessed = told.last
        else:
            route.settled = route.wanted = told.id

    def _put_off(self, route: _Route, answer: Answer) -> None:
        pause = min(LAST_RETRY, FIRST_RETRY * 2 ** min(route.failures, 20))
        route.failures += 1
        refused = answer.verdict is not Verdict.LATER
        route.refusals = route.refusals + 1 if refused else 0
        route.not_before = self._clock.monotonic() + pause
        name = route.webhook.name
        log.warning("webhook failed", webhook=name, why=answer.why[:200], retry_in=pause)

    def _is_hopeless(self, route: _Route, told: Told, answer: Answer) -> bool:
        """Whether a message that failed is given up. After a refusal the next one is sent soon,
        to a receiver that does answer; after silence its long pauses stay."""
        if answer.verdict is Verdict.GONE or route.refusals >= MAX_REFUSALS:
            route.failures = 0
            route.not_before = self._clock.monotonic() + FIRST_RETRY
            return True
        return self._replica.state.time - told.at > MAX_AGE


def _after(id_: int, decisions: list[Decision]) -> list[Decision]:
    return decisions[bisect_right(decisions, id_, key=lambda decision: decision.id) :]


def _loss(state: ClusterState, webhook: str) -> Loss | None:
    """What is recorded that a webhook missed and does not know: the same on every node."""
    cursor, alarm = state.deliveries.get(webhook), state.alarms.get(WEBHOOK_MISSED)
    if cursor is None or alarm is None or cursor.missed <= cursor.confessed:
        return None
    first = max(cursor.upto, cursor.confessed) + 1
    return Loss(first, cursor.missed, alarm.since, alarm.wall)
