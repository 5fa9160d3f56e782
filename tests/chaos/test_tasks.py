"""Real processes: tasks from `POST /v1/tasks` to a device's command and back, whoever is killed.

What was seen is the table in tests/README.md, "Killed at each step of a task".
"""

import base64
import hashlib
import signal
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from stationkeep.node.chaos.constellation import Constellation
from stationkeep.node.gateway.sessions import PATH
from tests.chaos.machines import Machine
from tests.chaos.standing import Proxy
from tests.node.agent.tasks.server import HeldServer, Server, dropping, offset, whole
from tests.node.agent.threads import LoopThread
from tests.node.api.doorstep import STATUS

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

CONTENT = b"the new firmware"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FIELDS = {"task_id", "deployment", "attempt", "task_type", "parameters", "rollout", "variant",
          "artifact", "deadline", "install_after", "install_before", "timestamp"}  # fmt: skip


# -- what an operator asks and sees ----------------------------------------------------------------


def submit(cluster: Constellation, **body: Any) -> int:
    """Opens a deployment; its number."""

    def created() -> int | None:
        answer = cluster.ask(cluster.local.running()[0], "/v1/tasks", body)
        found: int | None = answer.get("deployment")
        return found

    return int(cluster.until(f"{body} taken", created))


def configure(cluster: Constellation, **settings: str) -> None:
    node = cluster.leader()
    cluster.until(
        f"{settings} taken",
        lambda: cluster.ask(node, "/v1/config", settings, "PATCH")["status"] == "done",
    )


def deployment(cluster: Constellation, number: int) -> dict[str, Any]:
    found: dict[str, Any] = cluster.anyone(f"/v1/deployments/{number}")
    return found


def tasks(cluster: Constellation, number: int) -> dict[str, dict[str, Any]]:
    """Device → task."""
    items = cluster.anyone(f"/v1/deployments/{number}/tasks")["items"]
    return {task["device"]: task for task in items}


PATIENCE = 90.0
"""Seconds for a step that takes a few, on a machine that may stand still for a while."""


def closed(cluster: Constellation, number: int) -> dict[str, dict[str, Any]]:
    """The tasks of a deployment that is over."""

    def over() -> bool:
        return bool(deployment(cluster, number)["state"] == "closed")

    cluster.until(f"deployment {number} is closed", over, PATIENCE)
    assert deployment(cluster, number)["in_flight"] == 0
    return tasks(cluster, number)


def reaches(cluster: Constellation, number: int, device: str, wanted: str) -> dict[str, Any]:
    """Waits for a task to be in that state, or phase."""

    def there() -> dict[str, Any] | None:
        task = tasks(cluster, number)[device]
        return task if wanted in (task["state"], task["phase"]) else None

    found: dict[str, Any] = cluster.until(f"{device} is {wanted}", there, PATIENCE)
    return found


def devices(cluster: Constellation) -> dict[str, dict[str, Any]]:
    return {device["id"]: device for device in cluster.anyone("/v1/devices?limit=1000")["items"]}


def urls(cluster: Constellation, *nodes: str) -> list[str]:
    return [f"http://{cluster.addresses[node]}" for node in nodes or cluster.addresses]


# -- whoever is killed -----------------------------------------------------------------------------

STEPS = {
    "offered": "offered",
    "downloading": "downloading",
    "installing": "installing",
    "rebooting": "rebooting",
    "confirming": "confirming",
    "registered": "succeeded",
    "reported": "succeeded",
}
"""Device → state or phase in which the cluster sees it when somebody is killed. `registered` has
registered with the new version, `reported` has said that it succeeded; neither was answered."""
ENDINGS = {"rebooting": "exit 10", "confirming": "exit 0"}
BY_PROXY = ("registered", "reported")
HELD = ("installing", *BY_PROXY)


