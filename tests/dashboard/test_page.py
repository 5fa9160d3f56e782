"""What one sees, and what one may do, on the page of a node."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from stationkeep.cluster.commands import AssignRing, Pause, ReleaseRing
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.transitions import Role
from tests.dashboard.axe import serious_violations
from tests.dashboard.conftest import FOREIGN, Served
from tests.node.api.fake import FakeNode, link
from tests.node.api.fleet_story import register

PHONE = {"width": 390, "height": 844}


def _headline(page: Page) -> Any:
    return expect(page.locator("#headline h1"))


def _ill(node: FakeNode) -> None:
    node.evaluate(sat_001=0.9)


def test_it_says_who_is_primary_how_it_is_and_how_the_fleet_is_spread(
    page: Page, served: Served
) -> None:
    served.do(lambda node: register(node, *(f"device-{n}" for n in range(12))))
    served.do(lambda node: register(node, "device-ill", ill=True))
    page.goto(served.url)
    _headline(page).to_have_text("sat-001 is PRIMARY and healthy")
    assert page.title() == "sat-001 is PRIMARY and healthy – Stationkeep"
    roles = page.locator("#nodes .node").evaluate_all(
        "cards => cards.map(card => [card.dataset.node, card.dataset.role])"
    )
    assert dict(roles) == {m.id: m.role.value for m in served.node.state.members.values()}
    expect(page.locator("#fleet .total")).to_contain_text("13 devices")
    expect(page.locator("#fleet .total")).to_contain_text("1 unhealthy")
    fleet = served.node.state.fleet
    quotas = fleet.quota_by_ring()
    for ring, count in fleet.counts().items():
        row = page.locator(f"[data-ring={ring.value}] .count")
        expect(row).to_have_text(f"{count.total} · quota {quotas[ring]}")


def test_what_happens_shows_without_being_asked_for(page: Page, served: Served) -> None:
    page.goto(served.url)
    expect(page.locator("#link")).to_contain_text("live from sat-001")
    served.do(_ill)
    _headline(page).to_contain_text("sat-001 is PRIMARY but unhealthy")
    expect(page.locator("#headline .needs")).to_contain_text("1 of the 3 bad samples in a row")
    for _ in range(2):
        served.do(_ill)
    successor = served.node.state.seat.holder
    assert successor != "sat-001"
    _headline(page).to_contain_text(f"{successor} is PRIMARY")
    expect(page.locator("#headline .last")).to_contain_text("sat-001 had 3 unhealthy samples")
    expect(page.locator(f"[data-node={successor}] .role")).to_contain_text("PRIMARY epoch 2")
    vote = page.locator(".proposal").first
    vote.locator("summary").click()
    expect(vote.locator(".vote.yes").first).to_contain_text("approves: observations agree")


def test_without_a_stream_it_asks_again_and_again(page: Page, served: Served) -> None:
    served.node.max_followers = 0
    page.goto(served.url)
    expect(page.locator("#link")).to_contain_text("asking sat-001 each second")
    for _ in range(3):
        served.do(_ill)
    expect(page.locator("#timeline")).to_contain_text("sat-001 had 3 unhealthy samples")


def test_a_node_tells_its_story(page: Page, served: Served) -> None:
    page.goto(served.url)
    page.get_by_role("button", name="sat-002", exact=True).first.click()
    sheet = page.get_by_role("dialog")
    expect(sheet).to_contain_text("Why it is not PRIMARY")
    expect(sheet).to_contain_text("sat-001 holds the seat (epoch 1)")
    page.keyboard.press("Escape")
    expect(sheet).to_have_count(0)


def test_a_node_says_what_it_misses_of_the_others(page: Page, served: Served) -> None:
    served.node.linked = [
        link("sat-002", sent=400, heard=396, longest_silence_s=1.04),
        link("sat-003", sent=400, heard=320, longest_silence_s=2.5, in_doubt=True),
        link("sat-004", sent=100, heard=60, stalled=True),
        link("sat-005", sent=0, heard=0, longest_silence_s=60.0),
        link("sat-006", sent=0, heard=0, connected=False),
    ]
    page.goto(served.url)
    page.get_by_role("button", name="sat-001", exact=True).first.click()
    rows = page.locator(".losses tbody tr")
    told = [
        ("good", ["sat-002", "1 %", "1.0 s"]),
        ("warn", ["sat-003", "20 %", "2.5 s", "in doubt"]),
        ("bad", ["sat-004", "40 %", "its stream is stalled"]),
        ("bad", ["sat-005", "100 %", "no datagrams (UDP blocked?)"]),
        ("bad", ["sat-006", "?", "down"]),
    ]
    expect(rows).to_have_count(len(told))
    for number, (level, words) in enumerate(told):
        expect(rows.nth(number)).to_have_attribute("data-level", level)
        for word in words:
            expect(rows.nth(number)).to_contain_text(word)
    served.do(lambda node: setattr(node, "linked", [link("sat-002", sent=400, heard=100)]))
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("75 %")


def test_the_node_in_use_is_asked_under_the_name_that_the_page_knows(
    page: Page, served: Served
) -> None:
    page.goto(served.url.replace("127.0.0.1", "localhost"))
    page.get_by_role("button", name="sat-001", exact=True).first.click()
    expect(page.locator(".losses tbody tr")).to_have_count(2)


def test_what_a_node_misses_nobody_else_can_say(page: Page, served: Served) -> None:
    page.goto(served.url)
    page.get_by_role("button", name="sat-002", exact=True).first.click()
    sheet = page.get_by_role("dialog")
    expect(sheet).to_contain_text("It does not answer, and nobody else knows.")
    expect(sheet).to_contain_text("Why it is not PRIMARY")


def test_a_ring_lists_its_devices_and_a_device_says_why_it_is_there(
    page: Page, served: Served
) -> None:
    served.do(lambda node: register(node, *(f"device-{n:03}" for n in range(240))))
    page.goto(served.url)
    page.get_by_role("button", name="dev", exact=True).click()
    devices = page.locator(".devices tbody tr")
    expect(devices).to_have_count(50)
    page.get_by_role("button", name="More devices").click()
    expect(devices).to_have_count(60)
    devices.first.get_by_role("link").click()
    expect(page.get_by_role("dialog")).to_contain_text("Why it is in this ring")
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Overview").click()
    page.get_by_label("Id of a device").fill("nobody")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("no such device: 'nobody'")


def test_an_order_is_confirmed_carried_out_and_remembered(page: Page, served: Served) -> None:
    page.goto(served.url)
    page.get_by_role("button", name="Pause …").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("a PRIMARY that fails is NOT replaced")
    dialog.get_by_role("button", name="Cancel").click()
    assert served.node.state.pause is None
    page.get_by_role("button", name="Pause …").click()
    dialog.get_by_label("For").select_option("1 hour")
    dialog.get_by_label("Reason").fill("new batteries")
    dialog.get_by_role("button", name="Pause").click()
    expect(page.locator("#notice")).to_have_text("Pause automatic changes: done.")
    assert served.node.state.pause is not None
    assert served.node.state.pause.reason == "new batteries"
    expect(page.locator("#headline")).to_contain_text("automatic changes pause for 60 min")
    expect(page.get_by_role("button", name="Resume …")).to_be_visible()


MATTERS: dict[str, tuple[Callable[[FakeNode], object], str, str]] = {
    "a pause": (
        lambda node: node.commit(Pause(60_000), actor="ann"), "warn", "automatic changes pause",
    ),
    "a dead member": (
        lambda node: [node.evaluate(sat_003=None) for _ in range(5)], "warn", "sat-003",
    ),
    "sick devices": (
        lambda node: [register(node, *(f"ill-{n}" for n in range(9)), ill=True)],
        "warn", "9 of 9 devices online are unhealthy",
    ),
    "an unhealthy PRIMARY": (lambda node: node.evaluate(sat_001=0.9), "warn", "1 of the 3 bad"),
    "a late webhook": (
        lambda node: node.late.update(pager=95_000), "warn", "webhook pager has not taken",
    ),
    "a fenced PRIMARY": (
        lambda node: node.acting.update({"sat-001": Role.SAFE_MODE}), "bad", "is fenced",
    ),
}  # fmt: skip


@pytest.mark.parametrize("matter", MATTERS)
def test_the_headline_is_green_only_while_nothing_needs_anyone(
    page: Page, served: Served, matter: str
) -> None:
    """The rule is `cluster.verdict`'s; here is seen that the page follows it."""
    happen, level, needed = MATTERS[matter]
    page.goto(served.url)
    headline = page.locator("#headline h1")
    expect(headline).to_have_attribute("data-level", "good")
    expect(page.locator("#headline .but")).to_have_text("nothing needs anyone")
    served.do(happen)
    expect(headline).to_have_attribute("data-level", level)
    expect(page.locator("main")).to_contain_text(needed)
    expect(page.locator("#headline .but")).to_have_count(0)


