"""Devices and rings over HTTP: what is told, what is filtered, what is refused."""

import asyncio
from itertools import chain
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from stationkeep.cluster.commands import AssignRing, RegisterDevices, Registration
from stationkeep.cluster.devices.rings import Ring
from stationkeep.node.api.resources import devices
from stationkeep.node.http.paging import encode_cursor
from stationkeep.node.views.fleet import DeviceView
from tests.node.api.fake import FakeNode
from tests.node.api.fleet_story import check, go_silent, register, report

EIGHT = tuple(f"slave-{n:03d}" for n in range(1, 9))
EVENLY = {"canary": 2, "dev": 2, "stage": 2, "prod": 2}


@pytest.fixture
def fleet(node: FakeNode) -> FakeNode:
    """Eight devices as in the seed, two in each ring."""
    about = {"os_version": "Android 14", "app_version": "1.0.0", "labels": {"site": "lab"}}
    register(node, *EIGHT, name="Pixel 8 Pro", capabilities={"model": "Pixel 8"}, **about)
    return node


async def _get(client: httpx.AsyncClient, path: str, **query: Any) -> Any:
    answer = await client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def _ids(client: httpx.AsyncClient, **query: Any) -> list[str]:
    return [item["id"] for item in (await _get(client, "/v1/devices", **query))["items"]]


async def test_the_queries_of_the_seed(client: httpx.AsyncClient, fleet: FakeNode) -> None:
    report(fleet, EIGHT[0], ill=True)
    status = (await _get(client, "/v1/cluster"))["fleet"]
    assert status["total_slaves"] == 8
    assert status["healthy_devices"] == 7
    assert status["ring_distribution"] == EVENLY


async def test_offline_devices_count_in_no_health_figure(
    client: httpx.AsyncClient, fleet: FakeNode
) -> None:
    go_silent(fleet, *EIGHT[:3])
    status = (await _get(client, "/v1/cluster"))["fleet"]
    assert (status["total_slaves"], status["offline_devices"]) == (8, 3)
    assert (status["healthy_devices"], status["unhealthy_devices"]) == (5, 0)
    assert status["ring_distribution"] == EVENLY


async def test_an_empty_fleet_is_told_too(client: httpx.AsyncClient) -> None:
    assert (await _get(client, "/v1/cluster"))["fleet"]["total_slaves"] == 0
    assert await _ids(client) == []
    assert [ring["quota"] for ring in (await _get(client, "/v1/rings"))["items"]] == [0] * 4


async def test_device_shape(client: httpx.AsyncClient, fleet: FakeNode) -> None:
    fleet.now += 5_000
    seen = await _get(client, "/v1/devices/slave-001")
    assert set(seen) == set(DeviceView.__struct_fields__)
    assert seen["name"] == "Pixel 8 Pro"
    assert seen["os_version"] == "Android 14"
    assert seen["labels"] == {"site": "lab"}
    assert seen["capabilities"] == {"model": "Pixel 8"}
    assert seen["status"] == {
        "battery_level": 85,
        "battery_charging": True,
        "cpu_usage": 45.2,
        "memory_usage": 62.5,
        "disk_usage": 55.0,
        "metrics": {},
    }
    assert (seen["healthy"], seen["online"], seen["pin"], seen["policy"]) == (
        True,
        True,
        None,
        None,
    )
    assert seen["ring_reason"] == "registered"
    assert seen["seen_s"] == 5
    assert seen["served_by"] == "sat-001"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, EIGHT),
        ({"healthy": "true"}, EIGHT[2:]),
        ({"healthy": "false"}, EIGHT[1:2]),
        ({"online": "false"}, EIGHT[:1]),
        ({"online": "true"}, EIGHT[1:]),
        ({"selector": "id in (slave-003, slave-004)"}, EIGHT[2:4]),
        ({"selector": "os=Android 14, model in (Pixel 8, Pixel 9), site=lab"}, EIGHT),
        ({"selector": "health=offline"}, EIGHT[:1]),
        ({"selector": "os!=Android 14"}, ()),
        ({"selector": "site=lab", "healthy": "false"}, EIGHT[1:2]),
        ({"pinned": "true"}, EIGHT[7:]),
        ({"pinned": "false"}, EIGHT[:7]),
        ({"text": "VE-00"}, EIGHT),
        ({"text": "ve-003"}, EIGHT[2:3]),
        ({"text": "pixel 8"}, EIGHT),
        ({"text": "pixel 9"}, ()),
        ({"text": "slave", "healthy": "false"}, EIGHT[1:2]),
        ({"sort": "ring_since", "text": "slave", "pinned": "true"}, EIGHT[7:]),
    ],
)
async def test_devices_are_filtered(
    client: httpx.AsyncClient, fleet: FakeNode, query: dict[str, str], expected: tuple[str, ...]
) -> None:
    go_silent(fleet, EIGHT[0])
    report(fleet, *EIGHT[1:])
    report(fleet, EIGHT[1], ill=True)
    fleet.commit(AssignRing(EIGHT[7], Ring.PROD))
    assert await _ids(client, **query) == list(expected)


