"""`stationkeep init`, and acting as the administrator of one's own machine."""

import json
import os
from pathlib import Path

import pytest
import yaml

from stationkeep.node.cli import contexts
from stationkeep.node.cli.local_admin import administrator
from stationkeep.node.forming import place as places
from stationkeep.node.security.local_door import open_local_door
from stationkeep.node.security.tokens import parse
from stationkeep.node.security.trust import VARIABLE
from tests.node.cli.canned import CannedNode, Run


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(places, "check_silent", lambda _: None)
    monkeypatch.setattr("stationkeep.node.forming.founding.check_silent", lambda _: None)
    config, data = str(tmp_path / "etc" / "node.yaml"), str(tmp_path / "data")
    return ["init", "--cluster", "my-fleet", "--config", config, "--data-dir", data]


def test_it_says_what_to_do_next(words: list[str], stationkeep: Run) -> None:
    result = stationkeep(*words, "--advertise", "a.example.net", "--node", "sat-001")
    assert result.exit_code == 0, result.output
    config = words[words.index("--config") + 1]
    assert f"stationkeep node run --config {config}" in result.stdout
    assert f"stationkeep login --config {config}" in result.stdout
    assert stationkeep("config", "validate", config).exit_code == 0
    assert yaml.safe_load(Path(config).read_text())["members"] == {
        "sat-001": {"raft": "a.example.net:7701", "http": "a.example.net:8701"}
    }


@pytest.mark.parametrize(
    ("more", "code", "why"),
    [
        (["--advertise", "a b"], 1, "raft: 'a b:7701' refused: HOST:PORT"),
        (["--advertise", "0.0.0.0"], 1, "raft: '0.0.0.0:7701' refused"),
        (["--advertise", "a", "--node", "../x"], 2, "--node '../x' refused"),
        (["--advertise", "a", "--profile", "x"], 2, "--profile 'x' refused: one of"),
        (["--advertise", "a", "--cluster", ""], 2, "--cluster '' refused"),
        (["--advertise", "a", "--raft-port", "8701"], 1, "raft and http are both a:8701"),
        (["--advertise", "a", "--listen", "no host"], 1, "--listen 'no host' refused"),
    ],
)
def test_what_would_not_do_is_refused_before_anything_is_written(
    words: list[str], tmp_path: Path, stationkeep: Run, *, more: list[str], code: int, why: str
) -> None:
    result = stationkeep(*words, *more)
    assert (result.exit_code, why in result.stderr) == (code, True), result.stderr
    assert list(tmp_path.iterdir()) == []


def test_local_admin_asks_over_tls_and_trusts_the_cluster_s_ca(
    words: list[str], tmp_path: Path, stationkeep: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "")  # so that what the command sets is taken away again
    monkeypatch.delenv(VARIABLE)
    stationkeep(*words, "--advertise", "a.example.net", "--node", "sat-001")
    proof = open_local_door(tmp_path / "data")
    asked = administrator(tmp_path / "etc" / "node.yaml", None)
    assert asked.url == "https://127.0.0.1:8701"
    assert proof.id in str(asked._token)
    assert os.environ[VARIABLE] == str(tmp_path / "etc" / "tls" / "ca.pem")


def logged_in(stationkeep: Run, tmp_path: Path, *more: str) -> tuple[str, str]:
    """What came of a login on the machine of a node that has run."""
    file = tmp_path / "node.yaml"
    members = {"sat-001": {"raft": "127.0.0.1:7709", "http": "127.0.0.1:8709"}}
    content = {"node": "sat-001", "cluster": "c", "data_dir": str(tmp_path), "members": members}
    file.write_text(yaml.safe_dump(content))
    result = stationkeep("login", "--config", str(file), *more)
    return result.stdout, result.stderr


def test_on_its_own_machine_somebody_logs_in_without_a_token(
    canned: CannedNode, stationkeep: Run, tmp_path: Path
) -> None:
    local = open_local_door(tmp_path)
    said, _ = logged_in(stationkeep, tmp_path)
    (asked,) = [request for request in canned.requests if request.method == "POST"]
    assert asked.url.port == 8709
    assert local.id in asked.headers["Authorization"]
    made = json.loads(asked.content)
    context = contexts.load().known["stationkeep-local"]
    shown = parse(context.token)
    assert (made["token"], made["sha256"]) == (shown.id, shown.hash.hex())
    assert (made["role"], made["lifetime"]) == ("admin", "365d")
    assert context.url == "http://127.0.0.1:8709"
    assert shown.secret not in said
    assert canned.requests[-1].headers["Authorization"] == f"Bearer {context.token}"


def test_a_login_that_would_not_be_kept_makes_no_token(
    canned: CannedNode, stationkeep: Run, tmp_path: Path
) -> None:
    open_local_door(tmp_path)
    elsewhere = contexts.Context("http://127.0.0.1:9999", "")
    contexts.put("stationkeep-local", elsewhere)
    for more, why in (
        ([], "which is known at http://127.0.0.1:9999"),
        (["--name", "a b"], "--name 'a b' refused"),
        (["http://127.0.0.1:8701"], "leave URL out"),
    ):
        assert why in logged_in(stationkeep, tmp_path, *more)[1]
    assert all(request.method == "GET" for request in canned.requests)
    assert "URL is missing" in stationkeep("login").stderr
