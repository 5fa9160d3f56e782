"""Events of the cluster as they happen (`GET /v1/events`), from whichever node answers.

All nodes stream the same events under the same ids: when one stops, the next is asked for what came
after the last that was taken. Nothing that a node sends is believed: a frame has a limit.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, NamedTuple

import httpx
import msgspec

from stationkeep.cluster.unreadable import UNREADABLE
from stationkeep.node.cli import contexts, exchange, shapes
from stationkeep.node.cli.client import Client
from stationkeep.node.cli.failures import CommandError, NotAuthorisedError, UnreachableError, see
from stationkeep.node.cli.options import MOST_NODES
from stationkeep.node.cli.output import note
from stationkeep.node.client.exchange import Answer, open_http
from stationkeep.node.client.nodes import Addresses
from stationkeep.node.client.problems import problem_of
from stationkeep.node.system.addresses import member_urls
from stationkeep.node.wire.http_body import TooLarge, read

MOST_FRAME = 1 << 20
"""Bytes of one event. One that moves 10,000 devices has less."""
MOST_REFUSAL = 64 * 1024
CONNECT_SECONDS, SILENCE_SECONDS = 2.0, 20.0
"""A node that works sends a comment every 15 s."""
PAUSE_SECONDS = 0.5
PATIENCE = 60.0
"""Seconds for which a cluster that does not answer is asked again."""
_ID = re.compile(r"[0-9]{1,18}\.[0-9]{1,6}")


class Event(NamedTuple):
    """What happened: `kind` in snake case; `data` as the node has it, with `index`, `at_ms` and
    `wall_ms` where it came from the log."""

    id: str
    kind: str
    data: dict[str, Any]


class Frames:
    """Cuts a stream into events. Raises `CommandError` for what is none."""

    def __init__(self) -> None:
        self._rest = b""

    def take(self, chunk: bytes) -> Iterator[Event]:
        """The events that end with this chunk; comments are none."""
        *frames, self._rest = (self._rest + chunk).split(b"\n\n")
        if len(self._rest) > MOST_FRAME:
            raise CommandError(f"an event of more than {MOST_FRAME} bytes")
        for frame in frames:
            fields = dict(line.split(b": ", 1) for line in frame.split(b"\n") if b": " in line)
            if b"data" in fields:
                yield _event(fields)


def _event(fields: dict[bytes, bytes]) -> Event:
    try:
        data = msgspec.json.decode(fields[b"data"], type=dict[str, Any])
        if exchange.deeper_than(data, exchange.MOST_LEVELS):
            raise CommandError(f"an event of more than {exchange.MOST_LEVELS} levels")
        return Event(fields.get(b"id", b"").decode(), fields[b"event"].decode(), data)
    except (*UNREADABLE, KeyError) as error:
        raise CommandError("what came is no event; is that a Stationkeep node?") from error


def follow(client: Client, after: str | None, take: Callable[[Event], bool]) -> None:
    """Hands over each event until `take` says that it was the last one."""
    members = client.items("/v1/nodes", shapes.Node, MOST_NODES)
    told = member_urls((member["address"]["http"] for member in members), client.url)
    asyncio.run(_follow(Addresses([client.url, *told]), after, take))


async def _follow(nodes: Addresses, after: str | None, take: Callable[[Event], bool]) -> None:
    heard, access = time.monotonic(), contexts.access(nodes.first)
    async with open_http() as http:
        if access.token:
            http.auth = access.credentials.show
        while True:
            try:
                async for event in _events(http, nodes.first, after):
                    heard, after = time.monotonic(), event.id or after
                    if take(event):
                        return
            except (httpx.HTTPError, OSError):
                note(f"{nodes.first} does not answer; asking another node")
            nodes.move()
            if time.monotonic() - heard > PATIENCE:
                raise UnreachableError(f"no node answers; tried {', '.join(nodes.urls)}")
            await asyncio.sleep(PAUSE_SECONDS)


async def _events(http: httpx.AsyncClient, url: str, after: str | None) -> AsyncIterator[Event]:
    where = f"{url}/v1/events"
    headers = {"Last-Event-ID": after} if after and _ID.fullmatch(after) else {}
    patience = httpx.Timeout(CONNECT_SECONDS, read=SILENCE_SECONDS)
    async with http.stream("GET", where, headers=headers, timeout=patience) as answer:
        if answer.status_code != 200:
            raise await _refused(answer, where)
        if answer.headers.get("content-encoding", "identity") != "identity":
            raise CommandError(f"{where}: compressed, which was not asked for")
        frames = Frames()
        async for chunk in answer.aiter_bytes():
            for event in frames.take(chunk):
                yield event


async def _refused(answer: httpx.Response, where: str) -> Exception:
    """What is raised for an answer that is no stream."""
    if answer.status_code >= 500 or answer.status_code == 429:
        return httpx.ReadError("busy")
    try:
        content = await read(answer, MOST_REFUSAL)
    except TooLarge:
        content = b""
    problem = problem_of(Answer(where, answer.status_code, content))
    if problem is not None and problem.status in (401, 403):
        return NotAuthorisedError(problem.line + see("access"))
    said = f"{where} answered {answer.status_code}" if problem is None else problem.line
    return CommandError(said)
