"""What nodes tell of proposals and orders: each of its own doings, all in one trace."""

from collections.abc import Callable

import pytest

from stationkeep.cluster.commands import (
    Failover,
    Pause,
    PutPolicy,
    RunAction,
    SetPriority,
    Switchover,
)
from stationkeep.cluster.state.state import ClusterState
from stationkeep.node.hooks.runner import HookResult
from stationkeep.node.tracing import spans as spans_module
from stationkeep.node.wire.traceparent import Caller, operation_id
from tests.node.tracing.story import Traced, check_whole, named

CALLER = Caller(0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7)


def test_a_failover_is_one_trace_to_which_every_survivor_adds_its_own() -> None:
    traced = Traced(4)
    successor = traced.failed_over()
    survivors = set(traced.world.names) - traced.world.down
    trace = traced.trace_with(rule="primary_failed", outcome="approved")
    check_whole(trace)

    leader = traced.world.leader
    ((node, (proposal,)),) = named(trace, "proposal").items()
    assert node == leader
    assert proposal.parent is None
    assert proposal.attributes["stationkeep.changes"] == (
        f"sat-001 PRIMARY → BACKUP, {successor} STANDBY → PRIMARY"
    )
    assert set(named(trace, "propose")) == {leader}

    votes = named(trace, "vote")
    closed = traced.world.loops[successor].replica.state.closed_proposals
    number = proposal.attributes["stationkeep.proposal"]
    assert set(votes) == set(next(p.ballots for p in closed if p.id == number))  # that counted
    assert all(vote.attributes["stationkeep.approve"] for (vote,) in votes.values())
    applied = named(trace, "apply")
    assert set(applied) == survivors
    assert all(len(twice) == 2 for twice in applied.values())  # its opening, and its end

    ((node, (handover,)),) = named(trace, "handover").items()
    assert node == successor
    assert handover.attributes["stationkeep.predecessor"] == "sat-001"
    assert handover.begin >= proposal.end or node != leader
    acknowledged = named(trace, "acknowledge")
    assert set(acknowledged) == survivors
    assert acknowledged[successor][0].attributes["stationkeep.role"] == "PRIMARY"
    assert acknowledged[successor][0].end >= handover.end
    for of in (*votes.values(), applied[successor], [handover], *acknowledged.values()):
        assert {span.parent for span in of} == {proposal.id}
    commits = [span for _, span in trace if span.name == "commit"]
    assert len(commits) == 1 + len(votes) + len(acknowledged)


def test_a_proposal_that_is_denied_ends_there() -> None:
    traced = Traced()
    world = traced.world
    world.run_until(lambda: world.primary is not None, 10)
    former = world.primary
    assert former is not None
    node = next(n for n in world.names if n not in (former, world.leader))
    traced.order(node, PutPolicy(node, "calm", "safety", 900_000, ("*->PRIMARY",)), "calm")
    world.kill(former)
    told = len(named(traced.spans, "proposal")[str(world.leader)])
    world.run_until(lambda: len(named(traced.spans, "proposal")[str(world.leader)]) > told, 20)
    trace = traced.trace_with(rule="primary_failed", outcome="denied")
    check_whole(trace)
    (denial,) = named(trace, "vote")[node]
    assert denial.attributes["stationkeep.approve"] is False
    assert denial.attributes["stationkeep.grounds"] == "calm"
    assert {len(once) for once in named(trace, "apply").values()} == {1}
    assert named(trace, "handover") == named(trace, "acknowledge") == {}


def test_an_order_is_traced_from_the_request_to_the_last_acknowledgement() -> None:
    traced = Traced()
    world = traced.world
    world.run_until(lambda: world.primary is not None, 10)
    world.run(12)  # the cool-down
    taker = next(n for n in world.names if n != world.leader)
    key = operation_id(None)
    traced.order(taker, Switchover(), key)
    trace = traced.trace_with(operation=key)
    check_whole(trace)
    assert {span.trace for _, span in trace} == {int(key.removeprefix("op-"), 16)}

    ((node, (request,)),) = named(trace, "request").items()
    ((_, (propose,)),) = named(trace, "propose").items()
    assert (node, request.parent, propose.parent) == (taker, None, request.id)
    assert request.attributes["stationkeep.command"] == "Switchover"
    assert request.attributes["stationkeep.outcome"] == "done"
    assert request.attributes["stationkeep.actor"] == "eve"
    assert set(named(trace, "apply")) == set(world.names)
    assert set(named(trace, "acknowledge")) == set(world.names)
    ((_, (handover,)),) = named(trace, "handover").items()
    assert handover.parent == propose.id


