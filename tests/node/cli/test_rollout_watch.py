"""Frames of `rollout watch`, and how it goes on when a node dies and ends when it is told to."""

import fcntl
import http.server
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
from contextlib import suppress
from typing import Any

import httpx
import pytest

from stationkeep.node.cli import watch
from stationkeep.node.cli.rendering import rollout_screen
from stationkeep.node.cli.rendering.screen import Picture
from tests.node.cli.canned import NODES, READS, ROLLED_BACK, CannedNode, Json, Run, rollout, stage

FRAME_80 = """\
fw-2.1  ‖ PAUSED: stage dev is inconclusive: failures
app 2.1.0   by ann@ground, approved by ines   for 12s   next: aborting in 7d
on fail: rollback   priority 500   you may: resume · abort · rollback · promote…

  STAGE   STATE         DONE          OK  FAIL  WAIT  FAILURES  EVIDENCE   NEXT
✔ canary  passed        ██████ 12/12  11     1     0  2% ≤ 5%   0.4 of 20
? dev     inconclusive  ██████ 12/12  11     1     0  2% ≤ 5%   0.4 of 20
· prod    pending

FAILURES  install 1 (e.g. slave-002: disk full)   install 1 (e.g. slave-002: di…
TURNED BAD  slave-003 (canary)   slave-003 (canary)

TIMELINE, the newest first
--:--:-- stage canary of fw passed: 11 of 12









Ctrl-C leaves   ▶ now  ✔ passed  ✘ failed  ? inconclusive  ‖ paused  · to come"""


def moments(count: int) -> list[Json]:
    return [
        {
            "at_ms": n,
            "wall_ms": 0,
            "stage": "canary",
            "state": "passed",
            "sentence": f"no. {n} " * 9,
        }
        for n in range(count)
    ]


def picture(**changes: Any) -> Picture:
    shown = rollout("fw-2.1", **changes)
    for moment in shown["timeline"]:
        moment["wall_ms"] = 0
    base = Picture(READS["/v1/cluster"], NODES, [], [], "http://127.0.0.1:8701")
    return base._replace(rollout=shown)


def plain(view: Picture, width: int = 80, height: int = 24) -> str:
    frame = rollout_screen.frame(view, width, height).plain
    return "\n".join(line.rstrip() for line in frame.split("\n"))


def test_a_frame_of_80_by_24() -> None:
    timeline = [READS["/v1/rollouts/fw-2.1"]["timeline"][0] | {"wall_ms": 0}]
    assert plain(picture(timeline=timeline)) == FRAME_80


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
@pytest.mark.parametrize("height", [10, 16, 24, 50])
def test_a_frame_fits_its_window_whatever_there_is_to_say(width: int, height: int) -> None:
    crowd = [stage("s" * 64, members=10**6)] * 18
    view = picture(stages=crowd, timeline=moments(200), why="w" * 500, author="a" * 90)
    for shown in (view, view._replace(silent=3.0), view._replace(notice="n" * 300)):
        lines = plain(shown, width, height).split("\n")
        assert len(lines) == height
        assert max(map(len, lines)) <= width


def test_stages_that_passed_long_ago_make_room_for_the_one_that_goes_on() -> None:
    many = [stage(f"s{n}") for n in range(15)] + [stage("now", state="soaking", exit=SOON)]
    shown = plain(picture(stages=many))
    assert "▶ now" in shown
    assert "judged in 3m" in shown
    assert "s0 " not in shown


SOON = {"becomes": "judged", "reason": "soak", "in_s": 190.0}


def test_a_wide_frame_tells_of_the_twins_and_of_whoever_waits() -> None:
    shown = plain(picture(), 140)
    assert "WAIT" in shown
    assert "1 of 11 / 2 of 44" in shown
    assert "sat-001 answers" in shown


def test_the_way_back_is_told() -> None:
    shown = plain(picture(**{k: ROLLED_BACK[k] for k in ("state", "rollback", "orders", "exit")}))
    assert "◀ ROLLED BACK" in shown
    assert "way back: back 3, pending 1, failed 0, stranded 1" in shown


def test_once_prints_a_frame(
    canned: CannedNode, stationkeep: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = stationkeep("rollout", "watch", "fw-2.1", "--once")
    assert result.exit_code == 0
    assert "‖ PAUSED" in result.output
    missing = stationkeep("rollout", "watch", "fw-9", "--once")
    assert missing.exit_code == 1
    assert "404" in missing.output or "no such" in missing.output


async def test_it_moves_on_when_its_node_dies_or_does_not_know_the_rollout_yet() -> None:
    lost: set[int | None] = set()

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.port in lost:
            return httpx.Response(404)
        return httpx.Response(200, json=READS[request.url.path])

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        sources = watch.Sources(["http://127.0.0.1:8701"])
        watcher = watch.Watcher(sources, client, watch.take_rollout("fw-2.1"))
        first = await watcher.look()
        assert first is not None
        assert first.rollout is not None
        lost.add(8701)
        second = await watcher.look()
        assert second is not None
        assert (second.url, second.silent) == ("http://127.0.0.1:8702", 0)
        lost |= {8702, 8703}
        third = await watcher.look()
        assert third is not None
        assert third.silent > 0


class Node:
    """A node that answers what is canned, and knows where the others are."""

    def __init__(self) -> None:
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = outer.answer(self.path.partition("?")[0])
                self.send_response(200 if body else 404)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = "127.0.0.1:{1}".format(*self.server.server_address)
        self.others: list[Node] = []
        self.name = "?"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def answer(self, path: str) -> Any:
        if path == "/v1/nodes":
            known = [{"address": {"http": node.address}} for node in (self, *self.others)]
            return {"items": [NODES[0] | node for node in known], "next": None}
        if path == "/v1/cluster":
            return READS[path] | {"node": self.name}
        return READS.get(path)

    def die(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Terminal:
    """A command on a terminal of 80 by 24."""

    def __init__(self, *arguments: str) -> None:
        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        # Who tests in the background of a script ignores SIGINT, and so would the command.
        interruptible = ["env", "--default-signal=INT"]
        command = [*interruptible, sys.executable, "-m", "stationkeep", *arguments]
        environment = os.environ | {"TERM": "xterm", "STATIONKEEP_URL": ""}
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment,
            start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self.seen = ""

    def until(self, text: str) -> None:
        """Reads on until the text has been shown."""
        while text not in self.seen:
            self.seen += os.read(self.ours, 65_536).decode(errors="replace")
        self.seen = ""

    def leave(self) -> int:
        """Ctrl-C; reads on until it has ended, as it waits for a full terminal. Its exit code."""
        self.process.send_signal(signal.SIGINT)
        with suppress(OSError):  # nobody writes any more
            while os.read(self.ours, 65_536):
                pass
        return self.process.wait(30)


@pytest.mark.processes
def test_on_a_terminal_it_survives_the_death_of_a_node_and_leaves_when_told() -> None:
    first, second = Node(), Node()
    first.name, second.name, first.others = "sat-001", "sat-002", [second]
    terminal = Terminal("rollout", "watch", "fw-2.1", "--url", f"http://{first.address}")
    try:
        terminal.until("‖ PAUSED")
        first.die()
        terminal.until("now asking sat-002")
        assert terminal.leave() == 0
    finally:
        terminal.process.kill()
        terminal.process.wait()
        second.die()
        os.close(terminal.ours)