class Stage:
    """A device at each step, all of them served by one node; `queued` is behind `installing`."""

    def __init__(self, cluster: Constellation, place: Path) -> None:
        self.cluster, self.thread = cluster, LoopThread()
        leader = cluster.leader()
        self.serving = next(node for node in cluster.addresses if node != leader)
        self.server = HeldServer(whole(CONTENT))
        self.proxy = Proxy(cluster.addresses[self.serving])
        self.thread.do(self._serve())
        self.machines = {
            step: Machine(place / step, self._first(step), **_ending(step)) for step in STEPS
        }
        self.deployments: dict[str, int] = {}

    async def _serve(self) -> None:
        await self.server.__aenter__()
        await self.proxy.start()

    def _first(self, step: str) -> list[str]:
        return [self.proxy.url] if step in BY_PROXY else urls(self.cluster, self.serving)

    def begin(self) -> None:
        """Each of them comes to its step, and stays there."""
        self._gather()
        for machine in self.machines.values():
            machine.urls += urls(self.cluster)
            if machine.id not in HELD:
                machine.goes_on()
        self.machines["offered"].signal(signal.SIGSTOP)
        for step in STEPS:
            self.deployments[step] = submit(self.cluster, devices=[step], **self._what(step))
        self.deployments["queued"] = submit(
            self.cluster, devices=["installing"], task_type="collect", priority=1
        )
        for step, wanted in STEPS.items():
            at = "installing" if step in HELD else wanted
            reaches(self.cluster, self.deployments[step], step, at)
        reaches(self.cluster, self.deployments["queued"], "installing", "queued")
        self.cluster.until("a part has come", lambda: self.machines["downloading"].downloaded)
        self._leave_unanswered()

    def _gather(self) -> None:
        """Starts all agents. One that a slow moment has driven to another node starts again."""
        for machine in self.machines.values():
            machine.start()
        self.cluster.until("all are in", lambda: len(devices(self.cluster)) == len(STEPS), PATIENCE)
        while astray := self._astray():
            for device in astray:
                self._start_again(device["id"], device["session"])

    def _astray(self) -> list[dict[str, Any]]:
        """Devices that another node serves, or this one past the proxy."""
        there = devices(self.cluster)
        elsewhere = [device for device in there.values() if device["served_by"] != self.serving]
        past = self.proxy.connections < len(BY_PROXY)
        return elsewhere or [there[step] for step in BY_PROXY if past]

    def _start_again(self, name: str, session: int) -> None:
        self.machines[name].kill()
        self.machines[name].start()
        self.cluster.until(
            f"{name} is back", lambda: devices(self.cluster)[name]["session"] > session
        )

    def _what(self, step: str) -> dict[str, Any]:
        if step == "reported":
            return {"task_type": "collect"}
        if step != "downloading":
            return {"artifact": {"version": "2.0.0"}}
        file = {"url": self.server.url, "sha256": SHA256, "size": len(CONTENT)}
        return {"artifact": {"version": "2.0.1"} | file}

    def _leave_unanswered(self) -> None:
        self.thread.do(self._withhold())
        for step in BY_PROXY:
            self.machines[step].goes_on()
        for step in BY_PROXY:
            reaches(self.cluster, self.deployments[step], step, "succeeded")
        assert self.machines["reported"].unheard == [f"{self.deployments['reported']}/reported/1"]

    async def _withhold(self) -> None:
        self.proxy.withhold()

    def kill_agents(self) -> None:
        """All of them, which start again; what the killed ones have started must be gone before
        it may end by itself."""
        for machine in self.machines.values():
            machine.kill()
            machine.start()
        self.cluster.until(
            "the command was begun again",
            lambda: self.machines["installing"].runs == "01",
            PATIENCE,
        )

    def go_on(self) -> None:
        """What each waits for happens."""
        self.thread.do(self.proxy.cut())
        self.machines["offered"].signal(signal.SIGCONT)
        self.thread.loop.call_soon_threadsafe(self.server.go_on)
        self.machines["installing"].goes_on()
        self.machines["rebooting"].reboot("2.0.0")
        self.machines["confirming"].runs_version("2.0.0")

    def end(self) -> None:
        for machine in self.machines.values():
            machine.end()
        self.thread.do(self.proxy.end())
        self.thread.do(self.server.__aexit__(None, None, None))
        self.thread.end()


def _ending(step: str) -> dict[str, str]:
    return {"ending": ENDINGS[step]} if step in ENDINGS else {}


