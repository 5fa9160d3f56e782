"""`init`: a CA and a node's file, where there is neither, whatever comes in between."""

import os
import socket
import stat
from pathlib import Path

import pytest

from stationkeep.cluster.commands import MemberSpec
from stationkeep.node.config.node_config import load
from stationkeep.node.forming import place as places
from stationkeep.node.forming.founding import Founded, found
from stationkeep.node.forming.place import FormingError, Place
from stationkeep.node.security import certificates as made
from tests.node.forming.killed import killed_after


def place(tmp_path: Path, host: str = "192.0.2.7", listen: str = "") -> Place:
    own = MemberSpec("sat-001", f"{host}:7701", f"{host}:8701")
    return Place(tmp_path / "etc" / "node.yaml", tmp_path / "data", own, listen)


@pytest.fixture(autouse=True)
def silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing answers anywhere, and no address is dialled."""

    def refused(*_: object) -> socket.socket:
        raise ConnectionRefusedError

    monkeypatch.setattr(places.socket, "create_connection", refused)


def test_it_makes_a_ca_a_certificate_and_a_file_that_a_node_starts_with(tmp_path: Path) -> None:
    where = place(tmp_path)
    founded = found(where, "my-fleet", "ground")
    config = load(where.config, {})
    assert (config.node, config.cluster, config.auth, config.join) == (
        "sat-001", "my-fleet", "required", False,
    )  # fmt: skip
    assert (config.raft, config.http) == ("0.0.0.0:7701", "0.0.0.0:8701")
    assert config.members == (where.own,)
    assert config.uid == founded.uid
    (ca,) = made.certificates_in(where.ca.read_bytes())
    assert made.pin(ca) == founded.pin
    (leaf,) = made.certificates_in((where.data_dir / "tls" / "node.pem").read_bytes())
    assert made.check_chain([leaf], [ca], "sat-001").uid == founded.uid
    assert "192.0.2.7" in made.hosts_of(leaf)
    assert stat.S_IMODE(where.ca_key.stat().st_mode) == 0o600
    assert stat.S_IMODE(where.data_dir.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("host", "listen", "raft"),
    [
        ("127.0.0.1", "", "127.0.0.1:7701"),
        ("a.example.net", "", "0.0.0.0:7701"),
        ("[2001:db8::1]", "", "[::]:7701"),
        ("a.example.net", "10.0.0.1", "10.0.0.1:7701"),
    ],
)
def test_it_listens_where_others_come_from(
    tmp_path: Path, host: str, listen: str, raft: str
) -> None:
    where = place(tmp_path, host, listen)
    found(where, "my-fleet", "ground")
    assert load(where.config, {}).raft == raft


@pytest.mark.parametrize("writes", range(3))
def test_killed_at_any_point_it_is_run_again_and_makes_the_same_ca(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    where = place(tmp_path)
    with killed_after(writes, monkeypatch):
        found(where, "my-fleet", "ground")
    key = where.ca_key.read_bytes() if writes else None
    founded = found(where, "my-fleet", "ground")
    assert load(where.config, {}).uid == founded.uid
    assert key in (None, where.ca_key.read_bytes())


def test_killed_before_its_last_write_the_node_issues_its_certificate_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = place(tmp_path)
    with killed_after(3, monkeypatch):
        found(where, "my-fleet", "ground")
    assert load(where.config, {}).uid


def refused(where: Place) -> str:
    """Why no cluster is founded there."""
    before = {path: path.read_bytes() for path in where.config.parent.rglob("*") if path.is_file()}
    with pytest.raises(FormingError) as caught:
        found(where, "my-fleet", "ground")
    after = {path: path.read_bytes() for path in where.config.parent.rglob("*") if path.is_file()}
    assert before == after
    return str(caught.value)


def test_what_is_there_is_never_replaced(tmp_path: Path) -> None:
    where = place(tmp_path)
    found(where, "my-fleet", "ground")
    assert "every cluster has one CA" in refused(where)
    where.ca.unlink()
    where.config.write_text("node: other\n")
    assert "this machine has a node" in refused(where)
    where.config.unlink()
    assert "has data of a node already: tls" in refused(where)


def test_a_key_that_is_damaged_is_named(tmp_path: Path) -> None:
    where = place(tmp_path)
    where.tls_dir.mkdir(parents=True)
    where.ca_key.write_text("nonsense")
    assert f"{where.ca_key} has no private key" in refused(where)


def test_beside_a_running_node_none_is_founded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = socket.socketpair()
    monkeypatch.setattr(places.socket, "create_connection", lambda *_: here)
    with there:
        assert "something answers at 192.0.2.7:7701 already" in refused(place(tmp_path))


def test_two_at_once_on_one_machine_make_one_ca(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with a key of its own would leave the key of one beside the certificate of the other."""
    where, write, others = place(tmp_path), made.write, []

    def overtaken(path: Path, content: bytes, mode: int) -> None:
        monkeypatch.setattr(made, "write", write)
        with pytest.raises(FormingError) as caught:
            found(where, "my-fleet", "ground")
        others.append(str(caught.value))
        write(path, content, mode)

    monkeypatch.setattr(made, "write", overtaken)
    founded = found(where, "my-fleet", "ground")
    assert others == [f"{where.tls_dir}: the command runs there already"]
    assert made.authority(where.ca.read_bytes(), where.ca_key.read_bytes()).uid == founded.uid


def test_whoever_was_quicker_keeps_its_ca(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = place(tmp_path)

    def quicker(_: MemberSpec) -> None:
        monkeypatch.undo()
        monkeypatch.setattr("stationkeep.node.forming.founding.check_silent", lambda _: None)
        found(where, "my-fleet", "ground")

    monkeypatch.setattr("stationkeep.node.forming.founding.check_silent", quicker)
    with pytest.raises(FormingError, match="every cluster has one CA"):
        found(where, "my-fleet", "ground")


@pytest.mark.parametrize("mask", [0o000, 0o002, 0o077])
def test_whatever_the_mask_nobody_else_may_replace_the_ca(tmp_path: Path, mask: int) -> None:
    where, before = place(tmp_path), os.umask(mask)
    try:
        found(where, "my-fleet", "ground")
    finally:
        os.umask(before)
    for directory in (where.config.parent, where.tls_dir, where.data_dir / "tls"):
        assert not stat.S_IMODE(directory.stat().st_mode) & 0o022


def test_a_disk_that_is_full_is_named_and_leaves_nothing_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *_: object) -> None:
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(made, "write", full)
        where = place(tmp_path)
        assert refused(where) == f"{where.ca_key}: No space left on device"
    assert found(where, "my-fleet", "ground") != Founded("", "")


def test_a_pipe_in_the_place_of_the_node_s_file_is_not_waited_for(tmp_path: Path) -> None:
    where = place(tmp_path)
    where.config.parent.mkdir()
    os.mkfifo(where.config)
    with pytest.raises(FormingError, match="is there already"):
        found(where, "my-fleet", "ground")
