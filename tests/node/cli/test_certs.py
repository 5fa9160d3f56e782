"""`stationkeep certs`, on files and of ports."""

import contextlib
import copy
import json
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from stationkeep.node.security import certificates as made
from stationkeep.node.security.contexts import load_pair, read_pair
from stationkeep.node.security.handshake import context
from tests.node.cli.canned import CannedNode, Run, problem
from tests.node.cli.test_foreign_text import HOSTILE, check


@pytest.fixture
def tls(tmp_path: Path, stationkeep: Run) -> Path:
    """A directory with a CA."""
    directory = tmp_path / "tls"
    result = stationkeep("certs", "ca", "--cluster", "my-fleet", "--out", str(directory))
    assert result.exit_code == 0, result.output
    return directory


def issue(stationkeep: Run, tls: Path, *arguments: str) -> None:
    result = stationkeep("certs", "issue", *arguments, "--dir", str(tls))
    assert result.exit_code == 0, result.output


def test_a_ca_says_its_uid_and_its_pin_and_hides_its_key(tls: Path) -> None:
    (certificate,) = made.certificates_in((tls / "ca.pem").read_bytes())
    uid = made.authority((tls / "ca.pem").read_bytes(), (tls / "ca.key").read_bytes()).uid
    assert made.pin(certificate).startswith(f"sha256:{uid}")
    assert stat.S_IMODE((tls / "ca.key").stat().st_mode) == 0o600


def test_a_second_ca_is_refused_and_an_interrupted_one_completed(
    tls: Path, stationkeep: Run
) -> None:
    again = ("certs", "ca", "--cluster", "my-fleet", "--out", str(tls))
    result = stationkeep(*again)
    assert (result.exit_code, "is there already" in result.stderr) == (1, True)
    (before,) = made.certificates_in((tls / "ca.pem").read_bytes())
    (tls / "ca.pem").unlink()
    assert stationkeep(*again).exit_code == 0
    (after,) = made.certificates_in((tls / "ca.pem").read_bytes())
    assert made.pin(before) == made.pin(after)


def test_a_nodes_certificate_is_issued_and_inspected(tls: Path, stationkeep: Run) -> None:
    issue(stationkeep, tls, "node", "sat-001", "--host", "sat-001.example.net")
    file = tls / "sat-001.pem"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    inspected = ("certs", "inspect", str(file), "--ca", str(tls / "ca.pem"))
    result = stationkeep(*inspected, "--as", "sat-001", "--format", "json")
    assert result.exit_code == 0, result.output
    (one,) = json.loads(result.output)["certificates"]
    assert (one["subject"], one["purposes"]) == ("node sat-001", ["server", "client"])
    assert "sat-001.example.net" in one["hosts"]
    result = stationkeep(*inspected, "--as", "sat-002")
    assert result.exit_code == 1
    assert "is refused (wrong_node): it is of node sat-001" in result.stderr


def test_a_foreign_ca_and_a_foreign_key_are_told(
    tls: Path, tmp_path: Path, stationkeep: Run
) -> None:
    issue(stationkeep, tls, "device", "phone-7")
    file = tls / "phone-7.pem"
    other = tmp_path / "other"
    stationkeep("certs", "ca", "--cluster", "other", "--out", str(other))
    result = stationkeep("certs", "inspect", str(file), "--ca", str(other / "ca.pem"))
    assert (result.exit_code, "untrusted_ca" in result.stderr) == (1, True)
    content = made.public_pem(made.certificates_in(file.read_bytes()))
    file.write_bytes(made.private_pem(made.new_key()) + content)
    result = stationkeep("certs", "inspect", str(file))
    assert (result.exit_code, "the key of another" in result.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("node", "../x"), "NAME '../x' refused"),
        (("client", "prometheus"), "--role: a client has one"),
        (("node", "sat-001", "--role", "x"), "--role: a client has one"),
        (("node", "sat-001", "--csr", "absent"), "absent cannot be read"),
        (("node", "sat-001", "--host", "a b"), "'a b' refused: a host name or an IP address"),
    ],
)
def test_what_cannot_be_issued_is_said(
    tls: Path, stationkeep: Run, arguments: tuple[str, ...], why: str
) -> None:
    result = stationkeep("certs", "issue", *arguments, "--dir", str(tls))
    assert result.exit_code in (1, 2)
    assert why in result.stderr
    assert not (tls / "sat-001.pem").exists()


