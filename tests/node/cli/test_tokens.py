"""Tokens and contexts on the command line: what is sent, what is kept, what is never shown."""

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest
import yaml

from stationkeep.node.cli import contexts
from stationkeep.node.security.local_door import NAME, open_local_door
from stationkeep.node.security.tokens import draw, parse
from tests.node.cli.canned import TOKEN as TOKEN_READ
from tests.node.cli.canned import CannedNode, Run, listed, problem
from tests.node.security.issuing import files

URL = "http://127.0.0.1:8701"
NOBODY = 65534
TOKEN = draw()


def shown_by(canned: CannedNode) -> str:
    """The token of the newest request."""
    return str(canned.requests[-1].headers.get("Authorization", "")).removeprefix("Bearer ")


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(TOKEN.text + "\n")
    return file


@pytest.fixture
def logged_in(canned: CannedNode, stationkeep: Run, token_file: Path) -> None:
    result = stationkeep("login", URL, "--token-file", str(token_file), "--name", "prod")
    assert result.exit_code == 0, result.output


def test_of_a_token_that_is_made_only_the_hash_leaves(canned: CannedNode, stationkeep: Run) -> None:
    result = stationkeep("tokens", "create", "--name", "ci", "--role", "operator")
    assert result.exit_code == 0, result.output
    made = parse(result.stdout.strip())
    assert canned.body == {
        "token": made.id,
        "name": "ci",
        "role": "operator",
        "lifetime": "365d",
        "sha256": made.hash.hex(),
    }
    assert made.secret not in canned.requests[-1].content.decode()
    assert made.secret not in result.stderr


def test_whoever_makes_a_token_is_told_as_whom_it_approves(
    canned: CannedNode, stationkeep: Run
) -> None:
    words = ["tokens", "create", "--name", "bob", "--role"]
    for person, role, told in (
        ("ann", "operator", True), ("ann", "viewer", False), ("bob", "admin", False)
    ):  # fmt: skip
        done = {"operation": "1", "status": "done", "result": {"approves_as": person}}
        canned.answer_to_writes = httpx.Response(200, json=done)
        result = stationkeep(*words, role)
        assert result.exit_code == 0, result.output
        assert ("counts as ann" in result.stderr) is told


def test_a_token_goes_to_a_new_file_that_only_its_owner_reads(
    canned: CannedNode, stationkeep: Run, tmp_path: Path
) -> None:
    out = tmp_path / "ci.token"
    words = ["tokens", "create", "--name", "ci", "--role", "viewer", "--expires", "never"]
    result = stationkeep(*words, "--out", str(out))
    assert result.exit_code == 0, result.output
    made = parse(out.read_text().strip())
    assert made.secret not in result.output
    assert out.stat().st_mode & 0o777 == 0o600
    assert "lifetime" not in canned.body
    again = stationkeep(*words, "--out", str(out))
    assert (again.exit_code, len(canned.requests)) == (1, 1)


def test_what_replaces_a_token_has_its_name_and_role(canned: CannedNode, stationkeep: Run) -> None:
    result = stationkeep("tokens", "rotate", "k3jd92ma", "--overlap", "2h")
    assert result.exit_code == 0, result.output
    body = canned.body
    assert (body["name"], body["role"], body["replaces"]) == ("ci", "operator", "k3jd92ma")
    assert body["overlap"] == "2h"
    stationkeep("tokens", "rotate", "k3jd92ma", "--overlap", "0")
    assert "overlap" not in canned.body


def test_an_enrolment_token_says_how_many_it_takes_and_ends_sooner(
    canned: CannedNode, stationkeep: Run
) -> None:
    words = ["tokens", "create", "--name", "berlin", "--role", "enrol"]
    assert stationkeep(*words).exit_code == 2
    result = stationkeep(*words, "--limit", "500")
    assert result.exit_code == 0, result.output
    made = parse(result.stdout.strip())
    assert made.text.startswith("ske_")
    assert canned.body == {
        "token": made.id, "name": "berlin", "role": "enrol", "lifetime": "30d", "ids": "*",
        "limit": 500, "sha256": made.hash.hex(),
    }  # fmt: skip
    more = ["--ids", "phone-*", "--expires", "24h", "--label", "site=berlin"]
    stationkeep(*words, "--limit", "5", *more)
    assert (canned.body["ids"], canned.body["lifetime"]) == ("phone-*", "24h")
    assert canned.body["labels"] == {"site": "berlin"}
    other = ["tokens", "create", "--name", "x", "--role", "viewer", "--limit", "5"]
    assert stationkeep(*other).exit_code == 2


