"""Webhooks: sends role changes and alarms to the configured receivers, at least once, in order.

The decision log is the outbox: it is numbered, replicated and bounded. The leader sends the
decisions after a webhook's cursor (`cluster.webhook_deliveries`), one message at a time, and moves
the cursor once a message is accepted. A new leader continues after the cursor; a message that was
accepted but not recorded is sent again with the same id. A new webhook starts with the next
decision.

A message follows standardwebhooks.com: the headers `webhook-id`, `webhook-timestamp` (Unix seconds
of this attempt) and `webhook-signature`, `v1,` and the base64 of HMAC-SHA256 with the secret over
`id.timestamp.body`. Any 2xx response accepts it. After any other, or none, it is sent again, after
ever longer pauses. It is abandoned, and the next one is sent,
- when the receiver refuses it (3xx, 4xx) `MAX_REFUSALS` times in a row: the receiver works, and the
  messages behind must not wait a day for a mistake that only people can fix;
- at once after 410 Gone, with which the receiver says that it does not want it;
- when it fails and is a day old, whatever the reason.
408, 425 and 429 mean "later", and are not refusals. So each message is tried at least once, and
abandoned ones are counted and logged.

If a webhook fails for so long that decisions after its cursor have been dropped from the log, it is
sent that first: a message of the type `decisions.lost` names the range in which some are missing.
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
from stationkeep.node.config.webhooks import TOPICS, WebhookConfig, headers_of
from stationkeep.node.duty import AT_ONCE, NEVER, Duty, Office, Workbench
from stationkeep.node.views.records import decision_view

FIRST_RETRY, LAST_RETRY = 1.0, 300.0
"""Seconds before a message is sent again; doubled each time."""
MAX_REFUSALS = 8
"""Refusals in a row after which a message is abandoned: two minutes, long enough for a receiver to
restart."""
MAX_AGE = 24 * 3_600_000
"""Milliseconds of cluster time after which a message that fails is abandoned."""
CHECKPOINT = 1_000
"""Decisions that do not concern a webhook, after which its cursor is moved past them: a cursor
older than the log would look like missed decisions."""
RECORD_PACE = 0.5
"""Seconds between two attempts to record a cursor."""

OUTCOMES = ("delivered", "failed", "abandoned", "lost")
"""Attempts that were accepted, attempts that were not, messages abandoned, and how often decisions
after a cursor were dropped from the log."""

log = structlog.get_logger("node.webhooks")


class Verdict(StrEnum):
    """A receiver's response to a message."""

    ACCEPTED = "accepted"
    LATER = "later"  # it is unreachable, or cannot accept it now
    REFUSED = "refused"  # it does not accept this message
    GONE = "gone"  # it does not want it any more


class Answer(msgspec.Struct, frozen=True):
    """The outcome of an attempt."""

    verdict: Verdict = Verdict.ACCEPTED
    why: str = ""
    """Why it was not accepted, for people."""


class Poster(Protocol):
    """Sends over HTTP; implemented by `node.webhooks.http_poster.HttpPoster`."""

    def post(
        self, url: str, headers: dict[str, str], body: bytes, done: Callable[[Answer], None]
    ) -> None:
        """Sends in the background; always calls `done` once, later."""
        ...


class Message(msgspec.Struct, frozen=True):
    """The body of a message."""

    type: str
    """`role.changed`, `seat.handed_over`; `alarm.raised`, `alarm.cleared`, `alarm.acknowledged`;
    `rollout.STATE`, `stage.STATE` and those of `_OF_ROLLOUTS`; or `decisions.lost`."""
    timestamp: str
    """When it was decided, or the loss was noticed; RFC 3339."""
    data: dict[str, Any]
    """`decision`: an element of `GET /v1/decisions`; or `lost`: a range of their numbers of which
    the webhook has not received all."""


class Loss(msgspec.Struct, frozen=True):
    """Decisions between `first` and `last` were dropped from the log before the webhook received
    all of them. `at`, `wall`: when that was noticed."""

    first: int
    last: int
    at: int
    wall: int

    @property
    def id(self) -> str:
        return f"lost-{self.last}"


Subject = Decision | Loss
"""What a message is about."""


def topic_of(decision: Decision) -> str | None:
    """The topic that a decision belongs to; None if it is not sent."""
    kind = kind_of(decision)
    return kind.value if kind in _TOPICS else None


_TOPICS = frozenset({Kind.ROLES, Kind.ALARMS, Kind.ROLLOUTS})
assert sorted(kind.value for kind in _TOPICS) == sorted(TOPICS)


