"""Webhooks in virtual time: who is told of what, in which order, how often, how it is signed."""

import base64
import hashlib
import hmac
import itertools
import json
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from stationkeep.cluster.commands import (
    AbortRollout,
    CreateRollout,
    Draft,
    LiftFreeze,
    RecordDelivery,
    SetFreeze,
    SetPriority,
)
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.rollouts.plan import Plan
from stationkeep.cluster.state import codec
from stationkeep.cluster.transitions import Role
from stationkeep.node.config.webhooks import Secret, WebhookConfig
from stationkeep.node.webhooks import sending as module
from stationkeep.node.webhooks.sending import Answer, Verdict, topic_of
from tests.node.world import World

KEY = b"k" * 32
PAGER = WebhookConfig("pager", "https://pager.example/in", Secret(KEY))
ALARMS = WebhookConfig("pager", "https://pager.example/in", Secret(KEY), ("alarms",))
YES = Answer()
LATER = Answer(Verdict.LATER, "answered 503")
REFUSED = Answer(Verdict.REFUSED, "answered 401")
GONE = Answer(Verdict.GONE, "answered 410")


class Receiver:
    """Whoever is told: `answer` is what it says to a message."""

    def __init__(self) -> None:
        self.world: World | None = None
        self.attempts: list[tuple[float, dict[str, str], bytes]] = []
        self.accepted: list[tuple[str, dict[str, Any]]] = []
        self.answer: Callable[[dict[str, Any]], Answer] = lambda _: YES

    def post(
        self, url: str, headers: dict[str, str], body: bytes, done: Callable[[Answer], None]
    ) -> None:
        world = self.world
        assert world is not None
        self.attempts.append((world.now, headers, body))

        def arrive() -> None:
            message = json.loads(body)
            answer = self.answer(message)
            if answer.verdict is Verdict.ACCEPTED:
                self.accepted.append((headers["webhook-id"], message))
            done(answer)

        world.at(world.now + 0.05, arrive)

    @property
    def types(self) -> list[str]:
        return [message["type"] for _, message in self.accepted]

    @property
    def decisions(self) -> list[int]:
        return [message["data"]["decision"]["id"] for _, message in self.accepted]


def begin(*webhooks: WebhookConfig, nodes: int = 3) -> tuple[World, Receiver]:
    receiver = Receiver()
    world = World(nodes, webhooks=webhooks or (PAGER,), poster=receiver)
    receiver.world = world
    world.run_until(lambda: world.primary is not None, 20)
    return world, receiver


def order(world: World, draft: Draft) -> None:
    assert world.leader is not None
    consensus = world.loops[world.leader].consensus
    consensus.propose(codec.encode_draft(draft), lambda _: None, 5.0, False)


def other_than(world: World, *names: str | None) -> str:
    return next(name for name in world.names if name not in (world.leader, *names))


def test_the_election_of_the_first_primary_is_sent_once() -> None:
    world, receiver = begin()
    world.run(5)
    first = next(m for _, m in receiver.accepted if m["type"] == "role.changed")
    [change] = first["data"]["decision"]["changes"]
    assert (change["node"], change["target"]) == (world.primary, Role.PRIMARY)
    assert first["data"]["cluster"] == "test"
    assert first["timestamp"].endswith("+00:00")
    assert len(receiver.decisions) == len(set(receiver.decisions))
    assert receiver.decisions == sorted(receiver.decisions)


def test_a_failover_and_its_alarms_are_sent_in_order() -> None:
    world, receiver = begin()
    world.run(15)
    receiver.accepted.clear()
    primary = world.primary
    assert primary is not None
    world.kill(primary)
    world.run_until(lambda: "seat.handed_over" in receiver.types, 30)
    world.start(primary)
    world.run_until(lambda: "alarm.cleared" in receiver.types, 30)
    types = receiver.types
    assert types.index("alarm.raised") < types.index("role.changed") < len(types)
    assert receiver.decisions == sorted(receiver.decisions)


@pytest.mark.parametrize(
    ("topics", "told"), [(("alarms",), {"alarm"}), (("roles",), {"role", "seat"})]
)
def test_a_webhook_receives_only_its_topics(topics: tuple[str, ...], told: set[str]) -> None:
    world, receiver = begin(WebhookConfig("some", "https://h/", Secret(KEY), topics))
    world.run(15)
    primary = world.primary
    assert primary is not None
    world.kill(primary)
    world.run(20)
    assert {type_.split(".")[0] for type_ in receiver.types} <= told
    assert receiver.accepted


