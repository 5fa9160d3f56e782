"""The door for machines that are no members yet, and what may be brought against it."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from stationkeep.cluster.levels import HIGHEST, LOWEST
from stationkeep.node.api.app import build
from stationkeep.node.http.access import MAX_FAILURES, Admission
from stationkeep.node.ports import NotProposed, OutcomeUnknown
from stationkeep.node.security import certificates as made
from stationkeep.node.security.invitations import Word, draw
from stationkeep.node.security.registrar import Registrar
from tests.node.api.fake import FakeNode
from tests.node.security.issuing import authority

KEY = made.new_key()
CA = authority()
PIN = made.pin(CA.certificate)


@pytest.fixture
def node() -> FakeNode:
    found = FakeNode().with_primary()
    found.state.uid = CA.uid
    return found


@pytest.fixture
def tls(tmp_path: Path) -> Path:
    (tmp_path / "ca.pem").write_bytes(made.public_pem([CA.certificate]))
    (tmp_path / "ca.key").write_bytes(made.private_pem(CA.key))
    return tmp_path


@pytest.fixture
async def client(node: FakeNode, tls: Path) -> AsyncIterator[httpx.AsyncClient]:
    registrar = Registrar(tls / "ca.pem", tls / "ca.key")
    app = build(node, registrar=registrar)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8701") as client:
        yield client


async def invited(client: httpx.AsyncClient, **more: Any) -> Word:
    word = draw(CA.uid, PIN)
    body = {"invitation": word.id, "sha256": word.hash.hex()} | more
    answer = await client.post("/v1/invitations", json=body)
    assert answer.status_code == 200, answer.text
    return word


def asking(word: Word | str, node: str = "sat-009", **more: Any) -> dict[str, Any]:
    text = word if isinstance(word, str) else word.text
    raft, http = f"127.0.0.1:{7000 + int(node[-3:])}", f"127.0.0.1:{8000 + int(node[-3:])}"
    given = {"word": text, "node": node, "raft": raft, "http": http}
    given |= {"csr": made.request(KEY, node).decode(), "lowest": LOWEST, "highest": HIGHEST}
    return given | more


async def refusal(client: httpx.AsyncClient, **more: Any) -> tuple[int, str | None]:
    answer = await client.post("/v1/join", json=asking(**more))
    return answer.status_code, answer.json().get("rule")


async def test_who_proves_an_invitation_is_a_member_and_can_prove_that(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    word = await invited(client)
    answer = await client.post("/v1/join", json=asking(word))
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert node.state.members["sat-009"].learner
    (leaf,) = made.certificates_in(told["certificate"].encode())
    assert made.check_chain([leaf], [CA.certificate], "sat-009").uid == told["uid"] == CA.uid
    assert leaf.public_key() == KEY.public_key()
    assert made.authority(told["ca"].encode(), told["ca_key"].encode()).uid == CA.uid
    assert {member["id"] for member in told["members"]} == set(node.state.members)
    assert "no-store" in answer.headers["Cache-Control"]
    decision = node.state.decisions[-1]
    assert (decision.matter, decision.actor) == ("join", f"invitation#{word.id}")


async def test_names_in_a_request_for_a_certificate_are_its_author_s_claim(
    client: httpx.AsyncClient,
) -> None:
    word = await invited(client)
    csr = made.request(KEY, "sat-001").decode()
    told = (await client.post("/v1/join", json=asking(word, csr=csr))).json()
    (leaf,) = made.certificates_in(told["certificate"].encode())
    assert made.subject_of(leaf) == "node sat-009"


async def test_an_answer_that_was_lost_is_given_again_to_the_same_key_alone(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    word = await invited(client)
    first = (await client.post("/v1/join", json=asking(word))).json()
    again = (await client.post("/v1/join", json=asking(word))).json()
    assert {**first, "certificate": ""} == {**again, "certificate": ""}
    other = made.request(made.new_key(), "sat-009").decode()
    assert await refusal(client, word=word, csr=other) == (409, "duplicate")
    assert await refusal(client, word=word, node="sat-010") == (409, "closed")
    assert "sat-010" not in node.state.members


async def test_a_word_whose_secret_is_wrong_opens_nothing_and_is_told_as_one_that_never_was(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    word = await invited(client)
    wrong = word._replace(secret=bytes(16))
    never = draw(CA.uid, PIN)
    answers = [await client.post("/v1/join", json=asking(each)) for each in (wrong, never)]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert answers[0].json() == answers[1].json()
    assert "sat-009" not in node.state.members


@pytest.mark.parametrize("word", ["", "skj_", "skt_abcdefgh_x", "x" * 200, "ä" * 112])
async def test_what_is_no_word_is_refused_and_not_repeated(
    client: httpx.AsyncClient, word: str
) -> None:
    status, rule = await refusal(client, word=word)
    assert (status, rule) == (401, "malformed")


async def test_a_secret_is_in_no_answer_to_a_request_that_is_wrong(
    client: httpx.AsyncClient,
) -> None:
    word = await invited(client)
    given = asking(word)
    for body in (given | {"word": word.text * 3}, given | {"more": word.text}, [word.text]):
        answer = await client.post("/v1/join", json=body)
        assert answer.status_code == 400
        assert word.text.split("_")[2] not in answer.text


@pytest.mark.parametrize("field", ["word", "csr", "node", "raft"])
async def test_what_is_no_text_at_all_is_refused(client: httpx.AsyncClient, field: str) -> None:
    body = json.dumps(asking(await invited(client)) | {field: "\udcff"})
    headers = {"Content-Type": "application/json"}
    answer = await client.post("/v1/join", content=body, headers=headers)
    assert answer.status_code in (400, 401)


async def test_who_guesses_is_told_to_wait_and_who_was_invited_still_comes_in(
    client: httpx.AsyncClient, node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    def issued(*_: object) -> None:
        raise AssertionError("nothing is issued before the secret is proven")

    word = await invited(client)
    with monkeypatch.context() as patched:
        patched.setattr(made, "requested_key", issued)
        patched.setattr(Registrar, "issue", issued)
        told = [(await refusal(client, word=draw(CA.uid, PIN)))[0] for _ in range(MAX_FAILURES + 3)]
    assert told == [401] * MAX_FAILURES + [429] * 3
    metrics = (await client.get("/metrics")).text
    counted = f'stationkeep_authentications_total{{outcome="unknown"}} {MAX_FAILURES + 3}.0'
    assert counted in metrics
    assert (await client.post("/v1/join", json=asking(word))).status_code == 200
    assert "sat-009" in node.state.members


async def test_what_has_ended_takes_in_nobody(client: httpx.AsyncClient, node: FakeNode) -> None:
    word = await invited(client)
    assert (await client.delete(f"/v1/invitations/{word.id}")).status_code == 200
    assert await refusal(client, word=word) == (409, "closed")
    late = await invited(client, lifetime="1m")
    node.now += 60_000
    assert await refusal(client, word=late) == (409, "closed")


async def test_what_has_ended_is_told_so_without_a_line_in_the_log(
    client: httpx.AsyncClient, node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A word that was once good is in files and histories: it must not let anybody write."""

    def issued(*_: object) -> None:
        raise AssertionError("nothing is issued for who is not taken in")

    used, revoked = await invited(client), await invited(client)
    late = await invited(client, lifetime="1m")
    assert (await client.post("/v1/join", json=asking(used))).status_code == 200
    await client.delete(f"/v1/invitations/{revoked.id}")
    node.now += 60_000
    await invited(client)  # an entry of the log by which it is later
    monkeypatch.setattr(Registrar, "issue", issued)
    before = node.state.index
    other = made.request(made.new_key(), "sat-009").decode()
    assert await refusal(client, word=used, node="sat-010") == (409, "closed")
    assert await refusal(client, word=used, csr=other) == (409, "duplicate")
    assert await refusal(client, word=revoked, node="sat-010") == (409, "closed")
    assert await refusal(client, word=late, node="sat-010") == (409, "closed")
    assert node.state.index == before