def test_without_a_ca_nothing_is_issued(tmp_path: Path, stationkeep: Run) -> None:
    result = stationkeep("certs", "issue", "node", "sat-001", "--dir", str(tmp_path))
    assert (result.exit_code, "ca.key cannot be read" in result.stderr) == (1, True)


def test_names_in_a_foreign_certificate_do_not_reach_the_terminal(
    tmp_path: Path, stationkeep: Run
) -> None:
    import datetime as dt

    evil = made.new_authority(HOSTILE[:40], dt.datetime.now(dt.UTC))
    file = tmp_path / "evil.pem"
    file.write_bytes(made.public_pem([evil.certificate]))
    for more in ((), ("--as", "sat-001"), ("--format", "json"), ("--format", "yaml")):
        check(stationkeep("certs", "inspect", str(file), *more), "")


@contextlib.contextmanager
def shown(pair: Path, body: bytes = b"") -> Iterator[str]:
    """A port that shows this certificate, and answers this to whoever asks; its address."""
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
    secured = context(True, "", None, None)
    load_pair(secured, read_pair(pair, pair))
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                with listening.accept()[0] as one, secured.wrap_socket(one, server_side=True) as it:
                    if it.read():
                        it.write(head.encode() + body)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


def test_what_a_port_shows_is_inspected_like_a_file(tls: Path, stationkeep: Run) -> None:
    issue(stationkeep, tls, "node", "sat-001")
    with shown(tls / "sat-001.pem") as address:
        judged = ("certs", "inspect", address, "--ca", str(tls / "ca.pem"), "--as")
        result = stationkeep(*judged, "sat-001")
        assert (result.exit_code, "node sat-001 of cluster" in result.output) == (0, True)
        result = stationkeep(*judged, "sat-002")
        assert (result.exit_code, f"{address} is refused (wrong_node)" in result.stderr) == (
            1,
            True,
        )
    result = stationkeep("certs", "inspect", address)
    assert result.exit_code == 1
    assert "shows no certificate: Connection refused" in result.stderr


def test_the_certificates_of_all_nodes_are_listed_and_who_is_silent(
    tls: Path, stationkeep: Run, canned: CannedNode
) -> None:
    issue(stationkeep, tls, "node", "sat-001")
    with shown(tls / "sat-001.pem") as address:
        nodes = copy.deepcopy(canned.reads["/v1/nodes"])
        for member in nodes["items"]:
            member["address"]["http"] = "127.0.0.1:1"
        nodes["items"][0]["address"]["http"] = address
        canned.reads = {**canned.reads, "/v1/nodes": nodes}
        result = stationkeep("certs", "list")
    assert result.exit_code == 0, result.output
    assert "sat-001: node sat-001, 90.0 days left, serial" in result.output
    assert "127.0.0.1:1 shows no certificate: Connection refused" in result.stderr


def test_of_what_is_told_only_a_ca_with_the_pin_is_kept(
    tls: Path, tmp_path: Path, stationkeep: Run
) -> None:
    """Whoever sits on the way may add a CA of its own."""
    stationkeep("certs", "ca", "--cluster", "my-fleet", "--out", str(tmp_path / "foreign"))
    issue(stationkeep, tmp_path / "foreign", "node", "sat-001")
    ours, foreign = tls / "ca.pem", tmp_path / "foreign" / "ca.pem"
    both = {"uid": "", "pins": [], "pem": foreign.read_text() + ours.read_text()}
    pins = [made.pin(*made.certificates_in(file.read_bytes())) for file in (ours, foreign)]
    out = tmp_path / "fetched.pem"
    with shown(tmp_path / "foreign" / "sat-001.pem", json.dumps(both).encode()) as address:
        fetch = ("certs", "fetch", f"https://{address}", "--out", str(out), "--pin")
        result = stationkeep(*fetch, "sha256:" + 64 * "0")
        assert (result.exit_code, out.exists()) == (1, False)
        assert f"somebody else answers there, with the pin {pins[1]}" in result.stderr
        assert stationkeep(*fetch, pins[0]).exit_code == 0
        assert out.read_bytes() == ours.read_bytes()
        assert stationkeep(*fetch, pins[0], "--pin", pins[1]).exit_code == 0
        assert out.read_text() == both["pem"]
        assert stationkeep(*fetch, pins[0][:-1]).exit_code == 2


