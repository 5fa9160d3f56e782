"""Asks the webhooks of stages that are being validated, and records what they answer.

The leader asks, each stage again and again until it gets an answer, or until the stage waits no
longer. 200 and `{"verdict": "pass"}` or `"fail"`, `"detail"` if wanted, is one; anything else is
none. Every try has the same `webhook-id`, from whichever node, so that a receiver can tell that it
has been asked already. What is answered to a leader of a former term is not recorded, and its
successor asks anew. A message has the secret of the webhook that the node's file has at the same
address, if there is one (`node.config.webhooks`), and is not signed otherwise.
Source: rollouts.md, "Judging".
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple, Protocol

import msgspec
import structlog

from stationkeep.cluster.apply import Applied
from stationkeep.cluster.commands import Entry, RecordGate
from stationkeep.cluster.progression.orders import MAX_DETAIL
from stationkeep.cluster.progression.steps import gate_facts, tallied
from stationkeep.cluster.rollouts.lifecycle import StageState
from stationkeep.cluster.rollouts.rollout import Rollout, Stage
from stationkeep.cluster.state.events import RolloutChanged
from stationkeep.cluster.state.state import ClusterState
from stationkeep.node.config.webhooks import WebhookConfig, headers_of
from stationkeep.node.duty import AT_ONCE, NEVER, Duty, Office, Workbench
from stationkeep.node.ports import ProposalResult
from stationkeep.node.system.printable import printable

LOOK = 0.25
"""Seconds between two looks at which stages wait."""
FIRST_RETRY, LAST_RETRY = 1.0, 60.0
"""Seconds before a stage is asked about again; doubled each time."""
MAX_UNDER_WAY = 8
"""Questions at a time; others wait for their turn."""

log = structlog.get_logger("node.fleet")


class Asker(Protocol):
    """Asks over HTTP; implemented by `node.webhooks.http_poster.HttpAsker`."""

    def ask(
        self,
        url: str,
        headers: dict[str, str],
        body: bytes,
        done: Callable[[int, bytes, str], None],
    ) -> None:
        """Posts in the background; always calls `done` once, later: with the status and the
        content, or 0 and why there is no answer."""
        ...


class Reply(msgspec.Struct, frozen=True):
    """The content of an answer; more is not looked at."""

    verdict: Literal["pass", "fail"]
    detail: str = ""


_replies = msgspec.json.Decoder(Reply)


class Waiting(NamedTuple):
    """A stage that waits for the answer of its webhook."""

    rollout: Rollout
    stage: Stage

    @property
    def key(self) -> tuple[str, str, int]:
        """What it is known by: with the cluster time since when, so that a stage that waits once
        more is another one."""
        return self.rollout.name, self.stage.name, self.stage.since


class _Question:
    """What is asked about one stage in one term of office."""

    def __init__(self, waiting: Waiting) -> None:
        self.waiting = waiting
        """As the newest look found it."""
        self.under_way = False
        self.failures = 0
        self.why = ""
        """Why the newest answer was none."""
        self.not_before = AT_ONCE
        """When to ask again, monotonic s."""
        self.reply: Reply | None = None


class Gatekeeper(Office):
    """The leader's duty to ask; idle on other nodes, and where there is no `asker`."""

    def __init__(
        self, bench: Workbench, webhooks: Sequence[WebhookConfig], asker: Asker | None
    ) -> None:
        super().__init__(bench, Duty(bench, self._record_due, self._record, self._recorded))
        self._clock, self._replica = bench.host.clock, bench.replica
        self._secrets = {webhook.url: webhook.secret for webhook in webhooks}
        self._asker = asker
        self._questions: dict[tuple[str, str, int], _Question] = {}
        self._under_way = 0
        self.results = dict.fromkeys(("pass", "fail", "none"), 0)
        """Tries by what came of them; `none`: no answer."""
        self._look_at = AT_ONCE
        bench.replica.listen(self._on_applied)

    def turn(self) -> None:
        """Records what was answered, and asks what is due."""
        super().turn()
        if self._term is None or not self._is_needed():
            return
        if self._look_at <= self._clock.monotonic():
            self._look()
        for question in sorted(self._questions.values(), key=lambda one: one.not_before):
            if question.not_before <= self._clock.monotonic() and self._may_ask(question):
                self._ask(question)

    def next_wakeup(self) -> float:
        """Monotonic moment of the next look or question; infinite where nothing can wait."""
        if self._term is None or not self._is_needed():
            return NEVER
        asks = [one.not_before for one in self._questions.values() if self._may_ask(one)]
        return min([super().next_wakeup(), self._look_at, *asks])

    def complaint(self, rollout: str, stage: str) -> str:
        """Why a stage has no answer of its webhook yet: `webhook answered 503`. Only the node that
        leads knows; "": it does not, or nothing is wrong."""
        found = (one.why for key, one in self._questions.items() if key[:2] == (rollout, stage))
        return next(found, "")

    def _is_needed(self) -> bool:
        return self._asker is not None and self._replica.state.rollouts.any_open

    def _end(self) -> None:
        self._questions.clear()
        self._look_at = AT_ONCE

    def _on_applied(self, _index: int, _entry: Entry | None, applied: Applied) -> None:
        if any(isinstance(event, RolloutChanged) for event in applied.events):
            self._look_at = AT_ONCE

    def _look(self) -> None:
        """Which stages wait now; the others are not asked about any more."""
        self._look_at = self._clock.monotonic() + LOOK
        before, self._questions = self._questions, {}
        for waiting in waiting_stages(self._replica.state):
            question = before.get(waiting.key) or _Question(waiting)
            question.waiting = waiting
            self._questions[waiting.key] = question

    # -- asking ---------------------------------------------------------------------------------

    def _may_ask(self, question: _Question) -> bool:
        """Whether it may be asked as soon as its time has come."""
        idle = not question.under_way and question.reply is None
        return idle and self._under_way < MAX_UNDER_WAY

    def _ask(self, question: _Question) -> None:
        assert self._asker is not None
        state, waiting = self._replica.state, question.waiting
        url, seconds = waiting.stage.checks.webhook, self._clock.wall() // 1_000
        body = body_of(state, waiting, self._bench.node)
        headers = headers_of(id_of(state, waiting), seconds, body, self._secrets.get(url))
        question.under_way = True
        self._under_way += 1

        def done(status: int, content: bytes, why: str) -> None:
            self._under_way -= 1
            question.under_way = False
            if self._questions.get(waiting.key) is question:  # else of a former term, or too late
                self._on_answer(question, status, content, why)

        self._asker.ask(url, headers, body, done)

    def _on_answer(self, question: _Question, status: int, content: bytes, why: str) -> None:
        why = why or f"answered {status}"
        if status == 200:
            try:
                question.reply = _replies.decode(content)
                self.results[question.reply.verdict] += 1
                return
            except (msgspec.DecodeError, RecursionError) as error:  # the latter by how it is nested
                why = f"answered no verdict: {error}"
        self._put_off(question, why)

    def _put_off(self, question: _Question, why: str) -> None:
        pause = min(LAST_RETRY, FIRST_RETRY * 2 ** min(question.failures, 20))
        question.failures += 1
        self.results["none"] += 1
        question.why = printable(f"webhook {why}", MAX_DETAIL)
        question.not_before = self._clock.monotonic() + pause
        rollout, stage = question.waiting
        log.warning(
            "a stage has no answer", rollout=rollout.name, stage=stage.name, why=question.why,
            retry_in=pause,
        )  # fmt: skip

    # -- recording ------------------------------------------------------------------------------

    def _record_due(self) -> float:
        return AT_ONCE if self._answered() is not None else NEVER

    def _answered(self) -> _Question | None:
        return next((one for one in self._questions.values() if one.reply is not None), None)

    def _record(self) -> RecordGate | None:
        question = self._answered()
        if question is None or question.reply is None:
            return None
        (rollout, stage), reply = question.waiting, question.reply
        detail = printable(reply.detail)[:MAX_DETAIL]
        return RecordGate(
            rollout.name, rollout.revision, stage.name, reply.verdict == "pass", detail
        )

    def _recorded(self, _result: ProposalResult) -> None:
        """Nobody waits for it any more; or it is refused, as the rollout has a new revision."""
        self._look()