@pytest.fixture
def stage(constellation: Constellation, tmp_path: Path) -> Iterator[Stage]:
    constellation.up(nodes=3)
    # An agent that is not answered within half an interval asks another node: not before the kill,
    # however slow the machine.
    configure(constellation, device_status_interval="60s", device_offline_after="240s",
              offer_timeout="60s", progress_timeout="60s")  # fmt: skip
    made = Stage(constellation, tmp_path)
    yield made
    made.end()


@pytest.mark.parametrize("victim", ["agent", "serving node", "leader"])
def test_killed_at_any_step_of_a_task_it_ends_once_in_its_first_attempt(
    constellation: Constellation, stage: Stage, victim: str
) -> None:
    stage.begin()
    node = {"agent": None, "serving node": stage.serving, "leader": constellation.leader()}[victim]
    if node is None:
        stage.kill_agents()
    else:
        constellation.kill(node)
    stage.go_on()

    for of, number in stage.deployments.items():
        (task,) = closed(constellation, number).values()
        assert (of, task["state"], task["attempt"]) == (of, "succeeded", 1)
    runs = {step: machine.runs for step, machine in stage.machines.items()}
    again = "1" if victim == "agent" else ""
    assert runs == dict.fromkeys(STEPS, "0") | {"installing": f"0{again}0"}
    versions = {name: one["app_version"] for name, one in devices(constellation).items()}
    new = dict.fromkeys(STEPS, "2.0.0")
    assert versions == new | {"downloading": "2.0.1", "reported": "1.0.0"}
    for machine in stage.machines.values():
        constellation.until(f"{machine.id} has heard", lambda m=machine: not m.unheard)
    if victim == "agent":
        assert offset(stage.server.requests[-1]) > 0  # what it had was not fetched again
    if node is not None:
        constellation.local.start(node)
    constellation.until(
        "all replicas are equal",
        lambda: len(found := constellation.digests()) == 3 and len(set(found.values())) == 1,
    )


# -- what devices do -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Constellation]:
    """Three nodes that nobody kills, and twelve simulated devices."""
    made = Constellation(tmp_path_factory.mktemp("cluster") / "cluster")
    try:
        made.up(nodes=3, devices=12)
        made.until("twelve devices are in", lambda: len(devices(made)) == 12)
        yield made
    finally:
        made.stop()


@contextmanager
def running(machine: Machine, cluster: Constellation) -> Iterator[Machine]:
    """A machine whose commands may end."""
    machine.goes_on()
    machine.start()
    try:
        cluster.until(f"{machine.id} is in", lambda: machine.id in devices(cluster))
        yield machine
    finally:
        machine.end()


class Device:
    """A device whose every word a test says itself."""

    def __init__(self, connection: ClientConnection, codec: str, name: str) -> None:
        self.name, self._connection = name, connection
        self._codec = msgspec.json if codec == "json" else msgspec.msgpack
        self._session = int(time.time())

    def say(self, message_type: str, **payload: Any) -> None:
        message = {"message_type": message_type, "sender_id": self.name,
                   "receiver_id": "master-orchestrator", "payload": payload}  # fmt: skip
        text = self._codec.encode(message)
        self._connection.send(text if self._codec is msgspec.msgpack else text.decode())

    def runs(self, version: str, capable: bool = True) -> None:
        """Registers, in a session of its own as after a restart."""
        self._session += 1
        status = STATUS | {"slave_id": self.name, "app_version": version}
        self.say("registration", device_status=status, capabilities={"deployment": capable},
                 session=self._session, sequence=1)  # fmt: skip
        assert self.hears("ack")["payload"]["of"] == "registration"

    def hears(self, message_type: str) -> dict[str, Any]:
        """The next message of this type; others are passed over."""
        while True:
            data = self._connection.recv(20)
            raw = data.encode() if isinstance(data, str) else data
            message: dict[str, Any] = self._codec.decode(raw)
            if message["message_type"] == message_type:
                return message

    def resets(self) -> None:
        """Its connection, as a machine does that has lost its power or its mind."""
        reset = struct.pack("ii", 1, 0)
        self._connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        self._connection.socket.close()

    def updates(self, task_id: str, state: str, **more: Any) -> None:
        self.say("task_update", task_id=task_id, state=state, **more)