async def test_devices_are_put_in_order_over_all_pages(
    client: httpx.AsyncClient, fleet: FakeNode
) -> None:
    ill = [f"ill-{n:02d}" for n in range(20)]
    register(fleet, *ill, ill=True)
    silent = Registration("silent-1", session=1, sequence=1)
    fleet.commit(RegisterDevices("sat-001", (silent,)))
    by_cpu = [*ill, *EIGHT, "silent-1"]
    for sort, expected in {"-cpu": by_cpu, "cpu": [*EIGHT, *ill, "silent-1"]}.items():
        assert await _ids(client, sort=sort) == expected
        assert await _paged(client, sort=sort, limit=7) == expected
    fleet.now += 5_000
    report(fleet, EIGHT[4])
    assert (await _ids(client, sort="seen"))[0] == EIGHT[4]
    assert (await _ids(client, sort="-seen"))[-1] == EIGHT[4]


async def test_an_order_begins_behind_whatever_place_it_is_told(
    client: httpx.AsyncClient, fleet: FakeNode
) -> None:
    for place, found in {(-(1 << 63), 0): 8, ((1 << 64) - 1, 0): 0}.items():
        assert len(await _ids(client, sort="cpu", cursor=encode_cursor(place))) == found


async def _paged(client: httpx.AsyncClient, **query: Any) -> list[str]:
    """The ids on all pages."""
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = await _get(client, "/v1/devices", **query, **cursor)
        found += [item["id"] for item in page["items"]]
        if page["next"] is None:
            return found
        cursor = {"cursor": page["next"]}


async def test_devices_by_ring_are_those_of_the_distribution(
    client: httpx.AsyncClient, fleet: FakeNode
) -> None:
    found = {ring: await _ids(client, ring=ring) for ring in EVENLY}
    assert {ring: len(ids) for ring, ids in found.items()} == EVENLY
    assert sorted(chain.from_iterable(found.values())) == list(EIGHT)


