"""`devices`, `rings`, `rings policy`: what is asked and sent, and how it fits."""

import json
from typing import Any

import pytest

from stationkeep.node.cli.rendering import fleet_tables
from tests.node.cli.canned import DEVICES, OTHER, PLAN, POLICY, READS, RINGS, CannedNode, Run
from tests.node.cli.printed import printed


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize(
    ("table", "answer"),
    [("devices", DEVICES), ("rings", RINGS), ("ring_policies", [POLICY, OTHER]),
     ("rebalance_plan", PLAN), ("device", DEVICES[0]),
     ("device_explanation", READS["/v1/devices/slave-001/explain"])],
)  # fmt: skip
def test_a_table_fits_the_terminal(table: str, answer: Any, width: int) -> None:
    lines = printed(getattr(fleet_tables, table)(answer), width).split("\n")
    assert len(lines) > 1
    assert max(len(line.rstrip()) for line in lines) <= width
    assert not any("…" in line for line in lines)


def test_long_ids_cost_columns_but_no_letter() -> None:
    crowd = [
        device | {"id": "d" * 50 + str(n), "name": "n" * 40} for n, device in enumerate(DEVICES)
    ]
    text = printed(fleet_tables.devices(crowd), 80)
    assert "d" * 50 + "0  prod" in text
    assert "NAME" not in text
    assert "…" not in text


def test_the_list_passes_its_filters_on(canned: CannedNode, stationkeep: Run) -> None:
    stationkeep(
        "devices", "list", "--ring", "prod", "--unhealthy", "--online",
        "--selector", "os=Android 14", "--limit", "3",
    )  # fmt: skip
    assert dict(canned.requests[-1].url.params) == {
        "ring": "prod",
        "healthy": "false",
        "online": "true",
        "selector": "os=Android 14",
        "limit": "3",
    }


def test_a_cut_list_says_so(canned: CannedNode, stationkeep: Run) -> None:
    canned.reads["/v1/devices"] = {"items": DEVICES, "next": "more"}
    result = stationkeep("devices", "list", "--limit", "3")
    assert "raise --limit 3" in result.stderr
    whole = stationkeep("devices", "list", "--limit", "3", "--format", "json")
    assert whole.stderr == ""


def test_an_empty_page_is_not_the_end(canned: CannedNode, stationkeep: Run) -> None:
    pages = [{"items": [], "next": "a"}, {"items": DEVICES, "next": None}]
    asked: list[Any] = []

    class Paged(dict[str, Any]):
        def get(self, path: str, default: Any = None) -> Any:
            asked.append(path)
            return pages[len(asked) - 1]

    canned.reads = Paged()
    result = stationkeep("devices", "list", "--format", "json")
    assert len(json.loads(result.output)) == len(DEVICES)
    assert canned.requests[-1].url.params["cursor"] == "a"


WRITES = [
    ("devices assign slave-001 prod --reason drill", "PUT /v1/devices/slave-001/ring",
     {"ring": "prod", "reason": "drill"}),
    ("devices assign slave-001 dev --for 2h", "PUT /v1/devices/slave-001/ring",
     {"ring": "dev", "lifetime": "2h"}),
    ("devices assign slave-001 dev --for 90d", "PUT /v1/devices/slave-001/ring",
     {"ring": "dev", "lifetime": "90d"}),
    ("devices release slave-001", "DELETE /v1/devices/slave-001/ring", None),
    ("devices remove slave-001", "DELETE /v1/devices/slave-001", None),
    ("devices credentials revoke slave-1 --reason lost", "DELETE /v1/devices/slave-1/credential",
     {"reason": "lost"}),
    ("devices credentials reset slave-001", "POST /v1/devices/slave-001/credential/reset", {}),
    ("rings rebalance", "POST /v1/rings/rebalance", {}),
    ("rings shares canary=5 dev=10 stage=25 prod=60", "PUT /v1/rings/shares",
     {"weights": {"canary": 5, "dev": 10, "stage": 25, "prod": 60}}),
    ("rings shares canary=1 dev=1 stage=1 prod=1 --cap canary=100", "PUT /v1/rings/shares",
     {"weights": {"canary": 1, "dev": 1, "stage": 1, "prod": 1}, "caps": {"canary": 100}}),
    ("rings release-brake --reason seen", "POST /v1/rings/release-brake", {"reason": "seen"}),
]  # fmt: skip


@pytest.mark.parametrize(("command", "request_line", "body"), WRITES)
def test_a_write_sends_one_keyed_command(
    canned: CannedNode, stationkeep: Run, command: str, request_line: str, body: object
) -> None:
    result = stationkeep(*command.split(), "--idempotency-key", "op-me")
    assert (result.exit_code, len(canned.requests)) == (0, 1), result.output
    request = canned.requests[0]
    assert f"{request.method} {request.url.path}" == request_line
    assert (json.loads(request.content) if request.content else None) == body
    assert request.headers["Idempotency-Key"] == "op-me"
    assert "at log index 42 (operation op-me)" in result.output


def test_the_health_rule_is_one_sentence(canned: CannedNode, stationkeep: Run) -> None:
    rule = "battery > 30 and cpu < 70 and memory < 80 and disk < 90"
    result = stationkeep("rings", "health", rule, "--charging-excuses-battery")
    assert result.exit_code == 0, result.output
    assert canned.body == {"rule": rule, "charging_excuses_battery": True}


