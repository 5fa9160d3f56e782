"""`watch`, `rollout watch`: show the cluster, or a rollout, live, from whichever node answers.

One node is asked every half second, and at once when its event stream reports something. When it
stops answering, the next one is asked. The members' addresses are learned from the answers, so one
address is enough to begin with.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
from rich.live import Live
from rich.text import Text

from stationkeep.node.cli import contexts, rollout_shapes, shapes
from stationkeep.node.cli.client import named
from stationkeep.node.cli.exchange import understood
from stationkeep.node.cli.failures import (
    CommandError,
    NotAuthorisedError,
    UnreachableError,
    see,
)
from stationkeep.node.cli.output import console
from stationkeep.node.cli.rendering import screen
from stationkeep.node.cli.rendering.screen import Picture
from stationkeep.node.client.exchange import MOST_BYTES, Answer, open_http
from stationkeep.node.client.nodes import Addresses
from stationkeep.node.system.addresses import member_urls
from stationkeep.node.system.printable import all_printable
from stationkeep.node.wire.http_body import read

POLL_SECONDS = 0.5
ANSWER_SECONDS = 0.8
"""A frozen node accepts connections and never answers; after this time the next one is asked."""
QUIETEST_SECONDS = 0.1
"""The least time between two requests, however fast events come."""
NOTICE_SECONDS = 10.0
STREAM_SILENCE_SECONDS = 20.0
"""After which an event stream is given up; a node that works sends a comment every 15 s."""
MOST_SOURCES = 99
MOST_DECISIONS = 40

OpenClient = Callable[[], httpx.AsyncClient]
Take = Callable[[httpx.AsyncClient, str], Awaitable[Picture]]
"""Fetches a picture from a node. Raises `httpx.HTTPError` or `TimeoutError`."""
Draw = Callable[[Picture, int, int], Text]
"""A picture in so many columns and lines."""


class Sources(Addresses):
    """Those that are known; the first is in use."""

    def learn(self, nodes: list[dict[str, Any]]) -> None:
        """Adds the members' HTTP addresses, as the source in use names them."""
        told = [(node.get("address") or {}).get("http") or "" for node in nodes]
        known = dict.fromkeys([*self.urls, *member_urls(told, self.first)])
        self.urls = list(known)[:MOST_SOURCES]


def starting_points(url: str | None, data_dir: Path) -> list[str]:
    """The first addresses: whom any command asks."""
    return [named(one) for one in contexts.access(url).addresses(data_dir)]


async def take(http: httpx.AsyncClient, url: str) -> Picture:
    """Fetches what is shown of the cluster from the node at `url`. Raises `httpx.HTTPError` or
    `TimeoutError`."""
    wanted = {
        "/v1/cluster": shapes.Cluster,
        f"/v1/nodes?limit={MOST_SOURCES}": shapes.Page[shapes.Node],
        "/v1/proposals?limit=10": shapes.Page[shapes.Proposal],
        f"/v1/decisions?limit={MOST_DECISIONS}": shapes.Page[shapes.Decision],
    }
    async with asyncio.timeout(2 * ANSWER_SECONDS):
        answers = (_answer(http, url + path, shape) for path, shape in wanted.items())
        cluster, *pages = await asyncio.gather(*answers)
    nodes, proposals, decisions = (page["items"] for page in pages)
    return Picture(cluster, nodes, proposals, decisions, url)


def take_rollout(rollout: str) -> Take:
    """How what is shown of a rollout is fetched; `rollout`: its name, as a part of a path."""
    wanted = {
        "/v1/cluster": shapes.Cluster,
        f"/v1/nodes?limit={MOST_SOURCES}": shapes.Page[shapes.Node],
        f"/v1/rollouts/{rollout}": rollout_shapes.Rollout,
    }

    async def take_it(http: httpx.AsyncClient, url: str) -> Picture:
        async with asyncio.timeout(2 * ANSWER_SECONDS):
            answers = (_answer(http, url + path, shape) for path, shape in wanted.items())
            cluster, nodes, found = await asyncio.gather(*answers)
        return Picture(cluster, nodes["items"], [], [], url, rollout=found)

    return take_it


async def _answer(http: httpx.AsyncClient, url: str, shape: Any) -> dict[str, Any]:
    """The answer, checked and with all texts printable."""
    async with http.stream("GET", url) as response:
        response.raise_for_status()
        answer = Answer(url, response.status_code, await read(response, MOST_BYTES))
    try:
        answered: dict[str, Any] = all_printable(understood(answer, shape))
    except CommandError as error:
        raise httpx.DecodingError(str(error)) from error
    return answered


