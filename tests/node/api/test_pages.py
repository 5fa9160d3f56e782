"""The dashboard's files, and which pages may speak with the cluster."""

import re

import httpx
import pytest

from stationkeep.cluster.commands import AddMember, MemberSpec
from stationkeep.node.api import docs, pages
from stationkeep.node.api.app import build
from stationkeep.node.api.resources.probes import PROBES
from tests.node.api.fake import FakeNode

MEMBER = "http://127.0.0.1:8702"
MAX_WEIGHT = 300_000
"""Bytes of the whole page, uncompressed."""


async def test_the_root_is_the_dashboard_and_all_it_names_is_there(
    client: httpx.AsyncClient,
) -> None:
    page = await client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    named = re.findall(r'(?:href|src)="(/dashboard/[^"]+)"', page.text)
    assert "/dashboard/app.js" in named
    for path in named:
        assert (await client.get(path)).status_code == 200, path


async def test_the_api_is_described_without_a_script_under_the_policy_of_the_page(
    client: httpx.AsyncClient,
) -> None:
    page, described = await client.get("/"), await client.get("/docs")
    assert described.status_code == 200
    policy = described.headers["content-security-policy"]
    assert policy == page.headers["content-security-policy"]
    assert "<script" not in described.text
    assert not re.search(r"(?:href|src)=['\"]?(?:https?:)?//", described.text)
    for named in re.findall(r'href="(/[^"]+)"', described.text):
        assert (await client.get(named)).status_code == 200, named
    places = set(re.findall(r'id="([^"]+)"', described.text))
    assert set(re.findall(r'href="#([^"]+)"', described.text)) <= places
    document = (await client.get("/openapi.json")).json()
    for path, operations in document["paths"].items():
        for method in operations:
            assert f"<code>{method.upper()} {path}</code>" in described.text


def test_what_a_description_says_is_shown_as_text() -> None:
    told = {"summary": "<b>", "description": "</p><img src=x>", "responses": {}}
    document = {
        "info": {"version": "1", "description": "<i>"},
        "paths": {"/<a>": {"get": told}},
        "components": {"schemas": {"<o>": {"properties": {"<f>": {"enum": ["<e>"]}}}}},
    }
    shown = docs.page(document).decode()
    assert not re.search(r"<(?:[abioef]|img)[ >]", shown.replace('<a href="/openapi.json">', ""))


def test_the_whole_page_is_light_and_has_no_foreign_part() -> None:
    files = pages.load()
    assert sum(len(file.content) for file in files.values()) < MAX_WEIGHT
    for name, file in files.items():
        without_namespaces = file.content.decode().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://[a-z]", without_namespaces), name


async def test_a_module_imports_only_modules_that_are_served() -> None:
    files = pages.load()
    for name, file in files.items():
        for imported in re.findall(r'from "\./([^"]+)"', file.content.decode()):
            assert imported in files, f"{name} imports {imported}"


