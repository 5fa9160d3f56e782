"""What commands that change nothing show, as words and as documents."""

import getpass
import json

import httpx
import pytest
import yaml

from stationkeep.node.cli.rendering import tables
from tests.node.cli.canned import ALARMS, CLUSTER, NODES, CannedNode, Run
from tests.node.cli.printed import printed

READ_COMMANDS = [
    ("status", ["ATTENTION  sat-001 is PRIMARY", "epoch 1", "leader sat-002", "dead", "2.1s"]),
    ("nodes list", ["sat-003", "STANDBY", "?", "dead", "2 unhealthy"]),
    ("level", ["level 1, which release 0.1 has; not 2 yet: sat-002 runs 0.1", "HIGHEST LEVEL"]),
    ("nodes links", ["sat-002", "30%", "3.0s", "280/400", "in doubt, stalled", "UDP blocked?"]),
    ("roles list", ["sat-001", "PRIMARY", "T+1.0s"]),
    ("roles history", ["seat_empty", "STANDBY", "#4"]),
    ("explain sat-003", ["Why it is not PRIMARY", "0.10, 0.45, 0.50", "sat-002 DENIES"]),
    ("decisions", ["denied", "3 unhealthy samples"]),
    ("proposals", ["#99 OPEN", "sat-001 PRIMARY→BACKUP", "sat-003 has not voted"]),
    ("actions list", ["33%", "no hook for reboot", "sat-003"]),
    ("alarms list", ["no_primary", "critical", "T+58.0s", "disk_low@sat-002", "93 % in use",
                     "ann@ground: ordered", "The disk of a member is nearly full."]),
    ("config show", ["evaluation_interval", "1s"]),
    ("operation op-7", ["op-7", "done"]),
    ("devices list", ["slave-001", "prod", "healthy", "85%+", "45%", "pinned", "unhealthy",
                      "offline", "3d"]),
    ("devices show slave-001", ["Pixel 8 Pro", "Android 14", "T+12.0s", "by ann@ground", "the demo",
                                "pixels", "2.4s ago, by sat-002", "temperature", "41.5", "lab"]),
    ("devices history slave-001", ["stage", "canary", "rebalancer", "had turned unhealthy",
                                   "an operator pinned it there: the demo"]),
    ("devices explain slave-001", ["slave-001 is in prod", "pinned by ann@ground", "rebalancer"]),
    ("rings list", ["canary", "1,250", "25%, cap 100", "battery > 20 and cpu < 80",
                    "while charging", "STORM BRAKE since T+60.0s", "release-brake", "pixels",
                    "31, the last at T+61.0s"]),
    ("rings policy list", ["pixels", "canary=1 dev=3 prod=6", "model in (Pixel 8, Pixel 9)"]),
    ("rings rebalance --dry-run", ["would move 2 of 8", "prod", "dev", "had turned unhealthy"]),
    ("tasks list", ["app 2.0.0", "ring prod", "open", "██········", "3/12", "12/12", "closed"]),
    ("tasks show 17", ["17, open, its deadline is in 4m", "app 2.0.0", "the demo", "ring prod",
                       "62s ago by ann@ground: the release", "500 in flight", "2 retries",
                       "20 a minute (from 10 to 1,000)", "battery > 20", "disk full", "50%",
                       "12; 1 more cannot carry out tasks", "17/slave-001/2",
                       "in_progress, installing 40%", "queued: the device is offline"]),
    ("tasks show 16", ["closed (completed) 5.0s ago"]),
    ("devices tasks slave-001", ["17/slave-001/2", "in_progress, installing 40%"]),
    ("devices show slave-001", ["task 17/slave-001/2", "in_progress, installing 40%"]),
]  # fmt: skip


@pytest.mark.parametrize(("command", "words"), READ_COMMANDS)
def test_a_read_is_told_in_words(
    canned: CannedNode, stationkeep: Run, command: str, words: list[str]
) -> None:
    result = stationkeep(*command.split())
    assert result.exit_code == 0, result.output
    for word in words:
        assert word in result.output


@pytest.mark.parametrize(
    ("user", "told"),
    [("zoë", "zo%C3%AB@"), ("\udcff", "%FF@"), ("a b", "a b@"), ("x" * 300, "x" * 128)],
)
def test_nobody_is_kept_from_asking_by_a_name(
    canned: CannedNode, stationkeep: Run, monkeypatch: pytest.MonkeyPatch, user: str, told: str
) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: user)
    for command in ("status", "resume"):
        canned.requests.clear()
        result = stationkeep(command)
        assert result.exit_code == 0, result.output
        named = canned.requests[0].headers["X-Stationkeep-Actor"]
        assert named.startswith(told)
        assert len(named) <= 128


