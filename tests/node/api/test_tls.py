"""Whom a node trusts, for those who do not trust it yet; and its files, read when told."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from stationkeep.node.api.app import build
from stationkeep.node.http.access import Admission
from stationkeep.node.security import certificates as made
from stationkeep.node.security.contexts import Contexts
from stationkeep.node.security.renewal import Issuer, Renewal
from tests.node.api.fake import FakeNode
from tests.node.security.issuing import at, authority, contexts, files

NODE = "sat-001"


@pytest.fixture
def certified(tmp_path: Path) -> Contexts:
    return contexts(tmp_path, NODE)


@pytest.fixture
async def client(certified: Contexts) -> AsyncIterator[httpx.AsyncClient]:
    app = build(FakeNode().with_primary(), certified=certified)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8701") as client:
        yield client


async def test_anybody_may_have_the_ca_and_see_its_pin(tmp_path: Path, certified: Contexts) -> None:
    """Also of a node that asks for tokens."""
    second = made.new_authority("c", at(0), uid=authority().uid).certificate
    ca = tmp_path / NODE / "ca.pem"
    ca.write_bytes(ca.read_bytes() + made.public_pem([second]))
    certified.look()
    app = build(FakeNode(), certified=certified, admission=Admission(required=True))
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8701") as client:
        answer = (await client.get("/v1/tls/ca")).json()
    found = made.certificates_in(answer["pem"].encode())
    assert found == [authority().certificate, second]
    assert answer["pins"] == [made.pin(each) for each in found]
    assert answer["uid"] == authority().uid
    assert answer["issued_by"] == answer["pins"][0]
    assert "PRIVATE" not in str(answer)


async def test_to_ask_again_costs_the_node_no_signature(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody may, as often as he likes."""
    first = (await client.get("/v1/tls/ca")).json()
    monkeypatch.setattr(made, "_issued", None)
    monkeypatch.setattr(made, "pin", None)
    assert (await client.get("/v1/tls/ca")).json() == first


async def test_files_are_read_when_told_and_the_new_serial_is_said(
    client: httpx.AsyncClient, certified: Contexts, tmp_path: Path
) -> None:
    before = certified.current.serial
    files(tmp_path / NODE, NODE, ends=70)
    answer = await client.post("/v1/tls/reload")
    assert answer.status_code == 200
    assert answer.json() == {
        "node": NODE,
        "serial": certified.current.serial,
        "expires_wall_ms": int(certified.current.pair.ends * 1_000),
    }
    assert certified.current.serial != before


async def test_files_that_do_not_fit_are_refused_with_the_reason_and_the_old_stay(
    client: httpx.AsyncClient, certified: Contexts, tmp_path: Path
) -> None:
    before = certified.current
    files(tmp_path / NODE, "sat-002")
    answer = await client.post("/v1/tls/reload")
    assert (answer.status_code, answer.json()["rule"]) == (409, "certificate_rejected")
    assert "is of node sat-002, not of sat-001" in answer.json()["detail"]
    assert certified.current is before


async def test_a_node_issues_itself_another_certificate_when_told(
    client: httpx.AsyncClient, certified: Contexts, tmp_path: Path
) -> None:
    own = tmp_path / NODE
    ca, key, file = own / "ca.pem", own / "ca.key", own / "node.pem"
    before = certified.current
    refused = await client.post("/v1/tls/renew")
    assert (refused.status_code, refused.json()["rule"]) == (409, "not_renewed")
    assert "certs issue" in refused.json()["detail"]

    Renewal(certified, Issuer(ca, key, file, NODE, ()))
    refused = await client.post("/v1/tls/renew")
    assert (refused.status_code, refused.json()["rule"]) == (409, "not_renewed")
    assert "ca.key cannot be read" in refused.json()["detail"]
    assert certified.current is before

    key.write_bytes(made.private_pem(authority().key))
    answer = await client.post("/v1/tls/renew")
    assert answer.status_code == 200
    assert answer.json()["serial"] == certified.current.serial != before.serial
    assert certified.current.pair.leaf.public_key() != before.pair.leaf.public_key()


