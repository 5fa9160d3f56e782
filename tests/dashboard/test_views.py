"""The views of everything: devices and decisions, found, put in order, kept as a URL or a file, and
ordered about many at a time."""

import re
from pathlib import Path

from playwright.sync_api import Page, Route, expect

from stationkeep.cluster.commands import AssignRing
from stationkeep.cluster.devices.rings import Ring
from stationkeep.node.guide.pages import find
from tests.dashboard.axe import serious_violations
from tests.dashboard.conftest import Served
from tests.node.api.fake import FakeNode
from tests.node.api.fleet_story import check, register

PIXEL, GALAXY = {"model": "Pixel 8"}, {"model": "Galaxy"}


def _fleet(node: FakeNode) -> None:
    """Of two models, some of which are ill."""
    register(node, *(f"pixel-{n:02}" for n in range(60)), capabilities=PIXEL)
    register(node, *(f"pixel-ill-{n}" for n in range(6)), ill=True, capabilities=PIXEL)
    register(node, "galaxy-ill", ill=True, capabilities=GALAXY, name="=HYPERLINK(1); =2;3")


def _ids(page: Page) -> list[str]:
    return page.locator(".devices tbody th").all_inner_texts()


def test_a_place_has_a_url_and_back_leads_to_the_one_before(page: Page, served: Served) -> None:
    served.do(_fleet)
    page.goto(served.url)
    page.get_by_role("button", name="Roles").click()
    page.get_by_role("button", name="sat-002", exact=True).first.click()
    expect(page).to_have_url(re.compile(r"#/\?about=roles&open=node%2Fsat-002$"))
    page.go_back()
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("link", name="Devices", exact=True).click()
    page.locator("[name=state]").select_option("unhealthy")
    page.get_by_role("link", name="galaxy-ill").click()
    expect(page.locator("#detail h2")).to_have_text("galaxy-ill")
    there = page.url
    page.keyboard.press("Escape")
    expect(page).to_have_url(re.compile(r"#/devices\?state=unhealthy$"))
    page.goto("about:blank")
    page.goto(there)
    expect(page.locator("#detail h2")).to_have_text("galaxy-ill")
    page.keyboard.press("Escape")
    expect(page.locator("[name=state]")).to_have_value("unhealthy")
    expect(page.locator(".devices tbody tr")).to_have_count(7)
    page.locator("[name=state]").select_option("offline")
    expect(page.locator("#view")).to_contain_text("No device is like that.")
    page.go_back()
    expect(page.locator("[name=state]")).to_have_value("unhealthy")
    expect(page.locator(".devices tbody tr")).to_have_count(7)


NONE = (
    "nowhere?open=node/nobody",
    "__proto__?open=toString/x",
    "devices?selector=%3D&sort=name&ring=moon",
    "devices?state=__proto__&columns=constructor,battery&text=%00%FF",
    "decisions?about=<script>&from=never&until=-1",
    "?open=device/../../me",
)


def test_a_place_that_is_none_is_said_to_be_that_and_breaks_nothing(
    page: Page, served: Served
) -> None:
    for place in NONE:
        page.goto(f"{served.url}#/{place}")
        said = page.locator("[role=alert], #overview:not([hidden]) h1, #view .quiet").first
        expect(said).not_to_be_empty()
        if "open=node/" in place or "open=device/" in place:
            expect(page.locator("#detail")).to_be_visible()
            page.keyboard.press("Escape")
            expect(page.locator("#detail")).to_be_hidden()
    page.get_by_role("link", name="Overview").click()
    expect(page.locator("#headline h1")).to_contain_text("is PRIMARY")


def test_the_addresses_that_the_guide_has_lead_where_it_says(page: Page, served: Served) -> None:
    served.do(_fleet)
    addresses = re.findall(r"^\| `/(#/[^`]*)` \| (.*) \|$", find("start").text, re.MULTILINE)
    shown = {
        "the overview": "#headline h1",
        "devices": "[data-device=pixel-ill-0]",
        "decisions": "#view .quiet, #view .entry",
        "roles": "[data-lane=sat-001]",
        "one node": "#detail .why",
    }
    assert len(addresses) == len(shown)
    for address, says in addresses:
        (what,) = (found for begin, found in shown.items() if says.startswith(begin))
        page.goto(served.url + address)
        expect(page.locator(what).first).to_be_visible()


def test_devices_are_searched_put_in_order_and_kept_as_a_file(
    page: Page, served: Served, tmp_path: Path
) -> None:
    served.do(_fleet)
    page.goto(f"{served.url}#/devices")
    expect(page.locator(".devices tbody tr")).to_have_count(50)
    page.get_by_label("Id or name").fill("ILL")
    page.keyboard.press("Enter")
    expect(page.locator(".devices tbody tr")).to_have_count(7)
    page.get_by_label("Selector").fill("model=Galaxy")
    page.keyboard.press("Enter")
    expect(page.locator(".devices tbody tr")).to_have_count(1)
    page.get_by_label("Selector").fill("model=")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("character 7: a value is expected")
    page.get_by_label("Selector").fill("")
    page.get_by_label("Id or name").fill("")
    page.get_by_label("Order").select_option("CPU, highest first")
    expect(page.locator(".devices tbody tr")).to_have_count(50)
    assert _ids(page)[:8][-2:] == ["galaxy-ill", "pixel-00"]
    page.get_by_text("Columns").click()
    page.get_by_label("Name", exact=True).check()
    expect(page.locator(".devices thead")).to_contain_text("Name")
    page.get_by_role("button", name="Battery").click()
    expect(page.locator("[aria-sort=ascending]")).to_have_text("Battery ▴")
    assert serious_violations(page) == []
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as CSV").click()
    download.value.save_as(tmp_path / "devices.csv")
    lines = (tmp_path / "devices.csv").read_text("utf-8-sig").splitlines()
    assert lines[0].startswith("id,Name,Ring,Health")
    assert len(lines) == 1 + 67
    assert "galaxy-ill,'=HYPERLINK(1); '=2;3," in "\n".join(lines)