@pytest.mark.parametrize("command", [command for command, _ in READ_COMMANDS])
def test_json_and_yaml_say_the_same(canned: CannedNode, stationkeep: Run, command: str) -> None:
    as_json = stationkeep(*command.split(), "--format", "json")
    as_yaml = stationkeep(*command.split(), "--format", "yaml")
    assert as_json.exit_code == as_yaml.exit_code == 0
    assert json.loads(as_json.output) == yaml.safe_load(as_yaml.output)


def test_status_as_json_is_what_the_rest_interface_gives(
    canned: CannedNode, stationkeep: Run
) -> None:
    assert json.loads(stationkeep("status", "--format", "json").output) == {
        "cluster": CLUSTER,
        "nodes": NODES,
    }


@pytest.mark.parametrize("width", [80, 120])
def test_status_fits_the_terminal(width: int) -> None:
    text = printed(tables.status(CLUSTER, NODES), width)
    assert max(len(line.rstrip()) for line in text.split("\n")) <= width
    assert "…" not in text
    for words in ("8 devices: 6 healthy, 1 unhealthy, 1 offline, 1 pinned", "canary 2   dev 2"):
        assert words in text


def test_status_begins_with_the_verdict_and_what_needs_somebody(
    canned: CannedNode, stationkeep: Run
) -> None:
    assert stationkeep("status").output.splitlines()[:3] == [
        "ATTENTION  sat-001 is PRIMARY and healthy, but 2 things need attention",
        "  - sat-002 is unhealthy for 2 samples in a row",
        "  - sat-003 is not heard, for 4 s",
    ]


def test_status_judges_nothing_by_itself(canned: CannedNode, stationkeep: Run) -> None:
    """The rule is the API's alone (`cluster.verdict`)."""
    canned.reads["/v1/cluster"] |= {
        "verdict": "ok",
        "headline": "all is well",
        "needs": [],
        "leader": None,
        "primary": None,
        "quorum": {"members": 3, "needed": 2, "connected": 1, "present": False},
        "paused": {"remaining_s": 90.0, "actor": "ann@ground", "reason": "manoeuvre"},
        "alarms": ALARMS,
    }
    first, second, *_ = stationkeep("status").output.splitlines()
    assert first == "OK  all is well"
    assert second.startswith("cluster ")


def test_what_a_node_cannot_know_is_shown_as_not_known(
    canned: CannedNode, stationkeep: Run
) -> None:
    canned.reads["/v1/cluster"] |= {"age_ms": 25_000}
    lost = {"known": False, "risk": None}
    canned.reads["/v1/nodes"]["items"] = [
        NODES[0] | lost,
        NODES[2] | lost | {"failure_mode": "UNKNOWN"},
    ]
    output = stationkeep("status").output
    assert "T+62.4s (25s ago)" in output
    first, second = output.splitlines()[-2:]
    assert " ? " in first
    assert "not heard" in second
    assert "dead" not in second


def test_no_alarms_are_said_in_words(canned: CannedNode, stationkeep: Run) -> None:
    canned.reads["/v1/alarms"] = {"items": []}
    assert stationkeep("alarms", "list").output == "no alarms\n"


def test_decisions_passes_its_filters_on(canned: CannedNode, stationkeep: Run) -> None:
    stationkeep("decisions", "--subject", "sat-001", "--outcome", "held", "--limit", "3")
    assert dict(canned.requests[-1].url.params) == {
        "subject": "sat-001",
        "outcome": "held",
        "limit": "3",
    }


def test_a_long_list_is_read_page_by_page(canned: CannedNode, stationkeep: Run) -> None:
    page = canned.reads["/v1/decisions"]["items"] * 200
    canned.reads["/v1/decisions"] = {"items": page, "next": "more"}
    result = stationkeep("decisions", "--limit", "500", "--format", "json")
    assert len(json.loads(result.output)) == 500
    assert [request.url.params["limit"] for request in canned.requests] == ["200", "200", "100"]
    assert canned.requests[1].url.params["cursor"] == "more"


def test_a_node_id_cannot_lead_to_another_path(canned: CannedNode, stationkeep: Run) -> None:
    result = stationkeep("explain", "../cluster?x=1")
    assert result.exit_code == 1
    assert canned.requests[-1].url.raw_path == b"/v1/nodes/..%2Fcluster%3Fx%3D1/explain"


@pytest.mark.parametrize("text", ["<html>", "[1]", "{}", '{"items": 1}', ""])
def test_a_stranger_at_that_address_is_no_traceback(
    canned: CannedNode, stationkeep: Run, text: str
) -> None:
    canned.answer = httpx.Response(200, text=text)
    result = stationkeep("nodes", "list")
    assert result.exit_code == 1
    assert result.output.startswith("stationkeep: http://127.0.0.1:8701")
