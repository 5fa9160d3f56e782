"""The page of a node that asks for tokens."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect

from stationkeep.cluster.commands import CreateToken, RevokeToken
from stationkeep.cluster.state.state import Access
from stationkeep.node.api.app import build
from stationkeep.node.api.resources.probes import PROBES
from stationkeep.node.http.access import Admission
from stationkeep.node.security.tokens import Shown, draw
from tests.dashboard.conftest import Complaints, Served
from tests.node.api.fake import FakeNode
from tests.node.tls.guarded import NODES, guarded

TOKENS = {role: draw() for role in (Access.VIEWER, Access.OPERATOR, Access.METRICS)}


def _enter(node: FakeNode, shown: Shown, role: Access) -> None:
    node.commit(CreateToken(shown.id, role.value, role.value, shown.hash), shown.id, "ann")


class GuardedNode(Served):
    """As `Served`, with tokens."""

    def start(self) -> None:
        for role, shown in TOKENS.items():
            _enter(self.node, shown, role)
        admission = Admission(lambda: self.node.state.tokens, required=True, probes=PROBES)
        app = build(self.node, admission=admission)
        config = uvicorn.Config(app, port=self.port, ws="none", lifespan="off", log_level="error")
        self._server = uvicorn.Server(config)
        super().start()


@pytest.fixture
def served() -> Iterator[GuardedNode]:
    guarded = GuardedNode()
    guarded.start()
    yield guarded
    guarded.stop()


def _log_in(page: Page, text: str) -> None:
    page.get_by_label("Token").fill(text)
    page.get_by_role("button", name="Log in").click()


def test_who_has_a_token_sees_and_orders_and_the_tab_forgets_it(page: Page, served: Served) -> None:
    page.goto(served.url)
    expect(page.get_by_role("dialog", name="Log in")).to_be_visible()
    _log_in(page, TOKENS[Access.OPERATOR].text[:-1])
    expect(page.locator("#login")).to_contain_text("a token has")
    _log_in(page, TOKENS[Access.OPERATOR].text)
    expect(page.locator("#headline h1")).to_have_text("sat-001 is PRIMARY and healthy")
    expect(page.get_by_role("dialog", name="Log in")).to_be_hidden()
    expect(page.locator("#link")).to_contain_text("live from sat-001")
    expect(page.get_by_role("button", name="Pause").first).to_be_enabled()
    page.reload()
    expect(page.locator("#link")).to_contain_text("live from sat-001")
    assert page.context.cookies() == []
    assert page.evaluate("localStorage.getItem('token')") is None
    assert TOKENS[Access.OPERATOR].secret not in page.url
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("dialog", name="Log in")).to_be_visible()


def test_a_viewer_has_no_buttons_for_orders(page: Page, served: Served) -> None:
    page.goto(served.url)
    _log_in(page, TOKENS[Access.VIEWER].text)
    expect(page.locator("#headline h1")).to_have_text("sat-001 is PRIMARY and healthy")
    expect(page.locator("#headline button")).to_have_count(0)
    assert page.get_by_role("button", name="Freeze").count() == 0


def test_whoever_s_token_ends_is_asked_again(page: Page, served: Served) -> None:
    page.goto(served.url)
    _log_in(page, TOKENS[Access.METRICS].text)
    expect(page.locator("#login")).to_contain_text("cannot look at this page")
    _log_in(page, TOKENS[Access.VIEWER].text)
    expect(page.locator("#link")).to_contain_text("live from sat-001")
    served.do(lambda node: node.commit(RevokeToken(TOKENS[Access.VIEWER].id), "r", "ann"))
    expect(page.get_by_role("dialog", name="Log in")).to_be_visible()


@pytest.mark.processes
@pytest.mark.timeout(180)
def test_a_login_outlives_the_node_that_it_was_made_at(browser: Browser, tmp_path: Path) -> None:
    with guarded(tmp_path) as cluster:
        viewer = cluster.create("ann", "--role", "viewer").read_text().strip()
        context = browser.new_context()
        page = context.new_page()
        complaints = Complaints(page)
        page.goto(f"{cluster.url(NODES[0])}/")
        _log_in(page, viewer)
        expect(page.locator("#link")).to_contain_text(f"live from {NODES[0]}")
        page.evaluate("window.loaded = 'once'")
        cluster.processes[NODES[0]].kill()
        expect(page.locator("#link")).not_to_contain_text(NODES[0], timeout=15_000)
        expect(page.locator("#link")).to_contain_text("live from", timeout=15_000)
        expect(page.get_by_role("dialog", name="Log in")).to_be_hidden()
        assert page.evaluate("window.loaded") == "once"
        assert complaints.heard == []
        other = context.new_page()
        other.goto(f"{cluster.url(NODES[1])}/")
        expect(other.get_by_role("dialog", name="Log in")).to_be_visible()
        context.close()
