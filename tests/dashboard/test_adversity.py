"""What a page lives through: long nights, hostile names, browsers that keep nothing, nodes that do
not answer, members that join, and people who change their mind."""

import asyncio
import re

import pytest
from playwright.sync_api import APIResponse, Browser, Page, Route, expect

from stationkeep.cluster.commands import AddMember, AssignRing, MemberSpec, Pause
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.transitions import Role
from tests.dashboard.conftest import Served
from tests.node.api.fake import FakeNode
from tests.node.api.fleet_story import register

HOSTILE = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>"
LONG = "W" * 400


def _fail_over(node: FakeNode) -> None:
    for _ in range(3):
        node.evaluate(sat_001=0.9)


def _move_about(node: FakeNode) -> None:
    """More decisions about one device than a page asks for at once."""
    register(node, "device-1")
    for n in range(150):
        node.commit(AssignRing("device-1", [Ring.DEV, Ring.PROD][n % 2]))


def test_a_night_of_ring_moves_does_not_hide_the_change_of_primary(
    page: Page, served: Served
) -> None:
    served.do(_fail_over)
    served.do(_move_about)
    page.goto(served.url)
    expect(page.locator("#headline .last")).to_contain_text("sat-001 had 3 unhealthy samples")
    timeline = page.locator("#timeline")
    expect(timeline).to_contain_text("device-1 pinned to")
    page.get_by_role("button", name="Roles").click()
    expect(timeline).to_contain_text("sat-001 had 3 unhealthy samples")
    expect(timeline).not_to_contain_text("device-1")


def test_what_was_decided_before_can_be_looked_up(page: Page, served: Served) -> None:
    served.do(_move_about)
    page.goto(served.url)
    page.get_by_role("button", name="Rings").click()
    for _ in range(7):
        page.get_by_role("button", name="Show earlier").click()
    expect(page.locator("#timeline .entry")).to_have_count(150)
    expect(page.get_by_role("button", name="Show earlier")).to_have_count(0)
    page.get_by_role("button", name="All", exact=True).click()
    expect(page.locator("#timeline .several")).to_have_count(1)
    page.get_by_role("button", name="Show earlier").click()
    expect(page.locator("#timeline")).to_contain_text("the cluster is founded")


def test_the_story_of_a_device_is_a_click_away_from_what_happened(
    page: Page, served: Served
) -> None:
    served.do(lambda node: register(node, "device-1"))
    served.do(lambda node: node.commit(AssignRing("device-1", Ring.PROD)))
    page.goto(served.url)
    page.locator("#timeline").get_by_role("button", name="device-1").click()
    expect(page.get_by_role("dialog")).to_contain_text("Why it is in this ring")


@pytest.mark.parametrize("width", [390, 1280])
def test_names_and_reasons_are_text_and_stay_on_the_page(
    browser: Browser, served: Served, width: int
) -> None:
    served.do(lambda node: register(node, "device-1", name=HOSTILE + LONG[:150]))
    for reason in (HOSTILE, LONG):
        served.do(lambda node, why=reason: node.commit(Pause(60_000), actor=why[:64], reason=why))
    page = browser.new_page(viewport={"width": width, "height": 844})
    page.goto(served.url)
    expect(page.locator("#timeline")).to_contain_text("<script>")
    expect(page.locator("#headline")).to_contain_text(LONG)
    fits = "element => element.scrollWidth <= element.clientWidth"
    assert page.locator("html").evaluate(fits)
    page.get_by_label("Id of a device").fill("device-1")
    page.keyboard.press("Enter")
    expect(page.locator("#detail dl").first).to_be_visible()
    assert page.locator("#detail").evaluate(fits)
    assert "owned" not in page.title()
    page.close()


def test_a_browser_that_keeps_nothing_shows_the_page_all_the_same(
    page: Page, served: Served
) -> None:
    page.add_init_script(
        "Object.defineProperty(window, 'localStorage', {get() { throw new Error('denied') }})"
    )
    page.goto(served.url)
    expect(page.locator("#headline h1")).to_contain_text("is PRIMARY")
    page.get_by_role("button", name="Theme: system").click()
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()


def test_the_title_of_a_tab_in_the_background_says_what_happens(page: Page, served: Served) -> None:
    page.goto(served.url)
    expect(page).to_have_title("sat-001 is PRIMARY and healthy – Stationkeep")
    page.evaluate("window.requestAnimationFrame = () => 0")  # as in a tab that is not shown
    served.do(_fail_over)
    successor = served.node.state.seat.holder
    expect(page).to_have_title(re.compile(f"{successor} is PRIMARY .* – Stationkeep"))


def test_a_primary_that_is_not_heard_is_said_to_be_that(page: Page, served: Served) -> None:
    page.goto(served.url)
    expect(page.locator("#headline .facts")).to_contain_text("all 3 nodes are heard")
    served.do(lambda node: node.evaluate(sat_001=None))
    expect(page.locator("#headline h1")).to_have_text("sat-001 is PRIMARY but not heard")
    expect(page.locator("#headline .facts")).to_contain_text("not heard: sat-001")
    expect(page.locator("[data-node=sat-001] .acts")).to_have_text("no report of what it does")


