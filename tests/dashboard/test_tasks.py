"""Deployments and tasks on the page."""

from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from stationkeep.cluster.commands import (
    AssignRing,
    CancelDeployment,
    CreateDeployment,
    RegisterDevices,
    Registration,
)
from stationkeep.cluster.delivery.offers import plan_offers
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.deployment import Limits, Target
from stationkeep.cluster.devices.rings import Ring
from tests.dashboard.axe import serious_violations
from tests.dashboard.conftest import Served
from tests.dashboard.test_adversity import lose_touch
from tests.dashboard.test_page import PHONE
from tests.node.api.fake import FakeNode
from tests.node.api.fleet_story import register

CAPABLE = {"deployment": "true"}
ALL = Target(everyone=True)


def _deploy(node: FakeNode) -> None:
    """To twelve devices, of which five may begin at a time."""
    limits = Limits(max_in_flight=5)
    node.commit(CreateDeployment(target=ALL, artifact=Artifact("2.0.0"), limits=limits))


def _offer(node: FakeNode) -> None:
    for part in plan_offers(node.state, node.now):
        node.commit(part)


@pytest.fixture
def deployed(served: Served) -> Served:
    ids = [f"device-{n}" for n in range(12)]
    served.do(lambda node: register(node, *ids, app_version="1.0.0", capabilities=CAPABLE))
    return served


def test_a_deployment_shows_while_it_goes_on_and_what_came_of_it(
    page: Page, deployed: Served
) -> None:
    page.goto(deployed.url)
    expect(page.locator(".ring")).to_have_count(4)
    expect(page.locator("#deployments")).to_be_hidden()
    deployed.do(_deploy)
    row = page.locator("[data-deployment='1']")
    expect(row).to_contain_text("app 2.0.0 to all")
    expect(row).to_contain_text("12 queued")
    deployed.do(_offer)
    expect(row).to_contain_text("5 in progress")
    expect(row).to_contain_text("7 queued")
    deployed.do(lambda node: node.commit(CancelDeployment(1)))
    expect(row).to_contain_text("12 canceled")
    expect(row).to_contain_text("deployment 1 · canceled")


def test_a_device_says_what_it_was_told_to_do(page: Page, deployed: Served) -> None:
    deployed.do(_deploy)
    page.goto(deployed.url)
    page.get_by_label("Id of a device").fill("device-3")
    page.keyboard.press("Enter")
    sheet = page.get_by_role("dialog")
    expect(sheet).to_contain_text("app 1.0.0")
    expect(sheet).to_contain_text("2.0.0 deployment 1: queued")
    expect(sheet).to_contain_text("it is offered next")
    deployed.do(_offer)
    expect(sheet).to_contain_text("5 tasks are in flight")
    deployed.do(lambda node: node.commit(CancelDeployment(1)))
    expect(sheet).to_contain_text("deployment 1: canceled just now")


def test_what_is_open_shows_however_much_is_newer(page: Page, deployed: Served) -> None:
    deployed.do(_deploy)

    def many(node: FakeNode) -> None:
        for number in range(2, 120):
            restart = Target(devices=("device-3",))
            node.commit(CreateDeployment(target=restart, task_type="restart"), actor=f"a{number}")
            node.commit(CancelDeployment(number))

    deployed.do(many)
    page.goto(deployed.url)
    rows = page.locator("#deployed > li")
    expect(rows).to_have_count(3)
    shown = rows.evaluate_all("rows => rows.map(row => row.dataset.deployment)")
    assert shown == ["119", "118", "1"]


def _fail(page: Page, served: Served, count: int = 1) -> list[str]:
    """So many devices that were offered a task, and have no connection, say that it failed."""
    offered = page.request.get(f"{served.url}v1/deployments/1/tasks?state=offered&limit={count}")
    devices = [task["device"] for task in offered.json()["items"]]
    how = {"state": "failed", "reason": "disk", "detail": "no space in /data"}
    updates = [{"task_id": f"1/{device}/1", **how} for device in devices]
    answer = page.request.post(f"{served.url}v1/tasks:report", data={"updates": updates})
    assert answer.json()["accepted"] == count, answer.text()
    return devices


