"""A real node that asks for tokens: the first one, its end, and no secret anywhere."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from stationkeep.node.http.access import MAX_FAILURES
from stationkeep.node.security.local_door import NAME
from stationkeep.node.security.tokens import parse
from tests.node.runtime.test_node import Solo, solo

__all__ = ["solo"]

GUESSES, ROUNDS = 10_000, 2
GUESSING = """
import json, socket, sys, threading
from collections import Counter
from stationkeep.node.security.tokens import draw

port, number = int(sys.argv[1]), int(sys.argv[2])
answers = Counter()

def guess():
    for _ in range(number // 8):
        shown = f"Authorization: Bearer {draw().text}"
        head = ["GET /v1/cluster HTTP/1.1", "Host: localhost", shown, "", ""]
        with socket.create_connection(("localhost", port)) as connection:
            connection.sendall("\\r\\n".join(head).encode())
            answers[connection.recv(65_536)[9:12].decode()] += 1

threads = [threading.Thread(target=guess) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps(answers))
"""
"""One address that shows wrong tokens as fast as they are refused."""

SECRET = re.compile(rb"sk[tdej]_[a-z0-9]{8}_[a-z2-7]{52}_[0-9a-f]{8}")


def stationkeep(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stationkeep", *words]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, env=os.environ | environment
    )


def status(solo: Solo, path: str, token: str = "", method: str = "GET") -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = Request(f"http://127.0.0.1:{solo.http}{path}", headers=headers, method=method)
    try:
        with urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.processes
def test_the_first_token_comes_from_the_node_s_own_machine_and_none_is_ever_written_down(
    solo: Solo, tmp_path: Path
) -> None:
    solo.content["auth"] = "required"
    solo.start()
    solo.wait_until(lambda: solo.get("/primary")[0] == 200, 60)
    home = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    assert status(solo, "/v1/cluster")[0] == 401
    url = f"http://127.0.0.1:{solo.http}"
    assert stationkeep("status", "--url", url, **home).returncode == 7

    made = []
    for role in ("admin", "viewer", "device"):
        words = ["tokens", "create", "--name", role, "--role", role, "--config", str(solo.file)]
        words += ["--ids", "sensor-*"] if role == "device" else []
        result = stationkeep(*words, **home)
        assert result.returncode == 0, result.stderr
        made.append(result.stdout.strip())
    admin, viewer, device = made
    assert stationkeep("status", "--url", url, STATIONKEEP_TOKEN=viewer, **home).returncode == 0
    assert status(solo, "/v1/snapshot", viewer)[0] == 403
    seen = f"/v1/tokens/{parse(viewer).id}"
    solo.wait_until(lambda: '"seen_from":["127.0.0.1"]' in status(solo, seen, admin)[1])
    snapshot = downloaded(solo, admin)

    asyncio.run(_a_connection_ends_with_its_token(solo, admin, device))
    assert json.loads(status(solo, "/v1/cluster", device)[1])["rule"] == "revoked"

    decided = json.loads(status(solo, "/v1/decisions", admin)[1])["items"]
    actors = {one["actor"] for one in decided if one["matter"] == "token"}
    assert actors == {"local-admin@sat-001", f"admin#{parse(admin).id}", ""}
    assert solo.process is not None
    arguments = Path(f"/proc/{solo.process.pid}/cmdline").read_bytes()
    solo.process.send_signal(signal.SIGTERM)
    _, errors = solo.end()
    data = solo.directory / "data"
    written = [path for path in data.rglob("*") if path.is_file() and path.name != NAME]
    for content in (errors.encode(), arguments, snapshot, *(p.read_bytes() for p in written)):
        assert SECRET.search(content) is None
        for token in made:
            assert parse(token).secret.encode() not in content


@pytest.mark.processes
def test_ten_thousand_guesses_at_a_token_keep_nobody_waiting(solo: Solo) -> None:
    solo.content["auth"] = "required"
    solo.start()
    solo.wait_until(lambda: solo.get("/primary")[0] == 200, 60)
    good = (solo.directory / "data" / NAME).read_text().strip()
    waits = []
    for _ in range(ROUNDS):
        guessing = subprocess.Popen(
            [sys.executable, "-c", GUESSING, str(solo.http), str(GUESSES // ROUNDS)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        waits.append(asked_meanwhile(solo, good, guessing))
        said, _ = guessing.communicate()
        assert set(json.loads(said)) <= {"401", "429"}
        assert json.loads(said).get("401", 0) <= MAX_FAILURES
    assert min(waits) <= 0.025, "the machine may have had other things to do once"
    counted = f'outcome="unknown"}} {GUESSES}.0'
    assert counted in status(solo, "/metrics", good)[1]
    told = "wrong tokens are shown again and again from 127.0.0.1"
    solo.wait_until(lambda: told in status(solo, "/v1/decisions", good)[1])


def asked_meanwhile(solo: Solo, token: str, guessing: subprocess.Popen[str]) -> float:
    """How long somebody at another address waits for an answer while there are guesses: what 99 of
    100 do not exceed. Nobody there is refused."""
    where = HTTPConnection("127.0.0.1", solo.http, source_address=("127.0.0.2", 0))
    waits = []
    while guessing.poll() is None:
        began = time.perf_counter()
        where.request("GET", "/v1/me", headers={"Authorization": f"Bearer {token}"})
        with where.getresponse() as answer:
            assert answer.status == 200, answer.read()
            answer.read()
        waits.append(time.perf_counter() - began)
    where.close()
    return sorted(waits)[len(waits) * 99 // 100]


def downloaded(solo: Solo, token: str) -> bytes:
    headers = {"Authorization": f"Bearer {token}"}
    with urlopen(Request(f"http://127.0.0.1:{solo.http}/v1/snapshot", headers=headers)) as answer:
        content: bytes = answer.read()
    return content


async def _a_connection_ends_with_its_token(solo: Solo, admin: str, device: str) -> None:
    where = f"ws://127.0.0.1:{solo.http}/v1/agents"
    with pytest.raises(InvalidStatus):
        async with connect(where):
            raise AssertionError("who shows no token was let in")
    async with connect(
        where, additional_headers={"Authorization": f"Bearer {device}"}, compression=None
    ) as socket:
        answer = await asyncio.to_thread(
            status, solo, f"/v1/tokens/{parse(device).id}", admin, "DELETE"
        )
        assert answer[0] == 200, answer
        with pytest.raises(ConnectionClosed):
            async with asyncio.timeout(5):
                await socket.recv()
        assert socket.close_code == 4003
