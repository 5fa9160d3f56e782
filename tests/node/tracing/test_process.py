"""Real nodes and a real collector."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from scripts.traces import Collector, Received, collecting, tree
from stationkeep.node.chaos.constellation import Constellation, free_ports
from tests.node.runtime.test_node import Solo, solo
from tests.node.webhooks.test_process import metric

__all__ = ["solo"]

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CLOCKS = 1_000_000
"""Nanoseconds: one machine, one clock; each node compares it with its monotonic one by itself."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture
def traced(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Constellation]:
    """Three nodes that tell the collector."""
    monkeypatch.setenv("STATIONKEEP_TRACING_ENDPOINT", collector.url)
    cluster = Constellation(tmp_path / "cluster")
    cluster.up(nodes=3)
    yield cluster
    cluster.stop()


def by_node(spans: list[Received], name: str) -> dict[str, list[Received]]:
    found: dict[str, list[Received]] = {}
    for span in spans:
        if span.name == name:
            found.setdefault(span.node, []).append(span)
    return found


def check_order(spans: list[Received]) -> None:
    """Each parent is there, once, and no child began before it."""
    known = {span.id: span for span in spans}
    assert len(known) == len(spans)
    for span in spans:
        assert span.begin <= span.end
        if span.parent in known:
            assert known[span.parent].begin <= span.begin + CLOCKS, span
        else:
            assert span.parent in ("", SPAN), span


def test_a_failover_is_one_trace_of_all_who_took_part(
    traced: Constellation, collector: Collector
) -> None:
    primary = traced.seat_primary(beside_leader=False)
    survivors = set(traced.addresses) - {primary}
    traced.kill(primary)

    def complete() -> list[Received] | None:
        for spans in collector.traces().values():
            first = spans[0].attributes
            rule = first.get("stationkeep.rule") == "primary_failed"
            if rule and set(by_node(spans, "acknowledge")) == survivors:
                roots = by_node(spans, "proposal")
                return spans if roots else None
        return None

    trace = traced.until("the failover's trace", complete)
    check_order(trace)
    ((leader, (proposal,)),) = by_node(trace, "proposal").items()
    ((successor, (handover,)),) = by_node(trace, "handover").items()
    assert leader == traced.leader()
    assert traced.ask(successor, "/primary")["ok"]
    assert proposal.attributes["stationkeep.outcome"] == "approved"
    assert f"{primary} PRIMARY → BACKUP" in proposal.attributes["stationkeep.changes"]
    assert handover.attributes["stationkeep.predecessor"] == primary
    votes, applied = by_node(trace, "vote"), by_node(trace, "apply")
    acknowledged = by_node(trace, "acknowledge")
    assert set(votes) == set(applied) == set(acknowledged) == survivors
    hang = [*votes.values(), *applied.values(), [handover], *acknowledged.values()]
    assert {span.parent for of in hang for span in of} == {proposal.id}
    ((_, (propose,)),) = by_node(trace, "propose").items()
    commits = {s.parent for of in by_node(trace, "commit").values() for s in of}
    assert commits == {propose.id} | {s.id for of in (votes, acknowledged) for (s,) in of.values()}
    assert proposal.begin <= applied[leader][-1].begin <= proposal.end
    assert handover.begin + CLOCKS >= applied[successor][-1].begin
    assert acknowledged[successor][0].end + CLOCKS >= handover.end
    assert tree(trace).startswith(f"proposal        {leader}     0.0")


def test_an_order_continues_the_callers_trace_on_every_node(
    traced: Constellation, collector: Collector
) -> None:
    traced.acting()
    taker = next(n for n in traced.addresses if n != traced.leader())
    request = Request(
        f"http://{traced.addresses[taker]}/v1/nodes/{taker}/priority",
        json.dumps({"priority": 7}).encode(),
        {"Content-Type": "application/json", "traceparent": f"00-{TRACE}-{SPAN}-01"},
    )
    with urlopen(request, timeout=15) as answer:
        operation = json.load(answer)["operation"]
    assert operation.startswith(f"op-{TRACE}-")

    def complete() -> list[Received] | None:
        spans = collector.traces().get(TRACE, [])
        whole = set(by_node(spans, "apply")) == set(traced.addresses) and by_node(spans, "request")
        return spans if whole else None

    trace = traced.until("the caller's trace", complete)
    check_order(trace)
    ((node, (served,)),) = by_node(trace, "request").items()
    ((_, (propose,)),) = by_node(trace, "propose").items()
    assert (node, served.parent, propose.parent) == (taker, SPAN, served.id)
    assert served.attributes["stationkeep.operation"] == operation
    assert served.begin <= propose.begin <= propose.end <= served.end
    assert {s.parent for s in trace if s.name in ("commit", "apply")} == {propose.id}


def test_a_restart_records_no_spans_for_what_the_journal_replays(
    solo: Solo, collector: Collector
) -> None:
    solo.content["tracing"] = {"endpoint": collector.url}

    def ordered(priority: int) -> str:
        solo.start()
        solo.wait_until(lambda: solo.get("/primary")[0] == 200, 40)
        done = solo.post("/v1/nodes/sat-001/priority", {"priority": priority})
        assert solo.process is not None
        solo.process.terminate()  # its farewell sends what waits
        assert solo.end()[0] == 0
        return str(done["operation"]).removeprefix("op-")

    before = ordered(1)
    assert len(by_node(collector.traces()[before], "apply")["sat-001"]) == 1
    after = ordered(2)
    assert after in collector.traces()
    assert len(by_node(collector.traces()[before], "apply")["sat-001"]) == 1


@pytest.mark.parametrize("kind", ["hangs", "refuses"])
def test_a_collector_that_does_not_take_spans_costs_no_write_anything(
    solo: Solo, collector: Collector, kind: str
) -> None:
    url = collector.url if kind == "hangs" else f"http://127.0.0.1:{free_ports(1, solo.http + 1)}"
    collector.let_go.clear()
    solo.content["tracing"] = {"endpoint": url}
    solo.start()
    solo.wait_until(lambda: solo.get("/primary")[0] == 200, 40)
    if kind == "hangs":
        assert collector.posts.acquire(timeout=20)  # it is being asked, and does not answer
    began = time.monotonic()
    for n in range(50):
        assert solo.post("/v1/nodes/sat-001/priority", {"priority": n + 1})["status"] == "done"
    assert time.monotonic() - began < 5  # the patience of one export: no write waited for any
    if kind == "refuses":
        failed = 'stationkeep_trace_spans_total{outcome="failed"}'
        solo.wait_until(lambda: metric(solo, failed) > 0, 20)
    assert solo.process is not None
    solo.process.terminate()
    code, errors = solo.end()
    assert code == 0, errors
    assert errors.count("traces are lost") <= 1