@contextmanager
def device(cluster: Constellation, name: str, codec: str = "json") -> Iterator[Device]:
    """A device that runs 1.0.0."""
    address = next(iter(cluster.addresses.values()))
    protocol = [Subprotocol("stationkeep.msgpack")] if codec == "msgpack" else None
    with connect(
        f"ws://{address}{PATH}", compression=None, subprotocols=protocol, max_queue=None
    ) as connection:
        made = Device(connection, codec, name)
        made.runs("1.0.0")
        cluster.until(f"{name} is in", lambda: name in devices(cluster))
        yield made


def test_a_task_for_a_ring_updates_its_devices_and_no_other(cluster: Constellation) -> None:
    """In less than 15 s, the fastest of three: a machine may stand still for a while."""
    for version in ("2.0.0", "2.0.1", "2.0.2"):
        if _update_ring(cluster, version) < 15:
            return
    pytest.fail("each took longer")


def _update_ring(cluster: Constellation, version: str) -> float:
    """How many seconds it took."""
    before = {name: one for name, one in devices(cluster).items() if name.startswith("device-")}
    prod = {name for name, one in before.items() if one["ring"] == "prod"}
    began = time.monotonic()
    number = submit(cluster, task_type="deployment",
                    parameters={"version": version, "ring": "prod"})  # fmt: skip
    found = closed(cluster, number)
    took = time.monotonic() - began
    assert {name: task["state"] for name, task in found.items()} == dict.fromkeys(prod, "succeeded")
    assert len(prod) == 3
    after = devices(cluster)
    for name, one in before.items():
        wanted = version if name in prod else one["app_version"]
        assert after[name]["app_version"] == wanted != ""
        if name not in prod:
            assert cluster.anyone(f"/v1/devices/{name}/tasks")["items"] == []
    return took


@pytest.mark.parametrize("codec", ["json", "msgpack"])
def test_a_device_is_sent_exactly_the_fields_of_the_protocol(
    cluster: Constellation, codec: str
) -> None:
    name = f"slave-{codec}"
    with device(cluster, name, codec) as phone:
        number = submit(cluster, task_type="deployment",
                        parameters={"version": "2.0.0", "target": name})  # fmt: skip
        message = phone.hears("task")
        task = message["payload"]
        ring = devices(cluster)[name]["ring"]
        phone.updates(task["task_id"], "in_progress", phase="installing", progress=40)
        reaches(cluster, number, name, "installing")
        phone.runs("2.0.0")
        phone.updates(task["task_id"], "succeeded")
        ack = phone.hears("task_ack")["payload"]
    (only,) = closed(cluster, number).values()
    assert only["task_id"] == task["task_id"] == f"{number}/{name}/1"
    assert message.keys() == {"message_type", "sender_id", "receiver_id", "payload"}
    assert message["receiver_id"] == name
    assert task.keys() == FIELDS
    assert (task["deployment"], task["attempt"]) == (number, 1)
    assert task["task_type"] == "deployment"
    assert task["parameters"] == {"version": "2.0.0", "target": name, "ring": ring}
    assert task["artifact"]["version"] == "2.0.0"
    assert task["deadline"] > task["timestamp"]
    assert ack == {"task_id": task["task_id"], "state": "succeeded", "outdated": False}


def test_devices_that_say_something_and_are_gone_leave_all_nodes_running(
    cluster: Constellation,
) -> None:
    """The answer comes out of the log when nobody is there to hear it."""
    names = [f"fleeting-{n}" for n in range(6)]
    with ExitStack() as there:
        for name in names:
            there.enter_context(device(cluster, name))
        number = submit(cluster, devices=names, task_type="collect")
        for name in names:
            reaches(cluster, number, name, "offered")
    for name in names:
        with device(cluster, name) as gone:
            gone.updates(f"{number}/{name}/1", "in_progress", phase="installing")
            gone.resets()
    for name in names:
        with device(cluster, name) as back:
            back.updates(f"{number}/{name}/1", "succeeded")
            assert back.hears("task_ack")["payload"]["state"] == "succeeded"
    closed(cluster, number)
    assert set(cluster.local.running()) == set(cluster.addresses)