def waiting_stages(state: ClusterState) -> list[Waiting]:
    """Stages that wait for the answer of a webhook."""
    return [
        Waiting(rollout, stage)
        for rollout in state.rollouts.open_ones()
        for stage in rollout.stages
        if stage.state is StageState.VALIDATING and stage.checks.webhook and stage.answer is None
    ]


def id_of(state: ClusterState, waiting: Waiting) -> str:
    """The same at every try and from every node; the wall time distinguishes rollouts of a cluster
    that is founded again under the same name."""
    name, stage, since = waiting.key
    return f"{state.cluster_id}.{name}.{stage}.{since}.{waiting.rollout.wall}"


def body_of(state: ClusterState, waiting: Waiting, node: str) -> bytes:
    """What is asked, as sent by `node`."""
    rollout, stage = waiting
    variants = [variant.name for variant in rollout.plan.variants] or [""]
    deployment = state.deployments.known[stage.deployment]
    data = {
        "cluster": state.cluster_id,
        "sent_by": node,
        "rollout": rollout.name,
        "stage": stage.name,
        "digest": rollout.digest,
        "deployment": stage.deployment,
        "artifacts": [
            {"variant": variant, **msgspec.structs.asdict(artifact)}
            for variant, artifact in zip(variants, rollout.plan.artifacts, strict=True)
            if artifact is not None
        ],
        "tasks": tallied(deployment),
        "gates": [gate_facts(judgement) for judgement in stage.judged],
    }
    moment = datetime.fromtimestamp(state.wall / 1_000, UTC).isoformat(timespec="milliseconds")
    return msgspec.json.encode({"type": "rollout.gate", "timestamp": moment, "data": data})