async def test_a_node_that_cannot_issue_takes_in_nobody_and_uses_up_nothing(
    client: httpx.AsyncClient, node: FakeNode, tls: Path
) -> None:
    word = await invited(client)
    key = (tls / "ca.key").read_bytes()
    for content in (None, b"nonsense", made.private_pem(made.new_key())):
        if content is None:
            (tls / "ca.key").unlink()
        else:
            (tls / "ca.key").write_bytes(content)
        assert await refusal(client, word=word) == (409, "ca_key")
        listed = (await client.get("/v1/invitations")).json()
        assert (listed["uid"], listed["pin"]) == (None, None)
    assert node.state.invitations[word.id].taken == {}
    (tls / "ca.key").write_bytes(key)
    assert (await client.post("/v1/join", json=asking(word))).status_code == 200


async def test_without_certificates_nobody_is_invited_or_taken_in(node: FakeNode) -> None:
    transport = httpx.ASGITransport(app=build(node), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8701") as client:
        word = draw(CA.uid, PIN)
        body = {"invitation": word.id, "sha256": word.hash.hex()}
        answer = await client.post("/v1/invitations", json=body)
        assert (answer.status_code, answer.json()["rule"]) == (409, "tls")


@pytest.mark.parametrize(
    ("lost", "status"),
    [(NotProposed("no_leader"), 503), (OutcomeUnknown("timeout"), 503)],
    ids=["not proposed", "unknown"],
)
async def test_without_a_leader_it_is_told_to_ask_again_and_is_the_same_member_then(
    client: httpx.AsyncClient, node: FakeNode, lost: Any, status: int
) -> None:
    word = await invited(client)
    node.refuse = lost
    answer = await client.post("/v1/join", json=asking(word))
    assert (answer.status_code, "PRIVATE" in answer.text) == (status, False)
    node.refuse = None
    assert (await client.post("/v1/join", json=asking(word))).status_code == 200
    assert len(node.state.invitations[word.id].taken) == 1


@pytest.mark.parametrize(
    ("more", "status", "rule"),
    [
        ({"csr": "nonsense"}, 400, "is no request for a certificate (CSR) in PEM"),
        ({"raft": "192.0.2.1:7701"}, 400, None),
        ({"raft": "0.0.0.0:7701"}, 400, None),
        ({"node": "../x"}, 400, None),
        ({"node": "sat-001", "raft": "127.0.0.1:7", "http": "127.0.0.1:8"}, 409, "duplicate"),
        ({"highest": LOWEST, "lowest": LOWEST}, 200, None),
        ({"highest": HIGHEST + 2, "lowest": HIGHEST + 1}, 409, "level"),
        ({"lowest": 0}, 400, None),
    ],
)
async def test_what_would_make_no_member_is_refused(
    client: httpx.AsyncClient, node: FakeNode, *, more: dict[str, Any], status: int, rule: str
) -> None:
    word = await invited(client)
    node.state.level = LOWEST
    members = set(node.state.members)
    answer = await client.post("/v1/join", json=asking(word) | more)
    assert answer.status_code == status, answer.text
    assert rule in (None, answer.json().get("rule"))
    assert status == 200 or set(node.state.members) == members


async def test_invitations_are_listed_without_what_proves_them(client: httpx.AsyncClient) -> None:
    words = [await invited(client), await invited(client, node="sat-010")]
    await client.post("/v1/join", json=asking(words[0]))
    answer = await client.get("/v1/invitations")
    listed = {item["invitation"]: item for item in answer.json()["items"]}
    assert (answer.json()["uid"], answer.json()["pin"]) == (CA.uid, PIN)
    assert (listed[words[0].id]["taken"], listed[words[0].id]["state"]) == (["sat-009"], "used")
    assert (listed[words[1].id]["node"], listed[words[1].id]["taken"]) == ("sat-010", [])
    assert all(word.hash.hex() not in answer.text for word in words)


async def test_inviting_is_for_administrators_and_joining_for_who_was_invited(
    node: FakeNode, tls: Path
) -> None:
    registrar = Registrar(tls / "ca.pem", tls / "ca.key")
    app = build(node, registrar=registrar, admission=Admission(required=True))
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8701") as client:
        for method, path in (
            ("GET", "/v1/invitations"), ("POST", "/v1/invitations"),
            ("DELETE", "/v1/invitations/aaaaaaaa"),
        ):  # fmt: skip
            assert (await client.request(method, path)).status_code == 401
        answer = await client.post("/v1/join", json=asking(draw(CA.uid, PIN)))
        assert (answer.status_code, answer.json()["rule"]) == (401, "unknown")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/tls/ca"), ("GET", "/v1/me"), ("POST", "/v1/join")]
)
async def test_who_is_nobody_in_particular_has_nothing_written_to_the_log(
    node: FakeNode, tls: Path, method: str, path: str
) -> None:
    """A strong read costs every member an entry on its disk."""
    registrar = Registrar(tls / "ca.pem", tls / "ca.key")
    app = build(node, registrar=registrar, admission=Admission(required=True))
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8701") as client:
        body = asking(draw(CA.uid, PIN)) if method == "POST" else None
        asked = {"consistency": "strong"}
        answer = await client.request(method, path, json=body, params=asked)
        assert (answer.status_code, answer.json()["rule"]) == (401, "missing")
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="stationkeep"'
    assert node.barriers == 0
