"""The past as pictures, what is under a node, and when something happens next."""

import re

from playwright.sync_api import Page, expect

from stationkeep.cluster.commands import AssignRing
from stationkeep.cluster.devices.rings import Ring
from tests.dashboard.axe import serious_violations
from tests.dashboard.conftest import Served
from tests.node.api.fake import FakeNode, link
from tests.node.api.fleet_story import register


def _story(node: FakeNode) -> None:
    """A fleet that grows, and a PRIMARY that fails in the middle of it."""
    for n in range(40):
        node.now += 20_000
        register(node, f"device-{n}")
        node.evaluate(sat_001=0.9 if 20 <= n < 23 else 0.1, sat_003=None if n == 38 else 0.2)


def test_who_was_what_and_how_the_rings_grew_is_seen_over_time(page: Page, served: Served) -> None:
    served.do(_story)
    served.node.linked = [
        link("sat-002", sent=400, heard=360),
        link("sat-003", sent=0, heard=0, connected=False, since_s=61.0),
    ]
    page.goto(f"{served.url}#/time")
    first = page.locator("[data-lane=sat-001] svg")
    expect(first).to_have_attribute(
        "aria-label",
        re.compile("PRIMARY since .*, BACKUP since .*; highest risk of [0-9]+ samples"),
    )
    expect(first.locator("rect.primary title")).to_have_text(re.compile("PRIMARY .epoch 1. since"))
    expect(page.locator("[data-lane=sat-002] rect.primary title")).to_contain_text("epoch 2")
    expect(page.locator("[data-lane=canary] svg")).to_have_attribute(
        "aria-label", re.compile(r"^canary: \d at first, \d to \d+, \d+ now$")
    )
    moved = page.locator("[data-lane=prod] .quiet")
    before = int(moved.inner_text())
    served.do(lambda node: node.commit(AssignRing("device-0", Ring.DEV)))
    served.do(lambda node: node.commit(AssignRing("device-1", Ring.PROD)))
    served.do(lambda node: node.commit(AssignRing("device-0", Ring.PROD)))
    prod = served.node.state.fleet.counts()[Ring.PROD].total
    expect(moved).to_have_text(str(prod))
    assert prod != before
    hears = page.locator("[data-hears=sat-001] td")
    expect(hears.nth(1)).to_contain_text("10 % lost")
    expect(hears.nth(2)).to_contain_text(re.compile("down for 61 s"))
    expect(page.locator("[data-hears=sat-002]")).to_contain_text("It does not answer")
    assert serious_violations(page) == []
    page.get_by_role("button", name="10 minutes").click()
    expect(page).to_have_url(re.compile(r"#/time\?span=10m$"))
    page.get_by_role("button", name="sat-003").click()
    expect(page.get_by_role("dialog")).to_contain_text("Why it is what it is")


def test_a_node_says_what_is_under_it_and_when_something_comes(page: Page, served: Served) -> None:
    served.do(lambda node: [node.evaluate() for _ in range(11)])
    served.do(lambda node: node.evaluate(sat_001=0.9))
    served.do(lambda node: register(node, "device-1"))
    page.goto(f"{served.url}#/?open=node/sat-001")
    sheet = page.locator("#detail")
    expect(sheet).to_contain_text("With 2 more bad samples it is replaced: in 2 s at the earliest.")
    for fact in ("up for61 min", "disk free16.0 GB of 64.0 GB", "log onstandard error"):
        expect(sheet).to_contain_text(fact)
    served.do(lambda node: [node.evaluate(sat_003=0.9) for _ in range(2)])
    page.goto(f"{served.url}#/?open=node/sat-003")
    expect(sheet).to_contain_text("It returns when it has been well for 3.0 s.")
    expect(sheet).to_contain_text("Its role may change by itself again in 10 s.")
    served.do(lambda node: node.evaluate())
    expect(sheet).to_contain_text("It returns in 3 s, if it stays well.")
    page.goto(f"{served.url}#/?open=device/device-1")
    expect(sheet).to_contain_text("the next check of the rings is soon")