@pytest.mark.parametrize("body", [b"", b"{}", b'{"pem": 7}', b'{"pem": "\\u00e4"}'])
def test_whoever_tells_no_ca_is_named(
    tls: Path, tmp_path: Path, stationkeep: Run, body: bytes
) -> None:
    issue(stationkeep, tls, "node", "sat-001")
    out = tmp_path / "fetched.pem"
    with shown(tls / "sat-001.pem", body) as address:
        result = stationkeep(
            "certs", "fetch", f"https://{address}", "--pin", "sha256:" + 64 * "0", "--out", str(out)
        )
    assert (result.exit_code, address in result.stderr, out.exists()) == (1, True, False)


def test_a_serial_is_revoked_however_it_is_written(canned: CannedNode, stationkeep: Run) -> None:
    result = stationkeep("certs", "revoke", "--serial", "00:5F:3A", "--reason", "sold")
    assert result.exit_code == 0, result.output
    assert json.loads(canned.requests[-1].content) == {"serial": "5f3a", "reason": "sold"}


def test_nodes_are_renewed_from_anywhere_and_who_is_not_is_named(
    stationkeep: Run, canned: CannedNode
) -> None:
    nodes = [member["id"] for member in canned.reads["/v1/nodes"]["items"]]
    renewed = {"node": "x", "serial": "5f3a9c", "expires_wall_ms": 1}
    canned.answer_to_writes = httpx.Response(200, json=renewed)
    result = stationkeep("certs", "renew", "--all")
    assert result.exit_code == 0, result.output
    assert all(f"{node} has a new certificate, serial 5f3a9c" in result.output for node in nodes)
    one = stationkeep("certs", "renew", nodes[0])
    assert one.output.count("has a new certificate") == 1
    unknown = stationkeep("certs", "renew", "sat-999")
    assert (unknown.exit_code, "no such node: 'sat-999'" in unknown.stderr) == (1, True)
    canned.answer_to_writes = problem(409, "not renewed: the disk is full", "not_renewed")
    result = stationkeep("certs", "renew", "--all")
    assert result.exit_code == 1
    assert all(f"{node}: not renewed: the disk is full" in result.stderr for node in nodes)


@pytest.mark.parametrize("arguments", [[], ["sat-001", "--all"], ["--all", "--config", "x"]])
def test_it_is_said_which_nodes_are_renewed(stationkeep: Run, arguments: list[str]) -> None:
    result = stationkeep("certs", "renew", *arguments)
    assert (result.exit_code, "one of NODE, --all and --config" in result.stderr) == (2, True)


def test_a_node_is_renewed_on_its_own_machine(tls: Path, tmp_path: Path, stationkeep: Run) -> None:
    file = tmp_path / "node.yaml"
    members = {"sat-001": {"raft": "127.0.0.1:7701", "http": "127.0.0.1:8701"}}
    whole = {"node": "sat-001", "cluster": "c", "data_dir": str(tmp_path / "d"), "members": members}
    file.write_text(yaml.safe_dump({**whole, "tls": {"dir": str(tls)}}))
    issued = tmp_path / "d" / "tls" / "node.pem"
    seen = set()
    for _ in range(2):
        result = stationkeep("certs", "renew", "--config", str(file))
        assert result.exit_code == 0, result.output
        seen.add(issued.read_bytes())
    assert len(seen) == 2
    (tls / "ca.key").unlink()
    result = stationkeep("certs", "renew", "--config", str(file))
    assert (result.exit_code, "has no ca.key" in result.stderr) == (1, True)
    file.write_text(yaml.safe_dump(whole))
    assert stationkeep("certs", "renew", "--config", str(file)).exit_code == 1
