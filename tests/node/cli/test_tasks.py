"""`tasks`: what is asked and sent, and how it fits; and a deployment from its order to its end."""

import json
import shlex
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from stationkeep.cluster.commands import RegisterDevices, Registration
from stationkeep.cluster.delivery.offers import plan_offers
from stationkeep.node.api.app import build
from stationkeep.node.cli import exchange, following
from stationkeep.node.cli.rendering import fleet_tables, task_tables
from tests.node.api.fake import FakeNode
from tests.node.api.fleet_story import WELL, register
from tests.node.cli.canned import (
    CLOSED,
    DEVICES,
    TASK,
    WAITING,
    CannedNode,
    Run,
    deployment,
    problem,
)
from tests.node.cli.printed import printed

LONG = deployment(
    4_000_000, held="automatic changes are switched off (swarm_mode)", version="2.0.0-" + "x" * 58,
    target="model in (" + ", ".join(f"Pixel {n}" for n in range(40)) + ")", members=1_000_000,
    tallies={"queued": 900_000, "failed": 99_999, "succeeded": 1}, age_s=2e6, actor="a" * 90,
)  # fmt: skip


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize(
    ("table", "answer"),
    [
        (task_tables.deployments, [LONG, deployment(17), CLOSED]),
        (task_tables.deployment, LONG | {"tasks": [TASK, WAITING]}),
        (task_tables.tasks, [TASK, WAITING | {"task_id": f"17/{'d' * 128}/1"}]),
        (fleet_tables.device, DEVICES[0] | {"tasks": [TASK, WAITING]}),
    ],
)
def test_a_table_fits_the_terminal(table: Callable[[Any], Any], answer: Any, width: int) -> None:
    lines = printed(table(answer), width).split("\n")
    assert len(lines) > 1
    assert max(len(line.rstrip()) for line in lines) <= width
    assert not any("…" in line for line in lines)


def test_tasks_of_a_type_of_ones_own_are_shown_with_it(
    canned: CannedNode, stationkeep: Run
) -> None:
    canned.reads["/v1/deployments/17"] = deployment(17, task_type="flash")
    assert "flash app 2.0.0" in stationkeep("tasks", "show", "17").output


def test_nothing_is_shown_as_nothing(canned: CannedNode, stationkeep: Run) -> None:
    canned.reads["/v1/deployments"] = {"items": [], "next": None}
    assert "no deployments" in stationkeep("tasks", "list").output
    canned.reads["/v1/devices/slave-001/tasks"] = {"items": [], "next": None}
    assert stationkeep("devices", "tasks", "slave-001").output == "no tasks\n"


def test_a_deployment_whose_tasks_are_forgotten_is_shown(
    canned: CannedNode, stationkeep: Run
) -> None:
    canned.reads["/v1/deployments/16"] = CLOSED | {"rostered": False}
    del canned.reads["/v1/deployments/16/tasks"]
    assert stationkeep("tasks", "show", "16").exit_code == 0


def test_tasks_are_filtered_and_a_cut_list_says_so(canned: CannedNode, stationkeep: Run) -> None:
    canned.reads["/v1/deployments/17/tasks"] |= {"next": "more"}
    options = ["--state", "failed", "--ring", "prod", "--limit", "2"]
    result = stationkeep("tasks", "show", "17", *options)
    assert "raise --limit 2" in result.stderr
    assert dict(canned.requests[-1].url.params) == {"state": "failed", "ring": "prod", "limit": "2"}


def test_deployments_are_filtered_by_several_states(canned: CannedNode, stationkeep: Run) -> None:
    result = stationkeep("tasks", "list", "--state", "open", "--state", "closing")
    assert result.exit_code == 0, result.output
    assert canned.requests[-1].url.params.get_list("state") == ["open", "closing"]