async def test_pages_add_up_to_the_whole(client: httpx.AsyncClient, fleet: FakeNode) -> None:
    register(fleet, *(f"more-{n:03d}" for n in range(90)))
    found, cursor = [], None
    while True:
        query = {"limit": 7} | ({"cursor": cursor} if cursor else {})
        page = await _get(client, "/v1/devices", selector="site=lab", **query)
        assert len(page["items"]) <= 7
        found += [item["id"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert found == list(EIGHT)


async def test_a_page_ends_after_so_many_looks(
    client: httpx.AsyncClient, fleet: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filter that hardly anything passes must not hold one request for a million rows."""
    monkeypatch.setattr(devices, "MAX_SCANS", 2)
    monkeypatch.setattr(devices, "SLICE", 1)
    first = await _get(client, "/v1/devices", limit=5)
    assert [item["id"] for item in first["items"]] == list(EIGHT[:2])
    second = await _get(client, "/v1/devices", limit=5, cursor=first["next"])
    assert [item["id"] for item in second["items"]] == list(EIGHT[2:4])


@pytest.mark.parametrize(
    ("query", "field", "rule"),
    [
        ({"ring": "production"}, "ring", "canary"),
        ({"healthy": "perhaps"}, "healthy", "true or false"),
        ({"selector": "os"}, "selector", "character 3"),
        ({"selector": "model in (Pixel 8"}, "selector", "parenthesis"),
        ({"selector": "x" * 2_000}, "selector", "1024"),
        ({"cursor": "zzz"}, "cursor", "next"),
        ({"cursor": "_w"}, "cursor", "next"),  # -1
        ({"cursor": "zgAQAAA"}, "cursor", "next"),  # 2**20
        ({"limit": "0"}, "limit", "1"),
        ({"healthy": "true", "online": "false"}, "healthy", "online=false"),
    ],
)
async def test_a_bad_question_names_field_and_rule(
    client: httpx.AsyncClient, fleet: FakeNode, query: dict[str, str], field: str, rule: str
) -> None:
    answer = await client.get("/v1/devices", params=query)
    problem = answer.json()
    assert answer.status_code == 400, answer.text
    assert problem["field"] == field
    assert rule in problem["rule"]
    assert query[field].lower().startswith(problem["value"].lower().rstrip("…"))


@pytest.mark.parametrize("path", ["", "/history", "/explain"])
async def test_an_unknown_device_is_404(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(f"/v1/devices/nobody{path}")
    assert answer.status_code == 404
    assert "nobody" in answer.json()["detail"]


@pytest.mark.parametrize("lifetime", ["90d", 90 * 86_400])
async def test_a_pin_may_last_for_months(
    client: httpx.AsyncClient, fleet: FakeNode, lifetime: object
) -> None:
    body = {"ring": "prod", "lifetime": lifetime}
    done = await client.put("/v1/devices/slave-001/ring", json=body)
    assert done.status_code == 200, done.text
    seen = await _get(client, "/v1/devices/slave-001")
    assert seen["pin"]["remaining_s"] == 90 * 86_400


async def test_a_pin_is_told_with_who_why_and_until_when(
    client: httpx.AsyncClient, fleet: FakeNode
) -> None:
    done = await client.put(
        "/v1/devices/slave-001/ring",
        json={"ring": "prod", "lifetime": "10m", "reason": "promoted after staging"},
        headers={"X-Stationkeep-Actor": "ann@ground", "Idempotency-Key": "pin-1"},
    )
    assert done.status_code == 200, done.text
    seen = await _get(client, "/v1/devices/slave-001")
    assert seen["ring"] == "prod"
    assert seen["pin"] == {
        "actor": "ann@ground",
        "reason": "promoted after staging",
        "remaining_s": 600,
    }
    assert (await _get(client, "/v1/rings"))["items"][3]["pinned"] == 1
    history = (await _get(client, "/v1/devices/slave-001/history"))["items"]
    told = [
        (move["target"], move["assigned_by"], move["reason"], move["comment"]) for move in history
    ]
    assert told == [
        ("prod", "ann@ground", "pinned", "promoted after staging"),
        (history[-1]["target"], "registration", "registered", ""),
    ]
    again = await client.put(
        "/v1/devices/slave-001/ring",
        json={"ring": "prod", "lifetime": "10m", "reason": "promoted after staging"},
        headers={"X-Stationkeep-Actor": "ann@ground", "Idempotency-Key": "pin-1"},
    )
    assert again.json() == done.json()
    assert len((await _get(client, "/v1/devices/slave-001/history"))["items"]) == len(history)


async def test_release_and_removal(client: httpx.AsyncClient, fleet: FakeNode) -> None:
    await client.put("/v1/devices/slave-001/ring", json={"ring": "prod"})
    released = await client.delete("/v1/devices/slave-001/ring")
    assert released.status_code == 200, released.text
    assert (await _get(client, "/v1/devices/slave-001"))["pin"] is None
    again = await client.delete("/v1/devices/slave-001/ring")
    assert again.json()["result"]["was_pinned"] is False
    removed = await client.delete("/v1/devices/slave-001")
    assert removed.status_code == 200
    assert (await client.get("/v1/devices/slave-001")).status_code == 404
    assert (await client.delete("/v1/devices/slave-001")).status_code == 404
    assert (await _get(client, "/v1/cluster"))["fleet"]["total_slaves"] == 7


async def test_what_policies_would_change_is_told_and_changes_nothing(
    client: httpx.AsyncClient, fleet: FakeNode
) -> None:
    index = fleet.state.index
    body = {"policies": [{"name": "all", "selector": "", "rings": ["prod"]}]}
    answer = await client.post("/v1/rings/policies/plan", json=body)
    assert answer.status_code == 200, answer.text
    told, total = answer.json(), len(fleet.state.fleet)
    assert (told["devices"], told["changed"]) == (total, total)
    assert told["policies"] == [{"name": "all", "devices": total}]
    assert fleet.state.index == index
    bad = {"policies": [{"name": "all", "selector": "x", "rings": ["prod"]}]}
    refused = await client.post("/v1/rings/policies/plan", json=bad)
    assert refused.status_code == 400
    assert "policies.0.selector" in refused.text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/rings/policies/plan", {"policies": [{"name": "all", "selector": "", "rings": []}]}),
        ("/v1/rings/plan", {"weights": {"canary": 1, "dev": 1, "stage": 1, "prod": 1}}),
    ],
)
async def test_of_plans_one_is_made_at_a_time(
    app: FastAPI, client: httpx.AsyncClient, fleet: FakeNode, path: str, body: dict[str, Any]
) -> None:
    async with app.state.planning:  # as while one is being made
        assert (await client.post(path, json=body)).status_code == 429
    assert (await client.post(path, json=body)).status_code == 200


async def test_an_ill_device_leaves_prod_and_says_why(
    client: httpx.AsyncClient, fleet: FakeNode
) -> None:
    ill = (await _ids(client, ring="prod"))[0]
    report(fleet, ill, ill=True)
    planned = await _get(client, "/v1/rings/plan")
    assert planned["devices"] >= 1
    assert {"prod", "unhealthy"} <= {
        value for move in planned["moves"] for value in (move["origin"], move["reason"])
    }
    assert (await _get(client, f"/v1/devices/{ill}"))["ring"] == "prod"  # it was a dry run
    assert check(fleet) >= 1
    seen = await _get(client, f"/v1/devices/{ill}/explain")
    assert seen["ring"] in ("canary", "dev")
    assert any("because it was unhealthy" in line for line in seen["summary"])
    assert any("cpu was 95, not < 80" in line for line in seen["summary"])
    assert seen["history"][0]["assigned_by"] == "rebalancer"
    assert seen["history"][0]["origin"] == "prod"


async def test_shares_and_caps_change_the_quotas(
    client: httpx.AsyncClient, fleet: FakeNode
) -> None:
    register(fleet, *(f"more-{n:03d}" for n in range(92)))
    weights = {"canary": 5, "dev": 10, "stage": 25, "prod": 60}
    answer = await client.put("/v1/rings/shares", json={"weights": weights, "caps": {"dev": 4}})
    assert answer.status_code == 200, answer.text
    rings = {ring["ring"]: ring for ring in (await _get(client, "/v1/rings"))["items"]}
    assert sum(ring["quota"] for ring in rings.values()) == 100
    assert rings["dev"]["quota"] == rings["dev"]["cap"] == 4
    assert rings["prod"]["share"] == 0.6
    assert rings["prod"]["cap"] is None


async def test_a_policy_rules_the_devices_that_it_matches(
    client: httpx.AsyncClient, fleet: FakeNode
) -> None:
    policies = [
        {"name": "nine", "selector": "os=Android 9", "rings": ["dev"]},
        {"name": "lab", "selector": "site=lab", "rings": ["canary", "dev"],
         "weights": {"canary": 1, "dev": 3}},
    ]  # fmt: skip
    answer = await client.put("/v1/rings/policies", json={"policies": policies})
    assert answer.status_code == 200, answer.text
    told = (await _get(client, "/v1/rings"))["policies"]
    assert [(policy["name"], policy["devices"]) for policy in told] == [("nine", 0), ("lab", 8)]
    assert told[0]["weights"] is None
    assert told[1]["weights"] == {"canary": 1, "dev": 3}
    assert (await _get(client, "/v1/devices/slave-001"))["policy"] == "lab"
    check(fleet)
    assert await _ids(client, selector="ring in (stage, prod)") == []
    explained = (await _get(client, "/v1/devices/slave-001/explain"))["summary"]
    assert any("the ring policy lab (site=lab) allows it canary, dev" in line for line in explained)


async def test_of_two_changes_of_the_same_policies_the_later_is_refused(
    client: httpx.AsyncClient, fleet: FakeNode
) -> None:
    version = (await _get(client, "/v1/rings"))["policies_version"]
    body = {"policies": [{"name": "a", "selector": "os=9", "rings": ["dev"]}], "version": version}
    first = await client.put(
        "/v1/rings/policies", json=body, headers={"Idempotency-Key": "policies-1"}
    )
    assert first.status_code == 200, first.text
    assert (await _get(client, "/v1/rings"))["policies_version"] != version
    later = await client.put("/v1/rings/policies", json=body | {"policies": []})
    assert (later.status_code, later.json()["rule"]) == (409, "stale_revision")
    again = await client.put(
        "/v1/rings/policies", json=body, headers={"Idempotency-Key": "policies-1"}
    )
    assert again.json() == first.json()
    assert [one["name"] for one in (await _get(client, "/v1/rings"))["policies"]] == ["a"]


async def test_the_health_rule_is_a_sentence(client: httpx.AsyncClient, fleet: FakeNode) -> None:
    rule = "battery > 30 and cpu < 70 and memory < 80 and disk < 90 and temperature < 70.5"
    body = {"rule": rule, "charging_excuses_battery": True, "unreported": True}
    answer = await client.put("/v1/rings/health-rule", json=body)
    assert answer.status_code == 200, answer.text
    told = await _get(client, "/v1/rings")
    assert (told["health_rule"], told["charging_excuses_battery"]) == (rule, True)


async def test_a_metric_that_nobody_reports_is_refused_unless_it_is_meant(
    client: httpx.AsyncClient, fleet: FakeNode
) -> None:
    before = (await _get(client, "/v1/rings"))["health_rule"]
    body = {"rule": "cpux < 70 and cpu < 90"}
    answer = await client.put("/v1/rings/health-rule", json=body)
    assert answer.status_code in {400, 409}, answer.text
    assert "no device reports cpux; did you mean cpu?" in answer.json()["detail"]
    assert (await _get(client, "/v1/rings"))["health_rule"] == before
    planned = (await client.post("/v1/rings/health-rule/plan", json=body)).json()
    assert planned["warnings"] == ["no device reports cpux; did you mean cpu?"]
    meant = await client.put("/v1/rings/health-rule", json=body | {"unreported": True})
    assert meant.status_code == 200, meant.text


async def test_a_plan_says_how_many_devices_a_rule_judges_otherwise(
    client: httpx.AsyncClient, fleet: FakeNode
) -> None:
    before = (await _get(client, "/v1/rings"))["health_rule"]
    strict = {"rule": "battery > 20 and cpu < 1"}
    planned = (await client.post("/v1/rings/health-rule/plan", json=strict)).json()
    assert planned["to_unhealthy"] > 0
    assert planned["to_healthy"] == 0
    assert (await _get(client, "/v1/rings"))["health_rule"] == before


async def test_caps_that_are_not_named_stay(client: httpx.AsyncClient, fleet: FakeNode) -> None:
    weights = dict.fromkeys(("canary", "dev", "stage", "prod"), 1)

    async def caps(given: dict[str, int | None] | None) -> dict[str, int | None]:
        body = {"weights": weights} | ({} if given is None else {"caps": given})
        answer = await client.put("/v1/rings/shares", json=body)
        assert answer.status_code == 200, answer.text
        return {ring["ring"]: ring["cap"] for ring in (await _get(client, "/v1/rings"))["items"]}

    assert await caps({"canary": 5, "dev": 7}) == {
        "canary": 5, "dev": 7, "stage": None, "prod": None,
    }  # fmt: skip
    assert (await caps(None))["canary"] == 5
    assert (await caps({"dev": 0, "canary": None})) == {
        "canary": 5, "dev": None, "stage": None, "prod": None,
    }  # fmt: skip


async def test_what_shares_would_move_is_counted_and_not_done(
    client: httpx.AsyncClient, fleet: FakeNode
) -> None:
    before = await _get(client, "/v1/rings")
    body = {"weights": {"canary": 0, "dev": 0, "stage": 0, "prod": 1}}
    planned = await client.post("/v1/rings/plan", json=body)
    assert planned.status_code == 200, planned.text
    assert planned.json()["total"] == sum(ring["devices"] for ring in before["items"])
    assert (await _get(client, "/v1/rings"))["items"] == before["items"]


async def test_a_selector_that_nobody_matches_names_what_is_mistyped(
    client: httpx.AsyncClient, fleet: FakeNode
) -> None:
    none = await _get(client, "/v1/devices", selector="oss=x")
    assert none["items"] == []
    assert none["warnings"] == ["no device has oss; did you mean os?"]
    assert (await _get(client, "/v1/devices"))["warnings"] == []
    policy = {"name": "a", "selector": "oss=x", "rings": ["dev"]}
    answer = await client.put("/v1/rings/policies", json={"policies": [policy]})
    assert answer.status_code == 200, answer.text
    assert answer.json()["result"]["warnings"] == [
        "a rules no device now", "a: no device has oss; did you mean os?",
    ]  # fmt: skip


async def test_a_rebalance_is_asked_for(client: httpx.AsyncClient, fleet: FakeNode) -> None:
    assert (await client.post("/v1/rings/rebalance")).status_code == 200
    assert fleet.state.fleet.requested


async def test_the_brake_is_told_and_released(client: httpx.AsyncClient, fleet: FakeNode) -> None:
    report(fleet, *EIGHT[:6], ill=True)
    check(fleet)
    assert (await _get(client, "/v1/cluster"))["fleet"]["braked"] is True
    brake = (await _get(client, "/v1/rings"))["brake"]
    assert brake["detail"]
    assert (await _get(client, "/v1/rings/plan"))["braked"] is True
    answer = await client.post("/v1/rings/release-brake", json={"reason": "seen"})
    assert answer.status_code == 200, answer.text
    assert (await _get(client, "/v1/rings"))["brake"] is None


BAD: list[tuple[str, str, Any, str]] = [
    ("PUT", "/v1/devices/slave-001/ring", {"ring": "moon"}, "ring"),
    ("PUT", "/v1/devices/slave-001/ring", {"ring": "prod", "lifetime": "soon"}, "lifetime"),
    ("PUT", "/v1/devices/slave-001/ring", {"ring": "prod", "lifetime": -1}, "lifetime"),
    ("PUT", "/v1/devices/slave-001/ring", {"ring": "prod", "lifetime": "367d"}, "lifetime"),
    ("PUT", "/v1/devices/slave-001/ring", {"ring": "prod", "lifetime": 366 * 86_400 + 1},
     "lifetime"),
    ("PUT", "/v1/devices/slave-001/ring", {"ring": "prod", "x": 1}, "x"),
    ("PUT", "/v1/devices/slave-001/ring", {"ring": "prod", "reason": "a\nb"}, "reason"),
    ("PUT", "/v1/rings/shares", {"weights": {"canary": 1}}, "weights.dev"),
    ("PUT", "/v1/rings/shares", {"weights": dict.fromkeys(EVENLY, -1)}, "weights.canary"),
    ("PUT", "/v1/rings/shares", {"weights": dict.fromkeys(EVENLY, 1.5)}, "weights.canary"),
    ("PUT", "/v1/rings/shares", {"weights": dict.fromkeys(EVENLY, 0)}, "weights"),
    ("PUT", "/v1/rings/policies", {"policies": [{"name": "a", "selector": "os"}]},
     "policies.0.selector"),
    ("PUT", "/v1/rings/policies", {"policies": [{"name": "a", "selector": "id=x"}]},
     "policies.0.selector"),
    ("PUT", "/v1/rings/policies",
     {"policies": [{"name": "a", "selector": "os=9", "rings": ["dev", "dev"]}]},
     "policies.0.rings"),
    ("PUT", "/v1/rings/policies", {"policies": [{"name": "a", "selector": "os=9", "weights": {}}]},
     "policies.0.weights"),
    ("PUT", "/v1/rings/policies", {"policies": [{"name": n, "selector": ""} for n in "aa"]},
     "policies.1.name"),
    ("PUT", "/v1/rings/policies", {"policies": [], "version": "newest"}, "version"),
    ("PUT", "/v1/rings/health-rule", {"rule": "battery is fine"}, "rule"),
    ("PUT", "/v1/rings/health-rule", {"rule": "battery > 200"}, "rule"),
    ("PUT", "/v1/rings/health-rule", {"rule": ""}, "rule"),
    ("PUT", "/v1/rings/health-rule", {"rule": "cpu < 80", "charging_excuses_battery": 1},
     "charging_excuses_battery"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "field"), BAD)
async def test_a_bad_order_names_its_field_and_changes_nothing(
    client: httpx.AsyncClient, fleet: FakeNode, *, method: str, path: str, body: Any, field: str
) -> None:
    before = fleet.state.index
    answer = await client.request(method, path, json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["field"] == field
    assert answer.json()["rule"]
    assert fleet.state.index == before


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("PUT", "/v1/devices/nobody/ring", {"ring": "prod"}), ("DELETE", "/v1/devices/nobody", None),
     ("DELETE", "/v1/devices/nobody/ring", None)],
)  # fmt: skip
async def test_orders_about_nobody_are_404(
    client: httpx.AsyncClient, fleet: FakeNode, method: str, path: str, body: Any
) -> None:
    answer = await client.request(method, path, json=body)
    assert answer.status_code == 404, answer.text


async def test_settings_of_the_fleet_are_set_by_name(client: httpx.AsyncClient) -> None:
    answer = await client.patch("/v1/config", json={"redistribution": "rotate", "ring_band": 0.05})
    assert answer.status_code == 200, answer.text
    shown = (await _get(client, "/v1/config"))["settings"]
    assert (shown["redistribution"], shown["ring_band"]) == ("rotate", 0.05)
    refused = await client.patch("/v1/config", json={"redistribution": "sometimes"})
    assert refused.status_code == 400
    assert refused.json()["field"] == "redistribution"
    assert refused.json()["rule"] == "'budget', 'rotate', 'random' or 'off'"


async def test_a_large_fleet_is_never_looked_at_in_one_go(
    client: httpx.AsyncClient, fleet: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other requests have their turn between the parts of one that finds nothing."""
    register(fleet, *(f"more-{n:03d}" for n in range(600)))
    turns: list[int] = []

    async def others() -> None:
        while True:
            turns.append(1)
            await asyncio.sleep(0)

    monkeypatch.setattr("stationkeep.cluster.devices.fleet.SCAN", 8)
    others_ = asyncio.create_task(others())
    answer = await _get(client, "/v1/devices", ring="prod", selector="site=nowhere", limit=5)
    others_.cancel()
    assert answer["items"] == []
    assert answer["next"] is not None
    assert len(turns) >= devices.MAX_SCANS