_OF_ROLLOUTS = {
    "create_rollout": "rollout.laid_down",
    "approve_rollout": "rollout.approved",
    "promote_rollout": "stage.promoted",
    "webhook_gate": "stage.answered",
    "strays": "rollout.strayed",
    "set_freeze": "freeze.set",
    "lift_freeze": "freeze.lifted",
    "unblock_artifact": "artifact.unblocked",
}


def type_of(subject: Subject) -> str:
    """The type of a message."""
    match subject:
        case Loss():
            return "decisions.lost"
        case Decision(matter="alarm"):
            return f"alarm.{subject.facts['change']}"
        case Decision(matter="handover"):
            return "seat.handed_over"
        case Decision(matter="rollout" | "stage"):
            return f"{subject.matter}.{subject.facts['state']}"
        case Decision(matter=matter) if matter in _OF_ROLLOUTS:
            return _OF_ROLLOUTS[matter]
        case Decision():
            return "role.changed"
        case _:
            assert_never(subject)


def body_of(subject: Subject, cluster: str, node: str) -> bytes:
    """The body of a message as sent by `node`."""
    moment = datetime.fromtimestamp(subject.wall / 1_000, UTC).isoformat(timespec="milliseconds")
    data: dict[str, Any] = {"cluster": cluster, "sent_by": node}
    if isinstance(subject, Loss):
        data["lost"] = {"first": subject.first, "last": subject.last}
    else:
        data["decision"] = decision_view(subject)
    return msgspec.json.encode(Message(type_of(subject), moment, data))


def id_of(subject: Subject, cluster: str) -> str:
    """The same at every attempt and from every node; the wall time in it distinguishes the messages
    of a cluster that is founded again under the same name."""
    return f"{cluster}.{subject.id}.{subject.wall}"