def test_who_has_the_version_or_cannot_install_is_sent_nothing(cluster: Constellation) -> None:
    with device(cluster, "has-it") as has_it, device(cluster, "cannot") as cannot:
        has_it.runs("2.0.0")
        cannot.runs("1.0.0", capable=False)
        number = submit(cluster, devices=["has-it", "cannot"], artifact={"version": "2.0.0"})
        (task,) = closed(cluster, number).values()
        cannot.runs("1.0.0")
        later = submit(cluster, devices=["has-it", "cannot"], task_type="restart")
        for phone in (has_it, cannot):
            assert phone.hears("task")["payload"]["deployment"] == later
    assert (task["device"], task["state"]) == ("has-it", "already_installed")
    seen = deployment(cluster, number)
    assert (seen["members"], seen["incapable"], seen["failures"]) == (1, 1, [])
    cluster.ask(cluster.leader(), f"/v1/deployments/{later}/cancel", {})


def test_a_reboot_that_takes_too_long_is_another_attempt(cluster: Constellation) -> None:
    configure(cluster, progress_timeout="5s")
    with device(cluster, "slow-boot") as phone:
        number = submit(cluster, devices=["slow-boot"], artifact={"version": "2.0.0"})
        task_id = phone.hears("task")["payload"]["task_id"]
        phone.updates(task_id, "in_progress", phase="rebooting")
        reaches(cluster, number, "slow-boot", "rebooting")
        reaches(cluster, number, "slow-boot", "queued")
        phone.runs("1.0.0")
        again = phone.hears("task")["payload"]
        assert (again["deployment"], again["attempt"]) == (number, 2)
        phone.runs("2.0.0")
    (task,) = closed(cluster, number).values()
    assert (task["state"], task["attempt"]) == ("succeeded", 2)
    tallies = deployment(cluster, number)["failures"]
    assert [(group["reason"], group["count"]) for group in tallies] == [("silent", 1)]
    configure(cluster, progress_timeout="15s")


def test_a_success_is_believed_only_with_the_version_that_was_asked_for(
    cluster: Constellation,
) -> None:
    """The device says `succeeded` and goes on running the former version."""
    configure(cluster, progress_timeout="5s", task_timeout="5s")
    with device(cluster, "liar") as phone:
        number = submit(cluster, devices=["liar"], artifact={"version": "2.0.0"})
        task_id = phone.hears("task")["payload"]["task_id"]
        phone.updates(task_id, "succeeded")
        assert not phone.hears("task_ack")["payload"]["outdated"]
        reaches(cluster, number, "liar", "confirming")
        phone.runs("1.0.0")

        def over() -> bool:
            phone.updates(task_id, "succeeded")
            return bool(deployment(cluster, number)["state"] == "closed")

        cluster.until("its time is over", over)
    (task,) = closed(cluster, number).values()
    assert (task["state"], task["reason"]) == ("timed_out", "version_mismatch")
    assert task["attempt"] == 1
    configure(cluster, progress_timeout="15s", task_timeout="60s")


def test_a_device_that_falls_back_has_failed_for_good(cluster: Constellation) -> None:
    """As long as the deployment is open: here by a device that is not there."""
    with device(cluster, "absent"):
        pass
    cluster.until("it is away", lambda: not devices(cluster)["absent"]["online"])
    with device(cluster, "faller") as phone:
        number = submit(
            cluster, devices=["faller", "absent"], artifact={"version": "2.0.0"}, deadline="20s"
        )
        phone.updates(phone.hears("task")["payload"]["task_id"], "in_progress", phase="installing")
        phone.runs("2.0.0")
        assert tasks(cluster, number)["faller"]["state"] == "succeeded"
        phone.runs("1.0.0")
        task = tasks(cluster, number)["faller"]
        assert (task["state"], task["reason"], task["attempt"]) == ("failed", "reverted", 1)
    assert deployment(cluster, number)["failures"][0]["reason"] == "reverted"
    cluster.ask(cluster.leader(), f"/v1/deployments/{number}/cancel", {})