def test_rollouts_are_a_topic_of_their_own() -> None:
    webhook = WebhookConfig("ci", "https://h/", Secret(KEY), ("rollouts",))
    world, receiver = begin(webhook)
    world.run(3)
    plan = Plan(Artifact("2.0.0"), approvals=1)
    for n, command in enumerate((
        CreateRollout("fw", plan),
        SetFreeze("xmas", 600_000),
        LiftFreeze("xmas"),
        AbortRollout("fw"),
    )):  # fmt: skip
        order(world, Draft(command, f"k{n}", "ann"))
    world.run_until(lambda: "rollout.aborted" in receiver.types, 20)
    assert receiver.types[:3] == ["rollout.laid_down", "freeze.set", "freeze.lifted"]
    assert set(receiver.types[3:]) == {"stage.stopped", "rollout.aborted"}


def test_the_signature_is_over_id_timestamp_and_body() -> None:
    _, receiver = begin()
    for _, headers, body in receiver.attempts:
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        mac = hmac.new(KEY, signed, hashlib.sha256).digest()
        assert headers["webhook-signature"] == f"v1,{base64.b64encode(mac).decode()}"
    assert receiver.attempts


def test_what_is_not_accepted_is_sent_again_ever_later_under_the_same_id() -> None:
    world, receiver = begin(ALARMS)
    world.run(5)
    receiver.attempts.clear()
    receiver.answer = lambda _: LATER
    world.kill(other_than(world, world.primary))
    world.run_until(lambda: len(receiver.attempts) > 8, 600)
    moments = [at for at, _, _ in receiver.attempts]
    pauses = [round(b - a) for a, b in pairwise(moments)]
    assert pauses[:8] == [1, 2, 4, 8, 16, 32, 64, 128]
    assert len({headers["webhook-id"] for _, headers, _ in receiver.attempts}) == 1
    stamps = [int(headers["webhook-timestamp"]) for _, headers, _ in receiver.attempts]
    assert stamps[-1] > stamps[0], "each attempt is of its own time, so that replays show"
    receiver.answer = lambda _: YES
    receiver.accepted.clear()
    world.run(module.LAST_RETRY)
    assert receiver.types[0] == "alarm.raised"


def test_a_new_leader_goes_on_where_the_last_one_stopped() -> None:
    world, receiver = begin()
    world.run(5)
    told = list(receiver.decisions)
    world.elect(other_than(world))
    world.run(15)
    assert receiver.decisions == told, "nothing again"
    world.kill(other_than(world, world.primary))
    world.run_until(lambda: "alarm.raised" in receiver.types[len(told) :], 20)
    assert receiver.decisions == sorted(set(receiver.decisions))


def test_a_leader_lost_before_recording_means_again_and_never_not_at_all() -> None:
    world, receiver = begin(ALARMS)
    world.run(15)
    receiver.answer = lambda _: LATER
    leader = world.leader
    victim = other_than(world, world.primary)
    world.kill(victim)
    world.run_until(lambda: any(b"alarm.raised" in body for *_, body in receiver.attempts), 20)
    receiver.answer = lambda _: YES
    world.run_until(lambda: "alarm.raised" in receiver.types, 20)
    # Accepted, and cut off before anybody else could learn of it.
    accepted = receiver.accepted[-1]
    assert leader is not None
    recorded = world.loops[leader].replica.state.deliveries["pager"].upto
    assert recorded < accepted[1]["data"]["decision"]["id"]
    world.start(victim)
    world.partition(leader)
    successor = other_than(world, leader)
    world.elect(successor)
    world.run_until(lambda: [i for i, _ in receiver.accepted].count(accepted[0]) == 2, 20)


def test_only_the_leader_sends() -> None:
    world, _ = begin()
    world.run(5)
    for name, loop in world.loops.items():
        sent = sum(loop.webhooks.results.values())
        assert (sent > 0) is (name == world.leader)
        assert bool(loop.webhooks.pending()) is (name == world.leader)