async def test_an_unchanged_file_is_not_sent_again(client: httpx.AsyncClient) -> None:
    first = await client.get("/dashboard/app.js")
    again = await client.get("/dashboard/app.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]


async def test_a_page_whose_policy_has_changed_is_sent_again(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    first = await client.get("/")
    node.commit(AddMember(MemberSpec("sat-009", "127.0.0.1:1", "10.0.0.9:80")))
    again = await client.get("/", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 200
    assert "http://10.0.0.9:80" in again.headers["content-security-policy"]


@pytest.mark.parametrize("name", ["__init__.py", "nothing.js", "..%2Fapi%2Fapp.py"])
async def test_nothing_else_of_the_package_is_served(client: httpx.AsyncClient, name: str) -> None:
    assert (await client.get(f"/dashboard/{name}")).status_code == 404


async def test_the_policy_lets_the_page_speak_with_the_members_only(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    node.commit(AddMember(MemberSpec("sat-009", "h:1", "*;script-src:2")))
    policy = (await client.get("/")).headers["content-security-policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == "'self'"
    assert rules["connect-src"].split() == [
        "'self'",
        "http://127.0.0.1:8701",
        "http://127.0.0.1:8702",
        "http://127.0.0.1:8703",
    ]


@pytest.mark.parametrize("origin", [MEMBER, "http://localhost:8702", "http://[::1]:8702"])
async def test_the_page_of_a_member_may_read_and_write_here(
    client: httpx.AsyncClient, origin: str
) -> None:
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    preflight = await client.options("/v1/resume", headers=asked)
    assert preflight.status_code == 204
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert "Last-Event-ID" in preflight.headers["access-control-allow-headers"]
    for answer in (
        preflight,
        await client.get("/v1/cluster", headers={"Origin": origin}),
        await client.get("/v1/nodes/nobody", headers={"Origin": origin}),
        await client.post("/v1/resume", headers={"Origin": origin}),
    ):
        assert answer.headers["access-control-allow-origin"] == origin
        assert answer.headers["vary"] == "Origin"


async def test_a_member_elsewhere_is_known_by_its_address(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    origin = {"Origin": "http://10.0.0.9:80"}
    assert (await client.post("/v1/resume", headers=origin)).status_code == 403
    node.commit(AddMember(MemberSpec("sat-009", "127.0.0.1:1", "10.0.0.9:80")))
    assert (await client.post("/v1/resume", headers=origin)).status_code == 200
    unsaid = {"Origin": "http://10.0.0.9"}  # browsers leave the usual port out
    assert (await client.post("/v1/resume", headers=unsaid)).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example:8702", "http://127.0.0.1:9999", "null", "["]
)
async def test_no_other_page_sees_an_answer(client: httpx.AsyncClient, origin: str) -> None:
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    for answer in (
        await client.options("/v1/resume", headers=asked),
        await client.get("/v1/cluster", headers={"Origin": origin}),
    ):
        assert "access-control-allow-origin" not in answer.headers


async def test_a_page_of_ours_is_told_that_it_may_do_everything(client: httpx.AsyncClient) -> None:
    me = (await client.get("http://127.0.0.1:8701/v1/me")).json()
    assert me == {"actor": "anonymous@127.0.0.1", "role": "admin", "because": ""}


async def test_who_names_no_host_is_no_page(client: httpx.AsyncClient) -> None:
    """HTTP/1.0 does not ask for the header."""
    request = client.build_request("GET", "/v1/me")
    del request.headers["host"]
    assert (await client.send(request)).json()["role"] == "admin"


async def test_a_foreign_page_is_told_that_it_may_only_look(client: httpx.AsyncClient) -> None:
    me = (await client.get("/v1/me", headers={"Origin": "null"})).json()
    assert me["role"] == "viewer"
    assert "may not write here" in me["because"]


FOREIGN = ["evil.example:8701", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example"]


@pytest.mark.parametrize("path", ["/v1/cluster", "/v1/snapshot", "/metrics", "/", "/docs"])
@pytest.mark.parametrize("host", [*FOREIGN, "", "[", "@", "127.0.0.1:8701@evil.example"])
async def test_a_name_that_is_none_of_ours_reads_nothing(
    client: httpx.AsyncClient, host: str, path: str
) -> None:
    """It may have been made to resolve to this machine (DNS rebinding): its page's reads carry
    no origin."""
    answer = await client.get(path, headers={"Host": host})
    assert answer.status_code == 421
    assert answer.json()["type"] == "urn:stationkeep:problem:misdirected"


@pytest.mark.parametrize("host", FOREIGN)
async def test_a_probe_answers_whatever_a_load_balancer_calls_us(
    client: httpx.AsyncClient, host: str
) -> None:
    for path in PROBES:
        assert (await client.get(path, headers={"Host": host})).status_code in {200, 503}, path


@pytest.mark.parametrize(
    "host",
    [
        "localhost:8701",
        "LocalHost",
        "127.0.0.1",
        "127.3.3.3:1",
        "[::1]:8701",
        "192.0.2.7:80",
        "sat.example:8704",
        "SAT.example",
        "fleet.example",
    ],
)
async def test_names_and_addresses_of_ours_are_answered(node: FakeNode, host: str) -> None:
    node.commit(AddMember(MemberSpec("sat-004", "127.0.0.1:7704", "sat.example:8704")))
    transport = httpx.ASGITransport(app=build(node, hosts=("fleet.example",)))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.get("/v1/cluster", headers={"Host": host})
    assert answer.status_code == 200