def test_what_goes_takes_the_focus_from_nobody(page: Page, served: Served) -> None:
    page.goto(served.url)
    focused = page.evaluate(
        """async () => {
          const { h, render } = await import("/dashboard/dom.js");
          const list = document.body.appendChild(document.createElement("ul"));
          const draw = (...keys) => render(list, keys.map((key) => h("button", { key }, key)));
          draw("proposed", "founded");
          list.lastChild.focus();
          draw("approved", "founded");
          return document.activeElement.textContent;
        }"""
    )
    assert focused == "founded"


def test_a_list_that_nobody_answered_is_asked_for_again(page: Page, served: Served) -> None:
    served.do(lambda node: register(node, "device-1", "device-2", "device-3", "device-4"))
    page.goto(served.url)
    expect(page.locator(".ring")).to_have_count(4)
    asked = []

    def fail_once(route: Route) -> None:
        asked.append(route.request.url)
        route.abort() if len(asked) == 1 else route.continue_()

    page.route("**/v1/devices?*", fail_once)
    page.get_by_role("button", name="dev", exact=True).click()
    expect(page.locator(".devices tbody tr")).to_have_count(1)


def test_an_order_that_was_left_alone_does_not_meddle_with_the_next(
    page: Page, served: Served
) -> None:
    page.goto(served.url)
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/v1/pause", hold)
    page.get_by_role("button", name="Pause …").click()
    order = page.locator("#order")
    order.get_by_role("button", name="Pause").click()
    expect(order.get_by_role("button", name="Being agreed …")).to_be_visible()
    order.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Switch over …").click()
    held[0].continue_()
    expect(page.locator("#notice")).to_have_text("Pause automatic changes: done.")
    expect(order).to_contain_text("Switch the PRIMARY over")


def lose_touch(node: FakeNode) -> None:
    """Of three, one is cut off; it hears sat-002 now and then, and sat-003 not at all."""
    node.consensus.has_quorum, node.consensus.leader = False, None
    node.stale = 95_000
    node.acting = {"sat-001": Role.SAFE_MODE, "sat-003": None}


def test_without_a_quorum_nothing_is_shown_that_is_not_known(page: Page, served: Served) -> None:
    page.goto(served.url)
    expect(page.locator("[data-node=sat-003] .health")).to_have_attribute("data-level", "good")
    expect(page.locator("[data-age]")).to_have_text("as of now")
    served.do(lose_touch)
    expect(page.locator("#headline h1")).to_have_text("The cluster has no quorum")
    expect(page.locator("#headline .needs")).to_contain_text("sat-001 does not hear sat-003")
    dead, heard = page.locator("[data-node=sat-003]"), page.locator("[data-node=sat-002]")
    expect(dead.locator(".health")).to_have_attribute("data-level", "bad")
    expect(dead.locator(".health")).to_contain_text("not heard")
    expect(heard.locator(".health")).to_have_attribute("data-level", "quiet")
    expect(heard.locator(".health")).to_contain_text("health not known")
    for node in (dead, heard):
        expect(node.locator(".risk")).to_have_text("risk 0.10 95 s ago")
    expect(page.locator("[data-age]")).to_have_text("as of 95 s ago")
    expect(page.locator("#headline .last")).to_contain_text("95 s ago")
    served.do(lambda node: setattr(node, "stale", 110_000))
    expect(page.locator("[data-age]")).to_have_text("as of 110 s ago")
    expect(page.locator("#headline .last")).to_contain_text("110 s ago")


def test_without_a_quorum_no_order_can_be_given_and_the_reason_is_seen(
    page: Page, served: Served
) -> None:
    served.do(lambda node: node.evaluate(sat_002=0.9, sat_003=0.9))  # an alarm
    page.goto(served.url)
    page.get_by_role("button", name="Pause …").click()
    submit = page.locator("#order").get_by_role("button", name="Pause")
    expect(submit).to_be_enabled()
    served.do(lose_touch)
    why = "Nothing can be changed without a quorum: sat-001 is in touch with 3 of 3"
    expect(submit).to_be_disabled()
    expect(page.locator("#order .barred")).to_contain_text(why)
    page.keyboard.press("Escape")
    expect(page.locator("#headline .barred")).to_contain_text(why)
    for name in ("Switch over …", "Pause …", "Acknowledge …"):
        button = page.get_by_role("button", name=name)
        expect(button).to_be_disabled()
        expect(button).to_have_attribute("title", re.compile(why))
    page.get_by_role("button", name="sat-002", exact=True).first.click()
    expect(page.locator("#detail").get_by_role("button", name="Maintenance …")).to_be_disabled()
    expect(page.locator("#detail .barred")).to_contain_text(why)


