"""Frames of `watch`, and how it moves from a dead node to a live one."""

import asyncio
import contextlib
import copy
from typing import Any

import httpx
import pytest

from stationkeep.node.api.resources import events
from stationkeep.node.cli import watch
from stationkeep.node.cli.failures import NotAuthorisedError
from stationkeep.node.cli.rendering import screen
from stationkeep.node.cli.rendering.screen import Picture
from stationkeep.node.security.credentials import Credentials
from stationkeep.node.security.tokens import draw
from tests.node.cli.canned import DECISION, NODES, PROPOSAL, READS, CannedNode, Json, Run, node

TOKEN = draw().text


def picture(**changes: Any) -> Picture:
    base = Picture(
        copy.deepcopy(READS["/v1/cluster"]),
        copy.deepcopy(NODES),
        [PROPOSAL],
        [DECISION],
        "http://127.0.0.1:8701",
    )
    return base._replace(**changes)


FRAME_80 = """\
ATTENTION  sat-001 is PRIMARY and healthy, but 2 things need attention
  - sat-002 is unhealthy for 2 samples in a row
  - sat-003 is not heard, for 4 s
stationkeep-local   --:--:--   T+62.4s   dashboard http://127.0.0.1:8701/
PRIMARY sat-001, epoch 1   Raft leader sat-002, term 4   sat-001 sees 3/3

  NODE    ROLE      ACTS AS   EPOCH RISK LAST TEN   LEASE COOL FLAGS
  sat-001 PRIMARY   PRIMARY   1     0.05        ▁▁▁ 2.1s  -
◆ sat-002 BACKUP    BACKUP    -     0.60        ▁▃▅ -     -    2 unhealthy
  sat-003 STANDBY   ?         -     miss        ▁×× -     7.2s dead

FLEET 8 devices: 6 healthy, 1 unhealthy, 1 offline, 1 pinned
      canary 2   dev 2   stage 2   prod 2

PROPOSALS
#99 primary failed: sat-001 PRIMARY→BACKUP
   OPEN 0.6s left, needs 2 of 3; yes: sat-001; no: sat-002 (heard healthy); no
   vote: sat-003

DECISIONS, newest first
--:--:-- sat-001 was to become BACKUP after 3 unhealthy samples; sat-002 denied
         it.

◆ leads Raft   × missed sample   ? unknown   Ctrl-C quits"""


def plain(view: Picture, width: int = 80, height: int = 24) -> str:
    return "\n".join(line.rstrip() for line in screen.frame(view, width, height).plain.split("\n"))


def test_a_frame_of_80_by_24() -> None:
    assert plain(picture()) == FRAME_80


def test_without_devices_there_is_no_fleet_to_show() -> None:
    view = picture()
    view.cluster["fleet"]["total_slaves"] = 0
    assert "FLEET" not in plain(view)


def test_a_small_window_shows_the_nodes_and_first_of_all_the_primary() -> None:
    nodes = [copy.deepcopy(NODES[1]) | {"id": f"sat-{n:03d}"} for n in range(1, 5)]
    nodes.append(copy.deepcopy(NODES[0]) | {"id": "sat-005"})
    small = plain(picture(nodes=nodes), 60, 15)
    assert all(one["id"] in small for one in nodes)
    tiny = plain(picture(nodes=nodes), 60, 10).split("\n")
    title = next(number for number, line in enumerate(tiny) if line.startswith("  NODE"))
    assert "sat-005 PRIMARY" in tiny[title + 1]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 10), (140, 40), (40, 6)])
def test_a_frame_fits_its_window_whatever_there_is_to_say(width: int, height: int) -> None:
    crowd = [node(n, "STANDBY", 0.1) for n in range(2, 60)] + [node(1, "PRIMARY", 0.1)]
    view = picture(nodes=crowd, decisions=[DECISION] * 40, notice="x" * 200)
    lines = plain(view, width, height).split("\n")
    assert len(lines) == height
    assert max(len(line) for line in lines) <= width


def test_a_crowd_is_cut_but_not_its_primary() -> None:
    crowd = [node(n, "STANDBY", 0.1) for n in range(1, 60)] + [node(60, "PRIMARY", 0.1)]
    text = plain(picture(nodes=crowd))
    assert "sat-060 PRIMARY" in text
    assert "more" in text


def test_a_wide_frame_tells_the_cause() -> None:
    assert "memory 91 %" in plain(picture(), 140, 40)
    assert "memory 91 %" not in plain(picture(), 80, 24)


