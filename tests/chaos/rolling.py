"""Who takes part in the rollouts of a test: devices whose installations wait for leave, and the
webhook of stages, which keeps everybody waiting."""

import asyncio
import json
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from stationkeep.node.agent import DeviceAgent
from stationkeep.node.agent.tasks.handler import Task
from stationkeep.node.chaos.constellation import Constellation
from tests.chaos.devices import WELL
from tests.node.agent.threads import LoopThread

FORMER = "1.0.0"
"""The version that devices run at first."""
PATIENCE = 90.0
"""Seconds for a step that takes a few, on a machine that may stand still for a while."""


class Crew:
    """Real agents on one event loop, which are told what their commands do."""

    def __init__(self, cluster: Constellation) -> None:
        self._cluster, self._thread = cluster, LoopThread()
        self._agents: dict[str, DeviceAgent] = {}
        self._may_end: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.runs: defaultdict[str, list[str]] = defaultdict(list)
        """Device → versions whose installation has begun."""
        self.failing: set[str] = set()
        """Devices that keep their version, whatever they install."""

    def start(self, name: str, *nodes: str, **labels: str) -> None:
        """A device begins at one of these nodes, or any; one that is there begins anew."""
        chosen = nodes or self._cluster.local.running()
        urls = [f"http://{self._cluster.addresses[node]}" for node in chosen]

        async def start() -> None:
            if name in self._agents:
                await self._agents[name].stop()
            self._agents[name] = await DeviceAgent(
                name, urls, app_version=FORMER, labels=labels, read_status=lambda: WELL,
                on_task=self._carry_out,
            ).start()  # fmt: skip

        self._thread.do(start(), PATIENCE)

    async def _carry_out(self, task: Task) -> str:
        _, name, _ = task.task_id.split("/")
        self.runs[name].append(task.version)
        await self._may_end[name].wait()
        return FORMER if name in self.failing else task.version

    def goes_on(self, *names: str) -> None:
        """What these install ends, and ends at once from now on."""
        for name in names:
            self._thread.loop.call_soon_threadsafe(self._may_end[name].set)

    def holds(self, name: str) -> None:
        """What it installs waits for leave from now on."""
        self._thread.loop.call_soon_threadsafe(self._may_end[name].clear)

    def end(self) -> None:
        for agent in self._agents.values():
            self._thread.do(agent.stop())
        self._thread.end()


class Gate(ThreadingHTTPServer):
    """The webhook: whoever asks about a rollout waits until `says` has been called about it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Door)
        self.asked: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        """Rollout → (id of the message, node that asked) of each question."""
        self._verdicts: dict[str, str] = {}
        self._said = threading.Condition()
        self._thread = threading.Thread(target=self.serve_forever)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"

    def says(self, rollout: str, verdict: str) -> None:
        with self._said:
            self._verdicts[rollout] = verdict
            self._said.notify_all()

    def verdict(self, rollout: str) -> str:
        """Waits for it."""
        with self._said:
            self._said.wait_for(lambda: rollout in self._verdicts)
            return self._verdicts[rollout]

    def handle_error(self, *_: object) -> None:
        """Whoever asked may be dead when it is answered."""

    def end(self) -> None:
        for rollout in self.asked:
            self.says(rollout, "fail")
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Door(BaseHTTPRequestHandler):
    server: Gate

    def do_POST(self) -> None:
        data = json.loads(self.rfile.read(int(self.headers["content-length"])))["data"]
        self.server.asked[data["rollout"]].append((self.headers["webhook-id"], data["sent_by"]))
        content = json.dumps({"verdict": self.server.verdict(data["rollout"])}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None: ...
