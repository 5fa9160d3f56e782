"""Whom a page keeps out, as axe-core sees it in the browser."""

from importlib import resources

from playwright.sync_api import Page

AXE = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()
SERIOUS = ("serious", "critical")


def serious_violations(page: Page) -> list[tuple[str, list[str]]]:
    """Each rule that the page breaks seriously, and what of each place is to be mended."""
    page.evaluate(AXE)
    return [
        (rule["id"], [node["failureSummary"] for node in rule["nodes"]])
        for rule in page.evaluate("axe.run()")["violations"]
        if rule["impact"] in SERIOUS
    ]
