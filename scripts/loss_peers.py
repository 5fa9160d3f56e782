"""What others do where packets are lost: a watch that suits them all, and their processes.

Each peer runs with its own defaults, in a namespace of its own, under the same rule as ours.
"""

import http.client
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

from stationkeep.node.chaos.namespace import SPARED, Namespace, loss
from stationkeep.node.chaos.seatwatch import SHORTEST_GAP

HOST = "127.0.0.1"
POLL_SECONDS = 0.1
ANSWER_SECONDS = 5.0
START_SECONDS = 90.0
SETTLE_SECONDS = 20.0
"""From the first leader until packets are lost: replicas and sentinels must have been found."""
END_SECONDS = 20.0

Acting = Callable[[], set[str]]
"""Who says at this moment that it is the one."""


def quiet(
    start: Callable[[ExitStack, Path], Acting], *, share: float, minutes: float
) -> dict[str, Any]:
    """Nothing is killed; what changes nevertheless?"""
    with (
        Namespace() as network,
        tempfile.TemporaryDirectory(prefix="stationkeep-loss-") as folder,
        ExitStack() as processes,
    ):
        acting = start(processes, Path(folder))
        _until(lambda: len(acting()) == 1)
        time.sleep(SETTLE_SECONDS)
        network.impose(loss(share))
        return tally(_watch(acting, 60 * minutes))


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody acts {START_SECONDS:.0f} s after the start")
        time.sleep(POLL_SECONDS)


def _watch(acting: Acting, seconds: float) -> list[tuple[float, set[str]]]:
    end = time.monotonic() + seconds
    seen = []
    while time.monotonic() < end:
        who = acting()
        seen.append((time.monotonic(), who))
        time.sleep(POLL_SECONDS)
    return seen


def tally(seen: Sequence[tuple[float, set[str]]]) -> dict[str, Any]:
    """The same figures as of our own seat; `two_s`: seconds with two at once.

    A gap begins when somebody looked and found nobody: a slow answer of a busy machine is none.
    """
    names = [next(iter(who)) for _, who in seen if len(who) == 1]
    gaps = [g for g in _stretches(seen, lambda who: not who) if g > SHORTEST_GAP]
    return {
        "seconds": seen[-1][0] - seen[0][0],
        "primary_changes": sum(a != b for a, b in pairwise(names)),
        "without_primary": sum(gaps),
        "longest_gap": max(gaps, default=0.0),
        "two_s": sum(_stretches(seen, lambda who: len(who) > 1)),
    }


def _stretches(
    seen: Sequence[tuple[float, set[str]]], holds: Callable[[set[str]], bool]
) -> Iterator[float]:
    """Seconds of each stretch of looks at which it held, until the first at which it did not."""
    for held, looks in groupby(pairwise(seen), lambda pair: holds(pair[0][1])):
        if held:
            stretch = list(looks)
            yield stretch[-1][1][0] - stretch[0][0][0]


@contextmanager
def running(command: Sequence[str], log: Path, user: str | None = None) -> Iterator[None]:
    """One process, which is asked to end and then made to."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, user=user,
            start_new_session=True, cwd=log.parent,
        )  # fmt: skip
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def ask(port: int, path: str) -> tuple[int, str] | None:
    """Status and body of an answer, neither lost on its way; None when nobody answers."""
    connection = http.client.HTTPConnection(
        HOST, port, timeout=ANSWER_SECONDS, source_address=(SPARED, 0)
    )
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def ask_line(port: int, line: bytes) -> bytes:
    """The first bytes that a server answers to a line; empty when nobody answers."""
    try:
        with socket.create_connection((HOST, port), ANSWER_SECONDS, (SPARED, 0)) as connection:
            connection.sendall(line)
            return connection.recv(4_096)
    except OSError:
        return b""
