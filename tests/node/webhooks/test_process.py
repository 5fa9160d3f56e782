"""A real node tells a real receiver, which checks the signature as any library would."""

import base64
import hashlib
import hmac
import json
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from stationkeep.node.audit.chain import verify
from tests.node.runtime.test_node import Solo, solo

__all__ = ["solo"]

KEY = b"0123456789abcdef0123456789abcdef"
pytestmark = pytest.mark.processes


class Inbox(ThreadingHTTPServer):
    """Accepts what is signed with KEY, at the second asking."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.accepted: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/in"


class Handler(BaseHTTPRequestHandler):
    server: Inbox

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        id_, moment = self.headers["webhook-id"], self.headers["webhook-timestamp"]
        mac = hmac.new(KEY, f"{id_}.{moment}.".encode() + body, hashlib.sha256).digest()
        first = id_ not in self.server.asked
        self.server.asked.append(id_)
        right = self.headers["webhook-signature"] == f"v1,{base64.b64encode(mac).decode()}"
        if right and not first:
            self.server.accepted.append(json.loads(body))
        asked = json.loads(body)["type"] == "rollout.gate"
        content = b'{"verdict": "pass", "detail": "seen"}' if asked else b""
        self.send_response(503 if first else 401 if not right else 200 if asked else 204)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with Inbox() as inbox:
        thread = threading.Thread(target=inbox.serve_forever, daemon=True)
        thread.start()
        yield inbox
        inbox.shutdown()
        thread.join()


def metric(solo: Solo, line: str) -> float:
    with urlopen(f"http://127.0.0.1:{solo.http}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return next(float(text.split()[-1]) for text in lines if text.startswith(line))


def test_a_change_of_role_reaches_the_receiver_over_http(
    solo: Solo, inbox: Inbox, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("whsec_" + base64.b64encode(KEY).decode())
    solo.content["webhooks"] = [{"name": "pager", "url": inbox.url, "secret_file": str(secret)}]
    solo.start()
    solo.wait_until(lambda: any(m["type"] == "role.changed" for m in inbox.accepted), 40)
    [change] = inbox.accepted[0]["data"]["decision"]["changes"]
    assert (change["node"], change["target"]) == ("sat-001", "PRIMARY")
    pager = 'stationkeep_webhook_deliveries_total{outcome="%s",webhook="pager"}'
    solo.wait_until(lambda: metric(solo, pager % "delivered") >= 1)  # it counts after the answer
    assert metric(solo, pager % "failed") >= 1, "the first asking"
    solo.wait_until(lambda: metric(solo, 'stationkeep_webhook_pending{webhook="pager"}') == 0)
    assert solo.process is not None
    told = list(inbox.accepted)
    solo.process.send_signal(signal.SIGTERM)
    assert solo.end()[0] == 0
    solo.start()
    solo.wait_until(lambda: solo.get("/primary")[0] == 200)
    assert inbox.accepted == told, "the cursor outlives the process"
    verdict = verify([solo.directory / "data" / "audit.jsonl"])
    assert (verdict.fault, verdict.node) == ("", "sat-001")


def test_a_stage_passes_by_the_word_of_a_real_service(
    solo: Solo, inbox: Inbox, tmp_path: Path
) -> None:
    """Asked twice, as it is busy at first, and signed; the device has the version already."""
    secret = tmp_path / "secret"
    secret.write_text("whsec_" + base64.b64encode(KEY).decode())
    solo.content["webhooks"] = [{"name": "ci", "url": inbox.url, "secret_file": str(secret)}]
    solo.start()
    status = {
        "slave_id": "pixel", "battery_level": 80, "battery_charging": False, "cpu_usage": 12,
        "memory_usage": 30, "disk_usage": 20, "app_version": "2.0.0",
    }  # fmt: skip
    device = {
        "device_status": status, "capabilities": {"deployment": True}, "session": 1, "sequence": 1,
    }  # fmt: skip
    solo.wait_until(lambda: solo.get("/v1/cluster")[1].get("leader") == "sat-001")
    solo.post("/v1/devices:register", {"registrations": [device]})
    stage = {"name": "all", "ring": "all", "gates": {"webhook": inbox.url}}
    plan = {"artifact": {"version": "2.0.0"}, "stages": [stage], "rest": False}
    solo.post("/v1/rollouts", {"rollout": "fw", "plan": plan}, **{"Idempotency-Key": "a"})
    solo.post("/v1/rollouts/fw/start", {}, **{"Idempotency-Key": "b"})
    solo.wait_until(lambda: solo.get("/v1/rollouts/fw")[1]["state"] == "succeeded", 40)
    [asked] = [message for message in inbox.accepted if message["type"] == "rollout.gate"]
    assert (asked["data"]["rollout"], asked["data"]["sent_by"]) == ("fw", "sat-001")