class _Route:
    """One webhook in one term of office."""

    def __init__(self, bench: Workbench, webhook: WebhookConfig, cursor: Delivery) -> None:
        self._clock, self._replica = bench.host.clock, bench.replica
        self.webhook = webhook
        self.done = cursor.upto
        """The newest decision that was accepted, abandoned, or does not concern the webhook."""
        self.missed, self.confessed = cursor.missed, cursor.confessed
        """The newest decision that it missed, and the newest of which it was sent that."""
        self.waiting: Subject | None = None
        """What is to be sent next, or being sent."""
        self.sending = False
        self.failures = 0
        """Failed attempts in a row."""
        self.refusals = 0
        """Refusals of the current message in a row."""
        self.not_before = float("-inf")
        """When to try again, monotonic s."""
        self.wanted = cursor.upto
        """Where the recorded cursor should be."""
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
    """The leader's duty to send webhooks; idle on other nodes. Synchronous."""

    def __init__(
        self, bench: Workbench, webhooks: Sequence[WebhookConfig], poster: Poster | None
    ) -> None:
        """`poster` may be None if there are no webhooks."""
        assert poster is not None or not webhooks
        super().__init__(bench, Duty(bench, self._forgetting_due, self._forgotten))
        self._webhooks, self._poster = webhooks, poster
        self._clock, self._replica = bench.host.clock, bench.replica
        self._names = {webhook.name for webhook in webhooks}
        self._routes: list[_Route] = []
        self.results: Counter[tuple[str, str]] = Counter(
            {(w.name, o): 0 for w in webhooks for o in OUTCOMES}
        )
        """Counts by (webhook, outcome), on this node since its start."""

    def turn(self) -> None:
        """Sends messages that are due, and records those accepted."""
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
        """Monotonic moment of the next attempt; infinite if there is nothing to send."""
        routes = [route.next_wakeup() for route in self._routes]
        return min([super().next_wakeup(), *routes])

    def _end(self) -> None:
        self._routes = []

    def pending(self) -> dict[str, int]:
        """Messages that each webhook has not accepted yet; empty on a node that does not lead."""
        if not self._routes:
            return {}
        ids: dict[str, list[int]] = {topic: [] for topic in TOPICS}
        oldest = min(route.done for route in self._routes)
        for decision in _after(oldest, self._replica.state.decisions):
            topic = topic_of(decision)
            if topic is not None:
                ids[topic].append(decision.id)
        return {
            route.webhook.name: sum(
                len(ids[topic]) - bisect_right(ids[topic], route.done)
                for topic in set(route.webhook.topics)
            )
            for route in self._routes
        }

    def _route(self, webhook: WebhookConfig) -> _Route:
        state = self._replica.state
        known = state.deliveries.get(webhook.name)
        return _Route(self._bench, webhook, known or Delivery(state.decisions_made, state.time))

    def _forgotten(self) -> RecordDelivery | None:
        """Marks a webhook that missed decisions, but is no longer in any file, as informed: nobody
        else could clear the alarm."""
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
        """Chooses what to send next: above all, that the webhook missed something."""
        state = self._replica.state
        self._notice_loss(route, state)
        if route.waiting is not None:
            return
        if route.missed > route.confessed:
            route.waiting = _loss(state, route.webhook.name)
        else:
            self._choose_decision(route, state)

    def _choose_decision(self, route: _Route, state: ClusterState) -> None:
        if route.done == state.decisions_made:
            return
        for decision in _after(route.done, state.decisions):
            if topic_of(decision) in route.webhook.topics:
                route.waiting = decision
                return
            route.done = decision.id
        if route.done - route.wanted >= CHECKPOINT:
            route.wanted = route.done

    def _notice_loss(self, route: _Route, state: ClusterState) -> None:
        """Checks whether decisions of its topics after the cursor were dropped from the log. (The
        one that is being sent is kept here.)"""
        waiting = route.waiting.id if isinstance(route.waiting, Decision) else 0
        reached = max(route.done, route.missed, waiting)
        missed = max((state.forgotten.get(topic, 0) for topic in route.webhook.topics), default=0)
        if missed > reached:
            name = route.webhook.name
            log.error("webhook missed decisions", webhook=name, first=reached + 1, last=missed)
            self.results[name, "lost"] += 1
            route.missed = missed

    def _send(self, route: _Route) -> None:
        subject, webhook = route.waiting, route.webhook
        if subject is None or route.sending or self._clock.monotonic() < route.not_before:
            return
        assert self._poster is not None
        route.sending = True
        cluster = self._replica.state.cluster_id
        body = body_of(subject, cluster, self._bench.node)
        seconds = self._clock.wall() // 1_000
        headers = headers_of(id_of(subject, cluster), seconds, body, webhook.secret)
        self._poster.post(
            webhook.url, headers, body, lambda answer: self._on_answer(route, subject, answer)
        )

    def _on_answer(self, route: _Route, subject: Subject, answer: Answer) -> None:
        if route not in self._routes:
            return  # sent in a former term: only the current leader moves the cursor
        route.sending = False
        name = route.webhook.name
        if answer.verdict is Verdict.ACCEPTED:
            self.results[name, "delivered"] += 1
            route.failures = 0
        else:
            self.results[name, "failed"] += 1
            self._put_off(route, answer)
            if not self._is_hopeless(route, subject, answer):
                return
            log.error("webhook message is abandoned", webhook=name, decision=subject.id)
            self.results[name, "abandoned"] += 1
        route.waiting, route.refusals = None, 0
        if isinstance(subject, Loss):
            route.confessed = subject.last
        else:
            route.done = route.wanted = subject.id

    def _put_off(self, route: _Route, answer: Answer) -> None:
        pause = min(LAST_RETRY, FIRST_RETRY * 2 ** min(route.failures, 20))
        route.failures += 1
        refused = answer.verdict is not Verdict.LATER
        route.refusals = route.refusals + 1 if refused else 0
        route.not_before = self._clock.monotonic() + pause
        name = route.webhook.name
        log.warning("webhook failed", webhook=name, why=answer.why[:200], retry_in=pause)

    def _is_hopeless(self, route: _Route, subject: Subject, answer: Answer) -> bool:
        """Whether to abandon a message that failed. After refusals the next one is sent soon, since
        the receiver answers; if it does not, the long pauses stay."""
        if answer.verdict is Verdict.GONE or route.refusals >= MAX_REFUSALS:
            route.failures = 0
            route.not_before = self._clock.monotonic() + FIRST_RETRY
            return True
        return self._replica.state.time - subject.at > MAX_AGE


def _after(id_: int, decisions: list[Decision]) -> list[Decision]:
    return decisions[bisect_right(decisions, id_, key=lambda decision: decision.id) :]


def _loss(state: ClusterState, webhook: str) -> Loss | None:
    """The recorded loss that a webhook has not been sent yet; the same on every node."""
    cursor, alarm = state.deliveries.get(webhook), state.alarms.get(WEBHOOK_MISSED)
    if cursor is None or alarm is None or cursor.missed <= cursor.confessed:
        return None
    first = max(cursor.upto, cursor.confessed) + 1
    return Loss(first, cursor.missed, alarm.since, alarm.wall)