def test_a_deployment_says_how_it_stands_what_failed_and_who_ordered_it(
    page: Page, deployed: Served
) -> None:
    order = CreateDeployment(target=ALL, artifact=Artifact("2.0.0"), parameters={"mode": "soft"})
    deployed.do(lambda node: node.commit(order, actor="ann@ground", reason="the release"))
    deployed.do(_offer)
    page.goto(deployed.url)
    devices = _fail(page, deployed, 2)
    page.get_by_role("button", name="app 2.0.0").click()
    sheet = page.locator("#detail")
    expect(sheet.get_by_role("heading", level=2)).to_have_text("Deployment 1")
    expect(sheet).to_contain_text("open, its deadline is in")
    expect(sheet).to_contain_text("2 × disk: no space in /data, such as device-")
    expect(sheet).to_contain_text("ann@ground")
    expect(sheet).to_contain_text("the release")
    expect(sheet).to_contain_text("soft")
    failed = sheet.get_by_role("button", name="2 failed")
    failed.click()
    tasks = sheet.locator(".moves li")
    expect(tasks).to_have_count(2)
    expect(tasks.first).to_contain_text("failed (disk)")
    expect(failed).to_be_focused()
    tasks.first.get_by_role("button").click()
    expect(sheet.get_by_role("heading", level=2)).to_have_text(devices[0])


def test_more_tasks_of_a_large_deployment_are_listed_page_by_page(
    page: Page, served: Served
) -> None:
    ids = [f"device-{n}" for n in range(120)]
    served.do(lambda node: register(node, *ids, app_version="1.0.0", capabilities=CAPABLE))
    served.do(_deploy)
    page.goto(served.url)
    page.get_by_role("button", name="app 2.0.0").click()
    sheet = page.locator("#detail")
    sheet.get_by_role("button", name="120 queued").click()
    tasks, more = sheet.locator(".moves li"), sheet.get_by_role("button", name="More tasks")
    expect(tasks).to_have_count(50)
    more.click()
    expect(tasks).to_have_count(100)
    expect(more).to_be_focused()
    more.click()
    expect(tasks).to_have_count(120)
    expect(more).to_have_count(0)
    assert len(set(tasks.all_text_contents())) == 120


def test_a_deployment_is_canceled_and_another_tried_again(page: Page, deployed: Served) -> None:
    deployed.do(_deploy)
    deployed.do(_offer)
    page.goto(deployed.url)
    page.get_by_role("button", name="app 2.0.0").click()
    sheet, order = page.locator("#detail"), page.locator("#order")
    states = sheet.get_by_role("group", name="Show tasks")
    expect(states).to_contain_text("5 offered")
    expect(sheet.get_by_role("button", name="Retry …")).to_have_count(0)
    _fail(page, deployed)
    expect(states).to_contain_text("1 failed")
    sheet.get_by_role("button", name="Retry …").click()
    order.get_by_label("Reason").fill("there is room now")
    order.get_by_role("button", name="Retry").click()
    expect(states).to_contain_text("8 queued")
    expect(states).not_to_contain_text("failed")
    sheet.get_by_role("button", name="Cancel …").click()
    order.get_by_role("button", name="Keep it").click()
    assert deployed.node.state.deployments.known[1].open
    sheet.get_by_role("button", name="Cancel …").click()
    order.get_by_role("button", name="Cancel deployment").click()
    expect(states).to_contain_text("canceled")
    expect(sheet.get_by_role("button", name="Cancel …")).to_have_count(0)
    assert not deployed.node.state.deployments.known[1].open


def test_without_a_quorum_no_deployment_can_be_canceled_or_tried_again(
    page: Page, deployed: Served
) -> None:
    deployed.do(_deploy)
    deployed.do(_offer)
    page.goto(deployed.url)
    _fail(page, deployed)
    page.get_by_role("button", name="app 2.0.0").click()
    sheet = page.locator("#detail")
    for name in ("Cancel …", "Retry …"):
        expect(sheet.get_by_role("button", name=name)).to_be_enabled()
    deployed.do(lose_touch)
    for name in ("Cancel …", "Retry …"):
        expect(sheet.get_by_role("button", name=name)).to_be_disabled()
    expect(sheet.locator(".barred")).to_contain_text("Nothing can be changed without a quorum")


