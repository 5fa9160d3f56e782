"""The guide in a browser: nothing that its policy forbids, on a phone as well."""

import re
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.dashboard.axe import serious_violations
from tests.dashboard.conftest import Served
from tests.dashboard.test_page import PHONE


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("topic", ["", "configuration", "failover"])
def test_nothing_seriously_keeps_anybody_out(
    page: Page, served: Served, theme: Any, topic: str
) -> None:
    page.emulate_media(color_scheme=theme)
    page.goto(f"{served.url}guide/{topic}")
    expect(page.locator("h1")).to_be_visible()
    assert serious_violations(page) == []


def test_one_finds_the_way_from_the_dashboard_to_a_setting(page: Page, served: Served) -> None:
    page.goto(served.url)
    page.get_by_role("link", name="Guide").click()
    page.get_by_role("navigation").get_by_role("link", name="Configuration").click()
    expect(page).to_have_url(re.compile("/guide/configuration$"))
    page.goto(f"{page.url}#evaluation_interval")
    expect(page.locator("#evaluation_interval")).to_be_in_viewport()


@pytest.mark.parametrize("topic", ["configuration", "alarms", "metrics"])
def test_no_page_is_wider_than_a_phone(browser: Browser, served: Served, topic: str) -> None:
    page = browser.new_page(viewport=PHONE)  # type: ignore[arg-type]
    page.goto(f"{served.url}guide/{topic}")
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    title = page.locator("h1").bounding_box()
    assert title is not None
    assert title["y"] < PHONE["height"] / 4
    page.close()