def test_what_is_wrong_stands_on_top() -> None:
    view = picture(notice="sat-001 stopped answering; now asking sat-002")
    view.cluster["needs"] = [
        {"level": "critical", "sentence": f"matter {n}", "alarm": None} for n in range(1, 10)
    ]
    lines = plain(view).split("\n")
    assert lines[0].startswith("ATTENTION  sat-001 is PRIMARY")
    assert lines[1:7] == [*(f"  - matter {n}" for n in range(1, 6)), "  - and 4 more (status)"]
    assert "now asking sat-002" in lines[9]


def test_a_picture_of_the_past_is_not_told_as_of_now() -> None:
    view = picture(silent=3.2)
    view.cluster.update(verdict="ok", headline="sat-001 is PRIMARY and healthy", needs=[])
    frame = screen.frame(view, 80, 24)
    first, second, *_ = frame.plain.split("\n")
    assert first.rstrip() == "NO NODE ANSWERS since 3 s; this is the last known state"
    assert second.startswith("OK  ")
    shown_green = [span for span in frame.spans if "green" in str(span.style)]
    assert all(span.start > frame.plain.index("sat-001 PRIMARY") for span in shown_green)


def test_a_fenced_primary_is_told_in_words() -> None:
    fenced = node(1, "PRIMARY", 0.1, effective_role="SAFE_MODE", epoch=3)
    assert "PRIMARY   SAFE_MODE 3" in plain(picture(nodes=[fenced]))
    assert "fenced" in plain(picture(nodes=[fenced]))


def test_a_proposal_leaves_the_view_a_while_after_it_was_closed() -> None:
    closed = PROPOSAL | {"outcome": "denied", "closed_at_ms": 62_000}
    assert "DENIED, needs 2 of 3" in plain(picture(proposals=[closed]))
    long_ago = closed | {"closed_at_ms": 1_000}
    assert "PROPOSALS" not in plain(picture(proposals=[long_ago]))


class Members(httpx.AsyncBaseTransport):
    """Several canned nodes by port; those in `dead` refuse connections."""

    def __init__(self) -> None:
        self.dead: set[int | None] = set()
        self.asked: list[int | None] = []
        self.token = ""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        port = request.url.port
        self.asked.append(port)
        if port in self.dead:
            raise httpx.ConnectError("refused")
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return httpx.Response(401, stream=httpx.ByteStream(b"{}"))
        body: Json = copy.deepcopy(READS[request.url.path])
        if request.url.path == "/v1/cluster":
            assert port is not None
            body["node"] = f"sat-{port - 8700:03d}"
        return httpx.Response(200, json=body)


@pytest.fixture
def members() -> Members:
    return Members()


async def test_watch_learns_the_members_and_moves_on_when_one_dies(members: Members) -> None:
    async with httpx.AsyncClient(transport=members) as http:
        watcher = watch.Watcher(watch.Sources(["http://127.0.0.1:8701"]), http)
        first = await watcher.look()
        assert first is not None
        assert (first.cluster["node"], first.notice) == ("sat-001", "")
        members.dead = {8701}
        second = await watcher.look()
        assert second is not None
        assert second.cluster["node"] == "sat-002"
        assert second.notice == "sat-001 stopped answering; now asking sat-002"
        members.dead = {8701, 8702, 8703}
        third = await watcher.look()
        assert third is not None
        assert third.silent > 0
        assert third.cluster["node"] == "sat-002"


def test_watch_goes_on_as_it_began_and_believes_no_address_that_is_none() -> None:
    sources = watch.Sources(["https://fleet.example"])
    told = ["sat-001:8701", "http://sat-002:8702", "sat-001:8701", "[::1", "a:99999", ""]
    sources.learn([*({"address": {"http": address}} for address in told), {}])
    assert sources.urls == [
        "https://fleet.example",
        "https://sat-001:8701",
        "https://sat-002:8702",
    ]
    sources.learn([{"address": {"http": f"sat:{port}"}} for port in range(1, 500)])
    assert len(sources.urls) == watch.MOST_SOURCES


async def test_watch_starts_even_if_the_first_address_is_dead(members: Members) -> None:
    members.dead = {8701}
    async with httpx.AsyncClient(transport=members) as http:
        sources = watch.Sources(["http://127.0.0.1:8701/", "http://127.0.0.1:8702"])
        view = await watch.Watcher(sources, http).look()
        assert view is not None
        assert view.cluster["node"] == "sat-002"


async def test_watch_has_nothing_to_show_until_somebody_answers(members: Members) -> None:
    members.dead = {8701}
    async with httpx.AsyncClient(transport=members) as http:
        assert await watch.Watcher(watch.Sources(["http://127.0.0.1:8701"]), http).look() is None


