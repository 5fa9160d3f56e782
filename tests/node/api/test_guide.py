"""`/guide/`: the pages of the guide, as a node serves them."""

import asyncio
import re
import subprocess
import sys
import threading

import httpx
import pytest
from fastapi import FastAPI

from stationkeep.node.guide.pages import topics

IDLE = """
import sys
from stationkeep.node.api.app import build
from tests.node.api.fake import FakeNode
build(FakeNode())
print(*{"markdown_it", "stationkeep.node.guide.rendering"} & set(sys.modules))
"""


@pytest.mark.parametrize("topic", topics())
async def test_every_topic_is_served_under_the_policy_of_the_dashboard(
    client: httpx.AsyncClient, topic: str
) -> None:
    page, dashboard = await client.get(f"/guide/{topic}"), await client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert policy == dashboard.headers["content-security-policy"]
    assert f'href="/guide/{topic}" aria-current="page"' in page.text or topic == "index"


@pytest.mark.parametrize("path", ["/guide", "/guide/"])
async def test_the_index_names_every_topic(client: httpx.AsyncClient, path: str) -> None:
    page = await client.get(path)
    assert page.status_code == 200
    for topic in topics()[1:]:
        assert f'href="/guide/{topic}"' in page.text


async def test_all_that_a_page_names_is_served(client: httpx.AsyncClient) -> None:
    page = await client.get("/guide/")
    named = set(re.findall(r'(?:href|src)="(/[^"#]*)', page.text))
    assert "/guide/style.css" in named
    for path in named:
        assert (await client.get(path)).status_code == 200, path


async def test_a_page_is_made_once_and_not_sent_again(client: httpx.AsyncClient) -> None:
    first = await client.get("/guide/configuration")
    again = await client.get(
        "/guide/configuration", headers={"If-None-Match": first.headers["etag"]}
    )
    assert (again.status_code, again.content) == (304, b"")
    head = await client.head("/guide/configuration")
    assert head.headers["content-length"] == first.headers["content-length"]


@pytest.mark.parametrize(
    "topic",
    ["configuratoin", "__init__.py", "pages.py", "..%2Fconfig.py", "reference%2Froles", "x%00"],
)
async def test_what_is_no_topic_is_not_found(client: httpx.AsyncClient, topic: str) -> None:
    answer = await client.get(f"/guide/{topic}")
    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:stationkeep:problem:not-found"


async def test_an_unknown_topic_is_answered_with_what_was_probably_meant(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.get("/guide/configuratoin")
    assert "did you mean configuration?" in answer.json()["detail"]


@pytest.mark.parametrize(("topic", "status"), [("failover", 200), ("nothing", 404)])
async def test_nobody_waits_for_work_on_the_state_to_read_the_guide(
    app: FastAPI, client: httpx.AsyncClient, topic: str, status: int
) -> None:
    """Such as a snapshot of a large fleet, which takes seconds."""
    over = threading.Event()
    work = asyncio.create_task(app.state.worker.run(lambda: over.wait))
    await asyncio.sleep(0)
    try:
        async with asyncio.timeout(20):
            assert (await client.get(f"/guide/{topic}")).status_code == status
        assert not work.done()
    finally:
        over.set()
        await work


@pytest.mark.parametrize("path", ["/guide/", "/guide/configuration", "/guide/style.css"])
async def test_a_name_that_is_none_of_ours_reads_nothing(
    client: httpx.AsyncClient, path: str
) -> None:
    answer = await client.get(path, headers={"Host": "evil.example:8701"})
    assert answer.status_code == 421


def test_a_node_that_nobody_asks_has_no_parser_in_memory() -> None:
    shown = subprocess.run([sys.executable, "-c", IDLE], check=True, capture_output=True, text=True)
    assert shown.stdout.strip() == ""