class Watcher:
    """Fetches what to show, from whichever node answers."""

    def __init__(self, sources: Sources, http: httpx.AsyncClient, take: Take = take) -> None:
        self._take = take
        self._sources = sources
        self._http = http
        self._last: Picture | None = None
        self._answered_at = time.monotonic()
        self._notice = ""
        self._notice_until = 0.0
        self.stirred = asyncio.Event()

    async def look(self) -> Picture | None:
        """A picture from the current node, or from the next one that answers. If none does, the
        last picture, marked as silent; None if there has never been one. Raises
        `NotAuthorisedError` when a node answers that whoever asks may not."""
        left, refusal = self._sources.first, ""
        for url in self._sources.in_order():
            try:
                picture = await self._take(self._http, url)
            except (httpx.HTTPError, TimeoutError) as error:
                refusal = refusal or self._refusal(url, error)
                self._sources.move()
                continue
            return self._answered(picture, left)
        if refusal:
            raise NotAuthorisedError(refusal + see("access"))
        if self._last is None:
            return None
        return self._last._replace(silent=max(1.0, time.monotonic() - self._answered_at))

    def _refusal(self, url: str, error: Exception) -> str:
        """Says that the node wants another token, or one; "" of one that is not shown any, since
        nobody has said its address."""
        if not isinstance(error, httpx.HTTPStatusError):
            return ""
        shown, status = "Authorization" in error.request.headers, error.response.status_code
        if status not in (401, 403) or not (shown or self._http.auth is None):
            return ""
        return f"{url} shows nothing {'with this' if shown else 'without a'} token ({status})"

    def _answered(self, picture: Picture, left: str) -> Picture:
        now = time.monotonic()
        if picture.url != left:
            name = self._last.cluster["node"] if self._last is not None else left
            self._notice = f"{name} stopped answering; now asking {picture.cluster['node']}"
            self._notice_until = now + NOTICE_SECONDS
        self._sources.learn(picture.nodes)
        self._answered_at, self._last = now, picture
        return picture._replace(notice=self._notice if now < self._notice_until else "")

    async def listen(self) -> None:
        """Follows the event stream of the current node. Its end triggers a refresh as well."""
        patience = httpx.Timeout(ANSWER_SECONDS, read=STREAM_SILENCE_SECONDS)
        while True:
            url = self._sources.first
            with contextlib.suppress(httpx.HTTPError):
                async with self._http.stream("GET", f"{url}/v1/events", timeout=patience) as stream:
                    async for chunk in stream.aiter_raw():  # not by line: one may never end
                        if b"event:" in chunk:
                            self.stirred.set()
                        if url != self._sources.first:
                            break
            self.stirred.set()
            await asyncio.sleep(POLL_SECONDS)

    async def rest(self) -> None:
        """Waits for an event or the next poll."""
        await asyncio.sleep(QUIETEST_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS - QUIETEST_SECONDS):
                await self.stirred.wait()
        self.stirred.clear()


def open_client() -> httpx.AsyncClient:
    """A client with a short timeout, since there are other nodes to ask."""
    return open_http(ANSWER_SECONDS)


def run(
    urls: list[str],
    *,
    once: bool,
    on_tick: Callable[[], None] = lambda: None,
    take: Take = take,
    draw: Draw = screen.frame,
    over: Callable[[Picture], bool] = lambda _: False,
    opener: OpenClient = open_client,
) -> None:
    """Shows the live view until Ctrl-C or a picture with which it is `over`, or one frame with
    `once`, which raises `UnreachableError` when no node answers."""
    if once:
        asyncio.run(_print_one(urls, take, draw, opener))
        return
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_show(urls, on_tick, take, draw, over=over, opener=opener))


def _show_token(http: httpx.AsyncClient, urls: list[str]) -> None:
    """Says who asks, if there is a token for the first of these."""
    access = contexts.access(urls[0])
    if access.token:
        http.auth = access.credentials.show


async def _print_one(urls: list[str], take: Take, draw: Draw, opener: OpenClient) -> None:
    sources = Sources(urls)
    async with opener() as http:
        _show_token(http, urls)
        picture = await Watcher(sources, http, take).look()
    if picture is None:
        raise UnreachableError(f"no node answers; tried {', '.join(sources.urls)}")
    terminal = console()
    terminal.print(draw(picture, terminal.width, terminal.height), end="\n")


async def _show(
    urls: list[str],
    on_tick: Callable[[], None],
    take: Take,
    draw: Draw,
    *,
    over: Callable[[Picture], bool],
    opener: OpenClient,
) -> None:
    terminal = console()
    sources = Sources(urls)
    async with opener() as http:
        _show_token(http, urls)
        watcher = Watcher(sources, http, take)
        listening = asyncio.create_task(watcher.listen())
        try:
            with Live(console=terminal, screen=True, auto_refresh=False) as live:
                while True:
                    picture = await watcher.look()
                    if picture is None:
                        view = screen.lost(sources.urls, "no node answers yet")
                    else:
                        view = draw(picture, terminal.width, terminal.height)
                    live.update(view, refresh=True)
                    on_tick()
                    if picture is not None and over(picture):
                        return
                    await watcher.rest()
        finally:
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listening
