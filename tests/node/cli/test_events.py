"""`events`, `wait`, `topology`, and what is told of settings."""

import json

import httpx
import pytest

from stationkeep.node.cli import event_stream
from stationkeep.node.cli.commands import events
from stationkeep.node.cli.commands.events import KINDS, Topic
from stationkeep.node.cli.event_stream import MOST_FRAME, Frames
from stationkeep.node.cli.failures import CommandError
from tests.node.cli.canned import CLUSTER, EVENTS, NODES, CannedNode, Run, listed


def test_what_happens_is_told_a_line_each(canned: CannedNode, stationkeep: Run) -> None:
    told = stationkeep("events", "--count", "2")
    assert told.exit_code == 0, told.output
    first, second = told.stdout.splitlines()
    assert first.split() == ["--:--:--", "role_changed", "node=sat-001"]
    assert "decided" in second
    assert "3 unhealthy samples" in second


def test_a_topic_is_told_alone_and_as_documents(canned: CannedNode, stationkeep: Run) -> None:
    told = stationkeep("events", "--topic", "votes", "--count", "1", "--format", "json")
    assert json.loads(told.stdout) == {
        "id": "40.0", "event": "vote_counted", "voter": "sat-002", "approve": True,
    }  # fmt: skip


def test_the_document_of_a_long_event_is_told_whole(canned: CannedNode, stationkeep: Run) -> None:
    """A thousand devices move in one."""
    devices = [f"device-{number}" for number in range(1_000)]
    moved = {"devices": devices, "reason": "a\u202eb"}
    canned.raw["/v1/events"] = b"event: devices_moved\ndata: %b\n\n" % json.dumps(moved).encode()
    told = stationkeep("events", "--count", "1", "--format", "json")
    assert json.loads(told.stdout) == {"id": "", "event": "devices_moved", **moved}
    assert "\u202e" not in told.stdout


def test_the_next_node_is_asked_for_what_came_after(
    canned: CannedNode, stationkeep: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "PATIENCE", 30.0)
    stationkeep("events", "--count", "4")
    asked = [request for request in canned.requests if request.url.path == "/v1/events"]
    assert [request.headers.get("Last-Event-ID") for request in asked] == [None, "42.0"]
    assert asked[0].url.port != asked[1].url.port


def test_who_may_not_is_told_so(canned: CannedNode, stationkeep: Run) -> None:
    """And not that nobody answers."""
    canned.raw = {}
    told = stationkeep("events", "--count", "1")
    assert (told.exit_code, "no such path: /v1/events" in told.stderr) == (1, True)


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_stream_is_cut_into_the_same_events_however_it_comes(size: int) -> None:
    frames = Frames()
    parts = [EVENTS[at : at + size] for at in range(0, len(EVENTS), size)]
    assert [event.id for part in parts for event in frames.take(part)] == ["40.0", "41.0", "42.0"]


@pytest.mark.parametrize(
    "stream",
    [b"x" * (MOST_FRAME + 1), b"event: x\ndata: {\n\n", b"data: {}\n\n", b"event: x\ndata: []\n\n",
     b'event: x\ndata: {"a": ' + b"[" * 100_000 + b"\n\n", b"event: \xff\ndata: {}\n\n",
     b'event: x\ndata: {"a":' + b"[" * 60 + b"]" * 60 + b"}\n\n"],
)  # fmt: skip
def test_what_is_no_event_ends_it(stream: bytes) -> None:
    with pytest.raises(CommandError):
        list(Frames().take(stream))


def test_every_kind_has_one_topic() -> None:
    from stationkeep.cluster.state import events as known

    kinds = [cls.__name__ for cls in known.Event.__subclasses__()]
    snake = ["".join(f"_{c.lower()}" if c.isupper() else c for c in kind)[1:] for kind in kinds]
    for kind in snake:
        assert [topic for topic in Topic if kind.startswith(KINDS[topic])], kind


@pytest.mark.parametrize(
    ("condition", "code", "said"),
    [
        ("primary", 0, "sat-001 is PRIMARY"),
        ("primary=sat-001", 0, "sat-001 acts as PRIMARY"),
        ("sat-002=backup", 0, "sat-002 acts as BACKUP"),
        ("quorum", 0, "3 of 3 members are in touch, 2 are needed"),
        ("primary=sat-002", 1, "--for primary=sat-002: not within 10ms: sat-002 acts as BACKUP"),
        ("ok", 1, "not within 10ms: attention: sat-001 is PRIMARY"),
        ("primary=sat-02", 1, "no such node: 'sat-02'; did you mean sat-002?"),
        ("sat-001=king", 2, "NODE=ROLE with a ROLE of PRIMARY"),
        ("", 2, "--for ''"),
    ],
)
def test_a_condition_is_waited_for(
    canned: CannedNode, stationkeep: Run, condition: str, code: int, said: str
) -> None:
    told = stationkeep("wait", "--for", condition, "--timeout", "10ms")
    assert (told.exit_code, said in told.output) == (code, True), told.output


def test_a_cluster_that_comes_back_is_waited_for(
    canned: CannedNode, stationkeep: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    canned.answer = httpx.ConnectError("refused")

    def sleep(_: float) -> None:
        canned.answer = None
        canned.reads["/v1/cluster"] = CLUSTER | {"verdict": "ok"}

    monkeypatch.setattr(events.time, "sleep", sleep)
    told = stationkeep("wait", "--for", "ok")
    assert (told.exit_code, told.stdout.startswith("ok: ")) == (0, True), told.output


def test_the_matrix_says_who_hears_whom(canned: CannedNode, stationkeep: Run) -> None:
    canned.reads["/v1/nodes"] = listed(*NODES)
    told = stationkeep("topology")
    assert told.exit_code == 0, told.output
    assert "HEARS" in told.stdout
    assert "30%" in told.stdout
    assert json.loads(stationkeep("topology", "--format", "json").stdout)["nodes"]


def test_a_setting_is_explained(canned: CannedNode, stationkeep: Run) -> None:
    told = stationkeep("config", "explain", "evaluation_interval")
    assert told.stdout.startswith("evaluation_interval: 1s\n\n")
    assert "In the profiles: orbit" in told.stdout
    wrong = stationkeep("config", "explain", "evaluation_intervall")
    assert (wrong.exit_code, "did you mean evaluation_interval?" in wrong.output) == (1, True)


def test_settings_are_compared_with_a_profile(canned: CannedNode, stationkeep: Run) -> None:
    told = stationkeep("config", "diff", "--profile", "orbit", "--format", "json")
    assert json.loads(told.stdout)["settings"]["evaluation_interval"]["here"] == "1s"
    assert "as in the profile demo" in stationkeep("config", "diff").stdout
    assert "ORBIT" in stationkeep("config", "diff", "--profile", "orbit").stdout
    assert stationkeep("config", "diff", "--profile", "mars").exit_code == 2


def test_decisions_are_asked_for_by_what_and_when(canned: CannedNode, stationkeep: Run) -> None:
    told = stationkeep("decisions", "--about", "roles", "--text", "seat", "--since", "2h")
    assert told.exit_code == 0, told.output
    asked = canned.requests[-1].url.params
    assert (asked["about"], asked["text"]) == ("roles", "seat")
    assert int(asked["since_ms"]) > 1_700_000_000_000
    stationkeep("alarms", "history")
    assert canned.requests[-1].url.params["about"] == "alarms"
