"""Orders where they are needed: what each would do, how to undo it, and who cannot be told."""

import re

from playwright.sync_api import Browser, Page, expect

from stationkeep.cluster.commands import Pause
from tests.dashboard.axe import serious_violations
from tests.dashboard.conftest import Served
from tests.dashboard.test_page import PHONE
from tests.node.api.fake import FakeNode
from tests.node.api.fleet_story import check, register, report


def _cool(node: FakeNode) -> None:
    """Lets everybody's cool-down pass."""
    for _ in range(12):
        node.evaluate()


def test_the_seat_is_offered_to_those_alone_who_could_take_it(page: Page, served: Served) -> None:
    served.do(_cool)
    served.do(lambda node: node.evaluate(sat_002=0.9))
    page.goto(f"{served.url}#/?open=node/sat-002")
    to_it = page.get_by_role("button", name="Switch over to it …")
    expect(to_it).to_be_disabled()
    expect(to_it).to_have_attribute("title", "It could not be PRIMARY: it is unhealthy.")
    page.goto(f"{served.url}#/?open=node/sat-003")
    to_it.click()
    order = page.locator("#order")
    expect(order.get_by_label("New PRIMARY")).to_have_value("sat-003")
    expect(order.locator("option[value=sat-002]")).to_be_disabled()
    expect(order.locator("option[value=sat-002]")).to_have_text("sat-002 (BACKUP: it is unhealthy)")
    expect(order).to_contain_text("To undo it: Switch over to sat-001 again")
    order.get_by_role("button", name="Switch over").click()
    expect(page.locator("#notice")).to_contain_text("done")
    assert served.node.state.seat.holder == "sat-003"
    page.get_by_role("button", name="Priority …").click()
    expect(order).to_contain_text("It has 100, the others: sat-001 100, sat-002 100")
    order.get_by_label("Priority, 0").fill("7")
    order.get_by_role("button", name="Set").click()
    expect(page.locator("#notice")).to_have_text("Priority of sat-003: done.")
    assert served.node.state.members["sat-003"].priority == 7


def test_a_primary_that_is_not_heard_is_replaced_by_hand(page: Page, served: Served) -> None:
    served.do(_cool)
    page.goto(served.url)
    expect(page.locator("#link")).to_contain_text("live")
    expect(page.get_by_role("button", name="Fail over …")).to_have_count(0)
    served.do(lambda node: node.evaluate(sat_001=None, sat_002=0.9))
    expect(page.get_by_role("button", name="Switch over …")).to_have_attribute(
        "title", "sat-001 is not heard: fail over instead."
    )
    page.get_by_role("button", name="Fail over …").click()
    order = page.locator("#order")
    expect(order).to_contain_text("when the lease of sat-001 is certainly over")
    target = order.get_by_label("New PRIMARY")
    expect(target).to_have_value("sat-003")
    expect(order.locator("option[value=sat-002]")).to_be_disabled()
    order.get_by_label("Also one that is unfit").check()
    target.select_option("sat-002")
    order.get_by_label("Reason").fill("it has the newest firmware")
    order.get_by_role("button", name="Fail over").click()
    expect(page.locator("#notice")).to_contain_text("done")
    assert served.node.state.seat.holder == "sat-002"


def test_what_rules_the_rings_is_changed_knowing_what_comes_of_it(
    page: Page, served: Served
) -> None:
    served.do(lambda node: register(node, *(f"device-{n:02}" for n in range(40))))
    served.do(lambda node: register(node, "sick-1", "sick-2", ill=True, labels={"site": "lab"}))
    served.do(lambda node: setattr(node, "now", node.now + 3_600_000))
    page.goto(served.url)
    page.get_by_text("Rules of the rings").click()
    order, notice = page.locator("#order"), page.locator("#notice")
    page.get_by_role("button", name="Shares …").click()
    order.get_by_label("Share of prod").fill("0")
    expect(order.locator(".foreseen")).to_contain_text(re.compile("from prod to"))
    expect(order).to_contain_text("Set them to what they are now: canary 25 %")
    assert serious_violations(page) == []
    order.get_by_role("button", name="Set").click()
    expect(notice).to_contain_text("Shares of the rings: done.")
    assert served.node.state.fleet.shares.weights == (1, 1, 1, 0)
    page.get_by_role("button", name="Health rule …").click()
    rule = order.get_by_label("A device is healthy when")
    rule.fill("cpu < 10")
    expect(order.locator(".foreseen")).to_contain_text(
        "40 devices of 42 online would become unhealthy"
    )
    rule.fill("cpu <")
    expect(order.locator(".foreseen")).to_contain_text("could not be asked: rule")
    rule.fill("cpu < 99")
    order.get_by_role("button", name="Set").click()
    expect(notice).to_contain_text("Health rule: done.")
    page.get_by_role("button", name="Policies …").click()
    policies = order.get_by_label("All policies")
    policies.fill("[{")
    order.get_by_role("button", name="Set").click()
    expect(order.get_by_role("alert")).to_contain_text("The policies are no JSON")
    policies.fill('[{"name": "lab", "selector": "site=lab", "rings": ["dev"]}]')
    expect(order.locator(".foreseen")).to_contain_text("lab: 2 devices")
    order.get_by_role("button", name="Set").click()
    expect(notice).to_contain_text("Ring policies: done.")
    assert [policy.name for policy in served.node.state.fleet.policies] == ["lab"]
    page.get_by_role("button", name="Check now …").click()
    expect(order.locator(".foreseen")).to_contain_text(re.compile("to dev: "))
    order.get_by_role("button", name="Check now").click()
    expect(notice).to_contain_text("Check the rings now: done.")


