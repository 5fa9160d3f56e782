"""A large fleet and a long history: the page stays quick.

Measured is what the page's thread computes, not how long it waits for a busy machine.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from stationkeep.cluster.state.decisions import Decision, Outcome
from stationkeep.cluster.state.events import Decided
from stationkeep.node.replica import StreamedEvent
from tests.dashboard.conftest import Served
from tests.node.api.fake import FakeNode
from tests.node.api.fleet_story import register

LONGEST_TASK = 0.100
"""Seconds."""
DEVICES, DECISIONS = 100_000, 10_000


def _decide(node: FakeNode, count: int) -> None:
    """So many decisions more, in the log and in the stream."""
    for n in range(count):
        node.state.decisions_made += 1
        node.state.decisions.append(node.state.decisions[-1])
        facts = {"check": n, "moves": {"stage>canary>unhealthy": 1}}
        decision = Decision(100 + n, 9, n, 1_000 + n, "rebalance", Outcome.DONE, (), facts=facts)
        told = StreamedEvent(f"9.{n}", "decided", "", Decided(decision), n, 1_000 + n)
        node.streamed.append(told)
    node._more.set()


def _longest_task(trace: Path) -> float:
    """CPU seconds of the longest task of any page's main thread."""
    events: list[dict[str, Any]] = json.loads(trace.read_text())["traceEvents"]
    mains = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    tasks = [
        event["tdur"]
        for event in events
        if (event["pid"], event["tid"]) in mains and "RunTask" in event["name"] and "tdur" in event
    ]
    assert len(tasks) > 100
    return float(max(tasks)) / 1e6


@pytest.mark.timeout(180)
def test_a_large_fleet_and_a_long_history_do_not_hold_it_up(
    browser: Browser, page: Page, served: Served, tmp_path: Path
) -> None:
    ids = [f"device-{n:05}" for n in range(DEVICES)]
    served.do(lambda node: register(node, *ids))
    trace = tmp_path / "trace.json"
    browser.start_tracing(page=page, path=trace, categories=["toplevel"])
    page.goto(served.url)
    expect(page.locator("#fleet .total")).to_contain_text("100,000 devices")
    expect(page.locator("#link")).to_contain_text("live")
    served.do(lambda node: _decide(node, DECISIONS))
    newest = page.locator("#timeline .entry").first
    expect(newest).to_contain_text(f"check {DECISIONS - 1} ", timeout=60_000)
    page.get_by_role("button", name="prod", exact=True).click()
    expect(page.locator(".devices tbody tr")).to_have_count(50)
    for shown in range(100, 501, 50):
        page.get_by_role("button", name="More devices").click()
        expect(page.locator(".devices tbody tr")).to_have_count(shown)
    page.get_by_label("Choose all that are shown").check()
    page.get_by_role("button", name="Battery").click()
    expect(page.locator(".devices tbody tr")).to_have_count(50)
    page.get_by_role("link", name="Decisions").click()
    expect(page.locator("#view .entry").first).to_be_visible()
    page.get_by_role("link", name="Over time").click()
    expect(page.locator("[data-lane=prod]")).to_be_visible()
    browser.stop_tracing()
    assert _longest_task(trace) < LONGEST_TASK
    assert page.locator("#timeline .entry").count() < 100