WHOLE = "--artifact https://u.example/fw.bin --sha256 9f --size 18 --signature MEUC --signing-key k"
LIMITS = "--priority 900 --max-in-flight 5 --pace 10:1000:2 --deadline 30d --retries 0"
WRITES = [
    ("submit 2.0.0 --ring prod --reason drill", "POST /v1/tasks",
     {"ring": "prod", "artifact": {"version": "2.0.0"}, "reason": "drill"}),
    (f"submit 14 --selector model=x --component os {WHOLE}", "POST /v1/tasks",
     {"selector": "model=x",
      "artifact": {"version": "14", "component": "os", "url": "https://u.example/fw.bin",
                   "sha256": "9f", "size": 18, "signature": "MEUC", "key": "k"}}),
    (f"submit --type restart --parameter mode=soft --device a --device b {LIMITS}",
     "POST /v1/tasks",
     {"task_type": "restart", "parameters": {"mode": "soft"}, "devices": ["a", "b"],
      "priority": 900, "max_in_flight": 5, "pace": {"from": 10, "to": 1_000, "factor": 2},
      "deadline": "30d", "retries": 0}),
    ("submit 1.0.0 --all --require '' --allow-downgrade", "POST /v1/tasks",
     {"all": True, "artifact": {"version": "1.0.0"}, "require": "", "allow_downgrade": True}),
    ("cancel 17 --reason 'wrong file'", "POST /v1/deployments/17/cancel",
     {"reason": "wrong file"}),
    ("retry 17", "POST /v1/deployments/17/retry", {}),
    ("retry 17 --device a", "POST /v1/deployments/17/retry", {"devices": ["a"]}),
]  # fmt: skip


@pytest.mark.parametrize(("command", "request_line", "body"), WRITES)
def test_a_write_sends_one_keyed_command(
    canned: CannedNode, stationkeep: Run, command: str, request_line: str, body: object
) -> None:
    result = stationkeep("tasks", *shlex.split(command), "--idempotency-key", "op-me")
    assert (result.exit_code, len(canned.requests)) == (0, 1), result.output
    request = canned.requests[0]
    assert f"{request.method} {request.url.path}" == request_line
    assert canned.body == body
    assert request.headers["Idempotency-Key"] == "op-me"


@pytest.mark.parametrize(
    ("command", "rule"),
    [
        ("submit 2.0.0", "exactly one of --ring, --selector, --device, --all"),
        ("submit 2.0.0 --all --ring prod", "exactly one of"),
        ("submit --all", "give a VERSION to install, or --type"),
        ("submit --all --type restart --sha256 9f", "an artifact needs its VERSION"),
        ("submit 2.0.0 --all --pace 10", "--pace '10': must have the form FROM:TO:FACTOR"),
        (
            "submit 2.0.0 --all --pace 10:x:2",
            "--pace: 'x' must be a whole number of at most 9 digits",
        ),
        ("submit 2.0.0 --all --pace 10:1000", "--pace '10:1000': must have the form"),
        ("submit 2.0.0 --all --deadline 91d", "--deadline: '91d'"),
        ("submit 2.0.0 --all --parameter mode", "--parameter 'mode': must have the form"),
        ("submit 2.0.0 --all --parameter a=1 --parameter a=2", "'a=2': a is given twice"),
        ("submit 2.0.0 --ring gold", "gold"),
        ("show 0", "equal to 1"),
        ("show 17 --state lost", "lost"),
        ("list --state lost", "lost"),
        ("cancel", "Missing argument"),
    ],
)
def test_what_makes_no_sense_exits_2_and_asks_nobody(
    canned: CannedNode, stationkeep: Run, command: str, rule: str
) -> None:
    result = stationkeep("tasks", *command.split())
    assert result.exit_code == 2
    assert rule in result.stderr
    assert not canned.requests


# -- from the order to the end ------------------------------------------------------------------

CREW = ("slave-001", "slave-002", "slave-003")
CAPABLE = {"deployment": "true"}


@pytest.fixture
def fleet(node: FakeNode, canned: CannedNode, monkeypatch: pytest.MonkeyPatch) -> FakeNode:
    """Three devices of a node whose state and API are real; every connection leads to it."""
    register(node, *CREW, app_version="1.0.0", capabilities=CAPABLE)
    transport = httpx.ASGITransport(app=build(node))
    monkeypatch.setattr(exchange, "open_http", lambda: httpx.AsyncClient(transport=transport))
    return node


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """What happens in each pause between two looks, one after the other."""

    def happens(*steps: Callable[[], None]) -> None:
        left: Iterator[Callable[[], None]] = iter(steps)
        monkeypatch.setattr(time, "sleep", lambda _: next(left)())

    return happens