def test_the_brake_is_released_where_it_is_seen(page: Page, served: Served) -> None:
    ids = [f"device-{n:02}" for n in range(20)]
    served.do(lambda node: register(node, *ids))
    served.do(check)
    served.do(lambda node: report(node, *ids[:15], ill=True, times=6))
    served.do(check)
    assert served.node.state.fleet.braked
    page.goto(served.url)
    page.get_by_text("Rules of the rings").click()
    order = page.locator("#order")
    page.get_by_role("button", name="Check now …").click()
    expect(order.locator(".foreseen")).to_contain_text("The storm brake holds every move back")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Release brake …").click()
    expect(order).to_contain_text("15 devices of 20 online count as unhealthy")
    order.get_by_role("button", name="Release").click()
    expect(page.locator("#notice")).to_contain_text("done")
    assert not served.node.state.fleet.braked


def test_alarms_of_one_name_are_told_and_acknowledged_together(page: Page, served: Served) -> None:
    served.do(lambda node: [node.evaluate(sat_002=None, sat_003=None) for _ in range(6)])
    page.goto(served.url)
    alarm = page.locator(".alarm", has_text="member unreachable")
    expect(alarm).to_have_count(1)
    expect(alarm).to_contain_text("of 2 nodes: sat-002, sat-003")
    expect(alarm).to_contain_text("A member was not heard for heartbeat_timeout.")
    expect(page.locator(".alarm").first).to_have_class(re.compile("warn"))
    alarm.get_by_text("Each of them").click()
    raised = alarm.locator("[data-alarm='member_unreachable@sat-003'] .quiet")
    expect(raised).to_have_attribute("title", re.compile("1970"))
    alarm.get_by_role("button", name="Acknowledge …").click()
    page.get_by_label("Reason").fill("their rack is being moved")
    page.locator("#order").get_by_role("button", name="Acknowledge").click()
    expect(alarm).to_contain_text("seen by anonymous@127.0.0.1: their rack is being moved")
    assert all(one.acknowledged for one in served.node.state.alarms.values() if one.subject)


SMALL = """() => [...document.querySelectorAll("a, button, input, select, summary, textarea")]
  .filter((one) => one.checkVisibility())
  .filter((one) => !one.matches(".inline, .cover, .skip, p a, .sentence *, .long *, th a"))
  .map((one) => [one.closest("label.check") ?? one, one.textContent])
  .filter(([one]) => one.getBoundingClientRect().height < 43.5)
  .map(([one, said]) => `${one.tagName} ${one.className}: ${said}`)"""


def _await(page: Page, place: str) -> None:
    """Waits for what is asked for first there."""
    shown = {"": "#nodes .node", "devices": ".devices tbody tr", "decisions": "#view .entry"}
    found = shown.get(place.partition("?")[0] if "open" not in place else "?", "#detail h3")
    expect(page.locator(found).first).to_be_visible()


def test_on_a_phone_the_primary_comes_first_and_everything_can_be_touched(
    browser: Browser, served: Served
) -> None:
    long = "the rack of the north hall is being moved, " * 9
    served.do(lambda node: register(node, *(f"device-{n}" for n in range(12)), name="W" * 100))
    served.do(_cool)
    served.do(lambda node: [node.evaluate(sat_001=0.9) for _ in range(3)])
    served.do(lambda node: node.commit(Pause(60_000), actor="ann", reason=long))
    page = browser.new_page(viewport=PHONE)  # type: ignore[arg-type]
    page.goto(served.url)
    expect(page.locator(".ring")).to_have_count(4)
    tops = {
        card.get_attribute("data-role"): (card.bounding_box() or {"y": 0})["y"]
        for card in page.locator("#nodes .node").all()
    }
    assert min(tops, key=lambda role: tops[role]) == "PRIMARY"
    needs = page.locator("#headline .long")
    expect(needs.locator("summary")).to_contain_text("all of it")
    folded = needs.bounding_box()
    needs.locator("summary").click()
    unfolded = needs.bounding_box()
    assert folded is not None
    assert unfolded is not None
    assert unfolded["height"] > folded["height"] + 100
    for place in ("", "devices", "decisions", "?open=node/sat-002"):
        page.goto(f"{served.url}#/{place}")
        _await(page, place)
        assert page.evaluate(SMALL) == []
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    page.close()


def test_no_width_cuts_anything_off(page: Page, served: Served) -> None:
    name = "W" * 120
    served.do(lambda node: register(node, name, name="M" * 100, labels={"site": "x" * 90}))
    served.do(lambda node: node.evaluate(sat_002=None))
    for place in ("", "devices?columns=name,kind,os,served", "decisions", f"?open=device/{name}"):
        page.goto(f"{served.url}#/{place}")
        _await(page, place)
        for width in (390, 560, 860, 1440):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") == width


def test_what_a_sheet_says_can_be_copied(browser: Browser, served: Served) -> None:
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto(f"{served.url}#/?open=node/sat-002")
    expect(page.locator("#detail")).to_contain_text("Why it is not PRIMARY")
    page.get_by_role("button", name="Copy").click()
    expect(page.locator("#notice")).to_contain_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()").splitlines()
    assert copied[:2] == [f"{served.url}#/?open=node/sat-002", "sat-002"]
    assert "sat-001 holds the seat (epoch 1)" in copied
    context.close()