def test_rings_tasks_and_versions_of_a_device_are_told_in_one_order(
    page: Page, deployed: Served
) -> None:
    """Each five seconds after the one before."""
    arrived = Registration(
        "device-3", session=2, sequence=1, app_version="2.0.0", capabilities=CAPABLE
    )

    def live(node: FakeNode) -> None:
        restart = Target(devices=("device-3",))
        for command in (
            AssignRing("device-3", Ring.PROD),
            CreateDeployment(target=restart, task_type="restart"),
            CancelDeployment(1),
            CreateDeployment(target=ALL, artifact=Artifact("2.0.0")),
        ):
            node.now += 5_000
            node.commit(command)
        _offer(node)
        node.now += 5_000
        node.commit(RegisterDevices("sat-001", (arrived,)))
        node.now += 5_000
        node.commit(AssignRing("device-3", Ring.CANARY))
        node.now += 5_000
        node.commit(CreateDeployment(target=restart, task_type="flash"))

    deployed.do(live)
    page.goto(deployed.url)
    page.get_by_label("Id of a device").fill("device-3")
    page.keyboard.press("Enter")
    told = page.locator("#detail .course li")
    said = [
        ("task", "deployment 3: queued"),
        ("ring", "prod → canary"),
        ("version", "1.0.0 → 2.0.0"),
        ("task", "deployment 1: canceled"),
        ("ring", "→ prod"),
        ("ring", "new →"),
    ]
    expect(told).to_have_count(len(said))
    for number, (kind, words) in enumerate(said):
        expect(told.nth(number)).to_have_attribute("data-kind", kind)
        expect(told.nth(number)).to_contain_text(words)


def test_a_version_that_no_task_installed_is_told_too(page: Page, deployed: Served) -> None:
    """Five seconds after the device came, and before it was pinned."""

    def live(node: FakeNode) -> None:
        node.now += 5_000
        said = {"app_version": "1.5.0", "capabilities": CAPABLE}
        node.commit(
            RegisterDevices("sat-001", (Registration("device-3", session=2, sequence=1, **said),))
        )
        node.now += 5_000
        node.commit(AssignRing("device-3", Ring.CANARY))

    deployed.do(live)
    page.goto(deployed.url)
    page.get_by_label("Id of a device").fill("device-3")
    page.keyboard.press("Enter")
    told = page.locator("#detail .course li")
    expect(told).to_have_count(3)
    expect(told.nth(1)).to_have_attribute("data-kind", "version")
    expect(told.nth(1)).to_contain_text("1.5.0")
    expect(told.nth(1)).to_contain_text("by no task")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("opened", ["page", "deployment", "device"])
def test_nothing_seriously_keeps_anybody_out(
    page: Page, deployed: Served, theme: Any, opened: str
) -> None:
    deployed.do(_deploy)
    deployed.do(_offer)
    page.emulate_media(color_scheme=theme)
    page.goto(deployed.url)
    (device,) = _fail(page, deployed)
    expect(page.locator(".deployment")).to_have_count(1)
    if opened != "page":
        page.get_by_role("button", name="app 2.0.0").click()
        page.get_by_role("button", name="1 failed").click()
        expect(page.locator("#detail .moves li")).to_have_count(1)
    if opened == "device":
        page.locator("#detail").get_by_role("button", name=device).first.click()
        expect(page.locator("#detail .course")).to_be_visible()
    assert serious_violations(page) == []


def test_a_long_target_fits_a_phone(browser: Browser, deployed: Served) -> None:
    target = Target(selector=f"app in (1.0.0, {'x' * 100})")
    deployed.do(lambda node: node.commit(CreateDeployment(target=target, task_type="t" * 64)))
    page = browser.new_page(viewport=PHONE)  # type: ignore[arg-type]
    page.goto(deployed.url)
    expect(page.locator(".deployment")).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    page.locator(".deployment").get_by_role("button").click()
    expect(page.locator("#detail")).to_contain_text("Who ordered it")
    assert page.evaluate("document.querySelector('#detail').scrollWidth") <= PHONE["width"]
    page.close()
