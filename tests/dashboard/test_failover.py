"""The page while nodes of a real cluster die: it stays, and shows what happened."""

import signal
import time

import pytest
from playwright.sync_api import Page, expect

from stationkeep.node.chaos.constellation import Constellation
from stationkeep.node.local.manifest import Plan

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]

SHOWN_WITHIN = 2.0
"""Seconds after the change of role in which the picture must show it."""


def _url(constellation: Constellation, node: str) -> str:
    return f"http://{constellation.addresses[node]}/"


def _seat(constellation: Constellation, but: str) -> str | None:
    """Who holds the seat by what a living node says; None while it is still `but`."""
    other = next(node for node in constellation.local.running() if node != but)
    primary = constellation.ask(other, "/v1/cluster")["primary"]
    return primary["id"] if primary and primary["id"] != but and primary["active"] else None


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hung"])
def test_the_page_outlives_the_primary_that_served_it(
    constellation: Constellation, page: Page, way: signal.Signals
) -> None:
    constellation.up()
    primary = constellation.settled()
    page.goto(_url(constellation, primary))
    cards = page.locator("#nodes .node")
    expect(cards).to_have_count(5)
    assert sorted(card.get_attribute("data-role") or "" for card in cards.all()) == sorted(
        node["role"] for node in constellation.nodes().values()
    )
    page.evaluate("window.loaded = 'once'")
    constellation.kill(primary, way)
    successor = constellation.until("another is PRIMARY", lambda: _seat(constellation, primary))
    changed = time.monotonic()
    headline = page.locator("#headline h1")
    expect(headline).to_contain_text(f"{successor} is PRIMARY", timeout=SHOWN_WITHIN * 1_000)
    assert time.monotonic() - changed < SHOWN_WITHIN
    expect(page.locator(f"[data-node={successor}]")).to_have_attribute("data-role", "PRIMARY")
    expect(page.locator("#timeline")).to_contain_text(f"{successor} took over from {primary}")
    expect(page.locator("#link")).to_contain_text("live from")
    expect(page.locator("#link")).not_to_contain_text(primary)
    assert page.evaluate("window.loaded") == "once"


def test_an_order_goes_through_another_node_when_the_own_one_is_gone(
    constellation: Constellation, page: Page
) -> None:
    constellation.up(nodes=3)
    primary = constellation.settled()
    served_by = next(node for node in constellation.addresses if node != primary)
    page.goto(_url(constellation, served_by))
    page.get_by_role("button", name="Pause …").click()
    constellation.kill(served_by)
    page.get_by_role("dialog").get_by_role("button", name="Pause").click()
    expect(page.locator("#notice")).to_contain_text("done", timeout=15_000)
    assert constellation.anyone("/v1/cluster")["paused"]


def test_it_says_when_there_is_no_quorum_and_when_nobody_answers(
    constellation: Constellation, page: Page
) -> None:
    constellation.up(nodes=3)
    primary = constellation.settled()
    others = [node for node in constellation.addresses if node != primary]
    page.goto(_url(constellation, primary))
    headline = page.locator("#headline h1")
    expect(headline).to_contain_text("is PRIMARY")
    for node in others:
        constellation.kill(node)
    expect(headline).to_contain_text("no quorum", timeout=15_000)
    constellation.kill(primary)
    expect(headline).to_contain_text("No node answers", timeout=15_000)
    for node in others:
        constellation.local.start(node)
    expect(headline).to_contain_text("is PRIMARY", timeout=30_000)


def test_a_cluster_founded_anew_shows_nothing_of_the_old_one(
    constellation: Constellation, page: Page
) -> None:
    constellation.up(nodes=3)
    primary = constellation.settled()
    page.goto(_url(constellation, primary))
    constellation.ask(primary, "/v1/pause", {"duration": "10m", "reason": "of the old one"})
    timeline = page.locator("#timeline")
    expect(timeline).to_contain_text("of the old one")
    plan = constellation.local.manifest()
    constellation.local.down(seconds=5.0)
    constellation.local.up(
        Plan(nodes=3, profile="demo", base_port=plan.base_port, http_port=plan.http_port),
        fresh=True,
    )
    expect(timeline).not_to_contain_text("of the old one", timeout=30_000)
    expect(timeline).to_contain_text("PRIMARY: approved", timeout=30_000)