def test_a_callers_trace_is_continued_on_every_node_whatever_the_ratio() -> None:
    traced = Traced(ratio=0.0)
    traced.world.run_until(lambda: traced.world.primary is not None, 10)
    assert traced.spans == []
    traced.order("sat-002", Pause(60_000), operation_id(CALLER), CALLER)
    assert set(traced.traces()) == {CALLER.trace}
    (request,) = named(traced.spans, "request")["sat-002"]
    assert request.parent == CALLER.span
    assert set(named(traced.spans, "apply")) == set(traced.world.names)


def test_a_key_of_the_clients_own_links_its_trace_with_the_callers() -> None:
    traced = Traced()
    traced.world.run_until(lambda: traced.world.primary is not None, 10)
    traced.order("sat-001", Pause(60_000), "nightly-7", CALLER)
    (request,) = named(traced.spans, "request")["sat-001"]
    operation = traced.trace_with(operation="nightly-7", command="Pause", actor="eve")
    assert operation == [("sat-001", request)]
    assert request.trace == CALLER.trace
    (propose,) = (s for _, s in traced.spans if s.link == (request.trace, request.id))
    assert request.link == (propose.trace, propose.id)
    assert propose.parent is None
    assert propose.trace != request.trace


def test_a_repetition_is_a_request_and_no_second_effect() -> None:
    traced = Traced()
    traced.world.run_until(lambda: traced.world.primary is not None, 10)
    traced.order("sat-001", SetPriority("sat-002", 7), "again")
    traced.order("sat-003", SetPriority("sat-002", 7), "again")
    trace = traced.trace_with(operation="again", outcome="done")
    check_whole(trace)
    assert {n: len(s) for n, s in named(trace, "request").items()} == {"sat-001": 1, "sat-003": 1}
    assert {n: len(s) for n, s in named(trace, "apply").items()} == dict.fromkeys(
        traced.world.names, 1
    )


def test_a_refusal_says_which_rule_refused() -> None:
    traced = Traced()
    traced.world.run_until(lambda: traced.world.primary is not None, 10)
    traced.order("sat-001", Failover("sat-009"), "wrong")
    (request,) = named(traced.spans, "request")["sat-001"]
    assert request.attributes["stationkeep.outcome"] == "refused"
    assert request.attributes["stationkeep.reason"] == "unknown_node"
    assert request.failed == ""


def test_an_order_without_a_leader_is_a_failed_request_and_no_more() -> None:
    traced = Traced()
    traced.world.run_until(lambda: traced.world.primary is not None, 10)
    traced.world.elect(None)
    before = len(traced.spans)
    traced.order("sat-001", Pause(60_000), "nobody")
    request, propose = sorted(
        (s for _, s in traced.spans[before:] if s.name in ("request", "propose")),
        key=lambda s: s.name,
        reverse=True,
    )
    assert (request.name, request.failed, propose.failed) == ("request", "no_leader", "no_leader")
    assert propose.parent == request.id


def test_an_action_whose_hook_fails_fails_in_the_acknowledgements() -> None:
    traced = Traced()
    for hooks in traced.world.hooks.values():
        hooks.result = HookResult(False, "exit status 1")
    traced.world.run_until(lambda: traced.world.primary is not None, 10)
    traced.order("sat-001", RunAction("beacon"), "act")
    trace = traced.trace_with(operation="act", outcome="done")
    failed = {n: s.failed for n, (s,) in named(trace, "acknowledge").items()}
    assert failed == dict.fromkeys(traced.world.names, "exit status 1")


def opened(state: ClusterState) -> Callable[[], bool]:
    return lambda: bool(state.proposals)


