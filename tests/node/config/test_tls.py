"""`tls:` and `insecure:` in a node's file."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from stationkeep.node.config.node_config import load, validate
from stationkeep.node.security import certificates as made
from tests.node.security.issuing import authority, files

MEMBERS = {"a": {"raft": "127.0.0.1:7701", "http": "127.0.0.1:8701"}}


def written(folder: Path, **more: Any) -> Path:
    path = folder / "node.yaml"
    whole = {"node": "a", "cluster": "c", "data_dir": str(folder / "data"), "members": MEMBERS}
    path.write_text(yaml.safe_dump(whole | more, sort_keys=False))
    return path


@pytest.fixture
def tls(tmp_path: Path) -> Path:
    """A directory with a CA, its key, and a certificate of node a."""
    files(tmp_path / "tls", "a")
    (tmp_path / "tls" / "ca.key").write_bytes(made.private_pem(authority().key))
    return tmp_path / "tls"


def faults(path: Path) -> list[tuple[str, str]]:
    return [(error.field, error.rule) for error in validate(path)]


def test_with_a_ca_and_its_key_nothing_else_is_needed(tls: Path, tmp_path: Path) -> None:
    config = load(written(tmp_path, tls={"dir": str(tls)}), {})
    assert config.tls is not None
    found = config.tls.files(config.data_dir)
    assert (found.ca, found.certificate) == (tls / "ca.pem", tmp_path / "data/tls/node.pem")
    assert found.key == found.certificate
    assert config.uid == authority().uid


def test_a_certificate_of_elsewhere_may_have_its_key_in_the_same_file(
    tls: Path, tmp_path: Path
) -> None:
    (tls / "ca.key").unlink()
    given = {"dir": str(tls), "certificate": str(tls / "node.pem")}
    assert faults(written(tmp_path, tls=given)) == []
    (tls / "node.key").write_bytes(made.private_pem(made.key_in((tls / "node.pem").read_bytes())))
    assert faults(written(tmp_path, tls=given | {"key": str(tls / "node.key")})) == []


def test_systemd_may_bring_the_key(
    tls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"dir": "$CREDENTIALS_DIRECTORY", "certificate": "$CREDENTIALS_DIRECTORY/node.pem"}
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert "CREDENTIALS_DIRECTORY is not set" in faults(written(tmp_path, tls=given))[0][1]
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tls))
    assert faults(written(tmp_path, tls=given)) == []


@pytest.mark.parametrize(
    ("changes", "field", "rule"),
    [
        ({"dir": None}, "tls.dir", "required"),
        ({"dir": "/absent"}, "tls.dir", "/absent/ca.pem cannot be read: No such file"),
        ({"key": "x"}, "tls.key", "a key only beside `certificate`"),
        ({"device_ca": "/absent"}, "tls.device_ca", "/absent cannot be read"),
        ({"device_ca": "/x", "device_id_from": "x"}, "tls.device_id_from", "san-uri"),
        ({"device_id_from": "cn"}, "tls.device_id_from", "a rule only beside `device_ca`"),
        ({"http_key": "x"}, "tls.http_key", "a key only beside `http_certificate`"),
        ({"certificate": "/absent"}, "tls.certificate", "/absent cannot be read"),
        ({"http_certificate": "/absent"}, "tls.http_certificate", "/absent cannot be read"),
        ({"certificate": 7}, "tls.certificate", "a path"),
        ({"xyzzy": 1}, "tls.xyzzy", "no such field"),
    ],
)
def test_what_a_node_would_choke_on_is_refused_with_field_and_rule(
    tls: Path, tmp_path: Path, changes: dict[str, Any], field: str, rule: str
) -> None:
    found = faults(written(tmp_path, tls={"dir": str(tls), **changes}))
    assert any(at == field and rule in said for at, said in found), found


def test_a_certificate_of_another_node_or_a_key_of_another_ca_is_refused(
    tls: Path, tmp_path: Path
) -> None:
    other = files(tmp_path / "other", "b").certificate
    ((field, rule),) = faults(written(tmp_path, tls={"dir": str(tls), "certificate": str(other)}))
    assert (field, "is of node b, not of a" in rule) == ("tls.certificate", True)
    (tls / "ca.key").write_bytes(made.private_pem(made.new_key()))
    ((field, rule),) = faults(written(tmp_path, tls={"dir": str(tls)}))
    assert (field, "is the key of none of the CA's" in rule) == ("tls.dir", True)
    (tls / "ca.key").unlink()
    ((field, rule),) = faults(written(tmp_path, tls={"dir": str(tls)}))
    assert (field, "ca.key cannot be read" in rule) == ("tls.dir", True)


# -- beyond loopback

ANYWHERE = {"raft": "0.0.0.0:7701"}
FAR = {"members": {"a": {"raft": "192.0.2.1:7701", "http": "127.0.0.1:8701"}}}


def test_beyond_loopback_members_need_certificates_or_a_word_of_the_operator(
    tls: Path, tmp_path: Path
) -> None:
    ((field, rule),) = faults(written(tmp_path, **ANYWHERE))
    assert (field, "`tls:` is needed; `insecure: true` does without" in rule) == ("raft", True)
    assert [field for field, _ in faults(written(tmp_path, **FAR))] == ["members.a.raft"]
    for more in ({"tls": {"dir": str(tls)}}, {"insecure": True}):
        assert faults(written(tmp_path, **ANYWHERE, **more)) == []
        assert faults(written(tmp_path, **FAR, **more)) == []


def test_clients_beyond_loopback_show_a_token_or_need_a_word_of_the_operator(
    tls: Path, tmp_path: Path
) -> None:
    far = {"http": "0.0.0.0:8701", "tls": {"dir": str(tls)}}
    ((field, rule),) = faults(written(tmp_path, **far))
    assert (field, "`auth: required` are needed; `insecure" in rule) == ("http", True)
    assert faults(written(tmp_path, **far, insecure=True)) == []
    assert faults(written(tmp_path, **far, auth="required")) == []
    ((field, rule),) = faults(written(tmp_path, insecure="yes, please"))
    assert (field, rule) == ("insecure", "true or false")


@pytest.mark.parametrize(
    ("advertised", "listens"),
    [("a.example.net", "0.0.0.0"), ("192.0.2.1", "192.0.2.1"), ("[2001:db8::1]", "[2001:db8::1]")],
)
def test_a_node_that_others_reach_by_name_listens_everywhere(
    tls: Path, tmp_path: Path, advertised: str, listens: str
) -> None:
    """On its own machine the name leads to loopback, as Debian has it, or nowhere yet."""
    members = {"a": {"raft": f"{advertised}:7701", "http": f"{advertised}:8701"}}
    path = written(tmp_path, members=members, tls={"dir": str(tls)}, auth="required")
    config = load(path, {})
    assert (config.raft, config.http) == (f"{listens}:7701", f"{listens}:8701")
    assert config.own is not None
    assert config.own.raft == f"{advertised}:7701"
    in_clear = load(written(tmp_path, members=members, insecure=True), {})
    assert in_clear.raft == f"{advertised}:7701"
