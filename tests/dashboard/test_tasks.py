"""Deployments and tasks on the page."""

import json
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from stationkeep.cluster.commands import CancelDeployment, CreateDeployment
from stationkeep.cluster.delivery.offers import plan_offers
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.deployment import Limits, Target
from tests.dashboard.conftest import Served
from tests.dashboard.test_page import AXE, PHONE, SERIOUS
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
    expect(sheet).to_contain_text("Deployment 1: queued")
    expect(sheet).to_contain_text("it is offered next")
    deployed.do(_offer)
    expect(sheet).to_contain_text("5 tasks are in flight")
    deployed.do(lambda node: node.commit(CancelDeployment(1)))
    expect(sheet).to_contain_text("Deployment 1: canceled for")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_seriously_keeps_anybody_out(page: Page, deployed: Served, theme: Any) -> None:
    deployed.do(_deploy)
    deployed.do(_offer)
    page.emulate_media(color_scheme=theme)
    page.goto(deployed.url)
    expect(page.locator(".deployment")).to_have_count(1)
    page.evaluate(AXE)
    found = page.evaluate("axe.run()")["violations"]
    serious = [each for each in found if each["impact"] in SERIOUS]
    assert not serious, json.dumps(serious, indent=1)


def test_a_long_target_fits_a_phone(browser: Browser, deployed: Served) -> None:
    target = Target(selector=f"app in (1.0.0, {'x' * 100})")
    deployed.do(lambda node: node.commit(CreateDeployment(target=target, task_type="t" * 64)))
    page = browser.new_page(viewport=PHONE)  # type: ignore[arg-type]
    page.goto(deployed.url)
    expect(page.locator(".deployment")).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    page.close()