def test_what_is_pending_is_counted_for_each_webhook_by_its_topics() -> None:
    both, alarms = WebhookConfig("both", "https://b/", Secret(KEY)), ALARMS
    world, receiver = begin(both, alarms)
    world.run(5)
    assert world.leader is not None
    loop = world.loops[world.leader]
    assert loop.webhooks.pending() == {"both": 0, "pager": 0}
    receiver.answer = lambda _: LATER
    newest = loop.replica.state.decisions_made
    primary = world.primary
    assert primary is not None
    world.kill(primary)
    world.run(15)
    world.start(primary)
    world.run(15)
    told = [module.topic_of(d) for d in loop.replica.state.decisions if d.id > newest]
    counts = Counter(told)
    assert counts["alarms"] > 1
    assert counts["roles"] > 1
    pending = {"both": counts["alarms"] + counts["roles"], "pager": counts["alarms"]}
    assert loop.webhooks.pending() == pending


def test_a_webhook_that_fails_delays_no_other() -> None:
    deaf = WebhookConfig("deaf", "https://deaf/", Secret(KEY))
    world, receiver = begin(deaf, PAGER)
    receiver.answer = lambda _: YES
    original = receiver.post

    def post(url: str, headers: Any, body: bytes, done: Any) -> None:
        if url != deaf.url:
            original(url, headers, body, done)

    receiver.post = post  # type: ignore[method-assign]
    world.run(5)
    before = len(receiver.accepted)
    world.kill(other_than(world, world.primary))
    world.run_until(lambda: len(receiver.accepted) > before, 20)


def test_a_day_old_message_is_given_up_and_the_next_has_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_AGE", 20_000)
    world, receiver = begin(ALARMS)
    world.run(5)
    receiver.answer = lambda message: LATER if message["type"] == "alarm.raised" else YES
    victim = other_than(world, world.primary)
    world.kill(victim)
    world.run(10)
    world.start(victim)
    world.run_until(lambda: "alarm.cleared" in receiver.types, 600)
    assert world.leader is not None
    results = world.loops[world.leader].webhooks.results
    decisions = world.loops[world.leader].replica.state.decisions
    raised = [d.facts for d in decisions if d.facts.get("change") == "raised"]
    assert results["pager", "abandoned"] == len(raised) > 0, raised
    assert results["pager", "failed"] >= 5


