"""The dashboard in a real chromium, in front of a node played by a test or of a real cluster."""

import asyncio
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from stationkeep.cluster.commands import MemberSpec
from stationkeep.cluster.settings import PROFILES
from stationkeep.node.api.app import build
from stationkeep.node.chaos.constellation import Constellation, free_ports
from tests.founding import founding
from tests.node.api.fake import MEMBERS, FakeNode

FOREIGN = "station.example"
"""A name that is none of the cluster's, and which the browser takes to this machine."""
UNANSWERED = ("Failed to load resource", "Access to fetch at")
"""How the browser itself reports a request that was refused, that nobody answered, or that was
answered by a node which has just begun and knows no members yet. Of the interface, that is for the
page to deal with."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for a module: while it runs, no other event loop can run in this thread."""
    chromium = shutil.which("chromium")
    if chromium is None and not os.environ.get("STATIONKEEP_SKIP_NOTHING"):
        pytest.skip("no chromium here (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium or "chromium",
            args=[
                "--no-sandbox",
                f"--host-resolver-rules=MAP {FOREIGN} 127.0.0.1",
                "--ignore-certificate-errors",  # it knows no CA of ours
            ],
        )
        yield browser
        browser.close()


class Complaints:
    """What the browser complained of on a page: errors, and what its policy forbade."""

    def __init__(self, page: Page) -> None:
        self.heard: list[str] = []
        page.on("pageerror", lambda error: self.heard.append(f"{error}\n{error.stack}"))
        page.on("console", self._said)

    def _said(self, message: ConsoleMessage) -> None:
        expected = message.text.startswith(UNANSWERED) and "/v1/" in (
            message.text + message.location["url"]
        )
        if message.type in ("error", "warning") and not expected:
            self.heard.append(message.text)


@pytest.fixture
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page of 1280 x 900; at the end it must have had nothing to complain of."""
    if "served" in request.fixturenames:
        request.getfixturevalue("served")  # begun before the page, it ends after it
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    complaints = Complaints(page)
    yield page
    context.close()
    assert complaints.heard == []


class Served:
    """A `FakeNode` behind a real HTTP server, on a thread with a loop of its own."""

    def __init__(self) -> None:
        self.port = free_ports(len(MEMBERS))
        self.node = FakeNode()
        self.node.max_followers = 10
        specs = tuple(
            MemberSpec(node, f"127.0.0.1:1{number}", f"127.0.0.1:{self.port + number}")
            for number, node in enumerate(MEMBERS)
        )
        self.node.commit(founding("test", specs, PROFILES["demo"]))
        self.node.evaluate()
        self._loop = asyncio.new_event_loop()
        app = build(self.node, hosts={FOREIGN})
        config = uvicorn.Config(app, port=self.port, ws="none", lifespan="off", log_level="error")
        self._server = uvicorn.Server(config)
        self._socket = socket.create_server(("127.0.0.1", self.port))  # who comes early waits
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        self._loop.run_until_complete(self._server.serve([self._socket]))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        self._thread.start()

    def do(self, change: Callable[[FakeNode], object]) -> None:
        """Changes the node, in its own thread."""
        done = threading.Event()

        def run() -> None:
            change(self.node)
            done.set()

        self._loop.call_soon_threadsafe(run)
        assert done.wait(30)

    def stop(self) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()
        self._loop.close()


@pytest.fixture
def served() -> Iterator[Served]:
    """A cluster of three of which one node answers."""
    served = Served()
    served.start()
    yield served
    served.stop()


@pytest.fixture
def constellation(tmp_path: Path) -> Iterator[Constellation]:
    """A real cluster to bring up."""
    cluster = Constellation(tmp_path / "cluster")
    yield cluster
    cluster.stop()