def test_while_nobody_answers_the_age_goes_on_and_nobody_is_well(
    page: Page, served: Served
) -> None:
    page.goto(served.url)
    expect(page.locator("[data-node=sat-002] .health")).to_contain_text("healthy")
    page.route("**/v1/**", lambda route: route.abort())
    expect(page.locator("#headline h1")).to_have_text("No node answers", timeout=20_000)
    health = page.locator("[data-node=sat-002] .health")
    expect(health).to_have_attribute("data-level", "quiet")
    expect(health).to_contain_text("not known")
    expect(page.get_by_role("button", name="Pause …")).to_be_disabled()
    expect(page.locator("#headline .barred")).to_have_text(
        "Nothing can be ordered: no node answers."
    )
    age = page.locator("[data-age]")
    expect(age).to_contain_text("s ago", timeout=20_000)
    first = age.inner_text()
    expect(age).not_to_have_text(first)
    expect(page.locator("#headline .but")).to_contain_text("s ago")


def test_an_order_that_hangs_is_given_up_soon(page: Page, served: Served) -> None:
    served.do(lambda node: setattr(node, "gate", asyncio.Event()))
    page.goto(served.url)
    page.get_by_role("button", name="Pause …").click()
    order = page.locator("#order")
    order.get_by_role("button", name="Pause").click()
    expect(order.get_by_role("button", name="Being agreed …")).to_be_disabled()
    expect(order.get_by_role("alert")).to_contain_text("No node confirmed it", timeout=9_000)
    expect(order.get_by_role("button", name="Pause")).to_be_enabled()


def test_an_order_of_unknown_outcome_is_repeated_under_its_key(page: Page, served: Served) -> None:
    page.goto(served.url)

    def lose_the_answer(route: Route) -> None:
        route.fetch()
        route.abort()

    page.route("**/v1/pause", lose_the_answer)
    page.get_by_role("button", name="Pause …").click()
    order = page.locator("#order")
    order.get_by_role("button", name="Pause").click()
    expect(order.get_by_role("alert")).to_contain_text("No node confirmed", timeout=20_000)
    page.unroute("**/v1/pause")
    order.get_by_role("button", name="Pause").click()
    expect(page.locator("#notice")).to_contain_text("done")
    assert [one.matter for one in served.node.state.decisions].count("pause") == 1


def test_what_came_of_an_order_is_seen_above_the_sheet(browser: Browser, served: Served) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(served.url)
    page.get_by_role("button", name="sat-002", exact=True).first.click()
    page.get_by_role("button", name="Maintenance …").click()
    page.locator("#order").get_by_role("button", name="Begin maintenance").click()
    notice = page.locator("#notice")
    expect(notice).to_contain_text("done")
    on_top = """element => {
      const { x, y, width, height } = element.getBoundingClientRect();
      return getComputedStyle(element).display !== "none" && element.matches(":popover-open")
        && x >= 0 && x + width <= innerWidth && y + height <= innerHeight;
    }"""
    assert notice.evaluate(on_top)
    page.close()


def test_for_a_member_that_joins_the_page_loads_anew_unless_somebody_works_with_it(
    page: Page, served: Served
) -> None:
    page.goto(served.url)
    expect(page.locator(".node")).to_have_count(3)
    page.evaluate("window.loaded = 'once'")
    page.get_by_role("button", name="Pause …").click()
    newcomer = MemberSpec("sat-009", "127.0.0.1:19", f"localhost:{served.port}")
    served.do(lambda node: node.commit(AddMember(newcomer)))
    expect(page.locator(".node")).to_have_count(4)
    assert page.evaluate("window.loaded") == "once"
    with page.expect_event("load"):
        page.keyboard.press("Escape")
    expect(page.locator(".node")).to_have_count(4)
    answered = f"fetch('http://localhost:{served.port}/v1/cluster').then(answer => answer.ok)"
    assert page.evaluate(answered)
    page.evaluate("window.loaded = 'twice'")
    served.do(lambda node: node.evaluate(sat_001=0.9))
    expect(page.locator("#headline h1")).to_contain_text("unhealthy")
    assert page.evaluate("window.loaded") == "twice"


def test_who_just_took_over_is_not_said_to_be_what_it_was(page: Page, served: Served) -> None:
    """The lists are of two instants: the one of the nodes may be older than that of the seat."""
    first: list[APIResponse] = []

    def answer_as_at_first(route: Route) -> None:
        if not first:
            first.append(route.fetch())
        route.fulfill(response=first[0])

    page.route("**/v1/nodes", answer_as_at_first)
    page.goto(served.url)
    expect(page.locator("#headline h1")).to_contain_text("sat-001 is PRIMARY and healthy")
    served.do(_fail_over)
    successor = served.node.state.seat.holder
    expect(page.locator("#headline h1")).to_contain_text(f"{successor} is PRIMARY and healthy")