async def test_a_certificate_is_revoked_by_its_serial_and_listed(
    client: httpx.AsyncClient,
) -> None:
    """Also by a node that has no certificates itself: the others may."""
    answer = await client.post("/v1/tls/revocations", json={"serial": "5f3a9c", "reason": "sold"})
    assert (answer.status_code, answer.json()["result"]["serial"]) == (200, "5f3a9c")
    listed = (await client.get("/v1/tls/revocations")).json()["items"]
    assert [one["serial"] for one in listed] == ["5f3a9c"]
    answer = await client.post("/v1/tls/revocations", json={"serial": "5F:3A"})
    assert (answer.status_code, answer.json()["field"]) == (400, "serial")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/tls/ca"), ("POST", "/v1/tls/reload"), ("POST", "/v1/tls/renew")],
)
async def test_a_node_without_certificates_says_so(method: str, path: str) -> None:
    transport = httpx.ASGITransport(app=build(FakeNode()), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8701") as client:
        answer = await client.request(method, path)
    assert answer.status_code == 404
    assert "`tls` is not in its file" in answer.json()["detail"]


ROTATION = "/v1/tls/rotation"


@pytest.fixture
def issuing(certified: Contexts) -> Path:
    """The node has the CA's key; its directory."""
    directory = certified.files.ca.parent
    made.write(directory / "ca.key", made.private_pem(authority().key), made.PRIVATE)
    return directory


async def test_a_second_ca_is_made_where_it_is_asked_for_and_its_key_stays_there(
    client: httpx.AsyncClient, issuing: Path
) -> None:
    assert (await client.get(ROTATION)).json()["phase"] == "none"
    answer = await client.post(f"{ROTATION}/start", json={"reason": "stolen"})
    assert (answer.status_code, answer.json()["result"]["phase"]) == (200, "trusting")
    again = await client.post(f"{ROTATION}/start")
    assert again.json()["result"] == answer.json()["result"]
    seen = (await client.get(ROTATION)).json()
    assert seen["first"] == [made.pin(authority().certificate)]
    assert seen["lagging"] == ["sat-001", "sat-002", "sat-003"]
    assert "the second CA is not trusted yet" in seen["waits"]
    assert "PRIVATE" not in answer.text + str(seen)
    key = made.key_in((issuing / "ca.next.key").read_bytes())
    assert seen["second"] == made.pin_of_key(key.public_key())


async def test_who_cannot_make_one_may_be_given_one_of_this_cluster_alone(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post(f"{ROTATION}/start")
    assert (answer.status_code, answer.json()["rule"]) == (409, "no_ca_key")
    second = made.new_authority("c", at(0), uid=authority().uid).certificate
    for wrong in ("x", made.public_pem([authority("foreign").certificate]).decode()):
        answer = await client.post(f"{ROTATION}/start", json={"pem": wrong})
        assert (answer.status_code, answer.json()["field"]) == (400, "pem")
    pem = made.public_pem([second]).decode()
    answer = await client.post(f"{ROTATION}/start", json={"pem": pem})
    assert answer.json()["result"]["pin"] == made.pin(second)


async def test_a_directory_that_is_not_the_nodes_to_write_to_is_named(
    client: httpx.AsyncClient, issuing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *_: object) -> None:
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr(made, "write", full)
    answer = await client.post(f"{ROTATION}/start")
    assert (answer.status_code, answer.json()["rule"]) == (409, "ca_files")
    assert str(issuing / "ca.next.key") in answer.json()["detail"]


async def test_steps_out_of_turn_are_refused(client: httpx.AsyncClient, issuing: Path) -> None:
    for step in ("finish", "abort"):
        answer = await client.post(f"{ROTATION}/{step}")
        assert (answer.status_code, answer.json()["rule"]) == (409, "not_in_state")
    await client.post(f"{ROTATION}/start")
    answer = await client.post(f"{ROTATION}/finish", json={"leave_behind": -1})
    assert (answer.status_code, answer.json()["field"]) == (400, "leave_behind")
    answer = await client.post(f"{ROTATION}/finish")
    assert "sat-001, sat-002, sat-003: the second CA" in answer.json()["detail"]
    answer = await client.post(f"{ROTATION}/abort")
    assert answer.json()["result"]["phase"] == "aborted"


async def test_a_node_that_leaves_in_foreign_hands_is_an_alarm(client: httpx.AsyncClient) -> None:
    answer = await client.delete("/v1/nodes/sat-003", params={"compromised": "true"})
    assert answer.status_code == 200, answer.text
    (alarm,) = [
        one
        for one in (await client.get("/v1/alarms")).json()["items"]
        if one["name"] == "ca_exposed"
    ]
    assert (alarm["severity"], "sat-003" in alarm["detail"]) == ("critical", True)
    assert (await client.get(ROTATION)).json()["exposed"] == ["sat-003"]