def test_only_a_device_s_token_has_ids(canned: CannedNode, stationkeep: Run) -> None:
    for words in (["--role", "viewer", "--ids", "a*"], ["--role", "device"]):
        assert stationkeep("tokens", "create", "--name", "x", *words).exit_code == 2
    assert canned.requests == []


def test_tokens_are_listed_without_anything_that_proves_them(
    canned: CannedNode, stationkeep: Run
) -> None:
    result = stationkeep("tokens", "list")
    assert "k3jd92ma" in result.stdout
    assert "never" in result.stdout
    assert json.loads(stationkeep("tokens", "show", "k3jd92ma", "--format", "json").stdout)
    assert stationkeep("tokens", "revoke", "k3jd92ma").exit_code == 0
    assert canned.requests[-1].method == "DELETE"


@pytest.mark.usefixtures("logged_in")
def test_who_has_logged_in_is_asked_no_more(canned: CannedNode, stationkeep: Run) -> None:
    assert stationkeep("alarms", "list").exit_code == 0
    assert shown_by(canned) == TOKEN.text
    assert contexts.file().stat().st_mode & 0o777 == 0o600
    assert "prod" in stationkeep("context", "list").stdout
    assert stationkeep("alarms", "list", "--url", "http://127.0.0.1:8702").exit_code == 0
    assert shown_by(canned) == "", "a token went to another address than its own"
    stationkeep("--context", "prod", "alarms", "list", "--url", "http://127.0.0.1:8702")
    assert shown_by(canned) == TOKEN.text
    assert stationkeep("context", "remove", "prod").exit_code == 0
    assert stationkeep("alarms", "list").exit_code == 0
    assert shown_by(canned) == ""


@pytest.mark.usefixtures("logged_in")
def test_no_output_shows_the_token(stationkeep: Run) -> None:
    for words in (["context", "list"], ["context", "list", "--format", "json"], ["status"]):
        assert TOKEN.secret not in stationkeep(*words).output


@pytest.mark.usefixtures("logged_in")
def test_a_file_of_contexts_that_others_read_is_refused(stationkeep: Run) -> None:
    contexts.file().chmod(0o640)
    result = stationkeep("alarms", "list")
    assert result.exit_code == 1
    assert "chmod 600" in result.output


@pytest.mark.usefixtures("logged_in")
@pytest.mark.parametrize("content", ["current = 1", "contexts = 3", "[contexts.a]", "\x00", "{"])
def test_a_damaged_file_of_contexts_is_said_to_be_one(stationkeep: Run, content: str) -> None:
    contexts.file().write_text(content)
    result = stationkeep("alarms", "list")
    assert result.exit_code == (0 if content == "current = 1" else 1)