def ordered(state: ClusterState) -> Callable[[], bool]:
    return lambda: bool(state.actions)


def test_a_leader_lost_in_the_middle_takes_its_spans_along_and_no_others() -> None:
    traced = Traced(5)
    world = traced.world
    world.run_until(lambda: world.primary is not None, 10)
    world.run(1)
    former, leader = world.primary, world.leader
    assert former is not None
    assert leader is not None
    assert former != leader
    before = len(traced.spans)
    world.kill(former)
    world.delay = (0.1, 0.1)  # long enough to see it open
    others = [n for n in world.names if n not in (former, leader)]
    world.run_until(opened(world.loops[others[0]].replica.state), 20)
    world.kill(leader)
    world.elect(others[0])
    world.run(2)
    handover = next(s for _, s in traced.spans[before:] if s.name == "handover")
    trace = [(n, s) for n, s in traced.spans if s.trace == handover.trace]
    assert set(named(trace, "acknowledge")) == set(others)
    assert named(trace, "proposal") == {}
    names = ("apply", "vote", "handover", "acknowledge")
    assert {s.parent for _, s in trace if s.name in names} == {handover.parent}
    assert handover.parent not in {s.id for _, s in trace}
    assert len({s.id for _, s in trace}) == len(trace)


def test_a_restarted_node_records_no_spans_of_its_previous_run() -> None:
    traced = Traced()
    traced.failed_over()
    world = traced.world
    before = list(traced.spans)
    node = next(n for n in world.names if n not in (*world.down, world.leader))
    world.kill(node)
    world.start(node)
    applied = world.loops[node].replica.state
    world.run_until(lambda: applied.index >= world.loops[str(world.leader)].replica.state.index, 5)
    assert [told for told in traced.spans[len(before) :] if told[0] == node] == []
    traced.order(node, SetPriority(node, 3), "later")
    assert named(traced.spans[len(before) :], "apply")[node]


@pytest.mark.parametrize(
    ("begun", "told"),
    [(opened, ["apply"]), (ordered, ["apply", "vote", "commit", "apply", "handover"])],
)
def test_a_snapshot_cuts_what_had_begun(
    begun: Callable[[ClusterState], Callable[[], bool]], told: list[str]
) -> None:
    traced = Traced()
    world = traced.world
    world.run_until(lambda: world.primary is not None, 10)
    world.run(1)
    former = world.primary
    assert former is not None
    node = next(n for n in world.names if n not in (former, world.leader))
    world.kill(former)
    world.delay = (0.1, 0.1)  # long enough to see it open
    replica = world.loops[node].replica
    world.run_until(begun(replica.state), 20)
    trace = next(s.trace for n, s in reversed(traced.spans) if n == node)
    replica.prepare(replica.snapshot())()
    world.run(1)
    assert [s.name for n, s in traced.spans if n == node and s.trace == trace] == told
    assert any(s.name == "acknowledge" for n, s in traced.spans if n != node and s.trace == trace)


def test_all_nodes_record_the_same_share_of_traces() -> None:
    traced = Traced(ratio=0.5)
    traced.world.run_until(lambda: traced.world.primary is not None, 10)
    traced.spans.clear()
    keys = [f"key-{n}" for n in range(40)]
    for n, key in enumerate(keys):
        traced.order("sat-001", SetPriority("sat-002", n + 1), key)
    applied = [s.trace for _, s in traced.spans if s.name == "apply"]
    recorded = set(applied)
    assert 5 < len(recorded) < 35
    assert {applied.count(trace) for trace in recorded} == {3}
    assert {s.trace for _, s in traced.spans if s.name == "request"} == recorded


def test_what_is_followed_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans_module, "MAX_STORIES", 4)
    traced = Traced()
    traced.world.run_until(lambda: traced.world.primary is not None, 10)
    for n in range(9):
        traced.order("sat-001", SetPriority("sat-002", n + 1), f"key-{n}")
    tracing = traced.tracings["sat-001"]
    assert len(tracing._orders) == 4
    assert len([s for _, s in traced.spans if s.name == "request"]) == 9