def offer(node: FakeNode) -> None:
    for part in plan_offers(node.state, node.now):
        node.commit(part)


def update(node: FakeNode, *ids: str) -> None:
    """These devices register again, with the new version."""
    told = (
        Registration(id_, app_version="2.0.0", capabilities=CAPABLE, session=2, reading=WELL)
        for id_ in ids
    )
    node.commit(RegisterDevices("sat-001", tuple(told)))


def test_a_deployment_is_followed_to_its_end(
    fleet: FakeNode, stationkeep: Run, meanwhile: Callable[..., None]
) -> None:
    meanwhile(
        lambda: offer(fleet), lambda: update(fleet, *CREW[:2]), lambda: update(fleet, CREW[2])
    )
    result = stationkeep("tasks", "submit", "2.0.0", "--all", "--wait")
    assert result.exit_code == 0, result.output
    assert "done: 2.0.0 is submitted" in result.stdout
    assert "  deployment: 1\n  members: 3\n" in result.stdout
    assert result.stderr.splitlines() == [
        "0 of 3 done, 3 queued",
        "0 of 3 done, 3 offered",
        "2 of 3 done, 1 offered",
        "3 of 3 done",
    ]
    assert result.stdout.endswith("deployment 1: 3 of 3 done\n")
    shown = json.loads(stationkeep("tasks", "show", "1", "--format", "json").stdout)
    assert {task["state"] for task in shown["tasks"]} == {"succeeded"}
    assert "task 1/slave-001/1" in stationkeep("devices", "show", "slave-001").stdout


def test_what_was_canceled_meanwhile_is_no_success(
    fleet: FakeNode, stationkeep: Run, meanwhile: Callable[..., None]
) -> None:
    meanwhile(lambda: stationkeep("tasks", "cancel", "1"))
    result = stationkeep("tasks", "submit", "2.0.0", "--all", "--wait")
    assert result.exit_code == 1
    assert "stationkeep: deployment 1: 3 of 3 done; it was canceled" in result.stderr


def test_a_task_that_failed_is_no_success(canned: CannedNode, stationkeep: Run) -> None:
    tallies = CLOSED["tallies"] | {"succeeded": 10, "timed_out": 2}
    canned.reads["/v1/deployments/17"] = CLOSED | {"tallies": tallies}
    result = stationkeep("tasks", "retry", "17", "--wait")
    assert result.exit_code == 1
    assert "stationkeep: deployment 17: 12 of 12 done, 2 failed" in result.stderr
    assert "stationkeep tasks show 17" in result.stderr


def test_a_cluster_that_is_silent_for_a_while_is_asked_again(
    canned: CannedNode, stationkeep: Run, meanwhile: Callable[..., None]
) -> None:
    def silent() -> None:
        canned.answer = httpx.ConnectError("connection refused")

    def leaderless() -> None:
        canned.answer = problem(503, "no leader")

    def closed() -> None:
        canned.answer, canned.reads["/v1/deployments/17"] = None, CLOSED

    meanwhile(silent, leaderless, closed)
    result = stationkeep("tasks", "retry", "17", "--wait")
    assert result.exit_code == 0, result.output
    assert result.stderr.count("no answer from the cluster, still trying") == 1


def test_a_cluster_that_stays_silent_is_given_up(
    canned: CannedNode,
    stationkeep: Run,
    meanwhile: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def silent() -> None:
        canned.answer = httpx.ConnectError("connection refused")

    monkeypatch.setattr(following, "PATIENCE", 0)
    meanwhile(silent)
    assert stationkeep("tasks", "retry", "17", "--wait").exit_code == 4


def test_ctrl_c_ends_the_following_alone(
    canned: CannedNode, stationkeep: Run, meanwhile: Callable[..., None]
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    meanwhile(interrupt)
    result = stationkeep("tasks", "retry", "17", "--wait")
    assert result.exit_code != 0
    assert "deployment 17 goes on: stationkeep tasks show 17" in result.stderr
    assert [request.url.path for request in canned.requests if request.method == "POST"] == [
        "/v1/deployments/17/retry"
    ]