def test_an_alarm_shows_is_acknowledged_and_goes(page: Page, served: Served) -> None:
    served.do(lambda node: register(node, "device-ill", ill=True))
    page.goto(served.url)
    expect(page.locator(".ring")).to_have_count(4)
    alarm = page.locator("[data-alarm=pinned_unhealthy]")
    expect(alarm).to_have_count(0)
    served.do(lambda node: node.commit(AssignRing("device-ill", Ring.PROD)))
    expect(alarm).to_contain_text("warning: pinned unhealthy")
    guide = alarm.get_by_role("link", name="what to do")
    expect(guide).to_have_attribute("href", re.compile("/guide/alarms#pinned-unhealthy$"))
    alarm.get_by_role("button", name="Acknowledge …").click()
    page.get_by_label("Reason").fill("its battery is on its way")
    page.locator("#order").get_by_role("button", name="Acknowledge").click()
    expect(alarm).to_contain_text("seen by anonymous@127.0.0.1: its battery is on its way")
    served.do(lambda node: node.commit(ReleaseRing("device-ill")))
    expect(alarm).to_have_count(0)


def test_a_refusal_says_why_and_changes_nothing(page: Page, served: Served) -> None:
    page.goto(served.url)
    page.get_by_role("button", name="Switch over …").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("New PRIMARY").select_option("sat-002")
    served.do(lambda node: node.evaluate(sat_002=0.9))
    dialog.get_by_role("button", name="Switch over").click()
    expect(dialog.get_by_role("alert")).to_contain_text("sat-002")
    assert served.node.state.seat.holder == "sat-001"