KEPT = {"name": "old", "selector": "os=Android 9", "rings": POLICY["rings"]}
FIRST = {name: value for name, value in POLICY.items() if name != "devices"}
NEW = {"name": "beta", "selector": "app=2.0", "rings": ["canary", "dev"]}


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ("set beta --selector app=2.0 --rings canary,dev", [FIRST, KEPT, NEW]),
        ("set beta --selector app=2.0 --rings canary,dev --before pixels", [NEW, FIRST, KEPT]),
        ("set pixels --selector app=2.0 --weights prod=1",
         [{"name": "pixels", "selector": "app=2.0", "weights": {"prod": 1}}, KEPT]),
        ("set old --selector os=9 --rings dev --before pixels",
         [{"name": "old", "selector": "os=9", "rings": ["dev"]}, FIRST]),
        ("remove pixels", [KEPT]),
    ],
)  # fmt: skip
def test_a_policy_takes_its_place_among_the_others(
    canned: CannedNode, stationkeep: Run, options: str, sent: list[Any]
) -> None:
    result = stationkeep("rings", "policy", *options.split(), "--reason", "drill")
    assert result.exit_code == 0, result.output
    assert canned.requests[0].url.params["consistency"] == "strong"
    assert canned.requests[1].method == "PUT"
    version = "0123456789abcdef"
    assert canned.body == {"policies": sent, "version": version, "reason": "drill"}


USAGE = [
    "devices assign slave-001",
    "devices assign slave-001 production",
    "devices assign slave-001 prod --for soon",
    "devices list --ring none",
    "devices list --limit 0",
    "rings shares canary=1 dev=1 stage=1",
    "rings shares canary=1 dev=1 stage=1 prod=1 prod=2",
    "rings shares canary=1 dev=1 stage=1 prod=-1",
    "rings shares canary=1 dev=1 stage=1 prod=1 --cap moon=3",
    "rings policy set beta --selector app=2.0",
    "rings policy set beta --selector app=2.0 --weights canary",
    "rings policy set beta --rings dev",
]


@pytest.mark.parametrize("command", USAGE)
def test_what_makes_no_sense_exits_2_and_asks_nobody(
    canned: CannedNode, stationkeep: Run, command: str
) -> None:
    assert stationkeep(*command.split()).exit_code == 2
    assert not canned.requests


@pytest.mark.parametrize(
    "command",
    ["remove gone", "set new --selector app=2 --rings dev --before gone",
     "set old --selector app=2 --rings dev --before old"],
)  # fmt: skip
def test_a_policy_that_is_not_there_is_named(
    canned: CannedNode, stationkeep: Run, command: str
) -> None:
    result = stationkeep("rings", "policy", *command.split())
    assert result.exit_code == 2
    assert all(request.method == "GET" for request in canned.requests)
    assert "; known: " in result.output


def test_a_device_id_cannot_lead_to_another_path(canned: CannedNode, stationkeep: Run) -> None:
    stationkeep("devices", "remove", "../rings?x=1")
    assert canned.requests[-1].url.raw_path == b"/v1/devices/..%2Frings%3Fx%3D1"


def test_a_health_rule_is_sent_as_it_is_meant(canned: CannedNode, stationkeep: Run) -> None:
    assert stationkeep("rings", "health", "rpm < 70", "--unreported").exit_code == 0
    assert canned.body == {
        "rule": "rpm < 70", "charging_excuses_battery": False, "unreported": True,
    }  # fmt: skip


def test_what_orders_would_change_is_counted(canned: CannedNode, stationkeep: Run) -> None:
    told = stationkeep("rings", "health", "temprature < 70", "--dry-run")
    assert (
        "verdict would change for 6 of 7 devices online: 5 to unhealthy, 1 to healthy"
        in told.stdout
    )
    assert "warning: no device reports temprature; did you mean temperature?" in told.stderr
    shares = [f"{ring}=1" for ring in ("canary", "dev", "stage", "prod")]
    assert (
        "would move 2 of 8 devices" in stationkeep("rings", "shares", *shares, "--dry-run").stdout
    )
    assert {request.method for request in canned.requests} == {"POST"}
    assert all(request.url.path.endswith("/plan") for request in canned.requests)


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("set beta --selector app=2.0 --rings dev", ["pixels", "old", "beta"]),
        ("remove pixels", ["old"]),
    ],
)
def test_what_ring_policies_would_change_is_counted(
    canned: CannedNode, stationkeep: Run, command: str, names: list[str]
) -> None:
    told = stationkeep("rings", "policy", *command.split(), "--dry-run")
    assert "would apply to 3 of 8 devices; 1 would be in a ring" in told.stdout
    assert "warning: beta rules no device now" in told.stderr
    assert [one["name"] for one in canned.body["policies"]] == names
    methods = {(request.method, request.url.path) for request in canned.requests}
    assert methods == {("GET", "/v1/rings"), ("POST", "/v1/rings/policies/plan")}


def test_what_nobody_has_is_named(canned: CannedNode, stationkeep: Run) -> None:
    warnings = ["no device has modle; did you mean model?"]
    canned.reads["/v1/devices"] = {"items": [], "next": None, "warnings": warnings}
    listed = stationkeep("devices", "list", "--selector", "modle=Pixel 8")
    assert (listed.stdout, listed.exit_code) == ("no such devices\n", 0)
    assert listed.stderr == f"warning: {warnings[0]}\n"
