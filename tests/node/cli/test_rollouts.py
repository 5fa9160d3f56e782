"""`rollout`: what is asked and sent, how it fits, and what is asked of people first."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from stationkeep.cluster.commands import Pause, Resume
from stationkeep.node.api.app import build
from stationkeep.node.cli import exchange
from stationkeep.node.cli.commands import rollout_orders
from stationkeep.node.cli.rendering import rollout_tables
from tests.node.api.fake import FakeNode
from tests.node.api.rollout_story import RolloutStory
from tests.node.cli.canned import (
    FREEZE,
    PREVIEW,
    READS,
    ROLLED_BACK,
    CannedNode,
    Run,
    problem,
    rollout,
    stage,
)
from tests.node.cli.printed import printed

FILE = "rollout: fw-2.1\ncomment: the radio\nartifact: {version: 2.1.0}\nstages: [canary, prod]\n"
LONG = rollout(
    "r" * 64, versions=["2.0.0-" + "x" * 58, "3" * 64], why="w" * 300, members=1_000_000,
    updated=999_999, age_s=2e6, author="a" * 90,
    stages=[stage("s" * 64, members=1_000_000, tallies={"succeeded": 999_999, "queued": 1})] * 18,
)  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rollout.yaml"
    path.write_text(FILE)
    return path


class Person:
    """Somebody at the terminal, who answers what is asked."""

    def __init__(self) -> None:
        self.agrees = False
        self.asked: list[str] = []

    def __call__(self, question: str, **_: Any) -> bool:
        self.asked.append(question)
        return self.agrees


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> Person:
    made = Person()
    monkeypatch.setattr(rollout_orders, "at_a_terminal", lambda: True)
    monkeypatch.setattr(rollout_orders.typer, "confirm", made)
    return made


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize(
    ("table", "answer"),
    [
        (rollout_tables.rollouts, [LONG, rollout("fw"), ROLLED_BACK]),
        (rollout_tables.rollout, LONG),
        (rollout_tables.rollout, ROLLED_BACK),
        (rollout_tables.freezes, [FREEZE, FREEZE | {"reason": "y" * 300}]),
        (rollout_tables.preview, PREVIEW),
        (rollout_tables.report, READS["/v1/rollouts/fw-2.1/report"]),
    ],
)
def test_a_table_fits_the_terminal(table: Callable[[Any], Any], answer: Any, width: int) -> None:
    lines = printed(table(answer), width).split("\n")
    assert len(lines) > 1
    assert max(len(line.rstrip()) for line in lines) <= width


WRITES = [
    ("approve fw-2.1 --digest 5f --stage dev", "POST /v1/rollouts/fw-2.1/approve",
     {"digest": "5f", "stage": "dev"}),
    ("pause fw-2.1 --for 30m --reason lunch", "POST /v1/rollouts/fw-2.1/pause",
     {"duration": "30m", "reason": "lunch"}),
    ("resume fw-2.1", "POST /v1/rollouts/fw-2.1/resume", {}),
    ("promote fw-2.1 --variant B --force", "POST /v1/rollouts/fw-2.1/promote",
     {"variant": "B", "force": True}),
    ("retry fw-2.1 --stage dev --device a", "POST /v1/rollouts/fw-2.1/retry",
     {"stage": "dev", "devices": ["a"]}),
    ("abort fw-2.1", "POST /v1/rollouts/fw-2.1/abort", {}),
    ("rollback fw-2.1 --reason ill", "POST /v1/rollouts/fw-2.1/rollback", {"reason": "ill"}),
    ("freeze xmas --for 14d --ring prod --selector site=a", "PUT /v1/freezes/xmas",
     {"duration": "14d", "rings": ["prod"], "selector": "site=a"}),
    ("unfreeze xmas", "DELETE /v1/freezes/xmas", {}),
    ("unblock 2.1.0 --component os --sha256 9f", "POST /v1/artifacts/os/2.1.0:unblock",
     {"sha256": "9f"}),
]  # fmt: skip


@pytest.mark.parametrize(("command", "request_line", "body"), WRITES)
def test_an_order_sends_one_keyed_command(
    canned: CannedNode, stationkeep: Run, command: str, request_line: str, *, body: object
) -> None:
    result = stationkeep("rollout", *shlex.split(command), "--idempotency-key", "op-me")
    assert (result.exit_code, len(canned.requests)) == (0, 1), result.output
    request = canned.requests[0]
    assert f"{request.method} {request.url.path}" == request_line
    assert canned.body == body
    assert request.headers["Idempotency-Key"] == "op-me"


@pytest.mark.parametrize(
    ("options", "granted"),
    [
        ([], "bring app 2.1.0 to 11,167 devices, 50 of canary first?"),
        (["--stage", "dev"], "let stage dev pass? then prod opens"),
    ],
)
def test_an_approval_is_of_the_plan_that_was_shown(
    canned: CannedNode, stationkeep: Run, person: Person, options: list[str], granted: str
) -> None:
    refused = stationkeep("rollout", "approve", "fw-2.1", *options)
    assert refused.exit_code == 1
    assert person.asked == [f"approve plan {'5f' * 16} of fw-2.1, by ann@ground: {granted}"]
    assert not [r for r in canned.requests if "Idempotency-Key" in r.headers]
    person.agrees = True
    assert stationkeep("rollout", "approve", "fw-2.1", *options).exit_code == 0
    assert canned.body["digest"] == "5f" * 16
    person.asked.clear()
    assert stationkeep("rollout", "approve", "fw-2.1", "--digest", "5f").exit_code == 0
    assert (person.asked, canned.body) == ([], {"digest": "5f"})


def test_where_nobody_can_be_asked_an_approval_says_of_what(
    canned: CannedNode, stationkeep: Run
) -> None:
    refused = stationkeep("rollout", "approve", "fw-2.1")
    assert (refused.exit_code, canned.requests) == (2, [])
    assert "--digest: of the plan" in refused.output
    assert stationkeep("rollout", "approve", "fw-2.1", "--yes").exit_code == 0
    assert canned.body == {"digest": "5f" * 16}


def test_a_file_is_laid_down_as_it_was_meant(
    canned: CannedNode, stationkeep: Run, file: Path
) -> None:
    result = stationkeep("rollout", "create", str(file), "--replace")
    assert result.exit_code == 0, result.output
    assert "nothing has begun: stationkeep rollout start fw-2.1" in result.output
    assert canned.body == {
        "rollout": "fw-2.1", "comment": "the radio", "replace": True,
        "plan": {"artifact": {"component": "app", "version": "2.1.0"},
                 "stages": ["canary", "prod"]},
    }  # fmt: skip


def test_a_dry_run_sends_nothing_else(canned: CannedNode, stationkeep: Run, file: Path) -> None:
    for command in (["create", str(file), "--dry-run"], ["validate", str(file)]):
        canned.requests.clear()
        result = stationkeep("rollout", *command)
        assert result.exit_code == 0
        assert [request.url.path for request in canned.requests] == ["/v1/rollouts:validate"]
        for said in (
            "11,204 of 12,000 devices (37 incapable)",
            "20%: 95% (2%)",
            "xmas",
            "opens in 3h",
        ):
            assert said in result.output
        assert result.output.endswith("nothing was created\n")
    canned.requests.clear()
    assert (
        "valid; rollout fw-2.1" in stationkeep("rollout", "validate", str(file), "--offline").output
    )
    assert canned.requests == []


def test_every_fault_of_a_file_is_told_with_its_line_and_nothing_is_sent(
    canned: CannedNode, stationkeep: Run, file: Path
) -> None:
    file.write_text(FILE + "prioritty: 3\npace: fast\n")
    for command in ("create", "validate"):
        result = stationkeep("rollout", command, str(file))
        assert result.exit_code == 5
        assert f"{file}:5: prioritty: '(hidden)' refused: no such field" in result.output
        assert f"{file}:6: pace: 'fast' refused: a mapping" in result.output
    assert canned.requests == []
    assert stationkeep("rollout", "create", "/dev/zero").exit_code == 5
    assert stationkeep("rollout", "create", str(file.parent / "none")).exit_code == 5


def test_a_known_rollout_is_started(canned: CannedNode, stationkeep: Run) -> None:
    assert stationkeep("rollout", "start", "fw-2.1", "--force").exit_code == 0
    assert canned.requests[-1].url.path == "/v1/rollouts/fw-2.1/start"
    assert canned.body == {"force": True}
    assert len(canned.requests) == 2


def test_a_version_that_has_no_rollout_gets_one_with_all_defaults(
    canned: CannedNode, stationkeep: Run
) -> None:
    details = "--artifact https://u.example/fw --sha256 9f --size 3 --signature M --signing-key k"
    for options in ([], shlex.split(details)):
        canned.requests.clear()
        result = stationkeep("rollout", "start", "2.2.0", *options, "--idempotency-key", "op-me")
        assert result.exit_code == 0, result.output
        laid_down, started = canned.requests[-2:]
        assert started.url.path == "/v1/rollouts/2.2.0/start"
        assert b'"version":"2.2.0"' in laid_down.content
        assert laid_down.headers["Idempotency-Key"] == "op-me.create"
        assert started.headers["Idempotency-Key"] == "op-me"
    assert b'"sha256":"9f"' in laid_down.content


def test_a_misspelt_rollout_is_no_version(canned: CannedNode, stationkeep: Run) -> None:
    result = stationkeep("rollout", "start", "fw-2.l")
    assert result.exit_code == 1
    assert "no such rollout: 'fw-2.l'" in result.output
    assert len(canned.requests) == 1


@pytest.mark.parametrize(
    ("order", "question"),
    [
        ("rollback", "roll back 22 devices of fw-2.1?"),
        ("abort", "abort fw-2.1? 22 updated devices stay so, 0 are at it"),
        ("promote", "let the stage of fw-2.1 that is judged pass? then prod opens"),
        ("start", "bring app 2.1.0 to 11,167 devices, 50 of canary first?"),
    ],
)
def test_people_are_asked_first_and_may_say_no(
    canned: CannedNode, stationkeep: Run, person: Person, order: str, *, question: str
) -> None:
    refused = stationkeep("rollout", order, "fw-2.1")
    assert (refused.exit_code, person.asked) == (1, [question])
    assert "nothing was done" in refused.output
    assert not [r for r in canned.requests if "Idempotency-Key" in r.headers]
    person.agrees = True
    assert stationkeep("rollout", order, "fw-2.1").exit_code == 0
    assert canned.requests[-1].method == "POST"
    person.asked.clear()
    assert stationkeep("rollout", order, "fw-2.1", "--yes").exit_code == 0
    assert person.asked == []


def test_a_refusal_says_what_may_be_ordered_instead(canned: CannedNode, stationkeep: Run) -> None:
    canned.answer = problem(409, "rollout: fw-2.1 is succeeded: roll it back", "not_in_state")
    result = stationkeep("rollout", "pause", "fw-2.1")
    assert result.exit_code == 1
    assert "roll it back" in result.output


@pytest.mark.parametrize(
    ("command", "rule"),
    [
        ("pause fw-2.1 --for 31d", "--for: '31d'"),
        ("freeze xmas --for 91d", "--for: '91d'"),
        ("freeze xmas", "Missing option"),
        ("show ''", "'' is no name"),
    ],
)
def test_what_contradicts_itself_is_refused_before_anything_is_sent(
    canned: CannedNode, stationkeep: Run, command: str, rule: str
) -> None:
    result = stationkeep("rollout", *shlex.split(command))
    assert result.exit_code == 2
    assert rule in result.output
    assert canned.requests == []


def test_what_waits_and_why_is_readable_at_a_glance(canned: CannedNode, stationkeep: Run) -> None:
    shown = stationkeep("rollout", "show", "fw-2.1").output
    for said in (
        "‖ PAUSED: stage dev is inconclusive: failures", "aborting in 7d", "2% ≤ 5%",
        "0.4 of 20", "install 1 (e.g. slave-002: disk full)", "slave-003 (canary)",
        "resume, abort, rollback, promote",
    ):  # fmt: skip
        assert said in shown
    assert "rolled back" in stationkeep("rollout", "list").output
    canned.reads["/v1/rollouts"] = {"items": [], "next": None}
    assert "no rollouts" in stationkeep("rollout", "list").output


def test_tasks_are_filtered(canned: CannedNode, stationkeep: Run) -> None:
    options = "--stage dev --variant B --state failed --ring prod --limit 2"
    assert stationkeep("rollout", "tasks", "fw-2.1", *options.split()).exit_code == 0
    asked = canned.requests[-1].url.params
    assert dict(asked) == {
        "stage": "dev", "variant": "B", "state": "failed", "ring": "prod", "limit": "2",
    }  # fmt: skip


def test_a_rollout_from_its_file_to_its_way_back(
    node: FakeNode,
    canned: CannedNode,
    stationkeep: Run,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    story = RolloutStory(node).settle(12)
    transport = httpx.ASGITransport(app=build(node))
    monkeypatch.setattr(exchange, "open_http", lambda: httpx.AsyncClient(transport=transport))
    file = tmp_path / "fw.yaml"
    file.write_text("rollout: fw\nartifact: {version: 2.0.0}\nstages: [{name: a, ring: all}]\n")

    def run(command: str, said: str) -> None:
        output = stationkeep("rollout", *shlex.split(command)).output
        assert said in output, f"{command}: {output}"

    run(f"create {file} --dry-run", "scope 12 of 12 devices")
    run(f"create {file}", "rollout fw is laid down")
    run(f"create {file}", "replace it")
    run("start fw", "rollout fw is started")
    run("explain fw", "fw is running")
    run("freeze xmas --for 1h", "freeze xmas is set")
    run("freezes", "xmas")
    run("unfreeze xmas", "freeze xmas is lifted")
    run("pause fw --for 10m", "rollout fw is paused")
    run("list", "paused")
    story.order(Pause(600_000))
    run("show fw", "besides")
    run("show fw", "automatic changes are paused")
    run("resume fw", "rollout fw goes on")
    run("show fw", "automatic changes are paused; goes on in 10m at the latest")
    run("explain fw", "automatic changes are paused; it goes on in")
    story.order(Resume())
    story.clock = node.now
    story.until("succeeded")
    run("show fw", "12 updated of 12")
    run("tasks fw --state succeeded", "succeeded")
    run("timeline fw", "stage a of fw")
    run("report fw", "✔ SUCCEEDED")
    run("rollback fw --reason 'second thoughts'", "rollout fw is rolled back")
    story.clock = node.now
    story.until("rolled_back")
    run("show fw", "back 12, pending 0, failed 0, stranded 0")
    run("pause fw", "what may be ordered of it is roll back")
