"""GET /v1/alarms, and the acknowledging of what it shows."""

import httpx

from stationkeep.cluster.alarms import ALARMS
from stationkeep.cluster.commands import Complaint, Echo, Measured, RecordEvaluation
from stationkeep.node.views.events import event_view
from tests.node.api.fake import MEMBERS, FakeNode

FULL = (Complaint("disk_low", "disk 93 % in use"),)


def complain(node: FakeNode, said: tuple[Complaint, ...], evaluations: int = 2) -> None:
    """Evaluations in which sat-002 complains."""
    for _ in range(evaluations):
        node.now += 1_000
        samples = tuple(
            Measured(n, 5, 0, complaints=said if n == "sat-002" else ()) for n in MEMBERS
        )
        echoes = tuple(Echo(n, 2, node.now, node.now) for n in MEMBERS)
        node.commit(RecordEvaluation(node.state.evaluations, samples, echoes))


async def test_without_alarms_the_list_is_empty(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/alarms")).json() == {"items": []}


async def test_an_alarm_says_of_whom_what_and_how_grave(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    complain(node, FULL)
    alarm = {
        "id": "disk_low@sat-002",
        "name": "disk_low",
        "subject": "sat-002",
        "severity": "warning",
        "meaning": ALARMS["disk_low"].meaning,
        "since_ms": node.now,
        "wall_ms": 1_000 + node.now,
        "detail": "disk 93 % in use",
        "acknowledged": None,
    }
    assert (await client.get("/v1/alarms")).json() == {"items": [alarm]}
    assert (await client.get("/v1/cluster")).json()["alarms"] == [alarm]


async def test_the_grave_comes_first(client: httpx.AsyncClient, node: FakeNode) -> None:
    complain(node, FULL)
    for _ in range(4):
        node.now += 1_000
        missed = tuple(Measured(n, 0, 0) for n in MEMBERS)
        node.commit(RecordEvaluation(node.state.evaluations, missed, ()))
    shown = [(a["severity"], a["id"]) for a in (await client.get("/v1/alarms")).json()["items"]]
    assert shown[0] == ("critical", f"primary_degraded@{MEMBERS[0]}")
    assert ("warning", "disk_low@sat-002") in shown[1:]


async def test_acknowledging_is_kept_with_who_when_and_why(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    complain(node, FULL)
    answer = await client.post(
        "/v1/alarms/disk_low@sat-002/ack",
        json={"reason": "a disk is ordered"},
        headers={"X-Stationkeep-Actor": "ann@ground"},
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["result"] == {"acknowledged": ["disk_low@sat-002"]}
    [alarm] = (await client.get("/v1/alarms")).json()["items"]
    seen = {"actor": "ann@ground", "at_ms": node.now, "comment": "a disk is ordered"}
    assert alarm["acknowledged"] == seen
    again = await client.post("/v1/alarms/disk_low/ack")
    assert again.status_code == 409
    assert again.json()["detail"] == "alarm: disk_low was acknowledged already, by ann@ground"


async def test_what_is_not_raised_cannot_be_acknowledged(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/alarms/disk_low@sat-002/ack", json={})
    assert answer.status_code == 404
    assert answer.json()["rule"] == "unknown_alarm"


async def test_followers_of_the_events_see_the_whole_life(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    complain(node, FULL)
    await client.post("/v1/alarms/disk_low/ack", json={"reason": "seen"})
    complain(node, ())
    life = [e for e in node.streamed if e.kind.startswith("alarm")]
    assert [e.kind for e in life] == ["alarm_raised", "alarm_acknowledged", "alarm_cleared"]
    told = [event_view(e.event, node.state.fleet) for e in life if e.event is not None]
    assert all((data["name"], data["subject"]) == ("disk_low", "sat-002") for data in told)
    assert told[1]["comment"] == "seen"