def test_the_environment_goes_before_a_context(
    canned: CannedNode, stationkeep: Run, logged_in: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = draw()
    monkeypatch.setenv("STATIONKEEP_TOKEN", other.text)
    stationkeep("alarms", "list")
    assert shown_by(canned) == other.text
    monkeypatch.setenv("STATIONKEEP_TOKEN", other.text[:-1])
    result = stationkeep("alarms", "list")
    assert result.exit_code == 2
    assert other.secret not in result.output
    monkeypatch.setenv("STATIONKEEP_CONTEXT", "nowhere")
    assert "; known: prod" in stationkeep("alarms", "list").output


def test_no_token_goes_over_the_network_in_plain_text(
    canned: CannedNode, stationkeep: Run, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = "http://sat-001.example.net:8701"
    assert stationkeep("login", far, "--token-file", str(token_file)).exit_code == 2
    monkeypatch.setenv("STATIONKEEP_TOKEN", TOKEN.text)
    result = stationkeep("alarms", "list", "--url", far)
    assert (result.exit_code, canned.requests) == (2, [])


def test_a_token_that_is_not_good_is_not_kept(
    canned: CannedNode, stationkeep: Run, token_file: Path
) -> None:
    canned.reads["/v1/me"] = {"actor": "", "role": "none", "because": "it is revoked"}
    result = stationkeep("login", URL, "--token-file", str(token_file))
    assert (result.exit_code, contexts.file().exists()) == (7, False)
    assert "it is revoked" in result.output


@pytest.mark.parametrize("status", [401, 403])
def test_who_may_not_is_told_so_by_its_own_exit_code(
    canned: CannedNode, stationkeep: Run, status: int
) -> None:
    canned.answer = problem(status, "POST /v1/pause is for the role operator", "role")
    for words in (["pause", "--for", "1m"], ["alarms", "list"]):
        result = stationkeep(*words)
        assert result.exit_code == 7
        assert "is for the role operator" in result.output


def test_stolen_tokens_of_administrators_end_all_at_once(
    canned: CannedNode, stationkeep: Run, tmp_path: Path
) -> None:
    words = ["tokens", "create", "--name", "ann", "--role", "admin", "--revoke-other-admins"]
    assert stationkeep(*words).exit_code == 2, "from elsewhere it could end the own one"
    viewer = [*words[:-2], "viewer", "--revoke-other-admins", "--config", "x"]
    assert stationkeep(*viewer).exit_code == 2
    config, data = tmp_path / "node.yaml", tmp_path / "data"
    data.mkdir()
    open_local_door(data)
    members = {"sat-001": {"raft": "127.0.0.1:7701", "http": "127.0.0.1:8709"}}
    config.write_text(
        yaml.safe_dump(
            {"node": "sat-001", "cluster": "x", "data_dir": str(data), "members": members}
        )
    )
    others = [
        ("aaaaaaaa", "admin", "good"), ("bbbbbbbb", "admin", "revoked"),
        ("cccccccc", "operator", "good"), ("dddddddd", "admin", "good"),
    ]  # fmt: skip
    canned.reads["/v1/tokens"] = listed(
        *(TOKEN_READ | {"token": id_, "role": role, "state": state} for id_, role, state in others)
    )
    result = stationkeep(*words, "--config", str(config))
    assert result.exit_code == 0, result.output
    sent = [(r.method, r.url.path) for r in canned.requests if r.method != "GET"]
    assert sent == [
        ("POST", "/v1/tokens"), ("DELETE", "/v1/tokens/aaaaaaaa"), ("DELETE", "/v1/tokens/dddddddd")
    ]  # fmt: skip


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_another_user_of_its_machine_is_not_its_administrator(
    canned: CannedNode, stationkeep: Run
) -> None:
    with TemporaryDirectory() as folder:
        config, data = Path(folder) / "node.yaml", Path(folder) / "data"
        data.mkdir(mode=0o700)
        open_local_door(data)
        members = {"sat-001": {"raft": "127.0.0.1:7701", "http": "127.0.0.1:8709"}}
        config.write_text(
            yaml.safe_dump(
                {"node": "sat-001", "cluster": "x", "data_dir": str(data), "members": members}
            )
        )
        Path(folder).chmod(0o755)
        data.chmod(0o755)  # as if somebody had let others look into it
        os.seteuid(NOBODY)
        try:
            words = ["tokens", "create", "--name", "eve", "--role", "admin", "--config"]
            result = stationkeep(*words, str(config))
        finally:
            os.seteuid(0)
    assert result.exit_code == 1, result.output
    assert "Permission denied" in result.output
    assert canned.requests == []


def test_who_reads_the_data_directory_of_a_node_is_its_administrator(
    canned: CannedNode, stationkeep: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "node.yaml"
    data = tmp_path / "data"
    data.mkdir()
    members = {"sat-001": {"raft": "127.0.0.1:7701", "http": "127.0.0.1:8709"}}
    config.write_text(
        yaml.safe_dump(
            {"node": "sat-001", "cluster": "x", "data_dir": str(data), "members": members}
        )
    )
    words = ["tokens", "create", "--name", "ann", "--role", "admin", "--config", str(config)]
    missing = stationkeep(*words)
    assert missing.exit_code == 1
    assert "auth: none" in missing.output
    local = open_local_door(data)
    assert (data / NAME).stat().st_mode & 0o777 == 0o600
    result = stationkeep(*words)
    assert result.exit_code == 0, result.output
    assert canned.requests[-1].url.port == 8709
    assert parse(shown_by(canned)).proves(local.hash)
    monkeypatch.setenv("STATIONKEEP_URL", "http://127.0.0.1:8710")
    stationkeep(*words)
    assert canned.requests[-1].url.port == 8709, "it was drawn for this node alone"
    assert stationkeep(*words, "--url", "http://10.0.0.1:8701").exit_code == 2
    assert canned.requests[-1].url.port == 8709
    if os.geteuid() == 0:
        return  # root reads whatever it is not allowed to
    (data / NAME).chmod(0)
    assert "own user" in stationkeep(*words).output


@pytest.mark.usefixtures("canned")
@pytest.mark.parametrize(
    "content",
    [
        "x = " + "[" * 100_000,
        f"[contexts.a]\nurl = '{URL}'\ntoken = ''\n" + "#" * contexts.MOST_BYTES,
    ],
    ids=["nested", "long"],
)
def test_a_file_of_contexts_without_end_is_refused(content: str, stationkeep: Run) -> None:
    contexts.file().parent.mkdir(parents=True)
    contexts.file().write_text(content)
    contexts.file().chmod(0o600)
    result = stationkeep("alarms", "list")
    assert result.exit_code == 1
    assert "no file of contexts" in result.output


@pytest.mark.usefixtures("logged_in")
def test_a_node_cannot_take_the_name_of_another_cluster_that_is_known(
    canned: CannedNode, stationkeep: Run, token_file: Path
) -> None:
    canned.reads["/v1/cluster"] = canned.reads["/v1/cluster"] | {"cluster_id": "prod"}
    before = contexts.load()
    elsewhere = ["login", "http://127.0.0.1:8799", "--token-file", str(token_file)]
    result = stationkeep(*elsewhere)
    assert result.exit_code == 2
    assert f"--name: it says that it is prod, which is known at {URL}" in result.output
    assert contexts.load() == before
    assert stationkeep("login", URL, "--token-file", str(token_file)).exit_code == 0
    assert stationkeep(*elsewhere, "--name", "prod").exit_code == 0
    assert contexts.load().known["prod"].url == "http://127.0.0.1:8799"


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    return files(tmp_path / "tls", "sat-001").ca


def log_in_over_tls(stationkeep: Run, ca: Path, token_file: Path) -> None:
    words = ["login", "https://a.example.net:8701", "--token-file", str(token_file)]
    result = stationkeep("--ca", str(ca), *words, "--name", "prod")
    assert result.exit_code == 0, result.output
    del os.environ["STATIONKEEP_CA"]


@pytest.mark.usefixtures("canned")
def test_a_login_keeps_the_ca_too(stationkeep: Run, ca: Path, token_file: Path) -> None:
    log_in_over_tls(stationkeep, ca, token_file)
    content = ca.read_bytes()
    ca.unlink()
    assert stationkeep("alarms", "list").exit_code == 0
    kept = Path(os.environ["STATIONKEEP_CA"])
    assert (kept.read_bytes(), kept.stat().st_mode & 0o777) == (content, 0o600)
    again = ["login", "https://a.example.net:8701", "--token-file", str(token_file)]
    assert stationkeep(*again, "--name", "prod").exit_code == 0
    assert (contexts.load().known["prod"].ca, kept.read_bytes()) == (str(kept), content)
    assert stationkeep("context", "remove", "prod").exit_code == 0
    assert not kept.exists()


@pytest.mark.usefixtures("canned")
def test_the_ca_of_a_context_is_for_its_own_address_and_after_one_that_is_said(
    stationkeep: Run, ca: Path, token_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in_over_tls(stationkeep, ca, token_file)
    stationkeep("alarms", "list", "--url", "https://b.example.net:8701")
    assert "STATIONKEEP_CA" not in os.environ
    other = files(tmp_path / "other", "sat-001").ca
    monkeypatch.setenv("STATIONKEEP_CA", str(other))
    stationkeep("alarms", "list")
    assert os.environ["STATIONKEEP_CA"] == str(other)


@pytest.mark.usefixtures("canned")
def test_a_ca_that_a_context_has_lost_is_named(
    stationkeep: Run, ca: Path, token_file: Path
) -> None:
    log_in_over_tls(stationkeep, ca, token_file)
    (contexts.file().parent / "prod.pem").unlink()
    result = stationkeep("alarms", "list")
    assert result.exit_code == 1
    assert "prod.pem cannot be read" in result.output
