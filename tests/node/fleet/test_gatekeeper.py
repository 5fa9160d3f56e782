"""Webhooks of stages, on whole nodes in virtual time: who is asked, how often, and what counts."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace

from stationkeep.cluster.commands import AbortRollout, ApproveRollout, Pause
from stationkeep.cluster.deployments.deployment import Limits
from stationkeep.cluster.rollouts.plan import Checks, Plan, StagePlan
from stationkeep.node.config.webhooks import Secret, WebhookConfig
from stationkeep.node.fleet import gatekeeper
from stationkeep.node.fleet.gatekeeper import LAST_RETRY, MAX_UNDER_WAY, Asker, Waiting
from tests.node.fleet.rollouts import NAME, V2, Rolling

KEY = b"k" * 32
URL = "https://gate.example/ask"
PASS, FAIL = b'{"verdict": "pass", "detail": "9 of 9"}', b'{"verdict": "fail"}'
Said = tuple[int, bytes, str]


class Try(NamedTuple):
    at: float
    url: str
    headers: dict[str, str]
    body: bytes

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)["data"]
        return found


class Gate(Asker):
    """Whoever is asked: `answer` is what it says, after `delay` seconds; None: nothing, ever."""

    def __init__(self) -> None:
        self.world: Rolling
        self.tries: list[Try] = []
        self.delay = 0.05
        self.answer: Callable[[Try], Said | None] = lambda _: (200, PASS, "")

    def ask(
        self,
        url: str,
        headers: dict[str, str],
        body: bytes,
        done: Callable[[int, bytes, str], None],
    ) -> None:
        asked = Try(self.world.now, url, headers, body)
        self.tries.append(asked)
        said = self.answer(asked)
        if said is not None:
            self.world.at(self.world.now + self.delay, lambda: done(*said))


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def fleet(gate: Gate) -> Rolling:
    made = Rolling(
        6, 3, asker=gate, webhooks=(WebhookConfig("ci", URL, Secret(KEY)),), poster=Deaf()
    )
    gate.world = made
    made.settle_in()
    return made


class Deaf:
    def post(self, *_: Any) -> None:
        pass


def begin(fleet: Rolling, url: str = URL, **more: Any) -> None:
    checks = Checks(webhook=url, **more)
    stage = StagePlan("half", share=500_000, limits=Limits(first=0), checks=checks)
    fleet.begin(Plan(V2, stages=(stage,), rest=False))


def test_a_webhook_that_says_pass_lets_the_stage_pass(fleet: Rolling, gate: Gate) -> None:
    begin(fleet)
    fleet.until("succeeded")
    (asked,) = gate.tries
    assert asked.url == URL
    assert asked.data["rollout"] == NAME
    assert asked.data["stage"] == "half"
    assert asked.data["digest"] == fleet.rollout.digest
    assert [a["version"] for a in asked.data["artifacts"]] == ["2.0.0"]
    assert asked.data["tasks"] == {"succeeded": 3}
    assert [g["gate"] for g in asked.data["gates"]] == ["failures", "coverage", "health"]
    answer = fleet.stage("half").answer
    assert answer is not None
    assert (answer.passed, answer.detail) == (True, "9 of 9")


def test_a_webhook_that_says_fail_is_proof(fleet: Rolling, gate: Gate) -> None:
    gate.answer = lambda _: (200, FAIL, "")
    begin(fleet)
    fleet.until("rolled_back")
    assert fleet.stage("half").reason == "webhook"
    assert fleet.running("2.0.0") == []


def test_a_question_is_signed_as_other_messages_to_the_same_address(
    fleet: Rolling, gate: Gate
) -> None:
    begin(fleet)
    fleet.until("succeeded")
    (asked,) = gate.tries
    id_, seconds = asked.headers["webhook-id"], asked.headers["webhook-timestamp"]
    content = f"{id_}.{seconds}.".encode() + asked.body
    wanted = base64.b64encode(hmac.new(KEY, content, hashlib.sha256).digest()).decode()
    assert asked.headers["webhook-signature"] == f"v1,{wanted}"


def test_no_other_address_gets_a_signature(fleet: Rolling, gate: Gate) -> None:
    begin(fleet, URL + "/other")
    fleet.until("succeeded")
    assert "webhook-signature" not in gate.tries[0].headers


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ((0, b"", "connection refused"), "webhook connection refused"),
        ((503, PASS, ""), "webhook answered 503"),
        ((404, FAIL, ""), "webhook answered 404"),
        ((302, FAIL, ""), "webhook answered 302"),
        ((201, PASS, ""), "webhook answered 201"),
        ((200, b"", ""), "webhook answered no verdict: Input data was truncated"),
        ((200, b'{"verdict": "maybe"}', ""), "webhook answered no verdict: Invalid enum value"),
        ((200, b'{"verdict": "pass", "detail": 1}', ""), "webhook answered no verdict: Expected"),
        ((200, b'{"verdict": "pass", "x":' + b"[" * 16_000, ""), "webhook answered no verdict: "),
        ((200, b"\xff\xfe\x00", ""), "webhook answered no verdict: JSON is malformed"),
    ],
)
def test_anything_else_is_no_answer_and_is_asked_again(
    fleet: Rolling, gate: Gate, said: Said, complaint: str
) -> None:
    gate.answer = lambda _: said
    begin(fleet)
    fleet.until_stage("half", "validating")
    fleet.live(10.0)
    assert fleet.stage("half").answer is None
    assert fleet.complaint("half").startswith(complaint)
    shown = fleet.shown("half")
    assert shown.reason.startswith(f"waiting: {complaint}")
    assert shown.gates[-1].sentence.startswith(f"webhook: {URL} {complaint[8:]}")
    assert len({asked.headers["webhook-id"] for asked in gate.tries}) == 1
    waits = [after.at - before.at for before, after in pairwise(gate.tries)]
    assert len(waits) >= 2
    assert waits == sorted(waits)
    gate.answer = lambda _: (200, PASS, "")
    fleet.until("succeeded")
    assert fleet.complaint("half") == ""
    results = [loop.gatekeeper.results for loop in fleet.loops.values()]
    assert sum(each["none"] for each in results) == len(gate.tries) - 1
    assert sum(each["pass"] for each in results) == 1


def test_whoever_never_answers_leaves_the_stage_to_people(fleet: Rolling, gate: Gate) -> None:
    gate.answer = lambda _: (503, b"", "")
    begin(fleet)
    fleet.until_stage("half", "validating")
    fleet.until("paused", seconds=400)
    assert fleet.rollout.reason == "inconclusive:half:unanswered"
    assert 5 <= len(gate.tries) <= 15
    assert max(b.at - a.at for a, b in pairwise(gate.tries)) <= LAST_RETRY + 1.0


def test_what_a_webhook_says_is_cut_and_made_printable(fleet: Rolling, gate: Gate) -> None:
    said = json.dumps({"verdict": "pass", "detail": "\x1b[31m\u202e" + "x" * 5_000}).encode()
    gate.answer = lambda _: (200, said, "")
    begin(fleet)
    fleet.until("succeeded")
    answer = fleet.stage("half").answer
    assert answer is not None
    assert answer.detail.isprintable()
    assert len(answer.detail) == 200


def test_an_answer_to_a_deposed_leader_is_not_recorded(fleet: Rolling, gate: Gate) -> None:
    gate.delay = 2.0
    gate.answer = lambda _: (200, FAIL, "")
    begin(fleet)
    while not gate.tries:
        fleet.live(0.5)
    gate.delay, gate.answer = 0.05, lambda _: (200, PASS, "")
    fleet.hand_over()
    fleet.until("succeeded")
    fleet.live(3.0)
    one, other = gate.tries
    assert one.headers["webhook-id"] == other.headers["webhook-id"]
    assert one.data["sent_by"] != other.data["sent_by"]


def test_an_answer_about_a_stage_that_waits_no_more_is_not_recorded(
    fleet: Rolling, gate: Gate
) -> None:
    gate.delay = 2.0
    gate.answer = lambda _: (200, FAIL, "")
    begin(fleet)
    while not gate.tries:
        fleet.live(0.5)
    fleet.order(AbortRollout(NAME))
    fleet.live(4.0)
    assert fleet.rollout.state == "aborted"
    assert fleet.stage("half").answer is None


def test_an_approval_while_the_answer_is_under_way_does_not_lose_it(
    fleet: Rolling, gate: Gate
) -> None:
    """Its rollout has another revision by then."""
    gate.delay = 1.0
    begin(fleet, approvals=1)
    while not gate.tries:
        fleet.live(0.5)
    fleet.order(ApproveRollout(NAME, digest=fleet.rollout.digest, stage="half"), actor="bob")
    fleet.until("succeeded")
    assert len(gate.tries) == 1


def test_a_no_during_a_pause_of_the_cluster_is_proof_for_later(fleet: Rolling, gate: Gate) -> None:
    gate.answer = lambda _: (503, b"", "")
    begin(fleet)
    fleet.until_stage("half", "validating")
    fleet.order(Pause(20_000))
    gate.answer = lambda _: (200, FAIL, "")
    fleet.live(10.0)
    assert (fleet.rollout.state, fleet.stage("half").proven) == ("running", "webhook")
    fleet.until("rolled_back")


def test_only_so_many_are_asked_at_a_time(
    fleet: Rolling, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Webhooks that hang do not take more of the leader than there is for them."""
    begin(fleet)
    gate.answer = lambda _: None
    fleet.until_stage("half", "validating")
    waiting = gatekeeper.waiting_stages(fleet.state)
    many = [
        Waiting(one.rollout, replace(one.stage, since=one.stage.since + n))
        for one in waiting
        for n in range(20)
    ]
    monkeypatch.setattr(gatekeeper, "waiting_stages", lambda _: many)
    fleet.live(3.0)
    assert len(gate.tries) == MAX_UNDER_WAY


def test_nodes_that_do_not_lead_ask_nobody(fleet: Rolling, gate: Gate) -> None:
    begin(fleet)
    fleet.until("succeeded")
    assert {asked.data["sent_by"] for asked in gate.tries} == {fleet.leader}