def test_the_ill_devices_of_a_model_are_moved_together(page: Page, served: Served) -> None:
    served.do(_fleet)
    page.goto(f"{served.url}#/devices?selector=model%3DPixel+8&state=unhealthy")
    expect(page.locator(".devices tbody tr")).to_have_count(6)
    assign = page.get_by_role("button", name="Assign ring …")
    expect(assign).to_be_disabled()
    page.get_by_label("Choose all that are shown").check()
    expect(page.get_by_label("Choose pixel-ill-5")).to_be_checked()  # the next picture shows it
    page.get_by_label("Choose pixel-ill-5").uncheck()
    expect(page.get_by_text("5 devices chosen")).to_be_visible()
    assign.click()
    order = page.locator("#order")
    expect(order).to_contain_text("pixel-ill-0, pixel-ill-1, pixel-ill-2 and 2 more")
    expect(order).to_contain_text("To undo it: Release")
    order.get_by_label("Ring").select_option("dev")

    def lose_the_first(route: Route) -> None:
        page.unroute("**/pixel-ill-0/ring")
        route.fetch()
        route.abort()

    page.route("**/pixel-ill-0/ring", lose_the_first)
    page.route(
        "**/pixel-ill-1/ring", lambda route: route.fulfill(status=404, json={"detail": "gone"})
    )
    order.get_by_role("button", name="Assign").click()
    done = "Assign 5 devices: 4 of 5 done; 1 refused, such as pixel-ill-1: gone."
    expect(page.locator("#notice")).to_have_text(done)
    fleet = served.node.state.fleet
    moved = [fleet.device(row) for row in fleet.pins]
    assert {(device.id, device.ring) for device in moved} == {
        (f"pixel-ill-{n}", Ring.DEV) for n in (0, 2, 3, 4)
    }
    assert len([one for one in served.node.state.decisions if one.matter == "assign_ring"]) == 4
    expect(page.locator(".devices tbody")).to_contain_text("dev, pinned")
    page.get_by_role("button", name="Choose all that match").click()
    page.get_by_role("button", name="Release …").click()
    order.get_by_role("button", name="Release").click()
    expect(page.locator("#notice")).to_have_text("Release 4 devices: 4 of 4 done.")
    assert not fleet.pins


def test_many_orders_go_on_when_a_node_says_that_they_came_too_fast(
    page: Page, served: Served
) -> None:
    """A token may give 500 at once, and then 50 a second; people choose a thousand devices."""
    served.do(_fleet)
    page.goto(f"{served.url}#/devices?selector=model%3DPixel+8&state=unhealthy")
    page.get_by_label("Choose all that are shown").check()
    page.get_by_role("button", name="Assign ring …").click()
    told = set[str]()

    def slow_down(route: Route) -> None:
        if route.request.url in told:
            route.continue_()
            return
        told.add(route.request.url)
        detail = "ann#ab12cd34 has asked for more than 50 orders a second for some time"
        route.fulfill(status=429, json={"detail": detail, "rule": "rate"})

    page.route("**/ring", slow_down)
    page.locator("#order").get_by_role("button", name="Assign").click()
    expect(page.locator("#notice")).to_have_text("Assign 6 devices: 6 of 6 done.")
    assert len(told) == len(served.node.state.fleet.pins) == 6


def test_why_last_nights_failover_happened_is_found_under_a_thousand_pins(
    page: Page, served: Served, tmp_path: Path
) -> None:
    served.do(_fleet)
    served.do(lambda node: [node.evaluate(sat_001=0.9) for _ in range(3)])
    served.do(lambda node: setattr(node, "now", node.now + 8 * 3_600_000))
    reasons = ["+1, so\nto say", *["trial"] * 149]
    served.do(
        lambda node: [
            node.commit(AssignRing("pixel-00", [Ring.DEV, Ring.PROD][n % 2]), "", "ann", reason)
            for n, reason in enumerate(reasons)
        ]
    )
    served.do(check)
    page.goto(served.url)
    expect(page.locator("#timeline")).to_contain_text("Changes of roles before that")
    expect(page.locator("#timeline")).to_contain_text("sat-001 had 3 unhealthy samples")
    page.get_by_role("link", name="Search …").click()
    page.get_by_label("Words").fill("3 UNHEALTHY samples")
    page.keyboard.press("Enter")
    expect(page.locator("#view .entry").first).to_contain_text("sat-001 had 3 unhealthy samples")
    page.get_by_label("Words").fill("ann")
    page.keyboard.press("Enter")
    several = page.locator("#view .several")
    expect(several).to_contain_text("and 49 more about devices since")
    page.get_by_role("button", name="Show earlier").click()
    expect(several).to_contain_text("and 99 more")
    assert serious_violations(page) == []
    several.locator("summary").click()
    expect(several.locator("li").first).to_be_visible()
    page.get_by_label("Each on its own").check()
    expect(page.locator("#view .entry")).to_have_count(100)
    page.get_by_label("Until").fill("1970-01-02T12:00:00")
    page.get_by_label("From").fill("1970-01-02T11:00:00")
    expect(page.locator("#view")).to_contain_text("Nothing like that is remembered.")
    page.get_by_label("From").fill("")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as CSV").click()
    download.value.save_as(tmp_path / "decisions.csv")
    text = (tmp_path / "decisions.csv").read_text("utf-8-sig")
    assert text.count(",ann,") == 150
    assert ',"\'+1, so\nto say",' in text.replace("\r", "")