def test_who_is_away_until_the_deadline_is_unreached_and_no_failure(
    cluster: Constellation,
) -> None:
    names = [f"away-{number}" for number in range(3)]
    for name in names:
        with device(cluster, name):
            pass
    cluster.until("they are away", lambda: not any(devices(cluster)[n]["online"] for n in names))
    with device(cluster, "here") as phone:
        number = submit(cluster, devices=[*names, "here"], artifact={"version": "2.0.0"},
                        deadline="3s")  # fmt: skip
        phone.updates(phone.hears("task")["payload"]["task_id"], "in_progress", phase="installing")
        phone.runs("2.0.0")
        found = closed(cluster, number)
    assert {name: task["state"] for name, task in found.items()} == (
        dict.fromkeys(names, "unreached") | {"here": "succeeded"}
    )
    assert deployment(cluster, number)["failures"] == []


def test_a_task_that_is_put_off_frees_its_place_and_keeps_its_attempt(
    cluster: Constellation, tmp_path: Path
) -> None:
    ending = 'if s=$(cat "$1/busy" 2>&-); then echo postpone $s; exit 75; fi'
    machine = Machine(tmp_path / "busy", urls(cluster), ending)
    (machine.place / "busy").write_text("600")
    with running(machine, cluster):
        number = submit(cluster, devices=["busy"], task_type="collect", max_in_flight=1)
        task = cluster.until(
            "it is put off",
            lambda: (t := tasks(cluster, number)["busy"])["reason"] == "postponed" and t,
        )
        assert (task["state"], task["attempt"]) == ("queued", 1)
        assert 590 < task["due_s"] < 601
        assert deployment(cluster, number)["in_flight"] == 0
        cluster.ask(cluster.leader(), f"/v1/deployments/{number}/cancel", {})
        (machine.place / "busy").write_text("1")
        number = submit(cluster, devices=["busy"], task_type="collect")
        cluster.until("it is put off again", lambda: machine.runs.count("0") >= 2)
        (machine.place / "busy").unlink()
        (task,) = closed(cluster, number).values()
        assert (task["state"], task["attempt"]) == ("succeeded", 1)


@pytest.fixture
def thread() -> Iterator[LoopThread]:
    made = LoopThread()
    yield made
    made.end()


def test_nothing_runs_but_what_was_signed_and_came_whole(
    cluster: Constellation, tmp_path: Path, thread: LoopThread
) -> None:
    """The hash of another file, the signature of another hash, and a connection that breaks."""
    key = Ed25519PrivateKey.generate()
    (tmp_path / "keys").mkdir()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "keys" / "release.pem").write_bytes(public)
    server = Server(breaking_once(CONTENT))
    thread.do(server.__aenter__())
    machine = Machine(tmp_path / "careful", urls(cluster), more=[f"--trust={tmp_path / 'keys'}"])

    def ends(version: str, sha256: str, signed: str) -> tuple[str, str, int]:
        signature = base64.b64encode(key.sign(bytes.fromhex(signed))).decode()
        number = submit(cluster, devices=["careful"], artifact={
            "version": version, "url": server.url, "sha256": sha256, "size": len(CONTENT),
            "signature": signature, "key": "release",
        })  # fmt: skip
        (task,) = closed(cluster, number).values()
        return task["state"], task["reason"], task["attempt"]

    other = hashlib.sha256(b"another firmware").hexdigest()
    with running(machine, cluster):
        assert ends("2.0.1", other, signed=other) == ("failed", "hash", 1)
        assert ends("2.0.2", SHA256, signed=other) == ("failed", "signature", 1)
        assert machine.runs == ""
        server.requests.clear()
        assert ends("2.0.3", SHA256, signed=SHA256) == ("succeeded", "", 1)
        assert machine.runs == "0"
        assert [offset(request) for request in server.requests] == [0, len(CONTENT) // 2]
    thread.do(server.__aexit__(None, None, None))


def breaking_once(content: bytes) -> Any:
    """A server whose connections break at the half, but for those that go on there."""

    def reply(server: Server, request: dict[str, str]) -> bytes:
        half = len(content) // 2
        return dropping(content, half if not offset(request) else len(content))(server, request)

    return reply