def tell_of_a_death(world: World) -> None:
    """Raises the alarm that a node is not heard, and clears it."""
    victim = other_than(world, world.primary)
    world.kill(victim)
    world.run(10)
    world.start(victim)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries of which the longest pause is short."""
    monkeypatch.setattr(module, "LAST_RETRY", 4.0)


@pytest.mark.parametrize(("answer", "tries"), [(REFUSED, module.MAX_REFUSALS), (GONE, 1)])
def test_what_a_receiver_refuses_for_good_holds_up_nothing_behind_it(
    answer: Answer, tries: int, hurried: None
) -> None:
    world, receiver = begin(ALARMS)
    world.run(5)
    receiver.attempts.clear()
    receiver.answer = lambda message: answer if message["type"] == "alarm.raised" else YES
    tell_of_a_death(world)
    world.run_until(lambda: "alarm.cleared" in receiver.types, 600)
    assert world.leader is not None
    results = world.loops[world.leader].webhooks.results
    refused = len(receiver.attempts) - len(receiver.accepted)
    assert results["pager", "failed"] == refused
    assert results["pager", "abandoned"] == refused / tries > 0


def test_a_refusal_among_other_failures_is_no_reason_to_give_up(hurried: None) -> None:
    world, receiver = begin(ALARMS)
    world.run(5)
    answers = itertools.cycle([REFUSED] * (module.MAX_REFUSALS - 1) + [LATER])
    receiver.answer = lambda _: next(answers)
    tell_of_a_death(world)
    world.run(60)
    assert world.leader is not None
    results = world.loops[world.leader].webhooks.results
    assert results["pager", "failed"] > module.MAX_REFUSALS
    assert results["pager", "abandoned"] == 0


def test_after_a_message_was_given_up_the_next_one_has_all_its_tries(hurried: None) -> None:
    world, receiver = begin(ALARMS)
    world.run(5)
    receiver.attempts.clear()
    receiver.answer = lambda _: REFUSED
    tell_of_a_death(world)
    world.run_until(lambda: len(receiver.attempts) == 2 * module.MAX_REFUSALS, 600)
    moments = [at for at, *_ in receiver.attempts]
    pauses = [round(after - before) for before, after in pairwise(moments)]
    assert pauses == [1, 2, 4, 4, 4, 4, 4, 1, 1, 2, 4, 4, 4, 4, 4]
    ids = Counter(headers["webhook-id"] for _, headers, _ in receiver.attempts)
    assert set(ids.values()) == {module.MAX_REFUSALS}


def test_a_webhook_that_is_concerned_with_nothing_keeps_its_cursor_fresh(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CHECKPOINT", 3)
    world, receiver = begin(WebhookConfig("quiet", "https://h/", Secret(KEY), ()))
    world.run(20)
    assert receiver.attempts == []
    state = world.loops[other_than(world)].replica.state
    assert state.decisions_made - state.deliveries["quiet"].upto < 3


def test_a_webhook_is_first_sent_that_decisions_after_its_cursor_were_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stationkeep.cluster.state.step.MAX_DECISIONS", 4)
    world, receiver = begin()
    receiver.answer = lambda _: LATER
    world.run(5)
    for _ in range(4):
        victim = other_than(world, world.primary)
        world.kill(victim)
        world.run(8)
        world.start(victim)
        world.run(8)
    world.elect(other_than(world))
    world.run(60)
    state = world.loops[world.leader].replica.state
    missed = state.deliveries["pager"].missed
    assert missed >= 1
    assert "webhook_missed" in state.alarms
    receiver.accepted.clear()
    receiver.answer = lambda _: YES
    world.run(60)
    id_, first = receiver.accepted[0]
    assert first["type"] == "decisions.lost"
    lost = first["data"]["lost"]
    assert 1 <= lost["first"] <= lost["last"] <= missed
    assert id_.startswith(f"test.lost-{lost['last']}.")
    losses = [m["data"]["lost"] for _, m in receiver.accepted if m["type"] == "decisions.lost"]
    assert missed in range(lost["first"], losses[-1]["last"] + 1)
    assert "webhook_missed" not in state.alarms
    noticed = [loop.webhooks.results["pager", "lost"] for loop in world.loops.values()]
    assert sum(noticed) >= 1  # by whoever led then
    assert world.loops[world.leader].webhooks.pending() == {"pager": 0}


@pytest.mark.parametrize("webhooks", [(PAGER,), ()], ids=["another", "none"])
def test_what_a_stranger_missed_is_no_concern_of_anybody(webhooks: tuple[WebhookConfig]) -> None:
    """Also where it was the last webhook, and without waiting for an election."""
    receiver = Receiver()
    receiver.world = world = World(3, webhooks=webhooks, poster=receiver)
    world.run_until(lambda: world.primary is not None, 20)
    order(world, Draft(RecordDelivery("of-an-old-file", 1, 2)))
    state = world.loops[world.leader].replica.state
    world.run_until(lambda: "of-an-old-file" in state.deliveries, 5)
    world.run(2)
    assert "webhook_missed" not in state.alarms
    assert state.deliveries["of-an-old-file"].confessed == 2


@pytest.mark.parametrize("topics", [("roles",), ("alarms",), ("roles", "alarms")])
def test_a_flood_of_orders_costs_a_webhook_nothing(
    monkeypatch: pytest.MonkeyPatch, topics: tuple[str, ...]
) -> None:
    monkeypatch.setattr("stationkeep.cluster.state.step.MAX_DECISIONS", 100)
    world, receiver = begin(WebhookConfig("pager", "https://h/", Secret(KEY), topics))
    receiver.answer = lambda _: LATER
    world.run(15)
    primary = world.primary
    assert primary is not None
    world.health[primary].risk = 0.9
    world.run(20)
    state = world.loops[world.leader].replica.state
    owed = [d.id for d in state.decisions if topic_of(d) in topics]
    for number in range(300):
        order(world, Draft(SetPriority(primary, number + 1), f"k{number}", "mallory"))
        world.run(0.05)
    receiver.answer = lambda _: YES
    world.run(120)
    assert set(owed) <= set(receiver.decisions)
    assert "decisions.lost" not in receiver.types