async def test_an_event_cuts_the_rest_short(members: Members) -> None:
    async with httpx.AsyncClient(transport=members) as http:
        watcher = watch.Watcher(watch.Sources(["http://127.0.0.1:8701"]), http)
        watcher.stirred.set()
        await watcher.rest()
        assert not watcher.stirred.is_set()


class Stream:
    """A node of which only the event stream answers; it says nothing after its head."""

    def __init__(self) -> None:
        self.followed = asyncio.Event()
        self._let_go = asyncio.Event()

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        return "http://{}:{}".format(*self._server.sockets[0].getsockname())

    async def __aexit__(self, *_: object) -> None:
        self._let_go.set()
        self._server.close()
        await self._server.wait_closed()

    async def _answer(self, asked: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        await asked.readuntil(b"\r\n\r\n")
        answer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        self.followed.set()
        await self._let_go.wait()
        answer.close()


async def test_watch_does_not_stay_with_the_events_of_a_frozen_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch, "STREAM_SILENCE_SECONDS", 0.05)
    monkeypatch.setattr(watch, "POLL_SECONDS", 0.01)
    frozen, other = Stream(), Stream()
    async with frozen as first, other as second, watch.open_client() as http:
        sources = watch.Sources([first, second])
        listening = asyncio.create_task(watch.Watcher(sources, http).listen())
        try:
            async with asyncio.timeout(10):
                await frozen.followed.wait()
                sources.move()
                await other.followed.wait()
        finally:
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listening


def test_watch_waits_for_longer_than_a_node_is_silent() -> None:
    assert watch.STREAM_SILENCE_SECONDS > events.KEEP_ALIVE + watch.ANSWER_SECONDS


def test_once_prints_a_frame(
    canned: CannedNode, stationkeep: Run, monkeypatch: pytest.MonkeyPatch, members: Members
) -> None:
    opener = lambda: httpx.AsyncClient(transport=members)  # noqa: E731
    monkeypatch.setattr(watch.run, "__kwdefaults__", {**watch.run.__kwdefaults__, "opener": opener})
    result = stationkeep("watch", "--once")
    assert result.exit_code == 0
    assert "◆ sat-002 BACKUP" in result.output
    members.dead = {8701}
    assert stationkeep("watch", "--once").exit_code == 4


@pytest.mark.parametrize("url", ["127.0.0.1:8701", "http://[::1", "ftp://x"])
def test_watch_refuses_what_is_no_url(stationkeep: Run, url: str) -> None:
    assert stationkeep("watch", "--once", "--url", url).exit_code == 2


async def test_watch_passes_over_a_stranger() -> None:
    async with httpx.AsyncClient(
        transport=httpx.MockTransport(lambda _: httpx.Response(200, json=[]))
    ) as http:
        assert await watch.Watcher(watch.Sources(["http://127.0.0.1:8701"]), http).look() is None


@pytest.mark.parametrize("words", [["watch"], ["watch", "--once"]], ids=" ".join)
@pytest.mark.parametrize("token", ["", TOKEN], ids=["without a token", "with one that has ended"])
def test_who_may_not_watch_is_told_so(
    words: list[str], token: str, *, canned: CannedNode, stationkeep: Run, members: Members,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    opener = lambda: httpx.AsyncClient(transport=members)  # noqa: E731
    monkeypatch.setattr(watch.run, "__kwdefaults__", {**watch.run.__kwdefaults__, "opener": opener})
    monkeypatch.setenv("STATIONKEEP_TOKEN", token)
    members.token = draw().text
    result = stationkeep(*words)
    assert result.exit_code == 7
    said = "with this token" if token else "without a token"
    assert f"http://127.0.0.1:8701 shows nothing {said} (401)" in result.output


async def test_that_others_are_not_shown_the_token_does_not_mean_that_it_is_bad(
    members: Members,
) -> None:
    members.token = TOKEN
    credentials = Credentials(["http://127.0.0.1:8701"], token=TOKEN)
    async with httpx.AsyncClient(transport=members, auth=credentials.show) as http:
        watcher = watch.Watcher(watch.Sources(["http://127.0.0.1:8701"]), http)
        assert await watcher.look() is not None
        members.dead = {8701}
        seen = await watcher.look()
        assert seen is not None
        assert seen.silent > 0
        members.dead, members.token = set(), draw().text
        with pytest.raises(NotAuthorisedError):
            await watcher.look()