def test_a_device_is_assigned_and_released(page: Page, served: Served) -> None:
    served.do(lambda node: register(node, "device-1"))
    page.goto(served.url)
    page.get_by_label("Id of a device").fill("device-1")
    page.get_by_role("button", name="Find").click()
    page.get_by_role("button", name="Assign ring …").click()
    order = page.locator("#order")
    order.get_by_label("Ring").select_option("prod")
    order.get_by_role("button", name="Assign").click()
    expect(page.locator("#detail")).to_contain_text("ring prod")
    page.get_by_role("button", name="Release …").click()
    order.get_by_role("button", name="Release").click()
    expect(page.get_by_role("button", name="Release …")).to_have_count(0)
    assert served.node.state.fleet.device(0).pinned is None


def test_who_may_only_look_is_told_so_and_cannot_order(browser: Browser, served: Served) -> None:
    page = browser.new_page()
    page.goto(f"http://{FOREIGN}:{served.port}/")
    _headline(page).to_have_text("sat-001 is PRIMARY and healthy")
    for order in ("Switch over …", "Pause …"):
        expect(page.get_by_role("button", name=order)).to_be_disabled()
    expect(page.locator("#headline")).to_contain_text("You may look only.")
    status = page.evaluate("fetch('/v1/pause', {method: 'POST'}).then(answer => answer.status)")
    assert status == 403
    page.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("opened", ["", "sat-001", "Pause …"])
def test_nothing_seriously_keeps_anybody_out(
    page: Page, served: Served, theme: Any, opened: str
) -> None:
    served.do(lambda node: register(node, "device-ill", *(f"device-{n}" for n in range(12))))
    served.do(lambda node: node.evaluate(sat_001=0.9, sat_003=None))
    page.emulate_media(color_scheme=theme)
    page.goto(served.url)
    expect(page.locator(".ring")).to_have_count(4)
    if opened:
        page.get_by_role("button", name=opened, exact=True).first.click()
        expect(page.get_by_role("dialog").get_by_role("button").nth(1)).to_be_visible()
    assert serious_violations(page) == []


def test_everything_is_there_on_a_phone(browser: Browser, served: Served) -> None:
    served.do(lambda node: register(node, *(f"device-{n}" for n in range(12))))
    page = browser.new_page(viewport=PHONE)  # type: ignore[arg-type]
    page.goto(served.url)
    expect(page.locator(".ring")).to_have_count(4)
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide == PHONE["width"]
    said = page.locator("#headline h1").bounding_box()
    assert said is not None
    assert said["y"] + said["height"] < PHONE["height"] / 2
    page.get_by_role("button", name="sat-002", exact=True).first.click()
    sheet = page.locator("#detail").bounding_box()
    assert sheet is not None
    assert sheet["width"] <= PHONE["width"]
    page.close()


def test_it_can_be_used_without_a_mouse(page: Page, served: Served) -> None:
    page.goto(served.url)
    expect(page.locator(".node")).to_have_count(3)
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    card = page.get_by_role("button", name="sat-001", exact=True).first
    expect(card).to_be_focused()
    served.do(_ill)  # what is drawn anew must not lose the place
    expect(page.locator("[data-node=sat-001] .health")).to_contain_text("unhealthy")
    expect(card).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("Why it is what it is")
    page.keyboard.press("Escape")
    expect(card).to_be_focused()


def test_light_and_dark_are_remembered(page: Page, served: Served) -> None:
    page.goto(served.url)
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Theme: system").click()
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    assert page.evaluate(ground) == dark
